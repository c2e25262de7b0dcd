"""Literals that a match cannot be without."""

from __future__ import annotations

import pytest

from inspector.scan.atoms import cost, exact, of_string, required
from inspector.scan.expressions import regex
from inspector.scan.yararules import String, read


def _string(text: str) -> String:
    return read("x", f"rule a {{ strings: $a = {text} condition: $a }}".encode()).rules[0].strings[0]


@pytest.mark.parametrize(("text", "want"), [
    ('"free money" nocase', {(b"free mone", True)}), ('"abc" wide', {(b"a\0b\0c\0", False)}),
    ('"abc" wide ascii', {(b"abc", False), (b"a\0b\0c\0", False)}), ('"abc" xor(1-2)', {(b"`cb",
    False), (b"c`a", False)}),
    ('"ab"', None), ('"abc" base64("x")', None), ("/ab./", None), ("/a|secret/", None), ("/(secret|hidden)x/i",
     {(b"secretx", True), (b"hiddenx", True)}), ("{ 41 42 43 44 45 46 47 48 ?? 49 }",
     {(b"ABCDEFGH", False)}), ("{ 41 ?? 42 }", None),
    ('"This program cannot" base64', {
        (b"VGhpcyBwcm9ncmFtIGNhbm5v", False), (b"RoaXMgcHJvZ3JhbSBjYW5ub3", False),
        (b"UaGlzIHByb2dyYW0gY2Fubm90"[:24], False),
    }),
])
def test_atoms_of_strings(text: str, want: set[tuple[bytes, bool]] | None) -> None:
    """Every modifier has its own; what has no safe one has none."""
    found = of_string(_string(text))
    assert (None if found is None else {(one.literal, one.caseless) for one in found}) == want


def test_two_literals_with_a_gap_are_looked_for_together() -> None:
    """Where each alone is in many texts."""
    found = of_string(_string("{ 74 68 65 20 ?? 63 61 74 }"))
    assert found is not None
    (one,) = found
    assert one.pattern and one.source == rb"\x74\x68\x65\x20[\x00-\xff]{1,1}\x63\x61\x74"


def test_required_literals() -> None:
    """Of a sequence the rarest run; of alternatives one of each; of repeats only what must be there."""
    assert required(regex(b"abc.defghij")) == frozenset({b"defghij"})
    assert required(regex(b"(abc|defg)?")) is None
    assert required(regex(b"x(abc|defg)y")) == frozenset({b"xabcy", b"xdefgy"})
    assert required(regex(b"(abc)+")) == frozenset({b"abc"})
    assert exact(regex(b"a[bc]?")) == frozenset({b"a", b"ab", b"ac"})
    assert exact(regex(b"a*")) is None


def test_longer_is_rarer() -> None:
    """And words that are everywhere are not."""
    def price(text: str) -> float:
        found = of_string(_string(text))
        assert found is not None
        return cost(found)

    assert price('"zebra crossing"') < price('"zebra"') < price('"the"')
