"""The keeper: one process signs for all chains, and nobody waits for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.model import Limits
from inspector.store import tables
from inspector.store.checkpoints import CheckpointError, Signer, faults
from inspector.store.keeper import Keeper
from inspector.store.sqlite import Reader, StoreError, Writer
from tests.store.rows import message


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll a condition with a deadline."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not become true"
        time.sleep(0.005)


def written(writer: Writer, count: int, first: int = 0) -> None:
    """So many rows, on disk when this returns."""
    before = writer.counters.rows
    for n in range(first, first + count):
        writer.put(message(n))
    until(lambda: writer.counters.rows == before + count)


def made(tmp_path: Path, **more: object) -> Keeper:
    """A keeper that makes a checkpoint only at its end."""
    return Keeper(tmp_path / "events.db", tmp_path / "checkpoint.key", **more)  # type: ignore[arg-type]


def test_one_keeper_lists_the_heads_of_all_writers(tmp_path: Path) -> None:
    """Writers without a key make no checkpoints; the keeper's last one has every chain."""
    keeper = made(tmp_path)
    keeper.start()
    for chain, count in (("0", 3), ("1", 5)):
        writer = Writer(tmp_path / "events.db", chain=chain)
        writer.start()
        written(writer, count)
        writer.close()
    with Reader(tmp_path / "events.db") as reader:
        assert reader.checkpoints() == []
    keeper.close()
    with Reader(tmp_path / "events.db") as reader:
        [one] = reader.checkpoints()
    assert {chain: seq for chain, (seq, _) in one.heads.items()} == {"0": 3, "1": 5}
    assert one.valid() and keeper.checkpoints == 1


def test_checkpoints_come_while_rows_come_and_follow_each_other(tmp_path: Path) -> None:
    """As often as limits.checkpoint_seconds says, also after a reload changed it; none when nothing came."""
    keeper = made(tmp_path)
    writer = Writer(tmp_path / "events.db")
    keeper.start()
    writer.start()
    written(writer, 1)
    assert keeper.checkpoints == 0
    keeper.limits = Limits(checkpoint_seconds=0)
    until(lambda: keeper.checkpoints == 1)
    written(writer, 1)
    until(lambda: keeper.checkpoints == 2)
    writer.close()
    keeper.close()
    with Reader(tmp_path / "events.db") as reader:
        stored = reader.checkpoints()
    assert len(stored) == 2 and faults(stored) == []


def test_a_clock_that_runs_back_harms_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Years back and forth: each is made, and all follow each other."""
    keeper = made(tmp_path, limits=Limits(checkpoint_seconds=0))
    writer = Writer(tmp_path / "events.db")
    writer.start()
    keeper.start()
    real = time.time
    for count, jump in enumerate((0.0, -1e8, 1e8, -1e9), 1):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        written(writer, 1)
        until(lambda count=count: keeper.checkpoints == count)  # type: ignore[misc]
    writer.close()
    keeper.close()
    with Reader(tmp_path / "events.db") as reader:
        stored = reader.checkpoints()
    assert faults(stored) == [] and len(stored) == 4
    assert stored[3].t < stored[0].t < stored[2].t


def test_a_store_has_one_keeper(tmp_path: Path) -> None:
    """A second one is refused while the first lives, with its process; then it may."""
    first, second = made(tmp_path), made(tmp_path)
    first.start()
    with pytest.raises(StoreError, match=r"another process \(pid \d+\) signs its checkpoints"):
        second.start()
    first.close()
    second.start()
    second.close()


def test_a_key_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """At start, and nothing is left behind that would keep another one out."""
    (tmp_path / "checkpoint.key").write_bytes(b"short")
    with pytest.raises(StoreError, match="not a key"):
        made(tmp_path).start()
    (tmp_path / "checkpoint.key").unlink()
    keeper = made(tmp_path)
    keeper.start()
    keeper.close()


def test_what_fails_in_a_round_is_told_once_and_tried_again(tmp_path: Path) -> None:
    """The store is locked for longer than a round waits: the next round makes the checkpoint."""
    said: list[str] = []
    keeper = made(tmp_path, limits=Limits(checkpoint_seconds=0), tell=said.append)
    writer = Writer(tmp_path / "events.db")
    writer.start()
    written(writer, 1)
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    keeper.start()
    until(lambda: keeper.checkpoints == 1)
    written(writer, 1)
    other.execute("BEGIN IMMEDIATE")
    until(lambda: len(said) == 1 or keeper.checkpoints == 2)
    other.execute("ROLLBACK")
    other.close()
    until(lambda: keeper.checkpoints == 2)
    assert len(said) <= 1 and all("no checkpoint could be made" in one for one in said)
    writer.close()
    keeper.close()


def test_a_checkpoint_is_on_disk_before_its_key_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synced and visible to others: a loss of power must not look like a removed checkpoint."""
    bases: list[sqlite3.Connection] = []
    seen: list[tuple[int, int]] = []
    connect, advance = tables.connect, Signer.advance

    def opened(path: Path) -> sqlite3.Connection:
        bases.append(connect(path))
        return bases[-1]

    def watched(signer: Signer) -> None:
        with Reader(tmp_path / "events.db") as reader:
            seen.append((bases[-1].execute("PRAGMA synchronous").fetchone()[0], len(reader.checkpoints())))
        advance(signer)

    monkeypatch.setattr(Signer, "advance", watched)
    monkeypatch.setattr(tables, "connect", opened)
    writer = Writer(tmp_path / "events.db", key=tmp_path / "checkpoint.key")
    writer.start()
    written(writer, 1)
    writer.close()
    assert seen == [(2, 1)]


def test_after_a_fault_behind_the_commit_the_key_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses the new key once: the next checkpoint is made with the next key, not the used one."""
    advance = Signer.advance
    failed: list[int] = []

    def once(signer: Signer) -> None:
        if not failed:
            failed.append(1)
            raise CheckpointError("the disk is full")
        advance(signer)

    monkeypatch.setattr(Signer, "advance", once)
    for n in range(3):
        writer = Writer(tmp_path / "events.db", key=tmp_path / "checkpoint.key")
        writer.start()
        written(writer, 1, first=n)
        writer.close()
    with Reader(tmp_path / "events.db") as reader:
        stored = reader.checkpoints()
    assert len(stored) == 3 and faults(stored) == []
