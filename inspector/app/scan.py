"""`inspector scan`: the gateway's inspection over capture files.

The same session, decoders, packs and policy as live, with `dry`: what would be done is decided and told, nothing is
sent. One world a capture, and nothing but the capture's own clock, so that the same file gives the same lines each
time. What a flow's last line tells (packets, bytes) is known when no packet of it can come any more: flow lines come
last, those of a flow that is forgotten in between come then.
"""

from __future__ import annotations

import gc
import heapq
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from inspector.app.build import build_rules
from inspector.app.errors import UserError
from inspector.app.places import load
from inspector.classify.probes import classifier
from inspector.drivers.pcap import Capture, CaptureError, find, open_capture
from inspector.drivers.reassembly import Reassembly, Track
from inspector.drivers.scapy_child import Dissector
from inspector.engine import rows
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Chunk,
    Classify,
    Closed,
    Effect,
    Flow,
    Guess,
    Input,
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
    WakeAt,
    Way,
    Woke,
    community_id,
    flow_id,
)
from inspector.protocols.registry import SPECS
from inspector.store.lines import render
from inspector.wire.located import Faults

if TYPE_CHECKING:
    from inspector.app.config import Config

Row = dict[str, Any]
_NOBODY = Guess(None, Match.NO)


class Inspection:
    """Inspects captures one after the other; `emit` is given each row, in the shape of `Note.row`."""

    def __init__(
        self, rules: Rules, classify: Classify, specs: Sequence[Spec], limits: Limits, emit: Callable[[Row], None],
        *, never_inspect: frozenset[str] = frozenset(),
    ) -> None:
        self.kit = Kit(self._ask, rules, limits, archive="full", never_inspect=never_inspect)
        self.emit = emit
        self.asking = True
        """False: the classifier is not to be asked for the chunk that is fed now."""
        self.nobody = False
        """Whether no protocol claimed the bytes that were looked at last."""
        self._classify = classify
        self.world = World(limits)
        self.file = ""
        self.transports = frozenset().union(*(spec.transports for spec in specs))
        self.ports = frozenset().union(*(spec.ports | spec.tls_ports for spec in specs))
        self._wakes: list[tuple[float, int, _FlowSink]] = []
        self._order = count()
        self._reassembly: Reassembly | None = None

    def capture(self, capture: Capture) -> None:
        """Inspect one capture to its end, or to its fault (`capture.fault`)."""
        self.file = capture.name
        self.world = World(self.kit.limits)
        self._wakes = []
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

    def _ask(self, up: bytes, down: bytes, flow: Flow, protocols: frozenset[str]) -> Guess:
        if not self.asking:
            return _NOBODY
        guess = self._classify(up, down, flow, protocols)
        self.nobody = guess.spec is None and guess.match is Match.NO
        return guess

    def _begin(self, track: Track) -> _FlowSink:
        track.feeding = track.transport in self.transports
        return _FlowSink(self, track)

    def _patience(self, track: Track) -> float:
        limits = self.kit.limits
        sink = track.sink
        if isinstance(sink, _FlowSink) and sink.session is not None and sink.session.decoding:
            return limits.idle_seconds
        return limits.capture_flow_idle_seconds

    def _tell_rest(self, reassembly: Reassembly, dissector: Dissector) -> None:
        """What belongs to the capture and to no flow."""
        told = [("oddity", name, f"{number} packets") for name, number in sorted(reassembly.packets.strange.items())]
        why = " (scapy is not installed)" if dissector.missing else ""
        told += [("oddity", f"link.{link}_not_read", f"{number} packets of link type {link}{why}")
                 for link, number in sorted(reassembly.packets.unknown.items())]
        if reassembly.evicted:
            told.append(("trouble", "overload", f"{reassembly.evicted} flows left early: limits.capture_flows"))
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

    A flow that no probe claims is looked at again only when twice as much of it was seen: the bytes that are looked at
    grow with the flow then, not with its square. Until then its chunks wait here. A flow without a session (no bytes)
    is listed all the same.
    """

    __slots__ = ("_inspection", "_look_at", "_odd", "_row", "_seen", "_track", "_until", "_verdict", "_waiting",
                 "session")

    def __init__(self, inspection: Inspection, track: Track) -> None:
        self._inspection = inspection
        self._track = track
        self._row: Row | None = None
        self._verdict: int | None = None
        self._odd = 0
        self._seen = 0
        self._look_at = 0
        self._until = 0.0
        self._waiting: list[Chunk] = []
        self.session: Session | None = None

    def chunk(self, chunk: Chunk) -> None:
        session = self.session
        if session is not None and session.decoding:
            effects = session.step(chunk, self._inspection.world)
            if effects:
                self._carry_out(effects, chunk.at)
            self._track.feeding = not session.settled or session.decoding  # it may have given up
            return
        self._seen += len(chunk.data)
        self._waiting.append(chunk)
        if self._seen >= self._look_at or chunk.at > self._until:
            self._look()

    def _look(self) -> None:
        """Give the session what waits; only the last chunk makes it look again."""
        inspection = self._inspection
        session = self.session or self._start()
        waiting, self._waiting = self._waiting, []
        self._look_at = 0
        for chunk in waiting:
            inspection.asking = chunk is waiting[-1]
            effects = session.step(chunk, inspection.world)
            inspection.asking = True
            if effects:
                self._carry_out(effects, chunk.at)
        if session.decoding:
            self._verdict = self._track.packets
        elif session.settled:
            self._track.feeding = False
        elif inspection.nobody:
            self._look_at = 2 * self._seen
            if not self._until:
                self._until = waiting[0].at + inspection.kit.limits.probe_seconds

    def _start(self) -> Session:
        inspection = self._inspection
        self.session = Session(self._described(), inspection.kit, inspection.world, dry=True)
        return self.session

    def _described(self) -> Flow:
        track = self._track
        return Flow(
            flow_id(track.client, track.server, track.transport, track.opened), track.client, track.server,
            transport=track.transport, opened=track.opened, file=self._inspection.file, from_start=track.from_start,
        )

    def closed(self, way: Way, at: float) -> None:
        if self._waiting:
            self._look()
        session = self.session
        if session is not None and not self._look_at and (session.decoding or not session.settled):
            self._step(Closed(way, at))

    def woke(self, at: float) -> None:
        if self.session is not None and not self.session.over and not self._look_at:
            self._step(Woke(max(at, self._track.last)))

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:  # noqa: ARG002 - the shape of a Sink

        session = self.session or self._start()
        self._odd += 1
        row = rows.head("oddity", f"{session.flow.id}-tcp{self._odd}", at, session.flow)
        row |= {"protocol": session.context.protocol, "name": name, "detail": detail}
        self._inspection.emit(row)

    def gone(self, at: float) -> None:
        self.closed(UP, at)
        self.closed(DOWN, at)
        session, track = self.session, self._track
        row = self._row or (unknown_flow(self._described(), at) if session is None else session.flow_row(at))
        row["packets"] = track.packets
        row["bytes"] = track.bytes
        row["packets_to_verdict"] = self._verdict
        if row["confidence"] is None:
            row["confidence"] = 0.0
        self._row = None
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


def unknown_flow(flow: Flow, at: float) -> Row:
    """The row of a flow without a session: the same as a session's that recognised nothing, in a tenth of the time."""
    return {
        "event": "flow", "id": f"{flow.id}-1", "t": at, "file": flow.file, "flow": flow.id, "state": "end",
        "opened": flow.opened, "transport": flow.transport,
        "client": {"ip": flow.client.ip, "port": flow.client.port},
        "server": {"ip": flow.server.ip, "port": flow.server.port},
        "server_name": None, "tls": False, "listener": None,
        "community_id": community_id(flow.client, flow.server, flow.transport),
        "protocol": None, "application": None, "confidence": None, "evidence": [], "carried": [], "user": None,
        "packets": None, "bytes": 0, "packets_to_verdict": None,
    }


# -- the command


def command(args: Namespace) -> int:
    """`inspector scan`: 0 whatever is found, 1 when a capture could not be read to its end. Raises UserError."""
    config = _judging(args)
    try:
        found = list(find(args.captures))
        rules = build_rules(config, 1).rules
    except (CaptureError, Faults) as error:
        raise UserError(str(error)) from None
    # Millions of small things that live as long as the capture: looking for cycles among them all the time is waste.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    progress = Progress(found, sys.stderr if sys.stderr.isatty() else None)
    emit: Callable[[Row], None]
    if args.format == "jsonl":
        out = Lines(sys.stdout.buffer, progress)
        emit, end = out.emit, out.end
    else:
        emit, end = _tabled(progress)
    inspection = Inspection(
        rules, classifier(SPECS), SPECS, config.limits, emit, never_inspect=frozenset(config.privacy.never_inspect))
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


def _tabled(progress: Progress) -> tuple[Callable[[Row], None], Callable[[], None]]:
    """(emit, end) for a table on stdout."""
    from inspector.app.events_cmd import Table

    table = Table(sys.stdout.isatty())

    def emit(row: Row) -> None:
        progress.clear()
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
