"""The layers: plain, TLS from byte 0, STARTTLS, and what ends a session; on both kinds of I/O."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from inspector.drivers.destinations import Destinations
from inspector.drivers.mitm_server import ListenerSettings, TlsException, TlsSettings
from inspector.drivers.mitm_tls import Authority
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Chunk,
    Closed,
    Cut,
    Effect,
    Expect,
    Input,
    Killed,
    Limits,
    Secured,
    Send,
    Spliced,
    StartTls,
    Troubled,
)
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    """Both kinds of I/O."""
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario; nothing may be left behind."""
    asyncio.run(asyncio.wait_for(scenario(), 30))


class Pki:
    """An authority of the servers, and contexts of servers and clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = Authority.open(folder / "upstream")
        self.ca_file = folder / "upstream" / "authority.pem"

    def server(self, name: str, alpn: list[str] | None = None) -> ssl.SSLContext:
        certificate, key = self.upstream.leaf(name)
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def client(self, ca: Path | None = None, alpn: list[str] | None = None) -> ssl.SSLContext:
        """A client that trusts the gateway's authority (or `ca`)."""
        context = ssl.create_default_context(cafile=str(ca or self.folder / "ca" / "authority.pem"))
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def settings(self, **more: Any) -> TlsSettings:
        return TlsSettings(self.folder / "ca", **{"upstream_ca": self.ca_file, "intercept": "all", **more})


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def reverse(upstream: tuple[str, int], **more: Any) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream, **more)


async def tls_to(run: Running, context: ssl.SSLContext, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", run.port, ssl=context, server_hostname=name)


def test_tls_from_byte_0_is_opened_on_both_legs(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """The session sees plain text; the client sees our certificate for its SNI; ALPN is what the server chose."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("chat.test", ["xmpp-client"])) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io) as run,
        ):
            context = pki.client(alpn=["other", "xmpp-client"])
            reader, writer = await tls_to(run, context, "chat.test")
            tls = writer.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == "xmpp-client"
            assert ("organizationName", "Inspector") in [pair for part in tls.getpeercert()["issuer"] for pair in part]
            for size in (5, 70_000, 300_000):
                writer.write(b"a" * size)
                assert await reader.readexactly(size) == b"A" * size
            [session] = run.sessions
            assert session.flow.tls
            assert session.flow.server_name == "chat.test"
            chunk = session.inputs[0]
            assert isinstance(chunk, Chunk)
            assert chunk.data == b"aaaaa"
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], "h2")])
def test_http_2_is_not_agreed_on_where_the_client_can_do_without(
    tmp_path: Path, pki: Pki, offered: list[str], chosen: str,
) -> None:
    """XMPP over HTTP/2 would pass unread; who speaks nothing else is left alone."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("chat.test", ["h2", "http/1.1"])) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings()) as run,
        ):
            _, writer = await tls_to(run, pki.client(alpn=offered), "chat.test")
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_nothing_is_forged_for_a_server_that_fails(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """A certificate for another name: the client gets a fatal alert, never a certificate of ours."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("other.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io) as run,
        ):
            with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
                await tls_to(run, pki.client(), "chat.test")
            assert run.names() == ["tls_failed"]
            assert "hostname mismatch" in run.sentences[0]
            assert run.sessions == []
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_an_unknown_authority_of_the_server_fails(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """Without upstream_ca the server's private authority is not trusted."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(upstream_ca=None), stock_io=stock_io) as run,
        ):
            with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
                await tls_to(run, pki.client(), "chat.test")

    run(scenario)


def distrust(port: int, context: ssl.SSLContext, name: str) -> None:
    """A client that says by an alert that it does not know our authority."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname=name)


@pytest.mark.parametrize("silent", [False, True], ids=["alert", "silent"])
def test_two_rejections_propose_an_exception_and_free_nobody(
    tmp_path: Path, pki: Pki, stock_io: bool, silent: bool,
) -> None:
    """A client that does not trust us, three times: one proposal at the second, and never a session."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io) as run,
        ):
            for _ in range(3):
                if silent:  # asyncio closes without its alert
                    with pytest.raises(ssl.SSLCertVerificationError):
                        await tls_to(run, pki.client(pki.ca_file), "chat.test")
                else:
                    await asyncio.to_thread(distrust, run.port, pki.client(pki.ca_file), "chat.test")
            await until(lambda: run.names().count("tls_failed") == 3)
            [proposal] = [note.row for note in run.notes if note.row["event"] == "proposal"]
            assert (proposal["name"], proposal["count"]) == ("chat.test", 2)
            assert run.sessions == []
            await until(lambda: not run.gateway.links)

    run(scenario)


