"""Mixed load through two workers with reloads, deaths, restarts, files and a reviewer: nothing grows, nothing is lost.

The load, and what is looked at, is bench/mixed.py; here is how long and how much. It runs as a program of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.peers import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.live

SHORT: dict[str, Any] = {
    "seconds": 16, "steady": 1, "rate": 40, "visitors": 1.5, "odd": 0.7, "files": 2, "look": 4, "reload": 4.5,
    "kill": 12, "restart": 5, "rules": 30, "megabytes": 0.5, "patience": 3, "hold": 8,
}


def soak(folder: Path, seconds: float, plan: dict[str, Any]) -> dict[str, Any]:
    """Run it, `seconds` at most; what it tells."""
    plan = {**plan, "ports": [free_port() for _ in range(8)]}
    words = [sys.executable, "-m", "bench.mixed", str(folder), json.dumps(plan)]
    with (folder / "told").open("wb") as told:
        # A session of its own: whatever happens, nothing of it outlives the test.
        child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=told, start_new_session=True)
        try:
            said, _ = child.communicate(timeout=seconds)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
    assert child.returncode == 0, (folder / "told").read_text()[-3000:]
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.timeout(240)
def test_mixed_load_leaves_nothing_unaccounted_for(tmp_path: Path) -> None:
    """A quarter of a minute: every message, session, file and line of the logs is where it belongs; all that should
    happen has happened."""
    found = soak(tmp_path, 200, SHORT)
    assert found["faults"] == []
    counts = found["counts"]
    for name in (
        "workers killed", "reloads accepted", "reloads refused", "came pass", "came mask",
        "verdict block where block is meant", "verdict hold where hold is meant", "held, in the end delivered",
        "held, in the end denied", "files came upload", "files came ibb", "trouble worker_died",
    ):
        assert counts.get(name), (name, counts, found["notes"])
    # A worker that dies meanwhile ends a restart early.
    assert counts.get("rolling restarts", 0) + counts.get("rolling restarts refused", 0)
    for kind in ("xmpp", "starttls", "websocket", "irc", "oscar"):
        assert any(name.startswith(f"ended {kind}") for name in counts), (kind, counts)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_mixed_load_of_twenty_minutes(tmp_path: Path) -> None:
    """The same for twenty minutes with more of everything; memory is flat over the last ten, as bench.mixed has it."""
    found = soak(tmp_path, 1700, {"seconds": 1200})
    assert found["faults"] == [], found["notes"]
