"""Texts of IRC and of its direct chats: charsets, formatting codes, what a person reads, masks, ciphers.

Sources: modern-irc (formatting); RFC 1459 2.2 leaves the charset open, so it is told from the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspector.model import CLEAR, Encryption, Text
from inspector.wire.patterns import IRC_FORMATTING

CODES = bytes(code for code in range(32) if code not in (9, 10)) + b"\x7f"
"""Bytes that take a text off the short way: formatting, CTCP, quotes, and what is no part of a text."""
ENCRYPTED_STARTS = ("+OK ", "mcps ", "?OTR", "-----BEGIN PGP", "DH1080_")
_FISH = frozenset("./0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ*+=")
_NO_LINE_BREAKS = str.maketrans("\r\n\0", "   ")
_MASK = "*"


def decode(data: bytes) -> tuple[str, str]:
    """(text, charset): ISO-2022-JP where its escapes stand, UTF-8 strictly, else CP1252, else Latin-1."""
    if b"\x1b" in data and (b"\x1b$" in data or b"\x1b(" in data):
        try:
            return data.decode("iso2022_jp"), "iso2022_jp"
        except UnicodeDecodeError:
            pass
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def plain_of(data: bytes) -> str:
    """What a person reads of a text: decoded, without formatting codes, NUL, CTCP marks and quotes."""
    text = decode(data)[0]
    return text if len(data.translate(None, CODES)) == len(data) else IRC_FORMATTING.sub("", text)


def other_reading(data: bytes) -> str | None:
    """What other clients read in a text whose charset is a guess; None when all read the same.

    Escapes of ISO-2022-JP make ideograms of letters, which most clients show as letters; one wrong byte makes us read
    CP1252 where most clients show UTF-8 and a mark for the byte.
    """
    escaped = b"\x1b$" in data or b"\x1b(" in data
    if data.isascii() and not escaped:
        return None
    try:
        text = data.decode()
        if not escaped:
            return None
    except UnicodeDecodeError:
        text = data.decode("utf-8", "ignore")
        if text.isascii() and not escaped:
            return None
    first, *pieces = text.split("\x1b")
    bare = (p[3:] if p.startswith("$(") else p[2:] if p[:1] in ("$", "(") else p for p in pieces)
    return IRC_FORMATTING.sub("", " ".join([first, *bare]) if data.isascii() else "".join([first, *bare]))


def texts_of(part: str, data: bytes) -> tuple[Text, ...]:
    """A text as a person reads it, and as clients with another charset do; nothing when it is empty."""
    plain = plain_of(data)
    if not plain:
        return ()
    other = other_reading(data)
    return (Text(part, plain),) if other is None else (Text(part, plain), Text(part, other, None, False))


def written(data: bytes, texts: tuple[Text, ...]) -> str | None:
    """The text with its formatting codes, where it has any."""
    text = decode(data)[0]
    return text if texts and text != texts[0].plain else None


def masked(data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """`data` with these spans of its plain text replaced, one `*` a character, in its own charset.

    Formatting codes between two masked characters go too: they could tell where a word was.
    """
    text, charset = decode(data)
    hide = bytearray(len(text) + 1)
    for start, end in spans:
        for i in range(max(start, 0), min(end, len(text))):
            hide[i] = 1
    out: list[str] = []
    at = seen = 0
    hidden = False
    for found in [*IRC_FORMATTING.finditer(text), None]:
        upto = found.start() if found else len(text)
        for char in text[at:upto]:
            hidden = bool(hide[seen])
            out.append(_MASK if hidden else char)
            seen += 1
        if found is None:
            break
        if not (hidden and hide[seen]):
            out.append(found.group())
        at = found.end()
    stars = "".join(out)
    new = stars.encode(charset, "replace")
    if len(new) > len(data):
        # Only ISO-2022-JP grows, by its escapes: its end is given up rather than the line limit.
        low, high = 0, len(stars)
        while low < high:
            middle = (low + high + 1) // 2
            fits = len(stars[:middle].encode(charset, "replace")) <= len(data)
            low, high = (middle, high) if fits else (low, middle - 1)
        new = stars[:low].encode(charset, "replace")
    return new


def fit(data: bytes, room: int) -> bytes:
    """At most `room` bytes of `data`, not cut inside a UTF-8 character."""
    if len(data) <= room:
        return data
    room = max(room, 0)
    while room and data[room] & 0xC0 == 0x80:
        room -= 1
    return data[:room]


def wire(text: str) -> bytes:
    """Words of ours or of a rule, for the wire: no line break, no NUL."""
    return text.translate(_NO_LINE_BREAKS).encode("utf-8", "replace")


def shown(name: bytes) -> str:
    """A name as text: there are channels in CP1252, too."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return decode(name)[0]


def encryption_of(plain: str) -> Encryption:
    """Whether a text is a cipher's (sheet 9)."""
    if not plain.startswith(ENCRYPTED_STARTS):
        return CLEAR
    if plain.startswith("?OTR"):
        return Encryption("metadata", "otr")
    if plain.startswith("-----BEGIN PGP"):
        return Encryption("metadata", "openpgp") if plain.startswith("-----BEGIN PGP MESSAGE") else CLEAR
    if plain.startswith("DH1080_"):
        return Encryption("metadata", "fish") if plain.startswith(("DH1080_INIT ", "DH1080_FINISH ")) else CLEAR
    word = plain.partition(" ")[2].strip()
    return Encryption("metadata", "fish") if len(word) >= 12 and _FISH.issuperset(word) else CLEAR
