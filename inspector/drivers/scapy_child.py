"""Link types that `packets` does not know are left to scapy, in a process of its own.

The parent (`Dissector`) sends one packet at a time and gets back the IP packet that scapy found in it. Scapy is large,
was not written for hostile bytes, and may be missing: it runs in a child that has no network (a network name space of
its own where the system permits it, and in any case no file descriptor left to open: RLIMIT_NOFILE), little memory and
a bounded time a packet; it is killed when it overruns, and not started again after a few such failures.

Scapy is licensed under the GPL (version 2); this is the only module that imports it, and only in the child.

On the pipe, both ways big-endian: link type (4 bytes), length (4 bytes), packet; back: length, IP packet (0: none).
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time

from inspector.model import Limits

_FAILURES = 3
"""After so many children that died or overran, packets of unknown link types are only counted."""
_MEMORY = 1 << 30
_HEAD = struct.Struct("!II")
_SIZE = struct.Struct("!I")
MISSING = 3
"""Exit status of the child when scapy is not installed."""


class Dissector:
    """Asks the child; starts it with the first packet."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self.missing = False
        """Whether scapy is not installed."""

    @property
    def usable(self) -> bool:
        """False: packets are not looked into (any more)."""
        return not self.missing and self._failures < _FAILURES

    def __call__(self, link: int, packet: bytes) -> bytes | None:
        """The IP packet inside a packet of that link type; None: there is none, or it could not be found out."""
        if not self.usable:
            return None
        if self._child is None:
            self._child = _start()
        try:
            return self._ask(self._child, link, packet)
        except (OSError, EOFError, TimeoutError):
            self._failed()
            return None

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()

    def _failed(self) -> None:
        child = self._child
        assert child is not None
        try:
            self.missing = child.wait(1.0) == MISSING
        except subprocess.TimeoutExpired:
            pass
        self._failures += 1
        self.close()

    def _ask(self, child: subprocess.Popen[bytes], link: int, packet: bytes) -> bytes | None:
        assert child.stdin is not None
        assert child.stdout is not None
        # The first answer has to wait for scapy to be imported.
        until = time.monotonic() + self._limits.capture_dissect_seconds
        out, into = child.stdin.fileno(), child.stdout.fileno()
        os.set_blocking(out, False)
        left = memoryview(_HEAD.pack(link, len(packet)) + packet)
        while left:
            if not select.select([], [out], [], max(0.0, until - time.monotonic()))[1]:
                raise TimeoutError
            left = left[os.write(out, left):]
        (size,) = _SIZE.unpack(_receive(into, 4, until))
        if size > len(packet):
            raise EOFError
        return _receive(into, size, until) if size else None


def _receive(descriptor: int, size: int, until: float) -> bytes:
    """Raises TimeoutError and EOFError."""
    data = b""
    while len(data) < size:
        if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", "from inspector.drivers.scapy_child import main; main()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True, bufsize=0,
        env={"PYTHONPATH": path, "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"},
    )


# -- the child


def main() -> None:
    """Answer packets from stdin on stdout until stdin ends."""
    import resource

    try:
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    except (OSError, AttributeError):
        pass  # not permitted, or not Linux: no descriptor can be opened below
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from scapy.config import conf
        from scapy.layers import all as layers  # noqa: F401 - fills conf.l2types
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
    except ImportError:
        sys.exit(MISSING)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(8)) == 8:
        link, size = _HEAD.unpack(head)
        packet = source.read(size)
        found = b""
        kind = conf.l2types.num2layer.get(link)
        if kind is not None:
            try:
                frame = kind(packet)
                inner = frame.getlayer(IP) or frame.getlayer(IPv6)
                found = bytes(inner.original) if inner is not None else b""
            except Exception:  # scapy's dissectors raise what they like; the packet is left out
                found = b""
        target.write(_SIZE.pack(len(found)) + found)
        target.flush()
