"""Plays of files: held, judged, released, refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inspector.engine.files import notice_of, words_for_reader
from inspector.engine.world import offer_key
from inspector.model import (
    DOWN,
    UP,
    Action,
    Address,
    Can,
    Closed,
    Context,
    Cut,
    Discard,
    Effect,
    Event,
    Expect,
    File,
    FileMode,
    FileOffer,
    FileReport,
    Finding,
    Finish,
    Judge,
    Judged,
    Kept,
    Limits,
    Match,
    Note,
    Send,
    Spool,
    Tell,
    Unspool,
    Unspooled,
    Verdict,
    WakeAt,
    Woke,
)
from tests.engine.toyfiles import FILES, ToyFileDecoder, file_session
from tests.playbook import START, Play, Row, down, sent_down, sent_up, up

FID = "f1-f1"
REPORT = FileReport(size=3, sha256="aa", sha1="bb", md5="cc", kinds=("text",))
BAD = FileReport(size=3, sha256="aa", sha1="bb", md5="cc", findings=(Finding("yara", "core.eicar", "high"),))


class Judging:
    """Matches a Judge effect of this file."""

    def __init__(self, **about: object) -> None:
        self.about = about

    def matches(self, effect: Effect) -> bool:
        return isinstance(effect, Judge) and all(getattr(effect.about, k) == v for k, v in self.about.items())


def play(mode: FileMode = "spool", **how: object) -> Play:
    session, world, _ = file_session(mode, **how)  # type: ignore[arg-type]
    return Play(session, world)


def judging(effects: list[Effect]) -> Judge:
    return next(e for e in effects if isinstance(e, Judge))


def of(effects: list[Effect], *kinds: type) -> list[Effect]:
    return [e for e in effects if isinstance(e, kinds)]


def test_spooled_nothing_leaves_before_the_verdict_and_then_everything_in_order() -> None:
    """Spool: the sender is answered at once; the receiver gets everything after a passing verdict, piece by piece."""
    p = play()
    p >> up(b"FILE t a.txt 6\n") << [Row("file", state="offered", name="a.txt"), Spool(FID, b"", b"FILE t a.txt 6\n")]
    p >> up(b"PART t abc\nPART t def\n") << [
        Spool(FID, b"abc", b"PART t abc\n"), sent_down(b"ACK\n"),
        Spool(FID, b"def", b"PART t def\n"), sent_down(b"ACK\n")]
    p >> up(b"CLOSE t\nSAY bob hi\n")
    judge = judging(p.last)
    assert not of(p.last, Send)
    assert (judge.about.file_name, judge.about.size, judge.about.complete) == ("a.txt", 6, True)
    p.last = []
    p >> Judged(FID, START, REPORT) << [
        Row("file", state="transferred", sha256="aa", type="text", complete=True), Unspool(FID, UP)]
    p >> Unspooled(FID, START, b"one") << [sent_up(b"one"), Unspool(FID, UP)]
    p >> Unspooled(FID, START, b"two", True) << [
        sent_up(b"two"), Discard(FID), sent_up(b"CLOSE t\n"), sent_up(b"SAY bob hi\n")]


def test_spooled_and_refused_nothing_leaves_and_the_row_is_durable_first() -> None:
    """Spool: after a refusal the receiver has seen nothing; the sender is told once the verdict's row is on disk."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, BAD) << [
        Row("file", state="transferred"), Row("verdict", durable=True, did="block", about="file", rule="bad files")]
    p >> Kept(p.durable, START) << [Discard(FID), sent_down(b"REFUSED\n")]
    p >> up(b"SAY bob hi\n") << [sent_up(b"SAY bob hi\n")]


def test_streamed_all_but_the_tail_leaves_while_it_comes() -> None:
    """Stream: content flows, the last bytes wait for the verdict; the event says how much had gone."""
    session, world, policy = file_session("stream", limits=Limits(file_tail_bytes=20))
    p = Play(session, world)
    p >> up(b"FILE t a.txt\n") << [Row("file")]
    p >> up(b"PART t 0123456789\n") << [
        Spool(FID, b"0123456789"), sent_down(b"ACK\n")]
    p >> up(b"PART t abcdefghij\n") << [
        Spool(FID, b"abcdefghij"), sent_down(b"ACK\n"), sent_up(b"FILE t a.txt\n")]
    p >> up(b"PART t ABCDEFGHIJ\n") << [
        Spool(FID, b"ABCDEFGHIJ"), sent_down(b"ACK\n"), sent_up(b"PART t 0123456789\n")]
    p >> up(b"PART t klmnopqrst\n") << [
        Spool(FID, b"klmnopqrst"), sent_down(b"ACK\n"), sent_up(b"PART t abcdefghij\n")]
    p >> up(b"CLOSE t\n")
    judge = judging(p.last)
    assert judge.about.sent == 13 + 18 + 18
    p.last = []
    p >> Judged(FID, START, REPORT)
    assert of(p.last, Send) == [
        Send(UP, b"PART t ABCDEFGHIJ\nPART t klmnopqrst\n"), Send(UP, b"CLOSE t\n")]
    assert policy.seen[0].mode == "stream"


