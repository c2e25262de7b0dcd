"""policy.reader: a policy from its text, every fault with its place, all at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model import Action
from inspector.policy.fields import FIELDS
from inspector.policy.reader import INSIDE, TROUBLE, read
from inspector.wire.located import Faults
from tests.policy.kit import faults, finding, matches, message

COMPLETE = """
enforce: true                   # false: everything is decided and logged, nothing is done
inside: [127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, fc00::/7, fe80::/10]
on_trouble:
  default: {malformed: cut, gap: pass, unclassified: pass, overload: cut, undecryptable: cut, scanner_failed: block,
            store_failed: block}
  irc: {malformed: pass}
groups:
  finance: {addresses: [10.1.0.0/16], users: ["*@finance.example.net"]}   # users: authenticated, unless claimed
  operations: {users: [oper], claimed: true}
rules:
  - name: mask card numbers going out
    when: {finding.rule: "dlp.card_number", direction: outbound}
    then: redact
  - name: malware
    when: {finding.severity: [high, critical]}
    then: block
    notify: "Blocked by company policy, reference {reference}."
  - name: executables wait for a reviewer
    when: {event: file, file.type: executable, direction: inbound}
    then: hold
  - name: IRC only for operations
    when: {event: sign_on, protocol: irc, not: {group: operations}}
    then: cut
  - name: everything else that can be said
    description: every field once
    mode: shadow
    when:
      any:
        - {event: message, protocol: xmpp, application: jabber, direction: [outbound, internal], user: "*", peer: "*"}
        - all: [{group: finance}, {conversation: room@*}, {port: [5222, "6660-6669"]}, {text: "(?i)secret"}]
        - {encryption: omemo, inspectable: [metadata, none], copy: no, kind: chat, identity: authenticated}
        - {file.name: "*.exe", file.size: ">10MB", file.complete: false}
        - {finding.rule: "core.*", finding.pack: core, finding.tag: worm, confidence: ">=0.5"}
        - time: {days: [mon-fri], from: "08:00", to: "18:00", zone: Europe/Zurich}
    then: block
    notify: "{rule} {user} {protocol} {reference}"
    placeholder: "[removed]"
"""


def test_a_complete_example() -> None:
    """Every key and every field is read."""
    source = read(COMPLETE, "p.yaml")
    assert [rule.then for rule in source.rules] == [
        Action.REDACT, Action.BLOCK, Action.HOLD, Action.CUT, Action.BLOCK,
    ]
    assert [rule.findings for rule in source.rules] == ["some", "some", "none", "none", "some"]
    assert [rule.place for rule in source.rules][:2] == [(12, 11), (15, 11)]
    assert source.rules[4].shadow and source.rules[4].description == "every field once"
    assert [group.name for group in source.groups] == ["finance", "operations"]


def test_an_empty_policy_has_the_defaults() -> None:
    """Nothing given: enforcing, the usual private networks inside, troubles as documented, no rules."""
    source = read("", "p.yaml")
    assert source.enforce and source.rules == () and source.groups == ()
    assert source.on_trouble == {"default": TROUBLE, "irc": {"malformed": "pass"}}
    assert all(source.inside.holds(network.partition("/")[0]) for network in INSIDE)


def test_all_faults_at_once() -> None:
    """Faults of every section are told together, in the order of the lines."""
    assert faults("""enforc: true
enforce: 1
inside: [10.0.0.1/8, x]
on_trouble: {irk: {gap: pass}, irc: {malfromed: cut, gap: hold, internal: pass}, xmpp: cut}
groups: {a: {users: []}, b: {adress: 1, users: [x]}, "c*": {addresses: [10.0.0.0/8], claimed: true}, d: 1}
rules:
  - {name: x, when: {protocl: irc}, then: blok}
  - {name: x, when: {text: "("}, then: redact, mode: shadwo}
  - {name: y, whn: {}, notify: 5}
  - cut
