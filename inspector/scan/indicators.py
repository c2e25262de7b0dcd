"""Indicator lists: hosts, addresses, links, hashes and phrases known to be bad.

A list is CSV (RFC 4180) with a header line: kind, value, severity, description, reference, and tags where wanted; kind
is url, domain, ip, phrase, sha256, sha1 or md5. Each row is checked and brought to the one spelling that texts are
brought to as well. A list's size does not matter for a text: hosts, addresses, links and hashes that are in the text
are looked up in tables; phrases are found by the prefilter, then placed.

The rows lie in an index: plain bytes that are looked up where they lie, in a file that all workers map. A row becomes
an object only when it is found. An index is: head, one bit for each value (what is not there is seldom asked for
further), digests of the values in buckets with the places of their rows, places of the phrases, rows.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import struct
import unicodedata
import zlib
from array import array
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

HOST_TESTS = links.TESTS
"""What must be in a text for a host to be in it."""
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


_HEAD = struct.Struct("<16s8s32sIIQQQ7Q")
"""Key, form, SHA-256 of the rows, bits of a bucket's number, bits of a place in the filter, values, phrases, bytes of
all rows, rows of each kind in the order of COUNTED."""
_FORM = b"index 2\0"
COUNTED = ("url", "domain", "ip", "phrase", "sha256", "sha1", "md5")
"""Kinds, in the order in which an index counts them."""
_SIZE = struct.Struct("<I")
_FILTER_BITS = 16
"""Bits of the filter for each value: one question in sixteen or more that is asked in vain is asked further."""
_BUCKET = 4
"""Values in a bucket, about."""
_DECODE = 1 << 20
"""Bytes of a list that are checked at a time."""


def read_indicators(packs: Iterable[Pack], most: int) -> tuple[list[Indicator], list[Fault]]:
    """The rows of all lists of all packs, and what is wrong with them. `most`: rows of all lists together."""
    rows: list[Indicator] = []
    faults = read_lists(packs, most, rows.append)
    return rows, faults


def read_lists(packs: Iterable[Pack], most: int, take: Callable[[Indicator], None]) -> list[Fault]:
    """Hand over the rows of all lists of all packs, `most` at most; returns what is wrong with them."""
    faults: list[Fault] = []
    left = most
    for pack in packs:
        for file in pack.files:
            if file.kind == "indicators":
                left = _read(pack, file, left, take, faults)
                if left < 0:
                    faults.append(Fault(file.path, 0, 0, f"more than {most} indicators in all packs together"))
                    return faults
    return faults


def _read(pack: Pack, file: PackFile, left: int, take: Callable[[Indicator], None], faults: list[Fault]) -> int:
    """Read one list; how many more rows there may be, below 0 when there are too many."""
    path = file.path
    wrong_at = _not_text(file.data)
    if wrong_at >= 0:
        faults.append(Fault(path, file.data.count(b"\n", 0, wrong_at) + 1, 1, "not UTF-8 text"))
        return left
    # Decoded and cut into rows as it is read: a list is never there a second time, four bytes a character.
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(file.data), "utf-8-sig", newline=""), strict=True)
    rule = f"{pack.name}.{file.stem}"
    seen: dict[int, int] = {}
    key = os.urandom(16)
    found = 0
    line = 1
    try:
        header = next(reader, [])
        if not _header(path, header, faults):
            return left
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
                    first = seen.setdefault(_long_digest(key, made), at)
                    if first != at:
                        what = shown(values[1])
                        wrong = (order[1], f'the {made.kind} "{what}" is there twice (first on line {first})')
                    elif left <= 0:
                        return -1
                    else:
                        left -= 1
                        take(made)
                else:
                    wrong = (order[made[0]], made[1])
            if wrong is not None:
                found += 1
                faults.append(Fault(path, at, _column(cells, wrong[0]), wrong[1]))
                if found >= _FAULTS:
                    faults.append(Fault(path, at, 1, "too many faults; the rest is not read"))
                    return left
    except csv.Error as exc:
        faults.append(Fault(path, max(line, 1), 1, f"not CSV: {exc}"))
    return left


def _long_digest(key: bytes, one: Indicator) -> int:
    """What stands for a row while a list is read: 128 bits, which no two rows of a list share by chance or intent."""
    made = hashlib.blake2b(f"{one.kind}:{one.value}".encode(), digest_size=16, key=key)
    return int.from_bytes(made.digest(), "little")


def _not_text(data: bytes) -> int:
    """Where bytes stop being UTF-8; -1: nowhere."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _DECODE):
        kept = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start:start + _DECODE], start + _DECODE >= len(data))
        except UnicodeDecodeError as exc:
            return start - kept + exc.start
    return -1


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


_HOST_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
"""Of a name in its one spelling."""


