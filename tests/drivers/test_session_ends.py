"""A session that is over is freed by reference counting: the collector, which walks the whole heap, is not needed for
it. One test for each way in which sessions end, on both kinds of I/O; the collector is off meanwhile."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from mitmproxy import connection
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context

from inspector.drivers.destinations import Destinations
from inspector.drivers.mitm import OPTIONS, Front
from inspector.drivers.mitm_server import ListenerSettings
from inspector.engine.session import Session
from inspector.engine.world import Paths, World
from inspector.model import DOWN, UP, Chunk, Cut, Effect, Flow, Input, Kept, Killed, Limits, Note, Rules, Send, Troubled
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until
from tests.drivers.rawfiles import FakeJudges, sessions
from tests.drivers.test_mitm import PROCEED, Pki, reverse, starttls, starttls_server, tls_to
from tests.drivers.test_mitm_io import reset
from tests.engine.toy import ToyPolicy, ToyScanner, toy_kit

SESSIONS = 3
OURS = ("inspector", "mitmproxy", "OpenSSL", "kaitaistruct", "_cffi_backend")
"""Modules whose objects are counted: ours, those of the layers, and what holds OpenSSL's memory."""

Once = Callable[[], Awaitable[None]]


def living() -> Counter[str]:
    """How many objects there are of each type that belongs to sessions."""
    types = Counter(map(type, gc.get_objects()))
    return Counter({
        f"{each.__module__}.{each.__qualname__}": number for each, number in types.items()
        if each.__module__.startswith(OURS)
    })


async def rest(run: Running) -> None:
    """Wait until the gateway has nothing to do, and let the test itself hold nothing."""
    await until(lambda: not run.gateway.links and not run.gateway._tasks)
    for _ in range(5):
        await asyncio.sleep(0.001)
    run.sessions.clear()
    run.notes.clear()
    run.sentences.clear()


async def left(run: Running, once: Once) -> dict[str, int]:
    """What is left of some sessions, by type: as many as there were sessions, or more. The first two may make what
    stays: contexts of names, counters."""
    for _ in range(2):
        await once()
        await rest(run)
    gc.collect()
    gc.freeze()  # what was there before is not counted
    gc.disable()
    try:
        for _ in range(SESSIONS):
            await once()
            await rest(run)
        assert len(run.gateway.departed) == 0
        return {name: number for name, number in living().items() if number >= SESSIONS}
    finally:
        gc.enable()
        gc.unfreeze()


class Way:
    """A gateway, what stands behind it, and what one client does."""

    def __init__(self, folder: Path, stock_io: bool) -> None:
        self.folder = folder
        self.pki = Pki(folder)
        self.stock_io = stock_io
        self.stack = AsyncExitStack()

    async def gateway(self, listener: ListenerSettings, **more: Any) -> Running:
        more.setdefault("tls", self.pki.settings())
        return await self.stack.enter_async_context(running(self.folder, listener, stock_io=self.stock_io, **more))

    async def behind(self, peer: Any = echo, **more: Any) -> tuple[str, int]:
        return await self.stack.enter_async_context(serving(peer, **more))


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A word there and back, then the client ends."""
    writer.write(b"hi")
    assert await reader.readexactly(2) == b"HI"
    writer.close()


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What comes until the gateway ends the connection."""
    said = b""
    try:
        while data := await reader.read(65536):
            said += data
    except OSError:
        pass
    writer.close()
    return said


async def plain(way: Way) -> tuple[Running, Once]:
    run = await way.gateway(reverse(await way.behind()))

    async def once() -> None:
        await talk(*await run.connect())

    return run, once


async def ended_by_server(way: Way) -> tuple[Running, Once]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(b"bye")

    run = await way.gateway(reverse(await way.behind(serve)))

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"hi")
        assert await ended(reader, writer) == b"bye"

    return run, once


async def reset_by_client(way: Way) -> tuple[Running, Once]:
    run = await way.gateway(reverse(await way.behind()))

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"hi")
        assert await reader.readexactly(2) == b"HI"
        reset(writer)

    return run, once


async def reset_at_once(way: Way) -> tuple[Running, Once]:
    """While the server is being connected to, or just after."""
    run = await way.gateway(reverse(await way.behind()))

    async def once() -> None:
        before = run.gateway.counters.accepted
        _, writer = await run.connect()
        reset(writer)
        await until(lambda: run.gateway.counters.accepted > before)

    return run, once


