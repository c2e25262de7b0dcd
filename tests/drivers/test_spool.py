"""The spool: records in, the same records out, private, bounded, and gone when they are not needed."""

from __future__ import annotations

import errno
import os
import stat
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.drivers import spool as module
from inspector.drivers.spool import BATCH, Spool, Spooled, SpoolError
from inspector.model import Limits

PLENTY = 1 << 40


def made(folder: Path, limits: Limits | None = None, free: int = PLENTY) -> Spool:
    """A started spool on a disk with `free` bytes."""
    bounds = limits or Limits()
    spool = Spool(folder / "spool", lambda: bounds, lambda _: free)
    spool.start()
    return spool


def everything(file: Spooled) -> list[bytes]:
    """All batches."""
    batches, end = [], False
    while not end:
        data, end = file.next()
        batches.append(data)
    return batches


def content(file: Spooled) -> bytes:
    """What would be judged."""
    descriptor = file.content()
    try:
        return os.pread(descriptor, 1 << 26, 0)
    finally:
        os.close(descriptor)


def test_content_is_judged_and_raw_is_given_back(tmp_path: Path) -> None:
    """Headers, chunk sizes and what has no raw (it was sent already) each go where they belong, in order."""
    spool = made(tmp_path)
    file = spool.open()
    file.append(b"", b"PUT / HTTP/1.1\r\n\r\n")
    file.append(b"one", b"3\r\none\r\n")
    file.append(b"two", b"two")
    file.append(b"three")
    file.append(b"four", b"four")
    assert content(file) == b"onetwothreefour"
    assert everything(file) == [b"PUT / HTTP/1.1\r\n\r\n3\r\none\r\ntwofour"]
    assert (file.size, file.next()) == (15, (b"", True))


def test_equal_bytes_are_stored_once(tmp_path: Path) -> None:
    """A raw that is its content costs the disk nothing more."""
    spool = made(tmp_path)
    file = spool.open()
    for _ in range(10):
        file.append(b"x" * 1000, b"x" * 1000)
    assert spool.bytes == 10_000
    file.append(b"y", b"z")
    assert spool.bytes == 10_002


@given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from(["same", "none", "other", "longer"])), max_size=200))
def test_any_records_come_back(tmp_path_factory: pytest.TempPathFactory, records: list[tuple[bytes, str]]) -> None:
    """Whatever records are mixed: content and raw come back whole and in order, the count returns to nothing."""
    spool = made(tmp_path_factory.getbasetemp())
    file = spool.open()
    wanted = b""
    for data, how in records:
        raw = {"same": data, "none": b"", "other": data[::-1], "longer": b"<" + data + b">"}[how]
        file.append(data, raw)
        wanted += raw
    assert b"".join(everything(file)) == wanted
    assert content(file) == b"".join(data for data, _ in records)
    file.discard()
    assert (spool.bytes, spool.files) == (0, 0)


def test_a_batch_holds_whole_records(tmp_path: Path) -> None:
    """Each batch is about 64 KiB and ends where a record ends; a record is never cut."""
    spool = made(tmp_path)
    file = spool.open()
    for number in range(300):
        file.append(b"", b"%05d" % number * 200)
    for batch in everything(file):
        assert len(batch) % 1000 == 0
        assert len(batch) <= 2 * BATCH
    big = spool.open()
    big.append(b"", b"a" * 300_000)
    big.append(b"", b"b")
    assert everything(big) == [b"a" * 300_000, b"b"]


def test_alternating_records_do_not_grow_the_index(tmp_path: Path) -> None:
    """A sender that mixes both kinds byte by byte ends in one kind: batches stay large, the index small."""
    spool = made(tmp_path)
    file = spool.open()
    for number in range(20_000):
        file.append(b"abcd", b"abcd" if number % 2 else b"<abcd>")
    assert len(file._entries) < 2 * module.SWITCHES
    assert len(b"".join(everything(file))) == 10_000 * 4 + 10_000 * 6


