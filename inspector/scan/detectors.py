"""Detectors of what should not leave: numbers of cards, accounts and people, private keys, tokens of services.

Each has tests for the prefilter (what must be in the bytes for it to have anything to say) and an exact look that gives
spans. What is found never gets into a detail: that names the kind of card, the country, the service.

All findings are of severity medium: high and critical are for what harms the reader, so that a policy can refuse
those without refusing what it only means to mask. Tags tell kinds apart: personal, payment, secret.

Sources: ISO/IEC 7812-1 (card numbers, annex B: the check digit) and the issuers' published ranges; ISO 13616 and the
SWIFT IBAN registry; SSA POMS RM 10201.035 (structure of a social security number); § 139b AO and ISO/IEC 7064 MOD 11,10
(German tax id); INSEE, décret 82-103 (French NIR); RFC 7468 (PEM); the services' own descriptions of their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import msgspec

from inspector.scan import linear
from inspector.scan.iban import LENGTHS
from inspector.wire.patterns import DE_TAX_ID, FR_NIR

Place = tuple[int, int, str]
"""(start, end, detail) in bytes."""


class Detector(msgspec.Struct, frozen=True):
    """A built-in detector. `tests`: expressions for the prefilter; `find`: the exact look."""

    rule: str
    title: str
    tags: tuple[str, ...]
    tests: tuple[bytes, ...]
    find: Callable[[bytes], Iterator[Place]]


# -- numbers of cards

_BETWEEN = rb"[ .\-/_,:;|*+~=#()\[\]\t\r\n]{0,3}"
"""What may stand between two digits of a number that is written apart."""
_RUN = linear.pattern(rb"[0-9](?:" + _BETWEEN + rb"[0-9]){12,}")
_NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte < 58)
_DIGITS_ONLY = bytes(byte if 48 <= byte < 58 else 32 for byte in range(256))
_PRINTED = frozenset({
    (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4, 1), (4, 3, 3, 3), (6, 13),
    (8, 8), (4, 5, 6), (6, 6, 4),
})
"""Groups in which card numbers are printed and written."""
_CARD_WORDS = (b"card", b"visa", b"karte", b"carte", b"tarjeta", b"carta", b"kart", "карт".encode(), b"cvv", b"cvc")


def issuer(digits: str) -> str | None:
    """Whose range of numbers it is, at a length that he gives out; None: nobody's."""
    length = len(digits)
    two, three, four, six = int(digits[:2]), int(digits[:3]), int(digits[:4]), int(digits[:6])
    if digits[0] == "4":
        return "Visa" if length in (13, 16, 19) else None
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return "Mastercard" if length == 16 else None
    if two in (34, 37):
        return "American Express" if length == 15 else None
    if 300 <= three <= 305 or two in (36, 38, 39):
        return "Diners Club" if length in (14, 16, 19) else None
    if 3528 <= four <= 3589:
        return "JCB" if 16 <= length <= 19 else None
    if four == 6011 or 644 <= three <= 649 or two == 65 or 622126 <= six <= 622925:
        return "Discover" if 16 <= length <= 19 else None
    if two == 62 or two == 81:
        return "UnionPay" if 16 <= length <= 19 else None
    if 2200 <= four <= 2204:
        return "Mir" if 16 <= length <= 19 else None
    if four == 9792:
        return "Troy" if length == 16 else None
    if two in (50, 56, 57, 58) or four in (6304, 6759, 6761, 6762, 6763):
        return "Maestro" if length in (16, 18, 19) else None
    if two in (60, 82) or three == 508:
        return "RuPay" if length == 16 else None
    return None


