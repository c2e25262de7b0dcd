"""Slow and silent peers are ended, slow links are not; memory that waits is bounded, for each client and in all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.mitm_server import ListenerSettings
from inspector.drivers.sweep import SLICE, Sweep
from inspector.model import DOWN, UP, Chunk, Cut, Effect, Input, Killed, Limits, Send, Troubled, Way
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    """Both kinds of I/O."""
    return bool(request.param == "stock")


@pytest.fixture(autouse=True)
def rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty rounds a second."""
    monkeypatch.setattr("inspector.drivers.sweep.ROUND", 0.05)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def listener(upstream: tuple[str, int]) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream)


class Lines:
    """A decoder that holds what has no line end yet."""

    def __init__(self) -> None:
        self.held = {UP: b"", DOWN: b""}

    def pending(self, way: Way) -> int:
        return len(self.held[way])


def lines(script: Script, given: Input) -> list[Effect] | None:
    """A session of lines: only whole ones go on."""
    if not isinstance(given, Chunk):
        return None
    decoder: Lines = script.__dict__.setdefault("_decoder", Lines())
    whole, end, decoder.held[given.way] = (decoder.held[given.way] + given.data).rpartition(b"\n")
    return [Send(given.way, whole + end)] if end else []


def keep(script: Script, given: Input) -> list[Effect] | None:
    """A session in which everything waits for a verdict; too much of it cuts."""
    if isinstance(given, Chunk):
        script.waiting[given.way] += len(given.data)
        return []
    if isinstance(given, Troubled):
        return [Cut(given.name)]
    return None


def reasons(gateway: Running, index: int = 0) -> list[str]:
    return [given.reason for given in gateway.sessions[index].inputs if isinstance(given, Killed)]


