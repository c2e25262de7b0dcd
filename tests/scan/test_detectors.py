"""Detectors: what they find, with exact places, and what they leave alone."""

from __future__ import annotations

import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model import Text
from inspector.scan import detectors, linear
from inspector.scan.detectors import DETECTORS
from inspector.scan.iban import LENGTHS
from inspector.scan.prefilter import Entry, HyperscanPrefilter, Re2Prefilter
from inspector.scan.scanner import PackScanner
from inspector.wire.patterns import DE_TAX_ID, FR_NIR
from tests.scan import making


@pytest.fixture(scope="module")
def scanner() -> PackScanner:
    """A scanner without packs: only the detectors."""
    return making.scanner(making.pack(name="empty"))


def found(scanner: PackScanner, text: str) -> list[tuple[str, str]]:
    """(rule, the text of a span) for each span."""
    findings = scanner.quick([Text("body", text)])
    assert findings is not None
    return [(one.rule, text[start:end]) for one in findings for _, start, end in one.spans]


def _luhn_ended(prefix: str, length: int) -> str:
    body = prefix.ljust(length - 1, "7")
    return next(body + digit for digit in string.digits if detectors.luhn(body + digit))


@pytest.mark.parametrize(("prefix", "length", "name"), [
    ("4", 16, "Visa"), ("4", 19, "Visa"), ("51", 16, "Mastercard"), ("2221", 16, "Mastercard"),
    ("34", 15, "American Express"), ("300", 14, "Diners Club"), ("6011", 16, "Discover"), ("3528", 16, "JCB"),
    ("62", 17, "UnionPay"), ("2200", 16, "Mir"), ("50", 16, "Maestro"),
])
def test_cards_of_every_issuer(scanner: PackScanner, prefix: str, length: int, name: str) -> None:
    """A number in an issuer's range with the right check digit is found and named; with a wrong one it is not."""
    number = _luhn_ended(prefix, length)
    assert found(scanner, f"it is {number}, thanks") == [("dlp.card_number", number)]
    (finding,) = scanner.quick([Text("b", number)]) or ()
    assert finding.detail == name
    assert finding.severity == "medium" and finding.tags == ("dlp", "payment")
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert found(scanner, f"it is {wrong}, thanks") == []


@pytest.mark.parametrize("number", [
    "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "3782 822463 10005", "4111111111111111",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "41 11 11 11 11 11 11 11", "4222222222222", "6011 1111 1111 1117",
    "4111/1111/1111/1111", "4111, 1111, 1111, 1111", "4111 - 1111 - 1111 - 1111", "4111)(1111)(1111)(1111",
    "4111_1111_1111_1111",
    "4111\n1111\n1111\n1111", "4,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "4111-1111 1111.1111",
])
def test_cards_as_people_write_them(scanner: PackScanner, number: str) -> None:
    """In one piece, in groups with spaces, dashes or dots, digit by digit; dates beside do not hide it."""
    assert found(scanner, f"pay 2026-11-22, {number} now") == [("dlp.card_number", number)]
    if " " not in number or len(number.split()[0]) == 4:
        assert found(scanner, f"pay 2026-11-22 {number} now") == [("dlp.card_number", number)]


@pytest.mark.parametrize("text", [
    "+411111111111111", "4111 1111/1111 1111", "1234, 4111, 1111, 1111, 1111", "4111, 1111, 1111, 1111, 1234",
    "0.4111111111111111", "a4111111111111111", "41111111111111112222",
    "4006381333931", "call 044 668 18 00 or 079 123 45 67", "2026-11-22 10:15:20.123456", "1763792124123",
    "order 411111111111", "352099001761481", "89410110000000000004",
])
def test_numbers_that_are_no_cards(scanner: PackScanner, text: str) -> None:
    """Phone numbers, article numbers, times, device numbers, parts of longer numbers, lists and mixed separators among
    other numbers are left."""
    assert found(scanner, text) == []


