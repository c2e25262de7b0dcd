"""The process that judges files: what it may not do, and what is said to it."""

from __future__ import annotations

import ctypes
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

    def __init__(self) -> None:
        self.sock, its = socket.socketpair()
        self.sock.settimeout(30)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inspector.drivers.judge_child", str(Path(__file__).parent)], stdin=its.fileno(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
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
lacking = judge_child.confine(sys.argv[3])
said = {"lacking": lacking, "uid": os.geteuid(), "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1], "nice": os.nice(0)}

def attempt(name, what):
    try:
        what()
        said[name] = "done"
    except OSError as error:
        said[name] = type(error).__name__

def fork():
    if os.fork() == 0:
        os._exit(0)

def control():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[4])

attempt("network", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close())
attempt("control", control)
attempt("write", lambda: os.write(os.open("/out", os.O_WRONLY | os.O_CREAT), b"x"))
attempt("read", lambda: os.open(sys.argv[2], os.O_RDONLY))
attempt("fork", fork)
attempt("out", lambda: os.chroot("/"))
attempt("root", lambda: os.setuid(0))
sys.stdout.write(json.dumps(said))
"""


def confined(tmp_path: Path) -> dict[str, Any]:
    """What a confined process can do, told by itself."""
    jail, secret, control = tmp_path / "empty", tmp_path / "key", tmp_path / "control.sock"
    jail.mkdir(mode=0o700)
    secret.write_text("of the gateway's user, like the process")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(str(control), family=socket.AF_UNIX),
    ):
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, str(server.getsockname()[1]), str(secret), str(jail), str(control)],
            capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_what_it_may_not_do(tmp_path: Path) -> None:
    """No network, not even loopback; no file of the gateway's is read, no socket of its reached, nothing written; no
    process started, no core dumped; no way out and none back to root."""
    said = confined(tmp_path)
    if said["lacking"]:
        pytest.skip(f"this system does not give it {said['lacking']}")
    refused = ("network", "control", "write", "read", "fork", "out", "root")
    assert [name for name in refused if said[name] == "done"] == []
    assert (said["core"], said["files"]) == (0, judge_child.DESCRIPTORS)
    assert said["nice"] > 0
    if os.geteuid() == 0:
        assert said["uid"] == judge_child.NOBODY


def test_what_the_system_does_not_give_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there are no name spaces, the gateway is told; the rest of the confinement stands."""
    set_to: dict[int, Any] = {}

    def refuse(*args: Any) -> None:
        raise PermissionError(1, "not permitted")

    class Libc:
        prctl = staticmethod(lambda *args: -1)
        capset = staticmethod(lambda *args: -1)

    for name in ("unshare", "chroot", "setgroups"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "nice", lambda by: 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: Libc)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_to.update({which: limits}))
    lacking = (
        "a network name space of their own", "a root folder of their own", "a life without capabilities")
    assert judge_child.confine(str(tmp_path)) == lacking
    assert set_to[resource.RLIMIT_FSIZE] == (0, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert judge_child.confine(str(tmp_path)) == (*lacking[:2], "another user than root", lacking[2])


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
