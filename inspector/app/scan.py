"""`inspector scan`: the gateway's inspection over capture files.

The same session, decoders, packs and policy as live, with `dry`: what would be done is decided and told, nothing is
sent. One world a capture, and nothing but the capture's own clock, so that the same file gives the same lines each
time. What a flow's last line tells (packets, bytes) is known when no packet of it can come any more: flow lines come
last, those of a flow that is forgotten in between come then.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import os
import sys
import tempfile
import time
import weakref
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from inspector.app.build import NO_PACKS, build_rules
from inspector.app.errors import WRONG_USE, UserError
from inspector.app.places import load
from inspector.classify.probes import classifier
from inspector.drivers.judges import OneJudge, rules_of
from inspector.drivers.packets import community
from inspector.drivers.pcap import Capture, CaptureError, find, open_capture
from inspector.drivers.reassembly import Reassembly, Track
from inspector.drivers.scapy_child import Dissector
from inspector.drivers.spool import Spool as Disk
from inspector.drivers.spool import Spooled, SpoolError
from inspector.engine import rows
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Address,
    Chunk,
    Classify,
    Closed,
    Discard,
    Effect,
    Flow,
    Guess,
    Input,
    Judge,
    Judged,
    Kept,
    Limits,
    Match,
    Note,
    Rules,
    Scan,
    ScanFailed,
    Scanned,
    Send,
    Spec,
    Spool,
    WakeAt,
    Way,
    Woke,
    community_id,
    flow_id,
)
from inspector.protocols.registry import SPECS
from inspector.store.lines import render, rfc3339
from inspector.wire.located import Faults

if TYPE_CHECKING:
    from inspector.app.config import Config

Row = dict[str, Any]
_NOBODY = Guess(None, Match.NO)
_CHUNK_BYTES = 200
"""Bytes that keeping a chunk costs beside its content."""


class _Content:
    """What files of captures need: a place for their content and a process that judges it, both with the first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._disk: Disk | None = None
        self._judge: OneJudge | None = None
        self._rules: Rules | None = None

    @property
    def disk(self) -> Disk:
        """A spool in a folder of its own. Raises SpoolError: there can be none."""
        if self._disk is None:
            try:
                disk = Disk(Path(tempfile.mkdtemp(prefix="inspector-")), lambda: self._limits)
                disk.start()
            except OSError as error:
                raise SpoolError(f"no folder for files can be made: {(error.strerror or str(error)).lower()}") from None
            self._disk = disk
        return self._disk

    def judge(self, effect: Judge, file: Spooled, at: float) -> Judged:
        """Ask, and wait for the answer."""
        if self._rules is not effect.rules:
            self._end_judge()
            self._rules = effect.rules
        if self._judge is None:
            self._judge = OneJudge(rules_of(effect.rules), self._limits, self.disk.empty)
        try:
            content = file.content()
        except SpoolError as error:
            return Judged(effect.file, at, None, str(error))
        try:
            said = self._judge.judge(effect.about, content)
        finally:
            os.close(content)
        return Judged(effect.file, at, None, said) if isinstance(said, str) else Judged(effect.file, at, said)

    def close(self) -> None:
        """End the process and remove the folder. (What is in the spool has no name: the folders are empty.)"""
        self._end_judge()
        disk, self._disk = self._disk, None
        if disk is not None:
            with contextlib.suppress(OSError):
                disk.empty.rmdir()
                disk.folder.rmdir()

    def _end_judge(self) -> None:
        judge, self._judge = self._judge, None
        if judge is not None:
            judge.close()