@pytest.mark.parametrize("text", [
    "visa4111111111111111exp", "cc:4111111111111111", "+4111111111111111", "+49 4111 1111 1111 1111 now",
])
def test_cards_glued_to_words_of_cards(scanner: PackScanner, text: str) -> None:
    """Words of cards may touch the number; no telephone number has 16 digits, and one in front hides no card."""
    assert [rule for rule, _ in found(scanner, text)] == ["dlp.card_number"]


@pytest.mark.parametrize("iban", [
    "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR14 2004 1010 0505 0001 3M02 606",
    "CH93-0076-2011-6238-5295-7", "NO9386011117947", "de89 3704 0044 0532 0130 00",
    "DE89/3704/0044/0532/0130/00", "DE89, 3704, 0044, 0532, 0130, 00", "D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0",
    "DE 89 37 04 00 44 05 32 01 30 00", "DE89 3704-0044 0532.0130 00", "MT84MALT011000012345MTLCAST001S",
])
def test_ibans(scanner: PackScanner, iban: str) -> None:
    """Check digits and the country's length, in one piece or in groups, followed by words."""
    assert found(scanner, f"to {iban} please") == [("dlp.iban", iban)]
    assert found(scanner, f"to {iban.replace('3', '4', 1)} please") == []
    assert found(scanner, f"to {iban}7 please") == []


@pytest.mark.parametrize("text", ["see you at 10:30 then, my friend", "no123x and so on and on", "is 12 o'clock ok"])
def test_small_talk_is_no_bank_account_s_beginning(text: str) -> None:
    """Words that are countries, with a number behind them, do not even wake the detector: such talk is frequent."""
    assert next(iter(detectors.ibans(text.encode())), None) is None
    assert detectors._IBAN_HEAD.search(text.encode()) is None


def test_iban_lengths_are_those_of_countries() -> None:
    """Every length is between the shortest and the longest of the registry."""
    assert all(15 <= length <= 33 and len(country) == 2 for country, length in LENGTHS.items())


@pytest.mark.parametrize(("text", "want"), [
    ("123-45-6789", ["123-45-6789"]), ("my SSN is 123 45 6789.", ["123 45 6789"]),
    ("social security number: 123456789", ["123456789"]), ("123 45 6789", []), ("123456789", []),
    ("000-12-3456", []), ("666-12-3456", []), ("900-12-3456", []), ("123-00-6789", []), ("123-45-0000", []),
    ("078-05-1120", []), ("123-45-67890", []), ("1123-45-6789", []), ("2-123-45-6789", []), ("123-45-6789-1", []),
    ("123-45 6789", []),
])
def test_us_ssns(scanner: PackScanner, text: str, want: list[str]) -> None:
    """The structure, a dash or the words beside it, and no longer number around it."""
    assert [span for rule, span in found(scanner, text) if rule == "dlp.us_ssn"] == want


@pytest.mark.parametrize(("text", "want"), [
    ("86 095 742 719", ["86 095 742 719"]), ("Steuer-ID: 86095742719", ["86095742719"]), ("86095742719", []),
    ("tax id 47036892816", ["47036892816"]), ("Steuer-ID 86095742718", []), ("Steuer-ID 12345678901", []),
    ("+86 095 742 719", []), ("13812345678", []),
])
def test_german_tax_ids(scanner: PackScanner, text: str, want: list[str]) -> None:
    """The check digit and the rule of repeated digits; in groups, or with the words beside it."""
    assert [span for rule, span in found(scanner, text) if rule == "dlp.de_tax_id"] == want


def _nir(body: str) -> str:
    value = body.replace("2A", "19").replace("2B", "18")
    return f"{body}{97 - int(value) % 97:02d}"


