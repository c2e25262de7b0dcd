"""The grammar of YARA's regular expressions and hexadecimal strings, as far as their literals and repeats go.

Source: the YARA manual, "Regular expressions" and "Hexadecimal strings" (4.5). The trees here are never matched against
anything: they tell which bytes every match must hold (`atoms.py`), and how a match can grow (`linearity.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from inspector.scan import linear

DEPTH = 50
"""Deepest nesting of groups that is read."""


class Bytes(msgspec.Struct, frozen=True):
    """One byte out of a set; `some` is None for any byte, or one that was not worth listing."""

    some: frozenset[int] | None


class Nothing(msgspec.Struct, frozen=True):
    """Matches no byte: an anchor or a border of a word."""


class Sequence(msgspec.Struct, frozen=True):
    """One after the other."""

    parts: tuple[Node, ...]


class Either(msgspec.Struct, frozen=True):
    """One of them."""

    parts: tuple[Node, ...]


class Repeat(msgspec.Struct, frozen=True):
    """`part`, low to high times; high None: without end."""

    part: Node
    low: int
    high: int | None


Node = Bytes | Nothing | Sequence | Either | Repeat

ANY = Bytes(None)
_CLASSES: dict[str, frozenset[int] | None] = {
    "d": frozenset(range(48, 58)), "s": frozenset(b" \t\r\n\v\f"), "w": None, "W": None, "S": None, "D": None,
}
_CONTROLS = {"n": 10, "t": 9, "r": 13, "f": 12, "a": 7}
_COUNT = linear.pattern(rb"\{(\d{0,6})(,?)(\d{0,6})\}")


def regex(body: bytes) -> Node:
    """The tree of a regular expression. Raises ValueError for what is not understood."""
    reader = _Regex(body)
    node = reader.either(0)
    if reader.i != len(body):
        raise ValueError("a parenthesis too many")
    return node


def hexadecimal(body: bytes) -> Node:
    """The tree of a hexadecimal string (the text between the braces). Raises ValueError for what is not understood."""
    reader = _Hex(body)
    node = reader.sequence(0)
    if reader.i != len(reader.text):
        raise ValueError("a parenthesis too many")
    return node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    if isinstance(node, Sequence | Either):
        for part in node.parts:
            yield from walk(part)
    elif isinstance(node, Repeat):
        yield from walk(node.part)


def _join(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


class _Regex:
    def __init__(self, body: bytes) -> None:
        self.text = body.decode("latin-1")
        self.body = body
        self.i = 0

    def either(self, depth: int) -> Node:
        if depth > DEPTH:
            raise ValueError(f"groups nested more than {DEPTH} deep")
        parts = [self.sequence(depth)]
        while self.i < len(self.text) and self.text[self.i] == "|":
            self.i += 1
            parts.append(self.sequence(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.i < len(self.text) and self.text[self.i] not in "|)":
            parts.append(self.repeats(self.one(depth)))
        return _join(parts)

    def one(self, depth: int) -> Node:
        c = self.text[self.i]
        self.i += 1
        if c == "(":
            if self.text[self.i:self.i + 1] == "?":
                if self.text[self.i:self.i + 2] != "?:":
                    raise ValueError("a group with a question mark")
                self.i += 2
            node = self.either(depth + 1)
            if self.text[self.i:self.i + 1] != ")":
                raise ValueError("a parenthesis is not closed")
            self.i += 1
            return node
        if c == "[":
            return self.bracket()
        if c == ".":
            return ANY
        if c in "^$":
            return Nothing()
        if c == "\\":
            return self.escape()
        if c in "*+?":
            raise ValueError(f"nothing to repeat before {c}")
        return Bytes(frozenset({ord(c)}))

    def escape(self) -> Node:
        if self.i >= len(self.text):
            raise ValueError("a backslash at the end")
        c = self.text[self.i]
        self.i += 1
        if c in "bB":
            return Nothing()
        if c in _CLASSES:
            return Bytes(_CLASSES[c])
        return Bytes(frozenset({self.code(c)}))

    def code(self, c: str) -> int:
        """The byte of the escape whose letter has just been read."""
        if c == "x":
            digits = self.text[self.i:self.i + 2]
            self.i += 2
            if len(digits) < 2:
                raise ValueError("an escape without its digits")
            return int(digits, 16)
        if c in _CONTROLS:
            return _CONTROLS[c]
        if c.isalnum():
            raise ValueError(f"an unknown escape \\{c}")
        return ord(c)

    def bracket(self) -> Node:
        negated = self.text[self.i:self.i + 1] == "^"
        self.i += negated
        some: set[int] = set()
        vague = negated
        first = True
        while True:
            if self.i >= len(self.text):
                raise ValueError("a bracket is not closed")
            c = self.text[self.i]
            self.i += 1
            if c == "]" and not first:
                break
            first = False
            low = ord(c)
            if c == "\\":
                if self.i >= len(self.text):
                    raise ValueError("a backslash at the end")
                c = self.text[self.i]
                self.i += 1
                if c in _CLASSES:
                    inside = _CLASSES[c]
                    vague = vague or inside is None
                    some |= inside or frozenset()
                    continue
                low = self.code(c)
            high = low
            if self.text[self.i:self.i + 1] == "-" and self.text[self.i + 1:self.i + 2] not in ("", "]"):
                self.i += 1
                c = self.text[self.i]
                self.i += 1
                if c == "\\":
                    c = self.text[self.i:self.i + 1]
                    self.i += 1
                    if c in _CLASSES or not c:
                        raise ValueError("a range that ends in a class")
                    high = self.code(c)
                else:
                    high = ord(c)
            some |= set(range(low, high + 1))
        return ANY if vague else Bytes(frozenset(some))

    def repeats(self, node: Node) -> Node:
        while self.i < len(self.text):
            c = self.text[self.i]
            low, high, size = 0, 0, 1
            unbounded = c in "*+"
            if c in "*?":
                low, high = 0, 1
            elif c == "+":
                low = 1
            elif c == "{" and (match := _COUNT.match(self.body, self.i)) is not None and match.group() != b"{}":
                first, comma, last = match.groups()
                if not first and not last:
                    return node
                low = int(first or 0)
                unbounded = bool(comma) and not last
                high = int(last or 0) if comma else low
                size = match.end() - match.start()
            else:
                break
            self.i += size
            if self.text[self.i:self.i + 1] == "?":
                self.i += 1
            node = Repeat(node, low, None if unbounded else high)
        return node


class _Hex:
    def __init__(self, body: bytes) -> None:
        text = body.decode("latin-1")
        for open_, close in (("/*", "*/"), ("//", "\n")):
            while (at := text.find(open_)) >= 0:
                end = text.find(close, at + 2)
                text = text[:at] + " " + (text[end + len(close):] if end >= 0 else "")
        self.text = "".join(text.split())
        self.i = 0

    def sequence(self, depth: int) -> Node:
        if depth > DEPTH:
            raise ValueError(f"groups nested more than {DEPTH} deep")
        parts: list[Node] = []
        while self.i < len(self.text) and self.text[self.i] not in "|)":
            parts.append(self.one(depth))
        return _join(parts)

    def one(self, depth: int) -> Node:
        c = self.text[self.i]
        if c == "(":
            self.i += 1
            parts = [self.sequence(depth + 1)]
            while self.text[self.i:self.i + 1] == "|":
                self.i += 1
                parts.append(self.sequence(depth + 1))
            if self.text[self.i:self.i + 1] != ")":
                raise ValueError("a parenthesis is not closed")
            self.i += 1
            return Either(tuple(parts))
        if c == "[":
            end = self.text.find("]", self.i)
            low, dash, high = self.text[self.i + 1:end].partition("-")
            self.i = end + 1
            if end < 0:
                raise ValueError("a bracket is not closed")
            if not dash:
                return Repeat(ANY, int(low), int(low))
            return Repeat(ANY, int(low or 0), int(high) if high else None)
        if c == "~":
            self.i += 3
            return ANY
        two = self.text[self.i:self.i + 2]
        self.i += 2
        if len(two) < 2:
            raise ValueError("half a byte")
        if "?" in two:
            return ANY
        return Bytes(frozenset({int(two, 16)}))
