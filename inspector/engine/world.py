"""What spans flows: one World per worker, as pure as the session; every table is bounded, the oldest leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from inspector.engine.covers import Covers
from inspector.engine.windows import Neighbours, Window
from inspector.model import DOWN, Address, Expect, FileOffer, Flow, Limits, Way, client_of

_encode = msgspec.msgpack.Encoder().encode
_SHARE = 4
"""One client's announcements may take this part of the room for all: the table has room for several who flood it."""


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

    def living(self, at: float) -> list[tuple[K, V, float]]:
        """(key, value, until) of every entry whose time is not over."""
        return [(key, value, until) for key, (value, until) in self._entries.items() if until >= at]


class Expectations(Table[str, Expect]):
    """Announced connections. One that was announced must not be forgotten before its time, or what comes on it would be
    read by nobody: so what finds no room is refused, and no client may take the room of all others."""

    __slots__ = ("_counts", "_owners")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._owners: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def add(self, key: str, value: Expect, until: float, owner: str, at: float) -> bool:
        """Put an entry of `owner` (a client's address); False: there is no room for it."""
        owner = client_of(owner)
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest][1] >= at:
                break
            self._remove(oldest)
        known = key in self._entries
        mine = self._counts.get(owner, 0) - (known and self._owners[key] == owner)
        if len(self._entries) - known >= self.limit or mine >= max(1, self.limit // _SHARE):
            self.dropped += 1
            return False  # and what another has announced there stands
        if known:
            self._remove(key)
        self._entries[key] = (value, until)
        self._owners[key] = owner
        self._counts[owner] = self._counts.get(owner, 0) + 1
        return True

    def get(self, key: str, at: float) -> Expect | None:
        entry = self._entries.get(key)
        return None if entry is None or entry[1] < at else entry[0]

    def owner(self, key: str) -> str:
        """Whose entry it is (a client, as `client_of` says); "" where there is none."""
        return self._owners.get(key, "")

    def _remove(self, key: str) -> None:
        del self._entries[key]
        owner = self._owners.pop(key)
        left = self._counts[owner] - 1
        if left:
            self._counts[owner] = left
        else:
            del self._counts[owner]


class SharedMemory(Table[str, object]):
    """The decoders' memory, for sessions without a way of their own to lease."""

    __slots__ = ()

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:  # noqa: ARG002 - the port's shape
        return None


class LeasePool:
    """Ports that the driver has bound beforehand and that are leased, each for one connection (design section 5)."""

    __slots__ = ("_free", "_leased", "exhausted", "seconds")

    def __init__(self, ports: Iterable[int], seconds: float) -> None:
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(ports)
        self._leased: OrderedDict[int, tuple[Expect, float]] = OrderedDict()
        self.seconds = seconds
        self.exhausted = 0
        """Times that no port was free."""

    def take(self, expect: Expect, at: float) -> int | None:
        """A port for `expect`, the one that was free for longest; None when all are leased."""
        self._expire(at)
        if not self._free:
            self.exhausted += 1
            return None
        port, _ = self._free.popitem(last=False)
        self._leased[port] = (expect, at + self.seconds)
        return port

    def claim(self, port: int, client: str, at: float) -> Expect | None:
        """What a connection from `client` to `port` is for; the lease is used up. None: nothing is expected there from
        this client, and the lease of somebody else stands."""
        self._expire(at)
        lease = self._leased.get(port)
        if lease is None or (lease[0].client is not None and lease[0].client != client):
            return None
        del self._leased[port]
        self._free[port] = None
        return lease[0]

    def _expire(self, at: float) -> None:
        while self._leased:
            port = next(iter(self._leased))
            if self._leased[port][1] >= at:
                return
            del self._leased[port]
            self._free[port] = None


class Paths:
    """What one session may write in place of addresses of side connections; made by the driver, without chance.

    `up`: our host as those behind the server reach it, `down`: as the client does; None: addresses that this side reads
    are left alone, because what it connects to passes through us anyway (socks5, connect and transparent clients).
    """

    __slots__ = ("client", "down", "pool", "up")

    def __init__(self, pool: LeasePool, up: str | None, down: str | None, client: str) -> None:
        self.pool = pool
        self.up = up
        self.down = down
        self.client = client


class LeasingMemory:
    """The decoders' shared memory for one session whose listener has ports to lease."""

    __slots__ = ("_paths", "_shared", "failed")

    def __init__(self, shared: SharedMemory, paths: Paths) -> None:
        self._shared = shared
        self._paths = paths
        self.failed = 0
        """Leases that were needed and not to be had: the session is told."""

    def get(self, key: str, at: float) -> object | None:
        return self._shared.get(key, at)

    def put(self, key: str, value: object, until: float) -> None:
        self._shared.put(key, value, until)

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        paths = self._paths
        host = paths.down if way is DOWN else paths.up
        if host is None:
            return None
        if way is DOWN:
            expect = msgspec.structs.replace(expect, client=paths.client)
        port = paths.pool.take(expect, at)
        if port is None:
            self.failed += 1
            return None
        return Address(host, port)


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


def offer_key(flow: str | None, offer: FileOffer) -> int:
    """What the row of an offer is found by: the same in all workers that hash alike (one PYTHONHASHSEED; the hash of a
    Struct is of one process alone)."""
    return hash((flow, _encode(offer)))


class World:
    """Everything a worker's sessions share."""

    __slots__ = (
        "covers", "expectations", "legs", "memory", "neighbours", "offers", "redirects", "tallies", "users", "windows")

    def __init__(self, limits: Limits) -> None:
        self.memory = SharedMemory(limits.memory_entries)
        self.legs: Table[int, tuple[str, str, str | None]] = Table(limits.leg_entries)
        """hash of protocol and texts -> (flow, sender, conversation) of the message seen going up."""
        self.offers: Table[int, str] = Table(limits.memory_entries)
        """hash of a flow and a file offered in it -> the id of its row."""
        self.windows: Table[int, Window] = Table(limits.window_entries)
        """hash of protocol, way, writer and conversation -> his last short texts there."""
        self.neighbours: Neighbours | None = None
        """The other workers, where there are some."""
        self.users: Table[str, tuple[str, ...]] = Table(limits.user_entries)
        """user -> flows where he is signed on."""
        self.expectations = Expectations(limits.memory_entries)
        """host:port, or "host:port client" -> what is expected there (DCC, bytestreams …)."""
        self.redirects: Table[str, Expect] = Table(limits.memory_entries)
        """The same, of connections to another server of the same protocol: they are known by their bytes, too."""
        self.tallies: dict[str, Tally] = {}
        self.covers = Covers(limits.covers, readers=limits.cover_sessions)
        """Releases that cover the legs which follow them."""

    def expect(
        self, expect: Expect, until: float, owner: str = "", at: float = 0.0, *, redirect: bool = False,
    ) -> bool:
        """Remember an announced connection; one that is for one client alone hides no other's. `owner`: the client in
        whose session it was announced. False: it could not be remembered, and must not be made."""
        address = expect.address.lower()
        key = f"{address} {expect.client}" if expect.client else address
        if redirect:
            self.redirects.put(key, expect, until)
            return True
        return self.expectations.add(key, expect, until, owner, at)

    def expected(self, flow: Flow, at: float) -> Expect | None:
        """What announced this connection, by the address connected to or by the name asked for."""
        names = (flow.server.ip,) if flow.server_name is None else (flow.server.ip, flow.server_name)
        return self.expected_at(names, flow.server.port, flow.client.ip, at)

    def expected_at(self, hosts: Iterable[str], port: int, client: str, at: float) -> Expect | None:
        """What announced a connection of `client` to one of these hosts (addresses or names)."""
        if not self.expectations and not self.redirects:
            return None
        for host in hosts:
            place = f"[{host}]:{port}" if ":" in host else f"{host.lower()}:{port}"
            for table in (self.expectations, self.redirects):
                found = table.get(f"{place} {client}", at) or table.get(place, at)
                if found is not None:
                    return found
        return None

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
