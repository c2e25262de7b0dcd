"""What several workers know together, with real mailboxes inside one process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from inspector.drivers import shared_world
from inspector.drivers.boxes import MAIL_BYTES, box, empty
from inspector.drivers.shared_world import Announced, Leased, Mail, SharedWorld
from inspector.engine.world import LeasePool, LeasingMemory, Paths, offer_key
from inspector.model import Expect, FileOffer, Limits, expect_key
from tests.drivers.boxed import Boxed

AT = 1_700_000_000.0
OFFER = FileOffer(sender="alice", recipients=("bob",), file_name="plan.pdf", size=5, method="dcc")
DCC = Expect("10.0.0.5:5000", "dcc", by="alice", offer=OFFER, flow="f1", identity="authenticated")


class Floor(Boxed):
    """Worlds of some workers."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.worlds = [SharedWorld(Limits(), Mail(ends[0], self.writes)) for ends in self.boxes]
        for number, world in enumerate(self.worlds):
            world.mail.others = self.others(number)


@pytest.fixture
def floor() -> Iterator[Floor]:
    made = Floor(3)
    yield made
    made.close()


def test_what_one_worker_announces_all_know_when_it_returns(floor: Floor) -> None:
    """An offer with all its parts, for whoever connects; a redirect for one client alone; no other client's."""
    one, two, three = floor.worlds
    assert one.expect(DCC, AT + 60, "10.0.0.5", AT)
    for world in (two, three):
        assert world.expected_at(["10.0.0.5"], 5000, "10.0.0.9", AT) == DCC
        assert world.expected_at(["10.0.0.5"], 5000, "10.0.0.9", AT + 61) is None
    own = Expect("192.0.2.1:5190", "oscar", client="10.0.0.7")
    assert two.expect(own, AT + 60, "10.0.0.7", AT, redirect=True)
    assert one.expected_at(["192.0.2.1"], 5190, "10.0.0.7", AT) == own
    assert one.expected_at(["192.0.2.1"], 5190, "10.0.0.8", AT) is None


def test_what_decoders_expect_by_a_key_is_known_elsewhere(floor: Floor) -> None:
    """The hash of a bytestream; also from the memory of a session that leases. Other memory stays where it is."""
    one, two, _ = floor.worlds
    key = expect_key("bytestream", "a" * 40)
    pool = LeasePool([9400], 60)
    LeasingMemory(one.memory, Paths(pool, "192.0.2.1", None, "10.0.0.5")).put(key, DCC, AT + 60)
    one.memory.put("something", "else", AT + 60)
    one.memory.put("xmpp.post f1", 3, AT + 60)
    assert two.memory.get(key, AT) == DCC
    assert two.memory.get("something", AT) is None
    assert two.memory.get("xmpp.post f1", AT) is None


def test_what_dcc_knows_of_the_other_end_is_known_elsewhere(floor: Floor) -> None:
    """Where an address of ours leads, whether a user of ours listens there, from where a file is resumed."""
    one, two, _ = floor.worlds
    one.memory.put("dcc:ours:192.0.2.1:9400", DCC, AT + 60)
    assert two.memory.get("dcc:ours:192.0.2.1:9400", AT) == DCC
    one.memory.put("dcc:listener:10.0.0.5:5000", True, AT + 60)
    assert two.memory.get("dcc:listener:10.0.0.5:5000", AT) is True
    one.memory.put(expect_key("dcc", "10.0.0.5:5000"), 4096, AT + 60)
    assert two.memory.get(expect_key("dcc", "10.0.0.5:5000"), AT) == 4096


def test_streams_between_servers_are_known_elsewhere(floor: Floor) -> None:
    """What one has to say to the other server goes on the stream of the other way, which may be in another worker."""
    one, two, _ = floor.worlds
    one.memory.put("xmpp.servers a.example b.example", "f1", AT + 60)
    assert two.memory.get("xmpp.servers a.example b.example", AT) == "f1"


def test_the_row_of_an_offer_is_found_elsewhere(floor: Floor) -> None:
    """By the hash of flow and offer, which is the same in processes of one PYTHONHASHSEED."""
    one, two, _ = floor.worlds
    one.offers.put(offer_key("f1", OFFER), "f1-7", AT + 60)
    assert two.offers.get(offer_key("f1", OFFER), AT) == "f1-7"
    code = ("from inspector.model import FileOffer; from inspector.engine.world import offer_key; print(offer_key('f1',"
            " FileOffer(sender='alice', recipients=('bob',), file_name='plan.pdf', size=5, method='dcc')))")
    said = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
                       env={**os.environ, "PYTHONHASHSEED": "12345"}).stdout
        for _ in range(2)
    }
    assert len(said) == 1


def test_leased_ports_are_known_elsewhere(floor: Floor) -> None:
    """Until their time is over: a lease may lead to another user's lease, whichever worker gave it."""
    one, two, three = floor.worlds
    assert one.lease_told(9400, AT + 60)
    assert two.leased(9400, AT)
    assert not two.leased(9401, AT)
    assert not three.leased(9400, AT + 61)
    assert not one.leased(9400, AT)
    one.lease_told(9402, AT + 60, "f1", ("10.0.0.5", "192.0.2.7"))
    assert two.ends("f1", AT) == ("10.0.0.5", "192.0.2.7")
    assert two.ends("f2", AT) is None
    assert three.ends("f1", AT + 61) is None


