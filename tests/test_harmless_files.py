"""Ordinary files under the project's own packs and the default policy: no rule fires, they pass in either direction."""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from inspector import policy
from inspector.model import DOWN, UP, Address, Context, File, Flow, Limits, Text
from inspector.policy import CompiledPolicy
from inspector.policy.fields import file_types
from inspector.scan.compiling import build_in_child
from inspector.scan.filerules import FileRules
from inspector.scan.files import FileJudge
from inspector.scan.packs import folders, read_packs

ROOT = Path(__file__).parent.parent
WORDS = "Meeting on Tuesday at ten, please bring the figures of the third quarter. "
MAIN = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def zipped(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            # OpenDocument wants its media type first and as it is.
            archive.writestr(name, data, zipfile.ZIP_STORED if name == "mimetype" else None)
    return out.getvalue()


def office(main: str, kind: str, body: str, links: str = "") -> bytes:
    """An Office Open XML package of one part, with a link to the web in it."""
    return zipped({
        "[Content_Types].xml": f'<?xml version="1.0"?><Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/{main}" ContentType="application/vnd.openxmlformats-'
        f'officedocument.{kind}.main+xml"/></Types>',
        "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{MAIN}/officeDocument" Target="{main}"/></Relationships>',
        main: f'<?xml version="1.0"?>{body}',
        f"{main.rpartition('/')[0]}/_rels/{main.rpartition('/')[2]}.rels":
        f'<?xml version="1.0"?><Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId2" '
        f'Type="{MAIN}/hyperlink" Target="https://www.example.org/report?a=1" TargetMode="External"/>{links}'
        "</Relationships>",
        "docProps/core.xml": "<coreProperties><creator>Alice</creator></coreProperties>",
    })


def docx() -> bytes:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    field = '<w:r><w:instrText xml:space="preserve"> PAGE </w:instrText></w:r>'
    return office("word/document.xml", "wordprocessingml.document",
                  f'<w:document xmlns:w="{space}"><w:body><w:p>{field}<w:r><w:t>{WORDS * 20}</w:t></w:r></w:p></w:body>'
                  "</w:document>")


def xlsx() -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    names = '<definedNames><definedName name="_xlnm.Print_Area">Sheet1!$A$1:$C$9</definedName></definedNames>'
    return office("xl/workbook.xml", "spreadsheetml.sheet",
                  f'<workbook xmlns="{space}"><sheets><sheet name="Sheet1" sheetId="1"/></sheets>{names}</workbook>')


def odt() -> bytes:
    return zipped({
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f'<?xml version="1.0"?><office:document-content><office:body><office:text>{WORDS * 9}'
        "</office:text></office:body></office:document-content>",
        "META-INF/manifest.xml": '<manifest:manifest><manifest:file-entry manifest:full-path="/"/></manifest:manifest>',
    })


def pdf() -> bytes:
    stream = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({WORDS}) Tj ET".encode())
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Annots [6 0 R] "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://www.example.org/) >> >>",
    ]
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, one in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 7\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % at for at in offsets)
    return bytes(out + b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes((x * y) % 251 for x in range(64)) for y in range(64))
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 3, 0, 0, 0)), chunk(b"PLTE", bytes(range(256)) * 3),
        chunk(b"tRNS", bytes(256)), chunk(b"tEXt", b"Comment\0" + WORDS.encode()),
        chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""),
    ))


def jpeg() -> bytes:
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0" + "A holiday".encode("utf-16") + b"\0\0"
    return b"".join((
        b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
        b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif, b"\xff\xfe\x00\x0bA picture",
        b"\xff\xdb\x00\x43\x00" + bytes(range(1, 65)), b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00",
        b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(n % 251 for n in range(4000)) + b"\xff\xd9",
    ))


