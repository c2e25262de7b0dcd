"""policy.rules: what can be said of a condition without an event."""

from __future__ import annotations

import pytest

from inspector.policy.reader import read
from inspector.policy.rules import Condition, atoms, looks_at, without_finding


def condition(when: str) -> Condition:
    return read(f"rules: [{{name: r, when: {when}, then: warn}}]", "p.yaml").rules[0].when


@pytest.mark.parametrize(("when", "value"), [
    ("{finding.rule: a}", False),
    ("{finding.rule: a, kind: chat}", False),
    ("{kind: chat}", None),
    ("{any: [{finding.rule: a}, {kind: chat}]}", None),
    ("{any: [{finding.rule: a}, {finding.tag: b, kind: chat}]}", False),
    ("{not: {finding.rule: a}}", True),
    ("{not: {finding.rule: a}, kind: chat}", None),
    ("{not: [{finding.rule: a}, {kind: chat}]}", None),
    ("{}", True),
])
def test_without_finding(when: str, value: bool | None) -> None:
    """The value where nothing was found, as far as it is certain: false is what redact needs."""
    assert without_finding(condition(when)) is value


@pytest.mark.parametrize(("when", "how"), [
    ("{kind: chat}", "none"), ("{finding.rule: a}", "some"), ("{not: {finding.rule: a}}", "every"),
    ("{not: {not: {finding.rule: a}}}", "some"), ("{finding.rule: a, not: {finding.tag: b}}", "some"),
])
def test_looks_at(when: str, how: str) -> None:
    """A wanted finding is looked for; findings only named in `not` must all comply."""
    assert looks_at(condition(when)) == how


def test_atoms_know_their_polarity() -> None:
    """Under an odd number of nots a condition is negated."""
    found = [(atom.field.name, negated) for atom, negated in atoms(condition(
        "{kind: chat, not: {copy: no, not: {text: a}}, any: [{port: 1}]}",
    ))]
    assert found == [("kind", False), ("copy", True), ("text", False), ("port", False)]
