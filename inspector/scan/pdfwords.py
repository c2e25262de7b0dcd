"""The words on the pages of a PDF (ISO 32000-1 9.4, 9.10): what its text operators show.

Streams come in any order, so pieces are kept until all are seen; then they are read as they stand (fonts whose codes
are letters) and by the tables that lead from a font's codes to Unicode (9.10.3). Which table is a font's would have to
be looked up in objects that may lie: for each font the tables are taken that know its codes best.

Not read: fonts of other codes without such a table, letters that are placed one by one without an order, pictures.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any

from inspector.wire.patterns import PDF_CHARACTER, PDF_ESCAPE, PDF_LIST, PDF_RANGE, PDF_TOKEN

_MOST = 32 * 1024 * 1024
"""Bytes of strings of all pages that are kept: less than what noise, compressed pictures, looks like in 64 MiB."""
_TABLES = 256
"""Tables that are kept: of so many fonts."""
_READINGS = 3
"""Tables of each font by which its strings are read."""
_KNOWN = 0.5
"""Share of a font's codes that a table must know to be its."""
_SAMPLE = 64 * 1024
"""Bytes of a font's strings by which its tables are chosen."""
_CODES = 65536
"""Codes of a table."""
_ALL_CODES = 16 * _CODES
"""Codes of all tables: a range of so many is written in 20 bytes, again and again."""
_GAP = -180.0
"""Thousandths of the font's size: a move back by so much in the middle of a line is shown as a blank (9.4.3)."""
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\n": "", "\r": "", "\r\n": ""}
_BEFORE = frozenset(("'", '"'))
"""Operators that begin a new line with the string in front of them."""
_HEX = frozenset("0123456789abcdefABCDEF")
_MOVES = frozenset(("Td", "TD", "Tm"))


