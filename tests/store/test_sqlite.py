"""The event store: durable when it says so, grouped, patient with the disk, careful with other people's files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector.model import Limits
from inspector.store import tables
from inspector.store.chain import walk
from inspector.store.checkpoints import faults
from inspector.store.keeper import Keeper
from inspector.store.sqlite import Reader, StoreError, Writer, connect, location
from tests.store.rows import T, bare, full, message


class Answers:
    """Collects what `done` is called with; `wait` returns once so many have come."""

    def __init__(self) -> None:
        self.got: list[bool] = []
        self._changed = threading.Condition()

    def __call__(self, ok: bool) -> None:
        with self._changed:
            self.got.append(ok)
            self._changed.notify_all()

    def wait(self, count: int = 1, seconds: float = 20.0) -> list[bool]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, seconds), self.got
            return list(self.got)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll a condition with a deadline."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not become true"
        time.sleep(0.005)


def well(writer: Writer) -> bool:
    """Whether it is healthy (a function, because a type checker believes that a property does not change)."""
    return writer.healthy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "events.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    made = Writer(path, gateway="gw1")
    made.start()
    yield made
    made.close()


def lines(path: Path, **query: Any) -> list[dict[str, Any]]:
    with Reader(path) as reader:
        return [json.loads(line) for _, line in reader.select(**query)]


def test_a_row_is_readable_when_done_is_true(path: Path, writer: Writer) -> None:
    """done(True) comes after the commit: another connection sees the whole line."""
    answers = Answers()
    writer.put(full("verdict"), answers)
    assert answers.wait() == [True]
    [line] = lines(path)
    assert (line["event"], line["gateway"], line["id"]) == ("verdict", "gw1", "00f1-1")
    assert (writer.counters.rows, writer.counters.durable, writer.healthy) == (1, 1, True)


def test_rows_are_kept_in_their_order(path: Path, writer: Writer) -> None:
    """A durable row takes with it all that was put before."""
    answers = Answers()
    for n in range(1200):
        writer.put(message(n))
    writer.put(message(1200), answers)
    answers.wait()
    assert [line["text"] for line in lines(path)] == [f"message {n}" for n in range(1201)]
    assert writer.counters.commits < 1201 / 2


def test_rows_that_are_in_no_hurry_share_a_commit(path: Path, writer: Writer) -> None:
    """However many are waited for so, they are a few commits in all, each of them synced; one that is in a hurry takes
    them along."""
    answers = Answers()
    for n in range(200):
        writer.put(message(n), answers, hurry=False)
    assert set(answers.wait(200)) == {True}
    assert (writer.counters.durable, writer.counters.commits < 20) == (200, True)
    assert len(lines(path)) == 200


def test_a_row_that_nobody_waits_for_is_written_soon(path: Path, writer: Writer) -> None:
    """Without a durable row the batch goes out by itself."""
    writer.put(message(1))
    until(lambda: writer.counters.rows == 1)
    assert writer.waiting == 0


def test_files_and_folder_are_private(path: Path, writer: Writer) -> None:
    """The database and its companions are 0600, the folder that was made for them 0700."""
    answers = Answers()
    writer.put(message(1), answers)
    answers.wait()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


CRASH = textwrap.dedent("""
    import sys, threading
    from pathlib import Path
    from inspector.store.sqlite import Writer
    from tests.store.rows import message

    writer = Writer(Path(sys.argv[1]), gateway="gw1")
    writer.start()
    for n in range(50):
        told = threading.Event()
        writer.put(message(1000 + n))
        writer.put(message(n), lambda ok: told.set() if ok else None)
        assert told.wait(20)
        print(n, flush=True)
    threading.Event().wait()
