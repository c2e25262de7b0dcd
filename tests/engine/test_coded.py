"""Sessions whose sides change their coding: the switch is exact, both ways, whatever waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from inspector.classify.probes import classifier
from inspector.engine.coded import Coded
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Act,
    Chunk,
    Closed,
    Cut,
    Effect,
    Finish,
    Flow,
    Frame,
    Kept,
    Limits,
    Memory,
    Note,
    PeerError,
    Recode,
    Rules,
    Scanned,
    Send,
    Spec,
    StartTls,
    Verdict,
    WakeAt,
    Way,
    Woke,
)
from tests.engine import toy
from tests.playbook import START, Play, Scanning, down, sent_down, sent_up, up


class Rot:
    """A coding that shows in which order it was asked: letters wander by a number that grows with each word of ours."""

    size = 1000
    """Bytes of a piece."""

    def __init__(self) -> None:
        self.count = [0, 0]

    def read(self, way: Way, data: bytes) -> Iterator[bytes | PeerError]:
        good, fault, _ = data.partition(b"\xff")
        for at in range(0, len(good), self.size):
            yield bytes(byte ^ 0x80 for byte in good[at:at + self.size])
        if fault:
            yield PeerError("toy.coding")

    def write(self, way: Way, data: bytes) -> bytes:
        self.count[way] += 1
        return b"[%d:" % self.count[way] + data + b"]"


def coded(data: bytes) -> bytes:
    return bytes(byte ^ 0x80 for byte in data)


def test_only_what_stands_behind_the_switch_is_written_in_the_coding() -> None:
    """Each way has its own place of the switch; neighbours that go the same way are one; all else stays in place."""
    made = Coded(Rot())
    note = Note(0, {"event": "x"})
    made.begin(DOWN, 2)
    effects: list[Effect] = [
        Send(UP, b"a"), Send(DOWN, b"b"), Send(DOWN, b"c"), Send(DOWN, b"d"), note, Send(DOWN, b"e"), Send(UP, b"f")]
    assert made.written(effects) == [
        Send(UP, b"a"), Send(DOWN, b"b"), Send(DOWN, b"[1:cd]"), note, Send(DOWN, b"[2:e]"), Send(UP, b"f")]
    made.begin(UP, 1)
    assert made.written([Send(UP, b"g"), Send(UP, b"h"), Send(DOWN, b"i"), Send(UP, b"k")]) == [
        Send(UP, b"g"), Send(UP, b"[1:h]"), Send(DOWN, b"[3:i]"), Send(UP, b"[2:k]")]
    made.begin(UP, 9)
    assert made.written([Send(UP, b"l")]) == [Send(UP, b"[3:l]")], "what has begun has begun"
    assert made.written([Send(UP, b"")]) == [Send(UP, b"")], "nothing said is nothing written"
    assert made.written([]) == []


def test_behind_a_fault_and_behind_a_gap_nothing_is_read() -> None:
    """A fault is the last thing of its way; the other one goes on."""
    made = Coded(Rot())
    made.add(UP, coded(b"abcd") + b"\xff" + coded(b"efgh"))
    made.add(UP, coded(b"more"))
    assert made.take(UP) == b"abcd"
    assert made.waits(UP)
    assert isinstance(made.take(UP), PeerError)
    made.add(UP, coded(b"more"))
    assert not made.waits(UP)
    assert made.take(UP) is None
    made.add(DOWN, coded(b"more"))
    made.add(DOWN, b"")
    made.add(DOWN, coded(b"word"))
    assert (made.take(DOWN), made.waits(DOWN), made.take(DOWN), made.waits(DOWN)) == (b"more", True, b"word", False)
    made.add(DOWN, coded(b"more"))
    made.lose(DOWN)
    made.add(DOWN, coded(b"more"))
    assert made.take(DOWN) is None


class Switching(toy.ToyDecoder):
    """The toy with a line `CODE` (down): behind it both sides write in Rot."""

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        super().__init__(flow, limits, memory, edits)
        self.coding: Rot | None = None
        self.kept = b""

    def feed(self, chunk: Chunk) -> list[Frame]:
        data = chunk.data
        if self.undecryptable is not None:
            kept, self.kept = self.kept, b""
            return [Frame(chunk.way, chunk.at, kept + data, "toy.raw")] if kept + data else []
        found = (self.held[DOWN] + data).find(b"CODE\n")
        if found >= 0 and chunk.way is DOWN:
            at = found + 5 - len(self.held[DOWN])
            frames = super().feed(Chunk(DOWN, chunk.at, data[:at]))
            self.kept, self.undecryptable, self.coding = data[at:], "a coding", Rot()
            return frames
        return super().feed(chunk)

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        acts = super().apply(frame, verdicts)
        return [*acts, Recode(self.coding)] if frame.raw == b"CODE\n" and self.coding is not None else acts

    def recoded(self) -> tuple[Rot, tuple[bytes, bytes]] | None:
        if self.coding is None:
            return None
        kept, self.kept, self.undecryptable = self.kept, b"", None
        return self.coding, (b"", kept)


SWITCHING = msgspec.structs.replace(toy.TOY, decoder=Switching)


def play(
    *, dry: bool = False, trouble: dict[str, str] | None = None, spec: Spec = SWITCHING, signed: bool = True,
    limits: Limits | None = None,
) -> Play:
    """A session of Switching, signed on."""
    policy = toy.ToyPolicy(trouble=trouble)
    kit = Kit(classifier((spec,)), Rules(1, policy, toy.ToyScanner()), limits or Limits(),
              archive="full" if dry else "none")
    world = World(kit.limits)
    made = Play(Session(toy.FLOW, kit, world, dry=dry), world)
    if signed:
        made >> up(b"HELLO a\n") << ([] if dry else [sent_up(b"HELLO a\n")])
        made >> down(b"ME a\n")
        made._open = False
    return made


def sent(made: Play, way: Way) -> bytes:
    return b"".join(effect.data for effect in made.last if isinstance(effect, Send) and effect.way is way)


def test_the_switch_is_exact() -> None:
    """What stands behind the switch in the same bytes is read in the coding, either way, and written so."""
    made = play()
    made >> down(b"SAY a hi\nCODE\n" + coded(b"SAY a there\n")) << [
        sent_down(b"SAY a hi\n"), sent_down(b"CODE\n"), sent_down(b"[1:SAY a there\n]")]
    made >> up(coded(b"SAY bob x\nSAY bob y\n")) << sent_up(b"[1:SAY bob x\nSAY bob y\n]")
    made >> down(coded(b"SAY a z\n")) << sent_down(b"[2:SAY a z\n]")


def test_the_switch_is_exact_wherever_the_bytes_are_cut() -> None:
    """Cut at each byte: the same words, plain up to the switch and coded behind it."""
    whole = b"SAY a hi\nCODE\n" + coded(b"SAY a there\nSAY a you\n")
    for at in range(1, len(whole)):
        made, got = play(), b""
        for piece in (whole[:at], whole[at:]):
            made._open = False
            made >> down(piece)
            got += sent(made, DOWN)
        head, _, rest = got.partition(b"CODE\n")
        assert head == b"SAY a hi\n"
        words = rest.replace(b"[1:", b"").replace(b"[2:", b"").replace(b"]", b"")
        assert words == b"SAY a there\nSAY a you\n"
        made._open = False


def test_a_switch_that_waits_is_written_where_it_stands() -> None:
    """A message in front of it is being scanned: what the server says behind it is read at once, and waits; the client,
    who knows of no switch yet, gets no byte of it too early; the server is written to in the coding at once."""
    made = play()
    made >> down(b"SAY a long words\nCODE\n" + coded(b"SAY a there\n")) << [Scanning()]
    made >> up(coded(b"SAY bob x\n")) << sent_up(b"[1:SAY bob x\n]")
    made >> Scanned(made.scans[-1].id, START) << [
        sent_down(b"SAY a long words\n"), sent_down(b"CODE\n"), sent_down(b"[1:SAY a there\n]")]


def test_what_waits_aside_is_written_when_it_leaves() -> None:
    """A notice made before the switch, and said behind it, is said in the coding, in the order of the wire."""
    made = play()
    made >> down(b"SAY a long words\n") << [Scanning()]
    scan = made.scans[-1].id
    made >> up(b"SAY bob warn of it\n")
    assert sent(made, UP) == b"SAY bob warn of it\n"
    assert sent(made, DOWN) == b"", "not between the words of others"
    made._open = False
    made >> down(b"CODE\n") << []
    made >> Scanned(scan, START)
    (first, second, third) = [effect for effect in made.last if isinstance(effect, Send)]
    assert (first, second) == (sent_down(b"SAY a long words\n"), sent_down(b"CODE\n"))
    assert third.data.startswith(b"[1:NOTE ")
    made._open = False


def test_a_refused_and_a_masked_message_inside() -> None:
    """Verdicts are carried out in the coding; the barrier holds."""
    made = play()
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    made >> up(coded(b"SAY bob block it\n"))
    assert sent(made, UP) + sent(made, DOWN) == b""
    made._open = False
    made >> Kept(made.durable, START)
    assert sent(made, UP) == b""
    assert sent(made, DOWN).startswith(b"[1:NOTE Your message was not delivered")
    made._open = False
    made >> up(coded(b"SAY bob mask the secret\n"))
    made._open = False
    made >> Kept(made.durable, START)
    assert sent(made, UP) == b"[1:SAY bob mask the ******\n]"
    made._open = False


def test_bytes_that_the_coding_cannot_read_end_the_session() -> None:
    """One fault, one row; what stood in front of it has left, the last words are in the coding; the policy's word does
    not count, as nothing could be passed on."""
    made = play(trouble={"malformed": "pass"})
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    made >> up(coded(b"SAY bob x\nSAY") + b"\xff" + coded(b"SAY bob y\n"))
    assert sent(made, UP) == b"[1:SAY bob x\n][2:BYE\n]"
    assert sent(made, DOWN) == b"[1:BYE malformed\n]"
    assert [note.row["detail"] for note in made.notes if note.row["event"] == "trouble"] == ["toy.coding"]
    assert isinstance(made.last[-1], Cut)
    assert made.session.over
    made._open = False


def test_nothing_is_read_behind_a_cut() -> None:
    """What stands behind a fault of the words inside is not even looked at."""
    made = play()
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    made >> up(coded(b"BAD\n") + b"\xff")
    made._open = False
    assert [note.row["detail"] for note in made.notes if note.row["event"] == "trouble"] == ["toy.bad"]


def test_a_capture_is_read_the_same_way() -> None:
    """Offline the words inside are told, and nothing is sent."""
    made = play(dry=True)
    for piece in (down(b"CODE\n" + coded(b"SAY a there\n")), up(coded(b"SAY bob block it\n"))):
        made._open = False
        made >> piece
        assert not [effect for effect in made.last if isinstance(effect, Send)]
    assert [note.row["text"] for note in made.notes if note.row["event"] == "message"] == ["there", "block it"]
    made._open = False


def test_offline_a_gap_ends_the_reading_of_its_way() -> None:
    """What was lost is told, and that the rest cannot be read; the other way is read on."""
    made = play(dry=True)
    for piece in (
        down(b"CODE\n"), up(coded(b"SAY bob one\nSAY bo")), up(coded(b"SAY bob two\n"), gap=5),
        up(coded(b"SAY bob three\n")), down(coded(b"SAY a four\n")),
    ):
        made._open = False
        made >> piece
    assert [note.row["text"] for note in made.notes if note.row["event"] == "message"] == ["one", "four"]
    troubles = [note.row["name"] for note in made.notes if note.row["event"] == "trouble"]
    assert troubles == ["gap", "undecryptable"]
    made._open = False


def test_recognised_too_late_to_write_it_anew() -> None:
    """Bytes in the coding had left before the protocol was known: nothing can be put in their place, and it is said."""
    made = play(trouble={"undecryptable": "pass", "unclassified": "pass"}, signed=False)
    made >> up(b"x\n") << sent_up(b"x\n")
    early = b"CODE\n" + coded(b"SAY a there\n")
    made >> down(early) << sent_down(early)
    made >> up(b"HELLO a\n")
    assert sent(made, UP) == b"HELLO a\n"
    made._open = False
    more = coded(b"SAY a you\n")
    made >> down(more) << sent_down(more)
    assert [note.row["name"] for note in made.notes if note.row["event"] == "trouble"] == ["undecryptable"]


def test_recognised_late_but_in_time() -> None:
    """The switch itself had left, nothing behind it: all is read, and written."""
    made = play(signed=False)
    made >> up(b"x\n") << sent_up(b"x\n")
    made >> down(b"ME a\nCODE\n") << sent_down(b"ME a\nCODE\n")
    made >> up(b"HELLO a\n")
    made._open = False
    made >> down(coded(b"SAY a you\n")) << sent_down(b"[1:SAY a you\n]")


def test_a_coding_that_nobody_can_take_is_told() -> None:
    """A decoder that only says why it cannot read is undecryptable, as ever."""

    class Blind(Switching):
        def recoded(self) -> None:
            return None

    made = play(spec=msgspec.structs.replace(toy.TOY, decoder=Blind))
    made >> down(b"CODE\n" + coded(b"SAY a there\n"))
    assert [note.row["name"] for note in made.notes if note.row["event"] == "trouble"] == ["undecryptable"]
    assert made.session.over
    made._open = False


def test_much_is_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece a turn: the way is not read meanwhile, the other one goes on, what comes and closes stays behind."""
    monkeypatch.setattr(Rot, "size", 4)
    made = play()
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    assert made.session.queued(UP) == 0
    made >> up(coded(b"a\nb\nc\nd\ne\n")) << [sent_up(b"[1:a\nb\n]"), WakeAt(START)]
    assert made.session.queued(UP) > made.session.limits.way_bytes
    made >> down(coded(b"x\n")) << sent_down(b"[1:x\n]")
    made >> Closed(UP, START) << []
    made >> Woke(START) << [sent_up(b"[2:c\nd\n]"), WakeAt(START)]
    made >> Woke(START) << [sent_up(b"[3:e\n]"), Finish(UP)]
    assert made.session.queued(UP) == 0
    made >> Closed(DOWN, START)
    made._open = False
    assert made.session.over


