"""A decoder made of a carrier and what it carries: blocks, order, what is written anew."""

from __future__ import annotations

from inspector.engine.world import SharedMemory
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Chunk,
    Decoder,
    DecoderFactory,
    Flow,
    Frame,
    Limits,
    Memory,
    Message,
    Notice,
    PeerError,
    Send,
    Spec,
    Verdict,
    Way,
)
from inspector.model.carriers import Unit
from inspector.wire.carried import Carried, CarriedApart, CarriedDecoder, filled
from tests.engine.toy import FLOW, TOY, ToyDecoder


class Boxes:
    """Each byte n is followed by n bytes of the inner stream; 255 is a fault, 0 holds nothing."""

    undecryptable: str | None = None

    def __init__(self) -> None:
        self.held = [b"", b""]
        self.whole = False
        """Each box is said to hold whole inner units."""

    def feed(self, chunk: Chunk) -> list[Unit]:
        data = self.held[chunk.way] + chunk.data
        units = []
        while data:
            size = data[0]
            if size == 255:
                units.append(Unit(chunk.way, chunk.at, data, fault=PeerError("boxes.bad")))
                data = b""
                break
            if len(data) <= size:
                break
            units.append(Unit(chunk.way, chunk.at, data[:size + 1], data[1:size + 1], whole=self.whole))
            data = data[size + 1:]
        self.held[chunk.way] = data
        return units

    def pending(self, way: Way) -> int:
        return len(self.held[way])

    def rest(self, way: Way) -> bytes:
        data, self.held[way] = self.held[way], b""
        return data

    def wrap(self, way: Way, data: bytes) -> bytes:
        return b"".join(box(data[at:at + 9]) for at in range(0, len(data), 9))

    def ready(self, way: Way) -> bool:
        return not self.held[way]

    def finish(self) -> list[tuple[Way, bytes]]:
        return [(DOWN, b"\0")]


