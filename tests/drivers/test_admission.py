"""Who may come in, and how refusals are told: bounded, counted, never silently."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from inspector.drivers.admission import (
    FULL_ROWS,
    KINDS,
    OWN_FILES,
    SENTENCES,
    Admission,
    Sayings,
    Troubles,
    Waits,
    most_files,
)
from inspector.model import Address, Flow, Limits, Note


def flow(client: str, port: int = 1) -> Flow:
    here, there = Address(client, port), Address("0.0.0.0", 0)
    return Flow(f"{client}-{port}", here, there, "tcp", 0.0, None, False, "127.0.0.1:1080")


def admission(files: int = 100_000, **limits: int) -> Admission:
    bounds = Limits(**limits)
    return Admission(lambda: bounds, files)


def come(door: Admission, client: str, link: object | None = None) -> str | None:
    """A connection comes; why it may not stay (it is gone then)."""
    link = link or object()
    door.enter(link, client)
    why = door.refusal(client, 0.0)
    if why is not None:
        door.left(link, client)
    return why


@pytest.mark.parametrize(("bound", "word"), [
    ("sessions", "2 sessions are open"), ("client_sessions", "2 sessions of this client"),
    ("setups", "2 connections are being set up"), ("client_setups", "2 connections of this client are being set up"),
])
def test_bounds_of_number(bound: str, word: str) -> None:
    """The third is refused at a bound of two; of another client it is not where the bound is one client's."""
    door = admission(**{bound: 2})
    assert [come(door, "10.0.0.1") for _ in range(2)] == [None, None]
    for _ in range(3):
        assert word in str(come(door, "10.0.0.1"))
    assert (come(door, "10.0.0.2") is None) == bound.startswith("client")
    assert door.refused[bound] == 3 + (not bound.startswith("client"))


def test_a_session_that_has_begun_is_no_set_up() -> None:
    """Its place among the set-ups is free again, once."""
    door, link = admission(client_setups=1), object()
    assert come(door, "a", link) is None
    assert come(door, "a") is not None
    door.begun(link)
    door.begun(link)
    assert (come(door, "a"), door.setups) == (None, 1)


def test_files_of_the_process_bound_sessions() -> None:
    """Each session takes two, and so may each file in the spool; some are ours. Else living sessions could not even
    open a file."""
    door = admission(files=OWN_FILES + 6)
    assert [come(door, "a") for _ in range(3)] == [None, None, None]
    assert "may open" in str(come(door, "a"))
    door = admission(files=OWN_FILES + 6)
    door.spooled = lambda: 2
    assert come(door, "a") is None
    assert come(door, "a") is not None
    assert door.refused == {"files": 1}
    assert most_files() > 0


def test_memory_and_disk_close_the_door() -> None:
    """A reason of the disk, or of what sessions hold, is the refusal's."""
    door = admission()
    door.full = lambda: "the disk is full"
    assert come(door, "a") == "the disk is full"
    door.full = lambda: None
    door.heavy = lambda client: "too much" if client == "a" else None
    assert (come(door, "a"), come(door, "b")) == ("too much", None)
    assert door.refused == {"disk": 1, "held_bytes": 1}


def test_nothing_is_kept_of_clients_that_are_gone() -> None:
    """Twenty thousand addresses come and go: all tables are empty."""
    door = admission()
    for number in range(20_000):
        link = object()
        door.enter(link, f"10.0.{number >> 8}.{number & 255}")
        door.left(link, f"10.0.{number >> 8}.{number & 255}")
    assert (door.open, door.setups, len(door._clients), len(door._setups)) == (0, 0, 0, 0)


def test_a_refusal_is_a_problem_for_a_minute() -> None:
    """`inspector status` says it, and no longer when it is over."""
    door = admission(sessions=0)
    assert door.problems(0.0) == []
    come(door, "a")
    assert door.problems(59.0) == ["sessions are refused: 0 sessions are open"]
    assert door.problems(61.0) == []


