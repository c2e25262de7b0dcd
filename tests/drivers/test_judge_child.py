"""The process that judges files: what it may not do, and what is said to it."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspector import scan
from inspector.drivers import judge_child
from inspector.drivers.judge_child import (
    SIZE,
    Answer,
    Ask,
    Crashed,
    FromChild,
    Load,
    Loaded,
    Ready,
    ToChild,
    answer_of,
    packed,
    where,
)
from inspector.model import File, FileReport, Finding, Limits
from tests.test_golden import PCAPS

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """The process and our end of its socket, blocking."""

    def __init__(self, *argv: str) -> None:
        self.sock, its = socket.socketpair()
        self.sock.settimeout(30)
        self.process = subprocess.Popen(
            [sys.executable, *(argv or ("-m", "inspector.drivers.judge_child"))], stdin=its.fileno(), cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        its.close()

    def hear(self) -> FromChild:
        size = SIZE.unpack(self.exactly(4))[0]
        return answer_of(self.exactly(size))

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            assert part, "the child has ended"
            data += part
        return data

    def say(self, message: ToChild, data: bytes) -> None:
        descriptor = os.memfd_create("x")
        os.write(descriptor, data)
        socket.send_fds(self.sock, [packed(message)], [descriptor])
        os.close(descriptor)

    def end(self) -> int:
        self.sock.close()
        return self.process.wait(30)


def blob() -> bytes:
    rules = scan.load(PCAPS / "packs" / "golden", Limits()).scanner.files
    assert rules is not None
    return rules.blob


def test_it_judges_what_comes_and_ends_with_the_gateway() -> None:
    """Ready, rules, files; without rules nothing; broken rules are told; the end of the socket is its end."""
    child = Child()
    assert isinstance(child.hear(), Ready)
    child.say(Ask(File()), b"x")
    assert child.hear() == Answer(None, "there are no rules for files")
    child.say(Load(1 << 30, 10), b"no rules")
    loaded = child.hear()
    assert isinstance(loaded, Loaded)
    assert loaded.failure == "the rules for files cannot be loaded: ValueError"
    child.say(Load(1 << 30, 10), blob())
    assert child.hear() == Loaded(None)
    child.say(Ask(File(file_name="a.txt")), b"the tulips")
    answer = child.hear()
    assert isinstance(answer, Answer)
    assert answer.report is not None
    assert answer.report.size == 10
    assert child.end() == 0


def test_a_message_without_a_descriptor_ends_it() -> None:
    """It is asked with descriptors or not at all."""
    child = Child()
    child.hear()
    child.sock.sendall(packed(Ask(File())))
    assert child.process.wait(30) == 0
    child.sock.close()


CONFINED = """
import json, os, resource, socket, sys
from inspector.drivers import judge_child
lacking = judge_child.confine()
said = {"lacking": lacking, "uid": os.geteuid(), "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1], "net": [], "write": "", "fork": ""}
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
    said["net"] = "reached"
except OSError as error:
    said["net"] = type(error).__name__
try:
    with open(sys.argv[2], "wb") as out:
        out.write(b"x")
    said["write"] = "written"
except OSError as error:
    said["write"] = type(error).__name__
sys.stdout.write(json.dumps(said))
"""


def confined(tmp_path: Path, *prefix: str) -> dict[str, Any]:
    """What a confined process can do, told by itself."""
    tmp_path.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as server:
        # What a file that is too long raises (SIGXFSZ) is ignored by Python: an error instead of an end
        done = subprocess.run(
            [*prefix, sys.executable, "-c", CONFINED, str(server.getsockname()[1]), str(tmp_path / "out")],
            capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_it_has_no_network_and_makes_no_files(tmp_path: Path) -> None:
    """Not even loopback, where the system gives name spaces; nothing is written anywhere; no core dumps."""
    said = confined(tmp_path)
    if not said["lacking"]:
        assert said["net"] in ("OSError", "ConnectionRefusedError")
    assert said["write"] in ("OSError", "PermissionError")
    assert (said["core"], said["files"]) == (0, judge_child.DESCRIPTORS)
    assert not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size == 0


def test_a_child_of_root_is_nobody(tmp_path: Path) -> None:
    """It cannot read what only the gateway may read."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert confined(tmp_path)["uid"] == judge_child.NOBODY


def test_what_the_system_does_not_give_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no name spaces, the gateway is told, once; the rest of the confinement stands."""
    set_to: dict[int, Any] = {}

    def refuse(*args: Any) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "unshare", refuse, raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_to.update({which: limits}))
    assert judge_child.confine() == ("a network name space of its own",)
    assert set_to[resource.RLIMIT_FSIZE] == (0, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "setgroups", refuse)
    assert judge_child.confine() == ("a network name space of its own", "another user than root")


@pytest.mark.parametrize("message", [
    Ready(("x",)), Loaded(None), Loaded("no"), Answer(None, "no"), Crashed("KeyError at a.py:1"),
    Answer(FileReport(size=1, sha256="a", sha1="b", md5="c", kinds=("text",), findings=(
        Finding("yara", "core.eicar", "high", "x", "core@1", ("test",)),)), None),
])
def test_messages_come_back_as_they_went(message: FromChild) -> None:
    """Length and MessagePack."""
    data = packed(message)
    assert SIZE.unpack(data[:4]) == (len(data) - 4,)
    assert answer_of(data[4:]) == message


@pytest.mark.parametrize("body", [b"", b"hello", b"\x93\xa6answer\x01\x02", b"\x92\xa3ask\x90", b"\xc0"])
def test_nonsense_is_no_answer(body: bytes) -> None:
    """A process that was taken over can say what it likes: it is a ValueError."""
    with pytest.raises(ValueError, match=r".*"):
        answer_of(body)


def test_a_report_that_is_too_long_is_a_failure() -> None:
    """The gateway reads so many bytes of an answer and no more."""
    one, other = socket.socketpair()
    with one, other:
        finding = Finding("yara", "r", "high", "x" * 2_000_000)
        report = FileReport(size=1, sha256="a", sha1="b", md5="c", findings=(finding,))
        judge_child._Line(one).say(Answer(report, None))
        size = SIZE.unpack(other.recv(4))[0]
        assert answer_of(other.recv(size)) == Answer(None, "the report is too long")


def test_errors_are_told_by_type_and_place() -> None:
    """Never by what they say."""
    try:
        int("the secret word")
    except ValueError as error:
        told = where(error, error.__traceback__)
    assert told.startswith("ValueError at test_judge_child.py:")
    assert "secret" not in told