@pytest.mark.parametrize(
    "more",
    [
        {"intercept": "none"},
        {"intercept": "im"},
        {"never": ("chat.test",)},
        {"exceptions": (TlsException("*.test", why="pinned"),)},
    ],
    ids=["none", "not im", "never", "exception"],
)
def test_tls_that_is_left_alone_is_relayed_unread(
    tmp_path: Path, pki: Pki, stock_io: bool, more: dict[str, Any],
) -> None:
    """The client sees the server's own certificate; the session is told once, and gets no plain text."""

    async def scenario() -> None:
        def on(script: Script, given: Input) -> list[Effect] | None:
            return None

        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(**more), stock_io=stock_io, on=on) as run,
        ):
            reader, writer = await tls_to(run, pki.client(pki.ca_file), "chat.test")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            [session] = run.sessions
            assert isinstance(session.inputs[0], Spliced)
            assert not any(isinstance(given, Chunk) and b"hello" in given.data for given in session.inputs)
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


@pytest.mark.parametrize(("announced", "opened"), [
    ("chat.test:%d", True), ("127.0.0.1:%d", True), ("127.0.0.1:%d 127.0.0.1", True), ("127.0.0.1:%d 127.0.0.9", False),
    ("other.test:%d", False),
])
def test_tls_that_was_announced_is_opened(
    tmp_path: Path, pki: Pki, stock_io: bool, announced: str, opened: bool,
) -> None:
    """An upload slot's host and port, or a redirect's, told in another session: known as IM, for whom it is for."""

    async def scenario() -> None:
        world = World(Limits())
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(intercept="im"), stock_io=stock_io,
                    world=world) as run,
        ):
            address, _, client = (announced % upstream[1]).partition(" ")
            world.expect(Expect(address, "http_upload", client=client or None), run.gateway.clock() + 60)
            trusted = pki.client() if opened else pki.client(pki.ca_file)
            reader, writer = await tls_to(run, trusted, "chat.test")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            assert run.sessions[0].flow.tls is opened
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


@pytest.mark.parametrize(("announced", "opened"), [("127.0.0.1:%d", True), ("chat.test:%d", False)])
def test_a_name_frees_no_connection_that_was_announced_by_an_address(
    tmp_path: Path, pki: Pki, stock_io: bool, announced: str, opened: bool,
) -> None:
    """Between people there is no server name: an SNI that `tls.never` lists must not hide a transfer. An announced name
    is left alone as the administrator wants it."""

    async def scenario() -> None:
        world = World(Limits())
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(intercept="im", never=("chat.test",)),
                    stock_io=stock_io, world=world) as run,
        ):
            world.expect(Expect(announced % upstream[1], "dcc"), run.gateway.clock() + 60)
            reader, writer = await tls_to(run, pki.client() if opened else pki.client(pki.ca_file), "chat.test")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            assert run.sessions[0].flow.tls is opened
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_an_exception_that_is_over_is_none(tmp_path: Path, pki: Pki) -> None:
    """`until` in the past, or another client: TLS is opened."""

    async def scenario() -> None:
        past = TlsException("chat.test", until=1.0)
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(exceptions=(past,))) as run,
        ):
            _, writer = await tls_to(run, pki.client(), "chat.test")
            writer.close()
            await until(lambda: bool(run.sessions))
            assert run.sessions[0].flow.tls

    run(scenario)


