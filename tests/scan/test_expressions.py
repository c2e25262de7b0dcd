"""Trees of regular expressions and hexadecimal strings."""

from __future__ import annotations

import pytest

from inspector.scan.expressions import ANY, Bytes, Either, Nothing, Repeat, Sequence, hexadecimal, regex, walk


def _b(text: str) -> Bytes:
    return Bytes(frozenset(text.encode("latin-1")))


@pytest.mark.parametrize(("body", "tree"), [
    (b"a", _b("a")), (b"a|b", Either((_b("a"), _b("b")))), (b"a.b", Sequence((_b("a"), ANY, _b("b")))),
    (b"a+?", Repeat(_b("a"), 1, None)), (b"a{2,}", Repeat(_b("a"), 2, None)), (b"a{,3}", Repeat(_b("a"), 0, 3)),
    (b"a{4}", Repeat(_b("a"), 4, 4)), (b"[a-c]", _b("abc")), (b"[^a]", ANY), (b"[]a]", _b("]a")), (rb"\x41", _b("A")),
    (rb"\n", _b("\n")), (rb"[\x41-\x43]", _b("ABC")), (rb"\d", _b("0123456789")), (rb"\w", ANY),
    (b"^a$", Sequence((Nothing(), _b("a"), Nothing()))), (b"{", _b("{")), (b"(a)", _b("a")),
])
def test_regular_expressions(body: bytes, tree: object) -> None:
    """Literals, classes, groups, repeats, anchors."""
    assert regex(body) == tree


@pytest.mark.parametrize("body", [b"(a", b"a)", b"[a", b"a\\", b"*a", b"(?=a)", rb"\1", rb"\q",
    rb"\x4", b"(" * 60 + b")" * 60])
def test_what_is_not_understood_is_told(body: bytes) -> None:
    """Never guessed at."""
    with pytest.raises(ValueError):
        regex(body)


def test_hexadecimal_strings() -> None:
    """Bytes, holes, halves, jumps, alternatives, negations, comments."""
    tree = hexadecimal(b" 41 ?? 4? ~42 [2-4] [3] [1-] ( 43 | 44 45 ) /* x */ // y\n 46 ")
    assert tree == Sequence((
        _b("A"), ANY, ANY, ANY, Repeat(ANY, 2, 4), Repeat(ANY, 3, 3), Repeat(ANY, 1, None),
        Either((_b("C"), Sequence((_b("D"), _b("E"))))), _b("F"),
    ))
    assert sum(isinstance(one, Repeat) for one in walk(tree)) == 3
    with pytest.raises(ValueError):
        hexadecimal(b"4")