@pytest.mark.parametrize("body", ["2550814168025", "1850578006084", "180052A123456", "299122B001002"])
def test_french_nirs(scanner: PackScanner, body: str) -> None:
    """The key, Corsica too, in one piece and in groups; a wrong key is none."""
    number = _nir(body)
    grouped = " ".join((number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]))
    assert ("dlp.fr_nir", number) in found(scanner, f"NIR {number}.")
    assert ("dlp.fr_nir", grouped) in found(scanner, f"NIR {grouped}.")
    wrong = f"{number[:13]}{(int(number[13:]) % 97) + 1:02d}"
    assert "dlp.fr_nir" not in [rule for rule, _ in found(scanner, wrong)]


def _pem(label: str) -> str:
    line = "MIIEpAIBAAKCAQEA7bq0" * 3
    return f"-----BEGIN {label}-----\n{line}\n{line}\n-----END {label}-----"


@pytest.mark.parametrize("label", [
    "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY",
    "PGP PRIVATE KEY BLOCK",
])
def test_private_keys(scanner: PackScanner, label: str) -> None:
    """From BEGIN to END, every label; without END to the end of the base64; one line of a key sent line by line."""
    key = _pem(label)
    assert found(scanner, f"here:\n{key}\nbye") == [("dlp.private_key", key)]
    cut = key.partition("-----END")[0]
    assert found(scanner, f"{cut}!") == [("dlp.private_key", cut)]
    assert found(scanner, f"-----BEGIN {label}-----") == [("dlp.private_key", f"-----BEGIN {label}-----")]


def test_talk_about_keys_is_no_key(scanner: PackScanner) -> None:
    """A header inside a sentence, a certificate and a public key are left."""
    assert found(scanner, "a key begins with -----BEGIN PRIVATE KEY----- and then base64") == []
    assert found(scanner, _pem("CERTIFICATE")) == []
    assert found(scanner, _pem("PUBLIC KEY")) == []


_R = random.Random(3)


