"""Files through the running gateway, with sessions of the real engine: held, released, refused, bounded."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.mitm_server import ListenerSettings
from inspector.model import Limits
from tests.drivers.mitm_harness import running, serving, until
from tests.drivers.rawfiles import FakeJudges, sessions
from tests.drivers.test_mitm_io import reset

LIMITS = Limits(write_buffer_bytes=64 * 1024, way_bytes=256 * 1024, close_seconds=1, spool_free_bytes=1)


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]], seconds: float = 30) -> None:
    asyncio.run(asyncio.wait_for(scenario(), seconds))


def reverse(upstream: tuple[str, int]) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream)


class Receiver:
    """A server that reads to the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.data += data
        except ConnectionError:
            pass
        self.ended.set()


FILE = b"FILE a.txt 100000\n" + bytes(range(250)) * 400


def test_a_spooled_file_arrives_whole_after_its_verdict(tmp_path: Path, stock_io: bool) -> None:
    """Nothing of it before, every byte of it after; then the spool is empty."""

    async def scenario() -> None:
        receiver, judges = Receiver(), FakeJudges(waits=True)
        make, world = sessions("spool", LIMITS)
        async with serving(receiver) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io, world=world, judges=judges, sessions=make,
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(FILE)
            await until(lambda: bool(judges.asked))
            disk = gateway.gateway.disk
            assert (disk.bytes, disk.files) == (len(FILE), 1)
            assert b"\n" not in receiver.data
            judges.answer()
            await until(lambda: len(receiver.data) == len(FILE))
            assert bytes(receiver.data) == FILE
            await until(lambda: disk.files == 0)
            assert disk.bytes == 0
            writer.close()
            await until(lambda: not gateway.gateway.links)
        (row,) = [note.row for note in gateway.notes if note.row["event"] == "file" and note.row["sha256"]]
        assert (row["complete"], row["size"]) == (True, 100_000)

    run(scenario)


@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_a_refused_file_does_not_arrive(tmp_path: Path, stock_io: bool, mode: Any) -> None:
    """Spooled: not a byte of it; streamed: never its last 64 KiB. The sender is told in the protocol's words."""

    async def scenario() -> None:
        receiver, judges = Receiver(), FakeJudges()
        make, world = sessions(mode, LIMITS)
        async with serving(receiver) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io, world=world, judges=judges, sessions=make,
        ) as gateway:
            reader, writer = await gateway.connect()
            writer.write(b"FILE a.exe 200000\n" + b"virus" * 40_000)
            assert await reader.readline() == b"REFUSED\n"
            await asyncio.wait_for(receiver.ended.wait(), 5)
            got = len(receiver.data.partition(b"\n")[2])
            assert got == 0 if mode == "spool" else 0 < got <= 200_000 - 65536
            assert gateway.gateway.disk.files == 0
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_a_sender_that_is_gone_has_sent_its_file(tmp_path: Path) -> None:
    """It resets its connection behind the last byte: who is still there gets the file when it is judged."""

    async def scenario() -> None:
        receiver, judges = Receiver(), FakeJudges(waits=True)
        make, world = sessions("spool", LIMITS)
        async with serving(receiver) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, world=world, judges=judges, sessions=make,
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(FILE)
            await until(lambda: bool(judges.asked))
            reset(writer)
            (link,) = gateway.gateway.links
            await until(lambda: not link.client_side.open)
            judges.answer()
            await asyncio.wait_for(receiver.ended.wait(), 5)
            assert bytes(receiver.data) == FILE
            await until(lambda: not gateway.gateway.links)
            assert gateway.gateway.disk.files == 0

    run(scenario)


def test_a_file_is_judged_though_both_are_gone(tmp_path: Path, stock_io: bool) -> None:
    """Two peers that vanish before the verdict cannot keep it out of the log."""

    async def scenario() -> None:
        judges = FakeJudges(waits=True)
        make, world = sessions("stream", LIMITS)

        async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await until(lambda: bool(judges.asked))
            reset(writer)

        async with serving(vanish) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io, world=world, judges=judges, sessions=make,
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(b"FILE a.exe 100\n" + b"virus" * 20)
            await until(lambda: bool(judges.asked))
            reset(writer)
            await until(lambda: not gateway.gateway.links)
            judges.answer()
            await until(lambda: any(note.row["event"] == "verdict" for note in gateway.notes))
            (row,) = [note.row for note in gateway.notes if note.row["event"] == "verdict"]
            assert row["rule"] == "bad files"
            await until(lambda: gateway.gateway.disk.files == 0)

    run(scenario)


def test_a_killed_session_leaves_nothing_in_the_spool(tmp_path: Path, stock_io: bool) -> None:
    """Its files go with it, the question about them is taken back."""

    async def scenario() -> None:
        receiver, judges = Receiver(), FakeJudges(waits=True)
        make, world = sessions("spool", LIMITS)
        async with serving(receiver) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io, world=world, judges=judges, sessions=make,
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(FILE)
            await until(lambda: bool(judges.asked))
            (info,) = gateway.gateway.sessions()
            assert gateway.gateway.kill(info.id)
            assert not gateway.gateway.kill("unknown")
            await until(lambda: judges.taken_back == 1)
            assert gateway.gateway.disk.files == 0
            os.close(judges.asked[0][1])
            writer.close()
            await until(lambda: not gateway.gateway.links)
            assert b"\n" not in receiver.data

    run(scenario)


def resident() -> int:
    """Anonymous bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_a_large_file_costs_no_memory(tmp_path: Path, stock_io: bool, mode: Any) -> None:
    """100 MB, the receiver slower than the sender: the gateway's memory grows by less than 8 MB (work order, 2)."""
    size = 100 * 1_000_000
    block = os.urandom(1_000_000)

    async def scenario() -> None:
        digest, got = hashlib.sha256(), 0
        most = 0
        ended = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got, most
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            await reader.readline()
            while data := await reader.read(65536):
                digest.update(data)
                got += len(data)
                if got % (1 << 20) < 65536:
                    most = max(most, resident())
                    await asyncio.sleep(0.001)
                if got == size:
                    ended.set()

        make, world = sessions(mode, LIMITS)
        async with serving(slow) as upstream, running(
            tmp_path, reverse(upstream), limits=LIMITS, stock_io=stock_io, world=world, judges=FakeJudges(),
            sessions=make,
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(b"FILE a.bin %d\n" % size)
            await writer.drain()
            before = resident()
            for _ in range(100):
                writer.write(block)
                await writer.drain()
                most = max(most, resident())
            await asyncio.wait_for(ended.wait(), 60)
            assert digest.digest() == hashlib.sha256(block * 100).digest()
            assert most - before < 8 << 20, most - before
            writer.close()
            await until(lambda: not gateway.gateway.links)

    run(scenario, 100)
