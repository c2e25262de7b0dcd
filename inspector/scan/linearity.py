"""What keeps a message rule linear in the text, and the texts that are worst for it.

YARA's engine of regular expressions is not linear: `/a.{0,500}b.{0,500}c/` needs seconds for 2,000 bytes and does not
heed its timeout. So the strings of rules for messages are bounded (design §7): a regular expression compiles under
RE2, has no repeat range above 64, at most one open repeat, that one not inside another repeat, and holds a literal of
three bytes or more, from which the engine starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from inspector.scan import expressions, linear
from inspector.scan.atoms import LEAST, required
from inspector.scan.expressions import Bytes, Either, Node, Nothing, Repeat, Sequence, walk
from inspector.scan.yararules import Rule, String

RANGE = 64
"""Most repeats of a range."""
PRODUCT = 512
"""Most repeats of repeats inside one another."""


def faults(string: String) -> Iterator[str]:
    """What is wrong with a string of a message rule, in words."""
    if string.kind == "text":
        return
    what = "the regular expression" if string.kind == "regex" else "the hexadecimal string"
    try:
        node = expressions.regex(string.body) if string.kind == "regex" else expressions.hexadecimal(string.body)
    except ValueError as exc:
        yield f"{what} {string.name} is not understood: {exc}"
        return
    if string.kind == "regex":
        try:
            linear.pattern(b"(?" + (string.flags.encode() or b"-i") + b")" + string.body)
        except ValueError as exc:
            yield f"{what} {string.name} does not compile under RE2: {exc}"
    repeats = [one for one in walk(node) if isinstance(one, Repeat)]
    if any((one.high or one.low) > RANGE for one in repeats):
        yield f"{what} {string.name} has a repeat above {RANGE}"
    if sum(one.high is None for one in repeats) > 1:
        yield f"{what} {string.name} has more than one open repeat"
    if any(_nested(one) for one in repeats):
        yield f"{what} {string.name} has an open repeat inside a repeat"
    elif _product(node) > PRODUCT:
        yield f"{what} {string.name} has repeats inside repeats that multiply to more than {PRODUCT}"
    if required(node) is None:
        yield f"{what} {string.name} has no literal of {LEAST} bytes or more that each match must hold"


def _nested(repeat: Repeat) -> bool:
    below = [one for one in walk(repeat.part) if isinstance(one, Repeat)]
    if repeat.high is None:
        return any(one.high is None or one.high > 1 for one in below)
    return repeat.high > 1 and any(one.high is None for one in below)


def _product(node: Node) -> int:
    """The highest product of repeats inside one another."""
    if isinstance(node, Sequence | Either):
        return max(map(_product, node.parts), default=1)
    if isinstance(node, Repeat):
        return max(node.high or node.low, 1) * _product(node.part)
    return 1


def worst_texts(rule: Rule, size: int) -> Iterator[bytes]:
    """Texts of `size` bytes on which a rule has much to do: its strings over and over, whole, cut, and overlapping."""
    pieces: list[bytes] = []
    for string in rule.strings:
        for piece in _pieces(string):
            if piece and piece not in pieces:
                pieces.append(piece)
    for piece in pieces:
        yield (piece * (size // len(piece) + 1))[:size]
    for piece in pieces[:8]:
        # Beginnings of matches close together: the literal first, then what its repeats run over.
        yield ((piece[:LEAST + 1] * (size // (2 * (LEAST + 1)))) + b"a" * size)[:size]
    if len(pieces) > 1:
        joined = b" ".join(pieces)
        yield (joined * (size // len(joined) + 1))[:size]
        half = size // len(pieces)
        yield b"".join((piece * (half // len(piece) + 1))[:half] for piece in pieces)[:size]


def _pieces(string: String) -> list[bytes]:
    wide = "wide" in string.modifiers
    if string.kind == "text":
        forms = [string.body]
    else:
        try:
            node = expressions.regex(string.body) if string.kind == "regex" else expressions.hexadecimal(string.body)
        except ValueError:
            return []
        longest, shortest = _sample(node, True), _sample(node, False)
        forms = [longest, shortest, longest[:-1], longest[: len(longest) // 2], *sorted(required(node) or ())[:4]]
    return [b"".join(bytes((byte, 0)) for byte in form) for form in forms] if wide else forms


def _sample(node: Node, long: bool) -> bytes:
    """A text that matches: with the most or the fewest repeats (an open one: 64)."""
    if isinstance(node, Nothing):
        return b""
    if isinstance(node, Bytes):
        if node.some is None:
            return b"a"
        return bytes((min(node.some),)) if node.some else b""
    if isinstance(node, Either):
        return max((_sample(part, long) for part in node.parts), key=lambda one: len(one) if long else -len(one))
    if isinstance(node, Sequence):
        return b"".join(_sample(part, long) for part in node.parts)
    times = (RANGE if node.high is None else node.high) if long else node.low
    return _sample(node.part, long) * min(times, RANGE)
