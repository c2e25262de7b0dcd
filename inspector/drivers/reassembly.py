"""Flows of a capture, and their TCP streams put together again.

Theory of operation. A flow has two halves, one per direction; a half knows the next sequence number its receiver waits
for. A segment that begins there goes out at once. Anything else takes the slow path: what was delivered already is cut
off (the first bytes win: that is what the receiver read), what comes too early is held in order of sequence numbers
until the hole before it is filled. A hole is *lost* when the receiver's ACK has passed it (he got what the capture did
not) and a few packets more did not bring it, or when the bounds of `Limits` say that waiting is over; then the next
chunk says so in `gap`. Bytes that are sent twice with different content are the oddity `tcp.overlap_conflict`.

The half of the sender of the SYN is UP. Without a SYN (a capture that begins later) the ports are asked, then whoever
is seen first is the client. A SYN on a living flow begins a new one only when the other side agrees to it: one forged
packet must not cut a session in two (RFC 9293 §3.10.7.4).

Sequence numbers wrap at 2**32; distances are signed and below 2**31 (RFC 9293 §3.4).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Protocol

from inspector.drivers.packets import ACK, FIN, RST, SYN, TCP, Dissect, Packets, ends, turned
from inspector.drivers.pcap import Packet
from inspector.model import DOWN, UP, Address, Chunk, Limits, Way

_M = 0xFFFFFFFF
_HALF = 0x80000000
_LATE_PACKETS = 8
"""Packets of a flow after the ACK that passed a hole: captures on several queues put a segment behind its ACK."""
_LATE_SECONDS = 1.0
_LINGER = 60.0
"""Seconds a flow that has ended is remembered, so that its last packets do not look like a new one."""
_SWEEP_SECONDS = 30.0
_OVERHEAD = 100
"""Bytes that keeping a piece costs beside its content."""
_CONFLICTS = 8
"""Oddities of one flow that are told."""


class Sink(Protocol):
    """Where the bytes of one flow go."""

    def chunk(self, chunk: Chunk) -> None:
        """Bytes in order, both ways in the order of the capture."""
        ...

    def closed(self, way: Way, at: float) -> None:
        """The writer of `way` has ended it (FIN), or the flow was reset (both ways)."""
        ...

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None: ...

    def gone(self, at: float) -> None:
        """The flow has left the table; its counters are final. The last call."""
        ...


class Half:
    """One direction of a flow."""

    __slots__ = (
        "acked", "acked_at", "acked_packets", "answered", "done", "fin", "flow", "gap", "held", "held_bytes",
        "held_since", "key", "next", "other", "recent", "recent_bytes", "way",
    )

    other: Half

    def __init__(self, flow: Track, way: Way, key: bytes) -> None:
        self.flow = flow
        self.way = way
        self.key = key
        self.next = -1
        """Sequence number of the first byte not seen yet, -1: not known."""
        self.answered = -1
        """The last ACK of the receiver: what he waits for."""
        self.held: list[tuple[int, bytes, int]] = []
        """(sequence number, bytes, bytes missing behind them), in order, not overlapping."""
        self.held_bytes = 0
        self.held_since = 0.0
        self.acked = -1
        """The receiver's ACK where it is beyond `next`, else -1."""
        self.acked_at = 0.0
        self.acked_packets = 0
        self.gap = 0
        """Lost bytes to be told with the next chunk."""
        self.fin = -1
        """Sequence number of the FIN, -1: none seen."""
        self.done = False
        self.recent: list[bytes] = []
        """What was delivered last, to compare with what is sent again."""
        self.recent_bytes = 0


class Track:
    """One flow of a capture with its counters. `bytes` counts payload as it was on the wire, repetitions included."""

    __slots__ = (
        "bytes", "client", "ended", "feeding", "from_start", "last", "made_up", "odd", "opened", "packets", "server",
        "sink", "syn", "transport", "up", "waiting",
    )

    sink: Sink
    up: Half

    def __init__(self, transport: str, client: Address, server: Address, opened: float, from_start: bool) -> None:
        self.transport = transport
        self.client = client
        self.server = server
        self.opened = opened
        self.last = opened
        self.from_start = from_start
        self.packets = 0
        self.bytes = 0
        self.feeding = True
        """False: nobody listens any more, packets are only counted. Set it to give a flow up."""
        self.waiting = True
        """Whether packets need a closer look: a number of a half is not known yet, a half has a hole or an end."""
        self.ended = False
        self.made_up: bool | None = None
        """Whether data comes without ACK, as no real TCP sends it; None: no data seen."""
        self.odd = 0
        self.syn: tuple[Half, int, float] | None = None
        """A SYN that may begin a new flow of the same five-tuple: (half, sequence number, time)."""


