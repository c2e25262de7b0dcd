"""Content that a reader's program opens and that is laid out so that a scanner may not see it.

Each must be found, or told as not looked through: nothing of it is clean.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import lzma
import struct
import tarfile
import time
import zlib

import pytest

from tests.scan import making
from tests.scan.making_files import (
    EICAR,
    docx,
    lzipped,
    mail,
    ole,
    pdf,
    pe,
    rtf,
    tarred,
    vba_compressed,
    vba_project,
    zipped,
)

HIDDEN = b"\x78" * 40 + EICAR + b"\x79" * 40
"""Content that only rules know."""


def packed(data: bytes = HIDDEN) -> bytes:
    """So that the file around it does not show it."""
    return zlib.compress(data, 9)


def test_a_zip_whose_directory_claims_to_be_the_files() -> None:
    """An end record without files whose directory "begins" where the files lie: readers of streams see them."""
    whole = zipped({"a.com": EICAR * 3})
    files = whole[:whole.find(b"PK\x01\x02")]
    data = files + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(files), 0, 0)
    told = making.told(making.judged(data, "a.zip"))
    assert told["t.eicar"] == "high"
    assert "file.hidden_content" in told


def test_files_of_a_zip_between_its_directory_and_its_end_and_in_its_comment() -> None:
    """Neither place is left out."""
    inner = zipped({"b.com": EICAR * 3})
    files = inner[:inner.find(b"PK\x01\x02")]
    whole = zipped({"a.txt": b"hello"})
    end = whole.rfind(b"PK\x05\x06")
    assert making.told(making.judged(zipped({"a.txt": b"hello"}, comment=files)))["t.eicar"] == "high"
    start, length = struct.unpack_from("<L", whole, end + 16)[0], struct.unpack_from("<L", whole, end + 12)[0]
    assert start + length == end
    # The directory says that it is longer than it is: so no place is shifted.
    record = bytearray(whole[end:])
    struct.pack_into("<L", record, 12, length + len(files))
    assert making.told(making.judged(whole[:end] + files + bytes(record)))["t.eicar"] == "high"


@pytest.mark.parametrize("name", ["", "\x01a.com", "n" * 2000])
def test_a_hidden_file_of_a_zip_with_an_odd_name(name: str) -> None:
    """A name that nobody gives hides nothing."""
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, 0, 0, len(name), 0) + name.encode()
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = body.compress(HIDDEN) + body.flush()
    head = head[:18] + struct.pack("<LL", len(raw), len(HIDDEN)) + head[26:]
    told = making.told(making.judged(head + raw + zipped({"a.txt": b"hello"})))
    assert told["t.eicar"] == "high"
    assert "file.hidden_content" in told


def test_a_member_of_gzip_behind_zeros() -> None:
    """Readers skip any number of zeros between members."""
    data = gzip.compress(b"hello") + bytes(9000) + gzip.compress(HIDDEN)
    assert making.told(making.judged(data, "a.gz"))["t.eicar"] == "high"


@pytest.mark.parametrize("pad", [4, 16 * 1024, 40_000])
def test_a_stream_of_xz_behind_padding(pad: int) -> None:
    """Stream padding (xz-file-format 2.2) of any length, wherever a piece of the file ends."""
    first = lzma.compress(b"hello")
    for pad_to in range(16384 - 8 - len(first), 16384 + 8 - len(first), 4) if pad == 4 else (pad,):
        data = first + bytes(pad_to // 4 * 4) + lzma.compress(HIDDEN)
        assert making.told(making.judged(data, "a.xz"))["t.eicar"] == "high", pad_to


def test_the_second_member_of_lzip() -> None:
    """Members behind one another are one content (lzip manual, "File format")."""
    assert making.told(making.judged(lzipped(b"hello") + lzipped(HIDDEN), "a.lz"))["t.eicar"] == "high"


@pytest.mark.parametrize("made", [lzma.compress, lzipped])
def test_what_stands_behind_compressed_data_is_told(made) -> None:  # type: ignore[no-untyped-def]
    """As behind gzip."""
    assert "file.hidden_content" in making.told(making.judged(made(b"hello") + b"something else " * 9, "a"))


def test_zstandard_behind_a_skippable_frame() -> None:
    """RFC 8878 3.1.2: readers skip it."""
    import zstandard

    data = b"\x50\x2a\x4d\x18" + struct.pack("<L", 8) + b"whatever" + zstandard.compress(HIDDEN)
    report = making.judged(data, "a.zst")
    assert making.told(report)["t.eicar"] == "high"
    assert "archive" in report.kinds


def test_a_link_of_tar_with_a_content() -> None:
    """Some readers skip it, some read headers there, some unpack it as the file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("a.txt")
        info.type, info.linkname, info.size = tarfile.LNKTYPE, "b.txt", 0
        made.addfile(info)
    head = bytearray(out.getvalue()[:512])
    for content in (gzip.compress(HIDDEN), tarred({"x.gz": gzip.compress(HIDDEN)})):
        for kind in (b"1", b"2", b"5"):
            padded = content + bytes(-len(content) % 512)
            head[124:136] = b"%011o\0" % len(content)
            head[156:157] = kind
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            assert making.told(making.judged(bytes(head) + padded + bytes(1024)))["t.eicar"] == "high", kind


