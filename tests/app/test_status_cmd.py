"""`inspector sessions` and `inspector status`: what they print and the exit status scripts rely on."""

from __future__ import annotations

import json
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app import status_cmd
from inspector.app.errors import UserError
from inspector.app.status_cmd import age, sessions_command, status_command
from inspector.store.sqlite import Writer
from tests.store.rows import bare

NOW = time.time()
SESSIONS = [
    {"id": "00f1", "client": "10.0.0.5:51128", "server": "192.0.2.1:6667", "protocol": "irc", "user": "al\x1b[2Jice",
     "since": NOW - 3725, "bytes": 1200, "listener": "127.0.0.1:1080"},
    {"id": "00f2", "client": "[2001:db8::5]:5", "server": "192.0.2.2:5222", "protocol": None, "user": None,
     "since": NOW, "bytes": 0, "listener": None},
]
STATUS: dict[str, Any] = {
    "healthy": True, "problems": [], "version": "0.1.0", "gateway": "gw1", "pid": 7, "started": NOW - 90,
    "config": None, "listeners": [{"mode": "socks5", "address": "127.0.0.1:1080"}],
    "rules": {"version": 2, "policy": "sha256:00ff", "enforce": True, "packs": ["core@2026.11.0"], "loaded": NOW - 60},
    "reload": {"accepted": 1, "refused": 0, "last_refused": False, "faults": []},
    "sessions": 2, "protocols": {"irc": 1, "unknown": 1},
    "counters": {"messages": 12, "passed": 9, "actions": {"block": 2}, "troubles": {"gap/pass": 1}, "accepted": 5,
                 "unreached": 0},
    "files": {
        "clean": 5, "found": 2, "failed": 0, "refused": 0, "deaths": 0, "overruns": 0, "restarts": 0, "workers": 2,
        "waiting": 0, "spooled": 0, "spool_bytes": 0, "spool_refused": 0, "leases": 0, "leases_exhausted": 0,
        "leases_used": 0, "leases_unclaimed": 0, "leases_refused": 0,
    },
    "store": {"healthy": True, "waiting": 0, "rows": 4, "commits": 3, "failed": 0, "lost": 0},
}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A gateway that answers with these; `asked` is what it was asked."""
    answers: dict[str, Any] = {"sessions": SESSIONS, "status": dict(STATUS), "kill": {"id": "00f1"}, "asked": []}

    def ask(path: Path, command: str, **more: Any) -> Any:
        answers["asked"].append((command, more))
        return answers[command]
    monkeypatch.setattr(status_cmd, "ask", ask)
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(status_cmd, "control_path", lambda config: tmp_path / "c.sock")
    monkeypatch.setattr(status_cmd, "store_path", lambda config: tmp_path / "events.db")
    return answers


def test_what_waits_for_a_reviewer_is_told(gateway: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """By state, and what could not be held; a gateway that never held anything says nothing of it."""
    holds: dict[str, Any] = {"states": {}, "bytes": 0, "full": 0, "store_failed": 0, "kept": 0}
    for more, line in (
        ({}, None), ({"kept": 1}, "  held       nothing waits; 0 bytes"),
        ({"kept": 9, "bytes": 700, "full": 2, "states": {"held": 3, "uncertain": 1, "denied": 4}},
         "  held       3 wait for a reviewer, 1 UNCERTAIN whether delivered, 2 NOT HELD: no room; 700 bytes"),
    ):
        gateway["status"] = {**STATUS, "holds": {**holds, **more}}
        assert _status() == 0
        out = capsys.readouterr().out.splitlines()
        assert [one for one in out if "  held " in one] == ([line] if line else [])


def _sessions(what: str = "list", id: str | None = None, format: str = "table") -> int:
    return sessions_command(Namespace(config=None, what=what, id=id, format=format))


def _status(user: str | None = None, format: str = "text") -> int:
    return status_command(Namespace(config=None, user=user, format=format))


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Said]:
    yield lambda: capsys.readouterr().out


def test_sessions_are_listed(gateway: dict[str, Any], said: Said) -> None:
    """A line each under its heading, in columns; a user's name cannot act on the terminal."""
    assert _sessions() == 0
    lines = said().splitlines()
    assert lines[0].split()[:3] == ["ID", "PROTOCOL", "USER"]
    assert "al\\x1b[2Jice" in lines[1] and "1h2m" in lines[1]
    assert lines[1].index("irc") == lines[0].index("PROTOCOL")
    assert lines[3] == "2 sessions"


def test_sessions_as_json_lines(gateway: dict[str, Any], said: Said) -> None:
    """One object a session, its time in RFC 3339."""
    assert _sessions(format="jsonl") == 0
    first, second = map(json.loads, said().splitlines())
    assert (first["id"], first["user"], second["protocol"]) == ("00f1", "al\x1b[2Jice", None)
    assert first["since"].endswith("Z")


def test_kill(gateway: dict[str, Any], said: Said) -> None:
    """The id is handed to the gateway."""
    assert _sessions("kill", "00f1") == 0
    assert gateway["asked"] == [("kill", {"id": "00f1"})]
    assert said() == "session 00f1 is being ended\n"


