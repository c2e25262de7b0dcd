"""Leases: who may use one, where it may lead."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.drivers.destinations import IP
from inspector.drivers.leases import Leases, Pool, endpoint
from inspector.engine.world import LeasingMemory, SharedMemory
from inspector.model import DOWN, UP, Address, Expect, Way

OWN_HOST = "192.0.2.254"


def own(ip: IP, port: int) -> bool:
    """The gateway: 192.0.2.254, which listens on 1080 and leases 9400-9401."""
    return str(ip) in (OWN_HOST, "127.0.0.1") and port in (1080, 9400, 9401)


def leased(
    address: str, way: Way, client: str, server: str, what: str = "dcc", leases: Leases | None = None,
) -> tuple[Leases, Expect]:
    """The Expect that a session's decoder leased for, as it is when the connection comes."""
    leases = leases or Leases(lambda: 101.0)
    pool = leases.pools.get("l") or leases.make("l", (9400, 9401), 60.0)
    paths = leases.paths("f1", pool, OWN_HOST, OWN_HOST, client, server)
    memory = LeasingMemory(SharedMemory(10), paths)
    place = memory.lease(Expect(address, what, flow="f1"), way, 100.0)
    assert place is not None
    expect = pool.claim(place.port, client, 101.0)
    assert expect is not None
    return leases, expect


@pytest.mark.parametrize(("address", "way", "client", "server", "what", "why"), [
    # A client of ours offers; somebody behind the server will connect
    ("10.0.0.5:5000", UP, "10.0.0.5", "8.8.8.8", "dcc", None),
    ("10.0.0.6:5000", UP, "10.0.0.5", "8.8.8.8", "dcc", "10.0.0.6 is not the address of who offers"),
    ("9.9.9.9:5000", UP, "10.0.0.5", "8.8.8.8", "dcc", "9.9.9.9 is not the address of who offers"),
    ("9.9.9.9:5000", UP, "10.0.0.5", "8.8.8.8", "bytestream", None),
    ("127.0.0.1:5000", UP, "10.0.0.5", "8.8.8.8", "dcc", "127.0.0.1 is loopback, and who announced it is not"),
    ("169.254.169.254:5000", UP, "10.0.0.5", "8.8.8.8", "oft",
     "169.254.169.254 is link_local, and who announced it is not"),
    ("10.0.0.5:1023", UP, "10.0.0.5", "8.8.8.8", "dcc", "port 1023 is none of a client's"),
    ("10.0.0.5:443", UP, "10.0.0.5", "8.8.8.8", "oft", "port 443 is none of a client's"),
    # Somebody behind the server offers; our client will connect
    ("9.9.9.9:5000", DOWN, "10.0.0.5", "8.8.8.8", "dcc", None),
    ("9.9.9.9:25", DOWN, "10.0.0.5", "8.8.8.8", "bytestream", "port 25 is none of a client's"),
    ("9.9.9.9:443", DOWN, "10.0.0.5", "8.8.8.8", "oscar", None),
    ("10.0.0.6:5000", DOWN, "10.0.0.5", "8.8.8.8", "dcc", "10.0.0.6 is private, and who announced it is not"),
    ("10.0.0.6:5000", DOWN, "10.0.0.5", "10.0.0.9", "dcc", None),
    ("127.0.0.1:5000", DOWN, "10.0.0.5", "10.0.0.9", "dcc", "127.0.0.1 is loopback, and who announced it is not"),
    # On one machine: a test, or a server beside the gateway
    ("127.0.0.1:5000", DOWN, "10.0.0.5", "127.0.0.1", "dcc", None),
    ("10.0.0.6:5000", UP, "127.0.0.1", "127.0.0.1", "dcc", None),
    # The gateway itself
    (f"{OWN_HOST}:1080", DOWN, "10.0.0.5", "8.8.8.8", "dcc", f"{OWN_HOST} port 1080 is the gateway itself"),
    ("127.0.0.1:1080", UP, "127.0.0.1", "127.0.0.1", "dcc", "127.0.0.1 port 1080 is the gateway itself"),
    ("[::ffff:192.0.2.254]:1080", DOWN, "127.0.0.1", "127.0.0.1", "dcc",
     "::ffff:192.0.2.254 port 1080 is the gateway itself"),
    (f"{OWN_HOST}:9401", DOWN, "10.0.0.5", "8.8.8.8", "dcc", f"{OWN_HOST} port 9401 is the gateway itself"),
])
def test_where_a_lease_may_lead(address: str, way: Way, client: str, server: str, what: str, why: str | None) -> None:
    """What a peer wrote is believed only as far as he could reach himself."""
    leases, expect = leased(address, way, client, server, what)
    place = endpoint(expect.address)
    assert place is not None
    assert leases.refusal(expect, *place, own) == why