class Inspection:
    """Inspects captures one after the other; `emit` is given each row, in the shape of `Note.row`."""

    def __init__(
        self, rules: Rules, classify: Classify, specs: Sequence[Spec], limits: Limits, emit: Callable[[Row], None],
        *, never_inspect: frozenset[str] = frozenset(),
    ) -> None:
        self.kit = Kit(self._ask, rules, limits, archive="full", never_inspect=never_inspect,
                       specs={spec.name: spec for spec in specs})
        self.emit = emit
        self.asking = True
        """False: the classifier is not to be asked for the chunk that is fed now."""
        self.nobody = False
        """Whether no protocol claimed the bytes that were looked at last."""
        self.emit_unclaimed: Callable[[Flow, float, Track], None] | None = None
        """A shorter way to tell flows that nobody claimed, in place of `emit`."""
        self._classify = classify
        self.content = _Content(limits)
        weakref.finalize(self, self.content.close)
        self.world = World(limits)
        self.file = ""
        self.transports = frozenset().union(*(spec.transports for spec in specs))
        self.ports = frozenset().union(*(spec.ports | spec.tls_ports for spec in specs))
        self.held = 0
        """Bytes of flows that are not recognised yet."""
        self.overloaded = 0
        self._wakes: list[tuple[float, int, _FlowSink]] = []
        self._order = count()
        self._reassembly: Reassembly | None = None

    def capture(self, capture: Capture) -> None:
        """Inspect one capture to its end, or to its fault (`capture.fault`)."""
        self.file = capture.name
        self.world = World(self.kit.limits)
        self._wakes = []
        self.held = self.overloaded = 0
        dissector = Dissector(self.kit.limits)
        reassembly = Reassembly(self.kit.limits, self._begin, self.ports, self._patience, dissector)
        self._reassembly = reassembly
        reassembly.woken = self._woken
        try:
            reassembly.run(capture)
        finally:
            dissector.close()
        reassembly.finish()
        self._tell_rest(reassembly, dissector)
        self._reassembly = None

    def guess(self, up: bytes, down: bytes, flow: Flow) -> Guess:
        """What the classifier says of a flow that has no session yet."""
        return self._classify(up, down, flow, frozenset())

    def _ask(self, up: bytes, down: bytes, flow: Flow, protocols: frozenset[str]) -> Guess:
        """The sessions' classifier."""
        if not self.asking:
            return _NOBODY
        guess = self._classify(up, down, flow, protocols)
        self.nobody = guess.spec is None and guess.match is Match.NO
        return guess

    def unclaimed(self, flow: Flow, at: float, track: Track) -> None:
        """Tell a flow that nobody claimed: nearly all of them are, so there may be a shorter way for them."""
        if self.emit_unclaimed is not None:
            self.emit_unclaimed(flow, at, track)
            return
        row = unknown_flow(flow, at)
        row["packets"], row["bytes"], row["confidence"] = track.packets, track.bytes, 0.0
        self.emit(row)

    def _begin(self, track: Track) -> _FlowSink:
        track.feeding = track.transport in self.transports
        return _FlowSink(self, track)

    def _patience(self, track: Track) -> float:
        limits = self.kit.limits
        sink = track.sink
        if isinstance(sink, _FlowSink) and sink.session is not None and sink.session.decoding:
            return limits.capture_session_idle_seconds
        return limits.capture_flow_idle_seconds

    def _tell_rest(self, reassembly: Reassembly, dissector: Dissector) -> None:
        """What belongs to the capture and to no flow."""
        told = [("oddity", name, f"{number} packets") for name, number in sorted(reassembly.packets.strange.items())]
        why = " (scapy is not installed)" if dissector.missing else ""
        told += [("oddity", f"link.{link}_not_read", f"{number} packets of link type {link}{why}")
                 for link, number in sorted(reassembly.packets.unknown.items())]
        if reassembly.evicted:
            told.append(("trouble", "overload", f"{reassembly.evicted} flows left early: limits.capture_flows"))
        if self.overloaded:
            told.append(("trouble", "overload", f"{self.overloaded} flows were not read: limits.capture_held_bytes"))
        for number, (event, name, detail) in enumerate(told, 1):
            self.emit({
                "event": event, "id": f"capture-{number}", "t": reassembly.last, "file": self.file, "flow": None,
                "protocol": None, "name": name, "detail": detail,
            })

    # -- time

    def wake_at(self, at: float, sink: _FlowSink) -> None:
        heapq.heappush(self._wakes, (at, next(self._order), sink))
        assert self._reassembly is not None
        self._reassembly.wake = self._wakes[0][0]

    def _woken(self, now: float) -> None:
        wakes = self._wakes
        while wakes and wakes[0][0] <= now:
            at, _, sink = heapq.heappop(wakes)
            sink.woke(at)
        assert self._reassembly is not None
        self._reassembly.wake = wakes[0][0] if wakes else float("inf")


