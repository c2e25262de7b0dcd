"""Texts of instant messengers that are HTML in a charset of their own label: read, masked, replaced.

One run of bytes is one text here (a direct IM of AIM; a message of a protocol that does not split its words). `decode`
and `encode` undo one another, so a masked text is written back in the charset it came in.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import msgspec

from inspector.model import CLEAR, Encryption, Span, Text
from inspector.wire import markup
from inspector.wire.patterns import CYRILLIC_1251, HTML_TAG

LINKS = 32
"""Links of one text that are told."""
PLACEHOLDER_CHARS = 1000
UTF16 = "utf-16-be"

_SCHEMES = (
    ("?OTR", "otr"), ("-----BEGIN PGP MESSAGE", "openpgp"), ("*** Encrypted", "pidgin-encryption"),
    ("Content-Type: application/pkcs7-mime", "secureim"),
)
_SCHEME_STARTS = tuple(start for start, _ in _SCHEMES)


def decode(data: bytes, charset: int, icq: bool = False) -> tuple[str, str]:
    """(text, codec) of bytes labelled 0 ASCII, 2 UTF-16BE, 3 Latin-1 or 0x0D UTF-8 (OSCAR sheet, section 7.2);
    encoding it again gives `data`, but for a byte too many of UTF-16, which is left out.

    Labels lie: what is not what it says is read as what the users of that time had: UTF-8, `icq` (between ICQ numbers)
    Windows-1251 for Russian words, else Windows-1252.
    """
    if charset == 2:
        return data[:len(data) & ~1].decode(UTF16, "surrogatepass"), UTF16
    if data.isascii():
        return data.decode("ascii"), "ascii"
    codecs = ("cp1252",) if charset == 3 else ("utf-8", "cp1252")
    if icq and CYRILLIC_1251.search(data):
        codecs = (*codecs[:-1], "cp1251", "cp1252")
    for codec in codecs:
        try:
            return data.decode(codec), codec
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def _other_wide(text: str) -> str | None:
    """What a client reads in UTF-16 that came with its little end first, or in letters that were only labelled so; None
    where that is nothing. `text`: as it was read."""
    if text.isascii():
        return None
    data = text.encode(UTF16, "surrogatepass")
    if data.isascii() and b"\0" not in data:
        return data.decode("ascii")
    if data[1::2].count(0) < 4:
        return None
    return clean(data.decode("utf-16-le", "ignore"))


_HIGH_BYTES = 4
"""Different high bytes of UTF-16 in a short text, and letters for each in a long one: an alphabet has one or two, a
text of bytes has any."""
_LINES = bytes.maketrans(b"\t\n\r", b"   ")


def _unlabelled_wide(data: bytes) -> str | None:
    """What a client reads that takes for UTF-16 what is not labelled so: letters beyond ASCII whose bytes no text of
    bytes has (controls), or that share a few high bytes. None where it is surely something else."""
    # Half a letter too much stays out, as where the label is right; short texts of bytes have odd lengths, too.
    few = 1 if len(data) & 1 else _HIGH_BYTES
    data = data[:len(data) & ~1]
    if len(data) < 4:
        return None
    bare = data.translate(_LINES, b"\0")  # NUL between letters that are what they are labelled
    high = data[::2]
    # A NUL in front of some letters alone: ASCII in UTF-16, with letters between whose bytes are ASCII, too.
    if (not bare or min(bare) >= 0x20) and not 0 < high.count(0) < len(high):
        if data.isascii():
            return None
        if len(set(high)) > max(few, len(high) // _HIGH_BYTES):
            return None
    return clean(data.decode(UTF16, "ignore")) or None


def otherwise(text: str, codec: str) -> str | None:
    """What a client may read in a text whose label lies; None: nothing else. `codec`: as `decode` named it."""
    if codec == UTF16:
        return _other_wide(text)
    if text.isprintable() and codec in ("ascii", "utf-8"):
        return None
    return _unlabelled_wide(encode(text, codec))


def encode(text: str, codec: str) -> bytes:
    """The bytes of a text in the codec that `decode` named; what it cannot say becomes `?`."""
    return text.encode(codec, "surrogatepass" if codec == UTF16 else "replace")


def clean(text: str) -> str:
    """The text without NUL and with lone surrogates as U+FFFD: what may be shown and kept."""
    return scalars(text.replace("\0", "") if "\0" in text else text)


def scalars(text: str) -> str:
    """The text with lone surrogates as U+FFFD: what UTF-8 can say."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a Text stands in the decoded text: all of it, or the value of an attribute."""

    start: int
    end: int
    value: bool = False

    def units(self, text: str) -> list[markup.Unit]:
        """Each character of the plain text with its place in `text`."""
        return markup.units_of_value(text, self.start, self.end) if self.value else markup.units(text)