def test_names_of_tar_in_other_places() -> None:
    """GNU.sparse.name, a pax header that is longer than is read, Solaris' own kind of it."""
    def entry(kind: bytes, name: str, content: bytes) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(content)
        return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)

    record = b"38 GNU.sparse.name=photo.jpg.exe\n"
    record = b"%d%s" % (len(record), record[2:])
    path = b"22 path=photo.jpg.exe\n"
    long = b"70010 comment=" + b"c" * (70010 - 15) + b"\n" + path
    assert making.told(making.judged(entry(b"x", "h", record) + entry(b"0", "a", b"text"))).get(
        "file.double_extension") == "high"
    assert making.told(making.judged(entry(b"X", "h", path) + entry(b"0", "a", b"text"))).get(
        "file.double_extension") == "high"
    assert making.told(making.judged(entry(b"x", "h", long) + entry(b"0", "a", b"text"))).get(
        "file.double_extension") == "high"
    assert making.told(making.judged(entry(b"g", "h", path) + entry(b"0", "a", b"x") + entry(b"0", "b", b"text"))).get(
        "file.double_extension") == "high"


def test_a_sparse_file_of_tar_is_told() -> None:
    """Its holes are not put back: what it is is not known."""
    info = tarfile.TarInfo("a")
    info.size = 1024
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b",
                        "GNU.sparse.realsize": "4096"}
    data = info.tobuf(tarfile.PAX_FORMAT) + b"1\n0\n512\n".ljust(512, b"\0") + pe() + bytes(1024)
    report = making.judged(data, "a.tar")
    assert "file.hidden_content" in making.told(report)
    assert "executable" in making.inner(report)


def test_an_old_tar_behind_the_end_of_a_tar() -> None:
    """A header without "ustar" (v7), for readers that go on behind the end (--ignore-zeros)."""
    info = tarfile.TarInfo("b.gz")
    content = gzip.compress(HIDDEN)
    info.size = len(content)
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    head[257:512] = bytes(255)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    data = tarred({"a": b"x"}) + bytes(head) + content + bytes(-len(content) % 512)
    assert making.told(making.judged(data)) == {"file.hidden_content": "medium", "t.eicar": "high"}


def attached(head: bytes, content: bytes = b"", boundary: bytes = b"=_b") -> bytes:
    """A mail with one part of this header."""
    whole = base64.encodebytes(content or HIDDEN)
    return (b"From: a@example.org\r\nTo: b@example.org\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=\"" + boundary + b"\"\r\n\r\n--" + boundary
            + b"\r\n" + head + b"\r\n\r\n" + whole + b"\r\n--" + boundary + b"--\r\n")