class _FlowSink:
    """Feeds one flow to its session.

    A flow gets its session when a probe claims its bytes or wants more of them. Until then they wait here, and are
    looked at again only when twice as many were seen: the work grows with the flow, not with its square. Beyond
    limits.probe_bytes or probe_seconds it is given up, as a session gives it up.
    """

    __slots__ = ("_files", "_flow", "_held", "_inspection", "_look_at", "_odd", "_row", "_seen", "_total", "_track",
                 "_verdict", "_waiting", "session")

    def __init__(self, inspection: Inspection, track: Track) -> None:
        self._inspection = inspection
        self._track = track
        self._flow: Flow | None = None
        self._row: Row | None = None
        self._verdict: int | None = None
        self._odd = 0
        self._held = 0
        self._look_at = 0
        self._total = 0
        self._seen = (bytearray(), bytearray())
        self._waiting: list[Chunk] = []
        self._files: dict[str, Spooled] | None = None
        self.session: Session | None = None

    def chunk(self, chunk: Chunk) -> None:
        session = self.session
        if session is None:
            self._total += len(chunk.data)
            self._seen[chunk.way].extend(chunk.data)
            waiting = self._waiting
            waiting.append(chunk)
            limits = self._inspection.kit.limits
            if self._total >= self._look_at or chunk.at - waiting[0].at > limits.probe_seconds:
                self._look()
            if self._waiting:
                self._hold(len(chunk.data) + _CHUNK_BYTES)
            return
        inspection = self._inspection
        if not session.decoding:
            self._total += len(chunk.data)
            inspection.asking = self._total >= self._look_at
        effects = session.step(chunk, inspection.world)
        if effects:
            self._carry_out(effects, chunk.at)
        if self._verdict is None:
            self._after(session)
            if not session.settled:
                self._hold(len(chunk.data) + _CHUNK_BYTES)
        elif not session.decoding:  # the rest cannot be read
            self._track.feeding = False

    def _look(self) -> None:
        """Ask whose bytes these are; with the first claim there is a session, which gets all that waited."""
        inspection, waiting = self._inspection, self._waiting
        up, down = self._seen
        at = waiting[-1].at if waiting else self._track.last
        announced = inspection.world.expected(self.flow, at) is not None
        guess = _NOBODY if announced else inspection.guess(bytes(up), bytes(down), self.flow)
        if not announced and guess.spec is None and guess.match is Match.NO:
            self._look_at = 2 * self._total
            limits = inspection.kit.limits
            if (
                max(len(up), len(down)) > limits.probe_bytes
                or waiting[-1].at - waiting[0].at > limits.probe_seconds
            ):
                self._let_go()
                self._track.feeding = False
            return
        self._let_go()
        self._look_at = 0
        session = self.session = Session(self.flow, inspection.kit, inspection.world, dry=True)
        for chunk in waiting:
            inspection.asking = chunk is waiting[-1]
            effects = session.step(chunk, inspection.world)
            if effects:
                self._carry_out(effects, chunk.at)
        self._after(session)
        if not session.settled:
            self._hold(self._total + _CHUNK_BYTES * len(waiting))

    def _hold(self, size: int) -> None:
        """Bytes of flows that wait to be recognised are bounded over all flows: beyond that a flow is given up."""
        inspection = self._inspection
        self._held += size
        inspection.held += size
        if inspection.held > inspection.kit.limits.capture_held_bytes:
            self._let_go()
            self.session = None
            self._track.feeding = False
            inspection.overloaded += 1

    def _let_go(self) -> None:
        self._inspection.held -= self._held
        self._held = 0
        self._waiting, self._seen = [], (bytearray(), bytearray())

    def _after(self, session: Session) -> None:
        """What a chunk of a session that was not decoding has brought."""
        inspection = self._inspection
        inspection.asking = True
        if session.settled:
            self._let_go()
        if session.decoding:
            self._verdict = self._track.packets
        elif session.settled:
            self._track.feeding = False
        elif inspection.nobody:
            if self._total >= self._look_at:
                self._look_at = 2 * self._total
        else:
            self._look_at = 0

    @property
    def flow(self) -> Flow:
        """The flow as the session knows it."""
        if self._flow is None:
            track = self._track
            self._flow = Flow(
                flow_id(track.client, track.server, track.transport, track.opened), track.client, track.server,
                transport=track.transport, opened=track.opened, file=self._inspection.file,
                from_start=track.from_start,
            )
        return self._flow

    def closed(self, way: Way, at: float) -> None:
        if self.session is None and self._track.feeding and (
            self._total * 2 != self._look_at if self._waiting
            else self._inspection.world.expected(self.flow, at) is not None  # a file of no bytes
        ):
            self._look()
        session = self.session
        if session is not None and (session.decoding or not session.settled):
            self._step(Closed(way, at))

    def woke(self, at: float) -> None:
        if self.session is not None and not self.session.over:
            self._step(Woke(max(at, self._track.last)))

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:  # noqa: ARG002 - the shape of a Sink
        self._odd += 1
        row = rows.head("oddity", f"{self.flow.id}-tcp{self._odd}", at, self.flow)
        protocol = None if self.session is None else self.session.context.protocol
        self._inspection.emit(row | {"protocol": protocol, "name": name, "detail": detail})

    def gone(self, at: float) -> None:
        self.closed(UP, at)
        self.closed(DOWN, at)
        self._let_go()
        for file in (self._files or {}).values():
            file.discard()
        self._files = None
        session, track = self.session, self._track
        if session is None:
            self._inspection.unclaimed(self.flow, at, track)
            return
        row = self._row or session.flow_row(at)
        self._row = None
        row["packets"] = track.packets
        row["bytes"] = track.bytes
        row["packets_to_verdict"] = self._verdict
        if row["confidence"] is None:
            row["confidence"] = 0.0
        self._inspection.emit(row)

    def _step(self, given: Input) -> None:
        session = self.session
        assert session is not None
        self._carry_out(session.step(given, self._inspection.world), given.at)

    def _carry_out(self, effects: list[Effect], at: float) -> None:
        """What of a session's effects concerns a capture: rows, scans, times. Nothing is sent."""
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                continue
            if isinstance(effect, Note):
                if effect.row["event"] == "flow":
                    self._row = effect.row
                else:
                    self._inspection.emit(effect.row)
                if effect.durable:
                    self._step(Kept(effect.id, at))
            elif isinstance(effect, Scan):
                try:
                    answer = Scanned(effect.id, at, effect.rules.scanner.full(effect.texts))
                except ScanFailed as failure:
                    answer = Scanned(effect.id, at, (), str(failure) or "the scan failed")
                self._step(answer)
            elif isinstance(effect, WakeAt):
                self._inspection.wake_at(effect.at, self)
            elif isinstance(effect, Spool):
                self._spool(effect, at)
            elif isinstance(effect, Judge):
                file = self._files.get(effect.file) if self._files else None
                if file is None:
                    self._step(Judged(effect.file, at, None, "the file was not kept"))
                else:
                    self._step(self._inspection.content.judge(effect, file, at))
            elif isinstance(effect, Discard) and self._files:
                gone = self._files.pop(effect.file, None)
                if gone is not None:
                    gone.discard()

    def _spool(self, effect: Spool, at: float) -> None:
        """Keep content of a file until it is judged. (Nothing is released: `raw` stays empty.)"""
        if self._files is None:
            self._files = {}
        try:
            file = self._files.get(effect.file)
            if file is None:
                file = self._files[effect.file] = self._inspection.content.disk.open()
            elif file.failure is not None:
                return
            file.append(effect.content)
        except SpoolError as error:
            self._step(Judged(effect.file, at, None, str(error)))


