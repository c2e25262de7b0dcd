"""Who may come in: bounds of sessions and set-ups, in all and for each client, and how refusals are told.

New sessions are refused before living ones are harmed: by number, by the files that the process may open (two for a
session, two for a file in the spool, and some for ourselves), by the memory that living sessions hold, and while the
disk of the event store is nearly full. A refused connection costs what it takes to accept and close it; what is told of
it is bounded, however many come: some rows of a kind and client in full, the rest as one row with their number.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

from inspector.drivers.mitm_layer import trouble_row
from inspector.model import Flow, Limits, Note, client_of

OWN_FILES = 512
"""Files that the process may open for itself: stores, workers, listeners, control socket, metrics, libraries."""
FULL_ROWS = 10
"""Rows of one kind and client that are written in full in `limits.refusal_seconds`."""
KINDS = 4096
"""(kind, client) pairs that are told apart; more are told together."""
LASTS = 60.0
"""Seconds after a refusal in which it is still a problem of `inspector status`."""
SENTENCES = 5
"""Sentences of one kind that the log gets in a second."""


def most_files() -> int:
    """Files that this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Admission:
    """Counts who is there. All methods are called on the loop."""

    def __init__(self, limits: Callable[[], Limits], files: int | None = None) -> None:
        """`files`: how many this process may open; None: asked of the system."""
        self.limits = limits
        self.files = most_files() if files is None else files
        self.open = 0
        """Connections of clients."""
        self.full: Callable[[], str | None] = lambda: None
        """Why nobody may come in now, one sentence (a disk that is nearly full); set by the composition root."""
        self.heavy: Callable[[str], str | None] = lambda _: None
        """Why nobody of this client may come in, as memory goes."""
        self.spooled: Callable[[], int] = lambda: 0
        """Files in the spool."""
        self.leased = 0
        """Listening sockets of leased ports."""
        self.refused: Counter[str] = Counter()
        """Refusals by bound."""
        self.last: tuple[float, str] | None = None
        """When somebody was last refused, and why."""
        self._clients: Counter[str] = Counter()
        self._setups: Counter[str] = Counter()
        self._setting_up: dict[Any, str] = {}

    @property
    def setups(self) -> int:
        """Connections whose set-up is not over."""
        return len(self._setting_up)

    def of(self, client: str) -> int:
        """Connections of a client."""
        return self._clients[client]

    def enter(self, link: Any, client: str) -> None:
        """A connection was accepted."""
        self.open += 1
        self._clients[client] += 1
        self._setups[client] += 1
        self._setting_up[link] = client

    def begun(self, link: Any) -> None:
        """Its set-up is over: there is a session."""
        client = self._setting_up.pop(link, None)
        if client is not None:
            _less(self._setups, client)

    def left(self, link: Any, client: str) -> None:
        """It is gone."""
        self.begun(link)
        self.open -= 1
        _less(self._clients, client)

    def refusal(self, client: str, now: float) -> str | None:
        """Why the connection of `client` that has just entered may not stay, one sentence; None: it may."""
        limits = self.limits()
        mine, files = self._clients[client], 2 * (self.open + self.spooled()) + self.leased + OWN_FILES
        bound = why = ""
        if (reason := self.full()) is not None:
            bound, why = "disk", reason
        elif self.open > limits.sessions:
            bound, why = "sessions", f"{self.open - 1} sessions are open"
        elif files > self.files:
            bound, why = "files", f"{self.open - 1} sessions are open, and this process may open {self.files} files"
        elif mine > limits.client_sessions:
            bound, why = "client_sessions", f"{mine - 1} sessions of this client are open"
        elif self.setups > limits.setups:
            bound, why = "setups", f"{self.setups - 1} connections are being set up"
        elif self._setups[client] > limits.client_setups:
            bound, why = "client_setups", f"{self._setups[client] - 1} connections of this client are being set up"
        elif (reason := self.heavy(client)) is not None:
            bound, why = "held_bytes", reason
        if not bound:
            return None
        self.refused[bound] += 1
        self.last = now, why
        return why

    def problems(self, now: float) -> list[str]:
        """For `inspector status`: whether somebody was refused within the last minute."""
        if self.last is None or now - self.last[0] > LASTS:
            return []
        return [f"sessions are refused: {self.last[1]}"]


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class Waits:
    """Who waits for a row of trouble to be on disk before he is told of it, in bounds: a flood of bad connections must
    keep nobody's place for longer than it takes."""

    def __init__(self, limits: Callable[[], Limits]) -> None:
        self.limits = limits
        self.number = 0
        self.lagging = 0
        """Rows that nobody waited for, at a bound."""
        self.unwritten = 0
        """Rows that were not on disk in time: the store failed."""
        self._clients: Counter[str] = Counter()

    def take(self, client: str) -> bool:
        """A place for one of this client's (as `client_of` says); False: there is none."""
        limits = self.limits()
        if self.number >= limits.trouble_waits or self._clients[client] >= limits.client_trouble_waits:
            self.lagging += 1
            return False
        self.number += 1
        self._clients[client] += 1
        return True

    def give(self, client: str) -> None:
        """It is over."""
        self.number -= 1
        _less(self._clients, client)


