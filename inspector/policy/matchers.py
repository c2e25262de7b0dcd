"""What a condition may ask of the value of a field. All linear in the value; `re` is never used on peer text.

Each matcher has `holds(value)` for one known value, and `covers(other)`: whether everything that `other` accepts is
accepted by this one too (used to find rules that can never be reached; False when in doubt).
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from zoneinfo import ZoneInfo

import msgspec
import re2  # type: ignore[import-untyped]

_LAST_TIME = 253_000_000_000.0
"""Seconds since the epoch, in the year 9987: a capture may claim any time, datetime ends with the year 9999."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Glob:
    """A pattern in which `*` stands for any characters, none included; all else for itself.

    Greedy search of the pieces between the stars, leftmost first: linear, no backtracking.
    """

    __slots__ = ("middle", "prefix", "source", "suffix")

    def __init__(self, source: str) -> None:
        self.source = source
        self.prefix, *self.middle, self.suffix = source.split("*")
        self.middle = [piece for piece in self.middle if piece]

    def holds(self, value: str) -> bool:
        if not value.startswith(self.prefix) or not value.endswith(self.suffix):
            return False
        at = len(self.prefix)
        end = len(value) - len(self.suffix)
        for piece in self.middle:
            at = value.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return at <= end


class Names:
    """Any of some words; `*` globs. `fold`: case does not count (names of people and things, not our own words)."""

    __slots__ = ("exact", "fold", "globs", "jids")

    def __init__(self, words: Iterable[str], *, fold: bool = False) -> None:
        words = [word.casefold() if fold else word for word in words]
        self.fold = fold
        self.exact = frozenset(word for word in words if "*" not in word)
        self.globs = tuple(Glob(word) for word in dict.fromkeys(words) if "*" in word)
        self.jids = tuple(_Jid(word) for word in dict.fromkeys(words))

    def holds(self, value: str) -> bool:
        if self.fold:
            value = value.casefold()
        return value in self.exact or any(glob.holds(value) for glob in self.globs)

    def holds_jid(self, value: str) -> bool:
        """The same for an XMPP address, whose resource its owner chooses freely.

        `*@example.net` must neither miss bob@example.net/phone nor accept eve@evil.example/@example.net: the resource
        counts only where the word has one.
        """
        bare, _, resource = value.casefold().partition("/")
        return any(jid.holds(bare, resource) for jid in self.jids)

    def covers(self, other: object) -> bool:
        if not isinstance(other, Names):
            return False
        words = [*other.exact, *(glob.source for glob in other.globs)]
        mine = {*self.exact, *(glob.source for glob in self.globs)}
        # A word with stars is accepted by a glob that accepts it read as plain text: its stars stand for anything,
        # and so do those of the glob, at whose place they are. True for pieces of any kind, as * itself is no piece.
        return all(word in mine or any(glob.holds(word) and "/" not in word for glob in self.globs) for word in words)


class _Jid:
    """A word as a pattern for XMPP addresses: the bare part, and the resource if the word names one."""

    __slots__ = ("bare", "resource")

    def __init__(self, word: str) -> None:
        bare, slash, resource = word.casefold().partition("/")
        self.bare = Glob(bare) if "*" in bare else bare
        self.resource: Glob | None = Glob(resource) if slash and "*" in resource else _Word(resource) if slash else None

    def holds(self, bare: str, resource: str) -> bool:
        mine = self.bare
        if not (mine == bare if isinstance(mine, str) else mine.holds(bare)):
            return False
        return self.resource is None or self.resource.holds(resource)


class _Word(Glob):
    """A pattern without stars."""

    __slots__ = ()

    def __init__(self, source: str) -> None:
        self.source = source

    def holds(self, value: str) -> bool:
        return value == self.source


class Numbers:
    """Any of some ranges, both ends included; None = open."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[tuple[float | None, float | None]]) -> None:
        self.ranges = tuple(ranges)

    def holds(self, value: float) -> bool:
        return any((low is None or value >= low) and (high is None or value <= high) for low, high in self.ranges)

    def covers(self, other: object) -> bool:
        return isinstance(other, Numbers) and all(
            any(
                (low is None or (their_low is not None and their_low >= low))
                and (high is None or (their_high is not None and their_high <= high))
                for low, high in self.ranges
            )
            for their_low, their_high in other.ranges
        )


class Truth:
    """True or false."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value

    def holds(self, value: bool) -> bool:
        return value is self.value

    def covers(self, other: object) -> bool:
        return isinstance(other, Truth) and other.value is self.value


class Pattern:
    """Any of some regular expressions in RE2's syntax, found anywhere in the text."""

    __slots__ = ("_compiled", "joined", "sources")

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = tuple(sources)
        self.joined = "|".join(f"(?:{source})" for source in self.sources)
        self._compiled = re2.compile(self.joined, pattern_options())

    def holds(self, value: str) -> bool:
        return self._compiled.search(value.encode("utf-8", "replace")) is not None

    def covers(self, other: object) -> bool:
        return isinstance(other, Pattern) and set(other.sources) <= set(self.sources)


def pattern_options() -> re2.Options:
    """Options of every pattern: quiet, no captures, memory enough for the programs that `MOST_PROGRAM` lets through."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 * 1024 * 1024
    return options


class PatternSet:
    """All text patterns of a policy in one automaton: one pass over a text tells which of them are in it."""

    __slots__ = ("_set",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._set = re2.Set.SearchSet(pattern_options())
        for pattern in patterns:
            self._set.Add(pattern)
        self._set.Compile()

    def found(self, texts: Iterable[str]) -> frozenset[int]:
        """Indexes of the patterns that are in one of the texts, and -1, so that the answer is never empty."""
        found = {-1}
        for text in texts:
            found.update(self._set.Match(text.encode("utf-8", "replace")) or ())
        return frozenset(found)


class Window(msgspec.Struct, frozen=True):
    """Hours of some days of the week in a zone.

    `days`: 0 = Monday. `start`, `end`: minutes of the day, end not included; a window whose end is not after its start
    goes over midnight and belongs to the day it starts on.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: datetime.tzinfo

    def holds(self, at: float) -> bool:
        """`at`: seconds since the epoch."""
        if not 0 <= at < _LAST_TIME:
            return False
        local = datetime.datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        day = local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


class Windows:
    """Any of some windows of time."""

    __slots__ = ("windows",)

    def __init__(self, windows: Iterable[Window]) -> None:
        self.windows = tuple(windows)

    def holds(self, at: float) -> bool:
        return any(window.holds(at) for window in self.windows)

    def covers(self, other: object) -> bool:
        return isinstance(other, Windows) and set(other.windows) <= set(self.windows)


def zone_named(name: str) -> datetime.tzinfo | None:
    """A zone of the time zone database; None when there is none of that name. UTC needs no database."""
    if name.upper() == "UTC":
        return datetime.UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


class Networks:
    """Any of some networks of either address family; IPv4 addresses written as IPv6 (::ffff:10.0.0.1) are IPv4."""

    __slots__ = ("v4", "v6")

    def __init__(self, networks: Iterable[Network]) -> None:
        self.v4: list[tuple[int, int]] = []
        self.v6: list[tuple[int, int]] = []
        for network in networks:
            pair = (int(network.network_address), int(network.netmask))
            (self.v4 if network.version == 4 else self.v6).append(pair)

    def holds(self, ip: str) -> bool:
        """Whether the address is in one of them; a text that is no address is in none."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return False
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number = int(address)
        return any(number & mask == base for base, mask in (self.v4 if address.version == 4 else self.v6))


Matcher = Names | Numbers | Truth | Pattern | Windows
