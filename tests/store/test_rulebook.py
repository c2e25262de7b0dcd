"""Kept rules: what was in force can be had again, what is too old or too much goes, nothing else is believed."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest

from inspector.store.rulebook import Rulebook

HEX = "ab" * 32
PACKS = f"sha256:{HEX}"


def digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def keep(book: Rulebook, text: bytes, packs: str = PACKS, files: tuple[tuple[str, Path], ...] = (), *,
         days: float = 400, count: int = 64, size: int = 1 << 30) -> str:
    """Keep a policy with packs; its digest."""
    book.keep((digest(text), text), (packs, files), days=days, count=count, size=size)
    return digest(text)


@pytest.fixture
def book(tmp_path: Path) -> Rulebook:
    return Rulebook(tmp_path / "var" / "rules")


def test_what_is_kept_can_be_had_again(book: Rulebook, tmp_path: Path) -> None:
    """Policy and packs, byte for byte; private; a second time costs nothing and changes nothing."""
    (tmp_path / "pack.yaml").write_text("name: core\n")
    (tmp_path / "urls.csv").write_bytes(b"x" * 3_000_000)
    os.utime(tmp_path / "urls.csv", (1, 1))
    files = (("core/pack.yaml", tmp_path / "pack.yaml"), ("core/urls.csv", tmp_path / "urls.csv"))
    name = keep(book, b"rules: []\n", files=files)
    assert book.policy(name) == b"rules: []\n"
    into = tmp_path / "into"
    into.mkdir()
    assert book.packs(PACKS, into) is True
    assert (into / "core" / "urls.csv").read_bytes() == b"x" * 3_000_000
    assert (into / "core" / "pack.yaml").read_text() == "name: core\n"
    assert stat.S_IMODE(book.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in book.folder.iterdir()} == {0o600}
    before = sorted((file.name, file.stat().st_ino) for file in book.folder.iterdir() if file.name != "current")
    keep(book, b"rules: []\n")
    assert sorted((file.name, file.stat().st_ino) for file in book.folder.iterdir() if file.name != "current") == before


@pytest.mark.parametrize("name", ["", "sha256:", HEX, "sha256:../../etc", f"sha256:{HEX}", "sha256:" + "AB" * 32])
def test_what_is_not_kept_is_none(book: Rulebook, tmp_path: Path, name: str) -> None:
    """Unknown digests, and what is none: never a path of somebody's choice."""
    keep(book, b"a", packs="sha256:" + "cd" * 32)
    assert book.policy(name) is None
    assert book.packs(name, tmp_path) is False


def test_a_policy_that_was_changed_is_not_believed(book: Rulebook) -> None:
    """Its digest is not its name; nor is one that is no more whole."""
    import zlib

    name = keep(book, b"rules: []\n")
    path = next(book.folder.glob("policy-*"))
    for data in (zlib.compress(b"rules: [1]\n"), b"", b"nonsense", path.read_bytes()[:5]):
        path.write_bytes(data)
        assert book.policy(name) is None


@pytest.mark.parametrize("inside", ["../out", "core/../out", "/out", "core/.hidden", ".core/out", "core/", "out"])
def test_an_archive_that_leads_elsewhere_is_refused(book: Rulebook, tmp_path: Path, inside: str) -> None:
    """One that somebody has put there writes nothing outside."""
    keep(book, b"a")
    with zipfile.ZipFile(book.folder / f"packs-{HEX}.zip", "w") as archive:
        archive.writestr(inside, b"x")
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    assert book.packs(PACKS, into) is False
    assert [path for path in (tmp_path / "deep").rglob("*") if path.is_file()] == []


def test_what_was_not_in_force_for_long_goes(book: Rulebook) -> None:
    """By days since it was last in force; what was in force until now was in force until now, however old its file."""
    first = keep(book, b"1")
    old = next(book.folder.glob("policy-*"))
    os.utime(old, (1, 1))
    second = keep(book, b"2", days=10)
    assert book.policy(first) == b"1" and time.time() - old.stat().st_mtime < 60
    os.utime(old, (1, 1))
    keep(book, b"2", days=10)
    assert book.policy(first) is None and book.policy(second) == b"2"


def test_bounds_of_number_and_bytes(book: Rulebook) -> None:
    """The oldest go first; what is in force stays whatever the bounds."""
    names = []
    for n in range(6):
        names.append(keep(book, b"%d" % n, count=3))
        for age, name in enumerate(reversed(names)):
            path = book.folder / f"policy-{name.removeprefix('sha256:')}.z"
            if path.exists():
                os.utime(path, (time.time() - 10 * age,) * 2)
    assert [book.policy(name) is not None for name in names] == [False, False, False, True, True, True]
    last = keep(book, b"6", size=1)
    assert [book.policy(name) is not None for name in names] == [False] * 6
    assert book.policy(last) == b"6"


def test_what_a_killed_process_left_goes_in_time(book: Rulebook) -> None:
    """Half a file under another name: not at once, since another process may be at it."""
    keep(book, b"1")
    left = book.folder / ".new-x"
    left.write_bytes(b"half")
    keep(book, b"1")
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    keep(book, b"1")
    assert not left.exists()


def test_what_cannot_be_written_leaves_nothing_behind(book: Rulebook, tmp_path: Path) -> None:
    """A file of a pack is gone: OSError, and no half archive."""
    with pytest.raises(FileNotFoundError):
        keep(book, b"1", files=(("core/x", tmp_path / "none"),))
    assert [file.name for file in book.folder.iterdir() if file.name.startswith((".new", "packs"))] == []
