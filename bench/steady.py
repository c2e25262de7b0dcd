"""Chat at a given rate, and a server beside it: round trips, what was refused, what came through.

Clients and server are in this process; the gateway stands between them. Each session sends its next message when its
turn comes, whether the last was answered or not; every `marked`-th message has words that the gateway refuses, which
must come back as an error and never reach the server.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from bench import texts
from bench.load import Client
from bench.reflector import Reflector

MARK = b"wombat parade"


@dataclass
class Seen:
    """What clients and server have noted; times in seconds."""

    passed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    sent: int = 0
    sent_marked: int = 0
    leaked: int = 0
    """Refused words that came to the server."""
    lost: int = 0
    """Sessions that ended."""

    def add(self, other: Seen) -> None:
        """Take in what another has seen."""
        self.passed += other.passed
        self.refused += other.refused
        self.sent += other.sent
        self.sent_marked += other.sent_marked
        self.leaked += other.leaked
        self.lost += other.lost


class Server(Reflector):
    """Counts what should not have come."""

    seen: Seen
    last = b""

    def data_received(self, data: bytes) -> None:
        self.seen.leaked += (self.last + data).count(MARK)
        self.last = data[-len(MARK) + 1:]
        super().data_received(data)


class Talker(Client):
    """One session that talks at its rate."""

    seen: Seen
    pause: float
    marked: int
    stopped = False
    turn: asyncio.TimerHandle
    next_at = 0.0

    def start(self, delay: float) -> None:
        self.waiting: deque[tuple[bool, float]] = deque()
        self.said = 0
        self.next_at = asyncio.get_running_loop().time() + delay
        self.turn = asyncio.get_running_loop().call_at(self.next_at, self.say)

    def say(self) -> None:
        loop = asyncio.get_running_loop()
        if self.stopped:
            return
        self.said += 1
        message = self.messages.next()
        # The first session's marked messages are not all at the same time as those of the others.
        marked = bool(self.marked) and (self.said + hash(self.user)) % self.marked == 0
        if marked:
            at = message.index(b"<body>") + 6
            message = message[:at] + MARK + b" " + message[at + len(MARK) + 1:]
            self.seen.sent_marked += 1
        self.seen.sent += 1
        self.waiting.append((marked, time.perf_counter()))
        self.transport.write(message)
        # By the clock, not by the answer: a gateway that stands still is sent as much as one that does not.
        self.next_at += self.pause
        self.turn = loop.call_at(self.next_at, self.say)

    def data_received(self, data: bytes) -> None:
        if not self.talking:
            super().data_received(data)
            return
        now = time.perf_counter()
        self.buffer += data
        while True:
            end = self.buffer.find(b"</message>")
            if end < 0:
                return
            stanza, self.buffer = self.buffer[:end + 10], self.buffer[end + 10:]
            refused = b"type='error'" in stanza[:300] or b'type="error"' in stanza[:300]
            # Answers of one kind come in order; an error may overtake the reflection of the message before it.
            for place, (marked, began) in enumerate(self.waiting):
                if marked == refused:
                    del self.waiting[place]
                    (self.seen.refused if refused else self.seen.passed).append(now - began)
                    break

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.stopped:
            self.seen.lost += 1


class Chat:
    """A number of sessions through one gateway."""

    def __init__(self, marked: int = 0) -> None:
        self.seen = Seen()
        self.marked = marked
        self.talkers: list[Talker] = []

    async def listen(self) -> int:
        """Start the server; its port."""
        def made() -> Server:
            server = Server("xmpp", None)
            server.seen = self.seen
            return server

        self.server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0, backlog=4096)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def connect(self, port: int, sessions: int) -> None:
        """Sign on."""
        loop = asyncio.get_running_loop()
        for number in range(1, sessions + 1):
            talker = Talker("xmpp", False, number)
            talker.seen = self.seen
            await loop.create_connection(lambda talker=talker: talker, "127.0.0.1", port)  # type: ignore[misc]
            self.talkers.append(talker)
            if number % 10 == 0:
                await asyncio.wait_for(asyncio.gather(*(one.ready for one in self.talkers)), 60)
        await asyncio.wait_for(asyncio.gather(*(one.ready for one in self.talkers)), 60)

    def talk(self, rate: float) -> None:
        """Messages a second of all sessions together, from now on."""
        for number, talker in enumerate(self.talkers):
            talker.pause, talker.marked = len(self.talkers) / rate, self.marked
            talker.start(talker.pause * number / len(self.talkers))

    def forget(self) -> Seen:
        """What was seen since the last time; begins anew."""
        seen = self.seen
        new = Seen()
        self.seen = new
        for talker in self.talkers:
            talker.seen = new
        return seen

    @property
    def unanswered(self) -> int:
        return sum(len(talker.waiting) for talker in self.talkers)

    async def hush(self, seconds: float = 10) -> None:
        """Say no more, and wait for the answers under way."""
        for talker in self.talkers:
            talker.stopped = True
            talker.turn.cancel()
        deadline = time.monotonic() + seconds
        while self.unanswered and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def close(self) -> None:
        for talker in self.talkers:
            talker.stopped = True
            talker.transport.close()
        self.server.close()


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


assert len(MARK) < texts.SIZE
