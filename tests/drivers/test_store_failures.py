"""What a gateway does whose event store cannot write: nothing passes that should not, and it heals by itself.

The real driver, engine and writer; faults of the store are real ones: a lock, a file that is gone and in whose place
something else is, and (in a process and a mount of its own) a disk that is full or read-only.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inspector.drivers.alarms import Alarms
from inspector.drivers.mitm_server import ListenerSettings
from inspector.engine.session import Session
from inspector.engine.world import Paths, World
from inspector.model import Flow, Limits
from inspector.store.sqlite import Reader, Writer
from tests.drivers.mitm_harness import Running, running, serving, until
from tests.engine.toy import ToyPolicy, toy_kit

LIMITS = Limits(store_seconds=0.4)
Fault = Callable[[Path], Any]


class Server:
    """Signs everybody on; remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.startswith(b"HELLO"):
                writer.write(b"ME alice\n")
            else:
                self.heard.append(line)
                writer.write(b"GOT " + line)


class Talk:
    """One client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def sign_on(self) -> None:
        assert await self.say("HELLO there") == "ME alice"

    async def say(self, line: str) -> str:
        """Say a line; the next one that comes, "" at the end."""
        self.writer.write(line.encode() + b"\n")
        return (await asyncio.wait_for(self.reader.readline(), 10)).decode().rstrip("\n")


class Scene:
    """A gateway with a real store."""

    def __init__(self, gateway: Running, server: Server, store: Writer, limits: Limits) -> None:
        self.gateway = gateway
        self.server = server
        self.store = store
        self.alarms = Alarms(lambda: limits, store, {}, gateway.gateway.clock, store.put, gateway.sentences.append)
        gateway.gateway.admission.full = lambda: self.alarms.full

    async def talk(self) -> Talk:
        talk = Talk(*await self.gateway.connect())
        await talk.sign_on()
        return talk

    async def written(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The rows of this kind with these fields, once there is one."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            with Reader(self.store.path) as reader:
                rows = [msgspec.json.decode(line) for _, line in reader.select(events=(event,))]
            found[:] = [row for row in rows if all(row[name] == value for name, value in fields.items())]
            return bool(found)

        await until(there, 10)
        return found


@asynccontextmanager
async def scene(
    folder: Path, limits: Limits = LIMITS, store: Path | None = None, trouble: str = "block",
) -> AsyncIterator[Scene]:
    kit = toy_kit(ToyPolicy(trouble={"store_failed": trouble}), limits=limits)
    server, writer = Server(), Writer(store or folder / "store" / "events.db", limits=limits)
    world = World(limits)

    def make(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Session:
        return Session(flow, kit, world)

    async with serving(server) as upstream, running(
        folder, ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream), limits=limits, world=world,
        sessions=make,
    ) as gateway:
        writer.start()
        gateway.gateway._notes = lambda note, done: writer.put(
            note.row, done, hurry=not note.barrier)
        try:
            yield Scene(gateway, server, writer, limits)
        finally:
            await asyncio.to_thread(writer.close)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the store's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def in_the_way(path: Path) -> Iterator[None]:
    """The store is gone, and a folder has its name."""
    old = path.with_name("old")
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        if path.with_name(name).exists():
            path.with_name(name).rename(old.with_name(old.name + name.removeprefix(path.name)))
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()


async def nothing_passes(it: Scene, talk: Talk) -> None:
    """While the store fails: what is refused or masked reaches nobody, its sender is told, the session goes on."""
    it.server.heard.clear()
    assert "not delivered" in await talk.say("SAY bob please block this")
    talk.writer.write(b"SAY bob my secret mask this\n")
    answer = await talk.say("SAY bob plain words")
    if "not delivered" in answer:
        answer = (await talk.reader.readline()).decode().rstrip("\n")
    assert answer == "GOT SAY bob plain words"
    assert it.server.heard == [b"SAY bob plain words\n"]
    assert not it.store.healthy


@pytest.mark.parametrize("fault", [locked, in_the_way])
def test_nothing_that_is_refused_or_masked_passes_and_the_gateway_heals(tmp_path: Path, fault: Fault) -> None:
    """A store that cannot be written for a while: refused and masked messages are withheld, others go on; when it can
    be written again a refusal has its row before anybody notices, and what happened is in the log."""

    async def scenario() -> None:
        async with scene(tmp_path) as it:
            talk = await it.talk()
            assert "not delivered" in await talk.say("SAY bob block me before")
            await it.written("verdict", did="block")
            with fault(it.store.path):
                await nothing_passes(it, talk)
            await until(lambda: it.store.healthy, 10)
            assert "not delivered" in await talk.say("SAY bob block me after")
            rows = await it.written("verdict", did="block")
            assert rows
            troubles = await it.written("trouble", name="store_failed", did="block")
            assert len(troubles) == 2
            assert await talk.say("SAY bob my secret mask") == "GOT SAY bob my ****** mask"
            talk.writer.close()

    run(scenario)


@pytest.mark.parametrize(("trouble", "answers"), [
    ("pass", ["GOT SAY bob my ****** mask", "GOT SAY bob more"]), ("cut", ["BYE store_failed", ""]),
])
def test_the_policy_says_what_a_store_that_fails_means(tmp_path: Path, trouble: str, answers: list[str]) -> None:
    """pass: what is to be masked leaves masked, though no row tells it; cut: the session ends."""

    async def scenario() -> None:
        async with scene(tmp_path, trouble=trouble) as it:
            talk = await it.talk()
            with locked(it.store.path):
                assert [await talk.say("SAY bob my secret mask"), await talk.say("SAY bob more")] == answers
                assert not any(b"secret" in line for line in it.server.heard)
            await it.written("trouble", name="store_failed", did=trouble)
            talk.writer.close()

    run(scenario)


def test_a_flood_against_a_store_that_stands_still_is_bounded(tmp_path: Path) -> None:
    """Rows that wait are bounded, what finds no room is store_failed, and memory of one session is no more than its
    queue: when the store works again the sessions that are left go on."""

    async def scenario() -> None:
        limits = replace(LIMITS, store_queue_rows=50)
        async with scene(tmp_path, limits) as it:
            talk = await it.talk()
            with locked(it.store.path):
                talk.writer.write(b"SAY bob block\n" * 500)
                await until(lambda: it.store.counters.failed >= 500, 20)
                assert it.store.waiting <= 50
            for _ in range(500):
                assert b"not delivered" in await talk.reader.readline()
            it.alarms.look()
            assert any("rows are left out" in problem for problem in it.alarms.problems())
            await until(lambda: it.store.healthy, 10)
            assert await talk.say("SAY bob words") == "GOT SAY bob words"
            assert it.server.heard == [b"SAY bob words\n"]
            talk.writer.close()

    run(scenario)


def test_who_is_cut_for_a_trouble_sees_it_when_its_row_is_on_disk(tmp_path: Path) -> None:
    """Neither last words nor the end reach anybody before; what is sent meanwhile reaches nobody."""

    async def scenario() -> None:
        async with scene(tmp_path, replace(LIMITS, store_seconds=30)) as it:
            talk = await it.talk()
            with locked(it.store.path):
                talk.writer.write(b"BAD\nSAY bob more\n")
                await until(lambda: it.gateway.gateway.waits.number == 1)
                await until(lambda: it.store.counters.failures)
                talk.writer.write(b"SAY bob still more\n")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(talk.reader.read(1), 0.2)
                assert not it.store.counters.durable
            assert await talk.reader.readline() == b"BYE malformed\n"
            with Reader(it.store.path) as reader:
                rows = [msgspec.json.decode(line) for _, line in reader.select(events=("trouble",))]
            assert [(row["name"], row["did"]) for row in rows] == [("malformed", "cut")]
            assert (await talk.reader.read(), it.server.heard) == (b"", [b"BYE\n"])
            waits = it.gateway.gateway.waits
            assert (waits.number, waits.lagging, waits.unwritten) == (0, 0, 0)
            talk.writer.close()

    run(scenario)


def test_a_trouble_whose_row_cannot_be_written_cuts_all_the_same(tmp_path: Path) -> None:
    """After limits.store_seconds nobody is kept any longer; that is counted, and the row follows when it can."""

    async def scenario() -> None:
        async with scene(tmp_path) as it:
            talk = await it.talk()
            with locked(it.store.path):
                assert await talk.say("BAD") == "BYE malformed"
                assert it.gateway.gateway.waits.unwritten == 1
            rows = await it.written("trouble", name="malformed", did="cut")
            assert len(rows) == 1
            talk.writer.close()

    run(scenario)


def test_a_refused_connection_is_closed_when_its_row_is_on_disk(tmp_path: Path) -> None:
    """One beyond the bound of sessions stays open, unread, for as long; those beyond the bound of waits do not."""

    async def scenario() -> None:
        limits = replace(LIMITS, store_seconds=30, client_sessions=1, client_trouble_waits=1)
        async with scene(tmp_path, limits) as it:
            talk = await it.talk()
            with locked(it.store.path):
                first, second = await it.gateway.connect(), await it.gateway.connect()
                assert await asyncio.wait_for(second[0].read(), 5) == b""
                assert it.gateway.gateway.waits.number == 1
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(first[0].read(1), 0.2)
            assert await asyncio.wait_for(first[0].read(), 10) == b""
            with Reader(it.store.path) as reader:
                assert len(list(reader.select(events=("trouble",)))) >= 1
            assert it.gateway.gateway.waits.lagging == 1
            assert await talk.say("SAY bob words") == "GOT SAY bob words"
            for each in (talk.writer, first[1], second[1]):
                each.close()

    run(scenario)


MIB = 1 << 20
DISK = replace(
    LIMITS, store_seconds=1.5, disk_free_bytes=3 * MIB, disk_stop_bytes=2 * MIB, disk_reserve_bytes=MIB // 2)


async def full_disk(folder: Path, disk: Path) -> None:
    """The story of a disk that fills: new sessions are refused, the reserve is given up for verdicts, it is full at
    last, there is room again."""
    async with scene(folder, DISK, disk / "events.db") as it:
        it.alarms.look()
        talk = await it.talk()
        assert "not delivered" in await talk.say("SAY bob block one")
        reserve = disk / "events.db-reserve"
        assert reserve.exists()
        ballast = disk / "ballast"

        def fill(leave: int) -> None:
            about = os.statvfs(disk)
            with ballast.open("ab") as file:
                file.write(bytes(max(0, about.f_bavail * about.f_frsize - leave)))

        fill(MIB)
        it.alarms.look()
        reader, writer = await it.gateway.connect()
        assert await reader.read() == b""  # new ones are refused …
        writer.close()
        assert "not delivered" in await talk.say("SAY bob block two")  # … those who are there go on
        fill(0)

        async def looking() -> None:
            while True:
                it.alarms.look()
                await asyncio.sleep(0.1)

        task = asyncio.create_task(looking())
        for number in range(20):
            answer = await talk.say(f"SAY bob block on a full disk {number}")
            assert "not delivered" in answer, answer
            if not reserve.exists():
                break
        assert not reserve.exists()
        assert "not delivered" in await talk.say("SAY bob block in the reserve")
        await until(lambda: it.store.healthy, 10)
        await it.written("verdict", did="block")
        assert it.store.sparing
        ballast.write_bytes(b"")
        await until(lambda: reserve.exists() and not it.store.sparing, 10)
        assert await talk.say("SAY bob my secret mask") == "GOT SAY bob my ****** mask"
        again = await it.talk()
        assert not any(b"block" in line for line in it.server.heard)
        assert {"disk"} <= {row["name"] for row in await it.written("trouble")}
        task.cancel()
        for each in (talk, again):
            each.writer.close()


async def read_only(folder: Path, disk: Path) -> None:
    """The disk becomes read-only, as after an error of its own, and is repaired."""
    async with scene(folder, LIMITS, disk / "events.db") as it:
        talk = await it.talk()
        assert "not delivered" in await talk.say("SAY bob block one")
        with locked(it.store.path):  # or the writer would go on with what it has open
            await nothing_passes(it, talk)
            for command in (["mount", "--bind", str(disk), str(disk)], ["mount", "-o", "remount,bind,ro", str(disk)]):
                subprocess.run(command, check=True, timeout=20)
            failures = it.store.counters.failures
            await until(lambda: it.store.counters.failures >= failures + 2, 10)
        await nothing_passes(it, talk)
        assert "read" in str(it.store.fault)  # "read-only file system", "attempt to write a readonly database"
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=20)
        await until(lambda: it.store.healthy, 10)
        assert "not delivered" in await talk.say("SAY bob block again")
        await it.written("verdict", did="block")
        talk.writer.close()


@pytest.mark.netns
@pytest.mark.parametrize("story", ["full_disk", pytest.param("read_only", marks=pytest.mark.long)])
def test_a_disk_that_fails_and_is_repaired(tmp_path: Path, story: str) -> None:
    """On a small disk of its own, in a mount name space of its own; see the stories."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, for a small disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    program = (
        "import asyncio, sys; from pathlib import Path; import tests.drivers.test_store_failures as t; "
        f"asyncio.run(t.{story}(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    shell = 'mount -t tmpfs -o size=6m,mode=700 none "$1" || exit 77; exec "$2" -c "$3" "$4" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh", str(disk), sys.executable, program,
         str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100, cwd=Path(__file__).resolve().parents[2])
    if done.returncode == 77:
        pytest.skip("this machine gives no mount name space")
    assert done.returncode == 0, done.stderr[-3000:]
