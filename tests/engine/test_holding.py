"""What a rule holds is stored before anybody notices, and what a reviewer releases is sent once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inspector.engine.covers import Covers, digest_of_texts
from inspector.engine.holding import went
from inspector.engine.kit import HOLDING
from inspector.engine.session import Session, _together
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Action,
    Address,
    Arrived,
    Came,
    Can,
    Closed,
    Deliver,
    Discard,
    Effect,
    Expect,
    File,
    FileMode,
    FileOffer,
    FileReport,
    Frame,
    Held,
    Hold,
    Input,
    Judged,
    Kept,
    Killed,
    Limits,
    Message,
    Note,
    Released,
    Send,
    Text,
    Unhold,
    Verdict,
    Way,
    Went,
    Woke,
)
from tests.engine.toy import FLOW, ToyPolicy, cover, toy_kit
from tests.engine.toyfiles import FILES, file_session
from tests.playbook import START, down, up


class Talk:
    """A session with ann signed on."""

    def __init__(self, world: World | None = None, port: int = 1111, user: str = "ann", **policy: Any) -> None:
        kit = toy_kit(ToyPolicy(**policy), driver_can=HOLDING)
        self.world = world or World(kit.limits)
        flow = msgspec.structs.replace(FLOW, id=f"f{port}", client=Address("10.0.0.1", port))
        self.session = Session(flow, kit, self.world)
        self.out: list[Effect] = []
        self(up(b"HELLO x\n"))
        self(down(b"ME " + user.encode() + b"\n"))

    def __call__(self, given: Input) -> list[Effect]:
        self.out = self.session.step(given, self.world)
        return self.out

    def sent(self) -> list[tuple[int, bytes]]:
        return [(effect.way, effect.data) for effect in self.out if isinstance(effect, Send)]

    def of(self, kind: type) -> list[Any]:
        return [effect for effect in self.out if isinstance(effect, kind)]

    def rows(self, event: str) -> list[dict[str, Any]]:
        return [effect.row for effect in self.out if isinstance(effect, Note) and effect.row["event"] == event]

    def durable(self) -> int:
        return next(int(effect.id) for effect in self.out if isinstance(effect, Note) and effect.durable)


def hold(talk: Talk, line: bytes = b"SAY bob please hold this\n", way: Any = up) -> Hold:
    """Say something that is to be held; its Hold effect."""
    talk(way(line))
    held = talk.of(Hold)
    assert len(held) == 1
    assert talk.sent() == []
    assert isinstance(held[0], Hold)
    return held[0]


def held_item(**more: Any) -> Held:
    given: dict[str, Any] = {
        "id": "h1", "reference": "AAAA-BBBB", "t": START, "protocol": "toy", "about": "message", "kind": "chat",
        "way": UP, "direction": "outbound", "flow": "f0", "client": "10.0.0.1", "user": "ann",
        "identity": "authenticated", "raw": b"SAY bob later\n", **more}
    return Held(**given)


def test_nobody_notices_before_content_and_row_are_on_disk() -> None:
    """First the content, then the verdict's row, then the sender is told; the reader learns nothing."""
    talk = Talk()
    effect = hold(talk)
    assert effect.held.raw == b"SAY bob please hold this\n"
    assert effect.held.texts == (("body", "please hold this"),)
    assert (effect.held.user, effect.held.identity, effect.held.way) == ("ann", "authenticated", UP)
    assert talk.rows("verdict") == [], "its row says that it is held: not before it is"
    talk(Kept(effect.id, START))
    row, = talk.rows("verdict")
    assert (row["asked"], row["did"], row["held"]) == ("hold", "hold", effect.held.id)
    assert talk.sent() == []
    talk(Kept(talk.durable(), START))
    assert talk.sent() == [(DOWN, f"NOTE Your message waits for review. Reference {row['reference']}.\n".encode())]


