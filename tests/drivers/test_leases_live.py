"""Leased ports of the running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inspector.drivers.mitm_server import ListenerSettings
from inspector.engine.world import LeasingMemory, Paths, SharedMemory
from inspector.model import DOWN, UP, Address, Expect, Limits, Way
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until
from tests.ports import free_ports


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def lease_range(count: int) -> tuple[int, int]:
    """So many free ports in a row: the first and the last."""
    ports = free_ports(count)
    return ports[0], ports[-1]


def reverse(upstream: tuple[str, int], count: int = 2) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream, lease_ports=lease_range(count))


async def leasing(gateway: Running, expect: Expect, way: Way) -> Address | None:
    """What the decoder of a new session is given to write."""
    count = len(gateway.sessions)
    reader, writer = await gateway.connect()
    writer.write(b"hi")
    assert await reader.readexactly(2) == b"HI"
    await until(lambda: len(gateway.sessions) > count)
    session = gateway.sessions[-1]
    assert session.paths is not None
    memory = LeasingMemory(SharedMemory(10), session.paths)
    place = memory.lease(replace_flow(expect, session), way, gateway.gateway.clock())
    writer.close()
    await until(lambda: not gateway.gateway.links)
    return place


def replace_flow(expect: Expect, session: Script) -> Expect:
    return msgspec.structs.replace(expect, flow=session.flow.id)


async def closed(place: Address, local: str = "127.0.0.1") -> bool:
    """Whether a connection to a leased port is closed without a word."""
    try:
        reader, writer = await asyncio.open_connection(place.ip, place.port, local_addr=(local, 0))
    except ConnectionError:
        return True
    try:
        return await asyncio.wait_for(reader.read(10), 5) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


def test_a_connection_to_a_leased_port_leads_where_it_was_announced(tmp_path: Path, stock_io: bool) -> None:
    """Once, for the client it was leased to; the session knows what was announced. Others are closed at once."""

    async def scenario() -> None:
        async with serving(echo) as chat, serving(echo) as files, running(
            tmp_path, reverse(chat), stock_io=stock_io) as gateway:
            expect = Expect(f"127.0.0.1:{files[1]}", "oft", by="amy", client=None)
            place = await leasing(gateway, expect, DOWN)
            assert place is not None
            assert await closed(place, "127.0.0.2")
            reader, writer = await asyncio.open_connection(place.ip, place.port)
            writer.write(b"the file")
            assert await reader.readexactly(8) == b"THE FILE"
            session = gateway.sessions[-1]
            assert session.flow.expected is not None
            assert (session.flow.expected.what, session.flow.expected.client) == ("oft", "127.0.0.1")
            assert session.flow.server == Address("127.0.0.1", files[1])
            assert (session.protocols, session.named_im) == (frozenset(), True)
            assert await closed(place)
            writer.close()
            leases = gateway.gateway.leases
            assert (leases.used, leases.unclaimed, leases.in_use) == (1, 2, 0)
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_a_lease_for_somebody_behind_the_server(tmp_path: Path, stock_io: bool) -> None:
    """Anybody may come, once: who it will be is not known. Networks of clients are about the listener's own port."""

    async def scenario() -> None:
        async with serving(echo) as chat, serving(echo) as files:
            listener = replace(reverse(chat), clients=())
            async with running(tmp_path, listener, stock_io=stock_io) as gateway:
                place = await leasing(gateway, Expect(f"127.0.0.1:{files[1]}", "dcc"), UP)
                assert place is not None
                reader, writer = await asyncio.open_connection(place.ip, place.port, local_addr=("127.0.0.3", 0))
                writer.write(b"x")
                assert await reader.readexactly(1) == b"X"
                writer.close()
                await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_a_lease_ends(tmp_path: Path) -> None:
    """After limits.lease_seconds nobody is let in any more, and the port is free again."""

    async def scenario() -> None:
        async with serving(echo) as chat, running(
            tmp_path, reverse(chat, 1), limits=Limits(lease_seconds=0.2)) as gateway:
            expect = Expect("127.0.0.1:5000", "dcc")
            place = await leasing(gateway, expect, DOWN)
            assert place is not None
            assert await leasing(gateway, expect, DOWN) is None
            assert gateway.gateway.leases.exhausted == 1
            at = gateway.gateway.clock() + 0.25
            await until(lambda: gateway.gateway.clock() > at)
            assert await closed(place)
            assert await leasing(gateway, expect, DOWN) == place

    run(scenario)


