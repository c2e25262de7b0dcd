"""The live gateway: listeners, their limits, and what all sessions share. `app` wires it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context

from inspector.drivers import mitm
from inspector.drivers.admission import Admission, Sayings, Troubles, Waits
from inspector.drivers.clock import Clock
from inspector.drivers.departed import Departed
from inspector.drivers.destinations import CLASSES, IP, plain
from inspector.drivers.leases import Leases, Pool, endpoint
from inspector.drivers.mitm_io import Link, hush
from inspector.drivers.mitm_layer import Conversation, SessionLike
from inspector.drivers.mitm_modes import (
    REFUSED,
    ConnectDialog,
    Dialog,
    SocksDialog,
    original_destination,
)
from inspector.drivers.mitm_tls import Authority, Contexts, OwnCertificate, host_name
from inspector.drivers.settings import GatewaySettings as GatewaySettings
from inspector.drivers.settings import ListenerSettings as ListenerSettings
from inspector.drivers.settings import TlsException as TlsException
from inspector.drivers.settings import TlsSettings as TlsSettings
from inspector.drivers.settings import is_local as is_local
from inspector.drivers.spool import Spool, Spooled, SpoolError
from inspector.drivers.sweep import Sweep
from inspector.drivers.turns import Full, Rounds, Turns
from inspector.engine.covers import bare
from inspector.engine.world import Paths
from inspector.model import (
    Address,
    Arrived,
    Came,
    Cover,
    Deliver,
    Expect,
    FileReport,
    Finding,
    Flow,
    Held,
    Hold,
    Judge,
    Judged,
    Kept,
    Note,
    Notice,
    Place,
    Released,
    Scan,
    ScanFailed,
    Scanned,
    Spec,
    StartTls,
    Told,
    Unhold,
    client_of,
    flow_id,
)

Done = Callable[[bool], None]
MakeSession = Callable[[Flow, frozenset[str], bool, Paths | None], SessionLike]
"""(flow, the listener's protocols, whether the port or listener is named as IM, what it may lease) -> Session."""

_log = logging.getLogger("inspector.gateway")

SCAN_THREADS = 4
SCAN_SHARE = 2
"""Of these for one client at a time."""
LOOKUP_THREADS = 32
"""Names that are resolved at a time: a name server that does not answer holds a thread for half a minute."""
LOOKUP_SHARE = 4
"""Of these for one client at a time."""
_STUCK = 3
"""Times limits.scan_seconds after which a scan keeps its thread stuck."""
_STOP = 5.0
"""Seconds that aborted connections get to be gone."""
REJECTIONS = 2
"""Rejections of our certificate by one client after which an exception is proposed."""
_LATER = 1.0
"""Seconds beyond limits.store_seconds after which a row's answer is not waited for any more."""
_REJECTED = 4096
"""(client, name) pairs whose rejections are counted."""


JudgeDone = Callable[[FileReport | None, str | None], None]
"""(report, or the sentence of a failure)."""


class Judges(Protocol):
    """Who judges files."""

    def judge(self, effect: Judge, content: int, done: JudgeDone) -> Callable[[], None]:
        """Judge the file that the descriptor `content` leads to (it is ours to close, whatever comes of it).

        `done` is called on the loop, later, with a report or the sentence of a failure; what is returned takes the
        question back, and `done` is not called then.
        """
        ...


class Holds(Protocol):
    """The hold desk as those who run sessions see it. What is told of one item comes there in the order it was told."""

    async def keep(self, held: Held, content: int) -> str | None:
        """Store an item; None, or the trouble's name. `content`: a descriptor that the desk closes, -1: none."""
        ...

    async def deliver(self, hold: str, flow: str) -> bool:
        """Write durably that it is being sent in the session of `flow`. False: it must not be sent."""
        ...

    def forget(self, hold: str) -> None:
        """What was kept under this id waits for nobody."""
        ...

    def came(self, hold: str, flow: str, sent: bool | None) -> None:
        """What became of a released item in that session (Came)."""
        ...

    def arrived(self, flow: str, arrived: Arrived) -> None:
        """A user has signed on in that session."""
        ...

    def ended(self, flow: str) -> None:
        """A session that was given released items is over."""
        ...


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A row of `inspector sessions`."""

    id: str
    client: str
    server: str
    protocol: str | None
    user: str | None
    since: float
    bytes: int
    listener: str | None


class Counters:
    """Plain ints, read at scrape time."""

    __slots__ = (
        "accepted", "bytes", "client_tls_failed", "ended", "held_overload", "idle_ended", "late", "overload",
        "refused_clients", "refused_destinations", "refused_handshakes", "refused_redirects", "scans", "scans_refused",
        "scans_stuck", "server_tls_failed", "silent_ended", "slow_ended", "spliced", "stalled_ended", "tls_sessions",
        "unreached",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.ended = 0
        self.bytes = 0
        """Of ended sessions, both ways."""
        self.overload = 0
        """Connections refused at a bound."""
        self.held_overload = 0
        """Sessions that met overload because of the memory they held."""
        self.refused_clients = 0
        """Connections of who is none of the listener's clients."""
        self.refused_destinations = 0
        self.refused_handshakes = 0
        """Connections of who spoke no SOCKS or CONNECT, or none that is served."""
        self.refused_redirects = 0
        """Connections to a transparent listener that the firewall had not redirected."""
        self.unreached = 0
        self.late = 0
        """Handshakes that took too long."""
        self.idle_ended = 0
        self.silent_ended = 0
        """Connections on which nobody had said a word."""
        self.slow_ended = 0
        """Sessions whose peer did not bring a unit to its end."""
        self.stalled_ended = 0
        """Sessions whose peer took nothing of what waited for it."""
        self.tls_sessions = 0
        """TLS opened from byte 0."""
        self.spliced = 0
        """TLS passed on unread."""
        self.server_tls_failed = 0
        self.client_tls_failed = 0
        self.scans = 0
        """Long scans, in threads."""
        self.scans_refused = 0
        """Long scans for which there was no room."""
        self.scans_stuck = 0
        """Long scans that kept their thread stuck."""


def name_matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a host name is listed: exactly, or below a "*." entry."""
    name = name.lower().rstrip(".")
    for pattern in patterns:
        wanted = pattern.lower().rstrip(".")
        if name == wanted or (wanted.startswith("*.") and name.endswith(wanted[1:])):
            return True
    return False


def address_of(peer: tuple[Any, ...]) -> Address:
    """A socket's address in RFC 5952 form, v4-mapped ones as v4, without a scope."""
    return Address(str(plain(ipaddress.ip_address(str(peer[0]).partition("%")[0]))), int(peer[1]))


class Gateway:
    """The live driver. `make` builds the engine's session; `notes` takes rows (and calls back, from any thread, when a
    durable one is on disk); `log` takes one sentence for the administrator."""

    def __init__(
        self,
        settings: GatewaySettings,
        make: MakeSession,
        world: Any,
        specs: Sequence[Spec],
        notes: Callable[[Note, Done | None], None],
        log: Callable[[str], None],
        judges: Judges | None = None,
    ) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.world = world
        self.clock = Clock()
        self.counters = Counters()
        self.contexts: Contexts | None = None
        self.links: set[Any] = set()
        self.departed = Departed()
        """Links and conversations that are over and not freed yet."""
        self.log = log
        self.disk = Spool(settings.spool, lambda: self.limits, close=self._close_later)
        self.leases = Leases(self.clock)
        self.judges = judges
        """None: files cannot be judged."""
        self.holds: Holds | None = None
        """None: nothing can be held."""
        self._given: set[str] = set()
        """Flows whose sessions were given something released."""
        self._conversations: dict[str, Conversation] = {}
        """By flow."""
        self._make = make
        self._notes = notes
        self._im_ports = frozenset().union(*(spec.ports | spec.tls_ports for spec in specs))
        self._tls_ports = frozenset().union(*(spec.tls_ports for spec in specs))
        self._alpn = frozenset(name.encode() for spec in specs for name in spec.alpn)
        self._servers: list[tuple[ListenerSettings, asyncio.Server]] = []
        self._leased: list[asyncio.Server] = []
        self._own_ports: set[int] = set(settings.own_ports)
        self.admission = Admission(lambda: self.limits)
        """Who may come in."""
        self.sweep = Sweep(self)
        self.admission.heavy = self.sweep.heavy
        self.admission.spooled = lambda: self.disk.files
        self.waits = Waits(lambda: self.limits)
        """Who waits for a row of trouble."""
        self.troubles = Troubles(lambda: self.limits, lambda note: self.note(note, None), self.note_first)
        self.scans: Turns | None = None
        """Long scans of message texts."""
        self.lookups: Turns | None = None
        """Questions to the resolver."""
        self.rounds = Rounds(lambda call: self._loop.call_soon(call))
        """Sessions that bring much."""
        self._rejected: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop
        self._sayings = Sayings(log)
        self._looking: asyncio.TimerHandle | None = None
        self._number = 0
        self.sockets: Mapping[tuple[str, int], Sequence[socket.socket]] | None = None
        """Listening sockets that a supervisor has made, by the listener's address and the port; None: we bind."""
        self.elsewhere: Callable[[str, Notice], None] | None = None
        """Takes what is to be told to the session of a flow that is not here: it may live in another worker."""

    # -- life

    async def start(self, *, listen: bool = True) -> None:
        """Be ready; bind all listeners. Raises AuthorityError, and OSError with the address in its text."""
        self._loop = asyncio.get_running_loop()
        try:
            self.disk.start()
        except OSError as error:
            why = error.strerror or str(error)
            raise OSError(error.errno, f"the spool {self.settings.spool} cannot be used: {why.lower()}") from error
        if self.disk.swept:
            self.log(f"{self.disk.swept} files that a crash left in the spool are deleted; nobody got them")
        tls = self.settings.tls
        authority = Authority.open(tls.authority)
        self.contexts = Contexts(
            authority, client_min=tls.client_min, upstream_min=tls.upstream_min, upstream_ca=tls.upstream_ca)
        for listener in self.settings.listeners:
            if listener.certificate is not None and listener.key is not None:
                own = OwnCertificate.open(listener.certificate, listener.key)
                self.contexts.show(listener.address, own)
                if own.readable:
                    self.log(f"{listener.key}: the listener's key is readable by others (mode {own.readable:o}, want "
                             "600)")
        self._pool = ThreadPoolExecutor(1, "close")
        self.scans = Turns(
            "scan", SCAN_THREADS, SCAN_SHARE, lambda: self.limits.scan_queue, lambda: self.limits.client_scans,
            lambda: _STUCK * self.limits.scan_seconds)
        # What waits for the resolver is bounded as set-ups are.
        self.lookups = Turns(
            "lookup", LOOKUP_THREADS, LOOKUP_SHARE, lambda: self.limits.setups, lambda: self.limits.setups,
            lambda: self.limits.connect_seconds)
        self.sweep.start()
        self._look()
        if listen:
            await self.listen()

    async def listen(self) -> None:
        """Take connections. Raises OSError with the address in its text."""
        try:
            for listener in self.settings.listeners:
                await self._listen(listener)
        except OSError:
            await self.stop()
            raise

    async def _listen(self, listener: ListenerSettings) -> None:
        for server in await self._serve(listener, listener.host, listener.port, None):
            self._servers.append((listener, server))
            for sock in server.sockets:
                self._own_ports.add(sock.getsockname()[1])
        ports = self.settings.leasable(listener)
        self._own_ports.update(ports)
        if self.sockets is not None:
            ports = [port for port in ports if (listener.address, port) in self.sockets]
        if listener.lease_ports is None:
            return
        leases = self.leases.make(listener.address, ports, self.limits.lease_seconds)
        for port in ports:
            self._leased += await self._serve(listener, listener.lease_hosts(), port, leases)
        self.admission.leased = len(self._leased)

    async def _serve(
        self, listener: ListenerSettings, host: str | list[str] | None, port: int, leases: Pool | None,
    ) -> list[asyncio.Server]:
        def factory() -> asyncio.Protocol:
            link = Link(self, listener)
            link.leases = leases
            return link.client_side

        async def stock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = mitm.StockLink(self, listener, reader, writer)
            link.leases = leases
            if self.accept(link):
                await link.run()
            else:
                await link.dismissed.wait()
                link.abort()
                self.forget(link)
                link.let_go()

        backlog = 1024 if leases is None else 8
        places: list[dict[str, Any]] = [{"host": host, "port": port}]
        if self.sockets is not None:
            places = [{"sock": sock} for sock in self.sockets[listener.address, port]]
        try:
            if self.settings.stock_io:
                return [await asyncio.start_server(stock, backlog=backlog, **place) for place in places]
            return [await self._loop.create_server(factory, backlog=backlog, **place) for place in places]
        except OSError as error:
            why = error.strerror or str(error)
            where = listener.address if leases is None else f"port {port} of lease_ports"
            raise OSError(error.errno, f"cannot listen on {where}: {why}") from error

    @property
    def addresses(self) -> list[tuple[str, str, int]]:
        """(mode, host, port) of every bound socket."""
        return [
            (listener.mode, *sock.getsockname()[:2]) for listener, server in self._servers for sock in server.sockets
        ]

    def leave(self) -> None:
        """Take no more connections; the living sessions go on."""
        self._close_listeners()

    def here(self, flow: str) -> bool:
        """Whether the session of a flow lives here."""
        return flow in self._conversations

    def _close_listeners(self) -> None:
        for _, server in self._servers:
            server.close()
        for server in self._leased:
            server.close()

    async def drain(self, seconds: float, *, evenly: bool = False) -> None:
        """Take no new sessions; end the living ones politely, spread over `seconds` (not `evenly`: faster, if they are
        few); return when none is left."""
        self._close_listeners()
        until = self._loop.time() + seconds
        links = [link for link in self.links if link.conversation is not None]
        for link in list(self.links):
            if link.conversation is None:
                link.abort()
        for index, link in enumerate(links):
            if not link.done:
                link.conversation.kill("the gateway is shutting down")
            rest = until - self._loop.time()
            left = len(links) - index - 1
            if left:
                await asyncio.sleep(max(0.0, rest / left if evenly else min(rest / left, 0.05)))
        while self.links and self._loop.time() < until:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Abort what is left, release everything."""
        self._close_listeners()
        self.sweep.stop()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self.troubles.flush(float("inf"))
        for link in list(self.links):
            link.abort()
        for task in list(self._tasks):
            task.cancel()
        until = self._loop.time() + _STOP
        while (self.links or self._tasks) and self._loop.time() < until:
            await asyncio.sleep(0.001)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for turns in (self.scans, self.lookups):
            if turns is not None:
                turns.close()

    # -- what others ask

    def sessions(self) -> list[SessionInfo]:
        """The living sessions."""
        rows = []
        for link in self.links:
            conversation = link.conversation
            if conversation is None or conversation.over:
                continue
            flow, context = conversation.flow, getattr(conversation.session, "context", None)
            rows.append(SessionInfo(
                flow.id, f"{flow.client.ip}:{flow.client.port}", f"{flow.server.ip}:{flow.server.port}",
                getattr(context, "protocol", None), getattr(context, "user", None), flow.opened, conversation.bytes,
                flow.listener))
        return sorted(rows, key=lambda row: row.since)

    def kill(self, ident: str, reason: str = "ended by an administrator") -> bool:
        """End a session politely; False when there is none of that id."""
        conversation = self._conversations.get(ident)
        if conversation is None or conversation.over:
            return False
        conversation.kill(reason)
        return True

    # -- the host of conversations

    def later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, call)

    def turn(self, link: Any, call: Callable[[], None]) -> None:
        """Call in a later turn of the loop: of each client one in each."""
        self.rounds.wait(client_of(link.peer[0]), call)

    def scan(self, effect: Scan, done: Callable[[Scanned], None], client: str = "") -> None:
        """Run a long scan in a thread; clients take turns."""
        self.counters.scans += 1
        assert self.scans is not None
        asked = self.clock()
        answer: list[tuple[tuple[Finding, ...], str | None]] = []

        def work() -> None:
            # The session waits no longer: its text has been judged as scanner_failed by now.
            late = self.clock() - asked >= self.limits.scan_seconds
            answer.append(((), "too many texts waited to be scanned") if late else _scan(effect))

        def finished(error: BaseException | None) -> None:
            findings, failure = answer[0] if error is None else ((), type(error).__name__)
            done(Scanned(effect.id, self.clock(), findings, failure))

        try:
            self.scans.submit(client_of(client), work, finished, lambda thread: self._stuck(effect, thread))
        except Full as full:
            self.counters.scans_refused += 1
            self._say("scans", f"a text of {client or 'a client'} is not scanned: {full}")
            refused = Scanned(effect.id, self.clock(), (), "too many texts wait to be scanned", "overload")
            self._loop.call_soon(done, refused)

    def _stuck(self, effect: Scan, thread: int) -> None:
        """A scan does not end: the scanner may know which rule it is in, and switch it off."""
        self.counters.scans_stuck += 1
        self._say("stuck", "a scan does not end; its thread is given up")
        tell = getattr(effect.rules.scanner, "stuck", None)
        if tell is not None:
            tell(thread)

    def judge(self, effect: Judge, file: Spooled, done: Callable[[Judged], None]) -> Callable[[], None]:
        """Have a spooled file judged; the answer comes later."""
        failure = "no process judges files"
        try:
            content = file.content()
        except SpoolError as error:
            content, failure = -1, str(error)

        def answer(report: FileReport | None, failure: str | None) -> None:
            done(Judged(effect.file, self.clock(), report, failure))

        if content >= 0 and self.judges is not None:
            effect = msgspec.structs.replace(effect, client=client_of(effect.client))
            return self.judges.judge(effect, content, answer)
        if content >= 0:
            os.close(content)
        return self._loop.call_soon(answer, None, failure).cancel

    def tell(self, flow: str, notice: Notice) -> None:
        """Bring a notice to the session of a flow, if it lives."""
        conversation = self._conversations.get(flow)
        if conversation is not None:
            told = conversation
            self._loop.call_soon(lambda: told.outlet.post(Told(self.clock(), notice)))
        elif self.elsewhere is not None:
            self.elsewhere(flow, notice)

    # -- what waits for a reviewer: to the hold desk, and from it

    def hold(self, effect: Hold, content: int, done: Callable[[Kept], None]) -> None:
        """Have an item stored; the answer comes later."""
        async def work() -> None:
            why: str | None = "store_failed"
            if self.holds is not None:
                why = await self.holds.keep(effect.held, content)
            elif content >= 0:
                os.close(content)
            done(Kept(effect.id, self.clock(), why is None, why or ""))
        self.spawn(work())

    def deliver(self, flow: str, effect: Deliver, done: Callable[[Kept], None]) -> None:
        """Ask whether a released item may be sent now; the answer comes later."""
        async def work() -> None:
            may = self.holds is not None and await self.holds.deliver(effect.hold, flow)
            done(Kept(effect.id, self.clock(), may))
        self.spawn(work())

    def review(self, flow: str, effect: Unhold | Came | Arrived) -> None:
        """Hand news of an item, or of a user, to the hold desk."""
        if self.holds is None:
            return
        if isinstance(effect, Unhold):
            self.holds.forget(effect.hold)
        elif isinstance(effect, Came):
            self.holds.came(effect.hold, effect.flow or flow, effect.sent)
        else:
            self.holds.arrived(flow, effect)

    def post(self, flow: str, given: Released | Told) -> None:
        """Bring what was released, or a word to its people, to the session of a flow, if it lives."""
        conversation = self._conversations.get(flow)
        if conversation is None or conversation.over:
            if self.holds is not None and isinstance(given, Released):
                self.holds.came(given.held.id, flow, False)
            return
        if isinstance(given, Released):
            self._given.add(flow)
        conversation.outlet.post(msgspec.structs.replace(given, at=self.clock()))

    def cover(self, cover: Cover) -> None:
        """A release covers the legs that follow it, in all sessions here."""
        self.world.covers.add(cover, self.clock())

    async def sessions_of(self, protocol: str, user: str) -> list[Place]:
        """The living sessions of a user (whatever the resource of his name), the newest first."""
        places, wanted = [], bare(user)
        for conversation in self._conversations.values():
            context = getattr(conversation.session, "context", None)
            if context is None or conversation.over or context.protocol != protocol or bare(context.user) != wanted:
                continue
            flow = conversation.flow
            places.append(Place(flow.id, context.identity, flow.client.ip, flow.opened))
        return sorted(places, key=lambda place: place.since, reverse=True)

    def note(self, note: Note, done: Callable[[Kept], None] | None) -> None:
        """Hand a row on; the answer comes back on the loop."""
        if done is None:
            self._notes(note, _nobody if note.durable or note.needed else None)
            return
        self._notes(note, lambda ok: self._from_thread(lambda: done(Kept(note.id, self.clock(), ok))))

    def note_first(self, note: Note, client: str, then: Callable[[], None]) -> bool:
        """Hand on a row of trouble; `then` is called on the loop, once, later: when it is on disk, or cannot be within
        limits.store_seconds. False: too many wait (in all, or of this client), and the row was not taken."""
        owner = client_of(client)
        if not self.waits.take(owner):
            return False
        waiting = True

        def answered(ok: bool, *, late: bool = False) -> None:
            nonlocal waiting
            if not waiting:
                return
            waiting = False
            timer.cancel()
            self.waits.give(owner)
            if not ok:
                self.waits.unwritten += 1
                if not late:  # given up by the store: it may follow when the store works again
                    self._notes(Note(0, note.row), None)
            then()

        timer = self._loop.call_later(self.limits.store_seconds + _LATER, lambda: answered(False, late=True))
        self._notes(note, lambda ok: self._from_thread(lambda: answered(ok)))
        return True

    def _close_later(self, descriptor: int) -> None:
        """Close a file that may be long, outside of the loop."""
        if self._pool is None:
            os.close(descriptor)
            return
        try:
            self._pool.submit(os.close, descriptor)
        except RuntimeError:  # shut down
            os.close(descriptor)

    def _from_thread(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _trouble(
        self, name: str, client: str, detail: str, flow: Callable[[], Flow], then: Callable[[], None] | None = None,
    ) -> None:
        """A row of trouble met before there is a session. `then`: what its peer notices."""
        self.troubles.tell(name, client, detail, self.clock(), flow, then)

    def _say(self, kind: str, sentence: str, key: str = "") -> None:
        """Log, in bounds: a flood of refusals must not flood the log. `key`: what is said once a second."""
        self._sayings.say(kind, sentence, self.clock(), key)

    def _look(self) -> None:
        """Once a second: threads that are stuck, and rows that tell of several troubles."""
        assert self.scans is not None
        assert self.lookups is not None
        self.scans.check()
        self.lookups.check()
        self.troubles.flush(self.clock())
        self._looking = self._loop.call_later(max(0.05, min(1.0, self.limits.refusal_seconds / 4)), self._look)

    def slow(self, link: Any, detail: str, then: Callable[[], None]) -> None:
        """A link is ended, by `then`, because its peer is slow or silent."""
        link.leaving = True
        flow = link.conversation.flow if link.conversation is not None else self._flow(link, None, None, tls=False)
        self._trouble("timeout", flow.client.ip, detail, lambda: flow, then)

    def problems(self) -> list[str]:
        """What is wrong, for `inspector status`."""
        found = self.admission.problems(self.clock())
        if self.scans is not None and self.scans.stuck:
            found.append(f"{self.scans.stuck} threads are stuck in scans that do not end")
        return found

    # -- the host of links

    def accept(self, link: Any) -> bool:
        """A client's connection stands: give it its first layer, or refuse it."""
        listener: ListenerSettings = link.listener
        now = self.clock()
        peer, own = link.info("peername"), link.info("sockname")
        if not peer or not own:
            link.dismiss()  # gone again before we looked
            return False
        client = address_of(peer)
        if link.leases is not None:
            link.expected = link.leases.claim(int(own[1]), client.ip, now)
        link.since = now
        link.peer = client.ip, client.port
        self.links.add(link)
        self.admission.enter(link, client_of(client.ip))
        self.counters.accepted += 1
        if self._refused(link, client, int(own[1])):
            return False
        link.known(connection.Client(
            peername=link.peer, sockname=own[:2], state=ConnectionState.OPEN, timestamp_start=now))
        target = listener.upstream
        dialog: Dialog | None = None
        if link.expected is not None:
            target = endpoint(link.expected.address)
            if target is None:
                self.leases.refused += 1
                self._refuse(link, "refused_lease", "what was announced is no address with a port")
                return False
        elif listener.mode == "transparent":
            link.original = target = self._original(link)
            if target is None:
                self._refuse(link, "refused_redirect", "it was not redirected by the firewall")
                return False
        elif listener.mode == "socks5":
            dialog = SocksDialog()
        elif listener.mode == "connect":
            dialog = ConnectDialog()
        link.limit(self.limits.handshake_seconds if dialog else None)
        link.layer = mitm.Front(Context(link.client, mitm.OPTIONS), link, dialog, target)
        return True

    def _refused(self, link: Any, client: Address, port: int) -> bool:
        """Whether the connection, which came to `port` of ours, is not taken."""
        listener: ListenerSettings = link.listener
        if link.leases is not None:
            # Who may use a lease is the lease's affair: it may be for somebody behind the server.
            if link.expected is None:
                self.leases.unclaimed += 1
                self._say("lease", f"{client.ip} came to the leased port {port}, where nobody is expected", client.ip)
                self._refuse(link, "refused_lease", f"nobody is expected at port {port}")
                return True
            self.leases.used += 1
        elif listener.clients and not any(
            ipaddress.ip_address(client.ip) in network for network in listener.clients
        ):
            self.counters.refused_clients += 1
            why = f"{client.ip} is not a client of the listener {listener.address}"
            self._say("client", why, client.ip)
            self._refuse(link, "refused_client", why)
            return True
        overload = self.admission.refusal(client_of(client.ip), link.since)
        if overload is not None:
            self.counters.overload += 1
            self._say("overload", f"a session of {client.ip} was refused: {overload}")
            self._refuse(link, "overload", overload)
            return True
        return False

    def _refuse(self, link: Any, name: str, detail: str) -> None:
        """Do not take a connection: it is kept open, unread, until the row that says so is on disk (Troubles)."""
        link.leaving = True
        link.hold(client=True, server=False)
        self._trouble(name, link.peer[0], detail, lambda: self._flow(link, None, None, tls=False), link.dismiss)

    def _original(self, link: Any) -> tuple[str, int] | None:
        try:
            return original_destination(link.info("socket"))
        except OSError:
            self.counters.refused_redirects += 1
            self._say("original", f"a connection to {link.listener.address} was not redirected by the firewall")
            return None

    def forget(self, link: Any) -> None:
        """Both connections of the link are closed."""
        if link not in self.links:
            return
        self.links.discard(link)
        self.counters.ended += 1
        self.departed.add(link)
        conversation: Conversation | None = link.conversation
        if conversation is not None:
            self.departed.add(conversation)
            self.counters.bytes += conversation.bytes
            if self._conversations.get(conversation.flow.id) is conversation:
                del self._conversations[conversation.flow.id]
            if conversation.flow.id in self._given:
                self._given.discard(conversation.flow.id)
                if self.holds is not None:
                    self.holds.ended(conversation.flow.id)
        self.sweep.forget(link)
        self.admission.left(link, client_of(link.peer[0]))

    def late(self, link: Any) -> None:
        """Set-up took too long."""
        self.counters.late += 1
        link.leaving = True
        link.hold(client=True, server=True)
        self._trouble("timeout", link.peer[0], "the handshake took too long",
                      lambda: self._flow(link, None, None, tls=False), link.abort)

    def hook(self, link: Any, hook: commands.StartHook, done: Callable[[], None]) -> bool:
        if isinstance(hook, mitm.LookupHook):
            self.spawn(self._look_up(link, hook.data, done))
            return False
        if isinstance(hook, mitm.RefusedHook):
            self._loop.call_soon(hook.data, done)  # what it does may end the layers that ask
            return False
        return mitm.answer_hook(self.contexts, hook, self._own_certificate(link))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that `stop` waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, link: Any, lookup: mitm.Lookup, done: Callable[[], None]) -> None:
        """Resolve, judge every address, keep those that may be connected to."""
        listener: ListenerSettings = link.listener
        try:
            ipaddress.ip_address(lookup.host)
            found = [(lookup.host, lookup.port)]
        except ValueError:
            try:
                owner = "" if lookup.admin else client_of(link.peer[0])
                found = [(address, lookup.port) for address in await self._resolve(lookup.host, lookup.port, owner)]
            except (OSError, UnicodeError) as error:
                lookup.error = getattr(error, "strerror", None) or type(error).__name__
                found = []
        for address in dict.fromkeys(found):
            why = None
            if link.expected is not None:
                why = self.leases.refusal(link.expected, address[0], address[1], self.own)
            elif not lookup.admin:
                why = listener.destinations.refusal(lookup.host, address[0], address[1], self.own)
            if why is None:
                lookup.addresses.append(address)
            else:
                lookup.error = why
        lookup.refused = bool(found) and not lookup.addresses
        if lookup.refused and link.expected is not None:
            self.leases.refused += 1
        done()

    async def _resolve(self, host: str, port: int, owner: str) -> list[str]:
        """The addresses of a name. Raises OSError (TimeoutError after limits.connect_seconds) and UnicodeError."""
        assert self.lookups is not None
        answer: asyncio.Future[None] = self._loop.create_future()
        found: list[str] = []

        def work() -> None:
            found.extend(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

        def done(error: BaseException | None) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(None)
                else:
                    answer.set_exception(error)

        try:
            take_back = self.lookups.submit(owner, work, done)
        except Full as full:
            raise OSError(0, str(full)) from None
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                await answer
        finally:
            take_back()
        return found

    def _own_certificate(self, link: Any) -> str | None:
        """The address of a link's listener, if it has a certificate of its own; what came to a leased port leads to
        another server."""
        listener: ListenerSettings = link.listener
        return listener.address if listener.certificate is not None and link.expected is None else None

    def same_certificate(self, link: Any, context: Context) -> bool:
        """Whether the client was shown the certificate that the server has shown us. Where the listener has its own for
        that and it is another one, the operator is told."""
        address = self._own_certificate(link)
        shown = context.server.certificate_list
        if address is None or not shown or self.contexts is None:
            return False
        if self.contexts.shows(address, shown[0].fingerprint()):
            return True
        self._say("certificate", f"the server at {context.server.sni} shows another certificate than the listener "
                                 f"{address}: logins bound to it will fail", address)
        return False

    def own(self, ip: IP, port: int) -> bool:
        """Whether an address is this machine and the port one of ours."""
        return port in self._own_ports and is_local(ip)

    # -- what the layers ask

    def _flow(self, link: Any, server: tuple[str, int] | None, name: str | None, *, tls: bool) -> Flow:
        client = address_of(link.peer)
        upstream = address_of(server) if server else Address("0.0.0.0", 0)  # noqa: S104
        return Flow(
            flow_id(client, upstream, "tcp", link.since), client, upstream, "tcp", link.since, name, tls,
            link.listener.address, expected=link.expected, reverse=link.listener.mode == "reverse")

    def converse(self, link: Any, context: Context, *, tls: bool) -> Conversation:
        """The session of a link whose server is known."""
        listener: ListenerSettings = link.listener
        server = context.server.peername or context.server.address
        assert server is not None
        name = context.client.sni or (link.asked if link.asked and not _is_address(link.asked) else None)
        flow = self._flow(link, server[:2], name, tls=tls)
        if tls and self.same_certificate(link, context):
            flow = msgspec.structs.replace(flow, same_certificate=True)
        if link.expected is not None:
            # What it is was announced; a listener's protocols are about connections that come unannounced.
            protocols, named_im = frozenset[str](), True
        else:
            protocols, named_im = listener.protocols, bool(listener.protocols) or flow.server.port in self._im_ports
            if listener.mode == "reverse" and not listener.protocols:
                names = [name for name in (context.client.sni, link.asked) if name]
                found = self._announced(link, context, names)
                if found is not None and found.offer is not None:
                    flow = msgspec.structs.replace(flow, expected=found)
        self.admission.begun(link)
        session = self._make(flow, protocols, named_im, self._paths(listener, context, flow))
        conversation = Conversation(flow, session, self, link, hush, hush)
        link.conversation = self._conversations[flow.id] = conversation
        if tls:
            self.counters.tls_sessions += 1
        return conversation

    def _paths(self, listener: ListenerSettings, context: Context, flow: Flow) -> Paths | None:
        """What a session may write in place of addresses; None: its listener has no ports to lease."""
        pool = self.leases.pools.get(listener.address)
        up, down = context.server.sockname, context.client.sockname
        if pool is None or not up or not down:
            return None
        return self.leases.paths(
            flow.id, pool, listener.lease_up or address_of(up).ip,
            (listener.lease_down or address_of(down).ip) if listener.mode == "reverse" else None,
            flow.client.ip, flow.server.ip)

    def reached(self, link: Any, host: str) -> None:
        """Connected: the client may take its time now."""
        link.asked = host
        link.limit(None)

    def unreached(
        self, link: Any, host: str, port: int, outcome: str, detail: str, then: Callable[[], None],
    ) -> None:
        """No connection: one sentence, and a row. `then`: the client may be told."""
        flow = self._flow(link, None, host, tls=False)
        where = f"{host} port {port}"
        if outcome == REFUSED:
            self.counters.refused_destinations += 1
            self._say("refused", f"{flow.client.ip} may not connect to {where}: {detail}", where)
            self._trouble("refused_destination", flow.client.ip, f"{where}: {detail}", lambda: flow, then)
            return
        self.counters.unreached += 1
        self._say("unreached", f"the server {where} cannot be reached: {detail or outcome}", where)
        self._trouble("unreached", flow.client.ip, f"{where}: {detail or outcome}", lambda: flow, then)

    def handshake_refused(self, link: Any, why: str, then: Callable[[], None]) -> None:
        """A client spoke no valid SOCKS or CONNECT. `then`: it may be told."""
        self.counters.refused_handshakes += 1
        link.leaving = True
        link.limit(None)  # what it waits for next has a limit of its own
        client = address_of(link.peer).ip
        self._say("handshake", f"{client} at the listener {link.listener.address}: {why}")
        self._trouble("refused_handshake", client, why, lambda: self._flow(link, None, None, tls=False), then)

    def leave_alone(self, link: Any, context: Context) -> str | None:
        """Why this TLS is passed on unread; None: it is opened."""
        tls = self.settings.tls
        names = [name for name in (context.client.sni, link.asked) if name]
        # A client chooses its SNI: where it also named the host to connect to, both must be excepted, or the name of an
        # excepted server would free a session with another one. A reverse upstream is fixed by the administrator.
        free = all if link.listener.mode in ("socks5", "connect") and not _is_address(link.asked) else any
        port = context.server.address[1] if context.server.address else 0
        announced = link.expected or self._announced(link, context, names)
        if announced is not None and _is_address(announced.address.rpartition(":")[0].strip("[]")):
            names = []  # announced between people, by an address: a name there is whatever its maker likes to say
        why = None
        if names and free(name_matches(name, tls.never) for name in names):
            why = "named in tls.never"
        elif (exception := self._exception(link, names, free)) is not None:
            why = f"tls exception: {exception.why or exception.name}"
        elif tls.intercept == "none":
            why = "tls.intercept is none"
        elif tls.intercept == "im" and not (
            port in self._tls_ports or port in self._im_ports or link.listener.protocols
            or link.listener.certificate is not None  # it is there to be shown
            or announced is not None
            or self._alpn.intersection(context.client.alpn_offers)
            or any(name_matches(name, tls.names) for name in names)
        ):
            why = "not known as instant messaging"
        if why is not None:
            self.counters.spliced += 1
        return why

    def _announced(self, link: Any, context: Context, names: list[str]) -> Expect | None:
        """What told of this connection in a session (an upload slot, a redirect, a file)."""
        address = context.server.address
        if address is None or self.world is None:
            return None
        client, now = address_of(link.peer).ip, self.clock()
        found: Expect | None = self.world.expected_at((*names, address[0]), address[1], client, now)
        if found is None and link.listener.mode == "reverse":
            # What was announced is where the client goes: to us (the external URL of an upload host is our listener).
            own = link.info("sockname")
            found = self.world.expected_at((*names, address_of(own).ip), int(own[1]), client, now) if own else None
        return found

    def _exception(
        self, link: Any, names: list[str], free: Callable[[Iterable[object]], bool],
    ) -> TlsException | None:
        ip, now = ipaddress.ip_address(address_of(link.peer).ip), self.clock()
        for exception in self.settings.tls.exceptions:
            if (
                (exception.until is None or now < exception.until)
                and names and free(name_matches(name, (exception.name,)) for name in names)
                and (not exception.clients or any(ip in network for network in exception.clients))
            ):
                return exception
        return None

    def verified_name(self, link: Any, context: Context, effect: StartTls | None) -> str | None:
        """The name that the server's certificate must be valid for; None: what was named is no host name.

        The stream's `to`, else the client's SNI, else the host that was asked for.
        """
        if effect is not None and effect.server_name:
            return host_name(effect.server_name)
        asked = context.client.sni or link.asked
        if asked is None and context.server.address is not None:
            asked = context.server.address[0]
        return host_name(asked) if asked else None

    def begin_tls(self, link: Any, effect: StartTls) -> None:
        """STARTTLS on the fast path: back to layers."""
        client, server = link.connections()
        context = Context(client, mitm.OPTIONS)
        context.server = server
        link.limit(self.limits.handshake_seconds)
        link.layer = mitm.secure_layers(context, link, effect)
        link.event(events.Start())

    def server_refused(self, link: Any, context: Context, detail: str, then: Callable[[], None]) -> None:
        """TLS with the server failed: nothing is forged, the client gets a failure, by `then`."""
        self.counters.server_tls_failed += 1
        name = context.server.sni or link.asked or "the server"
        self._say("tls", f"TLS with {name} failed: {detail}", name)
        if link.conversation is not None:
            link.conversation.secured(False, f"TLS with the server failed: {detail}", then=then)
        else:
            server = context.server.peername
            self._trouble("tls_failed", link.peer[0], f"with the server: {detail}",
                          lambda: self._flow(link, server, name, tls=False), then)

    def client_refused(self, link: Any, context: Context, detail: str) -> None:
        """TLS with the client failed. Rejections of our certificate are counted; they free nobody."""
        self.counters.client_tls_failed += 1
        name = context.server.sni or ""
        injected = detail.startswith("Cannot parse ClientHello")
        conversation = link.conversation
        server = context.server.peername
        flow = conversation.flow if conversation is not None else self._flow(link, server, name, tls=True)
        if conversation is not None and injected:
            conversation.injected()
        elif conversation is not None:
            conversation.secured(False, f"TLS with the client failed: {detail}")
        else:
            self._trouble("tls_failed", flow.client.ip, f"with the client: {detail}", lambda: flow)
        if any(word in detail for word in _REJECTING):
            self._count_rejection(flow, name)

    def _count_rejection(self, flow: Flow, name: str) -> None:
        key = flow.client.ip, name
        count = self._rejected.pop(key, 0) + 1
        self._rejected[key] = count
        if len(self._rejected) > _REJECTED:
            del self._rejected[next(iter(self._rejected))]
        if count == REJECTIONS:
            reason = "a client does not accept our certificate: trust the authority there, or write a tls exception"
            self._number += 1
            self.note(Note(0, {
                "event": "proposal", "id": f"{flow.id}-d{self._number}", "t": self.clock(), "flow": flow.id,
                "name": name, "client": {"ip": flow.client.ip, "port": flow.client.port},
                "server": {"ip": flow.server.ip, "port": flow.server.port}, "count": count, "reason": reason,
            }), None)
            self.log(f"{flow.client.ip} has rejected our certificate for {name} {count} times")


_REJECTING = ("unknown ca", "bad certificate", "certificate unknown", "connection closed")
"""How a client says that it does not accept our certificate: alerts (RFC 8446, 6.2), or without a word."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _nobody(ok: bool) -> None:
    """Waits for a row that is durable because of what comes behind it."""


def _scan(effect: Scan) -> tuple[tuple[Finding, ...], str | None]:
    """In a thread of the pool."""
    try:
        return effect.rules.scanner.full(effect.texts), None
    except ScanFailed as failure:
        return (), str(failure) or "the scan failed"


DEFAULT_DENY: dict[str, frozenset[str]] = {
    "reverse": frozenset(), "transparent": frozenset({"own"}), "socks5": CLASSES, "connect": CLASSES,
}
"""What a listener's destinations deny where the configuration does not say."""