_VALUES = bytes((byte - 48) % 10 for byte in range(256))
_DOUBLED = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[value] for value in _VALUES)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit (ISO/IEC 7812-1 annex B)."""
    data = digits.encode("ascii")
    return (sum(data[-1::-2].translate(_VALUES)) + sum(data[-2::-2].translate(_DOUBLED))) % 10 == 0


def _ean(digits: str) -> bool:
    """Whether 13 digits are the number of an article (GS1): one in ten looks like an old Visa number."""
    return sum(int(digit) * (3 if i % 2 else 1) for i, digit in enumerate(digits)) % 10 == 0


_SHAPED = (*map(bytes, sorted(_PRINTED)), b"\1" * 15, b"\2" * 8)
"""The lengths of groups that may be a card number."""
_USUAL = frozenset((b" ", b".", b"-"))
"""Separators of groups: they may be mixed, and more groups may stand in front and behind."""
_GLUED_BEFORE = (*_CARD_WORDS, b"cc", b"pan", b"amex", b"number", b"nummer", b"nr", b"no")
_GLUED_BEHIND = (b"exp", b"cvv", b"cvc", b"valid", b"thru")


def cards(data: bytes) -> Iterator[Place]:
    """Numbers of payment cards: 13 to 19 digits, in one piece, in groups as printed, or every digit apart."""
    for run in _RUN.finditer(data):
        begin = run.start()
        pieces = run.group().translate(_DIGITS_ONLY).split()
        lengths = bytes([min(len(piece), 255) for piece in pieces])
        if max(lengths) < 13 and not any(shape in lengths for shape in _SHAPED):
            continue  # a time, a date, a list
        groups: list[tuple[int, int]] = []
        covered = at = begin
        for piece in pieces:
            at = data.index(piece, at)
            groups.append((at, at + len(piece)))
            at += len(piece)
        for start, stop in (*_printed(data, groups), *_apart(data, groups)):
            if start < covered:
                continue
            name = card_of(data, start, stop)
            if name is None:
                continue
            yield start, stop, name
            covered = stop


def card_of(data: bytes, start: int, stop: int) -> str | None:
    """Who gives out the number of a card that stands there; None: it is none."""
    digits = data[start:stop].translate(None, _NO_DIGITS).decode("ascii")
    name = issuer(digits) if luhn(digits) and _free(data, start, stop) else None
    if len(digits) == 13 and _ean(digits) and not _context(data, start, stop, _CARD_WORDS):
        return None
    return name


def _free(data: bytes, start: int, stop: int) -> bool:
    """Whether a number is no part of a word (but for words of cards), nor a telephone number: those have 15 digits at
    most (E.164)."""
    if data[start - 1:start] == b"+" and sum(48 <= byte < 58 for byte in data[start:stop]) <= 15:
        return False
    if _letter(data, start - 1) and not data[max(start - 8, 0):start].lower().endswith(_GLUED_BEFORE):
        return False
    return not _letter(data, stop) or data[stop:stop + 5].lower().startswith(_GLUED_BEHIND)


def _printed(data: bytes, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What may be a card number in one piece or in groups as printed.

    Groups have usual separators, or one unusual one that makes no longer list of such groups.
    """
    seams = [data[end:begin] for (_, end), (begin, _) in pairwise(groups)]
    for first, (start, end) in enumerate(groups):
        length = end - start
        before = data[start - 1:start] if first else b""
        if 13 <= length <= 19 and before != b".":
            yield start, end
        if length not in (4, 6, 8):
            continue
        lengths: tuple[int, ...] = (length,)
        seen: set[bytes] = set()
        for last in range(first + 1, min(first + 5, len(groups))):
            begin, stop = groups[last]
            seen.add(seams[last - 1])
            if len(seen) > 1 and not seen <= _USUAL:
                break
            lengths += (stop - begin,)
            if lengths not in _PRINTED:
                continue
            if seen <= _USUAL or not (_listed(groups, seams, first, first - 1) or _listed(groups, seams, last, last)):
                yield start, stop


def _listed(groups: list[tuple[int, int]], seams: list[bytes], group: int, seam: int) -> bool:
    """Whether a seam leads from an end of the number to a group like its own, by the same sign: a list of numbers."""
    if not 0 <= seam < len(seams):
        return False
    other = seam if seam < group else group + 1
    own = seams[group] if seam < group else seams[group - 1]
    return seams[seam] == own and groups[other][1] - groups[other][0] == groups[group][1] - groups[group][0]