def box(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def made(limits: Limits | None = None) -> CarriedDecoder:
    limits = limits or Limits()
    return CarriedDecoder(Boxes(), ToyDecoder(FLOW, limits, SharedMemory(4), frozenset()), limits, "boxes")


def feed(dec: CarriedDecoder, data: bytes, way: Way = UP) -> list[Frame]:
    return dec.feed(Chunk(way, 1.0, data))


def apply(dec: CarriedDecoder, frame: Frame, *verdicts: Verdict) -> list[Act]:
    return dec.apply(frame, verdicts or [PASSED] * len(frame.events))


def test_several_inner_frames_of_one_unit_are_judged_in_turn_and_leave_together() -> None:
    """The last has the bytes; untouched they leave as they came, boxes of another cut though ours would be."""
    dec = made()
    data = box(b"SAY bob one\nSAY bob two\n")
    one, two = feed(dec, data)
    assert (one.raw, two.raw) == (b"", data)
    assert [event.texts[0].plain for frame in (one, two) for event in frame.events] == ["one", "two"]
    assert apply(dec, one) == []
    assert not dec.ready(UP)
    assert apply(dec, two) == [Send(UP, data)]


def test_what_is_changed_is_written_anew_by_the_carrier() -> None:
    """Of two, one refused: the other goes on in boxes of the carrier's making; a notice leaves at once, boxed."""
    dec = made()
    one, two = feed(dec, box(b"SAY bob one\nSAY bob two\n"))
    assert apply(dec, one, Verdict(Action.BLOCK, notice="no")) == [Send(DOWN, box(b"NOTE no\n"))]
    assert apply(dec, two) == [Send(UP, box(b"SAY bob t") + box(b"wo\n"))]


def test_nothing_leaves_of_an_inner_frame_that_is_not_whole() -> None:
    """Several units for one frame: they are pending, and leave together."""
    dec = made()
    first, second = box(b"SAY b"), box(b"ob one\n")
    assert feed(dec, first) == []
    assert dec.pending(UP) == len(first)
    one, = feed(dec, second)
    assert one.raw == first + second
    assert dec.pending(UP) == 0
    assert apply(dec, one) == [Send(UP, first + second)]


def test_a_refused_frame_takes_all_its_units_along() -> None:
    """Nothing is sent."""
    dec = made()
    feed(dec, box(b"SAY b"))
    one, = feed(dec, box(b"ob one\n"))
    assert apply(dec, one, Verdict(Action.BLOCK)) == []


def test_units_without_an_inner_byte_leave_as_they_are() -> None:
    """A ping."""
    dec = made()
    one, = feed(dec, b"\0")
    assert (one.events, apply(dec, one)) == ((), [Send(UP, b"\0")])


def test_a_fault_of_either_has_all_the_rest() -> None:
    """One BROKEN frame, the last; conservation holds."""
    dec = made()
    data = box(b"SAY b") + b"\xff and more"
    broken, = feed(dec, data)
    assert (broken.kind, broken.raw) == (BROKEN, data)
    dec = made()
    data = box(b"BAD\n") + box(b"SAY bob x\n") + b"\x09half"
    broken, = feed(dec, data)
    assert (broken.kind, broken.raw, dec.pending(UP)) == (BROKEN, data, 0)
    rest, = feed(dec, b"\x01x")
    assert (rest.events, rest.raw) == ((), b"\x01x")


def test_wrapping_without_end_is_a_fault() -> None:
    """A frame's raw has a bound, however small the boxes are."""
    dec = made(Limits(frame_bytes=64))
    found: list[Frame] = []
    for _ in range(40):
        found += feed(dec, box(b"x"))
    assert [frame.fault.name for frame in found if frame.fault] == ["boxes.too_long"]


def test_half_a_unit_does_not_leave_when_its_way_ends() -> None:
    """Nobody has judged it, and who writes it may end his side on purpose: it stays."""
    dec = made()
    assert [*feed(dec, b"\x05ha"), *dec.feed(Chunk(UP, 1.0, b"", 0, True))] == []
    assert dec.pending(UP) == 3
    dec = made()
    one, = [*feed(dec, box(b"SAY b") + b"\x05ha"), *dec.feed(Chunk(UP, 1.0, b"", 0, True))]
    assert (one.raw, len(one.events), dec.pending(UP)) == (box(b"SAY b"), 1, 3)


def test_what_the_inner_stream_says_at_its_end_is_heard() -> None:
    """A frame without outer bytes; nothing is sent for it."""
    dec = made()
    units = box(b"SAY bob one\n")
    one, = feed(dec, units)
    assert apply(dec, one) == [Send(UP, units)]
    dec.feed(Chunk(UP, 1.0, b"", 0, True))
    assert dec.pending(UP) == 0


def test_what_was_held_in_front_of_a_gap_is_given_back() -> None:
    """Half a unit is not joined to what came behind the lost bytes; who reads on anew is handed all of it."""
    for data in (b"\x09SAY", box(b"SAY b"), box(b"SAY b") + b"\x05ha"):
        dec = made()
        assert feed(dec, data) == []
        assert b"".join(each.raw for each in dec.feed(Chunk(UP, 1.0, b"", 1))) == data
        assert dec.pending(UP) == 0


def test_words_of_ours_and_the_end_are_wrapped() -> None:
    """Notices, releases, and the carrier's own last words behind the inner ones."""
    dec = made()
    one, = feed(dec, box(b"ME ann\n"), DOWN)
    apply(dec, one)
    assert dec.ready(DOWN)
    assert dec.inject(Notice("hi"), DOWN) == [Send(DOWN, box(b"NOTE hi\n"))]
    kept = dec.keep([feed(dec, box(b"SAY bob x\n"))[0]], 0)
    assert kept == b"SAY bob x\n"
    assert dec.release(kept, UP) == [Send(UP, box(b"LATE SAY ") + box(b"bob x\n")), Send(DOWN, box(b"OK\n"))]
    assert dec.close("bye")[-1] == Send(DOWN, b"\0")


def test_a_spec_is_filled_with_what_it_carries() -> None:
    """What can be done with its events is what the inner protocol can."""
    outer = Spec("boxes", "Boxes", TOY.probe, Carried("boxes", lambda *_: Boxes()), carries="toy")
    spec = filled(outer, TOY)
    assert spec.can == TOY.can
    dec = spec.decoder(FLOW, Limits(), SharedMemory(4), frozenset())
    assert [type(event) for frame in dec.feed(Chunk(UP, 1.0, box(b"SAY bob x\n"))) for event in frame.events] == [
        Message]


def test_a_carrier_whose_inner_streams_outlive_it_is_given_their_factory() -> None:
    """It makes their decoders itself; the rest of its Spec is filled as any carrier's."""
    made_with: list[object] = []

    def build(flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str], inner: DecoderFactory) -> Decoder:
        made_with.append(inner)
        return inner(flow, limits, memory, edits)

    spec = filled(Spec("apart", "Apart", TOY.probe, CarriedApart(build), carries="toy"), TOY)
    dec = spec.decoder(FLOW, Limits(), SharedMemory(4), frozenset())
    assert (made_with, spec.can) == ([TOY.decoder], TOY.can)
    assert [type(event) for frame in dec.feed(Chunk(UP, 1.0, b"SAY bob x\n")) for event in frame.events] == [Message]


def test_half_an_inner_unit_at_the_end_of_a_whole_one_is_a_fault() -> None:
    """Who reads every unit by itself would not join it to the next one: what we read there he would not, and the other
    way round. Nothing of the block leaves."""
    boxes = Boxes()
    boxes.whole = True
    limits = Limits()
    dec = CarriedDecoder(boxes, ToyDecoder(FLOW, limits, SharedMemory(4), frozenset()), limits, "boxes")
    good, broken = feed(dec, box(b"SAY bob a\n") + box(b"SAY bob b\nSAY b") + box(b"ob c\n"))
    assert good.raw == box(b"SAY bob a\n")
    assert broken.fault is not None
    assert broken.fault.name == "boxes.half_unit"
    assert broken.raw == box(b"SAY bob b\nSAY b") + box(b"ob c\n")


def test_what_stands_before_a_fault_in_its_block_is_not_judged_by_itself() -> None:
    """The block's bytes are those of the fault: where the policy lets it pass, it all passes, and no row may say that
    a part of it was refused."""
    dec = made()
    data = box(b"SAY bob x\nBAD\n")
    broken, = feed(dec, data)
    assert (broken.fault is not None, broken.events, broken.raw) == (True, (), data)


def test_a_block_of_very_many_units_costs_what_its_bytes_cost() -> None:
    """Held as bytes, not as units that are counted again for each one that comes (that would take minutes here)."""
    dec = made(Limits(frame_bytes=1 << 20))
    feed(dec, box(b"SAY bob "))
    assert feed(dec, box(b"x") * 100_000) == []
    one, = feed(dec, box(b"\n"))
    assert len(one.raw) == 9 + 200_000 + 2
