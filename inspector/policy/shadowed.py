"""Rules, and entries of `files:`, that can never be reached: an earlier one decides all that they match."""

from __future__ import annotations

from inspector.policy.fields import EVENTS
from inspector.policy.matchers import Names
from inspector.policy.rules import All, AnyOf, Atom, Condition, Not, Rule, Source
from inspector.wire.located import Fault


def hidden(source: Source) -> tuple[Fault, ...]:
    """A fault for each rule or entry that an earlier one hides. Never a false alarm; not every hidden one is found."""
    faults = []
    finals: list[Rule] = []
    for rule in source.rules:
        for earlier in finals:
            if _sees_as_much(earlier, rule) and implies(rule.when, earlier.when):
                faults.append(Fault(
                    source.path, *rule.place,
                    f'rule "{rule.name}" is never reached: "{earlier.name}" (line {earlier.place[0]}) '
                    f"decides all that it matches",
                ))
                break
        if rule.final:
            finals.append(rule)
    written = [taking.rule for taking in source.files if taking.rule.place[0]]
    for index, rule in enumerate(written):
        before = next((one for one in written[:index] if implies(rule.when, one.when)), None)
        if before is not None:
            faults.append(Fault(
                source.path, *rule.place,
                f"this entry of files is never reached: the one on line {before.place[0]} decides all that it matches",
            ))
    return tuple(faults)


def _sees_as_much(earlier: Rule, later: Rule) -> bool:
    """Whether "for each value, later implies earlier" is enough: findings are seen alike, or not at all by the earlier.

    Several recipients are judged one by one, so that conditions on a peer hold for the same one in both rules.
    """
    return earlier.findings in ("none", later.findings)


def implies(one: Condition, other: Condition) -> bool:
    """Whether `other` holds wherever `one` does. False when in doubt."""
    if isinstance(other, All):
        return all(implies(one, item) for item in other.items)
    if isinstance(one, AnyOf):
        return all(implies(item, other) for item in one.items)
    if isinstance(other, AnyOf) and any(implies(one, item) for item in other.items):
        return True
    if isinstance(one, All):
        return any(implies(item, other) for item in one.items)
    if isinstance(one, Not):
        return isinstance(other, Not) and implies(other.item, one.item)
    if not isinstance(one, Atom) or not isinstance(other, Atom):
        return False
    if one.field is other.field:
        return other.matcher.covers(one.matcher)
    # A field that only some events have says which event it is.
    return (
        other.field.name == "event"
        and one.field.events is not None
        and isinstance(other.matcher, Names)
        and all(other.matcher.holds(name) for name in one.field.events if name in EVENTS)
    )
