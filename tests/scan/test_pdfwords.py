"""The words on the pages of a PDF: strings, gaps, fonts with codes of their own; whatever the bytes are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.scan.pdfwords import PdfWords, unhexed


def words(*streams: bytes) -> list[str]:
    """The readings of a PDF's streams, white space made one blank."""
    made = PdfWords()
    for one in streams:
        made.feed(one)
    assert made.whole
    return [" ".join(text.split()) for text in made.texts()]


@pytest.mark.parametrize(("operators", "shown"), [
    (b"(amber lighthouse) Tj", "amber lighthouse"),
    (b"[(am) 20 (ber light) -15.5 (house)] TJ", "amber lighthouse"),
    (b"[(amber) -333 (lighthouse)] TJ", "amber lighthouse"),
    (b"(amber) Tj 0 -14 Td (lighthouse) Tj", "amber lighthouse"),
    (b"(amber) Tj T* (lighthouse) Tj", "amber lighthouse"),
    (b"(amber) Tj (lighthouse) '", "amber lighthouse"),
    (rb"(\141mber \(light\)h\157use \9) Tj", "amber (light)house 9"),
    (b"(amber\\\n light(house)) Tj", "amber light(house)"),
    (b"<616D 626572> Tj <20> Tj <6C6967687> Tj", "amber lighp"),
    (b"<FEFF00610062> Tj", "ab"),
    (b"(\x93amber\x94) Tj", "\u201camber\u201d"),
    (b"/GET gs /SET BMC (am) Tj /ET-1 gs (ber) Tj", "amber"),
    (b"(MEET) Tj [(amb) 1 (er)] TJ", "MEETamber"),
    (b"(BT) Tj [(amb) 1 (er)] TJ", "BTamber"),
    (b"%( ET\n[(amb) 1 (er)] TJ % BT (", "amber"),
    (b"(100%) Tj (amber) Tj", "100%amber"),
    (b"(amber) ' (house) '", "amber house"),
])
def test_what_operators_show(operators: bytes, shown: str) -> None:
    """Strings in each notation, joined as they are shown."""
    assert words(b"q 1 0 0 1 72 720 cm BT /F1 12 Tf " + operators + b" ET Q") == [shown]


TABLE = (b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
         b"2 beginbfchar <0003> <0020> <0024> <0041> endbfchar 1 beginbfrange <0044> <005D> <0061> "
         b"<005E> <005F> [<0066006C> <00DF>] endbfrange endcmap")
"""Codes of a font: fl, sharp s, blank, A, a to z."""


def coded(text: str) -> bytes:
    """A text in the codes of TABLE."""
    return b"".join({" ": b"0003", "A": b"0024"}.get(char, b"%04X" % (ord(char) - 97 + 0x44)) for char in text)


def test_codes_of_a_font() -> None:
    """Read by its table, whether that comes before them or behind; other fonts in the same line by theirs."""
    page = b"BT /F1 9 Tf <" + coded("Amber ") + b"> Tj /F2 9 Tf <0102> Tj /F3 9 Tf (house) Tj ET"
    other = b"begincmap 1 beginbfrange <01> <02> <0078> endbfrange endcmap"
    for streams in ((TABLE, other, page), (page, other, TABLE)):
        assert "Amber xy" in words(*streams)[1]
    assert words(b"BT <0044005E005F> Tj ET", TABLE)[1] == "afl\u00df"


def test_no_words() -> None:
    """A PDF without text has no reading."""
    assert words(b"q 10 10 m 20 20 l S Q", TABLE) == []


def test_more_than_is_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is read; that it was not all is said."""
    monkeypatch.setattr("inspector.scan.pdfwords._MOST", 100)
    made = PdfWords()
    made.feed(b"BT (amber) Tj ET " * 50)
    assert not made.whole
    assert next(made.texts()).count("amber") == 19


def test_ranges_that_are_said_again_and_again_cost_no_more() -> None:
    """Each would be 65535 codes, of 20 bytes; that not all were read is told."""
    made = PdfWords()
    begun = time.process_time()
    made.feed(b"begincmap 1 beginbfrange " + b"<0000><FFFE><0041> " * 20000 + b"endbfrange endcmap")
    assert not made.whole
    assert time.process_time() - begun < 5


def test_digits_of_a_string() -> None:
    """White space between them does not count, a missing last one is 0."""
    assert unhexed("41 4\n2 5") == b"ABP"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([
    b"BT ", b"ET", b"(", b")", b"\\", b"<", b">", b"Tj", b"TJ", b"begincmap", b"endcmap", b"<0041>", b"-300 ", b"9",
    b"/F1 9 Tf", b"beginbfrange", b"beginbfchar", b"[", b"]",
])), max_size=40))
def test_any_bytes(pieces: list[bytes]) -> None:
    """End in texts."""
    made = PdfWords()
    made.feed(b"".join(pieces))
    for text in made.texts():
        assert text.encode("utf-8", "replace") is not None


def test_it_is_linear() -> None:
    """Four times the bytes take nearer 4 than 16 times as long."""
    def seconds(data: bytes) -> float:
        best = 9.0
        for _ in range(2):
            start = time.process_time()
            made = PdfWords()
            made.feed(data)
            for _text in made.texts():
                pass
            best = min(best, time.process_time() - start)
        return best

    for piece in (b"BT", b"BT (", b"BT (a) Tj ", b"begincmap <41> <42> ", b"BT <4 Tj ", b"BT ((TJ "):
        small, large = piece * (40_000 // len(piece)), piece * (160_000 // len(piece))
        assert seconds(large) < 10 * max(seconds(small), 0.002), piece
