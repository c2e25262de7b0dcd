"""Who is refused before there is a session has his row: on disk before he can notice, and few of them in a flood."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.admission import FULL_ROWS
from inspector.drivers.mitm_server import ListenerSettings
from inspector.model import Expect, Limits, Note
from tests.drivers.mitm_harness import Running, running, until
from tests.drivers.test_leases_live import lease_range

ANYWHERE = ("127.0.0.1", 9)
OTHERS = (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    """Both kinds of I/O."""
    return bool(request.param == "stock")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def listener(mode: Any, **more: Any) -> ListenerSettings:
    return ListenerSettings(mode, "127.0.0.1", 0, **more)


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes, until the connection ends."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


KINDS = [
    ("refused_client", listener("reverse", upstream=ANYWHERE, clients=OTHERS), b"",
     "127.0.0.1 is not a client of the listener 127.0.0.1:0", b""),
    ("refused_handshake", listener("socks5"), b"GET / HTTP/1.1\r\n\r\n", "not SOCKS5", b""),
    ("refused_handshake", listener("socks5"), b"\x05\x01\x02", "the SOCKS client wants to authenticate; only 'none' is "
     "spoken", b"\x05\xff"),
    ("refused_handshake", listener("connect"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "an HTTP method other than CONNECT", b"HTTP/1.1 405 "),
    ("refused_redirect", listener("transparent"), b"", "it was not redirected by the firewall", b""),
]


@pytest.mark.parametrize(("name", "where", "said", "why", "answer"), KINDS)
def test_a_refusal_is_noticed_when_its_row_is_on_disk(
    tmp_path: Path, stock_io: bool, name: str, where: ListenerSettings, said: bytes, why: str, answer: bytes,
) -> None:
    """Neither the answer in the mode's words nor the end of the connection comes before; what is sent meanwhile makes
    no second row."""

    async def scenario() -> None:
        async with running(tmp_path, where, stock_io=stock_io) as gateway:
            waiting: list[Callable[[bool], None]] = []

            def slow(note: Note, done: Callable[[bool], None] | None) -> None:
                gateway.notes.append(note)
                if done is not None:
                    waiting.append(done)

            gateway.gateway._notes = slow
            reader, writer = await gateway.connect()
            writer.write(said)
            await until(lambda: waiting)
            writer.write(b"more")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
            waiting.pop()(True)
            assert (await end_of(reader)).startswith(answer)
            client = {"ip": "127.0.0.1", "port": writer.get_extra_info("sockname")[1]}
            writer.close()
            await until(lambda: not gateway.gateway.links)
            (note,) = gateway.notes
            assert note.barrier
            row = note.row
            assert (row["event"], row["name"], row["did"], row["count"]) == ("trouble", name, "cut", 1)
            assert (row["detail"], row["listener"]) == (why, "127.0.0.1:0")
            assert row["client"] == client
            assert (gateway.gateway.admission.open, gateway.gateway.waits.number) == (0, 0)

    run(scenario)


async def leased(gateway: Running, address: str) -> int:
    """A port leased for somebody who comes from 10.0.0.1."""
    pool = next(iter(gateway.gateway.leases.pools.values()))
    port = pool.take(Expect(address, "oft", client="10.0.0.1"), gateway.gateway.clock())
    assert port is not None
    return port


def test_who_comes_to_a_leased_port_where_nobody_is_expected_has_a_row(tmp_path: Path, stock_io: bool) -> None:
    """The row names the port and the client; a stranger at a port that is leased to another client has one, too."""

    async def scenario() -> None:
        ports = lease_range(2)
        where = listener("reverse", upstream=ANYWHERE, lease_ports=ports, clients=OTHERS)
        async with running(tmp_path, where, stock_io=stock_io) as gateway:
            taken = await leased(gateway, "127.0.0.1:5000")
            for port in ports:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await end_of(reader) == b""
                writer.close()
            await until(lambda: not gateway.gateway.links)
            assert taken in ports
            assert [note.row["name"] for note in gateway.notes] == ["refused_lease"] * 2
            assert [note.row["detail"] for note in gateway.notes] == [
                f"nobody is expected at port {port}" for port in ports]
            assert gateway.gateway.leases.unclaimed == 2
            assert gateway.gateway.admission.open == 0

    run(scenario)


def test_a_lease_that_leads_nowhere_is_told(tmp_path: Path, stock_io: bool) -> None:
    """What a peer announced as an address may be none: whoever comes for it is refused, with a row, and counted."""

    async def scenario() -> None:
        where = listener("reverse", upstream=ANYWHERE, lease_ports=lease_range(1))
        async with running(tmp_path, where, stock_io=stock_io) as gateway:
            pool = next(iter(gateway.gateway.leases.pools.values()))
            port = pool.take(Expect("nowhere", "oft"), gateway.gateway.clock())
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await end_of(reader) == b""
            writer.close()
            await until(lambda: not gateway.gateway.links)
            assert gateway.names() == ["refused_lease"]
            assert gateway.gateway.leases.refused == 1

    run(scenario)


def test_a_scanner_makes_few_rows(tmp_path: Path, stock_io: bool) -> None:
    """Two hundred connections without a handshake: the first ten have a row each, all are in the sum, each is counted,
    and nothing of them stays."""

    async def scenario() -> None:
        limits = Limits(refusal_seconds=0.5)
        async with running(tmp_path, listener("socks5"), limits=limits, stock_io=stock_io) as gateway:
            for _number in range(200):
                reader, writer = await gateway.connect()
                writer.write(b"scan")
                assert await end_of(reader) == b""
                writer.close()
            await until(lambda: sum(note.row["count"] for note in gateway.notes) == 200)
            rows = [note.row for note in gateway.notes]
            assert {row["name"] for row in rows} == {"refused_handshake"}
            assert len(rows) <= 20 * FULL_ROWS
            assert gateway.gateway.counters.refused_handshakes == 200
            await until(lambda: not gateway.gateway.links)
            assert (gateway.gateway.admission.open, gateway.gateway.admission._clients) == (0, {})
            assert len(gateway.sentences) < 30

    run(scenario)