def _some(length: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(_R.choice(letters) for _ in range(length))


_HEX = "0123456789abcdef"


@pytest.mark.parametrize(("service", "token"), [
    ("AWS", "AKIA" + _some(16, string.ascii_uppercase + "234567")), ("GitHub", "ghp_" + _some(36)),
    ("GitHub", f"github_pat_{_some(22)}_{_some(59)}"), ("GitLab", "glpat-" + _some(20)),
    ("Slack", f"xoxb-{_some(12, string.digits)}-{_some(12, string.digits)}-{_some(24)}"),
    ("Stripe", "sk_live_" + _some(24)), ("Google", "AIza" + _some(35)), ("Twilio", "SK" + _some(32, _HEX)),
    ("SendGrid", f"SG.{_some(22)}.{_some(43)}"), ("npm", "npm_" + _some(36)),
    ("PyPI", "pypi-AgEIcHlwaS5vcmc" + _some(120)),
])
def test_tokens_of_services(scanner: PackScanner, service: str, token: str) -> None:
    """Each service's shape is found and named; the detail never holds the token."""
    findings = scanner.quick([Text("body", f"use {token} for now")])
    assert findings is not None and len(findings) == 1
    assert findings[0].rule == "dlp.api_token" and findings[0].spans == ((0, 4, 4 + len(token)),)
    assert findings[0].detail == f"{service} token"


@pytest.mark.parametrize("text", [
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "AKIA is where keys begin",
    "npm_config_registry=https://registry.example.org",
    "SG. Kaiserslautern", "sk_live_ is the prefix", "pypi-A is short", "TASKforce 1234567890abcdef1234567890abcdef",
])
def test_what_is_no_token(scanner: PackScanner, text: str) -> None:
    """Placeholders, prefixes in talk, and names that begin alike."""
    assert found(scanner, text) == []


def test_nothing_found_is_in_a_detail(scanner: PackScanner) -> None:
    """Details and titles name kinds, never what was found."""
    text = (
        f"4111111111111111 DE89370400440532013000 123-45-6789 86 095 742 719 {_nir('2550814168025')} "
        "AKIA" + "BCDEFGH234567XYZ"
    )
    findings = scanner.quick([Text("body", text)])
    assert findings is not None and len(findings) == 6
    for one in findings:
        for _, start, end in one.spans:
            assert text[start:end] not in repr(one)


@pytest.mark.parametrize("make", [HyperscanPrefilter, Re2Prefilter])
def test_the_tests_let_through_all_that_is_found(make: type[HyperscanPrefilter] | type[Re2Prefilter]) -> None:
    """Whatever an exact look finds in random texts of its letters, the prefilter's test lets through."""
    rnd = random.Random(11)
    prefilter = make([Entry(test, i, pattern=True) for i, one in enumerate(DETECTORS) for test in one.tests])
    seeds = [
        "4111111111111111", "3782 822463 10005", "DE89 3704 0044 0532 0130 00", "123-45-6789",
        "ssn 123456789", "86 095 742 719", "Steuer 86095742719", _nir("2550814168025"), _nir("180052A123456"),
        _pem("PRIVATE KEY"), "AKIA" + _some(16, string.ascii_uppercase), "glpat-" + _some(20),
        "xapp-1-A0123456-123456789-" + _some(40, _HEX),
        "https://hooks.slack.com/services/T00000000/B00000000/" + _some(24), "whsec_" + _some(32),
        "GOCSPX-" + _some(28),
        'aws_secret_access_key = "' + _some(40) + '"', "xoxe.xoxp-1-" + _some(40),
        "glpat-" + _some(27) + ".01.0abc123de",
    ]
    hits = 0
    for _ in range(3000):
        text = rnd.choice(["", " ", "x", "-", "1"]).join(rnd.sample(seeds, 2))
        at = rnd.randrange(len(text))
        data = (text if rnd.random() < 0.5 else text[:at] + rnd.choice(" -.1aB") + text[at:]).encode()
        told = set(prefilter.hits(data))
        for i, one in enumerate(DETECTORS):
            if list(one.find(data)):
                hits += 1
                assert i in told, (one.rule, data)
    assert hits > 1000


@pytest.mark.parametrize("piece", [
    b"4111 ", b"1", b"1 ", b"DE89 3704 ", b"AA11", b"123-45-6789 ", b"123456789 ssn ", b"86095742719 steuer ",
    b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN PRIVATE KEY-----\nAAAA", b"AKIA", b"xoxb-1-", b"ghp_a", b"SG.aaaa.",
    b"2 55 08 14 ", b"glpat-a", b"aws_secret_key", b"hooks.slack.com/services/",
])
def test_detectors_are_linear(piece: bytes) -> None:
    """256 KiB of what looks like a detector's matters all through take little time in each."""
    data = (piece * (256 * 1024 // len(piece)))[: 256 * 1024]
    for one in DETECTORS:
        start = time.process_time()
        for _ in one.find(data):
            pass
        assert time.process_time() - start < 3, one.rule


@given(st.lists(st.sampled_from(["12", "123", "1", "2A", "2b", ".", "/", " ", "-", "12.345.678.901", "x"]), max_size=24)
       .map(lambda parts: "".join(parts).encode()))
def test_numbers_of_people_are_found_with_one_sign_between_their_groups(data: bytes) -> None:
    """The patterns find what those do that take any signs, where the signs are the same."""
    for pattern, plain in (
        (DE_TAX_ID, rb"\b[1-9][0-9]([ ./]?)[0-9]{3}([ ./]?)[0-9]{3}([ ./]?)[0-9]{3}"),
        (FR_NIR, rb"\b[1-478]([ .\-]?)[0-9]{2}([ .\-]?)[0-9]{2}([ .\-]?)(?:[0-9]{2}|2[ABab])([ .\-]?)[0-9]{3}"
                 rb"([ .\-]?)[0-9]{3}[ .\-/]?[0-9]{2}"),
    ):
        made = linear.pattern(plain)
        for at in range(len(data)):
            ours, theirs = pattern.match(data, at), made.match(data, at)
            if theirs is not None and len(set(theirs.groups())) > 1:
                theirs = None
            assert (ours and ours.span()) == (theirs and theirs.span())
