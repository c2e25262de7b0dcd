"""Which destinations a client may ask for: pure policy over the resolved address that is then connected to.

Classes of addresses: loopback (with the unspecified address, which connects to this machine), link_local (cloud
metadata services live there), private (all that the IANA registries call not globally reachable, and multicast), and
own: an address of this machine on a port that the gateway itself listens on. An IPv6 address that carries an IPv4
address (mapped, 6to4, Teredo, NAT64) has the classes of both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CLASSES = frozenset({"loopback", "link_local", "private", "own"})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


def embedded(ip: IP) -> Iterator[IP]:
    """The address itself and every IPv4 address that it carries."""
    yield ip
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            yield ip.ipv4_mapped
        if ip.sixtofour is not None:
            yield ip.sixtofour
        if ip.teredo is not None:
            yield from ip.teredo
        if ip in _NAT64:
            yield ipaddress.IPv4Address(ip.packed[12:])
        if ip.packed[:12] == bytes(12) and int(ip) > 1:
            yield ipaddress.IPv4Address(ip.packed[12:])  # IPv4-compatible (RFC 4291, 2.5.5.1)


def classes(ip: IP) -> frozenset[str]:
    """loopback, link_local, private: what the address (or one that it carries) is."""
    found: set[str] = set()
    for one in embedded(ip):
        if one.is_loopback or one.is_unspecified:
            found.add("loopback")
        if one.is_link_local:
            found.add("link_local")
        if (one.is_private or one.is_multicast or one.is_reserved or not one.is_global
                or (isinstance(one, ipaddress.IPv6Address) and one in _SITE_LOCAL)):
            found.add("private")
    return frozenset(found)


def plain(ip: IP) -> IP:
    """A v4-mapped address as the IPv4 address it is."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


@dataclass(frozen=True, slots=True)
class Destinations:
    """A listener's `destinations`: `allow` (networks or names) overrides `deny`, except for own; no ports: any."""

    networks: tuple[Network, ...] = ()
    """Allowed networks."""
    names: tuple[str, ...] = ()
    """Allowed names, lower case; "*.example.net" stands for every name below."""
    deny: frozenset[str] = CLASSES
    denied_networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, allow: tuple[str, ...], deny: tuple[str, ...], ports: frozenset[int] = frozenset()) -> Destinations:
        """From the words of the configuration. Raises ValueError for a deny that is neither class nor network."""
        networks, names = [], []
        for word in allow:
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError:
                names.append(word.lower().rstrip("."))
        denied = tuple(ipaddress.ip_network(word, strict=False) for word in deny if word not in CLASSES)
        return cls(tuple(networks), tuple(names), frozenset(deny) & CLASSES, denied, ports)

    def refusal(self, host: str, address: str, port: int, own: Callable[[IP, int], bool]) -> str | None:
        """Why this resolved address of `host` may not be connected to, as one sentence; None: it may.

        `own` says whether an address is of this machine and the port one the gateway listens on.
        """
        ip = ipaddress.ip_address(address.partition("%")[0])
        if self.ports and port not in self.ports:
            return f"port {port} is not allowed"
        for one in embedded(ip):
            # Refused whatever is allowed: a gateway that reaches itself reaches its control and metrics ports
            if own(one, port):
                return f"{address} port {port} is the gateway itself"
        if any(ip in network or plain(ip) in network for network in self.networks) or self._named(host):
            return None
        denied = sorted(self.deny & classes(ip))
        if denied:
            return f"{address} is {' and '.join(denied)}"
        if any(one in network for one in embedded(ip) for network in self.denied_networks):
            return f"{address} is in a denied network"
        return None

    def _named(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in self.names)
