"""Overload on the real driver: floods, slow set-ups, and one client beside another; on both kinds of I/O."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.admission import FULL_ROWS, OWN_FILES
from inspector.drivers.mitm_io import MUCH
from inspector.drivers.mitm_server import ListenerSettings
from inspector.engine.session import Session
from inspector.engine.world import Paths, World
from inspector.model import DOWN, UP, Chunk, Effect, Finding, Flow, Input, Limits, Rules, Scan, Scanned, Send, Text
from tests.drivers.mitm_harness import Running, Script, echo, running, serving, until
from tests.drivers.test_mitm import PROCEED, Pki, starttls, starttls_server
from tests.drivers.test_mitm_server import LOOPBACK, SOCKS_HELLO, connect, socks, socks_request
from tests.engine.toy import TOY, ToyPolicy, ToyScanner, toy_kit


@pytest.fixture(params=["fast", "stock"])
def stock_io(request: pytest.FixtureRequest) -> bool:
    """Both kinds of I/O."""
    return bool(request.param == "stock")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def listener(mode: Any, **more: Any) -> ListenerSettings:
    return ListenerSettings(mode, "127.0.0.1", 0, **more)


async def from_address(gateway: Running, address: str, index: int = 0) -> tuple[
    asyncio.StreamReader, asyncio.StreamWriter,
]:
    """A connection of another client of ours."""
    _, host, port = gateway.gateway.addresses[index]
    return await asyncio.open_connection(host, port, local_addr=(address, 0))


async def over(reader: asyncio.StreamReader) -> bytes:
    """What still comes, until the connection ends."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


# -- floods of connections


def test_a_flood_of_connections_leaves_nothing_behind(tmp_path: Path, stock_io: bool) -> None:
    """Three hundred refused ones: each is counted, few are told in full, the rest together; the living session goes
    on, another client is let in, and no table keeps anything of them."""

    async def scenario() -> None:
        limits = Limits(client_sessions=1, refusal_seconds=0.5)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), limits=limits, stock_io=stock_io) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            for _ in range(300):
                refused, closing = await gateway.connect()
                assert await over(refused) == b""
                closing.close()
            other, there = await from_address(gateway, "127.0.0.2")
            there.write(b"b")
            assert await other.readexactly(1) == b"B"
            writer.write(b"c")
            assert await reader.readexactly(1) == b"C"
            rows = [note.row for note in gateway.notes if note.row["name"] == "overload"]
            await until(lambda: sum(
                note.row["count"] for note in gateway.notes if note.row["name"] == "overload") == 300)
            assert len(rows) <= 20 * FULL_ROWS
            assert gateway.gateway.counters.overload == 300
            assert gateway.gateway.admission.refused == {"client_sessions": 300}
            assert any("sessions are refused" in problem for problem in gateway.gateway.problems())
            assert len(gateway.sentences) < 30
            await until(lambda: len(gateway.gateway.links) == gateway.gateway.admission.open == 2)
            assert len(gateway.gateway.admission._clients) == 2
            for each in (writer, there):
                each.close()
            await until(lambda: gateway.gateway.admission.open == 0)
            assert not gateway.gateway.admission._clients
            assert not gateway.gateway.admission._setting_up

    run(scenario)


def test_set_ups_are_bounded_and_those_that_are_over_count_no_more(tmp_path: Path, stock_io: bool) -> None:
    """Half-open connections of one client do not take the places of sessions, nor those of other clients."""

    async def scenario() -> None:
        limits = Limits(client_setups=2)
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("socks5", destinations=LOOPBACK), limits=limits, stock_io=stock_io) as gateway,
        ):
            sessions = []
            for _ in range(3):
                reader, writer = await gateway.connect()
                assert await socks(reader, writer, "127.0.0.1", upstream[1]) == 0
                writer.write(b"a")
                assert await reader.readexactly(1) == b"A"
                sessions.append(writer)
            halves = [await gateway.connect() for _ in range(2)]
            await until(lambda: gateway.gateway.admission.setups == 2)
            refused, closing = await gateway.connect()
            assert await over(refused) == b""
            assert gateway.gateway.admission.refused == {"client_setups": 1}
            other, there = await from_address(gateway, "127.0.0.2")
            assert await socks(other, there, "127.0.0.1", upstream[1]) == 0
            for each in (*sessions, closing, there, *(writer for _, writer in halves)):
                each.close()

    run(scenario)


