"""policy.compiled: deciding and explaining. Every `decide` here is compared with the plain interpreter (kit.decide)."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.model import (
    DOWN,
    UP,
    Action,
    CallSetup,
    ContactChange,
    Context,
    Encryption,
    Event,
    File,
    FileOffer,
    Finding,
    GroupChange,
    Hit,
    Message,
    Opaque,
    Presence,
    SignOn,
    Text,
    Typing,
    Verdict,
    Way,
)
from inspector.policy import CompiledPolicy, compile
from inspector.policy.reader import SPOOLED
from tests.policy.kit import AT, context, decide, finding, matches, message, rules

CARD = "card 4111111111111111 please"
AT_CARD = (0, 5, 21)


# -- order and collection


def test_nothing_matches_is_none() -> None:
    """None, not a verdict: the engine's hot path asks for nothing else."""
    policy = rules("name: r, when: {finding.severity: high}, then: block")
    assert decide(policy, message()) is None
    assert decide(policy, message(), None, UP, finding("x", "low")) is None
    assert decide(rules(), message()) is None


def test_the_first_final_rule_ends() -> None:
    """pass, hold, block and cut end the evaluation in the order of the policy."""
    policy = rules(
        "name: one, when: {finding.rule: a}, then: pass", "name: two, when: {finding.rule: '*'}, then: block",
        "name: three, when: {}, then: cut",
    )
    assert decide(policy, message(), None, UP, finding("a")) == Verdict(
        Action.PASS, "one", "a", hits=(Hit("one", Action.PASS),), findings=(finding("a"),),
    )
    two = decide(policy, message(), None, UP, finding("b"))
    assert two is not None and (two.action, two.rule) == (Action.BLOCK, "two")
    three = decide(policy, message())
    assert three is not None and (three.action, three.rule) == (Action.CUT, "three")


def test_collected_rules_go_on_and_all_are_recorded() -> None:
    """redact, warn and shadow rules are collected; the strictest action is done, every hit is kept in order."""
    policy = rules(
        "name: w, when: {kind: chat}, then: warn, notify: 'one {reference}'",
        "name: s, when: {kind: chat}, then: cut, mode: shadow",
        "name: m, when: {finding.rule: card}, then: redact, notify: two",
        "name: n, when: {finding.rule: none}, then: block",
    )
    verdict = decide(policy, message(CARD), None, UP, finding("card", "medium", AT_CARD))
    assert verdict == Verdict(
        Action.REDACT, "m", "card", "", "two one {reference}", None, (AT_CARD,),
        (Hit("w", Action.WARN), Hit("s", Action.CUT, "shadow"), Hit("m", Action.REDACT)),
        (finding("card", "medium", AT_CARD),),
    )


def test_a_final_rule_overrides_what_was_collected() -> None:
    """Of a refused message nothing is masked, and the sender hears the refusing rule alone."""
    policy = rules(
        "name: m, when: {finding.rule: card}, then: redact, notify: masked",
        "name: b, when: {finding.rule: bad}, then: block, notify: refused, placeholder: gone",
    )
    verdict = decide(policy, message(CARD), None, UP, finding("card", "medium", AT_CARD), finding("bad"))
    assert verdict is not None
    assert (verdict.action, verdict.rule, verdict.notice, verdict.placeholder, verdict.masks, verdict.reason) == (
        Action.BLOCK, "b", "refused", "gone", (), "bad",
    )
    assert [hit.rule for hit in verdict.hits] == ["m", "b"]


def test_pass_delivers_with_the_collected_masks() -> None:
    """pass overrides a warning, but what was masked before it stays masked."""
    policy = rules(
        "name: w, when: {}, then: warn, notify: warned", "name: m, when: {finding.rule: card}, then: redact",
        "name: p, when: {}, then: pass", "name: c, when: {finding.rule: card}, then: cut",
    )
    verdict = decide(policy, message(CARD), None, UP, finding("card", "medium", AT_CARD))
    assert verdict is not None
    assert (verdict.action, verdict.rule, verdict.masks, verdict.notice) == (Action.REDACT, "m", (AT_CARD,), None)
    plain = decide(policy, message())
    assert plain is not None and (plain.action, plain.rule, plain.notice) == (Action.PASS, "p", None)


def test_shadow_alone_passes_and_tells() -> None:
    """A verdict of pass without a rule, with the shadow hit in it: it passes, and the log says what would have been."""
    policy = rules("name: s, when: {}, then: block, mode: shadow, notify: x")
    assert decide(policy, message()) == Verdict(Action.PASS, hits=(Hit("s", Action.BLOCK, "shadow"),))


def test_shadow_redact_masks_nothing() -> None:
    """A shadow rule never changes a byte, nor refuses what could not be masked."""
    policy = rules("name: s, when: {finding.rule: card}, then: redact, mode: shadow")
    verdict = decide(policy, message(), None, UP, finding("card"))
    assert verdict is not None and (verdict.action, verdict.masks) == (Action.PASS, ())


def test_enforce_false_still_decides() -> None:
    """The engine does nothing then; what would have been done is decided all the same."""
    policy = compile("enforce: false\nrules: [{name: r, when: {}, then: block}]", "p.yaml")
    assert policy.enforce is False
    verdict = decide(policy, message())
    assert verdict is not None and verdict.action is Action.BLOCK


# -- masking


