"""Protocol I/O for mitmproxy's layers: what `mitmproxy.proxy.server.ConnectionHandler` does, without streams and tasks.

`Link` runs the layers of one client connection: asyncio tells its two `Side`s of bytes and ends, it gives the layers
their events and carries out their commands. Once set-up is over (plain, or TLS standing on both legs) it goes *fast*:
bytes go straight into the Conversation, through the two TLS objects where there are any, and layers, context and
connection objects are let go. STARTTLS takes it back to layers until TLS stands. (decision 0020, hotpath §3.5)

Back-pressure: a side is read only while the other side's writer, and the session's queue of that way, have room.

Turns: whoever sends much (a file, a flood) is read 64 KiB a turn of the loop, less where that takes long; `Bulk` sees
to it. What one turn costs is what everybody else's message waits. (decision 0044)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events

from inspector.drivers.mitm_layer import Conversation, Timer, where
from inspector.drivers.mitm_tls import ENDED, FAILED, Pipe
from inspector.model import DOWN, UP, Expect, Input, Limits, StartTls, Troubled, Way

READ = 64 * 1024
"""Bytes of one read."""
MUCH = 1024
"""Bytes of one read after which the others of this client have their turn first: more than a message."""
LEAST = 4 * 1024
"""Bytes of one read of a peer whose bytes cost much."""
TURN_SECONDS = 0.002
"""CPU time that the bytes of one read should take at most: a few of them fit between two messages of a chat."""

# Why a side is not read, as bits
SETUP = 1
"""The layers wait for something (a name, a connection, a handshake of the other leg)."""
WRITER = 2
"""The writer this side's bytes go to is full."""
QUEUE = 4
"""Too much of this way waits in the session."""
NOTICES = 8
"""This peer writes but does not read what we answer it."""
TURN = 16
"""It has had its turn; others have theirs first."""

_log = logging.getLogger("inspector.mitm")


class LayerLike(Protocol):
    """mitmproxy.proxy.layer.Layer, as far as it is used here."""

    def handle_event(self, event: events.Event) -> Any: ...


class LinkHost(Protocol):
    """What a Link asks of the gateway."""

    @property
    def limits(self) -> Limits: ...
    def hook(self, link: Any, hook: commands.StartHook, done: Callable[[], None]) -> bool:
        """Handle a mitmproxy hook: True when it is done at once, else `done` is called on the loop."""
        ...

    def begin_tls(self, link: Any, effect: StartTls) -> None:
        """Put the layers that open TLS on `link` and start them."""
        ...

    def accept(self, link: Any) -> bool:
        """A client's connection stands: give it the layer of its mode, or say False, and dismiss it now or later."""
        ...

    def late(self, link: Any) -> None:
        """Set-up took too long: note it, and abort the link."""
        ...

    def forget(self, link: Any) -> None:
        """Both connections of the link are closed."""
        ...

    def later(self, delay: float, call: Callable[[], None]) -> Timer: ...
    def turn(self, link: Any, call: Callable[[], None]) -> None:
        """Call in a later turn of the loop, when it is the turn of this link's client."""
        ...

    def log(self, sentence: str) -> None: ...


class Posted(events.Event):
    """News for the Conversation (a scan's result, a timer, a kill), carried through the layers."""

    def __init__(self, news: Input) -> None:
        self.news = news


def prepare(sock: socket.socket) -> None:
    """Small packets at once; dead peers are noticed although quiet sessions are kept for days."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def dissolve(layer: Any) -> None:
    """Take apart all layers that share the context of `layer`: nobody runs them any more.

    They hold their context and it holds them, what waits in them holds them as well, and with them the TLS objects live
    on until the collector walks the whole heap.
    """
    context = getattr(layer, "context", None)
    if context is not None:
        layers, context.layers = context.layers, []
        for each in layers:
            vars(each).clear()


_TCP_CLOSE = 7
"""linux/tcp_states.h"""


def gone(sock: socket.socket) -> bool:
    """Whether the kernel knows that the connection is over (RST, keep-alive), though nobody reads it."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE


