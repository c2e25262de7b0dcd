"""What the driver relies on in mitmproxy (decision 0020): each test fails when a release changes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer, layers, server, server_hooks, tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.mode_specs import ProxyMode
from OpenSSL import SSL

from inspector.drivers import mitm
from inspector.drivers.mitm_io import Posted
from inspector.drivers.mitm_tls import Authority, Contexts
from inspector.model import Woke


def make_context() -> Context:
    """A context with both connections open."""
    client = connection.Client(
        peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2), state=ConnectionState.OPEN, timestamp_start=1.0)
    context = Context(client, Options())
    context.server = connection.Server(address=("192.0.2.3", 3))
    context.server.state = ConnectionState.OPEN
    context.server.timestamp_start = 1.0
    return context


def drive(top: layer.Layer, event: events.Event, answer: Callable[[Any], object] = lambda hook: None) -> list[Any]:
    """All commands for an event; hooks are answered at once."""
    got, todo = [], [event]
    while todo:
        for command in top.handle_event(todo.pop(0)):
            got.append(command)
            if isinstance(command, commands.StartHook):
                answer(command)
                todo.append(events.HookCompleted(command))
    return got


class Recorder(layer.Layer):
    """A leaf that keeps its events."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.got: list[events.Event] = []

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self.got.append(event)
        yield from ()


def test_a_tcp_flow_keeps_every_message() -> None:
    """Why there is no TCPFlow here: sessions live for days."""
    context = make_context()
    tcp = layers.TCPLayer(context)
    drive(tcp, events.Start())
    for _ in range(5):
        drive(tcp, events.DataReceived(context.client, b"x"))
    assert tcp.flow is not None
    assert len(tcp.flow.messages) == 5


def test_a_layer_that_waits_keeps_all_events() -> None:
    """Why nothing blocks after set-up: what arrives meanwhile is queued without bound, in both directions."""

    class Waits(layer.Layer):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            if isinstance(event, events.Start):
                yield mitm.LookupHook(mitm.Lookup("a.test", 1, False, []))

    context = make_context()
    waiting = Waits(context)
    [hook] = waiting.handle_event(events.Start())
    for conn in (context.client, context.server) * 500:
        assert list(waiting.handle_event(events.DataReceived(conn, b"x"))) == []
    assert len(waiting._paused_event_queue) == 1000
    assert hook.blocking is waiting


def test_our_hook_is_a_hook() -> None:
    """A StartHook of ours gets a name and one argument, and mitmproxy's HookCompleted answers it."""
    lookup = mitm.Lookup("a.test", 1, False, [])
    hook = mitm.LookupHook(lookup)
    assert hook.blocking is True
    assert list(hook.args()) == [lookup]
    assert events.HookCompleted(hook).command is hook


@pytest.mark.parametrize("kind", [tls.ServerTLSLayer, tls.ClientTLSLayer])
def test_tls_layers_hand_unknown_events_to_their_child(kind: type[tls.TLSLayer]) -> None:
    """How a scan's result or a timer reaches the leaf."""
    context = make_context()
    Recorder(context)  # ClientTLSLayer looks at the layer below it
    top: Any = kind(context)  # type: ignore[call-arg]
    top.child_layer = Recorder(context)
    top.tunnel_state = tunnel.TunnelState.OPEN
    posted = Posted(Woke(1.0))
    assert drive(top, posted) == []
    assert top.child_layer.got == [posted]


class Handler(server.LiveConnectionHandler):
    """mitmproxy's handler over scripted reads."""

    def __init__(self, top: layer.Layer, reads: list[bytes]) -> None:
        self.client = top.context.client
        self.transports = {}
        self.layer = top
        self.timeout_watchdog = server.TimeoutWatchdog(1000, self.on_timeout)
        self._server_event_lock = asyncio.Lock()
        self._drain_lock = asyncio.Lock()
        self.reads = reads
        self.order: list[str] = []
        self.logged: list[Any] = []

    async def handle_hook(self, hook: commands.StartHook) -> None:
        self.order.append(type(hook).__name__)

    async def drain_writers(self) -> None:
        self.order.append("drain")

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        self.logged.append(exc_info)

    async def read(self, size: int) -> bytes:
        self.order.append("read")
        return self.reads.pop(0) if self.reads else b""


