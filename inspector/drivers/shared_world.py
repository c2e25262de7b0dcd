"""What the worlds of several workers know together: announced connections, the files they are for, leased ports.

A file that is offered through one worker may be fetched through another one: what was announced must be known there
before the announcement leaves. So `expect` puts a message into the boxes of all others (boxes.py) before it returns,
and a lookup empties the own box first. Nobody waits for anybody, and there is no order in which a connection could come
before its announcement.

A box that is full (its worker hangs) refuses: `expect` says False, and the engine does not let the announcement leave.

What one account writes through several workers: shared_windows.py. Not shared, because each message would have to be:
legs of a message (`copy: leg` is told within one worker only).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator

import msgspec

from inspector.drivers.boxes import MAIL_BYTES, Boxes, Failures
from inspector.engine.world import Expectations, SharedMemory, Table, World
from inspector.model import Expect, Limits

KEYED = ("expect:", "dcc:", "xmpp.servers ")
"""How the keys begin under which decoders remember what they expect (model.expect_key), what DCC has to know of the
other end's session (protocols/irc.py), and the streams between XMPP servers: decoders of other workers ask for it."""
_ENDS = 10_000
"""Flows of other workers whose ends are remembered (drivers/leases.py)."""


class Announced(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """World.expect, as it was called."""

    expect: Expect
    until: float
    owner: str
    at: float
    redirect: bool


class Remembered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A decoder's memory under a KEYED name."""

    key: str
    value: Expect | int | bool | str
    until: float


class Offered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The row of an offer, by the hash of offer and flow (workers hash alike: one PYTHONHASHSEED)."""

    key: int
    row: str
    until: float


class Leased(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A port is leased; by a flow, with its ends, if they are known."""

    port: int
    until: float
    flow: str = ""
    ends: tuple[str, str] | None = None


Letter = Announced | Remembered | Offered | Leased

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder[Letter](Letter)


class Letters:
    """What has become of letters; plain numbers, for metrics."""

    __slots__ = ("lost", "sent", "too_long", "unplaced", "unreadable")

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        """That did not go into somebody's box: it is full."""
        self.too_long = 0
        """Longer than MAIL_BYTES: nobody was sent them."""
        self.unreadable = 0
        """That came and could not be read: of a worker of another release, or cut off."""
        self.unplaced = 0
        """Announcements that came and found no room here."""

    @property
    def failed(self) -> int:
        """Letters that somebody should have known and does not."""
        return self.lost + self.too_long + self.unreadable + self.unplaced


_FAILURES = {
    "lost": "its box is full, it may hang",
    "too_long": f"it is longer than {MAIL_BYTES} bytes",
    "unreadable": "it cannot be read",
    "unplaced": "there is no room for it here (limits.memory_entries)",
}
"""Why a letter is not known to a worker."""
_FAILED = (
    "what one worker announced another one does not know: {why}; inspector_letters_{name}_total counts more of it")


class Mail:
    """A worker's box, and its way to those of the others."""

    __slots__ = ("_boxes", "counters", "failed", "others")

    def __init__(
        self, read: socket.socket, boxes: dict[int, socket.socket], tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`boxes`: the writing end of every worker's box, by number. `tell`: one sentence for the administrator, once
        for each way in which letters are lost."""
        self.others: set[int] = set()
        """Numbers of the workers that live beside us; the supervisor says who."""
        self.counters = Letters()
        self.failed = Failures(self.counters, _FAILURES, _FAILED, tell)
        self._boxes = Boxes(read, boxes, _decoder, self.failed)

    def post(self, letter: Letter) -> bool:
        """Put a letter into everybody's box; False: somebody did not get it."""
        if not self.others:
            return True
        data = _encode(letter)
        if len(data) > MAIL_BYTES:
            self.failed("too_long")
            return False
        done = True
        for number in self.others:
            if not self._boxes.put(number, data):
                self.failed("lost")
                done = False
        self.counters.sent += 1
        return done

    async def repeat(self, number: int, letters: Iterable[Letter]) -> None:
        """Give a worker that is new what the others know, as fast as it takes it."""
        for letter in letters:
            data = _encode(letter)
            if len(data) > MAIL_BYTES:
                self.failed("too_long")
                continue
            while not self._boxes.put(number, data):
                if number not in self.others:
                    return
                await asyncio.sleep(0.005)

    def letters(self) -> Iterator[Letter]:
        """What has come since it was looked last."""
        return self._boxes.letters()

    def watch(self, read: Callable[[], None]) -> None:
        """Have `read` called when there is mail."""
        self._boxes.watch(read)

    def close(self) -> None:
        """Look no more."""
        self._boxes.close()


class _Memory(SharedMemory):
    """The decoders' memory; what they remember under KEYED names is told to the others."""

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
        if key.startswith(KEYED) and isinstance(value, Expect | int | str):
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

    __slots__ = ("_ends", "_ports", "mail")

    def __init__(self, limits: Limits, mail: Mail) -> None:
        super().__init__(limits)
        self.mail = mail
        self.memory: SharedMemory = _Memory(limits.memory_entries, self)
        self.offers: Table[int, str] = _Offers(limits.memory_entries, self)
        self._ports: Table[int, Leased] = Table(65536)
        """Ports that other workers have leased."""
        self._ends: Table[str, tuple[str, str]] = Table(_ENDS)
        """Flows of other workers that have leased them -> addresses of client and server."""

    def expect(
        self, expect: Expect, until: float, owner: str = "", at: float = 0.0, *, redirect: bool = False,
    ) -> bool:
        if not super().expect(expect, until, owner, at, redirect=redirect):
            return False
        return self.mail.post(Announced(expect, until, owner, at, redirect))

    def expected_at(self, hosts: Iterable[str], port: int, client: str, at: float) -> Expect | None:
        self.read()
        return super().expected_at(hosts, port, client, at)

    def lease_told(self, port: int, until: float, flow: str = "", ends: tuple[str, str] | None = None) -> bool:
        """A port of ours is leased: tell the others."""
        return self.mail.post(Leased(port, until, flow, ends))

    def ends(self, flow: str, at: float) -> tuple[str, str] | None:
        """The ends of another worker's flow that has leased a port of ours."""
        self.read()
        return self._ends.get(flow, at)

    def leased(self, port: int, at: float) -> bool:
        """Whether another worker has leased this port."""
        self.read()
        return self._ports.get(port, at) is not None

    def read(self) -> None:
        """Take what the others have announced."""
        for letter in self.mail.letters():
            match letter:
                case Announced():
                    if not super().expect(
                        letter.expect, letter.until, letter.owner, letter.at, redirect=letter.redirect,
                    ):
                        self.mail.failed("unplaced")
                case Remembered():
                    SharedMemory.put(self.memory, letter.key, letter.value, letter.until)
                case Offered():
                    Table.put(self.offers, letter.key, letter.row, letter.until)
                case Leased():
                    self._ports.put(letter.port, letter, letter.until)
                    if letter.ends is not None:
                        self._ends.put(letter.flow, letter.ends, letter.until)

    def known(self, at: float, leases: Iterable[Leased]) -> list[Letter]:
        """All that a worker which is new should know. `leases`: of ours that stand."""
        expectations: Expectations = self.expectations
        letters: list[Letter] = [
            Announced(expect, until, expectations.owner(key), at, False)
            for key, expect, until in expectations.living(at)
        ]
        letters += [Announced(expect, until, "", at, True) for _, expect, until in self.redirects.living(at)]
        letters += [
            Remembered(key, value, until) for key, value, until in self.memory.living(at)
            if key.startswith(KEYED) and isinstance(value, Expect | int | str)
        ]
        letters += [Offered(key, row, until) for key, row, until in self.offers.living(at)]
        letters += leases
        letters += [lease for _, lease, _ in self._ports.living(at)]
        return letters
