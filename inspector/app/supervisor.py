"""`inspector run`: starts the gateway, answers operators, reloads, drains, stops.

Order at start: configuration, rules, state folders, event store, listeners, metrics and control socket, then the
privileges go. What fails on the way is one sentence, and what was opened is closed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, cast

import inspector
from inspector.app import build, config, logs, process, rejudge
from inspector.app.control import Control
from inspector.app.errors import UserError
from inspector.app.hold_desk import HoldDesk, open_desk
from inspector.classify.probes import named_im
from inspector.drivers import metrics
from inspector.drivers.alarms import Alarms, of_bounds
from inspector.drivers.clamd import Clamd
from inspector.drivers.judges import Judging, Workers
from inspector.drivers.mitm_server import Gateway, GatewaySettings
from inspector.drivers.mitm_tls import AuthorityError
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import Paths, World
from inspector.model import Flow, Note
from inspector.protocols.registry import SPECS
from inspector.store.retention import Retention
from inspector.store.sqlite import Writer
from inspector.wire.located import Faults

ALONE = "there is one worker, and it is the gateway's own process: only a restart of the gateway replaces it"


class Supervisor:
    """One running gateway, and what operators may ask of it."""

    def __init__(self, path: str | None, loaded: config.Config, log: logs.Logs) -> None:
        self.path = path
        self.config = loaded
        self.log = log
        self.started = time.time()
        self.name = socket.gethostname()
        self.reloads = metrics.Reloads()
        self.faults: list[str] = []
        """Of the last refused reload."""
        self.kit: Kit
        self.world = World(loaded.limits)
        self.gateway: Gateway
        self.judging = Judging(Workers(
            lambda: self.config.limits, lambda sentence: logs.tell("warning", sentence),
            build.spool_folder(loaded) / "empty"))
        self.writer: Writer
        self.desk: HoldDesk | None = None
        self._control: Control | None = None
        self._metrics: metrics.MetricsServer | None = None
        self._rows = 0
        self._loaded_at = self.started
        self._reloading = asyncio.Lock()
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._stops = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- life

    async def run(self) -> int:
        """Start, run until told to stop, drain. Raises UserError for what keeps it from starting."""
        loop = asyncio.get_running_loop()
        try:
            # Before anybody can know that we are there: a signal must never end us the hard way.
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
            loop.add_signal_handler(signal.SIGTERM, self._terminate)
            loop.add_signal_handler(signal.SIGINT, self._terminate)
            loop.add_signal_handler(signal.SIGUSR2, lambda: logs.tell("warning", ALONE))
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
        try:
            built = build.build_rules(loaded, 1)
        except Faults as found:
            raise UserError("\n".join(str(f) for f in [*faults, *found.faults])) from None
        if faults:
            raise UserError("\n".join(str(f) for f in faults))
        for warning in built.warnings:
            logs.tell("warning", str(warning))
        process.private(loaded.state)
        self.writer = process.event_store(loaded, self.name, "0", loaded.state / "checkpoint.key")
        self._arrange(built, build.gateway_settings(loaded, stock_io=os.environ.get("INSPECTOR_IO") == "stock"))
        self.desk = open_desk(loaded, self.gateway, self.writer.put, lambda: self.config)
        self.gateway.holds = self.desk
        await self.desk.start()
        try:
            await self.gateway.start()
        except (AuthorityError, OSError) as error:
            raise UserError(str(error) if isinstance(error, AuthorityError) else process.why(error)) from None
        await self._watch(loaded)
        process.become_user(loaded, self.writer.path)
        await self._settle(built)
        self._event("started", version=inspector.__version__, config=str(loaded.path) if loaded.path else None,
                    listeners=[f"{mode} {process.address(host, port)}" for mode, host, port in self.gateway.addresses],
                    policy=built.rules.policy.digest, packs=list(built.rules.scanner.packs))
        process.greet(self.path, loaded, self.gateway.addresses)

    def _arrange(self, built: build.Built, settings: GatewaySettings) -> None:
        """Put together what needs no open file: kit and gateway."""
        self.reloads.version = built.rules.version
        self.kit = build.build_kit(self.config, built.rules)
        self.gateway = Gateway(
            settings, self._session, self.world, SPECS, self._note, lambda sentence: logs.tell("warning", sentence),
            self.judging)
        self.alarms = Alarms(
            lambda: self.config.limits, self.writer,
            {"spool": settings.spool, "state": self.config.state, "quarantine": self.config.store.quarantine},
            self.gateway.clock, self.writer.put, lambda sentence: logs.tell("warning", sentence))
        self.gateway.admission.full = lambda: self.alarms.full

    async def _settle(self, built: build.Built) -> None:
        """What comes last, as the user that we stay: who judges files."""
        self._ask_clamd(self.config)
        await self.judging.workers.start(built.rules.scanner.files)
        self._spawn(self._keep_rules(built))
        self._spawn(self.alarms.run())
        self._spawn(process.tidy())
        self._spawn(process.Collector(lambda: len(self.gateway.departed), lambda: len(self.gateway.links)).run())
        gc.collect()
        gc.freeze()

    async def _watch(self, loaded: config.Config) -> None:
        """Control socket and metrics."""
        control = Control(
            loaded.control, self, group=loaded.control_group, limits=lambda: self.config.limits, roles=loaded.roles)
        await control.start()
        self._control = control
        if loaded.metrics is None:
            return
        page = metrics.Metrics()
        for source in self.sources():
            page.add(source)
        page.add(metrics.of_reloads(self.reloads))
        if self.desk is not None:
            page.add(self.desk.source)
        server = metrics.MetricsServer(page)
        try:
            await server.start(loaded.metrics.host, loaded.metrics.port)
        except OSError as error:
            raise UserError(process.why(error)) from None
        self._metrics = server

    def sources(self) -> list[metrics.Source]:
        """What a process that runs sessions has for the page of metrics."""
        return [
            metrics.of_tallies(lambda: self.world.tallies), metrics.of_store(self.writer),
            metrics.of_counters("inspector_gateway", self.gateway.counters), metrics.of_sessions(self.gateway.sessions),
            metrics.of_counters("inspector_files", self.judging.workers.counters),
            metrics.of_files(self.gateway.disk, self.gateway.leases, self.judging.workers),
            self.alarms.source, of_bounds(self.gateway),
        ]

    def _ask_clamd(self, loaded: config.Config) -> None:
        """clamd judges files beside the packs, where it is configured."""
        clamd = loaded.files.clamd
        if clamd is None:
            self.judging.second = None
            return
        place = str(clamd.path) if clamd.endpoint is None else (clamd.endpoint.host, clamd.endpoint.port)
        second = self.judging.second = Clamd(
            place, lambda: self.config.limits.file_seconds, lambda sentence: logs.tell("warning", sentence))
        self._spawn(second.try_out())

    async def _drain(self) -> int:
        """Polite cuts over limits.drain_seconds; a second signal stops at once."""
        sessions = len(self.gateway.sessions())
        logs.tell("info", f"stopping: {sessions} sessions to end")
        await process.drained(self.gateway.drain(self.config.limits.drain_seconds), lambda: self._stops)
        self._event("stopped", reason="signal", sessions=sessions)
        return 0

    async def _close(self) -> None:
        if self._metrics is not None:
            await self._metrics.stop()
        if self._control is not None:
            await self._control.stop()
        if hasattr(self, "gateway"):
            await self.gateway.stop()
        await self.judging.workers.stop()
        for task in self._tasks:
            task.cancel()
        if self.desk is not None:
            await self.desk.stop()
        if hasattr(self, "writer"):
            await asyncio.to_thread(self.writer.close)

    # -- signals

    def _terminate(self) -> None:
        self._stops += 1
        self._stop.set()

    def _hang_up(self) -> None:
        self._spawn(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        await self._ready.wait()
        with contextlib.suppress(UserError):
            await self.reload("SIGHUP")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what the driver asks

    def _session(self, flow: Flow, protocols: frozenset[str], named: bool, paths: Paths | None) -> Session:
        named = named or named_im(SPECS, flow.server.port, protocols)
        return Session(flow, self.kit, self.world, listener_protocols=protocols, named_im=named, paths=paths)

    def _note(self, note: Note, done: Callable[[bool], None] | None) -> None:
        self.writer.put(note.row, done, hurry=not note.barrier)

    def _event(self, event: str, **fields: Any) -> None:
        """A row of the gateway itself."""
        self._rows += 1
        ident = f"{self.name}-{int(self.started * 1000):x}-{self._rows}"
        self.writer.put({"event": event, "id": ident, "t": time.time(), "flow": None, **fields})

    # -- what operators ask (control.Steward)

    def status(self) -> Mapping[str, Any]:
        """How the gateway is; docs/deploy.md describes each key."""
        rules = self.kit.rules
        problems = []
        if not self.writer.healthy:
            problems.append(f"the event store does not write: {self.writer.fault or 'no answer'}")
        if self.reloads.last_refused:
            problems.append("the last reload was refused; the rules before it stay in force")
        disabled = sorted(getattr(rules.scanner, "disabled", ()))
        if disabled:
            problems.append(f"rules switched off because they took too long: {', '.join(map(str, disabled))}")
        workers, disk, leases = self.judging.workers, self.gateway.disk, self.gateway.leases
        second = self.judging.second
        if isinstance(second, Clamd) and second.trouble is not None:
            problems.append(f"{second.trouble}: files are not judged by it")
        if workers.broken:
            problems.append("no process that judges files can be started: files are not judged")
        problems += [*self.alarms.problems(), *self.gateway.problems()]
        sessions = self.gateway.sessions()
        protocols: dict[str, int] = {}
        for session in sessions:
            protocols[session.protocol or "unknown"] = protocols.get(session.protocol or "unknown", 0) + 1
        return {
            "healthy": not problems, "problems": problems, "version": inspector.__version__, "gateway": self.name,
            "pid": os.getpid(), "started": self.started, "config": str(self.config.path) if self.config.path else None,
            "listeners": [{"mode": mode, "address": process.address(host, port)}
                          for mode, host, port in self.gateway.addresses],
            "rules": {"version": rules.version, "policy": rules.policy.digest, "enforce": rules.policy.enforce,
                      "packs": list(rules.scanner.packs), "loaded": self._loaded_at},
            "reload": {"accepted": self.reloads.accepted, "refused": self.reloads.refused,
                       "last_refused": self.reloads.last_refused, "faults": self.faults},
            "sessions": len(sessions), "protocols": protocols, "workers": self.workers(),
            "counters": {
                "messages": sum(t.messages for t in self.world.tallies.values()),
                "passed": sum(t.passed for t in self.world.tallies.values()),
                "actions": _added(t.actions for t in self.world.tallies.values()),
                "troubles": _added(
                    {"/".join(k): v for k, v in t.troubles.items()} for t in self.world.tallies.values()),
                **{name: getattr(self.gateway.counters, name) for name in self.gateway.counters.__slots__},
            },
            "files": {
                **{name: getattr(workers.counters, name) for name in workers.counters.__slots__},
                "workers": workers.alive, "waiting": workers.waiting, "spooled": disk.files, "spool_bytes": disk.bytes,
                "spool_refused": disk.refused, "leases": leases.in_use, "leases_exhausted": leases.exhausted,
                "leases_used": leases.used, "leases_unclaimed": leases.unclaimed, "leases_refused": leases.refused,
            },
            "holds": None if self.desk is None else self.desk.status(),
            "store": {"healthy": self.writer.healthy, "waiting": self.writer.waiting,
                      **{name: getattr(self.writer.counters, name) for name in self.writer.counters.__slots__}},
        }

    def workers(self) -> list[dict[str, Any]]:
        """The one there is, in the shape that several have (workers.py)."""
        return [{
            "number": 0, "seat": 0, "pid": os.getpid(), "state": "serving", "sessions": len(self.gateway.sessions()),
            "chain": "0", "memory": process.resident(os.getpid()), "since": self.started,
            "version": inspector.__version__, "rules": self.kit.rules.version, "letters_lost": 0,
        }]

    async def restart(self, by: str) -> Mapping[str, Any]:  # noqa: ARG002 - the steward's shape
        """There is no other worker to take over. Raises UserError."""
        raise UserError(f"{ALONE}; `workers: 2` or more have others")

    def sessions(self) -> list[Any]:
        """The living sessions."""
        return list(self.gateway.sessions())

    def kill(self, session: str, by: str) -> None:
        """End a session politely. Raises UserError: no such session."""
        row = next((s for s in self.gateway.sessions() if s.id == session), None)
        if row is None or not self.gateway.kill(session, f"ended by {by}"):
            raise UserError(f"no session {session}")
        self._event("kill", by=by, session=session, user=row.user, protocol=row.protocol, reason=None)

    async def hold(self, command: str, request: Mapping[str, Any], by: str) -> Any:
        """A reviewer's command. Raises UserError."""
        if self.desk is None:
            raise UserError("the gateway has not started yet")
        return await self.desk.ask(command, request, by)

    async def reload(self, by: str) -> Mapping[str, Any]:
        """Read configuration, policy and packs again. Raises UserError with every fault; then nothing has changed."""
        async with self._reloading:
            version = self.reloads.version + 1
            try:
                loaded = await asyncio.to_thread(config.load, self.path)
                faults = [loaded.fault(f"a change of {key} needs a restart", *key.split("."))
                          for key in config.needs_restart(self.config, loaded)]
                faults += loaded.refusals_for_run()
                if faults:
                    raise Faults(faults)
                built = await asyncio.to_thread(build.build_rules, loaded, version)
            except Faults as found:
                self._refuse(found, by)
                raise UserError("\n".join(self.faults)) from None
            self._replace(loaded, built)
            await self.judging.workers.use(built.rules.scanner.files)
            self._event("reload", by=by, version=str(version), policy=built.rules.policy.digest,
                        packs=list(built.rules.scanner.packs))
            logs.tell("info", f"reloaded by {by}: rule set {version}, {built.rules.policy.digest}")
            return {"version": version, "policy": built.rules.policy.digest, "packs": list(built.rules.scanner.packs),
                    "warnings": [str(w) for w in built.warnings]}

    def _refuse(self, found: Faults, by: str) -> None:
        self.reloads.refused += 1
        self.reloads.last_refused = True
        self.faults = [str(fault) for fault in found.faults]
        rules = self.kit.rules
        self._event("reload_refused", by=by, faults=self.faults, version=str(rules.version),
                    policy=rules.policy.digest, packs=list(rules.scanner.packs))
        for fault in self.faults:
            logs.tell("error", f"reload refused: {fault}")

    def _replace(self, loaded: config.Config, built: build.Built) -> None:
        """The new set is in force for every frame from now on; what is in flight keeps the old one."""
        before, self.config = self.config, loaded
        kit = self.kit
        kit.rules, kit.limits, kit.archive = built.rules, loaded.limits, loaded.archive
        kit.never_inspect = frozenset(loaded.privacy.never_inspect)
        if loaded.files != before.files:
            self._ask_clamd(loaded)
        if self._control is not None:
            self._control.roles = loaded.roles
        self.writer.limits, self.writer.text = loaded.limits, loaded.privacy.text
        if self.writer.keeper is not None:
            self.writer.keeper.retention = Retention(loaded.retention.days, loaded.retention.megabytes)
        self.gateway.limits = loaded.limits
        self.gateway.settings = replace(
            self.gateway.settings, tls=build.tls_settings(loaded), limits=loaded.limits)
        self.log.level = cast(logs.Level, loaded.log.level)
        self.reloads.version = built.rules.version
        self.reloads.accepted += 1
        self.reloads.last_refused = False
        self.faults = []
        self._loaded_at = time.time()
        self._spawn(self._keep_rules(built))
        for warning in built.warnings:
            logs.tell("warning", str(warning))

    async def _keep_rules(self, built: build.Built) -> None:
        """What is in force is kept, so that a verdict can be decided again by it."""
        if (wrong := await asyncio.to_thread(rejudge.keep, self.config, built)) is not None:
            logs.tell("warning", wrong)


def _added(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, number in one.items():
            total[name] = total.get(name, 0) + number
    return total