@pytest.mark.parametrize(("event", "spans"), [
    (message(CARD), ()),
    (message(texts=(Text("body", CARD, None, False),)), (AT_CARD,)),
    (message(CARD), ((1, 0, 4),)),
    (message(CARD), ((0, 5, 500),)),
    (message(CARD), ((0, 9, 9),)),
    (message(CARD), ((-1, 0, 4),)),
])
def test_what_cannot_be_masked_is_refused(event: Message, spans: tuple[Any, ...]) -> None:
    """No span, a text that cannot be changed, a span outside of it: refused, whatever a later rule would allow."""
    policy = rules("name: m, when: {finding.rule: card}, then: redact", "name: p, when: {}, then: pass")
    verdict = decide(policy, event, None, UP, finding("card", "medium", *spans))
    assert verdict is not None and (verdict.action, verdict.rule, verdict.masks) == (Action.BLOCK, "m", ())
    assert [hit.rule for hit in verdict.hits] == ["m"]


def test_masks_are_of_the_findings_that_matched() -> None:
    """Only findings for which the rule holds are masked; overlapping spans become one, in order, in every text."""
    policy = rules("name: m, when: {finding.rule: 'dlp.*', finding.severity: medium}, then: redact")
    event = message(texts=(Text("body", "x" * 30), Text("subject", "y" * 30)))
    verdict = decide(
        policy, event, None, UP, finding("dlp.a", "medium", (1, 3, 9), (0, 10, 15)), finding("dlp.b", "low", (0, 0, 3)),
        finding("other", "medium", (0, 20, 25)), finding("dlp.c", "medium", (0, 12, 18), (0, 18, 20), (0, 1, 2)),
    )
    assert verdict is not None and verdict.masks == ((0, 1, 2), (0, 10, 20), (1, 3, 9))
    assert verdict.reason == "dlp.a, dlp.c"
    assert len(verdict.findings) == 4


# -- findings


def test_conditions_hold_for_the_same_finding() -> None:
    """Two findings do not add up: one of them has to have it all."""
    when = "{finding.rule: a, finding.severity: high}"
    assert not matches(when, None, None, UP, finding("a", "low"), finding("b", "high"))
    assert matches(when, None, None, UP, finding("a", "low"), finding("a", "high"))


def test_an_exception_for_the_same_finding() -> None:
    """`not` beside a wanted finding is about that finding: an excepted one does not free another."""
    when = "{finding.severity: high, not: {finding.rule: tolerated}}"
    assert not matches(when, None, None, UP, finding("tolerated", "high"))
    assert matches(when, None, None, UP, finding("tolerated", "high"), finding("worm", "high"))
    assert not matches(when)


def test_a_rule_that_names_findings_only_in_not_holds_for_all_of_them() -> None:
    """"No high finding" is false as soon as there is one, however many low ones are beside it."""
    when = "{event: message, not: {finding.severity: [high, critical]}}"
    assert matches(when)
    assert matches(when, None, None, UP, finding("a", "low"), finding("b", "medium"))
    assert not matches(when, None, None, UP, finding("a", "low"), finding("b", "high"))


def test_findings_as_one_of_several_reasons() -> None:
    """An alternative without findings holds without them."""
    when = "{any: [{finding.rule: a}, {text: secret}]}"
    assert matches(when, message("a secret"))
    assert matches(when, message("a secret"), None, UP, finding("b"))
    assert matches(when, message(), None, UP, finding("b"), finding("a"))
    assert not matches(when, message(), None, UP, finding("b"))


@pytest.mark.parametrize(("when", "holds"), [
    ("{finding.pack: core}", True), ("{finding.pack: core@2026.11.0}", True), ("{finding.pack: core@2025*}", False),
    ("{finding.tag: worm}", True), ("{finding.tag: [x, spam*]}", False), ("{finding.rule: core.*}", True),
    ("{finding.rule: [a, core.eicar]}", True), ("{finding.rule: CORE.eicar}", False),
    ("{finding.severity: [low, high]}", True), ("{finding.severity: low}", False),
])
def test_fields_of_findings(when: str, holds: bool) -> None:
    """Rule, pack with and without version, severity, and any of the tags."""
    found = finding("core.eicar", "high", pack="core@2026.11.0", tags=("worm", "test"))
    assert matches(when, None, None, UP, found) is holds


def test_a_built_in_detector_has_no_pack() -> None:
    """An unknown field: a condition on it is false, its negation true."""
    assert not matches("{finding.pack: '*'}", None, None, UP, finding("dlp.iban"))
    assert matches("{finding.rule: '*', not: {finding.pack: '*'}}", None, None, UP, finding("dlp.iban"))


# -- fields of sessions and events


@pytest.mark.parametrize(("client", "server", "up", "down"), [
    ("10.0.0.5", "203.0.113.9", "outbound", "inbound"),
    ("10.0.0.5", "10.0.0.9", "internal", "internal"),
    ("203.0.113.9", "10.0.0.5", "inbound", "outbound"),
    ("203.0.113.9", "198.51.100.1", "inbound", "inbound"),
    ("fd00::5", "2001:db8::9", "outbound", "inbound"),
    ("::1", "127.0.0.1", "internal", "internal"),
    ("chat.example.net", "10.0.0.1", "inbound", "outbound"),
])
def test_direction(client: str, server: str, up: str, down: str) -> None:
    """From who writes to who reads: both inside internal, inside to outside outbound, all else inbound."""
    within = context(client, server)
    rules().enter(within)
    assert within.directions == (up, down)
    assert matches(f"{{direction: {up}}}", None, context(client, server), UP)
    assert matches(f"{{direction: {down}}}", None, context(client, server), DOWN)


