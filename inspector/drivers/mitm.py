"""The layers: what of the live driver stands on mitmproxy's (partly untyped) classes.

`Front` finds out where a client wants to go, connects, and tells plain from TLS by the first bytes. TLS is opened
upstream first: `ServerTls` / `Threshold` / `ClientTls` / `Inspect`. `Inspect` is the leaf: events become inputs of the
Conversation, its effects become commands. With protocol I/O (mitm_io) the layers are only there until TLS stands on
both legs; with the stock I/O (`StockLink`) they stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer, server_hooks, tunnel
from mitmproxy.proxy import server as proxy_server
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.tls import ClientHello
from OpenSSL import SSL

from inspector.drivers.mitm_io import Posted, dissolve, drop, gone, prepare
from inspector.drivers.mitm_layer import Conversation
from inspector.drivers.mitm_modes import REFUSED, UNREACHABLE, UNRESOLVED, Dialog, could_be_hello
from inspector.drivers.mitm_tls import Pipe
from inspector.model import DOWN, UP, Expect, Input, StartTls, Way

Commands = layer.CommandGenerator[None]

OPTIONS = Options()
"""mitmproxy's options, at their defaults: nothing of ours reads them."""

MODE = ProxyMode.parse("regular")
"""mitmproxy's word for how a client came to us; our Front replaces what it stands for."""


@dataclass
class Lookup:
    """A host to be resolved and what became of it."""

    host: str
    port: int
    admin: bool
    """The administrator's word (a reverse upstream): the destinations policy is not asked."""
    addresses: list[tuple[str, int]]
    error: str = ""
    refused: bool = False


@dataclass
class RefusedHook(commands.StartHook):  # type: ignore[no-untyped-call]
    """Have the row of a refusal written before the client is told of it."""

    data: Callable[[Callable[[], None]], None]
    """Writes the row; calls what it is given once that may go on."""


@dataclass
class LookupHook(commands.StartHook):  # type: ignore[no-untyped-call]
    """Resolve a name and judge its addresses: an asynchronous question to the gateway, in mitmproxy's own form."""

    data: Lookup


class Inspect(layer.Layer):
    """The leaf: feeds the conversation and turns its effects into commands."""

    def __init__(self, context: Context, link: Any, conversation: Conversation | None, secured: bool = False) -> None:
        super().__init__(context)
        self.link = link
        self.conversation = conversation
        self.secured = secured
        """TLS of a running conversation stands when we get our Start."""
        self.started = False
        self.out: list[commands.Command] = []
        self.next: layer.Layer | None = None

    def adopt(self, conversation: Conversation) -> None:
        """Take the conversation's writers and outlet."""
        self.conversation = conversation
        if conversation.over:
            return
        conversation.outlet = self
        for way, peer in ((UP, self.context.server), (DOWN, self.context.client)):
            if conversation.write[way] is not drop:
                conversation.write[way] = self._writer(peer)

    def _writer(self, peer: Any) -> Callable[[bytes], None]:
        return lambda data: self.out.append(commands.SendData(peer, data))

    def settled(self) -> tuple[Pipe | None, Pipe | None] | None:
        """For the fast path: plain on both legs (this layer is then the whole stack)."""
        return (None, None) if self.started and self.next is None else None

    def _handle_event(self, event: events.Event) -> Commands:
        conversation = self.conversation
        if isinstance(event, events.Start):
            self.started = True
            if conversation is None:
                conversation = self.link.host.converse(self.link, self.context, tls=True)
            self.adopt(conversation)
            self.link.established()
            if self.secured:
                conversation.secured(True, same=self.link.host.same_certificate(self.link, self.context))
        elif isinstance(event, events.DataReceived):
            assert conversation is not None
            conversation.receive(UP if event.connection is self.context.client else DOWN, event.data)
        elif isinstance(event, events.ConnectionClosed):
            assert conversation is not None
            conversation.closed(UP if event.connection is self.context.client else DOWN)
        elif isinstance(event, Posted):
            assert conversation is not None
            conversation.step(event.news)
        out, self.out = self.out, []
        yield from out
        if self.next is not None:
            top, self.next = self.next, None
            self.link.layer = top
            yield from top.handle_event(events.Start())

    # -- the outlet of the conversation

    def finish(self, way: Way) -> None:
        assert self.conversation is not None
        self.conversation.write[way] = drop
        peer = self.context.server if way is UP else self.context.client
        self.out.append(commands.CloseTcpConnection(peer, half_close=True))

    def cut(self) -> None:
        if self.conversation is not None and self.conversation.securing is not None:
            self.link.cut()  # other layers are at work: nobody asks us for commands
            return
        self.out.append(commands.CloseConnection(self.context.server))
        self.out.append(commands.CloseConnection(self.context.client))

    def secure(self, effect: StartTls) -> None:
        self.link.limit(self.link.host.limits.handshake_seconds)
        self.next = secure_layers(self.context, self.link, effect)

    def post(self, news: Input) -> None:
        self.link.post(news)

    def when_room(self, way: Way, call: Callable[[], None]) -> None:
        self.link.when_room(way, call)


