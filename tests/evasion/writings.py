"""Disguises of the text itself: the same words, number or link, written so that a reader sees it and a search does not.

A writing takes the secret of a target and gives (before, secret as it is written, after), or None where it says nothing
new. What is left of the secret in the reader's view is looked for in both spellings.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.evasion.targets import Target

Written = tuple[str, str, str]
Writing = Callable[[Target], Written | None]

_HOSTLY = ("host", "idn", "url", "address")
_NUMBERS = ("number", "iban")
_ALL = ("words", "number", "iban", "key", *_HOSTLY)

WRITINGS: dict[str, tuple[tuple[str, ...], Writing]] = {}
"""Name -> (kinds of target it is for, the writing)."""


def _add(name: str, kinds: tuple[str, ...], change: Callable[[str], str]) -> None:
    """A writing that changes the secret alone."""

    def write(target: Target) -> Written | None:
        changed = change(target.secret)
        return None if changed == target.secret else (target.before, changed, target.after)

    WRITINGS[name] = (kinds, write)


def _around(name: str, kinds: tuple[str, ...], change: Callable[[str, str], Written]) -> None:
    """A writing that changes what stands around the secret, too: (secret, what stands behind it) -> all three."""
    WRITINGS[name] = (kinds, lambda target: change(target.secret, target.after))


def _letters(first_small: int, first_capital: int | None, first_digit: int | None = None,
             but: dict[str, str] | None = None) -> Callable[[str], str]:
    table: dict[int, str] = {}
    for at in range(26):
        table[97 + at] = chr(first_small + at)
        table[65 + at] = chr((first_capital if first_capital is not None else first_small) + at)
    if first_digit is not None:
        table |= {48 + at: chr(first_digit + at) for at in range(10)}
    table |= {ord(plain): other for plain, other in (but or {}).items()}
    return lambda text: text.translate(table)


def _between(what: str) -> Callable[[str], str]:
    """Something between each two letters or digits."""
    return lambda text: "".join(
        char + what if char.isalnum() and text[at + 1:at + 2].isalnum() else char for at, char in enumerate(text))


def _swap(pairs: str) -> Callable[[str], str]:
    table = {ord(plain): other for plain, other in zip(pairs[::2], pairs[1::2], strict=True)}
    return lambda text: text.translate(table)


# -- letters

_CASED = ("words", "host", "idn", "iban")
_add("capitals", _CASED, str.upper)
_add("small letters", ("iban",), str.lower)
_add("mixed case", _CASED, lambda text: "".join(c.upper() if at % 2 else c.lower() for at, c in enumerate(text)))
_WIDE = ("words", "number", "iban", *_HOSTLY)
_add("full width", _WIDE, lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text))
_FORMS = ("words", "host", "url")
_add("mathematical bold", ("words", "number", "iban", *_HOSTLY), _letters(0x1D41A, 0x1D400, 0x1D7CE))
_add("mathematical script", _FORMS, _letters(0x1D4EA, 0x1D4D0))
_add("double-struck", ("words", "number", "address", "host"), _letters(0x1D552, 0x1D538, 0x1D7D8))
_add("circled", ("words", "host"), _letters(0x24D0, 0x24B6))
_add("parenthesised", ("words",), _letters(0x249C, None))
_add("squared", ("words",), _letters(0x1F130, 0x1F130))
_add("negative circled", ("words",), _letters(0x1F150, 0x1F150))
_add("negative squared", ("words",), _letters(0x1F170, 0x1F170))
_add("regional indicators", ("words",), _letters(0x1F1E6, 0x1F1E6))
_add("superscript", ("words",), _swap("eᵉhʰiⁱjʲlˡnⁿoᵒpᵖrʳtᵗvᵛbᵇgᵍmᵐdᵈcᶜ"))
_add("small capitals", ("words",), _swap("aᴀbʙcᴄdᴅeᴇgɢhʜiɪjᴊlʟmᴍnɴoᴏpᴘrʀtᴛuᴜvᴠ"))
_add("Cyrillic letters", ("words", "host", "url"), _swap("aаeеoоpрcсyуiі"))
_add("Greek letters", ("words", "host"), _swap("aαeεoοvνiιtτ"))
_add("Armenian letters", ("words",), _swap("oօnոhհuսgց"))
_add("Cherokee letters", ("words",), _swap("vᏙeᎬhᎻlᏞrᏒjᎫbᏏgᏀ"))
_add("Lisu letters", ("words",), _swap("vꓦeꓰoꓳtꓔhꓧrꓣnꓠpꓑjꓙcꓚlꓡaꓮmꓟbꓐgꓖdꓓ"))
_add("Coptic letters", ("words",), _swap("iⲓoⲟcⲥpⲣ"))
_add("letters with strokes", ("words",), _swap("oølłtŧhħdđbƀgǥ"))
_add("dotless and script letters", ("words",), _swap("iıgɡaɑlɭ"))
_add("letters with accents", ("words",), _swap("oòeéiïaàrŕnñ"))

# -- what does not show

for _name, _kinds, _what in (
    ("zero-width space", _ALL, "\u200b"), ("zero-width joiner", _ALL, "\u200d"),
    ("zero-width non-joiner", _ALL, "\u200c"), ("word joiner", _ALL, "\u2060"),
    ("byte order mark", _ALL, "\ufeff"), ("soft hyphen", _ALL, "\u00ad"),
    ("combining grapheme joiner", _WIDE, "\u034f"), ("variation selector", _WIDE, "\ufe0f"),
    ("variation selector 200", _WIDE, "\U000e01b7"), ("Mongolian vowel separator", _WIDE, "\u180e"),
    ("Hangul filler", _WIDE, "\u3164"), ("tag characters", _WIDE, "\U000e0061"),
    ("left-to-right mark", _ALL, "\u200e"), ("invisible times", _WIDE, "\u2062"),
    ("shorthand format control", _WIDE, "\U0001bca0"), ("Arabic letter mark", _WIDE, "\u061c"),
    ("isolates", _WIDE, "\u2066\u2069"), ("embeddings", _WIDE, "\u202a\u202c"),
    ("deprecated format characters", _WIDE, "\u206a"), ("musical format characters", _WIDE, "\U0001d173"),
    ("Kaithi number sign", ("words",), "\U000110cd"), ("Egyptian joiner", ("words",), "\U00013430"),
    ("interlinear annotation", _WIDE, "\ufff9"), ("Khmer inherent vowel", _WIDE, "\u17b4"),
):
    _add(_name, _kinds, _between(_what))

# -- marks

for _name, _what in (
    ("combining acute", "\u0301"), ("combining stroke", "\u0336"), ("enclosing circle", "\u20dd"),
    ("half marks", "\ufe20"), ("Cyrillic thousands", "\u0488"), ("marks of the supplement", "\u1dc4"),
    ("extended marks", "\u1ab0"), ("Hebrew points", "\u05b0"), ("Arabic vowels", "\u064b"),
    ("Thai marks", "\u0e34"), ("Devanagari nukta", "\u093c"), ("many marks", "\u0301\u0308\u0323\u0336\u0489"),
    ("keycap marks", "\ufe0f\u20e3"),
):
    _add(_name, ("words", "number", "iban", "host"), _between(_what))

# -- directions


def _reversed(text: str) -> str:
    return text[::-1]


_add("right-to-left override", ("words", "number", "iban", "host", "address"),
     lambda text: f"\u202e{_reversed(text)}\u202c")
_add("overrides that cancel", ("words", "number", "iban"), lambda text: f"\u202e\u202d{text}\u202c\u202c")
_add("half of it overridden", ("words", "number"),
     lambda text: f"{text[:6]}\u202e{_reversed(text[6:12])}\u202c{text[12:]}")

# -- blanks

_BLANKS = ("words", "number")
for _name, _what in (
    ("two blanks", "  "), ("tab", "\t"), ("line break", "\n"), ("carriage return and line break", "\r\n"),
    ("no-break space", "\u00a0"), ("thin space", "\u2009"), ("ideographic space", "\u3000"),
    ("Ogham space mark", "\u1680"), ("narrow no-break space", "\u202f"), ("line separator", "\u2028"),
    ("braille blank", "\u2800"), ("blank and no-break space", " \u00a0"), ("eight blanks", " " * 8),
):
    _add(_name, _BLANKS, lambda text, what=_what: text.replace(" ", what))  # type: ignore[misc]

# -- markup in the text

_add("references, decimal", _ALL, lambda text: "".join(f"&#{ord(c)};" for c in text))
_add("references, hexadecimal", _ALL, lambda text: "".join(f"&#x{ord(c):X};" for c in text))
_add("one reference", ("words", "number", "host", "iban"), lambda text: text[:4] + f"&#{ord(text[4])};" + text[5:])
_add("references without semicolon", ("words",),
     lambda text: "".join(f"&#{ord(c)}" if c == " " else c for c in text))
_add("named references", ("words",), lambda text: text.replace(" ", "&nbsp;"))

# -- numbers

for _name, _what in (
    ("in one piece", ""), ("hyphens", "-"), ("dots", "."), ("slashes", "/"), ("underscores", "_"), ("commas", ","),
    ("en dashes", "–"), ("middle dots", "·"), ("hyphens with blanks", " - "), ("commas with blanks", ", "),
    ("bars", " | "), ("asterisks", "*"), ("colons", ":"), ("semicolons", ";"), ("plus signs", "+"), ("bullets", "•"),
    ("equals signs", "="), ("tildes", "~"), ("number signs", "#"),
):
    _add(f"groups with {_name}" if _what else _name, ("number",),
         lambda text, what=_what: text.replace(" ", what))  # type: ignore[misc]
    if _what:
        _add(f"IBAN in groups with {_name}", ("iban",),
             lambda text, what=_what: what.join(text[at:at + 4] for at in range(0, len(text), 4)))  # type: ignore[misc]
for _name, _what in (("blanks", " "), ("hyphens", "-"), ("dots", "."), ("commas", ","), ("slashes", "/"),
                     ("two blanks", "  "), ("line breaks", "\n"), ("underscores", "_")):
    _add(f"every digit apart, {_name}", _NUMBERS,
         lambda text, what=_what: what.join(text.replace(" ", "")))  # type: ignore[misc]
_add("in brackets", ("number",), lambda text: "(" + text.replace(" ", ")(") + ")")
_add("in square brackets", ("number",), lambda text: "[" + text.replace(" ", "] [") + "]")
_add("unequal groups", ("number",), lambda text: "510 5105 105105 100")
_add("mixed separators", ("number",), lambda text: "5105-1051 0510.5100")
_add("groups of eight", ("number",), lambda text: "51051051 05105100")
_add("IBAN in pairs", ("iban",), lambda text: " ".join(text[at:at + 2] for at in range(0, len(text), 2)))
_add("IBAN with mixed separators", ("iban",), lambda text: "DE89 3704-0044 0532.0130 00")
_around("IBAN behind a word", ("iban",), lambda text, after: ("IBAN:", text, "."))
_around("card behind a word", ("number",), lambda text, after: ("card#", text.replace(" ", ""), ", thanks"))
_around("card glued to a word", ("number",), lambda text, after: ("visa", text.replace(" ", ""), "exp"))
_around("card behind an equals sign", ("number",), lambda text, after: ("cc=", text.replace(" ", ""), "&cvv=1"))
_around("card behind a plus sign", ("number",), lambda text, after: ("+", text.replace(" ", ""), ""))
for _name, _first in (
    ("Arabic", 0x660), ("Persian", 0x6F0), ("Devanagari", 0x966), ("Bengali", 0x9E6), ("Thai", 0xE50),
    ("Tibetan", 0xF20), ("Myanmar", 0x1040), ("Khmer", 0x17E0), ("Lao", 0xED0), ("N'Ko", 0x7C0), ("Tamil", 0xBE6),
):
    _add(f"{_name} digits", ("number", "address"),
         lambda text, first=_first: text.translate({48 + at: chr(first + at) for at in range(10)}))  # type: ignore[misc]
_add("circled digits", ("number",),
     lambda text: text.translate({48: "⓪", **{49 + at: chr(0x2460 + at) for at in range(9)}}))
_add("superscript digits", ("number",), lambda text: text.translate({48: "⁰", 49: "¹", 53: "⁵"}))
_add("letters that look like digits", ("number",), lambda text: text.replace("1", "l"))

# -- links


def _path(secret: str, after: str) -> tuple[str, str]:
    host, sign, path = secret.partition("/")
    return host, sign + path + after


def _host(change: Callable[[str], str]) -> Callable[[str], str]:
    """Changes the host of a link and leaves its path."""

    def changed(secret: str) -> str:
        host, sign, path = secret.partition("/")
        return change(host) + sign + path

    return changed


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


_around("scheme in capitals", _HOSTLY, lambda text, after: ("HTTP://", text, after))
_around("scheme in mixed case", _HOSTLY, lambda text, after: ("hTtPs://", text, after))
_around("without a scheme", _HOSTLY, lambda text, after: ("go to ", text, after))
_around("below www", ("host", "idn"), lambda text, after: ("www.", text, after))
_around("another scheme", _HOSTLY, lambda text, after: ("ftp://", text, after))
_around("scheme without slashes", _HOSTLY, lambda text, after: ("http:", text, after))
_around("one slash", _HOSTLY, lambda text, after: ("http:/", text, after))
_around("three slashes", _HOSTLY, lambda text, after: ("http:///", text, after))
_around("backslashes", _HOSTLY, lambda text, after: ("http:\\\\", text, after))
_around("backslash and slash", _HOSTLY, lambda text, after: ("http:\\/", text, after))
_around("relative scheme", _HOSTLY, lambda text, after: ("//", text, after))
_around("user information", _HOSTLY, lambda text, after: ("http://bank.example@", text, after))
_around("user and password", _HOSTLY, lambda text, after: ("http://bank.example:443@", text, after))
_around("user with percent signs", _HOSTLY, lambda text, after: ("http://bank.example%2f%40x@", text, after))
_around("two at signs", _HOSTLY, lambda text, after: ("http://a@b@", text, after))
_around("in angle brackets", _HOSTLY, lambda text, after: ("<http://", text, after + ">"))
_around("in square brackets with text", _HOSTLY, lambda text, after: ("[page](http://", text, after + ")"))
_around("in quotes", _HOSTLY, lambda text, after: ('"http://', text, after + '"'))
_around("behind other letters", ("host",), lambda text, after: ("смотри:http://", text, after))
_around("glued to a Chinese word", ("host", "url"), lambda text, after: ("看http://", text, after))
_around("with an odd port", ("host", "idn", "address"), lambda text, after: ("http://", text, ":8443" + after))
_around("with an empty port", ("host", "address"), lambda text, after: ("http://", text, ":" + after))
_around("with a query", ("host", "idn", "address"), lambda text, after: ("http://", text, "?a=b"))
_around("with a fragment", ("host", "idn", "address"), lambda text, after: ("http://", text, "#a"))
_around("with a backslash behind", ("host", "idn", "address"), lambda text, after: ("http://", text, "\\pay"))
_around("dot at the end", ("host", "idn"), lambda text, after: ("http://", text, "." + after))
_around("ideographic dot at the end", ("host",), lambda text, after: ("http://", text, "。" + after))
_around("encoded dot at the end", ("host",), lambda text, after: ("http://", text, "%2e" + after))
_around("dot at the end of an address", ("address",), lambda text, after: ("http://", text, "." + after))
_add("percent-encoded", ("host", "idn", "address"), _percent)
_add("percent-encoded in part", ("host", "address", "url"), lambda text: text[:1] + _percent(text[1:3]) + text[3:])
_add("percent-encoded dots", _HOSTLY, _host(lambda text: text.replace(".", "%2E")))
_add("percent-encoded full-width dots", ("host",), lambda text: text.replace(".", _percent("．")))
_add("ideographic dots", _HOSTLY, _host(lambda text: text.replace(".", "。")))
_add("half-width ideographic dots", _HOSTLY, _host(lambda text: text.replace(".", "｡")))
_add("full-width dots", _HOSTLY, _host(lambda text: text.replace(".", "．")))
_add("one-dot leaders", ("host",), lambda text: text.replace(".", "․"))
_add("mathematical letters", ("idn",), lambda text: text.replace("f", "𝖿"))
_add("decomposed", ("idn",), lambda text: text.replace("ü", "u\u0308"))
_add("punycode", ("idn",), lambda text: text.encode("idna").decode())
_add("punycode in capitals", ("idn",), lambda text: text.encode("idna").decode().upper())
_add("capitals beyond ASCII", ("idn",), str.upper)
_add("path percent-encoded", ("url",), lambda text: text.replace("/kit", "/k%69t"))
_add("path with dot segments", ("url",), lambda text: text.replace("/kit", "/./x/../kit"))
_add("path with encoded dot segments", ("url",), lambda text: text.replace("/kit", "/%2e/x/%2E%2e/kit"))
_add("path with backslashes", ("url",), lambda text: text.replace("/", "\\"))
_around("link with default port", ("url",), lambda text, after: ("http://", text.replace("/", ":80/", 1), after))
_around("link with a zero before the port", ("url",),
        lambda text, after: ("http://", text.replace("/", ":00080/", 1), after))
_around("link with a query", ("url",), lambda text, after: ("http://", text, "?x=1" + after))
_around("link with a fragment", ("url",), lambda text, after: ("http://", text, "#top" + after))
_around("link with a closing bracket", ("url",), lambda text, after: ("(http://", text, ")." + after))
_around("link with an empty query", ("url",), lambda text, after: ("http://", text, "?" + after))
_add("decimal number", ("address",), lambda text: "3325256781")
_add("hexadecimal number", ("address",), lambda text: "0xC633644D")
_add("octal number", ("address",), lambda text: "030614662115")
_add("hexadecimal parts", ("address",), lambda text: "0xC6.0x33.0x64.0x4D")
_add("octal parts", ("address",), lambda text: "0306.063.0144.0115")
_add("octal parts with zeros in front", ("address",), lambda text: "0000306.0063.000144.00115")
_add("mixed parts", ("address",), lambda text: "198.0x33.0144.77")
_add("three parts", ("address",), lambda text: "198.51.25677")
_add("two parts", ("address",), lambda text: "198.3368013")
_add("mapped into IPv6", ("address",), lambda text: "[::ffff:198.51.100.77]")
_add("mapped into IPv6, hexadecimal", ("address",), lambda text: "[::ffff:c633:644d]")
_add("mapped into IPv6, long", ("address",), lambda text: "[0:0:0:0:0:ffff:c633:644d]")
_add("mapped into IPv6, long with zeros", ("address",), lambda text: "[0000:0000:0000:0000:0000:FFFF:C633:644D]")
_add("NAT64", ("address",), lambda text: "[64:ff9b::c633:644d]")
_add("decimal number, percent-encoded", ("address",), lambda text: _percent("3325256781"))
_add("decimal number, full width", ("address",), lambda text: "３３２５２５６７８１")
_around("decimal number behind user information", ("address",), lambda text, after: ("http://x@", "3325256781", after))
_around("decimal number with a port", ("address",), lambda text, after: ("http://", "3325256781", ":80" + after))
_around("decimal number with a dot", ("address",), lambda text, after: ("http://", "3325256781", "." + after))
_around("hexadecimal number, one slash", ("address",), lambda text, after: ("http:/", "0xC633644D", after))

# -- keys

_add("line breaks written as \\n", ("key",), lambda text: text.replace("\n", "\\n"))
_add("no line breaks", ("key",), lambda text: text.replace("\n", ""))
_add("blanks for line breaks", ("key",), lambda text: text.replace("\n", " "))
_add("quoted with angle brackets", ("key",), lambda text: "> " + text.replace("\n", "\n> "))
_add("indented", ("key",), lambda text: "    " + text.replace("\n", "\n    "))
_add("in a code block", ("key",), lambda text: f"```\n{text}\n```")
_add("carriage returns", ("key",), lambda text: text.replace("\n", "\r\n"))
_add("RSA", ("key",), lambda text: text.replace("PRIVATE", "RSA PRIVATE"))
_add("OpenSSH", ("key",), lambda text: text.replace("PRIVATE", "OPENSSH PRIVATE"))
_add("without its end", ("key",), lambda text: text.partition("\n-----END")[0])
_add("without its header", ("key",), lambda text: text.partition("-----\n")[2])
_add("em dashes", ("key",), lambda text: text.replace("-----BEGIN", "——-BEGIN").replace("KEY-----\n", "KEY——-\n", 1))
_add("full-width header", ("key",), lambda text: text.replace(
    "BEGIN PRIVATE KEY", "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in "BEGIN PRIVATE KEY")))
_add("two blanks in the header", ("key",), lambda text: text.replace("PRIVATE KEY", "PRIVATE  KEY"))
_add("small letters in the header", ("key",), lambda text: text.replace("BEGIN PRIVATE KEY", "begin private key"))
_around("header in a sentence", ("key",), lambda text, after: ("here it is: ", text, ""))


def written(target: Target, name: str) -> Written | None:
    """A target in a writing; "" is the plain one."""
    if not name:
        return target.before, target.secret, target.after
    kinds, write = WRITINGS[name]
    return write(target) if target.kind in kinds else None
