"""What every process of the gateway does for itself."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inspector.app import process
from inspector.app.errors import UserError
from inspector.drivers.departed import Departed


def test_only_our_own_files_are_given_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' files beside the store or the authority keep their owner; a folder that has only ours goes with them."""
    given: list[str] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, follow_symlinks: given.append(Path(path).name))
    for name in ("shared/events.db", "shared/events.db-wal", "shared/other", "ours/events.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    process.give_files(tmp_path / "shared", ("events.db", "events.db-wal"), 1, 1)
    assert sorted(given) == ["events.db", "events.db-wal"]
    given.clear()
    process.give_files(tmp_path / "ours", ("events.db", "events.db-wal"), 1, 1)
    assert sorted(given) == ["events.db", "ours"]


def test_an_unknown_loop_is_refused_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvloop the default is plain asyncio; asking for it by name is one clear sentence."""
    monkeypatch.setenv("INSPECTOR_LOOP", "asyncio")
    assert process.loop_factory() is None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setenv("INSPECTOR_LOOP", "auto")
    assert process.loop_factory() is None
    monkeypatch.setenv("INSPECTOR_LOOP", "uvloop")
    with pytest.raises(UserError, match="uvloop"):
        process.loop_factory()


def test_a_stray_error_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """What a peer said may stand in an exception's text: only type and place reach the log."""
    loop = asyncio.new_event_loop()
    try:
        raise ValueError("the words of a peer")
    except ValueError as error:
        with caplog.at_level("ERROR", logger="inspector"):
            process.stray(loop, {"message": "the words of a peer", "exception": error})
            process.stray(loop, {"message": "the words of a peer"})
    finally:
        loop.close()
    assert "ValueError at" in caplog.text
    assert "the words of a peer" not in caplog.text


class Ended:
    """An ended session that does not die by itself: a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_what_has_ended_and_does_not_die_is_collected() -> None:
    """Once it is as much as what lives, also what is old for the collector, and not before. What somebody holds is not
    walked for again, unless as much has come in addition."""
    departed, living = Departed(), 0
    collector = process.Collector(lambda: len(departed), lambda: living)

    def end(number: int) -> list[Ended]:
        dead = [Ended() for _ in range(number)]
        departed.add(*dead)
        return dead

    held = end(process.Collector.LEAST - 1)
    gc.collect()  # they are of the oldest generation now
    gc.disable()
    try:
        assert not collector.look()
        held += end(1)
        living = 1000
        assert not collector.look()
        end(800)
        assert collector.look()
        assert len(departed) == process.Collector.LEAST
        living = 0
        assert not collector.look()
        end(process.Collector.LEAST)
        assert collector.look()
        held.clear()
        assert len(departed) == process.Collector.LEAST
        assert collector.look() is False
        assert len(departed) == process.Collector.LEAST
        end(process.Collector.LEAST)
        assert collector.look()
        assert len(departed) == 0
    finally:
        gc.enable()


HEAPS = """
import asyncio, ctypes, os, threading
from inspector.app import process

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

process.one_heap()
def work():
    for _ in range(20):
        [bytes(50_000) for _ in range(100)]
threads = [threading.Thread(target=work) for _ in range(6)]
for one in threads: one.start()
for one in threads: one.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
read, write = os.pipe()
out = ctypes.c_void_p(libc.fdopen(write, b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
print(os.read(read, 1 << 16).count(b"<heap nr="))

kept = [bytes(40_000) for _ in range(2500)]
del kept[:-1]
before = resident()
process.TIDY_SECONDS = 0.05
async def main():
    task = asyncio.ensure_future(process.tidy())
    await asyncio.sleep(0.5)
    task.cancel()
asyncio.run(main())
print((before - resident()) >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt (musl)")
def test_all_threads_share_a_heap_and_what_nobody_uses_is_given_back() -> None:
    """Six threads that allocate leave one heap; 100 MB freed below the heap's last block are the system's again."""
    said = subprocess.run([sys.executable, "-c", HEAPS], capture_output=True, text=True, check=True, timeout=60).stdout
    heaps, megabytes = map(int, said.split())
    assert heaps == 1
    assert megabytes > 60
