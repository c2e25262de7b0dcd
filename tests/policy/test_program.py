"""policy.program: what is left of rules when all that is known beforehand is known, as one function."""

from __future__ import annotations

import pytest

from inspector.model import UP, SignOn
from inspector.policy.matchers import Pattern, PatternSet
from inspector.policy.program import judge, text_atoms
from inspector.policy.reader import read
from inspector.policy.rules import Atom
from tests.policy.kit import AT, context, finding, message


def made(text: str, found: bool = False, *, protocol: bool | None = True):  # type: ignore[no-untyped-def]
    rules = read(f"rules: [{text}]", "p.yaml").rules
    patterns = text_atoms(rules)

    def known(atom: Atom) -> bool | None:
        return protocol if atom.field.name == "protocol" else None

    return judge(
        rules, known, way=UP, found=found, jids=False,
        texts=PatternSet(pattern.joined for _, pattern in patterns) if patterns else None,
        pattern_index={id(atom): index for index, (atom, _) in enumerate(patterns)},
    )


def test_rules_that_cannot_match_leave_nothing() -> None:
    """No function at all where every rule is known to be false: the cheapest decision is none."""
    assert made("{name: a, when: {finding.rule: x}, then: block}") == (None, False)
    assert made("{name: a, when: {protocol: irc, text: x}, then: block}", protocol=False) == (None, False)


def test_what_is_known_costs_nothing_later() -> None:
    """A rule whose conditions are all known to hold always matches, and nothing after a final one is written."""
    run, asks = made("{name: a, when: {protocol: irc}, then: block}, {name: b, when: {peer: x}, then: cut}")
    assert run is not None and not asks
    assert [rule.name for rule, _ in run(message(), context(), AT, None, ())] == ["a"]


def test_peer_is_asked_for_only_when_needed() -> None:
    """Whoever calls has to loop over recipients only where a rule looks at them."""
    run, asks = made("{name: a, when: {protocol: irc, peer: 'b*'}, then: block}")
    assert asks and run is not None
    assert run(message(), context(), AT, None, ()) is not None
    assert run(message(), context(), AT, "carol", ()) is None


def test_texts_are_searched_once() -> None:
    """All text patterns of a policy are looked for in one pass, and only when a rule that is not false yet asks."""
    run, _ = made("{name: a, when: {kind: chat, text: hell}, then: warn}, {name: b, when: {text: lo}, then: warn},"
                  "{name: c, when: {not: {text: [x, y]}}, then: warn}")
    assert run is not None
    assert [rule.name for rule, _ in run(message("hello"), context(), AT, None, ())] == ["a", "b", "c"]
    assert [rule.name for rule, _ in run(message("x", kind="topic"), context(), AT, None, ()) or []] == []


def test_findings_of_a_rule() -> None:
    """With findings each rule tells those for which it holds."""
    run, _ = made("{name: a, when: {finding.severity: high}, then: warn}", found=True)
    assert run is not None
    high, low = finding("x", "high"), finding("y", "low")
    assert [(rule.name, found) for rule, found in run(message(), context(), AT, None, (low, high))] == [("a", (high,))]
    assert run(message(), context(), AT, None, (low,)) is None


def test_names_in_a_policy_never_become_code() -> None:
    """Values that look like Python are values: only names of our own making stand in the generated source."""
    evil = "'); raise SystemExit  #"
    run, _ = made(f'{{name: "{evil}", when: {{conversation: "{evil}", text: "raise; exit()"}}, then: block}}')
    assert run is not None
    assert run(message("x", conversation="y"), context(), AT, None, ()) is None


def test_a_field_that_no_event_has_is_our_fault() -> None:
    """A session's condition that nobody evaluated is a bug, told as such."""
    with pytest.raises(ValueError, match="identity"):
        made("{name: a, when: {identity: claimed}, then: block}")
    assert SignOn.name == "sign_on"
    assert Pattern(["a"]).holds("a")


def test_usual_messages_are_told_apart_first() -> None:
    """Rules about unusual kinds, copies and encryption cost a usual message one question, and still hold for others."""
    run, asks = made("{name: a, when: {kind: topic, text: x}, then: warn},"
                     "{name: b, when: {copy: history, peer: '*'}, then: warn}")
    assert run is not None and asks
    assert run(message("x"), context(), AT, None, ()) is None
    assert [rule.name for rule, _ in run(message("x", kind="topic", copy="history"), context(), AT, None, ())] == [
        "a", "b",
    ]
    assert [rule.name for rule, _ in run(message("y", kind="topic", copy="history"), context(), AT, None, ())] == ["b"]


def test_what_vanishes_is_not_asked_for() -> None:
    """A rule that is known to be false only at its last condition leaves nothing of its first ones."""
    run, asks = made("{name: a, when: {kind: topic, peer: x, protocol: irc}, then: warn},"
                     "{name: b, when: {text: x}, then: warn}", protocol=False)
    assert run is not None and not asks
