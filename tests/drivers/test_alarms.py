"""Alarms: told once when it begins, a problem while it lasts, and new sessions refused before the disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inspector.drivers.admission import Admission, Waits
from inspector.drivers.alarms import RESERVE, Alarms, free_bytes, keep, of_bounds
from inspector.drivers.metrics import Metrics
from inspector.model import Limits
from inspector.store.sqlite import Writer
from tests.drivers.test_clock import Hands
from tests.store.rows import message

MIB = 1 << 20
LIMITS = Limits(disk_free_bytes=1000 * MIB, disk_stop_bytes=100 * MIB, disk_reserve_bytes=MIB)


class Watched:
    """Alarms over a real store, on a disk that has as much room as it is told."""

    def __init__(self, folder: Path) -> None:
        self.room: dict[str, int | OSError] = {}
        self.limits = LIMITS
        self.rows: list[dict[str, Any]] = []
        self.sentences: list[str] = []
        self.hands = Hands()
        self.store = Writer(folder / "store" / "events.db")
        self.store.start()
        self.reserve = self.store.path.with_name(self.store.path.name + RESERVE)
        self.alarms = Alarms(
            lambda: self.limits, self.store, {"spool": folder / "spool"}, self.hands.clock(), self.rows.append,
            self.sentences.append, self.free)

    def free(self, folder: Path) -> int:
        room = self.room.get(folder.name, 5000 * MIB)
        if isinstance(room, OSError):
            raise room
        return room

    def look(self, seconds: float = 1.0) -> None:
        self.hands.go(seconds)
        self.alarms.look()

    def sample(self, name: str) -> float:
        page = Metrics()
        page.add(self.alarms.source)
        [line] = [line for line in page.render().decode().splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[-1])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.store.close()


def test_all_is_well(watched: Watched) -> None:
    """Nothing is told; the reserve is there, and takes its room."""
    for _ in range(3):
        watched.look()
    assert (watched.alarms.problems(), watched.rows, watched.sentences, watched.alarms.full) == ([], [], [], None)
    assert watched.reserve.stat().st_blocks * 512 >= MIB
    assert watched.reserve.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_fills_is_told_once(watched: Watched) -> None:
    """One sentence, one row, one problem however long it lasts; and one sentence when it has room again."""
    watched.room["spool"] = 999 * MIB
    for _ in range(5):
        watched.look()
    assert len(watched.sentences) == len(watched.rows) == 1
    assert "the disk of the spool" in watched.alarms.problems()[0]
    assert (watched.rows[0]["event"], watched.rows[0]["name"]) == ("trouble", "disk")
    assert watched.alarms.full is None  # the store has room
    watched.room["spool"] = 1001 * MIB
    watched.look()
    assert watched.alarms.problems() != []  # only a little more: not over yet
    watched.room["spool"] = 2000 * MIB
    watched.look()
    assert (watched.alarms.problems(), len(watched.sentences)) == ([], 2)


def test_new_sessions_are_refused_before_the_disk_is_full(watched: Watched) -> None:
    """Below disk_stop_bytes on the store's disk; taken again only with the room of the reserve beyond it."""
    watched.look()
    watched.room["store"] = 100 * MIB - 1
    watched.look()
    assert watched.alarms.full is not None
    assert watched.sample("inspector_disk_stop") == 1
    assert watched.reserve.exists()
    watched.room["store"] = 100 * MIB
    watched.look()
    assert watched.alarms.full is not None
    watched.room["store"] = 101 * MIB
    watched.look()
    assert watched.alarms.full is None


def test_the_reserve_is_given_up_and_taken_back(watched: Watched) -> None:
    """On a full disk the reserve goes, and rows that nobody waits for are left out; with room both come back."""
    watched.look()
    watched.room["store"] = MIB // 2
    watched.look()
    assert not watched.reserve.exists()
    watched.store.put(message(1))
    watched.store.put({"event": "flow", "id": "f-1", "t": 1.0, "flow": "f", "state": "end"})
    assert watched.store.counters.lost == 1  # the end of a session is told: or the next start would call it lost
    watched.room["store"] = 500 * MIB
    watched.look()
    assert watched.reserve.stat().st_size == MIB
    watched.store.put(message(1))
    assert watched.store.counters.lost == 1
    watched.look()
    assert [problem[:29] for problem in watched.alarms.problems()[1:]] == ["rows are left out of the even"]


