"""What one account writes through several workers, known in each of them (engine/windows.py, Neighbours).

The kernel gives a connection to the worker that its client's address leads to. Somebody who signs on from two addresses
may so be in two workers, and what he cuts over both would be whole in neither's windows. So:

- Each worker tells all others which accounts (of those that have proved who they are) are signed on with it, at their
  first sign-on there, and that they are gone, `limits.window_seconds` after their last session's end: until then what
  they wrote may still be a piece of something.
- Where two workers have an account, each tells the other what it lets through, before it leaves. The one that has had
  it for longer tells what it has let through lately, and then that this was all; a sign-on waits for that
  (`limits.neighbour_seconds`).
- A piece that may complete something is told before it is looked at, and what has come is read then: of two that two
  workers look at in the same moment at least one sees the other. One that is then refused is taken back.

An account that is in one worker costs a letter at its sign-on and one at its end, and nothing for what it writes.

Letters go through boxes (boxes.py) of their own. A box that is full is no reason to refuse: they
wait, in order, in the worker that has them to tell. Beyond `limits.neighbour_bytes` they are lost, counted and told.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

import msgspec

from inspector.drivers.boxes import Boxes, Failures
from inspector.drivers.metrics import Family, Source, one
from inspector.engine import windows
from inspector.engine.windows import Piece, Window
from inspector.engine.world import Table
from inspector.model import Limits

_FLUSH_SECONDS = 0.002
"""After so long it is looked again whether a box that was full has room."""
_NAMES_BYTES = 32 * 1024
"""Bytes of the names in one letter."""
_ANNOUNCED = 4096
"""Pieces that are announced and not yet decided."""
_PRUNE = 64
"""Windows of one account after which, and after twice as many, it is looked which of them are gone."""


# Texts go as bytes: what a peer made of half characters is no UTF-8, and must not be lost for that.


class Here(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """These accounts are signed on with the sender. `new`: just now; he wants to know what they wrote elsewhere."""

    number: int
    accounts: list[bytes]
    new: bool


class Gone(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """This account is not with the sender any more, and has not been for limits.window_seconds."""

    number: int
    account: bytes


class Said(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A piece; `back`: it was refused. `at`: by the clock that all workers share, since their own may not agree (the
    wall clock was set between their starts): what came first stands first."""

    account: bytes
    key: int
    at: float
    text: bytes
    name: bytes
    back: bool