def unknown_flow(flow: Flow, at: float) -> Row:
    """The row of a flow without a session: the same as that of a session that recognised nothing."""
    return {
        "event": "flow", "id": f"{flow.id}-1", "t": at, "file": flow.file, "flow": flow.id, "state": "end",
        "opened": flow.opened, "transport": flow.transport,
        "client": {"ip": flow.client.ip, "port": flow.client.port},
        "server": {"ip": flow.server.ip, "port": flow.server.port},
        "server_name": None, "tls": False, "listener": None,
        "community_id": community_id(flow.client, flow.server, flow.transport),
        "protocol": None, "application": None, "confidence": 0.0, "evidence": [], "carried": [], "user": None,
        "packets": None, "bytes": 0, "packets_to_verdict": None,
    }


# -- the command


def command(args: Namespace) -> int:
    """`inspector scan`: 0 whatever is found, 1 when a capture could not be read to its end. Raises UserError."""
    if args.captures.count("-") > 1:
        raise UserError("standard input (-) can be read only once", WRONG_USE)
    config = _judging(args)
    try:
        found = list(find(args.captures))
        rules = build_rules(config, 1).rules
    except (CaptureError, Faults) as error:
        raise UserError(str(error)) from None
    if not rules.scanner.packs:
        print(f"inspector: {config.signatures}: {NO_PACKS}", file=sys.stderr)
    # Millions of small things that live as long as the capture: looking for cycles among them all the time is waste.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    progress = Progress(found, sys.stderr if sys.stderr.isatty() else None)
    emit: Callable[[Row], None]
    short: Callable[[Flow, float, Track], None] | None
    if args.format == "jsonl":
        lines = Lines(sys.stdout.buffer, progress)
        emit, end, short = lines.emit, lines.end, lines.emit_unclaimed
    else:
        (emit, end), short = _tabled(progress, len(found) > 1), None
    inspection = Inspection(
        rules, classifier(SPECS), SPECS, config.limits, emit, never_inspect=frozenset(config.privacy.never_inspect))
    inspection.emit_unclaimed = short
    status = 0
    for name, path in found:
        try:
            capture = open_capture(name, path, config.limits)
        except CaptureError as error:
            fault = str(error)
        else:
            capture.tick = progress.show
            inspection.capture(capture)
            progress.next(capture.done)
            capture.close()
            fault = f"{name} {capture.fault}" if capture.fault is not None else ""
        if fault:
            status = 1
            end()
            print(f"inspector: {fault}", file=sys.stderr)
    inspection.content.close()
    end()
    return status