def test_two_users_of_one_gateway() -> None:
    """The offer of one was led to a lease, which the other's session leases for: that way leads to the gateway."""
    leases = Leases(lambda: 101.0)
    pool = leases.make("l", (9400, 9401), 60.0)
    offerer = LeasingMemory(SharedMemory(10), leases.paths("f1", pool, OWN_HOST, None, "10.0.0.5", "8.8.8.8"))
    assert offerer.lease(Expect("10.0.0.5:5000", "dcc", flow="f1"), UP, 100.0) == Address(OWN_HOST, 9400)
    reader = LeasingMemory(SharedMemory(10), leases.paths("f2", pool, OWN_HOST, OWN_HOST, "10.0.0.6", "8.8.8.8"))
    assert reader.lease(Expect(f"{OWN_HOST}:9400", "dcc", flow="f2"), DOWN, 100.0) == Address(OWN_HOST, 9401)
    assert leases.in_use == 2
    expect = pool.claim(9401, "10.0.0.6", 101.0)
    assert expect is not None
    assert leases.refusal(expect, OWN_HOST, 9400, own) is None
    assert pool.claim(9400, OWN_HOST, 101.0) is not None
    assert leases.refusal(expect, OWN_HOST, 9400, own) == f"{OWN_HOST} port 9400 is the gateway itself"
    assert leases.in_use == 0