""")


def test_a_killed_process_loses_no_row_that_it_was_told_of(path: Path) -> None:
    """SIGKILL right after done(True): every row reported is there, with all that was put before it."""
    child = subprocess.Popen([sys.executable, "-c", CRASH, str(path)], stdout=subprocess.PIPE,
                             cwd=Path(__file__).resolve().parents[2])
    assert child.stdout is not None
    with child.stdout:
        told = 0
        for line in child.stdout:
            told = int(line)
            if told == 30:
                child.send_signal(signal.SIGKILL)
                break
        rest = child.stdout.read().split()
    child.wait()
    told = int(rest[-1]) if rest else told
    there = {line["text"] for line in lines(path)}
    assert there >= {f"message {n}" for n in range(told + 1)} | {f"message {1000 + n}" for n in range(told + 1)}


def test_a_locked_store_is_tried_again_and_recovers(path: Path, writer: Writer) -> None:
    """Another program holds the write lock: rows wait, the writer says so once, and writes all when it is gone."""
    said: list[str] = []
    writer._tell = said.append
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = Answers()
    writer.put(message(1), answers)
    writer.put(message(2))
    until(lambda: writer.counters.failures >= 2)
    assert writer.fault is not None and "locked" in writer.fault
    assert well(writer) is False
    assert answers.got == []
    other.execute("ROLLBACK")
    other.close()
    assert answers.wait() == [True]
    until(lambda: writer.counters.rows == 2)
    assert well(writer) is True
    assert len(said) == 2 and "cannot write" in said[0] and "writes again" in said[1]


def test_no_commit_in_time_is_said_and_the_others_stay(path: Path, writer: Writer) -> None:
    """After limits.store_seconds done(False) is called for the rows somebody waits for, and these are never written;
    the others are written when the store works again."""
    writer.limits = replace(Limits(), store_seconds=0.2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = Answers()
    writer.put(message(1), answers)
    writer.put(message(2))
    assert answers.wait() == [False]
    assert writer.counters.failed == 1
    other.execute("ROLLBACK")
    other.close()
    until(lambda: writer.counters.rows == 1)
    assert [line["text"] for line in lines(path)] == ["message 2"]


def test_a_full_queue_refuses_and_keeps_room_for_what_is_waited_for(path: Path, writer: Writer) -> None:
    """Rows that nobody waits for are left out (counted) when three quarters are full; durable ones at the end,
    at once, with done(False)."""
    writer.limits = replace(Limits(), store_queue_rows=8)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for n in range(10):
        writer.put(message(n))
    assert writer.counters.lost == 4
    answers = Answers()
    writer.put(message(10), answers)
    writer.put(message(11), answers)
    assert answers.got == []
    writer.put(message(12), answers)
    assert answers.got == [False] and writer.counters.failed == 1
    other.execute("ROLLBACK")
    other.close()
    assert answers.wait(3) == [False, True, True]


def test_long_texts_fill_the_queue_sooner(writer: Writer) -> None:
    """The characters that wait are bounded, not only the rows."""
    writer.limits = replace(Limits(), store_queue_bytes=1000)
    writer.put(message(1, texts=[{"part": "body", "text": "x" * 800, "lang": None}]))
    assert writer.counters.lost == 1
    writer.put(message(2, texts=[{"part": "body", "text": "x" * 700, "lang": None}]))
    until(lambda: writer.counters.rows == 1)
    writer.put(message(3, texts=[{"part": "body", "text": "x" * 700, "lang": None}]))
    until(lambda: writer.counters.rows == 2)


def test_long_names_fill_the_queue_sooner(writer: Writer) -> None:
    """Identifiers and names are as long as a peer likes: they count as texts do."""
    writer.limits = replace(Limits(), store_queue_bytes=1000)
    writer.put(message(1, message_id="x" * 800))
    writer.put(message(2, recipients=["x" * 400, "y" * 400]))
    assert writer.counters.lost == 2


FULL_DISK = textwrap.dedent("""
    import resource, signal, sys, threading, time
    from pathlib import Path
    from inspector.store.sqlite import Writer
    from tests.store.rows import message

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = Writer(Path(sys.argv[1]))
    writer.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    told = threading.Event()
    for n in range(60):
        writer.put(message(n, text="x" * 20_000), (lambda ok: told.set()) if n == 59 else None)
    ends = time.monotonic() + 20
    while not writer.counters.failures:
        assert time.monotonic() < ends
        time.sleep(0.005)
    print(writer.fault)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.wait(20)
    print(writer.counters.rows, writer.fault)
    writer.close()
