"""The gateway as it is run, with a watcher in its event loop.

    python -m bench.watched REPORT run -c FILE

A timer of the loop notes how late it comes. At SIGUSR1 what was noted since the last time is written to the file REPORT
as one JSON object: the longest gap between two turns of the loop, wall time and CPU of the process within it (less
where others had the core), gaps above 10 and 50 ms, and collections of the garbage collector with the longest.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICK = 0.002
"""Seconds between two looks; what a timer of the loop can tell apart."""


COLLECT = signal.SIGRTMIN + 1
"""Makes the process collect all generations, as it would some day."""
LONG = 0.02
"""Gaps above this are told one by one: when (perf_counter), how long, CPU of the process within."""


class Watcher:
    """What is noted between two reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Path) -> None:
        self.loop = loop
        self.report = report
        self.forget()
        self.seen, self.cpu = time.perf_counter(), time.process_time()
        gc.callbacks.append(self.collected)
        loop.call_soon(self.start)

    def forget(self) -> None:
        self.longest = self.longest_cpu = self.pause = 0.0
        self.over = {10: 0, 50: 0}
        self.gaps: list[tuple[float, float, float]] = []
        self.collections = [0, 0, 0]

    def start(self) -> None:
        self.loop.add_signal_handler(signal.SIGUSR1, self.tell)
        self.loop.add_signal_handler(COLLECT, gc.collect)
        self.seen, self.cpu = time.perf_counter(), time.process_time()
        self.tick()

    def tick(self) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        gap = now - self.seen - TICK
        if gap > self.longest:
            self.longest = gap
        self.longest_cpu = max(self.longest_cpu, min(gap, cpu - self.cpu))
        if gap > LONG and len(self.gaps) < 1000:
            self.gaps.append((now, gap, cpu - self.cpu))
        for bound in self.over:
            self.over[bound] += gap * 1000 > bound
        self.seen, self.cpu = now, cpu
        self.loop.call_later(TICK, self.tick)

    def collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.began = time.perf_counter()
        else:
            self.collections[info["generation"]] += 1
            self.pause = max(self.pause, time.perf_counter() - self.began)

    def tell(self) -> None:
        made = self.report.with_suffix(".new")
        made.write_text(json.dumps({
            "gap": self.longest, "gap_cpu": self.longest_cpu, "over_10": self.over[10], "over_50": self.over[50],
            "collections": self.collections, "collection": self.pause, "gaps": self.gaps,
        }))
        made.rename(self.report)
        self.forget()


def ask(pid: int, report: Path, seconds: float = 20) -> dict[str, Any]:
    """What the watcher of a process has noted since it was last asked."""
    report.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + seconds
    while not report.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the watched gateway does not answer")
        time.sleep(0.02)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def watching(report: Path, factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    def made() -> asyncio.AbstractEventLoop:
        loop = factory()
        Watcher(loop, report)
        return loop

    return made


def main() -> int:
    from inspector.app import process
    from inspector.app.cli import main as command

    made = process.loop_factory() or asyncio.new_event_loop
    factory = watching(Path(sys.argv[1]), made)
    process.loop_factory = lambda: factory
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
