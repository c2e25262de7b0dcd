"""What spans flows: one World per worker, as pure as the session; every table is bounded, the oldest leaves first."""

from __future__ import annotations

from collections import OrderedDict

from inspector.model import Expect, Limits

_Key = tuple[str, int]


class Table[K, V]:
    """A bounded mapping with times: the least recently put entry leaves first and is counted."""

    __slots__ = ("_entries", "dropped", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped = 0
        # A plain dict finds its oldest entry by walking over all that left before: 20,000 steps a message.
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, at: float) -> V | None:
        """The value, unless its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] < at:
            del self._entries[key]
            return None
        return entry[0]

    def put(self, key: K, value: V, until: float) -> None:
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
        elif len(entries) >= self.limit:
            entries.popitem(last=False)
            self.dropped += 1
        entries[key] = (value, until)

    def pop(self, key: K) -> V | None:
        entry = self._entries.pop(key, None)
        return None if entry is None else entry[0]


class Tally:
    """Plain counts of one protocol; read at scrape time, never in the path of a message."""

    __slots__ = ("actions", "events", "messages", "oddities", "passed", "rules", "sessions", "troubles")

    def __init__(self) -> None:
        self.sessions = 0
        self.messages = 0
        """Messages judged."""
        self.passed = 0
        """Events passed without any rule having a say."""
        self.events: dict[str, int] = {}
        """Judged events that had a say or are not messages, by name."""
        self.actions: dict[str, int] = {}
        """What was done, by action, where a rule had a say."""
        self.rules: dict[tuple[str, str], int] = {}
        """(rule, action asked) of every match, shadow ones as "shadow"."""
        self.troubles: dict[tuple[str, str], int] = {}
        """(trouble, what was done)."""
        self.oddities: dict[str, int] = {}


class World:
    """Everything a worker's sessions share."""

    __slots__ = ("expectations", "legs", "memory", "tallies", "users")

    def __init__(self, limits: Limits) -> None:
        self.memory: Table[str, object] = Table(limits.memory_entries)
        self.legs: Table[int, tuple[str, str, str | None]] = Table(limits.leg_entries)
        """hash of protocol and texts -> (flow, sender, conversation) of the message seen going up."""
        self.users: Table[str, tuple[str, ...]] = Table(limits.user_entries)
        """user -> flows where he is signed on."""
        self.expectations: Table[str, Expect] = Table(limits.memory_entries)
        """host:port -> what is expected there (DCC, bytestreams)."""
        self.tallies: dict[str, Tally] = {}

    def tally(self, protocol: str | None) -> Tally:
        """The counts of a protocol ("unknown" where it is not known)."""
        name = protocol or "unknown"
        tally = self.tallies.get(name)
        if tally is None:
            tally = self.tallies[name] = Tally()
        return tally

    def signed_on(self, user: str, flow: str, until: float, at: float) -> None:
        flows = self.users.get(user, at) or ()
        if flow not in flows:
            self.users.put(user, (*flows, flow)[-16:], until)

    def signed_off(self, user: str, flow: str, until: float, at: float) -> None:
        flows = tuple(f for f in self.users.get(user, at) or () if f != flow)
        if flows:
            self.users.put(user, flows, until)
        else:
            self.users.pop(user)
