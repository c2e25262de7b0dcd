"""The engine, played: inputs in, effects out."""

from __future__ import annotations

import msgspec
import pytest

from inspector.model import (
    DOWN,
    Closed,
    Context,
    Cut,
    Event,
    Finding,
    Finish,
    Flow,
    Guess,
    Input,
    Kept,
    Killed,
    Limits,
    Note,
    Scanned,
    Secured,
    Send,
    Spliced,
    StartTls,
    Troubled,
    Verdict,
    WakeAt,
    Way,
    Woke,
)
from tests.engine.toy import FLOW, ToyPolicy, toy_kit, toy_session
from tests.playbook import START, Play, Row, Scanning, down, sent_down, sent_up, up


def signed_on(play: Play | None = None) -> Play:
    """A session whose user is known."""
    play = play or Play(*toy_session())
    play >> up(b"HELLO alice\n") << sent_up(b"HELLO alice\n")
    play >> down(b"ME alice\n") << [Row("sign_on", user="alice", identity="authenticated"), sent_down(b"ME alice\n")]
    return play


def test_a_harmless_message_passes_unchanged_and_unlogged() -> None:
    """With archive none a passed message costs no row and leaves byte for byte."""
    play = signed_on()
    play >> up(b"SAY bob hi there\n") << sent_up(b"SAY bob hi there\n")
    assert play.world.tally("toy").messages == 1


def test_a_refused_message_leaves_only_after_its_row_is_durable() -> None:
    """The barrier: neither the sender's notice nor anything else of the frame goes out before Kept."""
    play = signed_on()
    play >> up(b"SAY bob block this\n") << [
        Row("message", kind="chat", text="block this"),
        Row("verdict", durable=True, asked="block", did="block", rule="block rule", mode="enforce"),
    ]
    ref = play.notes[-1].row["reference"]
    play >> Kept(play.durable, START) << sent_down(
        f"NOTE Your message was not delivered: company policy. Reference {ref}.\n".encode())


def test_what_follows_a_waiting_message_keeps_its_place() -> None:
    """A later message of the same way waits; the other way goes on."""
    play = signed_on()
    play >> up(b"SAY bob block\n") << [Row("message"), Row("verdict", durable=True)]
    play >> up(b"SAY bob after\n") << []
    play >> down(b"SAY alice other way\n") << sent_down(b"SAY alice other way\n")
    assert play.session.queued(Way.UP) == len(b"SAY bob block\nSAY bob after\n")
    play >> Kept(play.durable, START)
    assert play.last[-1] == sent_up(b"SAY bob after\n") or play.last[0] == sent_up(b"SAY bob after\n")
    play << play.last  # the order between the two ways is free


def test_a_masked_message_goes_out_masked_after_its_row() -> None:
    """REDACT masks the finding's span, one star a character."""
    play = signed_on()
    play >> up(b"SAY bob mask the secret now\n") << [Row("message"), Row("verdict", durable=True, did="redact")]
    play >> Kept(play.durable, START) << sent_up(b"SAY bob mask the ****** now\n")


def test_a_mask_without_a_place_becomes_a_block() -> None:
    """A redaction that has no span blocks, and the row says both."""
    play = signed_on()
    play >> up(b"SAY bob mask nothing\n") << [Row("message"), Row("verdict", durable=True, asked="redact", did="block")]
    play >> Kept(play.durable, START)
    assert all(isinstance(e, Send) and e.way is Way.DOWN for e in play.last)
    play << play.last


def test_a_warning_delivers_and_tells() -> None:
    """WARN is not durable: the message and the notice go at once."""
    play = signed_on()
    play >> up(b"SAY bob warn me\n")
    ref = play.notes[-1].row["reference"]
    play << [
        Row("message"), Row("verdict", did="warn"), sent_up(b"SAY bob warn me\n"),
        sent_down(f"NOTE Your message was delivered, but it is against company policy. Reference {ref}.\n".encode()),
    ]


