"""One worker of several: the gateway of one process, without what the supervisor (workers.py) does for all of them.

The supervisor starts it with an end of a channel (channel.py) and listening sockets; what it is to do comes over the
channel. It has no control socket, no metrics page, no signals of its own, and no checkpoints. It ends when the
supervisor says so, and at once when that is gone: the kernel kills it (PR_SET_PDEATHSIG), and it sees the channel end.

What the supervisor asks (kind: payload -> answer):

    begin: Begin -> Ready            load the rules, open the store, be ready; nothing is accepted yet
    accept: [lease …] -> null        take connections; leases of the worker whose place this one takes
    others: [[number …], new] -> null      who lives beside us; `new` is told what we know before the answer
    yield: null -> [lease …]         take no more connections, give up what was leased
    drain: [seconds, evenly] -> left end the sessions politely
    prepare: Snapshot -> Rules       load other rules, keep them beside those in force
    commit: version -> null          put what was prepared in force
    forget: version -> null          it will not be
    ping -> [sessions, letters lost]
    status, sessions, metrics: what their names say; kill: [flow, reason] -> a session or null
    notice: (news) a Notice for a flow that may be here
    stop: (news) end

What it tells: notice, as above, for a flow that is not here. The hold desk's kinds: inspector/app/hold_lines.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import msgspec

import inspector
from inspector.app import build, channel, config, hold_lines, logs, process
from inspector.app.channel import Channel, ChannelError
from inspector.app.hold_lines import News, news_of, notice_of
from inspector.app.snapshot import Snapshot
from inspector.app.supervisor import Supervisor
from inspector.app.worker_words import SPEECH, Begin, InForce, Lease, Ready
from inspector.drivers import metrics
from inspector.drivers.judges import Judging, Workers
from inspector.drivers.mitm_tls import AuthorityError
from inspector.drivers.shared_windows import SharedWindows
from inspector.drivers.shared_world import Leased, Mail, SharedWorld
from inspector.model import Limits
from inspector.wire.located import Faults

_PDEATHSIG = 1
"""linux/prctl.h"""


def portion(limits: Limits, count: int) -> Limits:
    """The bounds of one of `count` workers: what is there for all of them is divided. Nobody gets none: each worker has
    a process that judges files."""
    def of(value: int) -> int:
        return max(1, value // count)

    return replace(
        limits, file_workers=of(limits.file_workers), file_queue=of(limits.file_queue),
        spool_total_bytes=of(limits.spool_total_bytes), store_queue_rows=of(limits.store_queue_rows),
        store_queue_bytes=of(limits.store_queue_bytes),
    )


class Worker(Supervisor):
    """The gateway of one process, asked by a supervisor instead of by operators."""

    def __init__(self, begin: Begin, loaded: config.Config, log: logs.Logs) -> None:
        super().__init__(begin.snapshot.path, loaded, log)
        self.begin = begin
        self.name = begin.gateway
        self.started = begin.started
        self.spool = build.spool_folder(loaded) / str(begin.number)
        boxes = {number: socket.socket(fileno=one) for number, one in begin.boxes.items()}
        self.mail = Mail(
            socket.socket(fileno=begin.box), boxes, lambda sentence: logs.tell("warning", sentence))
        self.shared = SharedWorld(loaded.limits, self.mail)
        self.world = self.shared
        self.words = SharedWindows(
            begin.number, socket.socket(fileno=begin.words),
            {number: socket.socket(fileno=one) for number, one in begin.words_to.items()}, self.world.windows,
            lambda: self.config.limits, lambda: self.gateway.clock(), lambda sentence: logs.tell("warning", sentence))
        self.world.neighbours = self.words
        self.judging = Judging(Workers(
            lambda: self.config.limits, lambda sentence: logs.tell("warning", sentence), self.spool / "empty"))
        self.prepared: tuple[config.Config, build.Built] | None = None

    async def open(self, line: Channel) -> InForce:
        """Load, open, be ready. Raises UserError and Faults."""
        begin, loaded = self.begin, self.config
        built = await asyncio.to_thread(build.build_rules, loaded, begin.snapshot.version)
        process.private(loaded.state)
        self.writer = process.event_store(loaded, self.name, str(begin.number), None)
        settings = build.gateway_settings(loaded, stock_io=os.environ.get("INSPECTOR_IO") == "stock")
        self._arrange(built, replace(settings, spool=self.spool))
        gateway = self.gateway
        gateway.sockets = {
            (listener, port): [socket.socket(fileno=one) for one in numbers]
            for listener, port, numbers in begin.listening
        }
        gateway.leases.told = self.shared.lease_told
        gateway.leases.elsewhere = self.shared.leased
        gateway.leases.ends_elsewhere = self.shared.ends
        gateway.elsewhere = lambda flow, notice: void(line.tell("notice", news_of(flow, notice)))
        hold_lines.serve(line, gateway)
        try:
            process.private(build.spool_folder(loaded))
            await gateway.start(listen=False)
        except (AuthorityError, OSError) as error:
            raise process.refused(error) from None
        self.mail.watch(self.shared.read)
        self.words.watch()
        await self._settle(built)
        return in_force(built, begin.snapshot)

    async def accept(self, leases: list[Lease]) -> None:
        """Take connections, and the leases of the worker before us."""
        for lease in leases:
            self.gateway.leases.take_over(lease.listener, lease.port, lease.expect, lease.until, lease.ends)
        await self.gateway.listen()

    async def others(self, numbers: list[int], new: int | None) -> None:
        """Who lives beside us."""
        self.mail.others = set(numbers) - {self.begin.number}
        await self.words.living(numbers, new)
        if new is not None and new in self.mail.others:
            leases = [Leased(port, until, expect.flow or "", ends)
                      for _, port, expect, until, ends in self.gateway.leases.hand_over()]
            await self.mail.repeat(new, self.shared.known(self.gateway.clock(), leases))

    def give_up(self) -> list[Lease]:
        """Take no more connections; what was leased goes to the worker that takes our place."""
        leases = [Lease(*one) for one in self.gateway.leases.hand_over()]
        self.gateway.leave()
        return leases

    async def prepare(self, snapshot: Snapshot) -> InForce:
        """Load other rules. Raises Faults."""
        loaded = await asyncio.to_thread(snapshot.config)
        loaded = replace(loaded, limits=portion(loaded.limits, self.begin.count))
        built = await asyncio.to_thread(build.build_rules, loaded, snapshot.version)
        self.prepared = loaded, built
        return in_force(built, snapshot)

    async def commit(self, version: int) -> None:
        """Put what was prepared in force. Raises ChannelError: that version is not prepared here."""
        prepared, self.prepared = self.prepared, None
        if prepared is None or prepared[1].rules.version != version:
            raise ChannelError(f"version {version} is not prepared")
        loaded, built = prepared
        self._replace(loaded, replace(built, warnings=()))
        if self.begin.level is not None:
            self.log.level = cast(logs.Level, self.begin.level)
        await self.judging.workers.use(built.rules.scanner.files)

    def end(self, flow: str, reason: str) -> dict[str, Any] | None:
        """End a session politely; it, or None where it is not here."""
        row = next((asdict(one) for one in self.gateway.sessions() if one.id == flow), None)
        return row if row is not None and self.gateway.kill(flow, reason) else None

    def families(self) -> list[Any]:
        """What this worker has to say on the page of metrics."""
        sources = [
            *self.sources(), metrics.of_counters("inspector_letters", self.mail.counters),
            metrics.of_counters("inspector_neighbours", self.words.counters), self.words.source(),
        ]
        return [(one.name, one.type, one.help, list(one.samples)) for source in sources for one in source()]

    def well(self) -> tuple[int, int]:
        """(sessions, letters that somebody should have known and does not)."""
        return len(self.gateway.sessions()), self.mail.counters.failed + self.words.counters.failed

    async def close(self) -> None:
        """Release everything."""
        self.mail.close()
        self.words.close()
        await self._close()


def void(_: object) -> None:
    """For what has an answer where none is wanted."""


def in_force(built: build.Built, snapshot: Snapshot) -> InForce:
    """What was loaded, as the supervisor wants to know it."""
    rules = built.rules
    return InForce(
        rules.version, rules.policy.digest, list(rules.scanner.packs), rules.policy.enforce,
        [snapshot.named(str(one)) for one in built.warnings])


class Life:
    """The life of a worker's process: from the channel to the end."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._worker: Worker | None = None
        self._log: logs.Logs | None = None
        self._over = asyncio.Event()

    async def run(self) -> int:
        """Do what the supervisor says until it says stop, or is gone."""
        asyncio.get_running_loop().set_exception_handler(process.stray)
        def serve(line: Channel) -> None:
            line.handle("begin", lambda payload: self._begin(line, payload))
            line.handle("stop", lambda _: self._over.set())

        line = await channel.attach(self._line, self._over.set, serve)
        try:
            await self._over.wait()
        finally:
            if self._worker is not None:
                await self._worker.close()
            line.close()
            if self._log is not None:
                self._log.stop()
        return 0

    async def _begin(self, line: Channel, payload: Any) -> Ready:
        if payload.get("speech") != SPEECH:
            raise ChannelError("supervisor and worker are of different releases: restart the gateway")
        begin = msgspec.convert(payload, Begin)
        try:
            loaded = begin.snapshot.config()
            level, form = begin.level or loaded.log.level, begin.format or loaded.log.format
            self._log = logs.Logs(cast(logs.Level, level), cast(logs.Format | None, form))
            self._log.start()
            loaded = replace(loaded, limits=portion(loaded.limits, begin.count))
            worker = self._worker = Worker(begin, loaded, self._log)
            rules = await worker.open(line)
        except Faults as found:
            raise ChannelError("\n".join(begin.snapshot.named(str(fault)) for fault in found.faults)) from None
        self._answer(line, worker)
        return Ready(SPEECH, inspector.__version__, rules)

    @staticmethod
    def _answer(line: Channel, worker: Worker) -> None:
        async def prepare(payload: Any) -> InForce:
            snapshot = msgspec.convert(payload, Snapshot)
            try:
                return await worker.prepare(snapshot)
            except Faults as found:
                raise ChannelError("\n".join(snapshot.named(str(fault)) for fault in found.faults)) from None

        def forget(_: Any) -> None:
            worker.prepared = None

        async def drain(payload: Any) -> int:
            await worker.gateway.drain(payload[0], evenly=payload[1])
            return len(worker.gateway.sessions())

        def told(payload: Any) -> None:
            news = msgspec.convert(payload, News)
            if worker.gateway.here(news.flow):
                worker.gateway.tell(news.flow, notice_of(news))

        handlers: dict[str, Callable[[Any], Any]] = {
            "accept": lambda payload: worker.accept(msgspec.convert(payload, list[Lease])),
            "others": lambda payload: worker.others(*payload),
            "yield": lambda _: worker.give_up(),
            "drain": drain,
            "prepare": prepare,
            "commit": worker.commit,
            "forget": forget,
            "ping": lambda _: worker.well(),
            "status": lambda _: worker.status(),
            "sessions": lambda _: [asdict(one) for one in worker.gateway.sessions()],
            "kill": lambda payload: worker.end(*payload),
            "metrics": lambda _: worker.families(),
            "notice": told,
        }
        for kind, handler in handlers.items():
            line.handle(kind, handler)


def die_with(parent: int) -> None:
    """Have the kernel kill us when our supervisor dies; it is checked that it has not died before."""
    with contextlib.suppress(OSError, AttributeError):  # a system without it: the channel's end is seen all the same
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def main() -> int:
    """The program. Arguments: descriptor of the channel, process of the supervisor."""
    line, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    # What is sent to all processes of a service (systemd does) is the supervisor's to answer.
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(one, signal.SIG_IGN)
    process.harden()
    with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
        return runner.run(_main(line))


async def _main(line: int) -> int:
    return await Life(socket.socket(fileno=line)).run()


if __name__ == "__main__":
    sys.exit(main())
