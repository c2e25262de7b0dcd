"""Retention: what is too old or too much goes, the chain and its checkpoints still prove the rest."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from inspector.app.verify_cmd import Report, verify
from inspector.model import Limits
from inspector.store import erasing, retention, tables
from inspector.store.checkpoints import Checkpoint
from inspector.store.keeper import Keeper
from inspector.store.retention import Clock, Cutter, Retention
from inspector.store.sqlite import Reader, Writer
from inspector.store.tables import append, columns_of, connect
from tests.store.rows import message

DAY = 86400.0
NOW = 1_764_000_000.0


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = connect(tmp_path / "events.db")
    yield made
    made.close()


def fill(base: sqlite3.Connection, ages: Sequence[float], chain: str = "0", **fields: object) -> None:
    """Rows so many days old."""
    tables.begin(base)
    append(base, chain, [
        columns_of(message(n, t=NOW - age * DAY, **fields), "gw1", "full") for n, age in enumerate(ages)])
    base.execute("COMMIT")


def kept(tmp_path: Path, days: float | None = None, megabytes: float | None = None) -> Keeper:
    """A keeper that makes its rounds when it is told to."""
    keeper = Keeper(tmp_path / "events.db", tmp_path / "checkpoint.key", limits=Limits(checkpoint_seconds=1e6))
    keeper.retention = Retention(days, megabytes)
    keeper.start()
    return keeper


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is NOW, and time goes on."""
    began = time.monotonic()
    monkeypatch.setattr(time, "time", lambda: NOW + time.monotonic() - began)


def standing(base: sqlite3.Connection, chain: str = "0") -> list[tuple[int, bool]]:
    """(seq, whether it is erased) of a chain's rows."""
    return base.execute(
        "SELECT seq, salt IS NULL FROM events WHERE chain = ? ORDER BY seq", (chain,)).fetchall()


def proved(tmp_path: Path, exported: list[Checkpoint] | None = None) -> Report:
    with Reader(tmp_path / "events.db") as reader:
        return verify(reader, exported or [])


def stored(tmp_path: Path) -> list[Checkpoint]:
    with Reader(tmp_path / "events.db") as reader:
        return reader.checkpoints()


def test_what_is_too_old_goes_and_the_rest_is_proved(base: sqlite3.Connection, tmp_path: Path) -> None:
    """The chain goes on from where the checkpoint says; a checkpoint exported before still proves; how many is told."""
    fill(base, [100, 90, 50, 10, 5])
    fill(base, [200, 1], "1")
    keeper = kept(tmp_path, days=30)
    keeper.retention = Retention()
    keeper._round()
    [exported] = stored(tmp_path)
    keeper.retention = Retention(30)
    keeper._round()
    assert standing(base) == [(4, 0), (5, 0)] and standing(base, "1") == [(2, 0)]
    report = proved(tmp_path, [exported])
    assert report.wrong == [] and report.proved == exported
    assert report.pruned == {"0": (3, 2), "1": (1, 2)}
    with Reader(tmp_path / "events.db") as reader:
        [(_, line)] = reader.select(events=("erased",))
    assert b'"by":"retention","count":0,"pruned":4' in line
    fill(base, [0])
    keeper._round()
    keeper.close()
    assert proved(tmp_path, [exported]).wrong == []


@pytest.mark.parametrize(("statement", "said"), [
    ("DELETE FROM events WHERE chain = '0' AND seq = 4", "row 4 is missing"),
    ("UPDATE events SET t = 1 WHERE chain = '0' AND seq = 4", "row 4"),
    ("DELETE FROM events WHERE chain = '0'", "rows 4 to 5 are missing"),
    ("DELETE FROM checkpoints WHERE n = 2", "row 1 is missing"),
])
def test_pruning_hides_nothing_that_others_remove(
    base: sqlite3.Connection, tmp_path: Path, statement: str, said: str,
) -> None:
    """Who removes more than the checkpoint says, or the checkpoint itself, is found."""
    fill(base, [100, 90, 50, 10, 5])
    keeper = kept(tmp_path)
    keeper._round()
    keeper.retention = Retention(30)
    keeper._round()
    base.execute(statement)
    assert any(said in sentence for sentence in proved(tmp_path).wrong)
    keeper.close()


