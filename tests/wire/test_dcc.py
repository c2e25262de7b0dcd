"""DCC requests, read as every client would and written again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import dcc


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (b'SEND "a b.txt" 3221225991 5000 12', ("a b.txt", "192.0.2.7", 5000, 12, None)),
        (b"SEND a b.txt 3221225991 5000 12", ("a b.txt", "192.0.2.7", 5000, 12, None)),
        (b"SEND a.txt 3221225991 5000", ("a.txt", "192.0.2.7", 5000, None, None)),
        (b"SEND a.txt 3221225991 0 12 99", ("a.txt", "192.0.2.7", 0, 12, "99")),
        (b"SEND a.txt 2001:db8::1 5000 12", ("a.txt", "2001:db8::1", 5000, 12, None)),
        (b"SEND a.txt -1073741305 5000 12", ("a.txt", "192.0.2.7", 5000, 12, None)),
        (b"SEND a.txt host.example 5000 12", ("a.txt", "host.example", 5000, 12, None)),
        (b"SEND a.txt 4294967296 5000 12", ("a.txt", None, None, None, None)),
        (b"SEND a.txt 3221225991 65536 12", ("a.txt", None, None, None, None)),
        (b"SEND a.txt \x02\x03 abc", ("a.txt", None, None, None, None)),
        (b"SEND", ("", None, None, None, None)),
        (b"CHAT CHAT 3221225991 5000", ("CHAT", "192.0.2.7", 5000, None, None)),
        (b"RESUME file.ext 5000 512", ("file.ext", None, 5000, 512, None)),
        (b"RESUME my file 0 512 99", ("my file", None, 0, 512, "99")),
    ],
)
def test_dcc_is_read_from_the_right(
    words: bytes, want: tuple[str, str | None, int | None, int | None, str | None]
) -> None:
    """Names with blanks, quoted or not; addresses in every form seen; what makes no sense is None, never an error."""
    offer = dcc.parse(words)
    assert (offer.name, offer.host, offer.port, offer.size, offer.token) == want


@pytest.mark.parametrize(
    "words", [b'SEND "a b" 3221225991 5000 12', b"  SEND  x  3221225991   5000 ", b"CHAT chat 0 99 7"])
def test_places_of_host_and_port_are_where_they_stand(words: bytes) -> None:
    """An address is written anew in its place."""
    request = dcc.parse(words)
    host, port = words[slice(*request.host_at)], words[slice(*request.port_at)]
    assert (dcc.address(host), int(port)) == (request.host, request.port)


def test_the_port_of_a_resume_is_found() -> None:
    """It has to be translated between the two sides."""
    words = b"RESUME my file 5000 512"
    assert words[slice(*dcc.parse(words).port_at)] == b"5000"


@pytest.mark.parametrize(
    ("words", "ambiguous"),
    [
        (b"SEND a 16909060 80 3221225991 5000 12", True),
        (b'SEND "a 16909060 80 x" 3221225991 5000 12', True),
        (b"SEND a b.txt 3221225991 5000 12", False),
        (b"SEND a 3221225991 5000 12", False),
        (b'SEND "a b c" 3221225991 5000 12', False),
    ],
)
def test_what_other_clients_read_otherwise_is_ambiguous(words: bytes, *, ambiguous: bool) -> None:
    """A client that takes the first word for the name must not be led elsewhere than we think."""
    assert dcc.parse(words).ambiguous is ambiguous
    assert dcc.parse(words).sane is not ambiguous


def test_addresses_that_are_the_same_are_read_as_one() -> None:
    """Expectations are looked up by what the connection will show."""
    assert dcc.address(b"::ffff:192.0.2.7") == dcc.address(b"192.0.2.7") == dcc.address(b"3221225991") == "192.0.2.7"
    assert dcc.address(b"2001:DB8:0::1") == "2001:db8::1"
    assert dcc.address(b"fe80::1%eth0") is None
    assert dcc.address(b"010.0.0.1") is None
    assert dcc.address("naïve.example".encode()) is None


@pytest.mark.parametrize(
    ("ip", "like", "want"),
    [
        ("192.0.2.7", b"16909060", b"3221225991"),
        ("192.0.2.7", b"-5", b"3221225991"),
        ("192.0.2.7", b"1.2.3.4", b"192.0.2.7"),
        ("192.0.2.7", b"2001:db8::1", b"3221225991"),
        ("192.0.2.7", b"host.example", b"3221225991"),
        ("2001:db8::2", b"16909060", b"2001:db8::2"),
    ],
)
def test_an_address_is_written_in_the_form_of_the_one_before(ip: str, like: bytes, want: bytes) -> None:
    """Clients understand what they themselves write."""
    assert dcc.written(ip, like) == want


def test_host_and_port_join_as_expectations_are_known() -> None:
    """IPv6 in brackets."""
    assert dcc.joined("192.0.2.7", 5) == "192.0.2.7:5"
    assert dcc.joined("2001:db8::1", 5) == "[2001:db8::1]:5"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plan.txt", ()),
        ("../../x", ("path",)),
        ("c:\\autoexec.bat", ("path",)),
        ("a.txt%00.exe", ("escaped_nul",)),
        ("a\u202etxt.exe", ("turned",)),
        ("a.txt   ", ("trailing",)),
        ("a.txt          .exe", ("blanks",)),
    ],
)
def test_tricks_with_names_are_told(name: str, found: tuple[str, ...]) -> None:
    """What misleads a person or a file system."""
    assert dcc.tricks(name) == found


@given(st.binary(max_size=200))
def test_any_words_are_survived(words: bytes) -> None:
    """A request of any bytes is something, and its places lie inside it."""
    for kind in (b"SEND ", b"CHAT ", b"RESUME ", b""):
        request = dcc.parse(kind + words)
        assert 0 <= request.host_at[0] <= request.host_at[1] <= len(kind + words)
        assert 0 <= request.port_at[0] <= request.port_at[1] <= len(kind + words)