@pytest.mark.parametrize(("asked", "free"), [("127.0.0.1", True), ("localhost", False)])
def test_a_borrowed_sni_frees_nobody(tmp_path: Path, pki: Pki, stock_io: bool, asked: str, free: bool) -> None:
    """A client that names a host to SOCKS and an excepted one in its SNI is not left alone; by address, SNI is all."""

    async def scenario() -> None:
        listening = ListenerSettings("socks5", "127.0.0.1", 0, destinations=Destinations.parse((), ()))
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, listening, tls=pki.settings(never=("chat.test",)), stock_io=stock_io) as run,
        ):
            reader, writer = await run.connect()
            writer.write(
                b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(asked)]) + asked.encode() + upstream[1].to_bytes(2))
            assert (await reader.readexactly(12))[3] == 0
            await writer.start_tls(pki.client(pki.ca_file if free else None), server_hostname="chat.test")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            assert run.sessions[0].flow.tls is not free
            writer.close()

    run(scenario)


PROCEED, FAILURE = b"<proceed/>", b"<failure/>"


def starttls(server_name: str = "chat.test") -> Callable[[Script, Input], list[Effect] | None]:
    """A session in a small protocol of its own: "S" asks for TLS, the server agrees with "P"."""

    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is DOWN and given.data == b"P":
            return [StartTls(server_name, PROCEED, FAILURE)]
        if isinstance(given, Troubled) or (isinstance(given, Secured) and not given.ok):
            return [Cut("trouble")]
        return None

    return on


def starttls_server(context: ssl.SSLContext) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(1) == b"S"
        writer.write(b"P")
        await writer.start_tls(context)
        await echo(reader, writer)

    return serve


def test_starttls_is_opened_upstream_first(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """<proceed/> comes when TLS with the server stands; then the same session goes on in plain text on both legs."""

    async def scenario() -> None:
        async with (
            serving(starttls_server(pki.server("chat.test"))) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io, on=starttls()) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"S")
            assert await reader.readexactly(len(PROCEED)) == PROCEED
            await writer.start_tls(pki.client(), server_hostname="chat.test")
            for size in (3, 100_000):
                writer.write(b"b" * size)
                assert await reader.readexactly(size) == b"B" * size
            [session] = run.sessions
            assert [type(given) for given in session.inputs[:3]] == [Chunk, Chunk, Secured]
            assert b"bbb" in [given.data for given in session.inputs if isinstance(given, Chunk)]
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_starttls_with_a_server_that_fails(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """The name to verify is the stream's: another certificate means <failure/> and the end, no proceed."""

    async def scenario() -> None:
        async with (
            serving(starttls_server(pki.server("other.test"))) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io, on=starttls()) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"S")
            assert await reader.read() == FAILURE
            writer.close()
            [session] = run.sessions
            last = next(given for given in reversed(session.inputs) if isinstance(given, Secured))
            assert not last.ok
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_a_stream_that_names_no_host_gets_failure(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """A `to` that can be no certificate's name fails before any handshake."""

    async def scenario() -> None:
        async with (
            serving(starttls_server(pki.server("chat.test"))) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io, on=starttls("a b\0")) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"S")
            assert await reader.read() == FAILURE
            writer.close()

    run(scenario)


