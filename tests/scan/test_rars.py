"""RAR archives: names and stored files; the rest is told as what it is."""

from __future__ import annotations

import pytest

from tests.scan import making
from tests.scan.making_files import EICAR, GIF, rar4, rar5

MEMBERS = {"photo.jpg.exe": b"x", "sub/eicar.com": EICAR}


@pytest.mark.parametrize("data", [rar5(MEMBERS), rar4(MEMBERS)], ids=["rar5", "rar4"])
def test_stored_files_are_read(data: bytes) -> None:
    """In both generations, and behind a stub."""
    report = making.judged(data, "a.rar")
    assert (report.kinds, report.members, report.encrypted) == (("archive",), 2, False)
    assert making.told(report) == {"t.eicar": "high", "file.double_extension": "high"}
    assert making.judged(GIF + data).kinds == ("archive", "image")


@pytest.mark.parametrize("data", [rar5(MEMBERS, 3), rar4(MEMBERS, 0x33)], ids=["rar5", "rar4"])
def test_compressed_files_are_told_as_unopened(data: bytes) -> None:
    """Their names are judged."""
    report = making.judged(data)
    assert report.members == 2
    assert making.told(report)["file.unopened_archive"] == "medium"
    assert making.told(report)["file.double_extension"] == "high"


@pytest.mark.parametrize("data", [
    rar5(MEMBERS, 3, encrypted=True), rar5({}, headers=True), rar4(MEMBERS, flags=4), rar4({}, main_flags=0x80),
], ids=["rar5 files", "rar5 headers", "rar4 files", "rar4 headers"])
def test_what_is_encrypted_is_told(data: bytes) -> None:
    """Files, or the whole of it with the names."""
    report = making.judged(data)
    assert report.encrypted
    assert making.told(report)["file.encrypted"] == "medium"


@pytest.mark.parametrize("data", [rar5(MEMBERS), rar4(MEMBERS)], ids=["rar5", "rar4"])
def test_damage_is_told(data: bytes) -> None:
    """Cut in the middle of a header, and of a file."""
    for cut in range(20, len(data) - 1, 7):
        assert set(making.told(making.judged(data[:cut]))) <= {
            "file.damaged", "t.eicar", "file.double_extension"}
    assert "file.damaged" in making.told(making.judged(data[:len(data) - 40]))
