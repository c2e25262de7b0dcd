"""A watcher in the loop of each process of the gateway, workers included; loaded by the `sitecustomize` of bench.mixed.

At SIGUSR1 a process writes `<folder>/<its number>.json`: what bench.watched tells, and tasks of the loop, memory blocks
that Python has in use, and the sizes of the world's tables.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.watched import Watcher

PLACE = "MIXED_REPORTS"
"""Names the folder of the reports."""
_worlds: list[Any] = []


class Looker(Watcher):
    """Tells more."""

    def tell(self) -> None:
        tables = {}
        for world in _worlds[-1:]:
            names = [name for one in type(world).__mro__ for name in getattr(one, "__slots__", ())]
            tables = {name: len(getattr(world, name)) for name in names
                      if hasattr(getattr(world, name, None), "__len__")}
            tables["covers"] = sum(map(len, world.covers._entries.values()))
        used, free = heap()
        more = {"tasks": len(asyncio.all_tasks(self.loop)), "blocks": sys.getallocatedblocks(), "tables": tables,
                "heap": used, "free": free}
        # Whoever asks waits for the other file.
        self.report.with_suffix(".more").write_text(json.dumps(more))
        super().tell()


class _Info(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"))


def heap() -> tuple[float, float]:
    """MiB that malloc has given out, and that it keeps for later; Python's small objects are in neither."""
    call = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if call is None:  # before glibc 2.33
        return 0.0, 0.0
    call.restype = _Info
    info = call()
    return (info.uordblks + info.hblkhd) / 2**20, info.fordblks / 2**20


def install() -> None:
    """Have the loops of this process watched, when they are made."""
    from inspector.app import process
    from inspector.engine import world

    made = process.loop_factory
    report = Path(os.environ[PLACE], f"{os.getpid()}.json")
    begin = world.World.__init__

    def remembered(self: world.World, *values: Any, **named: Any) -> None:
        begin(self, *values, **named)
        _worlds.append(self)

    def factory() -> Callable[[], asyncio.AbstractEventLoop]:
        make = made() or asyncio.new_event_loop

        def loop() -> asyncio.AbstractEventLoop:
            one = make()
            Looker(one, report)
            return one

        return loop

    world.World.__init__ = remembered  # type: ignore[method-assign]
    process.loop_factory = factory
