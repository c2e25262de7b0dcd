"""What every process that opens a store keeps to: turns, chains, who lives."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.store import tables
from inspector.store.chain import walk
from inspector.store.sqlite import Reader
from inspector.store.tables import StoreError, append, claim, columns_of, connect, heads
from tests.store.rows import T, message


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = connect(tmp_path / "events.db")
    yield made
    made.close()


def put(base: sqlite3.Connection, chain: str, count: int, first: int = 0) -> None:
    """Rows behind a chain's last one."""
    tables.begin(base)
    append(base, chain, [columns_of(message(first + n), "gw1", "full") for n in range(count)])
    base.execute("COMMIT")


def test_a_turn_is_waited_for_and_given_up_in_time(base: sqlite3.Connection, tmp_path: Path) -> None:
    """While another connection writes, `begin` waits; when it ends in time, it is our turn; else it says so."""
    other = connect(tmp_path / "events.db")
    tables.begin(other)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        tables.begin(base, 0.01)
    began = threading.Event()

    def end() -> None:
        began.wait(20)
        other.execute("ROLLBACK")

    thread = threading.Thread(target=end)
    thread.start()
    began.set()
    tables.begin(base, 20)
    thread.join()
    base.execute("ROLLBACK")
    other.close()


def test_what_is_no_lock_is_not_tried_again() -> None:
    """An error that no waiting changes is raised at once."""
    tried: list[int] = []

    def work() -> None:
        tried.append(1)
        raise sqlite3.OperationalError("no such table")

    with pytest.raises(sqlite3.OperationalError):
        tables.patiently(work, 20)
    assert tried == [1]


def test_a_store_of_the_second_schema_is_taken_over(tmp_path: Path) -> None:
    """What schema 3 has is added; rows and their chain stay."""
    path = tmp_path / "events.db"
    base = connect(path)
    put(base, "0", 3)
    base.executescript("DROP TABLE writers; DROP TABLE living; DROP TABLE legal_holds;"
                       "UPDATE meta SET value = '2' WHERE name = 'schema'")
    base.close()
    base = connect(path)
    assert tables.version(base) == tables.SCHEMA
    put(base, "0", 1, first=3)
    assert heads(base)["0"][0] == 4
    base.close()


def test_several_processes_may_make_a_store_at_once(tmp_path: Path) -> None:
    """Workers start together: each finds or makes the tables, none fails."""
    code = "import pathlib, sys; from inspector.store.tables import connect; connect(pathlib.Path(sys.argv[1])).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "var" / "events.db")],
                         cwd=Path(__file__).resolve().parents[2]) for _ in range(4)
    ]
    assert [child.wait(60) for child in started] == [0, 0, 0, 0]


def test_heads_name_every_chain(base: sqlite3.Connection) -> None:
    """Also one whose name is empty or sorts before others; no chain, no head."""
    assert heads(base) == {}
    for chain, count in (("10", 1), ("", 2), ("0", 3), ("keeper", 4)):
        put(base, chain, count)
    assert {chain: seq for chain, (seq, _) in heads(base).items()} == {"10": 1, "": 2, "0": 3, "keeper": 4}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["0", "1", "2"]), st.integers(0, 3), st.floats(-1e6, 1e6)), max_size=20))
def test_writers_that_take_turns_keep_their_chains_whole(
    tmp_path: Path, turns: list[tuple[str, int, float]],
) -> None:
    """However several writers' commits fall between each other, and whatever their clocks say: each chain verifies to
    the head that a checkpoint would list."""
    path = tmp_path / f"{os.urandom(8).hex()}.db"
    bases = {chain: connect(path) for chain in ("0", "1", "2")}
    written = dict.fromkeys(bases, 0)
    for chain, count, jump in turns:
        tables.begin(bases[chain])
        append(bases[chain], chain, [columns_of(message(n, t=T + jump), "gw1", "full") for n in range(count)])
        bases[chain].execute("COMMIT")
        written[chain] += count
    with Reader(path) as reader:
        states = {state.chain: state for _, state in walk(reader.links())}
    assert {chain: state.rows for chain, state in states.items()} == {c: n for c, n in written.items() if n}
    assert all(state.fault is None for state in states.values())
    assert heads(bases["0"]) == {chain: (state.rows, state.head.hex()) for chain, state in states.items()}
    for one in bases.values():
        one.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_done_to_interleaved_chains_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """Take a row out, exchange two, change one, take one from another chain: the walk finds a fault, or the head is not
    the one that was listed."""
    path = tmp_path / f"{os.urandom(8).hex()}.db"
    with contextlib.closing(connect(path)) as base:
        listed = harm(base, data)
    found: dict[str, tuple[int, str]] = {}
    faults = []
    with Reader(path) as reader:
        for link, state in walk(reader.links()):
            faults += [state.fault] if state.fault is not None else []
            found[link.chain] = (state.rows, state.head.hex())
    assert faults or any(found.get(name) != end for name, end in listed.items())


