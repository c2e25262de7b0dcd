"""The hold desk and the sessions of workers, over channels inside one process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from inspector.app import channel
from inspector.app.channel import ChannelError, Talk
from inspector.app.hold_lines import Lines, RemoteHolds, news_of, notice_of, serve
from inspector.model import (
    UP,
    Arrived,
    Cover,
    FileOffer,
    Held,
    Message,
    Notice,
    Place,
    Released,
    Told,
)

HELD = Held(
    id="h1", reference="K7QM-2F9X", t=5.0, protocol="xmpp", about="message", kind="chat", way=UP, direction="outbound",
    flow="f1", client="10.0.0.5", user="alice", identity="authenticated", sender="alice", recipients=("bob",),
    raw=b"<message/>\xff", texts=(("body", "hello"),))
COVER = Cover(hold="h1", reference="K7QM-2F9X", protocol="xmpp", sender="alice", digest="00", until=100.0)


class Desk:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.gate: asyncio.Event | None = None
        """What is asked is not answered before this is set."""

    async def keep(self, held: Held, content: int) -> str | None:
        data = None
        if self.gate is not None:
            await self.gate.wait()
        if content >= 0:
            data = os.pread(content, 100, 0)
            os.close(content)
        self.said.append(("keep", held, data))
        await asyncio.sleep(0)
        return "hold_full" if held.size > 100 else None

    async def deliver(self, hold: str, flow: str) -> bool:
        if self.gate is not None:
            await self.gate.wait()
        self.said.append(("deliver", hold, flow))
        return hold == "h1"

    def forget(self, hold: str) -> None:
        self.said.append(("forget", hold))

    def came(self, hold: str, flow: str, sent: bool | None) -> None:
        self.said.append(("came", hold, flow, sent))

    def arrived(self, flow: str, arrived: Arrived) -> None:
        self.said.append(("arrived", flow, arrived))

    def ended(self, flow: str) -> None:
        self.said.append(("ended", flow))


class Sessions:
    """A worker's gateway."""

    def __init__(self, places: list[Place]) -> None:
        self.holds: Any = None
        self.places = places
        self.given: list[tuple[str, Released | Told]] = []
        self.covers: list[Cover] = []

    def post(self, flow: str, given: Released | Told) -> None:
        self.given.append((flow, given))

    def cover(self, cover: Cover) -> None:
        self.covers.append(cover)

    async def sessions_of(self, protocol: str, user: str) -> list[Place]:
        return [place for place in self.places if user == "alice" and protocol == "xmpp"]


class Floor:
    """A desk and two workers."""

    def __init__(self) -> None:
        self.now = 50.0
        self.desk = Desk()
        self.lines = Lines(lambda: self.now)
        self.lines.desk = self.desk
        self.ends: list[Talk] = []
        self.workers: list[Sessions] = []
        for n in range(2):
            self.join([Place(f"f{n}", "authenticated", "10.0.0.5", float(n))])

    def join(self, places: list[Place]) -> Sessions:
        ours, its = channel.pair()
        worker = Sessions(places)
        serve(its, worker)
        self.lines.serve(ours, os.getpid())
        self.lines.ready(ours)
        self.ends.append(ours)
        self.workers.append(worker)
        return worker