async def tls(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("chat.test"))
    run = await way.gateway(reverse(upstream))
    trusting = way.pki.client()

    async def once() -> None:
        await talk(*await tls_to(run, trusting, "chat.test"))

    return run, once


async def tls_reset(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("chat.test"))
    run = await way.gateway(reverse(upstream))
    trusting = way.pki.client()

    async def once() -> None:
        reader, writer = await tls_to(run, trusting, "chat.test")
        writer.write(b"hi")
        assert await reader.readexactly(2) == b"HI"
        reset(writer)

    return run, once


async def tls_cut(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("chat.test"))
    run = await way.gateway(reverse(upstream), on=cutting)
    trusting = way.pki.client()

    async def once() -> None:
        reader, writer = await tls_to(run, trusting, "chat.test")
        writer.write(b"hi")
        await ended(reader, writer)

    return run, once


async def tls_unread(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("chat.test"))
    run = await way.gateway(reverse(upstream), tls=way.pki.settings(intercept="none"))
    trusting = way.pki.client(way.pki.ca_file)

    async def once() -> None:
        await talk(*await tls_to(run, trusting, "chat.test"))

    return run, once


async def tls_refused_by_client(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("chat.test"))
    run = await way.gateway(reverse(upstream))
    distrusting = way.pki.client(way.pki.ca_file)

    async def once() -> None:
        with pytest.raises(ssl.SSLError):
            await tls_to(run, distrusting, "chat.test")

    return run, once


async def tls_of_server_fails(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("other.test"))
    run = await way.gateway(reverse(upstream))
    trusting = way.pki.client()

    async def once() -> None:
        with pytest.raises(OSError):
            await tls_to(run, trusting, "chat.test")

    return run, once


async def starttls_opened(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(starttls_server(way.pki.server("chat.test")))
    run = await way.gateway(reverse(upstream), on=starttls())
    trusting = way.pki.client()

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"S")
        assert await reader.readexactly(len(PROCEED)) == PROCEED
        await writer.start_tls(trusting, server_hostname="chat.test")
        await talk(reader, writer)

    return run, once


async def starttls_fails(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(starttls_server(way.pki.server("other.test")))
    run = await way.gateway(reverse(upstream), on=starttls())

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"S")
        await ended(reader, writer)

    return run, once


async def starttls_injection(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(starttls_server(way.pki.server("chat.test")))
    run = await way.gateway(reverse(upstream), on=starttls())

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"S")
        assert await reader.readexactly(len(PROCEED)) == PROCEED
        writer.write(b"<message/>")
        await ended(reader, writer)

    return run, once


def cutting(script: Script, given: Input) -> list[Effect] | None:
    return [Cut("malformed")] if isinstance(given, Chunk) else None


def crashing(script: Script, given: Input) -> list[Effect] | None:
    if isinstance(given, Chunk):
        raise ValueError
    return [Cut("internal")] if isinstance(given, Troubled) else None


async def cut(way: Way) -> tuple[Running, Once]:
    return await _ended_by_gateway(way, cutting)


async def internal_error(way: Way) -> tuple[Running, Once]:
    return await _ended_by_gateway(way, crashing)


async def _ended_by_gateway(way: Way, on: Any) -> tuple[Running, Once]:
    run = await way.gateway(reverse(await way.behind()), on=on)

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"hi")
        await ended(reader, writer)

    return run, once


async def killed(way: Way) -> tuple[Running, Once]:
    run = await way.gateway(reverse(await way.behind()))

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"hi")
        assert await reader.readexactly(2) == b"HI"
        [session] = run.gateway.sessions()
        assert run.gateway.kill(session.id)
        await ended(reader, writer)

    return run, once


def socks() -> ListenerSettings:
    return ListenerSettings(
        "socks5", "127.0.0.1", 0, destinations=Destinations.parse(("127.0.0.1",), ("loopback",)))


def asking(address: bytes, port: int) -> bytes:
    return b"\x05\x01\x00\x05\x01\x00\x01" + address + port.to_bytes(2)


