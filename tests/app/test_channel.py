"""The channel between supervisor and worker, over a real socket pair and inside one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from inspector.app import channel
from inspector.app.channel import Channel, ChannelError, Talk
from inspector.app.errors import UserError

PATIENCE = 10.0


class Item(msgspec.Struct):
    """Something with a shape."""

    name: str
    raw: bytes


@contextlib.asynccontextmanager
async def two(kind: str) -> AsyncIterator[tuple[Talk, Talk]]:
    """Both ends of a channel of one of the two forms."""
    if kind == "direct":
        yield channel.pair()
        return
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one = await channel.attach(ours, lambda: None)
    other = await channel.attach(its, lambda: None)
    yield one, other
    one.abort()
    other.abort()
    await asyncio.sleep(0)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await work()

    asyncio.run(bounded())


@pytest.mark.parametrize("kind", ["socket", "direct"])
def test_a_call_is_answered_with_plain_values(kind: str) -> None:
    """Both ways, with and without a wait; what goes in as a Struct comes out as a dict."""
    async def work() -> None:
        async with two(kind) as (one, other):
            async def slow(payload: Any) -> Any:
                await asyncio.sleep(0)
                return [payload, "slow"]

            other.handle("quick", lambda payload: Item(payload["name"], payload["raw"] * 2))
            one.handle("slow", slow)
            assert await one.call("quick", Item("a", b"\0\xff")) == {"name": "a", "raw": b"\0\xff\0\xff"}
            assert await other.call("slow", {"n": 1}) == [{"n": 1}, "slow"]

    run(work)


@pytest.mark.parametrize("kind", ["socket", "direct"])
def test_what_is_refused_has_the_other_end_s_sentence(kind: str) -> None:
    """A handler's ChannelError or UserError, an unknown kind, and an answer that does not come."""
    async def work() -> None:
        async with two(kind) as (one, other):
            async def no(payload: Any) -> Any:
                raise UserError("it may not be")

            def never(payload: Any) -> Any:
                raise ChannelError("never")

            async def silent(payload: Any) -> Any:
                await asyncio.sleep(PATIENCE)

            other.handle("no", no)
            other.handle("never", never)
            other.handle("silent", silent)
            for name, sentence in (("no", "it may not be"), ("never", "never"), ("what", 'nobody answers "what"')):
                with pytest.raises(ChannelError, match=sentence):
                    await one.call(name)
            with pytest.raises(ChannelError, match=channel.LATE):
                await one.call("silent", seconds=0.01)

    run(work)


@pytest.mark.parametrize("kind", ["socket", "direct"])
def test_order_is_kept_from_one_end_to_the_other(kind: str) -> None:
    """News and calls are handled in the order they were said; the answer comes after all that was told before."""
    async def work() -> None:
        seen: list[int] = []
        async with two(kind) as (one, other):
            async def slow(n: int) -> None:
                seen.append(n)
                await asyncio.sleep(0)

            other.handle("n", lambda n: slow(n) if n % 2 else seen.append(n))
            other.handle("seen", lambda _: len(seen))
            for n in range(500):
                assert one.tell("n", n)
            assert await one.call("seen") == 500
            assert seen == list(range(500))

    run(work)


def test_messages_arrive_whole_however_they_are_cut() -> None:
    """One byte at a time, and many in one read."""
    async def work() -> None:
        seen: list[Any] = []
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        end = await channel.attach(ours, lambda: None)
        end.handle("x", seen.append)
        bodies = [msgspec.msgpack.encode((channel.TELL, 0, "x", n)) for n in range(3)]
        wire = b"".join(struct.pack("!I", len(body)) + body for body in bodies)
        for byte in wire:
            its.send(bytes((byte,)))
            await asyncio.sleep(0.001)
        its.send(wire)
        while len(seen) < 6:
            await asyncio.sleep(0.001)
        assert seen == [0, 1, 2, 0, 1, 2]
        end.abort()
        its.close()
        await asyncio.sleep(0)

    run(work)


@pytest.mark.parametrize("wire", [
    struct.pack("!I", channel.MESSAGE_BYTES + 1),
    struct.pack("!I", 4) + b"\xc1\xc1\xc1\xc1",
    struct.pack("!I", 5) + msgspec.msgpack.encode((9, 0, "", None)),
    struct.pack("!I", 1) + b"\x00",
])
def test_what_is_none_of_ours_ends_the_channel(wire: bytes) -> None:
    """A length beyond the bound, no msgpack, an unknown sort, another shape: gone, and open calls are told."""
    async def work() -> None:
        over = asyncio.Event()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        end = await channel.attach(ours, over.set)
        asked = asyncio.ensure_future(end.call("anything"))
        await asyncio.sleep(0)
        its.send(wire)
        await over.wait()
        with pytest.raises(ChannelError, match=channel.GONE):
            await asked
        assert not end.tell("more")
        with pytest.raises(ChannelError, match=channel.GONE):
            await end.call("more")
        its.close()

    run(work)


def test_open_calls_fail_when_the_other_process_dies() -> None:
    """A process that ends without a word: every open call is failed, `gone` is called once."""
    async def work() -> None:
        gone: list[int] = []
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        end: Channel = await channel.attach(ours, lambda: gone.append(1))
        answers: list[tuple[Any, str | None]] = []
        for _ in range(3):
            end.ask("x", None, lambda answer, why: answers.append((answer, why)))
        its.close()
        while not gone:
            await asyncio.sleep(0.001)
        assert answers == [(None, channel.GONE)] * 3
        assert gone == [1]

    run(work)


def test_an_end_that_does_not_read_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above WAITING_BYTES news are refused and calls fail; so with MESSAGE_BYTES and CALLS."""
    monkeypatch.setattr(channel, "WAITING_BYTES", 1 << 20)
    monkeypatch.setattr(channel, "MESSAGE_BYTES", 1 << 18)
    monkeypatch.setattr(channel, "CALLS", 2)

    async def work() -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        end = await channel.attach(ours, lambda: None)
        for _ in range(2):
            end.ask("x", None, lambda answer, why: None)
        with pytest.raises(ChannelError, match=channel.FULL):
            await end.call("x")
        assert not end.tell("x", os.urandom(1 << 18))
        sent = 0
        while end.tell("x", bytes(100_000)):
            sent += 1
            assert sent < 100
        assert sent >= 10
        end.abort()
        its.close()
        await asyncio.sleep(0)

    run(work)
