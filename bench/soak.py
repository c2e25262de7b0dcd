"""Thousands of idle sessions beside steady chat: memory a session, and whether anything grows or ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from bench import steady
from bench.cpu import load
from bench.figures import table
from bench.gateways import Ours, certificates
from bench.memory import settled
from bench.processes import Process, memory, python
from bench.reload import Watched
from bench.watched import COLLECT, ask

WARM = 20
EVERY = 10.0
"""Seconds between two looks."""


def idle(gateway: Ours, sessions: int, folder: Path) -> Process:
    """Sessions that sign on and say nothing."""
    command = python("-m", "bench.load", str(gateway.port), gateway.kind, gateway.security, str(sessions), "0",
                     str(gateway.pid))
    return Process(f"{sessions} idle sessions", command, folder / "load.log", talk=True)


async def go(folder: Path, minutes: float, plain: int, secure: int, rate: float) -> None:
    authority, certificate, key = certificates(folder)
    chat = steady.Chat(10)
    port = await chat.listen()
    server = Process("reflector", python("-m", "bench.reflector", "xmpp", certificate, key), folder / "server.log",
                     talk=True)
    first = Watched("soak plain", rules=1000)
    second = Ours("soak TLS", security="starttls", authority=authority)
    crowds: list[Process] = []
    try:
        secure_port = int(await asyncio.to_thread(server.line))
        await asyncio.to_thread(first.start, folder, port)
        await asyncio.to_thread(second.start, folder, secure_port)
        sizes: list[float] = []
        for gateway, count in ((first, plain), (second, secure)):
            await asyncio.to_thread(load, gateway, WARM, 1.0, folder / "load.log")
            before = await asyncio.to_thread(settled, gateway.pid)
            began = time.perf_counter()
            print(f"\r{count} sessions sign on at {gateway.name}", end="", file=sys.stderr, flush=True)
            crowds.append(idle(gateway, count, folder))
            await asyncio.to_thread(crowds[-1].line)
            took = time.perf_counter() - began
            sizes.append((await asyncio.to_thread(settled, gateway.pid) - before) / max(count, 1) / 1024)
            print(f"\r{gateway.name}: {count:,} idle sessions, {sizes[-1]:.1f} KiB resident a session, signed on in "
                  f"{took:.0f} s", flush=True)
        await chat.connect(first.port, 50)
        chat.talk(rate)
        await asyncio.sleep(5)
        await asyncio.to_thread(ask, first.pid, first.report)
        chat.forget()
        rows = []
        start, secure_start = memory(first.pid)["resident"], memory(second.pid)["resident"]
        until = time.monotonic() + 60 * minutes
        lost = leaked = sent = marked = refused = 0
        while time.monotonic() < until:
            await asyncio.sleep(min(EVERY, max(0.1, until - time.monotonic())))
            seen = chat.forget()
            noted = await asyncio.to_thread(ask, first.pid, first.report)
            lost, leaked, sent = lost + seen.lost, leaked + seen.leaked, sent + seen.sent
            marked, refused = marked + seen.sent_marked, refused + len(seen.refused)
            rows.append([
                f"{60 * minutes - (until - time.monotonic()):.0f}", mib(memory(first.pid)["resident"]),
                mib(memory(second.pid)["resident"]), f"{len(seen.passed) + len(seen.refused):,}",
                f"{steady.quantile(seen.passed, 0.5):.1f}", f"{steady.quantile(seen.passed, 0.99):.1f}",
                f"{1000 * noted['gap']:.0f}", f"{1000 * noted['gap_cpu']:.0f}", f"{1000 * noted['collection']:.0f}",
                "/".join(map(str, noted["collections"])),
            ])
        await chat.hush()
        refused += len(chat.forget().refused)
        more = [memory(first.pid)["resident"] / start, memory(second.pid)["resident"] / secure_start]
        os.kill(first.pid, COLLECT)
        await asyncio.sleep(1)
        full = await asyncio.to_thread(ask, first.pid, first.report)
        gone = 0
        for crowd in crowds:
            gone += json.loads(await asyncio.to_thread(crowd.last))["lost"]
        # A ten-minute run is told by about twenty lines.
        step = max(1, len(rows) // 20)
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
        print("\n" + table(
            ["s", "plain, MiB", "TLS, MiB", "answers", "p50, ms", "p99, ms", "longest gap, ms", "of it CPU, ms",
             "longest collection, ms", "collections"], rows[::step]))
        print(f"\nresident at the end × at the start: plain {more[0]:.3f}, TLS {more[1]:.3f}; sessions lost: idle "
              f"{gone}, talking {lost}; messages sent {sent:,}, without an answer {chat.unanswered}; to be refused "
              f"{marked:,}, refused {refused:,}, delivered {leaked}. A collection of all generations with these "
              f"sessions: {1000 * full['collection']:.0f} ms")
    finally:
        chat.close()
        for crowd in crowds:
            crowd.stop()
        first.stop()
        second.stop()
        server.stop()


def mib(size: int) -> str:
    return f"{size / 1048576:.1f}"


def run(folder: Path, minutes: float, plain: int, secure: int, rate: float) -> None:
    """Prints what was seen."""
    import uvloop

    uvloop.run(go(folder, minutes, plain, secure, rate))