class Sink:
    """A writer."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.data.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.data.append(b"close")


def test_drain_writers_runs_after_each_read() -> None:
    """Where the stock I/O gets its back-pressure by way."""

    async def scenario() -> None:
        context = make_context()
        handler = Handler(Recorder(context), [b"one", b"two"])
        handler.transports[context.client] = server.ConnectionIO(None, handler, Sink())  # type: ignore[arg-type]
        task = asyncio.create_task(handler.handle_connection(context.client))
        while handler.order.count("read") < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handler.order == ["read", "drain", "read", "drain", "read"]

    asyncio.run(scenario())


def test_an_exception_in_a_layer_loses_its_chunk_and_forwards_the_next() -> None:
    """Why errors are caught at the top of ours: mitmproxy only logs, with exc_info, and goes on."""

    class Fails(layer.Layer):
        def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
            assert isinstance(event, events.DataReceived)
            if event.data == b"bad":
                raise ValueError
            yield commands.SendData(self.context.server, event.data)

    async def scenario() -> None:
        context, sink = make_context(), Sink()
        handler = Handler(Fails(context), [])
        handler.transports[context.server] = server.ConnectionIO(None, None, sink)  # type: ignore[arg-type]
        await handler.server_event(events.DataReceived(context.client, b"bad"))
        await handler.server_event(events.DataReceived(context.client, b"next"))
        assert sink.data == [b"next"]
        assert handler.logged == [True]

    asyncio.run(scenario())


def test_a_quiet_session_would_be_cut_after_ten_minutes() -> None:
    """Why the stock I/O sets its watchdog anew."""
    assert Options().tcp_timeout == 600


def test_a_cancelled_connect_is_reported_as_an_error() -> None:
    """How the stock I/O ends a connection attempt that takes too long."""

    async def scenario() -> None:
        context = make_context()
        target = connection.Server(address=("127.0.0.1", 1))
        recorder = Recorder(context)
        handler = Handler(recorder, [])
        handler.max_conns = {target.address: asyncio.Semaphore(1)}  # type: ignore[assignment]

        async def hook(hook: commands.StartHook) -> None:
            handler.order.append(type(hook).__name__)
            if isinstance(hook, server_hooks.ServerConnectHook):
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)

        handler.handle_hook = hook  # type: ignore[method-assign]
        # mitmproxy connects with asyncio.open_connection, which waits for the loop at least once
        task = asyncio.create_task(handler.open_connection(commands.OpenConnection(target)))
        with pytest.raises(asyncio.CancelledError):
            await task
        [completed] = recorder.got
        assert isinstance(completed, events.OpenConnectionCompleted)
        assert completed.reply == "connection cancelled"
        assert handler.order == ["ServerConnectHook", "ServerConnectErrorHook"]

    asyncio.run(scenario())


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    return Contexts(Authority.open(tmp_path), upstream_ca=tmp_path / "authority.pem")


def shake(top: layer.Layer, context: Context, contexts: Contexts, name: str) -> Iterator[list[Any]]:
    """Drive the server leg of `top` against a server that answers with a certificate for "a.test"."""

    def answer(hook: Any) -> None:
        if isinstance(hook, tls.TlsStartServerHook):
            hook.data.ssl_conn = contexts.to_server(name, ())

    peer = contexts.to_client("a.test", None)
    got = drive(top, events.Start(), answer)
    for _ in range(5):
        yield got
        for command in got:
            if isinstance(command, commands.SendData):
                peer.bio_write(command.data)
        try:
            peer.do_handshake()
        except (SSL.WantReadError, SSL.Error):
            pass
        try:
            data = peer.bio_read(65535)
        except SSL.WantReadError:
            return
        got = drive(top, events.DataReceived(context.server, data), answer)


@pytest.mark.parametrize("name", ["a.test", "b.test"])
def test_the_child_starts_when_the_server_handshake_has_ended(contexts: Contexts, name: str) -> None:
    """STARTTLS upstream first: the child's Start waits for the end of the handshake, good or bad, if the connection was
    open when the layer began; `tls_established` tells which."""
    context = make_context()
    top = mitm.ServerTls(context)
    child = top.child_layer = Recorder(context)
    starts = []
    for _ in shake(top, context, contexts, name):
        starts.append(len(child.got))
    assert starts[0] == 0
    assert [type(event) for event in child.got] == [events.Start]
    assert context.server.tls_established is (name == "a.test")
    assert bool(context.server.error) is (name == "b.test")


def test_a_closed_server_connection_never_starts_its_handshake() -> None:
    """Why the connection is opened before the TLS layer is put on it."""
    context = make_context()
    context.server.state = ConnectionState.CLOSED
    top = tls.ServerTLSLayer(context)
    child = top.child_layer = Recorder(context)
    assert drive(top, events.Start()) == []
    assert [type(event) for event in child.got] == [events.Start]
    assert top.tunnel_state is tunnel.TunnelState.INACTIVE


def test_a_hello_that_is_none_is_told_as_such() -> None:
    """How plain text in place of a ClientHello is told from a client that rejects us; its child gets nothing."""

    class Link:
        host: Any
        refused = ""

        def client_refused(self, link: Any, context: Context, detail: str) -> None:
            self.refused = detail

    context, link = make_context(), Link()
    link.host = link
    Recorder(context)
    top = mitm.ClientTls(context, link)
    child = top.child_layer = Recorder(context)
    drive(top, events.Start())
    got = drive(top, events.DataReceived(context.client, b"<message/>"))
    assert link.refused.startswith("Cannot parse ClientHello")
    assert [type(command) for command in got] == [commands.CloseConnection]
    assert child.got == []


def test_a_discarded_layer_stays_in_the_context() -> None:
    """Why a layer is only made when it is used: the next one would take it for its parent."""
    context = make_context()
    first, second = Recorder(context), Recorder(context)
    assert context.layers == [first, second]


def test_the_address_of_an_open_server_cannot_be_changed() -> None:
    """Why each address that is tried has a Server of its own."""
    one = connection.Server(address=("192.0.2.1", 1))
    one.address = ("192.0.2.2", 1)
    one.state = ConnectionState.OPEN
    with pytest.raises(RuntimeError):
        one.address = ("192.0.2.3", 1)


def test_a_context_has_what_the_layers_of_ours_need() -> None:
    """Client and Server take what is known of a running connection; MODE parses."""
    assert isinstance(mitm.MODE, ProxyMode)
    context = make_context()
    assert context.client.alpn_offers == ()
    assert context.server.tls_established is False
    assert context.fork().layers == context.layers


def test_pyopenssl_has_what_the_pipe_uses(contexts: Contexts) -> None:
    """Private names of pyOpenSSL under the fast path (mitm_tls.Pipe)."""
    made = contexts.to_client("a.test", None)
    for name in ("_ssl", "_into_ssl", "_from_ssl"):
        assert hasattr(made, name)
    for name in (
        "BIO_read", "BIO_write", "ERR_clear_error", "SSL_ERROR_WANT_READ", "SSL_ERROR_ZERO_RETURN", "SSL_get0_param",
        "SSL_get_error", "SSL_MODE_RELEASE_BUFFERS", "SSL_read", "SSL_shutdown", "SSL_write",
        "X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS", "X509_VERIFY_PARAM_set1_host", "X509_VERIFY_PARAM_set1_ip",
    ):
        assert hasattr(SSL._lib, name), name  # type: ignore[attr-defined]


def test_uvloop_takes_mitmproxy(tmp_path: Path) -> None:
    """uvloop's transports are no asyncio.Transport, but do what the fast I/O asks of them."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed (make test installs it)")

    async def scenario() -> None:
        class Peer(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.pause_reading()
                transport.set_write_buffer_limits(high=1000)
                transport.write(b"hello")
                assert transport.get_write_buffer_size() >= 0
                transport.resume_reading()
                transport.write_eof()

        loop = asyncio.get_running_loop()
        listening = await loop.create_server(Peer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        assert await reader.read() == b"hello"
        writer.close()
        listening.close()
        await listening.wait_closed()

    uvloop.run(scenario())
