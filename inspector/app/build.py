"""Puts the rooms together: from a configuration to rules, kit, world and the driver's settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.classify.probes import classifier
from inspector.engine.kit import HOLDING, Kit
from inspector.model import Classify, Rules, Spec
from inspector.protocols.registry import BY_NAME, SPECS
from inspector.wire.located import Fault, Faults

if TYPE_CHECKING:
    from inspector.app.config import Config
    from inspector.drivers.settings import GatewaySettings, TlsSettings


NO_PACKS = "no signature pack is here: only the built-in detectors look at texts"
"""Worth a warning: a folder named wrongly looks the same."""


@dataclass(frozen=True)
class Built:
    """One version of all that judges, and what was worth a warning in it."""

    rules: Rules
    warnings: tuple[Fault, ...] = ()
    source: bytes = b""
    """The policy as it was read."""


def build_rules(config: Config, version: int) -> Built:
    """Compile the policy and load the packs of a configuration. Raises Faults with every fault of both."""
    from inspector import policy as policies
    from inspector import scan
    from inspector.app.config import read_policy

    faults: list[Fault] = []
    policy, text = None, b""
    try:
        text = read_policy(config.policy)
        policy = policies.compile(text, str(config.policy), tuple(spec.name for spec in SPECS))
    except Faults as found:
        faults += found.faults
    if policy is not None:
        faults += config.unknown_groups(policy.groups)
    packs = None
    try:
        packs = scan.load(config.signatures, config.limits, config.state / "cache")
    except scan.PackError as error:
        faults += error.faults
    if faults or policy is None or packs is None:
        raise Faults(faults)
    warnings = list(packs.warnings)
    if not packs.scanner.packs:
        warnings.append(Fault(str(config.signatures), 0, 0, NO_PACKS))
    return Built(Rules(version, policy, packs.scanner), tuple(warnings), text)


def protocol_edits(config: Config, specs: Sequence[Spec] = SPECS) -> frozenset[str]:
    """Names of the protocol edits that are on: each spec's defaults, switched by `edits:`."""
    on = {edit.name: edit.default for spec in specs for edit in spec.edits}
    on.update({name: value for name, value in config.edits.items() if name in on})
    return frozenset(name for name, value in on.items() if value)


def build_kit(config: Config, rules: Rules, classify: Classify | None = None) -> Kit:
    """What the sessions of a worker are handed."""
    return Kit(
        classify or classifier(SPECS), rules, config.limits, archive=config.archive, edits=protocol_edits(config),
        never_inspect=frozenset(config.privacy.never_inspect), driver_can=HOLDING, specs=BY_NAME,
    )


def networks(texts: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Networks from their canonical texts."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def gateway_settings(config: Config, *, stock_io: bool = False) -> GatewaySettings:
    """The live driver's settings."""
    from inspector.drivers.destinations import Destinations
    from inspector.drivers.settings import GatewaySettings, ListenerSettings

    listeners = tuple(
        ListenerSettings(
            listener.mode, listener.address.host, listener.address.port, clients=networks(listener.clients),
            destinations=Destinations.parse(
                listener.destinations.allow, listener.destinations.deny, listener.destinations.ports),
            upstream=(listener.upstream.host, listener.upstream.port) if listener.upstream else None,
            protocols=listener.protocols, lease_ports=listener.lease_ports, lease_up=listener.lease_address.up,
            lease_down=listener.lease_address.down, certificate=listener.certificate, key=listener.key,
        )
        for listener in config.listeners
    )
    own = frozenset({config.metrics.port}) if config.metrics is not None else frozenset()
    return GatewaySettings(
        listeners, tls_settings(config), spool_folder(config), config.limits, own, stock_io)


def spool_folder(config: Config) -> Path:
    """Where files wait for their verdict."""
    return config.state / "spool"


def tls_settings(config: Config) -> TlsSettings:
    """The `tls:` section as the driver takes it."""
    from inspector.drivers.settings import TlsException, TlsSettings

    tls = config.tls
    return TlsSettings(
        tls.authority, tls.intercept, tls.names, tls.never,
        tuple(TlsException(e.name, networks(e.clients), e.until, e.why) for e in tls.exceptions),
        tls.upstream_ca, tls.client_min, tls.upstream_min,
    )


def private_folder(path: Path) -> None:
    """A folder that only its owner enters. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
