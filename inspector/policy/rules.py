"""A policy as it was read: rules, conditions, groups and what to do about trouble. Plain data, nothing decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from inspector.model import Action, FileMode, Finding
from inspector.policy.fields import Field
from inspector.policy.matchers import Matcher, Names, Networks
from inspector.policy.notices import Template


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """One field, one question. `place`: (line, column) of its key; `shown`: as it is written, for explanations."""

    field: Field
    matcher: Matcher
    place: tuple[int, int]
    shown: str


@dataclass(frozen=True, slots=True, eq=False)
class All:
    """Every item holds; true without items."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf:
    """One item holds; false without items."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """The item does not hold."""

    item: Condition


Condition = Atom | All | AnyOf | Not

Findings = Literal["none", "some", "every"]
"""How a rule looks at findings. none: not at all. some: it has a condition that wants a finding, and matches if all its
conditions hold for one and the same. every: it names findings only in `not:`, and matches if they hold for each."""

FINAL = frozenset({Action.PASS, Action.HOLD, Action.BLOCK, Action.CUT})
"""Actions that end the evaluation; the others are collected."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule. `index`: its place in the policy, from 0; `place`: (line, column) of its name."""

    index: int
    name: str
    when: Condition
    then: Action
    shadow: bool
    notify: Template | None
    placeholder: Template | None
    description: str
    place: tuple[int, int]
    then_place: tuple[int, int]
    findings: Findings

    @property
    def final(self) -> bool:
        """Whether nothing after it is looked at when it matches."""
        return not self.shadow and self.then in FINAL


@dataclass(frozen=True, slots=True, eq=False)
class Taking:
    """One entry of `files:`: offers for which `rule.when` holds are taken in this mode. `rule.index` is its place."""

    rule: Rule
    mode: FileMode


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Clients by address or by name. `claimed`: a name that was only claimed counts, too."""

    name: str
    addresses: Networks
    users: Names
    claimed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """All of a policy file."""

    path: str
    enforce: bool
    inside: Networks
    on_trouble: Mapping[str, Mapping[str, str]]
    """Per protocol, and under "default"; complete under "default"."""
    groups: tuple[Group, ...]
    rules: tuple[Rule, ...]
    files: tuple[Taking, ...]
    """How the content of files is taken: the entries of `files:`, then the defaults, of which the last always holds."""


def atoms(condition: Condition, negated: bool = False) -> Iterator[tuple[Atom, bool]]:
    """Every atom, and whether it stands under an odd number of `not`."""
    if isinstance(condition, Atom):
        yield condition, negated
    elif isinstance(condition, Not):
        yield from atoms(condition.item, not negated)
    else:
        for item in condition.items:
            yield from atoms(item, negated)


def without_finding(condition: Condition) -> bool | None:
    """The value of a condition where there is no finding; None: it depends on other fields."""
    if isinstance(condition, Atom):
        return False if condition.field.scope == "finding" else None
    if isinstance(condition, Not):
        value = without_finding(condition.item)
        return None if value is None else not value
    values = [without_finding(item) for item in condition.items]
    decisive = isinstance(condition, AnyOf)
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def looks_at(condition: Condition) -> Findings:
    """How a rule with this condition looks at findings."""
    polarity = {negated for atom, negated in atoms(condition) if atom.field.scope == "finding"}
    if not polarity:
        return "none"
    return "some" if False in polarity else "every"


Matched = tuple[Rule, tuple[Finding, ...]]
"""A rule that matched, and the findings it matched with."""
