"""Ports for the tests' own servers: below those that connections are made from, and given once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

_FIRST, _LAST = 10_000, 32_000


def _numbers() -> Iterator[int]:
    """Ports in turn, each once. Test processes that run side by side begin apart."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    span = _LAST - _FIRST
    start = int(worker) * (span // 4) + os.getpid() * 61 % (span // 4)
    for count in range(span):
        yield _FIRST + (start + count) % span


_ports = _numbers()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free now, and that nobody was given before."""
    for port in _ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("all ports were given")


def free_ports(count: int, host: str = "127.0.0.1") -> range:
    """So many free ports in a row."""
    first = last = free_port(host)
    while last - first + 1 < count:
        port = free_port(host)
        first, last = (first if port == last + 1 else port), port
    return range(first, last + 1)