async def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends without a further byte."""
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True


def test_a_unit_that_never_ends_is_ended(tmp_path: Path, stock_io: bool) -> None:
    """Byte after byte, never a line end: after unit_seconds the session is over, the log says why, and another session
    of the same gateway goes on."""

    async def scenario() -> None:
        limits = Limits(unit_seconds=0.4, slow_bytes=1000)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener(upstream), on=lines, limits=limits, stock_io=stock_io) as gateway,
        ):
            good, talk = await gateway.connect()
            talk.write(b"a\n")
            assert await good.readexactly(2) == b"A\n"
            reader, writer = await gateway.connect()
            ended = asyncio.create_task(gone(reader))
            while not ended.done():
                writer.write(b"x")
                await asyncio.wait({ended}, timeout=0.02)
            assert await ended
            assert reasons(gateway, 1) == ["too slow"]
            assert gateway.names() == ["timeout"]
            assert gateway.gateway.counters.slow_ended == 1
            talk.write(b"b\n")
            assert await good.readexactly(2) == b"B\n"
            talk.close()
            writer.close()

    run(scenario)


def test_a_unit_that_comes_at_the_speed_of_a_link_is_waited_for(tmp_path: Path) -> None:
    """Ten times unit_seconds, but always faster than slow_bytes a second: it arrives whole."""

    async def scenario() -> None:
        limits = Limits(unit_seconds=0.1, slow_bytes=1)
        async with (
            serving(echo) as upstream, running(tmp_path, listener(upstream), on=lines, limits=limits) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"x")
            await until(lambda: gateway.gateway.sweep.rounds >= 2)
            begin = gateway.gateway.clock()
            while gateway.gateway.clock() - begin < 1.0:
                writer.write(b"x" * 50)
                rounds = gateway.gateway.sweep.rounds
                await until(lambda rounds=rounds: gateway.gateway.sweep.rounds > rounds)  # type: ignore[misc]
            writer.write(b"\n")
            assert (await reader.readuntil(b"\n"))[:2] == b"XX"
            assert gateway.gateway.counters.slow_ended == 0
            writer.close()

    run(scenario)


def test_a_connection_on_which_nobody_speaks_is_ended(tmp_path: Path, stock_io: bool) -> None:
    """Neither client nor server has said a word within silent_seconds. Who has spoken once may be quiet for days."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener(upstream), limits=Limits(silent_seconds=0.4), stock_io=stock_io) as gateway,
        ):
            spoken, talk = await gateway.connect()
            talk.write(b"a")
            assert await spoken.readexactly(1) == b"A"
            silent, writer = await gateway.connect()
            assert await gone(silent)
            assert gateway.names() == ["timeout"]
            assert gateway.gateway.counters.silent_ended == 1
            talk.write(b"b")
            assert await spoken.readexactly(1) == b"B"
            talk.close()
            writer.close()

    run(scenario)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says much more than anybody can buffer, whatever it is asked."""
    await reader.read(1)
    for _ in range(2000):
        writer.write(b"x" * 65536)
        await writer.drain()


def test_a_reader_that_never_reads_is_ended(tmp_path: Path, stock_io: bool) -> None:
    """What waits for it stays above its bound and not a byte is taken: after stalled_seconds both sides are ended."""

    async def scenario() -> None:
        limits = Limits(stalled_seconds=0.5, write_buffer_bytes=65536, close_seconds=0.2)
        async with (
            serving(flood) as upstream,
            running(tmp_path, listener(upstream), limits=limits, stock_io=stock_io) as gateway,
        ):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect(("127.0.0.1", gateway.port))
                sock.send(b"x")
                await until(lambda: gateway.gateway.counters.stalled_ended == 1, 15)
                await until(lambda: reasons(gateway) == ["not read"])
                assert gateway.names() == ["timeout"]
                await until(lambda: not gateway.gateway.links)

    run(scenario)


def test_memory_of_one_client_is_bounded(tmp_path: Path, stock_io: bool) -> None:
    """Above client_held_bytes its heaviest session meets overload; the light one lives, and a new one is refused only
    while too much waits."""

    async def scenario() -> None:
        limits = Limits(client_held_bytes=300_000, way_bytes=1 << 20)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener(upstream), on=keep, limits=limits, stock_io=stock_io) as gateway,
        ):
            _, one = await gateway.connect()
            one.write(b"x" * 1000)
            heavy, two = await gateway.connect()
            two.write(b"x" * 400_000)
            assert await gone(heavy)
            troubles = [[given.name for given in script.inputs if isinstance(given, Troubled)]
                        for script in gateway.sessions]
            assert troubles == [[], ["overload"]]
            assert gateway.gateway.counters.held_overload == 1
            await until(lambda: gateway.gateway.sweep.held == 1000)
            _, three = await gateway.connect()
            three.write(b"x")
            await until(lambda: len(gateway.sessions) == 3)
            for writer in (one, two, three):
                writer.close()

    run(scenario)


def test_new_sessions_are_refused_while_too_much_waits(tmp_path: Path) -> None:
    """Where the policy lets overload pass, those who are there go on; those who come are refused."""

    def patient(script: Script, given: Input) -> list[Effect] | None:
        return [] if isinstance(given, Troubled) else keep(script, given)

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener(upstream), on=patient, limits=Limits(client_held_bytes=1000)) as gateway,
        ):
            _, writer = await gateway.connect()
            writer.write(b"x" * 2000)
            await until(lambda: gateway.gateway.sweep.held >= 2000)
            reader, other = await gateway.connect()
            assert await gone(reader)
            assert gateway.gateway.admission.refused == {"held_bytes": 1}
            assert "wait in sessions of this client" in str(gateway.notes[-1].row["detail"])
            rounds = gateway.gateway.sweep.rounds
            await until(lambda: gateway.gateway.sweep.rounds > rounds + 2)
            assert gateway.gateway.counters.held_overload == 1  # told once
            for each in (writer, other):
                each.close()
            await until(lambda: not gateway.gateway.links)
            assert (gateway.gateway.sweep.held, gateway.gateway.sweep._clients, gateway.gateway.sweep._marks) == (
                0, {}, {})

    run(scenario)


class Place:
    """A host whose links are made by hand."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.links: list[Any] = []
        self.now = 1000.0
        self.calls: list[Callable[[], None]] = []
        self.counters = self

        self.idle_ended = self.silent_ended = self.slow_ended = self.stalled_ended = self.held_overload = 0

    def clock(self) -> float:
        return self.now

    def later(self, delay: float, call: Callable[[], None]) -> Any:
        self.calls.append(call)
        return self

    def cancel(self) -> None: ...

    def slow(self, link: Any, detail: str, then: Callable[[], None]) -> None:
        then()

    def turn(self) -> None:
        """One turn of the loop."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Heavy:
    """A link, its conversation, its session and its outlet in one, with a weight."""

    done = leaving = lingering = False
    bytes = up = 1
    transports: dict[object, object] = {}

    def __init__(self, client: str, weight: int, last: float = 1000.0) -> None:
        self.peer = client, 1
        self.weight = weight
        self.last = self.since = last
        self.conversation = self.session = self.outlet = self
        self.told: list[str] = []
        self.held = 0
        """Bytes of the client's unit that is not whole."""
        self.unread = 0
        """Bytes that the client leaves unread."""
        self._decoder = self.client_side = self.server_side = self.transport = self
        self.open = True

    def pending(self, way: Way) -> int:
        return self.held if way is UP else 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def kill(self, reason: str) -> None:
        self.told.append(reason)

    def check(self) -> None: ...

    def queued(self, way: Way) -> int:
        return self.weight if way is UP else 0

    def post(self, given: Troubled) -> None:
        self.told.append(given.name)


