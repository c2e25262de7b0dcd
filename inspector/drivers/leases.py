"""Leased ports: side connections that come to us because a decoder wrote our address in place of another one.

A listener's `lease_ports` are bound at the start. The world leases one of them for each announced connection
(inspector/engine/world.py); here is who may use a lease, where it leads, and what may not be reached that way. The
address that a lease leads to was written by a peer, so a gateway that believed it would connect anywhere for anybody
(the bounce attack of FTP, RFC 2577; for DCC: sheet IRC section 7.7):

- never to a port of the gateway itself, unless that is a lease of another session (two users of one gateway);
- never to a narrower part of the network than the one who wrote the address is in: loopback, link-local, private,
  anywhere, from narrow to wide;
- side connections of people's clients (DCC, OFT, bytestreams) never to a port below 1024;
- a DCC offer of a client of ours only to that client.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable

from inspector.drivers.destinations import IP, classes, embedded, plain
from inspector.engine.world import LeasePool, Paths
from inspector.model import Expect

BETWEEN_CLIENTS = frozenset({"dcc", "oft", "bytestream"})
"""Specs of connections from client to client: nobody listens below 1024 for them."""
_SCOPES = ("loopback", "link_local", "private")
Ends = tuple[str, str]
"""Addresses of a flow's client and server."""
_ANNOUNCERS = 10_000
"""Sessions whose addresses are remembered beyond their end: an OSCAR login ends before its redirect is followed."""


class Pool(LeasePool):
    """The ports of one listener, as the driver sees them."""

    __slots__ = ("told",)

    def __init__(
        self, ports: Iterable[int], seconds: float, told: Callable[[int, float, Expect], object] | None = None,
    ) -> None:
        """`told`: is called with a port that is leased, until when, and for what."""
        super().__init__(ports, seconds)
        self.told = told

    def take(self, expect: Expect, at: float) -> int | None:
        port = super().take(expect, at)
        if port is not None and self.told is not None:
            self.told(port, at + self.seconds, expect)
        return port

    def leases(self, at: float) -> list[tuple[int, Expect, float]]:
        """(port, what for, until) of each lease that stands, the oldest first."""
        self._expire(at)
        return [(port, expect, until) for port, (expect, until) in self._leased.items()]

    def adopt(self, port: int, expect: Expect, until: float) -> None:
        """A lease that was given by the worker whose place we take."""
        if port in self._free:
            del self._free[port]
            self._leased[port] = (expect, until)

    def leased(self, port: int, at: float) -> bool:
        """Whether a connection to this port is expected now."""
        self._expire(at)
        return port in self._leased

    def in_use(self, at: float) -> int:
        """Leases that stand."""
        self._expire(at)
        return len(self._leased)


class Leases:
    """All pools of a gateway, and who announced what."""

    __slots__ = (
        "_announcers", "_clock", "_coming", "elsewhere", "ends_elsewhere", "pools", "refused", "told", "unclaimed",
        "used")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.pools: dict[str, Pool] = {}
        """By the listener's address."""
        self.used = 0
        """Connections that came for a lease."""
        self.unclaimed = 0
        """Connections to leased ports that nobody expected: closed at once."""
        self.refused = 0
        """Leases that led where nothing may lead."""
        self._announcers: OrderedDict[str, Ends] = OrderedDict()
        self._coming: dict[str, list[tuple[int, Expect, float]]] = {}
        """Leases taken over, by listener, until its pool is made."""
        self.told: Callable[[int, float, str, Ends | None], object] | None = None
        """Told of each port that is leased, until when, and by which flow with which ends: other workers must know
        whose connections come there, and lease ports of their own for the same announcement."""
        self.ends_elsewhere: Callable[[str, float], Ends | None] | None = None
        """The ends of a flow of another worker that has leased a port."""
        self.elsewhere: Callable[[int, float], bool] | None = None
        """Whether a port is leased by another worker of this gateway at a time."""

    def make(self, listener: str, ports: Iterable[int], seconds: float) -> Pool:
        """The pool of a listener."""
        pool = self.pools[listener] = Pool(ports, seconds, self._leased)
        for port, expect, until in self._coming.pop(listener, ()):
            pool.adopt(port, expect, until)
        return pool

    def paths(self, flow: str, pool: Pool, up: str, down: str | None, client: str, server: str) -> Paths:
        """What the session of a flow may write in place of addresses; its ends are remembered."""
        self._announcers[flow] = client, server
        self._announcers.move_to_end(flow)
        if len(self._announcers) > _ANNOUNCERS:
            self._announcers.popitem(last=False)
        return Paths(pool, up, down, client)

    def _leased(self, port: int, until: float, expect: Expect) -> None:
        if self.told is not None:
            self.told(port, until, expect.flow or "", self._ends(expect.flow))

    def _ends(self, flow: str | None) -> Ends | None:
        """The ends of the flow that announced something: of ours, or of another worker's."""
        found = self._announcers.get(flow or "")
        if found is None and flow and self.ends_elsewhere is not None:
            found = self.ends_elsewhere(flow, self._clock())
        return found

    def refusal(self, expect: Expect, address: str, port: int, own: Callable[[IP, int], bool]) -> str | None:
        """Why a lease may not lead to this resolved address, as one sentence; None: it may."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if port < 1024 and expect.what in BETWEEN_CLIENTS:
            return f"port {port} is none of a client's"
        if any(own(one, port) for one in embedded(ip)):
            now = self._clock()
            if any(pool.leased(port, now) for pool in self.pools.values()):
                return None
            if self.elsewhere is not None and self.elsewhere(port, now):
                return None
            return f"{address} port {port} is the gateway itself"
        client, server = self._ends(expect.flow) or (None, None)
        # An address that our client reads was written behind the server, one that is read there by our client.
        ours = expect.client is None or expect.client != client
        by = client if ours else server
        scope = _scope(ipaddress.ip_address(by)) if by is not None else len(_SCOPES)
        if _scope(ip) < scope:
            return f"{address} is {_SCOPES[_scope(ip)]}, and who announced it is not"
        if ours and expect.what == "dcc" and scope > 0 and plain(ip) != plain(ipaddress.ip_address(by or "::")):
            return f"{address} is not the address of who offers"
        return None

    def hand_over(self) -> list[tuple[str, int, Expect, float, Ends | None]]:
        """(listener, port, what for, until, ends of the flow that announced it) of each lease that stands."""
        now = self._clock()
        return [
            (listener, port, expect, until, self._ends(expect.flow))
            for listener, pool in self.pools.items() for port, expect, until in pool.leases(now)
        ]

    def take_over(self, listener: str, port: int, expect: Expect, until: float, ends: Ends | None) -> None:
        """A lease of the worker whose place we take: to be told before the pool is made, so that it stands when the
        first connection comes."""
        self._coming.setdefault(listener, []).append((port, expect, until))
        if ends is not None and expect.flow is not None:
            self._announcers[expect.flow] = ends

    @property
    def in_use(self) -> int:
        """Leases that stand now."""
        now = self._clock()
        return sum(pool.in_use(now) for pool in self.pools.values())

    @property
    def exhausted(self) -> int:
        """Times that a listener had no port left."""
        return sum(pool.exhausted for pool in self.pools.values())


def _scope(ip: IP) -> int:
    """How far an address reaches: its place in _SCOPES, beyond them: anywhere."""
    found = classes(ip)
    return next((index for index, name in enumerate(_SCOPES) if name in found), len(_SCOPES))


def endpoint(address: str) -> tuple[str, int] | None:
    """Host and port of an Expect's address; None where it is none."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) < 65536:
        return None
    return host, int(port)
