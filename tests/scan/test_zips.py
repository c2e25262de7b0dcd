"""Zip archives: what the directory says, what the local headers say, and what neither should hide."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from inspector.model import Limits
from tests.scan import making
from tests.scan.making_files import (
    CLASS,
    CONTENT_TYPES,
    EICAR,
    GIF,
    SCRIPT,
    docx,
    odt,
    pe,
    tarred,
    vba_project,
    zipped,
)


def test_eicar_in_a_zip_in_a_zip() -> None:
    """It is found with its path, in a renamed archive too."""
    data = zipped({"a/in.zip": zipped({"eicar.com": EICAR})})
    report = making.judged(data, "x.zip")
    assert [(one.rule, one.detail) for one in report.findings] == [
        ("t.eicar", "d: a/in.zip/eicar.com"), ("file.inner_executable", "a/in.zip/eicar.com")]
    assert report.members == 2
    assert making.told(making.judged(data, "photo.jpg")) == {"t.eicar": "high", "file.type_mismatch": "medium"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_methods_of_zip(method: int) -> None:
    """Each is unpacked."""
    # Of a stored file the file rules see the zip itself as well.
    assert making.told(making.judged(zipped({"e": b"x" * 100 + EICAR}, method))) == {"t.eicar": "high"}


def test_a_method_nobody_knows_is_told() -> None:
    """The name is judged still."""
    data = bytearray(zipped({"a.jpg.exe": EICAR}))
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.find(mark) + at, 97)
    assert making.told(making.judged(bytes(data))) == {
        "file.unopened_archive": "medium", "file.double_extension": "high"}


def test_an_encrypted_file_is_told() -> None:
    """By its flag, with its name; the report says so too."""
    data = bytearray(zipped({"secret.txt": b"hello"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", data, data.find(mark) + at, 1)
    report = making.judged(bytes(data))
    assert report.encrypted
    assert [(one.rule, one.detail) for one in report.findings] == [("file.encrypted", "secret.txt")]


def test_names_of_members_are_judged() -> None:
    """Paths that leave the folder, double endings and names that run backwards."""
    report = making.judged(zipped({"../../x": b"a", "a.pdf.exe": b"a", "b\u202egpj.exe": b"a"}))
    assert making.told(report) == {
        "file.unsafe_path": "high", "file.double_extension": "high", "file.bidi_name": "high"}


def test_a_file_behind_another_name_in_its_local_header() -> None:
    """A reader of streams would unpack another name: both are judged, the lie is told."""
    data = bytearray(zipped({"photo.jpg": EICAR}))
    at = data.find(b"photo.jpg")
    data[at:at + 9] = b"virus.exe"
    report = making.judged(bytes(data))
    assert making.told(report) == {"t.eicar": "high", "file.hidden_content": "medium"}
    assert report.members == 2


def test_a_method_that_only_the_local_header_names() -> None:
    """What one reader stores another inflates: both are looked at."""
    data = bytearray(zipped({"a": EICAR * 3}))
    struct.pack_into("<H", data, data.find(b"PK\x01\x02") + 10, 0)
    assert {"t.eicar", "file.hidden_content"} <= set(making.told(making.judged(bytes(data))))


def test_a_file_that_the_directory_does_not_name() -> None:
    """In front of the archive, and between its files."""
    inner = zipped({"eicar.com": EICAR})
    local = inner[:inner.find(b"PK\x01\x02")]
    for data in (local + zipped({"a.txt": b"hello"}), zipped({"a.txt": b"hello"}) + local):
        report = making.judged(data)
        assert {"t.eicar", "file.hidden_content"} <= set(making.told(report))
        assert report.members == 2


def test_a_zip_behind_something_else() -> None:
    """A picture with a zip behind it is both."""
    report = making.judged(GIF + zipped({"eicar.com": EICAR}), "a.gif")
    assert report.kinds == ("archive", "image")
    assert set(making.told(report)) == {"t.eicar", "file.type_mismatch"}


def test_a_picture_that_is_a_program_for_java() -> None:
    """GIFAR: a jar behind a picture is a program."""
    report = making.judged(GIF + zipped({"META-INF/MANIFEST.MF": b"Manifest", "A.class": CLASS}), "a.gif")
    assert report.kinds == ("executable", "archive", "image")
    assert making.told(report)["file.type_mismatch"] == "high"


def test_a_zip_without_its_directory() -> None:
    """It is read by its local headers, and told as damaged."""
    data = zipped({"eicar.com": EICAR})
    told = making.told(making.judged(data[:data.find(b"PK\x01\x02")]))
    assert told == {"t.eicar": "high", "file.damaged": "low"}


def test_a_zip_of_a_stream() -> None:
    """Sizes that stand behind the data."""
    class Unseekable:
        """A place that zipfile can only write on to."""

        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None:
            pass

    out = Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:  # type: ignore[call-overload]
        made.writestr("eicar.com", EICAR)
        made.writestr("b", b"b")
    assert making.told(making.judged(out.data)) == {"t.eicar": "high"}
    cut = out.data[:out.data.find(b"PK\x01\x02")]
    assert making.told(making.judged(cut)) == {"t.eicar": "high", "file.damaged": "low"}


def test_zip64_is_read() -> None:
    """Sizes and places in the extra field and in the longer end record (4.3.14, 4.5.3)."""
    data = zipped({"eicar.com": EICAR})
    start = data.find(b"PK\x01\x02")
    end = data.find(b"PK\x05\x06")
    central = bytearray(data[start:end])
    packed, size = struct.unpack_from("<LL", central, 20)
    extra = struct.pack("<HHQQQ", 1, 24, size, packed, 0)
    struct.pack_into("<LL", central, 20, 0xffffffff, 0xffffffff)
    struct.pack_into("<H", central, 30, len(extra))
    struct.pack_into("<L", central, 42, 0xffffffff)
    central += extra
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(central), start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(central), 1)
    last = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
    report = making.judged(data[:start] + bytes(central) + record + locator + last)
    assert making.told(report) == {"t.eicar": "high"}


def test_a_directory_that_counts_wrongly_is_damaged() -> None:
    """More files than it says."""
    data = bytearray(zipped({"a": b"a", "b": b"b"}))
    struct.pack_into("<HH", data, data.rfind(b"PK\x05\x06") + 8, 1, 1)
    assert making.told(making.judged(bytes(data))) == {"file.damaged": "low"}


def test_a_wrong_checksum_is_damaged() -> None:
    """The content is judged as well."""
    data = bytearray(zipped({"a": EICAR + bytes(100)}))
    for mark, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        struct.pack_into("<L", data, data.find(mark) + at, 1234)
    assert making.told(making.judged(bytes(data))) == {"t.eicar": "high", "file.damaged": "low"}


def test_a_flat_bomb_of_files_upon_one_another() -> None:
    """A directory of many files that share one piece of data."""
    data = zipped({"a": bytes(200_000)})
    start, end = data.find(b"PK\x01\x02"), data.find(b"PK\x05\x06")
    central = data[start:end]
    last = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 500, 500, len(central) * 500, start, 0)
    report = making.judged(data[:start] + central * 500 + last, limits=Limits(archive_bytes=20 << 20))
    assert making.told(report) == {"file.bomb": "high", "file.budget": "high"}


def test_a_bomb_of_zips_in_zips() -> None:
    """Sixteen in sixteen in sixteen: bounded by bytes, told."""
    layer = zipped({"zeros": bytes(4 << 20)})
    for _ in range(4):
        layer = zipped({f"lib {i:x}.zip": layer for i in range(16)})
    report = making.judged(layer)
    assert making.told(report)["file.bomb"] == "high"
    assert set(making.told(report)) & {"file.budget", "file.too_many"}


def test_zips_deeper_than_the_limit() -> None:
    """As deep as the limit is opened, one more is told and not opened."""
    data = zipped({"eicar.com": EICAR})
    for _ in range(Limits().archive_depth):
        data = zipped({"in.zip": data})
    assert making.told(making.judged(data)) == {"t.eicar": "high"}
    assert making.told(making.judged(zipped({"in.zip": data}))) == {"file.too_deep": "high"}


def test_a_thousand_tiny_files() -> None:
    """All are judged; more than the limit are told."""
    members = {f"f{i}": b"tiny" for i in range(1000)} | {"last": EICAR}
    report = making.judged(zipped(members))
    assert (report.members, making.told(report)) == (1001, {"t.eicar": "high"})
    few = making.judged(zipped(members), limits=Limits(archive_members=100))
    assert making.told(few) == {"file.too_many": "high"}


@pytest.mark.parametrize(("members", "kinds", "media"), [
    ({"AndroidManifest.xml": b"x", "classes.dex": b"x"}, ("executable", "installer"),
     "application/vnd.android.package-archive"),
    ({"META-INF/MANIFEST.MF": b"x", "a/B.class": b"x"}, ("executable", "archive"), "application/java-archive"),
    ({"[Content_Types].xml": CONTENT_TYPES, "AppxManifest.xml": b"x"}, ("executable", "installer"), "application/appx"),
    ({"Payload/A.app/A": b"x"}, ("executable", "installer"), "application/octet-stream"),
    ({"Index/Document.iwa": b"x"}, ("document",), "application/vnd.apple.iwork"),
    ({"[Content_Types].xml": CONTENT_TYPES, "xl/macrosheets/s.xml": b"x"}, ("macro_document", "document"),
     "application/vnd.ms-office.macroenabled"),
    ({"a.txt": b"x"}, ("archive",), "application/zip"),
])
def test_what_is_made_of_a_zip(members: dict[str, bytes], kinds: tuple[str, ...], media: str) -> None:
    """Its names say it."""
    report = making.judged(zipped(members))
    assert (report.kinds, report.media_type) == (kinds, media)


def test_documents_with_and_without_macros() -> None:
    """A macro in a document is told, its source is seen by the file rules; under a harmless ending it is a mismatch."""
    rules = making.rule("auto", '$a = "AutoOpen" $b = "Shell"', "all of them", scope="file")
    judge = making.judge(rules)
    plain = making.judged(docx(), "a.docx", by=judge)
    assert (plain.kinds, plain.findings) == (("document",), ())
    bad = docx(vba_project(b"Sub AutoOpen()\r\n  Shell \"calc\"\r\nEnd Sub\r\n"))
    report = making.judged(bad, "a.docx", by=judge)
    assert report.kinds == ("macro_document", "document")
    assert making.told(report) == {
        "t.auto": "high", "file.macro": "medium", "file.type_mismatch": "medium"}
    assert "file.type_mismatch" not in making.told(making.judged(bad, "a.docm", by=judge))
    assert making.judged(odt(), by=judge).kinds == ("document",)
    assert making.judged(odt(macros=True), by=judge).kinds == ("macro_document", "document")


def test_a_document_that_loads_its_template_from_elsewhere() -> None:
    """Told; a link that a person must click is not."""
    relation = b'<R><Relationship Id="1" Type="http://x/%s" Target="http://evil.test/a" %s/></R>'
    far = docx(relations=relation % (b"attachedTemplate", b'TargetMode="External"'))
    assert making.told(making.judged(far)) == {"file.external_link": "medium"}
    assert making.told(making.judged(docx(relations=relation % (b"hyperlink", b'TargetMode="External"')))) == {}


def test_what_is_inside_is_told_by_kind() -> None:
    """Programs and scripts in an archive, by content or by name, are low findings that a policy can name."""
    for members in ({"setup": pe(), "run": SCRIPT}, {"setup.exe": b"?", "run.js": b"x = 1"}):
        report = making.judged(zipped(members))
        assert making.inner(report) == {"executable", "script"}
        assert {one.severity for one in report.findings} == {"low"}
    assert making.inner(making.judged(zipped({"a.docm": docx(vba_project(b"x"))}))) == {"macro_document"}
    # The parts of a document have the endings that its maker gives them.
    parts = making.judged(docx().replace(b"document.xml", b"document.bin"))
    assert (parts.kinds, making.inner(parts)) == (("document",), set())


def test_a_name_in_a_unicode_field_is_judged_too() -> None:
    """Some readers take the name from the extra field (4.6.9)."""
    info = zipfile.ZipInfo("photo.jpg")
    other = b"../evil.exe"
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(other), 1, 0) + other
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(info, b"x")
    assert "file.unsafe_path" in making.told(making.judged(out.getvalue()))


def test_a_tar_in_a_stored_zip() -> None:
    """Stored members are read where they lie."""
    report = making.judged(zipped({"a.tar": tarred({"e": EICAR})}, zipfile.ZIP_STORED))
    assert making.told(report) == {"t.eicar": "high"}
    assert report.members == 2


def test_an_encrypted_open_document() -> None:
    """Its manifest says it, no flag does."""
    members = {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": bytes(40),
               "META-INF/manifest.xml": b"<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"}
    report = making.judged(zipped(members, zipfile.ZIP_STORED))
    assert (report.kinds, report.encrypted) == (("document",), True)
