"""Letters that look like other letters, as a table of bytes.

Source: Unicode Technical Standard 39 ("Unicode Security Mechanisms"), the idea of a skeleton; the choice of letters is
ours: lookalikes of ASCII letters, digits and signs in Cyrillic, Greek, Armenian, Latin extensions and punctuation that
survive compatibility decomposition (NFKD), and the digits of Arabic and Persian.

Two steps of C speed: an encoding map gives each character of the table a byte of its own (all else becomes "?"), and
`bytes.translate` gives each such byte the letter it looks like.
"""

from __future__ import annotations

import codecs
from typing import Any

_LOOKALIKES: dict[str, str] = {
    # Cyrillic small, capital
    "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "һ": "h", "і": "i", "ј": "j", "к": "k", "ӏ": "l", "м": "m",
    "н": "h", "о": "o", "р": "p", "ԛ": "q", "г": "r", "ѕ": "s", "т": "t", "у": "y", "ѵ": "v", "ԝ": "w", "х": "x",
    "п": "n", "ь": "b", "А": "A", "В": "B", "С": "C", "Е": "E", "Н": "H", "І": "I", "Ј": "J", "К": "K", "Ӏ": "I",
    "М": "M", "О": "O", "Р": "P", "Ѕ": "S", "Т": "T", "У": "Y", "Х": "X", "Ԝ": "W", "З": "3",
    # Greek small, capital
    "α": "a", "β": "b", "γ": "y", "ε": "e", "η": "n", "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "σ": "o",
    "τ": "t", "υ": "u", "χ": "x", "ω": "w", "μ": "u", "Α": "A", "Β": "B", "Ε": "E", "Ζ": "Z", "Η": "H", "Ι": "I",
    "Κ": "K", "Μ": "M", "Ν": "N", "Ο": "O", "Ρ": "P", "Τ": "T", "Υ": "Y", "Χ": "X",
    # Armenian
    "օ": "o", "ս": "u", "հ": "h", "ո": "n",
    # Latin extensions without a decomposition
    "ı": "i", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ʀ": "r", "ɴ": "n", "ʟ": "l", "ᴀ": "a", "ᴄ": "c", "ᴇ": "e", "ᴏ": "o",
    "ø": "o", "Ø": "O", "ł": "l", "đ": "d",
    # Punctuation: what links, numbers and quoted words are written with
    "‐": "-", "–": "-", "—": "-", "−": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "∶": ":", "∕": "/", "⁄": "/",
    "。": ".",
}
"""Letter to the letter it looks like. With ASCII at most 256 entries together."""

_DIGITS = ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹")

_ENTRIES = [*_LOOKALIKES.items(), *((c, str(i)) for digits in _DIGITS for i, c in enumerate(digits))]
assert len(_ENTRIES) <= 128, "a byte each above ASCII"
_DECODING = "".join(map(chr, range(128))) + "".join(c for c, _ in _ENTRIES).ljust(128, "\ufffe")
_ENCODING: Any = codecs.charmap_build(_DECODING)
_TRANSLATE = bytes(range(128)) + "".join(like for _, like in _ENTRIES).encode().ljust(128, b"?")


def skeleton(text: str) -> bytes:
    """The ASCII text that `text` looks like: one byte a character, "?" where it looks like none."""
    encoded: bytes = codecs.charmap_encode(text, "replace", _ENCODING)[0]
    return encoded.translate(_TRANSLATE)
