"""Indicator lists: hosts, addresses, links, hashes and phrases known to be bad.

A list is CSV (RFC 4180) with a header line: kind, value, severity, description, reference, and tags where wanted; kind
is url, domain, ip, phrase, sha256, sha1 or md5. Each row is checked and brought to the one spelling that texts are
brought to as well. A list's size does not matter for a text: hosts, addresses, links and hashes that are in the text
are looked up in tables; phrases are found by the prefilter, then placed.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import msgspec

from inspector.model.verdicts import Severity
from inspector.scan import borders, linear, links
from inspector.scan.packs import Pack, PackFile
from inspector.scan.prefilter import Entry
from inspector.scan.rules import SEVERITIES, split_tags
from inspector.wire.located import Fault, did_you_mean, shown
from inspector.wire.patterns import INVISIBLE

COLUMNS = ("kind", "value", "severity", "description", "reference", "tags")
_NEEDED = ("kind", "value", "severity", "description")
PHRASE_LEAST = 4
PHRASE_MOST = 200
"""Characters of a phrase."""
_FAULTS = 200
"""Faults reported of one list."""
HASH_KINDS = {"sha256": 64, "sha1": 40, "md5": 32}
_HASH = linear.pattern(rb"(?i)\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})\b")

HOST_TESTS = (
    rb"[0-9A-Za-z_\x80-\xff]\.[0-9A-Za-z_%\x80-\xff]", rb"[0-9a-fA-F:]:[0-9a-fA-F:]{1,4}:", rb":[/\x5c]{2}[0-9]",
    rb"\xe3\x80\x82",
)
"""What must be in a text for a host to be in it: a dot between two letters, two colons of an IPv6 address, a number
behind ://, an ideographic full stop."""
HASH_TESTS = (rb"[0-9a-fA-F]{32}",)


