"""YAML whose every value knows its line and column, for files that people write: config, policy, packs.

Source: YAML 1.2.2, of which a strict subset is read. One document; keys are text and unique; no anchors, aliases or
tags. Plain scalars follow the core schema (chapter 10.3) without hexadecimal and octal numbers, infinities and NaN:
`null`, `~` and nothing are None, `true` and `false` are booleans, decimal numbers are numbers, all else is text. So
`copy: no`, `from: 08:00` and `until: 2027-01-31` are text, which YAML 1.1 readers would turn into something else.

The text is read event by event, never recursively, so that nesting cannot exhaust the stack.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEPTH = 32
"""Deepest nesting: policy conditions nest a few levels, nothing that people write comes near."""
_NODES = 200_000
"""Most scalars and collections in one file: about 10,000 rules."""
_CHARS = 8 * 1024 * 1024
"""Longest file, in characters."""
_FAULTS = 200
"""Faults reported of one file; more than that is another kind of file."""
_DIGITS = 18
"""Longest whole number: what a signed 64-bit integer holds."""

Key = str | int
"""A step into a document: the key of a mapping, or the index in a list (from 0)."""


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in a file. `line` and `column` count from 1; both are 0 where a place makes no sense."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        if not self.line:
            return f"{self.path}: {self.text}"
        return f"{self.path}:{self.line}:{self.column}: {self.text}"


class Faults(Exception):
    """All that is wrong in one or several files, in the order of their lines."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(set(faults)))
        super().__init__("\n".join(map(str, self.faults)))