class Notify(tls.TLSLayer):
    """Ends TLS as it should be: close_notify before FIN (RFC 8446, 6.1). Some servers wait for it."""

    def send_close(self, command: commands.CloseConnection) -> Commands:
        if self.tls is not None and self.conn.tls_established:
            try:
                self.tls.shutdown()
            except SSL.Error:
                pass  # the peer has broken TLS off: nothing to say any more
            yield from self.tls_interact()
        yield from super().send_close(command)


class ServerTls(Notify, tls.ServerTLSLayer):
    """TLS to the server. A failure is the child's to tell: the connections are not closed over its head."""

    def on_handshake_error(self, err: str) -> Commands:
        self.conn.error = err
        yield from self.tls_interact()

    def settled(self) -> tuple[Pipe | None, Pipe | None] | None:
        """The two TLS objects, once both handshakes are over and the leaf has begun."""
        threshold = self.child_layer
        assert isinstance(threshold, Threshold)
        client = threshold.client_tls
        if client is None or client.tunnel_state is not tunnel.TunnelState.OPEN:
            return None
        if self.tunnel_state is not tunnel.TunnelState.OPEN or not threshold.leaf.started:
            return None
        return Pipe(client.tls), Pipe(self.tls)


class ClientTls(Notify, tls.ClientTLSLayer):
    """TLS with the client, with our certificate."""

    def __init__(self, context: Context, link: Any) -> None:
        super().__init__(context)
        self.link = link

    def on_handshake_error(self, err: str) -> Commands:
        self.conn.error = err
        if self.tls is not None:
            yield from self.tls_interact()  # our alert
        self.event_to_child = self.errored  # type: ignore[method-assign]
        self.link.host.client_refused(self.link, self.context, err)
        yield commands.CloseConnection(self.context.client)


class Threshold(layer.Layer):
    """Between the two handshakes: gets its Start when the one with the server has ended, well or badly."""

    def __init__(self, context: Context, link: Any, effect: StartTls | None, hello: bytes) -> None:
        super().__init__(context)
        self.link = link
        self.effect = effect
        self.hello = hello
        self.client_tls: ClientTls | None = None
        self.leaf: Inspect

    def _handle_event(self, event: events.Event) -> Commands:
        context = self.context
        if not isinstance(event, events.Start):
            return  # after a failure: nothing more is of interest
        if context.server.tls_established:
            conversation: Conversation | None = self.link.conversation
            if conversation is not None and conversation.ending:
                return  # it waits for a row only
            if self.effect is not None:
                assert conversation is not None
                conversation.securing = None
                yield commands.SendData(context.client, self.effect.proceed)
            self.link.hold(client=False, server=True)
            client_tls = self.client_tls = ClientTls(context, self.link)
            client_tls.child_layer = self.leaf = Inspect(context, self.link, conversation, secured=bool(conversation))
            self.handle_event = client_tls.handle_event  # type: ignore[method-assign]
            yield from client_tls.handle_event(events.Start())
            if self.hello:
                yield from client_tls.handle_event(events.DataReceived(context.client, self.hello))
            return
        detail = context.server.error or "the server ended the connection"
        self.link.hold(client=False, server=False)
        yield RefusedHook(partial(self.link.host.server_refused, self.link, context, detail))
        if self.effect is not None:
            yield commands.SendData(context.client, self.effect.failure)
        else:
            yield commands.SendData(context.client, HANDSHAKE_FAILURE)
        yield commands.CloseConnection(context.client)


