"""Reloading message rules while people talk: sessions, messages, the longest pause of the loop, memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import realistic_rules, steady
from bench.figures import spread, table
from bench.gateways import Ours
from bench.processes import family, inspector, memory, python
from bench.watched import ask

SESSIONS = 50
MARKED = 10
"""Every tenth message has words that must be refused, before, while and after rules change."""
RULE = f"""
rule marked
{{
    meta:
        id = "marked.words"
        severity = "high"
        description = "Words of the bench"
        scope = "message"
    strings:
        $a = "{steady.MARK.decode()}" nocase
    condition:
        $a
}}
"""


@dataclass
class Watched(Ours):
    """Ours with a watcher in its loop, and a rule that refuses marked messages."""

    report: Path = field(default=Path())
    place: Path = field(default=Path())

    def command(self, folder: Path) -> list[str]:
        _, *words = super().command(folder)
        pack = folder / "signatures" / "marked"
        pack.mkdir(exist_ok=True)
        (pack / "rules.yar").write_text(RULE)
        (pack / "pack.yaml").write_text(
            "name: marked\nversion: 1\ndescription: Words of the bench\nlicense: Apache-2.0\n"
            "content:\n  - {file: rules.yar, kind: yara}\n")
        path = folder / "policy.yaml"
        rule = "  - name: marked\n    when: {finding.rule: marked.words}\n    then: block\n"
        path.write_text(path.read_text() + rule)
        self.place, self.report = folder, folder / "report.json"
        return python("-m", "bench.watched", str(self.report), *words)

    def say(self, *words: str) -> str:
        """A command of the operator's, run to its end."""
        done = subprocess.run(
            inspector(*words, "-c", str(self.place / "inspector.yaml")), capture_output=True, text=True, check=False,
            timeout=600)
        if done.returncode and not done.stdout:
            raise RuntimeError(f"inspector {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def reload(self, seconds: float = 300) -> None:
        """SIGHUP, and wait for the log's word that the new rules are in force."""
        log = self.place / "log"
        start = log.stat().st_size
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with log.open("rb") as file:
                file.seek(start)
                told = file.read()
            if b"reload refused" in told:
                raise RuntimeError(told.decode("utf-8", "replace")[-500:])
            if b"reloaded by" in told:
                return
            time.sleep(0.02)
        raise RuntimeError(f"no reload within {seconds} s")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("status", "--format", "json"))
        return found


class Peak:
    """The highest memory of a gateway's worker and of the child that compiles, sampled beside it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.own = self.resident = self.child = 0
        self._stop = threading.Event()
        self._known = set(family(pid)) - {pid}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        others: set[int] = set()
        turns = 0
        while not self._stop.wait(0.05):
            now = memory(self.pid)
            self.own = max(self.own, now["own"])
            self.resident = max(self.resident, now["resident"])
            if turns % 20 == 0:
                others = set(family(self.pid)) - {self.pid} - self._known
            turns += 1
            for pid in others:
                try:
                    self.child = max(self.child, memory(pid).get("peak", 0))
                except OSError:
                    continue

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


async def once(gateway: Watched, work: Path, rate: float, seed: int, quiet: float) -> dict[str, float]:
    """One reload under load."""
    chat = steady.Chat(MARKED)
    port = await chat.listen()
    await asyncio.to_thread(gateway.start, work, port)
    try:
        # Made before anybody talks: the load is in this process.
        realistic_rules.write_pack(gateway.place / "new", gateway.rules, seed)
        await chat.connect(gateway.port, SESSIONS)
        chat.talk(rate)
        await asyncio.sleep(2)
        await asyncio.to_thread(ask, gateway.pid, gateway.report)
        chat.forget()
        await asyncio.sleep(quiet)
        still = chat.forget()
        before = await asyncio.to_thread(ask, gateway.pid, gateway.report)
        start = memory(gateway.pid)
        (gateway.place / "new" / "realistic" / "rules.yar").replace(
            gateway.place / "signatures" / "realistic" / "rules.yar")
        (gateway.place / "new" / "realistic" / "pack.yaml").replace(
            gateway.place / "signatures" / "realistic" / "pack.yaml")
        peak = Peak(gateway.pid)
        began = time.perf_counter()
        await asyncio.to_thread(gateway.reload)
        took = time.perf_counter() - began
        await asyncio.sleep(1)
        peak.stop()
        seen = chat.forget()
        during = await asyncio.to_thread(ask, gateway.pid, gateway.report)
        await chat.hush()
        after = chat.forget()
        status = await asyncio.to_thread(gateway.status)
        every = [still, seen, after]
        return {
            "seconds": took, "gap": 1000 * during["gap"], "gap_cpu": 1000 * during["gap_cpu"],
            "gap_before": 1000 * before["gap"], "gap_cpu_before": 1000 * before["gap_cpu"],
            "over_50": during["over_50"], "p99": steady.quantile(seen.passed, 0.99),
            "p99_before": steady.quantile(still.passed, 0.99), "slowest": steady.quantile(seen.passed, 1),
            "sent": seen.sent, "marked": sum(one.sent_marked for one in every),
            "refused": sum(len(one.refused) for one in every), "leaked": sum(one.leaked for one in every),
            "lost": sum(one.lost for one in every), "unanswered": chat.unanswered,
            "own": peak.own / start["own"], "resident": peak.resident / start["resident"],
            "own_mib": peak.own / 1048576, "child_mib": peak.child / 1048576,
            "version": float(status["rules"]["version"]),
        }
    finally:
        chat.close()
        await asyncio.to_thread(gateway.stop)


def run(folder: Path, rounds: int, rate: float, quiet: float = 6.0, rules: int = 10_000) -> None:
    """Prints the table."""
    import uvloop

    found: list[dict[str, float]] = []
    for number in range(rounds):
        print(f"\rround {number + 1}/{rounds}", end="", file=sys.stderr, flush=True)
        gateway = Watched("reload", rules=rules)
        found.append(uvloop.run(once(gateway, folder, rate, 100 + number, quiet)))
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    names = [
        ("seconds", "seconds until the new rules are in force", 1),
        ("gap", "longest gap of the loop meanwhile, ms", 1),
        ("gap_cpu", "of it CPU of the gateway's process at most, ms", 1),
        ("gap_before", f"longest gap in {quiet:g} s before, ms", 1),
        ("gap_cpu_before", "of it CPU of the gateway's process at most, ms", 1),
        ("over_50", "gaps above 50 ms meanwhile", 0),
        ("p99_before", "round trip p99 before, ms", 1), ("p99", "round trip p99 meanwhile, ms", 1),
        ("slowest", "slowest round trip meanwhile, ms", 1),
        ("sent", "messages sent meanwhile", 0), ("lost", "sessions that ended", 0),
        ("marked", "messages to be refused, in all", 0), ("refused", "of them refused", 0),
        ("leaked", "of them delivered", 0), ("unanswered", "messages without an answer", 0),
        ("own", "own memory of the worker at its peak, × before", 2),
        ("resident", "resident memory with mapped pages, × before", 2),
        ("own_mib", "own memory of the worker at its peak, MiB", 1),
        ("child_mib", "the child that compiles, MiB", 1),
    ]
    print(table(["what", "median (least-greatest)"],
                [[what, spread([one[key] for one in found], digits)] for key, what, digits in names]))
    if any(one["version"] != 2 for one in found):
        print("\nnot every reload was accepted")