class Indicator(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a list. `value` in its one spelling; `rule` is <pack>.<file stem>."""

    kind: str
    value: str
    severity: Severity
    description: str
    rule: str
    pack: str
    tags: tuple[str, ...] = ()


def read_indicators(packs: Iterable[Pack], most: int) -> tuple[list[Indicator], list[Fault]]:
    """The rows of all lists of all packs, and what is wrong with them. `most`: rows of all lists together."""
    rows: list[Indicator] = []
    faults: list[Fault] = []
    for pack in packs:
        for file in pack.files:
            if file.kind == "indicators":
                _read(pack, file, rows, faults)
                if len(rows) > most:
                    faults.append(Fault(file.path, 0, 0, f"more than {most} indicators in all packs together"))
                    return rows[:most], faults
    return rows, faults


def _read(pack: Pack, file: PackFile, rows: list[Indicator], faults: list[Fault]) -> None:
    path = file.path
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        faults.append(Fault(path, file.data.count(b"\n", 0, exc.start) + 1, 1, "not UTF-8 text"))
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rule = f"{pack.name}.{file.stem}"
    seen: dict[tuple[str, str], int] = {}
    found = 0
    line = 1
    try:
        header = next(reader, [])
        if not _header(path, header, faults):
            return
        order = [header.index(name) if name in header else -1 for name in COLUMNS]
        line = reader.line_num + 1
        for cells in reader:
            at, line = line, reader.line_num + 1
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue
            wrong: tuple[int, str] | None = None
            if len(cells) != len(header):
                wrong = (-1, f"{len(cells)} cells in a row where the header has {len(header)}")
            else:
                values = [cells[i].strip() if i >= 0 else "" for i in order]
                made = _row(values, rule, pack.label)
                if isinstance(made, Indicator):
                    key = (made.kind, made.value)
                    if key in seen:
                        what = shown(values[1])
                        wrong = (order[1], f'the {made.kind} "{what}" is there twice (first on line {seen[key]})')
                    else:
                        seen[key] = at
                        rows.append(made)
                else:
                    wrong = (order[made[0]], made[1])
            if wrong is not None:
                found += 1
                faults.append(Fault(path, at, _column(cells, wrong[0]), wrong[1]))
                if found >= _FAULTS:
                    faults.append(Fault(path, at, 1, "too many faults; the rest is not read"))
                    return
    except csv.Error as exc:
        faults.append(Fault(path, max(line, 1), 1, f"not CSV: {exc}"))


def _header(path: str, header: Sequence[str], faults: list[Fault]) -> bool:
    before = len(faults)
    for i, name in enumerate(header):
        if name not in COLUMNS:
            text = f'unknown column "{shown(name)}"{did_you_mean(name, COLUMNS)}'
            faults.append(Fault(path, 1, _column(header, i), text))
        elif name in header[:i]:
            faults.append(Fault(path, 1, _column(header, i), f'the column "{name}" is there twice'))
    faults.extend(Fault(path, 1, 1, f'the column "{name}" is missing') for name in _NEEDED if name not in header)
    return len(faults) == before


def _column(cells: Sequence[str], index: int) -> int:
    """Where a cell begins, counted from 1, in a row without quoted cells before it."""
    return 1 + sum(len(cell) + 1 for cell in cells[:index]) if index > 0 else 1


def _row(values: list[str], rule: str, pack: str) -> Indicator | tuple[int, str]:
    """An indicator, or the column (of COLUMNS) that is wrong and why."""
    kind, value, severity, description, _, tags = values
    maker = _KINDS.get(kind)
    if maker is None:
        return 0, f'unknown kind "{shown(kind)}"{did_you_mean(kind, _KINDS)}'
    if severity not in SEVERITIES:
        return 2, f'unknown severity "{shown(severity)}"{did_you_mean(severity, SEVERITIES)}'
    made = maker(value)
    if made is None:
        return 1, f'"{shown(value)}" is no {kind}'
    return Indicator(kind, made, cast(Severity, severity), description, rule, pack, split_tags(tags) if tags else ())


def _domain(value: str) -> str | None:
    found = links.host(value.removeprefix("*."), strict=True)
    if found is None or "." not in found[0]:
        return None
    allowed = all(c.isalnum() or c in "-_." for c in found[0])
    return found[0] if allowed else None


def _url(value: str) -> str | None:
    """A link with or without its scheme. A host alone is a link too: its first page."""
    if not value or len(value) > links.LINK_BYTES or any(c.isspace() for c in value):
        return None
    raw = value.encode("utf-8")
    scheme, mark, rest = raw.partition(b"://")
    if not mark:
        rest = raw
    elif not scheme.isalpha():
        return None
    end = min((i for i in (rest.find(c) for c in (b"/", b"?", b"#", b"\\")) if i >= 0), default=len(rest))
    where = rest[:end].rpartition(b"@")[2].decode("utf-8")
    name, colon, port = where.rpartition(":")
    if not colon or where.endswith("]"):
        name, port = where, ""
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    if name[:1] == "[" and name[-1:] == "]":
        six = links.ip(name[1:-1])
        return None if six is None else links.link_key(six, port, rest[end:])
    found = links.host(name)
    if found is None or "." not in found[0] or any(not (c.isalnum() or c in "-_.") for c in found[0]):
        return None
    return links.link_key(found[0], port, rest[end:])


def phrase(value: str) -> str | None:
    """The one spelling of a phrase: as the folded form of a text is."""
    folded = INVISIBLE.sub("", unicodedata.normalize("NFKC", value)).casefold()
    return folded if PHRASE_LEAST <= len(folded) <= PHRASE_MOST and folded.isprintable() else None


def _hash(length: int) -> Callable[[str], str | None]:
    def made(value: str) -> str | None:
        lowered = value.lower()
        return lowered if len(lowered) == length and set(lowered) <= set("0123456789abcdef") else None

    return made


_KINDS: dict[str, Callable[[str], str | None]] = {
    "url": _url, "domain": _domain, "ip": links.ip, "phrase": phrase,
    **{name: _hash(length) for name, length in HASH_KINDS.items()},
}


class Table:
    """All indicators, ready to be looked up. What it returns are (number of the indicator, start, end) in bytes."""

    def __init__(self, rows: Sequence[Indicator]) -> None:
        self.rows = rows
        self._domains: dict[str, list[int]] = {}
        self._ips: dict[str, list[int]] = {}
        self._urls: dict[str, list[int]] = {}
        self._hashes: dict[str, list[int]] = {}
        self.phrases: list[int] = []
        tables = {"domain": self._domains, "ip": self._ips, "url": self._urls}
        for i, row in enumerate(rows):
            if row.kind == "phrase":
                self.phrases.append(i)
            else:
                tables.get(row.kind, self._hashes).setdefault(row.value, []).append(i)

    @property
    def has_hosts(self) -> bool:
        return bool(self._domains or self._ips or self._urls)

    @property
    def has_hashes(self) -> bool:
        return bool(self._hashes)

    def hosts(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Domains, addresses and links in a text."""
        for link in links.find(data):
            if link.is_address:
                for i in self._ips.get(link.host, ()):
                    yield i, link.start, link.end
            else:
                name = link.host
                while self._domains:
                    for i in self._domains.get(name, ()):
                        yield i, link.start, link.end
                    _, dot, name = name.partition(".")
                    if not dot:
                        break
            if self._urls:
                for key in link.spellings():
                    for i in self._urls.get(key, ()):
                        yield i, link.start, link.end + len(link.tail)

    def hashes(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Hashes in a text."""
        for match in _HASH.finditer(data):
            for i in self._hashes.get(match.group().decode("ascii").lower(), ()):
                yield i, match.start(), match.end()

    def phrase(self, number: int, lowered: bytes) -> Iterator[tuple[int, int, int]]:
        """Where a phrase stands in a text whose ASCII letters are small: between borders of words."""
        literal = self.rows[number].value.encode("utf-8")
        at = lowered.find(literal)
        while at >= 0:
            end = at + len(literal)
            if not borders.inside(lowered, at) and not borders.inside(lowered, end):
                yield number, at, end
            at = lowered.find(literal, at + 1)

    def entries(self, numbers: Iterable[tuple[int, int]]) -> list[Entry]:
        """Entries of the prefilter for phrases: pairs of (indicator, number to report)."""
        return [Entry(self.rows[i].value.encode("utf-8"), number, True) for i, number in numbers]

