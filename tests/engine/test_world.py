"""Tables that span flows stay bounded."""

from __future__ import annotations

from inspector.engine.world import Table, World
from inspector.model import Limits


def test_the_oldest_entry_leaves_first_and_is_counted() -> None:
    """A full table drops what was put longest ago; putting again makes an entry young."""
    table: Table[str, int] = Table(2)
    table.put("a", 1, 10)
    table.put("b", 2, 10)
    table.put("a", 3, 10)
    table.put("c", 4, 10)
    assert (table.get("a", 0), table.get("b", 0), table.get("c", 0)) == (3, None, 4)
    assert (len(table), table.dropped) == (2, 1)


def test_an_entry_ends_with_its_time() -> None:
    """After `until` an entry is gone."""
    table: Table[str, int] = Table(2)
    table.put("a", 1, 10)
    assert table.get("a", 10) == 1
    assert table.get("a", 10.1) is None
    assert len(table) == 0


def test_pop_takes_an_entry_once() -> None:
    """An expectation is used once."""
    table: Table[str, int] = Table(2)
    table.put("a", 1, 10)
    assert (table.pop("a"), table.pop("a")) == (1, None)


def test_users_are_known_by_their_flows() -> None:
    """A user is signed on as long as one of his flows is."""
    world = World(Limits())
    world.signed_on("alice", "f1", 100, 0)
    world.signed_on("alice", "f2", 100, 0)
    assert world.users.get("alice", 1) == ("f1", "f2")
    world.signed_off("alice", "f1", 100, 2)
    assert world.users.get("alice", 3) == ("f2",)
    world.signed_off("alice", "f2", 100, 4)
    assert world.users.get("alice", 5) is None


def test_flows_of_one_user_are_bounded() -> None:
    """A user with thousands of sessions does not grow the table's entry without end."""
    world = World(Limits())
    for number in range(1000):
        world.signed_on("bot", f"f{number}", 100, 0)
    assert len(world.users.get("bot", 1) or ()) == 16
