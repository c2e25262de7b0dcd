"""7z archives."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib

import pytest

from tests.scan import making
from tests.scan.making_files import EICAR, pe, sevenzip

PROGRAM = pe(3000)[:200] + b"".join(b"\xe8" + struct.pack("<L", i * 977) for i in range(500)) + bytes(300)
"""With calls, which the branch filter changes."""


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("coder", ["copy", "lzma", "lzma2", "bcj", "delta", "deflate", "bzip2"])
def test_the_coders_of_7z(coder: str, encoded: bool) -> None:
    """Each gives back every file exactly; a packed header too."""
    hashes = "kind,value,severity,description\nsha256," + hashlib.sha256(PROGRAM).hexdigest() + ",high,bad\n"
    members = {"noise": random.Random(1).randbytes(500), "sub/a.exe": PROGRAM, "eicar.com": EICAR}
    data = sevenzip(members, coder, encoded=encoded, empty=["nothing.jpg.exe"])
    report = making.judged(data, "a.7z", by=making.judge(bad=hashes))
    assert (report.kinds, report.members) == (("archive",), 4)
    assert making.told(report) == {
        "t.eicar": "high", "t.bad": "high", "file.double_extension": "high"}


def test_what_is_encrypted() -> None:
    """By the coder; the names are judged."""
    report = making.judged(sevenzip({"a.jpg.exe": EICAR}, "aes"))
    assert report.encrypted
    assert making.told(report)["file.encrypted"] == "medium"
    assert making.told(report)["file.double_extension"] == "high"


def test_what_is_not_unpacked() -> None:
    """PPMd is told."""
    told = making.told(making.judged(sevenzip({"a": bytes(100)}, "ppmd")))
    assert told == {"file.unopened_archive": "medium"}


def test_behind_a_stub() -> None:
    """A program with a 7z behind it is both; the magic alone is not."""
    data = sevenzip({"eicar.com": EICAR})
    report = making.judged(pe(5000) + data)
    assert report.kinds == ("executable", "archive")
    assert making.told(report) == {"t.eicar": "high"}
    assert making.judged(pe(5000) + data[:6] + bytes(100)).kinds == ("executable",)


def test_damage_is_told() -> None:
    """A header that is not there, that is wrong, that ends too early; data that is cut."""
    data = sevenzip({"eicar.com": EICAR}, "copy")
    assert making.told(making.judged(data[:20])) == {"file.damaged": "low"}
    assert "file.damaged" in making.told(making.judged(data[:-3]))
    wrong = bytearray(data)
    wrong[-5] ^= 1
    assert "file.damaged" in making.told(making.judged(bytes(wrong)))
    header = b"\x01\x04\x06\x00\xff" + b"\xff" * 8
    start = struct.pack("<QQL", 0, len(header), zlib.crc32(header))
    lying = b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<L", zlib.crc32(start)) + start + header
    assert making.told(making.judged(lying)) == {"file.damaged": "low"}