def test_what_follows_a_held_message_goes_on() -> None:
    """Nothing waits for a reviewer."""
    talk = Talk()
    effect = hold(talk)
    talk(up(b"SAY bob next\n"))
    assert talk.sent() == []
    talk(Kept(effect.id, START))
    talk(Kept(talk.durable(), START))
    assert (UP, b"SAY bob next\n") in talk.sent()


@pytest.mark.parametrize("why", ["hold_full", "store_failed"])
def test_what_cannot_be_stored_is_blocked(why: str) -> None:
    """Trouble, a row that says block, and a notice that promises nothing."""
    talk = Talk()
    effect = hold(talk)
    talk(Kept(effect.id, START, False, why))
    row, = talk.rows("verdict")
    assert (row["asked"], row["did"], row["held"]) == ("hold", "block", None)
    trouble, = talk.rows("trouble")
    assert (trouble["name"], trouble["did"]) == (why, "block")
    talk(Kept(talk.durable(), START))
    (way, said), = talk.sent()
    assert way == DOWN
    assert b"not delivered" in said
    assert talk.world.tallies["toy"].actions == {"hold": 0, "block": 1}


@pytest.mark.parametrize("late", [False, True])
def test_of_what_was_stored_and_whose_row_was_not_written_nobody_is_told_that_it_waits(late: bool) -> None:
    """The row may still be written, and says that it is held: the hold desk knows by it what becomes of the item."""
    talk = Talk()
    effect = hold(talk)
    talk(Kept(effect.id, START))
    row, = talk.rows("verdict")
    before = dict(row)
    talk(Woke(START + Limits().store_seconds) if late else Kept(talk.durable(), START, False))
    assert talk.of(Unhold) == []
    assert [each["name"] for each in talk.rows("trouble")] == ["store_failed"]
    assert row == before, "it may still wait to be written"
    (way, said), = talk.sent()
    assert way == DOWN
    assert b"not delivered" in said
    assert b"waits" not in said
    assert talk.world.tallies["toy"].actions == {"hold": 0, "block": 1}


def test_what_was_stored_and_has_its_row_is_kept_whatever_fails_later() -> None:
    """The row of another message of the same session cannot be written: the first one waits on."""
    talk = Talk()
    first = hold(talk)
    talk(Kept(first.id, START))
    talk(Kept(talk.durable(), START))
    second = hold(talk)
    talk(Kept(second.id, START))
    talk(Kept(talk.durable(), START, False))
    assert talk.of(Unhold) == []
    assert [said for _, said in talk.sent() if b"not delivered" in said]
    assert talk.world.tallies["toy"].actions == {"hold": 1, "block": 1}


def test_an_answer_that_comes_too_late_leaves_nothing_waiting() -> None:
    """The store is told to forget what it may still write."""
    talk = Talk()
    effect = hold(talk)
    talk(Woke(START + Limits().store_seconds))
    assert [each.hold for each in talk.of(Unhold)] == [effect.held.id]
    row, = talk.rows("verdict")
    assert row["did"] == "block"
    assert any(b"not delivered" in said for _, said in talk.sent())
    talk(Kept(effect.id, START + 60))
    assert talk.out == []


def test_a_session_that_ends_first_leaves_nothing_waiting() -> None:
    """What was undecided was delivered to nobody, and waits for nobody."""
    talk = Talk()
    effect = hold(talk)
    talk(Closed(UP, START))
    talk(Closed(DOWN, START))
    talk(Woke(START + Limits().store_seconds))
    assert [each.hold for each in talk.of(Unhold)] == [effect.held.id]
    assert all(way != UP for way, _ in talk.sent())


def test_a_message_of_several_units_is_kept_whole() -> None:
    """All of them, in order."""
    talk = Talk()
    talk(up(b"PART g bob one\n"))
    talk(up(b"DONE g bob hold two\n"))
    effect, = talk.of(Hold)
    assert effect.held.raw == b"PART g bob one\nDONE g bob hold two\n"
    talk(Kept(effect.id, START))
    talk(Kept(talk.durable(), START))
    assert all(way == DOWN for way, _ in talk.sent())


