"""Listening sockets of several workers: who gets which client."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from inspector.drivers import seats
from tests.ports import free_port

KEY = bytes(range(1, 17))


@contextlib.contextmanager
def listening(count: int, key: bytes = KEY, host: str = "127.0.0.1") -> Iterator[tuple[list[socket.socket], int]]:
    port = free_port(host)
    made = seats.shared(host, port, count, key)
    try:
        seats.listen(made, 100)
        yield made[0], port
    finally:
        seats.close(made)


def chosen(socks: list[socket.socket], client: str, port: int) -> int:
    """The worker to whom a connection of `client` goes."""
    family = socks[0].family
    with socket.socket(family) as sock:
        sock.bind((client, 0))
        sock.connect((socks[0].getsockname()[0], port))
        for index, one in enumerate(socks):
            with contextlib.suppress(BlockingIOError):
                got, peer = one.accept()
                got.close()
                assert peer[0] == client
                return index
    raise AssertionError("nobody got it")


def expected(count: int, client: str, key: bytes = KEY) -> int:
    """The hash as documented, in Python."""
    words = struct.unpack("!I", socket.inet_aton(client))
    k1, m1, _, m2 = struct.unpack("=4I", key)
    h = 0
    for word in words:
        h = ((h ^ word ^ k1) * (m1 | 1)) & 0xFFFFFFFF
        h ^= h >> 15
        h = (h * (m2 | 1)) & 0xFFFFFFFF
        h ^= h >> 13
    return h % count


def test_a_client_s_connections_stay_together_whatever_their_ports() -> None:
    """Forty clients, three connections each, four workers: each client has one worker, the documented one."""
    with listening(4) as (socks, port):
        for n in range(2, 42):
            client = f"127.0.0.{n}"
            assert {chosen(socks, client, port) for _ in range(3)} == {expected(4, client)}


def test_clients_are_spread_and_another_key_spreads_them_otherwise() -> None:
    """No worker of three gets half of 200 neighbours, whatever the key; and the key decides who goes where."""
    clients = [f"10.1.{n >> 6}.{n & 63}" for n in range(200)]
    placed = []
    for number in range(20):
        key = struct.pack("=4I", number * 7919 + 1, 0x9E3779B1 + 2 * number, number, 0x85EBCA6B + 4 * number)
        places = [expected(3, client, key) for client in clients]
        assert max(Counter(places).values()) < 100
        placed.append(tuple(places))
    assert len(set(placed)) == 20


def test_ipv6_clients_are_known_by_their_network() -> None:
    """Loopback has one address only, but the program takes and chooses; and it reads the first half alone."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on loopback")
    with listening(3, os.urandom(16), "::1") as (socks, port):
        assert len({chosen(socks, "::1", port) for _ in range(5)}) == 1
    loads = [seats.program(3, KEY, socket.AF_INET6)[at:at + 8] for at in range(0, 200, 8)]
    offsets = [struct.unpack("=HBBi", one)[3] - seats._NET for one in loads if one[:2] == b"\x20\0"]
    assert offsets == [8, 12]


def test_a_worker_that_closes_its_socket_takes_nobody_s_place() -> None:
    """While the supervisor has the socket open, connections wait in it, and others stay where they are."""
    with listening(2) as (socks, port):
        clients = [f"127.0.0.{n}" for n in range(2, 12)]
        of = {client: expected(2, client) for client in clients}
        assert set(of.values()) == {0, 1}
        copy = socket.socket(fileno=os.dup(socks[0].fileno()))
        copy.close()
        waiting = next(client for client in clients if of[client] == 0)
        with socket.socket() as early:
            early.bind((waiting, 0))
            early.connect(("127.0.0.1", port))
            early.sendall(b"x")
            for client in clients:
                if of[client] == 1:
                    assert chosen(socks[1:], client, port) == 0
            got, _ = socks[0].accept()
            assert got.recv(1) == b"x"
            got.close()


def test_an_address_that_is_taken_is_refused_though_it_could_be_shared() -> None:
    """Two gateways must not share a port by mistake: the second is told, sharing or not."""
    with listening(2) as (_, port):
        with pytest.raises(OSError, match="in use"):
            seats.shared("127.0.0.1", port, 2, KEY)
        with pytest.raises(OSError, match="in use"):
            seats.lone("127.0.0.1", port)


def test_any_port_is_the_same_for_all_workers() -> None:
    """Port 0: one that was free."""
    made = seats.shared("127.0.0.1", 0, 3, KEY)
    try:
        assert len({sock.getsockname()[1] for sock in made[0]}) == 1
    finally:
        seats.close(made)


def test_a_system_without_the_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it one client's connections would be spread over the workers: better none than that."""
    monkeypatch.setattr(seats, "SO_ATTACH_REUSEPORT_CBPF", 9999)
    port = free_port()
    with pytest.raises(OSError, match="not available"):
        seats.shared("127.0.0.1", port, 2, KEY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
