"""OLE compound files: what they are, macros, what needs a password, files in them."""

from __future__ import annotations

import random
import struct

from inspector.scan.content import Held
from inspector.scan.ole import Compound, decompressed, sources
from tests.scan import making
from tests.scan.making_files import EICAR, ole, package, pe, vba_compressed, vba_project, zipped

MSI = bytes.fromhex("84100c0000000000c000000000000046")


def test_streams_large_and_small() -> None:
    """Whatever chain they lie in, they come back as they were."""
    noise = random.Random(1).randbytes
    streams = {"a": noise(9000), "b/c": noise(200), "b/d/e": b"x", "empty": b""}
    compound = Compound(Held(ole(streams)))
    assert {one.path: compound.data(one) for one in compound.streams if not one.storage} == streams
    assert {one.path for one in compound.streams if one.storage} == {"b", "b/d"}


def test_a_document_without_macros() -> None:
    """Its streams are judged; under a program's name nothing is worse than it says."""
    report = making.judged(ole({"WordDocument": bytes(500), "1Table": EICAR}), "a.doc")
    assert report.kinds == ("document",)
    assert making.told(report) == {"t.eicar": "high"}


def test_macros_are_told_and_their_source_is_seen() -> None:
    """The file rules see the source as its author wrote it."""
    source = b"Sub AutoOpen()\r\n" + b"  x = x & \"abc\"\r\n" * 400 + b"End Sub ' the very end\r\n"
    rules = making.rule("src", '$a = "the very end" $b = "Sub AutoOpen"', "all of them", scope="file")
    report = making.judged(vba_project(source), "a.doc", by=making.judge(rules))
    assert report.kinds == ("macro_document", "document")
    assert making.told(report) == {"t.src": "high", "file.macro": "medium"}


def test_the_container_of_macros() -> None:
    """MS-OVBA's own example of a compressed text (3.2.2), and what a made one gives back."""
    packed = bytes.fromhex(
        "012FB000236161616263646582660070616768696A013808616B6C00306D6E6F700671027004107273747576107778797A003C")
    assert decompressed(packed) == b"#aaabcdefaaaaghijaaaaaklaaamnopqaaaaaaaaaaaarstuvwxyzaaa"
    text = b"Attribute VB_Name\r\n" * 700
    assert decompressed(vba_compressed(text)) == text
    assert sources(b"junk" + vba_compressed(text) + b"more") == [text]
    assert decompressed(b"\x01\xff") == b""


def test_excel_4_macros() -> None:
    """A sheet that is one (MS-XLS 2.4.28) is a macro; another sheet is not."""
    def book(kind: int) -> bytes:
        sheet = struct.pack("<LBB", 0, 0, kind) + b"\x02\0S1"
        return (struct.pack("<HH", 0x809, 4) + bytes(4) + struct.pack("<HH", 0x85, len(sheet)) + sheet
                + struct.pack("<HH", 0x0a, 0))

    assert making.judged(ole({"Workbook": book(1)})).kinds == ("macro_document", "document")
    assert making.judged(ole({"Workbook": book(0)})).kinds == ("document",)


def test_what_needs_a_password() -> None:
    """An encrypted package, an old workbook, an old document."""
    word = bytearray(500)
    word[11] = 1
    for streams in ({"EncryptedPackage": bytes(100), "EncryptionInfo": bytes(10)},
                    {"Workbook": struct.pack("<HHL", 0x2f, 4, 0)}, {"WordDocument": bytes(word)}):
        report = making.judged(ole(streams))
        assert report.encrypted
        assert making.told(report) == {"file.encrypted": "medium"}


def test_a_file_in_a_document() -> None:
    """A package is told, its name and content are judged."""
    report = making.judged(ole({"ObjectPool/_1/\x01Ole10Native": package("report.pdf.exe", pe() + EICAR)}))
    assert making.told(report) == {
        "file.embedded_object": "medium", "file.double_extension": "high",
        "t.eicar": "high"}


def test_attachments_of_outlook() -> None:
    """With the name that is in another stream."""
    report = making.judged(ole({
        "__properties_version1.0": bytes(32),
        "__attach_version1.0_#00000000/__substg1.0_3707001F": "photo.jpg.scr".encode("utf-16-le"),
        "__attach_version1.0_#00000000/__substg1.0_37010102": EICAR,
    }))
    assert making.told(report) == {"t.eicar": "high", "file.double_extension": "high"}


def test_an_installer() -> None:
    """By its class it is a program."""
    assert making.judged(ole({"x": b"x"}, MSI)).kinds == ("executable", "installer")


def test_chains_in_rings_end() -> None:
    """A sector that follows itself, a directory entry that is its own child."""
    data = bytearray(ole({"a": bytes(6000)}))
    fat = data.find(struct.pack("<LLL", 1, 2, 3))
    struct.pack_into("<L", data, fat, 0)
    assert set(making.told(making.judged(bytes(data)))) <= {"file.damaged"}
    ring = bytearray(ole({"a": b"x", "b": b"y"}))
    at = ring.find("a".encode("utf-16-le") + bytes(62))
    struct.pack_into("<LLL", ring, at + 68, 1, 1, 1)
    assert making.judged(bytes(ring)).kinds == ("document",)


def test_damage_is_told() -> None:
    """A head alone, sectors of no size."""
    data = ole({"a": b"x"})
    assert making.told(making.judged(data[:300])) == {"file.damaged": "low"}
    wrong = bytearray(data)
    wrong[30] = 40
    assert making.told(making.judged(bytes(wrong))) == {"file.damaged": "low"}


def test_files_in_notes() -> None:
    """Each file of a OneNote section is told and judged."""
    mark = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
    files = (zipped({"e.com": EICAR}), pe(70_000))
    notes = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(100) + b"".join(
        mark + struct.pack("<QLQ", len(data), 0, 0) + data + bytes(16) for data in files)
    report = making.judged(notes, "a.one")
    assert report.kinds == ("document",)
    assert report.members == 3
    assert making.told(report) == {"t.eicar": "high", "file.embedded_object": "medium"}
    assert making.inner(report) == {"executable"}