class Rows:
    """Troubles, and what they wrote."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        limits = Limits(refusal_seconds=10)
        self.troubles = Troubles(lambda: limits, self.note)

    def note(self, note: Note) -> None:
        self.rows.append(note.row)

    def tell(self, client: str, name: str, number: int = 1) -> None:
        self.troubles.tell(name, client, f"{number}", 100.0, lambda: flow(client, number))


def test_a_flood_of_refusals_is_few_rows() -> None:
    """The first in full, the rest as one row with their number; nothing is left uncounted."""
    told = Rows()
    for number in range(1000):
        told.tell("10.0.0.1", "overload", number)
    assert len(told.rows) == FULL_ROWS
    told.troubles.flush(109.9)
    assert len(told.rows) == FULL_ROWS
    told.troubles.flush(110.0)
    assert sum(row["count"] for row in told.rows) == 1000
    assert (len(told.rows), told.rows[-1]["count"]) == (FULL_ROWS + 1, 1000 - FULL_ROWS)
    assert told.rows[-1]["client"]["ip"] == "10.0.0.1"
    assert len({row["id"] for row in told.rows}) == len(told.rows)
    told.troubles.flush(120.0)
    assert (len(told.rows), len(told.troubles)) == (FULL_ROWS + 1, 0)


def test_one_client_hides_no_other_and_one_kind_no_other() -> None:
    """A flood does not keep another client's trouble from its own row."""
    told = Rows()
    for _ in range(100):
        told.tell("10.0.0.1", "overload")
    told.tell("10.0.0.2", "overload")
    told.tell("10.0.0.1", "timeout")
    assert [(row["client"]["ip"], row["name"]) for row in told.rows[FULL_ROWS:]] == [
        ("10.0.0.2", "overload"), ("10.0.0.1", "timeout")]


def test_a_host_of_many_addresses_is_one_client() -> None:
    """A host may take as many IPv6 addresses of its network as it likes."""
    told = Rows()
    for number in range(100):
        told.tell(f"2001:db8::{number:x}", "overload")
    assert (len(told.rows), len(told.troubles)) == (FULL_ROWS, 1)


def test_a_flood_from_everywhere_is_bounded_too() -> None:
    """More clients than are told apart: the rest is one row without a client."""
    told = Rows()
    for number in range(KINDS + 500):
        told.tell(f"10.{number >> 8}.{number & 255}.1", "overload")
    assert len(told.troubles) == KINDS + 1
    told.troubles.flush(110.0)
    assert (len(told.rows), told.rows[-1]["count"], told.rows[-1]["client"]) == (KINDS + 1, 500, None)


def test_sentences_of_a_kind_are_few_a_second() -> None:
    """Whatever names clients choose; the next second has new ones, and another kind is not hidden."""
    said: list[str] = []
    sayings = Sayings(said.append)
    for number in range(1000):
        sayings.say("refused", f"{number}", 100.0, f"host{number}")
    sayings.say("tls", "tls", 100.0)
    sayings.say("tls", "tls", 100.5)
    assert said == [*map(str, range(SENTENCES)), "tls"]
    sayings.say("refused", "later", 101.0, "host1")
    assert said[-1] == "later"
    assert len(sayings._said) == 2


def test_who_waits_for_a_row_is_bounded() -> None:
    """In all and for each client; beyond, the row is written and nobody is kept; places come back."""
    waits = Waits(lambda: Limits(trouble_waits=3, client_trouble_waits=2))
    assert [waits.take(client) for client in "aaabbb"] == [True, True, False, True, False, False]
    assert (waits.number, waits.lagging) == (3, 3)
    waits.give("a")
    assert [waits.take("b"), waits.take("a")] == [True, False]
    for client in "abb":
        waits.give(client)
    assert (waits.number, waits._clients) == (0, {})


def test_a_refusal_waits_for_its_own_row_only() -> None:
    """The first of a kind are told when their rows are on disk; those that are counted together, or that find no place
    among those who wait, at once."""
    rows: list[Note] = []
    waiting: list[tuple[str, Callable[[], None]]] = []
    told: list[int] = []

    def first(note: Note, client: str, then: Callable[[], None]) -> bool:
        if len(waiting) == 2:
            return False
        assert note.barrier
        rows.append(note)
        waiting.append((client, then))
        return True

    troubles = Troubles(Limits, rows.append, first)
    for number in range(FULL_ROWS + 3):
        then = partial(told.append, number)
        troubles.tell("overload", "2001:db8::1", "", 100.0, lambda: flow("2001:db8::1", 1), then)
    assert told == list(range(2, FULL_ROWS + 3))
    assert (len(rows), {client for client, _ in waiting}) == (FULL_ROWS, {"2001:db8::1"})
    for _, call in waiting:
        call()
    assert sorted(told) == list(range(FULL_ROWS + 3))
