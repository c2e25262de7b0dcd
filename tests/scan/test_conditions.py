"""Strings that a condition cannot be true without. (That this is right for YARA: test_equivalence.py.)"""

from __future__ import annotations

import pytest

from inspector.scan.conditions import Needs, needs
from inspector.scan.yararules import read

PRICES = {"$a": 3.0, "$b": 1.0, "$c": 2.0}


def _price(one: Needs) -> float | None:
    return None if any(name not in PRICES for name in one) else sum(PRICES[name] for name in one)


@pytest.mark.parametrize(("condition", "want"), [
    ("$a", "a"), ("$a and $b", "b"), ("$a or $b", "ab"), ("any of them", "abc"), ("all of them", "b"),
    ("2 of them", "bc"), ("2 of ($a, $c)", "c"), ("4 of them", ""), ("any of ($a*)", "a"),
    ("not $a", None), ("true", None),
    ("false", ""), ("filesize > 3", None), ("filesize > 3 and $a", "a"), ("$a or filesize > 3", None), ("#a > 0", "a"),
    ("#a >= 0", None), ("#a == 0", None), ("#a == 2", "a"), ("@a < 10", "a"), ("@a[1] < 10", "a"), ("$a at 0", "a"),
    ("$a in (0..9)", "a"), ("for any of them : ( $ at 0 )", "abc"), ("for all of them : ( # > 2 )", "b"),
    ("for any of them : ( # == 0 )", None), ("none of them", None), ("0 of them", None), ("50% of them", None),
    ("(($a) and ($b or $c))", "a"), ("helper", "h"), ("other", None), ("helper and $b", "b"), ("any of (r*)", None),
    ("for any i in (1..3) : ( @a[i] > 3 )", None), ("#a + #b > 1", None), ("(" * 60 + "$a" + ")" * 60, None),
])
def test_needs(condition: str, want: str | None) -> None:
    """The cheapest set that is certain, or none."""
    tokens = read("x", f"rule x {{ condition: {condition} }}".encode()).rules[0].condition
    found = needs(tokens, ["$a", "$b", "$c"], _price, {"helper": frozenset({"$h"}), "other": None})
    assert (None if found is None else "".join(sorted(name[1:] for name in found))) == want