class All(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The sender has told all that this account wrote there."""

    number: int
    account: bytes


Letter = Here | Gone | Said | All

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder[Letter](Letter)


class Counters:
    """Plain ints, read at scrape time."""

    __slots__ = ("lost", "told", "unheard", "unplaced", "unreadable")

    def __init__(self) -> None:
        self.told = 0
        """Pieces."""
        self.lost = 0
        """Letters for which there was no room."""
        self.unreadable = 0
        """That came and could not be read."""
        self.unplaced = 0
        """Accounts of other workers for which there was no room here."""
        self.unheard = 0
        """Sign-ons that did not wait any longer for another worker."""

    @property
    def failed(self) -> int:
        """What a worker should know and does not."""
        return self.lost + self.unreadable + self.unplaced + self.unheard


_FAILURES = {
    "lost": "it does not read them (limits.neighbour_bytes)",
    "unreadable": "they cannot be read",
    "unplaced": "there is no room for so many accounts (limits.neighbour_accounts)",
    "unheard": "it has not told them in time (limits.neighbour_seconds)",
}
"""Why one worker does not know what somebody wrote through another one."""
_FAILED = (
    "what somebody wrote through one worker another one does not know: {why}; inspector_neighbours_{name}_total counts "
    "more of it")


class SharedWindows:
    """A worker's part: what it tells, and what it was told."""

    def __init__(
        self, number: int, read: socket.socket, boxes: dict[int, socket.socket], table: Table[int, Window],
        limits: Callable[[], Limits], clock: Callable[[], float], tell: Callable[[str], None] = lambda _: None,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        """`boxes`: the writing end of every worker's box, by number. `table`: the world's windows. `clock`: that of the
        sessions. `tell`: one sentence for the administrator, once for each way in which words are lost. `mono`: a
        clock that is the same in all workers."""
        self.accounts: dict[str, int] = {}
        """Account of ours -> the other workers that have it, a bit each."""
        self.counters = Counters()
        self.others: set[int] = set()
        """Numbers of the workers that live beside us."""
        self._number = number
        self._failed = Failures(self.counters, _FAILURES, _FAILED, tell)
        self._boxes = Boxes(read, boxes, _decoder, self._failed)
        self._table = table
        self._limits = limits
        self._clock = clock
        self._mono = mono
        self._here: dict[str, int] = {}
        """Account -> its sessions here."""
        self._left: OrderedDict[str, float] = OrderedDict()
        """Accounts without a session here -> until when what they wrote may be a piece of something."""
        self._there: dict[int, int] = {}
        """Hash of an account -> the other workers that have it, a bit each."""
        self._windows: dict[str, dict[int, None]] = {}
        """Account -> its windows."""
        self._unheard: dict[str, tuple[int, float]] = {}
        """Account -> the workers that have not told all yet, and until when that is waited for."""
        self._announced: Table[tuple[int, Piece], int] = Table(_ANNOUNCED)
        self._waiting: dict[int, deque[bytes]] = {}
        """Letters that found a box full, by number."""
        self._waiting_bytes: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    # -- what sessions say (Neighbours)

    def signed_on(self, account: str, at: float) -> None:
        """See Neighbours."""
        self._expire(at)
        sessions = self._here.get(account, 0)
        self._here[account] = sessions + 1
        if sessions or self._left.pop(account, None) is not None:
            return  # who has it, too, has told us all along
        # First ours, then theirs: of two workers at which it signs on in the same moment one knows of the other.
        self._post(self.others, Here(self._number, [_bytes(account)], True))
        self.read()
        if (there := self._there.get(hash(account), 0)) and account not in self._unheard:
            self.accounts[account] = self.accounts.get(account, 0) | there
            self._unheard[account] = there, at + self._limits().neighbour_seconds

    def signed_off(self, account: str, at: float) -> None:
        """See Neighbours."""
        sessions = self._here.pop(account, 0) - 1
        if sessions > 0:
            self._here[account] = sessions
            return
        limits = self._limits()
        self._left[account] = at + limits.window_seconds
        self._left.move_to_end(account)
        if len(self._left) > limits.neighbour_accounts:
            self._withdraw(next(iter(self._left)))
        self._expire(at)

    def waits(self, account: str, at: float) -> bool:
        """See Neighbours."""
        if account not in self._unheard:
            return False
        self.read()
        waited = self._unheard.get(account)
        if waited is None:
            return False
        if at < waited[1]:
            return True
        # It is told on what is written here; that it is there is believed again when it says so.
        del self._unheard[account]
        _keep(self._there, hash(account), ~waited[0])
        self._failed("unheard")
        return False

    def begun(self, account: str, key: int, at: float) -> None:
        """See Neighbours."""
        mine = self._windows.setdefault(account, {})
        mine[key] = None
        count = len(mine)
        if count >= _PRUNE and not count & (count - 1):
            for each in [each for each in mine if each != key and self._table.get(each, at) is None]:
                del mine[each]

    def announce(self, account: str, key: int, piece: Piece) -> None:
        """See Neighbours."""
        self._say(account, key, piece, back=False)
        self._announced.put((key, piece), (self._announced.get((key, piece), piece.at) or 0) + 1, piece.at)
        self.read()

    def delivered(self, account: str, key: int, piece: Piece) -> None:
        """See Neighbours."""
        if not self._decided(key, piece):
            self._say(account, key, piece, back=False)

    def refused(self, account: str, key: int, piece: Piece) -> None:
        """See Neighbours."""
        if self._decided(key, piece):
            self._say(account, key, piece, back=True)

    def _decided(self, key: int, piece: Piece) -> bool:
        """Whether the others have been told it already. Pieces that are alike are as good as each other."""
        times = self._announced.pop((key, piece))
        if times is not None and times > 1:
            self._announced.put((key, piece), times - 1, piece.at)
        return times is not None

    def _say(self, account: str, key: int, piece: Piece, *, back: bool) -> None:
        there = self.accounts.get(account, 0)
        self._post(_numbers(there), self._said(account, key, piece, back=back))
        self.counters.told += 1

    # -- what the others say

    def read(self) -> None:
        """Take what the others have told."""
        for letter in self._boxes.letters():
            match letter:
                case Here():
                    for name in letter.accounts:
                        self._is_there(_text(name), letter.number, new=letter.new)
                case Gone():
                    self._is_gone(_text(letter.account), letter.number)
                case Said():
                    self._heard(letter)
                case All():
                    # Whoever says so has it.
                    account = _text(letter.account)
                    self._is_there(account, letter.number, new=False)
                    self._heard_all(account, 1 << letter.number)

    def _is_there(self, account: str, number: int, *, new: bool) -> None:
        bit, name = 1 << number, hash(account)
        there = self._there.get(name, 0)
        if not there and len(self._there) >= self._limits().neighbour_accounts:
            self._failed("unplaced")
        else:
            self._there[name] = there | bit
        if account in self._here or account in self._left:
            self.accounts[account] = self.accounts.get(account, 0) | bit
            if new:
                self._tell_all(account, number)

    def _tell_all(self, account: str, number: int) -> None:
        """What it has lately written through us, and that this was all."""
        for key in self._windows.get(account, ()):
            # What is too old is told as well, and not looked at there, either.
            for piece in self._table.get(key, 0.0) or ():
                self._post((number,), self._said(account, key, piece, back=False))
                self.counters.told += 1
        self._post((number,), All(self._number, _bytes(account)))

    def _is_gone(self, account: str, number: int) -> None:
        _keep(self._there, hash(account), ~(1 << number))
        _keep(self.accounts, account, ~(1 << number))
        self._heard_all(account, 1 << number)

    def _heard(self, said: Said) -> None:
        account = _text(said.account)
        if account not in self._here and account not in self._left:
            return  # it has left us while this was on its way
        limits = self._limits()
        piece = Piece(said.at + self._ahead(), _text(said.text), _text(said.name))
        window = self._table.get(said.key, piece.at)
        if said.back:
            if window is not None:
                windows.forget(window, piece)
            return
        if window is None:
            window = deque()
            self.begun(account, said.key, piece.at)
        self._table.put(said.key, window, piece.at + limits.window_seconds)
        windows.remember(window, piece, limits)

    def _said(self, account: str, key: int, piece: Piece, *, back: bool) -> Said:
        return Said(
            _bytes(account), key, piece.at - self._ahead(), _bytes(piece.text), _bytes(piece.name), back)

    def _ahead(self) -> float:
        """Seconds that the sessions' clock is ahead of the one that all workers share."""
        return self._clock() - self._mono()

    def _heard_all(self, account: str, bits: int) -> None:
        waited = self._unheard.get(account)
        if waited is None:
            return
        left = waited[0] & ~bits
        if left:
            self._unheard[account] = left, waited[1]
        else:
            del self._unheard[account]

    # -- workers and accounts come and go

    async def living(self, numbers: Iterable[int], new: int | None) -> None:
        """Who lives beside us; `new` knows which accounts we have when this returns."""
        self.others = set(numbers) - {self._number}
        kept = sum(1 << number for number in self.others if number != new)
        for name in [name for name, there in self._there.items() if there & ~kept]:
            _keep(self._there, name, kept)
        for account in [account for account, there in self.accounts.items() if there & ~kept]:
            _keep(self.accounts, account, kept)
        for account in list(self._unheard):
            self._heard_all(account, ~kept)
        for number in [number for number in self._waiting if number not in self.others]:
            del self._waiting[number], self._waiting_bytes[number]
        if new is None or new not in self.others:
            return
        names: list[bytes] = []
        size = 0
        for account in (*self._here, *self._left):
            names.append(_bytes(account))
            size += len(names[-1])
            if size > _NAMES_BYTES:
                self._post((new,), Here(self._number, names, False))
                names, size = [], 0
        self._post((new,), Here(self._number, names, False))
        while new in self._waiting and new in self.others:
            await asyncio.sleep(_FLUSH_SECONDS)

    def _expire(self, at: float) -> None:
        """Accounts whose last words are too old leave."""
        while self._left:
            account = next(iter(self._left))
            if self._left[account] >= at:
                return
            self._withdraw(account)

    def _withdraw(self, account: str) -> None:
        del self._left[account]
        self.accounts.pop(account, None)
        self._windows.pop(account, None)
        self._unheard.pop(account, None)
        self._post(self.others, Gone(self._number, _bytes(account)))

    # -- letters

    def _post(self, numbers: Iterable[int], letter: Letter) -> None:
        data: bytes | None = None
        for number in numbers:
            if data is None:
                data = _encode(letter)
            if number in self._waiting or not self._boxes.put(number, data):
                self._wait(number, data)

    def _wait(self, number: int, data: bytes) -> None:
        size = self._waiting_bytes.get(number, 0) + len(data)
        if size > self._limits().neighbour_bytes:
            self._failed("lost")
            return
        self._waiting.setdefault(number, deque()).append(data)
        self._waiting_bytes[number] = size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        """Put what waits into the boxes that have room."""
        self._timer = None
        for number, letters in list(self._waiting.items()):
            while letters and self._boxes.put(number, letters[0]):
                self._waiting_bytes[number] -= len(letters.popleft())
            if not letters:
                del self._waiting[number], self._waiting_bytes[number]
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush)

    def watch(self) -> None:
        """Read whatever comes: a box must not fill while nobody signs on."""
        self._boxes.watch(self.read)

    def close(self) -> None:
        """Look no more."""
        self._boxes.close()
        if self._timer is not None:
            self._timer.cancel()

    def source(self) -> Source:
        """For the page of metrics."""
        def families() -> Iterable[Family]:
            yield one("inspector_neighbours_accounts", "gauge",
                      "Accounts of a worker that are signed on in another one, too, or were so lately.",
                      len(self.accounts))
        return families


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _keep[K](table: dict[K, int], key: K, bits: int) -> None:
    """Keep only these of the bits of an entry; one without bits goes."""
    if left := table.get(key, 0) & bits:
        table[key] = left
    else:
        table.pop(key, None)


def _numbers(bits: int) -> list[int]:
    """Workers, of a bit each."""
    return [number for number in range(bits.bit_length()) if bits >> number & 1]
