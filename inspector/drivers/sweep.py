"""What is looked at from time to time in all sessions: silence, slowness, and the memory that waits.

Once a second, a slice of the sessions at a time, so that the loop is never held up. A session in which nothing has
moved since the last round, and which held nothing then, costs one comparison.

Ended are: sessions in which nothing has moved for `limits.idle_seconds`; connections on which nobody has said a word
for `limits.silent_seconds`; a unit (stanza, line, FLAP) that is not whole after `limits.unit_seconds` although a link
of `limits.slow_bytes` a second would have brought more than came of it; and a peer that takes nothing of what waits for
it in `limits.stalled_seconds`. Time and progress both count: a slow link is none of these, nor is who waits for us.

Counted as held: what waits for a verdict, units that are not whole, and what peers leave unread. Above
`limits.held_bytes`, and for one client above `limits.client_held_bytes`, nobody new is let in (of that client), and the
heaviest sessions of the heaviest client meet trouble `overload`: the policy says whether they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from inspector.drivers.mitm_layer import Timer
from inspector.model import DOWN, UP, Limits, Troubled, Way, client_of

ROUND = 1.0
"""Seconds between two rounds."""
SLICE = 400
"""Sessions that are looked at in one turn of the loop."""
CHECK = 5
"""The kernel is asked for connections that are gone in every so many rounds."""
ENOUGH = 0.9
"""Above a bound of memory so much of it is what sessions are told to come down to."""


class Host(Protocol):
    """What the sweep asks of the gateway."""

    @property
    def limits(self) -> Limits: ...
    @property
    def counters(self) -> Any:
        """Plain ints: idle_ended, silent_ended, slow_ended, stalled_ended, held_overload."""
        ...

    @property
    def links(self) -> Iterable[Any]: ...
    def clock(self) -> float: ...
    def later(self, delay: float, call: Callable[[], None]) -> Timer: ...
    def slow(self, link: Any, detail: str, then: Callable[[], None]) -> None:
        """Note that a link is ended because its peer is slow or silent; `then` ends it, now or later."""
        ...


class _Mark:
    """What was seen of a session that holds something."""

    __slots__ = ("client", "stalled", "told", "units", "weight")

    def __init__(self, client: str) -> None:
        self.client = client
        self.weight = 0
        self.units: list[tuple[float, int, int] | None] = [None, None]
        """Per way: (since, bytes then, bytes at the last look) of the unit that is not whole."""
        self.stalled: list[tuple[float, int] | None] = [None, None]
        """Per way: (since, bytes that its reader had taken then), while much is left unread."""
        self.told = False
        """It was told that too much is held; the policy let it be."""


class Sweep:
    """Goes round. All methods are called on the loop."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.held = 0
        """Bytes held at the last look at each session."""
        self.longest = 0.0
        """Seconds of the longest slice."""
        self.rounds = 0
        self._clients: dict[str, int] = {}
        self._marks: dict[Any, _Mark] = {}
        self._todo: list[Any] = []
        self._before = 0.0
        """When the last round began."""
        self._now = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin."""
        self._before = self.host.clock()
        self._rest()

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self, link: Any) -> None:
        """The link is gone."""
        mark = self._marks.pop(link, None)
        if mark is not None:
            self._weigh(mark, 0)

    def heavy(self, client: str) -> str | None:
        """Why nobody new of this client may come in: too much is held."""
        limits = self.host.limits
        if self.held > limits.held_bytes:
            return f"{self.held >> 20} MiB wait in sessions"
        mine = self._clients.get(client, 0)
        return f"{mine >> 20} MiB wait in sessions of this client" if mine > limits.client_held_bytes else None

    def _rest(self) -> None:
        limits = self.host.limits
        pause = min(ROUND, *(seconds / 4 for seconds in (
            limits.idle_seconds, limits.silent_seconds, limits.unit_seconds, limits.stalled_seconds)))
        self._timer = self.host.later(max(0.05, pause), self._begin)

    def _begin(self) -> None:
        self._now = self.host.clock()
        self.rounds += 1
        self._todo = list(self.host.links)
        self._slice()

    def _slice(self) -> None:
        begin = self.host.clock()
        todo = self._todo
        for _ in range(min(SLICE, len(todo))):
            self._look(todo.pop())
        self.longest = max(self.longest, self.host.clock() - begin)
        if todo:
            self._timer = self.host.later(0.0, self._slice)
            return
        self._relieve()
        self._before = self._now
        self._rest()

    # -- one session

    def _look(self, link: Any) -> None:
        if link.done or link.lingering or link.leaving:
            self.forget(link)  # its memory goes within limits.close_seconds
            return
        if self.rounds % CHECK == 0:
            link.check()
        limits, now, conversation = self.host.limits, self._now, link.conversation
        if conversation is None:
            if now - link.since >= min(limits.silent_seconds, limits.idle_seconds):
                self.host.counters.silent_ended += 1
                self.host.slow(link, "nobody has said a word", link.abort)
            return
        mark = self._marks.get(link)
        last = conversation.last
        if last < self._before and mark is None:
            if now - last >= limits.idle_seconds:
                self.host.counters.idle_ended += 1
                conversation.kill("idle")
            elif not conversation.bytes and now - last >= limits.silent_seconds:
                self.host.counters.silent_ended += 1
                self.host.slow(link, "nobody has said a word", lambda: conversation.kill("silent"))
            return
        self._measure(link, conversation, mark)

    def _measure(self, link: Any, conversation: Any, mark: _Mark | None) -> None:
        session, limits, now = conversation.session, self.host.limits, self._now
        pending = pending_of(session, UP), pending_of(session, DOWN)
        queued = session.queued(UP), session.queued(DOWN)
        unread = unread_of(link)
        weight = sum(pending) + sum(queued) + sum(unread) + probing_of(session)
        if not weight:
            self.forget(link)
            return
        if mark is None:
            mark = self._marks[link] = _Mark(client_of(link.peer[0]))
        self._weigh(mark, weight)
        for way in (UP, DOWN):
            # Who is not read because his bytes find no room cannot bring his unit to its end.
            stopped = queued[way] > limits.way_bytes or unread[way] > limits.write_buffer_bytes or (
                unread[way.other] > limits.way_bytes)
            if self._too_slow(mark, way, 0 if stopped else pending[way]):
                self.host.counters.slow_ended += 1
                whose = "client" if way is UP else "server"
                self.host.slow(link, f"a unit of the {whose}'s is not whole after {limits.unit_seconds:.0f} s",
                               lambda: conversation.kill("too slow"))
                return
            came = conversation.up if way is UP else conversation.bytes - conversation.up
            if self._takes_nothing(mark, way, unread[way], came):
                self.host.counters.stalled_ended += 1
                whose = "server" if way is UP else "client"
                self.host.slow(link, f"the {whose} takes nothing of what waits for it",
                               lambda: conversation.kill("not read"))
                return
        if now - conversation.last >= limits.idle_seconds:
            self.host.counters.idle_ended += 1
            conversation.kill("idle")

    def _too_slow(self, mark: _Mark, way: Way, pending: int) -> bool:
        """Whether the unit that is not whole has had its time. It is a new one when less is there than before."""
        seen = mark.units[way]
        if not pending:
            mark.units[way] = None
        elif seen is None or pending < seen[2]:
            mark.units[way] = self._now, pending, pending
        else:
            since, then, _ = seen
            limits = self.host.limits
            if self._now - since >= limits.unit_seconds:
                if pending - then < limits.slow_bytes * (self._now - since):
                    return True
                since, then = self._now, pending
            mark.units[way] = since, then, pending
        return False

    def _takes_nothing(self, mark: _Mark, way: Way, unread: int, came: int) -> bool:
        """Whether the reader of `way` has had its time: it must take some in of what keeps its writer waiting.

        `came`: bytes of that way so far. What came and is not unread was taken, or waits in the session, which is
        bounded."""
        limits = self.host.limits
        if unread <= limits.write_buffer_bytes:
            mark.stalled[way] = None
            return False
        seen, taken = mark.stalled[way], came - unread
        if seen is None:
            mark.stalled[way] = self._now, taken
            return False
        since, then = seen
        if self._now - since < limits.stalled_seconds:
            return False
        if taken - then < limits.slow_bytes * (self._now - since):
            return True
        mark.stalled[way] = self._now, taken
        return False

    # -- memory

    def _weigh(self, mark: _Mark, weight: int) -> None:
        more = weight - mark.weight
        mark.weight = weight
        self.held += more
        mine = self._clients.get(mark.client, 0) + more
        if mine:
            self._clients[mark.client] = mine
        else:
            self._clients.pop(mark.client, None)

    def _relieve(self) -> None:
        """Bring what is held below its bounds."""
        limits = self.host.limits
        for client, held in list(self._clients.items()):
            if held > limits.client_held_bytes:
                self._lighten(client, held - int(limits.client_held_bytes * ENOUGH))
        if self.held > limits.held_bytes:
            more = self.held - int(limits.held_bytes * ENOUGH)
            for client, held in sorted(self._clients.items(), key=lambda pair: -pair[1]):
                if more <= 0:
                    break
                # Of the heaviest first, and of nobody more than brings him down to what all may have alike.
                fair = limits.held_bytes // max(1, len(self._clients))
                more -= self._lighten(client, min(more, max(0, held - fair)))

    def _lighten(self, client: str, more: int) -> int:
        """Tell a client's heaviest sessions that too much is held, until `more` bytes are told of."""
        told = 0
        mine = sorted(((mark.weight, id(link), link, mark) for link, mark in self._marks.items()
                       if mark.client == client), reverse=True)
        for weight, _, link, mark in mine:
            if told >= more:
                break
            told += weight
            if not mark.told and link.conversation is not None:
                mark.told = True
                self.host.counters.held_overload += 1
                link.conversation.outlet.post(Troubled(
                    self.host.clock(), "overload", f"{weight} bytes wait in this session, too much in all"))
        return told


def pending_of(session: Any, way: Way) -> int:
    """Bytes of a unit that is not whole yet."""
    decoder = getattr(session, "_decoder", None)
    return 0 if decoder is None else int(decoder.pending(way))


def probing_of(session: Any) -> int:
    """Bytes kept of a session whose protocol is not known yet: joined, and as they came."""
    probe = getattr(session, "_probe", None)
    return 0 if probe is None else 2 * sum(map(len, probe.upto))


def unread_of(link: Any) -> tuple[int, int]:
    """Bytes that were written and not yet taken by the kernel: those for the server (UP), those for the client."""
    if hasattr(link, "client_side"):
        sides = link.server_side, link.client_side
        return (_buffered(sides[0]), _buffered(sides[1]))
    up = down = 0
    for peer, io in list(link.transports.items()):
        writer = io.writer
        size = 0 if writer is None or writer.is_closing() else writer.transport.get_write_buffer_size()
        if peer is link.client:
            down += size
        else:
            up += size
    return up, down


def _buffered(side: Any) -> int:
    return side.transport.get_write_buffer_size() if side is not None and side.open else 0