""")


def test_a_full_disk_is_waited_for(path: Path) -> None:
    """The disk gives no more room: nothing is lost, and when there is room again everything is written."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False,
                          cwd=Path(__file__).resolve().parents[2], timeout=60)
    assert done.returncode == 0, done.stderr
    fault, end = done.stdout.splitlines()
    assert fault not in ("", "None")
    assert end == "60 None"
    assert [line["id"] for line in lines(path)] == [f"00f1-{n}" for n in range(60)]


def test_a_store_that_was_taken_away_is_made_anew(path: Path, writer: Writer) -> None:
    """The file was removed or moved while running: rows go into a new one of that name, not into the nameless one."""
    answers = Answers()
    writer.put(message(1), answers)
    answers.wait()
    for file in path.parent.iterdir():
        file.rename(file.with_name("old-" + file.name))
    writer.put(message(2), answers)
    assert answers.wait(2) == [True, True]
    assert [line["text"] for line in lines(path)] == ["message 2"]


def test_what_is_no_event_is_refused_and_the_rest_goes_on(path: Path, writer: Writer) -> None:
    """A row of an unknown kind or without a time is a fault of ours: refused, counted, told; others are kept."""
    said: list[str] = []
    writer._tell = said.append
    answers = Answers()
    writer.put(bare("nonsense"), answers)
    writer.put({"event": "message", "id": "x-1"}, answers)
    writer.put(message(1, surprise=1), answers)
    assert answers.wait(3) == [False, False, True]
    assert writer.counters.refused == 2
    assert len(said) == 3 and "surprise" in said[2]
    assert "surprise" not in lines(path)[0]


def test_events_of_the_gateway_get_an_id(path: Path, writer: Writer) -> None:
    """A row without an id is given one, made without chance."""
    answers = Answers()
    writer.put(bare("started"), answers)
    writer.put(bare("started", t=T + 1), answers)
    answers.wait(2)
    first, second = (line["id"] for line in lines(path))
    assert first != second and first.endswith("-0") and len(first) == 18


def test_strange_strings_do_not_stop_the_writer(path: Path, writer: Writer) -> None:
    """Lone surrogates and NUL in what is indexed are stored as something near, never raised."""
    answers = Answers()
    writer.put(message(1, sender="a\ud800", user="b\x00c"), answers)
    assert answers.wait() == [True]
    assert lines(path)[0]["sender"] == "a?"


def test_privacy_is_applied_and_can_be_changed_while_running(path: Path, writer: Writer) -> None:
    """What is written from now on is treated as `text` says now."""
    answers = Answers()
    writer.put(message(1), answers)
    answers.wait()
    writer.text = "none"
    writer.put(message(2), answers)
    answers.wait(2)
    assert [line["text"] for line in lines(path)] == ["message 1", None]


def test_close_writes_what_waits_and_nothing_after_it(path: Path) -> None:
    """After close all is on disk; a later row is refused at once."""
    writer = Writer(path)
    writer.start()
    for n in range(100):
        writer.put(message(n))
    writer.close()
    assert len(lines(path)) == 100
    answers = Answers()
    writer.put(message(100), answers)
    assert answers.got == [False]


def test_close_gives_up_when_the_store_stays_locked(path: Path) -> None:
    """The end of the gateway does not hang on a store that cannot be written: what waited is answered with False."""
    writer = Writer(path)
    writer.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = Answers()
    writer.put(message(1), answers)
    writer.close(0.3)
    assert answers.wait() == [False]
    other.close()


def test_a_loop_that_is_gone_does_not_end_the_writer(path: Path, writer: Writer) -> None:
    """done may raise RuntimeError (its event loop is closed): the others are still served."""
    def gone(ok: bool) -> None:
        raise RuntimeError("Event loop is closed")
    answers = Answers()
    writer.put(message(1), gone)
    writer.put(message(2), answers)
    assert answers.wait() == [True]


def test_a_newer_store_is_refused(path: Path) -> None:
    """One sentence that names the file and both versions, for writer and reader."""
    base = connect(path)
    base.execute("UPDATE meta SET value = '4' WHERE name = 'schema'")
    base.close()
    with pytest.raises(StoreError, match=r"events\.db: made by a newer release \(schema 4, this one knows 3\)"):
        Writer(path).start()
    with pytest.raises(StoreError, match="newer release"):
        Reader(path)


