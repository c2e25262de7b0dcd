"""Reading YARA sources: rules, their meta, strings and conditions, each with its place.

Source: the YARA manual, "Writing YARA rules" (4.5): lexical elements, strings and their modifiers, conditions.
YARA itself compiles the rules; this reader finds what YARA does not tell: where a rule stands, which strings its
condition cannot do without, and whether its regular expressions are linear. What it does not understand it says so
(a fault), or leaves to the careful side (`atoms.py`).

In YARA a slash always begins a comment or a regular expression (division is a backslash), and a hexadecimal string
never holds a colon while a rule's body always does: so one pass of one regular expression finds all tokens.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inspector.scan import linear
from inspector.wire.located import Fault, shown

_TOKEN: Any = linear.pattern(
    rb"[ \t\r\n]+"
    rb"|//[^\n]*|/\*(?:[^*]|\*+[^*/])*\*+/"
    rb'|"(?:[^"\\\n]|\\[^\n])*"'
    rb"|/(?:[^/\\\n*]|\\[^\n])(?:[^/\\\n]|\\[^\n])*/[is]*"
    rb"|\{(?:[0-9a-fA-F \t\r\n\-|~?\[\]()]|//[^\n]*\n|/\*(?:[^*]|\*+[^*/])*\*+/)+\}"
    rb"|[$#@!][A-Za-z0-9_]+\*?"
    rb"|[A-Za-z_][A-Za-z0-9_]*\*?"
    rb"|0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+\.[0-9]+|[0-9]+(?:KB|MB)?"
    rb"|==|!=|<=|>=|<<|>>|\.\.|[^\"]",
)

_STRING_MODIFIERS = frozenset({"nocase", "wide", "ascii", "xor", "base64", "base64wide", "fullword", "private"})


class Token(msgspec.Struct, frozen=True, gc=False):
    """`text` is the source's bytes read as Latin-1; `at` the offset of its first byte."""

    text: str
    at: int


class Value(msgspec.Struct, frozen=True):
    """A meta value with the offset where it stands."""

    value: str | int | bool
    at: int


class String(msgspec.Struct, frozen=True):
    """A string of a rule. `name` is "$a" ("$" when anonymous); `body` has the raw bytes between the delimiters."""

    name: str
    kind: str
    """text, regex, hex."""
    body: bytes
    """Text: escapes undone. Regex: between the slashes. Hex: between the braces."""
    flags: str
    """Flags behind a regular expression: i, s."""
    modifiers: frozenset[str]
    arguments: dict[str, str]
    """What stands in parentheses behind xor, base64 and base64wide."""
    at: int


class Rule(msgspec.Struct, frozen=True):
    """A rule as it is written."""

    name: str
    at: int
    end: int
    flags: frozenset[str]
    tags: tuple[str, ...]
    meta: dict[str, Value]
    strings: tuple[String, ...]
    condition: tuple[Token, ...]


class Source(msgspec.Struct, frozen=True):
    """A file of rules: its imports, its rules in order, and what is wrong with it."""

    path: str
    data: bytes
    imports: tuple[str, ...]
    rules: tuple[Rule, ...]
    faults: tuple[Fault, ...]

    def place(self, at: int) -> tuple[int, int]:
        """(line, column) of an offset, both from 1."""
        return self.data.count(b"\n", 0, at) + 1, at - (self.data.rfind(b"\n", 0, at) + 1) + 1

    def fault(self, at: int, text: str) -> Fault:
        return Fault(self.path, *self.place(at), text)


class _Wrong(Exception):
    """The text at `at` is not YARA."""

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at
        self.text = text


def read(path: str, data: bytes) -> Source:
    """Read a file of rules. Faults are in the result; the rules before the first one that cannot be read are kept."""
    source = Source(path, data, (), (), ())
    faults: list[Fault] = []
    imports: list[str] = []
    rules: list[Rule] = []
    names: dict[str, int] = {}
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        return Source(path, data, (), (), (source.fault(exc.start, "not UTF-8 text"),))
    try:
        reader = _Reader(_tokens(data), len(data))
        while reader.peek() is not None:
            token = reader.next()
            if token.text == "import":
                imports.append(_text(reader.next()).decode("utf-8", "replace"))
            elif token.text == "include":
                reader.next()
                faults.append(source.fault(token.at, "include is not allowed in a pack: list the file in pack.yaml"))
            elif token.text in ("rule", "private", "global"):
                rule = _rule(reader, token)
                if rule.name in names:
                    line = source.place(names[rule.name])[0]
                    text = f'the rule "{rule.name}" is there twice (first on line {line})'
                    faults.append(source.fault(rule.at, text))
                else:
                    names[rule.name] = rule.at
                    rules.append(rule)
            else:
                raise _Wrong(token.at, f'"{shown(token.text, 20)}" where a rule was expected')
    except _Wrong as wrong:
        faults.append(source.fault(wrong.at, wrong.text))
    return Source(path, data, tuple(imports), tuple(rules), tuple(faults))


def _tokens(data: bytes) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    for match in _TOKEN.finditer(data):
        start, end = match.span()
        if start != at:
            break
        at = end
        first = data[start]
        if first in b" \t\r\n" or (first == 0x2F and data[start + 1:start + 2] in (b"/", b"*")):
            continue
        tokens.append(Token(data[start:end].decode("latin-1"), start))
    if at != len(data):
        raise _Wrong(at, "a text that does not end on its line")
    return tokens