def test_inside_is_what_the_policy_says() -> None:
    """Other networks, other directions."""
    within = context("10.0.0.5", "203.0.113.9")
    assert matches("{direction: internal}", None, within, before="inside: [10.0.0.0/8, 203.0.113.0/24]")


GROUPS = """
groups:
  finance: {addresses: [10.1.0.0/16], users: ["*@finance.example.net"]}
  operators: {users: ["op*"], claimed: true}
"""


@pytest.mark.parametrize(("within", "groups"), [
    (context("10.1.2.3"), {"finance"}),
    (context(user="bob@finance.example.net/x"), {"finance"}),
    (context(user="BOB@Finance.example.net"), {"finance"}),
    (context(user="bob@finance.example.net", identity="claimed"), set()),
    (context(user="operator", identity="claimed"), {"operators"}),
    (context(user="op1", protocol="irc"), {"operators"}),
    (context(user="eve@evil.example/x@finance.example.net"), set()),
    (context(user=None), set()),
])
def test_groups(within: Context, groups: set[str]) -> None:
    """By address or by name; only authenticated names count, unless the group takes claimed ones."""
    policy = compile(GROUPS, "p.yaml")
    policy.enter(within)
    assert within.groups == groups


def test_an_unknown_user_is_in_no_group() -> None:
    """Closed by default: `not: {group: operations}` holds for somebody nobody knows."""
    policy = compile("""
groups: {operations: {users: [oper]}}
rules:
  - name: IRC only for operations
    when: {event: sign_on, protocol: irc, not: {group: operations}}
    then: cut
""", "p.yaml")
    within = context(protocol="irc")
    assert decide(policy, SignOn(user="oper", identity="claimed"), within) is not None
    assert decide(policy, SignOn(user="oper", identity="authenticated"), within) is None
    assert decide(policy, SignOn(user="oper", identity="authenticated"), context(protocol="xmpp")) is None


def test_a_sign_on_is_judged_by_the_name_it_brings() -> None:
    """Not by the name the session had before; and its verdict does not change what the session is."""
    policy = rules("name: r, when: {event: sign_on, user: eve}, then: cut")
    within = context(user="alice")
    policy.enter(within)
    assert decide(policy, SignOn(user="eve", identity="authenticated"), within) is not None
    assert decide(policy, SignOn(user="alice", identity="authenticated"), within) is None
    assert decide(policy, SignOn(user="eve", identity="claimed"), within) is None
    assert within.user == "alice"


def test_a_changed_user_or_protocol_is_noticed() -> None:
    """What was worked out for a session is worked out again when it recognised its protocol or its user changed."""
    policy = rules("name: x, when: {protocol: xmpp, user: bob}, then: block")
    within = context(protocol=None)
    assert decide(policy, message(), within) is None
    within.protocol = "xmpp"
    assert decide(policy, message(), within) is None
    within.user, within.identity = "bob", "authenticated"
    assert decide(policy, message(), within) is not None
    within.user = "alice"
    assert decide(policy, message(), within) is None


def test_another_policy_enters_again() -> None:
    """After a reload the old policy's groups and plans are of no meaning."""
    old, new = rules("name: x, when: {user: a}, then: block"), rules("name: x, when: {user: b}, then: block")
    within = context(user="b")
    assert decide(old, message(), within) is None
    assert decide(new, message(), within) is not None
    assert within.policy is new
    assert decide(old, message(), within) is None


FILE = FileOffer(sender="a", recipients=("b",), file_name="Setup.EXE", size=2000, declared_type="image/png",
                 method="dcc")
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CAME = File(sender="a", recipients=("b",), conversation="#r", file_name="Photo.jpg", size=2000, sha256=HASH,
            kinds=("archive",), media_type="application/zip", complete=True, members=3, encrypted=True,
            method="http_upload", declared_type="image/png")
UNREAD = File(file_name="a.zip", size=5)


