"""The words inside of files: found in every carrier and charset, disguised; bounded, linear, and not by chance."""

from __future__ import annotations

import gzip
import random
import time
import zlib
from typing import Any

import pytest

from inspector.model import File, Limits, Text
from inspector.scan import filetexts, filetypes
from inspector.scan.content import Held
from inspector.scan.detectors import DETECTORS, luhn
from inspector.scan.filerules import FileRules
from inspector.scan.files import FileJudge
from inspector.wire.patterns import DIGITS
from tests.scan import making
from tests.scan.making_files import PNG, compressed, docx, mail, ole, pdf, pe, sevenzip, tarred, zipped

CARD = "pay with 5105 1051 0510 5100 please\n"
PHRASE = "amber lighthouse ledger"
LIST = (
    f"kind,value,severity,description\nphrase,{PHRASE},high,d\nphrase,янтарный маяк на скале,high,d\n"
    "domain,trap-house.example,high,d\nip,198.51.100.77,high,d\nurl,http://shop-ground.example/kit/run,high,d\n"
    f"sha1,{'5' * 40},high,d\n"
)
LINKS = ("see http://trap-house.example/x", "at http://198.51.100.77/", "http://shop-ground.example/kit/run",
         "http://%74rap-house.example", "http://trap-hous\u0435.example/ or http://198.51.100.77")


def judge(limits: Limits | None = None, rules: str = "") -> FileJudge:
    """A judge of files without rules for files, with a list of each kind."""
    return making.judge(rules, limits=limits, bad=LIST)


def found(data: bytes, name: str = "notes.txt", limits: Limits | None = None) -> dict[str, str]:
    """Rule -> severity."""
    return making.told(making.judged(data, name, by=judge(limits)))


def test_a_card_in_a_text() -> None:
    """Without any rule for files: the same rule as in a message, with the detector's own words."""
    (one,) = judge().judge(CARD.encode(), File(file_name="notes.txt")).findings
    assert (one.detector, one.rule, one.severity, one.detail, one.spans) == (
        "dlp", "dlp.card_number", "medium", "Mastercard", ())
    assert one.tags == DETECTORS[0].tags


def test_what_messages_are_looked_at_for() -> None:
    """Every detector; phrases, hosts, addresses, links and hashes of lists, with their pack."""
    body = "A" * 40 + "bC" * 30
    texts = {
        "dlp.iban": "to DE89370400440532013000", "dlp.us_ssn": "it is 123-45-6789", "dlp.de_tax_id": "12.345.678.903",
        "dlp.fr_nir": "1 85 05 78 006 084 91", "dlp.api_token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "dlp.private_key": f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----",
    }
    for rule, text in texts.items():
        (detector,) = (one for one in DETECTORS if one.rule == rule)
        expected = {rule} if list(detector.find(text.encode())) else set()
        assert set(found(f"dear all,\n{text}\nbye".encode())) == expected, rule
        assert expected or rule in ("dlp.fr_nir", "dlp.de_tax_id")
    for text in (PHRASE, *LINKS, "5" * 40):
        report = making.judged(text.encode(), "a.csv", by=judge())
        assert [(one.detector, one.rule, one.pack) for one in report.findings] == [("indicator", "t.bad", "t@1")], text


@pytest.mark.parametrize("codec", [
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp1252", "cp1251",
    "koi8-r", "shift_jis", "iso8859_9",
])
def test_charsets(codec: str) -> None:
    """With a mark and without; of charsets that are not known what is ASCII."""
    words = {"cp1252": "Übung für Größe ", "cp1251": "янтарный маяк на скале ", "koi8-r": "маяк ", "shift_jis": "灯台 "}
    text = (words.get(codec, "") + CARD) * 3
    assert "dlp.card_number" in found(text.encode(codec), "x")
    if codec.startswith(("utf", "cp1251")):
        assert "t.bad" in found(f"см. Янтарный\nмаяк на скале 1, 2, 3, 4, 5, 6, 7, 8, 9.\n{CARD}".encode(codec))