def test_streamed_and_refused_the_tail_never_comes() -> None:
    """Stream: after a refusal the tail is thrown away."""
    p = play("stream")
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert of(p.last, Send) == [Send(DOWN, b"ACK\n")]
    p.last = []
    p >> Judged(FID, START, BAD)
    p.last = []
    p >> Kept(p.durable, START) << [Discard(FID), sent_down(b"REFUSED\n")]


def test_an_inband_file_lets_other_units_pass_and_goes_out_between_them() -> None:
    """In-band: chat goes on while the file is spooled and judged."""
    p = play()
    p >> up(b"IN t a.txt 3\nSAY bob one\nPART t abc\nCLOSE t\nSAY bob two\n")
    assert of(p.last, Send) == [Send(UP, b"SAY bob one\n"), Send(DOWN, b"ACK\n"), Send(UP, b"SAY bob two\n")]
    p.last = []
    p >> Judged(FID, START, REPORT) << [Row("file"), Unspool(FID, UP)]
    p >> up(b"SAY bob thr") << []
    p >> Unspooled(FID, START, b"all", True)
    assert of(p.last, Send) == [Send(UP, b"all"), Send(UP, b"CLOSE t\n")]


def test_a_refused_inband_file_is_refused_while_the_session_goes_on() -> None:
    """In-band: the refusal waits for its row, beside the queue."""
    p = play()
    p >> up(b"IN t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, BAD)
    p.last = []
    p >> up(b"SAY bob hi\n") << [sent_up(b"SAY bob hi\n")]
    p >> Kept(p.durable, START) << [Discard(FID), sent_down(b"REFUSED\n")]


def test_an_unannounced_file_is_judged_by_its_name_before_its_content() -> None:
    """A refused offer: each frame of the file is refused, nothing is spooled, the session goes on."""
    p = play()
    p >> up(b"FILE t bad.exe 3\n") << [Row("file"), Row("verdict", durable=True, did="block")]
    p >> Kept(p.durable, START) << []
    p >> up(b"PART t abc\n") << []
    p >> up(b"CLOSE t\n") << [sent_down(b"REFUSED\n")]
    p >> up(b"SAY bob hi\n") << [sent_up(b"SAY bob hi\n")]


def test_a_file_longer_than_offered_is_cut() -> None:
    """A size that lies beyond `file_over_bytes` ends the connection, and nothing of the file leaves."""
    p = play(limits=Limits(file_over_bytes=4))
    p >> up(b"FILE t a.txt 2\nPART t 123456\n")
    p.last = []
    p >> up(b"PART t 7\n")
    assert [type(e) for e in of(p.last, Discard, Cut)] == [Discard, Cut]
    assert any(isinstance(e, Note) and e.row["event"] == "file" and e.row["complete"] is False for e in p.last)


def test_a_lying_inband_file_is_refused_and_the_session_goes_on() -> None:
    """In-band: only the transfer ends."""
    p = play(limits=Limits(file_over_bytes=4))
    p >> up(b"IN t a.txt 2\nPART t 1234567\nCLOSE t\nSAY bob hi\n")
    assert not of(p.last, Cut)
    assert of(p.last, Send) == [Send(DOWN, b"REFUSED\n"), Send(UP, b"SAY bob hi\n")]


@pytest.mark.parametrize("line", [b"SHORT t", b"CLOSE t"])
def test_a_file_shorter_than_offered_is_never_complete(line: bytes) -> None:
    """complete: False, whatever the carrier says of its end."""
    p = play()
    p >> up(b"FILE t a.txt 30\nPART t abc\n" + line + b"\n")
    assert judging(p.last).about.complete is False


def test_a_failed_judgement_is_scanner_failed() -> None:
    """No verdict of the scanner is never clean: the policy's word on scanner_failed holds."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, None, "the worker died")
    assert any(isinstance(e, Note) and e.row.get("name") == "scanner_failed" for e in p.last)
    p.last = []
    p >> Kept(p.durable, START) << [Discard(FID), sent_down(b"REFUSED\n")]


def test_no_verdict_in_time_is_scanner_failed() -> None:
    """The session wakes itself and refuses."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert p.wake == START + Limits().file_seconds
    p.last = []
    p >> Woke(p.wake)
    assert any(isinstance(e, Note) and e.row.get("name") == "scanner_failed" for e in p.last)
    p.last = []
    p >> Judged(FID, START, REPORT) << []


def test_a_capture_is_only_looked_at() -> None:
    """Dry: content is given to the judge, the verdict is logged, nothing is sent and nothing waits."""
    p = play(dry=True)
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert Spool(FID, b"abc") in p.last
    assert not of(p.last, Send)
    p.last = []
    p >> Closed(UP, START)
    p.last = []
    p >> Closed(DOWN, START)
    assert not any(isinstance(e, Note) and e.row["event"] == "flow" for e in p.last)
    p.last = []
    p >> Judged(FID, START, BAD)
    events = [e.row["event"] for e in p.last if isinstance(e, Note)]
    assert events == ["file", "verdict", "flow"]


def test_without_enforcement_the_file_flows_and_is_judged() -> None:
    """enforce false: it leaves as it comes, and the log says what would have been done."""
    p = play(enforce=False)
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert b"".join(e.data for e in p.last if isinstance(e, Send)) == b"FILE t a.txt 3\nPART t abc\nCLOSE t\n"
    p.last = []
    p >> Judged(FID, START, BAD)
    assert any(isinstance(e, Note) and e.row.get("asked") == "block" and e.row["did"] == "pass" for e in p.last)
    assert not of(p.last, Send)


def test_content_that_policy_does_not_want_is_not_read() -> None:
    """Mode pass: no spool, no judge; the row says that it was not seen whole."""
    p = play("pass")
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert not of(p.last, Spool, Judge)
    assert b"".join(e.data for e in p.last if isinstance(e, Send)) == b"FILE t a.txt 3\nPART t abc\nCLOSE t\n"
    rows = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "file"]
    assert [(r["state"], r.get("complete")) for r in rows] == [("offered", None), ("transferred", False)]


