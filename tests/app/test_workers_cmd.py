"""`inspector workers`: what it prints, and what it asks of the gateway."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from inspector.app import workers_cmd
from inspector.app.cli import main
from inspector.app.workers_cmd import workers_command

ROWS: list[dict[str, Any]] = [
    {"number": 0, "seat": 0, "pid": 71, "state": "serving", "sessions": 12, "chain": "0", "memory": 123_400_000,
     "since": 1_700_000_000.0, "version": "0.1.0", "rules": 3},
    {"number": 2, "seat": 1, "pid": 99, "state": "leaving", "sessions": 1, "chain": "2", "memory": 99_000_000,
     "since": 1_700_000_060.0, "version": "0.0.9", "rules": 3, "letters_lost": 3},
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the gateway is asked; it answers with ROWS."""
    found: list[str] = []

    def ask(path: Path, command: str, seconds: float = 30.0) -> Any:
        found.append(command)
        return ROWS if command == "workers" else {"workers": ROWS, "leaving": [0, 1]}

    monkeypatch.setattr(workers_cmd, "ask", ask)
    monkeypatch.setattr(workers_cmd, "control_path", lambda config: tmp_path / "c.sock")
    return found


def test_the_workers_are_listed(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, under heads; as JSON lines with a time that other programs read."""
    assert workers_command(Namespace(config=None, what="list", format="table")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "WORKER", "PID", "STATE", "SESSIONS", "MEMORY", "AGE", "RULES", "CHAIN", "LETTERS", "LOST", "VERSION"]
    assert [line.split()[-2] for line in lines[1:]] == ["0", "3"]
    assert lines[2].split()[:5] == ["2", "99", "leaving", "1", "99"]
    assert workers_command(Namespace(config=None, what="list", format="jsonl")) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (row["pid"], row["since"]) == (71, "2023-11-14T22:13:20.000000Z")
    assert asked == ["workers", "workers"]


def test_a_restart_says_who_leaves(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked for once."""
    assert workers_command(Namespace(config=None, what="restart", format="table")) == 0
    assert "those of worker 0, 1 are being ended" in capsys.readouterr().out
    assert asked == ["restart"]


def test_without_a_gateway_it_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1."""
    (tmp_path / "i.yaml").write_text("")
    assert main(["workers", "restart", "-c", str(tmp_path / "i.yaml")]) == 1
    assert "no gateway runs with this configuration" in capsys.readouterr().err
