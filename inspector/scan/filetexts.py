"""The words inside of files: text found by its bytes, looked at as messages are.

A content is text, or has stretches of it. Text is read in each charset that a program might take it for, as it stands
and, where there are tags in it, as it is shown; RTF without its control words. What comes out goes in windows that
overlap through the forms of normalise.py, the prefilter, the detectors and the lists: the look at a message, with the
same names of rules. Message rules of YARA are not run; those of the scope "both" see the bytes of the file, and these
forms.

Charsets: UTF-8, UTF-16 and UTF-32 with a mark or by where their zeros are, Windows-1252, Windows-1251 where there are
Cyrillic words. In the bytes of what is no text (programs, pictures, streams of old office documents) the
stretches of ASCII and of ASCII in UTF-16 count.

Not read: other charsets (their ASCII is), what a picture shows, text that was encoded once more (base64 in a text).
"""

from __future__ import annotations

import codecs
import html
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from inspector.model.events import Text
from inspector.model.limits import Limits
from inspector.model.verdicts import Severity
from inspector.scan import linear, links, prefilter
from inspector.scan.content import Content, blocks
from inspector.scan.detectors import DETECTORS, HASHES, HOSTS, Detector, Place, card_of, spoken_of, words_of
from inspector.scan.filetypes import Format
from inspector.scan.indicators import HASH_TESTS, HOST_TESTS, Indicator, Table
from inspector.scan.normalise import SEPARATOR, Layout
from inspector.scan.prefilter import Entry
from inspector.wire import markup
from inspector.wire.patterns import (
    CYRILLIC_1251,
    DIGITS,
    FILLER,
    FILLER_ASCII,
    HTML_TAG,
    MARKUP_BETWEEN,
    MARKUP_BREAK,
    MARKUP_HIDDEN,
    MARKUP_TAG,
)

CHANCE = "file.chance_numbers"
"""The rule for numbers with a right check digit in a list of numbers, one in ten of which has that by chance."""

_TEXTS = frozenset({
    "text", "xml", "html", "svg", "mail", "rtf", "uu", "postscript", "shebang", "bat", "powershell", "vbscript",
    "jscript", "hta", "wsf", "reg", "shortcut", "desktop", "inf", "php",
})
"""Formats that are text."""
_BOXES = frozenset({
    "zip", "gzip", "bzip2", "xz", "lzma", "lzip", "zstd", "tar", "ar", "deb", "iso", "7z", "cab", "ole", "ole_macro",
    "msi", "ooxml", "ooxml_macro", "odf", "odf_macro", "epub", "jar", "apk", "appx", "xpi", "ipa", "iwork",
})
"""Formats whose words are in the files inside: of their own bytes, most of which are packed, any block may be text."""

_STRETCH = 32
"""Characters of a stretch of text in what is none: shorter ones are everywhere in programs."""
_SHORT_STRETCH = 16
"""The same in a stream of an old office document, where each cell and each paragraph is one; in a box, in a text, in
what has no known format."""
_CONTROLS = bytes((*range(7), *range(14, 27), *range(28, 32), 127))
_BLOCK = 128 * 1024
"""Bytes that are told to be text or not, and read in a charset, together."""
_EDGE = 512
"""Bytes on each side of a block's end in which stretches are looked for that go across it."""
_ODD = 16
"""One control in so many bytes: above it a block is no text."""
_FEW = 16
"""Zeros that a text may have which begins like something else: tables of words in programs have one behind each."""
_HIGH = bytes(range(0x80, 0x100))
_WIDE_LEAST = 8
"""Zeros by which UTF-16 is told without a mark."""
_TAG = 1024 * 1024
"""Characters of a tag that is cut by a block's end."""
_BORDER = 512
"""Characters that a window is made shorter by, so that it ends between two words."""