def test_cut_says_goodbye_and_ends() -> None:
    """CUT writes the protocol's last words to both sides, the flow's row, then Cut."""
    play = signed_on()
    play >> up(b"SAY bob cut me\n") << [Row("message"), Row("verdict", durable=True, did="cut")]
    play >> Kept(play.durable, START)
    assert [type(e).__name__ for e in play.last] == ["Send", "Send", "Note", "Cut"]
    play << play.last
    assert play.session.over
    play >> up(b"SAY bob more\n") << []


def test_monitoring_decides_but_does_nothing() -> None:
    """enforce: false logs what would have been done, and delivers."""
    play = signed_on(Play(*toy_session(toy_kit(ToyPolicy(enforce=False)))))
    play >> up(b"SAY bob block\n") << [
        Row("message"), Row("verdict", asked="block", did="pass", mode="monitor"), sent_up(b"SAY bob block\n")]


def test_hold_becomes_block_where_nothing_can_be_held() -> None:
    """What cannot be stored is blocked."""
    play = signed_on()
    play >> up(b"SAY bob hold\n") << [Row("message"), Row("verdict", durable=True, asked="hold", did="block")]
    play >> Kept(play.durable, START) << play.last


def test_nothing_of_the_user_leaves_before_his_sign_on_is_judged() -> None:
    """A message pipelined in front of the sign-on waits for it."""
    play = Play(*toy_session())
    play >> up(b"HELLO alice\nSAY bob early\n") << sent_up(b"HELLO alice\n")
    play >> down(b"ME alice\n") << [Row("sign_on"), sent_down(b"ME alice\n"), sent_up(b"SAY bob early\n")]


def test_a_refused_sign_on_frees_nothing() -> None:
    """What waited for the sign-on is not delivered when the sign-on is cut."""
    play = Play(*toy_session(toy_kit(ToyPolicy(deny="mallory"))))
    play >> up(b"HELLO mallory\nSAY bob early\n") << sent_up(b"HELLO mallory\n")
    play >> down(b"ME mallory\n") << [Row("sign_on"), Row("verdict", durable=True, did="cut", rule="no entry")]
    play >> Kept(play.durable, START)
    assert not any(isinstance(e, Send) and b"SAY" in e.data for e in play.last)
    assert any(isinstance(e, Cut) for e in play.last)
    play << play.last


def test_without_a_sign_on_the_message_is_judged_without_user_in_the_end() -> None:
    """The wait for a sign-on is bounded."""
    play = Play(*toy_session())
    play >> up(b"HELLO alice\nSAY bob early\n") << sent_up(b"HELLO alice\n")
    assert play.wake == START + Limits().sign_on_seconds
    play >> Woke(START + Limits().sign_on_seconds) << sent_up(b"SAY bob early\n")


def test_a_long_text_is_scanned_elsewhere_and_judged_on_the_answer() -> None:
    """Scan effect, answer, verdict; the frame waits meanwhile."""
    play = signed_on()
    play >> up(b"SAY bob long mask secret\n") << Scanning()
    scan = play.scans[-1]
    findings = scan.rules.scanner.full(scan.texts)
    play >> Scanned(scan.id, START, findings) << [Row("message"), Row("verdict", durable=True, did="redact")]
    play >> Kept(play.durable, START) << sent_up(b"SAY bob long mask ******\n")


@pytest.mark.parametrize("how", ["raise", "answer", "silence"])
def test_a_scan_that_failed_is_never_clean(how: str) -> None:
    """An exception, a failure and no answer in time all end in scanner_failed: blocked by default."""
    play = signed_on()
    verdict = [Row("trouble", name="scanner_failed", did="block"), Row("message"),
               Row("verdict", durable=True, asked="block", did="block")]
    if how == "raise":
        play >> up(b"SAY bob broken thing\n") << verdict
    else:
        play >> up(b"SAY bob long thing\n") << Scanning()
        if how == "answer":
            play >> Scanned(play.scans[-1].id, START, (), "it died") << verdict
        else:
            assert play.wake == START + Limits().scan_seconds
            play >> Woke(play.wake) << verdict
    play >> Kept(play.durable, START)
    assert not any(isinstance(e, Send) and e.way is Way.UP for e in play.last)
    play << play.last


