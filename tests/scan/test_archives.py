"""Compressed streams, and the budgets that all openers share."""

from __future__ import annotations

import gzip
import lzma
import random
import zlib

import pytest
import zstandard

from inspector.model import Limits
from inspector.scan.archives import DICTIONARY, Damaged, Unopened, inflated, lzma_filter, raw_lzma, stem, unzstd
from tests.scan import making
from tests.scan.making_files import EICAR, compressed, tarred


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "lzma", "lz"])
def test_a_compressed_stream_is_opened(kind: str) -> None:
    """What is packed by any of the compressors is found, under the name that the file had."""
    report = making.judged(compressed(EICAR + bytes(1000))[kind], f"eicar.com.{kind}")
    assert report.kinds == ("archive",)
    assert report.members == 1
    assert [(one.rule, one.detail) for one in report.findings] == [("t.eicar", "d: eicar.com")]


def test_zstandard_is_opened() -> None:
    """Frames behind one another are one content."""
    pack = zstandard.ZstdCompressor().compress
    report = making.judged(pack(EICAR[:20]) + pack(EICAR[20:]), "eicar.com.zst")
    assert making.told(report) == {"t.eicar": "high"}


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_streams_behind_one_another_are_one(kind: str) -> None:
    """A content cut in two streams is found as if it were one."""
    data = compressed(EICAR[:20])[kind] + compressed(EICAR[20:])[kind]
    assert making.told(making.judged(data)) == {"t.eicar": "high"}


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "lzma"])
def test_a_stream_cut_short_is_damaged_and_judged_as_far_as_it_goes(kind: str) -> None:
    """What came before the cut is judged, the cut is told."""
    whole = compressed(EICAR + random.Random(1).randbytes(1_000_000))[kind]
    assert making.told(making.judged(whole[:-20_000])) == {"t.eicar": "high", "file.damaged": "low"}


def test_bytes_behind_a_gzip_are_told() -> None:
    """Anything but zeros behind the last stream is content that the archive does not show."""
    packed = gzip.compress(b"hello")
    assert making.told(making.judged(packed + bytes(512))) == {}
    assert making.told(making.judged(packed + b"MZ and more")) == {"file.hidden_content": "medium"}


def test_the_name_in_a_gzip_is_judged() -> None:
    """Its header says what the file is called when it is unpacked."""
    data = b"\x1f\x8b\x08\x08" + bytes(6) + b"../photo.jpg.exe\0" + gzip.compress(b"x", mtime=0)[10:]
    assert making.told(making.judged(data)) == {"file.double_extension": "high", "file.unsafe_path": "high"}


def test_a_tar_in_a_compressor_counts_as_two() -> None:
    """EICAR in a tar.gz is found with its path."""
    report = making.judged(gzip.compress(tarred({"a/eicar.com": EICAR})), "x.tgz")
    assert [one.detail for one in report.findings if one.pack] == ["d: x.tar; x.tar/a/eicar.com"]
    assert report.members == 2


def test_a_bomb_is_told_and_not_unpacked() -> None:
    """A hundred megabytes of nothing: unpacking ends at the ratio."""
    report = making.judged(gzip.compress(bytes(100 << 20)))
    assert making.told(report) == {"file.bomb": "high"}


def test_what_is_much_but_no_bomb_ends_at_the_bytes() -> None:
    """Unpacked bytes of the whole file are counted, whatever the ratio."""
    content = bytes(range(256)) * 4000
    report = making.judged(lzma.compress(content), limits=Limits(archive_bytes=500_000, archive_ratio=1 << 20))
    assert making.told(report) == {"file.budget": "high"}


def test_no_time_left_is_told() -> None:
    """A judgement that has used up its time says so."""
    report = making.judged(gzip.compress(EICAR), limits=Limits(archive_seconds=0))
    assert making.told(report) == {"file.budget": "high"}


def test_a_dictionary_that_is_too_large_is_not_made() -> None:
    """Properties that ask for more memory than is given are refused, unless less is needed."""
    with pytest.raises(Unopened):
        lzma_filter(b"\x5d\xff\xff\xff\xff")
    assert lzma_filter(b"\x5d\xff\xff\xff\xff", 100_000)["dict_size"] == 100_000
    with pytest.raises(Damaged):
        lzma_filter(b"\xff\0\0\1\0")
    huge = bytearray(lzma.compress(b"x" * 100, lzma.FORMAT_ALONE))
    huge[1:5] = b"\0\0\0\x80"
    assert set(making.told(making.judged(bytes(huge)))) == {"file.unopened_archive"}
    assert DICTIONARY < 1 << 28


def test_the_ends_of_streams_are_seen() -> None:
    """A stream without its end raises Damaged, after what was there."""
    packed = gzip.compress(b"hello" * 100)[10:-8]
    made = inflated([packed[:-3]])
    with pytest.raises(Damaged):
        list(made)
    assert b"".join(inflated([packed[:5], packed[5:]])) == b"hello" * 100
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    raw = lzma.compress(b"a" * 500, lzma.FORMAT_RAW, filters=filters)
    assert b"".join(raw_lzma([raw], filters, 500)) == b"a" * 500
    with pytest.raises(Damaged):
        list(raw_lzma([raw], filters, 501))


def test_zstandard_gives_little_at_a_time() -> None:
    """A frame of a hundred megabytes of nothing comes in blocks that a budget can stop."""
    packed = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    sizes = []
    for block in unzstd([packed]):
        sizes.append(len(block))
        if len(sizes) > 5:
            break
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize(("name", "inner"), [
    ("a.tgz", "a.tar"), ("a.tar.gz", "a.tar"), ("a.txt.gz", "a.txt"), ("photo.jpg", "content"), (".gz", "content"),
])
def test_what_a_compressed_file_is_called(name: str, inner: str) -> None:
    """The ending of the compressor is taken off; another name says nothing."""
    assert stem(name, "gz") == inner


def test_flash_is_seen_unpacked() -> None:
    """Both ways of packing it; a broken one as far as it goes."""
    body = EICAR + bytes(300)
    head = b"\x0a" + (8 + len(body)).to_bytes(4, "little")
    raw = lzma.compress(body, lzma.FORMAT_RAW, filters=[
        {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}])
    for data in (b"CWS" + head + zlib.compress(body), b"CWS" + head + zlib.compress(body, 0)[:-100],
                 b"ZWS" + head + len(raw).to_bytes(4, "little") + b"\x5d\0\0\1\0" + raw):
        report = making.judged(data, "a.swf")
        assert report.kinds == ("web",)
        assert "t.eicar" in making.told(report)


def test_a_header_that_zlib_refuses_hides_nothing() -> None:
    """Reserved flags and a wrong checksum of the header (RFC 1952 2.3.1): some readers do not mind."""
    packed = gzip.compress(EICAR, mtime=0)
    for data in (packed[:3] + b"\x80" + packed[4:], packed[:3] + b"\x02" + packed[4:10] + b"\xff\xff" + packed[10:]):
        assert making.told(making.judged(data)) == {"t.eicar": "high", "file.damaged": "low"}
