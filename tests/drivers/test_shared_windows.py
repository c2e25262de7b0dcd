"""What one account writes through several workers, with real boxes inside one process."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterator

import pytest

from inspector.drivers import shared_windows
from inspector.drivers.shared_windows import Here, Said, SharedWindows
from inspector.engine.windows import Piece, remember
from inspector.engine.world import World
from inspector.model import Limits
from tests.drivers.boxed import Boxed

AT = 1_700_000_000.0
ANN = "ann@a.example"


class Floor(Boxed):
    """Some workers' worlds, each with its part of what is shared."""

    def __init__(self, count: int, limits: Limits | None = None) -> None:
        super().__init__(count)
        self.limits = limits or Limits()
        self.said: list[str] = []
        self.clocks = [AT] * count
        self.worlds = [World(self.limits) for _ in range(count)]
        self.shared: list[SharedWindows] = []
        for number, world in enumerate(self.worlds):
            self.shared.append(self.make(number, world))
            self.shared[-1].others = self.others(number)

    def make(self, number: int, world: World) -> SharedWindows:
        made = SharedWindows(
            number, self.boxes[number][0], self.writes, world.windows, lambda: self.limits, lambda: self.clocks[number],
            self.said.append, lambda: 0.0)
        world.neighbours = made
        return made

    def write(self, number: int, key: int, piece: Piece, account: str = ANN) -> None:
        """What a session does with a piece that is delivered."""
        table, shared = self.worlds[number].windows, self.shared[number]
        window = table.get(key, piece.at)
        if window is None:
            shared.begun(account, key, piece.at)
        if account in shared.accounts:
            shared.delivered(account, key, piece)
        window = table.get(key, piece.at)
        if window is None:
            window = deque()
        table.put(key, window, piece.at + self.limits.window_seconds)
        remember(window, piece, self.limits)

    def has(self, number: int, key: int, at: float = AT) -> str:
        """What a worker knows in a window."""
        self.shared[number].read()
        return " ".join(piece.text for piece in self.worlds[number].windows.get(key, at) or ())

    def read(self) -> None:
        for each in self.shared:
            each.read()


@pytest.fixture
def floor() -> Iterator[Floor]:
    made = Floor(3)
    yield made
    made.close()


def piece(text: str, after: float = 0.0) -> Piece:
    return Piece(AT + after, text, f"m{text}")


def letters(read: socket.socket) -> int:
    """How many letters are in a box."""
    count = 0
    while True:
        try:
            read.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return count
        count += 1


def test_pieces_of_an_account_in_two_workers_are_in_both_and_in_no_third(floor: Floor) -> None:
    """In the order of their times; other accounts' stay where they are."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    one.signed_on("bob@a.example", AT)
    two.signed_on(ANN, AT + 1)
    floor.read()
    assert not two.waits(ANN, AT + 1)
    assert (one.accounts, two.accounts, floor.shared[2].accounts) == ({ANN: 0b10}, {ANN: 0b01}, {})
    floor.write(0, 7, piece("4111"))
    floor.write(1, 7, piece("1111", 1))
    floor.write(0, 7, piece("2222", 2))
    floor.write(0, 8, piece("x"), "bob@a.example")
    for number in (0, 1):
        assert floor.has(number, 7) == "4111 1111 2222"
    assert floor.has(2, 7) == ""
    assert floor.has(1, 8) == ""
    assert floor.has(0, 8) == "x"


def test_an_account_in_one_worker_costs_a_letter_at_its_sign_on_and_none_for_what_it_writes(floor: Floor) -> None:
    """Further sessions, and its words, are nobody's business."""
    one = floor.shared[0]
    one.signed_on(ANN, AT)
    one.signed_on(ANN, AT)
    for number in range(20):
        floor.write(0, number, piece("4111"))
    one.signed_off(ANN, AT)
    assert (letters(floor.boxes[1][0]), letters(floor.boxes[2][0])) == (1, 1)
    assert one.counters.told == 0


def test_a_sign_on_waits_for_what_was_written_before(floor: Floor) -> None:
    """Until the other one has told it, in whichever windows; who signed on where nobody has it waits for nothing."""
    one, two, three = floor.shared
    one.signed_on(ANN, AT)
    assert not one.waits(ANN, AT)
    for number in range(200):
        floor.write(0, number, piece("4111"))
    two.signed_on(ANN, AT + 1)
    assert two.waits(ANN, AT + 1)
    one.read()
    assert not two.waits(ANN, AT + 1.5)
    assert {floor.has(1, number) for number in range(200)} == {"4111"}
    three.signed_on(ANN, AT + 2)
    one.read()
    assert three.waits(ANN, AT + 2)
    two.read()
    assert not three.waits(ANN, AT + 2)
    assert floor.has(2, 3) == "4111 4111", "both have told it"