def test_another_programs_file_is_not_touched(tmp_path: Path) -> None:
    """A foreign database, and a file that is none, are refused and left as they were."""
    foreign = tmp_path / "foreign.db"
    base = sqlite3.connect(foreign)
    base.execute("CREATE TABLE things (a)")
    base.commit()
    base.close()
    text = tmp_path / "text.db"
    text.write_text("something else that is long enough to be looked at as a header by the library" * 20)
    for path in (foreign, text):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=path.name):
            connect(path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("url", ["", "sqlite:", "postgres:x", "var/inspector.db"])
def test_only_sqlite_urls(url: str) -> None:
    """Anything but sqlite:PATH is one clear sentence."""
    with pytest.raises(StoreError, match="only sqlite:PATH"):
        location(url)
    assert location("sqlite:var/a.db") == Path("var/a.db")


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """The folder is a file, or the store is a folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/events\.db"):
        connect(tmp_path / "file" / "events.db")
    with pytest.raises(StoreError, match="is a directory"):
        connect(tmp_path)


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    """No store yet: one sentence, and none is made."""
    with pytest.raises(StoreError, match="there is none yet"):
        Reader(tmp_path / "events.db")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def filled(path: Path, writer: Writer) -> Path:
    answers = Answers()
    for n in range(10):
        writer.put(message(n, t=T + n, user=f"user{n % 2}"))
    writer.put(full("verdict", 20, message="00f1-3", action="block", reference="ABCD-EFGH", user="user1", sender="x"))
    writer.put(bare("contact", t=T + 21, flow="00f1", id="00f1-21", action="block", user="user0"))
    writer.put(bare("trouble", t=T + 22, flow="00f1", id="00f1-22", did="block", name="gap"), answers)
    answers.wait()
    return path


def test_queries(filled: Path) -> None:
    """By time, kind, what was done, user (with *), and the newest N in the order of time."""
    assert [line["text"] for line in lines(filled, since=T + 8, events=("message",))] == ["message 8", "message 9"]
    assert len(lines(filled, until=T + 2)) == 2
    assert [line["event"] for line in lines(filled, actions=("block",))] == ["verdict", "trouble"]
    assert len(lines(filled, user="user1")) == 6
    assert len(lines(filled, user="alice")) == 10
    assert len(lines(filled, user="user*")) == 12
    assert [line["event"] for line in lines(filled, limit=2)] == ["contact", "trouble"]


def test_what_is_known_about_one_event(filled: Path) -> None:
    """By the message's id, the verdict's id or the reference: both rows."""
    with Reader(filled) as reader:
        for key in ("00f1-3", "00f1-20", "ABCD-EFGH"):
            assert [json.loads(line)["id"] for _, line in reader.about(key)] == ["00f1-3", "00f1-20"]
        assert reader.about("nothing") == []
        assert [json.loads(line)["name"] for _, line in reader.of_flow("00f1", ("trouble",))] == ["gap"]


def test_which_ids_are_known(path: Path, writer: Writer) -> None:
    """However many are asked for; and since when there are rows."""
    answers = Answers()
    for n in range(3):
        writer.put(message(n, t=T + n), answers)
    answers.wait(3)
    with Reader(path) as reader:
        assert reader.known([f"00f1-{n}" for n in range(1, 1500)]) == {"00f1-1", "00f1-2"}
        assert (reader.known([]), reader.since()) == (set(), T)


def test_a_verdict_that_holds_nothing_is_no_proof_of_what_is_held(path: Path, writer: Writer) -> None:
    """A session that ended while its message was being stored says "block" under the same id."""
    answers = Answers()
    writer.put(full("verdict", 1, did="block"), answers)
    writer.put(full("verdict", 2, did="hold", action="hold"), answers)
    answers.wait(2)
    with Reader(path) as reader:
        assert reader.known(["00f1-1", "00f1-2"]) == {"00f1-2"}


def test_a_reader_sees_rows_that_come_later(path: Path, writer: Writer) -> None:
    """Reading on from the last n, while the writer writes."""
    answers = Answers()
    writer.put(message(1), answers)
    answers.wait()
    with Reader(path) as reader:
        last = reader.last()
        writer.put(message(2), answers)
        answers.wait(2)
        assert [json.loads(line)["text"] for _, line in reader.select(after=last)] == ["message 2"]


def test_group_commit_shares_syncs(path: Path, writer: Writer) -> None:
    """Rows that arrive while a commit runs share the next one: far fewer commits than durable rows."""
    answers = Answers()
    for n in range(2000):
        writer.put(message(n), answers)
    assert set(answers.wait(2000)) == {True}
    assert writer.counters.commits <= 500


SEVERAL = textwrap.dedent("""
    import sys, threading
    from pathlib import Path
    from inspector.store.sqlite import Writer
    from tests.store.rows import message

    path, chain, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    writer = Writer(path, gateway="gw1", chain=chain)
    writer.start()
    input()
    left = threading.Semaphore(0)
    for n in range(count):
        writer.put(message(n, id=f"{chain}-{n}"), (lambda ok: left.release() if ok else None) if n % 10 == 0 else None)
        if n % 50 == 49:
            for _ in range(5):
                assert left.acquire(timeout=60)
    writer.close(60)
    print(writer.counters.rows, writer.counters.failures, writer.counters.lost, writer.chain)
""")


def several(path: Path, chain: str, count: int) -> subprocess.Popen[str]:
    """A process that writes a chain, once it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", SEVERAL, str(path), chain, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=Path(__file__).resolve().parents[2])


def test_several_processes_write_one_store(path: Path) -> None:
    """Each its own chain, while a keeper lists all heads: no row is lost, all chains verify, all checkpoints hold."""
    keeper = Keeper(path, path.parent / "checkpoint.key", limits=Limits(checkpoint_seconds=0.1))
    keeper.start()
    children = [several(path, chain, 1500) for chain in ("0", "1", "2")]
    said = [child.communicate("go\n", 60)[0].split() for child in children]
    assert [(rows, lost, chain) for rows, _, lost, chain in said] == [("1500", "0", str(n)) for n in range(3)]
    keeper.close()
    with Reader(path) as reader:
        states = {state.chain: state for _, state in walk(reader.links())}
        assert {chain: (state.rows, state.fault) for chain, state in states.items()} == dict.fromkeys(
            ("0", "1", "2"), (1500, None))
        stored = reader.checkpoints()
        assert faults(stored) == []
        assert stored[-1].heads == {chain: (1500, state.head.hex()) for chain, state in states.items()}
        assert reader.displaced() == 0


def test_a_successor_takes_another_chain_while_the_one_before_drains(path: Path, writer: Writer) -> None:
    """Two living writers never write one chain; when the first has ended, its name is free again."""
    second = Writer(path)
    second.start()
    assert (writer.chain, second.chain) == ("0", "0.1")
    answers = Answers()
    for n, one in enumerate((writer, second, writer, second)):
        one.put(message(n), answers)
    answers.wait(4)
    writer.close()
    third = Writer(path)
    third.start()
    assert third.chain == "0"
    third.put(message(5), answers)
    answers.wait(5)
    second.close()
    third.close()
    with Reader(path) as reader:
        states = {state.chain: (state.rows, state.fault) for _, state in walk(reader.links())}
    assert states == {"0": (3, None), "0.1": (2, None)}


def opening(n: int, **more: Any) -> dict[str, Any]:
    """A session's protocol became known."""
    return {"event": "flow", "state": "open", "id": f"f{n}-1", "flow": f"f{n}", "t": T, "protocol": "irc",
            "user": "alice", "client": {"ip": "10.0.0.5", "port": 40000 + n},
            "server": {"ip": "10.0.0.9", "port": 6667}} | more


def test_a_session_that_ended_is_not_lost(path: Path, writer: Writer) -> None:
    """What was opened and ended leaves nothing; the opening is no row of the log, the end is."""
    answers = Answers()
    writer.put(opening(1), answers)
    writer.put(opening(2))
    writer.put(opening(1, user="bob"))
    for n in (2, 1):
        writer.put(opening(n, state="end"), answers)
    assert answers.wait(3) == [True, True, True]
    assert writer.counters.rows == 2
    writer.close()
    again = Writer(path)
    again.start()
    again.close()
    assert [line["state"] for line in lines(path)] == ["end", "end"]


LOST = textwrap.dedent("""
    import sys, threading
    from pathlib import Path
    from inspector.store.sqlite import Writer
    from tests.store.test_sqlite import opening

    writer = Writer(Path(sys.argv[1]), gateway="gw1")
    writer.start()
    told = threading.Event()
    for n in range(5):
        writer.put(opening(n))
    writer.put(opening(3, state="end"), lambda ok: told.set())
    assert told.wait(20)
    print("ready", flush=True)
    threading.Event().wait()
""")


def test_sessions_that_lived_when_the_process_was_killed_are_told_lost(path: Path) -> None:
    """SIGKILL: the next start writes session_lost for each that had not ended, once, with who and where; also when
    another chain's writer is the next to start."""
    child = subprocess.Popen([sys.executable, "-c", LOST, str(path)], stdout=subprocess.PIPE,
                             cwd=Path(__file__).resolve().parents[2])
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    other = Writer(path, chain="1")
    other.start()
    assert lines(path, events=("trouble",)) == []
    child.kill()
    child.wait()
    child.stdout.close()
    other.close()
    for chain in ("2", "0"):
        after = Writer(path, chain=chain, gateway="gw1")
        after.start()
        after.close()
    found = lines(path, events=("trouble",))
    assert [(line["flow"], line["name"], line["protocol"], line["user"]) for line in found] == [
        (f"f{n}", "session_lost", "irc", "alice") for n in (0, 1, 2, 4)]
    assert found[0]["client"] == {"ip": "10.0.0.5", "port": 40000}
    assert found[0]["server"] == {"ip": "10.0.0.9", "port": 6667}
    with Reader(path) as reader:
        assert [(state.chain, state.fault) for _, state in walk(reader.links())][-1] == ("2", None)


def test_sessions_of_a_process_whose_place_nobody_takes_are_told_by_another(path: Path) -> None:
    """A writer that is told of a death tells what was lost with its next commit, once, and nothing of the living."""
    child = subprocess.Popen([sys.executable, "-c", LOST, str(path)], stdout=subprocess.PIPE,
                             cwd=Path(__file__).resolve().parents[2])
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    other = Writer(path, chain="1", gateway="gw1")
    other.start()
    other.put({"event": "flow", "state": "open", "flow": "mine", "t": 1.0, "protocol": "irc"})

    def durable(number: int) -> None:
        done = threading.Event()
        other.put(message(number), lambda ok: done.set())
        assert done.wait(20)

    other.bury()
    durable(1)
    assert lines(path, events=("trouble",)) == []
    child.kill()
    child.wait()
    child.stdout.close()
    durable(2)
    assert lines(path, events=("trouble",)) == []
    for number in (3, 4):
        other.bury()
        durable(number)
        assert [(line["flow"], line["name"]) for line in lines(path, events=("trouble",))] == [
            (f"f{n}", "session_lost") for n in (0, 1, 2, 4)]
    other.close()
    with Reader(path) as reader:
        assert [(state.chain, state.fault) for _, state in walk(reader.links())][-1] == ("1", None)


def test_a_session_is_remembered_like_a_durable_row(path: Path, writer: Writer) -> None:
    """Nobody waits for it, and yet it is committed at once and synced."""
    writer.put(opening(1))
    until(lambda: writer.waiting == 0)
    assert writer._full is True
    base = connect(path)
    assert base.execute("SELECT flow FROM living").fetchall() == [("f1",)]
    base.close()


def test_a_store_that_is_locked_at_start_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, and then refused; nothing is left behind that keeps the next start out."""
    connect(path).close()
    monkeypatch.setattr(tables, "OPEN_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"events\.db: .*locked"):
        Writer(path).start()
    other.execute("ROLLBACK")
    other.close()
    after = Writer(path)
    after.start()
    assert after.chain == "0"
    after.close()
