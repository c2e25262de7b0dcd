"""`inspector scan`: the gateway's inspection over capture files.

The same session, decoders, packs and policy as live, with `dry`: what would be done is decided and told, nothing is
sent. One world a capture, and nothing but the capture's own clock, so that the same file gives the same lines each
time. What a flow's last line tells (packets, bytes) is known when no packet of it can come any more: flow lines come
last, those of a flow that is forgotten in between come then.
"""

from __future__ import annotations

import heapq
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from inspector.drivers.pcap import Capture, CaptureError, find, open_capture
from inspector.drivers.reassembly import Reassembly, Track
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Chunk,
    Closed,
    Effect,
    Flow,
    Input,
    Kept,
    Limits,
    Note,
    Scan,
    Scanned,
    ScanFailed,
    Send,
    Spec,
    WakeAt,
    Way,
    Woke,
    flow_id,
)

Row = dict[str, Any]


class Inspection:
    """Inspects captures one after the other; `emit` is given each row, in the shape of `Note.row`."""

    def __init__(self, kit: Kit, specs: Sequence[Spec], emit: Callable[[Row], None]) -> None:
        self.kit = kit
        self.emit = emit
        self.world = World(kit.limits)
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
        reassembly = self._reassembly = Reassembly(self.kit.limits, self._begin, self.ports, self._patience)
        reassembly.woken = self._woken
        reassembly.run(capture)
        reassembly.finish()
        self._tell_rest(reassembly)
        self._reassembly = None

    def _begin(self, track: Track) -> _FlowSink:
        track.feeding = track.transport in self.transports
        return _FlowSink(self, track)

    def _patience(self, track: Track) -> float:
        limits = self.kit.limits
        sink = track.sink
        if isinstance(sink, _FlowSink) and sink.session is not None and sink.session.decoding:
            return limits.idle_seconds
        return limits.capture_flow_idle_seconds

    def _tell_rest(self, reassembly: Reassembly) -> None:
        """What belongs to the capture and to no flow."""
        told = [("oddity", name, f"{number} packets") for name, number in sorted(reassembly.packets.strange.items())]
        told += [("oddity", f"link.{link}_not_read", f"{number} packets of link type {link}")
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
    """Feeds one flow to its session; a flow without bytes has none until it is listed."""

    __slots__ = ("_flow", "_inspection", "_odd", "_row", "_track", "_verdict", "session")

    def __init__(self, inspection: Inspection, track: Track) -> None:
        self._inspection = inspection
        self._track = track
        self._flow: Flow | None = None
        self._row: Row | None = None
        self._verdict: int | None = None
        self._odd = 0
        self.session: Session | None = None

    def _start(self) -> Session:
        track = self._track
        flow = Flow(
            flow_id(track.client, track.server, track.transport, track.opened), track.client, track.server,
            transport=track.transport, opened=track.opened, file=self._inspection.file, from_start=track.from_start,
        )
        self.session = Session(flow, self._inspection.kit, self._inspection.world, dry=True)
        return self.session

    def chunk(self, chunk: Chunk) -> None:
        session = self.session or self._start()
        effects = session.step(chunk, self._inspection.world)
        if effects:
            self._carry_out(effects, chunk.at)
        if self._verdict is None and session.decoding:
            self._verdict = self._track.packets
        elif session.settled and not session.decoding:
            self._track.feeding = False

    def closed(self, way: Way, at: float) -> None:
        if self.session is not None:
            self._step(Closed(way, at))

    def woke(self, at: float) -> None:
        if self.session is not None and not self.session.over:
            self._step(Woke(max(at, self._track.last)))

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:
        from inspector.engine import rows

        session = self.session or self._start()
        self._odd += 1
        row = rows.head("oddity", f"{session.flow.id}-tcp{self._odd}", at, session.flow)
        row |= {"protocol": session.context.protocol, "name": name, "detail": detail}
        self._inspection.emit(row)

    def gone(self, at: float) -> None:
        session = self.session or self._start()
        if not session.over:
            self._step(Closed(UP, at))
            self._step(Closed(DOWN, at))
        row = self._row or session.flow_row(at)
        track = self._track
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


def captures(paths: Sequence[str], limits: Limits) -> Iterator[Capture]:
    """The captures meant by the words of a command line, opened one after the other. Raises CaptureError."""
    for name, path in find(list(paths)):
        capture = open_capture(name, path, limits)
        try:
            yield capture
        finally:
            capture.close()
