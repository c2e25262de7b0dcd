"""Back-pressure, half-close and RST, on both kinds of I/O."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers import sweep
from inspector.drivers.mitm_io import LEAST, READ, Bulk, Side
from inspector.drivers.mitm_server import ListenerSettings
from inspector.model import DOWN, UP, Chunk, Effect, Input, Limits, Send, WakeAt, Way, Woke
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until

LIMITS = Limits(write_buffer_bytes=64 * 1024, way_bytes=128 * 1024, close_seconds=1)
SMALL = 64 * 1024
"""Socket buffers of the test's own peers."""


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def reverse(upstream: tuple[str, int]) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream)


def seen(script: Script, way: Way) -> int:
    """Bytes of a way that the session has been given."""
    return sum(len(given.data) for given in script.inputs if isinstance(given, Chunk) and given.way is way)


async def stalls(measure: Callable[[], int]) -> int:
    """The value at which a growing measure stands still for 0.3 s."""
    last, since = measure(), asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - since < 0.3:
        await asyncio.sleep(0.02)
        if measure() != last:
            last, since = measure(), asyncio.get_running_loop().time()
    return last


async def flood(writer: asyncio.StreamWriter, size: int) -> None:
    """Write `size` bytes as fast as they are taken."""
    try:
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
    except OSError:
        pass


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def silent(started: asyncio.Event, go_on: asyncio.Event) -> Any:
    """A server that reads nothing until it may, then everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        started.set()
        await go_on.wait()
        transport.resume_reading()
        total = 0
        while data := await reader.read(65536):
            total += len(data)
        writer.write(str(total).encode())
        await writer.drain()

    return serve


def test_a_server_that_does_not_read_stops_the_client(tmp_path: Path, stock_io: bool) -> None:
    """A writer of 10 MB is read no further than buffers reach; the other way goes on; nothing is lost."""

    async def scenario() -> None:
        started, go_on = asyncio.Event(), asyncio.Event()

        async with (
            serving(silent(started, go_on)) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            size = 160 * 65536
            task = asyncio.create_task(flood(writer, size))
            await started.wait()
            await until(lambda: bool(gateway.sessions))
            taken = await stalls(lambda: seen(gateway.sessions[0], UP))
            assert taken < size * 0.6, "the gateway went on reading"
            go_on.set()
            await task
            writer.write_eof()
            assert await reader.read() == str(size).encode()
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_a_client_that_does_not_read_stops_the_server_only(tmp_path: Path, stock_io: bool) -> None:
    """The client's writer is full: the server is not read, but what the client says still arrives."""

    async def scenario() -> None:
        heard = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.set_write_buffer_limits(high=65536)
            task = asyncio.create_task(flood(writer, 160 * 65536))
            assert await reader.readexactly(5) == b"hello"
            heard.set()
            await reader.read()
            task.cancel()

        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io) as gateway,
        ):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            with sock:
                await until(lambda: bool(gateway.sessions))
                taken = await stalls(lambda: seen(gateway.sessions[0], DOWN))
                assert taken < 100 * 65536, "the gateway went on reading"
                await loop.sock_sendall(sock, b"hello")
                await asyncio.wait_for(heard.wait(), 5)
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_a_full_queue_stops_its_way_only(tmp_path: Path, stock_io: bool) -> None:
    """What waits for a verdict above `way_bytes` stops that way; it goes on when the queue is empty."""

    async def scenario() -> None:
        release = asyncio.Event()

        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and given.way is UP and not release.is_set():
                script.waiting[UP] += len(given.data)
                return [WakeAt(given.at + 0.05)]
            if isinstance(given, Woke):
                if not release.is_set():
                    return [WakeAt(given.at + 0.05)]
                size, script.waiting[UP] = script.waiting[UP], 0
                return [Send(UP, b"x" * size)]
            return None

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"welcome")
            total = 0
            while data := await reader.read(65536):
                total += len(data)
            writer.write(str(total).encode())

        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, on=on, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            assert await reader.readexactly(7) == b"welcome"
            size = 160 * 65536
            task = asyncio.create_task(flood(writer, size))
            await until(lambda: gateway.sessions[0].waiting[UP] > LIMITS.way_bytes)
            taken = await stalls(lambda: gateway.sessions[0].waiting[UP])
            assert taken <= LIMITS.way_bytes + 300 * 1024
            release.set()
            await task
            writer.write_eof()
            assert await reader.read() == str(size).encode()
            writer.close()

    run(scenario)


