"""`inspector.yaml`: read with every fault located, into plain frozen values; what a reload may change.

Every key is optional; the complete example, `inspector.example.yaml`, names all of them with their defaults. Relative
paths are relative to the file, without a file to the working directory. Where `policy` or `signatures` is not given,
`rules/policy.yaml` and `signatures` beside the file are taken, and if they are not there what is shipped:
`inspector/shipped/` in an installed package, the checkout's own folders otherwise.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from inspector.model import Limits
from inspector.wire.located import Fault, Faults, Key, Located, did_you_mean, load_yaml, shown

MODES = ("socks5", "connect", "transparent", "reverse")
DENIABLE = ("loopback", "link_local", "private", "own")
DENIED: Mapping[str, tuple[str, ...]] = {"transparent": ("own",), "reverse": ()}
"""What a listener of a mode denies where nothing is said: explicit proxies everything that is DENIABLE; behind a
firewall's redirect the destination is the network's affair, and a reverse upstream is the administrator's word."""
VERSIONS = ("tls1.2", "tls1.3")
LEVELS = ("debug", "info", "warning", "error")
ROLES = ("view", "review", "operate")
FOUR_EYES = ("show", "release")
MOST_LISTENERS = 256
MOST_LEASES = 4096
"""Ports of one listener's `lease_ports`: each is bound, and is an open file of the gateway."""

Mode = Literal["socks5", "connect", "transparent", "reverse"]
Archive = Literal["none", "metadata", "full"]

