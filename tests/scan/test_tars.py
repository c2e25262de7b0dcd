"""Archives whose files lie unpacked behind one another: tar, ar, ISO 9660."""

from __future__ import annotations

import io
import tarfile

import pytest

from tests.scan import making
from tests.scan.making_files import EICAR, iso, pe, tar_entry, tarred


def test_links_and_devices_are_told() -> None:
    """By how far they lead: within the archive, to a fixed place, out of the folder."""
    def severity(link: str, name: str = "a/b/link") -> str:
        return making.told(making.judged(tarred({}, extra=[tar_entry(name, tarfile.SYMTYPE, link)])))["file.link"]

    assert [severity(link) for link in ("../c", "/etc/passwd", "../../../x", "c/../d")] == [
        "low", "medium", "high", "low"]
    hard = tarred({}, extra=[tar_entry("a", tarfile.LNKTYPE, "../x")])
    assert making.told(making.judged(hard)) == {"file.link": "high"}
    devices = tarred({}, extra=[tar_entry("d", tarfile.CHRTYPE), tar_entry("p", tarfile.FIFOTYPE)])
    assert making.told(making.judged(devices)) == {"file.device": "medium"}


def test_paths_of_members_are_told() -> None:
    """Absolute ones, and those that leave the folder."""
    assert making.told(making.judged(tarred({"/etc/cron.d/x": b"a"}))) == {"file.unsafe_path": "medium"}
    assert making.told(making.judged(tarred({"../x": b"a"}))) == {"file.unsafe_path": "high"}


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_each_dialect(format_: int) -> None:
    """A name too long for the header is judged in full."""
    out = io.BytesIO()
    name = "d" * 90 + "/" + "e" * 60 + ".jpg.exe"
    with tarfile.open(fileobj=out, mode="w", format=format_) as made:
        info = tarfile.TarInfo(name)
        info.size = len(EICAR)
        made.addfile(info, io.BytesIO(EICAR))
    report = making.judged(out.getvalue())
    assert making.told(report) == {"t.eicar": "high", "file.double_extension": "high"}
    assert any(one.detail.endswith("e.jpg.exe: .jpg and .exe") for one in report.findings)


def test_files_behind_the_end_are_read() -> None:
    """Two empty blocks end a tar for some readers only."""
    report = making.judged(tarred({"a": b"a"}) + tarred({"b": EICAR}))
    assert making.told(report) == {"t.eicar": "high", "file.hidden_content": "medium"}
    assert report.members == 2


def test_a_broken_block_is_damaged_and_skipped() -> None:
    """What follows it is judged."""
    data = bytearray(tarred({"a": b"a", "b": EICAR}))
    data[148:156] = b"7777777\0"
    report = making.judged(tarred({"first": b"x"})[:1024] + bytes(data))
    assert making.told(report) == {"t.eicar": "high", "file.damaged": "low"}


def test_a_file_longer_than_the_tar() -> None:
    """Judged as far as it is there."""
    data = tarred({"a": EICAR + bytes(5000)})
    assert making.told(making.judged(data[:2048])) == {"t.eicar": "high", "file.damaged": "low"}


def _ar(members: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def test_a_debian_package_is_opened() -> None:
    """ar of tars; a program and an archive."""
    report = making.judged(_ar({"debian-binary": b"2.0\n", "data.tar": tarred({"./bin/x": EICAR})}), "a.deb")
    assert report.kinds == ("executable", "installer", "archive")
    assert making.told(report) == {"t.eicar": "high"}
    assert report.members == 3


def test_long_names_of_ar() -> None:
    """GNU's in a table of their own, BSD's in front of the content."""
    data = _ar({"//": b"a-long-name.jpg.exe/\n\n", "/0": b"x", "#1/15": b"other.pdf.scr\0\0y"})
    report = making.judged(data)
    finding = report.findings[0]
    assert (finding.rule, report.members) == ("file.double_extension", 2)
    assert "a-long-name.jpg.exe" in finding.detail and "other.pdf.scr" in finding.detail
    assert making.told(making.judged(b"!<arch>\n" + bytes(60) + b"x")) == {"file.damaged": "low"}


def test_an_image_of_a_disc() -> None:
    """Its files are judged by both of their names, once."""
    image = iso({"EICAR.COM;1": EICAR, "X.EXE;1": pe()}, {"photo.jpg.exe": b"x"})
    report = making.judged(image, "a.iso")
    assert report.kinds == ("disk_image",)
    assert making.told(report) == {
        "t.eicar": "high", "file.double_extension": "high"}
    assert report.members == 3


def test_an_image_that_goes_in_a_ring() -> None:
    """A folder that is its own child, and a file beyond the end."""
    image = bytearray(iso({"A.;1": b"x"}))
    at = image.find(b"A.;1") - 33
    image[at + 25] |= 2
    image[at + 2:at + 6] = (18).to_bytes(4, "little")
    assert making.told(making.judged(bytes(image))) == {}
    beyond = bytearray(iso({"A.;1": b"x"}))
    at = beyond.find(b"A.;1") - 33
    beyond[at + 2:at + 6] = (9999).to_bytes(4, "little")
    assert making.told(making.judged(bytes(beyond))) == {"file.damaged": "low"}
