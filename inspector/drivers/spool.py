"""Where the content of files waits for its verdict: on disk, never in memory (design section 8).

A `Spooled` is one file on its way: records of (content, raw), content being what is judged and raw what will be sent on
release. Raw that is the same bytes as its content is not stored twice. Content and raw each have a file without a name
(0600, in a 0700 folder), so that nothing is left when the process ends. Where the file system knows no such files they
are made with a name and unlinked at once; a crash in between leaves an empty name, which the next start deletes.

What is remembered of the records are the borders of batches of about 64 KiB: 16 bytes each, 260 KB for 1 GB.
"""

from __future__ import annotations

import contextlib
import errno
import os
from array import array
from collections.abc import Callable
from pathlib import Path

from inspector.model import Limits, client_of

BATCH = 64 * 1024
"""Raw bytes after which a batch ends; a batch never ends inside a record."""
PREFIX = "spool-"
LOOK = 1 << 20
"""The disk's free bytes are asked for again after so many spooled ones."""
SWITCHES = 64
"""Changes between raw that is content and raw that is not, after which raw is always stored: each ends a batch."""


class SpoolError(Exception):
    """The spool cannot take or give a file: one sentence, without the file's name or content."""


class Spool:
    """The spool of one worker. `free` tells the free bytes of the folder's disk; `close` closes a descriptor: the
    kernel takes 15 to 30 ms to give 100 MB back, for which chat need not wait."""

    def __init__(
        self, folder: Path, limits: Callable[[], Limits], free: Callable[[Path], int] | None = None,
        close: Callable[[int], None] = os.close,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.bytes = 0
        """On disk now."""
        self.files = 0
        """Spooled files now."""
        self.total = 0
        """Bytes spooled since the start."""
        self.refused = 0
        """Files that the quota or the disk did not let in."""
        self.swept = 0
        """Leftovers of a crash that were deleted at the start."""
        self._owners: dict[str, list[int]] = {}
        """Client -> [files, bytes] of his in the spool."""
        self._free = free or _free
        self.close = close
        self._number = 0
        self._names = False
        """Files get a name first: this file system knows none without."""
        self._room = 0
        """Bytes until the disk is looked at again."""

    def start(self) -> None:
        """Make the folder private, delete what a crash has left there. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o077:
            self.folder.chmod(0o700)
        self.empty.mkdir(mode=0o700, exist_ok=True)
        for entry in self.folder.iterdir():
            if entry.name.startswith(PREFIX) and not entry.is_dir():
                entry.unlink()
                self.swept += 1

    @property
    def empty(self) -> Path:
        """A folder in which there is nothing: the root folder of processes that judge files."""
        return self.folder / "empty"

    def open(self, owner: str = "") -> Spooled:
        """A new file, empty. `owner`: the address of the client whose it is; "": nobody's, only what all have is
        bounded."""
        return Spooled(self, client_of(owner))

    def enter(self, owner: str) -> None:
        """One more file."""
        self.files += 1
        if owner:
            self._owners.setdefault(owner, [0, 0])[0] += 1

    def make(self, owner: str) -> int:
        """A descriptor of a new file without a name. Raises SpoolError."""
        limits = self.limits()
        if self.files > limits.spool_files:
            self.refused += 1
            raise SpoolError("too many files are in the spool: limits.spool_files")
        if owner and self._owners[owner][0] > limits.spool_client_files:
            self.refused += 1
            raise SpoolError("too many files of this client are in the spool: limits.spool_client_files")
        self._number += 1
        path = self.folder / f"{PREFIX}{os.getpid()}-{self._number}"
        try:
            descriptor = self._nameless()
            if descriptor < 0:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                os.unlink(path)
        except OSError as error:
            raise SpoolError(f"no file can be made in the spool: {_why(error)}") from None
        return descriptor

    def _nameless(self) -> int:
        """A descriptor of a file that never had a name; -1: this file system has none. To take a name away is what may
        wait for a busy disk, and chat with it. Raises OSError."""
        if self._names:
            return -1
        try:
            return os.open(self.folder, os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            self._names = True
            return -1

    def admit(self, size: int, owner: str) -> None:
        """Take `size` bytes into account. Raises SpoolError where a quota or the disk has no room for them."""
        limits = self.limits()
        mine = self._owners.get(owner)
        if mine is not None and mine[1] + size > limits.spool_client_bytes:
            self.refused += 1
            raise SpoolError("this client has filled its part of the spool: limits.spool_client_bytes")
        if self.bytes + size > limits.spool_total_bytes:
            self.refused += 1
            raise SpoolError("the spool is full: limits.spool_total_bytes")
        if self._room < size:
            try:
                free = self._free(self.folder)
            except OSError as error:
                raise SpoolError(f"the disk of the spool cannot be asked: {_why(error)}") from None
            if free - size < limits.spool_free_bytes:
                self.refused += 1
                raise SpoolError("the disk of the spool is nearly full: limits.spool_free_bytes")
            self._room = max(size, LOOK)
        self._room -= size
        self.bytes += size
        self.total += size
        if mine is not None:
            mine[1] += size

    def leave(self, size: int, owner: str, *, whole: bool = False) -> None:
        """So many bytes are no longer on disk; `whole`: nor is the file."""
        self.bytes -= size
        self.files -= whole
        mine = self._owners.get(owner)
        if mine is not None:
            mine[0] -= whole
            mine[1] -= size
            if not mine[0]:
                del self._owners[owner]


class Spooled:
    """One file in the spool. After the first SpoolError of `append` there is nothing of it any more."""

    __slots__ = ("_at", "_content", "_entries", "_offsets", "_open", "_owner", "_raw", "_spool", "_stored",
                 "_switches", "_taken", "failure", "size")

    def __init__(self, spool: Spool, owner: str = "") -> None:
        self.size = 0
        """Bytes of content."""
        self.failure: str | None = None
        """Why it cannot be used any more, one sentence."""
        self._spool = spool
        self._content = -1
        self._raw = -1
        self._stored = 0
        """Bytes of raw in the file of its own."""
        # A batch: (length << 1 | whether in the file of its own), and where it begins there.
        self._entries = array("Q")
        self._offsets = array("Q")
        self._open = False
        """Whether the last batch may grow."""
        self._switches = 0
        self._at = 0
        """The next batch to be given."""
        self._taken = 0
        """Bytes on disk, of both files."""
        self._owner = owner
        spool.enter(owner)

    def append(self, content: bytes, raw: bytes = b"") -> None:
        """Add a record. Raises SpoolError: it could not be stored, and what was stored before is gone."""
        if self.failure is not None:
            raise SpoolError(self.failure)
        try:
            begin = self.size
            if content:
                self._content = self._write(self._content, content, begin)
                self.size += len(content)
            if raw:
                self._remember(content, raw, begin)
        except SpoolError as error:
            self.discard(str(error))
            raise

    def _remember(self, content: bytes, raw: bytes, begin: int) -> None:
        same = self._switches < SWITCHES and len(raw) == len(content) and raw == content
        offset = begin if same else self._stored
        if not same:
            self._raw = self._write(self._raw, raw, self._stored)
            self._stored += len(raw)
        entries = self._entries
        if self._open:
            length, own = entries[-1] >> 1, entries[-1] & 1
            if own != same and self._offsets[-1] + length == offset:
                entries[-1] = (length + len(raw)) << 1 | own
                self._open = length + len(raw) < BATCH
                return
            self._switches += 1
        entries.append(len(raw) << 1 | (not same))
        self._offsets.append(offset)
        self._open = len(raw) < BATCH

    def _write(self, descriptor: int, data: bytes, offset: int) -> int:
        self._spool.admit(len(data), self._owner)
        try:
            if descriptor < 0:
                descriptor = self._spool.make(self._owner)
            left, at = memoryview(data), offset
            while left:
                written = os.pwrite(descriptor, left, at)
                left, at = left[written:], at + written
        except (OSError, SpoolError) as error:
            # What was written of it belongs to a file that is given back as a whole.
            self._spool.leave(len(data), self._owner)
            if descriptor >= 0 and descriptor not in (self._content, self._raw):
                os.close(descriptor)
            if isinstance(error, OSError):
                raise SpoolError(f"the spool cannot be written: {_why(error)}") from None
            raise
        self._taken += len(data)
        return descriptor

    def content(self) -> int:
        """A descriptor of the content, read-only where the system can make it so, at its begin; the caller closes it.

        Raises SpoolError.
        """
        if self.failure is not None:
            raise SpoolError(self.failure)
        try:
            if self._content < 0:
                self._content = self._spool.make(self._owner)
            return os.open(f"/proc/self/fd/{self._content}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolError(f"the spool cannot be read: {_why(error)}") from None

    def next(self) -> tuple[bytes, bool]:
        """(the next whole records of raw, together about 64 KiB; whether they are the last). Raises SpoolError."""
        if self.failure is not None:
            raise SpoolError(self.failure)
        parts: list[bytes] = []
        size = 0
        entries = self._entries
        while self._at < len(entries) and size < BATCH:
            entry = entries[self._at]
            length, own = entry >> 1, entry & 1
            if parts and size + length > 2 * BATCH:
                break
            parts.append(self._fetch(self._raw if own else self._content, length, self._offsets[self._at]))
            size += length
            self._at += 1
        return parts[0] if len(parts) == 1 else b"".join(parts), self._at >= len(entries)

    @staticmethod
    def _fetch(descriptor: int, length: int, offset: int) -> bytes:
        try:
            data = os.pread(descriptor, length, offset)
            while len(data) < length:
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    raise SpoolError("the spool has lost a part of a file")
                data += more
        except OSError as error:
            raise SpoolError(f"the spool cannot be read: {_why(error)}") from None
        return data

    def discard(self, failure: str = "the spooled file was given up") -> None:
        """Give its disk space back."""
        if self.failure is not None:
            return
        self.failure = failure
        for descriptor in (self._content, self._raw):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    self._spool.close(descriptor)
        self._content = self._raw = -1
        self._entries, self._offsets = array("Q"), array("Q")
        self._spool.leave(self._taken, self._owner, whole=True)


def _free(folder: Path) -> int:
    """Bytes that may still be written by us."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


def _why(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open"
    return (error.strerror or type(error).__name__).lower()
