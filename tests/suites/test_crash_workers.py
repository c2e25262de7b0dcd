"""Workers, their supervisor, or all of them are killed at random moments under load: the three guarantees of
docs/guarantees.md hold each time, and whose worker lives goes on.

IRC and XMPP users from several addresses write numbered messages that pass, are refused, or wait for a reviewer, while
a reviewer releases what waits. A worker that is killed is replaced while all others talk on; after another kill the
gateway is started again on the same store. In the end all that waits is released, and arrives.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.app.control import ask
from inspector.app.errors import UserError
from tests.live.peers import GatewayChild, now
from tests.ports import free_ports
from tests.suites.talkers import XmppClient, XmppServer
from tests.suites.test_crash import LIMITS, POLICY, Client, Reviewer, Server, check, quarantined

pytestmark = pytest.mark.live

USERS = 6
"""The even ones speak IRC, the others XMPP; each has an address of his own."""
REVIEWERS = 3
WORDS = (*("and so on",) * 6, *("please refuse",) * 3, "please hold")
BOUND = 10.0
"""Seconds within which the sessions of a worker that was killed have ended for their clients."""
PATIENCE = 60.0
AT_ONCE = "import inspector.app.workers as w; w.FAST_DEATH = 0.0"
"""A worker that dies is replaced at once, however often."""


class Irc(Client):
    """One that leaves time for several processes."""

    pause, words = 0.04, WORDS


class Xmpp(XmppClient):
    """Likewise."""

    pause, words = 0.04, WORDS


class Crew:
    """The gateway with its workers, servers on the one side and users on the other."""

    def __init__(self, folder: Path, seed: int, **more: Any) -> None:
        self.folder, self.dice, self.more = folder, random.Random(seed), more
        self.irc, self.xmpp = Server(), XmppServer()
        self.ports = free_ports(2)
        self.control = folder / "control.sock"
        self.numbers = iter(range(10**9))
        self.told: set[str] = set()
        self.clients: dict[int, Client] = {}
        self.ended_by_itself = 0
        self.start()
        self.reviewers = [Reviewer(self.control, random.Random(f"{seed} {number}")) for number in range(REVIEWERS)]

    # -- life

    def start(self) -> None:
        listeners = [
            {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{server}"}
            for port, server in zip(self.ports, (self.irc.port, self.xmpp.port), strict=True)
        ]
        self.gateway = GatewayChild(
            self.folder, listeners, policy=POLICY, workers=2, patch=AT_ONCE, archive="none", limits=LIMITS,
            **self.more)

    def close(self) -> None:
        for reviewer in self.reviewers:
            reviewer.over.set()
        for reviewer in self.reviewers:
            reviewer.join(30)
        for user in list(self.clients):
            self.part(user)
        assert self.gateway.stop() == 0, self.gateway.child.text()
        self.irc.close()
        self.xmpp.close()

    def workers(self) -> list[dict[str, Any]]:
        """Those who take connections, asked now."""
        with contextlib.suppress(UserError):
            return [one for one in ask(self.control, "status", 10)["workers"] if one["state"] == "serving"]
        return []

    def pids(self) -> list[int]:
        """All workers, also those who start or die."""
        return [one["pid"] for one in ask(self.control, "workers", 10)]

    def signed_on(self) -> int:
        """Sessions there are."""
        return sum(one["sessions"] for one in self.workers())

    def until(self, true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"{what}\n{self.gateway.child.text()[-3000:]}"
            time.sleep(0.02)

    # -- users

    def gather(self) -> None:
        """All users are signed on."""
        for user in range(USERS):
            client = self.clients.get(user)
            if client is not None and client.over:
                self.part(user)
            if user not in self.clients:
                self.clients[user] = (Xmpp if user % 2 else Irc)(
                    self.ports[user % 2], f"user{user}", self.numbers, random.Random(self.dice.random()),
                    f"127.0.0.{user + 2}")

    def part(self, user: int) -> None:
        client = self.clients.pop(user)
        client.join()
        self.told.update(client.told)

    def hear(self, client: Client, token: str) -> None:
        """Have an answer from the server."""
        client.say(client.ping(token))
        self.until(lambda: token.encode() in client.heard or client.over, f"{client.nick} hears nothing")

    # -- rounds

    def kill_worker(self) -> None:
        """One worker is killed: its sessions end, the others' go on."""
        victim = self.dice.choice(self.workers())
        before = {one["number"]: one["sessions"] for one in self.workers()}
        os.kill(victim["pid"], signal.SIGKILL)
        gone = before[victim["number"]]
        self.until(lambda: sum(client.over for client in self.clients.values()) >= gone,
                   f"not {gone} of {before} sessions ended", BOUND)
        for user, client in self.clients.items():
            if not client.over:
                self.hear(client, f"t{user}-{time.monotonic_ns()}")
        over = [f"{client.nick}: {client.heard[-200:]!r}" for client in self.clients.values() if client.over]
        assert len(over) == gone, (before, victim, over, self.gateway.child.text()[-2000:])
        self.ended_by_itself += gone

    def kill_another(self) -> None:
        """Another one, or the one that is to take its place: there are two again all the same."""
        time.sleep(self.dice.uniform(0, 1.5))
        victim = self.dice.choice(ask(self.control, "workers", 10))["pid"]
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(victim, signal.SIGKILL)
        self.until(lambda: victim not in self.pids() and len(self.workers()) == 2, "no worker takes its place")
        self.until(lambda: self.signed_on() == sum(not client.over for client in self.clients.values()), "who lives?")

    def kill_gateway(self, *, workers: bool) -> None:
        """The supervisor is killed, and with `workers` those before it: all end, and it is started again."""
        pids = [one["pid"] for one in self.workers()]
        for pid in pids if workers else ():
            os.kill(pid, signal.SIGKILL)
        self.gateway.child.process.send_signal(signal.SIGKILL)
        self.gateway.child.process.wait()
        self.until(lambda: all(client.over for client in self.clients.values()), "sessions go on", BOUND)
        self.until(lambda: not any(map(alive, pids)), "workers live on", BOUND)
        self.start()

    def check(self, killed: str) -> dict[str, dict[str, Any]]:
        """The guarantees."""
        items = check(
            self.gateway, lambda: self.irc.count() + self.xmpp.count(), self.told, killed,
            lambda: {row["id"] for row in ask(self.control, "sessions", 10)})
        again = {row["hold"] for row in self.gateway.rows("review") if "sent again" in (row["reason"] or "")}
        for words in self.xmpp.again():
            assert any(item in again for item in self.items_of(words)), f"{words!r} came twice"
        return items

    def items_of(self, words: str) -> list[str]:
        """The held items of a message."""
        found = {row["id"] for row in self.gateway.rows("message") if row["text"] == words}
        return [row["held"] for row in self.gateway.rows("verdict") if row["message"] in found]

    def finish(self) -> None:
        """All that waits is released, and comes."""
        self.gather()
        for user, client in self.clients.items():
            client.hush()
            self.hear(client, f"last-{user}")  # all that he has said is judged
        try:
            self.until(lambda: not waiting(self.control), "not all that waits is delivered")
        except AssertionError:
            print(waiting(self.control))
            raise
        for user in list(self.clients):
            self.part(user)
        self.until(lambda: not self.living(), "sessions are not over")
        items = self.check(now())
        # Of what no verdict tells, as its worker died between content and row, only the name is left.
        judged = {row["held"] for row in self.gateway.rows("verdict")}
        assert {item["state"] for ident, item in items.items() if ident not in judged} <= {"erased"}
        states = Counter(item["state"] for ident, item in items.items() if ident in judged)
        assert set(states) <= {"delivered", "uncertain"}, states
        assert states["delivered"] > states["uncertain"]
        assert self.told, "nobody was told of anything"

    def living(self) -> int:
        """Sessions that the log waits for the end of."""
        with contextlib.closing(sqlite3.connect(self.folder / "events.db")) as base:
            return int(base.execute("SELECT count(*) FROM living").fetchone()[0])


KILLS = "wwwswwgwwsww"
"""Twenty-one, see `rounds`."""


def waiting(control: Path) -> list[dict[str, Any]]:
    """What has been kept and is neither sent nor uncertain."""
    return [item for item in quarantined(control) if item["state"] in ("held", "released", "delivering")]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def rounds(folder: Path, kills: str, seed: int) -> None:
    """Two kills for w: a worker and soon another one; one for s: the supervisor; and for g: all at once."""
    crew = Crew(folder, seed)
    try:
        for what in kills:
            crew.gather()
            time.sleep(crew.dice.uniform(0.05, 0.5))
            if what == "w":
                crew.kill_worker()
                crew.kill_another()
            else:
                crew.kill_gateway(workers=what == "g")
            killed = now()
            if what != "w":
                crew.check(killed)
        assert crew.ended_by_itself
        crew.finish()
    finally:
        crew.close()


@pytest.mark.timeout(400)
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Twenty times and once more."""
    rounds(tmp_path, KILLS, 4)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_moments_many_times(tmp_path: Path, seed: int) -> None:
    """Two hundred and ten times, ten stores."""
    rounds(tmp_path, KILLS, seed)