def test_who_hangs_is_not_waited_for(floor: Floor) -> None:
    """It is counted and told once; what it says later is believed."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT + 1)
    assert two.waits(ANN, AT + 1.9)
    assert not two.waits(ANN, AT + 2.1)
    assert (two.counters.unheard, two.counters.failed) == (1, 1)
    assert "has not told them in time" in floor.said[0]
    one.read()
    two.read()
    floor.write(0, 7, piece("4111"))
    assert floor.has(1, 7) == "4111"


def test_who_has_left_one_worker_is_still_known_there(floor: Floor) -> None:
    """Signing off here and on there hides nothing, for as long as pieces are put together; then it is forgotten."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    floor.write(0, 7, piece("4111"))
    one.signed_off(ANN, AT + 1)
    two.signed_on(ANN, AT + 2)
    assert two.waits(ANN, AT + 2)
    one.read()
    assert not two.waits(ANN, AT + 2)
    assert floor.has(1, 7) == "4111"
    floor.write(1, 7, piece("1111", 3))
    one.signed_on(ANN, AT + 4)
    assert not one.waits(ANN, AT + 4), "it was told all along"
    assert floor.has(0, 7) == "4111 1111"
    one.signed_off(ANN, AT + 5)
    one.signed_on("bob@a.example", AT + 5 + floor.limits.window_seconds + 1)
    two.read()
    assert (one.accounts, two.accounts) == ({}, {})
    two.signed_off(ANN, AT + 1000)
    two.signed_on(ANN, AT + 1001)
    assert not two.waits(ANN, AT + 1001)


def test_sign_ons_in_the_same_moment_know_of_each_other(floor: Floor) -> None:
    """Neither has read of the other when it begins: one of them waits, and both tell each other."""
    one, two, _ = floor.shared
    late = two.read
    two.read = lambda: None  # type: ignore[method-assign]
    two.signed_on(ANN, AT)
    two.read = late  # type: ignore[method-assign]
    one.signed_on(ANN, AT)
    assert one.waits(ANN, AT)
    two.read()
    assert not one.waits(ANN, AT)
    assert (one.accounts, two.accounts) == ({ANN: 0b10}, {ANN: 0b01})


def test_of_two_pieces_looked_at_at_once_one_sees_the_other(floor: Floor) -> None:
    """Both announce before they look: what was announced first is there for the second."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT)
    floor.read()
    two.announce(ANN, 7, piece("1111", 1))
    one.announce(ANN, 7, piece("4111"))
    window = floor.worlds[0].windows.get(7, AT)
    assert window is not None
    assert [each.text for each in window] == ["1111"]


def test_what_was_announced_is_told_once_and_taken_back_once(floor: Floor) -> None:
    """Alike pieces are counted; one that was never announced is not taken back."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT)
    floor.read()
    for _ in range(3):
        one.announce(ANN, 7, piece("1"))
    one.delivered(ANN, 7, piece("1"))
    assert floor.has(1, 7) == "1 1 1"
    one.refused(ANN, 7, piece("1"))
    assert floor.has(1, 7) == "1 1"
    one.refused(ANN, 7, piece("1"))
    one.refused(ANN, 7, piece("1"))
    assert floor.has(1, 7) == "1"
    one.delivered(ANN, 7, piece("2", 1))
    assert floor.has(1, 7) == "1 2"


def test_a_worker_that_comes_later_knows_who_is_where(floor: Floor) -> None:
    """However many; one that is gone is nobody's neighbour, and its successor under the same number begins anew."""
    one, two, three = floor.shared
    names = [f"user{number}@{'long' * 20}.example" for number in range(3000)]
    for name in names:
        one.signed_on(name, AT)
        three.read()
    two.signed_on(names[0], AT)
    one.read()

    async def exchanged() -> None:
        await one.living([0, 2], None)
        await three.living([0, 2], None)
        assert names[0] not in one.accounts
        letters(floor.boxes[1][0])
        floor.worlds[1] = World(floor.limits)
        fresh = floor.shared[1] = floor.make(1, floor.worlds[1])
        await fresh.living([0, 1, 2], None)
        fresh.watch()
        await asyncio.wait_for(one.living([0, 1, 2], 1), 30)
        fresh.close()

    asyncio.run(exchanged())
    fresh = floor.shared[1]
    for name in (names[0], names[-1]):
        fresh.signed_on(name, AT + 1)
        assert fresh.waits(name, AT + 1)
    one.read()
    assert not fresh.waits(names[0], AT + 1)
    assert one.accounts[names[-1]] == 0b10