def test_a_writer_that_does_not_read_our_notices_is_stopped(tmp_path: Path, stock_io: bool) -> None:
    """A client whose every chunk is refused with a notice, and that reads none of them, is read no further."""

    async def scenario() -> None:
        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk) and given.way is UP:
                return [Send(DOWN, b"refused " * (len(given.data) // 8 + 1))]
            return None

        async with (
            serving(echo) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, on=on, stock_io=stock_io) as gateway,
        ):
            _, writer = await gateway.connect()
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            size = 320 * 65536
            task = asyncio.create_task(flood(writer, size))
            await until(lambda: bool(gateway.sessions))
            taken = await stalls(lambda: seen(gateway.sessions[0], UP))
            assert taken < size * 0.8, "the gateway went on reading"
            task.cancel()
            transport.abort()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_half_close_by_the_server(tmp_path: Path, stock_io: bool) -> None:
    """The server's end reaches the client, which may still write."""

    async def scenario() -> None:
        got = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"bye")
            writer.write_eof()
            assert await reader.read() == b"late words"
            got.set()

        async with serving(serve) as upstream, running(tmp_path, reverse(upstream), stock_io=stock_io) as gateway:
            reader, writer = await gateway.connect()
            assert await reader.read() == b"bye"
            writer.write(b"late words")
            writer.write_eof()
            await asyncio.wait_for(got.wait(), 5)
            await until(lambda: not gateway.gateway.links)
            writer.close()

    run(scenario)


@pytest.mark.parametrize("who", ["client", "server"])
def test_rst_ends_both(tmp_path: Path, stock_io: bool, who: str) -> None:
    """A reset by one peer ends the other's connection; nothing stays."""

    async def scenario() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(2) == b"hi"
            if who == "server":
                reset(writer)
                return
            writer.write(b"ho")
            try:
                assert await reader.read() == b""
            except ConnectionError:
                pass
            ended.set()

        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"hi")
            if who == "client":
                assert await reader.readexactly(2) == b"ho"
                reset(writer)
                await asyncio.wait_for(ended.wait(), 5)
            else:
                try:
                    assert await reader.read() == b""
                except ConnectionError:
                    pass
                writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_news_reach_a_session_while_nothing_is_read(tmp_path: Path, stock_io: bool) -> None:
    """A timer that the session asked for comes, and what it answers is sent."""

    async def scenario() -> None:
        def on(script: Script, given: Input) -> list[Effect] | None:
            if isinstance(given, Chunk):
                return [WakeAt(given.at + 0.2), WakeAt(given.at + 0.05)]
            if isinstance(given, Woke):
                return [Send(DOWN, b"woke")]
            return None

        async with serving(echo) as upstream, running(tmp_path, reverse(upstream), on=on, stock_io=stock_io) as gateway:
            reader, writer = await gateway.connect()
            writer.write(b"x")
            assert await reader.readexactly(4) == b"woke"
            [chunk, woke] = gateway.sessions[0].inputs
            assert isinstance(chunk, Chunk)
            assert isinstance(woke, Woke)
            assert 0.04 < woke.at - chunk.at < 0.19
            writer.close()

    run(scenario)


def test_sockets_are_prepared(tmp_path: Path, stock_io: bool) -> None:
    """No delay and keep-alive on both connections."""

    async def scenario() -> None:
        async with serving(echo) as upstream, running(tmp_path, reverse(upstream), stock_io=stock_io) as gateway:
            reader, writer = await gateway.connect()
            writer.write(b"x")
            await reader.readexactly(1)
            for sock in sockets(gateway):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            writer.close()

    run(scenario)