def test_a_large_file_costs_no_memory(tmp_path: Path) -> None:
    """100 MB through the spool: less than a megabyte is ever held."""
    spool = made(tmp_path)
    file = spool.open()
    block = bytes(65536)
    tracemalloc.start()
    try:
        for _ in range(1600):
            file.append(block, block)
        size, end = 0, False
        while not end:
            data, end = file.next()
            size += len(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        file.discard()
    assert size == 1600 * 65536
    assert peak < 1 << 20


def test_files_are_private_and_have_no_name(tmp_path: Path) -> None:
    """The folder is 0700 whatever it was; what is spooled can be reached through its descriptor alone, which is 0600;
    the one that is given away cannot be written."""
    (tmp_path / "spool").mkdir(mode=0o755)
    spool = made(tmp_path)
    file = spool.open()
    file.append(b"secret", b"raw")
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert list((tmp_path / "spool").iterdir()) == [spool.empty]
    assert stat.S_IMODE(os.fstat(file._content).st_mode) == 0o600
    given_away = file.content()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(given_away, b"x")
    os.close(given_away)
    file.discard()


@pytest.mark.parametrize("names", [False, True])
def test_a_file_system_that_knows_no_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: bool,
) -> None:
    """A file never has a name where that can be (to take it away may wait for the disk); elsewhere it has one for a
    moment, and it is asked for once only."""
    asked: list[int] = []
    unlinked: list[Path] = []
    real, take = os.open, os.unlink

    def opened(path: Path | str, flags: int, mode: int = 0o777) -> int:
        nameless = flags & os.O_TMPFILE == os.O_TMPFILE
        asked.append(nameless)
        if nameless and names:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, mode)

    def unlink(path: Path) -> None:
        unlinked.append(path)
        take(path)

    spool = made(tmp_path)
    monkeypatch.setattr("inspector.drivers.spool.os.open", opened)
    monkeypatch.setattr("inspector.drivers.spool.os.unlink", unlink)
    for _ in range(2):
        file = spool.open()
        file.append(b"content", b"raw")
        assert file.next() == (b"raw", True)
        file.discard()
    assert asked == ([True, *[False] * 4] if names else [True] * 4)
    assert len(unlinked) == (4 if names else 0)


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    """What a crash left is deleted and counted: it was delivered to nobody. Other files are not ours to delete."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "spool-1-1").write_bytes(b"half")
    (folder / "spool-1-2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"stays")
    (folder / "README").write_text("stays")
    spool = made(tmp_path)
    assert spool.swept == 2
    assert sorted(path.name for path in folder.iterdir()) == ["README", "empty"]
    assert (tmp_path / "elsewhere").exists()


def test_the_quota_refuses_and_gives_back(tmp_path: Path) -> None:
    """Beyond spool_total_bytes a file is given up as a whole; what it took is free for others."""
    spool = made(tmp_path, Limits(spool_total_bytes=1000))
    one, two = spool.open(), spool.open()
    one.append(b"x" * 600, b"x" * 600)
    two.append(b"y" * 300)
    with pytest.raises(SpoolError, match="spool_total_bytes"):
        two.append(b"y" * 90, b"other" * 10)
    assert (spool.bytes, spool.refused) == (600, 1)
    with pytest.raises(SpoolError, match="spool_total_bytes"):
        two.append(b"more")
    with pytest.raises(SpoolError):
        two.content()
    with pytest.raises(SpoolError):
        two.next()
    one.append(b"z" * 400)
    assert spool.bytes == 1000
    one.discard()
    one.discard()
    assert (spool.bytes, spool.files) == (0, 0)


def test_nobody_takes_the_room_of_all(tmp_path: Path) -> None:
    """Bytes and files of one client are bounded; another one still has room, and so has he when his are gone."""
    spool = made(tmp_path, Limits(spool_client_bytes=100, spool_client_files=2, spool_files=4))
    greedy = spool.open("10.0.0.1")
    greedy.append(b"x" * 100)
    with pytest.raises(SpoolError, match="spool_client_bytes"):
        spool.open("10.0.0.1").append(b"x")
    spool.open("10.0.0.2").append(b"x" * 100)
    greedy.discard()
    spool.open("10.0.0.1").append(b"x" * 50)
    second = spool.open("10.0.0.1")
    second.append(b"x" * 50)
    second.discard()
    third = spool.open("10.0.0.1")
    third.append(b"x")
    with pytest.raises(SpoolError, match="spool_client_files"):
        spool.open("10.0.0.1").append(b"y")
    assert (spool.refused, spool.files) == (2, 3)


def test_files_in_the_spool_are_bounded(tmp_path: Path) -> None:
    """Each takes open files of the process, however small it is."""
    spool = made(tmp_path, Limits(spool_files=2))
    first = spool.open("10.0.0.1")
    first.append(b"x")
    spool.open("10.0.0.2").append(b"x")
    with pytest.raises(SpoolError, match="spool_files"):
        spool.open("10.0.0.3").append(b"x")
    first.discard()
    spool.open("10.0.0.3").append(b"x")


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    """The event log shares the disk: below spool_free_bytes nothing more is spooled."""
    spool = made(tmp_path, Limits(spool_free_bytes=1000), free=1500)
    spool.open().append(b"x" * 500)
    with pytest.raises(SpoolError, match="spool_free_bytes"):
        made(tmp_path, Limits(spool_free_bytes=1000), free=1500).open().append(b"x" * 501)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails gives the file up, in a sentence."""
    spool = made(tmp_path)
    file = spool.open()
    file.append(b"x")

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(SpoolError, match="the disk is full"):
        file.append(b"y")
    assert (spool.bytes, spool.files) == (0, 0)


def test_a_spool_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A folder that has vanished, too many open files: a sentence, no traceback."""
    spool = made(tmp_path)
    spool.empty.rmdir()
    spool.folder.rmdir()
    with pytest.raises(SpoolError, match="no such file or directory"):
        spool.open().append(b"x")
    assert spool.bytes == 0


def test_an_empty_file_can_be_judged(tmp_path: Path) -> None:
    """A file of no bytes has a content all the same."""
    file = made(tmp_path).open()
    assert content(file) == b""
    assert file.next() == (b"", True)