@pytest.mark.parametrize("data", [
    attached(b"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit"),
    attached(b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64"),
    attached(b'Content-Transfer-Encoding: "base64"'),
    attached(b"Content-Transfer-Encoding: base64 (so it is)"),
    attached(b"Content-Transfer-Encoding: base64", boundary=b"a;b"),
    attached(b"Content-Transfer-Encoding: base64").replace(b"\r\nContent-Type: multi", b"\r\nContent-Type: text/plain"
             b"\r\nContent-Type: multi"),
    attached(b"Content-Transfer-Encoding: base64").replace(b"\r\n\r\n--", b"\r\nContent-Type: text/plain\r\n\r\n--", 1),
    attached(b"Content-Transfer-Encoding: base64").partition(b"To: b@example.org\r\n")[2],
    b"X-Long: " + b"x" * 20000 + b"\r\n" + attached(b"Content-Transfer-Encoding: base64"),
    attached(b"Content-Transfer-Encoding: base64").replace(b"From:", b"\r\n\r\nFrom:", 1),
])
def test_headers_of_mail_that_readers_understand_otherwise(data: bytes) -> None:
    """Fields twice, comments, quotes, boundaries with a semicolon, few fields, long ones."""
    assert making.told(making.judged(data, "a.eml"))["t.eicar"] == "high"


def test_base64_of_several_pieces() -> None:
    """Some readers begin anew behind padding."""
    data = attached(b"Content-Transfer-Encoding: base64").replace(
        base64.encodebytes(HIDDEN), b"QQ==\r\n" + base64.encodebytes(HIDDEN))
    assert making.told(making.judged(data))["t.eicar"] == "high"


@pytest.mark.parametrize("disposition", [
    b"attachment; filename=\"a.txt\"; filename*=utf-8''photo.jpg.exe",
    b"attachment; filename*=utf-8''photo.jpg.exe; filename=\"a.txt\"",
    b'attachment; filename="a;photo.jpg.exe"',
    b"attachment; filename*1=\"jpg.exe\"; filename*0=\"photo.\"",
    b"attachment; filename=a.txt; filename=photo.jpg.exe",
])
def test_names_of_attachments_that_readers_understand_otherwise(disposition: bytes) -> None:
    """RFC 2231: any order, both spellings; quotes; twice."""
    data = mail({"x": b"content"}).replace(b'attachment; filename="x"', disposition)
    assert making.told(making.judged(data))["file.double_extension"] == "high"


def uuencoded(data: bytes = HIDDEN) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[i:i + 45]) for i in range(0, len(data), 45))
    return b"begin 644 a.bin\n" + lines + b"`\nend\n"


def test_uuencode_far_down_and_alone() -> None:
    """Behind much text; in a file of its own, which archivers open."""
    head = b"From: a@b\nTo: c@d\nSubject: x\n\n" + b"words words\n" * 1000
    assert making.told(making.judged(head + uuencoded()))["t.eicar"] == "high"
    assert making.told(making.judged(uuencoded(), "a.uue"))["t.eicar"] == "high"


def test_a_template_that_an_rtf_loads() -> None:
    """Word fetches it when the document is opened."""
    data = b"{\\rtf1 hello {\\*\\template http://example.org/a.dotm}}"
    assert "file.external_link" in making.told(making.judged(data))
    assert "file.external_link" not in making.told(making.judged(b"{\\rtf1 {\\*\\template C:\\\\Normal.dotm}}"))


def test_an_object_of_rtf_behind_a_number() -> None:
    """Digits directly behind \\objdata are its parameter, not its content."""
    inner = ole({"\x01Ole10Native": b"\0\0\0\0" + bytes(4), "a": gzip.compress(HIDDEN)})
    data = rtf(inner).replace(b"\\objdata ", b"\\objdata123 ")
    assert making.told(making.judged(data))["t.eicar"] == "high"


@pytest.mark.parametrize("data", [
    pdf([(b"/Filter [/FlateDecode /FlateDecode]", packed(packed()))]),
    pdf([(b"/Filter [/FlateDecode /ASCIIHexDecode]", packed(HIDDEN.hex().encode() + b">"))]),
    pdf([(b"/Filter [/ASCIIHexDecode /ASCII85Decode /FlateDecode]",
          base64.a85encode(packed()).hex().encode() + b"7e3e>")]),
    pdf([(b"/Filter 9 0 R", packed()), (b"", None)]),
    pdf([(b"/Filter /FlateDecode" + b" " * 9000, packed())]),
    pdf([(b"/Filter /FlateDecode", zlib.compress(b"endstream", 0)[:2] + b"\x00\x0c\x00\xf3\xff\nendstream \n"
          + zlib.compress(HIDDEN, 9)[2:])]),
])
def test_streams_of_pdf_that_are_laid_out_to_hide(data: bytes) -> None:
    """Filters twice, in other orders, named elsewhere, far in front; a stream with "endstream" in it."""
    assert making.told(making.judged(data, "a.pdf"))["t.eicar"] == "high"


