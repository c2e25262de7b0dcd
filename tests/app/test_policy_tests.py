"""app.policy_tests: files of policy tests, from what is given to an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.app.policy_tests import Case, Results, masked, read_cases, run
from inspector.model import (
    DOWN,
    UP,
    Address,
    CallSetup,
    ContactChange,
    Encryption,
    Event,
    File,
    FileOffer,
    GroupChange,
    Message,
    Opaque,
    Presence,
    SignOn,
    Text,
    Typing,
)
from inspector.policy import compile
from inspector.wire.located import Faults


def case(tmp_path: Path, given: str) -> Case:
    (tmp_path / "t.yaml").write_text(f"tests:\n  - {{name: t, given: {{{given}}}, expect: pass}}\n")
    (made,) = read_cases(tmp_path / "t.yaml", "t.yaml")
    return made


def faults(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(Faults) as caught:
        read_cases(tmp_path / "t.yaml", "t.yaml")
    return [str(fault) for fault in caught.value.faults]


def outcome(tmp_path: Path, policy: str, tests: str) -> Results:
    (tmp_path / "t.yaml").write_text(tests)
    return run(compile(policy, "p.yaml"), read_cases(tmp_path / "t.yaml", "t.yaml"))


@pytest.mark.parametrize(("given", "event"), [
    ("text: hi", Message(sender=None, recipients=("peer@example.org",), texts=(Text("body", "hi"),))),
    ("user: a@x, recipients: [b@y], kind: topic, conversation: r@z, copy: history, inspectable: metadata, "
     "encryption: otr",
     Message(kind="topic", sender="a@x", recipients=("b@y",), conversation="r@z", copy="history",
             encryption=Encryption("metadata", "otr"))),
    ("event: message, way: down, user: a@x", Message(sender="peer@example.org", recipients=("a@x",))),
    ("event: file, file: {name: a.exe, size: 5, type: image/png, method: dcc}",
     FileOffer(recipients=("peer@example.org",), file_name="a.exe", size=5, declared_type="image/png", method="dcc",
               texts=(Text("file_name", "a.exe"),))),
    ("event: file, file: {name: a.jpg, size: 5, content: executable, media_type: x/y, encrypted: true, members: 3}",
     File(recipients=("peer@example.org",), file_name="a.jpg", size=5, kinds=("executable",), media_type="x/y",
          complete=True, encrypted=True, members=3, sha256="0" * 64, texts=(Text("file_name", "a.jpg"),))),
    ("event: file, file: {content: [document, archive], complete: false, sha256: '00', type: image/png}",
     File(recipients=("peer@example.org",), kinds=("document", "archive"), sha256="00", declared_type="image/png")),
    ("event: file, file: {complete: false, method: dcc}", File(recipients=("peer@example.org",), method="dcc")),
    ("event: sign_on, user: a, identity: claimed", SignOn(user="a", identity="claimed")),
    ("event: presence, texts: [{part: status, plain: away, editable: false}]",
     Presence(recipients=("peer@example.org",), texts=(Text("status", "away", None, False),))),
    ("event: contact, action: remove, contact: c@x", ContactChange(action="remove", contact="c@x")),
    ("event: group, group: '#r'", GroupChange(action="join", group="#r")),
    ("event: call", CallSetup(action="invite", recipients=("peer@example.org",))),
    ("event: typing", Typing(recipients=("peer@example.org",))),
    ("event: opaque, kind: vcard", Opaque(kind="vcard", recipients=("peer@example.org",))),
])
def test_events(tmp_path: Path, given: str, event: Event) -> None:
    """Each kind of event can be given, with sensible people where none are named."""
    assert case(tmp_path, given).event == event


def test_sessions(tmp_path: Path) -> None:
    """Addresses with and without port, IPv6 in brackets or not; protocol, user, identity, time."""
    made = case(
        tmp_path, 'client: "2001:db8::5", server: "[2001:db8::9]:6667", protocol: irc, user: al, identity: claimed, '
        'application: icq, confidence: 0.5, way: down, at: "2026-11-22T10:00:00+01:00"',
    )
    flow = made.context.flow
    assert (flow.client, flow.server) == (Address("2001:db8::5", 50000), Address("2001:db8::9", 6667))
    assert (made.context.protocol, made.context.user, made.context.identity) == ("irc", "al", "claimed")
    assert (made.context.application, made.context.confidence, made.way, made.at) == ("icq", 0.5, DOWN, 1795338000.0)
    plain = case(tmp_path, "client: 10.0.0.1:99, user: al")
    assert plain.context.flow.client == Address("10.0.0.1", 99)
    assert (plain.context.identity, plain.way, plain.at) == ("authenticated", UP, 1763805600.0)


def test_findings_have_spans_where_their_words_are(tmp_path: Path) -> None:
    """`in` names the words; every place in every text becomes a span. Without it there is none."""
    made = case(tmp_path, "texts: [{plain: a b a}, {plain: b}, {plain: xa}], findings: "
                          "[{rule: dlp.x, in: a, severity: high, pack: p@1, tags: [t]}, {rule: core.y}]")
    first, second = made.findings
    assert first.spans == ((0, 0, 1), (0, 4, 5), (2, 1, 2))
    assert (first.detector, first.severity, first.pack, first.tags) == ("dlp", "high", "p@1", ("t",))
    assert (second.detector, second.severity, second.spans) == ("yara", "medium", ())


def test_given_of_the_file_is_for_all_its_tests(tmp_path: Path) -> None:
    """What a test gives itself wins."""
    (tmp_path / "t.yaml").write_text(
        "given: {user: a, protocol: irc}\ntests: [{name: s, expect: pass}, {name: t, given: {user: b}, expect: pass}]",
    )
    one, two = read_cases(tmp_path / "t.yaml")
    assert (one.context.user, one.context.protocol, two.context.user, two.context.protocol) == ("a", "irc", "b", "irc")


def test_all_faults_at_once(tmp_path: Path) -> None:
    """Each with its place, those of the shared `given` once."""
    assert faults(tmp_path, """descripton: x