def test_the_last_row_of_a_chain_stays(base: sqlite3.Connection, tmp_path: Path) -> None:
    """However old: the chain goes on from it."""
    fill(base, [100, 90])
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert standing(base) == [(2, 0)]
    keeper._round()
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_a_legal_hold_keeps_rows_and_those_behind_are_erased(base: sqlite3.Connection, tmp_path: Path) -> None:
    """Pruning ends before the first row on hold; old rows behind it lose their words; when the hold ends, all go."""
    fill(base, [100, 90])
    fill(base, [80], sender="eve", user=None)
    fill(base, [70, 60])
    fill(base, [55], sender="bob", recipients=["eve"], user=None)
    fill(base, [50, 1])
    erasing.hold(base, "Eve", "root", None, NOW)
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert standing(base) == [(3, 0), (4, 1), (5, 1), (6, 0), (7, 1), (8, 0)]
    assert proved(tmp_path).wrong == []
    fill(base, [40, 1])
    keeper._round()
    assert standing(base)[-3:] == [(8, 0), (9, 0), (10, 0)]
    assert erasing.unhold(base, "eve")
    keeper._round()
    assert standing(base) == [(8, 0), (9, 0), (10, 0)]
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_what_an_interrupted_round_left_goes_with_the_next(
    base: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checkpoint was signed, then the process died: nothing is missing meanwhile, and the next round removes it."""
    fill(base, [100, 90, 50, 10, 5])
    monkeypatch.setattr(Keeper, "_remove", lambda *_: None)
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert len(standing(base)) == 5
    assert proved(tmp_path).wrong == []
    monkeypatch.undo()
    keeper._round()
    assert standing(base) == [(4, 0), (5, 0)]
    keeper.close()


def test_a_row_of_a_wrong_clock_costs_no_other_row(base: sqlite3.Connection, tmp_path: Path) -> None:
    """One from the future does not keep what is in front of it for ever; one from the past takes nothing with it that
    came before."""
    fill(base, [100, -9999, 90, 10, 9000, 5])
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert standing(base) == [(4, 0), (5, 0), (6, 0)]
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_after_a_jump_of_the_clock_nothing_is_removed_for_a_day(
    base: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forwards, backwards, and a start at a time that does not follow the last checkpoint."""
    fill(base, [100, 5])
    said: list[str] = []
    keeper = Keeper(tmp_path / "events.db", tmp_path / "checkpoint.key", limits=Limits(checkpoint_seconds=1e6),
                    tell=said.append)
    keeper.retention = Retention(30)
    keeper.start()
    ahead = time.time
    monkeypatch.setattr(time, "time", lambda: ahead() + 400 * DAY)
    keeper._round()
    assert len(standing(base)) == 2 and len(said) == 1 and "clock" in said[0]
    later = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: later() + DAY + 1)
    keeper._round()
    assert len(standing(base)) == 1
    keeper.close()
    for gap, settled in ((-2 * 3600.0, False), (DAY, True), (30 * DAY, False)):
        assert Clock().settled(time.time() - gap) is settled
    assert Clock().settled(None) is True


def test_a_store_that_is_too_big_loses_its_oldest_rows(base: sqlite3.Connection, tmp_path: Path) -> None:
    """Rounds follow until it fits; all chains share; what is left verifies."""
    for n in range(10):
        fill(base, [0.001] * 100, str(n % 2), text="x" * 4000)
    keeper = kept(tmp_path, megabytes=2)
    for _ in range(10):
        keeper._round()
        if not keeper._more:
            break
    pages, free = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    assert (pages - free) * 4096 <= 2 << 20
    assert standing(base)[0][0] > 1 and standing(base, "1")[0][0] > 1
    assert 200 < len(standing(base)) + len(standing(base, "1")) < 600
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_a_chain_that_nobody_writes_to_makes_no_room_for_others(base: sqlite3.Connection, tmp_path: Path) -> None:
    """Its last row stays for ever (a worker's that was there for a restart alone); what is allowed for all is kept
    however many rows have come and gone since."""
    fill(base, [0.001], "gone")
    keeper = kept(tmp_path, megabytes=2)
    for _ in range(4):
        for _ in range(5):
            fill(base, [0.001] * 100, text="x" * 4000)
        for _ in range(10):
            keeper._round()
            if not keeper._more:
                break
        pages, free = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        assert (pages - free) * 4096 <= 2 << 20
    assert standing(base, "gone") == [(1, 0)]
    assert len(standing(base)) > 200
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_what_is_on_legal_hold_stays_in_every_later_round(base: sqlite3.Connection, tmp_path: Path) -> None:
    """A round remembers how far it has looked; what it kept there is not the next one's to erase."""
    fill(base, [100], sender="eve")
    fill(base, [90, 50])
    fill(base, [45], sender="eve")
    fill(base, [40, 1])
    erasing.hold(base, "eve", "root", None, NOW)
    keeper = kept(tmp_path, days=60)
    for days in (60, 42, 30):
        keeper.retention = Retention(days)
        keeper._round()
    keeper.close()
    assert standing(base) == [(1, 0), (2, 1), (3, 1), (4, 0), (5, 1), (6, 0)]
    assert proved(tmp_path).wrong == []


