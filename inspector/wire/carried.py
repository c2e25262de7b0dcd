"""A decoder made of a carrier and of the decoder of what it carries.

Theory of operation
-------------------
The carrier cuts its stream into units, some of which hold bytes of the inner stream; the inner decoder cuts those into
frames. Where both have a boundary a block ends: as many units as it took, as many inner frames as came of them. The
frames of a block are the inner frames; the last of them has the block's outer bytes as its raw, those before have none,
so that every byte stands in a frame and each event is judged in its order. What the inner decoder sends for them is
collected: when it is what came, the block leaves as it came; else the carrier writes it anew. What goes to the other
side is wrapped and leaves at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from inspector.model import (
    BROKEN,
    UP,
    Act,
    Chunk,
    Cut,
    Decoder,
    Expect,
    Flow,
    Frame,
    Limits,
    Memory,
    Notice,
    Oddity,
    PeerError,
    Recode,
    Send,
    Spec,
    StartTls,
    Verdict,
    Way,
)
from inspector.model.carriers import Carrier, Unit

CarrierFactory = Callable[[Flow, Limits, frozenset[str]], Carrier]
DecoderFactory = Callable[[Flow, Limits, Memory, frozenset[str]], Decoder]
Builder = Callable[[Flow, Limits, Memory, frozenset[str], DecoderFactory], Decoder]


class _Inner(msgspec.Struct, frozen=True):
    """The `note` of a frame that holds an inner one."""

    frame: Frame
    last: bool
    """The block ends with it."""
    edited: bytes | None
    """What the carrier's own edit makes of the block."""


class _Plain(msgspec.Struct, frozen=True):
    """The `note` of a unit that holds nothing of the inner stream."""

    edited: bytes


