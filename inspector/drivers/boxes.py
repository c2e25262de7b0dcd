"""Mailboxes between workers: a Unix SOCK_SEQPACKET pair each, whose writing end all others have.

Who puts a letter into a box waits for nobody: the kernel has it then, whatever its reader is doing. A box that is full
(its worker hangs) refuses; what that means is its user's (shared_world.py, shared_windows.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping

import msgspec

MAIL_BYTES = 128 * 1024
"""Longest message: an offer's names are bounded by a unit of its protocol."""
BOX_BYTES = 4 << 20
"""Asked of the system for a box; it may give less (net.core.wmem_max)."""


def box() -> tuple[socket.socket, socket.socket]:
    """A mailbox: (the end that is read, the end that is written). Raises OSError."""
    read, write = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read.setblocking(False)
    write.setblocking(False)
    write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BOX_BYTES)
    return read, write


def empty(read: socket.socket) -> None:
    """Throw away what is in a box: its worker is gone."""
    with contextlib.suppress(BlockingIOError):
        while read.recv(MAIL_BYTES):
            pass


class Failures:
    """Letters that a worker should know and does not: counted by why, and told once for each why."""

    __slots__ = ("_counters", "_sentence", "_tell", "_told", "_whys")

    def __init__(self, counters: object, whys: Mapping[str, str], sentence: str, tell: Callable[[str], None]) -> None:
        """`counters` has a number for each of `whys`; `sentence` is what the administrator is told, with `{why}` and
        `{name}`."""
        self._counters = counters
        self._whys = whys
        self._sentence = sentence
        self._tell = tell
        self._told: set[str] = set()

    def __call__(self, name: str) -> None:
        setattr(self._counters, name, getattr(self._counters, name) + 1)
        if name not in self._told:
            self._told.add(name)
            self._tell(self._sentence.format(why=self._whys[name], name=name))


class Boxes[L]:
    """A worker's own box, for letters of one kind, and its way into those of the others."""

    __slots__ = ("_decode", "_failed", "_read", "_writes")

    def __init__(
        self, read: socket.socket, writes: Mapping[int, socket.socket], decoder: msgspec.msgpack.Decoder[L],
        failed: Failures,
    ) -> None:
        """`writes`: the writing end of every worker's box, by number. `failed` counts `unreadable`: letters of a worker
        of another release, or cut off."""
        self._read = read
        self._writes = writes
        self._decode = decoder.decode
        self._failed = failed

    def put(self, number: int, data: bytes) -> bool:
        """Put a letter into a worker's box; False: there is no room, or no such worker."""
        try:
            self._writes[number].send(data, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def letters(self) -> Iterator[L]:
        """What has come since it was looked last."""
        while True:
            try:
                # One byte more: what is cut off is seen to be.
                data = self._read.recv(MAIL_BYTES + 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                return
            try:
                letter = self._decode(data)
            except (msgspec.DecodeError, RecursionError):
                self._failed("unreadable")
                continue
            yield letter

    def watch(self, read: Callable[[], None]) -> None:
        """Have `read` called when there is mail: a box must not fill while nobody looks."""
        asyncio.get_running_loop().add_reader(self._read.fileno(), read)

    def close(self) -> None:
        """Look no more."""
        asyncio.get_running_loop().remove_reader(self._read.fileno())
