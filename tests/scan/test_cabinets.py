"""Microsoft cabinets."""

from __future__ import annotations

import random

import pytest

from tests.scan import making
from tests.scan.making_files import EICAR, cab


@pytest.mark.parametrize("mszip", [True, False])
def test_the_files_of_a_cabinet(mszip: bool) -> None:
    """Several in one stream, longer than one block: each is found where it begins."""
    noise = random.Random(2).randbytes(70_000)
    members = {"noise.dat": noise, "sub\\eicar.com": EICAR, "photo.jpg.exe": b"x"}
    report = making.judged(cab(members, mszip), "a.cab")
    assert (report.kinds, report.members) == (("archive",), 3)
    assert making.told(report) == {"t.eicar": "high", "file.double_extension": "high"}
    assert any("sub\\eicar.com" in one.detail for one in report.findings)


def test_a_window_over_blocks() -> None:
    """A block of MSZIP may copy from the block before."""
    piece = random.Random(3).randbytes(32768)
    rule = making.rule("end", '$a = "the end"', "$a", scope="file")
    report = making.judged(cab({"a": piece + piece + b"the end"}), by=making.judge(rule))
    assert making.told(report) == {"t.end": "high"}


def test_methods_that_are_not_unpacked() -> None:
    """LZX is told; the names are judged."""
    report = making.judged(cab({"photo.jpg.exe": EICAR}, False, 0x0f03))
    assert making.told(report)["file.unopened_archive"] == "medium"
    assert making.told(report)["file.double_extension"] == "high"


def test_a_damaged_cabinet() -> None:
    """Cut short, and with a block that is none."""
    whole = cab({"a": EICAR + bytes(100)})
    assert making.told(making.judged(whole[:-40])) == {"file.damaged": "low"}
    assert making.told(making.judged(whole[:40])) == {"file.damaged": "low"}
    assert making.told(making.judged(whole.replace(b"CK", b"XX"))) == {"file.damaged": "low"}
