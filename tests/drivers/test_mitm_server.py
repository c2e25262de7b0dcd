"""Listeners, limits and life of the live gateway."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.destinations import Destinations
from inspector.drivers.mitm_server import (
    Gateway,
    GatewaySettings,
    ListenerSettings,
    TlsSettings,
    is_local,
    name_matches,
)
from inspector.engine.world import Paths
from inspector.model import (
    DOWN,
    UP,
    Chunk,
    Cut,
    Effect,
    Finding,
    Flow,
    Input,
    Kept,
    Killed,
    Limits,
    Match,
    Note,
    Rules,
    Scan,
    ScanFailed,
    Scanned,
    Send,
    Spec,
    Text,
)
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until

LOOPBACK = Destinations.parse(("127.0.0.0/8", "::1"), ("loopback", "link_local", "private", "own"))
CLOSED = Destinations()


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    """Both kinds of I/O."""
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def listener(mode: Any, **more: Any) -> ListenerSettings:
    return ListenerSettings(mode, "127.0.0.1", 0, **more)


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_reverse_mode_relays_both_ways(tmp_path: Path, stock_io: bool) -> None:
    """Bytes go through the session both ways; each side's end reaches the other after its last bytes."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            [info] = gateway.gateway.sessions()
            assert (info.bytes, info.server) == (10, f"127.0.0.1:{upstream[1]}")
            assert gateway.sessions[0].flow.listener == "127.0.0.1:0"
            writer.write_eof()
            assert await reader.read() == b"bye"
            writer.close()
            assert gateway.gateway.sessions() == []
            await until(lambda: not gateway.gateway.links)
            assert gateway.gateway.counters.ended == 1

    run(scenario)


