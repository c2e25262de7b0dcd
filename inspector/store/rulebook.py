"""Policies and packs that were in force, kept by what is in them: what `inspector events --rejudge` decides again with.

    <folder>/policy-<hex>.z       the source of a policy, compressed; <hex> is the SHA-256 that verdict rows name
    <folder>/packs-<hex>.zip      the files of all packs of a rule set, under <pack>/<file>
    <folder>/current              names of those in force

All 0600, in a folder 0700. Written as a whole under another name first. The time of a file is when it was last in
force; what was not for `days`, and the oldest above `count` of a kind or `size` bytes in all, goes.

Errors: OSError, from `keep`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

_PREFIX = "sha256:"
_HEX = frozenset("0123456789abcdef")
POLICY_BYTES = 64 << 20
"""Longest source of a policy that is believed."""
_CHUNK = 1 << 20


class Rulebook:
    """One folder of kept rules. Several processes may keep the same at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(
        self, policy: tuple[str, bytes], packs: tuple[str, Iterable[tuple[str, Path]]], *, days: float,
        count: int, size: int,
    ) -> None:
        """Keep what is in force from now on: (digest, source), (digest, (name in the archive, file) …). Raises OSError.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What is in force until now was in force until now.
        for name in self._current():
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.folder / name)
        names = [_name("policy", policy[0]), _name("packs", packs[0])]
        if not (self.folder / names[0]).exists():
            self._write(names[0], zlib.compress(policy[1], 6))
        if not (self.folder / names[1]).exists():
            self._pack(names[1], packs[1])
        for name in names:
            os.utime(self.folder / name)
        self._write("current", "\n".join(names).encode())
        self._tidy(frozenset(names), days, count, size)

    def policy(self, digest: str) -> bytes | None:
        """The source of a policy; None: it is not kept, or it is not what its name says."""
        try:
            packed = (self.folder / _name("policy", digest)).read_bytes()
            text = zlib.decompressobj().decompress(packed, POLICY_BYTES)
        except (OSError, ValueError, zlib.error):
            return None
        return text if _PREFIX + hashlib.sha256(text).hexdigest() == digest else None

    def packs(self, digest: str, into: Path) -> bool:
        """Lay packs out in a folder; False: they are not kept. Whether they are what their name says is told by who
        loads them."""
        try:
            with zipfile.ZipFile(self.folder / _name("packs", digest)) as archive:
                for entry in archive.infolist():
                    pack, slash, name = entry.filename.partition("/")
                    if not (slash and pack and name) or "/" in name or pack[0] == "." or name[0] == ".":
                        return False
                    (into / pack).mkdir(mode=0o700, exist_ok=True)
                    with archive.open(entry) as source, _fresh(into / pack / name) as file:
                        while data := source.read(_CHUNK):
                            file.write(data)
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
            return False
        return True

    def _current(self) -> list[str]:
        try:
            names = (self.folder / "current").read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return []
        return [name for name in names if name.startswith(("policy-", "packs-")) and "/" not in name]

    def _write(self, name: str, data: bytes) -> None:
        handle, fresh = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(fresh, self.folder / name)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            raise

    def _pack(self, name: str, files: Iterable[tuple[str, Path]]) -> None:
        handle, fresh = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
                for inside, path in files:
                    # Without its date: a file of 1970 cannot be written into an archive.
                    with zipped.open(inside, "w") as target, path.open("rb") as source:
                        while data := source.read(_CHUNK):
                            target.write(data)
            os.replace(fresh, self.folder / name)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            raise

    def _tidy(self, used: frozenset[str], days: float, count: int, size: int) -> None:
        """Remove what is too old or too much; never what is in force."""
        now = time.time()
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            if path.name == "current" or path.name in used:
                continue
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        kinds: dict[str, int] = {}
        total = sum((self.folder / name).stat().st_size for name in used)
        for at, length, path in sorted(found, reverse=True):
            kind = path.name.partition("-")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
            # What a killed process left under another name is an hour old at the most before it goes.
            stale = path.name.startswith(".new-")
            total += length
            if at < now - (3600 if stale else days * 86400) or (not stale and kinds[kind] >= count) or total > size:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                total -= length


def _name(kind: str, digest: str) -> str:
    """The name of a file. Raises ValueError: no digest."""
    digits = digest.removeprefix(_PREFIX)
    if len(digits) != 64 or not _HEX.issuperset(digits) or digits == digest:
        raise ValueError(f"{digest!r} is no digest")
    return f"{kind}-{digits}" + (".z" if kind == "policy" else ".zip")


def _fresh(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
