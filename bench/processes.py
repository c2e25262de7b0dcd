"""Processes of the bench: starting, watching and ending them; what they used, from /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

HOUSE = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of all threads of these processes, the ended threads included."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def resident(pids: list[int]) -> int:
    """Resident bytes of these processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def memory(pid: int) -> dict[str, int]:
    """Bytes of one process: resident now, at its peak, and what of it is its own (anonymous) or mapped from files."""
    names = {"VmRSS": "resident", "VmHWM": "peak", "RssAnon": "own", "RssFile": "mapped"}
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in names:
            found[names[key]] = int(value.split()[0]) * 1024
    return found


def preferred(priority: int) -> None:
    """Let what this session started go before what others have (sched(7), autogroups); among it nothing changes."""
    if priority:
        Path("/proc/self/autogroup").write_text(str(priority))


def free_port() -> int:
    """A TCP port of loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str, seconds: float = 180) -> None:
    """Returns when something listens there; raises when the process ends before, or takes longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with exit code {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{what} did not listen within {seconds} s")


class Process:
    """A child process, ended with `stop`."""

    def __init__(
        self, what: str, command: list[str], log: Path, environment: dict[str, str] | None = None, talk: bool = False,
    ) -> None:
        self.what = what
        self.log: IO[bytes] = open(log, "ab")  # noqa: SIM115
        self.child = subprocess.Popen(
            command, cwd=HOUSE, stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talk else self.log, stderr=self.log, env={**os.environ, **(environment or {})},
        )

    @property
    def pid(self) -> int:
        return self.child.pid

    def line(self) -> str:
        """The next line of its standard output (only with talk)."""
        assert self.child.stdout
        line = self.child.stdout.readline().decode().strip()
        if not line:
            self.child.wait()
            raise RuntimeError(f"{self.what} ended with exit code {self.child.returncode}; see {self.log.name}")
        return line

    def last(self) -> str:
        """What it says when its standard input ends (only with talk)."""
        assert self.child.stdin
        self.child.stdin.close()
        return self.line()

    def stop(self) -> None:
        if self.child.stdin:
            self.child.stdin.close()
        for how in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                break
            self.child.send_signal(how)
            try:
                self.child.wait(3)
            except subprocess.TimeoutExpired:
                continue
        if self.child.stdout:
            self.child.stdout.close()
        self.log.close()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def inspector(*arguments: str) -> list[str]:
    """The command as installed beside this Python."""
    return [str(Path(sys.executable).parent / "inspector"), *arguments]
