"""What a message costs with 50,000 rules and a million indicators, beside 1,000 rules; memory of the worker."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bench.cpu import SESSIONS, load, reflectors
from bench.figures import ratio, spread, table
from bench.gateways import Ours, certificates
from bench.processes import memory

PATIENCE = 1200.0
"""Seconds the large set may take to compile on a busy machine."""
KINDS = {"xmpp": "everyday words", "links": "a link in each text", "rulewords": "words of the rules"}


def line_up(rules: int, indicators: int) -> list[Ours]:
    """The small set and the large one."""
    limits = {"compile_seconds": PATIENCE}
    return [
        Ours("1,000 rules, 1,000 indicators", rules=1000, indicators=1000),
        Ours(f"{rules:,} rules, {indicators:,} indicators", rules=rules, indicators=indicators, limits=limits,
             seconds_to_listen=PATIENCE),
    ]


def run(folder: Path, rounds: int, seconds: float, rules: int, indicators: int) -> None:
    """Prints the tables."""
    ports, servers = reflectors(folder, *certificates(folder)[1:])
    gateways = line_up(rules, indicators)
    costs: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, list[dict[str, int]]] = {}
    try:
        for gateway in gateways:
            gateway.start(folder, ports["xmpp", "plain"])
            sizes[gateway.name] = [memory(gateway.pid)]
        for kind in KINDS:
            for gateway in gateways:
                if kind != "xmpp":
                    # Started again with the same cache: nothing is compiled.
                    gateway.stop()
                    gateway.kind = kind
                    gateway.start(folder, ports[kind, "plain"])
            for number in range(rounds):
                for gateway in gateways:
                    print(f"\rround {number + 1}/{rounds}: {kind}: {gateway.name:40}", end="", file=sys.stderr,
                          flush=True)
                    seen = load(gateway, SESSIONS, seconds, folder / "load.log")
                    if seen["stalled"] or not seen["messages"]:
                        raise RuntimeError(f"{seen['stalled']:.0f} sessions of {gateway.name} stalled")
                    costs.setdefault((kind, gateway.name), []).append(1e6 * seen["cpu"] / seen["messages"])
            for gateway in gateways:
                sizes[gateway.name].append(memory(gateway.pid))
        logs = {gateway.name: (folder / plain(gateway.name) / "log").read_text("utf-8", "replace")
                for gateway in gateways}
    finally:
        print("\r" + " " * 90 + "\r", end="", file=sys.stderr, flush=True)
        for gateway in gateways:
            gateway.stop()
        for server in servers:
            server.stop()
    small, large = (gateway.name for gateway in gateways)
    rows = []
    for kind, what in KINDS.items():
        one, other = costs[kind, small], costs[kind, large]
        rows.append([what, spread(one), spread(other), spread(ratio(other, one), 2)])
    print(table(["texts", f"{small}: µs CPU", f"{large}: µs CPU", "ratio"], rows))
    print("\nMiB of the worker process; mapped pages are shared by all workers.\n")
    rows = []
    for name, found in sizes.items():
        cache = folder / plain(name) / "var" / "cache"
        files = {path.suffix: path.stat().st_size for path in cache.glob("*") if path.suffix}
        start, end = found[0], found[-1]
        rows.append([name, mib(start["own"]), mib(end["own"]), mib(end["mapped"]),
                     mib(files.get(".indicators", 0)), mib(files.get(".rules", 0))])
    print(table(["set", "own at start", "own after the load", "mapped, resident", "file of indicators",
                 "file of rules"], rows))
    for name, text in logs.items():
        for line in text.splitlines():
            if re.search(r"error|refused", line):
                print(f"\n{name}: {line}")


def plain(name: str) -> str:
    """The folder of a gateway, as Gateway.start names it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def mib(size: int) -> str:
    return f"{size / 1048576:.1f}"
