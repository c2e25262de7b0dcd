"""The hold desk, where sessions live in workers: both ends of what is said between them and the desk.

`serve` is the worker's end: a Holds (drivers/mitm_server) that asks over the channel, and what the desk asks. `Lines`
is the supervisor's: a Floor (hold_desk.py) over all workers, which knows in which of them a flow lives from what was
said of it. Kinds, from a worker: hold.keep [Held, descriptor or -1], hold.deliver [hold, flow], hold.forget, hold.came,
hold.arrived, hold.ended; from the supervisor: hold.post [flow, what, …], hold.cover, hold.sessions.

The content of a file stays in the worker's spool: the desk opens the worker's descriptor through /proc, which a process
of the same user may, and has its own from then on.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from inspector.app.channel import ChannelError, Talk
from inspector.model import Arrived, Cover, FileOffer, Held, Message, Notice, Place, Released, Told

if TYPE_CHECKING:
    from inspector.drivers.mitm_server import Holds  # mitmproxy: the supervisor does without

KEEP_SECONDS = 300.0
"""A large file is encrypted and synced within this; the session's own bounds end it before."""
T = TypeVar("T")
COVERS = 10_000
"""Releases that a worker which comes later is told of; the oldest is forgotten."""
FLOWS = 100_000
"""Flows of which it is known where they live; the one heard of least recently is forgotten."""


class News(msgspec.Struct, frozen=True):
    """A notice on its way between processes. `about`: a Message or a FileOffer, as `what` says."""

    flow: str
    text: str
    reader: str | None
    what: str | None
    about: bytes
    left: bytes = b""


def news_of(flow: str, notice: Notice) -> News:
    """A notice that can travel."""
    what = None if notice.about is None else notice.about.name
    return News(flow, notice.text, notice.reader, what, msgspec.msgpack.encode(notice.about), notice.left)


def notice_of(news: News) -> Notice:
    """What had travelled."""
    kinds: dict[str | None, type[Message] | type[FileOffer]] = {Message.name: Message, FileOffer.name: FileOffer}
    kind = kinds.get(news.what)
    about = None if kind is None else msgspec.msgpack.decode(news.about, type=kind)
    return Notice(news.text, about, news.reader, news.left)


class Sessions(Protocol):
    """A gateway, as far as the desk's questions go."""

    holds: Holds | None

    def post(self, flow: str, given: Released | Told) -> None: ...
    def cover(self, cover: Cover) -> None: ...
    async def sessions_of(self, protocol: str, user: str) -> list[Place]: ...


class RemoteHolds:
    """The desk as a worker's gateway sees it. What cannot be asked is answered with no."""

    def __init__(self, line: Talk) -> None:
        self._line = line

    async def keep(self, held: Held, content: int) -> str | None:
        try:
            answer = await self._line.call("hold.keep", [held, content], KEEP_SECONDS)
        except ChannelError:
            return "store_failed"
        finally:
            if content >= 0:
                os.close(content)
        return None if answer is None else str(answer)

    async def deliver(self, hold: str, flow: str) -> bool:
        try:
            return await self._line.call("hold.deliver", [hold, flow]) is True
        except ChannelError:
            # The answer may come yet, to nobody: it is not sent here.
            self.came(hold, flow, False)
            return False

    def forget(self, hold: str) -> None:
        self._line.tell("hold.forget", hold)

    def came(self, hold: str, flow: str, sent: bool | None) -> None:
        self._line.tell("hold.came", [hold, flow, sent])

    def arrived(self, flow: str, arrived: Arrived) -> None:
        self._line.tell("hold.arrived", [flow, arrived])

    def ended(self, flow: str) -> None:
        self._line.tell("hold.ended", flow)


def serve(line: Talk, gateway: Sessions) -> None:
    """A worker's end."""
    gateway.holds = RemoteHolds(line)

    def post(payload: Any) -> None:
        flow, what, given = payload
        if what == "released":
            gateway.post(flow, msgspec.convert(given, Released))
        else:
            gateway.post(flow, Told(0.0, notice_of(msgspec.convert(given, News))))

    async def sessions(payload: Any) -> list[Place]:
        return await gateway.sessions_of(*payload)

    line.handle("hold.post", post)
    line.handle("hold.cover", lambda payload: gateway.cover(msgspec.convert(payload, Cover)))
    line.handle("hold.sessions", sessions)


