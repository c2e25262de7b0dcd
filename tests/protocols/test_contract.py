"""The contract of a protocol (design section 4), over every registry entry and every conversation it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import (
    BROKEN,
    DOWN,
    FILE_CONTENT,
    PASSED,
    UP,
    Action,
    Chunk,
    Cut,
    Decoder,
    Event,
    FileEnd,
    FileStart,
    Frame,
    Match,
    Message,
    Notice,
    Send,
    Spec,
    Verdict,
    Way,
    Went,
)
from inspector.protocols.registry import SPECS
from tests.protocols import contract

CASES = [
    pytest.param(spec, contract.Talk(said, name), id=f"{spec.name}-{name}")
    for spec in SPECS
    for name, said in contract.conversations(spec).items()
]
ALL_EDITS = {spec.name: frozenset(edit.name for edit in spec.edits) for spec in SPECS}


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_conservation_every_byte_is_in_a_frame_or_pending(spec: Spec, said: contract.Said) -> None:
    """The frames' raw, joined, plus what is pending is what was fed."""
    dec = contract.decoder(spec, said=said)
    fed = {UP: b"", DOWN: b""}
    frames: list[Frame] = []
    for way, data in said:
        fed[way] += data
        frames += dec.feed(Chunk(way, contract.AT, data))
        out = contract.raw(frames, way)
        assert fed[way].startswith(out)
        assert len(out) + dec.pending(way) == len(fed[way])


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_a_conversation_is_read_without_fault(spec: Spec, said: contract.Said) -> None:
    """The fixtures are what real peers say: no fault, and at least one event."""
    frames = contract.read(contract.decoder(spec, said=said), said)
    assert [f.fault for f in frames if f.fault] == []


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_transparency_all_pass_and_edits_off_is_the_identity(spec: Spec, said: contract.Said) -> None:
    """Bytes out are bytes in, both ways."""
    dec = contract.decoder(spec, said=said)
    frames = contract.read(dec, said)
    dec = contract.decoder(spec, said=said)
    out: contract.Said = []
    for way, data in said:
        out += contract.written(dec, dec.feed(Chunk(way, contract.AT, data)))
    for way in (UP, DOWN):
        assert contract.joined(out, way) == contract.raw(frames, way)


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_edits_change_only_the_units_they_name(spec: Spec, said: contract.Said) -> None:
    """With edits on, a frame without `edit` leaves as it came."""
    dec = contract.decoder(spec, ALL_EDITS[spec.name], said=said)
    for way, data in said:
        for frame in dec.feed(Chunk(way, contract.AT, data)):
            sent = contract.written(dec, [frame])
            if frame.edit is None:
                assert sent == [(frame.way, frame.raw)] or (sent == [] and not frame.raw)
            else:
                assert frame.edit in ALL_EDITS[spec.name]


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_byte_by_byte_gives_the_same_events(spec: Spec, said: contract.Said) -> None:
    """However the stream is cut, the frames with events are the same, byte for byte."""
    whole = contract.eventful(contract.read(contract.decoder(spec, said=said), said))
    single = contract.eventful(contract.read(contract.decoder(spec, said=said), contract.cut(said, lambda: 1)))
    assert single == whole