def test_a_row_that_cannot_be_written_lets_nothing_out() -> None:
    """store_failed blocks by default: a masked message is not delivered either, and its sender is told although the
    rule has no words for him."""
    play = signed_on()
    play >> up(b"SAY bob mask secret\n") << [Row("message"), Row("verdict", durable=True, did="redact")]
    not_delivered(play, Kept(play.durable, START, ok=False))


def not_delivered(play: Play, given: Input) -> None:
    """Trouble, and a notice to the sender; nothing goes up."""
    play >> given
    trouble, said = play.last
    play.last = []
    assert Row("trouble", name="store_failed", did="block").matches(trouble)
    assert isinstance(said, Send)
    assert said.way is DOWN
    assert b"it could not be checked" in said.data


def test_a_text_for_which_there_was_no_room_is_overload() -> None:
    """The policy says what follows."""
    p = signed_on()
    p >> up(b"SAY bob long words\n")
    scan = p.scans[-1]
    p.last = []
    p >> Scanned(scan.id, START, (), "too many texts wait", "overload")
    rows = [e.row for e in p.last if isinstance(e, Note)]
    assert [row["name"] for row in rows if row["event"] == "trouble"] == ["overload"]


def test_a_store_that_never_answers_is_a_store_that_failed() -> None:
    """No commit within store_seconds is store_failed."""
    play = signed_on()
    play >> up(b"SAY bob mask secret\n") << [Row("message"), Row("verdict", durable=True)]
    assert play.wake is not None
    not_delivered(play, Woke(play.wake))


def test_a_message_over_several_units_is_judged_whole() -> None:
    """The units of a group wait for the last one's verdict and leave or stay together."""
    play = signed_on()
    play >> up(b"PART g bob x\n") << []
    play >> up(b"DONE g bob fine\n") << [sent_up(b"PART g bob x\n"), sent_up(b"DONE g bob fine\n")]
    play >> up(b"PART h bob x\nDONE h bob block\n") << [Row("message"), Row("verdict", durable=True, did="block")]
    play >> Kept(play.durable, START)
    assert not any(isinstance(e, Send) and e.way is Way.UP for e in play.last)
    play << play.last


def test_a_group_that_never_ends_is_refused() -> None:
    """Its text was never judged, so nothing of it leaves."""
    play = signed_on()
    play >> up(b"PART g bob x\n") << []
    assert play.wake == START + Limits().group_seconds
    play >> Woke(play.wake)
    assert isinstance(play.last[-1], Cut)
    assert not any(isinstance(e, Send) and b"PART" in e.data for e in play.last)
    play << play.last


def test_undecided_bytes_are_withheld_then_flow() -> None:
    """Bytes that may still be ours wait 1.5 s at most."""
    play = Play(*toy_session())
    play >> up(b"HEL") << WakeAt(START + 1.5)
    play >> Woke(START + 1.5) << sent_up(b"HEL")


def test_foreign_bytes_flow_at_once_and_are_probed_again() -> None:
    """NO is never final: what is recognised later is read from byte 0."""
    play = Play(*toy_session())
    play >> up(b"junk\n") << sent_up(b"junk\n")
    play >> up(b"HELLO alice\n") << sent_up(b"HELLO alice\n")
    play >> down(b"ME alice\n") << [Row("sign_on"), sent_down(b"ME alice\n")]
    play >> up(b"SAY bob block\n") << [Row("message"), Row("verdict", durable=True, did="block")]
    play >> Kept(play.durable, START) << play.last


def test_what_had_left_before_the_recognition_is_judged_and_marked_late() -> None:
    """Late frames are logged; nothing pretends that they were stopped."""
    play = Play(*toy_session())
    play >> up(b"x\nSAY bob block\n") << sent_up(b"x\nSAY bob block\n")
    play >> up(b"HELLO alice\n") << [
        Row("message"), Row("verdict", asked="block", did="pass", late=True), sent_up(b"HELLO alice\n")]


