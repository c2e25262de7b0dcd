"""Alarms before it hurts: disks that fill, a wall clock that jumps, rows that are left out.

`Alarms` looks once a second. Below `limits.disk_free_bytes` on a disk of ours it tells; below `limits.disk_stop_bytes`
on the disk of the event store the gateway takes no new sessions (trouble `overload`), so that those who are there can
go on; when the disk is full all the same, a file beside the store (`limits.disk_reserve_bytes`) is given up, and rows
that nobody waits for are left out until there is room again: what is refused, masked or held still gets its row.

Everything told is one sentence in the log when it begins and one when it is over, one row `trouble` (`disk`, `clock`,
`rows_lost`) when it begins, a problem of `inspector status` while it lasts, and a metric.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inspector.drivers.clock import Clock
from inspector.drivers.metrics import Family, Source, one
from inspector.drivers.mitm_server import Gateway
from inspector.model import Limits
from inspector.store.sqlite import Writer

LOOK_SECONDS = 1.0
"""Time between two looks."""
LASTS = 60.0
"""Seconds that something told of stays a problem after it was last seen."""
RESERVE = "-reserve"
"""End of the name of the file that is given up when the disk is full."""


class _Condition:
    """Something that may be wrong: told when it begins and when it is over."""

    __slots__ = ("count", "sentence")

    def __init__(self) -> None:
        self.sentence: str | None = None
        self.count = 0
        """Times that it began."""


class Alarms:
    """Looks after disks, clock and rows. All methods but `_measure` are called on the loop."""

    def __init__(
        self, limits: Callable[[], Limits], store: Writer, folders: Mapping[str, Path], clock: Clock,
        note: Callable[[dict[str, Any]], None], log: Callable[[str], None],
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """`folders`: what else of ours lies on disks, by the name it has in sentences (spool, quarantine, state).
        `note` takes rows; `free` tells the free bytes of a folder's disk and raises OSError."""
        self.limits = limits
        self.store = store
        self.clock = clock
        self.ahead = 0.0
        """Seconds that the wall clock is ahead of ours."""
        self.jumps = 0
        """Times that the wall clock jumped."""
        self.room: dict[str, int] = {}
        """Free bytes of each folder's disk."""
        self._folders = {"event store": store.path.parent, **folders}
        self._note = note
        self._log = log
        self._free = free or free_bytes
        self._conditions: dict[str, _Condition] = {}
        self._rows = 0
        self._lost = store.counters.lost + store.counters.failed
        self._lost_at = float("-inf")
        self._full = False

    @property
    def full(self) -> str | None:
        """Why no new session may be taken, one sentence; None: they may."""
        return "the disk of the event store is nearly full" if self._full else None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            # Not in the loop: a folder may lie on a disk that does not answer.
            self.look(await asyncio.to_thread(self._measure))
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, room: Mapping[str, int | str] | None = None) -> None:
        """One look. `room`: free bytes by folder, or why they are not known; None: measured now."""
        self._look_at_disks(self._measure() if room is None else room)
        self._look_at_rows()
        self._look_at_clock()

    def problems(self) -> list[str]:
        """What is wrong, for `inspector status`."""
        return [condition.sentence for condition in self._conditions.values() if condition.sentence is not None]

    def source(self) -> Iterator[Family]:
        """For Metrics.add."""
        room = min(self.room.values(), default=0)
        yield one("inspector_disk_free_bytes", "gauge", "Free bytes of the fullest disk of ours.", room)
        yield one("inspector_disk_stop", "gauge", "1: new sessions are refused, the disk is nearly full.", self._full)
        yield one("inspector_clock_ahead_seconds", "gauge", "Wall clock before the clock of the events.",
                  round(self.ahead, 3))
        yield one("inspector_clock_jumps_total", "counter", "Times that the wall clock was set.", self.jumps)
        alarms: Iterable[tuple[tuple[str | None, ...], float]] = [
            ((None, None, name), condition.count) for name, condition in sorted(self._conditions.items())]
        yield Family("inspector_alarms_total", "counter", "Alarms, by what they are about.", alarms)

    # -- disks

    def _measure(self) -> dict[str, int | str]:
        found: dict[str, int | str] = {}
        for name, folder in self._folders.items():
            try:
                found[name] = self._free(folder)
            except OSError as error:
                found[name] = (error.strerror or type(error).__name__).lower()
        return found

    def _look_at_disks(self, room: Mapping[str, int | str]) -> None:
        limits = self.limits()
        for name, free in room.items():
            folder = self._folders[name]
            if isinstance(free, str):
                self.room.pop(name, None)
                self._wrong(f"disk {name}", "disk", f"the disk of the {name} ({folder}) cannot be asked: {free}")
                continue
            self.room[name] = free
            # Over only with a little more room: a disk at the bound is not told of each second.
            low = limits.disk_free_bytes if self._wrong_now(f"disk {name}") is None else limits.disk_free_bytes * 1.05
            if free < low:
                self._wrong(f"disk {name}", "disk",
                            f"the disk of the {name} ({folder}) is nearly full: less than {_mib(low)} are free")
            else:
                self._well(f"disk {name}", f"the disk of the {name} has room again")
        self._spare(limits)

    def _spare(self, limits: Limits) -> None:
        """Stop new sessions, give up the reserve, or take both back."""
        free = self.room.get("event store")
        if free is None:
            return
        reserve = self.store.path.with_name(self.store.path.name + RESERVE)
        held = _size(reserve)
        margin = limits.disk_reserve_bytes if self._full else 0
        self._full = free < limits.disk_stop_bytes + margin
        if self._full:
            self._wrong("stop", "disk", f"no new sessions are taken: {self.full}")
            if free < limits.disk_reserve_bytes or not self.store.healthy:
                # Another worker that writes to the same store may have been the one who gave it up.
                with contextlib.suppress(OSError):
                    os.unlink(reserve)
                self._wrong("reserve", "disk", "the disk of the event store is full: its reserve is given up, and only "
                            "rows that a message waits for are written")
        else:
            self._well("stop", "new sessions are taken again")
            self._well("reserve", "the event store writes all rows again")
            if held != limits.disk_reserve_bytes and self.store.healthy:
                keep(reserve, limits.disk_reserve_bytes)
        self.store.sparing = self._wrong_now("reserve") is not None

    # -- rows

    def _look_at_rows(self) -> None:
        lost = self.store.counters.lost + self.store.counters.failed
        now = self.clock()
        if lost > self._lost:
            self._lost, self._lost_at = lost, now
            self._wrong("rows_lost", "rows_lost", "rows are left out of the event log: it does not write fast enough, "
                        "or not at all")
        elif now - self._lost_at > LASTS:
            self._well("rows_lost", f"no row was left out for {LASTS:.0f} s; {lost} in all")

    # -- clock

    def _look_at_clock(self) -> None:
        before, self.ahead = self.ahead, self.clock.follow()
        skew = self.limits().clock_skew_seconds
        if abs(self.ahead - before) >= skew:
            self.jumps += 1
            self._well("clock", None)  # a second jump is told, too
        if abs(self.ahead) >= skew:
            way, side = ("forward", "behind") if self.ahead > 0 else ("back", "ahead")
            self._wrong("clock", "clock", f"the wall clock jumped {way}: the times of events are {abs(self.ahead):.0f} "
                        f"s {side} and come nearer by 3 minutes an hour (a restart takes the new time at once)")
        else:
            self._well("clock", "the times of events agree with the wall clock again")

    # -- telling

    def _wrong_now(self, key: str) -> str | None:
        condition = self._conditions.get(key)
        return None if condition is None else condition.sentence

    def _wrong(self, key: str, name: str, sentence: str) -> None:
        """It is wrong: told the first time."""
        condition = self._conditions.setdefault(key, _Condition())
        if condition.sentence is not None:
            return
        condition.sentence = sentence
        condition.count += 1
        self._rows += 1
        self._log(sentence)
        now = self.clock()
        self._note({
            "event": "trouble", "id": f"alarm-{int(now * 1000):x}-{self._rows}", "t": now, "flow": None, "name": name,
            "detail": sentence, "did": None,
        })

    def _well(self, key: str, sentence: str | None) -> None:
        """It is not wrong (any more)."""
        condition = self._conditions.get(key)
        if condition is not None and condition.sentence is not None:
            condition.sentence = None
            if sentence is not None:
                self._log(sentence)