given: {protocol: ircc, usr: x}
tests:
  - {name: a, given: {event: mesage, way: sideways, at: noon, text: 5, client: here}, expect: pass}
  - {name: a, expect: blok, extra: 1}
  - {name: b, expect: {acton: block}, given: {findings: [{rule: x, in: nowhere, severity: bad}, 5]}}
  - {given: 5}
  - {name: c, given: {kind: chta, texts: [5], recipients: x, confidence: x, file: 5}, expect: {rule: null}}
  - {name: d, given: {event: file, file: {size: big}}, expect: pass}
  - 7
""") == [
        'test:1:1: unknown key "descripton" (did you mean "description"?)'.replace("test:", "t.yaml:"),
        't.yaml:2:19: unknown protocol "ircc" (did you mean "irc"?)',
        't.yaml:2:25: unknown key "usr" (did you mean "user"?)',
        't.yaml:4:30: unknown event "mesage" (did you mean "message"?)',
        't.yaml:4:43: unknown way "sideways"',
        't.yaml:4:57: at is a time with its zone like "2026-11-22T10:00:00+01:00"',
        "t.yaml:4:69: text is one text; several are texts: [{part: body, plain: …}]",
        't.yaml:4:80: "here" is not an address',
        "t.yaml:5:12: a test of that name is there already",
        't.yaml:5:23: unknown action "blok" (did you mean "block"?)',
        't.yaml:5:29: unknown key "extra"',
        't.yaml:6:24: unknown key "acton" (did you mean "action"?)',
        't.yaml:6:72: "nowhere" is in none of the texts',
        't.yaml:6:91: unknown severity "bad"',
        't.yaml:6:97: a finding is {rule: dlp.card_number, severity: medium, in: "the words that were found"}',
        "t.yaml:7:5: a test needs a name",
        f"t.yaml:7:5: expect is an action, or a mapping of {EXPECT}",
        "t.yaml:7:13: given is a mapping",
        't.yaml:8:29: unknown kind "chta" (did you mean "chat"?)',
        "t.yaml:8:43: a text is {part: body, plain: …, editable: true}",
        "t.yaml:8:59: recipients is a list of names",
        "t.yaml:8:74: confidence is a number",
        "t.yaml:9:49: size is a whole number of bytes",
        "t.yaml:10:5: a test is a mapping with name, given and expect",
    ]


def test_faults_of_files(tmp_path: Path) -> None:
    """What is said of a content has its words and shapes; a mode is of a file that has not come."""
    assert faults(tmp_path, """tests:
  - {name: a, given: {event: file, file: {name: 5, content: [exe, image], members: true, sha: x}}, expect: pass}
  - {name: b, given: {event: file, file: {content: x, complete: 5, encrypted: 1}}, expect: {mode: spol}}
  - {name: c, given: {text: hi}, expect: {mode: spool}}
  - {name: d, given: {event: file, file: {type: 5}}, expect: {mode: spool}}
