"""Latency that the gateway adds at half of the load that saturates it, beside a bare relay and HAProxy."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import steady
from bench.figures import spread, table
from bench.gateways import Gateway, HaProxy, Relay
from bench.processes import Process, python
from bench.reload import Watched
from bench.watched import ask

SESSIONS = 50
MARKED = 100
"""One message in so many is refused, in the runs that have such."""


def saturation(gateway: Gateway, folder: Path, seconds: float) -> float:
    """Round trips a second of ping-pong, as fast as it goes."""
    command = python("-m", "bench.load", str(gateway.port), "xmpp", "plain", str(SESSIONS), str(seconds),
                     str(gateway.pid))
    clients = Process("load", command, folder / "load.log", talk=True)
    try:
        seen = json.loads(clients.line())
    finally:
        clients.stop()
    return float(seen["messages"]) / 2 / float(seen["wall"])


async def steadily(
    gateway: Gateway, folder: Path, rate: float, seconds: float, marked: int,
) -> tuple[steady.Seen, dict[str, Any]]:
    """Talk through a gateway of its own for that long."""
    chat = steady.Chat(marked)
    port = await chat.listen()
    await asyncio.to_thread(gateway.start, folder, port)
    try:
        await chat.connect(gateway.port, SESSIONS)
        chat.talk(rate)
        await asyncio.sleep(1)
        if isinstance(gateway, Watched):
            await asyncio.to_thread(ask, gateway.pid, gateway.report)
        chat.forget()
        await asyncio.sleep(seconds)
        seen = chat.forget()
        noted = await asyncio.to_thread(ask, gateway.pid, gateway.report) if isinstance(gateway, Watched) else {}
        await chat.hush()
        return seen, noted
    finally:
        chat.close()
        await asyncio.to_thread(gateway.stop)


def run(folder: Path, rounds: int, seconds: float) -> None:
    """Prints the table."""
    import uvloop

    from bench.cpu import reflectors
    from bench.gateways import certificates

    ports, servers = reflectors(folder, *certificates(folder)[1:])
    gateway = Watched("saturated", rules=1000)
    try:
        gateway.start(folder, ports["xmpp", "plain"])
        most = statistics.median(saturation(gateway, folder, seconds) for _ in range(3))
    finally:
        gateway.stop()
        for server in servers:
            server.stop()
    rate = most / 2
    print(f"ping-pong as fast as it goes: {most:,.0f} round trips a second; sent: {rate:,.0f}\n")
    kinds = {"bare relay": Relay, "HAProxy": HaProxy, "ours, all passed": Watched, "ours, one in 100 refused": Watched}
    waits: dict[str, list[tuple[float, ...]]] = {name: [] for name in kinds}
    refused: list[tuple[float, float]] = []
    notes: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name, make in kinds.items():
            print(f"\rround {number + 1}/{rounds}: {name:40}", end="", file=sys.stderr, flush=True)
            marked = MARKED if name.endswith("refused") else 0
            seen, noted = uvloop.run(steadily(make(name), folder, rate, seconds, marked))
            waits[name].append(tuple(steady.quantile(seen.passed, share) for share in (0.5, 0.99, 1)))
            if marked:
                refused.append((steady.quantile(seen.refused, 0.5), steady.quantile(seen.refused, 0.99)))
                if seen.leaked:
                    print(f"\n{seen.leaked} refused messages were delivered")
            if noted:
                notes[name].append(noted)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
    rows = []
    base = waits["bare relay"]
    for name, found in waits.items():
        above = [one[1] - other[1] for one, other in zip(found, base, strict=True)]
        rows.append([name, *(spread([one[i] for one in found], 2) for i in range(3)), spread(above, 2)])
    rows.append(["its refused ones", *(spread([one[i] for one in refused], 2) for i in range(2)), "", ""])
    print(table(["gateway", "p50, ms", "p99, ms", "slowest, ms", "p99 above the bare relay's, ms"], rows))
    print()
    rows = [
        [name, spread([1000 * one["gap"] for one in found]), spread([1000 * one["gap_cpu"] for one in found]),
         spread([1000 * one["collection"] for one in found], 2),
         ", ".join(str(sum(one["collections"][i] for one in found) // len(found)) for i in range(3))]
        for name, found in notes.items() if found
    ]
    print(table(["gateway", "longest gap of the loop, ms", "of it CPU of the process at most, ms",
                 "longest collection, ms", "collections a round (0, 1, 2)"], rows))