def announced(**more: object) -> Expect:
    offer = FileOffer(sender="ann", recipients=("bob",), file_name="a.txt", size=3, method="toy")
    return Expect("192.0.2.1:4000", "toyfiles", "ann", offer=offer, flow="talk", identity="authenticated", **more)  # type: ignore[arg-type]


def test_an_announced_connection_knows_its_people_and_tells_their_conversation() -> None:
    """The expectation gives the user, the protocol's name and where to tell of a refusal."""
    p = play(expected=announced())
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    context = p.session.context
    assert (context.protocol, context.user, context.identity) == ("toy", "ann", "authenticated")
    p.last = []
    p >> Judged(FID, START, BAD)
    p.last = []
    p >> Kept(p.durable, START)
    told = [e for e in p.last if isinstance(e, Tell)]
    assert told[0].flow == "talk"
    assert told[0].notice.about == announced().offer
    assert "a.txt" in told[0].notice.text
    assert told[0].notice.reader == told[0].notice.text
    p.last = []
    p >> Closed(UP, START)
    p.last = []
    p >> Closed(DOWN, START)
    row = next(e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "flow")
    assert (row["protocol"], row["carried"]) == ("toy", ["toyfiles"])


@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_a_file_that_goes_up_is_its_announcers_on_any_connection(
    mode: FileMode, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An upload to a slot is judged as the user's who was given the slot, each file as its own; one that comes down is
    read by somebody of whom the slot says nothing."""
    other = msgspec.structs.replace(announced(), by="amy")
    monkeypatch.setattr(ToyFileDecoder, "slots", {"a.txt": announced(), "b.txt": other})
    session, world, policy = file_session(mode)
    users: list[tuple[str | None, str]] = []
    decide = policy.decide

    def noting(event: Event, context: Context, *rest: Any) -> Verdict | None:
        if type(event) is File:
            users.append((context.user, context.identity))
        return decide(event, context, *rest)

    monkeypatch.setattr(policy, "decide", noting)
    p = Play(session, world)
    for data in (b"IN t a.txt 3\nPART t abc\n", b"IN u b.txt 3\nPART u abc\nCLOSE u\n", b"CLOSE t\n"):
        p >> up(data)
        p.last = []
    for name in ("f1-f2", FID):
        p >> Judged(name, START, REPORT)
        p.last = []
    assert users == [("amy", "authenticated"), ("ann", "authenticated")]
    session, world, _ = file_session(mode)
    p = Play(session, world)
    p >> down(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    assert p.session.context.user is None


def test_an_announcement_for_somebody_else_is_not_taken() -> None:
    """An expectation that names its client is for no other."""
    p = play(expected=announced(client="10.9.9.9"))
    p >> up(b"FILE t a.txt 3\n")
    assert p.session.context.user is None


def test_a_session_that_ends_leaves_no_file_behind() -> None:
    """What was not decided is thrown away, with a row that says that nobody has it."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\n")
    p.last = []
    p >> Closed(UP, START)
    p.last = []
    p >> Closed(DOWN, START)
    assert Discard(FID) in p.last
    assert any(isinstance(e, Note) and e.row["event"] == "file" and e.row["complete"] is False for e in p.last)


