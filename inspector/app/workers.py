"""`inspector run` with `workers: N`: one supervisor, which owns what workers share, and N workers (worker.py).

The supervisor has the listening sockets (drivers/seats.py), the control socket, the page of metrics, the keeper of the
event log and the hold desk. It sees no byte of a session. Workers are programs of their own, started anew (no fork of a
process with threads), as the user that the supervisor has become.

Each worker sits on a seat: a share of the listening sockets, which stay open here, so that no connection is refused
while a seat is empty. It has a number, the lowest that is free: its chain in the event log, its mailbox, its folder in
the spool; in a rolling restart there are more workers than seats for a while.

- A worker that dies is told (trouble `worker_died`) and replaced, at once the first time, later and later when it goes
  on dying; one that does not answer for limits.worker_seconds is killed. The kernel ends its sessions: both peers get a
  FIN, or an RST where something they sent was not read.
- A reload is read once, copied (snapshot.py), prepared by the first worker, then by all, then put in force by all. What
  one refuses is refused; one that has prepared and cannot put it in force is replaced.
- A rolling restart puts a new worker on each seat and then lets the old one end its sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

import inspector
from inspector.app import channel, config, logs, process, snapshot
from inspector.app.channel import Channel, ChannelError
from inspector.app.control import Control
from inspector.app.errors import UserError
from inspector.app.hold_desk import HoldDesk, open_desk
from inspector.app.hold_lines import Lines
from inspector.app.snapshot import Snapshot
from inspector.app.worker_words import PROGRAM, SPEECH, Begin, InForce, Ready
from inspector.drivers import judges, metrics, seats
from inspector.drivers.boxes import box, empty
from inspector.model import Limits
from inspector.store.retention import Retention
from inspector.store.sqlite import Writer
from inspector.wire.located import Faults

CHAIN = "supervisor"
"""The supervisor's own chain in the event log."""
BACKLOG = 1024
LEASE_BACKLOG = 8
ANSWER_SECONDS = 5.0
"""A worker that does not answer an operator's question so long is told as a problem."""
END_SECONDS = 10.0
"""From the word to stop to the kill."""
FREE_SECONDS = 5.0
"""A port that is taken is tried so long: of a supervisor that was killed a moment ago a worker that was just starting
has the sockets until it sees that."""
FAST_DEATH = 60.0
"""A worker that has lived longer than this is replaced at once."""
SLOWEST = 30.0
"""Longest wait before a worker is started again."""

State = Literal["starting", "ready", "serving", "leaving", "gone"]


@dataclass(eq=False)
class Hand:
    """One worker, as the supervisor sees it."""

    number: int
    seat: int
    process: subprocess.Popen[bytes]
    since: float
    listening: list[tuple[str, int, list[int]]]
    """What it inherits: Seats.of."""
    line: Channel = field(init=False)
    state: State = "starting"
    sessions: int = 0
    """When it was asked last."""
    letters_lost: int = 0
    """Likewise: announcements between workers that it did not get, or could not give."""
    release: str = ""
    version: int = 0
    """Of the rules it has in force."""
    expected: bool = False
    """Its end is no surprise."""
    buried: asyncio.Event = field(default_factory=asyncio.Event)

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"