@pytest.mark.parametrize("text", [
    "card ５１０５ １０５１ ０５１０ ５１００", "5105\u200b 1051\u200b 0510\u200b 5100", "5105 1051 05&#49;0 5100",
    "5105" + " " * 90_000 + "1051 0510 5100", "5105" + "\u200b" * 90_000 + " 1051 0510 5100",
    "5105\0 1051\x01 0510 5100",
    "5105\r\n1051\r\n0510\r\n5100", "5" + "\u0301" * 50_000 + "105105105105100",
])
def test_disguised_numbers(text: str) -> None:
    """As in messages: other digits, what does not show, references; and pushed apart, further than a window."""
    assert found(("my number: " + text + " ok").encode()) == {"dlp.card_number": "medium"}


@pytest.mark.parametrize("text", [
    "AMBER  Lighthouse\n\tledger", "ａｍｂｅｒ lighthouse ledger", "am\u00adber light\u200bhouse ledger",
    "аmbеr lighthouse ledger", "amber\n" + "\n" * 200_000 + "lighthouse ledger", "amber&#32;lighthouse&nbsp;ledger",
])
def test_disguised_phrases(text: str) -> None:
    """Case, width, lookalikes, soft hyphens, line breaks without number."""
    assert found(f"see {text} today".encode()) == {"t.bad": "high"}


def test_across_windows() -> None:
    """What lies across the border of two windows is found, and of two blocks; a number is not made by a cut."""
    limits = Limits(file_text_window=2000, file_text_overlap=300)
    for at in range(1800, 2060, 7):
        assert found(b"la " * (at // 3) + CARD.encode() + b"la " * 900, limits=limits), at
    for at in range(128 * 1024 - 40, 128 * 1024 + 8, 5):
        assert found((b"la " * 44_000)[:at - 1] + b" " + CARD.encode() + b"la " * 900, limits=limits), at
        assert "t.bad" in found((b"la " * 44_000)[:at - 1] + " янтарный маяк на скале ".encode() + b"la " * 9), at
    for at in range(16):
        assert found(b"1" * at + b"5105105105105100" * 900, limits=limits) == {}


# -- markup


@pytest.mark.parametrize("text", [
    "<p>5105<b> 1051</b><!-- > --> 0510 5100</p>", "<html><p title='a>b'>5105 1051 <i>0510</i> 5100",
    "<td>5105105105105100</td><td>12</td>", "<x n=\"5105105105105100\"/>", "<![CDATA[5105 1051 0510 5100]]>",
    "51<span style='color:red'>05</span>1051<script>var a = 1;</script>05105100", "<a><b>5105</b><q/>105105105100</a>",
    "<p>5105&nbsp;1051&#x20;&#48;510 5100", "<p>5105 1051 05&amp;#49;0 5100",
    "<w:p><w:r><w:t>5105 10</w:t></w:r>\n  <w:r><w:t>51 0510 5100</w:t></w:r>",
    "<w:t>5105 10</w:t><w:delText>9</w:delText><w:t>51 0510 5100</w:t>", "<!-- 5105 1051 0510 5100 -->",
    "5105 <b\n" + "a" * 200_000 + ">1051 0510 5100",
])
def test_markup(text: str) -> None:
    """What is between tags, in them, in comments; joined over tags that do not show."""
    assert "dlp.card_number" in found(f"<root>{text}</root>".encode(), "a.html")


def test_markup_that_parts() -> None:
    """Cells and paragraphs are not joined to numbers that nobody wrote."""
    assert found(b"<tr><td>5105105105</td><td>105100</td></tr><p>5105105</p><p>105105100</p>") == {}
    assert filetexts.shown("a < b and c > d") == (None, None)
    assert filetexts.shown("<p>a<b>b</b></p>c") == ("\nab\nc", None)
    assert filetexts.shown("a<b title='>'>b<style>c</style>") == ("a'>bc", "ab")


def test_links_in_attributes() -> None:
    """Where a link leads is seen though the page shows another."""
    assert found(b'<html><a href="http://trap-house.example/pay">our bank</a></html>') == {"t.bad": "high"}


@pytest.mark.parametrize("body", [
    r"pay with 5105{\b  1051}\par 0510 5100", r"5\'3105 1051 0510 5100".replace(r"5\'3105", r"\'35105"),
    r"5105\u8203?105105105100", "51\r\n05 1051 0510 5100", r"{\*\hid 5105105105105100}",
])
def test_rtf(body: str) -> None:
    """Control words and groups left out, escapes undone; what readers hide counts too."""
    assert "dlp.card_number" in found((r"{\rtf1\ansi " + body + "}").encode(), "a.rtf")


# -- carriers


def documents(text: str) -> dict[str, bytes]:
    """A text in each kind of document."""
    runs = "".join(f"<w:r><w:rPr><w:b/></w:rPr><w:t>{char}</w:t></w:r>" for char in text)
    flat = f"BT /F1 12 Tf ({text}) Tj ET".encode()
    return {
        "a.docx": zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml":
                          f'<?xml version="1.0"?><w:document><w:body><w:p>{runs}</w:p></w:body>'.encode()}),
        "a.xlsx": zipped({"[Content_Types].xml": b"<Types/>", "xl/sharedStrings.xml":
                          f'<?xml version="1.0"?><sst><si><r><t>{text[:9]}</t></r><r><t>{text[9:]}</t></r></si>'
                          "<si><t>next</t></si></sst>".encode()}),
        "a.pptx": zipped({"[Content_Types].xml": b"<Types/>", "ppt/slides/slide1.xml":
                          f"<p:sld><a:p><a:r><a:t>{text[:9]}</a:t></a:r><a:r><a:t>{text[9:]}</a:t></a:r></a:p>"
                          .encode()}),
        "a.odt": zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml":
                         f"<office:text><text:p>{text[:9]}<text:span>{text[9:]}</text:span></text:p>".encode()}),
        "a.pdf": pdf([(b"<< /Length 9 >>", flat)]),
        "b.pdf": pdf([(b"<< /Filter /FlateDecode >>", zlib.compress(flat))]),
        "a.doc": ole({"WordDocument": bytes(40) + b"\xec\xa5" + f"{text:64}".encode("utf-16-le") + bytes(999)}),
        "a.xls": ole({"Workbook": bytes(range(32)) * 9 + text.encode() + bytes(range(32)) * 9}),
        "a.eml": mail({"a.txt": b"x"}, text.encode()), "b.eml": mail({"a.txt": text.encode()}),
        "a.json": f'{{"a": ["{text}"]}}'.encode(), "a.py": f"x = '{text}'\n".encode(),
        "a.csv": f"1;2;{text};3\n".encode(),
    }


