"""Letters that look like other letters, as a table of bytes.

Source: Unicode Technical Standard 39 ("Unicode Security Mechanisms"), the idea of a skeleton; the choice of letters is
ours: lookalikes of ASCII letters, digits and signs that survive compatibility decomposition (NFKD), and the digits of
all scripts.

Two steps of C speed: an encoding map gives each common character a byte of its own (all else becomes "?"), and
`bytes.translate` gives each such byte the letter it looks like. Only a text with something else in it is looked up in
the long table of rare letters.
"""

from __future__ import annotations

import codecs
import functools
import unicodedata
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
    "ı": "i", "з": "3", "ø": "o", "Ø": "O", "ł": "l", "đ": "d", "„": '"', "•": ".",
    # Punctuation: what links, numbers and quoted words are written with
    "‐": "-", "–": "-", "—": "-", "−": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "∶": ":", "∕": "/", "⁄": "/",
    "。": ".",
}
"""Letter to the letter it looks like. With ASCII at most 256 entries together."""

_NOTHING_LIKE = "бджилфцчшщъыэюяБДЖИЛФЧШЫЮЯЭЩß€£¿"
"""Common letters that look like none of ASCII, told apart from those that nobody looked at yet."""

_ENTRIES = [*_LOOKALIKES.items(), *((c, "?") for c in _NOTHING_LIKE)]
assert len(_ENTRIES) <= 128, "a byte each above ASCII"
_DECODING = "".join(map(chr, range(128))) + "".join(c for c, _ in _ENTRIES).ljust(128, "\ufffe")
_COMMON = frozenset(_DECODING)
_ENCODING: Any = codecs.charmap_build(_DECODING)
_TRANSLATE = bytes(range(128)) + "".join(like for _, like in _ENTRIES).encode().ljust(128, b"?")

_RARE = """
    ᏙV ᎬE ᎻH ᏞL ᏒR ᎫJ ᏏB ᏏB ᎪA ᏴB ᏟC ᎠD ᎷM ᏢP ᎡR ᏚS ᎢT ᏃZ ᎳW ᎿH ᏦK ᎥI ᏀG Ꮋh
    ꓐB ꓑP ꓒd ꓓD ꓔT ꓖG ꓗK ꓙJ ꓚC ꓜZ ꓝF ꓟM ꓠN ꓡL ꓢS ꓣR ꓦV ꓧH ꓪW ꓫX ꓬY ꓮA ꓰE ꓲI ꓳO ꓴU
    ⲀA ⲁa ⲂB ⲃb ⲈE ⲉe ⲎH ⲏh ⲒI ⲓi ⲔK ⲕk ⲘM ⲙm ⲚN ⲛn ⲞO ⲟo ⲠN ⲡn ⲢP ⲣp ⲤC ⲥc ⲦT ⲧt ⲨY ⲩy ⲬX ⲭx ⲰW ⲱw
    աw եt զq էt լl ծd կk ձd ճd յj ցg ւi քp ֆf ՏS ՍU ՕO ԼL ժd գq ղn չs ռn ր? Տs
    ƀb ɓb ƃb ƈc đd ɖd ɗd ƌd ǥg ɠg ħh ɦh ɨi ɪi ʝj ɟj ƙk ɫl ɬl ɭl ɱm ɲn ɳn ƞn ɵo ɔo ƥp ɼr ɽr ʂs ŧt ƭt ʈt ʉu ʋv ƴy ʐz ƶz
    ȥz ɇe ɉj ɍr ɏy ƒf ꝑp ɋq ʠq ɛe ɜe ɐa ɒa əe ɾr ʌv ɯm ɰm ʍm ꬲe ꭓx ꬰa ȼc ȡd ȶt ȴl ȵn ʞk ɥh ƿp ſs ẞB æa œo þp ðd
    ɑa ɡg ɩi ʀr ɴn ʟl ᴀa ᴄc ᴇe ᴏo ʙB ᴅD ꜰF ɢG ʜH ᴊJ ᴋK ᴍM ᴘP ꜱS ᴛT ᴜU ᴠV ᴡW ʏY ᴢZ ᴎN ᴙR
    єe ґr ўy ҳx қk ңh ҫc ҭt үy ұy ғf һh ҡk ҙ3 ҽe ҿe ԍg ԑe ӡ3 ӕa ԏt ѡw ꙍw ԕh ҏp ҝk ҟk ӄk ҥh ӈh ӊh ҷ4 ҹ4 ӌ4
    ϲc ϳj ϱp ϰk Ϲc ϒY θ0 Θ0 δd γy π? ζ? λ? Γ? Δ? Π? Λ? Ω? Σ? Φ? ξ? ψ? φ? Ш? ς? σo
    ‑- ‒- ﹘- ―- ─- ⁃- ˗- ➖- ˉ- ‚, ،, ⧸/ ╱/ ∖\\ ⧵\\ ׀| ∣| │| ┃| ˸: ։: ׃: ː: ꞉: ‹< ›> ٪% ˍ_
    ·. ∙. ⋅. ・. ‧. ●. ▪. ◦. ۔. ․. ⓿0 ❶1 ❷2 ❸3 ❹4 ❺5 ❻6 ❼7 ❽8 ❾9 ➀1 ➁2 ➂3 ➃4 ➄5 ➅6 ➆7 ➇8 ➈9
    ➊1 ➋2 ➌3 ➍4 ➎5 ➏6 ➐7 ➑8 ➒9
"""
"""Rare letters and signs, each with what it looks like: Cherokee, Lisu, Coptic, Armenian, letters with strokes and
hooks, small capitals, the rest of Cyrillic and Greek, dashes, dots, digits in signs."""


@functools.cache
def _rare() -> dict[str, str]:
    """What is looked up where the first table leaves question marks: rare letters, letters in signs, every script's
    digits; marks become nothing. Made when it is first needed (20 ms)."""
    table: dict[str, str] = {}
    for char in map(chr, range(0x80, 0x20000)):
        kind = unicodedata.category(char)
        if kind == "Mn" or kind == "Me":
            table[char] = ""
        elif kind == "Nd":
            table[char] = str(unicodedata.digit(char))
    table.update({pair[0]: pair[1] for pair in _RARE.split() if pair[1] != "?"})
    for first in (0x1F150, 0x1F170, 0x1F1E6):
        table.update({chr(first + n): chr(65 + n) for n in range(26)})
    return table


@functools.cache
def _rare_codes() -> dict[int, str]:
    return {ord(char): like for char, like in _rare().items()}


def skeleton(text: str) -> bytes:
    """The ASCII text that `text` looks like: one byte a character, "?" where it looks like none, nothing for marks."""
    encoded: bytes = codecs.charmap_encode(text, "replace", _ENCODING)[0]
    if b"?" in encoded and encoded.count(b"?") != text.count("?"):
        rare = _rare()
        found = [char for char in set(text) - _COMMON if char in rare]
        if found:
            if len(found) <= _FEW:
                for char in found:
                    text = text.replace(char, rare[char])
            else:
                text = text.translate(_rare_codes())
            encoded = codecs.charmap_encode(text, "replace", _ENCODING)[0]
    return encoded.translate(_TRANSLATE)


_FEW = 16
"""Different rare letters that are replaced one after the other, which is faster than a look at every letter."""
