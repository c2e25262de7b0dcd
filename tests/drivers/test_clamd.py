"""clamd: what it says, and that everything else is a failure."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.clamd import Clamd, finding
from inspector.model import Finding

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


@asynccontextmanager
async def clamd(folder: Path, peer: Peer) -> AsyncIterator[str]:
    """Something that listens where clamd would."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await peer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    path = str(folder / "clamd.ctl")
    Path(path).unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield path
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream(reader: asyncio.StreamReader) -> bytes:
    """What an INSTREAM brings."""
    assert await reader.readexactly(10) == b"zINSTREAM\0"
    data = b""
    while size := struct.unpack("!I", await reader.readexactly(4))[0]:
        data += await reader.readexactly(size)
    return data


def content(data: bytes) -> int:
    descriptor = os.memfd_create("content")
    os.write(descriptor, data)
    return descriptor


def test_the_content_is_streamed_and_the_answer_read(tmp_path: Path) -> None:
    """Every byte, whatever the position of the descriptor; OK is clean, FOUND a finding; the next file likewise."""
    got: list[bytes] = []

    async def scenario() -> None:
        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await stream(reader))
            writer.write(b"stream: Toy.Virus-1 FOUND\0" if b"virus" in got[-1] else b"stream: OK\0")
            await writer.drain()

        async with clamd(tmp_path, peer) as path:
            client = Clamd(path, lambda: 5.0, print)
            for data, said in (
                (b"x" * 200_000, None), (b"", None),
                (b"virus", Finding("clamd", "clamd.Toy.Virus-1", "high", "clamd calls it Toy.Virus-1")),
            ):
                descriptor = content(data)
                assert await client.ask(descriptor, len(data)) == said
                os.close(descriptor)
                assert got[-1] == data

    run(scenario)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await stream(reader)
    await reader.read()


async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"INSTREAM size limit exceeded. ERROR\0")
    await writer.drain()


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await stream(reader)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await stream(reader)
    writer.write(b"stream: " + b"O" * 100_000)
    await writer.drain()


@pytest.mark.parametrize(("peer", "error", "why"), [
    (silent, OSError, "clamd did not answer in time"),
    (early, ValueError, r"clamd takes no files of this size \(StreamMaxLength\)"),
    (gone, ValueError, "clamd gave no answer"),
    (endless, ValueError, "clamd gave no answer"),
])
def test_what_is_no_clear_answer_is_an_error(tmp_path: Path, peer: Peer, error: type[Exception], why: str) -> None:
    """Silence, refusal, an end without a word, words without an end: never clean; told once, and when it is over."""
    said: list[str] = []

    async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)
        writer.write(b"stream: OK\0")
        await writer.drain()

    async def scenario() -> None:
        descriptor = content(b"x" * 3_000_000)
        async with clamd(tmp_path, peer) as path:
            client = Clamd(path, lambda: 0.5, said.append)
            for _ in range(2):
                with pytest.raises(error, match=why):
                    await client.ask(descriptor, 3_000_000)
        assert (len(said), client.trouble is None) == (1, False)
        async with clamd(tmp_path, fine):
            assert await client.ask(descriptor, 10) is None
        assert (said[1:], client.trouble) == (["clamd judges files again"], None)
        os.close(descriptor)

    run(scenario)


@pytest.mark.parametrize("place", ["/nonexistent/clamd.ctl", ("127.0.0.1", 1)])
def test_clamd_that_is_not_there(place: str | tuple[str, int]) -> None:
    """An error in a sentence."""

    async def scenario() -> None:
        descriptor = content(b"x")
        with pytest.raises(OSError, match="clamd cannot be reached: "):
            await Clamd(place, lambda: 5.0, print).ask(descriptor, 1)
        os.close(descriptor)

    run(scenario)


def test_a_first_try_asks_about_nothing(tmp_path: Path) -> None:
    """Whether it is there is known before the first file comes; that it is not raises nothing."""

    async def fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await stream(reader) == b""
        writer.write(b"stream: OK\0")
        await writer.drain()

    async def scenario() -> None:
        client = Clamd(str(tmp_path / "clamd.ctl"), lambda: 5.0, lambda sentence: None)
        await client.try_out()
        assert client.trouble == "clamd cannot be reached: no such file or directory"
        async with clamd(tmp_path, fine):
            await client.try_out()
        assert client.trouble is None

    run(scenario)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    """What was not seen whole is not clean."""

    async def scenario() -> None:
        async with clamd(tmp_path, silent) as path:
            descriptor = content(b"x")
            with pytest.raises(ValueError, match="shorter"):
                await Clamd(path, lambda: 5.0, print).ask(descriptor, 2)
            os.close(descriptor)

    run(scenario)


@pytest.mark.parametrize(("answer", "rule"), [
    (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", "clamd.Win.Test.EICAR_HDB-1"),
    (b"stream: A b\x1b[2J\r\n{reference} FOUND\0", "clamd.A_b__2J___reference_"),
    (b"stream: " + b"x" * 3000 + b" FOUND\0", "clamd." + "x" * 120),
    (b"stream:  FOUND\0", "clamd.unnamed"),
])
def test_names_are_made_safe(answer: bytes, rule: str) -> None:
    """A name from outside becomes a rule's name: letters, digits, dots; so long and no longer."""
    found = finding(answer)
    assert found is not None
    assert (found.detector, found.rule, found.severity) == ("clamd", rule, "high")


@pytest.mark.parametrize(("answer", "why"), [
    (b"stream: OK FOUND?\0", "clamd says: stream_ OK FOUND_"), (b"\0", "clamd says: "),
    (b"Access denied. ERROR\0", "clamd says: Access denied. ERROR"),
])
def test_anything_else_is_an_error(answer: bytes, why: str) -> None:
    """Never clean by accident."""
    with pytest.raises(ValueError, match=why):
        finding(answer)