class Seats:
    """The listening sockets, seat by seat."""

    def __init__(self, loaded: config.Config, count: int) -> None:
        self.count = count
        self.addresses: list[tuple[str, str, int]] = []
        """(mode, host, port) of what is bound, each once."""
        self._rows: list[tuple[str, int, list[list[socket.socket]]]] = []
        self._leases: list[list[tuple[str, int, list[socket.socket]]]] = [[] for _ in range(count)]
        try:
            self._bind(loaded)
        except OSError:
            self.close()
            raise

    def _bind(self, loaded: config.Config) -> None:
        """Raises OSError with the address in its text."""
        from inspector.app import build

        settings = build.gateway_settings(loaded)
        key = secrets.token_bytes(seats.KEY_BYTES)
        for listener in settings.listeners:
            try:
                rows = seats.shared(listener.host, listener.port, self.count, key)
            except OSError as error:
                why = error.strerror or str(error)
                raise OSError(error.errno, f"cannot listen on {listener.address}: {why}") from error
            self._rows.append((listener.address, listener.port, rows))
            self.addresses += [(listener.mode, *row[0].getsockname()[:2]) for row in rows]
            for index, port in enumerate(settings.leasable(listener)):
                made: list[socket.socket] = []
                self._leases[index % self.count].append((listener.address, port, made))
                try:
                    hosts: list[str | None] = [*(listener.lease_hosts() or (None,))]
                    for host in hosts:
                        made += seats.lone(host, port)
                except OSError as error:
                    why = error.strerror or str(error)
                    raise OSError(error.errno, f"cannot listen on port {port} of lease_ports: {why}") from error

    def open(self) -> None:
        """Take connections, for workers that are about to accept them. Raises OSError."""
        for _, _, rows in self._rows:
            seats.listen(rows, BACKLOG)
        for leases in self._leases:
            for _, _, made in leases:
                seats.listen([made], LEASE_BACKLOG)

    def of(self, seat: int) -> list[tuple[str, int, list[int]]]:
        """(listener's address, port, descriptors) of a seat."""
        found = [(address, port, [row[seat].fileno() for row in rows]) for address, port, rows in self._rows]
        return found + [
            (address, port, [sock.fileno() for sock in made]) for address, port, made in self._leases[seat]
        ]

    def close(self) -> None:
        """Close all."""
        for _, _, rows in self._rows:
            seats.close(rows)
        for leases in self._leases:
            seats.close([made for _, _, made in leases])


