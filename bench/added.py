"""Latency that the gateway adds at half of the load that saturates it, beside a bare relay and HAProxy."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import steady
from bench.figures import spread, table
from bench.gateways import Gateway, HaProxy, Relay
from bench.processes import Process, cpu_seconds, python
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


SLICE = 0.25
"""Seconds; what was sent in one slice counts or does not count as a whole."""

QUIET = 0.011
"""Seconds of a core that others may take in a slice (a tick of the kernel's clock): more, and it does not count."""

SETTLED = 3
"""Slices without such a loss that must have come before: what was taken leaves a queue, and who is busy two thirds of
the time gets through it at a third of his speed."""

PATIENCE = 6
"""A round waits so many times its seconds for slices that count, then takes what there is."""


def stolen() -> float:
    """Seconds that others had our cores while we wanted them, since the machine's start; 0 where it is not told."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(line[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


@dataclass
class Round:
    """What one gateway showed in one round."""

    every: steady.Seen
    """Of all slices."""
    quiet: steady.Seen
    """Of those in which, and before which, nobody took cores from us."""
    notes: dict[str, Any]
    """What the gateway's watcher noted; of all slices."""
    stolen: float
    """Cores that were taken, over all slices."""
    busy: float
    """Cores that the gateway used, over all slices."""


async def steadily(gateway: Gateway, folder: Path, rate: float, seconds: float, marked: int) -> Round:
    """Talk through a gateway of its own until there are quiet slices for that long, or patience ends."""
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
        every, quiet = steady.Seen(), steady.Seen()
        began, taken, used = time.monotonic(), stolen(), cpu_seconds([gateway.pid])
        good, calm, before = 0, 0, taken
        while good * SLICE < seconds and time.monotonic() - began < PATIENCE * seconds:
            await asyncio.sleep(SLICE)
            now = stolen()
            seen = chat.forget()
            every.add(seen)
            calm = calm + 1 if now - before < QUIET else 0
            if calm > SETTLED:
                quiet.add(seen)
                good += 1
            before = now
        took = time.monotonic() - began
        gone, busy = (before - taken) / took, (cpu_seconds([gateway.pid]) - used) / took
        gc.enable()
        noted = await asyncio.to_thread(ask, gateway.pid, gateway.report) if isinstance(gateway, Watched) else {}
        await chat.hush()
        return Round(every, quiet, noted, gone, busy)
    finally:
        chat.close()
        await asyncio.to_thread(gateway.stop)


def every_part(one: Round) -> steady.Seen:
    return one.every


def quiet_part(one: Round) -> steady.Seen:
    return one.quiet


def rows_of(found: dict[str, list[Round]], choose: Callable[[Round], steady.Seen]) -> list[list[str]]:
    """A table's rows: of each round its quantiles, of the rounds the median, the least and the greatest."""
    rows = []
    base = [steady.quantile(choose(one).passed, 0.99) for one in found["bare relay"]]
    for name, rounds in found.items():
        passed = [choose(one).passed for one in rounds]
        late = [steady.quantile(waits, 0.99) for waits in passed]
        rows.append([
            name, *(spread([steady.quantile(waits, share) for waits in passed], 2) for share in (0.5, 0.99, 1)),
            spread([one - other for one, other in zip(late, base, strict=True)], 2),
            str(sum(len(waits) for waits in passed)),
        ])
        refused = [choose(one).refused for one in rounds]
        if any(refused):
            rows.append([
                "its refused ones",
                *(spread([steady.quantile(waits, share) for waits in refused], 2) for share in (0.5, 0.99, 1)),
                "", str(sum(len(waits) for waits in refused)),
            ])
    return rows


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
    found: dict[str, list[Round]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name, make in kinds.items():
            print(f"\rround {number + 1}/{rounds}: {name:40}", end="", file=sys.stderr, flush=True)
            marked = MARKED if name.endswith("refused") else 0
            one = uvloop.run(steadily(make(name), folder, rate, seconds, marked))
            found[name].append(one)
            if one.every.leaked:
                print(f"\n{one.every.leaked} refused messages were delivered")
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
    for told, choose in (("Quiet slices", quiet_part), ("All slices", every_part)):
        print(f"{told}:\n")
        print(table(
            ["gateway", "p50, ms", "p99, ms", "slowest, ms", "p99 above the bare relay's, ms", "round trips"],
            rows_of(found, choose)))
        print()
    rows = [[name, spread([one.stolen for one in rows], 3), spread([one.busy for one in rows], 2)]
            for name, rows in found.items()]
    print(table(["gateway", "cores taken by others", "cores it used"], rows))
    print()
    notes = {name: [one.notes for one in rows if one.notes] for name, rows in found.items()}
    rows = [
        [name, spread([1000 * one["gap"] for one in noted]), spread([1000 * one["gap_cpu"] for one in noted]),
         spread([1000 * one["collection"] for one in noted], 2),
         ", ".join(str(sum(one["collections"][i] for one in noted) // len(noted)) for i in range(3))]
        for name, noted in notes.items() if noted
    ]
    print(table(["gateway", "longest gap of the loop, ms", "of it CPU of the process at most, ms",
                 "longest collection, ms", "collections a round (0, 1, 2)"], rows))
