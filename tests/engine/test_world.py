"""Tables that span flows stay bounded."""

from __future__ import annotations

import msgspec

from inspector.engine.world import LeasePool, LeasingMemory, Paths, SharedMemory, Table, World
from inspector.model import DOWN, UP, Address, Expect, Flow, Limits


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


def expectation(address: str = "10.0.0.5:4000", client: str | None = None) -> Expect:
    return Expect(address, "toy", client=client)


def test_a_leased_port_takes_one_connection() -> None:
    """A lease is used up by its connection; the port may be leased again."""
    pool = LeasePool([9400], 120.0)
    assert pool.take(expectation(), 1.0) == 9400
    assert pool.claim(9400, "10.0.0.1", 2.0) == expectation()
    assert pool.claim(9400, "10.0.0.1", 3.0) is None
    assert pool.take(expectation("10.0.0.6:1"), 4.0) == 9400


def test_a_lease_for_one_client_stands_when_another_knocks() -> None:
    """Somebody else neither gets in nor uses the lease up."""
    pool = LeasePool([9400], 120.0)
    pool.take(expectation(client="10.0.0.1"), 1.0)
    assert pool.claim(9400, "10.0.0.2", 2.0) is None
    assert pool.claim(9400, "10.0.0.1", 3.0) is not None


def test_a_lease_expires_and_its_port_comes_back() -> None:
    """After `seconds` the port is free, and a late connection gets nothing."""
    pool = LeasePool([9400], 120.0)
    pool.take(expectation(), 1.0)
    assert pool.claim(9400, "10.0.0.1", 122.0) is None
    assert pool.take(expectation(), 123.0) == 9400


def test_without_a_free_port_nothing_is_leased_and_it_is_counted() -> None:
    """All ports leased: None, counted; the port that was free for longest is leased first."""
    pool = LeasePool([9400, 9401], 120.0)
    assert [pool.take(expectation(), 1.0) for _ in range(3)] == [9400, 9401, None]
    assert pool.exhausted == 1


def test_a_session_leases_in_the_eyes_of_who_will_connect() -> None:
    """UP: our host as servers see it, for anybody; DOWN: as the client sees it, for this client only; None: left."""
    pool = LeasePool(range(9400, 9410), 120.0)
    memory = LeasingMemory(SharedMemory(10), Paths(pool, "198.51.100.1", "10.0.0.254", "10.0.0.1"))
    assert memory.lease(expectation(), UP, 1.0) == Address("198.51.100.1", 9400)
    assert memory.lease(expectation(), DOWN, 1.0) == Address("10.0.0.254", 9401)
    assert pool.claim(9401, "10.0.0.9", 2.0) is None
    assert pool.claim(9400, "203.0.113.7", 2.0) is not None
    passing = LeasingMemory(SharedMemory(10), Paths(pool, "198.51.100.1", None, "10.0.0.1"))
    assert passing.lease(expectation(), DOWN, 3.0) is None
    assert SharedMemory(10).lease(expectation(), UP, 3.0) is None


def test_the_memory_is_shared_whoever_may_lease() -> None:
    """What one session remembers, another finds."""
    shared = SharedMemory(10)
    memory = LeasingMemory(shared, Paths(LeasePool([], 1.0), None, None, "10.0.0.1"))
    memory.put("a", 1, 10.0)
    assert shared.get("a", 2.0) == 1
    assert memory.get("a", 2.0) == 1


def test_an_announcement_for_one_client_hides_no_other() -> None:
    """Who names somebody else's address cannot take away what is expected there, nor break others' connections."""
    world = World(Limits())
    world.expect(expectation(), 100.0)
    world.expect(msgspec.structs.replace(expectation(client="10.0.0.66"), by="mallory"), 100.0)
    flow = Flow("f", Address("10.0.0.1", 1), Address("10.0.0.5", 4000))
    found = world.expected(flow, 1.0)
    assert found is not None
    assert found.by is None
    theirs = world.expected(msgspec.structs.replace(flow, client=Address("10.0.0.66", 1)), 1.0)
    assert theirs is not None
    assert theirs.by == "mallory"
    assert world.expected(msgspec.structs.replace(flow, server=Address("10.0.0.5", 4001)), 1.0) is None


def test_an_announcement_is_found_by_name_and_by_ipv6_address() -> None:
    """host:port as announced: a name in any case, an IPv6 address in brackets."""
    world = World(Limits())
    world.expect(expectation("Proxy.Example:7777"), 100.0)
    world.expect(expectation("[2001:db8::1]:4000"), 100.0)
    named = Flow("f", Address("10.0.0.1", 1), Address("192.0.2.9", 7777), server_name="PROXY.example")
    six = Flow("f", Address("2001:db8::2", 1), Address("2001:db8::1", 4000))
    assert world.expected(named, 1.0) is not None
    assert world.expected(six, 1.0) is not None
    assert world.expected(six, 101.0) is None


def test_a_host_of_many_addresses_has_one_share_of_the_announcements() -> None:
    """A quarter of the room is for one network of 64 bits, whichever of its addresses announces."""
    world = World(Limits(memory_entries=8))
    taken = [
        world.expect(expectation(f"192.0.2.{number}:4000"), 100.0, f"2001:db8::{number + 1:x}") for number in range(4)]
    assert taken == [True, True, False, False]
    assert world.expect(expectation("192.0.2.9:4000"), 100.0, "2001:db8:0:1::1")


def test_an_announcement_for_which_there_is_no_room_takes_no_other_away() -> None:
    """Who has had his share and names what another has announced is refused, and what the other announced stands."""
    world = World(Limits(memory_entries=8))
    assert world.expect(expectation("192.0.2.9:4000"), 100.0, "10.0.0.1")
    taken = [world.expect(expectation(f"192.0.2.{number}:4000"), 100.0, "10.0.0.66") for number in (1, 2)]
    assert taken == [True, True]
    assert not world.expect(expectation("192.0.2.9:4000"), 100.0, "10.0.0.66")
    flow = Flow("f", Address("10.0.0.7", 1), Address("192.0.2.9", 4000))
    assert world.expected(flow, 1.0) is not None
    # Whose it is may say it again, however full his share is.
    assert world.expect(expectation("192.0.2.1:4000"), 100.0, "10.0.0.66")