def test_sessions_are_refused_before_files_run_out(tmp_path: Path) -> None:
    """The process may open so many files: two for each session. The living ones can still open what they need."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream)) as gateway,
        ):
            gateway.gateway.admission.files = OWN_FILES + 2
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            refused, closing = await gateway.connect()
            assert await over(refused) == b""
            assert "may open" in gateway.notes[-1].row["detail"]
            for each in (writer, closing):
                each.close()

    run(scenario)


def test_a_disk_that_is_nearly_full_refuses_new_sessions(tmp_path: Path, stock_io: bool) -> None:
    """What the alarms say closes the door, and opens it again."""

    async def scenario() -> None:
        why: list[str | None] = ["the disk is nearly full"]
        async with (
            serving(echo) as upstream,
            running(tmp_path, listener("reverse", upstream=upstream), stock_io=stock_io) as gateway,
        ):
            gateway.gateway.admission.full = lambda: why[0]
            refused, closing = await gateway.connect()
            assert await over(refused) == b""
            assert (gateway.names(), gateway.notes[0].row["detail"]) == (["overload"], why[0])
            why[0] = None
            reader, writer = await gateway.connect()
            writer.write(b"a")
            assert await reader.readexactly(1) == b"A"
            for each in (writer, closing):
                each.close()

    run(scenario)


# -- slow set-ups


def hello() -> bytes:
    """A ClientHello."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="chat.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("kind", ["socks5", "connect", "hello"])
def test_a_handshake_that_dribbles_is_ended(tmp_path: Path, stock_io: bool, kind: str) -> None:
    """Byte after byte of a valid SOCKS, CONNECT or TLS beginning: time counts from the first one."""

    async def scenario() -> None:
        words = {
            "socks5": SOCKS_HELLO + socks_request("a" * 200, 80),
            "connect": b"CONNECT a.test:80 HTTP/1.1\r\n" + b"X-Slow: yes\r\n" * 200,
            "hello": hello(),
        }[kind]
        async with serving(echo) as upstream:
            door = listener("reverse", upstream=upstream) if kind == "hello" else listener(kind)
            async with running(
                tmp_path, door, limits=Limits(handshake_seconds=0.3), stock_io=stock_io,
            ) as gateway:
                reader, writer = await gateway.connect()
                ended = asyncio.create_task(over(reader))
                for at in range(len(words)):
                    writer.write(words[at:at + 1])
                    await asyncio.wait({ended}, timeout=0.02)
                    if ended.done():
                        break
                assert await ended in (b"", b"\x05\x00")
                assert gateway.gateway.counters.late == 1
                assert gateway.names() == ["timeout"]
                await until(lambda: not gateway.gateway.links)
                writer.close()

    run(scenario)


def test_starttls_that_is_never_followed_is_ended(tmp_path: Path, pki: Pki, stock_io: bool) -> None:
    """Both have agreed to start TLS, the server's handshake is over, and the client sends no ClientHello."""

    async def scenario() -> None:
        async with (
            serving(starttls_server(pki.server("chat.test"))) as upstream,
            running(
                tmp_path, listener("reverse", upstream=upstream), tls=pki.settings(), on=starttls(), stock_io=stock_io,
                limits=Limits(handshake_seconds=0.5),
            ) as gateway,
        ):
            reader, writer = await gateway.connect()
            writer.write(b"S")
            assert await reader.readexactly(len(PROCEED)) == PROCEED
            await over(reader)
            assert gateway.gateway.counters.late == 1
            await until(lambda: not gateway.gateway.links)
            writer.close()

    run(scenario)


