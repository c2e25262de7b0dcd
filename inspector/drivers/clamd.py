"""A second opinion on files: clamd, asked by INSTREAM.

The content is streamed from the spool, so that clamd needs no access to our folders. Whatever is not a clear answer in
time is an error, and the file a failure: clamd that is down, that is busy, that takes no files of this length.

Protocol: clamd(8), "z" form: `zINSTREAM` NUL, then pieces of 4 bytes of length (big-endian) and so many bytes, a piece
of no bytes at the end; the answer ends with NUL: `stream: OK`, `stream: <name> FOUND`, or a sentence ending in ERROR.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from inspector.model import Finding

PIECE = 64 * 1024
ANSWER = 4096
"""Longest answer that is read."""
AT_A_TIME = 8
"""Files that clamd is asked about at a time; it has ten threads where nobody said otherwise."""
_SIZE = struct.Struct("!I")
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_NAME = 120


class Clamd:
    """clamd at a Unix socket, or at a host and port. `seconds`: for one file, waiting for a turn included."""

    def __init__(
        self, place: str | tuple[str, int], seconds: Callable[[], float], log: Callable[[str], None],
    ) -> None:
        self.place = place
        self.trouble: str | None = None
        """Why the last file was not judged; None: it was."""
        self._seconds = seconds
        self._log = log
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def ask(self, content: int, size: int) -> Finding | None:
        """What clamd finds in the content of a descriptor. Raises OSError or ValueError with one sentence."""
        try:
            async with asyncio.timeout(self._seconds()), self._turns:
                answer = await self._stream(content, size)
            found = finding(answer)
        except TimeoutError:
            self._troubled("clamd did not answer in time")
            raise OSError("clamd did not answer in time") from None
        except OSError as error:
            why = f"clamd cannot be reached: {(error.strerror or str(error) or type(error).__name__).lower()}"
            self._troubled(why)
            raise OSError(why) from None
        except ValueError as error:
            # It is there and has said something: about this file, or about all of them.
            self._troubled(str(error))
            raise
        if self.trouble is not None:
            self.trouble = None
            self._log("clamd judges files again")
        return found

    async def try_out(self) -> None:
        """Ask about nothing, so that an administrator knows at the start, and not with the first file."""
        descriptor = os.memfd_create("nothing")
        try:
            with contextlib.suppress(OSError, ValueError):
                await self.ask(descriptor, 0)
        finally:
            os.close(descriptor)

    def _troubled(self, why: str) -> None:
        if self.trouble != why:
            self.trouble = why
            self._log(f"{why}: files are not judged by it")

    async def _stream(self, content: int, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        with await self._connected(loop) as sock:
            # It answers early, and closes, when a file is too long for it: then the answer counts, not the broken pipe.
            # (Streams would forget the answer that is there already.)
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(sock, b"zINSTREAM\0")
                at = 0
                while at < size:
                    data = os.pread(content, min(PIECE, size - at), at)
                    if not data:
                        raise ValueError("the file is shorter than it was")
                    await loop.sock_sendall(sock, _SIZE.pack(len(data)) + data)
                    at += len(data)
                await loop.sock_sendall(sock, _SIZE.pack(0))
            answer = b""
            while not answer.endswith(b"\0") and len(answer) < ANSWER:
                part = await loop.sock_recv(sock, ANSWER)
                if not part:
                    break
                answer += part
        if not answer.endswith(b"\0"):
            raise ValueError("clamd gave no answer")
        return answer

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        if isinstance(self.place, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: Any = self.place
        else:
            found = await loop.getaddrinfo(*self.place, type=socket.SOCK_STREAM)
            sock = socket.socket(found[0][0], socket.SOCK_STREAM)
            address = found[0][4]
        sock.setblocking(False)
        with contextlib.ExitStack() as unless:
            unless.callback(sock.close)
            await loop.sock_connect(sock, address)
            unless.pop_all()
        return sock


def finding(answer: bytes) -> Finding | None:
    """What an answer means. Raises ValueError: it is none, or an error."""
    text = answer.rstrip(b"\0\n").decode("utf-8", "replace")
    if text == "stream: OK":
        return None
    if text.startswith("stream: ") and text.endswith(" FOUND"):
        name = safe(text.removeprefix("stream: ").removesuffix(" FOUND"))
        return Finding("clamd", f"clamd.{name or 'unnamed'}", "high", f"clamd calls it {name}")
    if "size limit exceeded" in text:
        raise ValueError("clamd takes no files of this size (StreamMaxLength)")
    raise ValueError(f"clamd says: {safe(text, ' ')}")


def safe(text: str, more: str = "") -> str:
    """The letters of a name that can stand in a rule's name."""
    return "".join(char if char in _KEPT or char in more else "_" for char in text[:_NAME])