def drop(data: bytes) -> None:
    """The writer of a way that has been finished."""


def hush(data: bytes) -> None:
    """The writer of a way that is not open yet, or in which a TLS handshake is under way."""


class Side(asyncio.Protocol):
    """One TCP connection of a Link. `way` is the way that this peer writes: UP for the client."""

    __slots__ = ("bulk", "ended", "finished", "full", "held", "link", "open", "pipe", "transport", "waiting", "way")

    def __init__(self, link: Link, way: Way) -> None:
        self.link = link
        self.way = way
        self.bulk = False
        """This peer has sent a quarter of READ at once, and is read by `Bulk` since."""
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.pipe: Pipe | None = None
        self.held = 0
        self.full = False
        """Our writer to this peer is above its high-water mark."""
        self.open = False
        self.ended = False
        """This peer has sent its FIN."""
        self.finished = False
        """We have sent ours: a further write would raise."""
        self.waiting: list[Callable[[], None]] | None = None
        """Who is to be called when there is room to write to this peer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.open = True
        if hasattr(transport, "max_size"):
            # asyncio reads 256 KiB at a time: above malloc's mmap threshold, two system calls and page faults each
            transport.max_size = READ
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            prepare(sock)
        self.transport.set_write_buffer_limits(high=self.link.host.limits.write_buffer_bytes)
        if self.way is UP:
            self.link.accepted()

    def data_received(self, data: bytes) -> None:
        link = self.link
        if self.held:
            self.transport.pause_reading()  # uvloop forgets a pause that was asked for in connection_made
        elif len(data) >= MUCH and not self.bulk:
            if len(data) >= READ // 4:
                self.bulk = True
                self.turn(self._to_bulk)
            else:
                self.turn()
        conversation = link.fast
        if conversation is None:
            link.data(self, data)
        elif self.pipe is None:
            conversation.receive(self.way, data)
        else:
            self._decrypt(self.pipe, data, conversation)
        if link.conversation is not None:
            link.pressure(self)

    def turn(self, then: Callable[[], None] | None = None) -> None:
        """It has had its turn: libuv would read up to 32 full buffers of this peer before anybody else has his."""
        self.hold(TURN)
        self.link.host.turn(self.link, then or self._next)

    def _to_bulk(self) -> None:
        if self.open and not self.transport.is_closing():
            self.transport.set_protocol(Bulk(self))
        self._next()

    def _next(self) -> None:
        self.release(TURN)

    def _decrypt(self, pipe: Pipe, data: bytes, conversation: Conversation) -> None:
        plain, state = pipe.decrypt(data)
        out = pipe.pending()
        if out:
            self.transport.write(out)
        if plain:
            conversation.receive(self.way, plain)
        if state == ENDED:
            conversation.closed(self.way)
        elif state == FAILED:
            # A broken record, or a fatal alert: this connection can not go on, nor can the other
            conversation.broken(self.way)

    def write(self, data: bytes) -> None:
        """Send plain bytes to this peer."""
        pipe = self.pipe
        if pipe is not None:
            data = pipe.encrypt(data)
        self.transport.write(data)

    def finish(self) -> None:
        """Send what is written, then the end: close_notify where there is TLS, and FIN."""
        if self.finished or not self.open or self.transport.is_closing():
            return
        self.finished = True
        try:
            if self.pipe is not None:
                self.transport.write(self.pipe.close())
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def eof_received(self) -> bool:
        self.ended = True
        self.link.closed(self, half=True)
        return True  # half-closed: we may still write

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not isinstance(exc, OSError):
            self.link.crashed(exc)  # asyncio ends a connection whose protocol raises
        self.open = False
        self.full = False
        self._room()
        self.link.lost(self)

    def pause_writing(self) -> None:
        self.full = True
        other = self.link.other(self)
        if other is not None:
            other.hold(WRITER)

    def resume_writing(self) -> None:
        self.full = False
        self.release(NOTICES)
        other = self.link.other(self)
        if other is not None:
            other.release(WRITER)
        self._room()

    def when_room(self, call: Callable[[], None]) -> None:
        """Call, later, once what this peer leaves unread is below its limit, or the connection is gone."""
        if not self.full:
            self.link.host.later(0.0, call)
        elif self.waiting is None:
            self.waiting = [call]
        else:
            self.waiting.append(call)

    def _room(self) -> None:
        calls, self.waiting = self.waiting, None
        for call in calls or ():
            self.link.host.later(0.0, call)

    def hold(self, why: int) -> None:
        """Stop reading this peer for `why`."""
        if not self.held and self.open and not self.transport.is_closing():
            self.transport.pause_reading()
        self.held |= why

    def release(self, why: int) -> None:
        """Read this peer again, unless there is another reason not to."""
        if self.held & why:
            self.held &= ~why
            if not self.held and self.open and not self.transport.is_closing():
                self.transport.resume_reading()


_own = threading.local()
"""The room of reads, one for each thread that has a loop: nothing stays in it between two calls of the loop."""


class Bulk(asyncio.BufferedProtocol):
    """What asyncio talks to instead of a Side whose peer sends much: reads of at most READ bytes, fewer where they cost
    more than TURN_SECONDS (many small units, blocks of a file).

    uvloop gives a Protocol up to 250 KiB at a time: four times as long a turn, and an object above malloc's mmap
    threshold. Who only chats is never read into two steps for it.
    """

    __slots__ = ("room", "side", "size")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.size = READ
        room: memoryview | None = getattr(_own, "room", None)
        if room is None:
            room = _own.room = memoryview(bytearray(READ))
        self.room = room

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self.room[:self.size]

    def buffer_updated(self, nbytes: int) -> None:
        side, size = self.side, self.size
        if nbytes < LEAST:
            side.data_received(bytes(self.room[:nbytes]))  # a message of somebody who sent a file once
            return
        begin = time.thread_time()
        side.data_received(bytes(self.room[:nbytes]))
        took = time.thread_time() - begin
        if took > TURN_SECONDS:
            self.size = max(LEAST, size // 2)
        elif size < READ and took < TURN_SECONDS / 4 and nbytes == size:
            self.size = 2 * size
        side.turn()

    def eof_received(self) -> bool:
        return self.side.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.side.connection_lost(exc)

    def pause_writing(self) -> None:
        self.side.pause_writing()

    def resume_writing(self) -> None:
        self.side.resume_writing()


class Link:
    """One client connection and its way to the server."""

    __slots__ = (
        "__weakref__", "_left", "_queue", "_running", "asked", "client", "client_side", "conversation", "deadline",
        "done", "expected", "fast", "host", "layer", "leases", "leaving", "lingering", "listener", "opening",
        "original", "peer", "server", "server_side", "since",
    )

    def __init__(self, host: LinkHost, listener: Any) -> None:
        self.host = host
        self.listener = listener
        self.client_side = Side(self, UP)
        self.server_side: Side | None = None
        self.client: connection.Client = None  # type: ignore[assignment]
        self.server: connection.Server = None  # type: ignore[assignment]
        self.layer: LayerLike | None = None
        self.conversation: Conversation | None = None
        self.fast: Conversation | None = None
        """The conversation, while it is reached without layers."""
        self.lingering = False
        self.deadline: Timer | None = None
        self.opening: asyncio.Task[None] | None = None
        self.original: tuple[str, int] | None = None
        """Where a redirected connection was going (transparent mode)."""
        self.peer: tuple[str, int] = ("0.0.0.0", 0)  # noqa: S104
        self.asked: str | None = None
        """The host that the client, or the listener's upstream, named."""
        self.leases: Any = None
        """The pool of ports that this connection came to one of."""
        self.expected: Expect | None = None
        """What it was leased for."""
        self.since = 0.0
        self.leaving = False
        """It is ended as soon as the row that says why is on disk."""
        self.done = False
        self._running = False
        self._left: LayerLike | None = None
        """A layer that has been left while it runs."""
        self._queue: deque[events.Event] | None = None

    # -- from asyncio

    def accepted(self) -> None:
        """The client's connection stands: the gateway decides whether to take it and with which layer."""
        if self.host.accept(self):
            self.event(events.Start())

    def dismiss(self) -> None:
        """The gateway does not take this connection."""
        self.abort()

    def info(self, name: str) -> Any:
        """What asyncio knows of the client's connection."""
        return self.client_side.transport.get_extra_info(name)

    def known(self, client: connection.Client) -> None:
        """The client's connection object, for the layers."""
        self.client = client

    def other(self, side: Side) -> Side | None:
        return self.server_side if side is self.client_side else self.client_side

    def closed(self, side: Side, *, half: bool) -> None:
        """The peer of `side` sends nothing more (`half`), or its connection is gone."""
        if self.lingering:
            if half:
                side.transport.close()
            return
        if self.fast is not None:
            self.fast.closed(side.way)
            return
        conn = self.client if side.way is UP else self.server
        if conn is None or not conn.state & ConnectionState.CAN_READ:
            return
        conn.state = conn.state & ~ConnectionState.CAN_READ if half else ConnectionState.CLOSED
        self.event(events.ConnectionClosed(conn))

    def lost(self, side: Side) -> None:
        if self.conversation is not None:
            self.conversation.write[side.way.other] = drop
        self.closed(side, half=False)
        other = self.other(side)
        if other is not None and other.open and not self.lingering:
            if self.conversation is not None and not self.conversation.over:
                # Gone in both directions (RST): what the other peer says has no reader
                other.release(WRITER)
                self.conversation.closed(other.way)
            # A sender that is gone has sent its file: it is judged, and released to who is still there
            if not self.lingering and (self.conversation is None or not self.conversation.busy):
                self.cut()
        if not self.client_side.open and (self.server_side is None or not self.server_side.open):
            self._end()

    def data(self, side: Side, data: bytes) -> None:
        """Bytes while layers are at work."""
        if self.lingering:
            return
        conversation = self.conversation
        if conversation is not None and conversation.securing is not None and side.way is UP:
            conversation.receive(UP, data)  # an injection: the layers would keep it for later
            if conversation.over:
                self.cut()
        else:
            self.event(events.DataReceived(self.client if side.way is UP else self.server, data))

    # -- the layers

    def event(self, event: events.Event) -> None:
        """Run the layers on `event`. An exception ends both connections: asyncio closes the one, `lost` the other."""
        if self._running:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(event)
            return
        if self.layer is None:
            return
        self._running = True
        try:
            while True:
                for command in self.layer.handle_event(event):
                    self._carry_out(command)
                if not self._queue or self.layer is None:
                    break
                event = self._queue.popleft()
        finally:
            self._running = False
            if self._left is not None:
                self._leave()
        self._promote()

    def _leave(self) -> None:
        """Leave the layers behind, for good; those that run just now are taken apart when they have returned."""
        if self.layer is not None:
            self._left, self.layer = self.layer, None
        if self._left is not None and not self._running:
            left, self._left = self._left, None
            self._queue = None
            dissolve(left)

    def post(self, news: Input) -> None:
        """Bring news to the conversation by the path that its bytes take."""
        conversation = self.conversation
        if conversation is None or conversation.over:
            return
        if self.fast is not None:
            conversation.step(news)
        else:
            self.event(Posted(news))
        self.pressure(self.client_side)
        if self.server_side is not None:
            self.pressure(self.server_side)

    def when_room(self, way: Way, call: Callable[[], None]) -> None:
        """Call, later, once the peer that reads `way` has room."""
        side = self.server_side if way is UP else self.client_side
        if side is None or not side.open:
            self.host.later(0.0, call)
        else:
            side.when_room(call)

    def _carry_out(self, command: commands.Command) -> None:
        if isinstance(command, commands.SendData):
            side = self._side(command.connection)
            if side is not None and side.open and not side.finished and not side.transport.is_closing():
                side.transport.write(command.data)
        elif isinstance(command, commands.OpenConnection):
            self.opening = asyncio.get_running_loop().create_task(self._open(command))
        elif isinstance(command, commands.CloseConnection):
            self._close(command.connection, getattr(command, "half_close", False))
        elif isinstance(command, commands.StartHook):
            completed = events.HookCompleted(command)
            if self.host.hook(self, command, lambda: self.event(completed)):
                self.event(completed)
        elif isinstance(command, commands.Log):
            _log.log(command.level if command.level < logging.INFO else logging.DEBUG, command.message)
        else:
            raise RuntimeError(f"a layer asked for {type(command).__name__}")

    def _side(self, conn: connection.Connection) -> Side | None:
        return self.client_side if conn is self.client else self.server_side if conn is self.server else None

    async def _open(self, command: commands.OpenConnection) -> None:
        """Connect to the (numeric) address of a server connection; the layers name one address after the other."""
        server = command.connection
        assert server.address is not None
        side = Side(self, DOWN)
        error: str | None = "cancelled"
        try:
            async with asyncio.timeout(self.host.limits.connect_seconds):
                await asyncio.get_running_loop().create_connection(lambda: side, *server.address)
            error = None
        except TimeoutError:
            error = "no answer in time"
        except OSError as failure:
            error = failure.strerror or str(failure)
        finally:
            if error is not None:
                # uvloop says nothing of the end of a connection that stood already and is given up just then
                side.transport = None  # type: ignore[assignment]
        self.opening = None
        if error is None and (self.done or not self.client_side.open):
            side.transport.abort()
            return
        if error is None:
            self.server = server
            self.server_side = side
            server.state = ConnectionState.OPEN
            server.peername = side.transport.get_extra_info("peername")
            server.sockname = side.transport.get_extra_info("sockname")
        server.error = error
        self.event(events.OpenConnectionCompleted(command, error))

    def _close(self, conn: connection.Connection, half: bool) -> None:
        side = self._side(conn)
        if side is None or not side.open:
            return
        if half:
            if conn.state & ConnectionState.CAN_WRITE:
                conn.state &= ~ConnectionState.CAN_WRITE
                side.finish()
        else:
            conn.state = ConnectionState.CLOSED
            self.cut()

    # -- fast

    def _promote(self) -> None:
        """Leave the layers behind once they have nothing more to do."""
        conversation = self.conversation
        ready: Callable[[], tuple[Pipe | None, Pipe | None] | None] | None = getattr(self.layer, "settled", None)
        if conversation is None or conversation.over or self.fast is not None or ready is None or self.lingering:
            return
        pipes = ready()
        if pipes is None or self.server_side is None:
            return
        self.client_side.pipe, self.server_side.pipe = pipes
        for side in (self.client_side, self.server_side):
            writer = side.transport.write if side.pipe is None else side.write
            way = side.way.other
            if conversation.write[way] is not drop:
                conversation.write[way] = writer
        conversation.outlet = self
        self.fast = conversation
        self._leave()
        self.client = self.server = None  # type: ignore[assignment]

    def connections(self) -> tuple[connection.Client, connection.Server]:
        """Fresh mitmproxy connections for the two open sockets, for layers that come back after the fast path."""
        assert self.server_side is not None
        one, two = self.client_side.transport, self.server_side.transport
        self.client = connection.Client(
            peername=one.get_extra_info("peername")[:2], sockname=one.get_extra_info("sockname")[:2],
            state=ConnectionState.OPEN, timestamp_start=self.since)
        peer = two.get_extra_info("peername")[:2]
        self.server = connection.Server(address=peer, peername=peer)
        self.server.state = ConnectionState.OPEN  # last: an open server's address cannot be set
        return self.client, self.server

    # -- the outlet of the conversation, while fast

    def finish(self, way: Way) -> None:
        side = self.server_side if way is UP else self.client_side
        if self.conversation is not None:
            self.conversation.write[way] = drop
        if side is not None:
            side.finish()

    def secure(self, effect: StartTls) -> None:
        assert self.conversation is not None
        self.fast = None
        self.conversation.write[UP] = hush
        self.host.begin_tls(self, effect)

    def cut(self) -> None:
        """Flush, end both sides, read and drop what still comes, so that no RST overtakes the last words."""
        if self.lingering or self.done:
            return
        self.lingering = True
        if self.conversation is not None and not self.conversation.over:
            self.conversation.lost()
        self.fast = None
        self._leave()
        self.limit(None)
        self.deadline = self.host.later(self.host.limits.close_seconds, self.abort)
        self._give_up_opening()
        for side in (self.client_side, self.server_side):
            if side is not None and side.open:
                side.finish()
                if side.ended:
                    side.transport.close()
                else:
                    side.release(SETUP | WRITER | QUEUE | NOTICES)

    def check(self) -> None:
        """A side that is not read cannot tell that its peer is gone: ask the kernel."""
        for side in (self.client_side, self.server_side):
            if side is not None and side.held and side.open and gone(side.transport.get_extra_info("socket")):
                side.transport.abort()

    def crashed(self, error: Exception) -> None:
        """An error in I/O or layers (the session's own are caught in Conversation)."""
        self.host.log(f"a session of {self.peer[0]} is cut because of an internal error: {where(error)}")
        if self.conversation is not None and not self.conversation.over:
            self.conversation.step(Troubled(self.conversation.last, "internal", where(error)))

    def abort(self) -> None:
        """Close both connections at once."""
        self.lingering = True
        self._give_up_opening()
        for side in (self.client_side, self.server_side):
            if side is not None and side.open:
                side.transport.abort()

    # -- back-pressure

    def pressure(self, side: Side) -> None:
        """Hold or release `side` by what of its way waits in the session, and by what its peer leaves unread."""
        conversation = self.conversation
        assert conversation is not None
        if conversation.over:
            return
        if conversation.held(side.way, self.host.limits.way_bytes):
            side.hold(QUEUE)
        elif side.held & QUEUE:
            side.release(QUEUE)
        if side.full and side.transport.get_write_buffer_size() > self.host.limits.way_bytes:
            side.hold(NOTICES)

    def hold(self, *, client: bool, server: bool) -> None:
        """Which sides are not read while layers wait for something."""
        for side, held in ((self.client_side, client), (self.server_side, server)):
            if side is not None:
                if held:
                    side.hold(SETUP)
                else:
                    side.release(SETUP)

    def established(self) -> None:
        """Set-up is over: the leaf has begun."""
        self.hold(client=False, server=False)
        self.limit(None)

    def limit(self, seconds: float | None) -> None:
        """Set-up must go on within this time, or both connections are aborted; None: no limit."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = None if seconds is None else self.host.later(seconds, self._late)

    def _late(self) -> None:
        self.host.late(self)

    def _give_up_opening(self) -> None:
        opening, self.opening = self.opening, None
        if opening is not None:
            opening.cancel()

    def _end(self) -> None:
        if self.done:
            return
        self.done = True
        if self.conversation is not None and not self.conversation.over:
            self.conversation.orphaned()
        self.limit(None)
        self._give_up_opening()
        self._leave()
        self.fast = None
        self.host.forget(self)
        # No more is heard of either: they hold us no longer, and all dies without the collector.
        for side in (self.client_side, self.server_side):
            if side is not None:
                side.link = None  # type: ignore[assignment]


__all__ = ["DOWN", "Link", "LinkHost", "Posted", "Side", "drop", "prepare"]