def of_bounds(gateway: Gateway) -> Source:
    """For Metrics.add: how near the gateway is to its bounds, and whom they have refused."""
    def source() -> Iterator[Family]:
        yield one("inspector_setups", "gauge", "Connections that are being set up.", gateway.admission.setups)
        yield one("inspector_held_bytes", "gauge", "Bytes that wait in sessions.", gateway.sweep.held)
        yield one("inspector_sweep_longest_seconds", "gauge", "Longest hold-up of the loop by a look at the sessions.",
                  round(gateway.sweep.longest, 6))
        for name, turns in (("scan", gateway.scans), ("lookup", gateway.lookups)):
            if turns is not None:
                yield one(f"inspector_{name}s_waiting", "gauge", f"Wait for a thread: {name}s.", turns.waiting)
                yield one(f"inspector_{name}_threads_stuck", "gauge", f"Threads whose {name} does not end.",
                          turns.stuck)
        waits = gateway.waits
        yield one("inspector_trouble_rows_waiting", "gauge", "Connections whose row of trouble is not on disk yet.",
                  waits.number)
        yield one("inspector_trouble_rows_lagging_total", "counter",
                  "Rows of trouble that were not waited for: too many waited.", waits.lagging)
        yield one("inspector_trouble_rows_unwritten_total", "counter",
                  "Rows of trouble that were not on disk in time.", waits.unwritten)
        yield Family("inspector_refused_sessions_total", "counter", "Connections refused, by the bound.", [
            ((None, None, bound), count) for bound, count in sorted(gateway.admission.refused.items())])
    return source


def free_bytes(folder: Path) -> int:
    """Bytes of the disk of a folder (or of where it would be made) that may still be written by us. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


def keep(path: Path, size: int) -> bool:
    """Make a file that takes `size` bytes of its disk; whether it is there. What cannot be had whole is not kept."""
    if size <= 0:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return True
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        os.ftruncate(descriptor, size)
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return False
    finally:
        os.close(descriptor)
    return True


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _mib(size: float) -> str:
    return f"{size / (1 << 20):.0f} MiB"