_FILLED = linear.pattern(
    rb"(?:[\x00-\x20\x7f]|\xc2[\x80-\xa0\xad]|\xcc[\x80-\xbf]|\xcd[\x80-\xaf]|\xe1[\x80-\xa0][\x80-\xbf]"
    rb"|\xe2[\x80\x81\xa0][\x80-\xbf]|\xe3[\x80\x85][\x80\xa4]|\xef\xb8[\x80-\xaf]|\xef\xbb\xbf|\xef\xbe\xa0"
    rb"|\xf3\xa0[\x80-\xbf][\x80-\xbf]){4}")
"""Whether there is anything for FILLER; it says too much at worst."""
_APART = rb"[ .\-/_,:;|*+~=#()\[\]\t\r\n]{1,3}"
"""What may stand between the digits of a card's number."""
_GROUPED: dict[str, Any] = {
    "dlp.card_number": linear.pattern(
        rb"(?:^|[^0-9])(?:[0-9]{4}S(?:[0-9]{4}S[0-9]{4}S[0-9]{1,4}|[0-9]{6}S[0-9]{4,5}|[0-9]{3}S[0-9]{3}S[0-9]{3}"
        rb"|[0-9]{5}S[0-9]{6})|[0-9]{6}S(?:[0-9]{13}|[0-9]{6}S[0-9]{4})|[0-9]{8}S[0-9]{8}|[0-9](?:S[0-9]){14}"
        rb"|[0-9]{2}(?:S[0-9]{2}){7})(?:[^0-9]|$)".replace(b"S", _APART)),
    "dlp.us_ssn": linear.pattern(rb"[0-9]{3}(?:-[0-9]{2}-|\.[0-9]{2}\.| [0-9]{2} )[0-9]{4}"),
    "dlp.de_tax_id": linear.pattern(
        rb"[1-9][0-9](?: [0-9]{3} [0-9]{3} |\.[0-9]{3}\.[0-9]{3}\.|/[0-9]{3}/[0-9]{3}/)[0-9]{3}"),
    "dlp.fr_nir": linear.pattern(
        rb"[1-478](?:[ .\-][0-9]{2}){2}[ .\-][0-9][0-9ABab][ .\-][0-9]{3}[ .\-][0-9]{3}"
        rb"|[1-478][0-9]{4}2[ABab][0-9]{6}"),
}
"""Numbers that do not stand in one piece, in all the groups that the detectors know."""
_LENGTHS = {"dlp.card_number": range(13, 20), "dlp.de_tax_id": range(11, 12), "dlp.fr_nir": range(15, 16)}
"""Digits of a number in one piece that has check digits."""
_MARGIN = 96
"""Bytes around a number that a detector looks at: words beside it, the other numbers of a list."""
_BY_CHANCE = frozenset({"dlp.card_number", "dlp.de_tax_id", "dlp.fr_nir"})
"""Detectors that a list of any numbers sets off: one or two check digits are right by chance."""
_LIST = 10
"""Numbers that make a list."""
_SHARE = 5
"""Of a list one number in so many, or more, has the right check digit: not by chance (one in ten would)."""
_SURE = 100
"""Numbers after which no more are counted, where they are not by chance."""
_HEADER = 64
"""Bytes of a key's header at most. In a file a header alone is a word of a program or of its manual: no key."""

_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


# Tables of names beyond ASCII are a module that is read when it is first used: later the process may not be allowed to.
links.host("b\u00fccher.example")


class Seen(msgspec.Struct, frozen=True):
    """What was found in a content."""

    detector: str
    rule: str
    severity: Severity
    title: str
    pack: str | None = None
    tags: tuple[str, ...] = ()


AskRules = Callable[[bytes], Iterable[Seen]]
"""The forms of a text -> what the rules say of it."""


class Spent(Exception):
    """No characters or no time are left for texts."""


class Budget:
    """What is left for the texts of one file and of all files inside it."""

    __slots__ = ("characters", "seconds")

    def __init__(self, limits: Limits) -> None:
        self.characters = limits.file_text_bytes
        self.seconds = limits.file_text_seconds


class Words:
    """What texts of files are looked at with. One for a process, not for several threads at a time."""

    def __init__(self, table: Table, dump: bytes | memoryview, first: int) -> None:
        """`dump`: the prefilter of the messages; `first`: the number that it has for the first phrase. What it says of
        message rules does not count."""
        self.table = table
        self.first = first
        self.prefilter = prefilter.best(lambda: _entries(table, first), dump)


