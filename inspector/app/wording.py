"""How commands write and read what people see: times, references, words of peers, columns."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from inspector.app.errors import WRONG_USE, UserError
from inspector.store.lines import shown

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def when(text: str, now: float) -> float:
    """A time in seconds since the epoch: so long ago (90s, 30m, 1h, 7d, 2w), or a date or time of ISO 8601, UTC where
    it names no zone. Raises UserError."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.replace(".", "", 1).isdecimal() and number.isascii():
        return now - float(number) * _UNITS[unit]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f'"{text}" is no time: write 90s, 30m, 1h, 7d, or 2026-11-22T08:00', WRONG_USE) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def reference(text: str) -> str:
    """A reference as a sender may repeat it, in small letters, without dash, at a sentence's end, as we write it."""
    letters = text.strip(" .,").replace("-", "").upper()
    return f"{letters[:4]}-{letters[4:]}"


def quoted(text: str) -> str:
    """Words of a peer in quotation marks."""
    return f'"{shown(text)}"'


def columns(text: str) -> int:
    """Columns that a printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, width: int) -> str:
    """The text in at most `width` columns, with an ellipsis when it was longer."""
    if columns(text) <= width:
        return text
    taken = 0
    for at, letter in enumerate(text):
        taken += columns(letter)
        if taken > width - 1:
            return text[:at] + "…"
    return text


def pad(text: str, width: int) -> str:
    """The text in exactly `width` columns."""
    text = clip(text, width)
    return text + " " * (width - columns(text))
