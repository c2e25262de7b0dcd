"""SIGKILL at any moment of writing, signing, removing and erasing: the log that is left is whole."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from inspector.app.verify_cmd import verify
from inspector.store.checkpoints import Checkpoint, public_key
from inspector.store.sqlite import Reader, Writer

CHILD = textwrap.dedent("""
    import contextlib, os, sys, threading, time
    from argparse import Namespace
    from pathlib import Path
    from inspector.app.erase_cmd import erase_command
    from inspector.model import Limits
    from inspector.store.retention import Retention
    from inspector.store.sqlite import Writer
    from tests.store.rows import message

    first, out = int(sys.argv[1]), sys.stdout
    writer = Writer(Path("var/inspector.db"), gateway="gw1", key=Path("var/checkpoint.key"),
                    limits=Limits(checkpoint_seconds=0.02))
    writer.keeper.retention = Retention(megabytes=0.5)
    writer.start()
    other = Writer(Path("var/inspector.db"), gateway="gw1", chain="1")
    other.start()

    def erase():
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            while True:
                erase_command(Namespace(config=None, user="eve", before=None))

    threading.Thread(target=erase, daemon=True).start()
    told = threading.Semaphore(0)
    n = first
    while True:
        for one in (writer, other):
            one.put({"event": "flow", "state": "open", "flow": f"f{n}", "t": time.time(), "protocol": "irc"})
            one.put(message(n, text="x" * 300, sender="eve" if n % 5 == 0 else "alice", t=time.time()),
                    lambda ok: told.release() if ok else None)
            n += 1
        told.acquire()
        told.acquire()
        print(n, writer.chain, other.chain, file=out, flush=True)
""")


def crash(place: Path, rounds: int, seed: int) -> None:
    """So many lives of a gateway, each killed; after each the log verifies, and what lived is told lost."""
    chance = random.Random(seed)
    exported: list[Checkpoint] = []
    written = 0
    for _ in range(rounds):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(written)], cwd=place, stdout=subprocess.PIPE,
                                 env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
        assert child.stdout is not None
        with child.stdout:
            said = child.stdout.readline()
            ends = time.monotonic() + chance.uniform(0, 1.5)
            while time.monotonic() < ends and said:
                said = child.stdout.readline() or said
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines()
        child.wait()
        before = written
        written = int((rest[-1] if rest else said).split()[0])
        with Reader(place / "var" / "inspector.db") as reader:
            report = verify(reader, exported, public_key(place / "var" / "checkpoint.key"))
            assert report.wrong == []
            exported += reader.checkpoints()[-1:]
        after = Writer(place / "var" / "inspector.db", gateway="gw1", chain="2")
        after.start()
        after.close()
        with Reader(place / "var" / "inspector.db") as reader:
            lost = {json.loads(line)["flow"] for _, line in reader.select(events=("trouble",))}
            # Retention may have taken the eldest away again; those of the last moments are there, each once.
            assert f"f{written - 1}" in lost and f"f{written - 2}" in lost and before < written
            assert verify(reader, exported).wrong == []


def test_a_killed_gateway_leaves_a_whole_log(tmp_path: Path) -> None:
    """Three lives; two writers, a keeper that prunes all the time, a command that erases all the time."""
    (tmp_path / "var").mkdir(mode=0o700)
    crash(tmp_path, 3, 7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_killed_gateways_leave_a_whole_log(tmp_path: Path, seed: int) -> None:
    """Two hundred lives."""
    (tmp_path / "var").mkdir(mode=0o700)
    crash(tmp_path, 20, seed)