class PdfWords:
    """The words of one PDF."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, bytes] | str] = []
        """(font, string as it stands), and what is shown between them."""
        self._size = 0
        self._tables: list[tuple[int, dict[int, str]]] = []
        self._codes = 0
        """Codes that tables were given, those that were there already with them."""
        self.whole = True
        """Whether all strings and tables were kept."""

    def feed(self, data: bytes) -> None:
        """Take in decoded streams, or a file."""
        if b"begincmap" in data:
            for part in data.split(b"begincmap")[1:]:
                self._table(part.partition(b"endcmap")[0].decode("latin-1"))
        begin = data.find(b"BT")
        if begin < 0:
            return
        text = data.decode("latin-1")
        while begin >= 0 and self._size < _MOST:
            begin = text.find("BT", self._block(text, begin + 2))
        self.whole = self.whole and self._size < _MOST

    def _block(self, text: str, begin: int) -> int:
        """Read a text block to the operator that ends it: its name in a string or comment does not. The end's index."""
        out = self._pieces
        font = ""
        for found in PDF_TOKEN.finditer(text, begin):
            letters, digits, number, word, name = found.groups()
            if letters is not None:
                made = PDF_ESCAPE.sub(_escape, letters).encode("latin-1", "ignore") if "\\" in letters else (
                    letters.encode("latin-1"))
            elif digits is not None:
                made = unhexed(digits)
            else:
                font = name or font
                if word == "ET":
                    out.append("\n")
                    return found.end()
                if word == "T*":
                    out.append("\n")
                elif word in _BEFORE and out:
                    out.insert(len(out) - 1, "\n")
                elif word in _MOVES or (number is not None and number[0] == "-" and _far(number)):
                    out.append(" ")
                continue
            self._size += len(made)
            if self._size >= _MOST:
                break
            out.append((font, made))
        return len(text)

    def _table(self, text: str) -> None:
        if len(self._tables) >= _TABLES:
            return
        table: dict[int, str] = {}
        width = 1
        for found in PDF_CHARACTER.finditer(_sections(text, "bfchar")):
            raw, to = (unhexed(one) for one in found.groups())
            width = max(width, min(len(raw), 2))
            table[int.from_bytes(raw[-2:])] = to.decode("utf-16-be", "replace")
            if len(table) >= _CODES:
                break
        ranges = _sections(text, "bfrange")
        for found in PDF_RANGE.finditer(ranges):
            first, last, letter = (int.from_bytes(unhexed(one)[-3:]) for one in found.groups())
            width = max(width, 2 if len(found.group(1)) > 2 else 1)
            self._codes += max(min(last - first, 0xFFFF) + 1, 0)
            if self._codes > _ALL_CODES:
                self.whole = False
                return
            for code in range(first, min(last, first + 0xFFFF) + 1):
                if len(table) >= _CODES:
                    break
                table[code] = chr(min(letter + code - first, 0x10FFFF))
        for found in PDF_LIST.finditer(ranges):
            width = max(width, 2 if len(found.group(1)) > 2 else 1)
            first = int.from_bytes(unhexed(found.group(1))[-2:])
            for code, one in enumerate(found.group(2).replace("<", " ").replace(">", " ").split(), first):
                if len(table) >= _CODES or not _HEX.issuperset(one):
                    break
                table[code] = unhexed(one).decode("utf-16-be", "replace")
        if table and (width, table) not in self._tables:
            self._tables.append((width, table))

    def texts(self) -> Iterator[str]:
        """The words in each reading."""
        if not self._pieces:
            return
        yield "".join(one if isinstance(one, str) else _plain(one[1]) for one in self._pieces)
        fonts: dict[str, bytearray] = {}
        for one in self._pieces:
            if not isinstance(one, str):
                sample = fonts.setdefault(one[0], bytearray())
                if len(sample) < _SAMPLE:
                    sample += one[1]
        chosen = {font: self._chosen(bytes(sample)) for font, sample in fonts.items()}
        for number in range(min(_READINGS, max(len(tables) for tables in chosen.values()) if chosen else 0)):
            yield "".join(
                one if isinstance(one, str) else _coded(one[1], *tables[min(number, len(tables) - 1)])
                for one in self._pieces if isinstance(one, str) or (tables := chosen[one[0]]))

    def _chosen(self, sample: bytes) -> list[tuple[int, dict[int, str]]]:
        """The tables that know most of the codes in a font's strings, the best first."""
        codes = {1: set(sample), 2: {sample[at] << 8 | sample[at + 1] for at in range(0, len(sample) - 1, 2)}}
        rated = [
            (sum(code in table for code in codes[width]) / max(len(codes[width]), 1), number)
            for number, (width, table) in enumerate(self._tables)
        ]
        rated = sorted((one for one in rated if one[0] > _KNOWN), key=lambda one: (-one[0], one[1]))
        return [self._tables[number] for _, number in rated[:_READINGS]]


def _sections(text: str, name: str) -> str:
    """What stands between begin<name> and end<name>."""
    return " ".join(part.partition(f"end{name}")[0] for part in text.split(f"begin{name}")[1:])


def _plain(data: bytes) -> str:
    if data.startswith(b"\xfe\xff"):
        return data[2:].decode("utf-16-be", "replace")
    return data.translate(None, b"\0").decode("cp1252", "replace")


def _coded(data: bytes, width: int, table: dict[int, str]) -> str:
    if width == 1:
        return "".join([table.get(code, "") for code in data])
    return "".join([table.get(data[at] << 8 | data[at + 1], "") for at in range(0, len(data) - 1, 2)])


def _far(number: str) -> bool:
    try:
        return float(number) <= _GAP
    except ValueError:
        return False


def unhexed(digits: str) -> bytes:
    """Hexadecimal digits with white space between; a missing last one is 0 (7.3.4.3)."""
    bare = "".join(digits.split())
    return binascii.unhexlify(bare + "0" * (len(bare) % 2))


def _escape(found: Any) -> str:
    """What a backslash and what follows it stand for (7.3.4.2)."""
    what: str = found.group(1)
    return chr(int(what, 8) & 0xFF) if what[0] in "01234567" else _NAMED.get(what, what)