class _Reader:
    """The tokens, one after the other."""

    def __init__(self, tokens: list[Token], size: int) -> None:
        self.tokens = tokens
        self.i = 0
        self.size = size

    def peek(self, ahead: int = 0) -> Token | None:
        i = self.i + ahead
        return self.tokens[i] if i < len(self.tokens) else None

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            raise _Wrong(self.size, "the file ends inside a rule")
        self.i += 1
        return token

    def take(self, *texts: str) -> Token:
        token = self.next()
        if token.text not in texts:
            raise _Wrong(token.at, f'"{shown(token.text, 20)}" where "{texts[0]}" was expected')
        return token

    def at(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token is not None and token.text == text


def _rule(reader: _Reader, first: Token) -> Rule:
    flags: list[str] = []
    token = first
    while token.text in ("private", "global"):
        flags.append(token.text)
        token = reader.next()
    if token.text != "rule":
        raise _Wrong(token.at, f'"{shown(token.text, 20)}" where "rule" was expected')
    name = reader.next()
    if not (name.text[0].isalpha() or name.text[0] == "_"):
        raise _Wrong(name.at, f'"{shown(name.text, 20)}" is no name of a rule')
    tags: list[str] = []
    if reader.at(":"):
        reader.next()
        while not reader.at("{"):
            tags.append(reader.next().text)
    reader.take("{")
    meta: dict[str, Value] = {}
    strings: list[String] = []
    if reader.at("meta"):
        reader.next()
        reader.take(":")
        while reader.at("=", 1):
            key = reader.next()
            reader.next()
            if key.text in meta:
                raise _Wrong(key.at, f'the meta key "{shown(key.text)}" is there twice')
            meta[key.text] = _value(reader)
    if reader.at("strings"):
        reader.next()
        reader.take(":")
        while (token_ := reader.peek()) is not None and token_.text[0] == "$":
            strings.append(_string(reader))
    reader.take("condition")
    reader.take(":")
    condition: list[Token] = []
    while not reader.at("}"):
        condition.append(reader.next())
    end = reader.next()
    return Rule(
        name.text, first.at, end.at + 1, frozenset(flags), tuple(tags), meta, tuple(strings), tuple(condition),
    )


def _value(reader: _Reader) -> Value:
    token = reader.next()
    text = token.text
    if text[0] == '"':
        return Value(_text(token).decode("utf-8", "replace"), token.at)
    if text in ("true", "false"):
        return Value(text == "true", token.at)
    sign = 1
    if text == "-":
        sign, text = -1, reader.next().text
    try:
        return Value(sign * number(text), token.at)
    except ValueError:
        raise _Wrong(token.at, f'"{shown(token.text, 20)}" is no meta value') from None


def number(text: str) -> int:
    """A whole number as YARA writes it. Raises ValueError."""
    for suffix, factor in (("KB", 1024), ("MB", 1024 * 1024)):
        if text.endswith(suffix):
            return int(text[:-2]) * factor
    if text[:2] in ("0x", "0o"):
        return int(text, 0)
    return int(text)


def _string(reader: _Reader) -> String:
    name = reader.next()
    reader.take("=")
    body = reader.next()
    modifiers: list[str] = []
    arguments: dict[str, str] = {}
    while (token := reader.peek()) is not None and token.text in _STRING_MODIFIERS:
        reader.next()
        modifiers.append(token.text)
        if reader.at("("):
            reader.next()
            inside = ""
            while not reader.at(")"):
                inside += reader.next().text
            reader.next()
            arguments[token.text] = inside
    flags = ""
    if body.text[0] == '"':
        kind, raw = "text", _text(body)
    elif body.text[0] == "/":
        end = body.text.rindex("/")
        kind, raw, flags = "regex", body.text[1:end].encode("latin-1"), body.text[end + 1:]
    elif body.text[0] == "{" and len(body.text) > 1:
        kind, raw = "hex", body.text[1:-1].encode("latin-1")
    else:
        raise _Wrong(body.at, f'"{shown(body.text, 20)}" is no string')
    return String(name.text, kind, raw, flags, frozenset(modifiers), arguments, name.at)


_ESCAPES = {"n": 10, "t": 9, "r": 13, '"': 34, "\\": 92}


def _text(token: Token) -> bytes:
    """The bytes of a quoted text, escapes undone."""
    text = token.text
    if text[0] != '"':
        raise _Wrong(token.at, f'"{shown(text, 20)}" where a text was expected')
    out = bytearray()
    i = 1
    while i < len(text) - 1:
        c = text[i]
        if c != "\\":
            out.append(ord(c))
            i += 1
            continue
        escape = text[i + 1]
        if escape == "x":
            digits = text[i + 2:i + 4]
            try:
                out.append(int(digits, 16))
            except ValueError:
                raise _Wrong(token.at + i, f'"\\x{shown(digits, 4)}" is no byte') from None
            i += 4
        elif escape in _ESCAPES:
            out.append(_ESCAPES[escape])
            i += 2
        else:
            raise _Wrong(token.at + i, f'unknown escape "\\{shown(escape, 4)}"')
    return bytes(out)
