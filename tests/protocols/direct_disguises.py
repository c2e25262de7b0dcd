"""How a text can be disguised in direct conversations: DCC CHAT and direct IM (ODC)."""

from __future__ import annotations

import html
import struct
from collections.abc import Callable

from inspector.model import DOWN, UP, Expect, FileOffer, Way
from tests.evasion.reading import decoded, generous
from tests.evasion.ways import Disguise, Said

_PLACE = "192.0.2.1:4000"
_COOKIE = b"7174647\0"

_DCC = Expect(_PLACE, "dcc", "alice", "CHAT", FileOffer(
    sender="bob", recipients=("alice",), conversation="Example/bob", method="dcc_chat", address=_PLACE,
    answerable=False), "c", "claimed")
_ODC = Expect(_PLACE, "oft", "amy", _COOKIE.hex(), FileOffer(
    sender="amy", recipients=("bob",), conversation="bob", method="direct_im", id=_COOKIE.hex()), "c", "authenticated")


def _lines(data: bytes) -> list[str]:
    return [*generous(data), *("".join(text.splitlines()) for text in decoded(data))]


def _chat(way: Way, before: bytes = b"", after: bytes = b"\n", between: bytes = b"", codec: str = "utf-8") -> Disguise:
    def say(text: str) -> Said | None:
        if "\n" in text or "\r" in text:
            return None
        try:
            said = between.join(char.encode(codec) for char in text)
        except UnicodeEncodeError:
            return None
        return [(way, before + said + after)]

    opening = (way.other, b"good evening\n")
    return Disguise(way, say, _lines, [opening], _DCC, harmless=lambda number: b"the tulips are out %d\n" % number)


_CHATS: dict[str, Callable[[Way], Disguise]] = {
    "line": _chat,
    "line with a carriage return": lambda way: _chat(way, after=b"\r\n"),
    "carriage return alone": lambda way: _chat(way, after=b"\rhi\n"),
    "NUL behind": lambda way: _chat(way, after=b"\0\n"),
    "ACTION": lambda way: _chat(way, b"\x01ACTION ", b"\x01\n"),
    "bold inside the words": lambda way: _chat(way, between=b"\x02"),
    "colours inside the words": lambda way: _chat(way, between=b"\x0304,01"),
    "NUL inside the words": lambda way: _chat(way, between=b"\0"),
    "CP1252": lambda way: _chat(way, b"caf\xe9 ", codec="cp1252"),
    "broken UTF-8 inside the words": lambda way: _chat(way, between=b"\xe9"),
    "byte order mark": lambda way: _chat(way, b"\xef\xbb\xbf"),
    "behind a long text": lambda way: _chat(way, b"la la " * 400),
}
DCC: dict[str, Disguise] = {
    f"{name}, {side}": made(way) for way, side in ((UP, "up"), (DOWN, "down")) for name, made in _CHATS.items()}


def _direct(name: bytes, payload: bytes = b"", flags: int = 0, charset: int = 0) -> bytes:
    raw = b"ODC2" + struct.pack(">HHHH8s8xIHxxxxH", 76, 1, 6, 0, _COOKIE, len(payload), charset, flags)
    return raw.ljust(44, b"\0") + name.ljust(32, b"\0") + payload


def _words(data: bytes) -> list[str]:
    """Each frame's words, with pictures and without."""
    shown = []
    while data.startswith(b"ODC2"):
        size = int.from_bytes(data[28:32])
        shown += generous(data[76:76 + size])
        data = data[76 + size:]
    return shown


def _im(way: Way, change: Callable[[str], str], codec: str = "utf-8", charset: int = 0, flags: int = 0) -> Disguise:
    name = b"bob" if way is UP else b"amy"

    def say(text: str) -> Said | None:
        try:
            return [(way, _direct(name, change(text).encode(codec), flags, charset))]
        except UnicodeEncodeError:
            return None

    before = [(UP, _direct(b"bob", flags=0x60)), (DOWN, _direct(b"Amy", flags=0x60))]
    return Disguise(way, say, _words, before, _ODC, harmless=lambda number: _direct(name, b"the tulips are out"))


_IMS: dict[str, Callable[[Way], Disguise]] = {
    "plain": lambda way: _im(way, str),
    "HTML": lambda way: _im(way, lambda text: f"<HTML><BODY>{html.escape(text)}</BODY></HTML>"),
    "HTML, tags inside the words": lambda way: _im(
        way, lambda text: "<HTML>" + "".join(f"{html.escape(char)}<B></B>" for char in text)),
    "HTML references": lambda way: _im(way, lambda text: "<HTML>" + "".join(f"&#{ord(char)};" for char in text)),
    "UTF-16": lambda way: _im(way, str, "utf-16-be", 2),
    "Latin-1": lambda way: _im(way, str, "latin-1", 3),
    "automatic answer": lambda way: _im(way, str, flags=1),
    "beside a picture": lambda way: _im(
        way, lambda text: f"<HTML>{html.escape(text)}<BINARY><DATA ID=\"1\" SIZE=\"3\">GIF</DATA></BINARY>"),
    "inside of the binary part": lambda way: _im(
        way, lambda text: f"<HTML>hi<BINARY>{html.escape(text)}</BINARY>"),
}
OFT: dict[str, Disguise] = {
    f"{name}, {side}": made(way) for way, side in ((UP, "up"), (DOWN, "down")) for name, made in _IMS.items()}