def test_a_unit_of_which_half_had_left_is_ended_by_keeping_the_other_half() -> None:
    """A refused message that straddles the recognition is never completed."""
    flow = msgspec.structs.replace(FLOW, from_start=False)
    play = Play(*toy_session(flow=flow))
    play >> up(b"x\nSAY bob blo") << sent_up(b"x\nSAY bob blo")
    play >> up(b"ck block\nHELLO a\n") << [Row("message"), Row("verdict", durable=True, did="cut")]
    play >> Kept(play.durable, START)
    assert not any(isinstance(e, Send) and b"ck" in e.data for e in play.last)
    play << play.last


def test_the_rest_of_a_harmless_straddling_unit_is_not_lost() -> None:
    """Bytes are conserved across a late recognition."""
    flow = msgspec.structs.replace(FLOW, from_start=False)
    play = Play(*toy_session(flow=flow))
    play >> up(b"x\nSAY bob fi") << sent_up(b"x\nSAY bob fi")
    play >> up(b"ne\nHELLO a\n") << [sent_up(b"ne\n"), sent_up(b"HELLO a\n")]


def test_a_port_named_as_im_is_not_freed_by_junk() -> None:
    """On a listener named as IM, what is not recognised is cut, not relayed."""
    play = Play(*toy_session(named_im=True))
    play >> up(b"junk\n") << []
    play >> up(b"j" * 5000) << [Row("trouble", name="unclassified", did="cut"), Row("flow"), Cut("unclassified")]


def test_silence_after_junk_does_not_free_a_named_port() -> None:
    """Time does not free it either."""
    play = Play(*toy_session(named_im=True))
    play >> up(b"junk\n") << []
    play >> Woke(START + 1.5) << [Row("trouble", name="unclassified", did="cut"), Row("flow"), Cut("unclassified")]


@pytest.mark.parametrize("word", ["cut", "block"])
def test_what_is_surely_none_of_ours_passes_only_where_the_policy_lets_it(word: str) -> None:
    """On any listener: it is withheld until it might have become something, then ended."""
    kit = toy_kit(ToyPolicy(trouble={"unclassified": word}))
    play = Play(*toy_session(kit=kit))
    play >> up(b"GET / HTTP/1.1\r\n") << []
    play >> Woke(START + 1.5) << [Row("trouble", name="unclassified", did="cut"), Row("flow"), Cut("unclassified")]


def test_where_the_unrecognised_is_cut_junk_in_front_costs_nobody_his_session() -> None:
    """What is recognised while it is withheld is inspected from its first byte."""
    play = Play(*toy_session(kit=toy_kit(ToyPolicy(trouble={"unclassified": "cut"}))))
    play >> up(b"junk\n") << []
    play >> up(b"HELLO alice\n") << [sent_up(b"junk\n"), sent_up(b"HELLO alice\n")]


def test_a_weak_match_is_taken_when_the_time_is_over() -> None:
    """Better inspected than not."""
    play = Play(*toy_session())
    play >> up(b"HI there\n") << []
    play >> Woke(START + 1.5) << sent_up(b"HI there\n")
    assert play.session.decoding


def test_a_weak_match_is_taken_at_once_on_its_own_port() -> None:
    """Ports break ties."""
    flow = Flow(id="f", client=FLOW.client, server=msgspec.structs.replace(FLOW.server, port=7777))
    play = Play(*toy_session(flow=flow))
    play >> up(b"HI there\n") << sent_up(b"HI there\n")
    assert play.session.context.protocol == "toy"


def test_broken_bytes_cut_by_default() -> None:
    """A fault ends the session politely; the broken bytes are not delivered."""
    play = signed_on()
    play >> up(b"BAD\nSAY bob x\n")
    assert [type(e).__name__ for e in play.last] == ["Note", "Send", "Send", "Note", "Cut"]
    assert play.notes[-2].row["name"] == "malformed"
    play << play.last


