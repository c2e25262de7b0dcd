"""The process in which files are judged, and what is said between it and the gateway.

Openers and rules meet bytes that were made to break them. So they run in a process of its own: without network, in an
empty root folder, without capabilities, unable to make files or processes, with bounded memory, time and descriptors,
as nobody where the gateway is root. (As the gateway's own user it could read the authority's key and speak to the
control socket: the root folder is what keeps it from both.) It is killed when it overruns and replaced after so many
files (judges.py). The gateway believes of its answers what they are: a report of bounded length.

Between the two is a Unix stream socket, which is all the child is started with (descriptor 0). Each message is its
length (4 bytes, big-endian) and so much MessagePack. With `Load` comes a descriptor of the rules, with `Ask` one of the
file's content: no name of a file ever becomes a path. The first word is the child's: `Ready`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from inspector.model import File, FileReport, ScanFailed

if TYPE_CHECKING:
    from types import TracebackType

SIZE = struct.Struct("!I")
ASK_BYTES = 64 * 1024
"""Longest message to the child."""
ANSWER_BYTES = 1 << 20
"""Longest message from it."""
DESCRIPTORS = 32
"""Descriptors that the child may have: a map of a file's piece takes one."""
NOBODY = 65534
_NO_NEW_PRIVS = 38
"""prctl(2)"""
_CAPABILITIES = struct.pack("=Ii", 0x20080522, 0)
"""capset(2): version 3, this process; all sets empty."""
_NICE = 5
"""Messages come first."""
_CODECS = ("ascii", "cp437", "cp1251", "cp1252", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
           "utf-32", "utf-32-le", "utf-32-be", "utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape",
           "base64", "hex", "quopri", "uu")
"""Decoders are modules that are read when they are first used: later the process may not be allowed to read them."""


class Load(msgspec.Struct, frozen=True, tag="load", array_like=True):
    """Judge with these rules from now on; their descriptor comes with it."""

    memory: int
    seconds: int
    """CPU of one file, before the system ends the process."""


class Ask(msgspec.Struct, frozen=True, tag="ask", array_like=True):
    """Judge this content; its descriptor comes with it."""

    about: File


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The process has started. `lacking`: what of its confinement the system does not permit."""

    lacking: tuple[str, ...]


class Loaded(msgspec.Struct, frozen=True, tag="loaded", array_like=True):
    """The rules are in force, or why not."""

    failure: str | None


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    """The file is judged, or why not."""

    report: FileReport | None
    failure: str | None


class Crashed(msgspec.Struct, frozen=True, tag="crashed", array_like=True):
    """The last word after an error of ours: its type and place, never its text."""

    where: str


ToChild = Load | Ask
FromChild = Ready | Loaded | Answer | Crashed

_encode = msgspec.msgpack.Encoder().encode
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def packed(message: ToChild | FromChild) -> bytes:
    """A message as it travels."""
    body = _encode(message)
    return SIZE.pack(len(body)) + body


def answer_of(body: bytes) -> FromChild:
    """A message of the child's. Raises ValueError: it is none."""
    return _from_child.decode(body)


# ------------------------------------------------------------------------------------------------------- the child


class _Ended(Exception):
    """The gateway has nothing more to ask."""


class _Line:
    """The child's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def say(self, message: FromChild) -> None:
        data = packed(message)
        if len(data) > ANSWER_BYTES:
            data = packed(Answer(None, "the report is too long"))
        self._sock.sendall(data)

    def hear(self) -> tuple[ToChild, int]:
        """The next message and the descriptor that came with it. Raises _Ended."""
        head, fds, _, _ = socket.recv_fds(self._sock, SIZE.size, 1)
        while head and len(head) < SIZE.size:
            more = self._sock.recv(SIZE.size - len(head))
            head = head + more if more else b""
        if not head or not fds:
            raise _Ended
        (size,) = SIZE.unpack(head)
        body = b""
        while len(body) < size:
            part = self._sock.recv(size - len(body))
            if not part:
                raise _Ended
            body += part
        return _to_child.decode(body), fds[0]


def confine(jail: str) -> tuple[str, ...]:
    """Give up what judging does not need; what the system did not permit. `jail`: an empty folder, the new root."""
    import codecs
    import ctypes
    import resource

    for name in _CODECS:
        with contextlib.suppress(LookupError):
            codecs.lookup(name)
    lacking = []
    root = os.geteuid() == 0
    try:
        os.unshare(os.CLONE_NEWNET if root else os.CLONE_NEWUSER | os.CLONE_NEWNET)
    except (OSError, AttributeError):
        lacking.append("a network name space of their own")
    try:
        os.chroot(jail)
        os.chdir("/")
    except OSError:
        lacking.append("a root folder of their own")
    if root:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            lacking.append("another user than root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(_CAPABILITIES, bytes(24)):
        lacking.append("a life without capabilities")
    os.nice(_NICE)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    return tuple(lacking)


def where(error: BaseException, trace: TracebackType | None) -> str:
    """Type and place of an error, without its text: that may hold what a file says."""
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' < '.join(reversed(places[-4:]))}"


def serve(sock: socket.socket, lacking: Iterable[str]) -> None:
    """Judge what comes until the gateway ends."""
    import resource

    from inspector.scan import FileJudge

    line = _Line(sock)

    def crashed(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        line.say(Crashed(where(error, trace)))

    sys.excepthook = crashed
    line.say(Ready(tuple(lacking)))
    judge: FileJudge | None = None
    seconds = 60
    while True:
        try:
            message, descriptor = line.hear()
        except (_Ended, ConnectionError):
            return
        if isinstance(message, Load):
            judge, seconds = None, message.seconds
            try:
                resource.setrlimit(resource.RLIMIT_AS, (message.memory, message.memory))
                # Mapped: all workers share the pages, and hashes are looked up where they lie.
                size = os.fstat(descriptor).st_size
                judge = FileJudge(memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ)))
                judge.judge(b"", File())  # what is read when it is first used is read now
                loaded = Loaded(None)
            except (OSError, ValueError, MemoryError, ScanFailed) as error:
                loaded = Loaded(f"the rules for files cannot be loaded: {where(error, None).partition(' ')[0]}")
            os.close(descriptor)
            line.say(loaded)
            continue
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        if judge is None:
            answer = Answer(None, "there are no rules for files")
        else:
            try:
                answer = Answer(judge.judge(descriptor, message.about), None)
            except ScanFailed as failure:
                answer = Answer(None, str(failure)[:400] or "the file could not be judged")
            except MemoryError:
                answer = Answer(None, "not enough memory to judge the file")
        os.close(descriptor)
        line.say(answer)


def main() -> None:
    """The child: its socket is descriptor 0, its only argument the folder that becomes its root."""
    import inspector.scan  # noqa: F401 - while it can still be read

    serve(socket.socket(fileno=0), confine(sys.argv[-1]))


if __name__ == "__main__":
    main()
