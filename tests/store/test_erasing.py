"""Erasing: the words and the people are gone from every file, the chain still verifies, a legal hold forbids it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.store import erasing, tables
from inspector.store.chain import walk
from inspector.store.erasing import Persons, blank, erase, people, rows_with, scrub
from inspector.store.lines import render
from inspector.store.sqlite import Reader
from inspector.store.tables import append, columns_of, connect
from tests.store.rows import T, full, message

SECRET = "the purple elephant"


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = connect(tmp_path / "events.db")
    yield made
    made.close()


def line(**fields: object) -> bytes:
    return render(message(1, **fields), "gw1")


def fill(base: sqlite3.Connection, count: int, chain: str = "0", **fields: object) -> None:
    tables.begin(base)
    append(base, chain, [columns_of(message(n, **fields), "gw1", "full") for n in range(count)])
    base.execute("COMMIT")


def whole(path: Path) -> bool:
    """Whether all chains verify."""
    with Reader(path) as reader:
        return all(state.fault is None for _, state in walk(reader.links()))


def test_everybody_in_a_line_is_found() -> None:
    """Writer, readers, user, conversation; of other kinds, too; a line that is none names nobody."""
    found = people(line(recipients=["bob", "eve"], conversation="room@conf"))
    assert set(found) == {"alice", "bob", "eve", "room@conf"}
    assert "words" in people(render(full("contact"), None)) and "words" in people(render(full("group"), None))
    assert people(b"") == people(b"{}") == people(b"[1]") == people(b'{"sender": 3}') == ()


@pytest.mark.parametrize(("asked", "sender", "found"), [
    ("alice", "alice", True), ("Alice", "aLICE", True), ("alice", "alice2", False), ("alice", "malice", False),
    ("alice@example.net", "Alice@example.net/phone", True), ("alice@example.net", "alice@example.org", False),
    ("room@conf/alice", "room@conf/alice", True), ("room@conf/alice", "room@conf/bob", False),
    ("room@conf/alice", "room@conf", False), ("joeuser", "Joe User", True), ("Jörg", "JÖRG", True),
])
def test_names_are_compared_as_people_mean_them(asked: str, sender: str, found: bool) -> None:
    """Case, blanks and resources do not matter; a name with a resource is only itself."""
    assert Persons([asked]).among(line(sender=sender, user=None, recipients=[])) is found
    assert Persons([asked]).named(sender) is found
    assert not Persons([]).among(line())


def test_an_erased_row_says_nothing_and_verifies(base: sqlite3.Connection, tmp_path: Path) -> None:
    """Salt, line and the columns that tell who are gone; header, digest and chain stay."""
    fill(base, 3, text=SECRET)
    stays = "SELECT id, t, event, action, rule, reference, chain, seq, body, digest FROM events"
    before = base.execute(stays).fetchall()
    assert erase(base, [2], 10) == 1
    assert erase(base, [2], 10) == 0
    gone = "SELECT salt, line, user, sender, flow, message, protocol, kind FROM events WHERE n = 2"
    assert base.execute(gone).fetchone() == (None, b"", None, None, None, None, None, None)
    assert base.execute(stays).fetchall() == before
    assert whole(tmp_path / "events.db")
    with Reader(tmp_path / "events.db") as reader:
        assert len(list(reader.select())) == 2
        assert reader.erased("00f1-1") == ("00f1-1", before[1][1], "message", None, None)
        assert reader.erased("00f1-2") is None
        assert list(reader.disagreeing()) == []


def test_between_blank_and_short_a_crash_leaves_a_whole_chain(base: sqlite3.Connection, tmp_path: Path) -> None:
    """A row that was only written over is an erased row already."""
    fill(base, 3)
    tables.begin(base)
    assert blank(base, [2]) == 1
    base.execute("COMMIT")
    assert not any(base.execute("SELECT line FROM events WHERE n = 2").fetchone()[0])
    assert whole(tmp_path / "events.db")
    with Reader(tmp_path / "events.db") as reader:
        assert len(list(reader.select())) == 2


def test_rows_of_an_earlier_release_are_removed(base: sqlite3.Connection) -> None:
    """They are in no chain, so nothing of them has to stay."""
    fill(base, 2)
    base.execute("UPDATE events SET chain = NULL, seq = NULL, salt = NULL, body = NULL, digest = NULL")
    assert [n for n, _ in rows_with(base, Persons(["bob"]), T + 1)] == [1, 2]
    assert erase(base, [1, 2], 10) == 2
    assert base.execute("SELECT count(*) FROM events").fetchone() == (0,)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), unique=True), st.integers(0, 3000), st.integers(1, 20))
def test_whatever_is_erased_the_chains_verify(tmp_path: Path, numbers: list[int], size: int, batch: int) -> None:
    """Any rows, of any size, in any batches."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
    made = connect(path)
    for chain in ("0", "1", "0"):
        fill(made, 20, chain, text="x" * size)
    assert erase(made, numbers, batch) == len(numbers)
    made.close()
    assert whole(path)
    with Reader(path) as reader:
        assert len(list(reader.select())) == 60 - len(numbers)