def test_a_fault_let_pass_does_not_end_the_inspection() -> None:
    """`malformed: pass` lets the broken bytes go and reads on."""
    play = signed_on(Play(*toy_session(toy_kit(ToyPolicy(trouble={"malformed": "pass"})))))
    play >> up(b"BAD\n") << [Row("trouble", name="malformed", did="pass"), sent_up(b"BAD\n")]
    play >> up(b"SAY bob block\n") << [Row("message"), Row("verdict", durable=True, did="block")]
    play >> Kept(play.durable, START) << play.last


def test_an_internal_error_always_cuts() -> None:
    """Whatever the policy says of trouble."""
    play = signed_on(Play(*toy_session(toy_kit(ToyPolicy(trouble={"internal": "pass"})))))
    play >> Troubled(START, "internal", "boom") << [
        Row("trouble", name="internal", did="cut"), Row("flow"), Cut("internal")]


def test_start_tls_is_handed_to_the_driver_and_a_failure_ends_the_session() -> None:
    """The agreement to start TLS is an effect; its failure cuts."""
    play = signed_on()
    play >> down(b"TLS\n") << StartTls("toy.example", b"GO\n", b"NO\n")
    play >> Secured(START, False, "bad certificate") << [
        Row("trouble", name="tls_failed"), Row("flow"), Cut("bad certificate")]


def test_half_close_is_passed_on_after_what_was_queued() -> None:
    """The peer's end travels behind his last words."""
    play = signed_on()
    play >> up(b"SAY bob block\nSAY bob last") << [Row("message"), Row("verdict", durable=True)]
    play >> Closed(Way.UP, START) << []
    play >> Kept(play.durable, START)
    assert [e for e in play.last if not (isinstance(e, Send) and e.way is Way.DOWN)] == [
        sent_up(b"SAY bob last"), Finish(Way.UP)]
    play << play.last
    play >> Closed(Way.DOWN, START) << [Finish(Way.DOWN), Row("flow", protocol="toy", user="alice", bytes=47)]
    assert play.session.over


def test_notices_wait_until_the_session_is_ready_for_them() -> None:
    """Nothing is injected before the decoder is ready that way."""
    session, world = toy_session(flow=msgspec.structs.replace(FLOW, from_start=True))
    play = Play(session, world)
    play >> up(b"HELLO a\nSAY bob warn\n") << sent_up(b"HELLO a\n")
    play >> Woke(START + 30) << [Row("message"), Row("verdict", did="warn"), sent_up(b"SAY bob warn\n")]
    play >> down(b"ME a\n")
    assert isinstance(play.last[-1], Send)
    assert play.last[-1].data.startswith(b"NOTE ")
    play << play.last


def test_an_operator_can_end_a_session() -> None:
    """Killed is a polite cut."""
    play = signed_on()
    play >> Killed(START, "by root") << [
        sent_down(b"BYE by root\n"), sent_up(b"BYE\n"), Row("flow"), Cut("by root")]


def test_a_spliced_flow_is_relayed_unread_and_named() -> None:
    """TLS that is not to be opened is passed and logged as such."""
    play = Play(*toy_session())
    play >> Spliced(START, "tls", "never") << []
    play >> up(b"\x16\x03\x01") << sent_up(b"\x16\x03\x01")
    play >> Closed(Way.UP, START) << Finish(Way.UP)
    play >> Closed(Way.DOWN, START) << [Finish(Way.DOWN), Row("flow", protocol="tls")]