def test_a_server_that_speaks_first(tmp_path: Path, stock_io: bool) -> None:
    """A greeting reaches the client before it has said anything."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        await echo(reader, writer)

    async def scenario() -> None:
        async with (
            serving(greet) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            assert await reader.readexactly(7) == b"welcome"
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"HI"
            writer.close()

    run(scenario)


def test_a_client_that_leaves_before_a_word(tmp_path: Path, stock_io: bool) -> None:
    """An end without bytes goes to the server, and the session ends."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write_eof()
            assert await reader.read() == b"bye"
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_ipv6(tmp_path: Path, stock_io: bool) -> None:
    """A listener and an upstream on ::1."""

    async def scenario() -> None:
        async with (
            serving(echo, "::1") as upstream,
            running(tmp_path, ListenerSettings("reverse", "::1", 0, upstream=upstream), stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"six")
            assert await reader.readexactly(3) == b"SIX"
            assert gateway.sessions[0].flow.client.ip == "::1"
            writer.close()

    run(scenario)


def test_upstream_down_or_unresolvable(tmp_path: Path, stock_io: bool) -> None:
    """The client's connection ends without a byte, and one sentence names the server."""

    async def scenario() -> None:
        down = ("127.0.0.1", unused_port())
        async with running(
            tmp_path, listener("reverse", upstream=down), listener("reverse", upstream=("no-such-host.invalid", 1)),
            stock_io=stock_io,
        ) as gateway:
            for index in (0, 1):
                reader, writer = await gateway.connect(index)
                assert await reader.read() == b""
                writer.close()
            await until(lambda: not gateway.gateway.links)
            assert f"the server 127.0.0.1 port {down[1]} cannot be reached" in gateway.sentences[0]
            assert "the server no-such-host.invalid port 1 cannot be reached" in gateway.sentences[1]
            assert gateway.names() == ["unreached", "unreached"]
            assert gateway.sessions == []

    run(scenario)


def test_all_addresses_of_an_upstream_are_tried(
    tmp_path: Path, stock_io: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first address refuses, the second answers."""

    async def scenario() -> None:
        async with serving(echo) as upstream:
            def addresses(*args: Any, **more: Any) -> list[Any]:
                return [(0, 0, 0, "", ("127.0.0.9", upstream[1])), (0, 0, 0, "", ("127.0.0.1", upstream[1]))]

            async with running(
                tmp_path, listener("reverse", upstream=("two.test", upstream[1])), stock_io=stock_io,
            ) as gateway:
                client = socket.create_connection(("127.0.0.1", gateway.port))
                monkeypatch.setattr(socket, "getaddrinfo", addresses)
                reader, writer = await asyncio.open_connection(sock=client)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"X"
                flow = gateway.sessions[0].flow
                assert (flow.server.ip, flow.server_name) == ("127.0.0.1", "two.test")
                writer.close()

    run(scenario)


def test_a_silent_upstream_ends_after_connect_seconds(tmp_path: Path, stock_io: bool) -> None:
    """A server that does not take the connection: no longer than connect_seconds."""

    async def scenario() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            fillers = []
            for _ in range(4):  # the backlog is full: the kernel drops further SYNs
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            async with running(
                tmp_path, listener("reverse", upstream=address), limits=Limits(connect_seconds=0.3), stock_io=stock_io,
            ) as gateway:
                reader, writer = await gateway.connect()
                assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()
                assert gateway.names() == ["unreached"]
            for filler in fillers:
                filler.close()

    run(scenario)


async def refused(gateway: Running) -> bool:
    """Whether a new connection is closed without a byte."""
    reader, writer = await gateway.connect()
    try:
        writer.write(b"x")
        return await reader.read(1) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


SOCKS_HELLO = b"\x05\x01\x00"


def socks_request(host: str, port: int) -> bytes:
    return b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2)


async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> int:
    """The reply code to a request by name."""
    writer.write(SOCKS_HELLO)
    assert await reader.readexactly(2) == b"\x05\x00"
    writer.write(socks_request(host, port))
    reply = await reader.readexactly(10)
    return reply[1]


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> int:
    """The status of a CONNECT."""
    name = f"[{host}]" if ":" in host else host
    writer.write(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head[9:12])


def test_socks5_and_connect_relay(tmp_path: Path, stock_io: bool) -> None:
    """The handshake, then the session; the name that was asked for is the flow's."""

    async def scenario() -> None:
        async with serving(echo) as upstream, running(
            tmp_path, listener("socks5", destinations=LOOPBACK), listener("connect", destinations=LOOPBACK),
            stock_io=stock_io,
        ) as gateway:
            for index, (ask, good) in enumerate(((socks, 0), (connect, 200))):
                reader, writer = await gateway.connect(index)
                assert await ask(reader, writer, "localhost", upstream[1]) == good
                writer.write(b"through")
                assert await reader.readexactly(7) == b"THROUGH"
                assert gateway.sessions[-1].flow.server_name == "localhost"
                writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_what_comes_with_the_request_is_not_lost(tmp_path: Path, stock_io: bool) -> None:
    """A client that sends greeting, request and its first words in one go."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("socks5", destinations=LOOPBACK), stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(SOCKS_HELLO + socks_request("127.0.0.1", upstream[1]) + b"early")
            assert await reader.readexactly(12) == b"\x05\x00\x05\x00\x00\x01" + bytes(6)
            assert await reader.readexactly(5) == b"EARLY"
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "127.0.0.1", "localhost", "10.0.0.1", "::1", "127.1", "0.0.0.0", "2130706433", "0x7f.1"],
)
def test_denied_destinations(tmp_path: Path, stock_io: bool, host: str) -> None:
    """Whatever it is called: SOCKS says 2 and HTTP 403, nothing is connected to, a row tells it."""

    async def scenario() -> None:
        async with serving(echo) as upstream, running(
            tmp_path, listener("socks5", destinations=CLOSED), listener("connect", destinations=CLOSED),
            stock_io=stock_io,
        ) as gateway:
            for index, (ask, bad) in enumerate(((socks, 2), (connect, 403))):
                reader, writer = await gateway.connect(index)
                assert await ask(reader, writer, host, upstream[1]) == bad
                assert await reader.read() == b""
                writer.close()
            assert gateway.names() == ["refused_destination"] * 2
            assert gateway.sessions == []

    run(scenario)


def test_our_own_ports_are_refused_even_if_allowed(tmp_path: Path, stock_io: bool) -> None:
    """A listener's port and the ports named as ours, by address and by name, with everything allowed."""

    async def scenario() -> None:
        wide = Destinations.parse(("0.0.0.0/0", "::/0", "localhost"), ("own",))
        async with serving(echo) as metrics, running(
            tmp_path, listener("socks5", destinations=wide), own_ports=frozenset({metrics[1]}), stock_io=stock_io,
        ) as gateway:
            for host in ("127.0.0.1", "localhost", "127.0.0.77", "0.0.0.0"):
                for port in (gateway.port, metrics[1]):
                    reader, writer = await gateway.connect()
                    assert await socks(reader, writer, host, port) == 2
                    writer.close()

    run(scenario)


def test_handshakes_that_are_none(tmp_path: Path, stock_io: bool) -> None:
    """Wrong words end the connection in the mode's own way."""

    async def scenario() -> None:
        async with running(tmp_path, listener("socks5"), listener("connect"), stock_io=stock_io) as gateway:
            reader, writer = await gateway.connect(0)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
            reader, writer = await gateway.connect(1)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 405 ")
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


@pytest.mark.parametrize("first", [b"", b"\x05", b"\x05\x01\x00\x05\x01"])
def test_a_slow_handshake_is_ended(tmp_path: Path, stock_io: bool, first: bytes) -> None:
    """A SOCKS handshake that does not come to its end in handshake_seconds."""

    async def scenario() -> None:
        limits = Limits(handshake_seconds=0.2)
        async with running(tmp_path, listener("socks5"), limits=limits, stock_io=stock_io) as gateway:
            reader, writer = await gateway.connect()
            writer.write(first)
            try:
                await asyncio.wait_for(reader.read(), 5)
            except ConnectionError:
                pass
            writer.close()
            await until(lambda: not gateway.gateway.links)
            assert gateway.gateway.counters.late == 1

    run(scenario)


def test_a_slow_client_hello_is_ended(tmp_path: Path, stock_io: bool) -> None:
    """The beginning of a ClientHello and no more, after a connection that stands."""

    async def scenario() -> None:
        limits = Limits(handshake_seconds=0.2)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), limits=limits, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            try:
                await asyncio.wait_for(reader.read(), 5)
            except ConnectionError:
                pass
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_clients_outside_the_networks_are_refused(tmp_path: Path, stock_io: bool) -> None:
    """A listener with `clients` serves only those."""

    async def scenario() -> None:
        other = (ipaddress.ip_network("10.0.0.0/8"),)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream, clients=other), stock_io=stock_io) as gateway,
        ):
            assert await refused(gateway)
            assert gateway.sentences == ["127.0.0.1 is not a client of the listener 127.0.0.1:0"]
            await until(lambda: not gateway.gateway.links)

    run(scenario)