def _entries(table: Table, first: int) -> list[Entry]:
    """What the prefilter of messages looks for, without message rules."""
    made = [Entry(test, number, pattern=True) for number, one in enumerate(DETECTORS) for test in one.tests]
    if table.has_hosts:
        made += [Entry(test, HOSTS, pattern=True) for test in HOST_TESTS]
    if table.has_hashes:
        made += [Entry(test, HASHES, pattern=True) for test in HASH_TESTS]
    return [*made, *table.entries(first)]


class Look:
    """One content: its windows, one after the other, and what is found in them."""

    def __init__(
        self, words: Words, limits: Limits, budget: Budget, until: float, rules: AskRules | None = None,
    ) -> None:
        """`until`: on the monotonic clock. `rules`: those of YARA that texts are shown to."""
        self._words = words
        self._rules = rules
        self.limits = limits
        self._budget = budget
        self._until = until
        self._done: set[int] = set()
        """Detectors and phrases that have been found: once is enough."""
        self._seen: dict[Seen, None] = {}
        self._numbers: dict[int, tuple[int, int, bool, str]] = {}
        """Detector -> numbers with a right check digit, numbers in all, whether words are beside, the first's kind."""

    def window(self, plain: str) -> None:
        """Look at a piece of text. Raises Spent, ScanFailed."""
        self._budget.characters -= len(plain)
        if self._budget.characters < 0 or time.monotonic() > self._until:
            raise Spent
        layout = Layout((Text("content", plain),))
        data = layout.data
        # Of plain ASCII the form with single blanks says nothing of hosts, which have none in them.
        usual = plain.isascii() and "&" not in plain and not _has_controls(plain)
        if self._rules is not None:
            self._seen.update(dict.fromkeys(self._rules(data)))
        words, lowered = self._words, b""
        for number in sorted(set(words.prefilter.hits(data))):
            if number < HOSTS:
                self._detector(number, DETECTORS[number], data)
            elif number in (HOSTS, HASHES):
                for start, end in layout.exact()[:1 if usual else None]:
                    part = data[start:end]
                    rows = words.table.hosts(part) if number == HOSTS else words.table.hashes(part)
                    for row, _, _ in rows:
                        self._indicator(row)
            elif number >= words.first and number not in self._done:
                lowered = lowered or data.lower()
                for row, _, _ in words.table.phrase(number - words.first, lowered):
                    self._done.add(number)
                    self._indicator(row)
                    break

    def _indicator(self, row: Indicator) -> None:
        title = row.description or row.kind
        self._seen[Seen("indicator", row.rule, row.severity, title, row.pack, row.tags)] = None

    def _detector(self, number: int, one: Detector, data: bytes) -> None:
        if number in self._done:
            return
        if one.rule in _BY_CHANCE:
            self._count(number, one, data)
            return
        for start, end, detail in _spots(one, data) if one.rule in _GROUPED else one.find(data):
            if one.rule != "dlp.private_key" or end - start > _HEADER:
                self._done.add(number)
                self._found(one, detail)
                return

    def _found(self, one: Detector, detail: str) -> None:
        self._seen[Seen("dlp", one.rule, "medium", detail or one.title, None, one.tags)] = None

    def _count(self, number: int, one: Detector, data: bytes) -> None:
        """Numbers that are right by chance are told apart at the end: until then they are counted."""
        right, all_, beside, kind = self._numbers.get(number, (0, 0, False, ""))
        lengths = _LENGTHS[one.rule]
        pieces = [match.span() for match in DIGITS.finditer(data)]
        pieces = [span for span in pieces if span[1] - span[0] in lengths]
        grouped = _GROUPED[one.rule].findall(data)
        all_ += len(pieces) + len(grouped)
        for start, end, detail in (*_alone(one, data, pieces), *(_spots(one, data) if grouped else ())):
            right += 1
            kind = kind or detail
            beside = beside or spoken_of(one.rule, data, start, end)
        self._numbers[number] = right, all_, beside, kind
        if right >= _SURE and not _chance(right, all_, beside):
            self._done.add(number)

    def found(self) -> list[Seen]:
        """All that was found so far."""
        out = list(self._seen)
        for number, (right, all_, beside, kind) in self._numbers.items():
            one = DETECTORS[number]
            if right and not _chance(right, all_, beside):
                out.append(Seen("dlp", one.rule, "medium", kind or one.title, None, one.tags))
            elif right:
                out.append(Seen("file", CHANCE, "low", ""))
        return out


