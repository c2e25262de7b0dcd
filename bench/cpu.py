"""CPU per relayed message: every gateway in turn in each round, 50 sessions of ping-pong, medians and ratios."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from bench.figures import ratio, spread, table
from bench.gateways import Gateway, HaProxy, Hook, Ours, certificates
from bench.processes import Process, python

SESSIONS = 50


def line_up(only: set[str], authority: str) -> list[Gateway]:
    """All that are compared; the first is what ratios are taken to."""
    gateways: list[Gateway] = [
        Hook("hook"),
        Hook("hook, asyncio", loop="asyncio"),
        Hook("hook, mitmdump's addons", addons="mitmdump"),
        HaProxy("haproxy"),
        Ours("full, 1,000 rules"),
        Ours("full, asyncio", loop="asyncio"),
        Ours("full, 10,000 rules", rules=10_000),
        Ours("full, archive full", archive="full"),
        Ours("full, stock I/O", stock_io=True),
        Ours("full, texts of the rules' words", kind="rulewords"),
        Ours("relay of unknown lines", kind="blob"),
        Ours("decode alone", rules=0, policy_rules=0),
        Ours("decode and scan", policy_rules=0),
        Hook("hook, IRC", kind="irc"),
        Ours("full, IRC", kind="irc"),
        Ours("full, OSCAR", kind="oscar"),
        Ours("full, STARTTLS both legs", security="starttls", authority=authority),
        Ours("full, STARTTLS, asyncio", security="starttls", authority=authority, loop="asyncio"),
    ]
    return [gateway for gateway in gateways if not only or any(word in gateway.name for word in only)]


def load(gateway: Gateway, sessions: int, seconds: float, log: Path) -> dict[str, float]:
    """One measured window: messages, cpu, wall, stalled."""
    command = python("-m", "bench.load", str(gateway.port), gateway.kind, gateway.security, str(sessions), str(seconds),
                     str(gateway.pid))
    clients = Process("load", command, log, talk=True)
    try:
        answer: dict[str, float] = json.loads(clients.line())
    finally:
        clients.stop()
    return answer


def reflectors(folder: Path, certificate: str, key: str) -> tuple[dict[tuple[str, str], int], list[Process]]:
    """One server per kind of traffic: its port by (kind, security)."""
    ports, processes = {}, []
    for kind, security in (
        ("xmpp", "plain"), ("rulewords", "plain"), ("links", "plain"), ("xmpp", "starttls"), ("irc", "plain"),
        ("oscar", "plain"), ("blob", "plain"),
    ):
        extra = [certificate, key] if security == "starttls" else []
        command = python("-m", "bench.reflector", kind, *extra)
        server = Process("reflector", command, folder / "reflector.log", talk=True)
        processes.append(server)
        ports[kind, security] = int(server.line())
    return ports, processes


def run(folder: Path, rounds: int, seconds: float, only: set[str]) -> None:
    """Prints the table and the shares."""
    authority, certificate, key = certificates(folder)
    ports, servers = reflectors(folder, certificate, key)
    costs: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    gateways = line_up(only, authority)
    failed: dict[str, str] = {}
    try:
        for gateway in gateways:
            try:
                gateway.start(folder, ports[gateway.kind, gateway.security])
            except (OSError, RuntimeError) as error:
                failed[gateway.name] = str(error)
        for number in range(rounds):
            for gateway in gateways:
                if gateway.name in failed:
                    continue
                print(f"\rround {number + 1}/{rounds}: {gateway.name:40}", end="", file=sys.stderr, flush=True)
                try:
                    seen = load(gateway, SESSIONS, seconds, folder / "load.log")
                except (ValueError, RuntimeError) as error:
                    failed[gateway.name] = str(error)
                    continue
                if seen["stalled"] or not seen["messages"]:
                    failed[gateway.name] = f"{seen['stalled']:.0f} of {SESSIONS} sessions stalled"
                    continue
                costs.setdefault(gateway.name, []).append(1e6 * seen["cpu"] / seen["messages"])
                rates.setdefault(gateway.name, []).append(seen["messages"] / seen["wall"])
    finally:
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
        for gateway in gateways:
            gateway.stop()
        for server in servers:
            server.stop()
    report(gateways, costs, rates, failed)


def report(
    gateways: list[Gateway], costs: dict[str, list[float]], rates: dict[str, list[float]], failed: dict[str, str],
) -> None:
    rows = []
    for gateway in gateways:
        name = gateway.name
        if name in failed:
            continue
        def against(base: str, name: str = name) -> str:
            whole = base in costs and len(costs[base]) == len(costs[name])
            return spread(ratio(costs[name], costs[base]), 2) if whole else "-"
        rows.append([name, spread(costs[name]), against("hook"), against("haproxy"),
                     f"{statistics.median(rates[name]):,.0f}"])
    print(table(["gateway", "µs CPU a message", "of the hook", "of HAProxy", "messages/s"], rows))
    middle = {name: statistics.median(values) for name, values in costs.items() if name not in failed}
    steps = ["relay of unknown lines", "decode alone", "decode and scan", "full, 1,000 rules"]
    if all(step in middle for step in steps):
        relay, decode, scan, full = (middle[step] for step in steps)
        print(f"\nshares of {full:.1f} µs: layer and I/O {relay:.1f}, decode and judge {decode - relay:.1f}, "
              f"scan {scan - decode:.1f}, policy {full - scan:.1f}")
    if "full, 10,000 rules" in middle and "full, 1,000 rules" in middle:
        print(f"10,000 rules cost {middle['full, 10,000 rules'] / middle['full, 1,000 rules']:.2f} × 1,000 rules")
    if "full, OSCAR" in costs and "full, 1,000 rules" in costs:
        times = spread(ratio(costs["full, OSCAR"], costs["full, 1,000 rules"]), 2)
        print(f"an OSCAR message costs {times} × an XMPP one")
    for name, why in failed.items():
        print(f"\nnot measured: {name}: {why}")