def harm(base: sqlite3.Connection, data: st.DataObject) -> dict[str, tuple[int, str]]:
    """Two interleaved chains, one thing done to them; the heads before it."""
    for turn in range(data.draw(st.integers(2, 6))):
        put(base, str(turn % 2), data.draw(st.integers(1, 3)), first=10 * turn)
    listed = heads(base)
    rows = [tuple(row) for row in base.execute("SELECT n, chain, seq FROM events")]
    n, chain, seq = data.draw(st.sampled_from(rows))
    what = data.draw(st.sampled_from(["remove", "exchange", "change", "move"]))
    if what == "remove":
        base.execute("DELETE FROM events WHERE n = ?", (n,))
    elif what == "exchange":
        other = data.draw(st.sampled_from(rows))
        if other[0] == n:
            base.execute("DELETE FROM events WHERE n = ?", (n,))
        else:
            base.execute("UPDATE events SET seq = -1 WHERE n = ?", (n,))
            base.execute("UPDATE events SET chain = ?, seq = ? WHERE n = ?", (chain, seq, other[0]))
            base.execute("UPDATE events SET chain = ?, seq = ? WHERE n = ?", (other[1], other[2], n))
    elif what == "change":
        base.execute("UPDATE events SET line = CAST(line || ' ' AS BLOB) WHERE n = ?", (n,))
    else:
        base.execute("UPDATE events SET chain = '2', seq = 1 WHERE n = ?", (n,))
    return listed


@pytest.mark.parametrize("harm", ["digest = NULL", "seq = NULL", "digest = x''", "body = NULL, salt = NULL"])
def test_a_last_row_that_was_tampered_with_does_not_stop_the_writing(base: sqlite3.Connection, harm: str) -> None:
    """The chain is broken there, which `verify` tells; what happens from now on is kept all the same."""
    put(base, "0", 3)
    base.execute(f"UPDATE events SET {harm} WHERE n = 3")
    heads(base)
    put(base, "0", 2, first=3)
    assert base.execute("SELECT count(*) FROM events").fetchone() == (5,)


def test_a_chain_has_one_living_writer(base: sqlite3.Connection) -> None:
    """While one has it another takes the next name; who is gone leaves it free; a writer may take its own again."""
    first, second = tables.owner(), tables.owner()
    assert claim(base, "0", first) == "0"
    assert claim(base, "0", first) == "0"
    assert claim(base, "0", second) == "0.1"
    tables.disown(first)
    assert claim(base, "0", second) == "0"
    tables.release(base, second)
    assert base.execute("SELECT count(*) FROM writers").fetchone() == (0,)
    tables.disown(second)


def test_who_lives_is_told_by_process_and_start() -> None:
    """A process that ended lives no more, nor does another one of its number, nor one of another boot."""
    mine = tables.owner()
    assert tables.alive(mine)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    boot, _, started, count = mine.split(" ")
    its = tables._started(child.pid)
    name = f"{boot} {child.pid} {its} 1"
    assert its and tables.alive(name)
    assert not tables.alive(f"{boot} {child.pid} {int(its) - 1} 1")
    assert not tables.alive(f"other-boot {child.pid} {its} 1")
    child.kill()
    ends = time.monotonic() + 20
    while tables.alive(name):
        assert time.monotonic() < ends
        time.sleep(0.005)
    child.wait()
    assert child.stdin is not None
    child.stdin.close()
    assert not tables.alive(name)
    assert not tables.alive(f"{boot} {os.getpid()} {started} {count}9")
    tables.disown(mine)
    assert not tables.alive(mine)
    assert not tables.alive("nonsense")


