"""Content by position: in memory, in a long file, a piece of another."""

from __future__ import annotations

import io
import mmap
from pathlib import Path

import pytest

from inspector.scan import content
from inspector.scan.content import Content, Held, Lying, Part, blocks, content_of, find

DATA = bytes(range(256)) * 5000


@pytest.fixture(params=["held", "lying", "part", "map"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Content:
    """The same bytes, however they lie."""
    path = tmp_path / "f"
    path.write_bytes(b"front" + DATA + b"back" if request.param == "part" else DATA)
    if request.param == "held":
        return Held(DATA)
    file = path.open("rb")
    request.addfinalizer(file.close)
    if request.param == "map":
        return content_of(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    lying = Lying(file.fileno(), path.stat().st_size)
    return Part(lying, 5, len(DATA)) if request.param == "part" else lying


@pytest.mark.parametrize(("at", "count"), [
    (0, 10), (300, 1), (0, len(DATA)), (777, 600_000), (len(DATA) - 3, 10), (len(DATA), 5), (5, 0), (-1, 5), (9, -4),
])
def test_what_is_read(whole: Content, at: int, count: int) -> None:
    """Bytes within; fewer or none beyond."""
    expected = DATA[at:at + count] if at >= 0 and count > 0 else b""
    assert whole.size == len(DATA)
    assert whole.read(at, count) == expected
    assert bytes(whole.view(at, count)) == expected


def test_blocks_are_all_of_it(whole: Content) -> None:
    """In order, from and to where it is asked."""
    assert b"".join(map(bytes, blocks(whole, step=100_000))) == DATA
    assert b"".join(map(bytes, blocks(whole, 10, 500_000, 77_777))) == DATA[10:500_000]


def test_find(whole: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the borders of the pieces that are looked at, and not beyond the end that is given."""
    monkeypatch.setattr(content, "BLOCK", 300)
    what = bytes((250, 251, 252, 253, 254, 255, 0, 1))
    assert find(whole, what) == 250
    assert find(whole, what, 251) == 506
    assert find(whole, what, 251, 513) == -1
    assert find(whole, b"nowhere") == -1


def test_sources_of_content(tmp_path: Path) -> None:
    """Bytes, files by object and by number, whatever their position; a file that is not there raises."""
    path = tmp_path / "f"
    path.write_bytes(b"hello")
    with path.open("rb") as file:
        file.read()
        for source in (b"hello", io.BytesIO(b"hello"), file, file.fileno()):
            made = content_of(source)
            assert (made.size, made.read(0, 99)) == (5, b"hello")
        number = file.fileno()
    with pytest.raises(OSError, match="descriptor"):
        content_of(number)


def test_a_file_that_got_shorter(tmp_path: Path) -> None:
    """What is not there any more is not read."""
    path = tmp_path / "f"
    path.write_bytes(DATA)
    with path.open("r+b") as file:
        lying = Lying(file.fileno(), len(DATA))
        file.truncate(100)
        assert lying.read(0, 1000) == DATA[:100]
        assert [bytes(one) for one in blocks(lying, 200, step=1000)] == []
        with pytest.raises(OSError, match="shorter"):
            lying.view(0, 1_000_000)
