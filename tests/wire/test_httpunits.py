"""HTTP messages cut strictly: bytes, framings, what is a fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire.httpunits import HttpFault, HttpUnit, HttpUnits, framing, read_fields

PLAIN = b"POST /a HTTP/1.1\r\nHost: b\r\nX-Y: 1, Two\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
BARE = b"POST /a HTTP/1.1\r\nHost: b\r\n\r\n"


def cut(data: bytes, size: int = 1 << 20, *, request: bool = True) -> tuple[list[HttpUnit], str, int]:
    """(messages, name of the fault, bytes left over)."""
    units = HttpUnits(1000, 2000)
    found: list[HttpUnit] = []
    try:
        for at in range(0, len(data), size):
            units.push(data[at:at + size])
            while (unit := units.take(request=request)) is not None:
                found.append(unit)
    except HttpFault as fault:
        return found, fault.name, units.pending
    return found, "", units.pending


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_are_cut_the_same_however_they_come(size: int) -> None:
    """With a length, in chunks, without a body; what is not whole is pending."""
    found, fault, left = cut(PLAIN + CHUNKS + BARE + PLAIN[:-1], size)
    assert ([each.raw for each in found], fault, left) == ([PLAIN, CHUNKS, BARE], "", len(PLAIN) - 1)
    assert [each.body for each in found] == [b"hello", b"hello", b""]
    assert found[0].words(b"x-y") == [b"1", b"two"]
    assert found[0].first == b"POST /a HTTP/1.1"


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(("data", "bodiless", "rest"), [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, False, b"next"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfA0\r\n" + b"x" * 4000 + b"\r\n1\r\ny\r\n0\r\n\r\n",
     False, b"n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", True, b"next"),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n", False, b"next"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", False, b"next"), (b"HTTP/1.1 200 OK\r\n\r\n" + b"words" * 1000, False, b""),
])
def test_a_response_is_passed_on_in_parts_as_it_comes(data: bytes, bodiless: bool, rest: bytes, size: int) -> None:
    """However long it is, with its head whole and in front; what is behind it is not a part of it."""
    units, out, heads, ended = HttpUnits(1000, 2000), b"", list[bytes](), False
    for at in range(0, len(data + rest), size):
        units.push((data + rest)[at:at + size])
        while not ended and (part := units.take_part(900, bodiless=bodiless)) is not None:
            out += part[0]
            heads += [part[1]] if part[1] else []
            ended = part[2]
            assert len(part[0]) <= 900
    assert (out, heads, ended) == (data, [data.partition(b"\r\n")[0]], bool(rest))
    assert units.pending == len(rest)


def test_a_message_is_written_with_another_body() -> None:
    """One length, no chunks, nothing that was said of the old bytes; fields may be taken out."""
    one, two, three = cut(PLAIN + CHUNKS + BARE)[0]
    assert one.written(b"hi") == b"POST /a HTTP/1.1\r\nHost: b\r\nX-Y: 1, Two\r\nContent-Length: 2\r\n\r\nhi"
    assert two.written(b"hi") == b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    assert two.written(None) == CHUNKS
    assert one.written(None, (b"x-y",)) == PLAIN.replace(b"X-Y: 1, Two\r\n", b"")
    assert three.written(b"") == BARE[:-2] + b"Content-Length: 0\r\n\r\n"
    tagged, = cut(PLAIN.replace(b"X-Y", b"Content-MD5"))[0]
    assert b"MD5" not in tagged.written(b"hi")


@pytest.mark.parametrize(("data", "name"), [
    (PLAIN.replace(b"Host:", b"Host :"), "head"), (PLAIN.replace(b"Host: b", b"Host"), "head"),
    (PLAIN.replace(b"Host:", b" Host:"), "head"), (PLAIN.replace(b"\r\nX-Y", b"\nX-Y"), "head"),
    (PLAIN.replace(b"Two", b"\0"), "head"), (PLAIN.replace(b"Two", b"\r"), "head"),
    (PLAIN.replace(b"Two", b"\x0bA: b"), "head"), (PLAIN.replace(b"Two", b"\x1cA: b"), "head"),
    (PLAIN.replace(b"Two", b"\x7f"), "head"), (PLAIN.replace(b"/a", b"/\x0c"), "head"),
    (PLAIN.replace(b"Host", b""), "head"),
    (PLAIN.replace(b"Host: b", b"Content-Length: 5"), "framing"),
    (PLAIN.replace(b"Length: 5", b"Length: +5"), "framing"),
    (PLAIN.replace(b"Length: 5", b"Length: 5, 5"), "framing"), (PLAIN.replace(b"Length: 5", b"Length:"), "framing"),
    (PLAIN.replace(b"Host: b", b"content_length: 5"), "framing"),
    (PLAIN.replace(b"Host: b", b"Transfer-Encoding: chunked"), "framing"),
    (CHUNKS.replace(b"Chunked", b"gzip, chunked"), "framing"), (CHUNKS.replace(b"Chunked", b"identity"), "framing"),
    (CHUNKS.replace(b"\r\n3\r\n", b"\r\n3 \r\n"), "chunk"), (CHUNKS.replace(b"\r\n3\r\n", b"\r\n3;a\r\n"), "chunk"),
    (CHUNKS.replace(b"\r\n3\r\n", b"\r\n\r\n"), "chunk"),
    (CHUNKS.replace(b"\r\n3\r\n", b"\r\n000000003\r\n"), "chunk"),
    (CHUNKS.replace(b"hel", b"hell"), "chunk"), (CHUNKS.replace(b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n"), "chunk"),
    (CHUNKS.replace(b"\r\n3\r\n", b"\r\nfff\r\n"), "too_long"),
    (PLAIN.replace(b"Length: 5", b"Length: 5000"), "too_long"),
    (b"POST /" + b"a" * 2000, "head_too_long"),
])
@pytest.mark.parametrize("size", [1, 1000])
def test_what_readers_take_differently_is_a_fault(data: bytes, name: str, size: int) -> None:
    """The same one however it comes, and all the bytes are still there."""
    found, fault, left = cut(data + b"x" * 8, size)
    assert (found, fault) == ([], name)
    assert left <= len(data) + 8
    assert size == 1 or left == min(len(data) + 8, 1000)


def test_many_small_chunks_are_bounded() -> None:
    """By the bytes that they take, not by what they hold."""
    data = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000
    assert cut(data)[1] == "too_long"


def test_a_response_says_where_it_ends() -> None:
    """By a length or in chunks, or by a status that has no body; else nobody knows whether it was whole."""
    assert cut(b"HTTP/1.1 200 OK\r\n\r\n", request=False)[1] == "no_length"
    assert len(cut(b"HTTP/1.1 204 OK\r\n\r\n" * 2, request=False)[0]) == 2
    assert cut(b"HTTP/1.1 304 OK\r\nContent-Length: 3\r\n\r\nabc", request=False)[1] == "framing"


def test_bytes_held_can_be_taken_back() -> None:
    """And reading begins anew behind them."""
    units = HttpUnits(1000, 2000)
    units.push(CHUNKS[:60])
    assert units.take(request=True) is None
    assert units.fields is not None
    assert units.rest() == CHUNKS[:60]
    assert units.pending == 0
    units.push(PLAIN)
    assert units.take(request=True) is not None


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_give_messages_or_a_fault(data: bytes, size: int) -> None:
    """Nothing else is raised; what was taken and what is left is what came, up to the fault."""
    found, fault, left = cut(data, size)
    assert fault or sum(len(each.raw) for each in found) + left == len(data)


def test_fields_and_framing_by_themselves() -> None:
    """Names in lower case, values in the order they came."""
    fields = read_fields([b"GET / HTTP/1.1", b"A: 1", b"a:2 "])
    assert fields == {b"a": [b"1", b"2"]}
    assert framing(fields) == (None, False)