@pytest.mark.parametrize(("what", "id"), [("kill", None), ("list", "00f1")])
def test_wrong_use(gateway: dict[str, Any], what: str, id: str | None) -> None:
    """kill without an id, list with one: exit 2 and nothing is asked."""
    with pytest.raises(UserError) as fault:
        _sessions(what, id)
    assert fault.value.exit == 2 and gateway["asked"] == []


def test_status_of_a_healthy_gateway(gateway: dict[str, Any], said: Said) -> None:
    """Exit 0; listeners, versions, sessions and counters are told."""
    assert _status() == 0
    out = said()
    for part in (
        "inspector 0.1.0 on gw1: healthy", "for 1m30s, process 7", "the embedded defaults", "socks5 127.0.0.1:1080",
        "set 2, loaded 1m ago", "sha256:00ff", "core@2026.11.0", "1 accepted, 0 refused", "2 (irc 1, unknown 1)",
        "messages   12 judged\n", "verdicts   block 2\n", "gap/pass 1", "accepted 5", "writes: 4 rows, 0 waiting",
        "files      7 asked about, 2 with findings; 2 workers",
    ):
        assert part in out, part
    assert "unreached" not in out and "NOT" not in out


def test_status_of_an_unhealthy_gateway(gateway: dict[str, Any], said: Said) -> None:
    """Exit 1; every problem and every fault of the refused reload is told, and that nothing is enforced."""
    gateway["status"] |= {
        "healthy": False, "problems": ["the event store does not write: disk full"],
        "rules": STATUS["rules"] | {"enforce": False},
        "reload": {"accepted": 0, "refused": 1, "last_refused": True, "faults": ["policy.yaml:3:1: a fault\x1b"]},
        "store": STATUS["store"] | {"healthy": False, "failed": 3, "lost": 2},
    }
    assert _status() == 1
    out = said()
    for part in (
        "NOT HEALTHY", "disk full", "NOT ENFORCED", "the last reload was refused", "policy.yaml:3:1: a fault\\x1b",
        "DOES NOT WRITE: 4 rows, 0 waiting, 3 not in time, 2 left out",
    ):
        assert part in out, part
    assert _status(format="json") == 1


def test_status_of_files_and_leases(gateway: dict[str, Any], said: Said) -> None:
    """What waits, what was not judged, workers that ended early, ports that are leased."""
    gateway["status"] |= {"files": STATUS["files"] | {
        "failed": 3, "waiting": 4, "spool_refused": 1, "spooled": 2, "spool_bytes": 70000, "deaths": 2, "overruns": 1,
        "restarts": 3, "leases": 5, "leases_used": 6, "leases_exhausted": 7, "leases_refused": 8,
    }}
    assert _status() == 0
    out = said()
    for part in (
        "10 asked about, 2 with findings, 3 NOT JUDGED, 4 waiting, 1 without room; 2 workers",
        "2 files, 70000 bytes", "3 ended early (1 took too long), 3 started anew",
        "5 stand, 6 used, 7 times none free, 8 led nowhere",
    ):
        assert part in out, part


def test_status_as_json(gateway: dict[str, Any], said: Said) -> None:
    """One object with all that the gateway said, times in RFC 3339."""
    assert _status(format="json") == 0
    status = json.loads(said())
    assert status["store"] == STATUS["store"] and status["rules"]["loaded"].endswith("Z")


def test_status_of_a_user(gateway: dict[str, Any], said: Said, tmp_path: Path) -> None:
    """His sessions, and what was done to what he wrote in the last day; * stands for anything."""
    writer = Writer(tmp_path / "events.db")
    writer.start()
    told = threading.Event()
    writer.put(bare("verdict", t=NOW - 100_000, user="alice", did="cut"))
    writer.put(bare("verdict", t=NOW - 10, user="bob", did="cut"))
    writer.put(bare("verdict", t=NOW - 10, user="alice", did="block"), lambda ok: told.set())
    assert told.wait(20)
    writer.close()
    assert _status("al*ice") == 0
    out = said()
    assert out.startswith("al*ice: 1 session\n") and "00f1" in out and "00f2" not in out
    assert out.endswith("in the last day: block 1\n")
    assert _status("nobody", "json") == 0
    assert json.loads(said()) == {"user": "nobody", "sessions": [], "verdicts": {}}


def test_status_of_a_user_without_a_log(gateway: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The log cannot be read: said on stderr, the sessions are told all the same."""
    assert _status("nobody") == 0
    captured = capsys.readouterr()
    assert "there is none yet" in captured.err and captured.out.startswith("nobody: 0 sessions")


def test_no_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit 1 with one sentence."""
    monkeypatch.setattr(status_cmd, "control_path", lambda config: tmp_path / "c.sock")
    for command in (_sessions, _status):
        with pytest.raises(UserError, match="no gateway runs with this configuration") as fault:
            command()
        assert fault.value.exit == 1


@pytest.mark.parametrize(("seconds", "words"), [
    (-1, "0s"), (59, "59s"), (60, "1m"), (192, "3m12s"), (7500, "2h5m"), (356400, "4d3h"), (86400, "1d"),
])
def test_age(seconds: float, words: str) -> None:
    """Two units at most."""
    assert age(seconds) == words