@pytest.mark.parametrize(("address", "why"), [
    ("127.0.0.1:%d", "is the gateway itself"), ("127.0.0.1:80", "port 80 is none of a client's"),
])
def test_a_lease_that_leads_nowhere_good(tmp_path: Path, stock_io: bool, address: str, why: str) -> None:
    """It is refused, counted, told: nothing is connected to."""

    async def scenario() -> None:
        async with serving(echo) as chat, running(tmp_path, reverse(chat), stock_io=stock_io) as gateway:
            there = address % gateway.port if "%" in address else address
            place = await leasing(gateway, Expect(there, "dcc"), DOWN)
            assert place is not None
            assert await closed(place)
            assert gateway.gateway.leases.refused == 1
            assert gateway.names()[-1] == "refused_destination"
            assert why in str(gateway.notes[-1].row["detail"])
            await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_what_others_are_told_to_connect_to(tmp_path: Path) -> None:
    """Our address of the connection to each side, or the configured one; clients of other modes reach all through us,
    so nothing is written in place of what they read."""

    async def scenario() -> None:
        async with serving(echo) as chat:
            plain = reverse(chat)
            nat = replace(plain, lease_up="192.0.2.1", lease_down="192.0.2.2", lease_ports=lease_range(2))
            socks = replace(plain, mode="transparent", lease_ports=lease_range(2))
            found: list[Paths | None] = []
            for listener in (plain, nat, replace(plain, lease_ports=None)):
                async with running(tmp_path, listener) as gateway:
                    _, writer = await gateway.connect()
                    writer.write(b"hi")
                    sessions = gateway.sessions
                    await until(sessions.__len__)
                    found.append(sessions[0].paths)
                    writer.close()
            one, two, three = found
            assert one is not None
            assert two is not None
            assert (one.up, one.down, one.client) == ("127.0.0.1", "127.0.0.1", "127.0.0.1")
            assert (two.up, two.down, three) == ("192.0.2.1", "192.0.2.2", None)
            assert socks.lease_hosts() is None

    run(scenario)


def test_where_leased_ports_are_bound() -> None:
    """On loopback alone where both sides are there; where an address is given and ours, there; else everywhere."""
    base = ListenerSettings("reverse", "127.0.0.1", 5, upstream=("127.0.0.1", 6), lease_ports=(7, 8))
    assert base.lease_hosts() == ["127.0.0.1"]
    assert replace(base, upstream=("chat.example.net", 6)).lease_hosts() is None
    assert replace(base, host="0.0.0.0").lease_hosts() is None
    assert replace(base, lease_up="127.0.0.3").lease_hosts() == ["127.0.0.3", "127.0.0.1"]
    assert replace(base, lease_up="192.0.2.1").lease_hosts() is None
    assert replace(base, mode="socks5", upstream=None).lease_hosts() is None
    assert replace(base, mode="socks5", upstream=None, lease_up="127.0.0.1").lease_hosts() == ["127.0.0.1"]


def test_ports_of_ours_are_left_out(tmp_path: Path) -> None:
    """A range may hold the port of metrics or of a listener: that one is never leased."""

    async def scenario() -> None:
        first, last = lease_range(3)
        async with serving(echo) as chat:
            listener = ListenerSettings("reverse", "127.0.0.1", first, upstream=chat, lease_ports=(first, last))
            async with running(tmp_path, listener, own_ports=frozenset({last})) as gateway:
                pool = gateway.gateway.leases.pools[listener.address]
                taken = [pool.take(Expect("192.0.2.1:5000", "dcc"), 1.0) for _ in range(2)]
                assert taken == [first + 1, None]

    run(scenario)


def test_a_leased_port_that_is_taken(tmp_path: Path) -> None:
    """One sentence that names the port."""

    async def scenario() -> None:
        async with serving(echo) as taken, serving(echo) as chat:
            listener = ListenerSettings("reverse", "127.0.0.1", 0, upstream=chat, lease_ports=(taken[1], taken[1]))
            with pytest.raises(OSError, match=rf"cannot listen on port {taken[1]} of lease_ports: .*in use"):
                async with running(tmp_path, listener):
                    pass

    run(scenario)