class CarriedDecoder:
    """See the module's docstring. `too_long`: the name of the fault of a block that is longer than a frame may be."""

    def __init__(self, carrier: Carrier, inner: Decoder, limits: Limits, name: str) -> None:
        self._carrier = carrier
        self._inner = inner
        self._limits = limits
        self._name = name
        self._held = (bytearray(), bytearray())
        """Outer bytes of a block that has not ended."""
        self._odd: tuple[list[Oddity], list[Oddity]] = ([], [])
        """Its oddities, one of each name."""
        self._edit: list[str | None] = [None, None]
        self._more = [False, False]
        """The last unit goes on in the next one."""
        self._frames: tuple[list[Frame], list[Frame]] = ([], [])
        """Inner frames of it."""
        self._out: tuple[list[bytes], list[bytes]] = ([], [])
        """What the inner decoder has sent for the frames of a block so far."""
        self._came: tuple[list[bytes], list[bytes]] = ([], [])
        """The raws of those frames."""
        self._broken = [False, False]

    @property
    def undecryptable(self) -> str | None:
        """Why this connection cannot be judged, for the engine."""
        return self._carrier.undecryptable or getattr(self._inner, "undecryptable", None)

    def feed(self, chunk: Chunk) -> list[Frame]:
        """The frames of the blocks that this chunk completes."""
        way = chunk.way
        frames: list[Frame] = []
        if chunk.gap:
            # What was lost may have held half a unit of either: the inner one decides whether it can go on.
            self._take(way, Unit(way, chunk.at, b""), Chunk(way, chunk.at, b"", chunk.gap), frames)
            lost = b"" if self._broken[way] else self._block(way)[0] + self._carrier.rest(way)
            if self._frames[way]:
                self._ended(way, lost, None, (), frames)
            elif lost:
                frames.append(Frame(way, chunk.at, lost, f"{self._name}.rest"))
        units = self._carrier.feed(chunk)
        for index, unit in enumerate(units):
            if self._broken[way]:
                # A fault is the last frame: it has all the rest.
                more = b"".join(each.raw for each in units[index:]) + self._carrier.rest(way)
                if frames and frames[-1].fault is not None:
                    frames[-1] = msgspec.structs.replace(frames[-1], raw=frames[-1].raw + more)
                elif more:
                    frames.append(Frame(way, unit.at, more, f"{self._name}.rest"))
                return frames
            if unit.fault is not None:
                self._break(way, unit.at, unit.raw, unit.fault, frames)
            elif unit.inner or unit.more or self._held[way]:
                self._take(way, unit, Chunk(way, unit.at, unit.inner), frames)
            else:
                note = _Plain(unit.edited if unit.edit is not None else unit.raw)
                frames.append(Frame(way, unit.at, unit.raw, f"{self._name}.unit", (), unit.oddities, edit=unit.edit,
                                    note=note))
        if self._broken[way]:
            held = self._carrier.rest(way)
            if held and frames and frames[-1].fault is not None:
                frames[-1] = msgspec.structs.replace(frames[-1], raw=frames[-1].raw + held)
            elif held:
                frames.append(Frame(way, chunk.at, held, f"{self._name}.rest"))
        elif chunk.end:
            end = Unit(way, chunk.at, b"", more=self._more[way])
            self._take(way, end, Chunk(way, chunk.at, b"", 0, True), frames)
            if self._frames[way] and not self._broken[way]:
                self._ended(way, b"", None, (), frames)  # the rest was never whole: it stays
        return frames

    def _take(self, way: Way, unit: Unit, inner: Chunk, frames: list[Frame]) -> None:
        """One more unit of a block."""
        held, odd = self._held[way], self._odd[way]
        held += unit.raw
        self._more[way] = unit.more
        for oddity in unit.oddities:
            if all(oddity.name != other.name for other in odd):
                odd.append(oddity)
        if unit.edit is not None:
            self._edit[way] = unit.edit
        read = self._inner.feed(inner) if inner.data or inner.gap or inner.end else []
        collected = self._frames[way]
        for frame in read:
            if frame.fault is not None:
                # What stands before it in the same block leaves with it or not at all: it is not judged by itself.
                collected[:] = [frame]
                self._ended(way, self._block(way)[0], None, (), frames)
                self._broken[way] = True
                return
            collected.append(frame)
        if unit.more or self._inner.pending(way):
            if unit.whole:
                self._break(way, unit.at, b"", PeerError(f"{self._name}.half_unit"), frames)
            elif len(held) > self._limits.frame_bytes:
                self._break(way, unit.at, b"", PeerError(f"{self._name}.too_long"), frames)
            return
        raw, edit, oddities = self._block(way)
        if collected:
            self._ended(way, raw, edit, oddities, frames)
        elif raw:
            frames.append(Frame(way, unit.at, raw, f"{self._name}.unit", (), oddities, note=_Plain(raw)))

    def _block(self, way: Way) -> tuple[bytes, str | None, tuple[Oddity, ...]]:
        """The bytes, edit and oddities of the block that ends here; nothing of it is held any more."""
        held, odd, edit = self._held[way], self._odd[way], self._edit[way]
        whole = bytes(held), edit, tuple(odd)
        held.clear()
        odd.clear()
        self._edit[way] = None
        return whole

    def _ended(
        self, way: Way, raw: bytes, edit: str | None, oddities: tuple[Oddity, ...], frames: list[Frame],
    ) -> None:
        """A block ends: its inner frames, the last with the outer bytes."""
        collected = self._frames[way]
        last = len(collected) - 1
        for index, frame in enumerate(collected):
            frames.append(msgspec.structs.replace(
                frame, raw=raw if index == last else b"", note=_Inner(frame, index == last, None),
                edit=frame.edit or (edit if index == last else None),
                oddities=(*frame.oddities, *oddities) if index == last else frame.oddities,
            ))
        collected.clear()

    def _break(self, way: Way, at: float, raw: bytes, fault: PeerError, frames: list[Frame]) -> None:
        """The outer protocol is broken: nothing more is read that way. `raw`: behind what is held of the block."""
        held = self._block(way)[0]
        self._frames[way].clear()
        self._broken[way] = True
        frames.append(Frame(way, at, held + raw, BROKEN, fault=fault))

    def pending(self, way: Way) -> int:
        return self._carrier.pending(way) + len(self._held[way])

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        note, way = frame.note, frame.way
        if isinstance(note, _Plain):
            return [Send(way, note.edited)] if note.edited else []
        if not isinstance(note, _Inner):
            return [Send(way, frame.raw)] if frame.raw else []
        inner = note.frame
        acts: list[Act] = []
        for act in self._inner.apply(inner, verdicts):
            if isinstance(act, Send) and act.way is way:
                self._out[way].append(act.data)
            elif isinstance(act, StartTls | Recode):
                acts.append(Cut("TLS or compression inside a carrier"))
            else:
                acts += self._wrapped([act])
        self._came[way].append(inner.raw)
        if note.last:
            sent, came = b"".join(self._out[way]), b"".join(self._came[way])
            self._out[way].clear()
            self._came[way].clear()
            if sent == came:
                if frame.raw:
                    acts.insert(0, Send(way, frame.raw))
            elif sent:
                acts.insert(0, Send(way, self._carrier.wrap(way, sent)))
        return acts

    def _wrapped(self, acts: Sequence[Act]) -> list[Act]:
        out: list[Act] = []
        for act in acts:
            if isinstance(act, Send):
                data = self._carrier.wrap(act.way, act.data)
                if data:
                    out.append(Send(act.way, data))
            elif isinstance(act, Expect | Cut):
                out.append(act)
        return out

    def ready(self, way: Way) -> bool:
        """At a boundary of both, and nothing of a block half written."""
        return (
            self._carrier.ready(way) and not self._held[way] and not self._came[way] and not self._broken[way]
            and self._inner.ready(way)
        )

    @property
    def parted(self) -> bool:
        """Whether the carrier, or the stream in it, has said goodbye (model.Decoder.release)."""
        return bool(getattr(self._carrier, "parted", False) or getattr(self._inner, "parted", False))

    def inject(self, message: Notice, way: Way) -> list[Act]:
        return self._wrapped(self._inner.inject(message, way))

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """What the inner decoder keeps: it can be released in a session without this carrier, too."""
        inner = [frame.note.frame for frame in frames if isinstance(frame.note, _Inner)]
        return self._inner.keep(inner, index) if len(inner) == len(frames) else None

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        acts = self._inner.release(kept, way)
        return None if acts is None else self._wrapped(acts)

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        acts = self._wrapped(self._inner.close(reason, fault)) if self._carrier.ready(UP) else []
        return [*acts, *(Send(way, data) for way, data in self._carrier.finish())]