def table() -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["name", "amount"], ["Alice", "-12.50"], ["total", "=SUM(B1:B2)"], ["mail", "@bob"]])
    return out.getvalue().encode()


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Minutes", "alice@example.net", "bob@example.org"
    message.set_content(WORDS * 5)
    message.add_attachment(png(), maintype="image", subtype="png", filename="plan.png")
    return message.as_bytes()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in (("photos/a.jpg", jpeg()), ("photos/readme.txt", WORDS.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


RTF = (
    r"{\rtf1\ansi\deff0{\fonttbl{\f0 Times New Roman;}}{\*\listoverridetable{\listoverride\listid1\listoverridecount0"
    r"\ls1}}{\field{\*\fldinst HYPERLINK ""https://www.example.org/""}{\fldrslt here}}\f0 " + WORDS + "}"
).encode()
PAGE = (
    "<!DOCTYPE html><html><head><title>Plan</title><script>document.title = 'The plan';</script></head><body>"
    f'<p onclick="show()">{WORDS}</p><svg viewBox="0 0 9 9"><circle r="4"/></svg></body></html>'
).encode()
SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><title>{WORDS}</title><circle r="4"/></svg>'.encode()
WAV = b"RIFF" + struct.pack("<I", 4036) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + (
    b"data" + struct.pack("<I", 4000) + bytes(n % 256 for n in range(4000))
)
MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(4) + b"isommp42" + struct.pack(">I", 28) + b"stsc" + bytes(4) + (
    struct.pack(">4I", 1, 1, 10, 1) + struct.pack(">I", 4008) + b"mdat" + bytes(n * n % 256 for n in range(4000))
)
CALENDAR = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:Meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "offer.docx": (docx, "document"), "figures.xlsx": (xlsx, "document"), "letter.odt": (odt, "document"),
    "contract.pdf": (pdf, "document"), "letter.rtf": (lambda: RTF, "document"), "plan.png": (png, "image"),
    "holiday.jpg": (jpeg, "image"), "logo.svg": (lambda: SVG, "image"), "notes.txt": (WORDS.encode, "text"),
    "Übersicht 2026.csv": (table, "text"), "page.html": (lambda: PAGE, "web"), "voice.wav": (lambda: WAV, "audio"),
    "film.mp4": (lambda: MP4, "video"), "photos.tar.gz": (tarred, "archive"), "minutes.eml": (mail, "mail"),
    "meeting.ics": (lambda: CALENDAR, "text"),
    "all.zip": (lambda: zipped({"a/offer.docx": docx(), "a/plan.png": png(), "b/contract.pdf": pdf()}), "archive"),
}


@pytest.fixture(scope="module")
def judge() -> FileJudge:
    """The file rules of all packs of the project."""
    packs, faults = read_packs(folders(ROOT / "signatures"))
    assert not faults
    built = build_in_child(packs, Limits())
    assert not built.faults
    return FileJudge(FileRules.of(built, Limits()).blob)


@pytest.fixture(scope="module")
def default() -> CompiledPolicy:
    """The default policy."""
    return policy.compile((ROOT / "rules" / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")


@pytest.mark.parametrize("name", FILES)
def test_an_ordinary_file_passes(name: str, judge: FileJudge, default: CompiledPolicy) -> None:
    """Nothing is found in it, it is what it is called, and no rule of the default policy touches it, in or out."""
    make, kind = FILES[name]
    data = make()
    report = judge.judge(data, File(file_name=name, size=len(data)))
    assert report.findings == ()
    assert not report.encrypted
    file = File(
        file_name=name, size=report.size, sha256=report.sha256, kinds=report.kinds, media_type=report.media_type,
        complete=True, members=report.members, texts=(Text("file_name", name),),
    )
    context = Context(Flow("f", Address("10.0.0.5", 40000), Address("203.0.113.9", 5222)))
    context.protocol = "xmpp"
    assert kind in file_types(file)
    for way in (UP, DOWN):
        assert default.decide(file, context, way, 1.8e9, report.findings) is None
