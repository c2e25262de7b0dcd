"""Files of the cache: whole, ours, or not read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from inspector.scan import mapped

MAGIC = b"a test 1\n"


def made(folder: Path, body: bytes = b"what is kept" * 100, name: str = "a.kind") -> Path:
    """A file as the cache writes it."""
    number, beside = mapped.new_file(folder)
    mapped.write(number, MAGIC, (body[:7], bytearray(body[7:])))
    os.close(number)
    mapped.keep(beside, folder / name)
    return folder / name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """In one piece, from parts of any kind; nothing but the file stays behind; nobody else may read it."""
    path = made(tmp_path)
    body = mapped.opened(path, MAGIC)
    assert body is not None and bytes(body) == b"what is kept" * 100 and body.readonly
    assert os.listdir(tmp_path) == ["a.kind"] and path.stat().st_mode & 0o777 == 0o600


def test_what_is_given_back_is_there_when_it_is_used(tmp_path: Path) -> None:
    """Giving pages back changes nothing that is read; bytes in memory have none to give."""
    body = mapped.opened(made(tmp_path), MAGIC)
    assert body is not None
    part = body[12:24]
    mapped.give_back(body)
    mapped.give_back(memoryview(b"bytes"))
    assert bytes(body) == b"what is kept" * 100 and bytes(part) == b"what is kept"


def test_what_is_mapped_outlives_the_name(tmp_path: Path) -> None:
    """A file that is replaced or removed stays as it was for those who have it."""
    body = mapped.opened(made(tmp_path), MAGIC)
    made(tmp_path, b"something else")
    (tmp_path / "a.kind").unlink()
    assert body is not None and bytes(body) == b"what is kept" * 100


@pytest.mark.parametrize("wrong", ["flip", "head", "short", "long", "empty", "magic", "shared", "link", "folder"])
def test_what_is_not_whole_or_not_ours_is_refused(tmp_path: Path, wrong: str) -> None:
    """A changed bit anywhere, a lost or added byte, another kind of file, one that others may write, a link."""
    path = made(tmp_path)
    data = bytearray(path.read_bytes())
    magic = MAGIC
    if wrong in ("flip", "head"):
        data[-1 if wrong == "flip" else 40] ^= 1
        path.write_bytes(data)
    elif wrong in ("short", "long", "empty"):
        path.write_bytes({"short": bytes(data[:-1]), "long": bytes(data) + b"x", "empty": b""}[wrong])
    elif wrong == "magic":
        magic = b"a test 2\n"
    elif wrong == "shared":
        path.chmod(0o660)
    elif wrong == "link":
        path.rename(tmp_path / "b")
        path.symlink_to(tmp_path / "b")
    else:
        path.unlink()
        path.mkdir()
    assert mapped.opened(path, magic) is None


def test_a_file_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    """The head is written last: a writer that dies leaves nothing that could be taken for a file."""
    number, path = mapped.new_file(tmp_path)

    def parts() -> object:
        yield b"x" * 1000
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        mapped.write(number, MAGIC, parts())  # type: ignore[arg-type]
    os.close(number)
    assert path.stat().st_size > 1000 and mapped.opened(path, MAGIC) is None


def test_the_oldest_go(tmp_path: Path) -> None:
    """The newest of a kind stay; what a dead writer left goes after a day; other kinds are left alone."""
    other = made(tmp_path, name="x.other")
    left, writing = tmp_path / ".new-left", tmp_path / ".new-writing"
    for path in (left, writing):
        path.write_bytes(b"")
    os.utime(left, (1, 1))
    for number in range(mapped.KEPT + 2):
        path = made(tmp_path, name=f"{number}.kind")
        os.utime(path, (1000 + number, 1000 + number))
    newest = made(tmp_path, name="newest.kind")
    os.utime(newest, (time.time(), time.time()))
    there = {path.name for path in tmp_path.glob("*.kind")}
    assert len(there) == mapped.KEPT and {"newest.kind", f"{mapped.KEPT + 1}.kind"} <= there and "0.kind" not in there
    assert other.exists() and writing.exists() and not left.exists()


def test_a_folder_of_ours(tmp_path: Path) -> None:
    """It is made, 0700; one that others may enter, a link, a file are none."""
    assert mapped.private_folder(tmp_path / "a" / "b") and (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "file").write_bytes(b"")
    assert not any(mapped.private_folder(tmp_path / name) for name in ("open", "link", "file"))