class Carried:
    """What a carrier's module writes as its Spec's decoder; the registry puts the inner decoder in (`within`)."""

    def __init__(self, name: str, carrier: CarrierFactory, inner: DecoderFactory | None = None) -> None:
        self.name = name
        self.carrier = carrier
        self.inner = inner

    def within(self, inner: DecoderFactory) -> Carried:
        return Carried(self.name, self.carrier, inner)

    def __call__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> Decoder:
        assert self.inner is not None, f"{self.name} is used before the registry knows what it carries"
        return CarriedDecoder(
            self.carrier(flow, limits, edits), self.inner(flow, limits, memory, edits), limits, self.name)


class CarriedApart:
    """The same, of a carrier whose inner streams outlive its connections: it makes their decoders itself. `build` is
    given their factory beside what every decoder is given."""

    def __init__(self, build: Builder, inner: DecoderFactory | None = None) -> None:
        self.build = build
        self.inner = inner

    def within(self, inner: DecoderFactory) -> CarriedApart:
        return CarriedApart(self.build, inner)

    def __call__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> Decoder:
        assert self.inner is not None, "a carrier is used before the registry knows what it carries"
        return self.build(flow, limits, memory, edits, self.inner)


def filled(spec: Spec, inner: Spec) -> Spec:
    """The Spec of a carrier with what it carries: its decoder, and what can be done with its events."""
    assert isinstance(spec.decoder, Carried | CarriedApart)
    return msgspec.structs.replace(
        spec, decoder=spec.decoder.within(inner.decoder), can=inner.can, signs_on=inner.signs_on,
        applications=inner.applications, names_messages=inner.names_messages)


__all__ = ["Carried", "CarriedApart", "CarriedDecoder", "CarrierFactory", "filled"]