def test_sessions_of_the_dead_are_lost_and_those_of_the_living_are_not(base: sqlite3.Connection) -> None:
    """Taken out once, also of a chain that nobody will write again; the row says who and where."""
    gone, here, mine = "other-boot 1 2 3", tables.owner(), tables.owner()
    ends = {"client": {"ip": "10.0.0.5", "port": 5}, "server": {"ip": "10.0.0.9", "port": 5222}}
    row = {"event": "flow", "state": "open", "t": T, "protocol": "xmpp", "user": "alice", "listener": "l", **ends}
    tables.begin(base)
    for chain, who in (("0", gone), ("1", here), ("7", gone)):
        base.execute("INSERT INTO writers VALUES (?, ?)", (chain, who))
        tables.live(base, chain, [tables.opened({**row, "flow": f"f{chain}"})])
    tables.live(base, "9", [tables.opened({**row, "flow": "f9"}), ("f9", None)])
    rows = tables.lost(base, T + 60, mine)
    assert [(one["flow"], one["id"], one["name"], one["user"]) for one in rows] == [
        ("f0", "f0-0", "session_lost", "alice"), ("f7", "f7-0", "session_lost", "alice")]
    assert rows[0]["client"] == ends["client"] and rows[0]["server"] == ends["server"] and rows[0]["protocol"] == "xmpp"
    assert "60 seconds" in rows[0]["detail"]
    assert tables.lost(base, T + 60, mine) == []
    assert base.execute("SELECT chain FROM living").fetchall() == [("1",)]
    base.execute("ROLLBACK")
    for name in (here, mine):
        tables.disown(name)


def test_what_cannot_be_read_of_a_lost_session_does_not_stop_the_start(base: sqlite3.Connection) -> None:
    """A row that is none that we write still becomes session_lost, with what is certain."""
    for about in (b"", b"[]", b'{"t": "x"}', b'{"t": 1, "surprise": 2, "client": 3}'):
        base.execute("INSERT OR REPLACE INTO living VALUES ('0', 'f', ?)", (about,))
        [row] = tables.lost(base, T, "")
        assert (row["flow"], row["name"]) == ("f", "session_lost")
        assert columns_of(row, "gw1", "full")[2] == "trouble"


def test_all_names_of_a_chain_taken_is_one_sentence(
    base: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bounded: nobody searches for ever."""
    monkeypatch.setattr(tables, "MOST_CHAINS", 3)
    names = [tables.owner() for _ in range(4)]
    assert [claim(base, "0", one) for one in names[:3]] == ["0", "0.1", "0.2"]
    with pytest.raises(StoreError, match="all names of chain 0 are taken"):
        claim(base, "0", names[3])
    for one in names:
        tables.disown(one)


def test_a_store_opened_twice_by_one_process_stays_open_for_others(base: sqlite3.Connection, tmp_path: Path) -> None:
    """Who opens a store takes no lock from those who have it open in the same process (a POSIX lock goes with any
    descriptor of its file that is closed): another process that comes and goes does not take itself for the last one
    and removes the log of commits (WAL) under them. What is written then is read by everybody."""
    place = tmp_path / "events.db"
    put(base, "one", 2)
    connect(place).close()
    log = place.with_name("events.db-wal").stat().st_ino
    program = ("import sys; from pathlib import Path; from inspector.store.tables import connect; "
               "connect(Path(sys.argv[1])).close()")
    subprocess.run([sys.executable, "-c", program, str(place)], check=True)
    assert place.with_name("events.db-wal").stat().st_ino == log
    put(base, "one", 2, 2)
    with Reader(place) as reader:
        assert len(list(reader.select())) == 4
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_is_ours_alone_however_it_was_made(tmp_path: Path) -> None:
    """A new file is 0600, and one that others could read is closed to them."""
    place = tmp_path / "events.db"
    mask = os.umask(0)
    try:
        connect(place).close()
        assert place.stat().st_mode & 0o777 == 0o600
        place.chmod(0o644)
        connect(place).close()
    finally:
        os.umask(mask)
    assert place.stat().st_mode & 0o777 == 0o600