def files(path: Path) -> bytes:
    """Everything that is on disk of a store."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))


@pytest.mark.parametrize("small", [True, False])
def test_the_bytes_are_gone_from_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """Rows of several hundred people in any order, so that SQLite has moved pages about; short and long lines; another
    process's connection is open meanwhile. Neither word nor name is in the store or its write-ahead file."""
    if not small:
        monkeypatch.setattr(erasing, "VACUUM_BYTES", 0)
    path = tmp_path / "events.db"
    base, other = connect(path), connect(path)
    for n in range(150):
        tables.begin(other)
        append(other, "0", [columns_of(message(
            10 * n + k, user=f"user{(n * 7 + k) % 211}@example.net", sender=f"user{(n * 7 + k) % 211}@example.net",
            text="fill " * (50 * k)), "gw1", "full") for k in range(8)])
        append(other, "0", [columns_of(message(
            n, id=f"a-{n}", user="erna.muster@example.net", sender="erna.muster@example.net/phone",
            text=f"{SECRET} {n} " * (1 + 40 * (n % 3))), "gw1", "full")])
        other.execute("COMMIT")
    assert files(path).count(b"erna.muster") > 300 and SECRET.encode() in files(path)
    numbers = [n for n, _ in rows_with(base, Persons(["erna.muster@example.net"]), 1e12)]
    assert len(numbers) == 150
    assert erase(base, numbers, 40) == 150
    assert scrub(base) is True
    assert SECRET.encode() not in files(path)
    assert b"erna.muster" not in files(path)
    assert whole(path)
    fill(other, 1)
    assert whole(path)
    base.close()
    other.close()


def test_a_reader_that_holds_old_pages_is_said(base: sqlite3.Connection, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead file cannot be emptied while somebody reads an old state of the store; afterwards it can."""
    monkeypatch.setattr(erasing, "SCRUB_SECONDS", 0.1)
    fill(base, 3, text=SECRET)
    with Reader(tmp_path / "events.db") as reader:
        reader.snapshot()
        erase(base, [1, 2, 3], 10)
        assert scrub(base) is False
    assert scrub(base) is True
    assert SECRET.encode() not in files(tmp_path / "events.db")


def test_holds_are_kept_and_ended_by_name(base: sqlite3.Connection) -> None:
    """The same person twice is one hold; a resource alone does not end the hold of the whole account."""
    assert erasing.hold(base, "Alice@example.net", "root", "case 7", T)
    assert not erasing.hold(base, "alice@example.net", "root", None, T)
    assert erasing.held(base).among(line(sender="alice@example.net/x", user=None))
    assert not erasing.held(base).among(line(sender="bob", user=None, recipients=[]))
    assert erasing.holds(base) == [("Alice@example.net", T, "root", "case 7")]
    assert not erasing.unhold(base, "alice@example.net/x")
    assert not erasing.unhold(base, "bob")
    assert erasing.unhold(base, "ALICE@example.net")
    assert erasing.holds(base) == []


def test_living_sessions_forget_their_user(base: sqlite3.Connection) -> None:
    """The session goes on to be remembered, without its name."""
    row = {"event": "flow", "state": "open", "t": T, "flow": "f1", "user": "alice@example.net/x"}
    tables.live(base, "0", [tables.opened(row), tables.opened({**row, "flow": "f2", "user": "bob"})])
    erasing.forget_living(base, Persons(["alice@example.net"]))
    told = tables.lost(base, T, "")
    assert [(one["flow"], one["user"]) for one in told] == [("f1", None), ("f2", "bob")]
