"""Files of our own cache that are mapped: written whole or not at all, read by nobody but us, refused when not whole.

A file is: magic, SHA-256 of the body, body. It is written beside its place and renamed, so no process ever sees a part
of it, and never changed afterwards: what is mapped stays as it was checked. All processes that map a file share its
pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_PIECE = 1 << 20
"""Bytes that are hashed at a time: through a buffer, so that checking a file does not make its pages ours."""
_HEAD = 64
"""Bytes in front of the body: the magic, filled up, and the digest. The body begins at a place good for 8-byte
numbers."""
KEPT = 8
"""Files of a kind that stay in the folder; the oldest go."""
_STALE_SECONDS = 24 * 3600


def private_folder(folder: Path) -> bool:
    """Whether a folder is ours alone; it is made when it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def write(number: int, magic: bytes, body: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write a file through a descriptor at its beginning. `magic`: 32 bytes at most. Raises OSError."""
    digest = hashlib.sha256()
    at = _HEAD
    os.ftruncate(number, 0)
    for part in body:
        view = memoryview(part).cast("B")
        digest.update(view)
        while view:
            done = os.pwrite(number, view, at)
            at += done
            view = view[done:]
    # The head comes last: a file that was not written to its end has none.
    os.pwrite(number, magic.ljust(_HEAD - 32, b"\0") + digest.digest(), 0)


def new_file(folder: Path) -> tuple[int, Path]:
    """A descriptor and the name of a new file beside those that are kept; 0600. Raises OSError."""
    number, name = tempfile.mkstemp(dir=folder, prefix=".new-")
    return number, Path(name)


def keep(made: Path, path: Path) -> None:
    """Put a written file in its place; the newest of its kind and those still being written stay. A cache that cannot
    be written is only slower."""
    with contextlib.suppress(OSError):
        os.replace(made, path)
        kept = sorted(path.parent.glob(f"*{path.suffix}"), key=_age, reverse=True)
        now = _age(path)
        stale = [one for one in path.parent.glob(".new-*") if _age(one) < now - _STALE_SECONDS]
        for old in (*kept[KEPT:], *stale):
            old.unlink()


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def opened(path: Path, magic: bytes) -> memoryview | None:
    """The body of a file, mapped; None when there is none, or it is not ours, or not whole."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mapped(number, magic)
    finally:
        os.close(number)


def mapped(number: int, magic: bytes) -> memoryview | None:
    """The body of the file of a descriptor, mapped; None when it is not ours, or not whole."""
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return None
        head = os.pread(number, _HEAD, 0)
        if len(head) != _HEAD or head[:-32] != magic.ljust(_HEAD - 32, b"\0") or found.st_size <= _HEAD:
            return None
        digest = hashlib.sha256()
        at = _HEAD
        while piece := os.pread(number, _PIECE, at):
            digest.update(piece)
            at += len(piece)
        if digest.digest() != head[-32:]:
            return None
        return memoryview(_map(number, at))[_HEAD:]
    except (OSError, ValueError):
        return None


def give_back(body: memoryview) -> None:
    """The pages of a mapped body that were touched so far need not count as ours: they come back when they are used."""
    if isinstance(body.obj, mmap.mmap):
        body.obj.madvise(mmap.MADV_DONTNEED)


def _map(number: int, length: int) -> mmap.mmap:
    # From 3.13 on a map needs no descriptor of its own.
    if sys.version_info >= (3, 13):
        return mmap.mmap(number, length, mmap.MAP_SHARED, mmap.PROT_READ, trackfd=False)
    return mmap.mmap(number, length, mmap.MAP_SHARED, mmap.PROT_READ)