def test_the_second_leg_of_a_message_is_marked() -> None:
    """The same words from the same sender coming down elsewhere are a copy: leg; the decision is made anew."""
    kit = toy_kit(archive="full")
    session, world = toy_session(kit)
    first = Play(session, world)
    first >> up(b"HELLO alice\n") << first.last
    first.last = []
    first >> down(b"ME alice\n")
    first << first.last
    first >> up(b"SAY bob hello again\n") << [Row("message", copy="no"), Row("verdict", did="pass"),
                                             sent_up(b"SAY bob hello again\n")]
    other = Flow(id="f2", client=FLOW.client, server=FLOW.server)
    from inspector.engine.session import Session

    second = Play(Session(other, kit, world), world)
    second >> up(b"HELLO bob\n")
    second << second.last
    second >> down(b"SAY bob hello again\n") << [Row("message", copy="leg"), Row("verdict"),
                                                 sent_down(b"SAY bob hello again\n")]


def test_oddities_are_logged_once_and_counted_always() -> None:
    """A flood of odd lines is one row and a number."""
    play = signed_on()
    play >> up(b"ODD\nODD\nODD\n") << [Row("oddity", name="toy.odd"), *[sent_up(b"ODD\n")] * 3]
    assert play.world.tally("toy").oddities == {"toy.odd": 3}


def test_a_capture_is_judged_but_nothing_is_sent() -> None:
    """Dry: verdicts as live, no Send, no waiting, reading goes on after a cut."""
    play = Play(*toy_session(toy_kit(archive="full"), dry=True))
    play >> up(b"HELLO a\nSAY bob block\nSAY bob cut\nSAY bob fine\n") << [
        Row("message", text="block"), Row("verdict", did="block"),
        Row("message", text="cut"), Row("verdict", did="cut"),
        Row("message", text="fine"), Row("verdict", did="pass"),
    ]


def test_an_archive_of_metadata_keeps_no_words_of_what_passes() -> None:
    """metadata: a row without text for what passes; what is refused keeps its text, as privacy says."""
    play = signed_on(Play(*toy_session(toy_kit(archive="metadata"))))
    play >> up(b"SAY bob hello\n") << [
        Row("message", text=None, texts=[]), Row("verdict", did="pass"), sent_up(b"SAY bob hello\n")]
    play >> up(b"SAY bob block it\n") << [Row("message", text="block it"), Row("verdict", durable=True)]
    play >> Kept(play.durable, START) << play.last


def test_rows_say_what_a_mask_has_to_cover_and_what_the_sender_was_told() -> None:
    """`spans` for privacy.text: masked; None when a finding has no place; the notice as it was sent."""
    play = signed_on()
    play >> up(b"SAY bob mask the secret\n") << [Row("message", spans=[(0, 9, 15)]), Row("verdict", durable=True)]
    play >> Kept(play.durable, START) << play.last
    play >> up(b"SAY bob block\n") << [Row("message", spans=[]), Row("verdict", durable=True)]
    told = play.notes[-1].row["notice"]
    play >> Kept(play.durable, START) << sent_down(f"NOTE {told}\n".encode())


def test_a_dribbler_does_not_make_recognition_quadratic() -> None:
    """One byte a segment: what the probes look at stays a fixed multiple of what came."""
    kit = toy_kit()
    looked = 0
    classify = kit.classify

    def counting(up_bytes: bytes, down_bytes: bytes, flow: Flow, names: frozenset[str]) -> Guess:
        nonlocal looked
        looked += len(up_bytes) + len(down_bytes)
        return classify(up_bytes, down_bytes, flow, names)

    kit.classify = counting
    session, world = toy_session(kit)
    for _ in range(20_000):
        session.step(up(b"\n"), world)
    limits = kit.limits
    assert looked <= limits.probe_look_bytes + limits.probe_look_ratio * 20_000 + 20_000


def test_a_dribbled_greeting_is_recognised_all_the_same() -> None:
    """Byte by byte on a port of its own or any other, no message slips by."""
    play = Play(*toy_session())
    for byte in b"HELLO alice\n":
        play >> up(bytes([byte]))
        play.last = []
    assert play.session.decoding


