"""`inspector run`, as a process: what keeps it from starting, reload, drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app import config, logs, supervisor
from inspector.app.control import ask
from inspector.app.errors import UserError
from tests.app.test_build import CSV, PACK
from tests.ports import free_port

PATIENCE = 30.0


class Running:
    """`inspector run` in a folder of its own."""

    def __init__(self, folder: Path, more: str = "", policy: str = "rules: []\n") -> None:
        self.folder = folder
        self.port = free_port()
        self.upstream = free_port()
        pack = folder / "signatures" / "p"
        pack.mkdir(parents=True)
        (pack / "pack.yaml").write_text(PACK)
        (pack / "a.csv").write_text(CSV)
        self.policy = folder / "policy.yaml"
        self.policy.write_text(policy)
        self.path = folder / "inspector.yaml"
        self.text = (
            f'listeners: [{{mode: reverse, address: "127.0.0.1:{self.port}", upstream: "127.0.0.1:{self.upstream}"}}]\n'
            f'policy: policy.yaml\nsignatures: signatures\nmetrics: "127.0.0.1:{free_port()}"\n{more}')
        self.path.write_text(self.text)
        self.process: subprocess.Popen[str] | None = None

    @property
    def control(self) -> Path:
        return self.folder / "var" / "inspector.sock"

    def start(self, **env: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inspector.app.cli", "run", "-c", str(self.path)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env})
        return self.process

    def up(self, **env: str) -> Running:
        self.start(**env)
        self.until(lambda: self.status() is not None)
        return self

    def status(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = ask(self.control, "status")
        except UserError:
            return None
        return found

    def until(self, true: Callable[[], bool]) -> None:
        assert self.process is not None
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "no answer in time"
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(**more: str) -> Running:
        made.append(Running(tmp_path / f"g{len(made)}", **more))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def test_it_says_where_it_listens_and_how_to_point_a_client_at_it(running: Callable[..., Running]) -> None:
    """The greeting names each listener; SIGTERM ends it at once when no session is left, with status 0."""
    gateway = running().up()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    code, out, _ = gateway.end()
    assert code == 0
    assert f"listening on 127.0.0.1:{gateway.port} (reverse)" in out
    assert f"instead of 127.0.0.1:{gateway.upstream}" in out
    assert (gateway.folder / "var").stat().st_mode & 0o777 == 0o700
    assert (gateway.folder / "var" / "inspector.db").stat().st_mode & 0o777 == 0o600
    assert not gateway.control.exists()


def test_signals_are_ours_before_anybody_can_reach_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop or a reload that comes while the gateway starts waits for it; it does not kill the process."""
    async def start(self: supervisor.Supervisor) -> None:
        assert all(signal.getsignal(one) is not signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGHUP))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)

    async def drain(self: supervisor.Supervisor) -> int:
        return 0

    monkeypatch.setattr(supervisor.Supervisor, "_start", start)
    monkeypatch.setattr(supervisor.Supervisor, "_drain", drain)
    (tmp_path / "i.yaml").write_text("")

    async def main() -> int:
        loaded = config.load(tmp_path / "i.yaml")
        return await asyncio.wait_for(supervisor.Supervisor(None, loaded, logs.Logs("info", None)).run(), PATIENCE)

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_runs_on_either_loop(running: Callable[..., Running], loop: str) -> None:
    """uvloop is optional: INSPECTOR_LOOP chooses."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed (make test installs it)")
    gateway = running().up(INSPECTOR_LOOP=loop)
    status = gateway.status()
    assert status is not None
    assert status["healthy"]


def test_all_faults_of_config_policy_and_packs_keep_it_from_starting(running: Callable[..., Running]) -> None:
    """Every fault with file, line and column; nothing is left behind; no traceback."""
    gateway = running(
        policy="rules:\n  - {name: x, when: {event: mesage}, then: block}\n", more="tls: {upstream_ca: nowhere.pem}\n")
    gateway.start()
    code, _, err = gateway.end()
    assert code == 1
    assert "inspector.yaml:5:" in err
    assert "nowhere.pem" in err
    assert "policy.yaml:2:" in err
    assert "mesage" in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_one_sentence(running: Callable[..., Running]) -> None:
    """The address is named; the store is closed again."""
    gateway = running()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", gateway.port))
        taken.listen()
        gateway.start()
        code, _, err = gateway.end()
    assert code == 1
    assert f"127.0.0.1:{gateway.port}" in err
    assert "Traceback" not in err


def test_a_store_that_cannot_be_written_is_one_sentence(running: Callable[..., Running]) -> None:
    """A folder where the database should be."""
    gateway = running()
    (gateway.folder / "var" / "inspector.db").mkdir(parents=True)
    gateway.start()
    code, _, err = gateway.end()
    assert code == 1
    assert "inspector.db" in err
    assert "Traceback" not in err


def test_an_authority_without_its_key_is_one_sentence(running: Callable[..., Running]) -> None:
    """No authority key: it says so and does not start."""
    gateway = running()
    folder = gateway.folder / "var" / "ca"
    folder.mkdir(parents=True)
    (folder / "authority.key").write_text("no key\n")
    (folder / "authority.key").chmod(0o600)
    gateway.start()
    code, _, err = gateway.end()
    assert code == 1
    assert "authority" in err
    assert "Traceback" not in err


def test_a_reload_puts_new_rules_in_force(running: Callable[..., Running]) -> None:
    """SIGHUP and the control socket both reload; version and digest change, the process stays."""
    gateway = running().up()
    before = gateway.status()
    assert before is not None
    gateway.policy.write_text("rules:\n  - {name: no files, when: {event: file}, then: block}\n")
    result = ask(gateway.control, "reload")
    assert result["version"] == 2
    assert result["policy"] != before["rules"]["policy"]
    gateway.policy.write_text("rules: []\n")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    gateway.until(lambda: (gateway.status() or {})["rules"]["version"] == 3)
    after = gateway.status()
    assert after is not None
    assert after["rules"]["policy"] == before["rules"]["policy"]
    assert after["pid"] == before["pid"]


def test_a_reload_with_faults_changes_nothing_and_is_seen(running: Callable[..., Running]) -> None:
    """All faults come back, the running set stays, status is not healthy until a good reload."""
    gateway = running().up()
    gateway.policy.write_text("rules:\n  - {name: a, then: blok}\n  - {name: b, wenn: {}, then: pass}\n")
    with pytest.raises(UserError, match=r"policy.yaml:2:\d+.*\n.*policy.yaml:3:"):
        ask(gateway.control, "reload")
    status = gateway.status()
    assert status is not None
    assert status["rules"]["version"] == 1
    assert not status["healthy"]
    assert len(status["reload"]["faults"]) >= 2
    gateway.policy.write_text("rules: []\n")
    ask(gateway.control, "reload")
    status = gateway.status()
    assert status is not None
    assert status["healthy"]


def test_a_clamd_that_does_not_answer_is_seen(running: Callable[..., Running]) -> None:
    """At the start, not with the first file; a reload may take it away."""
    gateway = running(more="files: {clamd: \"unix:nowhere.ctl\"}\n").up()
    gateway.until(lambda: not (gateway.status() or {"healthy": True})["healthy"])
    status = gateway.status()
    assert status is not None
    assert status["problems"] == [
        "clamd cannot be reached: no such file or directory: files are not judged by it"]
    assert status["files"]["workers"] <= 2
    gateway.path.write_text(gateway.text.partition("files:")[0])
    ask(gateway.control, "reload")
    assert (gateway.status() or {})["healthy"]


def test_a_reload_that_would_need_a_restart_is_refused(running: Callable[..., Running]) -> None:
    """A changed listener is a fault with its line; limits marked so are taken."""
    gateway = running().up()
    gateway.path.write_text(gateway.text.replace(str(gateway.port), str(free_port())))
    with pytest.raises(UserError, match=r"inspector.yaml:1:\d+: a change of listeners needs a restart"):
        ask(gateway.control, "reload")
    gateway.path.write_text(gateway.text + "limits: {scan_seconds: 3}\narchive: full\n")
    assert ask(gateway.control, "reload")["version"] == 2


def test_a_second_signal_stops_at_once(running: Callable[..., Running]) -> None:
    """While sessions drain, SIGTERM again ends the process without waiting."""
    gateway = running(more="limits: {drain_seconds: 60}\n")
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", gateway.upstream))
        upstream.listen()
        gateway.up()
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(b"NICK a\r\nUSER a 0 * :a\r\n")
            accepted, _ = upstream.accept()
            with accepted:
                accepted.recv(100)
                assert gateway.process is not None
                gateway.process.send_signal(signal.SIGTERM)
                gateway.process.send_signal(signal.SIGTERM)
                code, _, err = gateway.end()
    assert code == 0
    assert "Traceback" not in err


def test_started_reloaded_and_stopped_are_events(running: Callable[..., Running]) -> None:
    """What happened to the gateway itself stands in its log."""
    gateway = running().up()
    ask(gateway.control, "reload")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    gateway.end()
    listed = subprocess.run(
        [sys.executable, "-m", "inspector.app.cli", "events", "-c", str(gateway.path), "--format", "jsonl"],
        text=True, capture_output=True, check=True, timeout=PATIENCE)
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["event"] for row in rows] == ["started", "reload", "stopped"]
    assert rows[0]["packs"] == ["p@1.0.0"]


def test_a_folder_that_was_there_is_not_closed_for_a_store_in_it(running: Callable[..., Running]) -> None:
    """`store.events` in /var/lib: only var/ and folders that we make are made 0700."""
    gateway = running(more="store: {events: 'sqlite:shared/events.db'}\n")
    (gateway.folder / "shared").mkdir()
    (gateway.folder / "shared").chmod(0o755)
    gateway.up()
    assert (gateway.folder / "shared").stat().st_mode & 0o777 == 0o755
    assert (gateway.folder / "shared" / "events.db").stat().st_mode & 0o777 == 0o600
    made = running(more="store: {events: 'sqlite:mine/events.db'}\n").up()
    assert (made.folder / "mine").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_cannot_get_to_the_state_is_one_sentence(running: Callable[..., Running]) -> None:
    """Not a gateway that runs and cannot write its log."""
    gateway = running(more="user: nobody\n")
    gateway.folder.chmod(0o700)
    gateway.start()
    code, _, err = gateway.end()
    assert code == 1
    assert f"{gateway.folder}/var: the user nobody cannot write there" in err
    assert "Traceback" not in err


def test_the_greeting_s_commands_can_be_copied(running: Callable[..., Running]) -> None:
    """With -c FILE inside the quoted command."""
    gateway = running().up()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGTERM)
    _, out, _ = gateway.end()
    assert f"`inspector ca export -c {gateway.path}`" in out
    assert f"`inspector events -c {gateway.path}`" in out