""") == [
        "t.yaml:2:49: name is text: put it into quotes",
        't.yaml:2:62: unknown content "exe"',
        "t.yaml:2:84: members is a whole number",
        't.yaml:2:90: unknown key "sha" (did you mean "sha256"?)',
        't.yaml:3:52: unknown content "x"',
        "t.yaml:3:65: complete is true or false",
        "t.yaml:3:79: encrypted is true or false",
        't.yaml:3:99: unknown mode "spol" (did you mean "spool"?)',
        "t.yaml:4:49: a mode is for a file whose content has not come",
        "t.yaml:5:49: type is a media type",
    ]


def test_modes(tmp_path: Path) -> None:
    """How a file would be taken is compared and explained, and entries that no test sees decide are named."""
    done = outcome(
        tmp_path, "files:\n  - {when: {file.type: video}, mode: pass}\n  - {when: {user: x}, mode: spool}",
        """
given: {event: file, way: down}
tests:
  - {name: a, given: {file: {name: a.mp4}}, expect: {mode: pass}}
  - {name: b, given: {file: {name: a.exe}}, expect: {mode: stream}}
""")
    first, second = done.results
    assert not first.wrong and second.wrong == ('expected mode "stream", got "spool"',)
    assert [(said.rule, said.matched) for said in first.said] == [("files 1", True)]
    assert [said.rule for said in second.said] == ["files 1", "files 2", "files by default", "files by default"]
    assert done.untested == ("files 2",)


EXPECT = "action, rule, text, texts, notice, placeholder, shadow, hits, mode"


@pytest.mark.parametrize("text", ["", "5", "tests: 5", "rules: []"])
def test_a_file_of_tests_has_tests(tmp_path: Path, text: str) -> None:
    """An empty file does not pass for tested."""
    assert faults(tmp_path, text)[0].endswith("a file of policy tests is a mapping with a list: tests")


def test_differences_are_told(tmp_path: Path) -> None:
    """Expected and got, for each thing that is expected; what is not mentioned is not compared."""
    policy = """rules:
      - {name: m, when: {finding.rule: x}, then: redact, notify: n}
      - {name: s, when: {}, then: cut, mode: shadow}
"""
    given = 'given: {text: "a b", findings: [{rule: x, in: b}]}'
    expected = "{action: redact, rule: m, text: 'a *', notice: n, shadow: [s], hits: [m, s]}"
    right = f"tests: [{{name: t, {given}, expect: {expected}}}]"
    assert outcome(tmp_path, policy, right).failed == ()
    wrong = f"tests: [{{name: t, {given}, expect: {{action: block, rule: null, text: 'a b', shadow: []}}}}]"
    (result,) = outcome(tmp_path, policy, wrong).failed
    assert str(result.fault) == (
        't.yaml:1:16: t: expected action "block", got "redact" (by "m"); expected rule none, got "m"; '
        'expected text "a b", got "a *"; expected shadow [], got ["s"]'
    )


def test_masked() -> None:
    """One `*` a character."""
    assert masked("card 4111!", [(5, 9)]) == "card ****!"