def _alone(one: Detector, data: bytes, pieces: list[tuple[int, int]]) -> Iterator[Place]:
    """Which of the numbers in one piece the detector means: as it finds them, but without a look at all that stands
    between them, which lists of numbers would pay for."""
    if one.rule == "dlp.card_number":
        for start, end in pieces:
            if data[start - 1:start] != b"." or not data[max(start - 2, 0):start - 1].isdigit():
                name = card_of(data, start, end)
                if name is not None:
                    yield start, end, name
        return
    for start, end in pieces:
        if one.rule == "dlp.de_tax_id" and not spoken_of(one.rule, data, start, end):
            continue
        low = max(start - _MARGIN, 0)
        for a, b, detail in one.find(data[low:end + _MARGIN]):
            if (low + a, low + b) == (start, end):
                yield start, end, detail


def _spots(one: Detector, data: bytes) -> Iterator[Place]:
    """What the detector finds where the groups are that it knows, and beside words for it: not in all other digits."""
    spots = [match.span() for match in _GROUPED[one.rule].finditer(data)]
    if one.rule == "dlp.us_ssn":
        lowered = data.lower()
        spots += [span for word in words_of(one.rule) for span in _all(lowered, word)]
    done = 0
    for start, end in sorted(spots):
        if end <= done:
            continue
        low = max(start - _MARGIN, done)
        part = data[low:end + _MARGIN]
        for a, b, detail in one.find(part):
            # What touches the ends of the piece may have been cut; in one piece it is looked at elsewhere.
            cut = (low > 0 and a < 4) or (b > len(part) - 4 and low + len(part) < len(data))
            if not cut and not (one.rule in _LENGTHS and part[a:b].isdigit()):
                yield low + a, low + b, detail
                done = low + b