def test_in_all_the_heaviest_client_gives_first() -> None:
    """Two have much and many have little: only the heaviest sessions of those who have much are told."""
    place = Place(Limits(held_bytes=1000))
    greedy = [Heavy("10.0.0.1", 100) for _ in range(8)]
    second = [Heavy("10.0.0.2", 100) for _ in range(3)]
    small = [Heavy(f"10.1.0.{number}", 1) for number in range(50)]
    place.links = [*greedy, *second, *small]
    sweep = Sweep(place)
    sweep.start()
    place.turn()
    assert sweep.held == 1150
    assert sum(len(link.told) for link in greedy) == 3
    assert not any(link.told for link in (*second, *small))


def test_a_round_is_made_in_slices() -> None:
    """However many sessions there are, no more than SLICE are looked at in one turn of the loop."""
    place = Place(Limits())
    place.links = [Heavy("10.0.0.1", 1) for _ in range(3 * SLICE + 1)]
    sweep = Sweep(place)
    sweep.start()
    seen = []
    for _ in range(4):
        place.turn()
        seen.append(sweep.held)
    assert seen == [SLICE, 2 * SLICE, 3 * SLICE, 3 * SLICE + 1]


def test_what_is_quiet_costs_no_look() -> None:
    """A session in which nothing has moved since the last round is not measured."""
    place = Place(Limits())
    quiet = Heavy("10.0.0.1", 1, last=900.0)
    place.links = [quiet]
    sweep = Sweep(place)
    sweep.start()
    place.turn()
    assert sweep.held == 0
    place.now += 1
    quiet.last = place.now
    place.turn()
    assert sweep.held == 1


def watched(limits: Limits, link: Heavy) -> Callable[[float], None]:
    """Goes on by so many seconds and makes a round."""
    place = Place(limits)
    place.links = [link]
    sweep = Sweep(place)
    sweep.start()

    def after(seconds: float) -> None:
        place.now += seconds
        link.last = place.now
        place.turn()

    return after


def test_units_that_come_one_after_the_other_are_no_endless_one() -> None:
    """A peer of whom half a unit is always there, but never the same one: less is there than before, or it is whole."""
    link = Heavy("10.0.0.1", 0)
    after = watched(Limits(unit_seconds=100, slow_bytes=10), link)
    for turn in range(100):
        link.held = 500 - 100 * (turn % 3)
        after(30)
    assert link.told == []
    after(60)
    after(60)
    assert link.told == ["too slow"]


def test_who_is_not_read_is_not_slow() -> None:
    """His unit cannot come to its end while the other side takes nothing, or too much of his waits for a verdict."""
    link = Heavy("10.0.0.1", 2000)
    after = watched(Limits(unit_seconds=100, way_bytes=1000), link)
    link.held = 10
    for _ in range(10):
        after(60)
    assert link.told == []


@pytest.mark.parametrize(("taken", "told"), [(64, []), (63, ["not read"]), (0, ["not read"])])
def test_a_slow_reader_is_none_that_never_reads(taken: int, told: list[str]) -> None:
    """His buffer is full whenever it is looked at; what he takes each second decides, whatever he sends himself."""
    link = Heavy("10.0.0.1", 0)
    after = watched(Limits(stalled_seconds=100, slow_bytes=64, write_buffer_bytes=1000), link)
    link.unread = 2000
    link.bytes = 2000 + link.up
    for _ in range(101):
        after(1)
        link.bytes += taken + 500  # what he took was refilled by the server …
        link.up += 500  # … and he is talkative
    assert link.told == told
