"""Listening sockets for several workers: each worker has one of its own on the same port, and the kernel chooses.

The sockets of a port share it (SO_REUSEPORT, socket(7)). A classic BPF program (SO_ATTACH_REUSEPORT_CBPF, Linux 4.6)
says to which of them a connection goes: by a hash of the client's address alone, so that all connections of one client
come to the same worker, whatever their ports; of IPv6 addresses the first 64 bits, which are what a network gives to
one client. The hash is keyed with chance at each start: nobody can choose the worker that he comes to.

The supervisor keeps all of them open. A worker that ends takes no connection with it that it has not accepted: they
wait in their socket's queue until the worker that takes its place accepts them. Nothing is passed from process to
process for each connection, and the socket that a worker accepts is the client's own (peer address, SO_ORIGINAL_DST).

IPv6 sockets take IPv6 only, as asyncio's do.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Any

SO_ATTACH_REUSEPORT_CBPF = 51
"""asm-generic/socket.h"""
_NET = -0x100000
"""SKF_NET_OFF (linux/filter.h): offsets from the network header."""
_SOURCE = {socket.AF_INET: (12,), socket.AF_INET6: (8, 12)}
"""Where the source address (RFC 791, 3.1), or the first half of it (RFC 8200, 3), stands in the network header."""

# linux/bpf_common.h
_LOAD_ABSOLUTE, _TO_X, _RETURN_A = 0x20, 0x07, 0x16
_XOR, _MULTIPLY, _MODULO, _SHIFT, _XOR_X = 0xA4, 0x24, 0x94, 0x74, 0xAC

KEY_BYTES = 16
"""Of chance, for the hash."""


def program(count: int, key: bytes, family: int) -> bytes:
    """The BPF program that chooses one of `count` sockets for a packet of this address family.

    For each 32-bit word of the address: h = (h ^ word ^ k) * m1; h ^= h >> 15; h = h * m2; h ^= h >> 13 (mod 2^32);
    then h mod count. The key has a k for each word, and m1 and m2, which are made odd.
    """
    k1, m1, k2, m2 = struct.unpack("=4I", key)
    code: list[tuple[int, int]] = []
    for index, offset in enumerate(_SOURCE[socket.AddressFamily(family)]):
        if index:
            code.append((_TO_X, 0))
        code.append((_LOAD_ABSOLUTE, _NET + offset))
        if index:
            code.append((_XOR_X, 0))
        code += [
            (_XOR, k1 if not index else k2), (_MULTIPLY, m1 | 1), (_TO_X, 0), (_SHIFT, 15), (_XOR_X, 0),
            (_MULTIPLY, m2 | 1), (_TO_X, 0), (_SHIFT, 13), (_XOR_X, 0),
        ]
    code += [(_MODULO, count), (_RETURN_A, 0)]
    return b"".join(struct.pack("=HBBI", op, 0, 0, value & 0xFFFFFFFF) for op, value in code)


def attach(sock: socket.socket, code: bytes) -> None:
    """Let `code` choose among the sockets that share this one's port. Raises OSError: this system cannot do it."""
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))


def shared(host: str, port: int, count: int, key: bytes) -> list[list[socket.socket]]:
    """Sockets bound to host and port for `count` workers: for each address of the host one list, worker by worker.

    `listen` opens them. Port 0: any, the same for all of one address. Raises OSError: an address is taken, also by
    sockets that would share it (another gateway's), or this system cannot keep a client's connections together.
    """
    made: list[list[socket.socket]] = []
    try:
        for family, place in _places(host, port):
            made.append(row := [])
            # One that does not share comes first: it is refused wherever anybody listens, sharing or not.
            with _bound(family, place, share=False) as first:
                bound = first.getsockname()
            for _ in range(count):
                sock = _bound(family, bound, share=True)
                row.append(sock)
            attach(row[0], program(count, key, family))
    except OSError:
        close(made)
        raise
    return made


def listen(rows: list[list[socket.socket]], backlog: int) -> None:
    """Take connections, from here on into the queue of each worker's socket. Raises OSError."""
    for row in rows:
        for sock in row:  # in this order they join the group that the program chooses from
            sock.listen(backlog)


def lone(host: str | None, port: int) -> list[socket.socket]:
    """Bound sockets of one worker alone; host None: all addresses of this machine. Raises OSError."""
    made: list[socket.socket] = []
    try:
        for family, place in _places(host, port):
            sock = _bound(family, place, share=False)
            made.append(sock)
    except OSError:
        close([made])
        raise
    return made


def _places(host: str | None, port: int) -> list[tuple[int, Any]]:
    """(family, socket address) of each address of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _bound(family: int, place: Any, *, share: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
    except OSError:
        sock.close()
        raise
    return sock


def close(rows: list[list[socket.socket]]) -> None:
    """Close all of them."""
    for row in rows:
        for sock in row:
            sock.close()