def test_a_legal_hold_that_is_put_while_a_round_is_at_work_stops_it(base: sqlite3.Connection) -> None:
    """What is erased is gone; what was still to be is left to the next round, which knows of the hold."""
    fill(base, [100], sender="adam")
    fill(base, [90] * 4, sender="eve")
    fill(base, [1])
    erasing.hold(base, "adam", "root", None, NOW)
    cutter = Cutter()
    work = cutter.work(base, cutter.plan(base, Retention(30), {}, NOW), {}, 2)
    assert next(work) == (0, 2)
    erasing.hold(base, "eve", "root", None, NOW)
    assert [erased for _, erased in work if erased] == []
    assert standing(base) == [(1, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0)]
    assert list(cutter.work(base, cutter.plan(base, Retention(30), {}, NOW), {}, 2)) in ([], [(0, 0)])
    assert standing(base) == [(1, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0)]


@pytest.mark.parametrize("chain", ["0", "gone"])
def test_a_legal_hold_makes_no_room_for_others(base: sqlite3.Connection, tmp_path: Path, chain: str) -> None:
    """Rows that are on hold, and what stays of those behind them, are not what is too much: the others are."""
    fill(base, [0.001, 0.001], chain, sender="eve")
    erasing.hold(base, "eve", "root", None, NOW)
    keeper = kept(tmp_path, megabytes=2)
    for _ in range(6):
        for _ in range(5):
            fill(base, [0.001] * 100, text="x" * 4000)
        for _ in range(20):
            keeper._round()
            if not keeper._more:
                break
        pages, free = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        assert (pages - free) * 4096 <= 2 << 20
    assert standing(base, chain)[0] == (1, 0)
    assert len([1 for _, erased in standing(base) if not erased]) > 50
    keeper.close()
    assert proved(tmp_path).wrong == []


def test_rows_of_an_earlier_release_go_by_their_age(base: sqlite3.Connection, tmp_path: Path) -> None:
    """They are in no chain; a legal hold keeps them, too."""
    fill(base, [100, 100, 5])
    fill(base, [100], sender="eve", user=None)
    base.execute("UPDATE events SET chain = NULL, seq = NULL, salt = NULL, body = NULL, digest = NULL")
    fill(base, [1])
    erasing.hold(base, "eve", "root", None, NOW)
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert base.execute("SELECT n FROM events WHERE chain IS NULL").fetchall() == [(3,), (4,)]
    keeper.close()


def test_a_long_backlog_is_taken_in_rounds(
    base: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A round takes so many rows of a chain, says that there is more, and the next one comes soon."""
    monkeypatch.setattr(retention, "ROUND_ROWS", 10)
    fill(base, [100] * 25 + [1])
    cutter = Cutter()
    pruned: dict[str, tuple[int, str]] = {}
    for expected, more in ((10, True), (20, True), (25, False)):
        plan = cutter.plan(base, Retention(30), pruned, NOW)
        assert (plan.cuts["0"].prune, plan.more) == (expected, more)
        pruned = {"0": (expected, "")}
    assert cutter.plan(base, Retention(30), pruned, NOW).cuts == {}
    keeper = kept(tmp_path, days=30)
    keeper._round()
    assert keeper._more and keeper._every() <= 1
    keeper.close()


def test_writers_go_on_while_rows_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is kept small under load: no row is refused or lost, every state of it verifies."""
    monkeypatch.undo()
    writer = Writer(tmp_path / "events.db", gateway="gw1", key=tmp_path / "checkpoint.key",
                    limits=Limits(checkpoint_seconds=0.05))
    assert writer.keeper is not None
    writer.keeper.retention = Retention(megabytes=1)
    writer.start()
    told = threading.Semaphore(0)
    for n in range(3000):
        writer.put(message(n, text="x" * 500, t=time.time()), (lambda ok: told.release() if ok else None))
        if n % 500 == 499:
            assert all(told.acquire(timeout=20) for _ in range(500))
            assert proved(tmp_path).wrong == []
    ends = time.monotonic() + 20
    while not writer.keeper.pruned:
        assert time.monotonic() < ends
        time.sleep(0.01)
    keeper = writer.keeper
    writer.close()
    assert (writer.counters.rows, writer.counters.lost, writer.counters.failed) == (3000, 0, 0)
    report = proved(tmp_path)
    assert report.wrong == [] and report.chains["0"] == 3000 and report.rows < 3000 and keeper.pruned > 0


def test_nothing_is_removed_without_being_asked_to(base: sqlite3.Connection, tmp_path: Path) -> None:
    """No days, no megabytes: everything stays."""
    fill(base, [9000, 1])
    keeper = kept(tmp_path)
    keeper._round()
    assert len(standing(base)) == 2
    assert not Retention() and Retention(days=1) and replace(Retention(), megabytes=1)
    keeper.close()
