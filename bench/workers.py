"""Several workers: what two on two cores carry beside one, in the same run.

Clients write IRC lines as fast as the gateway takes them, in large pieces, and a sink counts what arrives: source and
sink cost next to nothing for each message (a copy in and out of the kernel), so that the gateway is what is measured,
though all share the cores. Each worker has the same number of sessions: clients come from addresses that the kernel
leads to it. What the machine gave is told, too: the CPU that gateway, source and sink had in the window.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import figures, texts
from bench.gateways import Ours
from bench.processes import cpu_seconds, family, free_port
from inspector.app.control import ask

SESSIONS = 4
"""Of each worker."""
PIECE = 200
"""Messages of one write."""
WARM_UP = 1.0
GREETING = b":s 001 %b :hi\r\n:s 422 %b :no motd\r\n"


class Sink:
    """An IRC server that welcomes and then only counts."""

    def __init__(self) -> None:
        self.port = free_port()
        self.listening = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.bytes: dict[int, int] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        number = 0
        while True:
            sock, _ = self.listening.accept()
            number += 1
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock:
            self._count(sock, number)

    def _count(self, sock: socket.socket, number: int) -> None:
        buffer = bytearray(1 << 18)
        head = b""
        try:
            while b"USER " not in head or not head.endswith(b"\n"):
                data = sock.recv(4096)
                if not data:
                    return
                head += data
            nick = head.split(b"\r\n")[0].removeprefix(b"NICK ")
            sock.sendall(GREETING % (nick, nick))
            self.bytes[number] = 0
            while got := sock.recv_into(buffer):
                self.bytes[number] += got
        except OSError:
            return

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


class Source:
    """One client that writes without end."""

    def __init__(self, port: int, host: str, number: int) -> None:
        self.sock = socket.socket()
        self.sock.bind((host, 0))
        self.sock.settimeout(60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(("127.0.0.1", port))
        nick = f"u{number:03}"
        self.sock.sendall(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode())
        got = b""
        while b" 422 " not in got:
            got += self.sock.recv(4096)
        messages = texts.irc("#bench", number)
        self.pieces = [b"".join(messages.next() for _ in range(PIECE)) for _ in range(20)]

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        at = 0
        try:
            while True:
                self.sock.sendall(self.pieces[at % len(self.pieces)])
                at += 1
        except OSError:
            return

    def close(self) -> None:
        self.sock.close()


@dataclass
class Figures:
    """Of one number of workers, round by round."""

    wall: list[float] = field(default_factory=list)
    """Messages a second."""
    cpu: list[float] = field(default_factory=list)
    """Microseconds of the gateway's CPU a message."""
    cores: list[float] = field(default_factory=list)
    """CPU seconds a second that the gateway had."""
    ours: list[float] = field(default_factory=list)
    """The same of source and sink."""


def run(folder: Path, rounds: int, seconds: float) -> None:
    """Print the table."""
    found = {count: Figures() for count in (1, 2)}
    for _ in range(rounds):
        for count, figure in found.items():
            _measure(folder, count, seconds, figure)
    one = found[1]
    rows = []
    for count, figure in found.items():
        rows.append([
            str(count), figures.spread(figure.wall, 0), figures.spread(figures.ratio(figure.wall, one.wall), 2),
            figures.spread(figure.cpu), figures.spread(figure.cores, 2), figures.spread(figure.ours, 2),
        ])
    print(figures.table(
        ["workers", "messages a second", "beside one", "us of CPU a message", "CPU of the gateway",
         "of source and sink"], rows))


def _measure(folder: Path, count: int, seconds: float, into: Figures) -> None:
    sink = Sink()
    gateway = Ours(f"{count} workers", kind="irc", workers=count)
    gateway.start(folder, sink.port)
    sources: list[Source] = []
    try:
        sources = _clients(gateway, folder, count)
        for source in sources:
            source.start()
        time.sleep(WARM_UP)
        pids, own = family(gateway.pid), [os.getpid()]
        began, size, cpu, mine = time.monotonic(), sink.total, cpu_seconds(pids), cpu_seconds(own)
        time.sleep(seconds)
        took = time.monotonic() - began
        messages = (sink.total - size) / texts.SIZE
        used = cpu_seconds(pids) - cpu
        into.wall.append(messages / took)
        into.cpu.append(used / messages * 1e6)
        into.cores.append(used / took)
        into.ours.append((cpu_seconds(own) - mine) / took)
    finally:
        for source in sources:
            source.close()
        gateway.stop()
        sink.listening.close()


def came_to(have: dict[int, int], now: dict[int, int]) -> int | None:
    """The seat that has one session more than is known there, all others having what is known; None: not yet. Whoever
    looked whether the port is open may have waited in the kernel's queue while the workers were asked first: what they
    had then says nothing, and his leaving balanced the coming of another."""
    more = [seat for seat, count in now.items() if count != have.get(seat, 0)]
    return more[0] if len(more) == 1 and now[more[0]] == have.get(more[0], 0) + 1 else None


def _clients(gateway: Ours, folder: Path, count: int) -> list[Source]:
    """SESSIONS clients for each worker, from addresses that the kernel leads to it."""
    control = gateway.folder(folder) / "var" / "inspector.sock"

    def sessions() -> dict[int, int]:
        status: dict[str, Any] = ask(control, "status")
        return {one["seat"]: one["sessions"] for one in status["workers"]}

    chosen: list[Source] = []
    have = dict.fromkeys(range(count), 0)
    while sum(sessions().values()):  # who looked whether the port is open
        time.sleep(0.01)
    for number in range(2, 250):
        source = Source(gateway.port, f"127.0.0.{number}", number)
        seat, deadline = None, time.monotonic() + 30
        while seat is None:
            seat = came_to(have, sessions())
            if seat is None and time.monotonic() > deadline:
                raise RuntimeError(f"a session is in no worker: {sessions()} beside {have}")
        if have[seat] >= SESSIONS:
            source.close()
            while sum(sessions().values()) > len(chosen):
                time.sleep(0.01)
            continue
        have[seat] += 1
        chosen.append(source)
        if len(chosen) == count * SESSIONS:
            return chosen
    raise RuntimeError("the kernel leads nobody to one of the workers")
