"""What the worlds of several workers know together: announced connections, the files they are for, leased ports.

A file that is offered through one worker may be fetched through another one: what was announced must be known there
before the announcement leaves. So each worker has a mailbox, a Unix SOCK_SEQPACKET pair whose writing end all others
have. `expect` puts a message into the boxes of all others before it returns (the kernel has it then, whatever the
others are doing), and a lookup empties the own box first. Nobody waits for anybody, and there is no order in which a
connection could come before its announcement.

A box that is full (its worker hangs) refuses: `expect` says False, and the engine does not let the announcement leave.

Not shared, because each message would have to be: recent texts and who is signed on (they belong to a client, whose
connections all come to one worker), and legs of a message (`copy: leg` is told within one worker only).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator

import msgspec

from inspector.engine.world import Expectations, SharedMemory, Table, World
from inspector.model import Expect, Limits

MAIL_BYTES = 128 * 1024
"""Longest message: an offer's names are bounded by a unit of its protocol."""
BOX_BYTES = 4 << 20
"""Asked of the system for a box; it may give less (net.core.wmem_max)."""
KEYED = "expect:"
"""How the keys begin under which decoders remember what they expect (model.expect_key)."""


class Announced(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """World.expect, as it was called."""

    expect: Expect
    until: float
    owner: str
    at: float
    redirect: bool


class Remembered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A decoder's memory of what it expects."""

    key: str
    expect: Expect
    until: float


class Offered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The row of an offer, by the hash of offer and flow (workers hash alike: one PYTHONHASHSEED)."""

    key: int
    row: str
    until: float


class Leased(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A port is leased."""

    port: int
    until: float


Letter = Announced | Remembered | Offered | Leased

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Letter).decode


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


class Mail:
    """A worker's box, and its way to those of the others."""

    __slots__ = ("_boxes", "_read", "lost", "others", "sent")

    def __init__(self, read: socket.socket, boxes: dict[int, socket.socket]) -> None:
        """`boxes`: the writing end of every worker's box, by number."""
        self._read = read
        self._boxes = boxes
        self.others: set[int] = set()
        """Numbers of the workers that live beside us; the supervisor says who."""
        self.sent = 0
        self.lost = 0
        """Letters that did not go into somebody's box."""

    def post(self, letter: Letter) -> bool:
        """Put a letter into everybody's box; False: somebody did not get it."""
        if not self.others:
            return True
        data = _encode(letter)
        done = True
        for number in self.others:
            if not self._put(number, data):
                self.lost += 1
                done = False
        self.sent += 1
        return done

    def _put(self, number: int, data: bytes) -> bool:
        if len(data) > MAIL_BYTES:
            return False
        try:
            self._boxes[number].send(data, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    async def repeat(self, number: int, letters: Iterable[Letter]) -> None:
        """Give a worker that is new what the others know, as fast as it takes it."""
        for letter in letters:
            data = _encode(letter)
            while not self._put(number, data):
                if len(data) > MAIL_BYTES or number not in self.others:
                    break
                await asyncio.sleep(0.005)

    def letters(self) -> Iterator[Letter]:
        """What has come since it was looked last."""
        while True:
            try:
                data = self._read.recv(MAIL_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not data:
                return
            with contextlib.suppress(msgspec.DecodeError):
                yield _decode(data)

    def watch(self, read: Callable[[], None]) -> None:
        """Have `read` called when there is mail: a box must not fill while nobody connects."""
        asyncio.get_running_loop().add_reader(self._read.fileno(), read)

    def close(self) -> None:
        """Look no more."""
        asyncio.get_running_loop().remove_reader(self._read.fileno())


class _Memory(SharedMemory):
    """The decoders' memory; what they expect is told to the others."""

    __slots__ = ("_world",)

    def __init__(self, limit: int, world: SharedWorld) -> None:
        super().__init__(limit)
        self._world = world

    def get(self, key: str, at: float) -> object | None:
        if key.startswith(KEYED):
            self._world.read()
        return super().get(key, at)

    def put(self, key: str, value: object, until: float) -> None:
        super().put(key, value, until)
        if type(value) is Expect:
            self._world.mail.post(Remembered(key, value, until))


class _Offers(Table[int, str]):
    """Rows of offers; told to the others."""

    __slots__ = ("_world",)

    def __init__(self, limit: int, world: SharedWorld) -> None:
        super().__init__(limit)
        self._world = world

    def get(self, key: int, at: float) -> str | None:
        self._world.read()
        return super().get(key, at)

    def put(self, key: int, value: str, until: float) -> None:
        super().put(key, value, until)
        self._world.mail.post(Offered(key, value, until))


class SharedWorld(World):
    """The world of one worker beside others."""

    __slots__ = ("_ports", "mail")

    def __init__(self, limits: Limits, mail: Mail) -> None:
        super().__init__(limits)
        self.mail = mail
        self.memory: SharedMemory = _Memory(limits.memory_entries, self)
        self.offers: Table[int, str] = _Offers(limits.memory_entries, self)
        self._ports: Table[int, bool] = Table(65536)
        """Ports that other workers have leased."""

    def expect(
        self, expect: Expect, until: float, owner: str = "", at: float = 0.0, *, redirect: bool = False,
    ) -> bool:
        if not super().expect(expect, until, owner, at, redirect=redirect):
            return False
        return self.mail.post(Announced(expect, until, owner, at, redirect))

    def expected_at(self, hosts: Iterable[str], port: int, client: str, at: float) -> Expect | None:
        self.read()
        return super().expected_at(hosts, port, client, at)

    def lease_told(self, port: int, until: float) -> bool:
        """A port of ours is leased: tell the others."""
        return self.mail.post(Leased(port, until))

    def leased(self, port: int, at: float) -> bool:
        """Whether another worker has leased this port."""
        self.read()
        return self._ports.get(port, at) is not None

    def read(self) -> None:
        """Take what the others have announced."""
        for letter in self.mail.letters():
            match letter:
                case Announced():
                    super().expect(
                        letter.expect, letter.until, letter.owner, letter.at, redirect=letter.redirect)
                case Remembered():
                    SharedMemory.put(self.memory, letter.key, letter.expect, letter.until)
                case Offered():
                    Table.put(self.offers, letter.key, letter.row, letter.until)
                case Leased():
                    self._ports.put(letter.port, True, letter.until)

    def known(self, at: float, leases: Iterable[tuple[int, float]]) -> list[Letter]:
        """All that a worker which is new should know. `leases`: (port, until) of ours that stand."""
        expectations: Expectations = self.expectations
        letters: list[Letter] = [
            Announced(expect, until, expectations.owner(key), at, False)
            for key, expect, until in expectations.living(at)
        ]
        letters += [Announced(expect, until, "", at, True) for _, expect, until in self.redirects.living(at)]
        letters += [
            Remembered(key, value, until) for key, value, until in self.memory.living(at) if type(value) is Expect
        ]
        letters += [Offered(key, row, until) for key, row, until in self.offers.living(at)]
        letters += [Leased(port, until) for port, until in leases]
        letters += [Leased(port, until) for port, _, until in self._ports.living(at)]
        return letters