def test_plain_text_behind_starttls_cuts(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """What a client says between the agreement and <proceed/> is an injection; it never reaches anybody."""

    async def scenario() -> None:
        released = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(1) == b"S"
            writer.write(b"P")
            await released.wait()  # its handshake does not come: the gateway waits

        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io, on=starttls()) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"S")
            await until(lambda: run.gateway.links and any(link.conversation and link.conversation.securing
                                                          for link in run.gateway.links))
            writer.write(b"<injected/>")
            assert await reader.read() == b""
            [session] = run.sessions
            assert [given.name for given in session.inputs if isinstance(given, Troubled)] == ["injection"]
            writer.close()
            released.set()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_plain_text_in_place_of_a_client_hello_ends_the_session(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """After <proceed/> only a ClientHello is taken."""

    async def scenario() -> None:
        async with (
            serving(starttls_server(pki.server("chat.test"))) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings(), stock_io=stock_io, on=starttls()) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"S")
            assert await reader.readexactly(len(PROCEED)) == PROCEED
            writer.write(b"<message/>")
            await reader.read()
            [session] = run.sessions
            assert [given.name for given in session.inputs if isinstance(given, Troubled)] == ["injection"]
            assert not any(isinstance(given, Chunk) and b"message" in given.data for given in session.inputs)
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_an_exception_cuts_both_sides(tmp_path: Path, stock_io: bool) -> None:
    """An error in engine or decoder: nothing of that chunk or the next is relayed, both peers get their end."""

    async def scenario() -> None:
        seen: list[bytes] = []
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1000):
                seen.append(data)
            ended.set()

        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and b"boom" in given.data:
                raise KeyError("a secret of the peer's")
            if isinstance(given, Troubled):
                return [Cut(given.name)]
            return None

        async with serving(serve) as upstream, running(tmp_path, reverse(upstream), on=on, stock_io=stock_io) as run:
            reader, writer = await run.connect()
            writer.write(b"fine")
            await until(lambda: seen == [b"fine"])
            writer.write(b"boom")
            assert await reader.read() == b""
            await asyncio.wait_for(ended.wait(), 5)
            assert seen == [b"fine"]
            assert [given.name for given in run.sessions[0].inputs if isinstance(given, Troubled)] == ["internal"]
            assert "KeyError" in run.sentences[0]
            assert "secret" not in run.sentences[0]
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_last_words_come_through(tmp_path: Path, stock_io: bool) -> None:
    """What is sent with a cut reaches both peers, though the client goes on writing."""

    async def scenario() -> None:
        got: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.read())

        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and given.data.startswith(b"bad"):
                return [Send(DOWN, b"ERROR :refused"), Send(UP, b"QUIT"), Cut("policy")]
            return None

        limits = Limits(close_seconds=2)
        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream), on=on, stock_io=stock_io, limits=limits) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"bad")
            writer.write(b"x" * 500_000)
            assert await reader.read() == b"ERROR :refused"
            await until(lambda: got == [b"QUIT"])
            writer.close()
            await until(lambda: not run.gateway.links)

    run(scenario)


def test_tls_ends_with_close_notify_on_both_legs(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """An end without close_notify is a truncation attack to careful peers, and some servers wait for it."""

    async def scenario() -> None:
        def serve(listening: socket.socket, context: ssl.SSLContext) -> bytes:
            plain, _ = listening.accept()
            plain.settimeout(10)
            with context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as sock:
                return sock.recv(10) + sock.recv(10)  # the second raises for an end without close_notify

        def talk(port: int, context: ssl.SSLContext) -> bytes:
            with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(
                plain, server_hostname="chat.test", suppress_ragged_eofs=False,
            ) as sock:
                sock.sendall(b"hello")
                socket.socket.shutdown(sock, socket.SHUT_WR)  # FIN alone
                return sock.recv(10)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            async with running(
                tmp_path, reverse(listening.getsockname()), tls=pki.settings(), stock_io=stock_io,
            ) as run:
                serving = asyncio.create_task(asyncio.to_thread(serve, listening, pki.server("chat.test")))
                assert await asyncio.to_thread(talk, run.port, pki.client()) == b""
                assert await serving == b"hello"
                await until(lambda: not run.gateway.links)

    run(scenario)


def test_a_session_whose_tls_is_broken_is_told_so(tmp_path: Path, pki: Pki) -> None:
    """A record that is none, in the middle of a session: both connections end, and the session hears of its end, or its
    last rows were never written and what it was about to deliver stayed in between for ever."""

    async def scenario() -> None:
        async with (
            serving(echo, ssl=pki.server("chat.test")) as upstream,
            running(tmp_path, reverse(upstream), tls=pki.settings()) as run,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
            coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = pki.client().wrap_bio(coming, going, server_hostname="chat.test")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(going.read())
                    coming.write(await reader.read(65536))
            tls.write(b"hello")
            writer.write(going.read())
            await until(lambda: run.sessions and any(isinstance(given, Chunk) for given in run.sessions[0].inputs))
            writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
            while await reader.read(65536):
                pass
            writer.close()
            await until(lambda: not run.gateway.links)
            inputs = run.sessions[0].inputs
            ended = {given.way for given in inputs if isinstance(given, Closed)}
            assert ended == {UP, DOWN} or any(isinstance(given, Killed) for given in inputs)

    run(scenario)