async def socks_tls(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind(ssl=way.pki.server("127.0.0.1"))
    run = await way.gateway(socks())
    trusting = way.pki.client()

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(asking(b"\x7f\x00\x00\x01", upstream[1]))
        assert (await reader.readexactly(12))[3] == 0
        await writer.start_tls(trusting, server_hostname="127.0.0.1")
        await talk(reader, writer)

    return run, once


async def destination_refused(way: Way) -> tuple[Running, Once]:
    return await _refused(way, socks(), asking(b"\x7f\x00\x00\x02", 5))


async def unreached(way: Way) -> tuple[Running, Once]:
    return await _refused(way, socks(), asking(b"\x7f\x00\x00\x01", 1))


async def no_socks(way: Way) -> tuple[Running, Once]:
    return await _refused(way, socks(), b"GET / HTTP/1.1\r\n\r\n")


async def no_connect(way: Way) -> tuple[Running, Once]:
    return await _refused(way, ListenerSettings("connect", "127.0.0.1", 0), b"GET / HTTP/1.1\r\n\r\n")


async def no_client(way: Way) -> tuple[Running, Once]:
    upstream = await way.behind()
    return await _refused(way, reverse(upstream, clients=(ipaddress.ip_network("10.0.0.0/8"),)), b"")


async def silent(way: Way) -> tuple[Running, Once]:
    """Set-up takes too long."""
    return await _refused(way, socks(), b"\x05", limits=Limits(handshake_seconds=0.02))


async def _refused(way: Way, listener: ListenerSettings, said: bytes, **more: Any) -> tuple[Running, Once]:
    run = await way.gateway(listener, **more)

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(said)
        await ended(reader, writer)

    return run, once


async def refused_by_policy(way: Way) -> tuple[Running, Once]:
    """Sessions of the engine: a message passes, one is refused; the client ends."""
    return await _toy(way, b"HELLO a\nSAY bob hello\nSAY bob block\n", ends=False)


async def malformed(way: Way) -> tuple[Running, Once]:
    return await _toy(way, b"HELLO a\nSAY bob hello\nBAD\n", ends=True)


async def _toy(way: Way, said: bytes, *, ends: bool) -> tuple[Running, Once]:
    limits = Limits()
    kit, world = toy_kit(limits=limits), World(limits)
    kit.rules = Rules(1, ToyPolicy(), ToyScanner())

    def make(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Session:
        return Session(flow, kit, world)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"ME alice\n" if line.startswith(b"HELLO") else b"GOT it\n")

    run = await way.gateway(reverse(await way.behind(serve)), limits=limits, sessions=make, world=world)

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(said)
        if not ends:
            assert await reader.readline() == b"ME alice\n"
            writer.write_eof()
        await ended(reader, writer)

    return run, once


async def file_refused(way: Way) -> tuple[Running, Once]:
    return await _file(way, b"virus")


async def file_passed(way: Way) -> tuple[Running, Once]:
    return await _file(way, b"words")


async def _file(way: Way, words: bytes) -> tuple[Running, Once]:
    limits = Limits(spool_free_bytes=1)
    make, world = sessions("spool", limits)
    upstream = await way.behind()
    run = await way.gateway(reverse(upstream), limits=limits, sessions=make, world=world, judges=FakeJudges())

    async def once() -> None:
        reader, writer = await run.connect()
        writer.write(b"FILE a.exe 200000\n" + words * 40_000)
        writer.write_eof()
        await ended(reader, writer)

    return run, once


KINDS = (
    plain, ended_by_server, reset_by_client, reset_at_once, tls, tls_reset, tls_cut, tls_unread, tls_refused_by_client,
    tls_of_server_fails, starttls_opened, starttls_fails, starttls_injection, cut, internal_error, killed, socks_tls,
    destination_refused, unreached, no_socks, no_connect, no_client, silent, refused_by_policy, malformed, file_refused,
    file_passed,
)
ALSO = (plain, reset_at_once, tls, tls_reset, starttls_opened, starttls_injection, cut, internal_error, no_client)
"""Those that end in other ways without uvloop, or with mitmproxy's own I/O."""
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop, "stock": asyncio.new_event_loop}
CASES = [(kind, "uvloop") for kind in KINDS] + [(kind, io) for kind in ALSO for io in ("asyncio", "stock")]


@pytest.mark.parametrize(("kind", "io"), CASES, ids=lambda each: getattr(each, "__name__", each))
def test_an_ended_session_dies_by_itself(tmp_path: Path, kind: Any, io: str) -> None:
    """Nothing of it is left once its connections are closed: no object of ours, of the layers, of OpenSSL."""

    async def scenario() -> dict[str, int]:
        way = Way(tmp_path, io == "stock")
        async with way.stack:
            run, once = await kind(way)
            return await left(run, once)

    with asyncio.Runner(loop_factory=LOOPS[io]) as runner:
        assert runner.run(asyncio.wait_for(scenario(), 30)) == {}