@pytest.mark.parametrize("bound", ["sessions", "client_sessions"])
def test_too_many_sessions(tmp_path: Path, stock_io: bool, bound: str) -> None:
    """New ones are refused, the living go on; a place that became free is given again."""

    async def scenario() -> None:
        limits = Limits(**{bound: 1})
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), limits=limits, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            assert await refused(gateway)
            assert gateway.names() == ["overload"]
            writer.write(b"b")
            assert await reader.readexactly(1) == b"B"
            writer.close()
            await until(lambda: not gateway.gateway.links)
            reader, writer = await gateway.connect()
            writer.write(b"c")
            assert await reader.readexactly(1) == b"C"
            writer.close()

    run(scenario)


def test_kill(tmp_path: Path, stock_io: bool) -> None:
    """An operator's word reaches the session, which ends politely; an unknown id is none."""

    async def scenario() -> None:
        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Killed):
                return [Send(DOWN, b"ERROR :" + given.reason.encode()), Cut(given.reason)]
            return None

        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), on=on, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            [info] = gateway.gateway.sessions()
            assert not gateway.gateway.kill("0123")
            assert gateway.gateway.kill(info.id, "maintenance")
            assert await reader.read() == b"ERROR :maintenance"
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_drain(tmp_path: Path, stock_io: bool) -> None:
    """No new sessions, polite cuts, and an end as soon as none is left."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), stock_io=stock_io) as gateway,
        ):
            peers = [await gateway.connect() for _ in range(3)]
            port = gateway.port
            for reader, writer in peers:
                writer.write(b"a")
                assert await reader.readexactly(1) == b"A"
            task = asyncio.create_task(gateway.gateway.drain(10))
            for reader, writer in peers:
                assert await reader.read() == b""
                writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            await asyncio.wait_for(task, 5)

    run(scenario)


def test_idle_sessions_are_ended(tmp_path: Path, stock_io: bool) -> None:
    """Nothing moved for idle_seconds; mitmproxy's own 600 s play no part."""

    async def scenario() -> None:
        limits = Limits(idle_seconds=0.3)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), limits=limits, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            killed = [given for given in gateway.sessions[0].inputs if isinstance(given, Killed)]
            assert [given.reason for given in killed] == ["idle"]

    run(scenario)