def test_a_message_of_which_a_unit_has_left_is_not_held() -> None:
    """Its first unit left before the protocol was known: what keeps it from its reader is that the rest never comes."""
    kit = toy_kit(ToyPolicy(), driver_can=HOLDING)
    world = World(kit.limits)
    session = Session(FLOW, kit, world)
    session.step(up(b"PART g bob one\n"), world)
    out = session.step(up(b"HELLO x\n"), world)
    out += session.step(down(b"ME ann\n"), world)
    out += session.step(up(b"DONE g bob hold two\n"), world)
    assert of(out, Hold) == []
    assert [note.row["did"] for note in of(out, Note) if note.row["event"] == "verdict"] == ["cut"]


def test_a_policy_that_does_not_enforce_holds_nothing() -> None:
    """It says what it would do."""
    talk = Talk(enforce=False)
    talk(up(b"SAY bob please hold this\n"))
    assert talk.of(Hold) == []
    assert talk.sent() == [(UP, b"SAY bob please hold this\n")]


def test_an_answer_is_never_held() -> None:
    """It keeps both sides in step: its words go, it stays."""
    talk = Talk()
    talk(up(b"ANS bob hold\n"))
    assert [row["did"] for row in talk.rows("verdict")] == ["redact"]


def test_a_released_item_is_sent_once_after_its_state_is_on_disk() -> None:
    """Deliver, Kept, the bytes, Came."""
    talk = Talk()
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    assert (deliver.hold, talk.sent()) == ("h1", [])
    talk(Kept(deliver.id, START))
    assert talk.sent() == [(UP, b"LATE SAY bob later\n"), (DOWN, b"OK\n")]
    assert talk.of(Came) == [Came("h1", True)]
    talk(Kept(deliver.id, START))
    assert talk.out == []


@pytest.mark.parametrize("side", [UP, DOWN])
@pytest.mark.parametrize("way", [UP, DOWN])
def test_nothing_is_released_behind_the_end_of_a_session(way: Way, side: Way) -> None:
    """One side has closed: what would be sent behind that, either way, may be read by nobody. It waits for the next
    sign-on, also where the desk had agreed by then."""
    talk = Talk()
    talk(Released(START, held_item(way=way)))
    deliver, = talk.of(Deliver)
    talk(Closed(side, START))
    assert talk.of(Came) == []
    talk(Kept(deliver.id, START))
    assert (talk.sent(), talk.of(Came)) == ([], [Came("h1", False)])
    talk(Released(START, held_item(id="h2", way=way)))
    assert (talk.sent(), talk.of(Came), talk.of(Deliver)) == ([], [Came("h2", False)], [])


def test_nothing_is_released_behind_a_goodbye() -> None:
    """The connection stands, and its protocol's word for the end has been said: what was sent before that is doubtful,
    what waits is given back."""
    talk = Talk()
    decoder: Any = talk.session.decoder
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    talk(Kept(deliver.id, START))
    assert talk.of(Came) == [Came("h1", True)]
    decoder.parted = True
    talk(up(b"SAY bob bye\n"))
    assert talk.of(Came) == [Came("h1", None)]
    talk(Released(START, held_item(id="h2")))
    assert (talk.sent(), talk.of(Came), talk.of(Deliver)) == ([], [Came("h2", False)], [])


def test_the_desk_is_told_when_a_session_ends_behind_what_was_sent() -> None:
    """Once, of what was sent in it: by the first of its sides that closes, or when it is cut."""
    for end in (Closed(UP, START), Closed(DOWN, START), Killed(START, "the end")):
        talk = Talk()
        talk(Released(START, held_item()))
        deliver, = talk.of(Deliver)
        talk(Kept(deliver.id, START))
        assert talk.of(Came) == [Came("h1", True)]
        talk(end)
        assert talk.of(Came) == [Came("h1", None)]
        talk(Closed(UP, START))
        talk(Closed(DOWN, START))
        assert talk.of(Came) == []


