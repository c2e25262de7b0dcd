"""The SOCKS5 and CONNECT handshakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.drivers.mitm_modes import (
    REFUSED,
    UNREACHABLE,
    UNRESOLVED,
    ConnectDialog,
    Dialog,
    Said,
    SocksDialog,
    could_be_hello,
    split_target,
)

GREETING = b"\x05\x02\x00\x02"
BY_NAME = b"\x05\x01\x00\x03\x09chat.test\x14\x66"
CONNECT = b"CONNECT chat.test:5222 HTTP/1.1\r\nHost: chat.test:5222\r\n\r\n"


def play(make: Callable[[], Dialog], pieces: list[bytes]) -> Said:
    """All that was sent, and the outcome."""
    dialog, sent = make(), b""
    for index, piece in enumerate(pieces):
        said = dialog.receive(piece)
        sent += said.send
        if said.target or said.refused:
            return said._replace(send=sent, rest=said.rest + b"".join(pieces[index + 1:]))
    return Said(sent)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i:i + 1] for i in range(len(data))]


@pytest.mark.parametrize("cut", [lambda data: [data], bytewise], ids=["whole", "bytewise"])
def test_socks_request_by_name(cut: Callable[[bytes], list[bytes]]) -> None:
    """A greeting and a request, in one piece or in many; what follows is kept."""
    assert play(SocksDialog, cut(GREETING + BY_NAME + b"\x16\x03")) == Said(
        b"\x05\x00", ("chat.test", 5222), b"\x16\x03")


@pytest.mark.parametrize(
    ("address", "host"),
    [(b"\x01\x7f\0\0\1", "127.0.0.1"), (b"\x04" + bytes(15) + b"\1", "::1")],
)
def test_socks_request_by_address(address: bytes, host: str) -> None:
    """IPv4 and IPv6 addresses."""
    assert play(SocksDialog, [b"\x05\x01\x00", b"\x05\x01\x00" + address + b"\x00\x50"]).target == (host, 80)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"\x04\x01\x00\x50\x7f\0\0\1\0", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x50", b"\x05\x00\x05\x07\0\1\0\0\0\0\0\0"),
        (b"\x05\x01\x00" + b"\x05\x03\x00\x01\x7f\0\0\1\0\x50", b"\x05\x00\x05\x07\0\1\0\0\0\0\0\0"),
        (b"\x05\x01\x00" + b"\x05\x01\x00\x09\x7f\0\0\1\0\x50", b"\x05\x00\x05\x08\0\1\0\0\0\0\0\0"),
        (b"\x05\x01\x00" + b"\x05\x01\x00\x03\x00\0\x50", b"\x05\x00\x05\x01\0\1\0\0\0\0\0\0"),
        (b"\x05\x01\x00" + b"\x05\x01\x00\x03\x03a\nb\0\x50", b"\x05\x00\x05\x01\0\1\0\0\0\0\0\0"),
    ],
    ids=["socks4", "http", "authentication", "bind", "udp", "address type", "no host", "control"],
)
def test_socks_refusals_in_its_own_words(data: bytes, sent: bytes) -> None:
    """Each thing that is not spoken has its SOCKS reply (RFC 1928, 3 and 6)."""
    said = play(SocksDialog, [data])
    assert said.refused
    assert said.send == sent


def test_outcomes() -> None:
    """Success, refusal, no address and no answer differ in both protocols."""
    assert [SocksDialog().answer(o)[1] for o in ("", REFUSED, UNRESOLVED, UNREACHABLE)] == [0, 2, 4, 5]
    assert [ConnectDialog().answer(o)[9:12] for o in ("", REFUSED, UNRESOLVED, UNREACHABLE)] == [
        b"200", b"403", b"502", b"502"]


@pytest.mark.parametrize("cut", [lambda data: [data], bytewise], ids=["whole", "bytewise"])
def test_connect_request(cut: Callable[[bytes], list[bytes]]) -> None:
    """A CONNECT, in one piece or in many; what follows is kept."""
    assert play(ConnectDialog, cut(CONNECT + b"<stream>")) == Said(b"", ("chat.test", 5222), b"<stream>")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"CONNECT chat.test HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"CONNECT chat.test:0 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", b"400"),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", b"400"),
    ],
    ids=["method", "no port", "port 0", "no http", "too long"],
)
def test_connect_refusals(data: bytes, status: bytes) -> None:
    """Each has its HTTP status."""
    said = play(ConnectDialog, [data])
    assert said.refused
    assert said.send[9:12] == status


@given(st.binary(max_size=600), st.sampled_from([SocksDialog, ConnectDialog]))
def test_any_bytes_end_in_words(data: bytes, make: Callable[[], Dialog]) -> None:
    """Whatever a client sends: a request, a refusal, or nothing yet; never an exception."""
    for pieces in ([data], bytewise(data)):
        said = play(make, pieces)
        assert not (said.target and said.refused)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a.test:1", ("a.test", 1)),
        ("[2001:db8:0::1]:65535", ("2001:db8::1", 65535)),
        ("[::1", None), ("[x]:1", None), ("a:65536", None), ("a:99999999", None), ("a:", None), (":1", None),
        ("a b:1", None), ("a:١", None),
    ],
)
def test_split_target(text: str, target: tuple[str, int] | None) -> None:
    """host:port, [v6]:port, and what is neither."""
    assert split_target(text) == target


def test_could_be_hello() -> None:
    """Every beginning of a TLS record may become one; a space, a letter or another record type may not."""
    hello = b"\x16\x03\x01\x02\x00"
    assert all(could_be_hello(hello[:size]) for size in range(6))
    assert not any(map(could_be_hello, (b" ", b"N", b"\x17\x03\x03", b"\x16\x02\x00", b"\x16\x03\x09")))