""") == [
        'p.yaml:1:1: unknown key "enforc" (did you mean "enforce"?)',
        "p.yaml:2:10: enforce is true or false",
        'p.yaml:3:10: "10.0.0.1/8" is not a network (did you mean 10.0.0.0/8?)',
        'p.yaml:3:22: "x" is not a network, like 10.1.0.0/16',
        'p.yaml:4:14: unknown protocol "irk" (did you mean "irc"?)',
        'p.yaml:4:38: unknown trouble "malfromed" (did you mean "malformed"?)',
        'p.yaml:4:59: "hold" cannot be done on gap: pass, block, cut',
        "p.yaml:4:65: internal errors always cut; they cannot be configured",
        "p.yaml:4:88: a mapping of troubles and what is done: {malformed: cut}",
        "p.yaml:5:13: a group needs addresses or users",
        'p.yaml:5:30: unknown key "adress" (did you mean "addresses"?)',
        "p.yaml:5:54: a group needs a name without *",
        "p.yaml:5:86: claimed is about users, and there are none",
        "p.yaml:5:105: a group is a mapping with addresses, users or both",
        'p.yaml:7:22: unknown field "protocl" (did you mean "protocol"?)',
        'p.yaml:7:43: unknown action "blok" (did you mean "block"?)',
        "p.yaml:8:28: not a regular expression of RE2: missing ): (",
        'p.yaml:8:54: unknown mode "shadwo", it is enforce or shadow (did you mean "shadow"?)',
        "p.yaml:9:5: a rule needs then: pass, warn, redact, hold, block, cut",
        "p.yaml:9:5: a rule needs when: a mapping of conditions ({} for every event)",
        'p.yaml:9:15: unknown key "whn" (did you mean "when"?)',
        "p.yaml:9:32: text is wanted here",
        "p.yaml:10:5: a rule is a mapping with name, when and then",
    ]


RULE = "rules:\n  - {name: r, when: {%s}, then: block}"


@pytest.mark.parametrize(("when", "at", "fault"), [
    ('event: mesage', 'mesage', 'unknown event "mesage" (did you mean "message"?)'),
    ('protocol: [irc, xmp]', 'xmp]', 'unknown protocol "xmp" (did you mean "xmpp"?)'),
    ('application: icqq', 'icqq', 'unknown application "icqq" (did you mean "icq"?)'),
    ('direction: out', 'out', 'unknown direction "out"'),
    ('group: finance', 'finance', 'unknown group "finance"'),
    ("group: 'fin*'", "'fin*'", 'unknown group "fin*"'),
    ('kind: chta', 'chta', 'unknown kind "chta" (did you mean "chat"?)'),
    ('inspectable: ful', 'ful', 'unknown inspectable "ful" (did you mean "full"?)'),
    ('copy: false', 'false', 'text is wanted here'),
    ('finding.severity: hihg', 'hihg', 'unknown finding.severity "hihg" (did you mean "high"?)'),
    ('file.type: exe', 'exe', 'unknown file.type "exe"'),
    ('file.sha256: abc', 'abc', '"abc" is no SHA-256 digest: 64 hexadecimal digits, in quotes'),
    ('file.encrypted: 1', '1', 'file.encrypted is true or false'),
    ('file.members: some', 'some', 'not a number, range or comparison like ">100"'),
    ('file.state: transfered', 'transfered', 'unknown file.state "transfered" (did you mean "transferred"?)'),
    ('file.complete: yes', 'yes', 'file.complete is true or false'),
    ('user: []', '[]', 'an empty list matches nothing'),
    ("user: ''", "''", 'text is wanted here'),
    ('user: {a: b}', '{a: b}', 'text is wanted here'),
    ('port: 70000-70001', '70000-70001', 'not a number, range or comparison like "6660-6669"'),
    ("port: '9-5'", "'9-5'", 'not a number, range or comparison like "6660-6669"'),
    ('file.size: 5 apples', '5 apples', 'not a number, range or comparison like ">10MB"'),
    ('file.size: -1', '-1', 'file.size is never negative'),
    ('confidence: high', 'high', 'not a number, range or comparison like ">=0.8"'),
    ("confidence: '>1-2'", "'>1-2'", 'not a number, range or comparison like ">=0.8"'),
    ("text: 'a*'", "'a*'", 'the pattern matches the empty text, so it would match everything'),
    ("text: '(?=a)'", "'(?=a)'", 'not a regular expression of RE2: invalid perl operator: (?='),
    ("text: 'a{1000}b{1000}{100}'", "'a{1000}b{1000}{100}'",
     'not a regular expression of RE2: bad repetition operator: {1000}{100}'),
    ("text: '(a{500}){2}(b{500}){2}([a-z]\\p{L}){500}'", "'(a{500}){2}(b{500}){2}([a-z]\\p{L}){500}'",
     'the pattern is too large when compiled: fewer or smaller repetitions, please'),
    ('text: 5', '5', 'a regular expression is text: put it into quotes'),
    ('time: 08:00', '08:00', 'a time is {days: [mon-fri], from: "08:00", to: "18:00", zone: Europe/Zurich}'),
    ('time: {days: [funday]}', 'funday]}',
     '"funday" is no day: mon, tue, wed, thu, fri, sat, sun, or a range like mon-fri'),
    ('time: {from: 25:00}', '25:00}', '"25:00" is no time of day like "08:00"'),
    ("time: {from: '8'}", "'8'}", '"8" is no time of day like "08:00"'),
    ('time: {from: 08:00, to: 08:00}', '08:00}', 'from and to are the same'),
    ('time: {from: 24:00, to: 08:00}', '24:00, to: 08:00}', 'from is before 24:00'),
    ('time: {zone: Mars}', 'Mars}', 'unknown time zone "Mars"; zones are named like Europe/Zurich'),
    ('time: {hours: 5}', 'hours: 5}', 'unknown key "hours"'),
    ('any: {kind: chat}', '{kind: chat}', 'any takes a list of conditions: [{…}, {…}]'),
    ('all: []', '[]', 'all takes a list of conditions: [{…}, {…}]'),
    ('not: {}', '{}', 'nothing is named here'),
    ('not: chat', 'chat', 'not takes conditions or a list of them: [{…}, {…}]'),
    ('any: [chat]', 'chat]', 'a mapping of conditions is wanted here, for example {direction: outbound}'),
    ('finding.sevrity: high', 'finding.sevrity: high',
     'unknown field "finding.sevrity" (did you mean "finding.severity"?)'),
])
def test_faults_of_conditions(when: str, at: str, fault: str) -> None:
    """A value that does not exist is refused, at its place: such a rule would never match, and nobody would know."""
    column = len(RULE.splitlines()[1].partition("%s")[0]) + when.rindex(at) + 1
    assert faults(RULE % when) == [f"p.yaml:2:{column}: {fault}"]


@pytest.mark.parametrize(("rule", "fault"), [
    ("{name: r, when: {event: sign_on, peer: x}, then: block}",
     "2:38: sign_on events have no peer: the rule can never match"),
    ("{name: r, when: {kind: chat, file.name: x}, then: block}",
     "2:34: message and opaque events have no file.name: the rule can never match"),
    ("{name: r, when: {event: file, file.state: offered, file.complete: true}, then: block}",
     "2:56: file.complete is not known of an offered file: the rule can never match"),
    ("{name: r, when: {kind: chat}, then: redact}",
     "2:41: redact masks what was found: each alternative of when needs a finding.* condition"),
    ("{name: r, when: {any: [{finding.rule: a}, {text: b}]}, then: redact}",
     "2:66: redact masks what was found: each alternative of when needs a finding.* condition"),
    ("{name: r, when: {not: {finding.rule: a}}, then: redact}",
     "2:53: redact masks what was found: each alternative of when needs a finding.* condition"),
    ("{name: r, when: {event: presence}, then: hold}", "2:46: hold is for messages and files"),
    ("{name: r, when: {}, then: pass, notify: x}",
     "2:37: notify has no use where a message passes; warn delivers and tells"),
    ("{name: r, when: {}, then: warn, placeholder: x}", "2:37: placeholder is for block and hold"),
    ("{name: r, when: {}, then: warn, notify: '{who} {reference}'}",
     '2:45: unknown variable "{who}"; there are reference, rule, user, protocol'),
    ("{name: r, when: {}, then: warn, notify: '{refrence}'}",
     '2:45: unknown variable "{refrence}" (did you mean "reference"?); there are reference, rule, user, protocol'),
    ("{name: \"a\\nb\", when: {}, then: warn}", "2:12: a rule needs a name: text of one line, up to 200 characters"),
    ("{name: r, when: {}, then: warn, description: [x]}", "2:50: a description is text"),
])
def test_rules_that_cannot_do_what_they_say(rule: str, fault: str) -> None:
    """Well-formed rules that could never match, or never do what they are for, are refused."""
    assert faults(f"rules:\n  - {rule}") == [f"p.yaml:{fault}"]


@pytest.mark.parametrize(("entries", "fault"), [
    ("5", "1:8: files is a list of {when: …, mode: …}"),
    ("[5]", "1:9: an entry is a mapping with when and mode"),
    ("[{mode: spool}]", "1:9: an entry needs when: a mapping of conditions ({} for every file)"),
    ("[{when: {}}]", "1:9: an entry needs mode: spool, stream, pass"),
    ("[{when: {}, mode: spol}]", '1:26: unknown mode "spol" (did you mean "spool"?)'),
    ("[{when: {}, mode: spool, then: block}]", '1:33: unknown key "then" (did you mean "when"?)'),
    ("[{when: {}, mode: pass, description: 5}]", "1:45: a description is text"),
    ("[{when: {file.type: exe}, mode: spool}]", '1:28: unknown file.type "exe"'),
    ("[{when: {file.encrypted: true}, mode: spool}]",
     "1:17: file.encrypted cannot be known before the content has come"),
    ("[{when: {any: [{file.sha256: '*'}]}, mode: pass}]",
     "1:24: file.sha256 cannot be known before the content has come"),
    ("[{when: {not: {finding.severity: high}}, mode: pass}]",
     "1:23: finding.severity cannot be known before the content has come"),
    ("[{when: {event: file}, mode: pass}]", "1:17: files is about files: event has no use here"),
    ("[{when: {kind: chat}, mode: pass}]", "1:17: files is about files: kind has no use here"),
])
def test_faults_of_files(entries: str, fault: str) -> None:
    """An entry that has a fault, or asks what nobody can know yet, is refused at its place."""
    assert faults(f"files: {entries}") == [f"p.yaml:{fault}"]


def test_entries_of_files() -> None:
    """In their order with their places, and the defaults behind them; every early field may be asked."""
    of_files = [field for field in FIELDS.values() if field.events is None or "file" in field.events]
    early = {field.name for field in of_files if field.early and field.scope != "finding"}
    assert early == {
        "event",
        "protocol", "application", "direction", "user", "identity", "group", "peer", "conversation", "port", "text",
        "confidence", "time", "file.type", "file.name", "file.size", "file.method",
    }
    entries = "files:\n  - {when: {user: a}, mode: pass, description: because}\n  - {when: {}, mode: stream}"
    source = read(entries, "p.yaml")
    assert [(one.mode, one.rule.index, one.rule.place) for one in source.files] == [
        ("pass", 0, (2, 5)), ("stream", 1, (3, 5)), ("spool", 2, (0, 0)), ("spool", 3, (0, 0)), ("stream", 4, (0, 0)),
    ]


def test_names_are_unique() -> None:
    """A rule's name is what the log tells."""
    assert faults("rules:\n  - {name: r, when: {}, then: warn}\n  - {name: r, when: {}, then: warn}") == [
        'p.yaml:3:12: a rule "r" is there already, on line 2',
    ]