class Crew:
    """The supervisor of several workers, and what operators may ask of it (control.Steward)."""

    def __init__(self, path: str | None, loaded: config.Config, log: logs.Logs, level: str | None = None,
                 form: str | None = None) -> None:
        self.path = path
        self.config = loaded
        self.log = log
        self.started = time.time()
        self.name = socket.gethostname()
        self.reloads = metrics.Reloads()
        self.faults: list[str] = []
        """Of the last refused reload."""
        self.hands: list[Hand] = []
        """All workers that live."""
        self.deaths = 0
        """Workers that died without having been told to."""
        self.restarts = 0
        """Rolling restarts."""
        self.unrelieved = 0
        """Rolling restarts that ended early: a worker could not be relieved."""
        self.unstarted = 0
        """Workers that were to take a dead one's place and could not be started."""
        self.writer: Writer
        self.desk: HoldDesk | None = None
        self.rules: InForce
        self.snapshot: Snapshot
        self.seats: Seats
        self.lines = Lines(time.time)
        self._level, self._form = level, form
        self._boxes: list[tuple[socket.socket, socket.socket]] = []
        self._words: list[tuple[socket.socket, socket.socket]] = []
        """Boxes for what accounts write through several workers."""
        self._seed = str(secrets.randbelow(2**32))
        self._control: Control | None = None
        self._metrics: metrics.MetricsServer | None = None
        self._families: list[metrics.Family] = []
        self._rows = 0
        self._loaded_at = self.started
        self._reloading = asyncio.Lock()
        self._entering = asyncio.Lock()
        self._replacing = 0
        """Workers that are being replaced at this moment."""
        self._fails: dict[int, int] = {}
        """Seat -> deaths soon after the start, in a row."""
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._stops = 0
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def limits(self) -> Limits:
        """Those in force."""
        return self.config.limits

    # -- life

    async def run(self) -> int:
        """Start, run until told to stop, drain. Raises UserError for what keeps it from starting."""
        loop = asyncio.get_running_loop()
        try:
            for one, do in (
                (signal.SIGHUP, self._hang_up), (signal.SIGTERM, self._terminate), (signal.SIGINT, self._terminate),
                (signal.SIGUSR2, self._renew),
            ):
                loop.add_signal_handler(one, do)
            loop.set_exception_handler(process.stray)
            await self._start()
            self._ready.set()
            await self._stop.wait()
            return await self._drain()
        finally:
            await self._close()

    async def _start(self) -> None:
        loaded = self.config
        faults = [*loaded.refusals_for_run(), *loaded.missing_files()]
        if faults:
            raise UserError("\n".join(str(f) for f in faults))
        process.private(loaded.state)
        self.writer = process.event_store(loaded, self.name, CHAIN, loaded.state / "checkpoint.key")
        try:
            self.seats = await self._take_seats(loaded)
            self._boxes = [box() for _ in range(2 * loaded.workers)]
            self._words = [box() for _ in self._boxes]
        except OSError as error:
            raise process.refused(error) from None
        await self._watch(loaded)
        process.become_user(loaded, self.writer.path)
        self.desk = open_desk(loaded, self.lines, self.writer.put, lambda: self.config)
        self.lines.desk = self.desk
        await self.desk.start()
        await self._first(loaded)
        self._spawn(self._look())
        self._spawn(process.tidy())
        self._event("started", version=inspector.__version__, config=str(loaded.path) if loaded.path else None,
                    listeners=[f"{mode} {process.address(host, port)}" for mode, host, port in self.seats.addresses],
                    policy=self.rules.policy, packs=self.rules.packs)
        process.greet(self.path, loaded, self.seats.addresses)

    @staticmethod
    async def _take_seats(loaded: config.Config) -> Seats:
        """The listening sockets. Raises OSError: an address is taken, and stays so."""
        until, told = time.monotonic() + FREE_SECONDS, False
        while True:
            try:
                return Seats(loaded, loaded.workers)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                    raise
                if not told:
                    told = True
                    logs.tell("warning", f"{process.why(error)}; trying again for {FREE_SECONDS:g} seconds")
            await asyncio.sleep(0.1)

    async def _first(self, loaded: config.Config) -> None:
        """The first workers. Raises UserError with every fault of the rules."""
        try:
            self.snapshot, _ = await asyncio.to_thread(snapshot.take, self.path, 1)
            snapshot.clear(loaded.state, keep=1)
            hands = [await self._hire(seat) for seat in range(self.seats.count)]
            # The first compiles, and makes the authority where there is none; the others load what it has made.
            await self._brief(hands[0])
            await asyncio.gather(*map(self._brief, hands[1:]))
            for hand in hands:
                await self._greeted(hand)
            self.seats.open()
            for hand in self.hands:
                await self._seat(hand, [])
        except Faults as found:
            raise UserError("\n".join(str(fault) for fault in found.faults)) from None
        except ChannelError as error:
            raise UserError(str(error)) from None
        except OSError as error:
            raise process.refused(error) from None
        self.reloads.version = self.snapshot.version
        for warning in self.rules.warnings:
            logs.tell("warning", warning)

    async def _watch(self, loaded: config.Config) -> None:
        """Control socket and metrics."""
        control = Control(
            loaded.control, self, group=loaded.control_group, limits=lambda: self.limits, roles=loaded.roles)
        await control.start()
        self._control = control
        if loaded.metrics is None:
            return
        page = metrics.Metrics()
        page.add(lambda: self._families)
        page.add(metrics.of_reloads(self.reloads))
        page.add(self._of_workers)
        page.add(lambda: [] if self.desk is None else self.desk.source())
        server = metrics.MetricsServer(page, self._gather)
        try:
            await server.start(loaded.metrics.host, loaded.metrics.port)
        except OSError as error:
            raise UserError(process.why(error)) from None
        self._metrics = server

    async def _drain(self) -> int:
        """Polite cuts over limits.drain_seconds in all workers; a second signal stops at once."""
        self._ending = True
        seconds = self.limits.drain_seconds
        sessions = sum(one[0] for one in await self._ask_all("ping", None) if one is not None)
        logs.tell("info", f"stopping: {sessions} sessions to end")
        await process.drained(
            self._ask_all("drain", [seconds, False], seconds + END_SECONDS), lambda: self._stops)
        self._event("stopped", reason="signal", sessions=sessions)
        return 0

    async def _close(self) -> None:
        self._ending = True
        if self._metrics is not None:
            await self._metrics.stop()
        if self._control is not None:
            await self._control.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(self._end(hand) for hand in list(self.hands)))
        if hasattr(self, "seats"):
            self.seats.close()
        for ends in (*self._boxes, *self._words):
            for one in ends:
                one.close()
        if self.desk is not None:
            await self.desk.stop()
        if hasattr(self, "writer"):
            await asyncio.to_thread(self.writer.close)

    # -- signals

    def _terminate(self) -> None:
        self._stops += 1
        self._stop.set()

    def _hang_up(self) -> None:
        self._spawn(self._quietly(self.reload))

    def _renew(self) -> None:
        self._spawn(self._quietly(self.restart))

    async def _quietly(self, do: Any) -> None:
        await self._ready.wait()
        with contextlib.suppress(UserError):
            await do("SIGHUP" if do == self.reload else "SIGUSR2")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _event(self, event: str, **fields: Any) -> None:
        """A row of the gateway itself."""
        self._rows += 1
        ident = f"{self.name}-{int(self.started * 1000):x}-{self._rows}"
        self.writer.put({"event": event, "id": ident, "t": time.time(), "flow": None, **fields})

    # -- workers

    async def _begin(self, seat: int) -> Hand:
        """A worker for a seat, with the rules in force; it accepts nothing yet. Raises ChannelError."""
        hand = await self._hire(seat)
        await self._brief(hand)
        return hand

    async def _hire(self, seat: int) -> Hand:
        """Start a worker's process. Raises ChannelError."""
        taken = {hand.number for hand in self.hands}
        number = next((one for one in range(len(self._boxes)) if one not in taken), None)
        if number is None:
            raise ChannelError("the workers of the last restart still have sessions to end")
        self._empty(number)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        listening = self.seats.of(seat)
        inherited = {
            its.fileno(), self._boxes[number][0].fileno(), *(ends[1].fileno() for ends in self._boxes),
            self._words[number][0].fileno(), *(ends[1].fileno() for ends in self._words),
            *(one for _, _, numbers in listening for one in numbers),
        }
        path = os.pathsep.join(os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path)
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", *PROGRAM, str(its.fileno()), str(os.getpid())], stdin=subprocess.DEVNULL,
                pass_fds=tuple(inherited), start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": self._seed})
        except OSError as error:
            ours.close()
            raise ChannelError(f"a worker cannot be started: {(error.strerror or str(error)).lower()}") from None
        finally:
            its.close()
        hand = Hand(number, seat, child, time.time(), listening)
        self.hands.append(hand)
        def serve(line: Channel) -> None:
            line.handle("notice", lambda payload: self._pass_on(hand, payload))

        hand.line = await channel.attach(ours, lambda: self._gone(hand), serve)
        self.lines.serve(hand.line, child.pid)
        return hand

    async def _brief(self, hand: Hand) -> None:
        """Tell it all that it needs to be ready. Raises ChannelError."""
        boxes, words = ({one: ends[1].fileno() for one, ends in enumerate(kind)} for kind in (self._boxes, self._words))
        begin = Begin(
            SPEECH, hand.number, self.seats.count, self.snapshot, self.name, self.started, hand.listening,
            self._boxes[hand.number][0].fileno(), boxes, self._words[hand.number][0].fileno(), words, self._level,
            self._form)
        seconds = self.limits.compile_seconds + self.limits.worker_seconds
        try:
            ready = msgspec.convert(await hand.line.call("begin", begin, seconds), Ready)
        except ChannelError:
            hand.expected = True
            hand.line.abort()
            raise
        if ready.speech != SPEECH:
            hand.expected = True
            hand.line.abort()
            raise ChannelError("supervisor and worker are of different releases: restart the gateway")
        hand.state, hand.release, hand.version = "ready", ready.release, ready.rules.version
        self.lines.ready(hand.line)
        self.rules = ready.rules

    async def _greeted(self, hand: Hand) -> None:
        """Have it and the others know of each other; it knows what they know when this returns. Raises ChannelError."""
        living = [one for one in self.hands if one.state in ("ready", "serving", "leaving")]
        numbers = [one.number for one in living]
        await hand.line.call("others", [numbers, None])
        for one in living:
            if one is not hand:
                with contextlib.suppress(ChannelError):  # it is dying
                    await one.line.call("others", [numbers, hand.number])

    async def _seat(self, hand: Hand, leases: list[Any]) -> None:
        """Let it take connections. Raises ChannelError."""
        await hand.line.call("accept", leases)
        hand.state = "serving"

    def _gone(self, hand: Hand) -> None:
        """Its channel has ended: it has, or will be made to."""
        if not self._ending:
            self._spawn(self._bury(hand))
        self.lines.gone(hand.line)

    async def _bury(self, hand: Hand) -> None:
        """See that its process ends; tell, and replace it, if that was not expected."""
        # One that was told to stop has ended its sessions; on a busy machine its last second may be long.
        ended = await self._exit(hand, END_SECONDS if hand.expected else 1.0)
        stuck = hand.state == "leaving" and (hand.process.returncode or 0) < 0
        served, hand.state = hand.state in ("serving", "leaving"), "gone"
        seated = not any(one is not hand and one.seat == hand.seat and one.state in ("ready", "serving", "starting")
                         for one in self.hands)
        if hand in self.hands:
            self.hands.remove(hand)
        self._empty(hand.number)
        hand.buried.set()
        await self._part()
        if self._ending or (hand.expected and not stuck):
            return
        if not (served and seated):
            self.writer.bury()  # no other worker comes to tell which sessions were lost
        self.deaths += 1
        detail = f"{hand} {ended}; it had {hand.sessions} sessions when it was asked last"
        logs.tell("error", detail)
        self._event("trouble", name="worker_died", detail=detail, did="cut")
        if served and seated:
            await self._replace(hand)

    def _empty(self, number: int) -> None:
        """Throw away what is in the boxes of a worker that is gone, or not there yet."""
        for boxes in (self._boxes, self._words):
            empty(boxes[number][0])

    async def _part(self) -> None:
        """Tell those who are left who they are."""
        numbers = [one.number for one in self.hands if one.state in ("ready", "serving", "leaving")]
        for one in list(self.hands):
            if one.state in ("ready", "serving", "leaving"):
                with contextlib.suppress(ChannelError):
                    await one.line.call("others", [numbers, None])

    async def _replace(self, dead: Hand) -> None:
        """A new worker for its seat, however long it takes."""
        seat = dead.seat
        if time.time() - dead.since > FAST_DEATH:
            self._fails[seat] = 0
        while not self._ending:
            fails = self._fails.get(seat, 0)
            self._fails[seat] = fails + 1
            if fails:
                await asyncio.sleep(min(SLOWEST, 0.1 * 2.0**fails))
            async with self._undisturbed():
                if self._ending or any(one.seat == seat and one.state in ("ready", "serving") for one in self.hands):
                    return
                try:
                    hand = await self._begin(seat)
                    await self._greeted(hand)
                    await self._seat(hand, [])
                except ChannelError as error:
                    self.unstarted += 1
                    logs.tell("error", f"the worker for seat {seat} cannot be replaced: {error}")
                    continue
            logs.tell("info", f"{hand} takes the place of worker {dead.number}")
            return

    @contextlib.asynccontextmanager
    async def _undisturbed(self) -> AsyncIterator[None]:
        """No reload and no restart meanwhile; other workers may be replaced at the same time."""
        async with self._entering:
            if not self._replacing:
                await self._reloading.acquire()
            self._replacing += 1
        try:
            yield
        finally:
            self._replacing -= 1
            if not self._replacing:
                self._reloading.release()

    async def _exit(self, hand: Hand, seconds: float) -> str:
        """Wait for its process to end, then make it; how it ended, in words."""
        until = time.monotonic() + seconds
        while hand.process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(0.005)
        if hand.process.poll() is None:
            hand.process.kill()
            await asyncio.to_thread(hand.process.wait)
        code = hand.process.returncode
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    async def _end(self, hand: Hand) -> None:
        """Have it end."""
        hand.expected = True
        hand.line.tell("stop")
        await self._exit(hand, END_SECONDS)
        hand.line.abort()

    async def _look(self) -> None:
        """Ask each worker, again and again, whether it is well; one that does not answer is killed."""
        while True:
            seconds = self.limits.worker_seconds
            await asyncio.sleep(min(1.0, seconds / 4))
            for hand in list(self.hands):
                if hand.state in ("ready", "serving", "leaving"):
                    self._spawn(self._ask_after(hand, seconds))

    async def _ask_after(self, hand: Hand, seconds: float) -> None:
        try:
            hand.sessions, hand.letters_lost = await hand.line.call("ping", None, seconds)
        except ChannelError as error:
            if str(error) == channel.LATE and hand in self.hands:
                logs.tell("error", f"{hand} has not answered for {seconds:g} seconds and is killed")
                hand.process.kill()

    def _pass_on(self, sender: Hand, payload: Any) -> None:
        """A notice for a flow that lives elsewhere."""
        for hand in self.hands:
            if hand is not sender and hand.state in ("serving", "leaving"):
                hand.line.tell("notice", payload)

    async def _ask_all(self, kind: str, payload: Any, seconds: float = ANSWER_SECONDS) -> list[Any]:
        """The answers of all workers that live, in their order; None of one that does not answer."""
        async def ask(hand: Hand) -> Any:
            try:
                return await hand.line.call(kind, payload, seconds)
            except ChannelError:
                return None

        return await asyncio.gather(*(ask(hand) for hand in self._living()))

    def _living(self) -> list[Hand]:
        """Those that have sessions, or may have."""
        return sorted((one for one in self.hands if one.state in ("ready", "serving", "leaving") and one.line.open),
                      key=lambda one: one.number)

    # -- what operators ask (control.Steward)

    async def status(self) -> Mapping[str, Any]:
        """How the gateway is: the sum of all workers, and each of them."""
        living = self._living()
        answers: list[dict[str, Any] | None] = await self._ask_all("status", None)
        found = [one for one in answers if one is not None]
        problems = [f"worker {hand.number} does not answer" for hand, one in zip(living, answers, strict=True)
                    if one is None]
        serving = {hand.seat for hand in living if hand.state == "serving"}
        if self._ready.is_set() and len(serving) < self.seats.count:
            problems.append(f"{self.seats.count - len(serving)} of {self.seats.count} workers are not there: "
                            "their clients wait")
        if not self.writer.healthy:
            problems.append(f"the event store does not write: {self.writer.fault or 'no answer'}")
        if self.reloads.last_refused:
            problems.append("the last reload was refused; the rules before it stay in force")
        for one in found:
            problems += [problem for problem in one["problems"] if problem not in problems]
        total: dict[str, Any] = {
            key: merged([NOTHING.get(key, {}), *(one[key] for one in found)])
            for key in ("protocols", "counters", "files", "store")
        }
        own = {name: getattr(self.writer.counters, name) for name in self.writer.counters.__slots__}
        total["store"] = merged([*(one["store"] for one in found),
                                 {"healthy": self.writer.healthy, "waiting": self.writer.waiting, **own}])
        for one in found:  # what only workers of another release tell, or what others add to the status
            for key, value in one.items():
                if key not in total and isinstance(value, dict):
                    total[key] = merged([other[key] for other in found if isinstance(other.get(key), dict)])
        if not self._ready.is_set():
            problems.append("the gateway is starting")
        rules = getattr(self, "rules", None)
        return {
            **total,
            "healthy": not problems, "problems": problems, "version": inspector.__version__, "gateway": self.name,
            "pid": os.getpid(), "started": self.started, "config": str(self.config.path) if self.config.path else None,
            "listeners": [{"mode": mode, "address": process.address(host, port)}
                          for mode, host, port in self.seats.addresses],
            "rules": {"version": self.reloads.version, "policy": rules.policy if rules else "",
                      "enforce": rules.enforce if rules else True, "packs": rules.packs if rules else [],
                      "loaded": self._loaded_at},
            "reload": {"accepted": self.reloads.accepted, "refused": self.reloads.refused,
                       "last_refused": self.reloads.last_refused, "faults": self.faults},
            "holds": None if self.desk is None else self.desk.status(),
            "sessions": sum(one["sessions"] for one in found),
            "workers": self.workers({hand.number: one["sessions"] for hand, one in zip(living, answers, strict=True)
                                     if one is not None}),
        }

    def workers(self, sessions: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Each worker."""
        return [
            {"number": hand.number, "seat": hand.seat, "pid": hand.process.pid, "state": hand.state,
             "sessions": (sessions or {}).get(hand.number, hand.sessions), "chain": str(hand.number),
             "memory": process.resident(hand.process.pid), "since": hand.since, "version": hand.release,
             "rules": hand.version, "letters_lost": hand.letters_lost}
            for hand in sorted(self.hands, key=lambda one: one.number)
        ]

    async def sessions(self) -> list[Any]:
        """The living sessions of all workers."""
        found = await self._ask_all("sessions", None, 2 * ANSWER_SECONDS)
        return sorted((row for rows in found for row in rows or ()), key=lambda row: float(row["since"]))

    async def kill(self, session: str, by: str) -> None:
        """End a session politely. Raises UserError: no such session."""
        found = await self._ask_all("kill", [session, f"ended by {by}"])
        row = next((one for one in found if one is not None), None)
        if row is None:
            raise UserError(f"no session {session}")
        self._event("kill", by=by, session=session, user=row["user"], protocol=row["protocol"], reason=None)

    async def hold(self, command: str, request: Mapping[str, Any], by: str) -> Any:
        """A reviewer's command. Raises UserError."""
        if self.desk is None:
            raise UserError("the gateway has not started yet")
        return await self.desk.ask(command, request, by)

    async def reload(self, by: str) -> Mapping[str, Any]:
        """Read configuration, policy and packs again, for all workers or none. Raises UserError with every fault."""
        if not self._ready.is_set():
            raise UserError("the gateway has not started yet")
        async with self._reloading:
            version = self.reloads.version + 1
            taken: Snapshot | None = None
            try:
                made, loaded = await asyncio.to_thread(snapshot.take, self.path, version)
                taken = made
                faults = [loaded.fault(f"a change of {key} needs a restart", *key.split("."))
                          for key in config.needs_restart(self.config, loaded)]
                faults += loaded.refusals_for_run()
                if faults:
                    raise Faults(faults)
                prepared, rules = await self._prepare(made)
            except (Faults, ChannelError) as found:
                self._refuse(found, by, taken)
                raise UserError("\n".join(self.faults)) from None
            await self._commit(made, loaded, rules, prepared)
            self._event("reload", by=by, version=str(version), policy=rules.policy, packs=rules.packs)
            logs.tell("info", f"reloaded by {by}: rule set {version}, {rules.policy}")
            return {"version": version, "policy": rules.policy, "packs": rules.packs, "warnings": rules.warnings}

    async def _prepare(self, taken: Snapshot) -> tuple[list[Hand], InForce]:
        """Have all workers load a version. Raises ChannelError with what one of them says is wrong."""
        living = self._living()
        if not living:
            raise ChannelError("no worker is there to load the rules")
        seconds = self.limits.compile_seconds + self.limits.worker_seconds
        answers = []
        try:
            # The first compiles, the others load what it has compiled.
            answers.append(await living[0].line.call("prepare", taken, seconds))
            answers += await asyncio.gather(*(one.line.call("prepare", taken, seconds) for one in living[1:]))
        except ChannelError:
            for hand in living:
                hand.line.tell("forget", taken.version)
            raise
        rules = [msgspec.convert(one, InForce) for one in answers]
        return living, rules[0]

    async def _commit(self, taken: Snapshot, loaded: config.Config, rules: InForce, prepared: list[Hand]) -> None:
        """From here on the new version is in force: who cannot follow is replaced by one that has it."""
        before, self.snapshot = self.snapshot, taken
        self.config, self.rules = loaded, rules
        self.writer.limits, self.writer.text = loaded.limits, loaded.privacy.text
        if self.writer.keeper is not None:
            self.writer.keeper.retention = Retention(loaded.retention.days, loaded.retention.megabytes)
        if self._control is not None:
            self._control.roles = loaded.roles
        self.log.level = cast(logs.Level, self._level or loaded.log.level)
        self.reloads.version = taken.version
        self.reloads.accepted += 1
        self.reloads.last_refused = False
        self.faults = []
        self._loaded_at = time.time()
        for warning in rules.warnings:
            logs.tell("warning", warning)

        async def commit(hand: Hand) -> None:
            try:
                if hand not in prepared:
                    raise ChannelError("it was not there to prepare it")
                await hand.line.call("commit", taken.version)
                hand.version = taken.version
            except ChannelError as error:
                logs.tell("error", f"{hand} cannot put rule set {taken.version} in force ({error}) and is replaced")
                hand.process.kill()

        await asyncio.gather(*map(commit, self._living()))
        before.remove()

    def _refuse(self, found: Faults | ChannelError, by: str, taken: Snapshot | None) -> None:
        self.reloads.refused += 1
        self.reloads.last_refused = True
        self.faults = [str(fault) for fault in found.faults] if isinstance(found, Faults) else str(found).splitlines()
        if taken is not None:
            taken.remove()
        self._event("reload_refused", by=by, faults=self.faults, version=str(self.reloads.version),
                    policy=self.rules.policy, packs=self.rules.packs)
        for fault in self.faults:
            logs.tell("error", f"reload refused: {fault}")

    async def restart(self, by: str) -> Mapping[str, Any]:
        """A new worker for each seat; the old ones end their sessions over limits.restart_seconds. Raises UserError:
        one could not be started, and what is there goes on."""
        if not self._ready.is_set():
            raise UserError("the gateway has not started yet")
        async with self._reloading:
            old = [hand for hand in self._living() if hand.state == "serving"]
            new: list[Hand] = []
            for hand in old:
                try:
                    new.append(await self._relieve(hand))
                except ChannelError as error:
                    self.unrelieved += 1
                    logs.tell("error", f"restart by {by}: {hand} is not relieved: {error}")
                    raise UserError(f"{hand} goes on: {error}") from None
            self.restarts += 1
            names = [f"{one.number} (process {one.process.pid})" for one in new]
            self._event("restart", by=by, workers=names, version=", ".join(sorted({one.release for one in new})))
            logs.tell("info", f"workers restarted by {by}: {', '.join(names)}")
            return {"workers": self.workers(), "leaving": [hand.number for hand in old]}

    async def _relieve(self, hand: Hand) -> Hand:
        """A new worker on its seat. Raises ChannelError."""
        new = await self._begin(hand.seat)
        try:
            await self._greeted(new)
            # Between these two nobody accepts: connections wait in the sockets, which stay open here.
            leases = await hand.line.call("yield")
        except ChannelError:
            if hand in self.hands:
                self._spawn(self._end(new))
                raise
            leases = []
        hand.state = "leaving"
        try:
            await self._seat(new, leases)
        except ChannelError:
            new.process.kill()  # it is buried, and the seat gets another one
            new.state = "serving"
            raise
        finally:
            self._spawn(self._retire(hand))
        return new

    async def _retire(self, hand: Hand) -> None:
        """Have it end its sessions, and then itself."""
        seconds = self.limits.restart_seconds
        with contextlib.suppress(ChannelError):
            await hand.line.call("drain", [seconds, True], seconds + self.limits.close_seconds + END_SECONDS)
        await self._end(hand)

    # -- metrics

    async def _gather(self) -> None:
        """Before the page is made: ask all workers, add up what they say."""
        self._families = list(added(one for one in await self._ask_all("metrics", None) if one is not None))

    def _of_workers(self) -> Iterator[metrics.Family]:
        yield metrics.one("inspector_workers", "gauge", "Workers that take connections.",
                          sum(hand.state == "serving" for hand in self.hands))
        yield metrics.one("inspector_workers_leaving", "gauge", "Workers that a restart lets end their sessions.",
                          sum(hand.state == "leaving" for hand in self.hands))
        yield metrics.one("inspector_worker_deaths_total", "counter", "Workers that died and were replaced.",
                          self.deaths)
        yield metrics.one("inspector_worker_restarts_total", "counter", "Rolling restarts.", self.restarts)
        yield metrics.one("inspector_worker_restarts_refused_total", "counter",
                          "Rolling restarts that ended early: a worker could not be relieved.", self.unrelieved)
        yield metrics.one("inspector_worker_starts_failed_total", "counter",
                          "Workers that were to take a dead one's place and could not be started.", self.unstarted)


NOTHING: Mapping[str, dict[str, Any]] = {
    "counters": {"messages": 0, "passed": 0, "actions": {}, "troubles": {}},
    "files": {**dict.fromkeys(sorted(judges.Counters.__slots__), 0), **dict.fromkeys(
        ("workers", "waiting", "spooled", "spool_bytes", "spool_refused", "leases", "leases_exhausted", "leases_used",
         "leases_unclaimed", "leases_refused"), 0)},
}
"""What a status has at least, also while no worker answers."""
LEAST = frozenset({"inspector_store_up"})
"""Gauges of which all workers together have the least, not the sum."""


def added(pages: Iterable[list[Any]]) -> Iterator[metrics.Family]:
    """The families of several workers as one page: samples of the same labels are added up."""
    found: dict[str, tuple[str, str, dict[metrics.Labels, float]]] = {}
    for page in pages:
        for name, kind, words, samples in page:
            total = found.setdefault(name, (kind, words, {}))[2]
            for labels, value in samples:
                key = tuple(labels)
                if key not in total:
                    total[key] = value
                else:
                    total[key] = min(total[key], value) if name in LEAST else total[key] + value
    for name, (kind, words, total) in found.items():
        yield metrics.Family(name, cast(Literal["counter", "gauge"], kind), words, total.items())


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several workers' figures as one: numbers add up, truths must be everybody's, the rest is the first's."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key not in total:
                total[key] = dict(value) if isinstance(value, dict) else value
            elif isinstance(value, bool):
                total[key] = total[key] and value
            elif isinstance(value, int | float):
                total[key] += value
            elif isinstance(value, dict):
                total[key] = merged([total[key], value])
    return total
