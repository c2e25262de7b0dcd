"""PDF: streams, files in it, what it does when it is opened."""

from __future__ import annotations

import base64
import zlib

import pytest

from inspector.scan.pdfs import names
from tests.scan import making
from tests.scan.making_files import EICAR, PDF, pdf, pe, zipped


def test_a_plain_pdf() -> None:
    """Nothing to say."""
    report = making.judged(PDF, "a.pdf")
    assert (report.kinds, report.media_type, report.findings) == (("document",), "application/pdf", ())


@pytest.mark.parametrize(("inside", "stream"), [
    (b"/Filter /FlateDecode", zlib.compress(EICAR)),
    (b"/Filter [/ASCIIHexDecode /FlateDecode]", zlib.compress(EICAR).hex().encode() + b">"),
    (b"/Filter [ /ASCII85Decode /FlateDecode ]", base64.a85encode(zlib.compress(EICAR)) + b"~>"),
    (b"/Filter /#46lateDecode", zlib.compress(EICAR)),
    (b"/Filter /AHx", EICAR.hex().encode() + b">"),
    (b"/Filter /FlateDecode /Subtype /Image", zlib.compress(EICAR)),
])
def test_streams_are_seen_without_their_filters(inside: bytes, stream: bytes) -> None:
    """The file rules see what a reader would see."""
    assert making.told(making.judged(pdf([(b"/Type /Catalog", None), (inside, stream)]))) == {"t.eicar": "high"}


def test_a_stream_behind_a_false_one() -> None:
    """The keyword in a comment hides nothing of what follows."""
    data = pdf([(b"/Type /Catalog", None), (b"/Filter /FlateDecode", zlib.compress(EICAR))])
    hidden = data.replace(b"2 0 obj", b"% stream \n2 0 obj")
    assert making.told(making.judged(hidden)) == {"t.eicar": "high"}


def test_a_broken_stream_is_read_as_far_as_it_goes() -> None:
    """As readers do it."""
    packed = zlib.compress(EICAR + bytes(1000), 0)[:-500]
    assert making.told(making.judged(pdf([(b"/Filter /FlateDecode", packed)]))) == {"t.eicar": "high"}


@pytest.mark.parametrize(("inside", "rule"), [
    (b"/OpenAction << /S /JavaScript /JS (app.alert(1)) >>", "file.pdf_javascript"),
    (b"/OpenAction << /S /J#61vaScript /JS (x) >>", "file.pdf_javascript"),
    (b"/AA << /O << /#4a#53 (x) >> >>", "file.pdf_javascript"),
    (b"/OpenAction << /S /Launch /F (cmd.exe) >>", "file.pdf_launch"),
    (b"/Names << /EmbeddedFiles 3 0 R >> /EF << /F 9 0 R >> /Type /EmbeddedFile", "file.pdf_embedded"),
    (b"/Encrypt 5 0 R", "file.encrypted"),
])
def test_what_it_does_is_told(inside: bytes, rule: str) -> None:
    """In any spelling of the names, and inside of a stream of objects too."""
    assert set(making.told(making.judged(pdf([(inside, None)])))) == {rule}
    packed = zlib.compress(b"5 0 6 40 << " + inside + b" >>")
    assert set(making.told(making.judged(pdf([(b"/Type /ObjStm /Filter /FlateDecode", packed)])))) == {rule}


def test_words_that_are_no_names() -> None:
    """A text that speaks of scripts, and names that only begin so."""
    assert making.judged(pdf([(b"/Title (JavaScript and /JSON, Launch)", None), (b"/Launcher 1", None)])).findings == ()


def test_a_file_in_a_pdf_is_judged() -> None:
    """As a member, opened if it is an archive."""
    inner = zlib.compress(zipped({"eicar.com": EICAR}))
    report = making.judged(pdf([(b"/Type /EmbeddedFile /Filter /FlateDecode", inner)]))
    assert making.told(report) == {"t.eicar": "high", "file.pdf_embedded": "medium"}
    assert report.members == 2
    plain = making.judged(pdf([(b"/Type /EmbeddedFile", pe())]))
    assert making.told(plain) == {"file.pdf_embedded": "medium"}


def test_more_streams_than_are_looked_at() -> None:
    """Told, not endless."""
    report = making.judged(PDF + b"1 0 obj << >> stream\n" * 6000)
    assert making.told(report) == {"file.too_many": "high"}


def test_names() -> None:
    """Their escapes undone, up to what ends a name."""
    assert names(b"<</A#42 /C[/D/E]/F(x)/G#zz/>>") == {b"AB", b"C", b"D", b"E", b"F", b"G#zz"}
