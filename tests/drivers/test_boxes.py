"""Mailboxes between workers, by themselves; what goes through them: test_shared_world.py, test_shared_windows.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from inspector.drivers.boxes import MAIL_BYTES, Boxes, Failures, empty
from tests.drivers.boxed import Boxed

_encode = msgspec.msgpack.encode
DECODER = msgspec.msgpack.Decoder[str](str)


class Counters:
    """As the users of boxes have them."""

    unreadable = 0


class Floor(Boxed):
    """Workers that write words to each other."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.counters = Counters()
        self.said: list[str] = []
        failures = Failures(self.counters, {"unreadable": "torn"}, "not read: {why} ({name})", self.said.append)
        self.ends = [Boxes(ends[0], self.writes, DECODER, failures) for ends in self.boxes]


@pytest.fixture
def floor() -> Iterator[Floor]:
    made = Floor(2)
    yield made
    made.close()


def test_letters_come_whole_and_in_order_and_to_nobody_else(floor: Floor) -> None:
    """The longest that there may be, too; who writes waits for nobody."""
    words = ["one", "x" * (MAIL_BYTES - 5), "three"]
    assert all(floor.ends[0].put(1, _encode(word)) for word in words)
    assert list(floor.ends[0].letters()) == []
    assert list(floor.ends[1].letters()) == words
    assert list(floor.ends[1].letters()) == []


def test_a_box_that_is_full_refuses_until_it_is_read(floor: Floor) -> None:
    """Its reader hangs: whoever writes hears it, and does not hang with him."""
    letter = _encode("x" * 100_000)
    sent = 0
    while floor.ends[0].put(1, letter):
        sent += 1
        assert sent < 10_000
    assert not floor.ends[0].put(1, letter)
    assert len(list(floor.ends[1].letters())) == sent > 0
    assert floor.ends[0].put(1, letter)


def test_what_is_thrown_away_does_not_come(floor: Floor) -> None:
    """The worker that it was for is gone; the next one with its box begins anew."""
    for word in ("one", "two"):
        floor.ends[0].put(1, _encode(word))
    empty(floor.boxes[1][0])
    floor.ends[0].put(1, _encode("three"))
    assert list(floor.ends[1].letters()) == ["three"]


def test_what_cannot_be_read_is_counted_each_time_told_once_and_hides_nothing(floor: Floor) -> None:
    """Of another kind, no letter at all, longer than letters are: what is behind it is read."""
    for data in (_encode(7), b"\xc1", _encode("x" * (MAIL_BYTES + 10)), _encode("last")):
        floor.writes[0].send(data)
    assert list(floor.ends[0].letters()) == ["last"]
    assert floor.counters.unreadable == 3
    assert floor.said == ["not read: torn (unreadable)"]


def test_who_watches_is_called_when_there_is_mail_and_no_more_when_it_is_over(floor: Floor) -> None:
    """Also while it looks for nothing itself."""
    async def work() -> list[str]:
        got: list[str] = []
        came = asyncio.Event()

        def read() -> None:
            got.extend(floor.ends[1].letters())
            came.set()
        floor.ends[1].watch(read)
        floor.ends[0].put(1, _encode("one"))
        await asyncio.wait_for(came.wait(), 10)
        floor.ends[1].close()
        floor.ends[0].put(1, _encode("two"))
        await asyncio.sleep(0.05)
        return got
    assert asyncio.run(work()) == ["one"]
