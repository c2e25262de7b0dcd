"""What the live driver is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inspector.drivers.settings import GatewaySettings, ListenerSettings, TlsSettings


def test_ports_of_ours_are_not_leased() -> None:
    """A range may hold the ports of listeners, or of the page of metrics: those stay what they are."""
    listener = ListenerSettings("reverse", "127.0.0.1", 9401, upstream=("127.0.0.1", 1), lease_ports=(9400, 9405))
    other = ListenerSettings("socks5", "127.0.0.1", 9404)
    settings = GatewaySettings((listener, other), TlsSettings(Path("ca")), Path("spool"), own_ports=frozenset({9403}))
    assert settings.leasable(listener) == [9400, 9402, 9405]
    assert settings.leasable(other) == []


def test_the_supervisor_of_workers_does_without_mitmproxy() -> None:
    """It sees no byte of a session, and needs no more memory than what it does takes."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, inspector.app.workers, inspector.drivers.settings;"
         "print(sorted(set(sys.modules) & {'mitmproxy', 'OpenSSL'}))"],
        capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