@pytest.mark.parametrize("kind", [plain, tls, starttls_opened], ids=lambda kind: kind.__name__)
def test_a_session_that_stands_keeps_nothing_of_its_set_up(tmp_path: Path, kind: Any) -> None:
    """Layers, their context, what was parsed of a ClientHello, certificates: gone, without the collector, while it
    lives."""

    async def scenario() -> dict[str, int]:
        way = Way(tmp_path, stock_io=False)
        async with way.stack:
            run, once = await kind(way)
            for _ in range(2):
                await once()
                await rest(run)
            gc.collect()
            gc.freeze()
            gc.disable()
            try:
                standing: list[dict[str, int]] = []
                step = Script.step

                def look(self: Script, given: Input, world: Any) -> list[Effect]:
                    if isinstance(given, Chunk) and given.data == b"HI":
                        asyncio.get_running_loop().call_soon(lambda: standing.append(living()))
                    return step(self, given, world)

                Script.step = look  # type: ignore[method-assign]
                try:
                    await once()
                    await rest(run)
                finally:
                    Script.step = step  # type: ignore[method-assign]
                [found] = standing
                return {name: number for name, number in found.items()
                        if name.startswith(("mitmproxy", "kaitaistruct", "inspector.drivers.mitm."))}
            finally:
                gc.enable()
                gc.unfreeze()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == {}


@pytest.mark.parametrize("stock_io", [False, True], ids=["fast", "stock"])
def test_an_answer_that_was_asked_for_during_set_up_comes_to_the_session(tmp_path: Path, stock_io: bool) -> None:
    """The layer that was the way to it when it asked is gone by then."""

    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is UP:
            return [Note(7, {"event": "verdict"}, True)]
        return [Send(DOWN, b"kept")] if isinstance(given, Kept) and given.id == 7 else None

    async def scenario() -> None:
        way = Way(tmp_path, stock_io)
        async with way.stack:
            run = await way.gateway(reverse(await way.behind()), on=on)
            reader, writer = await run.connect()
            writer.write(b"hi")
            assert await reader.readexactly(4) == b"kept"
            writer.close()
            await until(lambda: not run.gateway.links)

    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("stock_io", [False, True], ids=["fast", "stock"])
def test_a_word_that_comes_after_the_end_finds_a_closed_session(tmp_path: Path, stock_io: bool) -> None:
    """Whoever still holds the link or the conversation may say what he will: nothing raises, nothing is carried out."""

    async def scenario() -> None:
        way = Way(tmp_path, stock_io)
        async with way.stack:
            run = await way.gateway(reverse(await way.behind()))
            reader, writer = await run.connect()
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"HI"
            [link] = run.gateway.links
            [session] = run.sessions
            conversation = link.conversation
            answer = conversation._post
            writer.close()
            await until(lambda: not run.gateway.links and not run.gateway._tasks)
            heard = len(session.inputs)
            called: list[bool] = []
            answer(Kept(7, 0.0))
            conversation.kill("too late")
            conversation.step(Killed(0.0, "too late"))
            conversation.receive(UP, b"late")
            conversation.closed(DOWN)
            conversation.lost()
            conversation.outlet.when_room(UP, lambda: called.append(True))
            conversation.write[DOWN](b"late")
            link.post(Kept(7, 0.0))
            link.when_room(UP, lambda: None)
            link.hold(client=True, server=True)
            link.hold(client=False, server=False)
            link.check()
            link.cut()
            link.abort()
            if not stock_io:
                link.established()
                link.dismiss()
                link.pressure(link.client_side)
            await asyncio.sleep(0.01)
            assert len(session.inputs) == heard
            assert not called
            assert not run.sentences

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_what_waited_for_a_connection_may_find_that_the_session_is_over() -> None:
    """What came before the server was reached is handed on one by one: the first of it may have ended the session."""
    client = connection.Client(
        peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), state=connection.ConnectionState.OPEN, timestamp_start=0)
    front = Front(Context(client, OPTIONS), SimpleNamespace(layer=None), None, None)
    front.connected = True
    assert list(front.handle_event(events.DataReceived(client, b"x"))) == []