class Reassembly:
    """All flows of one capture.

    `begin` makes the sink of a new flow; `servers` are ports that tell a server; `idle` says how many seconds a silent
    flow is kept (None: limits.capture_flow_idle_seconds); `dissect` reads foreign link types. When a packet of or after
    the time `wake` comes, `woken` is called with its time before the packet is worked on.
    """

    def __init__(
        self, limits: Limits, begin: Callable[[Track], Sink], servers: frozenset[int] = frozenset(),
        idle: Callable[[Track], float] | None = None, dissect: Dissect | None = None,
    ) -> None:
        self.limits = limits
        self.packets = Packets(limits, dissect)
        self.undecoded = 0
        """Packets that carry neither TCP nor UDP, or are not understood."""
        self.evicted = 0
        """Flows that had to leave because limits.capture_flows were known."""
        self.last = 0.0
        """Time of the last packet."""
        self.wake = float("inf")
        self.woken: Callable[[float], None] = _nothing
        self._begin = begin
        self._servers = servers
        self._idle = idle or self._default_idle
        self._tcp: dict[bytes, Half] = {}
        self._udp: dict[bytes, Half] = {}
        self._held = 0
        self._recent = 0
        self._swept = 0.0
        self._entered = 0

    def run(self, packets: Iterable[Packet]) -> None:
        """Take packets in. Call `finish` when there are no more."""
        decode = self.packets.decode
        tcp = self._tcp.get
        quiet = self.limits.capture_flow_idle_seconds
        at = 0.0
        for at, link, data, start, stop, wire in packets:
            if at >= self.wake:
                self.woken(at)
            datagram = decode(at, link, data, start, stop, wire)
            if datagram is None:
                self.undecoded += 1
                continue
            protocol, key, data, start, stop, missing, seq, ack, flags = datagram
            if protocol != TCP:
                self._datagram(at, key, data, start, stop, missing)
                continue
            # The short way, for the next segment of a healthy flow; the long way (`segment`) does the same, and more.
            half = tcp(key)
            if half is None or flags & 0x17 != ACK:
                self.segment(at, key, data, start, stop, missing, seq, ack, flags)
                continue
            flow = half.flow
            if flow.waiting or at - flow.last > quiet:
                self.segment(at, key, data, start, stop, missing, seq, ack, flags)
                continue
            size = stop - start + missing
            if flow.feeding:
                other = half.other
                if (size and (seq != half.next or missing)) or 0 < (ack - other.next) & _M < _HALF:
                    self.segment(at, key, data, start, stop, missing, seq, ack, flags)
                    continue
                other.answered = ack
                if at < flow.last:
                    at = flow.last
                flow.last = at
                flow.packets += 1
                if size:
                    flow.bytes += size
                    flow.made_up = False
                    half.next = (seq + size) & _M
                    self._out(half, at, data[start:stop])
            else:
                if at > flow.last:
                    flow.last = at
                flow.packets += 1
                flow.bytes += size
        self.last = at

    def _default_idle(self, flow: Track) -> float:  # noqa: ARG002 - the shape of `idle`
        return self.limits.capture_flow_idle_seconds

    def finish(self) -> None:
        """The capture is over: all flows leave, in the order of their first packets."""
        for table in (self._tcp, self._udp):
            while table:
                self._leave(next(iter(table.values())), table)

    # -- TCP

    def segment(
        self, at: float, key: bytes, data: bytes, start: int, stop: int, missing: int, seq: int, ack: int, flags: int,
    ) -> None:
        """One TCP segment, whatever its state."""
        half = self._tcp.get(key)
        size = stop - start + missing
        if half is not None and at - half.flow.last > _LINGER and at - half.flow.last > self._patience(half.flow):
            self._leave(half, self._tcp)
            half = None
        if half is not None:
            if flags & SYN and not flags & ACK:
                half = self._again(half, seq, at)
            elif half.flow.syn is not None:
                half = self._agreed(half, key, seq, ack, flags)
        if half is None:
            half = self._open(at, key, flags)
        flow = half.flow
        at = max(at, flow.last)
        flow.packets += 1
        flow.last = at
        flow.bytes += size
        if flow.syn is not None and flags & SYN:
            return
        other = half.other
        if flags & SYN:
            if half.next < 0:
                half.next = (seq + 1) & _M
            seq = (seq + 1) & _M
        if flags & RST:
            self._reset(half, at, seq)
            return
        if not flow.feeding:
            if flags & FIN:
                half.done = True
                flow.ended = other.done
            flow.waiting = flow.ended or flow.syn is not None
            return
        if flags & ACK:
            other.answered = ack
            if other.next < 0:
                other.next = ack
            elif 0 < (ack - other.next) & _M < _HALF:
                self._passed(other, ack, at)
        if size and not flags & (ACK | SYN):
            if not self._unacknowledging(half, at, data[start:stop]):
                return
        elif size and not half.done:
            flow.made_up = False
            if half.next < 0:
                half.next = seq
            self._take(half, at, seq, data[start:stop], missing)
        if flags & FIN and half.fin < 0 and not half.done:
            if half.next < 0 or flow.made_up:
                half.next = (seq + size) & _M
            if ((seq + size - half.next) & _M) < _HALF:
                half.fin = (seq + size) & _M
        self._settle(half, at)
        self._settle(other, at)
        flow.waiting = bool(
            half.held or other.held or half.acked >= 0 or other.acked >= 0 or half.next < 0 or other.next < 0
            or half.fin >= 0 or other.fin >= 0 or flow.syn is not None
        )

    def _patience(self, flow: Track) -> float:
        return min(_LINGER, self._idle(flow)) if flow.ended else self._idle(flow)

    def _unacknowledging(self, half: Half, at: float, data: bytes) -> bool:
        """Data without ACK: no TCP sends it and none takes it (RFC 9293 §3.10.7.4). Some loopback sniffers make up
        headers like that, with useless sequence numbers; there the order of the packets is all there is."""
        flow = half.flow
        if flow.made_up is None:
            flow.made_up = True
            self._odd(half, "tcp.made_up_headers", "data without ACK from the first segment on", at)
        if not flow.made_up:
            self._odd(half, "tcp.no_ack", f"{len(data)} bytes without ACK were left out", at)
            return False
        if data and not half.done:
            half.recent = []  # nothing of it can be sent twice
            self._out(half, at, data)
        return True

    def _roles(self, key: bytes, flags: int) -> tuple[Address, Address, bool]:
        """(client, server, whether the sender is the client)."""
        source, target = ends(key)
        if flags & SYN:
            upward = not flags & ACK
        elif (source.port in self._servers) != (target.port in self._servers):
            upward = target.port in self._servers
        elif (source.port < 1024) != (target.port < 1024):
            upward = target.port < 1024
        else:
            upward = True
        return (source, target, True) if upward else (target, source, False)

    def _open(self, at: float, key: bytes, flags: int) -> Half:
        """The half of a packet of a flow not seen before."""
        client, server, upward = self._roles(key, flags)
        return self._enter(Track("tcp", client, server, at, bool(flags & SYN)), key, upward, self._tcp)

    def _enter(self, flow: Track, key: bytes, upward: bool, table: dict[bytes, Half]) -> Half:
        known = len(self._tcp) + len(self._udp)
        self._entered += 1
        if self._entered >= max(1024, known >> 2) and flow.opened - self._swept > _SWEEP_SECONDS:
            self._sweep(flow.opened)
        if known >= 2 * self.limits.capture_flows:
            self._evict()
        here = Half(flow, UP if upward else DOWN, key)
        there = Half(flow, DOWN if upward else UP, turned(key))
        here.other, there.other = there, here
        flow.up = here if upward else there
        table[there.key] = there
        table[key] = here  # the last word where both keys are the same: a packet from an end to itself
        flow.sink = self._begin(flow)
        return here

    def _again(self, half: Half, seq: int, at: float) -> Half | None:
        """A SYN where a flow is known: a repetition, the beginning of a new flow, or (perhaps) a forgery."""
        flow = half.flow
        if flow.from_start and half.next == (seq + 1) & _M and not flow.ended:
            return half  # repeated
        if flow.ended or not flow.feeding or half.next < 0:
            self._leave(half, self._tcp)
            return None
        flow.syn = (half, seq, at)
        flow.waiting = True
        return half

    def _agreed(self, half: Half, key: bytes, seq: int, ack: int, flags: int) -> Half:
        """Whether this packet takes up the new flow that a SYN on a living one proposed."""
        flow = half.flow
        assert flow.syn is not None
        proposer, isn, at = flow.syn
        answered = half is proposer.other and flags & SYN and flags & ACK and ack == (isn + 1) & _M
        went_on = half is proposer and not flags & SYN and seq == (isn + 1) & _M and half.next != seq
        if not answered and not went_on:
            if half is proposer.other and flags & (RST | ACK | SYN) == ACK:
                flow.syn = None  # the receiver goes on with the old flow (a challenge ACK, RFC 5961 §4)
            return half
        flow.syn = None
        flow.packets -= 1
        self._leave(half, self._tcp)
        new = self._open(at, proposer.key, SYN)
        new.flow.packets = 1
        new.next = (isn + 1) & _M
        return self._tcp[key]

    def _reset(self, half: Half, at: float, seq: int) -> None:
        """RST ends both ways, if its receiver would believe it (RFC 9293 §3.10.7.4, RFC 5961 §3)."""
        flow = half.flow
        if flow.ended:
            return
        near = (
            half.next < 0 or half.answered < 0 or not flow.feeding or flow.made_up or seq in (half.next, half.answered)
            or (half.done and (half.next - seq) & _M <= 1)
            or (seq == 0 and half.way is DOWN and flow.bytes == 0)  # the answer to a SYN
        )
        if not near and half.held:
            last = half.held[-1]
            near = seq == (last[0] + len(last[1]) + last[2]) & _M
        if not near:
            self._odd(half, "tcp.stray_reset", f"RST {_distance(seq, half.next)} bytes from the expected place", at)
            return
        self._end(flow, at)

    def _end(self, flow: Track, at: float) -> None:
        """Both ways are over: what is held goes out, and nothing more is taken in, only counted."""
        for half in (flow.up, flow.up.other):
            if flow.feeding and not half.done:
                self._give_up_holes(half, at)
        for half in (flow.up, flow.up.other):
            if not half.done:
                half.done = True
                if flow.feeding:
                    flow.sink.closed(half.way, at)
        flow.ended = True
        flow.feeding = False
        self._drop(flow)

    def _passed(self, half: Half, ack: int, at: float) -> None:
        """The receiver of `half` has more than we have."""
        flow = half.flow
        if half.fin >= 0 and ack == (half.fin + 1) & _M:
            ack = half.fin
            if ack == half.next:
                return
        if half.done:
            return
        if half.acked < 0:
            half.acked_at = at
            half.acked_packets = flow.packets
        elif (ack - half.acked) & _M >= _HALF:
            return
        half.acked = ack
        flow.waiting = True

    def _take(self, half: Half, at: float, seq: int, data: bytes, missing: int) -> None:
        """Bytes from `seq` on: deliver, hold, or drop what came before."""
        distance = _distance(seq, half.next)
        if distance < 0:
            old = min(-distance, len(data))
            if -distance == 1 and len(data) + missing == 1:
                return  # a keep-alive (RFC 9293 §3.8.4): its byte is garbage
            self._compare_delivered(half, data[:old], -distance, at)
            if old < -distance:
                missing += distance + old
            data, seq = data[old:], half.next
            if missing <= 0 and not data:
                return
            missing = max(missing, 0)
            distance = 0
        if distance == 0 and not half.held:
            half.next = (seq + len(data) + missing) & _M
            if data:
                self._out(half, at, data)
            if missing:
                half.gap += missing
            return
        self._hold(half, at, seq, data, missing)

    def _hold(self, half: Half, at: float, seq: int, data: bytes, missing: int) -> None:
        """Put a segment among those that wait; where two overlap, the one that came first stays."""
        held = half.held
        base = half.next
        begin = (seq - base) & _M
        if not held:
            half.held_since = at
        half.flow.waiting = True
        place = bisect_left(held, begin, key=lambda one: (one[0] - base) & _M)
        if place:
            before, other, lack = held[place - 1]
            end = ((before - base) & _M) + len(other)
            if end > begin:
                self._compare(half, data, other[begin - end:], at)
                data, begin = data[end - begin:], end
                if not data:
                    return
            elif lack:
                held[place - 1] = (before, other, min(lack, begin - end))
        while data or missing:
            if place < len(held):
                start = (held[place][0] - base) & _M
                room = max(0, start - begin)
            else:
                start = room = len(data) + missing
            piece, lack = data[:room], max(0, min(missing, room - len(data)))
            if piece:
                held.insert(place, ((base + begin) & _M, piece, lack))
                half.held_bytes += len(piece)
                self._held += len(piece) + _OVERHEAD
                place += 1
            if len(data) + missing <= room or place >= len(held):
                break
            _, other, _ = held[place]
            rest = data[room:]
            if not rest:
                break
            self._compare(half, rest, other, at)
            data, begin = rest[len(other):], start + len(other)
            place += 1
            if not data:
                break
        limits = self.limits
        while half.held and (
            half.held_bytes > limits.capture_flow_bytes or len(half.held) > limits.capture_flow_segments
            or self._held > limits.capture_held_bytes
        ):
            self._skip(half, at)

    def _settle(self, half: Half, at: float) -> None:
        """Deliver what has no hole before it any more; declare holes lost whose time is over; then the FIN."""
        flow = half.flow
        if half.held:
            self._drain(half, at)
        while half.acked >= 0 or half.held:
            if half.acked >= 0:
                ahead = (half.acked - half.next) & _M
                if ahead == 0 or ahead >= _HALF:
                    half.acked = -1
                    continue
                if flow.packets - half.acked_packets >= _LATE_PACKETS or at - half.acked_at >= _LATE_SECONDS:
                    self._skip(half, at, ahead)
                    continue
            if half.held and at - half.held_since >= self.limits.capture_hole_seconds:
                self._skip(half, at)
                half.held_since = at
                continue
            break
        if half.fin >= 0 and half.fin == half.next and not half.done:
            half.done = True
            half.next = (half.next + 1) & _M
            self._flush_gap(half, at)
            flow.sink.closed(half.way, at)
            flow.ended = half.other.done

    def _skip(self, half: Half, at: float, most: int = _M) -> None:
        """Declare the first hole lost, at most `most` bytes of it, and go on behind it."""
        hole = min(most, (half.held[0][0] - half.next) & _M if half.held else most)
        half.next = (half.next + hole) & _M
        half.gap += hole
        self._drain(half, at)

    def _drain(self, half: Half, at: float) -> None:
        held = half.held
        while held:  # a sink that gives the flow up while it is fed empties it
            seq, data, missing = held[0]
            distance = _distance(seq, half.next)
            if distance > 0:
                return
            del held[0]
            half.held_bytes -= len(data)
            self._held -= len(data) + _OVERHEAD
            if distance < 0:
                old = min(-distance, len(data))
                self._compare_delivered(half, data[:old], -distance, at)
                missing = max(0, missing + min(0, distance + old))
                data = data[old:]
            if data:
                half.next = (half.next + len(data)) & _M
                self._out(half, at, data)
                held = half.held
            if missing:
                half.next = (half.next + missing) & _M
                half.gap += missing

    def _give_up_holes(self, half: Half, at: float) -> None:
        """The end: nothing will be filled any more."""
        while half.held:
            self._skip(half, at)
        if half.acked >= 0 and 0 < (half.acked - half.next) & _M < _HALF:
            half.gap += (half.acked - half.next) & _M
            half.next = half.acked
        self._flush_gap(half, at)
        if half.fin >= 0 and not half.done:
            half.done = True
            half.flow.sink.closed(half.way, at)

    def _flush_gap(self, half: Half, at: float) -> None:
        if half.gap:
            gap, half.gap = half.gap, 0
            half.flow.sink.chunk(Chunk(half.way, at, b"", gap))

    def _out(self, half: Half, at: float, data: bytes) -> None:
        recent = half.recent
        recent.append(data)
        size = len(data) + _OVERHEAD
        half.recent_bytes += size
        self._recent += size
        if half.recent_bytes > self.limits.capture_recent_bytes:
            while recent and half.recent_bytes > self.limits.capture_recent_bytes:
                size = len(recent.pop(0)) + _OVERHEAD
                half.recent_bytes -= size
                self._recent -= size
        elif self._recent > self.limits.capture_held_bytes:
            self._forget_recent()
        flow = half.flow
        if half.gap:
            gap, half.gap = half.gap, 0
            flow.sink.chunk(Chunk(half.way, at, data, gap))
        else:
            flow.sink.chunk(Chunk(half.way, at, data))
        if not flow.feeding:
            self._drop(flow)

    def _forget_recent(self) -> None:
        """All flows forget what they delivered: only the comparison of repeated bytes suffers."""
        for half in self._tcp.values():
            half.recent = []
            half.recent_bytes = 0
        self._recent = 0

    def _drop(self, flow: Track) -> None:
        """Nobody listens any more: let go of all bytes."""
        for half in (flow.up, flow.up.other):
            self._held -= half.held_bytes + _OVERHEAD * len(half.held)
            self._recent -= half.recent_bytes
            half.held, half.recent = [], []
            half.held_bytes = half.recent_bytes = 0
            half.acked = -1
        flow.waiting = flow.ended or flow.syn is not None

    def _compare_delivered(self, half: Half, data: bytes, back: int, at: float) -> None:
        """Compare bytes sent again, which began `back` bytes before `next`, with what was delivered there."""
        if half.gap or not half.recent:
            return
        known = b"".join(half.recent)
        if back > len(known):
            data, back = data[back - len(known):], len(known)
        begin = len(known) - back
        self._compare(half, data, known[begin:begin + len(data)], at)

    def _compare(self, half: Half, new: bytes, old: bytes, at: float) -> None:
        size = min(len(new), len(old))
        if new[:size] != old[:size]:
            self._odd(half, "tcp.overlap_conflict", f"{size} bytes were sent twice with different content", at)

    def _odd(self, half: Half, name: str, detail: str, at: float) -> None:
        flow = half.flow
        flow.odd += 1
        if flow.odd <= _CONFLICTS and flow.feeding:
            flow.sink.oddity(name, detail, half.way, at)

    # -- UDP

    def _datagram(self, at: float, key: bytes, data: bytes, start: int, stop: int, missing: int) -> None:
        half = self._udp.get(key)
        if half is not None and at - half.flow.last > _LINGER and at - half.flow.last > self._idle(half.flow):
            self._leave(half, self._udp)
            half = None
        if half is None:
            client, server, upward = self._roles(key, 0)
            half = self._enter(Track("udp", client, server, at, True), key, upward, self._udp)
        flow = half.flow
        flow.packets += 1
        if at > flow.last:
            flow.last = at
        flow.bytes += stop - start + missing
        if flow.feeding and stop > start:
            flow.sink.chunk(Chunk(half.way, flow.last, data[start:stop]))
            if missing and flow.feeding:
                flow.sink.chunk(Chunk(half.way, flow.last, b"", missing))

    # -- leaving

    def _leave(self, half: Half, table: dict[bytes, Half]) -> None:
        """Take a flow out of its table and tell its sink."""
        flow = half.flow
        table.pop(half.key, None)
        table.pop(half.other.key, None)
        if not flow.ended:
            self._end(flow, flow.last)
        self._drop(flow)
        flow.sink.gone(flow.last)

    def _sweep(self, at: float) -> None:
        """Let flows go that have ended or are silent for long. Its cost is spread over the flows that came since."""
        self._swept = at
        self._entered = 0
        for table in (self._tcp, self._udp):
            for half in [h for h in table.values() if at - h.flow.last > self._patience(h.flow)]:
                if table.get(half.key) is half:
                    self._leave(half, table)

    def _evict(self) -> None:
        """The table is full: the eighth of the flows that is silent for longest leaves."""
        halves = [*self._tcp.values(), *self._udp.values()]
        halves.sort(key=lambda half: half.flow.last)
        for half in halves[: max(2, len(halves) // 8)]:
            table = self._tcp if half.flow.transport == "tcp" else self._udp
            if table.get(half.key) is half:
                self.evicted += 1
                self._leave(half, table)


def _nothing(at: float) -> None:
    """Nobody waits for a time."""


def _distance(seq: int, base: int) -> int:
    """How far `seq` lies behind `base` in the stream; negative: before it."""
    return ((seq - base + _HALF) & _M) - _HALF