@pytest.mark.parametrize(("when", "event", "holds"), [
    ("{event: message}", message(), True),
    ("{event: [file, call]}", message(), False),
    ("{event: 'm*'}", message(), True),
    ("{kind: chat}", message(), True),
    ("{kind: [topic, status]}", message(kind="topic"), True),
    ("{kind: 'a*'}", message(kind="away"), True),
    ("{event: opaque, kind: vcard}", Opaque(kind="vcard"), True),
    ("{kind: chat}", Presence(), False),
    ("{not: {kind: chat}}", Presence(), True),
    ("{copy: no}", message(), True),
    ("{copy: [history, carbon]}", message(copy="carbon"), True),
    ("{inspectable: full}", message(), True),
    ("{inspectable: [metadata, none]}", message(encryption=Encryption("metadata", "otr")), True),
    ("{encryption: otr}", message(encryption=Encryption("metadata", "otr")), True),
    ("{encryption: none}", message(), True),
    ("{not: {encryption: none}}", message(encryption=Encryption("none")), True),
    ("{encryption: '*'}", message(encryption=Encryption("none")), False),
    ("{peer: bob@example.org}", message(recipients=("bob@example.org/x",)), True),
    ("{peer: '*'}", message(recipients=()), False),
    ("{peer: '*'}", SignOn(user="a", identity="claimed"), False),
    ("{peer: carol@example.org}", ContactChange(action="add", contact="carol@example.org"), True),
    ("{conversation: room@*}", message(conversation="Room@conference.example.net"), True),
    ("{conversation: '*'}", message(), False),
    ("{conversation: '*'}", GroupChange(action="join", group="r"), True),
    ("{text: '(?i)HELLO'}", message(), True),
    ("{text: [x, '^hel+o$']}", message(), True),
    ("{text: '^ello'}", message(), False),
    ("{text: two}", message(texts=(Text("body", "one"), Text("subject", "two"))), True),
    ("{text: 'one.*two'}", message(texts=(Text("body", "one"), Text("subject", "two"))), False),
    ("{text: away}", Presence(texts=(Text("status", "gone away"),)), True),
    ("{file.type: executable}", FILE, True),
    ("{file.type: image}", FILE, True),
    ("{file.type: image/png}", FILE, True),
    ("{file.type: [archive, 'audio/*']}", FILE, False),
    ("{file.name: '*.exe'}", FILE, True),
    ("{file.size: '>1999'}", FILE, True),
    ("{file.size: '>2kB'}", FILE, False),
    ("{file.size: '1KiB-2kB'}", FILE, True),
    ("{file.size: [5, 2000]}", FILE, True),
    ("{file.complete: true}", FILE, False),
    ("{not: {file.complete: true}}", FILE, True),
    ("{file.name: '*'}", message(), False),
    ("{file.state: offered}", FILE, True),
    ("{file.state: transferred}", FILE, False),
    ("{file.state: [offered, transferred]}", message(), False),
    ("{file.method: [dcc, oft]}", FILE, True),
    ("{file.method: '*'}", UNREAD, False),
    ("{file.encrypted: false}", FILE, False),
    ("{file.members: '>=0'}", FILE, False),
    ("{file.sha256: '*'}", FILE, False),
    ("{event: file}", CAME, True),
    ("{conversation: '#R'}", CAME, True),
    ("{peer: b}", CAME, True),
    ("{file.type: archive}", CAME, True),
    ("{file.type: application/zip}", CAME, True),
    ("{file.type: [image, 'image/*']}", CAME, False),
    ("{file.name: 'photo.*'}", CAME, True),
    ("{file.size: '2kB'}", CAME, True),
    ("{file.state: transferred}", CAME, True),
    ("{file.method: 'http*'}", CAME, True),
    ("{file.complete: true}", CAME, True),
    ("{file.complete: false}", UNREAD, True),
    ("{file.encrypted: true}", CAME, True),
    ("{file.encrypted: false}", CAME, False),
    ("{file.encrypted: false}", UNREAD, False),
    ("{file.members: '>2'}", CAME, True),
    ("{file.members: '>3'}", CAME, False),
    ("{file.members: '>=0'}", UNREAD, False),
    (f"{{file.sha256: ['{'0' * 64}', {HASH.upper()}]}}", CAME, True),
    (f"{{file.sha256: '{'0' * 64}'}}", CAME, False),
    ("{file.sha256: '*'}", UNREAD, False),
    ("{kind: chat}", CAME, False),
    ("{event: call}", CallSetup(action="invite"), True),
    ("{event: typing}", Typing(), True),
    ("{}", Typing(), True),
])
def test_fields_of_events(when: str, event: Event, holds: bool) -> None:
    """Each field, its lists and globs; an event that has no such field is unknown, not a match."""
    assert matches(when, event) is holds


@pytest.mark.parametrize(("when", "holds"), [
    ("{port: 5222}", True), ("{port: ['6660-6669', 5222]}", True), ("{port: '>5222'}", False),
    ("{port: '>=5222'}", True),
    ("{protocol: xmpp}", True), ("{protocol: [irc, msnp]}", False), ("{identity: authenticated}", True),
    ("{user: alice@*}", True), ("{user: alice}", False), ("{not: {user: '*'}}", False),
    ("{confidence: '>=0.5'}", True), ("{confidence: '<0.5'}", False), ("{application: jabber}", True),
    ("{application: [icq, msn]}", False),
])
def test_fields_of_sessions(when: str, holds: bool) -> None:
    """What is known of the session beside the event."""
    within = context(user="Alice@example.net/desk")
    within.confidence, within.application = 0.9, "jabber"
    assert matches(when, None, within) is holds


def test_an_unknown_protocol_and_application() -> None:
    """Before recognition conditions on them are false and their negations true."""
    for field, word in (("protocol", "irc"), ("application", "icq")):
        assert not matches(f"{{{field}: {word}}}", None, context(protocol=None))
        assert matches(f"{{not: {{{field}: {word}}}}}", None, context(protocol=None))


def test_names_outside_of_xmpp_are_whole() -> None:
    """An IRC channel may have a slash in it."""
    within = context(protocol="irc")
    assert matches("{conversation: '#a/b'}", message(conversation="#a/b"), within)
    assert not matches("{conversation: '#a'}", message(conversation="#a/b"), context(protocol="irc"))


def test_peer_is_the_other_party() -> None:
    """Recipients of what goes up, the sender of what comes down."""
    event = message(sender="a@x", recipients=("b@y",))
    assert matches("{peer: b@y}", event, None, UP)
    assert matches("{peer: a@x}", event, None, DOWN)
    assert not matches("{peer: a@x}", event, None, UP)


