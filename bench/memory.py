"""Resident memory per idle session: the difference that many signed-on sessions make, after a small load."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.cpu import load, reflectors
from bench.figures import spread, table
from bench.gateways import Gateway, Hook, Ours, certificates
from bench.processes import Process, family, python, resident

SESSIONS = 400
WARM = 20


def settled(pid: int) -> int:
    """Resident bytes once they stand still (two readings half a second apart differ by less than 64 KiB)."""
    last = resident(family(pid))
    for _ in range(20):
        time.sleep(0.5)
        now = resident(family(pid))
        if abs(now - last) < 65536:
            return now
        last = now
    return last


def measure(gateway: Gateway, folder: Path) -> float:
    """KiB a session."""
    load(gateway, WARM, 1.0, folder / "load.log")
    before = settled(gateway.pid)
    command = python("-m", "bench.load", str(gateway.port), gateway.kind, gateway.security, str(SESSIONS), "0",
                     str(gateway.pid))
    clients = Process("idle clients", command, folder / "load.log", talk=True)
    try:
        clients.line()
        return (settled(gateway.pid) - before) / SESSIONS / 1024
    finally:
        clients.stop()


def run(folder: Path, rounds: int) -> None:
    """Prints the table."""
    authority, certificate, key = certificates(folder)
    ports, servers = reflectors(folder, certificate, key)
    rows = []
    try:
        for _make, name in (
            (lambda: Hook("hook"), "hook, plain"),
            (lambda: Ours("idle plain"), "ours, plain"),
            (lambda: Ours("idle plain asyncio", loop="asyncio"), "ours, plain, asyncio"),
            (lambda: Ours("idle starttls", security="starttls", authority=authority), "ours, STARTTLS both legs"),
        ):
            values: list[float] = []
            why = ""
            for number in range(rounds):
                print(f"\rround {number + 1}/{rounds}: {name:40}", end="", file=sys.stderr, flush=True)
                gateway = _make()
                try:
                    # A fresh process each time: memory once taken is not given back.
                    gateway.start(folder, ports[gateway.kind, gateway.security])
                    values.append(measure(gateway, folder))
                except (OSError, RuntimeError, ValueError) as error:
                    why = str(error)
                    break
                finally:
                    gateway.stop()
            rows.append([name, why or spread(values)])
    finally:
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
        for server in servers:
            server.stop()
    print(f"{SESSIONS} sessions, sign-on done, after a load of {WARM} sessions; {rounds} fresh processes each\n")
    print(table(["gateway", "KiB resident a session"], rows))