# -- one client beside another


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names that end in .slow are not answered before the event is set; all others are loopback."""
    let_go, real = threading.Event(), socket.getaddrinfo

    def answer(host: Any, *given: Any, **more: Any) -> Any:
        if isinstance(host, str) and host.endswith(".slow"):
            let_go.wait(30)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1" if isinstance(host, str) and host.endswith(".test") else host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    yield let_go
    let_go.set()


def test_names_that_nobody_answers_keep_no_other_client_waiting(
    tmp_path: Path, stock_io: bool, resolver: threading.Event,
) -> None:
    """Forty slow names of one client; another's is looked up at once. The slow ones end after connect_seconds."""

    async def scenario() -> None:
        limits = Limits(connect_seconds=2)
        async with serving(echo) as upstream, running(
            tmp_path, listener("connect", destinations=LOOPBACK), limits=limits, stock_io=stock_io,
        ) as gateway:
            slow = [await gateway.connect() for _ in range(40)]
            for number, (_, writer) in enumerate(slow):
                writer.write(f"CONNECT h{number}.slow:80 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            lookups = gateway.gateway.lookups
            assert lookups is not None
            await until(lambda: lookups.waiting >= 30)
            reader, writer = await from_address(gateway, "127.0.0.2")
            assert await asyncio.wait_for(connect(reader, writer, "quick.test", upstream[1]), 2) == 200
            assert lookups.waiting >= 30
            answers = [await over(one) for one, _ in slow]
            assert all(answer.startswith(b"HTTP/1.1 502 ") for answer in answers)
            resolver.set()
            for _, each in (*slow, (reader, writer)):
                each.close()
            await until(lambda: not lookups.waiting)

    run(scenario)


class Gated(ToyScanner):
    """A full scan of a text with `slow` waits until it is let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.stuck_threads: list[int] = []

    def full(self, texts: Any) -> tuple[Finding, ...]:
        if "slow" in texts[0].plain:
            self.gate.wait(30)
        return super().full(texts)

    def stuck(self, thread: int) -> None:
        self.stuck_threads.append(thread)


def asking(scanner: Any) -> Callable[[Script, Input], list[Effect] | None]:
    """A session that has every line scanned in a thread and says what came of it."""
    rules = Rules(1, ToyPolicy(), scanner)
    number = iter(range(1_000_000))

    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is UP:
            return [Scan(next(number), None, (Text("body", line.decode()),), rules)  # type: ignore[arg-type]
                    for line in given.data.splitlines()]
        if isinstance(given, Scanned):
            return [Send(DOWN, f"{given.failure} {given.trouble}\n".encode())]
        return None

    return on


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_of_a_client_that_floods_one_session_is_read_in_a_turn(tmp_path: Path, loop: str) -> None:
    """Ten sessions bring as much as they can: after the first read of each, one of them is read in a turn of the loop,
    so that another client waits for one and not for ten; nothing is lost."""
    factory = None
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed (make test installs it)")
        factory = uvloop.new_event_loop
    size, turn, reads = 200_000, 0, []

    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is UP and given.data:
            if len(given.data) >= MUCH and len(script.inputs) > 2:
                reads.append(turn)
            script.waiting[DOWN] += len(given.data)  # how much came; the other way is not in use
            return []
        return None

    def count() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    async def scenario() -> None:
        async with serving(echo) as upstream, running(
            tmp_path, listener("reverse", upstream=upstream), on=on, limits=Limits(way_bytes=1 << 30),
        ) as gateway:
            talks = [await gateway.connect() for _ in range(10)]
            for _, writer in talks:
                writer.write(b"x")
            await until(lambda: len(gateway.sessions) == 10)
            count()
            for _, writer in talks:
                writer.write(b"x" * size)
            await until(lambda: sum(script.waiting[DOWN] for script in gateway.sessions) == 10 * (size + 1), 20)
            assert len(reads) > 10
            assert max(reads.count(one) for one in set(reads)) == 1
            for _, writer in talks:
                writer.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(scenario(), 60))


def test_long_scans_of_one_client_keep_no_other_waiting(tmp_path: Path, stock_io: bool) -> None:
    """Two hundred of one client, who has half of the threads; another's is scanned at once. What one client may have
    waiting is bounded: above it a text is overload, never clean."""

    async def scenario() -> None:
        scanner = Gated()
        limits = Limits(client_scans=100, scan_seconds=20)
        async with serving(echo) as upstream, running(
            tmp_path, listener("reverse", upstream=upstream), limits=limits, on=asking(scanner), stock_io=stock_io,
        ) as gateway:
            reader, writer = await gateway.connect()
            writer.write(b"slow\n" * 200)
            assert await reader.readline() == b"too many texts wait to be scanned overload\n"
            scans = gateway.gateway.scans
            assert scans is not None
            other, there = await from_address(gateway, "127.0.0.2")
            there.write(b"quick\n")
            assert await asyncio.wait_for(other.readline(), 5) == b"None scanner_failed\n"
            assert scans.waiting >= 95
            scanner.gate.set()
            answers = [await reader.readline() for _ in range(199)]
            assert answers.count(b"None scanner_failed\n") == 102
            assert gateway.gateway.counters.scans_refused == 98
            for each in (writer, there):
                each.close()

    run(scenario)


def test_scans_that_do_not_end_are_given_up(tmp_path: Path) -> None:
    """Two threads are stuck: another client's texts are scanned all the same, the scanner is told which threads they
    are, and status says it while it lasts."""

    async def scenario() -> None:
        scanner = Gated()
        async with serving(echo) as upstream, running(
            tmp_path, listener("reverse", upstream=upstream), limits=Limits(scan_seconds=0.1, refusal_seconds=0.2),
            on=asking(scanner),
        ) as gateway:
            _, writer = await gateway.connect()
            writer.write(b"slow\nslow\n")
            await until(lambda: len(scanner.stuck_threads) == 2)
            assert gateway.gateway.counters.scans_stuck == 2
            assert any("stuck" in problem for problem in gateway.gateway.problems())
            other, there = await from_address(gateway, "127.0.0.2")
            there.write(b"quick\n")
            assert await asyncio.wait_for(other.readline(), 5) == b"None scanner_failed\n"
            scanner.gate.set()
            await until(lambda: not gateway.gateway.problems())
            for each in (writer, there):
                each.close()

    run(scenario)


def test_a_message_whose_scan_hangs_or_crashes_is_never_clean(tmp_path: Path) -> None:
    """Through the engine: no answer in time, an error of the scanner, an error of a rule: the sender is told that it
    was not delivered, the next message is."""

    class Broken(ToyScanner):
        def __init__(self) -> None:
            self.gate = threading.Event()

        def full(self, texts: Any) -> tuple[Finding, ...]:
            if "hangs" in texts[0].plain:
                self.gate.wait(30)
            if "crashes" in texts[0].plain:
                raise MemoryError
            return super().full(texts)

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"ME alice\n" if line.startswith(b"HELLO") else b"GOT it\n")

    heard: list[bytes] = []

    async def scenario() -> None:
        limits, scanner = Limits(scan_seconds=0.3), Broken()
        kit, world = toy_kit(limits=limits), World(limits)
        kit.rules = Rules(1, ToyPolicy(), scanner)

        def make(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Session:
            return Session(flow, kit, world)

        async with serving(server) as upstream, running(
            tmp_path, listener("reverse", upstream=upstream), limits=limits, sessions=make, world=world,
        ) as gateway:
            reader, writer = await gateway.connect()
            writer.write(b"HELLO a\n")
            assert await reader.readline() == b"ME alice\n"
            for words in ("long hangs", "long crashes", "broken"):
                writer.write(f"SAY bob {words}\n".encode())
                assert b"could not be checked" in await asyncio.wait_for(reader.readline(), 5), words
            writer.write(b"SAY bob long and well\n")
            assert await reader.readline() == b"GOT it\n"
            assert heard == [b"HELLO a\n", b"SAY bob long and well\n"]
            troubles = [(note.row["name"], note.row["did"]) for note in gateway.notes if note.row["event"] == "trouble"]
            assert troubles == [("scanner_failed", "block")] * 3
            assert world.tally(TOY.name).troubles == {("scanner_failed", "block"): 3}
            scanner.gate.set()
            writer.close()

    run(scenario)