def test_each_recipient_is_judged_for_himself() -> None:
    """A harmless recipient beside a refused one frees nobody: the strictest verdict holds for all of them."""
    closed = rules("name: only colleagues, when: {not: {peer: '*@example.net'}}, then: block")
    both = message(recipients=("bob@example.net", "eve@evil.example"))
    assert decide(closed, both) is not None
    assert decide(closed, message(recipients=("bob@example.net", "carol@example.net"))) is None
    opened = rules("name: p, when: {peer: bob@example.net}, then: pass", "name: b, when: {}, then: block")
    verdict = decide(opened, both)
    assert verdict is not None and (verdict.action, verdict.rule) == (Action.BLOCK, "b")
    assert {hit.rule for hit in verdict.hits} == {"p", "b"}


def test_time() -> None:
    """`at` is an argument: the time of the event, in the zone of the rule."""
    when = "{time: {days: [mon-fri], from: '08:00', to: '18:00', zone: Europe/Zurich}}"
    for text, holds in (
        ("2026-11-23T08:00:00+01:00", True), ("2026-11-23T07:59:59+01:00", False), ("2026-11-22T12:00:00+01:00", False),
    ):
        assert matches(when, at=datetime.datetime.fromisoformat(text).timestamp()) is holds, text
    assert matches("{not: {time: {days: sat-sun}}}", at=AT)


def test_not_any_all_nest() -> None:
    """not of a list is "none of these"; any and all take lists of mappings."""
    assert matches("{all: [{kind: chat}, {any: [{copy: history}, {not: {text: bye}}]}]}")
    assert not matches("{not: [{kind: chat}, {copy: history}]}")
    assert matches("{not: [{kind: topic}, {copy: history}]}")
    assert matches("{not: {kind: chat, copy: history}}")


# -- verdicts


def test_texts_are_filled() -> None:
    """Notice and placeholder have rule, user and protocol; {reference} waits for the engine."""
    policy = rules(
        "name: r, when: {}, then: block, notify: '{rule} {user} {protocol} {reference}', placeholder: '[{rule}]'",
    )
    verdict = decide(policy, message(), context(user="alice@example.net"))
    assert verdict is not None
    assert verdict.notice == "r alice@example.net xmpp {reference}"
    assert verdict.placeholder == "[r]"
    signing = decide(policy, SignOn(user="eve", identity="claimed"), context())
    assert signing is not None and signing.notice == "r eve xmpp {reference}"


def test_an_empty_notify_tells_nobody() -> None:
    """Not the same as none given, for which the engine has words of its own."""
    for notify, notice in (("", None), (", notify: ''", ""), (", notify: x", "x")):
        verdict = decide(rules(f"name: r, when: {{}}, then: block{notify}"), message())
        assert verdict is not None and verdict.notice == notice


def test_reason() -> None:
    """What was found; without findings what the rule says of itself."""
    policy = rules("name: r, when: {kind: chat}, then: block, description: because")
    verdict = decide(policy, message(), None, UP, finding("a"))
    assert verdict is not None and verdict.reason == "because"


def test_hold_is_for_messages_and_files() -> None:
    """Other events cannot be kept for a reviewer: they are refused."""
    policy = rules("name: r, when: {}, then: hold")
    for event, action in (
        (message(), Action.HOLD), (FILE, Action.HOLD), (CAME, Action.HOLD), (Presence(), Action.BLOCK),
    ):
        verdict = decide(policy, event)
        assert verdict is not None and verdict.action is action


def test_redact_refuses_a_file() -> None:
    """The content of a file cannot be masked: what has a finding to mask is refused, spans or not."""
    policy = rules("name: m, when: {finding.rule: card}, then: redact", "name: p, when: {}, then: pass")
    named = File(file_name="4111.txt", sha256=HASH, texts=(Text("file_name", "4111.txt"),))
    for found in (finding("card"), finding("card", "medium", (0, 0, 4))):
        verdict = decide(policy, named, None, UP, found)
        assert verdict is not None and (verdict.action, verdict.rule, verdict.masks) == (Action.BLOCK, "m", ())
    verdict = decide(policy, named)
    assert verdict is not None and verdict.action is Action.PASS


def test_findings_of_a_file_are_judged_as_those_of_a_message() -> None:
    """All finding.* conditions of a rule hold for the same finding, and `event` tells files from messages."""
    policy = rules("name: f, when: {event: file, finding.severity: high, finding.tag: macro}, then: block")
    macro, other = finding("macros.auto_open", "medium", tags=("macro",)), finding("core.eicar", "high")
    assert decide(policy, CAME, None, DOWN, macro, other) is None
    verdict = decide(policy, CAME, None, DOWN, macro, finding("macros.shell", "high", tags=("macro",)))
    assert verdict is not None and (verdict.rule, verdict.reason) == ("f", "macros.shell")
    assert decide(policy, message(), None, DOWN, finding("macros.shell", "high", tags=("macro",))) is None


def test_on_trouble() -> None:
    """The protocol's own answer, else the default; what a policy cannot decide cuts."""
    policy = compile("on_trouble: {default: {gap: block}, xmpp: {malformed: block, scanner_failed: hold}}", "p.yaml")
    assert policy.on_trouble("malformed", "xmpp") == "block"
    assert policy.on_trouble("malformed", "irc") == "pass"
    assert policy.on_trouble("malformed", None) == "cut"
    assert policy.on_trouble("gap", "xmpp") == "block"
    assert policy.on_trouble("scanner_failed", "xmpp") == "hold"
    assert policy.on_trouble("scanner_failed", "sip") == "block"
    assert policy.on_trouble("internal", "irc") == "cut"


