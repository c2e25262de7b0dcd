"""Latency that the gateway adds at half of the load that saturates it, beside a bare relay and HAProxy."""

from __future__ import annotations

import asyncio
import gc
import json
import os
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


QUIET = 0.01
"""A round counts as quiet when the hypervisor took less than this part of a core from the machine in each run of it."""


def stolen() -> float:
    """Seconds that others had our cores while we wanted them, since the machine's start; 0 where it is not told."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(line[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


async def steadily(
    gateway: Gateway, folder: Path, rate: float, seconds: float, marked: int,
) -> tuple[steady.Seen, dict[str, Any], float]:
    """Talk through a gateway of its own for that long; what was seen, its watcher's notes, cores stolen meanwhile."""
    chat = steady.Chat(marked)
    port = await chat.listen()
    await asyncio.to_thread(gateway.start, folder, port)
    try:
        await chat.connect(gateway.port, SESSIONS)
        # A collection while they talk would send what the clock had wanted to send meanwhile all at once.
        gc.collect()
        gc.freeze()
        gc.disable()
        chat.talk(rate)
        await asyncio.sleep(1)
        if isinstance(gateway, Watched):
            await asyncio.to_thread(ask, gateway.pid, gateway.report)
        chat.forget()
        before = stolen()
        await asyncio.sleep(seconds)
        gone = (stolen() - before) / seconds
        gc.enable()
        seen = chat.forget()
        noted = await asyncio.to_thread(ask, gateway.pid, gateway.report) if isinstance(gateway, Watched) else {}
        await chat.hush()
        return seen, noted, gone
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
    takers: list[float] = []
    for number in range(rounds):
        takers.append(0.0)
        for name, make in kinds.items():
            print(f"\rround {number + 1}/{rounds}: {name:40}", end="", file=sys.stderr, flush=True)
            marked = MARKED if name.endswith("refused") else 0
            seen, noted, gone = uvloop.run(steadily(make(name), folder, rate, seconds, marked))
            takers[-1] = max(takers[-1], gone)
            waits[name].append(tuple(steady.quantile(seen.passed, share) for share in (0.5, 0.99, 1)))
            if marked:
                refused.append((steady.quantile(seen.refused, 0.5), steady.quantile(seen.refused, 0.99)))
                if seen.leaked:
                    print(f"\n{seen.leaked} refused messages were delivered")
            if noted:
                notes[name].append(noted)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
    quiet = [number for number, gone in enumerate(takers) if gone < QUIET]
    for told, chosen in (("All rounds", list(range(rounds))), ("Quiet rounds", quiet)):
        print(f"{told} ({len(chosen)}; of a core was stolen at most: {spread([takers[i] for i in chosen], 3)}):\n")
        rows = []
        base = [waits["bare relay"][i] for i in chosen]
        for name, all_found in waits.items():
            found = [all_found[i] for i in chosen]
            above = [one[1] - other[1] for one, other in zip(found, base, strict=True)]
            rows.append([name, *(spread([one[i] for one in found], 2) for i in range(3)), spread(above, 2)])
        late = [refused[i] for i in chosen]
        rows.append(["its refused ones", *(spread([one[i] for one in late], 2) for i in range(2)), "", ""])
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
