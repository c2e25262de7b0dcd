"""What the live driver is told: listeners, TLS, folders. Plain values: mitmproxy is not imported here, so that the
supervisor of several workers can bind their sockets without it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inspector.drivers.destinations import IP, Destinations, Network
from inspector.model import Limits

Mode = Literal["reverse", "socks5", "connect", "transparent"]


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listener. Fields as in docs of `listeners:`."""

    mode: Mode
    host: str
    port: int
    clients: tuple[Network, ...] = ()
    """Networks whose clients are served; none given: any."""
    destinations: Destinations = field(default_factory=Destinations)
    upstream: tuple[str, int] | None = None
    """Reverse mode: host and port."""
    protocols: frozenset[str] = frozenset()
    certificate: Path | None = None
    """Reverse mode: the server's own certificate (with its chain), shown to clients instead of one of ours."""
    key: Path | None = None
    lease_ports: tuple[int, int] | None = None
    """First and last port that side connections may be led to."""
    lease_up: str | None = None
    """Our address as those behind the server reach it; None: ours of the connection to the server."""
    lease_down: str | None = None
    """Our address as clients reach it; None: that of the client's connection."""

    def lease_hosts(self) -> list[str] | None:
        """Where the leased ports are bound; None: everywhere. Loopback alone only where nobody else could be meant."""
        up, down = self.lease_up, self.lease_down
        if up is None and self.mode == "reverse" and self.upstream is not None and _is_loopback(self.upstream[0]):
            up = self.upstream[0]
        if down is None and self.mode == "reverse":
            down = self.host
        hosts = [host for host in dict.fromkeys((up, down)) if host is not None]
        if up is None or not all(_is_loopback(host) or host in (self.lease_up, self.lease_down) for host in hosts):
            return None
        return hosts if all(is_local(ipaddress.ip_address(host)) for host in hosts) else None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsException:
    """A server name whose TLS is left alone, for some clients, until a time (seconds since the epoch)."""

    name: str
    clients: tuple[Network, ...] = ()
    until: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The `tls:` section."""

    authority: Path
    intercept: Literal["im", "all", "none"] = "im"
    names: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    exceptions: tuple[TlsException, ...] = ()
    upstream_ca: Path | None = None
    client_min: str = "tls1.2"
    upstream_min: str = "tls1.2"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the live driver is told. A reload replaces it by one that differs in reloadable fields of `tls` only."""

    listeners: tuple[ListenerSettings, ...]
    tls: TlsSettings
    spool: Path
    """The folder of files that wait for their verdict."""
    limits: Limits = field(default_factory=Limits)
    own_ports: frozenset[int] = frozenset()
    """Ports of ours besides the listeners': metrics, control, console."""
    stock_io: bool = False
    """mitmproxy's own stream I/O instead of the fast one."""

    def leasable(self, listener: ListenerSettings) -> list[int]:
        """The ports that a listener may lease."""
        if listener.lease_ports is None:
            return []
        first, last = listener.lease_ports
        # A range may hold ports of ours: those are not leased. (The documented defaults do: metrics.)
        own = {*self.own_ports, *(other.port for other in self.listeners)}
        return [port for port in range(first, last + 1) if port not in own]


def is_local(ip: IP) -> bool:
    """Whether an address is one of this machine: only those can be bound."""
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