_TOP = (
    "listeners", "tls", "policy", "signatures", "files", "store", "archive", "user", "privacy", "workers", "control",
    "control_group", "metrics", "limits", "edits", "log", "hold", "roles", "four_eyes",
    "retention",
)
_LISTENER = (
    "mode", "address", "clients", "destinations", "protocols", "upstream", "lease_ports", "lease_address",
    "certificate", "key",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, an address or (where it is connected to) a name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where clients of an explicit listener may go. `allow`: networks and names; `deny`: classes and networks."""

    ports: frozenset[int] = frozenset()
    """None: any."""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = DENIABLE


@dataclass(frozen=True, slots=True)
class LeaseAddress:
    """Our addresses as others reach them. None: that of the connection in which one is written."""

    up: str | None = None
    """For those behind the server."""
    down: str | None = None
    """For clients of a reverse listener."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener. `line`: where it stands in the file, 0 for the default one; it does not count in comparisons."""

    mode: Mode = "socks5"
    address: Endpoint = Endpoint("127.0.0.1", 1080)
    clients: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks in canonical form; never empty."""
    destinations: Destinations = Destinations()
    protocols: frozenset[str] = frozenset()
    """Names it is for; anything else is unclassified and cut. None: any."""
    upstream: Endpoint | None = None
    lease_ports: tuple[int, int] | None = None
    """First and last port that side connections (file transfers, redirects) may be led to."""
    lease_address: LeaseAddress = LeaseAddress()
    certificate: Path | None = None
    key: Path | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TlsException:
    """A server whose TLS is passed unread, for a while and with a reason."""

    name: str
    why: str
    until: float
    """Seconds since the epoch: the end (UTC) of the day that is written."""
    clients: tuple[str, ...] = ()
    """Networks; none: all clients."""


@dataclass(frozen=True, slots=True)
class Tls:
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
class Clamd:
    """Where clamd listens: a Unix socket, or a host and port."""

    path: Path | None = None
    endpoint: Endpoint | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else str(self.endpoint)


@dataclass(frozen=True, slots=True)
class Files:
    """The `files:` section: what files are judged with beside the packs."""

    clamd: Clamd | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """Where events and held messages are kept."""

    events: str
    """sqlite:<absolute path>."""
    quarantine: Path
    key: Path | None = None
    """The key file of the quarantine; None: in its folder."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """What of a message's text an event shows, and the groups whose content is not read."""

    text: Literal["full", "masked", "none"] = "full"
    never_inspect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """The `retention:` section: how long rows of the event log stay. None: for ever."""

    days: float | None = None
    megabytes: float | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """The gateway's own log. `format` None: text on a terminal, else json."""

    level: str = "info"
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. Paths are absolute, but for policy and signatures, which faults name as the user does."""

    path: Path | None
    """The file, None: the embedded defaults."""
    base: Path
    """What relative paths are relative to."""
    state: Path
    """`var` beside the file: made 0700 by whoever needs it first."""
    tls: Tls
    policy: Path
    signatures: Path
    store: Store
    control: Path
    listeners: tuple[Listener, ...] = (Listener(),)
    archive: Archive = "none"
    user: str | None = None
    privacy: Privacy = Privacy()
    workers: int = 1
    control_group: str | None = None
    metrics: Endpoint | None = Endpoint("127.0.0.1", 9464)
    files: Files = Files()
    limits: Limits = field(default_factory=Limits)
    edits: Mapping[str, bool] = field(default_factory=dict)
    """Protocol edits that are switched on or off; those not named keep the protocol's default."""
    log: Log = Log()
    on_expiry: Literal["deny", "delete"] = "deny"
    """What becomes of what nobody decided in limits.hold_seconds."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """view, review, operate -> names of users of this machine, and @groups. A role that is not there: see control."""
    four_eyes: tuple[str, ...] = ()
    """Of show and release, those that need a second person."""
    retention: Keep = Keep()
    places: Located | None = field(default=None, repr=False, compare=False)

    def fault(self, text: str, *keys: Key) -> Fault:
        """A fault at a key of this configuration."""
        if self.places is None:
            return Fault("the embedded defaults", 0, 0, text)
        return self.places.fault(text, *keys)

    def refusals_for_run(self) -> tuple[Fault, ...]:
        """What is accepted in the file but does not work yet, so that `run` has to refuse it."""
        return ()

    def missing_files(self) -> tuple[Fault, ...]:
        """A fault for a file that is named and not there, or not what it should be (the policy and the packs have
        faults of their own)."""
        faults = []
        named = self.tls.upstream_ca
        if named is not None and not named.is_file():
            faults.append(self.fault(f"there is no file {named}", "tls", "upstream_ca"))
        for index, listener in enumerate(self.listeners):
            if listener.certificate is not None and listener.key is not None:
                from inspector.drivers.mitm_tls import OwnCertificate, OwnCertificateError

                try:
                    OwnCertificate.open(listener.certificate, listener.key)
                except OwnCertificateError as error:
                    faults.append(self.fault(str(error), "listeners", index, error.key))
        return tuple(faults)

    def unknown_groups(self, groups: Iterable[str]) -> tuple[Fault, ...]:
        """A fault for each group of privacy.never_inspect that the policy does not have."""
        known = tuple(groups)
        return tuple(
            self.fault(f'the policy has no group "{shown(name)}"{did_you_mean(name, known)}',
                       "privacy", "never_inspect", index)
            for index, name in enumerate(self.privacy.never_inspect) if name not in known
        )


def read_policy(path: Path) -> bytes:
    """A policy file's content. Raises Faults: it cannot be read, or nothing is in it.

    A file that an editor or a full disk left empty must not put a gateway without rules in force; who wants none writes
    `rules: []`.
    """
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise Faults([Fault(str(path), 0, 0, f"cannot be read: {(exc.strerror or str(exc)).lower()}")]) from None
    if not any(line.partition(b"#")[0].strip() for line in text.splitlines()):
        raise Faults([Fault(str(path), 0, 0, "the policy is empty; one without rules says so: `rules: []`")])
    return text


def shipped(name: str) -> Path:
    """Something that comes with the program: "rules/policy.yaml", "rules/tests", "signatures"."""
    import inspector

    package = Path(inspector.__file__).parent
    inside = package / "shipped"
    return (inside if inside.is_dir() else package.parent) / name


def load(path: str | Path | None) -> Config:
    """Read a configuration; None: the embedded defaults. Raises Faults with all that is wrong in it."""
    if path is None:
        return parse("", None, Path.cwd())
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise Faults([Fault(str(path), 0, 0, f"cannot be read: {(exc.strerror or str(exc)).lower()}")]) from None
    return parse(text, path)


def parse(text: str | bytes, path: Path | None, base: Path | None = None) -> Config:
    """A configuration from its text. `base`: what relative paths are relative to, the file's folder if None."""
    name = "the embedded defaults" if path is None else str(path)
    document = load_yaml(text, name)
    if base is None:
        base = path.parent if path is not None else Path.cwd()
    return _Reader(document, path, base).config()


def needs_restart(old: Config, new: Config) -> list[str]:
    """Keys that changed and that a reload may not change, in the order of the file's description.

    Reloadable: policy, signatures, names and exceptions of tls, archive, privacy, retention, limits marked so, log
    level.
    """
    changed = []
    for key in ("listeners", "store", "user", "workers", "control", "control_group", "metrics", "edits"):
        if getattr(old, key) != getattr(new, key):
            changed.append(key)
    for key in ("intercept", "never", "authority", "upstream_ca", "client_min", "upstream_min"):
        if getattr(old.tls, key) != getattr(new.tls, key):
            changed.append(f"tls.{key}")
    for bound in fields(Limits):
        if getattr(old.limits, bound.name) != getattr(new.limits, bound.name) and not bound.metadata["reloadable"]:
            changed.append(f"limits.{bound.name}")
    if old.log.format != new.log.format:
        changed.append("log.format")
    if old.state != new.state:
        changed.append("the folder of the file")
    return changed


def protocol_names() -> frozenset[str]:
    """Names of the registered protocols."""
    from inspector.protocols.registry import BY_NAME

    return frozenset(BY_NAME)


def edit_names() -> frozenset[str]:
    """Names of all protocols' edits."""
    from inspector.protocols.registry import SPECS

    return frozenset(edit.name for spec in SPECS for edit in spec.edits)


class _Reader:
    """Reads one document; collects faults instead of stopping at the first."""

    def __init__(self, document: Located, path: Path | None, base: Path) -> None:
        self.document = document
        self.path = path
        self.base = base.absolute()
        self.near = base if path is not None else Path()
        """The same as the user would write it."""
        self.faults: list[Fault] = []
        self.top: dict[str, Any] = {}

    def config(self) -> Config:
        top = self.document.value
        if top is not None and not isinstance(top, dict):
            raise Faults([self.document.fault("a configuration is a mapping: listeners, tls, policy …")])
        self.top = top or {}
        self.faults += self.document.unknown(_TOP) if self.top else []
        listeners = self.listeners()
        store = self.section("store", ("events", "quarantine", "key"))
        hold = self.section("hold", ("on_expiry",))
        privacy = self.section("privacy", ("text", "never_inspect"))
        log = self.section("log", ("level", "format"))
        metrics: Endpoint | None = Endpoint("127.0.0.1", 9464)
        if "metrics" in self.top:
            metrics = None
            if self.top["metrics"] is not None:
                metrics = self.endpoint(self.top["metrics"], True, "metrics")
            if metrics is not None and any(metrics == other.address for other in listeners if metrics.port):
                self.wrong(f"a listener has the address {metrics} already", "metrics")
        config = Config(
            path=self.path, base=self.base, state=self.base / "var", places=self.document if self.path else None,
            listeners=listeners, tls=self.tls(),
            policy=self.material("policy", "rules/policy.yaml"), signatures=self.material("signatures", "signatures"),
            store=Store(self.events(store), self.file(store, "var/quarantine", "store", "quarantine"),
                        self.maybe_file(store, "store", "key")),
            archive=cast(Archive, self.choice(self.top, ("none", "metadata", "full"), "archive")),
            user=self.name("user"),
            privacy=Privacy(
                cast(Any, self.choice(privacy, ("full", "masked", "none"), "privacy", "text")),
                tuple(self.texts(privacy, "privacy", "never_inspect")),
            ),
            workers=self.workers(), control=self.file(self.top, "var/inspector.sock", "control"),
            control_group=self.name("control_group"), metrics=metrics, files=self.judging(), limits=self.limits(),
            edits=self.edits(),
            on_expiry=cast(Any, self.choice(hold, ("deny", "delete"), "hold", "on_expiry")),
            roles=self.roles(), four_eyes=self.four_eyes(), retention=self.retention(),
            log=Log(
                self.choice(log, LEVELS, "log", "level", default="info"),
                self.choice(log, ("text", "json"), "log", "format") if log.get("format") is not None else None,
            ),
        )
        if self.faults:
            raise Faults(self.faults)
        return config

    # -- small pieces

    def wrong(self, text: str, *keys: Key) -> None:
        self.faults.append(self.document.fault(text, *keys))

    def section(self, name: str, known: Iterable[str]) -> dict[str, Any]:
        value = self.top.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(f"{name} is a mapping: {', '.join(known)}", name)
            return {}
        self.faults += self.document.unknown(known, name)
        return value

    def choice(self, of: Mapping[str, Any], allowed: tuple[str, ...], *keys: Key, default: str | None = None) -> str:
        value = of.get(str(keys[-1]), default or allowed[0])
        if isinstance(value, str) and value in allowed:
            return value
        near = did_you_mean(str(value), allowed)
        self.wrong(f'{keys[-1]} cannot be "{shown(value)}": {", ".join(allowed)}{near}', *keys)
        return default or allowed[0]

    def texts(self, of: Mapping[str, Any], *keys: Key) -> list[str]:
        value = of.get(str(keys[-1]), [])
        if not isinstance(value, list):
            self.wrong(f"{keys[-1]} is a list", *keys)
            return []
        texts = []
        for index, item in enumerate(value):
            if isinstance(item, str) and item.strip():
                texts.append(item)
            else:
                self.wrong("text is wanted here", *keys, index)
        return texts

    def name(self, key: str) -> str | None:
        """The name of a user or group of the system; null: none."""
        value = self.top.get(key)
        if value is None or (isinstance(value, str) and value and value.isprintable() and not set(value) & set(":/ ")):
            return value
        self.wrong(f"{key} is the name of a {'group' if key == 'control_group' else 'user'} of this system", key)
        return None

    def file(self, of: Mapping[str, Any], default: str, *keys: Key) -> Path:
        return self.base / self.written(of, default, *keys)

    def written(self, of: Mapping[str, Any], default: str, *keys: Key) -> Path:
        value = of.get(str(keys[-1]), default)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            self.wrong(f"{keys[-1]} is a path", *keys)
            value = default
        return Path(value)

    def maybe_file(self, of: Mapping[str, Any], *keys: Key) -> Path | None:
        return None if of.get(str(keys[-1])) is None else self.file(of, "", *keys)

    def material(self, key: str, default: str) -> Path:
        """policy and signatures: what is written; else beside the file; else what is shipped."""
        if self.top.get(key) is not None:
            return self.near / self.written(self.top, default, key)
        if key in self.top:
            self.wrong(f"{key} is a path", key)
        beside = self.near / default
        return beside if beside.exists() else shipped(default)

    def events(self, store: Mapping[str, Any]) -> str:
        value = store.get("events", "sqlite:var/inspector.db")
        scheme, colon, path = value.partition(":") if isinstance(value, str) else ("", "", "")
        if scheme != "sqlite" or not colon or not path.strip():
            self.wrong("events is kept in sqlite:PATH", "store", "events")
            path = "var/inspector.db"
        return f"sqlite:{self.base / Path(path)}"

    def workers(self) -> int:
        value = self.top.get("workers", 1)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 256:
            return value
        self.wrong("workers is a whole number from 1 to 256", "workers")
        return 1

    def networks(self, of: Mapping[str, Any], *keys: Key) -> list[str]:
        networks = []
        value = of.get(str(keys[-1]), [])
        for index, text in enumerate(self.texts(of, *keys)):
            where: tuple[Key, ...] = (*keys, index) if isinstance(value, list) else keys
            network = self.network(text, *where)
            if network is not None:
                networks.append(network)
        return networks

    def network(self, text: str, *keys: Key) -> str | None:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            pass
        try:
            near = f" (did you mean {ipaddress.ip_network(text, strict=False)}?)"
        except ValueError:
            near = ", like 10.1.0.0/16"
        self.wrong(f'"{shown(text)}" is not a network{near}', *keys)
        return None

    def endpoint(self, value: Any, own: bool, *keys: Key) -> Endpoint | None:
        """"127.0.0.1:1080", "[::1]:1080"; `own`: an address of this machine, not a name."""
        example = '"127.0.0.1:1080" or "[::1]:1080"' if own else '"chat.example.net:5222"'
        if not isinstance(value, str):
            self.wrong(f"{keys[-1]} is address and port, {example}", *keys)
            return None
        host, colon, port_text = value.rpartition(":")
        port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) < 6 else -1
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not host or not 0 <= port <= 65535 or (not own and port == 0):
            self.wrong(f'"{shown(value)}" is not address and port, {example}', *keys)
            return None
        if bracketed:
            host = host[1:-1]
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if own or bracketed:
                self.wrong(f'"{shown(host)}" is not an address; a name cannot stand here' if own
                           else f'"{shown(host)}" is not an IPv6 address', *keys)
                return None
            if not is_host_name(host):
                self.wrong(f'"{shown(host)}" is neither an address nor a host name', *keys)
                return None
            return Endpoint(host.lower(), port)
        if (address.version == 6) is not bracketed:
            self.wrong(f'an IPv6 address stands in brackets: "[{address}]:{port}"' if address.version == 6
                       else f'an IPv4 address stands without brackets: "{address}:{port}"', *keys)
            return None
        return Endpoint(str(address), port)

    def ports(self, value: Any, *keys: Key) -> tuple[int, int] | None:
        """5222, or "9400-9499"."""
        first, dash, last = str(value).partition("-")
        if not isinstance(value, bool) and isinstance(value, (int, str)) and all(
            text.isascii() and text.isdigit() and len(text) < 6 for text in ((first, last) if dash else (first,))
        ):
            low, high = int(first), int(last if dash else first)
            if 1 <= low <= high <= 65535:
                return low, high
        self.wrong(f'"{shown(value)}" is neither a port nor a range of ports like "9400-9499"', *keys)
        return None

    # -- sections

    def listeners(self) -> tuple[Listener, ...]:
        if "listeners" not in self.top:
            return (Listener(),)
        value = self.top["listeners"]
        if not isinstance(value, list) or not value:
            self.wrong("listeners is a list of at least one", "listeners")
            return ()
        if len(value) > MOST_LISTENERS:
            self.wrong(f"more than {MOST_LISTENERS} listeners", "listeners")
            return ()
        listeners: list[Listener] = []
        for index, body in enumerate(value):
            listener = self.listener(body, "listeners", index)
            if listener is None:
                continue
            address = listener.address
            self.overlap(listener, listeners, "listeners", index, "lease_ports")
            twin = next((other for other in listeners if other.address == address and address.port), None)
            if twin is not None:
                self.wrong(f"the address {listener.address} is taken by the listener of line {twin.line}",
                           "listeners", index, "address")
            listeners.append(listener)
        return tuple(listeners)

    def listener(self, body: Any, *keys: Key) -> Listener | None:
        if not isinstance(body, dict):
            self.wrong('a listener is a mapping like {mode: socks5, address: "127.0.0.1:1080"}', *keys)
            return None
        before = len(self.faults)
        self.faults += self.document.unknown(_LISTENER, *keys)
        if body.get("mode") is None:
            self.wrong(f"a listener needs a mode: {', '.join(MODES)}", *keys)
        mode = cast(Mode, self.choice(body, MODES, *keys, "mode"))
        if body.get("address") is None:
            self.wrong("a listener needs an address", *keys)
        address = self.endpoint(body["address"], True, *keys, "address") if body.get("address") is not None else None
        clients = self.clients(body, address, *keys)
        if mode == "reverse" and body.get("upstream") is None:
            self.wrong("a reverse listener needs an upstream", *keys)
        for key in ("upstream", "certificate", "key"):
            if mode != "reverse" and body.get(key) is not None:
                self.wrong(f"{key} is for listeners of mode reverse", *keys, key)
        if mode == "reverse" and body.get("destinations") is not None:
            self.wrong("destinations has no use with reverse: the upstream is the only one", *keys, "destinations")
        upstream: Endpoint | None = None
        if body.get("upstream") is not None:
            upstream = self.endpoint(body["upstream"], False, *keys, "upstream")
        if upstream is not None and upstream == address:
            self.wrong("the upstream is the listener itself", *keys, "upstream")
        lease = self.leases(body, *keys, "lease_ports")
        reached = self.lease_address(body, mode, *keys, "lease_address")
        certificate = self.maybe_file(body, *keys, "certificate")
        key_file = self.maybe_file(body, *keys, "key")
        if (certificate is None) is not (key_file is None):
            self.wrong("certificate and key come together", *keys, "certificate" if certificate else "key")
        protocols = self.protocols(body, *keys, "protocols")
        destinations = self.destinations(body.get("destinations"), mode, *keys, "destinations")
        if len(self.faults) > before or address is None:
            return None
        return Listener(
            mode, address, clients, destinations, protocols, upstream, lease, reached, certificate,
            key_file,
            line=self.document.at(*keys)[0],
        )

    def leases(self, body: Mapping[str, Any], *keys: Key) -> tuple[int, int] | None:
        """lease_ports: a port or a range of ports."""
        if body.get("lease_ports") is None:
            return None
        pair = self.ports(body["lease_ports"], *keys)
        if pair is not None and pair[1] - pair[0] >= MOST_LEASES:
            self.wrong(f"more than {MOST_LEASES} ports", *keys)
            return None
        return pair

    def lease_address(self, body: Mapping[str, Any], mode: str, *keys: Key) -> LeaseAddress:
        """lease_address: addresses by way."""
        value = body.get("lease_address")
        if value is None:
            return LeaseAddress()
        if not isinstance(value, dict):
            self.wrong('lease_address is a mapping like {up: "192.0.2.1"}', *keys)
            return LeaseAddress()
        self.faults += self.document.unknown(("up", "down"), *keys)
        if body.get("lease_ports") is None:
            self.wrong("lease_address has no use without lease_ports", *keys)
        if mode != "reverse" and value.get("down") is not None:
            self.wrong("down is for listeners of mode reverse: other clients come through us anyway", *keys, "down")
        found: dict[str, str | None] = {"up": None, "down": None}
        for name in found:
            text = value.get(name)
            if text is None:
                continue
            try:
                found[name] = str(ipaddress.ip_address(text if isinstance(text, str) else ""))
            except ValueError:
                self.wrong(f'"{shown(text)}" is not an address', *keys, name)
        return LeaseAddress(found["up"], found["down"])

    def overlap(self, listener: Listener, before: list[Listener], *keys: Key) -> None:
        """A leased port belongs to one listener. (Ports that we listen on ourselves are left out of a range.)"""
        mine = listener.lease_ports
        for other in before:
            its = other.lease_ports
            if mine and its and mine[0] <= its[1] and its[0] <= mine[1]:
                self.wrong(f"the listener of line {other.line} leases some of these ports", *keys)

    def clients(self, body: Mapping[str, Any], address: Endpoint | None, *keys: Key) -> tuple[str, ...]:
        if body.get("clients") is None:
            if address is not None and not ipaddress.ip_address(address.host).is_loopback:
                self.wrong(f"{address} is open to others: clients must say which networks may connect",
                           *keys, "address")
            return Listener().clients
        before = len(self.faults)
        clients = self.networks(body, *keys, "clients")
        if not clients and len(self.faults) == before:
            self.wrong("clients is a list of networks; nobody could connect", *keys, "clients")
        return tuple(clients)

    def protocols(self, body: Mapping[str, Any], *keys: Key) -> frozenset[str]:
        names = self.texts(body, *keys)
        known = protocol_names()
        for index, name in enumerate(names):
            if name not in known:
                self.wrong(f'unknown protocol "{shown(name)}"{did_you_mean(name, known)}; there are '
                           f"{', '.join(sorted(known))}", *keys, index)
        return frozenset(names)

    def destinations(self, value: Any, mode: str, *keys: Key) -> Destinations:
        usual = Destinations(deny=DENIED.get(mode, DENIABLE))
        if value is None:
            return usual
        if not isinstance(value, dict):
            self.wrong("destinations is a mapping: ports, allow, deny", *keys)
            return usual
        self.faults += self.document.unknown(("ports", "allow", "deny"), *keys)
        ports: set[int] = set()
        listed = value.get("ports", [])
        if not isinstance(listed, list):
            self.wrong("ports is a list", *keys, "ports")
            listed = []
        for index, item in enumerate(listed):
            pair = self.ports(item, *keys, "ports", index)
            if pair is not None:
                ports.update(range(pair[0], pair[1] + 1))
        allow = []
        for index, text in enumerate(self.texts(value, *keys, "allow")):
            if "/" in text or _is_address(text):
                allow.append(self.network(text, *keys, "allow", index) or "")
            elif is_host_name(text.removeprefix("*.")):
                allow.append(text.lower())
            else:
                self.wrong(f'"{shown(text)}" is neither a network nor a host name', *keys, "allow", index)
        deny = list(usual.deny)
        if "deny" in value:
            # Our own ports are nobody's destination, whatever is written.
            deny = [word for word in usual.deny if word == "own"]
            for index, text in enumerate(self.texts(value, *keys, "deny")):
                if text in DENIABLE:
                    deny += [text] if text not in deny else []
                elif "/" in text or _is_address(text):
                    deny.append(self.network(text, *keys, "deny", index) or "")
                else:
                    self.wrong(f'"{shown(text)}" is neither a network nor one of {", ".join(DENIABLE)}'
                               f"{did_you_mean(text, DENIABLE)}", *keys, "deny", index)
        named = [word for word in DENIABLE if word in deny]
        return Destinations(frozenset(ports), tuple(allow), (*named, *(word for word in deny if word not in named)))

    def tls(self) -> Tls:
        body = self.section("tls", (
            "intercept", "names", "never", "exceptions", "authority", "upstream_ca", "client_min", "upstream_min",
        ))
        exceptions = []
        listed = body.get("exceptions", [])
        if not isinstance(listed, list):
            self.wrong("exceptions is a list", "tls", "exceptions")
            listed = []
        for index, item in enumerate(listed):
            exception = self.exception(item, "tls", "exceptions", index)
            if exception is not None:
                exceptions.append(exception)
        return Tls(
            self.file(body, "var/ca", "tls", "authority"),
            cast(Any, self.choice(body, ("im", "all", "none"), "tls", "intercept")),
            self.names(body, "tls", "names"), self.names(body, "tls", "never"), tuple(exceptions),
            self.maybe_file(body, "tls", "upstream_ca"),
            self.choice(body, VERSIONS, "tls", "client_min"), self.choice(body, VERSIONS, "tls", "upstream_min"),
        )

    def names(self, body: Mapping[str, Any], *keys: Key) -> tuple[str, ...]:
        """Names of servers; "*.example.net" stands for all below."""
        names = []
        for index, text in enumerate(self.texts(body, *keys)):
            if is_host_name(text.removeprefix("*.")):
                names.append(text.lower())
            else:
                self.wrong(f'"{shown(text)}" is not a host name', *keys, index)
        return tuple(names)

    def exception(self, body: Any, *keys: Key) -> TlsException | None:
        example = '{name: "chat.example.net", clients: [10.1.2.0/24], until: 2027-01-31, why: "pinned client"}'
        if not isinstance(body, dict):
            self.wrong(f"an exception is a mapping like {example}", *keys)
            return None
        before = len(self.faults)
        self.faults += self.document.unknown(("name", "clients", "until", "why"), *keys)
        name = body.get("name")
        if not isinstance(name, str) or not is_host_name(name.removeprefix("*.")):
            self.wrong("an exception needs the name of a server", *keys, "name")
        why = body.get("why")
        if not isinstance(why, str) or not why.strip():
            self.wrong("an exception needs a reason: why", *keys, "why")
        until = 0.0
        try:
            day = datetime.date.fromisoformat(body.get("until"))  # type: ignore[arg-type]
            until = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp() + 86400
        except (TypeError, ValueError):
            self.wrong("an exception needs an end: until, a day like 2027-01-31", *keys, "until")
        clients = self.networks(body, *keys, "clients")
        if len(self.faults) > before or not isinstance(name, str) or not isinstance(why, str):
            return None
        return TlsException(name.lower(), why.strip(), until, tuple(clients))

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The section `roles`: who may do what."""
        found: dict[str, tuple[str, ...]] = {}
        body = self.section("roles", ROLES)
        for role in ROLES:
            if body.get(role) is None:
                continue
            names = self.texts(body, "roles", role)
            for index, name in enumerate(names):
                if not name.removeprefix("@") or not name.isprintable() or set(name) & set(":/ "):
                    self.wrong("a user of this system, or @ and a group", "roles", role, index)
            found[role] = tuple(names)
        return found

    def four_eyes(self) -> tuple[str, ...]:
        """four_eyes: a list of what needs two people."""
        names = self.texts(self.top, "four_eyes") if self.top.get("four_eyes") is not None else []
        for index, name in enumerate(names):
            if name not in FOUR_EYES:
                self.wrong(f'"{shown(name)}" needs no second person: {", ".join(FOUR_EYES)}'
                           f'{did_you_mean(name, FOUR_EYES)}', "four_eyes", index)
        return tuple(dict.fromkeys(names))

    def retention(self) -> Keep:
        """The section `retention`: bounds above 0, or null."""
        body = self.section("retention", ("days", "megabytes"))
        found: dict[str, float | None] = {"days": None, "megabytes": None}
        for name in found:
            value = body.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
                self.wrong(f"{name} is a number above 0, or null", "retention", name)
            else:
                found[name] = float(value)
        return Keep(found["days"], found["megabytes"])

    def judging(self) -> Files:
        """The section `files`."""
        body = self.section("files", ("clamd",))
        value = body.get("clamd")
        if value is None:
            return Files()
        path = value.removeprefix("unix:") if isinstance(value, str) else ""
        if isinstance(value, str) and value.startswith("unix:") and path.strip() and "\0" not in path:
            return Files(Clamd(path=self.base / path))
        if isinstance(value, str) and ":" in value and not value.startswith("unix:") and (
            endpoint := self.endpoint(value, False, "files", "clamd")
        ) is not None:
            return Files(Clamd(endpoint=endpoint))
        if not isinstance(value, str) or value.startswith("unix:") or ":" not in value:
            self.wrong('clamd is "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310"', "files", "clamd")
        return Files()

    def limits(self) -> Limits:
        value = self.top.get("limits")
        if value is None:
            return Limits()
        if not isinstance(value, dict):
            self.wrong("limits is a mapping of names and bounds", "limits")
            return Limits()
        bounds = {bound.name: bound for bound in fields(Limits)}
        given: dict[str, Any] = {}
        for name, bound in value.items():
            if name not in bounds:
                self.faults.append(self.document.key_fault(
                    f'unknown limit "{shown(name)}"{did_you_mean(name, bounds)}', "limits", name,
                ))
            elif isinstance(bound, bool) or not isinstance(bound, (int, float)) or bound <= 0:
                self.wrong(f"{name} is a number above 0", "limits", name)
            elif bounds[name].type == "int" and not isinstance(bound, int):
                self.wrong(f"{name} is a whole number", "limits", name)
            else:
                given[name] = bound if bounds[name].type == "int" else float(bound)
        return Limits(**given)

    def edits(self) -> dict[str, bool]:
        value = self.top.get("edits")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong("edits is a mapping of names and true or false", "edits")
            return {}
        known = edit_names()
        for name, on in value.items():
            if name not in known:
                self.faults.append(self.document.key_fault(
                    f'unknown edit "{shown(name)}"{did_you_mean(name, known)}; there are {", ".join(sorted(known))}',
                    "edits", name,
                ))
            if not isinstance(on, bool):
                self.wrong(f"{name} is true or false", "edits", name)
        return {name: on for name, on in value.items() if isinstance(on, bool)}


def is_host_name(text: str) -> bool:
    """Whether a text can be a host name (RFC 1123, RFC 5890: letters of any alphabet), or an address."""
    if _is_address(text):
        return True
    labels = text.rstrip(".").split(".")
    return 0 < len(text) < 254 and all(
        0 < len(label) < 64 and label[0] != "-" and all(char.isalnum() or char in "-_" for char in label)
        for label in labels
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