def test_a_verdict_that_cuts_ends_the_session() -> None:
    """CUT on a file."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    cut = FileReport(size=3, sha256="aa", sha1="b", md5="c", findings=(Finding("yara", "toy.cut", "high"),))
    p >> Judged(FID, START, cut)
    p.last = []
    p >> Kept(p.durable, START)
    assert [type(e) for e in of(p.last, Cut)] == [Cut]
    assert Discard(FID) in p.last
    assert not any(isinstance(e, Send) and e.way is UP and b"PART" in e.data for e in p.last)


def test_the_sender_may_leave_while_his_file_is_judged() -> None:
    """The writer's end waits behind the file: the receiver gets the file, then the end."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Closed(UP, START) << []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Unspooled(FID, START, b"all", True)
    assert of(p.last, Send, Finish) == [Send(UP, b"all"), Send(UP, b"CLOSE t\n"), Finish(UP)]


def test_hold_is_a_refusal_until_holding_works() -> None:
    """A file that should be held is blocked."""
    p = play()
    p >> up(b"FILE t hold.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, REPORT)
    assert any(isinstance(e, Note) and e.row.get("asked") == "hold" and e.row["did"] == "block" for e in p.last)


def test_a_spool_that_cannot_be_read_cuts() -> None:
    """Half a file is not delivered quietly."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Unspooled(FID, START, b"", False, "the disk is gone")
    assert of(p.last, Cut)


def test_too_many_files_at_a_time_are_refused() -> None:
    """files_open bounds what one session can make us keep."""
    p = play(limits=Limits(files_open=1))
    p >> up(b"IN t a.txt 3\nIN u b.txt 3\nPART u abc\nCLOSE u\n")
    assert any(isinstance(e, Note) and e.row.get("name") == "overload" for e in p.last)
    assert not any(isinstance(e, Spool) and e.file != FID for e in p.last)


def test_content_and_end_in_one_frame() -> None:
    """The last part may bring the end: it leaves after what was held."""
    p = play()
    p >> up(b"FILE t a.txt 3\nLAST t abc\n")
    assert Spool(FID, b"abc") in p.last
    p.last = []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Unspooled(FID, START, b"FILE t a.txt 3\n", True)
    assert of(p.last, Send) == [Send(UP, b"FILE t a.txt 3\n"), Send(UP, b"LAST t abc\n")]


def test_a_file_coming_down_is_held_the_same_way() -> None:
    """Way DOWN."""
    p = play()
    p >> down(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert of(p.last, Send) == [Send(UP, b"ACK\n")]
    p.last = []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Unspooled(FID, START, b"all", True)
    assert of(p.last, Send) == [Send(DOWN, b"all"), Send(DOWN, b"CLOSE t\n")]


def test_the_notice_shows_a_bounded_name() -> None:
    """A name of any length is repeated in part only."""
    text = notice_of(FileOffer(file_name="x" * 500), Verdict(Action.BLOCK, reference="AAAA-BBBB"))
    assert len(text) < 200
    assert "AAAA-BBBB" in text


def test_a_file_event_has_its_fields_from_offer_and_report() -> None:
    """What the policy sees."""
    session, world, policy = file_session("spool")
    p = Play(session, world)
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, REPORT)
    seen: File = policy.seen[0]
    assert (seen.file_name, seen.size, seen.sha256, seen.kinds, seen.complete, seen.mode) == (
        "a.txt", 3, "aa", ("text",), True, "spool")
    assert not [e for e in p.last if isinstance(e, WakeAt) and e.at < START]


def test_an_offer_of_somebody_elses_address_is_for_its_own_client_alone() -> None:
    """Naming an address that is not the offerer's own must not turn other people's connections into file transfers."""
    session, world, _ = file_session()
    expect = Expect("198.51.100.7:443", "toyfiles", "mallory")
    session._expect(expect, START, world)
    other = msgspec.structs.replace(
        session.flow, client=Address("10.0.0.200", 5), server=Address("198.51.100.7", 443))
    assert world.expected(other, START) is None
    assert world.expected(msgspec.structs.replace(other, client=session.flow.client), START) is not None
    session._expect(Expect("10.0.0.1:4000", "toyfiles", "ann"), START, world)
    assert world.expected(msgspec.structs.replace(other, server=Address("10.0.0.1", 4000)), START) is not None


def test_a_warning_about_a_file_is_told_and_the_file_delivered() -> None:
    """WARN: once, in the conversation, that it was delivered although it should not be."""
    text = notice_of(FileOffer(file_name="a.txt"), Verdict(Action.WARN, reference="AAAA-BBBB"))
    assert "was delivered" in text
    assert '"a.txt"' in text
    named = notice_of(FileOffer(file_name="{reference}.txt"), Verdict(Action.BLOCK, notice="No. {reference}"))
    assert named == "No."


def test_the_reader_of_a_refused_file_reads_the_placeholder() -> None:
    """Not what the rule says to the sender; without a placeholder a neutral sentence; of a warning, and where nobody is
    to be told, nothing."""
    offer = FileOffer(file_name="a.txt")
    block = Verdict(Action.BLOCK, notice="Yours was refused.", placeholder="[Removed, {reference}]", reference="AA-BB")
    assert words_for_reader(offer, block) == "[Removed, AA-BB]"
    plain = words_for_reader(offer, msgspec.structs.replace(block, placeholder=None))
    assert '"a.txt" was not delivered' in plain
    assert "Yours" not in plain
    assert words_for_reader(offer, msgspec.structs.replace(block, notice="", placeholder=None)) == ""
    assert words_for_reader(offer, Verdict(Action.WARN, notice="Yours was delivered.")) == ""


def test_a_sender_is_answered_where_no_words_of_ours_have_a_place() -> None:
    """Nothing can be injected into a raw connection; what its sender waits for leaves all the same, and a no."""
    p = play()
    p >> up(b"FILE t raw 6\nPART t abc\nCLOSE t\n")
    assert of(p.last, Send) == [Send(DOWN, b"ACK\n")]
    p.last = []
    p >> Judged(FID, START, BAD)
    p.last = []
    p >> Kept(p.durable, START) << [Discard(FID), sent_down(b"REFUSED\n")]


def test_refused_words_of_a_direct_conversation_are_told_where_it_was_offered() -> None:
    """A side connection whose protocol has no place for notices: the conversation gets it, once the row is on disk."""
    spec = msgspec.structs.replace(FILES, can={"message": Can(drop=True)})
    session, world, _ = file_session(expected=msgspec.structs.replace(announced(), by=None), spec=spec)
    p = Play(session, world)
    p >> up(b"SAY bob block this\n")
    assert not of(p.last, Tell)
    p.last = []
    p >> Kept(p.durable, START)
    [told] = of(p.last, Tell)
    assert isinstance(told, Tell)
    assert told.flow == "talk"
    assert "was not delivered" in told.notice.text


def test_an_announced_connection_is_read_from_its_first_bytes() -> None:
    """A probe that wants more withholds nothing where the connection was announced: its maker waits for an answer."""
    spec = msgspec.structs.replace(FILES, probe=lambda up, down: Match.MORE)
    session, world, _ = file_session("pass", expected=announced(), spec=spec)
    p = Play(session, world)
    p >> up(b"hello\n") << sent_up(b"hello\n")


def test_what_one_judge_has_found_counts_though_another_failed() -> None:
    """scanner_failed: pass lets unjudged files through, but no file in which something was found."""
    p = play(trouble={"scanner_failed": "pass"})
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, BAD, "clamd cannot be reached")
    rows = [e.row for e in p.last if isinstance(e, Note)]
    assert [r["event"] for r in rows] == ["trouble", "file", "verdict"]
    assert (rows[1]["complete"], rows[2]["did"], rows[2]["rule"]) == (False, "block", "bad files")
    assert rows[2]["findings"][-1]["rule"] == "unscanned"


def test_a_file_that_passes_unjudged_says_so() -> None:
    """scanner_failed: pass: its verdict's row names it, and that not all judges have seen it."""
    p = play(trouble={"scanner_failed": "pass"})
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Judged(FID, START, None, "the worker died")
    rows = [e.row for e in p.last if isinstance(e, Note)]
    assert [r["event"] for r in rows] == ["trouble", "file", "verdict"]
    assert (rows[2]["message"], rows[2]["did"], [f["rule"] for f in rows[2]["findings"]]) == (
        rows[1]["id"], "pass", ["unscanned"])


def test_a_finding_of_the_second_judge_alone_has_no_digest() -> None:
    """The reader failed, the other one found something: refused, and the row claims no content."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    half = FileReport(size=0, sha256="", sha1="", md5="", findings=BAD.findings)
    p >> Judged(FID, START, half, "the worker died")
    [row] = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "file"]
    assert (row["sha256"], row["encrypted"], row["members"]) == (None, None, None)
    assert any(isinstance(e, Note) and e.row.get("did") == "block" for e in p.last)


def test_the_row_of_a_file_names_the_row_of_its_offer() -> None:
    """Offered in the same flow, or announced from another one."""
    p = play()
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    offered = next(e.row["id"] for e in p.last if isinstance(e, Note) and e.row["event"] == "file")
    p.last = []
    p >> Judged(FID, START, REPORT)
    [row] = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "file"]
    assert row["offer"] == offered
    session, world, _ = file_session(expected=announced())
    offer = announced().offer
    assert offer is not None
    world.offers.put(offer_key("talk", offer), "talk-7", START + 10)
    q = Play(session, world)
    q >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    q.last = []
    q >> Judged(FID, START, REPORT)
    [row] = [e.row for e in q.last if isinstance(e, Note) and e.row["event"] == "file"]
    assert row["offer"] == "talk-7"


def test_an_offer_whose_address_became_known_later_is_named_too() -> None:
    """A passive offer names no address; its answer does, and the content came there."""
    expect = announced()
    assert expect.offer is not None
    offer = msgspec.structs.replace(expect.offer, address=None)
    session, world, _ = file_session(expected=msgspec.structs.replace(
        expect, offer=msgspec.structs.replace(offer, address="192.0.2.1:4000")))
    world.offers.put(offer_key("talk", offer), "talk-7", START + 10)
    p = Play(session, world)
    p >> up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n")
    assert judging(p.last).about.offer == "talk-7"


@pytest.mark.parametrize("mode", ["spool", "stream", "pass"])
def test_who_offers_with_the_content_itself_is_warned(mode: FileMode) -> None:
    """A warning about an offer that nobody made before reaches its sender once, with the first frame."""
    p = play(mode)
    p >> up(b"FILE t odd.txt 3\n")
    assert of(p.last, Send).count(Send(DOWN, b"WARNED\n")) == 1
    p.last = []
    p >> up(b"PART t abc\nCLOSE t\n")
    assert Send(DOWN, b"WARNED\n") not in p.last


def test_an_inband_file_is_decided_although_its_sender_has_left() -> None:
    """Its last unit came, then the end of the connection: the reader gets the file, then the end."""
    p = play()
    p >> up(b"IN t a.txt 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Closed(UP, START)
    assert not of(p.last, Finish)
    p.last = []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Unspooled(FID, START, b"all", True)
    assert of(p.last, Send, Finish) == [Send(UP, b"all"), Send(UP, b"CLOSE t\n"), Finish(UP)]


def test_a_released_file_that_can_be_sent_nowhere_ends_with_its_session_and_is_told() -> None:
    """In-band: behind the last words of its sender nothing can stand. The session is not kept open for it."""
    p = play("stream")
    p >> up(b"IN t raw 3\nPART t abc\nCLOSE t\n")
    p.last = []
    p >> Closed(UP, START)
    assert of(p.last, Finish) == [Finish(UP)]
    p.last = []
    p >> Judged(FID, START, REPORT)
    p.last = []
    p >> Closed(DOWN, START)
    rows = [e.row for e in p.last if isinstance(e, Note)]
    assert [(r["event"], r.get("name")) for r in rows] == [("trouble", "undelivered"), ("flow", None)]
    assert Discard(FID) in p.last


def test_a_lying_inband_file_is_told_as_blocked() -> None:
    """The log says what was done: the transfer was refused, the session went on."""
    p = play(limits=Limits(file_over_bytes=4))
    p >> up(b"IN t a.txt 2\nPART t 1234567\n")
    [row] = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "trouble"]
    assert (row["name"], row["did"]) == ("malformed", "block")