@pytest.mark.parametrize(("spec", "said"), CASES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_cut_invariance_under_random_cuts(spec: Spec, said: contract.Said, seed: int) -> None:
    """Random cuts, too."""
    whole = contract.eventful(contract.read(contract.decoder(spec, said=said), said))
    random = Random(seed)
    pieces = contract.cut(said, lambda: random.choice((1, 2, 3, 7, 20, 100, 1460)))
    assert contract.eventful(contract.read(contract.decoder(spec, said=said), pieces)) == whole


def _check_hostile(spec: Spec, said: contract.Said, from_start: bool) -> None:
    dec = contract.decoder(spec, ALL_EDITS[spec.name], from_start, said)
    broken: Counter[Way] = Counter()
    fed = {UP: 0, DOWN: 0}
    out = {UP: 0, DOWN: 0}
    for way, data in said:
        fed[way] += len(data)
        frames = dec.feed(Chunk(way, contract.AT, data))
        for index, frame in enumerate(frames):
            out[frame.way] += len(frame.raw)
            assert frame.way is way
            assert len(frame.raw) <= contract.LIMITS.frame_bytes or frame.kind == BROKEN
            if frame.fault is not None:
                assert frame.kind == BROKEN
                assert index == len(frames) - 1, "a fault is the last frame"
                broken[way] += 1
            else:
                for act in dec.apply(frame, [Verdict(Action.PASS)] * len(frame.events)):
                    assert act is not None
        assert out[way] + dec.pending(way) == fed[way]
        if broken[way]:
            break
        dec.ready(UP), dec.ready(DOWN)
    for act in dec.close("the end\r\n\0", None):
        assert isinstance(act, Send)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
@settings(max_examples=150)
@given(said=st.lists(st.tuples(st.sampled_from((UP, DOWN)), st.binary(max_size=200)), max_size=8), start=st.booleans())
def test_hostility_any_bytes_give_frames_and_one_fault_at_most(spec: Spec, said: contract.Said, start: bool) -> None:
    """Any bytes: frames and pending are what was fed, at most one fault, which is the last; no exception."""
    _check_hostile(spec, said, start)


@pytest.mark.parametrize(("spec", "said"), CASES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_hostility_a_mangled_conversation_is_survived(spec: Spec, said: contract.Said, seed: int) -> None:
    """Bytes changed, removed, inserted, doubled in a real conversation."""
    random = Random(seed)
    mangled: contract.Said = []
    for way, piece in said:
        body = bytearray(piece)
        for _ in range(random.randint(0, 3)):
            if not body:
                break
            at = random.randrange(len(body))
            match random.randrange(4):
                case 0:
                    body[at] = random.choice(b"\0\r\n <>&;:@\x01\xff\x80'\"")
                case 1:
                    del body[at : at + random.randint(1, 20)]
                case 2:
                    body[at:at] = bytes(random.randrange(256) for _ in range(random.randint(1, 8)))
                case _:
                    body[at:at] = body[at : at + random.randint(1, 60)]
        mangled.append((way, bytes(body)))
    _check_hostile(spec, contract.cut(mangled, lambda: random.choice((1, 5, 50, 500))), True)


@pytest.mark.parametrize(("spec", "said"), CASES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_in_step_after_any_verdict(spec: Spec, said: contract.Said, seed: int) -> None:
    """Whatever is decided, a second decoder that reads what was sent stays in step and sees nothing refused."""
    random = Random(seed)
    dec = contract.decoder(spec, said=said)
    peer = contract.decoder(spec, said=said)
    refused: dict[Way, list[str]] = {UP: [], DOWN: []}
    seen: dict[Way, list[str]] = {UP: [], DOWN: []}
    groups: dict[str, Sequence[Verdict]] = {}
    for way, piece in said:
        for group in _units(dec.feed(Chunk(way, contract.AT, piece))):
            last = group[-1]
            if last.group is not None and last.part == "more":
                continue
            verdicts = [random.choice(contract.possible(spec, e, way)) for e in last.events]
            groups.clear()
            for event, verdict in zip(last.events, verdicts, strict=True):
                if verdict.action is Action.BLOCK:
                    refused[way] += [t.plain for t in event.texts if len(t.plain) > 8 and t.part == "body"]
            for frame in group:
                for act_way, sent in contract.written(dec, [frame], lambda _f, v=verdicts: v):  # type: ignore[misc]
                    for read in peer.feed(Chunk(act_way, contract.AT, sent)):
                        assert read.fault is None, f"{read.fault} after {verdicts} on {last.raw!r}: {sent!r}"
                        for event in read.events:
                            seen[act_way] += [t.plain for t in event.texts if t.part == "body"]
    for way in (UP, DOWN):
        assert peer.pending(way) == dec.pending(way)
        for text in refused[way]:
            passed = sum(1 for t in seen[way] if t == text)
            total = sum(
                1 for f in contract.read(contract.decoder(spec, said=said), said) if f.way is way
                for e in f.events for t in e.texts if t.plain == text and t.part == "body"
            )
            assert passed < total, f"refused text came through: {text!r}"


def _units(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one group together, in the place of their last."""
    open_groups: dict[str, list[Frame]] = {}
    out: list[list[Frame]] = []
    for frame in frames:
        if frame.group is None:
            out.append([frame])
            continue
        open_groups.setdefault(frame.group, []).append(frame)
        if frame.part in ("last", "whole"):
            out.append(open_groups.pop(frame.group))
    assert not open_groups, "a fixture's group stays open over a turn"
    return out


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_what_stays_goes_on_when_it_is_refused(spec: Spec, said: contract.Said) -> None:
    """A frame that says so (an answer, a change that both sides must know) is sent on, without its words."""
    dec = contract.decoder(spec, said=said)
    for way, data in said:
        for frame in dec.feed(Chunk(way, contract.AT, data)):
            judge = (lambda f: [Verdict(Action.BLOCK, "r")] * len(f.events)) if frame.stays and frame.events else None
            sent = contract.written(dec, [frame], judge)
            if judge is not None:
                assert any(act_way is way and data for act_way, data in sent), frame


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_masked_text_is_masked_in_every_form(spec: Spec, said: contract.Said) -> None:
    """After a redaction of the first half of each text, the reader sees stars there and the rest unchanged."""
    dec = contract.decoder(spec, said=said)
    peer = contract.decoder(spec, said=said)
    judged: list[tuple[Event, Verdict]] = []
    for way, piece in said:
        for group in _units(dec.feed(Chunk(way, contract.AT, piece))):
            last = group[-1]
            verdicts: list[Verdict] = []
            for event in last.events:
                redact = [v for v in contract.possible(spec, event, way) if v.action is Action.REDACT]
                verdicts.append(redact[0] if redact else Verdict(Action.PASS))
            sent = [x for frame in group for x in contract.written(dec, [frame], lambda _f, v=verdicts: v)]  # type: ignore[misc]
            events = [
                e for act_way, data in sent for read in peer.feed(Chunk(act_way, contract.AT, data)) if act_way is way
                for e in read.events
                if not any("ABCD-EFGH" in text.plain for text in e.texts)  # a notice that waited for this body
            ]
            judged += zip(last.events, verdicts, strict=True)
            if spec.carries and not any(frame.raw for frame in group):
                continue  # it leaves with what stands behind it in the same body
            whole, judged = judged, []
            verdicts = [verdict for _, verdict in whole]
            if len(events) != len(whole):
                # What was told as a link, and nothing else, is none any more with its beginning masked.
                whole = [
                    (e, v) for e, v in whole
                    if v.action is Action.PASS or any(text.part != "url" for text in e.texts)
                ]
            if len(events) != len(whole):
                assert all(v.action is Action.PASS for v in verdicts)
                continue
            for (before, verdict), after in zip(whole, events, strict=True):
                assert len(before.texts) == len(after.texts)
                for index, (old, new) in enumerate(zip(before.texts, after.texts, strict=True)):
                    masks = [m for m in verdict.masks if m[0] == index]
                    want = old.plain
                    for _, start, end in masks:
                        # a line end between two units, or made of markup, is no character that could be masked
                        stars = "".join("\n" if c == "\n" else "*" for c in want[start:end])
                        want = want[:start] + stars + want[end:]
                    if old.editable:
                        assert new.plain == want


FILES = [case for case in CASES if contract.contents(
    contract.read(contract.decoder(case.values[0], said=case.values[1]), case.values[1]))]  # type: ignore[arg-type]


def _taken(dec: Decoder, said: contract.Said, last: Action) -> tuple[contract.Said, contract.Said]:
    """What is sent while every file is held and its end gets `last`: (at once, on release)."""
    at_once: contract.Said = []
    out: contract.Said = []
    open_files: set[str] = set()
    for way, data in said:
        for frame in dec.feed(Chunk(way, contract.AT, data)):
            starts = [e.transfer for e in frame.events if isinstance(e, FileStart)]
            ends = [e.transfer for e in frame.events if isinstance(e, FileEnd)]
            content = any(isinstance(e, FILE_CONTENT) for e in frame.events)
            open_files.update(starts)
            verdict = PASSED
            if content:
                verdict = Verdict(last, "r") if ends else Verdict(Action.HOLD)
            for act in dec.apply(frame, [verdict] * len(frame.events)):
                if isinstance(act, Cut):
                    return at_once, out
                if not isinstance(act, Send):
                    continue
                if act.way is frame.way and content and last is Action.BLOCK and not ends:
                    continue  # thrown away
                (out if act.way is frame.way else at_once).append((act.way, act.data))
            open_files.difference_update(ends)
    assert not open_files, "a fixture's file does not end"
    return at_once, out


@pytest.mark.parametrize(("spec", "said"), FILES)
def test_a_held_and_released_file_is_the_same_file(spec: Spec, said: contract.Said) -> None:
    """What is kept while a file is held, sent later, is read by the receiver as the same content."""
    wanted = contract.contents(contract.read(contract.decoder(spec, said=said), said))
    _, out = _taken(contract.decoder(spec, said=said), said, Action.PASS)
    got = contract.contents(contract.read(contract.decoder(spec, said=said), out))
    assert got == wanted


@pytest.mark.parametrize(("spec", "said"), FILES)
def test_a_held_and_refused_file_sends_no_content(spec: Spec, said: contract.Said) -> None:
    """After a refusal nothing of the content was, or is, sent to the receiver."""
    frames = contract.read(contract.decoder(spec, said=said), said)
    secret = [data for data in contract.contents(frames).values() if len(data) >= 16]
    at_once, out = _taken(contract.decoder(spec, said=said), said, Action.BLOCK)
    for way in (UP, DOWN):
        sent = contract.joined([*at_once, *out], way)
        assert not any(data[:64] in sent for data in secret)


def _released(spec: Spec, said: contract.Said) -> int:
    """Hold and release every message that can be; how many could."""
    dec, peer = contract.decoder(spec, said=said), contract.decoder(spec, said=said)
    count = 0
    late: list[tuple[Message, str, int]] = []
    went: list[Went] = []
    leave, take_back = getattr(dec, "leave", None), getattr(dec, "take_back", None)
    all_heard: list[Message] = []

    def hear(way: Way, data: bytes) -> list[Message]:
        frames = peer.feed(Chunk(way, contract.AT, data))
        assert not any(frame.fault for frame in frames), data
        found = [event for frame in frames for event in frame.events if isinstance(event, Message)]
        all_heard.extend(found)
        return found

    for way, piece in said:
        taken: list[tuple[Message, bytes]] = []
        for group in _units(dec.feed(Chunk(way, contract.AT, piece))):
            events, kept = group[-1].events, None
            for index, event in enumerate(events):
                if isinstance(event, Message) and contract.can(spec, event).hold and event.texts and not kept:
                    kept = None if group[-1].stays else dec.keep(group, index)
                    taken += [(event, kept)] if kept is not None else []
            judge = (lambda f: [Verdict(Action.BLOCK, "r")] * len(f.events)) if kept is not None else None
            for frame in group:
                for act_way, sent in contract.written(dec, [frame], judge, went):
                    hear(act_way, sent)
        for held, kept in taken:
            if leave is not None:
                # It goes when its reader, or the server, is to be told something.
                name = f"h{len(late)}"
                if dec.ready(way) and leave(kept, way, name):
                    late.append((held, name, len(all_heard)))
                continue
            acts = dec.release(kept, way) if dec.ready(way) else []
            # Between servers a stream may be for another pair of domains by now: it goes to a later one.
            elsewhere = isinstance(said, contract.Talk) and "server" in said.name
            assert acts is not None or elsewhere, f"not released: {kept!r}"
            heard: list[Message] = []
            for act in acts or ():
                assert isinstance(act, Send)
                heard += hear(act.way, act.data) if act.way is way else []
            if acts:
                read = [text.plain for message in heard for text in message.texts]
                assert {text.plain for text in held.texts} <= {*read, "\n".join(read), "".join(read)}, (held, heard)
                assert {m.sender for m in heard} == {held.sender}
                count += 1
    for held, name, since in late:
        if take_back is not None and take_back(name):
            continue  # nothing more went that way
        if next(each.sent for each in went if each.hold == name) is False:
            continue  # the session has ended
        said_later = {text.plain for message in all_heard[since:] for text in message.texts}
        assert {text.plain for text in held.texts} <= said_later, held
        count += 1
    for way in (UP, DOWN):
        assert peer.pending(way) == dec.pending(way)
    return count


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_what_was_held_is_released_as_it_was_and_keeps_the_reader_in_step(spec: Spec, said: contract.Said) -> None:
    """Refused when it comes, sent by `release` later: its reader reads the same words of the same writer."""
    _released(spec, said)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.parent is None], ids=lambda s: s.name)
def test_messages_of_every_protocol_can_be_released(spec: Spec) -> None:
    """A Spec that says so has conversations in which something is."""
    said = contract.conversations(spec)
    released = sum(_released(spec, contract.Talk(each, name)) for name, each in said.items())
    assert (released > 0) == spec.can["message"].hold


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_a_notice_can_be_injected_when_ready_and_keeps_the_reader_in_step(spec: Spec, said: contract.Said) -> None:
    """A notice of our own between units disturbs nothing and provokes no fault."""
    dec, peer = contract.decoder(spec, said=said), contract.decoder(spec, said=said)
    injected = 0
    for way, piece in said:
        for frame in dec.feed(Chunk(way, contract.AT, piece)):
            for act_way, sent in contract.written(dec, [frame]):
                assert not any(f.fault for f in peer.feed(Chunk(act_way, contract.AT, sent)))
        if dec.ready(DOWN):
            for act in dec.inject(Notice("A word from the gateway & <co>\r\nQUIT :x\0"), DOWN):
                assert isinstance(act, Send)
                assert act.way is DOWN
                assert not any(f.fault for f in peer.feed(Chunk(DOWN, contract.AT, act.data)))
                injected += 1
    assert peer.pending(DOWN) == dec.pending(DOWN)


@pytest.mark.parametrize(("spec", "said"), CASES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_gaps_are_survived(spec: Spec, said: contract.Said, seed: int) -> None:
    """After a lost span the decoder resynchronises or says that it cannot; it never raises."""
    random = Random(seed)
    pieces = contract.cut(said, lambda: random.choice((50, 200, 1460)))
    lost = random.randrange(len(pieces))
    dec = contract.decoder(spec, said=said)
    gap = {UP: 0, DOWN: 0}
    for index, (way, piece) in enumerate(pieces):
        if index == lost:
            gap[way] = len(piece)
            continue
        frames = dec.feed(Chunk(way, contract.AT, piece, gap[way]))
        gap[way] = 0
        if any(f.fault for f in frames):
            return


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_groups_have_their_events_on_the_last_unit(spec: Spec, said: contract.Said) -> None:
    """One message over several units is judged once, at its end."""
    for frame in contract.read(contract.decoder(spec, said=said), said):
        if frame.group is not None and frame.part in ("first", "more"):
            assert frame.events == ()


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_the_probe_settles_on_its_own_conversations_and_no_other(spec: Spec, said: contract.Said) -> None:
    """STRONG or WEAK for its own first bytes, at any cut never NO for good; not more than WEAK for another's.

    What is read only where it was announced claims nothing by its bytes.
    """
    up, down = contract.joined(said, UP)[:4096], contract.joined(said, DOWN)[:4096]
    if not spec.expected_only:
        assert spec.probe(up, down) >= Match.WEAK
    for other in SPECS:
        if other is not spec and not other.expected_only:
            assert other.probe(up, down) < Match.WEAK


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
@settings(max_examples=200)
@given(up=st.binary(max_size=300), down=st.binary(max_size=300))
def test_the_probe_survives_any_bytes(spec: Spec, up: bytes, down: bytes) -> None:
    """A probe answers for any bytes."""
    assert spec.probe(up, down) in tuple(Match)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_the_spec_says_what_the_rest_of_the_house_needs(spec: Spec) -> None:
    """Names, transports, and abilities that name known events."""
    names = {"sign_on", "message", "presence", "contact", "group", "file", "call", "typing", "opaque"}
    assert spec.name.isidentifier()
    assert spec.title
    assert spec.transports <= {"tcp", "udp"}
    assert {key.partition(".")[0] for key in spec.can} <= names
    assert all(edit.name.startswith(f"{spec.name}.") for edit in spec.edits)