class Lines:
    """The desk's Floor over all workers."""

    def __init__(self, now: Any) -> None:
        """`now`: the clock that covers end by."""
        self.desk: Holds
        """To be set before a worker is served."""
        self._now = now
        self._workers: dict[Talk, int] = {}
        """The channels of the living, and the process behind each."""
        self._flows: OrderedDict[str, Talk] = OrderedDict()
        self._covers: OrderedDict[str, Cover] = OrderedDict()
        """By hold: what was taken back is none."""
        self.busy: set[asyncio.Task[Any]] = set()
        """What the desk does for workers at this moment."""

    # -- workers come and go

    def serve(self, line: Talk, pid: int) -> None:
        """Answer a worker from now on."""
        self._workers[line] = pid

        async def keep(payload: Any) -> str | None:
            held, content = msgspec.convert(payload[0], Held), int(payload[1])
            if content >= 0:
                try:
                    content = os.open(f"/proc/{pid}/fd/{content}", os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    return "store_failed"
            self._lives(held.flow, line)
            return await self._whole(self.desk.keep(held, content))

        async def deliver(payload: Any) -> bool:
            hold, flow = payload
            self._lives(flow, line)
            return await self._whole(self._deliver(line, hold, flow))

        def arrived(payload: Any) -> None:
            flow, arrived = payload
            self._lives(flow, line)
            self.desk.arrived(flow, msgspec.convert(arrived, Arrived))

        def ended(flow: Any) -> None:
            self._flows.pop(flow, None)
            self.desk.ended(flow)

        line.handle("hold.keep", keep)
        line.handle("hold.deliver", deliver)
        line.handle("hold.forget", lambda hold: self.desk.forget(hold))
        line.handle("hold.came", lambda payload: self.desk.came(*payload))
        line.handle("hold.arrived", arrived)
        line.handle("hold.ended", ended)

    def ready(self, line: Talk) -> None:
        """A worker listens: tell it which releases cover what follows. What was told before reached nobody."""
        now = self._now()
        for cover in self._covers.values():
            if cover.until > now:
                line.tell("hold.cover", cover)

    async def _deliver(self, line: Talk, hold: str, flow: str) -> bool:
        may = await self.desk.deliver(hold, flow)
        if may and line not in self._workers:
            # Its session has ended before it heard that it may send: nobody else will say that it did not.
            self.desk.came(hold, flow, False)
        return may

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the desk finish what it has begun, though the channel on which it was asked ends meanwhile."""
        # It begins here and now: what is said of an item later comes to the desk later.
        task: asyncio.Task[T] = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        self.busy.add(task)
        task.add_done_callback(self.busy.discard)
        return await asyncio.shield(task)

    def gone(self, line: Talk) -> None:
        """A worker is gone, and its sessions with it."""
        if self._workers.pop(line, None) is None:
            return
        for flow in [flow for flow, at in self._flows.items() if at is line]:
            del self._flows[flow]
            self.desk.ended(flow)

    def _lives(self, flow: str, line: Talk) -> None:
        self._flows[flow] = line
        self._flows.move_to_end(flow)
        if len(self._flows) > FLOWS:
            self._flows.popitem(last=False)

    # -- Floor

    def post(self, flow: str, given: Released | Told) -> None:
        line = self._flows.get(flow)
        if isinstance(given, Told):
            news = news_of(flow, given.notice)
            for one in [line] if line is not None else list(self._workers):
                one.tell("hold.post", [flow, "told", news])
        elif line is None or not line.tell("hold.post", [flow, "released", given]):
            asyncio.get_running_loop().call_soon(self.desk.came, given.held.id, flow, False)

    def cover(self, cover: Cover) -> None:
        self._covers.pop(cover.hold, None)
        if cover.until > self._now():
            # The oldest gives way where there is no room; what is over need not wait for that.
            while self._covers and (len(self._covers) >= COVERS
                                    or next(iter(self._covers.values())).until <= self._now()):
                self._covers.popitem(last=False)
            self._covers[cover.hold] = cover
        for line in self._workers:
            line.tell("hold.cover", cover)

    async def sessions_of(self, protocol: str, user: str) -> list[Place]:
        async def ask(line: Talk) -> list[Place]:
            try:
                places = msgspec.convert(await line.call("hold.sessions", [protocol, user]), list[Place])
            except ChannelError:
                return []
            for place in places:
                self._lives(place.flow, line)
            return places

        found = await asyncio.gather(*map(ask, list(self._workers)))
        return sorted((place for places in found for place in places), key=lambda place: place.since, reverse=True)