def test_the_reserve_goes_when_the_store_cannot_write(watched: Watched) -> None:
    """The disk may be full for us although it says that bytes are free: what the writer says counts."""
    watched.look()
    watched.room["store"] = 50 * MIB
    watched.look()
    assert watched.reserve.exists()
    watched.store.fault = "database or disk is full"
    watched.look()
    assert not watched.reserve.exists()
    watched.store.fault = None
    watched.look()
    assert not watched.reserve.exists()  # there is no room for it yet


def test_another_worker_may_have_given_the_reserve_up(watched: Watched) -> None:
    """The reserve is gone already: rows that nobody waits for are left out here, too."""
    watched.look()
    watched.room["store"] = MIB // 2
    watched.reserve.unlink()
    watched.look()
    assert watched.store.sparing
    assert any("its reserve is given up" in problem for problem in watched.alarms.problems())


def test_a_disk_that_cannot_be_asked_is_told(watched: Watched) -> None:
    """A folder that is gone, or a file system that answers with an error."""
    watched.room["spool"] = OSError(5, "Input/output error")
    watched.look()
    assert watched.alarms.problems()[0].endswith("cannot be asked: input/output error")
    del watched.room["spool"]
    watched.look()
    assert watched.alarms.problems() == []


def test_a_jump_of_the_clock_is_told(watched: Watched) -> None:
    """Each jump once, forward and back; and that both agree again. Times of the rows never run back."""
    watched.look()
    watched.hands.wall += 3600
    for _ in range(3):
        watched.look()
    assert (watched.alarms.jumps, [row["name"] for row in watched.rows]) == (1, ["clock"])
    assert "jumped forward" in watched.alarms.problems()[0]
    watched.hands.wall -= 7200
    watched.look()
    assert watched.alarms.jumps == 2
    assert "jumped back" in watched.alarms.problems()[0]
    watched.hands.wall += 3600
    for _ in range(30):
        watched.look()
    assert watched.alarms.problems() == []
    times = [row["t"] for row in watched.rows]
    assert times == sorted(times)


def test_lost_rows_are_told_and_forgotten_after_a_while(watched: Watched) -> None:
    """A problem while it happens and a minute after."""
    watched.store.sparing = True
    watched.store.put(message(1))
    watched.store.sparing = False
    watched.look()
    assert [row["name"] for row in watched.rows] == ["rows_lost"]
    watched.look(30)
    assert watched.alarms.problems() != []
    watched.look(60)
    assert watched.alarms.problems() == []


def test_a_reserve_that_cannot_be_had_is_not_kept(tmp_path: Path) -> None:
    """Half a reserve is none; none is wanted: it goes."""
    path = tmp_path / "reserve"
    assert not keep(path, 1 << 60)
    assert not path.exists()
    assert keep(path, 4096)
    assert keep(path, 0)
    assert not path.exists()
    assert not keep(tmp_path / "no" / "folder", 1)


def test_free_bytes_are_asked_of_the_kernel(tmp_path: Path) -> None:
    """Of a folder that is not there yet, too: of where it would be made."""
    assert free_bytes(tmp_path / "not" / "yet") // 2 <= free_bytes(tmp_path)
    assert free_bytes(tmp_path) > 0


def test_who_waits_for_a_row_of_trouble_is_counted() -> None:
    """The metrics say how many wait, and of how many rows nobody did."""
    gateway = SimpleNamespace(
        admission=Admission(Limits, 1000), sweep=SimpleNamespace(held=0, longest=0.0), scans=None, lookups=None,
        waits=Waits(lambda: Limits(client_trouble_waits=1)))
    assert [gateway.waits.take("10.0.0.1") for _ in range(3)] == [True, False, False]
    families = {family.name: list(family.samples) for family in of_bounds(gateway)()}  # type: ignore[arg-type]
    assert [families[f"inspector_trouble_rows_{name}"] for name in ("waiting", "lagging_total", "unwritten_total")] == [
        [((), 1)], [((), 2)], [((), 0)]]