def scripted(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Script:
    return Script(flow, protocols, named_im)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One sentence that names the address; what was bound is released."""

    async def scenario() -> None:
        async with serving(echo) as taken:
            settings = GatewaySettings(
                (listener("socks5"), ListenerSettings("socks5", "127.0.0.1", taken[1])), TlsSettings(tmp_path / "ca"),
                tmp_path / "spool")
            gateway = Gateway(settings, scripted, None, (), lambda note, done: None, lambda sentence: None)
            with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{taken[1]}: .*in use"):
                await gateway.start()

    run(scenario)


class SlowScanner:
    """A scanner whose full scan says what it is told to."""

    packs = ()
    digest = None

    def quick(self, texts: Any) -> None:
        return None

    def full(self, texts: Any) -> tuple[Finding, ...]:
        if texts[0].plain == "fail":
            raise ScanFailed("too long")
        if texts[0].plain == "crash":
            raise ZeroDivisionError
        return (Finding("yara", "core.x", "high"),)


def test_long_scans_come_back_as_inputs(tmp_path: Path, stock_io: bool) -> None:
    """Findings, a failure told, and a crash of a scanner: each is an answer of its own id; never silence."""

    async def scenario() -> None:
        rules = Rules(1, None, SlowScanner())  # type: ignore[arg-type]

        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and given.way is UP:
                return [
                    Scan(number, None, (Text("body", word),), rules)  # type: ignore[arg-type]
                    for number, word in enumerate(("good", "fail", "crash"))
                ]
            if isinstance(given, Scanned):
                return [Send(DOWN, f"{given.id}:{len(given.findings)}:{given.failure};".encode())]
            return None

        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), on=on, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            answers = {(await reader.readuntil(b";")) for _ in range(3)}
            assert answers == {b"0:1:None;", b"1:0:too long;", b"2:0:ZeroDivisionError;"}
            writer.close()

    run(scenario)


def test_durable_notes_are_answered(tmp_path: Path, stock_io: bool) -> None:
    """Kept comes after the store's word, also from another thread; a note that is not durable has no answer."""

    async def scenario() -> None:
        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and given.way is UP:
                return [Note(0, {"name": "light"}), Note(7, {"name": "durable"}, True)]
            if isinstance(given, Kept):
                return [Send(DOWN, f"{given.id} {given.ok}".encode())]
            return None

        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), on=on, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(6) == b"7 True"
            assert gateway.names() == ["light", "durable"]
            writer.close()

    run(scenario)


def probe(up: bytes, down: bytes) -> Match:
    return Match.NO


def test_ports_and_listeners_named_as_im(tmp_path: Path) -> None:
    """A registered protocol's port, or a listener with `protocols`, is named as IM; others are not."""

    async def scenario() -> None:
        async with serving(echo) as im, serving(echo) as other:
            spec = Spec("toy", "Toy", probe, None, ports=frozenset({im[1]}))  # type: ignore[arg-type]
            only = frozenset({"toy"})
            async with running(
                tmp_path, listener("reverse", upstream=im), listener("reverse", upstream=other),
                listener("reverse", upstream=other, protocols=only), specs=[spec],
            ) as gateway:
                for index in range(3):
                    reader, writer = await gateway.connect(index)
                    writer.write(b"a")
                    await reader.readexactly(1)
                    writer.close()
                assert [session.named_im for session in gateway.sessions] == [True, False, True]
                assert [session.protocols for session in gateway.sessions] == [frozenset(), frozenset(), only]

    run(scenario)


def test_transparent_mode_refuses_what_was_not_redirected(tmp_path: Path, stock_io: bool) -> None:
    """A connection made to the listener itself has nowhere to go: it would reach ourselves."""

    async def scenario() -> None:
        own = Destinations.parse((), ("own",))
        async with running(tmp_path, listener("transparent", destinations=own), stock_io=stock_io) as gateway:
            assert await refused(gateway)
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_name_matches() -> None:
    """Whole names, and names below a star; never a part of a label."""
    assert name_matches("Chat.Example.net.", ["chat.example.net"])
    assert name_matches("a.b.example.net", ["*.example.net"])
    assert not name_matches("example.net", ["*.example.net"])
    assert not name_matches("badexample.net", ["*.example.net", "example"])


def test_is_local() -> None:
    """Loopback, the unspecified address and those of our interfaces; not a documentation address."""
    for address, local in (("127.3.2.1", True), ("::1", True), ("0.0.0.0", True), ("192.0.2.1", False)):
        assert is_local(ipaddress.ip_address(address)) is local