@pytest.mark.parametrize("name", documents(""))
def test_documents(name: str) -> None:
    """A number and a phrase in each kind of document, split as programs split them."""
    assert "dlp.card_number" in found(documents("card 5105 1051 0510 5100 ok")[name], name)
    assert "t.bad" in found(documents(f"the {PHRASE} ok")[name], name)
    assert found(documents("nothing but the weather")[name], name) == {}


def test_archives() -> None:
    """In each archive, in an archive in it; the place is told."""
    inside = {"notes/a.txt": CARD.encode()}
    boxes = {"zip": zipped(inside), "tar": tarred(inside), "7z": sevenzip(inside), **compressed(CARD.encode()),
             "gzip in zip": zipped({"a.gz": gzip.compress(CARD.encode("utf-16-le"))})}
    for name, data in boxes.items():
        assert "dlp.card_number" in found(data, "x"), name
        assert "dlp.card_number" in found(zipped({"in": data}), "x"), name
    report = making.judged(zipped({"in.zip": boxes["zip"], "b.txt": b"x"}), "x.zip", by=judge())
    (one,) = (one for one in report.findings if one.rule == "dlp.card_number")
    assert one.detail == "Mastercard: in.zip/notes/a.txt"


def test_behind_what_is_no_text() -> None:
    """In programs and pictures, and behind a head that lies: stretches of letters are read."""
    line = f"Dear all, this is the card of the company: {CARD}".encode()
    for data in (pe() + line, PNG + line, b"GIF89a" + line, bytes(range(256)) * 9 + line,
                 PNG + line.decode().encode("utf-16-le"), b"\xff\xfe" + line, b"\xfe\xff" + line,
                 "тест".encode("utf-16-le") * 400 + line, b"\0\0\xfe\xff" + line, line + bytes(50_000),
                 CARD.encode("utf-16-le") + random.Random(3).randbytes(90_000)):
        assert "dlp.card_number" in found(data, "a.bin") or "dlp.card_number" in found(data, "a.txt"), data[:20]


# -- not by chance


def rows(count: int, prefix: str = "") -> bytes:
    """A table with a number of 16 digits in each row."""
    draw = random.Random(2)
    return "".join(
        f"{n},{prefix}{draw.randrange(10 ** (15 - len(prefix)), 10 ** (16 - len(prefix)))},{draw.random():.4f},"
        f"2026-11-{n % 28 + 1:02d}\n" for n in range(count)).encode()


