"""`workers: N` as processes: who gets which client, what dies and what goes on, reloads, restarts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app.control import ask
from inspector.app.errors import UserError
from inspector.drivers import seats
from tests.app.test_supervisor import PATIENCE, Running


class Upstream:
    """A small IRC server: it welcomes, and says what it is told."""

    def __init__(self, port: int) -> None:
        self.listening = socket.create_server(("127.0.0.1", port))
        self.accepted = 0
        self.ended = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            for line in sock.makefile("rb"):
                verb, _, rest = line.strip().partition(b" ")
                if verb == b"NICK":
                    sock.sendall(b":s 001 " + rest + b" :welcome\r\n")
                elif verb == b"PRIVMSG":
                    sock.sendall(b":s NOTICE a " + rest.partition(b" ")[2] + b"\r\n")
        self.ended += 1

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self._thread.join(PATIENCE)


class Client:
    """One connection from an address of its own."""

    def __init__(self, port: int, host: str) -> None:
        self.host = host
        self.sock = socket.socket()
        self.sock.settimeout(2 * PATIENCE)
        self.sock.bind((host, 0))
        self.sock.connect(("127.0.0.1", port))

        self.say(b"NICK a\r\nUSER a 0 * :a")

    def talk(self, words: bytes = b"hello") -> bytes:
        """Say something to everybody and hear what the server, or the gateway, says to it."""
        return self.say(b"PRIVMSG #c :" + words)

    def say(self, line: bytes) -> bytes:
        """Say a line and hear the answer."""
        self.sock.sendall(line + b"\r\n")
        got = b""
        while not got.endswith(b"\n"):
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("ended")
            got += data
        return got

    def ended(self) -> str:
        """How it ends: FIN or RST."""
        try:
            while self.sock.recv(4096):
                pass
        except ConnectionResetError:
            return "RST"
        return "FIN"

    def close(self) -> None:
        self.sock.close()


class Crew(Running):
    """A gateway with workers, its upstream, and clients."""

    def __init__(self, folder: Path, more: str = "", policy: str = "rules: []\n", workers: int = 2) -> None:
        super().__init__(folder, f"workers: {workers}\n{more}", policy)
        self.count = workers
        self.server = Upstream(self.upstream)
        self.clients: list[Client] = []

    def up(self, **env: str) -> Crew:
        self.start(**env)
        self.until(lambda: len(self.serving()) == self.count and bool((self.status() or {})["healthy"]))
        return self

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it, as long as several processes may take to start on a busy machine."""
        assert self.process is not None
        end = time.monotonic() + 3 * PATIENCE
        while not true():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "no answer in time"
            time.sleep(0.02)

    def workers(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = ask(self.control, "workers")
        except UserError:
            return []
        return found

    def serving(self) -> dict[int, dict[str, Any]]:
        """seat -> the worker that takes connections there."""
        return {one["seat"]: one for one in self.workers() if one["state"] == "serving"}

    def connect(self, host: str) -> Client:
        self.clients.append(Client(self.port, host))
        return self.clients[-1]

    def spread(self) -> dict[int, Client]:
        """A client on each seat, each talking."""
        found: dict[int, Client] = {}
        for n in range(2, 60):
            before = self.sessions()
            client = self.connect(f"127.0.0.{n}")
            client.talk()
            after = self.sessions()
            seat = next(seat for seat in after if after[seat] > before.get(seat, 0))
            if seat in found:
                client.close()
                self.clients.remove(client)
                self.until(lambda: sum(self.sessions().values()) == len(found))
            found.setdefault(seat, client)
            if len(found) == self.count:
                return found
        raise AssertionError("all clients came to one worker")

    def sessions(self) -> dict[int, int]:
        """seat -> sessions there, of those who serve."""
        status = self.status() or {"workers": []}
        return {one["seat"]: one["sessions"] for one in status["workers"] if one["state"] == "serving"}

    def rows(self, *events: str) -> list[dict[str, Any]]:
        """Events in the log."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "inspector.db")) as base:
            found = base.execute("SELECT event, chain, line FROM events ORDER BY n").fetchall()
        return [{**json.loads(line), "chain": chain} for event, chain, line in found if event in events]

    def write(self, more: str = "", policy: str = "rules: []\n") -> None:
        """Other settings and rules, for a reload."""
        self.path.write_text(self.text + more)
        self.policy.write_text(policy)

    def page(self) -> str:
        """The page of metrics."""
        host, _, port = self.text.partition('metrics: "')[2].partition('"')[0].partition(":")
        line = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        line.request("GET", "/metrics")
        page = line.getresponse().read().decode()
        line.close()
        return page

    def leave(self) -> None:
        """All clients go."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        assert self.process is not None
        if self.process.poll() is None:
            self.until(lambda: sum(self.sessions().values()) == 0)

    def verify(self) -> None:
        """The log is whole."""
        told = subprocess.run(
            [sys.executable, "-m", "inspector.app.cli", "verify", "-c", str(self.path)], text=True, capture_output=True,
            timeout=PATIENCE, check=False)
        assert told.returncode == 0, told.stdout + told.stderr

    def journal(self) -> int:
        """Sessions that the store remembers as living."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "inspector.db")) as base:
            return int(base.execute("SELECT count(*) FROM living").fetchone()[0])

    def stop(self) -> tuple[int, str, str]:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.server.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """One gateway with two workers, for one test after the other: each leaves it well."""
    made = Crew(tmp_path_factory.mktemp("workers"), "archive: full\nlimits: {restart_seconds: 1}\n")
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def nobody(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test its clients are gone."""
    yield
    if "gateway" in request.fixturenames:
        one: Crew = request.getfixturevalue("gateway")
        one.leave()


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    made: list[Crew] = []

    def make(**more: Any) -> Crew:
        made.append(Crew(tmp_path / f"g{len(made)}", **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_clients_are_spread_and_kept_together_and_all_is_told_as_one(gateway: Crew) -> None:
    """Two workers, each with clients of its own, and a client's connections come to one of them; status, sessions, kill
    and metrics are of both; each writes its own chain, and no id is there twice."""
    clients = gateway.spread()
    assert set(clients) == {0, 1}
    for seat, client in clients.items():
        again = gateway.connect(client.host)
        assert again.talk(b"again").endswith(b"again\r\n")
        assert gateway.sessions()[seat] == 2
    status = gateway.status()
    assert status is not None
    assert status["healthy"]
    assert status["sessions"] == 4
    assert status["protocols"] == {"irc": 4}
    assert [one["chain"] for one in status["workers"]] == ["0", "1"]
    assert len({status["pid"], *(one["pid"] for one in status["workers"])}) == 3
    assert all(one["memory"] > 10 << 20 for one in status["workers"])
    assert status["files"]["workers"] <= 2
    rows = ask(gateway.control, "sessions")
    assert sorted(row["client"].partition(":")[0] for row in rows) == sorted(c.host for c in gateway.clients)
    page = gateway.page()
    assert "inspector_workers 2\n" in page
    assert f'inspector_sessions{{protocol="irc",listener="127.0.0.1:{gateway.port}"}} 4\n' in page
    assert "inspector_store_up 1\n" in page
    assert "inspector_letters_lost_total 0\n" in page
    assert [one["letters_lost"] for one in gateway.workers()] == [0, 0]
    for row in rows:
        ask(gateway.control, "kill", id=row["id"])
    gateway.until(lambda: (gateway.status() or {})["sessions"] == 0)
    with pytest.raises(UserError, match="no session 123"):
        ask(gateway.control, "kill", id="123")
    gateway.until(lambda: len(gateway.rows("kill")) == 4)
    assert {row["chain"] for row in gateway.rows("started", "kill")} == {"supervisor"}
    gateway.until(lambda: {row["chain"] for row in gateway.rows("message")} == {"0", "1"})
    ids = [row["id"] for row in gateway.rows("message", "flow", "session", "started", "kill", "verdict")]
    assert len(ids) == len(set(ids))


def test_a_worker_that_is_killed_is_replaced_and_nobody_else_notices(gateway: Crew) -> None:
    """kill -9: its clients' connections end, the other's go on; a client that comes meanwhile waits and is served; it
    and its sessions are told as trouble; the new one goes on in its chain."""
    clients = gateway.spread()
    victim = gateway.serving()[0]
    gateway.until(lambda: gateway.journal() == 2)
    os.kill(victim["pid"], signal.SIGKILL)
    assert clients[0].ended() in ("FIN", "RST")
    late = gateway.connect(clients[0].host)
    assert clients[1].talk(b"still here").endswith(b"still here\r\n")
    assert late.talk(b"back").endswith(b"back\r\n")
    after = gateway.serving()
    assert after[0]["pid"] != victim["pid"]
    assert after[0]["number"] == victim["number"]
    gateway.until(lambda: bool((gateway.status() or {})["healthy"]))
    gateway.until(lambda: {"worker_died", "session_lost"} <= {row["name"] for row in gateway.rows("trouble")})
    found = {row["name"]: row for row in gateway.rows("trouble")}
    assert found["worker_died"]["chain"] == "supervisor"
    assert found["worker_died"]["detail"].startswith(
        f"worker {victim['number']} (process {victim['pid']}) was killed by SIGKILL")
    assert found["session_lost"]["client"]["ip"] == clients[0].host
    gateway.verify()


def test_workers_that_die_together_are_replaced_together(gateway: Crew) -> None:
    """Nobody's clients wait for another worker's start; a reload waits until both are there, and is for both."""
    before = (gateway.status() or {})["rules"]["version"]
    victims = [one["pid"] for one in gateway.serving().values()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    gateway.until(lambda: [one["seat"] for one in gateway.workers() if one["state"] == "starting"] in ([0, 1], [1, 0]))
    assert ask(gateway.control, "reload", 3 * PATIENCE)["version"] == before + 1
    assert not {one["pid"] for one in gateway.serving().values()} & set(victims)
    assert [one["rules"] for one in gateway.workers()] == [before + 1] * 2
    for client in gateway.spread().values():
        assert client.talk().endswith(b"hello\r\n")


def test_a_reload_is_for_all_workers_or_for_none(gateway: Crew) -> None:
    """New rules judge on both; what is wrong changes nothing on either; a worker that is replaced later has what is in
    force, not what lies in the folder by then."""
    clients = gateway.spread()
    before = (gateway.status() or {})["rules"]["version"]
    gateway.write(policy="rules:\n  - {name: private, when: {event: message, text: secret}, then: block}\n")
    assert ask(gateway.control, "reload")["version"] == before + 1
    assert [one["rules"] for one in gateway.workers()] == [before + 1] * 2
    for client in clients.values():
        assert b"secret" not in client.talk(b"the secret")
    gateway.write(policy="rules:\n  - {name: a, then: blok}\n  - {name: b, wenn: {}, then: pass}\n")
    with pytest.raises(UserError, match=r"policy.yaml:2:\d+.*\n.*policy.yaml:3:") as found:
        ask(gateway.control, "reload")
    assert f"/in-force/{before + 2}" not in str(found.value)
    status = gateway.status()
    assert status is not None
    assert (status["rules"]["version"], status["healthy"]) == (before + 1, False)
    assert [one["rules"] for one in gateway.workers()] == [before + 1] * 2
    os.kill(gateway.serving()[0]["pid"], signal.SIGKILL)
    late = gateway.connect(clients[0].host)
    assert b"secret" not in late.talk(b"a secret again")
    assert gateway.process is not None
    gateway.write()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.until(lambda: [one["rules"] for one in gateway.workers()] == [before + 2] * 2)
    for client in (late, clients[1]):
        assert client.talk(b"the secret").endswith(b"secret\r\n")
    gateway.until(lambda: os.listdir(gateway.folder / "var" / "in-force") == [str(before + 2)])


@pytest.mark.long
def test_a_worker_that_hangs_is_killed_and_replaced(gateway: Crew) -> None:
    """One that is stopped answers nothing: after limits.worker_seconds it is treated as dead."""
    gateway.path.write_text(gateway.text.replace("restart_seconds: 1", "restart_seconds: 1, worker_seconds: 3"))
    ask(gateway.control, "reload")
    victim = gateway.serving()[1]
    os.kill(victim["pid"], signal.SIGSTOP)
    gateway.until(lambda: gateway.serving().get(1, victim)["pid"] != victim["pid"])
    assert not alive(victim["pid"])
    gateway.write()
    ask(gateway.control, "reload")


@pytest.mark.long
def test_what_is_lost_with_a_worker_that_leaves_is_told(gateway: Crew) -> None:
    """It dies while it lets its sessions end: no other one takes its place, and the log says at once what was lost."""
    gateway.path.write_text(gateway.text.replace("restart_seconds: 1", "restart_seconds: 60"))
    ask(gateway.control, "reload")
    clients = gateway.spread()
    gateway.until(lambda: gateway.journal() == 2)
    before = len([row for row in gateway.rows("trouble") if row["name"] == "session_lost"])
    ask(gateway.control, "restart", seconds=3 * PATIENCE)
    for one in gateway.workers():
        if one["state"] == "leaving":
            os.kill(one["pid"], signal.SIGKILL)
    for client in clients.values():
        assert client.ended() in ("FIN", "RST")
    gateway.until(lambda: len([
        row for row in gateway.rows("trouble") if row["name"] == "session_lost"]) > before)
    lost = [row for row in gateway.rows("trouble") if row["name"] == "session_lost"][before:]
    assert {row["chain"] for row in lost} == {"supervisor"}
    assert {row["client"]["ip"] for row in lost} <= {client.host for client in clients.values()}
    gateway.verify()
    gateway.write()
    ask(gateway.control, "reload")


def test_a_rolling_restart_refuses_nobody(gateway: Crew) -> None:
    """While workers are exchanged clients connect all the time and none is refused; new sessions are the new workers',
    the old ones' are ended politely within limits.restart_seconds, and then they are gone."""
    clients = gateway.spread()
    before = {one["pid"] for one in gateway.serving().values()}
    failures: list[str] = []
    served = 0
    over = threading.Event()

    def come_and_go() -> None:
        nonlocal served
        n = 0
        while not over.is_set():
            n = n % 200 + 1
            try:
                client = Client(gateway.port, f"127.0.1.{n}")
            except OSError as error:
                failures.append(repr(error))
                continue
            # The gateway may end a session that an old worker took: politely.
            with contextlib.suppress(OSError):
                client.talk()
                served += 1
            client.close()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        answer = ask(gateway.control, "restart", seconds=3 * PATIENCE)
        gateway.until(lambda: not before & {one["pid"] for one in gateway.workers()})
    finally:
        over.set()
        thread.join(PATIENCE)
    assert failures == []
    assert served > 10
    assert len(answer["leaving"]) == 2
    assert not any(map(alive, before))
    for client in clients.values():
        assert client.ended() in ("FIN", "RST")
        assert gateway.connect(client.host).talk().endswith(b"hello\r\n")
    gateway.until(lambda: bool(gateway.rows("restart")))
    assert len(gateway.rows("restart")[0]["workers"]) == 2


def test_workers_that_cannot_be_started_are_counted(crew: Callable[..., Crew]) -> None:
    """Without the copy of the rules no worker can start: a restart is refused and those who serve go on; a dead one is
    replaced as soon as it can be. Both are counted."""
    gateway = crew().up()
    assert "inspector_worker_restarts_refused_total 0\n" in gateway.page()
    rules = gateway.folder / "var" / "in-force"
    aside = rules.with_name("aside")
    rules.rename(aside)
    try:
        before = gateway.serving()
        with pytest.raises(UserError, match="goes on"):
            ask(gateway.control, "restart", 3 * PATIENCE)
        assert {seat: one["pid"] for seat, one in gateway.serving().items()} == {
            seat: one["pid"] for seat, one in before.items()}
        os.kill(before[1]["pid"], signal.SIGKILL)
        gateway.until(lambda: "inspector_worker_starts_failed_total 0\n" not in gateway.page())
    finally:
        aside.rename(rules)
    gateway.until(lambda: set(gateway.serving()) == {0, 1})
    page = gateway.page()
    assert "inspector_worker_restarts_refused_total 1\n" in page
    assert "inspector_worker_deaths_total 1\n" in page
    assert gateway.stop()[0] == 0


def test_sessions_are_drained_in_all_workers_and_both_end(gateway: Crew) -> None:
    """SIGTERM ends the sessions of both politely, and the gateway with status 0; the log verifies."""
    clients = gateway.spread()
    pids = [one["pid"] for one in gateway.workers()]
    code, _, err = gateway.stop()
    assert code == 0
    assert "Traceback" not in err
    for client in clients.values():
        assert client.ended() in ("FIN", "RST")
    assert not any(map(alive, pids))
    assert [row["sessions"] for row in gateway.rows("stopped")] == [2]
    gateway.verify()


def test_workers_end_with_their_supervisor(crew: Callable[..., Crew]) -> None:
    """kill -9 of the supervisor: no worker goes on relaying, and the clients' connections end."""
    gateway = crew().up()
    clients = gateway.spread()
    pids = [one["pid"] for one in gateway.serving().values()]
    assert gateway.process is not None
    gateway.process.kill()
    gateway.process.communicate()
    for client in clients.values():
        assert client.ended() in ("FIN", "RST")
    end = time.monotonic() + PATIENCE
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_keeps_workers_from_starting_is_told_with_its_line(crew: Callable[..., Crew]) -> None:
    """Faults of policy and packs come from the first worker, under the names of the files; nothing stays behind."""
    gateway = crew(policy="rules:\n  - {name: x, when: {event: mesage}, then: block}\n")
    gateway.start()
    code, _, err = gateway.end()
    assert code == 1
    assert "policy.yaml:2:" in err
    assert "mesage" in err
    assert "/in-force/1/" not in err
    assert "Traceback" not in err


def test_a_port_that_is_free_again_in_a_moment_is_waited_for(crew: Callable[..., Crew]) -> None:
    """A worker that was just starting when its supervisor was killed has its sockets until it sees that: who starts the
    gateway again at once need not do it twice."""
    gateway = crew()
    taken = seats.shared("127.0.0.1", gateway.port, 2, bytes(16))
    seats.listen(taken, 1)
    process = gateway.start()
    assert process.stderr is not None
    while "trying again for 5 seconds" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    assert f"cannot listen on 127.0.0.1:{gateway.port}" in line
    seats.close(taken)
    gateway.until(lambda: len(gateway.serving()) == 2)


def test_a_port_that_another_gateway_s_workers_share_is_refused(crew: Callable[..., Crew]) -> None:
    """Sockets that could share a port with it are no way in."""
    gateway = crew()
    taken = seats.shared("127.0.0.1", gateway.port, 2, bytes(16))
    seats.listen(taken, 1)
    gateway.start()
    code, _, err = gateway.end()
    seats.close(taken)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{gateway.port}" in err