def test_a_released_item_that_may_not_be_sent_is_left_alone() -> None:
    """Denied, or delivered elsewhere meanwhile; the next one has its turn."""
    talk = Talk()
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    talk(Released(START, held_item(id="h2", raw=b"SAY bob two\n")))
    talk(Kept(deliver.id, START, False))
    assert talk.sent() == []
    second, = talk.of(Deliver)
    assert second.hold == "h2"
    talk(Kept(second.id, START))
    assert talk.sent()[0] == (UP, b"LATE SAY bob two\n")


def test_a_released_item_waits_for_its_turn_in_the_queue() -> None:
    """Nothing of ours goes between what waits for its verdict."""
    talk = Talk()
    effect = hold(talk)
    talk(Released(START, held_item()))
    assert talk.of(Deliver) == []
    talk(Kept(effect.id, START))
    talk(Kept(talk.durable(), START))
    assert [each.hold for each in talk.of(Deliver)] == ["h1"]


def test_what_this_session_cannot_send_goes_back() -> None:
    """A room that was left; a session that ends; one that is over."""
    talk = Talk()
    talk(Released(START, held_item(raw=b"SAY elsewhere x\n")))
    talk(Kept(talk.of(Deliver)[0].id, START))
    assert talk.of(Came) == [Came("h1", False)]
    talk(Released(START, held_item(id="h2")))
    talk(Closed(UP, START))
    talk(Closed(DOWN, START))
    assert talk.of(Came) == [Came("h2", False)]
    talk(Released(START, held_item(id="h3")))
    assert talk.out == [Came("h3", False)]


@pytest.mark.parametrize("change", [
    {"user": "bob"}, {"user": None}, {"protocol": "irc"}, {"identity": "claimed", "client": "10.0.0.9"},
])
def test_nobody_else_is_given_a_released_item(change: dict[str, Any]) -> None:
    """Whose session it is may have changed since the desk looked."""
    talk = Talk()
    talk(Released(START, held_item(**change)))
    assert talk.of(Deliver) == []
    assert talk.of(Came) == [Came("h1", False)]
    assert talk.sent() == []


def test_who_becomes_somebody_else_before_it_is_sent_is_not_given_it() -> None:
    """The name changes while the state `delivering` is written."""
    talk = Talk()
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    talk(down(b"ME bob\n"))
    talk(Kept(deliver.id, START))
    assert talk.of(Came) == [Came("h1", False)]
    assert talk.sent() == []


def test_what_says_nothing_to_the_reader_was_not_sent() -> None:
    """Words of ours to the writer alone are no delivery."""
    talk = Talk()
    talk(Released(START, held_item(way=DOWN, raw=b"ANSWERS ONLY\n")))
    talk(Kept(talk.of(Deliver)[0].id, START))
    assert talk.of(Came) == [Came("h1", False)]


def test_the_sender_of_an_answer_is_not_told_that_it_waits() -> None:
    """It went on without its words: nothing of it is stored."""
    talk = Talk()
    talk(up(b"ANS bob hold\n"))
    row, = talk.rows("verdict")
    assert "waits" not in (row["notice"] or "")
    talk(Kept(talk.durable(), START))
    assert not any(b"waits" in said for _, said in talk.sent())


@pytest.mark.parametrize("line", [b"TWO bob hold this|bob and that", b"TWO bob and that|bob hold this"])
def test_a_reviewer_reads_all_that_a_release_would_send(line: bytes) -> None:
    """The whole unit is kept: words of it that no rule minds are among its texts."""
    talk = Talk()
    talk(up(line + b"\n"))
    effect, = talk.of(Hold)
    assert {text for _, text in effect.held.texts} == {"hold this", "and that"}
    assert effect.held.texts[0] == ("body", "hold this")
    assert effect.held.digest == digest_of_texts((Text("body", "hold this"),))