@pytest.mark.parametrize("prefix", ["", "4", "51"])
def test_a_table_of_ids_is_no_list_of_cards(prefix: str) -> None:
    """One in ten has the check digit by chance: noted, in another rule, of low severity."""
    assert set(found(rows(3000, prefix), "export.csv")) == {"file.chance_numbers"}
    assert found(rows(3000, prefix), "export.csv")["file.chance_numbers"] == "low"


def test_cards_in_a_table_are_cards() -> None:
    """All numbers right; or half of them; or few beside the word for it."""
    draw = random.Random(2)

    def card() -> str:
        body = "51" + str(draw.randrange(10 ** 12, 10 ** 13))
        return next(body + str(last) for last in range(10) if luhn(body + str(last)))

    assert "dlp.card_number" in found("".join(f"{n},{card()}\n" for n in range(500)).encode())
    assert "dlp.card_number" in found(b"".join(rows(1) + f"{n},{card()}\n".encode() for n in range(500)))
    assert "dlp.card_number" in found(rows(300) + f"\nmy visa card is {card()}\n".encode())


def test_addresses_in_a_log_are_no_tax_numbers() -> None:
    """Lines of a log have groups of digits like them: by chance."""
    draw = random.Random(2)
    log = "".join(
        f"2026-11-22T10:00:{n % 60:02d} 10.{draw.randrange(100, 256)}.{draw.randrange(100, 256)}."
        f"{draw.randrange(100, 256)} GET / 200 {draw.randrange(9999)}\n" for n in range(3000))
    assert set(found(log.encode())) <= {"file.chance_numbers"}


def test_words_of_programs_are_no_keys() -> None:
    """The header of a key alone is a constant of a program, or a line of its manual."""
    for text in ("-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"):
        assert found(f"as in\n{text}\n".encode()) == {}
        assert found(bytes(range(256)) + text.encode() + bytes(range(256)), "a.exe") == {}


def test_numbers_are_found_as_in_messages() -> None:
    """The quick look finds a number in a text if and only if the detector does, whatever stands around it."""
    draw = random.Random(7)

    def right(digits: str) -> str:
        return next(digits + last for last in "0123456789" if luhn(digits + last))

    shapes = ((16,), (4, 4, 4, 4), (8, 8), (4, 6, 5), (4, 4, 4, 4, 1), (1,) * 16, (2,) * 8, (4, 3, 3, 3), (6, 6, 4))
    found_at_all = 0
    for _ in range(400):
        parts = []
        for _ in range(draw.randrange(1, 40)):
            kind = draw.random()
            if kind < 0.25:
                shape = draw.choice(shapes)
                body = draw.choice(("4", "51", "37", "6011", "2200"))
                body = right(body + "".join(draw.choice("0123456789") for _ in range(sum(shape) - len(body) - 1)))
                pieces, at = [], 0
                for size in shape:
                    pieces.append(body[at:at + size])
                    at += size
                parts.append(draw.choice((" ", "-", ".", ", ", "\n")).join(pieces))
            elif kind < 0.5:
                parts.append("".join(draw.choice("0123456789") for _ in range(draw.randrange(1, 20))))
            elif kind < 0.6:
                parts.append(draw.choice((
                    "123-45-6789", "ssn 123456789", "soc sec 219 09 9998", "12.345.678.903", "steuer id 12345678903",
                    "1 85 05 78 006 084 91", "185057800608491")))
            else:
                parts.append(draw.choice(("word", "card", "a", "x1", "no", "visa", "exp")))
        text = draw.choice((" ", "\n", ",", ", ", "  ")).join(parts).encode()
        for one in DETECTORS:
            if one.rule not in filetexts._GROUPED:
                continue
            expected = bool(list(one.find(text)))
            pieces_ = [match.span() for match in DIGITS.finditer(text)]
            alone = [span for span in pieces_ if span[1] - span[0] in filetexts._LENGTHS.get(one.rule, ())]
            quick = bool([*filetexts._alone(one, text, alone), *filetexts._spots(one, text)])
            assert quick == expected, (one.rule, text)
            found_at_all += expected
    assert found_at_all > 200


# -- bounds