def _apart(data: bytes, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What may be a card number of which every digit, or every two, stand apart: a whole stretch of such groups."""
    first = 0
    for i in range(1, len(groups) + 1):
        start, end = groups[first]
        if (i < len(groups) and groups[i][1] - groups[i][0] == end - start
                and data[groups[i - 1][1]:groups[i][0]] == data[end:groups[first + 1][0]]):
            continue
        if end - start in (1, 2) and (i - first) * (end - start) in (15, 16):
            yield start, groups[i - 1][1]
        first = i


def _letter(data: bytes, at: int) -> bool:
    """Whether an ASCII letter or an underscore stands there."""
    return 0 <= at < len(data) and (97 <= (data[at] | 32) < 123 or data[at] == 95)


def _alnum(data: bytes, at: int) -> bool:
    return 0 <= at < len(data) and (48 <= data[at] < 58 or _letter(data, at))


def _context(data: bytes, start: int, end: int, words: tuple[bytes, ...]) -> bool:
    """Whether one of the words (in small letters) stands near."""
    near = data[max(start - 64, 0):start].lower() + b"\n" + data[end:end + 32].lower()
    return any(word in near for word in words)


# -- numbers of accounts

_DIGITS_ALONE = frozenset(
    ("AT", "BA", "BE", "CZ", "DE", "DK", "EE", "ES", "FI", "FO", "GL", "HR", "HU", "IL", "IS", "LT", "ME", "NO", "PL",
     "PT", "RS", "SE", "SI", "SK", "TN"))
"""Countries whose numbers have no letters behind the first two: "at 10:30 then" is none of Austria's."""


def _head(countries: Iterable[str], more: bytes) -> bytes:
    """A country's letters, two digits, and eleven more characters of its numbers."""
    by_letter: dict[str, str] = {}
    for name in sorted(countries):
        by_letter[name[0]] = by_letter.get(name[0], "") + name[1]
    names = b"|".join(
        one.encode() + _BETWEEN + b"[" + two.encode() + b"]" for one, two in sorted(by_letter.items()))
    return b"(?:" + names + b")(?:" + _BETWEEN + b"[0-9]){2}(?:" + _BETWEEN + more + b"){11}"


_IBAN_TEST = (
    rb"(?i)\b(?:" + _head(_DIGITS_ALONE, b"[0-9]") + b"|" + _head(LENGTHS.keys() - _DIGITS_ALONE, b"[A-Z0-9]") + b")")
"""What few words of a talk are: what follows is looked at byte by byte."""
_IBAN_HEAD = linear.pattern(_IBAN_TEST)
_SIGNS = frozenset(b" .-/_,:;|*+~=#()[]\t\r\n")
"""Those of `_BETWEEN`, three at most in a row."""


def ibans(data: bytes) -> Iterator[Place]:
    """International bank account numbers: the country's length, the check digits, in one piece or in groups."""
    at = 0
    while (head := _IBAN_HEAD.search(data, at)) is not None:
        start = head.start()
        at = start + 1
        if _alnum(data, start - 1):
            continue
        places = _characters(data, start)
        if not places:
            continue
        stop = places[-1] + 1
        compact = bytes(data[place] for place in places).decode("ascii").upper()
        if _alnum(data, stop) or not iban_valid(compact):
            continue
        groups = [(0, 0)]
        for place in places:
            begin, end = groups[-1]
            if place == start + end:
                groups[-1] = (begin, end + 1)
            else:
                groups.append((place - start, place - start + 1))
        if not _grouped(data[start:stop], groups, stop - start):
            continue
        yield start, stop, f"IBAN of {compact[:2]}"
        at = stop


def _characters(data: bytes, start: int) -> list[int]:
    """Where the letters and digits of the number that may begin at `start` stand; none when they are too few."""
    places: list[int] = []
    length, gap, country, alone = 34, 0, "", False
    for at in range(start, min(len(data), start + 34 * 4)):
        byte = data[at]
        if 48 <= byte < 58 or 97 <= (byte | 32) < 123:
            if alone and byte >= 58:
                return []
            places.append(at)
            gap = 0
            if len(places) == 2:
                country = (chr(data[start]) + chr(byte)).upper()
                length, alone = LENGTHS.get(country, 0), country in _DIGITS_ALONE
            if len(places) == length:
                return places
        elif gap == 3 or byte not in _SIGNS:
            return []
        else:
            gap += 1
    return []


def _grouped(text: bytes, groups: list[tuple[int, int]], stop: int) -> bool:
    """Whether groups are those of one number: one separator or usual ones, and where the country does not stand with
    its check digits, characters or pairs."""
    inside = [(begin, min(end, stop)) for begin, end in groups if begin < stop]
    seams = {text[end:begin] for (_, end), (begin, _) in pairwise(inside)}
    if len(seams) > 1 and not seams <= _USUAL:
        return False
    if inside[0][1] - inside[0][0] >= 4:
        return True
    return {end - begin for begin, end in inside[:-1]} in ({1}, {2})


def iban_valid(iban: str) -> bool:
    """Check digits (ISO 13616, MOD 97-10), and digits enough for an account: every country's has eight or more."""
    if sum(c.isdigit() for c in iban) < 10:
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


# -- numbers of people

_SSN = linear.pattern(rb"\b[0-9]{3}([\- .]?)[0-9]{2}([\- .]?)[0-9]{4}")
_SSN_WORDS = (b"ssn", b"social sec", b"soc sec", b"social-sec", b"seguro social")
_SSN_NEVER = frozenset({"078051120", "219099999"})
"""Numbers of advertisements, never given out."""


def us_ssns(data: bytes) -> Iterator[Place]:
    """Social security numbers of the United States: written 123-45-6789, or otherwise with the words beside them."""
    at = 0
    while (match := _SSN.search(data, at)) is not None:
        start, end = match.span()
        at = start + 1
        first, second = match.groups()
        if first != second or not _alone(data, start, end):
            continue
        digits = bytes(byte for byte in match.group() if 48 <= byte < 58).decode("ascii")
        area, group, serial = digits[:3], digits[3:5], digits[5:]
        if area in ("000", "666") or area >= "900" or group == "00" or serial == "0000" or digits in _SSN_NEVER:
            continue
        if first != b"-" and not _context(data, start, end, _SSN_WORDS):
            continue
        yield start, end, "social security number"
        at = end


def _alone(data: bytes, start: int, end: int) -> bool:
    """Whether a number is not a part of a longer one, or of a word."""
    for near, far in ((start - 1, start - 2), (end, end + 1)):
        if _alnum(data, near):
            return False
        joined = 0 <= near < len(data) and data[near] in b"-./+_"
        if joined and (data[near] == 0x2B or (0 <= far < len(data) and 48 <= data[far] < 58)):
            return False
    return True


_DE_WORDS = (b"steuer", b"idnr", b"id-nr", b"tax id", b"tax-id", b"taxid", b"identifikationsnummer", b"finanzamt")


def de_tax_ids(data: bytes) -> Iterator[Place]:
    """German tax ids: in groups of 2, 3, 3 and 3, or in one piece with the words beside them."""
    at = 0
    while (match := DE_TAX_ID.search(data, at)) is not None:
        start, end = match.span()
        at = start + 1
        digits = match.group().translate(None, b" ./").decode("ascii")
        if not _alone(data, start, end) or not de_tax_id_valid(digits):
            continue
        if not match.group(1) and not _context(data, start, end, _DE_WORDS):
            continue
        yield start, end, "German tax id"
        at = end


def de_tax_id_valid(digits: str) -> bool:
    """§ 139b AO: of the first ten digits one occurs twice or three times, no other twice; then ISO 7064 MOD 11,10."""
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if counts[-1] not in (2, 3) or (len(counts) > 1 and counts[-2] > 1) or digits[0] == "0":
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def fr_nirs(data: bytes) -> Iterator[Place]:
    """French NIR: 13 characters and their key, in one piece or in groups."""
    at = 0
    while (match := FR_NIR.search(data, at)) is not None:
        start, end = match.span()
        at = start + 1
        number = match.group().translate(None, b" .-/").decode("ascii").upper()
        if not _alone(data, start, end) or not fr_nir_valid(number, bool(match.group(1))):
            continue
        yield start, end, "French NIR"
        at = end


def fr_nir_valid(number: str, grouped: bool = True) -> bool:
    """The key, 97 less the rest by 97 with 2A read as 19 and 2B as 18; the month; the department.

    `grouped`: months beyond 12 (unknown months, births abroad) are taken only from a number written in groups.
    """
    month, department = int(number[3:5]), number[5:7]
    if not (1 <= month <= 12 or (grouped and (20 <= month <= 42 or month >= 50))):
        return False
    if department in ("00", "96") or number[7:10] == "000" or number[10:13] == "000":
        return False
    value = number[:13].replace("2A", "19", 1) if department == "2A" else number[:13]
    value = value.replace("2B", "18", 1) if department == "2B" else value
    if not value.isdigit():
        return False
    return 97 - int(value) % 97 == int(number[13:])


# -- secrets

_PEM = linear.pattern(rb"(?i)-{2,8}BEGIN ((?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?)-{2,8}")
_PEM_BODY = linear.pattern(rb"(?:\s|\\n|\\r|[A-Za-z0-9+/=>|]|[A-Z][A-Za-z\-]{2,20}: [^\n]*\n)*")
_PEM_LEAST = 40
"""Characters of base64 that make a key of a header."""
_PEM_MOST = 32 * 1024
"""Bytes behind a header that are looked at: an RSA key of 16,384 bits has 12,500."""


def private_keys(data: bytes) -> Iterator[Place]:
    """Private keys in PEM: from BEGIN to END, to the end of the base64 where END is missing.

    A header on a line of its own counts alone: protocols of lines send a key line by line. A header inside a
    sentence, with nothing behind it, is talk.
    """
    at = 0
    while (match := _PEM.search(data, at)) is not None:
        start, end = match.span()
        at = end
        label = match.group(1).upper()
        behind = data[end:end + _PEM_MOST]
        closing = behind.upper().find(b"-----END " + label + b"-----")
        body = _PEM_BODY.match(behind[:closing] if closing >= 0 else behind)
        stop = end + (body.end() if body else 0)
        size = sum(byte not in b" \t\r\n" for byte in data[end:stop])
        if closing >= 0 and size >= _PEM_LEAST:
            stop = end + closing + len(b"-----END -----") + len(label)
        elif size < _PEM_LEAST:
            before = data[max(start - 64, 0):start].rpartition(b"\n")[2]
            if before.strip() or behind[:64].partition(b"\n")[0].strip():
                continue
            stop = end
        yield start, stop, label.decode("ascii").lower()
        at = stop


_TOKENS: tuple[tuple[str, bytes, bytes], ...] = (
    ("AWS", rb"A(?:KIA|SIA)[A-Z0-9]{4}", rb"\bA(?:KIA|SIA)[A-Z0-9]{16}\b"),
    ("AWS", rb"(?i)aws_?secret",
     rb"(?i)aws_?secret_?(?:access_?)?key[\"' ]{0,3}[=:][\"' ]{0,3}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"),
    ("GitHub", rb"gh[pousr]_[A-Za-z0-9]{4}", rb"\bgh[pousr]_[A-Za-z0-9]{36,251}\b"),
    ("GitHub", rb"github_pat_", rb"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("GitLab", rb"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-",
     rb"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_\-]{20,300}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7})?"),
    ("Slack", rb"xox[a-z](?:\.xox[a-z])?-[0-9A-Za-z]",
     rb"\bxox[abceoprs](?:\.xox[bp])?-(?:[0-9A-Za-z]{1,20}-){1,6}[0-9A-Za-z]{8,200}\b"),
    ("Slack", rb"xapp-[0-9]", rb"\bxapp-[0-9]-[A-Z0-9]{6,20}-[0-9]{6,20}-[0-9a-f]{20,100}\b"),
    ("Slack", rb"hooks\.slack\.com/", rb"\bhooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{30,100}"),
    ("Stripe", rb"[rs]k_(?:live|test)_", rb"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}\b"),
    ("Stripe", rb"whsec_", rb"\bwhsec_[A-Za-z0-9+/]{32,100}"),
    ("Google", rb"AIza[0-9A-Za-z_\-]{4}", rb"\bAIza[0-9A-Za-z_\-]{35}"),
    ("Google", rb"GOCSPX-", rb"\bGOCSPX-[0-9A-Za-z_\-]{28}"),
    ("Twilio", rb"SK[0-9a-f]{8}", rb"\bSK[0-9a-f]{32}\b"),
    ("SendGrid", rb"SG\.[0-9A-Za-z_\-]{4}", rb"\bSG\.[0-9A-Za-z_\-]{22}\.[0-9A-Za-z_\-]{43}"),
    ("npm", rb"npm_[0-9A-Za-z]{4}", rb"\bnpm_[0-9A-Za-z]{36}\b"),
    ("PyPI", rb"pypi-A", rb"\bpypi-A[0-9A-Za-z_\-]{84,500}"),
)
"""Service, test for the prefilter, shape."""
_SHAPES: tuple[tuple[str, bytes, Any], ...] = tuple(
    (service, shape, linear.pattern(shape)) for service, _, shape in _TOKENS
)
_DISTINCT = 8
"""Different characters of a token: fewer is a placeholder (xxxx)."""


def api_tokens(data: bytes) -> Iterator[Place]:
    """Tokens of services, by their shapes. Placeholders of one letter are none."""
    for service, _, shape in _SHAPES:
        for match in shape.finditer(data):
            start, end = match.span(1) if shape.groups else match.span()
            if len(set(data[start + 4:end])) >= _DISTINCT:
                yield start, end, f"{service} token"


_DIGIT_TESTS = {
    "card": rb"[0-9](?:" + _BETWEEN + rb"[0-9]){12}",
    "ssn": rb"[0-9]{3}[\- .]?[0-9]{2}[\- .]?[0-9]{4}",
    "de": rb"[1-9][0-9][ ./]?[0-9]{3}[ ./]?[0-9]{3}[ ./]?[0-9]{3}",
    "fr": rb"[1-478][ .\-]?[0-9]{2}[ .\-]?[0-9]{2}[ .\-]?[0-9][0-9ABab][ .\-]?[0-9]{3}[ .\-]?[0-9]{3}",
}
_PERSONAL, _PAYMENT, _SECRET = ("dlp", "personal"), ("dlp", "payment"), ("dlp", "secret")

DETECTORS: tuple[Detector, ...] = (
    Detector("dlp.card_number", "payment card number", _PAYMENT, (_DIGIT_TESTS["card"],), cards),
    Detector("dlp.iban", "bank account number", _PAYMENT, (_IBAN_TEST,), ibans),
    Detector("dlp.us_ssn", "US social security number", _PERSONAL, (_DIGIT_TESTS["ssn"],), us_ssns),
    Detector("dlp.de_tax_id", "German tax id", _PERSONAL, (_DIGIT_TESTS["de"],), de_tax_ids),
    Detector("dlp.fr_nir", "French social security number", _PERSONAL, (_DIGIT_TESTS["fr"],), fr_nirs),
    Detector("dlp.private_key", "private key", _SECRET, (rb"(?i)--BEGIN [A-Z]",), private_keys),
    Detector("dlp.api_token", "token of a service", _SECRET, tuple(test for _, test, _ in _TOKENS), api_tokens),
)
"""All detectors, in the order of their findings."""

HOSTS = len(DETECTORS)
"""Number that the prefilter reports when a host may be in a text; below it are the detectors."""
HASHES = HOSTS + 1
SHARDS = HOSTS + 2
"""Number of the first shard of message rules; phrases come behind the last."""
_BESIDE = {
    "dlp.card_number": _CARD_WORDS, "dlp.us_ssn": _SSN_WORDS, "dlp.de_tax_id": _DE_WORDS,
    "dlp.fr_nir": (b"nir", b"insee", b"curit", b"vitale"),
}
"""Words that people write beside numbers of a kind."""


def words_of(rule: str) -> tuple[bytes, ...]:
    """The words for what the detector of this rule finds, in small letters."""
    return _BESIDE[rule]


def spoken_of(rule: str, data: bytes, start: int, end: int) -> bool:
    """Whether a word for what the detector of this rule finds stands beside a place."""
    return _context(data, start, end, _BESIDE[rule])