def test_nesting_and_lengths_are_bounded() -> None:
    """A policy cannot be so deep or long that it hurts its reader."""
    deep = "not: {" * 13 + "kind: chat" + "}" * 13
    assert faults(RULE % deep) == ["p.yaml:2:93: not, any and all nested more than 12 deep"]
    assert faults(RULE % f"user: [{', '.join('a' * 10_001)}]") == [
        "p.yaml:2:28: more than 10000 values; long lists are indicators of a pack",
    ]
    assert faults(RULE % f"user: {'a' * 201}") == ["p.yaml:2:28: longer than 200 characters"]
    assert faults(RULE % f"text: {'a' * 2001}") == ["p.yaml:2:28: a pattern longer than 2000 characters"]
    assert faults("rules: [{name: r, when: {}, then: warn, notify: %s}]" % ("a" * 1001)) == [
        "p.yaml:1:49: longer than 1000 characters",
    ]


@pytest.mark.parametrize("text", ["[]", "5", "- rules"])
def test_a_policy_is_a_mapping(text: str) -> None:
    """Anything else is one fault."""
    assert faults(text) == [f"p.yaml:1:{1}: a policy is a mapping with the key rules"]


def test_registered_protocols_may_be_named() -> None:
    """A protocol that is registered but not among the known names is no fault."""
    text = RULE % "protocol: newp"
    assert faults(text) == ['p.yaml:2:32: unknown protocol "newp"']
    assert read(text, "p.yaml", ["newp"]).rules


def test_a_name_that_looks_like_a_number_is_a_name() -> None:
    """ICQ numbers are people, as they are written."""
    assert matches("{peer: 12345678}", message(recipients=("12345678",)))
    assert matches("{user: 1.10, not: {finding.rule: x}}", None, None) is False
    assert matches("{finding.rule: 5}", None, None, 0, finding("5"))  # type: ignore[arg-type]


KEYS = [
    "rules", "groups", "inside", "on_trouble", "name", "when", "then", "not", "any", "text", "time", "port", "user",
    "days", "from", "notify", "event", "group", "x", "default", "addresses", "files", "mode", "file.type",
    "file.sha256",
]
VALUES = ["rules", "block", "irc", "x", "", "high", "5-9", ">5", "mon", "08:00", "(", "spool", "image"]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
))
def test_any_document_is_a_policy_or_faults(value: object) -> None:
    """Whatever stands where, the answer is a policy or faults with places; never another exception."""
    try:
        read(json.dumps(value), "p.yaml")
    except Faults as caught:
        assert all(fault.line for fault in caught.faults)