class Located:
    """A document: plain values (dict, list, str, int, float, bool, None) in `value`, and the place of each."""

    __slots__ = ("_keys", "_raw", "_values", "path", "value")

    def __init__(
        self,
        path: str,
        value: Any,
        values: dict[tuple[Key, ...], tuple[int, int]],
        keys: dict[tuple[Key, ...], tuple[int, int]],
        raw: dict[tuple[Key, ...], str],
    ) -> None:
        self.path = path
        self.value: Any = value
        self._values = values
        self._keys = keys
        self._raw = raw

    def at(self, *keys: Key) -> tuple[int, int]:
        """(line, column) of the value at `keys`; of the nearest value above it, when there is none."""
        while keys and keys not in self._values:
            keys = keys[:-1]
        return self._values.get(keys, (1, 1))

    def key_at(self, *keys: Key) -> tuple[int, int]:
        """(line, column) of the key itself; of the value where the last step is an index."""
        return self._keys.get(keys) or self.at(*keys)

    def raw(self, *keys: Key) -> str | None:
        """A scalar as it is written, without quotes: the version 1.10 is not the number 1.1. None: not a scalar."""
        return self._raw.get(keys)

    def fault(self, text: str, *keys: Key) -> Fault:
        """A fault at the value."""
        return Fault(self.path, *self.at(*keys), text)

    def key_fault(self, text: str, *keys: Key) -> Fault:
        """A fault at the key."""
        return Fault(self.path, *self.key_at(*keys), text)

    def unknown(self, known: Iterable[str], *keys: Key) -> list[Fault]:
        """A fault for each key of the mapping at `keys` that is not known. Empty when it is no mapping."""
        value = self.value
        for key in keys:
            value = value[key]
        names = tuple(known)
        if not isinstance(value, dict):
            return []
        return [
            self.key_fault(f'unknown key "{shown(key)}"{did_you_mean(key, names)}', *keys, key)
            for key in value
            if key not in names
        ]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` (did you mean "block"?)`, with the blank in front; empty when nothing is near."""
    near = difflib.get_close_matches(word[:64].lower(), [w for w in words if w], n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def shown(text: object, most: int = 60) -> str:
    """A value as a fault may show it: one line, no control characters, not too long."""
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text)[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


def load_yaml(
    text: str | bytes, path: str, *, depth: int = _DEPTH, nodes: int = _NODES, chars: int = _CHARS,
) -> Located:
    """Read one document. Raises Faults, and nothing else, with all that is wrong in it. An empty text is None."""
    if not isinstance(text, str):
        source = text
        try:
            text = source.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            before = source[: exc.start].decode("utf-8", "replace")
            raise Faults([Fault(path, *_place(before, len(before)), "not UTF-8 text")]) from None
    if len(text) > chars:
        raise Faults([Fault(path, 0, 0, f"longer than {chars} characters")])
    builder = _Builder(path, depth, nodes)
    try:
        try:
            builder.read(text, _Loader)
        except yaml.MarkedYAMLError:
            # Either it is wrong, or it has `[::1/128]`, which is YAML but not to the C reader.
            builder = _Builder(path, depth, nodes)
            builder.read(text, _FlowLoader)
    except (yaml.reader.ReaderError, UnicodeError):
        # The C reader counts bytes, the Python one characters, and neither tells lines: look for the place here.
        at = next((i for i, c in enumerate(text) if not _readable(c)), 0)
        builder.faults.append(Fault(path, *_place(text, at), "a character that YAML does not allow"))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        told = ", ".join(part for part in (exc.context, exc.problem) if part)
        builder.faults.append(Fault(path, line, column, f"not YAML: {shown(told, 200)}"))
    except (yaml.YAMLError, RecursionError) as exc:
        builder.faults.append(Fault(path, 1, 1, f"not YAML: {type(exc).__name__}"))
    if builder.faults:
        raise Faults(builder.faults)
    return Located(path, builder.root, builder.values, builder.keys, builder.raws)


class _FlowLoader(yaml.SafeLoader):
    """The Python reader, taught that inside of [] and {} a colon ends a key only before a blank, an indicator, or after
    a quoted key (YAML 1.2.2, productions 126 and 147 to 153): `[::1/128, fe80::/10]` is a list of two texts."""

    def check_value(self) -> bool:
        if not self.flow_level:
            return bool(super().check_value())
        if self.peek(1) in "\0 \t\r\n\x85\u2028\u2029,[]{}":
            return True
        # "a":1 and [b]:1 need no blank: the key before the colon has an end of its own.
        last = self.tokens[-1] if self.tokens else None
        return (
            last is not None
            and last.end_mark.index == self.index
            and (
                isinstance(last, (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken))
                or (isinstance(last, yaml.ScalarToken) and not last.plain)
            )
        )

    def check_plain(self) -> bool:
        if self.flow_level and self.peek() == ":":
            return self.peek(1) not in "\0 \t\r\n\x85\u2028\u2029,[]{}"
        return bool(super().check_plain())


def _readable(c: str) -> bool:
    """YAML 1.2.2, production 1 (c-printable), and the byte order mark."""
    n = ord(c)
    return (
        c in "\t\n\r\x85" or 0x20 <= n <= 0x7E or 0xA0 <= n <= 0xD7FF or (0xE000 <= n <= 0xFFFD) or n > 0xFFFF
    )


def _place(text: str, at: int) -> tuple[int, int]:
    before = text[:at]
    return before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1


class _Open:
    """A collection that is being read: `step` is the key or index the next value belongs to, None = a key is next."""

    __slots__ = ("count", "into", "keys", "step")

    def __init__(self, into: dict[str, Any] | list[Any], keys: tuple[Key, ...]) -> None:
        self.into = into
        self.keys = keys
        self.step: str | None = None
        self.count = 0


class _Builder:
    """Makes values of parser events."""

    def __init__(self, path: str, depth: int, nodes: int) -> None:
        self.path = path
        self.depth = depth
        self.nodes = nodes
        self.root: Any = None
        self.documents = 0
        self.faults: list[Fault] = []
        self.values: dict[tuple[Key, ...], tuple[int, int]] = {}
        self.keys: dict[tuple[Key, ...], tuple[int, int]] = {}
        self.raws: dict[tuple[Key, ...], str] = {}
        self.open: list[_Open] = []

    def read(self, text: str, loader: Any) -> None:
        """All events of a text. Raises what the reader raises."""
        for event in yaml.parse(text, Loader=loader):
            if not self.take(event):
                return

    def take(self, event: Any) -> bool:
        """One event. False: enough, stop reading."""
        if isinstance(event, yaml.NodeEvent):
            return self.node(event)
        if isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                return self.fault(event, "a second document; one file holds one")
        return True

    def fault(self, event: Any, text: str) -> bool:
        self.faults.append(Fault(self.path, event.start_mark.line + 1, event.start_mark.column + 1, text))
        return False

    def node(self, event: Any) -> bool:
        self.nodes -= 1
        if self.nodes < 0:
            return self.fault(event, "too many values in one file")
        if len(self.faults) >= _FAULTS:
            return self.fault(event, "too many faults; the rest is not read")
        if getattr(event, "anchor", None) is not None:
            what = "aliases (*)" if isinstance(event, yaml.AliasEvent) else "anchors (&)"
            self.fault(event, f"{what} are not supported")
        if getattr(event, "tag", None) is not None:
            self.fault(event, f'tags are not supported ("{shown(event.tag)}")')
        value: Any = None
        raw: str | None = None
        if isinstance(event, yaml.ScalarEvent):
            raw = event.value
            value = self.scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            value = {}
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
        parent = self.open[-1] if self.open else None
        if parent is not None and isinstance(parent.into, dict) and parent.step is None:
            self.key(event, parent, value)
            if isinstance(value, (dict, list)):
                # A collection as a key is refused; it is still read, into nothing, to stay in step.
                return self.descend(event, value, ("?",))
            return True
        keys: tuple[Key, ...] = ()
        if parent is None:
            self.root = value
        elif isinstance(parent.into, list):
            keys = (*parent.keys, parent.count)
            parent.into.append(value)
            parent.count += 1
        else:
            assert parent.step is not None
            keys = (*parent.keys, parent.step)
            parent.into[parent.step] = value
            parent.step = None
        self.values[keys] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if raw is not None:
            self.raws[keys] = raw
        if isinstance(value, (dict, list)):
            return self.descend(event, value, keys)
        return True

    def descend(self, event: Any, value: dict[str, Any] | list[Any], keys: tuple[Key, ...]) -> bool:
        self.open.append(_Open(value, keys))
        if len(self.open) > self.depth:
            return self.fault(event, f"nested more than {self.depth} deep")
        return True

    def key(self, event: Any, parent: _Open, value: Any) -> None:
        assert isinstance(parent.into, dict)
        name = value if isinstance(value, str) else f"\0{len(parent.into)}"
        if not isinstance(value, str):
            if isinstance(event, yaml.ScalarEvent):
                self.fault(event, f"a key must be text: put \"{shown(event.value)}\" into quotes")
            elif not isinstance(event, yaml.AliasEvent):
                self.fault(event, "a key must be text")
        elif name in parent.into:
            line = self.keys[(*parent.keys, name)][0]
            self.fault(event, f'the key "{shown(name)}" is there twice (first on line {line})')
            name = f"\0{len(parent.into)}"
        self.keys[(*parent.keys, name)] = (event.start_mark.line + 1, event.start_mark.column + 1)
        parent.step = name

    def scalar(self, event: Any) -> str | int | float | bool | None:
        text: str = event.value
        if event.style:
            return text
        known = _WORDS.get(text, self)
        if known is not self:
            return known  # type: ignore[return-value]
        if not text[-1:].isascii() or text[-1:] not in "0123456789." or text.strip("0123456789+-.eE"):
            return text
        digits = text.lstrip("+-")
        if len(text) - len(digits) > 1:
            return text
        if digits.isdigit():
            if len(digits) > _DIGITS:
                self.fault(event, f'a number of {len(digits)} digits is too long: put it into quotes if it is text')
                return 0
            if len(digits) > 1 and digits[0] == "0":
                self.fault(event, f'"{shown(text)}" begins with 0: put it into quotes if it is text')
                return 0
            return int(text)
        if len(text) > 40:
            return text
        try:
            number = float(text)
        except ValueError:
            return text
        return text if number in (float("inf"), float("-inf")) else number


_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}


def dig(value: Any, keys: Sequence[Key]) -> Any:
    """The value at `keys`, None where a step leads nowhere."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            return None
    return value