class Front(layer.Layer):
    """The first layer: where to, connect, then plain or TLS by the client's first bytes."""

    def __init__(self, context: Context, link: Any, dialog: Dialog | None, target: tuple[str, int] | None) -> None:
        super().__init__(context)
        self.link = link
        self.dialog = dialog
        """How the client says where it wants to go (SOCKS, CONNECT); None: `target` is known."""
        self.target = target
        self.seen = b""
        """The client's bytes from the first one on, while they may be a ClientHello."""
        self.connected = False

    def _handle_event(self, event: events.Event) -> Commands:
        client = self.context.client
        if self.connected and self.link.layer is not self:
            # What came while we were connecting is given here one by one: the first has made a layer for the rest, or
            # has ended the session
            if self.link.layer is not None:
                yield from self.link.layer.handle_event(event)
        elif isinstance(event, events.Start):
            if self.dialog is None:
                assert self.target is not None
                if (yield from self._reach(*self.target)):
                    yield commands.CloseConnection(client)
        elif isinstance(event, events.DataReceived):
            if event.connection is not client:
                yield from self._plain(DOWN, event.data)
            elif self.connected:
                yield from self._sniff(event.data)
            elif self.dialog is not None:
                yield from self._talk(self.dialog, event.data)
        elif isinstance(event, events.ConnectionClosed):
            if self.connected:
                leaf = yield from self._leaf()
                if event.connection is client and self.seen:
                    yield from leaf.handle_event(events.DataReceived(client, self.seen))
                yield from leaf.handle_event(event)
            else:
                yield commands.CloseConnection(client)

    def _talk(self, dialog: Dialog, data: bytes) -> Commands:
        """A piece of the SOCKS or CONNECT handshake."""
        client = self.context.client
        said = dialog.receive(data)
        if said.refused:
            self.dialog = None  # nothing that comes behind it is of interest
            self.link.hold(client=True, server=False)
            yield RefusedHook(partial(self.link.host.handshake_refused, self.link, said.refused))
            self.link.hold(client=False, server=False)
        if said.send:
            yield commands.SendData(client, said.send)
        if said.refused:
            yield commands.CloseConnection(client)
        elif said.target is not None:
            outcome = yield from self._reach(*said.target)
            yield commands.SendData(client, dialog.answer(outcome))
            if outcome:
                yield commands.CloseConnection(client)
            elif said.rest:
                yield from self._sniff(said.rest)

    def _reach(self, host: str, port: int) -> layer.CommandGenerator[str]:
        """Connect to the first address that answers. Returns "" or the outcome: REFUSED, UNRESOLVED, UNREACHABLE."""
        self.link.hold(client=True, server=False)
        lookup = Lookup(host, port, self.dialog is None and self.link.original is None, [])
        yield LookupHook(lookup)
        outcome, detail = UNRESOLVED, lookup.error
        if lookup.refused:
            outcome = REFUSED
        for address in lookup.addresses:
            self.context.server = Server(address=address)
            error = yield commands.OpenConnection(self.context.server)
            if not error:
                self.connected = True
                self.link.host.reached(self.link, host)
                self.link.hold(client=False, server=False)
                return ""
            outcome, detail = UNREACHABLE, f"{address[0]}: {error}"
        told = partial(self.link.host.unreached, self.link, host, port, outcome, detail)
        yield RefusedHook(told)
        self.link.hold(client=False, server=False)
        return outcome

    def _sniff(self, data: bytes) -> Commands:
        """The client's first bytes: a ClientHello, or anything else."""
        self.seen = seen = self.seen + data
        if not could_be_hello(seen):
            yield from self._plain(UP, b"")
            return
        if self.link.deadline is None:
            self.link.limit(self.link.host.limits.handshake_seconds)
        if len(seen) < 3:
            return
        context = self.context
        try:
            hello = tls.parse_client_hello(seen)
        except (ValueError, EOFError):
            # It begins like TLS and is none: the session will say what it makes of it
            yield from self._plain(UP, b"")
            return
        if hello is None:
            if len(seen) > MAX_HELLO:
                yield from self._plain(UP, b"")
            return
        context.client.sni = hello.sni
        context.client.alpn_offers = hello.alpn_protocols
        take_apart(hello)
        why = self.link.host.leave_alone(self.link, context)
        if why is not None:
            leaf = yield from self._leaf()
            assert leaf.conversation is not None
            leaf.conversation.splice("tls", why)
            yield from leaf.handle_event(events.DataReceived(context.client, seen))
            return
        self.link.layer = top = secure_layers(context, self.link, None, seen)
        yield from top.handle_event(events.Start())

    def _plain(self, way: Way, data: bytes) -> Commands:
        """No TLS from byte 0: hand all that was held to the session."""
        leaf = yield from self._leaf()
        if self.seen:
            yield from leaf.handle_event(events.DataReceived(self.context.client, self.seen))
        if way is DOWN:
            yield from leaf.handle_event(events.DataReceived(self.context.server, data))

    def _leaf(self) -> layer.CommandGenerator[Inspect]:
        leaf = Inspect(self.context, self.link, self.link.host.converse(self.link, self.context, tls=False))
        self.link.layer = leaf
        yield from leaf.handle_event(events.Start())
        return leaf


