"""One worker, as its supervisor sees it: what it refuses, what it shares out, when it ends."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from inspector.app import channel
from inspector.app.snapshot import Snapshot
from inspector.app.worker import portion
from inspector.app.worker_words import PROGRAM, SPEECH, Begin
from inspector.drivers.boxes import box
from inspector.model import Limits

PATIENCE = 60.0


class Started:
    """A worker's process, which believes that its supervisor is process `parent`."""

    def __init__(self, parent: int) -> None:
        self.line, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.line.settimeout(PATIENCE)
        self.box, self.write = box()
        self.words, self.words_to = box()
        self.process = subprocess.Popen(
            [sys.executable, *PROGRAM, str(its.fileno()), str(parent)],
            pass_fds=(its.fileno(), self.box.fileno(), self.words.fileno()),
            stderr=subprocess.PIPE, start_new_session=True)
        its.close()

    def end(self) -> tuple[int, bytes]:
        """Let go of it: (status, what it said)."""
        for one in (self.line, self.box, self.write, self.words, self.words_to):
            one.close()
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def worker() -> Iterator[Started]:
    """One process for one test after the other."""
    made = Started(os.getpid())
    yield made
    made.end()


def asked(line: socket.socket, kind: str, payload: object) -> tuple[int, object]:
    """(what, payload) of the answer to a call."""
    body = msgspec.msgpack.encode((channel.CALL, 1, kind, payload))
    line.sendall(struct.pack("!I", len(body)) + body)
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack("!I", data[:4])[0]:
        data += line.recv(65536)
    what, _, _, answer = msgspec.msgpack.decode(data[4:])
    return what, answer


def test_what_there_is_for_all_is_divided() -> None:
    """Files' processes, the spool, the queues; nobody gets none; what is one client's or one session's stays."""
    whole = Limits(file_workers=5)
    part = portion(whole, 2)
    assert (part.file_workers, part.spool_total_bytes) == (2, whole.spool_total_bytes // 2)
    assert (part.file_queue, part.store_queue_bytes) == (whole.file_queue // 2, whole.store_queue_bytes // 2)
    assert (part.client_sessions, part.sessions, part.way_bytes) == (
        whole.client_sessions, whole.sessions, whole.way_bytes)
    assert portion(Limits(file_workers=2), 8).file_workers == 1


def test_another_release_s_supervisor_is_refused(worker: Started) -> None:
    """What they say to each other has a version."""
    assert asked(worker.line, "begin", {"speech": SPEECH + 1}) == (
        channel.FAILED, "supervisor and worker are of different releases: restart the gateway")


def test_signals_are_not_a_worker_s_to_answer(worker: Started) -> None:
    """A service manager signals all processes of a service: a worker leaves that to its supervisor."""
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        worker.process.send_signal(one)
    assert asked(worker.line, "status", None) == (channel.FAILED, 'nobody answers "status" there')


def test_faults_of_the_rules_are_the_answer(worker: Started, tmp_path: Path) -> None:
    """Each with its place, under the name of the file that was copied."""
    (tmp_path / "policy.yaml").write_text("rules:\n  - {name: x, then: blok}\n")
    (tmp_path / "signatures").mkdir()
    snapshot = Snapshot(
        1, str(tmp_path / "i.yaml"), str(tmp_path), b"", str(tmp_path), "the-policy.yaml", "the-signatures")
    begin = Begin(
        SPEECH, 0, 1, snapshot, "gw", 1.0, [], worker.box.fileno(), {}, worker.words.fileno(), {}, None,
        "json")
    what, answer = asked(worker.line, "begin", begin)
    assert what == channel.FAILED
    assert str(answer).startswith("the-policy.yaml:2:")


def test_it_ends_with_its_channel(worker: Started) -> None:
    """With status 0 and without a word."""
    assert worker.end() == (0, b"")


def test_a_worker_whose_supervisor_is_gone_already_does_not_begin() -> None:
    """Between the start of the process and its request to die with its parent the parent may have died."""
    late = Started(1)
    assert late.process.wait(PATIENCE) == 0
    assert late.end() == (0, b"")