def test_a_full_queue_is_not_filled_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one read no more is made into messages that wait than of others: the rest waits as it came."""
    monkeypatch.setattr(Rot, "size", 600)
    made = play(limits=Limits(way_bytes=1000))
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    line = b"SAY bob long " + b"x" * 586 + b"\n"
    made >> up(coded(line * 5))
    turns = 0
    while (effect := made.last[-1]) == WakeAt(START):
        made._open = False
        made >> Woke(START)
        turns += 1
    assert isinstance(effect, WakeAt)
    assert effect.at > START
    assert (turns, len(made.scans)) == (2, 2)
    for scan in range(5):
        made._open = False
        made >> Scanned(made.scans[scan].id, START + 1)
        assert sent(made, UP).endswith(line + b"]")
        for _ in range(2):
            made._open = False
            made >> Woke(START + 1)
    made._open = False
    assert made.session.queued(UP) == 0


def test_a_cut_ends_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the rest is read when the session has ended."""
    monkeypatch.setattr(Rot, "size", 4)
    made = play()
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    made >> up(coded(b"BAD\nSAY bob x\n"))
    assert made.session.over
    made._open = False
    made >> Woke(START) << []


def test_no_tls_and_no_second_coding_inside_a_coding() -> None:
    """TLS would begin below it, another coding beside it: both end the session."""
    for line in (b"TLS\n", b"CODE\n"):
        made = play()
        made >> down(b"CODE\n") << sent_down(b"CODE\n")
        made >> down(coded(line))
        assert made.session.over, line
        assert not [effect for effect in made.last if isinstance(effect, StartTls)]
        made._open = False


def test_it_ends_as_any_session_does() -> None:
    """Closed both ways: the ends are passed on, half a line inside with them."""
    made = play()
    made >> down(b"CODE\n") << sent_down(b"CODE\n")
    made >> down(coded(b"SAY a th")) << []
    made >> Closed(DOWN, START) << [sent_down(b"[1:SAY a th]"), Finish(DOWN)]
    made >> Closed(UP, START)
    made._open = False
    assert made.session.over