def test_digest() -> None:
    """SHA-256 of the file, so that a log names the very text that judged."""
    text = "enforce: true  # ü"
    expected = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert compile(text, "p.yaml").digest == expected
    assert compile(text.encode(), "other.yaml").digest == expected
    assert compile(text + " ", "p.yaml").digest != expected


# -- explaining


def test_explain_says_why() -> None:
    """Each rule: reached or not, matched or not, by which condition."""
    policy = rules(
        "name: a, when: {direction: inbound, kind: chat}, then: block", "name: b, when: {text: hello}, then: warn",
        "name: c, when: {not: {user: alice}}, then: cut", "name: d, when: {}, then: pass",
    )
    said = policy.explain(message(), context(), UP, AT, ())
    assert [(one.rule, one.line, one.reached, one.matched, one.why) for one in said] == [
        ("a", 3, True, False, "not direction: inbound (it is outbound)"), ("b", 4, True, True, "text: hello"),
        ("c", 5, True, True, "not user: alice (unknown)"), ("d", 6, False, False, 'not reached: "c" had decided'),
    ]


def test_explain_never_shows_a_text() -> None:
    """Explanations get into logs and tickets; what people wrote does not."""
    policy = rules("name: a, when: {text: bye}, then: block")
    (said,) = policy.explain(message("my secret"), context(), UP, AT, ())
    assert "secret" not in said.why


# -- the same by both ways


FIELDS: dict[str, list[Any]] = {
    "event": ["message", ["file", "sign_on"], "*", ["presence", "opaque", "group", "contact"]],
    "protocol": ["xmpp", ["irc", "msnp"], "*"], "direction": ["outbound", ["inbound", "internal"]],
    "user": ["alice@example.net", "*@example.net", "eve"], "identity": ["claimed", ["authenticated", "unknown"]],
    "peer": ["bob@example.org", "*@example.org", "*/x", "#room"], "group": ["g1", ["g1", "g2"], "g*"],
    "conversation": ["room@x", "#r*"], "port": [5222, "6660-6669", ">5222"], "text": ["hello", ["a+b", "(?i)SECRET"]],
    "encryption": ["otr", "none", "*"], "inspectable": ["full", ["metadata", "none"]], "copy": ["no", "*"],
    "kind": ["chat", ["topic", "away"], "a*"], "file.type": ["executable", "image/*"], "file.name": ["*.exe", "a"],
    "file.size": [">100", 5, "1kB-2kB"], "file.complete": [True, False],
    "file.state": ["offered", "t*"], "file.method": ["dcc", "*"], "file.encrypted": [True, False],
    "file.members": [0, ">1"], "file.sha256": ["0" * 64, "*"], "finding.rule": ["a", "b*", ["a", "c"]],
    "finding.pack": ["core", "core@1"], "finding.severity": ["high", ["low", "medium"]], "finding.tag": ["t", "*"],
    "confidence": [">=0.5", "<0.1"], "application": ["icq", "j*"],
    "time": [{"days": ["mon-fri"], "from": "08:00", "to": "18:00"}, {"from": "22:00", "to": "06:00"}],
}


def conditions(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    atoms = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(FIELDS[name]) for name in names})
    )
    if depth == 0:
        return atoms
    inner = conditions(depth - 1)
    lists = st.lists(inner, min_size=1, max_size=3)
    nested = st.fixed_dictionaries({}, optional={"not": st.one_of(inner, lists), "any": lists, "all": lists})
    return st.builds(lambda a, b: {**a, **b}, st.one_of(atoms, st.just({})), nested)


@st.composite
def policies(draw: st.DrawFn) -> CompiledPolicy:
    made = []
    for index in range(draw(st.integers(1, 6))):
        made.append({
            "name": f"r{index}", "when": draw(conditions(2)),
            "then": draw(st.sampled_from(["pass", "warn", "block", "cut", "redact", "hold"])),
            "mode": draw(st.sampled_from(["enforce", "enforce", "shadow"])),
        })
    groups = {"g1": {"users": ["*@example.net"]}, "g2": {"addresses": ["10.0.0.0/8"], "users": ["n*"], "claimed": True}}
    while True:
        try:
            return compile(json.dumps({"groups": groups, "rules": made}), "p.yaml")
        except Exception as fault:  # a rule that can do nothing: leave out what is faulty
            bad = {int(name) for name in _rules_at_fault(fault, made)}
            made = [rule for index, rule in enumerate(made) if index not in bad]


def _rules_at_fault(fault: Exception, made: list[dict[str, Any]]) -> set[int]:
    """The rules of which a fault speaks, by compiling each alone."""
    from inspector.wire.located import Faults

    assert isinstance(fault, Faults), fault
    groups = {"g1": {"users": ["x"]}, "g2": {"users": ["y"]}}
    bad = set()
    for index, rule in enumerate(made):
        try:
            compile(json.dumps({"groups": groups, "rules": [rule]}), "p.yaml")
        except Faults:
            bad.add(index)
    assert bad, fault
    return bad