def _judging(args: Namespace) -> Config:
    """The configuration, with the policy and the packs of the command line in their place. Raises UserError."""
    config: Config = load(args.config)
    if args.policy:
        config = replace(config, policy=Path(args.policy))
    if args.signatures:
        config = replace(config, signatures=Path(args.signatures))
    return config


class Lines:
    """JSON lines on a stream, many at a time."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress
        self._lines: list[bytes] = []
        self._file: str | None = None
        self._pattern = b""

    def emit_unclaimed(self, flow: Flow, at: float, track: Track) -> None:
        """The line of a flow that nobody claimed, filled into what `render` made of another one."""
        if flow.file != self._file:
            self._file = flow.file
            self._pattern = _pattern(flow.file)
        client, server = flow.client, flow.server
        opened = rfc3339(flow.opened)
        self._lines.append(self._pattern % {
            b"flow": flow.id.encode(), b"t": (opened if at == flow.opened else rfc3339(at)).encode(),
            b"opened": opened.encode(), b"transport": flow.transport.encode(), b"client": client.ip.encode(),
            b"client_port": client.port, b"server": server.ip.encode(), b"server_port": server.port,
            b"community": community(track.up.key, flow.transport), b"packets": track.packets, b"bytes": track.bytes,
        })
        if len(self._lines) >= 256:
            self.end()

    def emit(self, row: Row) -> None:
        self._lines.append(render(row, None))
        if len(self._lines) >= 256:
            self.end()

    def end(self) -> None:
        """Write what there is."""
        if self._lines:
            self._lines.append(b"")
            self._progress.clear()
            self._stream.write(b"\n".join(self._lines))
            self._lines = []
            self._stream.flush()


def _pattern(file: str | None) -> bytes:
    """The line of an unclaimed flow of a capture, with %(name)s where flows differ."""
    marks = {"flow": "<flow>", "transport": "<transport>", "client": "<client>", "server": "<server>",
             "community": "<community>"}
    flow = Flow(marks["flow"], Address(marks["client"], 70001), Address(marks["server"], 70002), marks["transport"],
                opened=2.0, file="<file>")
    row = unknown_flow(flow, 1.0)
    row |= {"community_id": marks["community"], "packets": 70003, "bytes": 70004, "confidence": 0.0}
    line = render(row, None).replace(b"%", b"%%")
    for name, mark in marks.items():
        line = line.replace(mark.encode(), b"%%(%s)s" % name.encode())
    for name, at in (("t", 1.0), ("opened", 2.0)):
        line = line.replace(rfc3339(at).encode(), b"%%(%s)s" % name.encode())
    for number, name in enumerate(("client_port", "server_port", "packets", "bytes"), 70001):
        line = line.replace(b"%d" % number, b"%%(%s)d" % name.encode())
    told = render({"event": "flow", "t": 0.0, "file": file}, None)
    begin = told.index(b'"file":') + 7
    return line.replace(b'"<file>"', told[begin:told.index(b',"flow":', begin)].replace(b"%", b"%%"))


def _tabled(progress: Progress, several: bool) -> tuple[Callable[[Row], None], Callable[[], None]]:
    """(emit, end) for a table on stdout; of several captures, each one's name stands above its lines."""
    from inspector.app.events_cmd import Table

    table = Table(sys.stdout.isatty())
    file: str | None = None

    def emit(row: Row) -> None:
        nonlocal file
        progress.clear()
        if several and row["file"] != file:
            file = row["file"]
            table.title(f"{file}:")
        table.print(json.loads(render(row, None)))

    return emit, sys.stdout.flush


class Progress:
    """How far the captures are read, on one line of a terminal that is wiped before anything else is printed."""

    WIDTH = 40
    SECONDS = 0.2

    def __init__(self, found: Sequence[tuple[str, Path | None]], terminal: TextIO | None) -> None:
        self._terminal = terminal
        self._before = 0
        self._shown = False
        self._last = 0.0
        self._total = sum(path.stat().st_size for _, path in found if path is not None) if terminal else 0

    def show(self, done: int) -> None:
        """`done` bytes of the capture that is read now are behind us."""
        if self._terminal is None or time.monotonic() - self._last < self.SECONDS:
            return
        self._last = time.monotonic()
        done += self._before
        if self._total:
            share = min(1.0, done / self._total)
            bar = "#" * round(share * self.WIDTH)
            line = f"[{bar:<{self.WIDTH}}] {share:4.0%}"
        else:
            line = f"{done / 1e6:.1f} MB"
        self._terminal.write(f"\r{line}\x1b[K")
        self._terminal.flush()
        self._shown = True

    def next(self, done: int) -> None:
        """A capture of `done` bytes is finished."""
        self._before += done
        self.clear()

    def clear(self) -> None:
        if self._shown and self._terminal is not None:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()
            self._shown = False
