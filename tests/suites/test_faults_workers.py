"""Two workers whose store cannot be written, or whose clock jumps: nothing passes that should not, both heal by
themselves, and what is left is a whole log.

The faults are real ones: another program's lock, a small disk that is full or becomes read-only (in a mount name space
of its own), and a wall clock that all processes of the gateway read and that is set while they run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inspector.app.control import ask
from inspector.app.errors import UserError
from tests.live.peers import ROOT, GatewayChild
from tests.ports import free_port
from tests.suites.test_crash import POLICY, Client, Server

pytestmark = pytest.mark.live

MIB = 1 << 20
LIMITS: dict[str, Any] = {"store_seconds": 1}
WHILE = ("please refuse", "please hold", "and so on")
"""What everybody says at each stage: the last of it passes."""


class Quiet(Client):
    """A user who says what he is told to."""

    pause = 3600.0


class Site:
    """A gateway with two workers, and a user of each."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.server = Server()
        port = free_port()
        listeners = [{"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{self.server.port}"}]
        self.port, self.numbers = port, iter(range(10**6))
        self.control = folder / "control.sock"
        self.users: list[Quiet] = []
        self.clients: list[Quiet] = []
        self.gateway = GatewayChild(folder, listeners, policy=POLICY, workers=2, **more)

    def __enter__(self) -> Site:
        seats: set[int] = set()
        for n in range(2, 60):
            before = self.sessions()
            client = self.come(f"127.0.0.{n}")
            seat = next(seat for seat, count in self.sessions().items() if count > before.get(seat, 0))
            if seat not in seats:
                seats.add(seat)
                self.users.append(client)
            if len(seats) == 2:
                return self
        raise AssertionError("all came to one worker")

    def __exit__(self, *exc: object) -> None:
        for client in self.clients:
            client.hush()
            client.join()
        code = self.gateway.stop()
        self.server.close()
        assert code == 0, self.gateway.child.text()

    def come(self, host: str) -> Quiet:
        """One more user."""
        self.clients.append(Quiet(self.port, f"u{len(self.clients)}", self.numbers, None, host))  # type: ignore[arg-type]
        return self.clients[-1]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.control, "status", 20)
        return found

    def sessions(self) -> dict[int, int]:
        """seat -> sessions."""
        return {one["seat"]: one["sessions"] for one in self.status()["workers"]}

    def say(self, words: str) -> list[int]:
        """Both users say it; the numbers of what they said, once both have an answer to what they asked behind it."""
        said = []
        for user in self.users:
            number = next(self.numbers)
            said.append(number)
            user.say(user.message(number, words) + user.ping(f"after{number}."))
        for user, number in zip(self.users, said, strict=True):
            until(partial(answered, user, number), "no answer")
            assert not user.over
        return said

    def talk(self) -> None:
        """Everybody says everything: only what may pass does."""
        for words in WHILE:
            said = self.say(words)
            for number in said:
                came = self.server.count()[f"no{number}x {words}"]
                assert came == (1 if words == WHILE[-1] else 0), (words, came)

    def well(self) -> bool:
        """Whether all write."""
        with contextlib.suppress(UserError):
            return bool(self.status()["store"]["healthy"])
        return False

    def check(self) -> None:
        """What was refused has its row in either chain, and what is held its content; the log is whole; nobody has
        died."""
        assert self.status()["workers"] and not [
            row for row in self.gateway.rows("trouble") if row["name"] in ("worker_died", "session_lost")]
        done = self.gateway.inspector("verify")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in self.gateway.child.text()
        items = {item["id"] for item in ask(self.control, "holds", 20)}
        held = {row["held"] for row in self.gateway.rows("verdict") if row["did"] == "hold"}
        assert held and held <= items
        for words in self.server.count():
            assert "please" not in words, words


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the store's write lock."""
    base = sqlite3.connect(path, isolation_level=None, timeout=20)
    base.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        base.execute("ROLLBACK")
        base.close()


def answered(user: Quiet, number: int) -> bool:
    """Whether the server has answered what he asked behind that message, or he is gone."""
    return user.over or b"after%d." % number in user.heard


def told_of_the_clock(site: Site, times: int) -> bool:
    """Whether both workers have said so, so many times in all."""
    return len([row for row in site.gateway.rows("trouble") if row["name"] == "clock"]) >= times