def run(work: Callable[[Floor], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await work(Floor())

    asyncio.run(bounded())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_a_worker_asks_comes_to_the_desk_whole_and_in_order() -> None:
    """An item with its bytes and texts; what is said of it afterwards comes afterwards, though storing takes time."""
    async def work(floor: Floor) -> None:
        holds = floor.workers[1].holds
        arrived = Arrived("xmpp", "alice", "authenticated", "10.0.0.5")
        kept = asyncio.ensure_future(holds.keep(HELD, -1))
        await asyncio.sleep(0)
        holds.forget("h1")
        assert await kept is None
        assert await holds.deliver("h1", "f1") is True
        assert await holds.deliver("h2", "f1") is False
        holds.came("h1", "f1", True)
        holds.came("h1", "f1", None)
        holds.arrived("f1", arrived)
        holds.ended("f1")
        await settle()
        assert floor.desk.said == [
            ("keep", HELD, None), ("forget", "h1"), ("deliver", "h1", "f1"), ("deliver", "h2", "f1"),
            ("came", "h1", "f1", True), ("came", "h1", "f1", None), ("arrived", "f1", arrived), ("ended", "f1"),
        ]

    run(work)


def test_a_file_s_content_is_read_through_the_worker_s_descriptor(tmp_path: Path) -> None:
    """The desk has a descriptor of its own; the worker's is closed; what the desk says comes back."""
    async def work(floor: Floor) -> None:
        (tmp_path / "f").write_bytes(b"content")
        number = os.open(tmp_path / "f", os.O_RDONLY)
        held = msgspec.structs.replace(HELD, about="file", size=101, file_name="f")
        assert await floor.workers[0].holds.keep(held, number) == "hold_full"
        assert floor.desk.said[0][2] == b"content"
        try:
            os.fstat(number)
        except OSError:
            pass
        else:
            raise AssertionError("the worker's descriptor is still open")

    run(work)


def test_what_is_released_goes_to_the_worker_where_the_flow_lives() -> None:
    """Known from what was said of it; of a flow that lives nowhere the desk hears that nothing was sent."""
    async def work(floor: Floor) -> None:
        places = await floor.lines.sessions_of("xmpp", "alice")
        assert [place.flow for place in places] == ["f1", "f0"]
        released = Released(0.0, HELD)
        floor.lines.post("f0", released)
        floor.lines.post("f9", released)
        await settle()
        assert floor.workers[0].given == [("f0", released)]
        assert floor.workers[1].given == []
        assert floor.desk.said == [("came", "h1", "f9", False)]
        told = Told(0.0, Notice("it was denied", FileOffer(file_name="a.txt"), "for its reader"))
        floor.lines.post("f1", told)
        floor.lines.post("f9", told)
        await settle()
        assert floor.workers[1].given == [("f1", told), ("f9", told)]
        assert floor.workers[0].given[1:] == [("f9", told)]

    run(work)


def test_releases_cover_in_all_workers_also_in_one_that_comes_later() -> None:
    """As long as they last."""
    async def work(floor: Floor) -> None:
        floor.lines.cover(COVER)
        await settle()
        assert [worker.covers for worker in floor.workers] == [[COVER], [COVER]]
        late = floor.join([])
        await settle()
        assert late.covers == [COVER]
        floor.now = 101.0
        later = floor.join([])
        await settle()
        assert later.covers == []

    run(work)


def test_releases_that_cover_nothing_any_more_are_forgotten() -> None:
    """With the next one: what is over does not stay until there is no room."""
    async def work(floor: Floor) -> None:
        for number in range(5):
            floor.lines.cover(msgspec.structs.replace(COVER, hold=f"old{number}"))
        assert len(floor.lines._covers) == 5
        floor.now = 101.0
        floor.lines.cover(msgspec.structs.replace(COVER, hold="new", until=200.0))
        assert list(floor.lines._covers) == ["new"]

    run(work)


def test_a_worker_hears_of_releases_when_it_can() -> None:
    """Before it is ready nobody there would listen."""
    async def work(floor: Floor) -> None:
        ours, its = channel.pair()
        floor.lines.serve(ours, os.getpid())
        floor.lines.cover(COVER)
        await settle()
        late = Sessions([])
        serve(its, late)
        floor.lines.ready(ours)
        await settle()
        assert late.covers == [COVER]

    run(work)


def test_a_release_that_was_taken_back_covers_in_no_later_worker() -> None:
    """Denied after it was released: also who comes later lets nothing pass for it. A release that is told again, with
    another end, is told to him once."""
    async def work(floor: Floor) -> None:
        floor.lines.cover(COVER)
        other = msgspec.structs.replace(COVER, hold="h2")
        floor.lines.cover(other)
        longer = msgspec.structs.replace(other, until=200.0)
        floor.lines.cover(longer)
        floor.lines.cover(msgspec.structs.replace(COVER, until=0.0))
        late = floor.join([])
        await settle()
        assert late.covers == [longer]

    run(work)


class Socketed:
    """A worker behind a real channel, which can end."""

    async def join(self, floor: Floor) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line = await channel.attach(
            ours, lambda: floor.lines.gone(self.line), lambda line: floor.lines.serve(line, os.getpid()))
        self.its = await channel.attach(its, lambda: None)
        self.holds = RemoteHolds(self.its)


def test_what_a_dying_worker_began_is_finished(tmp_path: Path) -> None:
    """An item that is being stored is stored, from its own content; one that was to be delivered in its sessions was
    not, and the desk is told so."""
    async def work(floor: Floor) -> None:
        worker = Socketed()
        await worker.join(floor)
        floor.desk.gate = asyncio.Event()
        (tmp_path / "f").write_bytes(b"content")
        number = os.open(tmp_path / "f", os.O_RDONLY)
        held = msgspec.structs.replace(HELD, about="file", file_name="f")
        asked = [
            asyncio.ensure_future(worker.holds.keep(held, number)),
            asyncio.ensure_future(worker.holds.deliver("h1", "f1")),
            asyncio.ensure_future(worker.holds.deliver("h2", "f1")),
        ]
        while len(floor.lines.busy) < 3:
            await asyncio.sleep(0)
        worker.its.abort()
        assert await asyncio.gather(*asked) == ["store_failed", False, False]
        while worker.line.open:
            await asyncio.sleep(0)
        floor.desk.gate.set()
        while floor.lines.busy:
            await asyncio.sleep(0)
        assert floor.desk.said == [
            ("ended", "f1"), ("keep", held, b"content"), ("deliver", "h1", "f1"), ("came", "h1", "f1", False),
            ("deliver", "h2", "f1"),
        ]

    run(work)


def test_a_worker_that_is_gone_has_ended_its_sessions() -> None:
    """The desk hears it of every flow it knows there; nothing is sent to it any more."""
    async def work(floor: Floor) -> None:
        await floor.workers[0].holds.deliver("h1", "f0")
        await floor.workers[1].holds.deliver("h1", "f1")
        floor.desk.said.clear()
        floor.lines.gone(floor.ends[0])
        floor.lines.gone(floor.ends[0])
        assert floor.desk.said == [("ended", "f0")]
        floor.lines.post("f0", Released(0.0, HELD))
        await settle()
        assert floor.desk.said[1:] == [("came", "h1", "f0", False)]
        assert [place.flow for place in await floor.lines.sessions_of("xmpp", "alice")] == ["f1"]

    run(work)


def test_without_a_supervisor_nothing_is_held_and_nothing_delivered() -> None:
    """A channel that has ended says no: store_failed, and the policy decides."""
    async def work(floor: Floor) -> None:
        del floor
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        line = await channel.attach(its, lambda: None)
        holds = RemoteHolds(line)
        ours.close()
        try:
            await line.call("ping")
        except ChannelError:
            pass
        else:
            raise AssertionError("nobody is there")
        assert await holds.keep(HELD, -1) == "store_failed"
        assert await holds.deliver("h1", "f1") is False
        holds.came("h1", "f1", True)

    run(work)


def test_notices_travel_with_what_they_are_about() -> None:
    """A message, an offer, or nothing."""
    message = Message(sender="a", recipients=("b",), kind="chat")
    for about in (message, FileOffer(file_name="x"), None):
        notice = Notice("words", about, "other words", b"<left/>")
        assert notice_of(news_of("f", notice)) == notice


class Late:
    """A channel on which no answer comes in time."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def handle(self, kind: str, handler: Any) -> None: ...

    def ask(self, kind: str, payload: Any, done: Any, seconds: float = 0.0) -> None:
        raise AssertionError

    def tell(self, kind: str, payload: Any = None) -> bool:
        self.told.append((kind, payload))
        return True

    async def call(self, kind: str, payload: Any = None, seconds: float = 0.0) -> Any:
        raise ChannelError(channel.LATE)


def test_a_session_that_does_not_hear_in_time_that_it_may_send_says_that_it_did_not() -> None:
    """The desk may have written `delivering` all the same: the item must not stay there while the session lives."""
    line = Late()
    assert asyncio.run(RemoteHolds(line).deliver("h1", "f1")) is False
    assert line.told == [("hold.came", ["h1", "f1", False])]