def test_filters_of_pdf_that_are_not_decoded_are_told() -> None:
    """LZW; not where it is a picture."""
    assert "file.hidden_content" in making.told(making.judged(pdf([(b"/Filter /LZWDecode", b"\x80\x0b\x60\x50")])))
    picture = pdf([(b"/Subtype /Image /Filter /LZWDecode", b"\x80\x0b\x60\x50")])
    assert making.told(making.judged(picture)) == {}


def test_macros_of_a_document_by_another_name() -> None:
    """The content types and relationships say what a part is, not its name."""
    types = b'<Types><Override PartName="/word/x.bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>'
    for text in (types, types.decode().encode("utf-16")):
        data = zipped({"[Content_Types].xml": text, "word/document.xml": b"<x/>",
                       "word/x.bin": vba_project(b"Sub a()\r\nEnd Sub\r\n")})
        assert "macro_document" in making.judged(data, "a.docx").kinds
    sheet = types.replace(b"application/vnd.ms-office.vbaProject", b"application/vnd.ms-excel.macrosheet+xml")
    data = zipped({"[Content_Types].xml": sheet, "xl/s/a.xml": b"<x/>"})
    assert "macro_document" in making.judged(data, "a.xlsx").kinds


@pytest.mark.parametrize("relations", [
    b"<Relationships><Relationship\nId='r' Type='http://x/attachedTemplate' Target='http://example.org/a' "
    b"TargetMode='External'/></Relationships>",
    b"<a:Relationships><a:Relationship Type = \"http://x/attachedTemplate\" Target = \"http://example.org/a\" "
    b"TargetMode=\"External\"/></a:Relationships>",
    b'<Relationships><Relationship Type="http://x/attachedTe&#109;plate" Target="htt&#x70;://example.org/a" '
    b'TargetMode="External"/></Relationships>',
    '\ufeff<Relationships><Relationship Type="http://x/attachedTemplate" Target="http://example.org/a" '
    'TargetMode="External"/></Relationships>'.encode("utf-16-le"),
    b"<Relationships>" + b" " * 300_000 + b'<Relationship Type="http://x/attachedTemplate" '
    b'Target="http://example.org/a" TargetMode="External"/></Relationships>',
])
def test_relationships_in_each_spelling_of_xml(relations: bytes) -> None:
    """Quotes, blanks, prefixes, references, UTF-16, far down."""
    assert "file.external_link" in making.told(making.judged(docx(relations=relations)))


def test_macros_whose_source_begins_otherwise() -> None:
    """A first chunk that is not compressed, found by the directory of the project (MS-OVBA 2.3.4.2)."""
    text = (b'Attribute VB_Name = "M"\r\n' + HIDDEN).ljust(4096, b"\n")
    raw = b"\x01" + struct.pack("<H", 0x3fff) + text
    directory = vba_compressed(b"\x01\0\x04\0\0\0\x01\0\0\0\x1a\0\x01\0\0\0M\x31\0\x04\0\0\0\x40\0\0\0")
    data = ole({"VBA/_VBA_PROJECT": b"\xcc\x61" + bytes(30), "VBA/dir": directory, "VBA/M": bytes(64) + raw})
    rules = making.rule("src", '$a = "Attribute VB_Name" $b = "EICAR"', "$a at 0 and $b", scope="file")
    assert "t.src" in making.told(making.judged(data, by=making.judge(rules)))


def test_more_source_of_macros_than_is_read_is_told() -> None:
    """What is behind a megabyte is not clean."""
    import random

    junk = b"'" + random.Random(1).randbytes(1_400_000).hex().encode()
    data = ole({"VBA/_VBA_PROJECT": b"\xcc\x61" + bytes(30), "VBA/a": vba_compressed(b"Attribute VB_Name\r\n" + junk),
                "VBA/b": vba_compressed(b'Attribute VB_Name = "b"\r\nSub AutoOpen()\r\nEnd Sub\r\n')})
    assert "file.budget" in making.told(making.judged(data))


@pytest.mark.parametrize("data", [
    b"{\\rtf1" + b"\\*\\template x" * 1_000_000,
    attached(b"Content-Transfer-Encoding: base64", b"x").replace(b"eA==", b"A=" * 4_000_000),
])
def test_many_small_pieces_take_no_long_time(data: bytes) -> None:
    """Templates without number, padding without end: seconds of CPU, not minutes."""
    start = time.process_time()
    making.judged(data)
    assert time.process_time() - start < 4