def test_what_goes_with_something_masked_is_not_held() -> None:
    """The whole unit would be released later, and the words that were to be masked with it, unseen."""
    frame = Frame(UP, START, b"x", "toy", (Message(), Message(), Message()), units=(0, 0, 1))
    given = [Verdict(Action.HOLD), Verdict(Action.REDACT), Verdict(Action.HOLD)]
    assert _together(frame, given) == [Action.BLOCK, Action.BLOCK, Action.HOLD]
    given = [Verdict(Action.HOLD), Verdict(Action.WARN), Verdict(Action.PASS)]
    assert _together(frame, given) == [Action.HOLD, Action.HOLD, Action.PASS]


def test_a_sign_on_is_told_to_the_desk() -> None:
    """What was released for him may come now."""
    talk = Talk()
    assert talk.of(Arrived) == [Arrived("toy", "ann", "authenticated", "10.0.0.1")]


def test_the_legs_that_follow_a_release_pass_once_for_each_session() -> None:
    """Logged as released; a second time it is held again."""
    world = World(Limits())
    world.covers.add(cover(), START)
    talk = Talk(world)
    talk(up(b"SAY bob please hold this\n"))
    assert talk.sent() == [(UP, b"SAY bob please hold this\n")]
    row, = talk.rows("verdict")
    assert (row["asked"], row["did"], row["held"]) == ("hold", "pass", "h1")
    assert row["reason"] == "released by review, reference AAAA-BBBB"
    hold(talk)
    other = Talk(world, port=2222)
    other(up(b"SAY bob please hold this\n"))
    assert other.of(Hold) == []


@pytest.mark.parametrize("change", [
    {"sender": "eve"}, {"recipients": ("carol",)}, {"protocol": "irc"}, {"until": START - 1},
    {"digest": digest_of_texts((Text("subject", "please hold this"),))},
])
def test_a_release_covers_nothing_else(change: dict[str, Any]) -> None:
    """Another sender, reader, protocol or text, or too late."""
    world = World(Limits())
    world.covers.add(cover(**change), START - 2)
    hold(Talk(world))


def held_file(mode: FileMode = "spool", *, world: World | None = None) -> tuple[Session, World]:
    """A session that has a whole file of which the verdict is to hold it, judged."""
    session, own, _ = file_session(mode, driver_can=HOLDING)
    world = world or own
    session.step(up(b"FILE t hold_it 3\nPART t abc\nCLOSE t\n"), world)
    return session, world


REPORT = FileReport(size=3, sha256="aa", sha1="bb", md5="cc", kinds=("executable",))
FID = "f1-f1"