MAX_HELLO = 64 * 1024
"""Bytes of a ClientHello that are waited for; real ones stay below 4 KiB."""

HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal TLS alert, handshake_failure (RFC 8446, 6)."""


def take_apart(hello: ClientHello) -> None:
    """A ClientHello that has been read is done with: each of its parts holds the one around it, and is held by it."""
    root = hello._client_hello
    parts: list[object] = [root]
    while parts:
        part = parts.pop()
        if getattr(part, "_root", None) is root:
            parts += vars(part).values()
            vars(part).clear()
        elif isinstance(part, list):
            parts += part


def secure_layers(context: Context, link: Any, effect: StartTls | None, hello: bytes = b"") -> layer.Layer:
    """The layers that open TLS on both legs, upstream first; to be given a Start."""
    server = context.server
    name = link.host.verified_name(link, context, effect)
    if name is None:
        server.error = "the name to verify is not a host name"
        return Threshold(context, link, effect, hello)
    server.sni = name
    server.alpn_offers = readable(context.client.alpn_offers)
    top = ServerTls(context)
    top.child_layer = Threshold(context, link, effect, hello)
    link.hold(client=effect is None, server=False)
    return top


def readable(offers: Sequence[bytes]) -> Sequence[bytes]:
    """The protocols that the server of a connection that is opened is offered. Nobody here reads HTTP/2: XMPP inside it
    (BOSH, WebSocket) would pass unread, so it is left out where the client can do without."""
    return [each for each in offers if each != _HTTP2] if _HTTP1 in offers else offers


_HTTP1, _HTTP2 = b"http/1.1", b"h2"


def answer_hook(contexts: Any, hook: commands.StartHook, listener: str | None = None) -> bool:
    """Answer mitmproxy's own hooks; False when it is not one of those. `listener`: has a certificate of its own."""
    if isinstance(hook, tls.TlsStartServerHook):
        conn = hook.data.conn
        if conn.sni:
            hook.data.ssl_conn = contexts.to_server(conn.sni, conn.alpn_offers)
    elif isinstance(hook, tls.TlsStartClientHook):
        server = hook.data.context.server
        hook.data.ssl_conn = contexts.to_client(server.sni, server.alpn, listener)
    elif isinstance(hook, tls.TlsClienthelloHook):
        take_apart(hook.data.client_hello)  # the layer has read what it wants of it
    elif isinstance(hook, LookupHook):
        return False
    return True