def _all(data: bytes, word: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(word)
    while at >= 0:
        yield at, at + len(word)
        at = data.find(word, at + len(word))


def _chance(right: int, all_: int, beside: bool) -> bool:
    """Whether as many numbers of a list are right as are by chance."""
    return not beside and all_ >= _LIST and right * _SHARE <= all_


def _has_controls(plain: str) -> bool:
    data = plain.encode()
    return len(data.translate(None, _CONTROLS)) != len(data)


# -- windows


class _Windows:
    """One reading of a content, cut into windows that overlap and end between words."""

    __slots__ = ("_held", "_known", "_look")

    def __init__(self, look: Look) -> None:
        self._look = look
        self._held = ""
        self._known = 0
        """Characters at the beginning of what is held that were looked at before."""

    def feed(self, text: str) -> None:
        if _FILLED.search(text.encode("utf-8", "surrogatepass")) is not None:
            text = (FILLER_ASCII if text.isascii() else FILLER).sub(_shrunk, text)
        if self._held:
            text = self._held + text
        size, over = self._look.limits.file_text_window, self._look.limits.file_text_overlap
        at = 0
        while len(text) - at > size:
            end = _border(text, at + size)
            self._look.window(text[at:end])
            at = max(_border(text, end - over), at + 1)
            self._known = end - at
        self._held = text[at:]

    def end(self) -> None:
        """What follows belongs to something else."""
        held, self._held = self._held, ""
        if len(held) > self._known:
            self._look.window(held)
        self._known = 0


def _shrunk(found: Any) -> str:
    run: str = found.group()
    return "\n" if "\n" in run else " " if run.split() != [run] else ""


def _border(text: str, at: int) -> int:
    """The place between two words next before `at`; `at` where there is none near."""
    for place in range(at, max(at - _BORDER, 1), -1):
        if not text[place - 1].isalnum():
            return place
    return at


class _Reading:
    """Text in one charset: as it stands, and as it is shown."""

    def __init__(self, look: Look, rich: bool) -> None:
        self._raw = _Windows(look)
        self._shown = _Windows(look)
        self._strict = _Windows(look)
        self._rich = rich
        self._cut = ""
        """A tag that has not ended."""

    def feed(self, text: str) -> None:
        self._raw.feed(text)
        text = self._cut + text
        self._cut = ""
        if self._rich:
            cut = max(text.rfind("}"), text.rfind("\n"), text.rfind(" ")) + 1
            if cut > len(text) - _TAG:
                text, self._cut = text[:cut], text[cut:]
            self._shown.feed(markup.rich(text))
            return
        if "<" not in text:
            self._shown.end()
            self._strict.end()
            return
        cut = text.rfind("<")
        if cut > len(text) - _TAG and text.find(">", cut) < 0:
            text, self._cut = text[:cut], text[cut:]
        if not text:
            return
        simple, strict = shown(text)
        if simple is None:
            self._shown.end()
        else:
            self._shown.feed(simple)
        if strict is None:
            self._strict.end()
        else:
            self._strict.feed(strict)

    def end(self) -> None:
        if self._cut:
            rest, self._cut = self._cut, ""
            self._shown.feed(markup.rich(rest) if self._rich else HTML_TAG.sub("", rest))
        for one in (self._raw, self._shown, self._strict):
            one.end()


def shown(text: str) -> tuple[str | None, str | None]:
    """What is shown of a text with tags: every word between them; and, where that is something else, without what is
    hidden, as browsers and office programs read it. None: no tags, no difference."""
    if "<![CDATA[" in text:
        text = text.replace("<![CDATA[", "").replace("]]>", "")
    broken = MARKUP_BREAK.sub("\n", text)
    simple = HTML_TAG.sub("", broken)
    if simple == text and "&amp;" not in text:
        return None, None
    strict = MARKUP_HIDDEN.sub("", broken)
    if ":t>" in text or "<si>" in text or "text:span" in text:
        strict = MARKUP_BETWEEN.sub("><", strict)
    strict = MARKUP_TAG.sub("", strict)
    # A page shows what its references mean; what is shown may be read as references once more.
    simple, strict = html.unescape(simple), html.unescape(strict)
    return simple, None if strict == simple else strict


# -- what is text


def boxed(formats: Iterable[Format]) -> bool:
    """Whether the words of a content are in its parts. Around them there may be others: whoever opens it as a text sees
    what stands in front of its parts, between and behind them, or what only begins like a box."""
    names = {one.name for one in formats}
    return bool(names & _BOXES) and not names & _TEXTS


def read(
    content: Content, formats: Iterable[Format], look: Look, *, inside: Iterable[Format] = (),
    without: Iterable[tuple[int, int]] = (),
) -> None:
    """Look at the text in a content. `inside`: the formats of what it is in; `without`: parts of it, from and to, that
    were looked at by themselves. Raises OSError, Spent, ScanFailed."""
    names = {one.name for one in formats}
    text = not names or bool(names & (_BOXES | _TEXTS))
    least = _SHORT_STRETCH if text or any(one.name.startswith("ole") for one in inside) else _STRETCH
    _Reader(look, least, text, "rtf" in names).read(content, sorted(without))


def _around(content: Content, parts: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of a content that are in none of its parts, in blocks; a line's end stands for each part. Raises
    OSError."""
    held, done = bytearray(), 0
    for start, end in (*parts, (content.size, content.size)):
        for piece in blocks(content, done, start, _BLOCK):
            held += piece
            while len(held) >= _BLOCK:
                yield bytes(held[:_BLOCK])
                del held[:_BLOCK]
        if start > done:
            held += b"\n"
        done = max(done, end)
    yield bytes(held[:-1])


def _stretch(least: int) -> tuple[Any, Any]:
    return (linear.pattern(rb"[\t\r\n\x20-\x7e]{%d,}" % least),
            linear.pattern(rb"(?:[\t\r\n\x20-\x7e]\x00){%d,}" % least))


_STRETCHES = {least: _stretch(least) for least in (_STRETCH, _SHORT_STRETCH)}


class _Reader:
    """The readings of one content, block by block."""

    def __init__(self, look: Look, least: int, text: bool, rich: bool) -> None:
        self._look = look
        self._least = least
        self._text = text
        """Whether it may be text, by its format."""
        self._rich = rich
        self._readings: dict[str, _Reading] = {}
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def read(self, content: Content, parts: list[tuple[int, int]]) -> None:
        head = bytes(content.read(0, 4))
        mark = next((codec for magic, codec in _MARKS if head.startswith(magic)), None)
        before, packed = b"", False
        for piece in _around(content, parts) if parts else blocks(content, step=_BLOCK):
            block = bytes(piece)
            used = set()
            for name, text in self._of(block, mark):
                used.add(name)
                reading = self._readings.get(name)
                if reading is None:
                    reading = self._readings[name] = _Reading(self._look, self._rich)
                reading.feed(text)
            for name, reading in self._readings.items():
                if name not in used:
                    reading.end()
            packed, was = "utf-8" not in used, packed
            if before and (packed or was):
                border = self._readings.setdefault("border", _Reading(self._look, self._rich))
                for _, text in self._stretches(before + block[:_EDGE], 1):
                    border.feed(text)
                border.end()
            before = block[-_EDGE:]
        for reading in self._readings.values():
            reading.end()

    def _of(self, block: bytes, mark: str | None) -> Iterator[tuple[str, str]]:
        """The readings of a block: (charset, text)."""
        zeros = block.count(0)
        wide = mark if self._text else None
        if wide is None and zeros >= _WIDE_LEAST and self._text:
            wide = _wide(block)
        if wide is not None:
            yield wide, block.decode(wide, "replace")
        narrow = block.translate(None, b"\0") if zeros else block
        odd = len(narrow) - len(narrow.translate(None, _CONTROLS))
        # A picture's first bytes in front of a text, with a NUL or two behind them, make no picture of it.
        text = self._text or zeros <= max(_FEW, len(block) // _FEW ** 2)
        if text and narrow and odd * _ODD <= len(narrow):
            yield from self._narrow(narrow)
        else:
            self._utf8.reset()
            yield from self._stretches(block, zeros)

    def _narrow(self, block: bytes) -> Iterator[tuple[str, str]]:
        """Bytes that are letters: as UTF-8, and in a charset of bytes where they are not that."""
        before = self._utf8.getstate()[0]
        try:
            yield "utf-8", self._utf8.decode(block)
        except UnicodeDecodeError:
            self._utf8.reset()
            yield "utf-8", (before + block).decode("utf-8", "replace")
            high = len(block) - len(block.translate(None, _HIGH))
            cyrillic = CYRILLIC_1251.search(block) is not None
            if cyrillic:
                yield "cp1251", block.decode("cp1251", "replace")
            if not cyrillic or high * 3 < len(block):
                yield "cp1252", block.decode("cp1252", "replace")

    def _stretches(self, block: bytes, zeros: int) -> Iterator[tuple[str, str]]:
        narrow, wide = _STRETCHES[self._least]
        found = [one.decode("ascii") for one in narrow.findall(block)]
        if zeros:
            found += [one[::2].decode("ascii") for one in wide.findall(block)]
        if found:
            yield "stretches", SEPARATOR.join(found) + SEPARATOR


def _wide(block: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by where the zeros are: in digits, blanks and Latin letters."""
    quarters = [block[start::4].count(0) for start in range(4)]
    most = len(block) // 4 * 9 // 10
    if min(quarters[2:]) > most >= quarters[0]:
        return "utf-32-le"
    if min(quarters[:2]) > most >= quarters[3]:
        return "utf-32-be"
    even, odd = quarters[0] + quarters[2], quarters[1] + quarters[3]
    if odd > even * 16:
        return "utf-16-le"
    return "utf-16-be" if even > odd * 16 else None