NAMES = st.sampled_from(["alice@example.net", "alice@example.net/x", "bob@example.org/y", "eve", "#room", "nick", ""])
TEXTS = st.lists(
    st.builds(Text, st.just("body"), st.sampled_from(["hello", "ab secret", "nothing", ""]), st.none(), st.booleans()),
    max_size=2,
).map(tuple)
PEOPLE = {"sender": st.none() | NAMES, "recipients": st.lists(NAMES, max_size=3).map(tuple), "texts": TEXTS}
CODES = st.builds(Encryption, st.sampled_from(["full", "metadata", "none"]), st.sampled_from([None, "otr"]))
EVENTS = st.one_of(
    st.builds(Message, kind=st.sampled_from(["chat", "topic", "away"]), conversation=st.none() | NAMES,
              copy=st.sampled_from(["no", "history"]), encryption=CODES, **PEOPLE),
    st.builds(FileOffer, file_name=st.sampled_from(["", "a", "x.exe"]), size=st.sampled_from([None, 5, 1500]),
              declared_type=st.sampled_from([None, "image/png"]), **PEOPLE),
    st.builds(File, file_name=st.sampled_from(["a", "x.exe", "y.zip"]), size=st.sampled_from([None, 5, 1500]),
              kinds=st.sampled_from([(), ("image",), ("archive", "script")]), sha256=st.sampled_from([None, "0" * 64]),
              method=st.sampled_from(["", "dcc"]), complete=st.booleans(), encrypted=st.booleans(),
              members=st.integers(0, 2), conversation=st.none() | NAMES, **PEOPLE),
    st.builds(SignOn, user=NAMES, identity=st.sampled_from(["claimed", "authenticated"]), texts=TEXTS),
    st.builds(Presence, **PEOPLE), st.builds(Opaque, kind=st.just("vcard"), encryption=CODES, **PEOPLE),
    st.builds(GroupChange, action=st.just("join"), group=NAMES, texts=TEXTS),
    st.builds(ContactChange, action=st.just("add"), contact=NAMES, texts=TEXTS),
    st.builds(Typing, sender=PEOPLE["sender"], recipients=PEOPLE["recipients"]),
)
FINDINGS = st.lists(
    st.builds(
        Finding, st.just("yara"), st.sampled_from(["a", "b1", "c"]), st.sampled_from(["low", "medium", "high"]),
        st.just(""), st.sampled_from([None, "core@1"]), st.sampled_from([(), ("t",), ("t", "u")]),
        st.sampled_from([(), ((0, 0, 1),), ((0, 0, 1), (1, 0, 2))]),
    ), max_size=3,
).map(tuple)


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    made = context(
        draw(st.sampled_from(["10.0.0.5", "203.0.113.7"])), draw(st.sampled_from(["10.0.0.9", "198.51.100.9"])),
        draw(st.sampled_from([None, "xmpp", "irc"])), draw(st.none() | NAMES),
        draw(st.sampled_from(["unknown", "claimed", "authenticated"])), draw(st.sampled_from([5222, 6667])),
    )
    made.application = draw(st.sampled_from([None, "icq", "jabber"]))
    made.confidence = draw(st.sampled_from([0.0, 0.7]))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    policies(), st.lists(st.tuples(EVENTS, contexts(), st.sampled_from([UP, DOWN]), FINDINGS), min_size=2, max_size=8),
)
def test_generated_code_decides_as_the_plain_interpreter(
    policy: CompiledPolicy, asked: list[tuple[Event, Context, Way, tuple[Finding, ...]]],
) -> None:
    """Folding, indexing, plans and generated functions change the price of a decision, never the decision."""
    for event, within, way, findings in asked:
        for at in (AT, AT + 9 * 3600):
            decided = policy.decide(event, within, way, at, findings)
            verdict, said = policy.interpret(event, within, way, at, findings)
            assert decided == verdict
            assert (decided is None) is (not any(one.matched for one in said))


# -- the price


def test_what_cannot_matter_is_not_looked_at() -> None:
    """50 rules on findings, other protocols, directions and events cost a message without findings next to nothing."""
    kinds = (
        "{finding.rule: dlp.x%d, direction: outbound}", "{finding.severity: high, finding.tag: t%d}",
        "{event: file, file.name: '*%d*'}", "{event: sign_on, protocol: irc, not: {user: u%d}}",
        "{protocol: irc, text: 'secret%d'}", "{direction: inbound, peer: 'a%d'}", "{port: 66%02d, text: abc}",
    )
    policy = rules(*(f"name: r{n}, when: {kinds[n % len(kinds)] % n}, then: block" for n in range(50)))
    within = context(user="alice@example.net")
    event = message()
    assert decide(policy, event, within) is None

    def price(asked: Any) -> float:
        best = 9.0
        for _ in range(50):
            started = time.perf_counter()
            for _ in range(500):
                asked(event, within, UP, AT, ())
            best = min(best, time.perf_counter() - started)
        return best

    whole = price(policy.decide)
    empty = rules()
    assert whole < 3 * price(empty.decide)


# -- how the content of files is taken


def modes(*entries: str) -> CompiledPolicy:
    """A policy whose `files:` has these entries, written as flow mappings without their braces."""
    listed = "".join(f"  - {{{entry}}}\n" for entry in entries)
    groups = "groups: {g1: {users: ['*@example.net']}}\n"
    return compile(f"{groups}files:\n{listed}" if entries else "", "p.yaml")


def mode(policy: CompiledPolicy, offer: FileOffer, within: Context | None = None, way: Way = DOWN) -> str:
    """The mode by generated code; the plain interpreter must say the same."""
    within = within if within is not None else context()
    decided = policy.file_mode(offer, within, way, AT)
    assert policy.explain_mode(offer, within, way, AT)[0] == decided
    return decided