class StockLink(proxy_server.LiveConnectionHandler):
    """A client connection on mitmproxy's own stream I/O: the switch to fall back on. Layers stay for the whole session.

    Ours: back-pressure by way, hooks answered without addons, connect time-outs, and endings that linger (mitm_io.Link
    says why).
    """

    def __init__(self, host: Any, listener: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer, OPTIONS, MODE)
        self.host = host
        self.listener = listener
        # Quiet chat is not cut after mitmproxy's 600 s: the gateway's sweep knows idle sessions
        self.timeout_watchdog.timeout = 2 * int(host.limits.idle_seconds) + 60
        self.conversation: Conversation | None = None
        self.deadline: Any = None
        self.original: tuple[str, int] | None = None
        self.peer = ("0.0.0.0", 0)  # noqa: S104
        self.asked: str | None = None
        self.leases: Any = None
        self.expected: Expect | None = None
        self.since = 0.0
        self.leaving = False
        """As of mitm_io.Link."""
        self.dismissed = asyncio.Event()
        self.done = False
        self.lingering = False
        self.held = (False, False)
        self.moved = asyncio.Event()
        """Set whenever something happened that may let a held way go on."""
        self.connecting: Any = None
        self.waiting = 0
        """Readers that wait in drain_writers."""
        writer.transport.set_write_buffer_limits(high=host.limits.write_buffer_bytes)
        prepare(writer.get_extra_info("socket"))

    def info(self, name: str) -> Any:
        io = self.transports[self.client]
        assert isinstance(io.writer, asyncio.StreamWriter)
        return io.writer.get_extra_info(name)

    def known(self, client: Any) -> None:
        """The client's connection object is the one mitmproxy made."""

    def dismiss(self) -> None:
        """The gateway does not take this connection."""
        self.dismissed.set()

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, server_hooks.ServerConnectHook):
            # The handler task of this attempt is cancelled when it takes too long; mitmproxy then reports an error
            task = asyncio.current_task()
            assert task is not None
            self.connecting = self.host.later(self.host.limits.connect_seconds, lambda: task.cancel("time-out"))
        elif isinstance(hook, server_hooks.ServerConnectedHook | server_hooks.ServerConnectErrorHook):
            self.connecting.cancel()
            io = self.transports[hook.data.server]
            if isinstance(io.writer, asyncio.StreamWriter):
                prepare(io.writer.get_extra_info("socket"))
                io.writer.transport.set_write_buffer_limits(high=self.host.limits.write_buffer_bytes)
        else:
            answered = asyncio.Event()
            if not self.host.hook(self, hook, answered.set):
                await answered.wait()

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:  # noqa: ARG002
        """mitmproxy logs a layer's exception and goes on with the next chunk; here it ends the session."""
        if exc_info is not None:
            self.host.log(f"a session of {self.peer[0]} is cut because of an internal error in a layer")
            self.abort()

    async def server_event(self, event: events.Event) -> None:
        conversation = self.conversation
        if self.done:
            return  # an answer to layers that are no more
        if (
            conversation is not None and conversation.securing is not None
            and isinstance(event, events.DataReceived) and event.connection is self.client
        ):
            conversation.receive(UP, event.data)  # an injection: the layers would keep it for later
            if conversation.over:
                self.cut()
        else:
            await super().server_event(event)
        self.moved.set()

    async def handle_connection(self, connection: Connection) -> None:
        reader = self.transports[connection].reader
        try:
            await super().handle_connection(connection)
        except asyncio.CancelledError as error:
            # mitmproxy keeps it in the frame that its traceback keeps: neither would die by itself
            raise error.with_traceback(None) from None
        finally:
            # So does a reader keep the error of a connection that was reset, which was raised where the reader is
            if isinstance(reader, asyncio.StreamReader) and (lost := reader.exception()) is not None:
                lost.__traceback__ = None

    def post(self, news: Input) -> None:
        """Bring news to the conversation through the layers."""
        if not self.done:
            self.host.spawn(self.server_event(Posted(news)))

    def when_room(self, way: Way, call: Callable[[], None]) -> None:
        """Call, later, once the peer that reads `way` has room, or is gone."""
        self.host.spawn(self._when_room(way, call))

    async def _when_room(self, way: Way, call: Callable[[], None]) -> None:
        conn = self.client if way is DOWN else next((one for one in self.transports if one is not self.client), None)
        io = self.transports.get(conn) if conn is not None else None
        if io is not None and isinstance(io.writer, asyncio.StreamWriter):
            with contextlib.suppress(OSError):
                await io.writer.drain()
        if not self.done:
            call()

    def hold(self, *, client: bool, server: bool) -> None:
        """Which sides are not read while layers wait for something."""
        self.held = client, server
        self.moved.set()

    def established(self) -> None:
        self.hold(client=False, server=False)
        self.limit(None)

    def limit(self, seconds: float | None) -> None:
        """Set-up must go on within this time; None: no limit."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = None if seconds is None else self.host.later(seconds, self._late)

    def _late(self) -> None:
        self.host.late(self)

    async def drain_writers(self) -> None:
        self.waiting += 1
        try:
            await self._drain_writers()
        finally:
            self.waiting -= 1

    async def _drain_writers(self) -> None:
        """Runs after each read: go on reading only while this way's target and queue have room."""
        task = asyncio.current_task()
        source = next((conn for conn, io in self.transports.items() if io.handler is task), None)
        way = UP if source is self.client else DOWN
        for conn, io in list(self.transports.items()):
            if conn is not source and isinstance(io.writer, asyncio.StreamWriter):
                try:
                    await io.writer.drain()
                except OSError:
                    if io.handler is not None:
                        io.handler.cancel("error sending data")
        own = self.transports.get(source) if source is not None else None
        if own is not None and isinstance(own.writer, asyncio.StreamWriter):
            # A peer that writes but does not read what we answer it
            while (
                own.writer.transport.get_write_buffer_size() > self.host.limits.way_bytes
                and not own.writer.is_closing()
            ):
                try:
                    await own.writer.drain()
                except OSError:
                    break
        while not self.lingering and (self.held[way] or self._queued(way)):
            self.moved.clear()
            await self.moved.wait()

    def _queued(self, way: Way) -> bool:
        conversation = self.conversation
        return conversation is not None and not conversation.over and conversation.held(way, self.host.limits.way_bytes)

    def close_connection(self, connection: Connection, half_close: bool = False) -> None:
        if half_close:
            if not self.lingering:
                super().close_connection(connection, True)
        else:
            self.cut()

    def cut(self) -> None:
        """Flush, end both sides, read and drop what still comes."""
        if self.lingering:
            return
        self.lingering = True
        if self.conversation is not None and not self.conversation.over:
            self.conversation.lost()
        self.limit(None)
        self.deadline = self.host.later(self.host.limits.close_seconds, self.abort)
        for conn, io in list(self.transports.items()):
            if io.writer is None:
                if io.handler is not None:
                    io.handler.cancel("cut")
            elif conn.state & ConnectionState.CAN_READ:
                super().close_connection(conn, True)
            elif io.handler is not None:
                io.handler.cancel("cut")
        self.moved.set()

    def abort(self) -> None:
        """Close everything at once."""
        self.lingering = True
        for io in list(self.transports.values()):
            if isinstance(io.writer, asyncio.StreamWriter):
                io.writer.transport.abort()
            if io.handler is not None:
                io.handler.cancel("aborted")
        self.moved.set()

    def check(self) -> None:
        """A side that is not read cannot tell that its peer is gone: ask the kernel."""
        if not self.lingering and self.client in self.transports and self.waiting:
            for io in list(self.transports.values()):
                if isinstance(io.writer, asyncio.StreamWriter) and gone(io.writer.get_extra_info("socket")):
                    self.abort()
                    return

    async def run(self) -> None:
        """The whole life of the connection."""
        try:
            await self.handle_client()
        finally:
            self.done = True
            self.limit(None)
            if self.conversation is not None and not self.conversation.over:
                self.conversation.orphaned()
            self.host.forget(self)
            self.let_go()

    def let_go(self) -> None:
        """Hold nothing any more: all is over, and is to die without the collector."""
        self.transports.clear()
        self.timeout_watchdog.callback = _nothing
        dissolve(self.layer)


async def _nothing() -> None:
    """What a watchdog calls that watches nobody any more."""
