"""How the supervisor and a worker talk: requests and news over a Unix stream socket, both ways.

On the wire a message is its length (4 bytes, network order) and a msgpack array [what, id, kind, payload]; `what` is
CALL, ANSWER, FAILED or TELL. Payloads are plain values: what goes in may be a msgspec.Struct or a dataclass, what comes
out is dicts, lists, texts, bytes and numbers (`msgspec.convert` makes a Struct of them).

    answer = await channel.call("prepare", {…})     # waits; ChannelError: refused, too late, or the other end is gone
    channel.ask("keep", held, done)                 # the same for code that cannot wait: done(answer, why), once
    channel.tell("came", {…})                       # no answer
    channel.handle("status", function)              # at the other end: payload -> answer, or a coroutine of one

Handlers run in the order in which their messages came; a coroutine runs up to where it first waits before what came
later is looked at, and is a task of its own from there. A handler says no by raising ChannelError (or UserError): its
sentence is the caller's.

Bounds: MESSAGE_BYTES a message, WAITING_BYTES not yet taken by the other end, CALLS unanswered. Beyond one of them a
call fails and `tell` says False; a message that is too long, or none of ours, from the other end ends the channel. When
the other end is gone every open call fails with GONE, and `gone` is called once.

`pair()` makes the two ends of a channel inside one process, for a gateway without workers: whoever calls need not know.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, cast

import msgspec

from inspector.app.errors import UserError

CALL, ANSWER, FAILED, TELL = range(4)

MESSAGE_BYTES = 32 << 20
"""Longest message: the sessions of a full worker are 5 MB."""
WAITING_BYTES = 64 << 20
"""What may wait for the other end to read it."""
CALLS = 20_000
"""Calls that wait for their answer."""
CALL_SECONDS = 30.0
"""How long an answer is waited for, unless the caller says otherwise."""

GONE = "the other process is gone"
LATE = "no answer in time"
FULL = "too much waits for the other process"

_LENGTH = struct.Struct("!I")

Handler = Callable[[Any], Any]
Done = Callable[[Any, str | None], None]
"""(answer, None) or (None, the sentence of a failure)."""


class ChannelError(Exception):
    """A call that was not answered, or answered with no; the text is one sentence."""


class Talk(Protocol):
    """What both forms of a channel can do."""

    def handle(self, kind: str, handler: Handler) -> None:
        """Who answers calls, and takes news, of this kind."""
        ...

    def ask(self, kind: str, payload: Any, done: Done, seconds: float = CALL_SECONDS) -> None:
        """Call, and have `done` called once: with the answer, or with why there is none. Never from inside `ask`."""
        ...

    def tell(self, kind: str, payload: Any = None) -> bool:
        """Say something that needs no answer; False: it was not sent."""
        ...

    async def call(self, kind: str, payload: Any = None, seconds: float = CALL_SECONDS) -> Any:
        """Call and wait for the answer. Raises ChannelError."""
        ...


async def _call(channel: Talk, kind: str, payload: Any, seconds: float) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(answer: Any, why: str | None) -> None:
        if future.done():
            return
        if why is None:
            future.set_result(answer)
        else:
            future.set_exception(ChannelError(why))

    channel.ask(kind, payload, done, seconds)
    return await future


class Channel(asyncio.Protocol):
    """One end of a channel over a socket; `attach` makes it."""

    def __init__(self, gone: Callable[[], None]) -> None:
        """`gone` is called once, when the other end is."""
        self.open = False
        self._gone = gone
        self._handlers: dict[str, Handler] = {}
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._buffer = bytearray()
        self._calls: dict[int, tuple[Done, asyncio.TimerHandle]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the user's side (Talk)

    def handle(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler

    def ask(self, kind: str, payload: Any, done: Done, seconds: float = CALL_SECONDS) -> None:
        loop = asyncio.get_running_loop()
        self._number += 1
        number = self._number
        if len(self._calls) >= CALLS:
            loop.call_soon(done, None, FULL)
            return
        why = self._send(CALL, number, kind, payload)
        if why is not None:
            loop.call_soon(done, None, why)
            return
        self._calls[number] = done, loop.call_later(seconds, self._late, number)

    def tell(self, kind: str, payload: Any = None) -> bool:
        return self._send(TELL, 0, kind, payload) is None

    async def call(self, kind: str, payload: Any = None, seconds: float = CALL_SECONDS) -> Any:
        return await _call(self, kind, payload, seconds)

    def close(self) -> None:
        """End the channel, once what was sent is written; `gone` is called."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the channel at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WAITING_BYTES)
        self.open = True

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if size > MESSAGE_BYTES:
                self.abort()
                return
            end = at + _LENGTH.size + size
            if len(buffer) < end:
                break
            message = bytes(buffer[at + _LENGTH.size:end])
            at = end
            if not self._take(message):
                self.abort()
                return
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's shape
        self.open = False
        self._buffer.clear()
        calls, self._calls = self._calls, {}
        for done, timer in calls.values():
            timer.cancel()
            done(None, GONE)
        for task in list(self._tasks):
            task.cancel()
        self._gone()

    # -- messages

    def _send(self, what: int, number: int, kind: str, payload: Any) -> str | None:
        """Why it was not sent; None: it was."""
        if not self.open or self._transport.is_closing():
            return GONE
        body = msgspec.msgpack.encode((what, number, kind, payload))
        if len(body) > MESSAGE_BYTES:
            return f"a message of {len(body)} bytes is too long"
        if self._transport.get_write_buffer_size() + len(body) > WAITING_BYTES:
            return FULL
        self._transport.write(_LENGTH.pack(len(body)) + body)
        return None

    def _take(self, message: bytes) -> bool:
        """Handle one message; False: it is none of ours."""
        try:
            what, number, kind, payload = msgspec.msgpack.decode(message, type=tuple[int, int, str, Any])
        except (msgspec.DecodeError, RecursionError):
            return False
        if what == CALL:
            self._called(number, kind, payload)
        elif what == TELL:
            self._told(kind, payload)
        elif what in (ANSWER, FAILED):
            found = self._calls.pop(number, None)
            if found is not None:  # else it was late
                done, timer = found
                timer.cancel()
                done(payload if what == ANSWER else None, None if what == ANSWER else str(payload))
        else:
            return False
        return True

    def _late(self, number: int) -> None:
        done, _ = self._calls.pop(number)
        done(None, LATE)

    def _called(self, number: int, kind: str, payload: Any) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            self._send(FAILED, number, kind, f'nobody answers "{kind}" there')
            return
        try:
            found = handler(payload)
        except (ChannelError, UserError) as error:
            self._send(FAILED, number, kind, str(error))
            return
        if inspect.isawaitable(found):
            self._spawn(self._answer(number, kind, found))
        else:
            self._back(number, kind, found)

    def _back(self, number: int, kind: str, answer: Any) -> None:
        why = self._send(ANSWER, number, kind, answer)
        if why is not None and why != GONE:
            self._send(FAILED, number, kind, why)

    async def _answer(self, number: int, kind: str, found: Awaitable[Any]) -> None:
        try:
            answer = await found
        except (ChannelError, UserError) as error:
            self._send(FAILED, number, kind, str(error))
        else:
            self._back(number, kind, answer)

    def _told(self, kind: str, payload: Any) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            return
        found = handler(payload)
        if inspect.isawaitable(found):
            self._spawn(_awaited(found))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = _eager(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _eager(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that runs at once, up to where it first waits."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)


async def _awaited(found: Awaitable[Any]) -> None:
    await found


async def attach(
    sock: socket.socket, gone: Callable[[], None], serve: Callable[[Channel], None] = lambda _: None,
) -> Channel:
    """The channel over one end of a Unix stream socket pair, which is the channel's to close; `serve` names its
    handlers before anything is read. Raises OSError."""
    def made() -> Channel:
        channel = Channel(gone)
        serve(channel)
        return channel

    sock.setblocking(False)
    _, channel = await asyncio.get_running_loop().create_unix_connection(made, sock=sock)
    return channel


class Direct:
    """One end of a channel inside one process: the other end's handlers are called by the loop, in order."""

    def __init__(self) -> None:
        self.other: Direct = self
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler

    def ask(self, kind: str, payload: Any, done: Done, seconds: float = CALL_SECONDS) -> None:
        asyncio.get_running_loop().call_soon(self._run, kind, _plain(payload), done, seconds)

    def tell(self, kind: str, payload: Any = None) -> bool:
        asyncio.get_running_loop().call_soon(self._run, kind, _plain(payload), None, CALL_SECONDS)
        return True

    async def call(self, kind: str, payload: Any = None, seconds: float = CALL_SECONDS) -> Any:
        return await _call(self, kind, payload, seconds)

    def _run(self, kind: str, payload: Any, done: Done | None, seconds: float) -> None:
        handler = self.other._handlers.get(kind)
        if handler is None:
            if done is not None:
                done(None, f'nobody answers "{kind}" there')
            return
        try:
            found = handler(payload)
        except (ChannelError, UserError) as error:
            if done is None:
                raise
            done(None, str(error))
            return
        if inspect.isawaitable(found):
            task = _eager(self._wait(found, done, seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif done is not None:
            done(_plain(found), None)

    @staticmethod
    async def _wait(found: Awaitable[Any], done: Done | None, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                answer = await found
        except (ChannelError, UserError) as error:
            if done is None:
                raise
            done(None, str(error))
        except TimeoutError:
            if done is not None:
                done(None, LATE)
        else:
            if done is not None:
                done(_plain(answer), None)


def _plain(payload: Any) -> Any:
    """The value as it would arrive at the other end of a socket: nobody may lean on the difference."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(payload))


def pair() -> tuple[Direct, Direct]:
    """The two ends of a channel inside one process."""
    one, two = Direct(), Direct()
    one.other, two.other = two, one
    return one, two
