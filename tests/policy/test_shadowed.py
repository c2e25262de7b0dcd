"""policy.shadowed: rules that an earlier one hides."""

from __future__ import annotations

import pytest

from tests.policy.kit import rules

GROUPS = "groups: {g: {users: [x]}, h: {users: [y]}}"


def hidden(first: str, second: str, then: str = "block", mode: str = "enforce") -> bool:
    policy = rules(
        f"name: one, when: {first}, then: {then}, mode: {mode}", f"name: two, when: {second}, then: warn",
        before=GROUPS,
    )
    return bool(policy.hidden())


@pytest.mark.parametrize(("first", "second"), [
    ("{}", "{kind: chat}"),
    ("{protocol: irc}", "{protocol: irc, direction: outbound}"),
    ("{protocol: [irc, xmpp]}", "{protocol: irc}"),
    ("{finding.severity: [high, critical]}", "{finding.severity: critical, finding.rule: a}"),
    ("{finding.rule: 'core.*'}", "{finding.rule: core.eicar}"),
    ("{user: '*@example.net'}", "{user: bob@example.net}"),
    ("{port: '6000-7000'}", "{port: [6667, '6690-6697']}"),
    ("{event: message}", "{kind: chat, event: message}"),
    ("{event: file}", "{file.name: '*.exe'}"),
    ("{any: [{protocol: irc}, {direction: outbound}]}", "{direction: outbound, kind: chat}"),
    ("{protocol: irc}", "{any: [{protocol: irc, kind: chat}, {protocol: irc, kind: topic}]}"),
    ("{not: {group: g}}", "{not: {group: [g, h]}}"),
    ("{not: {protocol: irc}}", "{not: {any: [{protocol: irc}, {protocol: xmpp}]}}"),
    ("{text: [a, b]}", "{text: b}"),
])
def test_hidden(first: str, second: str) -> None:
    """All that the second matches is decided by the first."""
    assert hidden(first, second)


@pytest.mark.parametrize(("first", "second"), [
    ("{kind: chat}", "{}"),
    ("{protocol: irc, direction: outbound}", "{protocol: irc}"),
    ("{protocol: irc}", "{protocol: [irc, xmpp]}"),
    ("{finding.rule: core.eicar}", "{finding.rule: 'core.*'}"),
    ("{event: message}", "{kind: chat}"),
    ("{not: {group: [g, h]}}", "{not: {group: g}}"),
    ("{finding.severity: high}", "{not: {finding.severity: low}}"),
    ("{not: {finding.severity: high}}", "{not: {finding.severity: high}, finding.rule: a}"),
    ("{text: a}", "{text: ab}"),
])
def test_not_hidden(first: str, second: str) -> None:
    """Something is left for the second; when in doubt it is not called hidden."""
    assert not hidden(first, second)


def test_only_rules_that_end_hide() -> None:
    """Collected and shadow rules let the evaluation go on."""
    assert hidden("{}", "{}", "pass")
    assert not hidden("{}", "{}", "warn")
    assert not hidden("{}", "{}", "block", "shadow")


def test_the_fault_names_both() -> None:
    """It stands at the hidden rule and says which one hides it."""
    policy = rules("name: one, when: {}, then: cut", "name: two, when: {kind: chat}, then: warn")
    assert [str(fault) for fault in policy.hidden()] == [
        'p.yaml:4:12: rule "two" is never reached: "one" (line 3) decides all that it matches',
    ]


def test_entries_of_files_are_hidden_too() -> None:
    """The first that holds decides, so what an earlier one covers is never reached; the defaults are no fault."""
    policy = rules(before="files:\n  - {when: {file.type: [video, image]}, mode: pass}\n"
                          "  - {when: {file.type: image, direction: inbound}, mode: spool}\n"
                          "  - {when: {}, mode: spool}")
    assert [str(fault) for fault in policy.hidden()] == [
        "p.yaml:3:5: this entry of files is never reached: the one on line 2 decides all that it matches",
    ]