@pytest.mark.parametrize(("name", "declared", "way", "expected"), [
    ("photo.jpg", None, DOWN, "stream"), ("photo.jpg", None, UP, "spool"), ("setup.exe", None, DOWN, "spool"),
    ("x.msi", None, DOWN, "spool"), ("a.vbs", None, DOWN, "spool"), ("a.lnk", None, DOWN, "spool"),
    ("a.zip", None, DOWN, "spool"), ("a.docm", None, DOWN, "spool"), ("a.iso", None, DOWN, "spool"),
    ("a.docx", None, DOWN, "stream"), ("noending", None, DOWN, "spool"), ("", None, DOWN, "spool"),
    ("a.jpg", "application/zip", DOWN, "spool"), ("", "video/mp4", DOWN, "stream"),
])
def test_modes_by_default(name: str, declared: str | None, way: Way, expected: str) -> None:
    """Without `files:`, and behind entries that do not hold: what leaves us and what may do harm waits."""
    offer = FileOffer(file_name=name, declared_type=declared)
    for policy in (modes(), modes("when: {protocol: irc}, mode: pass")):
        assert mode(policy, offer, None, way) == expected


def test_the_first_entry_that_holds_decides() -> None:
    """In order; conditions of the session, of the offer, of both."""
    policy = modes(
        "when: {group: g1, direction: inbound}, mode: pass",
        "when: {file.size: '>20MB', file.type: video}, mode: stream",
        "when: {file.name: '*.mp4', not: {peer: eve}}, mode: spool", "when: {text: '(?i)holiday'}, mode: spool",
    )
    film = FileOffer(sender="eve", file_name="a.mp4", size=30_000_000)
    assert mode(policy, film, context(user="alice@example.net")) == "pass"
    assert mode(policy, film, context(user="alice@example.net"), UP) == "stream"
    assert mode(policy, film) == "stream"
    assert mode(policy, FileOffer(sender="eve", file_name="a.mp4", size=5)) == "stream"
    assert mode(policy, FileOffer(sender="bob", file_name="a.mp4", size=5)) == "spool"
    assert mode(policy, FileOffer(file_name="a.mp3", texts=(Text("file_name", "Holiday.mp3"),))) == "spool"
    assert mode(policy, FileOffer(file_name="a.mp3")) == "stream"


def test_the_mode_follows_the_session() -> None:
    """A user who becomes known, and a new policy, count from the next file on."""
    policy = modes("when: {user: alice@example.net}, mode: pass")
    other = modes("when: {user: alice@example.net}, mode: spool")
    offer, within = FileOffer(file_name="a.jpg"), context()
    assert mode(policy, offer, within) == "stream"
    within.user, within.identity = "alice@example.net", "authenticated"
    assert mode(policy, offer, within) == "pass"
    assert mode(other, offer, within) == "spool"
    assert mode(policy, offer, within) == "pass"


def test_a_file_to_several_is_taken_in_the_most_careful_way() -> None:
    """A harmless recipient beside the other does not free the file."""
    policy = modes(
        "when: {peer: '*@example.net'}, mode: pass", "when: {peer: '*@example.org'}, mode: spool",
        "when: {}, mode: stream",
    )
    for recipients, expected in ((("a@example.net",), "pass"), (("a@example.net", "b@example.com"), "stream"),
                                 (("a@example.net", "b@example.com", "c@example.org"), "spool"), ((), "stream")):
        assert mode(policy, FileOffer(file_name="a.jpg", recipients=recipients), None, UP) == expected


def test_rules_do_not_see_the_entries_of_files() -> None:
    """`files:` says how a file is taken and decides nothing about it."""
    policy = modes("when: {file.type: executable}, mode: pass")
    assert decide(policy, FILE) is None
    assert decide(policy, CAME) is None


def test_the_mode_is_explained() -> None:
    """Every entry up to the one that held, the defaults among them."""
    policy = modes("when: {file.type: video}, mode: pass")
    _, said = policy.explain_mode(FileOffer(file_name="a.exe"), context(), DOWN, AT)
    assert [(one.rule, one.line, one.matched) for one in said] == [
        ("files 1", 3, False), ("files by default", 0, False), ("files by default", 0, True),
    ]
    assert said[0].why == "pass: not file.type: video (it is executable)"
    assert said[2].why == f"spool: file.type: [{', '.join(SPOOLED)}]"


EARLY = [name for name in FIELDS if not name.startswith(("finding.", "event", "kind", "copy", "encryption", "inspect"))
         and name not in ("file.complete", "file.encrypted", "file.members", "file.sha256", "file.state", "group")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(EARLY), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(FIELDS[name]) for name in names}),
    ), st.sampled_from(["spool", "stream", "pass"]), st.booleans()), max_size=5),
    st.builds(FileOffer, file_name=st.sampled_from(["", "a", "x.exe", "y.mp4"]), size=st.sampled_from([None, 5, 1500]),
              method=st.sampled_from(["", "dcc"]), **PEOPLE),
    contexts(), st.sampled_from([UP, DOWN]),
)
def test_generated_code_takes_files_as_the_plain_interpreter(
    entries: list[tuple[dict[str, Any], str, bool]], offer: FileOffer, within: Context, way: Way,
) -> None:
    """Modes are folded like rules, and come out the same."""
    files = [{"when": {"not": when} if negated else when, "mode": taken} for when, taken, negated in entries]
    policy = compile(json.dumps({"files": files}), "p.yaml")
    assert policy.file_mode(offer, within, way, AT) == policy.explain_mode(offer, within, way, AT)[0]