def test_a_worker_that_dies_is_not_waited_for(floor: Floor) -> None:
    """Nor is anything told to it any more."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT)
    assert two.waits(ANN, AT)
    asyncio.run(two.living([1, 2], None))
    assert not two.waits(ANN, AT)
    assert two.accounts == {}


def test_a_full_box_makes_letters_wait_in_order(floor: Floor) -> None:
    """Nothing is lost while a worker does not read, up to a bound; beyond it that is counted and told once."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT)
    floor.read()
    floor.writes[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    most = 5000

    async def write() -> None:
        for number in range(most):
            floor.write(0, number, piece("4111"))
        assert one._waiting
        while one._waiting:
            two.read()
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(write(), 30))
    two.read()
    assert {floor.has(1, number) for number in range(most)} == {"4111"}
    assert (one.counters.told, one.counters.lost) == (most, 0)
    floor.limits = Limits(neighbour_bytes=1000)

    async def too_much() -> None:
        for number in range(most):
            floor.write(0, number, piece("1111", 1))
        one.close()

    asyncio.run(too_much())
    assert one.counters.lost > 0
    assert len([sentence for sentence in floor.said if "does not read them" in sentence]) == 1


def test_what_cannot_be_read_is_counted(floor: Floor) -> None:
    """Of a worker of another release, or cut off."""
    floor.writes[0].send(b"\xc1")
    floor.writes[0].send(shared_windows._encode(["Other", 1]))
    floor.shared[0].read()
    assert floor.shared[0].counters.unreadable == 2


def test_accounts_are_bounded() -> None:
    """Of other workers: beyond the bound they are not known, and counted. Of those that have left us the oldest go."""
    floor = Floor(2, Limits(neighbour_accounts=3))
    try:
        one, two = floor.shared
        for number in range(5):
            two.signed_on(f"u{number}", AT)
        one.read()
        assert (len(one._there), one.counters.unplaced) == (3, 2)
        for number in range(5):
            two.signed_off(f"u{number}", AT)
        assert len(two._left) == 3
        one.read()
        assert len(one._there) == 1, "u0 and u1 have left, u2 has not; u3 and u4 were never known"
    finally:
        floor.close()


def test_windows_that_are_gone_leave_the_index(floor: Floor) -> None:
    """Who writes to thousands of people does not fill memory with windows that are long over."""
    one = floor.shared[0]
    one.signed_on(ANN, AT)
    for number in range(20_000):
        floor.write(0, number, piece("4111", number))
    assert len(one._windows[ANN]) < 3 * floor.limits.window_seconds


def test_a_letter_for_who_has_left_is_nobodys(floor: Floor) -> None:
    """A piece that was on its way when the account was forgotten makes no window."""
    one = floor.shared[0]
    floor.writes[0].send(shared_windows._encode(Said(ANN.encode(), 7, AT, b"4111", b"m", False)))
    floor.writes[0].send(shared_windows._encode(Said(ANN.encode(), 7, AT, b"4111", b"m", True)))
    floor.writes[0].send(shared_windows._encode(Here(1, [ANN.encode()], False)))
    one.read()
    assert len(floor.worlds[0].windows) == 0
    assert one.accounts == {}


def test_clocks_that_do_not_agree_change_no_order(floor: Floor) -> None:
    """A worker that began after the wall clock was set counts otherwise: a piece stands where it came, by the clock of
    who reads it, and is taken back all the same."""
    one, two, _ = floor.shared
    floor.clocks[1] += 7200
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT + 7200)
    floor.read()
    floor.write(0, 7, piece("4111"))
    floor.write(1, 7, piece("1111", 7201))
    floor.write(0, 7, piece("2222", 2))
    assert floor.has(0, 7) == "4111 1111 2222"
    assert floor.has(1, 7, AT + 7200) == "4111 1111 2222"
    assert [each.at for each in floor.worlds[0].windows.get(7, AT) or ()] == [AT, AT + 1, AT + 2]
    two.announce(ANN, 7, piece("3333", 7203))
    assert floor.has(0, 7) == "4111 1111 2222 3333"
    floor.clocks[1] += 0.01
    two.refused(ANN, 7, piece("3333", 7203))
    assert floor.has(0, 7) == "4111 1111 2222"


def test_half_characters_go_through(floor: Floor) -> None:
    """A peer's text or name may hold what is no UTF-8."""
    one, two, _ = floor.shared
    one.signed_on("\ud800nn", AT)
    two.signed_on("\ud800nn", AT)
    floor.read()
    floor.write(0, 7, Piece(AT, "41\udfff", "\udc00"), "\ud800nn")
    assert floor.has(1, 7) == "41\udfff"
    one.signed_off("\ud800nn", AT)
    one._expire(AT + 10_000)
    two.read()
    assert two.accounts == {}


def test_how_many_accounts_are_in_several_workers_is_on_the_page(floor: Floor) -> None:
    """As a gauge."""
    one, two, _ = floor.shared
    one.signed_on(ANN, AT)
    two.signed_on(ANN, AT)
    family, = two.source()()
    assert (family.name, list(family.samples)) == ("inspector_neighbours_accounts", [((), 1)])