def test_who_announced_is_remembered_beyond_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounds; of an announcer that is forgotten, nothing narrower than the whole network is believed."""
    monkeypatch.setattr("inspector.drivers.leases._ANNOUNCERS", 2)
    leases, expect = leased("10.0.0.5:5000", UP, "10.0.0.5", "8.8.8.8")
    for number in range(2):
        leases.paths(f"other{number}", Pool((), 1.0), OWN_HOST, None, "10.0.0.5", "8.8.8.8")
    assert leases.refusal(expect, "10.0.0.5", 5000, own) == "10.0.0.5 is private, and who announced it is not"


def test_exhaustion_is_counted() -> None:
    """A lease that cannot be had is counted; an expired one is free again."""
    now = 101.0
    leases = Leases(lambda: now)
    pool = leases.make("l", (9400,), 60.0)
    assert pool.take(Expect("192.0.2.1:5000", "dcc"), 100.0) == 9400
    assert pool.take(Expect("192.0.2.1:5001", "dcc"), 101.0) is None
    assert (leases.exhausted, leases.in_use, pool.leased(9400, now)) == (1, 1, True)
    now = 161.0
    assert (leases.in_use, pool.leased(9400, now)) == (0, False)
    assert pool.take(Expect("192.0.2.1:5001", "dcc"), now) == 9400


@pytest.mark.parametrize(("address", "place"), [
    ("192.0.2.1:5000", ("192.0.2.1", 5000)), ("chat.example.net:5190", ("chat.example.net", 5190)),
    ("[2001:db8::1]:5000", ("2001:db8::1", 5000)), ("2001:db8::1:5000", ("2001:db8::1", 5000)),
    ("192.0.2.1", None), ("192.0.2.1:", None), (":5000", None), ("a:0", None), ("a:65536", None), ("a:x", None),
    ("a:٣", None), ("", None),
])
def test_addresses_of_peers(address: str, place: tuple[str, int] | None) -> None:
    """host:port as a decoder wrote it, or nothing."""
    assert endpoint(address) == place


def test_leases_that_stand_go_to_the_worker_that_takes_the_place() -> None:
    """With whom they are for, until when, and who announced them; one whose time is over does not go; a port that is
    leased is not given again."""
    old = Leases(lambda: 101.0)
    told: list[Any] = []
    old.told = lambda *one: told.append(one)
    pool = old.make("l", (9400, 9401, 9402), 60.0)
    old.paths("f1", pool, OWN_HOST, None, "10.0.0.5", "8.8.8.8")
    assert pool.take(Expect("10.0.0.5:4000", "dcc", flow="f1"), 30.0) == 9400
    standing = Expect("10.0.0.5:5000", "dcc", flow="f1", client="10.0.0.9")
    assert pool.take(standing, 100.0) == 9401
    ends = ("10.0.0.5", "8.8.8.8")
    assert told == [(9400, 90.0, "f1", ends), (9401, 160.0, "f1", ends)]
    new = Leases(lambda: 102.0)
    for one in old.hand_over():
        new.take_over(*one)
    taken = new.make("l", (9400, 9401, 9402), 60.0)
    assert taken.leases(102.0) == [(9401, standing, 160.0)]
    assert new.refusal(standing, "10.0.0.5", 5000, own) is None
    assert new.refusal(standing, "10.0.0.6", 5000, own) is not None
    assert {taken.take(standing, 102.0) for _ in range(3)} == {9400, 9402, None}
    assert taken.claim(9401, "10.0.0.8", 102.0) is None
    assert taken.claim(9401, "10.0.0.9", 102.0) == standing


def test_a_lease_may_lead_to_one_of_another_worker() -> None:
    """Two users of one gateway, in two workers: the port is ours, and leased there."""
    leases, expect = leased(f"{OWN_HOST}:9400", DOWN, "10.0.0.5", "8.8.8.8")
    assert leases.refusal(expect, OWN_HOST, 9400, own) is not None
    leases.elsewhere = lambda port, at: port == 9400
    assert leases.refusal(expect, OWN_HOST, 9400, own) is None
    assert leases.refusal(expect, OWN_HOST, 1080, own) is not None


def test_who_announced_it_may_have_his_session_in_another_worker() -> None:
    """An offer of a client of ours that comes back to a reader in this worker: a port leased here leads to the offerer
    himself, who is in as narrow a network as he is, and to nobody else."""
    leases = Leases(lambda: 101.0)
    told: list[Any] = []
    leases.told = lambda *one: told.append(one)
    pool = leases.make("l", (9400,), 60.0)
    leases.paths("f2", pool, OWN_HOST, None, "10.0.0.9", "8.8.8.8")
    expect = Expect("10.0.0.5:5000", "dcc", flow="f1", client="10.0.0.9")
    pool.take(expect, 100.0)
    assert leases.refusal(expect, "10.0.0.5", 5000, own) == "10.0.0.5 is private, and who announced it is not"
    leases.ends_elsewhere = lambda flow, at: ("10.0.0.5", "8.8.8.8") if flow == "f1" else None
    assert leases.refusal(expect, "10.0.0.5", 5000, own) is None
    assert leases.refusal(expect, "10.0.0.6", 5000, own) == "10.0.0.6 is not the address of who offers"
    assert leases.refusal(expect, "127.0.0.1", 5000, own) == "127.0.0.1 is loopback, and who announced it is not"
    assert [one[4] for one in leases.hand_over()] == [("10.0.0.5", "8.8.8.8")]
    assert told == [(9400, 160.0, "f1", None)]