def sockets(gateway: Running) -> list[socket.socket]:
    """The two sockets of the only link."""
    [link] = gateway.gateway.links
    if hasattr(link, "client_side"):
        return [side.transport.get_extra_info("socket") for side in (link.client_side, link.server_side)]
    return [io.writer.get_extra_info("socket") for io in link.transports.values()]


def test_a_reset_is_noticed_while_nothing_is_read(
    tmp_path: Path, stock_io: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server does not read, so the client is not read either: its RST ends the session all the same."""

    async def scenario() -> None:
        monkeypatch.setattr(sweep, "ROUND", 0.05)
        started, go_on = asyncio.Event(), asyncio.Event()
        async with (
            serving(silent(started, go_on)) as upstream,
            running(tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io) as gateway,
        ):
            _, writer = await gateway.connect()
            task = asyncio.create_task(flood(writer, 320 * 65536))
            await until(lambda: bool(gateway.sessions))
            await stalls(lambda: seen(gateway.sessions[0], UP))
            task.cancel()
            reset(writer)
            await until(lambda: not gateway.gateway.links)
            go_on.set()

    run(scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_sends_much_is_read_a_little_a_turn(tmp_path: Path, loop: str) -> None:
    """A turn of the loop takes 64 KiB of one peer at most, once he has shown that he sends more; nothing is lost or put
    out of order, and his end is seen."""
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed (make test installs it)")
        start = uvloop.run
    else:
        start = asyncio.run
    sent = bytes(range(256)) * 16384

    async def scenario() -> None:
        got = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                got.extend(data)
            writer.write(b"done")

        async with (
            serving(serve) as upstream,
            running(tmp_path, reverse(upstream)) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"hello")
            await until(lambda: bool(gateway.sessions) and seen(gateway.sessions[0], UP) == 5)
            turns: list[int] = []
            turn = 0

            def count() -> None:
                nonlocal turn
                turn += 1
                turns.append(seen(gateway.sessions[0], UP))
                if turns[-1] < len(sent) + 5:
                    asyncio.get_running_loop().call_soon(count)

            count()
            writer.write(sent)
            writer.write_eof()
            await until(lambda: bytes(got) == b"hello" + sent)
            assert await reader.read(4) == b"done"
            sizes = [len(given.data) for given in gateway.sessions[0].inputs if isinstance(given, Chunk)]
            most = max(after - before for before, after in itertools.pairwise(turns))
            large = [size for size in sizes if size > READ]
            assert len(large) <= 1, f"read more than {READ} bytes at once: {sizes}"
            assert most <= max([READ, *large]), f"{most} bytes of one peer in one turn"
            writer.close()

    start(asyncio.wait_for(scenario(), 30))


def test_whose_bytes_cost_much_is_read_less_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads are halved while one takes longer than a turn should, to 4 KiB; they grow again when they cost little. Each
    that fills its room ends the turn."""
    clock, cost, turns, got = 0.0, 0.0, 0, bytearray()

    class Counting(Side):
        def data_received(self, data: bytes) -> None:
            nonlocal clock
            clock += cost * len(data)
            got.extend(data)

        def turn(self, then: Callable[[], None] | None = None) -> None:
            nonlocal turns
            turns += 1

    monkeypatch.setattr("inspector.drivers.mitm_io.time.thread_time", lambda: clock)
    bulk = Bulk(Counting(None, UP))  # type: ignore[arg-type]
    sent = bytearray()

    def read(often: int, share: float = 1.0) -> list[int]:
        sizes = []
        for number in range(often):
            room = bulk.get_buffer(-1)
            sizes.append(len(room))
            piece = bytes([number]) * int(len(room) * share)
            room[:len(piece)] = piece
            sent.extend(piece)
            bulk.buffer_updated(len(piece))
        return sizes

    cost = 0.1 / READ
    assert read(7) == [READ, READ // 2, READ // 4, READ // 8, READ // 16, READ // 16, READ // 16]
    assert turns == 7
    cost = 0.0
    assert read(2, 0.5) == [LEAST, LEAST]
    assert turns == 7
    assert read(6) == [LEAST, 2 * LEAST, 4 * LEAST, 8 * LEAST, READ, READ]
    assert turns == 13
    assert got == sent