def test_a_box_that_is_full_refuses_the_announcement(floor: Floor) -> None:
    """A worker that hangs reads nothing: what it could not know must not be announced. Once it reads, it goes on; what
    it was told it knows."""
    one, two, three = floor.worlds
    told = 0
    while one.expect(Expect(f"10.0.0.5:{told + 1}", "dcc", offer=OFFER), AT + 60, f"10.0.{told % 200}.1", AT):
        three.read()
        told += 1
        assert told < 60_000
    assert told > 50
    assert (one.mail.counters.lost, one.mail.counters.failed) == (1, 1)
    assert two.expected_at(["10.0.0.5"], told, "10.0.0.9", AT) is not None
    assert one.expect(DCC, AT + 60, "10.0.0.5", AT)


def test_an_offer_too_long_for_a_letter_is_refused(floor: Floor) -> None:
    """Names are bounded by their protocol; one beyond all bounds is told to nobody."""
    huge = Expect("10.0.0.5:5000", "dcc", offer=FileOffer(file_name="x" * MAIL_BYTES))
    assert not floor.worlds[0].expect(huge, AT + 60, "10.0.0.5", AT)
    assert floor.worlds[0].mail.counters.too_long == 1
    floor.worlds[0].mail.others = {1, 2}
    asyncio.run(floor.worlds[0].mail.repeat(1, [Announced(huge, AT + 60, "", AT, False), Leased(9400, AT + 60)]))
    assert floor.worlds[1].leased(9400, AT)
    assert floor.worlds[0].mail.counters.too_long == 2


def test_a_worker_that_is_new_is_told_what_the_others_know(floor: Floor) -> None:
    """All that lives: announcements, keys, rows of offers, leases of the one who tells and what it heard of others."""
    one, two, three = floor.worlds
    one.mail.others = {1}
    two.mail.others = {0}
    key = expect_key("bytestream", "b" * 40)
    one.expect(DCC, AT + 60, "10.0.0.5", AT)
    one.expect(Expect("192.0.2.1:5190", "oscar"), AT + 60, redirect=True)
    one.expect(Expect("10.0.0.5:6000", "dcc"), AT - 1, "10.0.0.5", AT - 100)
    one.memory.put(key, DCC, AT + 60)
    one.offers.put(7, "f1-7", AT + 60)
    two.lease_told(9500, AT + 60)
    one.read()
    one.mail.others = {1, 2}
    lease = Leased(9400, AT + 60, "f1", ("10.0.0.5", "192.0.2.7"))
    asyncio.run(one.mail.repeat(2, one.known(AT, [lease])))
    assert three.expected_at(["10.0.0.5"], 5000, "10.0.0.9", AT) == DCC
    assert three.expectations.owner("10.0.0.5:5000") == "10.0.0.5"
    assert three.expected_at(["192.0.2.1"], 5190, "10.0.0.9", AT) is not None
    assert three.expected_at(["10.0.0.5"], 6000, "10.0.0.9", AT - 50) is None
    assert three.memory.get(key, AT) == DCC
    assert three.offers.get(7, AT) == "f1-7"
    assert three.leased(9400, AT) and three.leased(9500, AT)
    assert three.ends("f1", AT) == ("10.0.0.5", "192.0.2.7")


def test_telling_waits_for_a_box_and_gives_up_for_one_that_is_gone() -> None:
    """More than a box takes arrives whole while it is read; nobody is waited for who lives no more."""
    floor = Floor(2)
    one, two = floor.worlds
    letters = [Leased(n, AT + 60) for n in range(8000)]

    async def work() -> None:
        loop = asyncio.get_running_loop()
        two.mail.watch(two.read)
        await asyncio.wait_for(one.mail.repeat(1, letters), 60)
        loop.remove_reader(floor.boxes[1][0].fileno())
        two.read()
        assert all(two.leased(n, AT) for n in (0, 4000, 7999))
        task = asyncio.ensure_future(one.mail.repeat(1, letters * 3))
        await asyncio.sleep(0.01)
        one.mail.others = set()
        await asyncio.wait_for(task, 60)

    asyncio.run(work())
    floor.close()


def test_nonsense_in_a_box_is_passed_over_and_a_dead_worker_s_mail_is_thrown_away(floor: Floor) -> None:
    """A box belongs to one worker after the other."""
    one, two, _ = floor.worlds
    floor.boxes[1][1].send(b"\xc1 nonsense")
    floor.boxes[1][1].send(b"\x91" * 50_000)
    one.mail.post(Announced(DCC, AT + 60, "", AT, False))
    assert two.expected_at(["10.0.0.5"], 5000, "x", AT) == DCC
    assert two.mail.counters.unreadable == 2
    one.lease_told(9400, AT + 60)
    empty(floor.boxes[1][0])
    assert not two.leased(9400, AT)
    assert isinstance(floor.boxes[1][0], socket.socket)


def test_letters_that_are_lost_are_counted_and_told_once_a_kind() -> None:
    """Too long, unreadable, cut off, without room: the administrator reads one sentence of each, metrics count."""
    read, write = box()
    said: list[str] = []
    limits = Limits(memory_entries=8)
    world = SharedWorld(limits, Mail(read, {1: write}, said.append))
    world.mail.others = {1}
    for _ in range(3):
        world.mail.post(Leased(1, AT, "x" * MAIL_BYTES))
        write.send(b"\xc1")
        write.send(bytes(MAIL_BYTES + 100))
    for port in range(5):
        write.send(shared_world._encode(Announced(
            Expect(f"10.0.0.5:{5000 + port}", "dcc"), AT + 60, "10.0.0.5", AT, False)))
    world.read()
    counters = world.mail.counters
    assert (counters.too_long, counters.unreadable, counters.unplaced, counters.lost) == (3, 6, 3, 0)
    assert counters.failed == 12
    assert len(said) == 3
    assert [word for sentence in said for word in ("too_long", "unreadable", "unplaced") if word in sentence] == [
        "too_long", "unreadable", "unplaced"]
    read.close()
    write.close()
