"""The real clamd, with a database of ours."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inspector.drivers.clamd import Clamd
from inspector.model import Finding
from tests.live.peers import Clamd as Running
from tests.live.peers import GatewayChild, Ngircd, Servers
from tests.live.test_dcc_live import POLICY, Net, send, threads
from tests.ports import free_port

__all__ = ["threads"]

pytestmark = pytest.mark.live


def ask(running: Running, data: bytes) -> Finding | None:
    """What it says of this content."""

    async def asked() -> Finding | None:
        descriptor = os.memfd_create("content")
        try:
            os.write(descriptor, data)
            return await Clamd(str(running.path), lambda: 30.0, print).ask(descriptor, len(data))
        finally:
            os.close(descriptor)

    return asyncio.run(asked())


def test_clean_and_found(clamd: Running) -> None:
    """Harmless content is clean, an empty file too; our virus is found, and named."""
    assert ask(clamd, b"the tulips are out\n" * 1000) is None
    assert ask(clamd, b"") is None
    found = ask(clamd, b"x" * 100_000 + b"TULIPS-TEST-VIRUS")
    assert found is not None
    assert (found.detector, found.severity) == ("clamd", "high")
    assert found.rule.startswith("clamd.Toy.Tulips")


def test_a_file_that_is_too_long_for_it(clamd: Running) -> None:
    """It stops reading and says so: an error, not a clean file."""
    with pytest.raises(ValueError, match="StreamMaxLength"):
        ask(clamd, b"x" * 3_000_000)


def test_the_gateway_asks_it(
    ngircd: Ngircd, servers: Servers, clamd: Running, tmp_path: Path, threads: ThreadPoolExecutor,
) -> None:
    """A file of a DCC transfer in which only clamd sees something: refused, with its words; a harmless one passes. Once
    clamd is gone, nothing is clean any more: refused as scanner_failed, and the gateway is not healthy."""
    port = free_port()
    path = tmp_path / "clamd.ctl"
    path.symlink_to(clamd.path)
    gateway = GatewayChild(
        tmp_path / "gateway",
        [{"mode": "socks5", "address": f"127.0.0.1:{port}", "destinations": {"allow": ["127.0.0.0/8"]}}],
        policy=POLICY, tls={"upstream_ca": str(servers.ca_file)}, files={"clamd": f"unix:{path}"})
    net = Net("socks5", gateway, port, ngircd)
    try:
        alice, bob = net.join("alice"), net.join("bob")
        content = b"the tulips are out\n" * 5000
        assert send(net, alice, bob, threads, "tulips.txt", content)[0] == content
        assert send(net, alice, bob, threads, "virus.txt", content + b"TULIPS-TEST-VIRUS")[0] == b""
        row = gateway.wait_row("verdict", action="block", rule="malware")
        assert [finding["rule"].startswith("clamd.Toy.Tulips") for finding in row["findings"]] == [True]
        assert gateway.inspector("status").returncode == 0
        path.unlink()
        assert send(net, alice, bob, threads, "again.txt", content)[0] == b""
        gateway.wait_row("trouble", name="scanner_failed")
        told = gateway.inspector("status")
        assert told.returncode == 1
        assert "clamd cannot be reached" in told.stdout
    finally:
        net.leave()
        assert gateway.stop() == 0, gateway.child.text()