def test_a_placeholder_carries_the_reference() -> None:
    """What the recipient reads instead can be quoted."""

    class Placing(ToyPolicy):
        def decide(
            self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
        ) -> Verdict | None:
            verdict = super().decide(event, context, way, at, findings)
            return verdict and msgspec.structs.replace(verdict, placeholder="[removed, {reference}]")

    play = signed_on(Play(*toy_session(toy_kit(Placing()))))
    play >> down(b"SAY alice block\n") << [Row("message"), Row("verdict", durable=True)]
    ref = play.notes[-1].row["reference"]
    play >> Kept(play.durable, START) << sent_down(f"SAY [removed, {ref}]\n".encode())


def test_what_waits_for_a_sign_on_is_judged_when_a_side_ends() -> None:
    """A session that ends before its sign-on leaves no message unjudged and unlogged."""
    play = Play(*toy_session())
    play >> up(b"HELLO alice\nSAY bob block early\n") << sent_up(b"HELLO alice\n")
    play >> Closed(Way.UP, START) << []
    play >> Closed(Way.DOWN, START)
    play << [Row("message", text="block early"), Row("verdict", durable=True, did="block"), Finish(Way.DOWN)]
    play >> Kept(play.durable, START) << [Finish(Way.UP), Row("flow")]


def test_first_bytes_that_are_dribbled_cost_no_object_a_byte() -> None:
    """What is kept of an unknown flow is joined, and recognition loses nothing by it."""
    play = Play(*toy_session())
    for byte in b"junk" * 500:
        play >> up(bytes([byte]))
        play.last = []
    probe = play.session._probe
    assert probe is not None
    assert len(probe.chunks) < 10
    assert b"".join(chunk.data for chunk in probe.chunks) == b"junk" * 500
    play >> up(b"\nHELLO alice\n") << [sent_up(b"\n"), sent_up(b"HELLO alice\n")]


def test_a_refused_answer_is_logged_as_what_it_is_without_its_words() -> None:
    """What stays goes on without its words: the log says redact, not block."""
    session, world = toy_session()
    p = Play(session, world)
    p >> up(b"HELLO x\n")
    p.last = []
    p >> down(b"ME ann\n")
    p.last = []
    p >> down(b"ANS ann block this\n")
    [row] = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "verdict"]
    assert (row["asked"], row["did"], row["action"]) == ("block", "redact", "redact")


@pytest.mark.parametrize("trouble", ["overload", "scanner_failed"])
def test_what_passes_unscanned_has_its_row(trouble: str) -> None:
    """A policy that lets pass what could not be scanned: each such message has its row, its verdict's row names it and
    says that nobody looked, and it is counted."""
    play = signed_on(Play(*toy_session(toy_kit(ToyPolicy(trouble={trouble: "pass"})))))
    for number in (1, 2):
        said = f"SAY bob long words {number}\n".encode()
        play >> up(said) << Scanning()
        play >> Scanned(play.scans[-1].id, START, failure="no room", trouble=trouble) << [
            Row("trouble", name=trouble, did="pass"), Row("message"), Row("verdict", asked="pass", did="pass"),
            sent_up(said)]
        message, verdict = play.notes[-2].row, play.notes[-1].row
        assert verdict["message"] == message["id"]
        assert [(f["detector"], f["rule"]) for f in verdict["findings"]] == [("engine", "unscanned")]
        assert verdict["reason"] == f"{trouble}: no room"
        assert message["spans"] is None  # with privacy.text: masked nothing of it may be shown
    assert play.session._tally.troubles[trouble, "pass"] == 2
    assert play.session._tally.actions["pass"] == 2


def test_what_a_rule_says_of_a_message_that_was_not_scanned_is_done() -> None:
    """overload: pass lets the rules speak that need no finding; the row says all the same that nobody looked."""
    play = signed_on(Play(*toy_session(toy_kit(ToyPolicy(trouble={"overload": "pass"})))))
    play >> up(b"SAY bob long block\n") << Scanning()
    play >> Scanned(play.scans[-1].id, START, failure="no room", trouble="overload") << [
        Row("trouble", name="overload", did="pass"), Row("message"), Row("verdict", durable=True, did="block")]
    assert [f["rule"] for f in play.notes[-1].row["findings"]] == ["unscanned"]
