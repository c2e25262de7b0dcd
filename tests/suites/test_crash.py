"""The gateway is killed at random moments under load: the three guarantees of docs/guarantees.md hold each time.

Clients write numbered messages that pass, are refused, or wait for a reviewer, while a reviewer releases what waits.
The server counts what reached it. After each kill the gateway is started again on the same store.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app.control import ask
from inspector.app.errors import UserError
from inspector.store.sqlite import Reader
from tests.live.peers import GatewayChild, now
from tests.ports import free_port

pytestmark = pytest.mark.live

CLIENTS = 3
WORDS = (*("and so on",) * 5, *("please refuse",) * 3, *("please hold",) * 2)
POLICY = {
    "on_trouble": {"default": {"overload": "pass"}},
    "rules": [
        {"name": "waits", "when": {"event": "message", "text": "please hold"}, "then": "hold"},
        {"name": "never", "when": {"event": "message", "text": "please refuse"}, "then": "block"},
    ],
}
LIMITS = {"settle_seconds": 0.1}
"""A reviewer who waits half a second for each release would see to few of them between two kills."""
NUMBER = re.compile(r"no(\d+)x")


class Server:
    """An IRC server that welcomes everybody and counts what they say."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.came: Counter[str] = Counter()
        """Words -> how often they reached us."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        rest, nick = b"", "*"
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    words = line.decode().strip()
                    if words.startswith("NICK "):
                        nick = words[5:]
                        sock.sendall(f":irc.test 001 {nick} :Welcome\r\n".encode())
                    elif words.startswith("PING "):
                        sock.sendall(f":irc.test PONG irc.test {words[5:]}\r\n".encode())
                    elif words.startswith("PRIVMSG "):
                        with self._lock:
                            self.came[words.partition(" :")[2]] += 1

    def count(self) -> Counter[str]:
        with self._lock:
            return self.came.copy()

    def close(self) -> None:
        self.listener.close()


class Client:
    """A user who talks until his connection ends; what he was told of which message."""

    pause = 0.02
    """Seconds between two messages."""
    words = WORDS

    def __init__(
        self, port: int, nick: str, numbers: Iterator[int], dice: random.Random, host: str = "127.0.0.1",
    ) -> None:
        """`host`: the address that he comes from."""
        self.sock = socket.create_connection(("127.0.0.1", port), 30, (host, 0))
        self.sock.settimeout(30)
        self.nick, self.numbers, self.dice, self.host = nick, numbers, dice, host
        self.told: list[str] = []
        """References of refusals and holds that he read."""
        self.heard = b""
        self.sign_on()
        self._quiet = threading.Event()
        self._threads = [threading.Thread(target=self._talk), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()

    def sign_on(self) -> None:
        self.say(f"NICK {self.nick}\r\nUSER {self.nick} 0 * :{self.nick}\r\n")
        self.until(b" 001 ")

    def message(self, number: int, words: str) -> str:
        return f"PRIVMSG bob :no{number}x {words}\r\n"

    def ping(self, token: str) -> str:
        """What the server answers with the token."""
        return f"PING :{token}\r\n"

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode())

    def until(self, words: bytes) -> None:
        """Read until the server, or the gateway, has said so. Raises ConnectionError: it ended."""
        while words not in self.heard:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("ended")
            self.heard += data

    def _talk(self) -> None:
        with contextlib.suppress(OSError):
            while not self._quiet.wait(self.pause):
                self.say(self.message(next(self.numbers), self.dice.choice(self.words)))

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                self.heard += data

    @property
    def over(self) -> bool:
        """Whether his connection has ended."""
        return not self._threads[1].is_alive()

    def hush(self) -> None:
        """Say no more, and go on listening."""
        self._quiet.set()
        self._threads[0].join(20)

    def join(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self.sock.close()
        self.told = re.findall(r"eference ([A-Z0-9]{4}-[A-Z0-9]{4})", self.heard.decode(errors="replace"))


class Reviewer(threading.Thread):
    """Releases what waits, one after the other, as long as the gateway answers."""

    def __init__(self, control: Path, dice: random.Random) -> None:
        super().__init__()
        self.control, self.dice = control, dice
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(UserError):
                held = [item["id"] for item in quarantined(self.control) if item["state"] == "held"]
                for ident in self.dice.sample(held, min(len(held), 3)):
                    ask(self.control, "hold.release", 5, id=ident)
            time.sleep(0.01)


def quarantined(control: Path) -> list[dict[str, Any]]:
    """What the desk has."""
    found: list[dict[str, Any]] = ask(control, "holds", 10)
    return found


def check(
    gateway: GatewayChild, count: Callable[[], Counter[str]], told: set[str], killed: str,
    living: Callable[[], Collection[str]] = tuple,
) -> dict[str, dict[str, Any]]:
    """The guarantees, on what the log, the quarantine and the servers know. `count`: words, how often they reached
    somebody so far; `killed`: when, as rows have it; `living`: flows of sessions that go on. Returns the held items by
    id."""
    before, living_before = count(), set(living())
    rows = gateway.rows()
    verdicts = {row["reference"]: row for row in rows if row["event"] == "verdict"}
    messages = {row["id"]: row for row in rows if row["event"] == "message"}
    # (1) Nobody was told of what is not on disk, content included.
    done = gateway.inspector("quarantine", "list", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    items = {item["id"]: item for item in map(json.loads, done.stdout.splitlines())}
    for reference in told:
        assert reference in verdicts, f"told of {reference}, which is in no row"
        row = verdicts[reference]
        assert row["did"] in ("hold", "block"), row
        if row["did"] == "hold":
            assert row["held"] in items, f"{row['held']} is not stored"
    # What no verdict tells of is nobody's to review.
    for ident in items.keys() - {row["held"] for row in verdicts.values()}:
        try:
            ask(gateway.folder / "control.sock", "hold.show", 10, id=ident)
        except UserError as refused:
            assert re.search("is being held at this moment|nothing is held as|was erased", str(refused)), refused
        else:
            assert ident in {row["held"] for row in gateway.rows() if row["event"] == "verdict"}, ident
    # What was done with an item has its row; of those who live it may come in a moment.
    acts = {(ident, item["state"]) for ident, item in items.items() if item["state"] != "held"}
    deadline = time.monotonic() + 10
    while missing := acts - reviewed(gateway):
        assert time.monotonic() < deadline, f"no row tells of {missing}"
        time.sleep(0.05)
    came = settled(count, {
        messages[row["message"]]["text"] for row in verdicts.values()
        if row["did"] == "hold" and items[row["held"]]["state"] == "delivered"})
    # (2) What was refused, or waits, was delivered to nobody; what lived when we were killed is told lost.
    for words in came:
        assert "please refuse" not in words, words
    ended = {row["flow"] for row in rows if row["event"] == "flow"}
    lost = {row["flow"] for row in rows if row["event"] == "trouble" and row["name"] == "session_lost"}
    lived = {row["flow"] for row in rows if row["event"] == "verdict" and row["t"] < killed} - ended
    lived -= living_before
    assert lived <= lost, f"{lived - lost} lived, and nobody says so"
    assert not lost & ended, f"{lost & ended} ended, and are told lost"
    assert not lost & set(living()), f"{lost & set(living())} live, and are told lost"
    # (3) Released at most once.
    for row in verdicts.values():
        if row["did"] != "hold":
            continue
        words = messages[row["message"]]["text"]
        times, state = came[words], items[row["held"]]["state"]
        assert times <= 1, f"{words!r} came {times} times"
        if state == "delivered":
            assert times == 1, f"{words!r} is delivered and did not come"
        elif state in ("held", "denied", "expired", "erased"):
            assert before[words] == 0, f"{words!r} came although it is {state}"
    for words, times in came.items():
        assert times == 1, f"{words!r} came {times} times"
    verified = gateway.inspector("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return items


def reviewed(gateway: GatewayChild) -> set[tuple[str, str]]:
    """(hold, step) of all that the log tells of held items."""
    with Reader(gateway.folder / "events.db") as reader:
        rows = [json.loads(line) for _, line in reader.select(events=("review",))]
    return {(row["hold"], row["step"]) for row in rows}


def settled(count: Callable[[], Counter[str]], delivered: Collection[str]) -> Counter[str]:
    """What came, once what was sent has come."""
    deadline = time.monotonic() + 10
    came = count()
    while not all(came[words] for words in delivered) and time.monotonic() < deadline:
        time.sleep(0.01)
        came = count()
    return came


def rounds(folder: Path, count: int, seed: int, **more: Any) -> None:
    """Kill it `count` times."""
    dice = random.Random(seed)
    server = Server()
    port = free_port()
    listeners = [{"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{server.port}"}]
    numbers = iter(range(10**9))
    told: set[str] = set()
    gateway = GatewayChild(folder, listeners, policy=POLICY, limits=LIMITS, **more)
    control = folder / "control.sock"
    try:
        for number in range(count):
            clients = [Client(port, f"user{at}", numbers, random.Random(dice.random())) for at in range(CLIENTS)]
            reviewer = Reviewer(control, random.Random(dice.random()))
            time.sleep(dice.uniform(0.05, 0.6))
            gateway.child.process.send_signal(signal.SIGKILL)
            gateway.child.process.wait()
            killed = now()
            reviewer.over.set()
            reviewer.join(30)
            for client in clients:
                client.join()
                told.update(client.told)
            gateway = GatewayChild(folder, listeners, policy=POLICY, limits=LIMITS, **more)
            if number % 5 == 4 or number == count - 1:
                check(gateway, server.count, told, killed)
        assert told, "nobody was told of anything"
        assert any("please hold" in words for words in server.came), "nothing was released"
    finally:
        gateway.stop()
        server.close()


@pytest.mark.timeout(400)
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Twenty times."""
    rounds(tmp_path, 20, 4)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_moments_many_times(tmp_path: Path, seed: int) -> None:
    """Two hundred times, ten stores."""
    rounds(tmp_path, 20, seed)