def texts(text: str, part: str = "body") -> tuple[tuple[Text, ...], tuple[Place | None, ...]]:
    """What is shown of an HTML text, where its links lead, what stands in tags that are no formatting (not editable).

    One Place for each Text, None where it cannot be changed.
    """
    found: list[Text] = []
    places: list[Place | None] = []
    plain = clean(markup.shown(text))
    if plain:
        found.append(Text(part, plain))
        places.append(Place(0, len(text)))
    if "<" in text:
        for start, end in markup.links(text, LINKS) if "=" in text else ():
            value = clean(markup.references(text[start:end]))
            if value:
                found.append(Text("url", value))
                places.append(Place(start, end, True))
        hidden = clean(markup.hidden(text))
        if hidden:
            found.append(Text("markup", hidden, None, False))
            places.append(None)
        other = markup.strict(text)
        if other:
            found.append(Text("markup", clean(other), None, False))
            places.append(None)
    return tuple(found), tuple(places)


def written(text: str, found: Sequence[Text]) -> str | None:
    """The text as the wire has it, where taking its tags out is not all that was done to show it; else None."""
    if not found or found[0].part == "url":
        return None
    plain = found[0].plain
    bare = clean(html.unescape(HTML_TAG.sub("", text)))
    return None if bare == plain and not ("<" in plain and ">" in plain) else clean(text)


def encryption(plain: str) -> Encryption:
    """Whether a text is a cipher's."""
    if not plain.startswith(_SCHEME_STARTS):
        return CLEAR
    return Encryption("metadata", next(scheme for start, scheme in _SCHEMES if plain.startswith(start)))


def masked(text: str, places: Sequence[Place | None], masks: Iterable[Span]) -> str:
    """`text` with a star for each character that a mask covers: the tag or reference behind it becomes that star."""
    by_text: dict[int, list[tuple[int, int]]] = {}
    for index, start, end in masks:
        by_text.setdefault(index, []).append((start, end))
    chars = list(text)
    for index, spans in by_text.items():
        place = places[index] if 0 <= index < len(places) else None
        if place is None:
            continue
        units = place.units(text)
        covered = bytearray(len(units))
        for start, end in spans:
            start, end = max(start, 0), min(end, len(units))
            if start < end:
                covered[start:end] = b"\1" * (end - start)
        for (char, start, end), hide in zip(units, covered, strict=True):
            # A line break is no character that could be masked: it may be a tag.
            if hide and char != "\n":
                chars[start] = "*"
                chars[start + 1:end] = [""] * (end - start - 1)
    return "".join(chars)


def placeholder(words: str) -> tuple[bytes, int]:
    """(bytes, charset label) of words of ours that stand in place of a text: one line, escaped."""
    words = "".join(" " if char in "\r\n\0" else char for char in words[:PLACEHOLDER_CHARS])
    words = html.escape(words, quote=False)
    return (words.encode(), 0) if words.isascii() else (encode(words, UTF16), 2)
