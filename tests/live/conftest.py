"""Real peers for the live tests; see tests/live/peers.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.peers import Clamd, GatewayChild, Namespaces, Ngircd, Prosody, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """The authority that signs the servers' certificates."""
    return Servers(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="session")
def ngircd(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Ngircd]:
    """A running ngircd."""
    server = Ngircd(tmp_path_factory.mktemp("ngircd"), servers)
    yield server
    server.child.stop()


@pytest.fixture(scope="session")
def prosody(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Prosody]:
    """A running Prosody that takes plain connections, STARTTLS and direct TLS."""
    server = Prosody(tmp_path_factory.mktemp("prosody"), servers)
    yield server
    server.child.stop()


@pytest.fixture(scope="session")
def prosody_tls(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Prosody]:
    """A running Prosody that insists on encryption."""
    server = Prosody(tmp_path_factory.mktemp("prosody_tls"), servers, require_tls=True)
    yield server
    server.child.stop()


@pytest.fixture(scope="session")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    """A running clamd that knows one virus of ours."""
    server = Clamd(tmp_path_factory.mktemp("clamd"))
    yield server
    server.child.stop()


Start = Callable[..., GatewayChild]


@pytest.fixture
def start_gateway(tmp_path: Path, servers: Servers) -> Iterator[Start]:
    """Starts gateways (arguments of GatewayChild after `folder`); all are ended with the test.

    The servers' authority is trusted unless `tls` says otherwise.
    """
    started: list[GatewayChild] = []

    def start(*listeners: dict[str, Any], **more: Any) -> GatewayChild:
        more["tls"] = {"upstream_ca": str(servers.ca_file), **more.get("tls", {})}
        started.append(GatewayChild(tmp_path / f"gateway{len(started)}", listeners, **more))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    """Client, gateway and server hosts; skipped where they cannot be made."""
    spaces = Namespaces()
    yield spaces
    spaces.remove()