def of(effects: list[Effect], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_a_held_file_is_stored_from_the_spool_before_it_is_refused() -> None:
    """Content, row, then both ends are told; the spool is given back last."""
    session, world = held_file()
    out = session.step(Judged(FID, START, REPORT), world)
    effect, = of(out, Hold)
    assert (effect.file, effect.held.about, effect.held.digest, effect.held.file_name) == (
        FID, "file", "aa", "hold_it")
    assert effect.held.raw == b""
    assert of(out, Send) == [] == of(out, Discard)
    out = session.step(Kept(effect.id, START), world)
    row, = [note.row for note in of(out, Note)]
    assert (row["asked"], row["did"], row["held"]) == ("hold", "hold", effect.held.id)
    assert row["notice"].startswith('The file "hold_it" waits for review.')
    out = session.step(Kept(of(out, Note)[0].id, START), world)
    assert [(each.way, each.data) for each in of(out, Send)] == [(DOWN, b"REFUSED\n")]
    assert of(out, Discard) == [Discard(FID)]


@pytest.mark.parametrize(("by", "identity"), [("ann", "authenticated"), ("eve", "unknown"), (None, "unknown")])
def test_a_file_is_as_surely_somebody_s_as_the_session_that_announced_it(by: str | None, identity: str) -> None:
    """Its own connection signs nobody on, and may come from another address; an announcement of somebody else's says
    nothing of the sender."""
    offer = FileOffer(sender="ann", recipients=("bob",), file_name="hold_it", size=3, method="toy")
    expected = Expect("192.0.2.1:4000", "toyfiles", by, offer=offer, flow="f0", identity="authenticated")
    session, world, _ = file_session("spool", driver_can=HOLDING, expected=expected)
    session.step(up(b"FILE t hold_it 3\nPART t abc\nCLOSE t\n"), world)
    # As where only a request's own address says what announced it (uploads): the session has no user.
    session.context.user, session.context.identity = None, "unknown"
    effect, = of(session.step(Judged(FID, START, REPORT), world), Hold)
    assert (effect.held.sender, effect.held.user, effect.held.identity) == ("ann", None, identity)


def test_a_released_file_passes_when_it_is_sent_again() -> None:
    """By its digest; the desk is told that it went."""
    world = World(Limits())
    world.covers.add(cover(digest="aa", until=START + 9999), START)
    session, world = held_file(world=world)
    out = session.step(Judged(FID, START, REPORT), world)
    assert of(out, Hold) == []
    assert of(out, Came) == [Came("h1", True)]
    assert [note.row["did"] for note in of(out, Note) if note.row["event"] == "verdict"] == ["pass"]


def test_a_released_file_is_not_covered_under_another_kind_of_name() -> None:
    """The reviewer saw a text; the same bytes as a program are another file. Copies with a number are the same."""
    covers = Covers(8)
    covers.add(cover(digest="aa", file_name="notes.txt", until=START + 9999), START)

    def find(name: str, flow: str) -> bool:
        event = File(sender="ann", recipients=("bob",), file_name=name, sha256="aa")
        return covers.find(event, "aa", "toy", "ann", UP, flow, START) is not None

    assert [find(name, "f") for name in ("notes.bat", "notes", "", "notes.txt.exe")] == [False] * 4
    assert find("notes (1).TXT", "f")


def test_what_has_left_in_part_is_not_held() -> None:
    """A streamed file is refused: half of it is with its reader."""
    session, world = held_file("stream")
    out = session.step(Judged(FID, START, REPORT), world)
    assert of(out, Hold) == []
    assert [note.row["did"] for note in of(out, Note) if note.row["event"] == "verdict"] == ["block"]


def test_the_offer_of_a_file_that_would_be_held_passes_only_where_its_content_is_sure_to_come() -> None:
    """Inside the session here; a method that nobody vouches for is refused."""
    for spec_can, did in ((Can(drop=True, hold=True, inject=True), "pass"), (Can(drop=True, hold=True), "block")):
        spec = msgspec.structs.replace(FILES, can={**FILES.can, "file.toy": spec_can})
        session, world, policy = file_session("spool", driver_can=HOLDING, spec=spec)
        policy.hold_offers = True
        out = session.step(up(b"FILE t hold_it 3\n"), world)
        verdicts = [note.row for note in of(out, Note) if note.row["event"] == "verdict"]
        assert [row["did"] for row in verdicts] == [did]


@pytest.mark.parametrize("line", [b"TWO bob hold this|bob and warn", b"TWO bob and warn|bob hold this"])
def test_what_waits_with_a_held_event_has_its_id_in_its_row(line: bytes) -> None:
    """Events of one unit wait together: the row of each says under which id, none before the store has it. Nobody is
    told that something was delivered."""
    talk = Talk()
    effect = hold(talk, line + b"\n")
    assert talk.rows("verdict") == []
    talk(Kept(effect.id, START))
    assert sorted((row["asked"], row["did"], row["held"]) for row in talk.rows("verdict")) == [
        ("hold", "hold", effect.held.id), ("warn", "hold", effect.held.id)]
    for ident in [note.id for note in talk.of(Note) if note.durable]:
        talk(Kept(ident, START))
    (way, said), = talk.sent()
    assert (way, b"waits for review" in said) == (DOWN, True)


def test_what_waits_with_a_held_event_is_refused_with_it() -> None:
    """The store does not take it: both rows say block."""
    talk = Talk()
    effect = hold(talk, b"TWO bob and warn|bob hold this\n")
    talk(Kept(effect.id, START, False, "hold_full"))
    assert [(row["did"], row["held"]) for row in talk.rows("verdict")] == [("block", None)] * 2
    assert talk.session._tally.actions == {"hold": 0, "block": 2}


def test_what_is_archived_of_a_held_unit_has_its_id() -> None:
    """No rule has a say of the other event: with an archive it has a row, and waits all the same."""
    talk = Talk()
    talk.session.kit.archive = "full"
    effect = hold(talk, b"TWO bob words|bob hold this\n")
    talk(Kept(effect.id, START))
    assert [(row["asked"], row["held"]) for row in talk.rows("verdict")] == [
        ("hold", effect.held.id), ("pass", effect.held.id)]


def test_what_is_only_archived_is_not_counted_as_refused() -> None:
    """It was never counted as held: the counts of actions do not run below zero when the store takes neither."""
    talk = Talk()
    talk.session.kit.archive = "full"
    effect = hold(talk, b"TWO bob words|bob hold this\n")
    talk(Kept(effect.id, START, False, "hold_full"))
    assert [row["did"] for row in talk.rows("verdict")] == ["block"] * 2
    assert talk.session._tally.actions == {"hold": 0, "block": 1}


def test_a_release_that_covers_one_of_two_held_events_is_not_used_up() -> None:
    """The other event keeps both: nothing was delivered, and nobody says so."""
    talk = Talk()
    talk.world.covers.add(cover(digest=digest_of_texts((Text("body", "hold this"),))), START)
    effect = hold(talk, b"TWO bob hold this|bob hold that\n")
    assert talk.of(Came) == []
    talk(Kept(effect.id, START))
    assert [(row["asked"], row["did"], row["held"]) for row in talk.rows("verdict")] == [
        ("hold", "hold", effect.held.id)] * 2


@pytest.mark.parametrize("waits", [False, True])
def test_what_is_left_with_a_decoder_is_taken_back_at_the_end_unless_it_has_gone(waits: bool) -> None:
    """It writes when its peer asks (BOSH), and tells of it then; it has not been sent before."""
    talk = Talk()
    decoder: Any = talk.session.decoder
    left: list[str] = []

    def leave(_kept: bytes, _way: Way, hold: str) -> bool:
        left.append(hold)
        return True

    decoder.leave = leave
    decoder.take_back = lambda _: waits
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    talk(Kept(deliver.id, START))
    assert (talk.of(Came), left) == ([], ["h1"])
    talk(Killed(START, "the end"))
    assert talk.of(Came) == ([Came("h1", False)] if waits else [])


def test_what_cannot_be_left_with_a_decoder_is_sent_elsewhere() -> None:
    """A session that has ended meanwhile."""
    talk = Talk()
    decoder: Any = talk.session.decoder
    decoder.leave = lambda *_: False
    talk(Released(START, held_item()))
    deliver, = talk.of(Deliver)
    talk(Kept(deliver.id, START))
    assert talk.of(Came) == [Came("h1", False)]


def test_of_what_was_left_the_desk_is_told_in_the_name_of_its_session() -> None:
    """Twice of what has gone: it was read, no matter what ends (model.Came)."""
    assert went(Went("h1", "f9", sent=True), sent=True) == [Came("h1", True, "f9")] * 2
    assert went(Went("h1", "f9", sent=True), sent=False) == [Came("h1", False, "f9")]
