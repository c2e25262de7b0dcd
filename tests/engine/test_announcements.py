"""Announced connections: what could not be led through us, or would not be known, is not announced to anybody."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import LeasePool, Paths, World
from inspector.model import (
    Act,
    Address,
    Chunk,
    Cut,
    Effect,
    Expect,
    Flow,
    Frame,
    Limits,
    Match,
    Memory,
    Note,
    Rules,
    Send,
    Spec,
    Verdict,
)
from tests.engine.toy import FLOW, ToyDecoder, ToyPolicy, ToyScanner
from tests.playbook import START, down, up


class Announcer(ToyDecoder):
    """`OFFER host:port …` announces side connections there, each through a port of ours where one can be leased."""

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        super().__init__(flow, limits, memory, edits)
        self.memory = memory
        self.signed = True

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        word, *places = frame.raw.decode().split()
        if word != "OFFER":
            return super().apply(frame, verdicts)
        acts: list[Act] = []
        raw = frame.raw
        for place in places:
            expect = Expect(place, "side")
            ours = self.memory.lease(expect, frame.way, frame.at)
            if ours is not None:
                raw = raw.replace(place.encode(), f"{ours.ip}:{ours.port}".encode())
            acts.append(expect)
        return [Send(frame.way, raw), *acts]


def probe(up: bytes, down: bytes) -> Match:
    return Match.STRONG if b"\n" in up or b"\n" in down else Match.MORE


SPEC = Spec(name="announcer", title="Announcer", probe=probe, decoder=Announcer, signs_on=False)


class House:
    """Sessions of several clients in one world."""

    def __init__(self, trouble: str = "cut", ports: int | None = None, limits: Limits | None = None) -> None:
        policy = ToyPolicy(True, {"overload": trouble})
        self.kit = Kit(classifier((SPEC,)), Rules(1, policy, ToyScanner()), limits or Limits())
        self.world = World(self.kit.limits)
        self.pool = LeasePool(range(9400, 9400 + ports), 120.0) if ports is not None else None

    def session(self, client: str = "10.0.0.1") -> Session:
        flow = msgspec.structs.replace(FLOW, id=f"flow-{client}", client=Address(client, 5000))
        paths = Paths(self.pool, "192.0.2.9", "10.0.0.9", client) if self.pool is not None else None
        return Session(flow, self.kit, self.world, paths=paths)

    def give(self, session: Session, chunk: Chunk) -> list[Effect]:
        return session.step(chunk, self.world)


def sent(effects: list[Effect]) -> bytes:
    return b"".join(e.data for e in effects if isinstance(e, Send))


def troubles(effects: list[Effect]) -> list[str]:
    return [e.row["name"] for e in effects if isinstance(e, Note) and e.row["event"] == "trouble"]


def test_an_address_that_could_not_be_leased_does_not_leave() -> None:
    """All ports are taken: the session is cut before the announcement with the real address reaches its reader."""
    house = House(ports=1)
    one = house.session()
    assert sent(house.give(one, up(b"OFFER 10.0.0.1:4000\n"))) == b"OFFER 192.0.2.9:9400\n"
    effects = house.give(one, up(b"OFFER 10.0.0.1:4001\n"))
    assert b"OFFER" not in sent(effects)
    assert troubles(effects) == ["overload"]
    assert any(isinstance(e, Cut) for e in effects)


def test_an_address_that_could_not_be_leased_leaves_where_the_policy_lets_overload_pass() -> None:
    """The administrator may prefer that it goes past us: the log says so."""
    house = House("pass", ports=0)
    effects = house.give(house.session(), up(b"OFFER 10.0.0.1:4000\n"))
    assert (sent(effects), troubles(effects)) == (b"OFFER 10.0.0.1:4000\n", ["overload"])


def test_ports_that_somebody_else_did_not_get_are_no_trouble_of_ours() -> None:
    """One user asks for more ports than there are; another one's next announcement is his own affair."""
    house = House("pass", ports=1)
    one, two = house.session("10.0.0.1"), house.session("10.0.0.2")
    house.give(two, up(b"HELLO\n"))
    house.give(one, up(b"OFFER 10.0.0.1:4000 10.0.0.1:4001\n"))
    effects = house.give(two, up(b"OFFER 10.0.0.2:4000\n", START + 121.0))
    assert (sent(effects), troubles(effects)) == (b"OFFER 192.0.2.9:9400\n", [])


def test_announcements_without_end_push_no_other_out() -> None:
    """A flood of offers ends its own session; what was announced before, by anybody, is still known."""
    house = House(limits=Limits(memory_entries=40))
    one, two = house.session("10.0.0.1"), house.session("10.0.0.2")
    house.give(one, up(b"OFFER 10.0.0.1:4000\n"))
    over = False
    for port in range(5000, 5100):
        effects = house.give(two, down(f"OFFER 198.51.100.7:{port}\n".encode()))
        over = any(isinstance(e, Cut) for e in effects)
        if over:
            assert b"OFFER" not in sent(effects)
            assert troubles(effects) == ["overload"]
            break
        assert sent(effects)
        assert house.world.expected_at(("198.51.100.7",), port, "10.0.0.2", START) is not None
    assert over
    assert house.world.expected_at(("10.0.0.1",), 4000, "192.0.2.77", START) is not None
    assert house.world.expected_at(("198.51.100.7",), 5000, "10.0.0.2", START) is not None
    assert sent(house.give(one, up(b"OFFER 10.0.0.1:4001\n"))) == b"OFFER 10.0.0.1:4001\n"


def test_announcements_whose_time_is_over_make_room() -> None:
    """The share is of what is announced now."""
    house = House(limits=Limits(memory_entries=4))
    session = house.session()
    for number in range(20):
        at = START + 4000.0 * number
        assert sent(house.give(session, up(b"OFFER 10.0.0.1:%d\n" % (4000 + number), at)))
    assert len(house.world.expectations) == 1


def test_the_same_place_may_be_announced_again() -> None:
    """An offer that is repeated takes no second place."""
    house = House(limits=Limits(memory_entries=4))
    session = house.session()
    for _ in range(20):
        assert sent(house.give(session, up(b"OFFER 10.0.0.1:4000\n")))
    assert len(house.world.expectations) == 1


def test_redirects_are_not_refused_and_push_no_file_out() -> None:
    """A whole office signs on at once: servers that people are sent to are known by their bytes, and may be forgotten;
    they take no room from side connections."""
    house = House(limits=Limits(memory_entries=4))
    house.kit.specs = {"side": SPEC}
    session = house.session()
    house.world.expect(Expect("10.0.0.1:4000", "file"), START + 60.0)
    for port in range(5000, 5010):
        assert b"OFFER" in sent(house.give(session, down(b"OFFER 198.51.100.7:%d\n" % port)))
    assert len(house.world.redirects) == 4
    assert house.world.expected_at(("198.51.100.7",), 5009, "10.0.0.1", START) is not None
    assert house.world.expected_at(("10.0.0.1",), 4000, "10.0.0.1", START) is not None


def test_people_may_take_their_time() -> None:
    """Who accepts a file an hour after it was offered makes a connection that is still known: its raw bytes say
    nothing, and would pass unread."""
    house = House()
    house.kit.specs = {"side": msgspec.structs.replace(SPEC, parent="announcer")}
    house.give(house.session(), down(b"OFFER 198.51.100.7:4000\n"))
    assert house.world.expected_at(("198.51.100.7",), 4000, "10.0.0.1", START + 3500.0) is not None
    assert house.world.expected_at(("198.51.100.7",), 4000, "10.0.0.1", START + 3700.0) is None
