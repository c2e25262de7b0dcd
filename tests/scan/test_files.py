"""The judging of a file: hashes, types, names, rules, budgets; and that no bytes can end it otherwise."""

from __future__ import annotations

import ast
import bz2
import gzip
import hashlib
import io
import lzma
import mmap
import os
import random
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import File, Limits, ScanFailed
from inspector.scan.filerules import FileMatcher
from inspector.scan.files import OPENERS, RULES, Found
from inspector.scan.filetypes import format_of
from tests.scan import making
from tests.scan.making_files import (
    EICAR,
    GIF,
    PDF,
    PNG,
    cab,
    compressed,
    iso,
    mail,
    ole,
    pdf,
    pe,
    rar4,
    rar5,
    rtf,
    seeds,
    sevenzip,
    tarred,
    zipped,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_report_says_what_the_content_is() -> None:
    """Size, all three hashes, kind and media type; nothing found."""
    report = making.judged(PNG, "photo.png")
    assert (report.size, report.kinds, report.media_type) == (len(PNG), ("image",), "image/png")
    assert report.sha256 == hashlib.sha256(PNG).hexdigest()
    assert report.sha1 == hashlib.sha1(PNG).hexdigest()
    assert report.md5 == hashlib.md5(PNG).hexdigest()
    assert (report.members, report.encrypted, report.findings) == (0, False, ())


def test_an_empty_file() -> None:
    """Has hashes and no kind."""
    report = making.judged(b"", "nothing")
    assert (report.size, report.kinds, report.media_type, report.findings) == (0, (), None, ())
    assert report.sha256 == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("size", [500, 9 << 20])
def test_a_file_by_object_number_and_map(size: int, tmp_path: Path) -> None:
    """Short or long, however it is given."""
    path = tmp_path / "f"
    data = bytes(size) + EICAR
    path.write_bytes(data)
    judge = making.judge()
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for source in (file, file.fileno(), mapped, data, io.BytesIO(data)):
            report = judge.judge(source, File(file_name="x"))
            assert (report.sha256, making.told(report)) == (hashlib.sha256(data).hexdigest(), {"t.eicar": "high"})


def test_known_hashes() -> None:
    """Of each kind, of the file and of what is inside it."""
    rows = "".join(
        f"{kind},{hashlib.new(kind, EICAR).hexdigest()},{severity},known\n"
        for kind, severity in (("sha256", "critical"), ("sha1", "high"), ("md5", "medium")))
    judge = making.judge("", hashes="kind,value,severity,description\n" + rows)
    for data, place in ((EICAR, "known"), (zipped({"a/e.com": EICAR}), "known: a/e.com")):
        (found,) = [one for one in making.judged(data, by=judge).findings if one.detector == "indicator"]
        assert (found.rule, found.severity, found.detail, found.pack) == ("t.hashes", "critical", place, "t@1")


def test_eicar_in_every_container() -> None:
    """Nothing that is opened hides it."""
    containers = {
        "zip": zipped({"e": EICAR}), "stored": zipped({"e": EICAR}, zipfile.ZIP_STORED), "tar": tarred({"e": EICAR}),
        "tgz": gzip.compress(tarred({"e": EICAR})), "cab": cab({"e": EICAR}), "7z": sevenzip({"e": EICAR}),
        "rar4": rar4({"e": EICAR}), "rar5": rar5({"e": EICAR}), "iso": iso({"E": EICAR}), "ole": ole({"e": EICAR}),
        "mail": mail({"e": EICAR}), "rtf": rtf(EICAR), "pdf": pdf([(b"/Filter /AHx", EICAR.hex().encode() + b">")]),
        **compressed(EICAR),
    }
    for name, data in containers.items():
        for outer in (data, zipped({"in": data})):
            assert "t.eicar" in making.told(making.judged(outer)), name
    assert set(OPENERS) - {"ar", "deb", "zstd", "swf", "onenote", "uu"} <= {
        "zip", "tar", "gzip", "cab", "7z", "rar", "iso", "ole", "mail", "rtf", "pdf", "bzip2", "xz", "lzma", "lzip"}


def test_a_file_that_is_pdf_zip_and_script_at_once() -> None:
    """All of its kinds, opened by each."""
    data = b"#!/bin/sh\nexit 0\n" + PDF + zipped({"eicar.com": EICAR})
    report = making.judged(data, "a.pdf")
    assert report.kinds == ("script", "archive", "document")
    assert making.told(report) == {"t.eicar": "high", "file.type_mismatch": "high"}


def test_the_name_of_the_file_is_judged() -> None:
    """Tricks, and content that is worse than it."""
    assert making.told(making.judged(GIF, "photo.jpg.exe")) == {"file.double_extension": "high"}
    assert making.told(making.judged(pe(), "photo\u202egpj.exe")) == {"file.bidi_name": "high"}
    assert making.told(making.judged(pe(), "photo.jpg")) == {"file.type_mismatch": "high"}
    assert making.told(making.judged(GIF, "photo.jpg")) == {}
    assert making.told(making.judged(b"text", "../../etc/passwd")) == {"file.unsafe_path": "high"}


def test_containers_that_are_not_opened_are_told() -> None:
    """As such, not as clean."""
    for data in (b"\x1f\x9d\x90" + bytes(20), b"070701" + b"0" * 120, bytes(7) + b"**ACE**" + bytes(20)):
        assert making.told(making.judged(data)) == {"file.unopened_archive": "medium"}


def test_what_is_too_large_is_not_judged() -> None:
    """ScanFailed, never clean."""
    limits = Limits(file_scan_bytes=100)
    assert making.judged(bytes(100), limits=limits).size == 100
    with pytest.raises(ScanFailed, match=r"more than limits\.file_scan_bytes"):
        making.judged(bytes(101), limits=limits)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """ScanFailed."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    number = os.open(path, os.O_WRONLY)
    try:
        with pytest.raises(ScanFailed, match="cannot be read"):
            making.judge().judge(number, File())
    finally:
        os.close(number)


def test_no_memory_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """ScanFailed."""
    def none(self: object, data: object, seconds: float) -> None:
        raise MemoryError

    monkeypatch.setattr(FileMatcher, "match", none)
    with pytest.raises(ScanFailed, match="memory"):
        making.judged(b"x")


def test_long_content_is_seen_in_windows() -> None:
    """What lies across the border of two is found, as the overlap is long enough."""
    limits = Limits(file_window_bytes=10_000, file_overlap_bytes=100)
    for at in (0, 5000, 9_950, 9_999, 19_800, 25_000):
        data = bytearray(30_000)
        data[at:at + len(EICAR)] = EICAR
        assert making.told(making.judged(bytes(data), limits=limits)) == {"t.eicar": "high"}, at


def test_a_rule_that_takes_too_long_is_told() -> None:
    """The file is not clean: not all rules were asked."""
    slow = making.rule("slow", "", "for all i in (0..100000000000) : (uint8(i % 7) != 255)", scope="file")
    judge = making.judge(slow, limits=Limits(archive_seconds=1))
    assert making.told(making.judged(b"some words", by=judge)) == {"file.budget": "high"}


def test_one_finding_for_each_rule() -> None:
    """With its worst severity, and its first places."""
    found = Found()
    for i, severity in enumerate(("low", "high", "medium", "low")):
        found.add("file", "file.x", severity, place=f"place {i}")  # type: ignore[arg-type]
    found.add("yara", "t.a", "critical", "title")
    worst, other = found.findings(10)
    assert (worst.rule, worst.detail) == ("t.a", "title")
    assert (other.severity, other.detail) == ("high", "place 0; place 1; place 2 … (4 in all)")
    assert found.findings(1) == (worst,)


def test_every_rule_is_in_the_list() -> None:
    """What openers and names can say is what the list says, and nothing else."""
    said = set()
    for path in (ROOT / "inspector" / "scan").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ("tell", "Trick"):
                    said.add(f"file.{node.args[0].value!s}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("file."):
                said.add(node.value)
    derived = {"file.pdf_javascript", "file.pdf_launch", "file.inner_executable", "file.inner_script",
               "file.inner_macro_document"}
    assert {one for one in said if one.count(".") == 1 and one not in ("file.", "file.inner_")} | derived == set(RULES)
    assert {format_of(name).name for name in OPENERS} == set(OPENERS)
    page = (ROOT / "docs" / "files.md").read_text()
    assert [rule for rule in RULES if f"`{rule}`" not in page] == []


SEEDS = seeds()
BOUNDS = Limits(archive_bytes=2 << 20, archive_members=100, archive_seconds=5)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A container with some bytes changed, cut or moved."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.integers(0, 4))
        if what == 0:
            data[at:at + 1] = bytes((draw(st.integers(0, 255)),))
        elif what == 1:
            data[at:at + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\x01\0\0\0", b"\xff\xff\xff\x7f"]))
        elif what == 2:
            del data[at:at + draw(st.integers(1, 200))]
        elif what == 3:
            data[at:at] = data[draw(st.integers(0, len(data))):][:draw(st.integers(1, 300))]
        else:
            data = data[:at]
    return bytes(data)


@settings(deadline=None)
@given(st.one_of(spoiled(), st.binary(max_size=2000)))
def test_any_bytes_end_in_a_report(data: bytes) -> None:
    """Within the budgets of members and time, whatever they are."""
    start = time.monotonic()
    report = making.judged(data, "a.bin", limits=BOUNDS)
    assert time.monotonic() - start < BOUNDS.archive_seconds + 10
    assert report.size == len(data)
    assert report.members <= BOUNDS.archive_members + 1
    assert {one.rule for one in report.findings if one.detector == "file"} <= set(RULES)


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_every_beginning_of_a_container_ends_in_a_report(number: int) -> None:
    """Cut anywhere: judged as far as it goes."""
    whole = SEEDS[number]
    for cut in sorted({*range(min(len(whole), 64)), *range(0, len(whole), max(1, len(whole) // 40))}):
        assert making.judged(whole[:cut], limits=BOUNDS).size == cut


def test_bytes_by_chance_are_judged_in_linear_time() -> None:
    """Eight megabytes of noise, of zeros, of one magic after another."""
    noise = random.Random(5).randbytes(8 << 20)
    for data in (noise, bytes(8 << 20), b"PK\x03\x04" * (2 << 20), b"%PDF-1.4\n" + b"stream\n" * (1 << 20),
                 b"\n--" * (2 << 20), b"{\\rtf" + b"\\objdata 41" * 500_000, b"PK\x05\x06" * (2 << 20),
                 b"From: a\nTo: b\nSubject: c\n\n" + b"begin " * (1 << 20), bz2.compress(b"") * 50_000,
                 gzip.compress(b"") * 50_000, lzma.compress(b"") * 30_000,
                 b"From: a\nTo: b\nSubject: c\n\n" + b"\nbegin 644 a\n" * 500_000):
        start = time.process_time()
        making.judged(data)
        assert time.process_time() - start < 8, data[:20]