def test_more_text_than_is_looked_at_is_told() -> None:
    """Never clean: by its length, and by its time; what was found before counts, and the rest is opened."""
    limits = Limits(file_text_bytes=300_000)
    assert found(b"la " * 90_000, limits=limits) == {}
    assert found(b"la " * 110_000, limits=limits) == {"file.unread_text": "medium"}
    report = making.judged(
        zipped({"a": CARD.encode() + b"la " * 110_000, "b": CARD.encode(), "c.exe": pe()}), by=judge(limits))
    assert making.told(report) == {"file.unread_text": "medium", "dlp.card_number": "medium"}
    assert making.inner(report) == {"executable"}
    assert found(CARD.encode(), limits=Limits(file_text_seconds=0)) == {"file.unread_text": "medium"}


def test_the_budget_of_the_file_ends_the_rest() -> None:
    """No time for anything: that is told, not that there was too much text."""
    assert found(CARD.encode() * 9, limits=Limits(archive_seconds=0)) == {"file.budget": "high"}


HOSTILE: dict[str, bytes] = {
    "one letter": b"a" * (1 << 20), "digits": b"5105105105105100 " * (1 << 16), "one digit": b"4" * (1 << 20),
    "digits apart": b"5 1 0 5 " * (1 << 17), "open tags": b"<a " * (350_000), "open comments": b"<!--" * (1 << 18),
    "quotes": b'<a b="' * 170_000, "references": b"&amp;" * 200_000,
    "references in references": b"&amp;amp;amp;" * 80_000,
    "half references": b"&#" * (1 << 19), "hosts": b"a.b." * (1 << 18), "phrases": (PHRASE + " ").encode() * 43_000,
    "blanks": b" " * (1 << 20), "rtf": b"{\\rtf1" + b"{\\*" * 300_000,
    "escapes of rtf": b"{\\rtf1" + b"\\'35" * 250_000,
    "marks": ("e" + "\u0301" * 40).encode() * 13_000, "zeros between": b"4\0" * (1 << 19),
    "bytes": bytes(range(256)) * 4096,
    "turned": ("\u202ea" * 200_000).encode(), "keys": b"-----BEGIN PRIVATE KEY-----\n" * 37_000,
    "colons": b"::" * (1 << 19),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_linear(name: str) -> None:
    """Four times the bytes take nearer 4 than 16 times as long, and end."""
    words = judge().matcher.words

    def seconds(data: bytes) -> float:
        look = filetexts.Look(words, Limits(), filetexts.Budget(Limits()), time.monotonic() + 60)
        start = time.process_time()
        filetexts.read(Held(data), filetypes.identify(Held(data)), look)
        return time.process_time() - start

    data = HOSTILE[name]
    small = max(min(seconds(data[:len(data) // 64]) for _ in range(2)), 0.01)
    assert seconds(data[:len(data) // 16]) < 10 * small


def test_without_a_kept_prefilter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none was kept it is made of the lists and detectors, and finds the same."""
    built = making.built(making.pack(making.rule("m", '$a = "some phrase"', "$a"), bad=LIST))
    made = FileRules.of(built, Limits())
    texts = (CARD, PHRASE, *LINKS, "some phrase", "5" * 40)

    def findings() -> list[Any]:
        by = FileJudge(made.blob)
        return [by.matcher.words.prefilter.name, *(by.judge(text.encode(), File()).findings for text in texts)]

    kept = findings()
    monkeypatch.setattr("inspector.scan.prefilter._hyperscan", None)
    other = findings()
    assert (kept[0], other[0]) == ("hyperscan", "re2")
    assert kept[1:] == other[1:]
    assert [bool(one) for one in kept[1:]] == [text != "some phrase" for text in texts]


def test_message_rules_are_not_run() -> None:
    """What a rule says of messages it does not say of files; one of the scope "both" sees the file's bytes and
    its words, disguised as they may be."""
    rules = making.rule("m", '$a = "violet heron"', "$a") + making.rule("b", '$a = "violet crane"', "$a", scope="both")
    by = judge(rules=rules)
    assert making.told(making.judged(b"a violet heron, a violet crane", by=by)) == {"t.b": "high"}
    for text in ("a violet\u200b crane", "a ｖｉｏｌｅｔ crane", "a <b>vio</b>let&nbsp;crane", "a violet\ncrane"):
        assert making.told(making.judged(text.encode(), by=by)) == {"t.b": "high"}, text
        assert making.told(making.judged(text.encode("utf-16"), by=by)) == {"t.b": "high"}, text


def test_as_in_messages() -> None:
    """A text of a message and a file of the same words give the same rules."""
    scanner = making.scanner(making.pack(bad=LIST))
    for text in (CARD, PHRASE, *LINKS, "the weather", "ssn 123-45-6789", "５１０５１０５１０５１０５１００"):
        message = {one.rule for one in scanner.full((Text("body", text),))}
        assert set(found(text.encode())) == message, text


def test_a_document_with_macros() -> None:
    """The source of macros is read: it is packed in the file."""
    made: Any = docx(making_source())
    assert "t.bad" in found(made, "a.docm")


def making_source() -> bytes:
    """A macro that fetches from a listed host."""
    from tests.scan.making_files import vba_project

    return vba_project(b'Sub A()\r\nx = "http://trap-house.example/x"\r\nEnd Sub\r\n' * 3)


def test_a_text_that_begins_like_a_box_is_a_text() -> None:
    """Who opens notes.txt reads it, though its first bytes are those of an archive or document."""
    for head in (b"PK\x03\x04 ", b"PK\x05\x06 ", b"BZh91AY&SY", b"\x1f\x8b\x08 ", b"!<arch>\n", b"7z\xbc\xaf\x27\x1c",
                 b"\xfd7zXZ\0", b"LZIP\1", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        assert "dlp.card_number" in found(head + CARD.encode()), head
        assert "dlp.card_number" in found(head + b" 5105105105105100"), head
        assert "t.bad" in found(head + "см. янтарный маяк на скале".encode()), head


@pytest.mark.parametrize("head", [
    b"GIF89a ", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4\n", b"\xff\xd8\xff\xe0 ", b"ID3 ", b"\x7fELF ", b"OggS ", b"BM ",
    b"MZ ", b"Rar!\x1a\x07\0 ", b"fLaC ", b"SQLite format 3\0",
])
def test_a_text_that_begins_like_a_picture_is_a_text(head: bytes) -> None:
    """Or like anything else that is no text: whoever opens it as one reads it, a NUL or two between."""
    for text in (" 5105105105105100", "см. янтарный маяк на скале"):
        for between in (b"", b"\0\0"):
            assert {"dlp.card_number", "t.bad"} & set(found(head + between + text.encode())), (head, between, text)


def test_around_the_parts_of_a_box() -> None:
    """In front of an archive, behind it, in its comment and in the fields of its heads."""
    box, card = zipped({"a.txt": b"hello"}), CARD.encode()
    packed = gzip.compress(b"hello")
    for data in (
        card + box, box + card, box[:-2] + len(card).to_bytes(2, "little") + card, tarred({"a": b"hello"}) + card,
        packed[:3] + b"\x10" + packed[4:10] + card + b"\0" + packed[10:], packed + card,
    ):
        assert "dlp.card_number" in found(data), data


def test_a_number_among_controls() -> None:
    """What is no text by its controls, and of no known format, is read for shorter pieces than a program."""
    assert "dlp.card_number" in found(b"\x01" * 20 + b"5105105105105100" + b"\x02" * 20)


def test_parts_of_a_box_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tar's own bytes are those around its members: what is in these is not paid for twice."""
    seen: list[str] = []
    look = filetexts.Look.window

    def window(self: filetexts.Look, plain: str) -> None:
        seen.append(plain)
        look(self, plain)

    monkeypatch.setattr(filetexts.Look, "window", window)
    assert "dlp.card_number" in found(tarred({"a.txt": b"first " + CARD.encode(), "b.txt": b"second"}) + b"behind")
    whole = "".join(seen)
    assert [whole.count(word) for word in ("first", "second", "behind")] == [1, 1, 1]


@pytest.mark.parametrize("shift", [-19, -10, -1, 3])
@pytest.mark.parametrize(("before", "behind"), [(b"\x80\x01", b"\x80\x01"), (b"ab", b"\x80\x01"), (b"\x80\x01", b"a ")])
@pytest.mark.parametrize("codec", ["ascii", "utf-16-le"])
def test_across_the_end_of_a_block(shift: int, before: bytes, behind: bytes, codec: str) -> None:
    """Where a block of what is no text ends is no place to hide a number at."""
    number = b"\x01\x02" + " 5105 1051 0510 5100 ".encode(codec) + b"\x01\x02"
    front = (before * filetexts._BLOCK)[:filetexts._BLOCK + shift]
    assert "dlp.card_number" in found(front + number + behind * 4000, "x.bin")