CLOCK = """
import mmap, os, struct, time
with open(os.path.join(os.path.dirname(__file__), "offset"), "rb") as _file:
    _page = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_wall = time.time
time.time = lambda: _wall() + struct.unpack("<d", _page[:8])[0]
"""
"""A module that Python imports at its start (site): a wall clock that can be set."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One gateway for the faults that need no disk of their own; its wall clock can be set."""
    folder = tmp_path_factory.mktemp("faults")
    clock = folder / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK)
    (clock / "offset").write_bytes(struct.pack("<d", 0.0))
    # The supervisor hands its path on to its workers, whose Python looks for such a module at its start.
    patch = f"sys.path.insert(0, {str(clock)!r}); import sitecustomize"
    with Site(folder, patch=patch, limits={**LIMITS, "hold_seconds": 86400}) as made:
        yield made


def test_a_store_that_is_locked_for_a_while(site: Site) -> None:
    """Both workers refuse what they must and hold nothing; when it is free again both write, and hold."""
    site.talk()
    with locked(site.folder / "events.db"):
        site.talk()
        assert not site.well()
    until(site.well, "it does not heal")
    site.talk()
    site.check()
    failed = [row for row in site.gateway.rows("trouble") if row["name"] == "store_failed"]
    assert len({row["flow"] for row in failed}) == 2


def test_a_clock_that_jumps(site: Site) -> None:
    """Ten days ahead, then two days back of what it was: both workers go on, it is told, nothing that waits expires,
    and the chains verify although their times run back."""
    site.talk()
    waiting = {item["id"] for item in ask(site.control, "holds", 20)}
    assert waiting
    for times, days in ((2, 10), (4, -2)):
        with (site.folder / "clock" / "offset").open("r+b") as file:
            file.write(struct.pack("<d", days * 86400.0))
        until(partial(told_of_the_clock, site, times), "not told")
        site.talk()
    until(lambda: "nothing that is held expires" in site.gateway.child.text(), "the desk has not looked")
    states = {item["id"]: item["state"] for item in ask(site.control, "holds", 20)}
    assert {states[item] for item in waiting} == {"held"}
    assert len(states) == len(waiting) + 4
    site.check()


def a_disk(folder: Path, disk: Path) -> None:
    """The disk of event log and quarantine is filled, and emptied again; then it becomes read-only, as after an error
    of its own, and is repaired."""
    limits = {**LIMITS, "disk_free_bytes": 3 * MIB, "disk_stop_bytes": MIB, "disk_reserve_bytes": MIB // 2}
    with Site(folder, limits=limits, **stores(disk)) as site:
        site.talk()
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for _ in range(2):
            site.talk()
        assert site.status()["problems"]
        ballast.unlink()
        until(site.well, "it does not heal")
        site.talk()
        with locked(disk / "events.db"):  # or they would go on with what they have open
            site.talk()
            for command in (["mount", "--bind", str(disk), str(disk)], ["mount", "-o", "remount,bind,ro", str(disk)]):
                subprocess.run(command, check=True, timeout=20)
            site.say("please refuse")
        site.talk()
        assert not site.well()
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=20)
        until(site.well, "it does not heal")
        site.talk()
        site.check()


def stores(disk: Path) -> dict[str, Any]:
    """Everything on that disk."""
    return {"store": {"events": f"sqlite:{disk}/events.db", "quarantine": f"{disk}/quarantine"}}


@pytest.mark.netns
def test_a_disk_that_fails_and_is_repaired(tmp_path: Path) -> None:
    """Full, then read-only: on a small disk of its own, in a mount name space of its own; see `a_disk`."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, for a small disk of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    program = (
        "import sys; from pathlib import Path; import tests.suites.test_faults_workers as t; "
        "t.a_disk(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    shell = 'mount -t tmpfs -o size=8m,mode=700 none "$1" || exit 77; exec "$2" -c "$3" "$4" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh", str(disk), sys.executable, program,
         str(tmp_path / "gateway")],
        capture_output=True, text=True, check=False, timeout=200, cwd=ROOT)
    if done.returncode == 77:
        pytest.skip("this machine gives no mount name space")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