def _domain(value: str) -> str | None:
    found = links.host(value.removeprefix("*."), strict=True)
    if found is None or "." not in found[0]:
        return None
    return found[0] if _HOST_CHARS.issuperset(found[0]) else None


def _url(value: str) -> str | None:
    """A link with or without its scheme. A host alone is a link too: its first page."""
    if not value or len(value) > links.LINK_BYTES or len(value.split()) != 1:
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
    if found is None or "." not in found[0] or not _HOST_CHARS.issuperset(found[0]):
        return None
    return links.link_key(found[0], port, rest[end:])


def phrase(value: str) -> str | None:
    """The one spelling of a phrase: as the folded form of a text is."""
    folded = " ".join(INVISIBLE.sub("", unicodedata.normalize("NFKC", value)).casefold().split())
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


_GROUPS = {"url": b"u", "domain": b"d", "ip": b"i"}
"""What is put in front of a value: a host that is listed as a link is not listed as a domain. Hashes share one."""
_HASHES = b"h"
_LINKED = b"w"
"""In the filter alone: hosts that links of a list are at. Most hosts in a text are none, and need no look at links."""


class Index:
    """Makes an index, row by row. Rows are kept as bytes from the first moment: 120 of them for a row, about."""

    def __init__(self) -> None:
        self.count = 0
        self._key = os.urandom(16)
        self._digests = array("Q")
        self._checks = array("I")
        self._places = array("Q")
        self._phrases = array("Q")
        self._rows = bytearray()
        self._kinds = dict.fromkeys(COUNTED, 0)
        self._content = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode

    def add(self, row: Indicator) -> None:
        """One more row."""
        self.count += 1
        self._kinds[row.kind] += 1
        place = len(self._rows)
        body = self._encode(row)
        whole = _SIZE.pack(len(body)) + body
        self._rows += whole
        self._content.update(whole)
        if row.kind == "phrase":
            self._phrases.append(place)
            return
        value = _GROUPS.get(row.kind, _HASHES) + row.value.encode("utf-8")
        self._digests.append(_digest(self._key, value))
        self._checks.append(zlib.crc32(value))
        self._places.append(place)
        if row.kind == "url":
            where = row.value.partition("/")[0]
            # With its port or without; the last part of an IPv6 address looks like one.
            for one in {where, where.rpartition(":")[0]}:
                self._checks.append(zlib.crc32(_LINKED + one.encode("utf-8")))

    @property
    def _bits(self) -> tuple[int, int]:
        """Bits of a bucket's number, bits of a place in the filter."""
        values = len(self._digests)
        return max(1, (values // _BUCKET).bit_length()), max(6, (len(self._checks) * _FILTER_BITS - 1).bit_length())

    def parts(self) -> Iterator[bytes | bytearray | memoryview]:
        """The index, in pieces."""
        values = len(self._digests)
        bits, filter_bits = self._bits
        order = sorted(range(values), key=self._digests.__getitem__)
        starts = array("I", bytes(4 * ((1 << bits) + 2)))
        shift = 64 - bits
        for digest in self._digests:
            starts[(digest >> shift) + 1] += 1
        for i in range(1, len(starts)):
            starts[i] += starts[i - 1]
        seen = bytearray(1 << (filter_bits - 3))
        mask = (1 << filter_bits) - 1
        for check in self._checks:
            at = check & mask
            seen[at >> 3] |= 1 << (at & 7)
        yield _HEAD.pack(
            self._key, _FORM, self._content.digest(), bits, filter_bits, values, len(self._phrases), len(self._rows),
            *self._kinds.values())
        yield seen
        yield memoryview(starts).cast("B")
        yield memoryview(array("Q", (self._digests[i] for i in order))).cast("B")
        yield memoryview(array("Q", (self._places[i] for i in order))).cast("B")
        yield memoryview(self._phrases).cast("B")
        yield self._rows


def _sizes(bits: int, filter_bits: int, values: int, phrases: int, rows: int) -> tuple[int, ...]:
    """Bytes of the parts behind the head: filter, starts of the buckets, digests, places, places of phrases, rows."""
    return 1 << (filter_bits - 3), 4 * ((1 << bits) + 2), 8 * values, 8 * values, 8 * phrases, rows


def _digest(key: bytes, value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8, key=key).digest(), "little")


def index_of(rows: Iterable[Indicator]) -> bytes:
    """An index of rows, in memory."""
    made = Index()
    for row in rows:
        made.add(row)
    return b"".join(made.parts())


class Table:
    """An index, looked up where it lies. What it returns are (row, start, end), places in bytes."""

    def __init__(self, body: memoryview) -> None:
        """Raises ValueError: these bytes are no index."""
        if len(body) < _HEAD.size:
            raise ValueError("no index of indicators: too short")
        key, form, self.content, bits, filter_bits, values, phrases, size, *kinds = _HEAD.unpack_from(body)
        if form != _FORM or not 1 <= bits <= 32 or not 6 <= filter_bits <= 40:
            raise ValueError("no index of indicators of this version")
        sizes = _sizes(bits, filter_bits, values, phrases, size)
        if len(body) != _HEAD.size + sum(sizes):
            raise ValueError("no index of indicators: its length is wrong")
        views: list[memoryview] = []
        at = _HEAD.size
        for one in sizes:
            views.append(body[at:at + one])
            at += one
        self.size = len(body)
        """Bytes, shared by all who map the file."""
        self.count = sum(kinds)
        """Rows."""
        self.kinds: dict[str, int] = dict(zip(COUNTED, kinds, strict=True))
        """Rows of each kind."""
        self.phrases = phrases
        """Phrases; they have the numbers from 0."""
        self._key = key
        self._shift = 64 - bits
        self._mask = (1 << filter_bits) - 1
        self._seen = views[0]
        self._starts = views[1].cast("I")
        self._digests, self._places, self._phrase_places = (view.cast("Q") for view in views[2:5])
        self._rows = views[5]
        self._decoder = msgspec.msgpack.Decoder(Indicator)
        self._domains = self.kinds["domain"] > 0
        self._ips = self.kinds["ip"] > 0
        self._urls = self.kinds["url"] > 0

    @classmethod
    def of(cls, rows: Iterable[Indicator]) -> Table:
        """A table of rows in memory."""
        return cls(memoryview(index_of(rows)))

    @property
    def has_hosts(self) -> bool:
        return self._domains or self._ips or self._urls

    @property
    def has_hashes(self) -> bool:
        return any(self.kinds[kind] for kind in HASH_KINDS)

    def row(self, place: int) -> Indicator:
        """The row at a place."""
        (length,) = _SIZE.unpack_from(self._rows, place)
        return self._decoder.decode(self._rows[place + 4:place + 4 + length])

    def rows(self) -> Iterator[Indicator]:
        """All rows, in the order of the lists."""
        place = 0
        while place < len(self._rows):
            yield self.row(place)
            place += 4 + int(_SIZE.unpack_from(self._rows, place)[0])

    def find(self, group: bytes, text: str) -> Iterator[Indicator]:
        """Rows of a group with this value."""
        value = group + text.encode("utf-8")
        if not self._may(value):
            return
        digest = _digest(self._key, value)
        bucket = digest >> self._shift
        for i in range(self._starts[bucket], self._starts[bucket + 1]):
            if self._digests[i] == digest:
                row = self.row(self._places[i])
                if row.value == text and _GROUPS.get(row.kind, _HASHES) == group:
                    yield row

    def _may(self, value: bytes) -> bool:
        """Whether a value, its group in front, can be there: what is not is told apart fifteen times in sixteen."""
        at = zlib.crc32(value) & self._mask
        return bool(self._seen[at >> 3] >> (at & 7) & 1)

    def hash(self, value: str) -> Iterator[Indicator]:
        """Rows with this hash (lower-case hexadecimal digits), whatever its kind."""
        return self.find(_HASHES, value)

    def hosts(self, data: bytes) -> Iterator[tuple[Indicator, int, int]]:
        """Domains, addresses and links in a text."""
        for link in links.find(data):
            if link.is_address:
                if self._ips:
                    for row in self.find(b"i", link.host):
                        yield row, link.start, link.end
            else:
                name = link.host
                while self._domains:
                    for row in self.find(b"d", name):
                        yield row, link.start, link.end
                    _, dot, name = name.partition(".")
                    if not dot:
                        break
            if self._urls and self._may(_LINKED + link.host.encode("utf-8")):
                for key in link.spellings():
                    for row in self.find(b"u", key):
                        yield row, link.start, link.end + len(link.tail)

    def hashes(self, data: bytes) -> Iterator[tuple[Indicator, int, int]]:
        """Hashes in a text."""
        for match in _HASH.finditer(data):
            for row in self.hash(match.group().decode("ascii").lower()):
                yield row, match.start(), match.end()

    def phrase(self, number: int, lowered: bytes) -> Iterator[tuple[Indicator, int, int]]:
        """Where a phrase stands in a text whose ASCII letters are small: between borders of words."""
        row = self.row(self._phrase_places[number])
        literal = row.value.encode("utf-8")
        at = lowered.find(literal)
        while at >= 0:
            end = at + len(literal)
            if not borders.inside(lowered, at) and not borders.inside(lowered, end):
                yield row, at, end
            at = lowered.find(literal, at + 1)

    def entries(self, first: int) -> Iterator[Entry]:
        """Entries of the prefilter for the phrases, numbered from `first`."""
        for number, place in enumerate(self._phrase_places):
            yield Entry(self.row(place).value.encode("utf-8"), first + number, True)
