"""One linear pass over the bytes that says which parts of the rule set can have anything to say.

Two implementations behind one port: hyperscan, and RE2 where hyperscan has no wheel. Both say too much at worst, never
too little; what they name is looked at exactly. A pass that fails raises ScanFailed.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from inspector.model.ports import ScanFailed
from inspector.scan import linear

try:
    _hyperscan: Any = importlib.import_module("hyperscan")
except ImportError:
    _hyperscan = None

_SET_BYTES = 64 * 1024 * 1024
_PATTERN_BYTES = 24 * 1024
"""Memory of the RE2 set: a base, and a share for each pattern (its automaton has large states)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to look for, and the number to report. `source` is a literal, or (pattern True) a regular expression in the
    syntax that hyperscan and RE2 share."""

    source: bytes
    number: int
    caseless: bool = False
    pattern: bool = False


class Prefilter(Protocol):
    """The port. Safe to be used by several threads at a time."""

    name: str

    def hits(self, data: bytes) -> list[int]:
        """Numbers of the entries that are in the data, each at least once. Raises ScanFailed."""
        ...


def escape(literal: bytes) -> bytes:
    """A literal as a regular expression."""
    return b"".join(b"%c" % byte if 48 <= byte < 58 or 97 <= (byte | 32) < 123 or byte == 32 else b"\\x%02x" % byte
                    for byte in literal)


def _note(number: int, _start: int, _end: int, _flags: int, hits: Any) -> None:
    hits.append(number)


class HyperscanPrefilter:
    """One database for the process, a scratch space for each thread."""

    name = "hyperscan"

    def __init__(self, entries: Sequence[Entry], dump: bytes | memoryview | None = None) -> None:
        """`dump` is what `dump()` gave, and is enough; without it the database is compiled of the entries."""
        self._local = threading.local()
        self._database: Any = None
        if dump:
            self._database = _hyperscan.loadb(bytes(dump), _hyperscan.HS_MODE_BLOCK)
        elif entries:
            self._database = _hyperscan.Database(mode=_hyperscan.HS_MODE_BLOCK)
            caseless, single = _hyperscan.HS_FLAG_CASELESS, _hyperscan.HS_FLAG_SINGLEMATCH
            self._database.compile(
                expressions=[
                    b"(?s)" + entry.source if entry.pattern else escape(entry.source) for entry in entries
                ],
                ids=[entry.number for entry in entries],
                flags=[single | (caseless if entry.caseless else 0) for entry in entries],
            )

    def hits(self, data: bytes) -> list[int]:
        """Numbers of the entries that are in the data. Raises ScanFailed."""
        found: list[int] = []
        if self._database is None:
            return found
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = _hyperscan.Scratch(self._database)
        try:
            self._database.scan(data, _note, 0, found, scratch)
        except _hyperscan.error as exc:
            raise ScanFailed(f"the prefilter failed: {type(exc).__name__}") from exc
        return found

    def dump(self) -> bytes:
        """The compiled database, for this version of hyperscan on this kind of machine; empty when it has no entry."""
        return b"" if self._database is None else bytes(_hyperscan.dumpb(self._database))


class Re2Prefilter:
    """An RE2 set. The empty pattern is in it too: it matches always, unless the automaton ran out of memory."""

    name = "re2"

    def __init__(self, entries: Sequence[Entry], _dump: bytes | memoryview | None = None) -> None:
        """RE2 keeps nothing: the set is made of the entries."""
        self._numbers = [entry.number for entry in entries]
        self._set = linear.new_set(_SET_BYTES + _PATTERN_BYTES * len(entries))
        for entry in entries:
            source = entry.source if entry.pattern else escape(entry.source)
            self._set.Add(b"(?i:" + source + b")" if entry.caseless else source)
        self._sentinel = self._set.Add(b"")
        self._set.Compile()

    def hits(self, data: bytes) -> list[int]:
        """Numbers of the entries that are in the data. Raises ScanFailed."""
        found: list[int] = self._set.Match(data)
        if found == [self._sentinel]:
            return []
        if self._sentinel not in found:
            raise ScanFailed("the prefilter failed: RE2 ran out of memory")
        return [self._numbers[i] for i in found if i != self._sentinel]


def best(entries: Callable[[], Sequence[Entry]], dump: bytes | memoryview | None = None) -> Prefilter:
    """The fastest implementation there is. `dump` is tried first; where it does not fit, the entries are made."""
    if _hyperscan is None:
        return Re2Prefilter(entries())
    if dump:
        try:
            return HyperscanPrefilter((), dump)
        except _hyperscan.error:
            pass
    return HyperscanPrefilter(entries())


def dump(entries: Sequence[Entry]) -> bytes:
    """A compiled database of these entries for a cache; empty where there is nothing to keep."""
    return b"" if _hyperscan is None else HyperscanPrefilter(entries).dump()


def versions() -> str:
    """What a kept database depends on."""
    if _hyperscan is None:
        return "re2"
    probe = _hyperscan.Database(mode=_hyperscan.HS_MODE_BLOCK)
    probe.compile(expressions=[b"probe"], ids=[0], flags=0)
    return f"hyperscan {_hyperscan.__version__} {probe.info()!r}"
