"""TLS session set-ups per core and second, both legs, beside mitmproxy's default stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.figures import ratio, spread, table
from bench.gateways import Gateway, Hook, Ours, certificates
from bench.processes import Process, python

AT_ONCE = 4


def run(folder: Path, rounds: int, seconds: float) -> None:
    """Prints the table."""
    authority, certificate, key = certificates(folder)
    server = Process("server", python("-m", "bench.setups", "server", certificate, key), folder / "server.log",
                     talk=True)
    gateways: list[Gateway] = [
        Hook("mitmproxy, four addons", tls=True),
        Hook("mitmproxy, mitmdump's addons", addons="mitmdump", tls=True),
        Ours("ours", authority=authority, intercept="all"),
        Ours("ours, asyncio", authority=authority, intercept="all", loop="asyncio"),
    ]
    costs: dict[str, list[float]] = {gateway.name: [] for gateway in gateways}
    try:
        port = int(server.line())
        for gateway in gateways:
            gateway.start(folder, port)
        for number in range(rounds):
            for gateway in gateways:
                print(f"\rround {number + 1}/{rounds}: {gateway.name:40}", end="", file=sys.stderr, flush=True)
                command = python("-m", "bench.setups", "load", str(gateway.port), str(AT_ONCE), str(seconds),
                                 str(gateway.pid))
                clients = Process("load", command, folder / "load.log", talk=True)
                try:
                    seen = json.loads(clients.line())
                finally:
                    clients.stop()
                if seen["failed"] or not seen["setups"]:
                    raise RuntimeError(f"{gateway.name}: {seen['failed']} set-ups failed: {seen['why']}")
                costs[gateway.name].append(1000 * seen["cpu"] / seen["setups"])
    finally:
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
        for gateway in gateways:
            gateway.stop()
        server.stop()
    base, dump = (costs[gateway.name] for gateway in gateways[:2])
    rows = [
        [name, spread(found, 2), spread([1000 / one for one in found], 0), spread(ratio(base, found), 2),
         spread(ratio(dump, found), 2)]
        for name, found in costs.items()
    ]
    print(table(["gateway", "ms CPU a set-up", "a core and second", "× four addons", "× mitmdump's"], rows))