class _Kind:
    """Troubles of one kind and client, within some seconds."""

    __slots__ = ("detail", "flow", "more", "number", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.number = 0
        self.more = 0
        """Those of them that no row has told yet."""
        self.flow: Flow
        """Of the last that a row tells by itself, or of the first of those that are told together."""
        self.detail = ""


class Troubles:
    """Rows of troubles that are met where there is no session, in bounds."""

    def __init__(
        self, limits: Callable[[], Limits], note: Callable[[Note], None],
        first: Callable[[Note, str, Callable[[], None]], bool] = lambda *_: False,
    ) -> None:
        """`first`: (row, client's address, what to call once it is on disk) -> whether it will be called; False: the
        row is not taken."""
        self.limits = limits
        self._note = note
        self._first = first
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._kinds)

    def tell(
        self, name: str, client: str, detail: str, now: float, flow: Callable[[], Flow],
        then: Callable[[], None] | None = None,
    ) -> None:
        """A trouble of a client (its address): a row at once, or counted for one that tells several. `flow`: its flow,
        asked for only where a row is made of it. `then`: called once, when the peer may notice: at once where it only
        counts or too many wait, else when the row is on disk."""
        key = name, client_of(client)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS:
                key = name, ""
                kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = _Kind(now + self.limits().refusal_seconds)
        kind.number += 1
        waits = False
        if kind.more:
            kind.more += 1
        else:
            kind.flow, kind.detail = flow(), detail
            if kind.number <= FULL_ROWS and key[1]:
                waits = self._row(kind, name, now, 1, client=client, then=then)
            else:
                kind.more = 1
        if then is not None and not waits:
            then()

    def flush(self, now: float) -> None:
        """Write what was counted, where its time is over."""
        for key, kind in [(key, kind) for key, kind in self._kinds.items() if kind.until <= now]:
            del self._kinds[key]
            if kind.more:
                self._row(kind, key[0], now, kind.more, one=bool(key[1]))

    def _row(
        self, kind: _Kind, name: str, now: float, count: int, *, one: bool = True, client: str = "",
        then: Callable[[], None] | None = None,
    ) -> bool:
        """Write a row. True: `then` will be called."""
        self._number += 1
        row = trouble_row(kind.flow, self._number, now, name, kind.detail)
        row["id"] = f"{kind.flow.id}-t{self._number}"
        row["count"] = count
        if not one:
            row["client"] = None
        if then is not None and self._first(Note(0, row, barrier=True), client, then):
            return True
        self._note(Note(0, row))
        return False


class Sayings:
    """Sentences for the log, in bounds: of each kind so many a second, however many there are to say."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._said: dict[str, tuple[float, set[str]]] = {}

    def say(self, kind: str, sentence: str, now: float, key: str = "") -> None:
        """Log it, unless enough of this kind, or one of this `key`, was said within a second. Kinds are ours."""
        since, keys = self._said.get(kind, (0.0, set()))
        if now - since >= 1.0:
            since, keys = now, set()
            self._said[kind] = since, keys
        if key not in keys and len(keys) < SENTENCES:
            keys.add(key)
            self._log(sentence)
