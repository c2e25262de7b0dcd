"""HTTP upload: slots and other files, both ways, in every framing; what two readers may read differently is refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import msgspec
import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Cut,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Match,
    Notice,
    PeerError,
    Send,
    Text,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols.http_upload import CONTINUE, SPEC, HttpUploadDecoder
from tests.protocols.contract import AT, Said, contents, cut, joined, read

PLAN = b"the first bed has beans, the second peas, and the third lies fallow until spring\n" * 30
OFFER = FileOffer(
    sender="amy@garden.example/desk", file_name="plan.txt", size=len(PLAN), method="http_upload",
    declared_type="text/plain", address="up.garden.example:5280/f/7/plan.txt", texts=(Text("file_name", "plan.txt"),),
)
KEY = "up.garden.example:5280/f/7/plan.txt"
SLOT = Expect("up.garden.example:5280", "http_upload", by="amy@garden.example", key=KEY, offer=OFFER, flow="c")
HOST = b"Host: up.garden.example:5280\r\n"
PUT = b"PUT /f/7/plan.txt HTTP/1.1\r\n" + HOST
GET = b"GET /f/7/plan.txt HTTP/1.1\r\n" + HOST + b"\r\n"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(PLAN)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def chunks(data: bytes, size: int) -> bytes:
    """As chunks of `size` bytes."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (
        data[start:start + size] for start in range(0, len(data), size)))
    return out + b"0\r\n\r\n"


TALKS: dict[str, Said] = {
    "slot": [(UP, PUT + LENGTH), (UP, PLAN), (DOWN, CREATED), (UP, GET), (DOWN, OK + LENGTH + PLAN)],
    "chunks": [
        (UP, PUT + b"Expect: 100-continue\r\n" + CHUNKED), (DOWN, CONTINUE), (UP, chunks(PLAN, 700)), (DOWN, CREATED),
        (UP, GET), (DOWN, OK + CHUNKED + chunks(PLAN, 1)),
    ],
    "others": [
        (UP, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"), (DOWN, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (UP, b"POST /f/form HTTP/1.1\r\n" + HOST + LENGTH + PLAN),
        (DOWN, b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found"),
        (UP, b"HEAD /f/7/plan.txt HTTP/1.1\r\n" + HOST + b"\r\n"), (DOWN, OK + LENGTH),
        (UP, GET + GET), (DOWN, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n" + OK + LENGTH + PLAN),
    ],
}
DISGUISES: dict[str, object] = {}
"""It carries files alone: no text."""
EXPECTED = dict.fromkeys(("slot", "chunks"), SLOT)


def decoder(
    expected: Expect | None = SLOT, *, memory: SharedMemory | None = None, tls: bool = False, from_start: bool = True,
    limits: Limits | None = None,
) -> HttpUploadDecoder:
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5280), opened=AT, expected=expected, tls=tls,
                from_start=from_start)
    return HttpUploadDecoder(flow, limits or Limits(), memory or SharedMemory(100), frozenset())


def ended(dec: HttpUploadDecoder, way: Way) -> list[Frame]:
    return dec.feed(Chunk(way, AT, b"", end=True))


def events(frames: list[Frame]) -> list[object]:
    return [event for frame in frames for event in frame.events if not isinstance(event, FilePart)]


def starts(frames: list[Frame]) -> list[FileStart]:
    return [event for event in events(frames) if isinstance(event, FileStart)]


def ends(frames: list[Frame]) -> list[FileEnd]:
    return [event for event in events(frames) if isinstance(event, FileEnd)]


def faults(frames: list[Frame]) -> list[str]:
    return [frame.fault.name for frame in frames if frame.fault is not None]


def applied(dec: HttpUploadDecoder, frames: list[Frame], action: Action = Action.PASS) -> list[Act]:
    verdict = Verdict(action, "r", reference="ABCD-EFGH") if action is not Action.PASS else PASSED
    return [act for frame in frames for act in dec.apply(frame, [verdict] * len(frame.events))]


# -- what is read


def test_a_slot_is_used_and_fetched() -> None:
    """PUT and GET of the announced address: its offer, with what announced it; both contents whole."""
    frames = read(decoder(), TALKS["slot"])
    assert [frame.kind for frame in frames if frame.kind != "http_upload.data"] == [
        "http_upload.PUT", "http_upload.end", "http_upload.201", "http_upload.GET", "http_upload.200",
        "http_upload.end",
    ]
    assert events(frames) == [
        FileStart(transfer="u1", offer=OFFER, expected=SLOT), FileEnd(transfer="u1"),
        FileStart(transfer="d2", offer=OFFER, expected=SLOT), FileEnd(transfer="d2"),
    ]
    assert contents(frames) == {(UP, "u1"): PLAN, (DOWN, "d2"): PLAN}


@pytest.mark.parametrize(("key", "request_", "tls"), [
    ("up.garden.example:5280/f/7/plan.txt", b"PUT /f/7/plan.txt HTTP/1.1\r\nHost: UP.garden.example:5280\r\n", False),
    ("up.garden.example:80/a%20b", b"PUT /a%20b HTTP/1.1\r\nHost: up.garden.example\r\n", False),
    ("up.garden.example:443/a", b"PUT /a HTTP/1.1\r\nHost: up.garden.example\r\n", True),
    ("up.garden.example:443/a", b"PUT /a HTTP/1.1\r\nHost: up.garden.example\r\n", False),
    ("up.garden.example:443/a?t=1", b"PUT /%61?t=1 HTTP/1.1\r\nHost: up.garden.example\r\n", True),
    ("up.garden.example:80/a", b"PUT http://up.garden.example/a HTTP/1.1\r\nHost: up.garden.example\r\n", False),
])
def test_the_address_is_rebuilt_however_it_is_spelled(key: str, request_: bytes, tls: bool) -> None:
    """Host and path in any spelling, with or without port, TLS ended here or in front of us."""
    slot = msgspec.structs.replace(SLOT, key=key)
    memory = SharedMemory(10)
    memory.put(expect_key("http_upload", key), slot, AT + 10)
    (start,) = starts(read(decoder(None, memory=memory, tls=tls), [(UP, request_ + LENGTH + PLAN)]))
    assert (start.expected, start.offer.sender) == (slot, "amy@garden.example/desk")
    (start,) = starts(read(decoder(slot, tls=tls), [(UP, request_ + LENGTH + PLAN)]))
    assert start.expected == slot


def test_another_address_is_a_file_that_nobody_announced() -> None:
    """A PUT beside the slot is judged, with an offer of its own: name from the path, no query, no secrets."""
    head = (b"PUT /f/8/caf%C3%A9%2Fmap.png?X-Signature=abc HTTP/1.1\r\n" + HOST +
            b"Authorization: Bearer geheim\r\nCookie: s=geheim\r\nContent-Type: Image/PNG; x=y\r\n")
    frames = read(decoder(), [(UP, head + LENGTH + PLAN)])
    offer = FileOffer(
        file_name="café/map.png", size=len(PLAN), method="http_upload", declared_type="image/png",
        address="http://up.garden.example:5280/f/8/caf%C3%A9%2Fmap.png", answerable=False,
        texts=(Text("file_name", "café/map.png"),),
    )
    assert events(frames) == [offer, FileStart(transfer="u1", offer=offer), FileEnd(transfer="u1")]
    assert "geheim" not in repr(frames[0].events)
    assert "abc" not in repr(frames[0].events)


def test_every_body_is_a_file() -> None:
    """A form that is posted, the text of an error, an answer to a PUT: read as files, none complete without its end."""
    frames = read(decoder(None), TALKS["others"])
    assert [(start.transfer, start.offer.file_name) for start in starts(frames)] == [
        ("u1", "form"), ("d2", ""), ("d3", "plan.txt")]
    assert contents(frames) == {(UP, "u1"): PLAN, (DOWN, "d2"): b"not found", (DOWN, "d3"): PLAN}


def test_what_it_is_saved_as_is_its_name() -> None:
    """Content-Disposition names the file for the receiver, Content-Type what opens it: they are what is judged."""
    for field in (b"attachment; filename=\"in\\\"voice.exe\"", b"attachment; x=1; filename=in%22voice.exe",
                  b"attachment; filename=plan.txt; filename*=UTF-8''in%22voice.exe"):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-msdownload\r\nContent-Disposition: " + field + b"\r\n"
        (start,) = starts(read(decoder(), [(UP, GET), (DOWN, head + LENGTH + PLAN)]))
        assert start.offer.file_name in ('in"voice.exe', "in%22voice.exe")
        assert start.offer.declared_type == "application/x-msdownload"
        assert [text.plain for text in start.offer.texts] == ["plan.txt", start.offer.file_name]
        assert start.expected == SLOT


def test_a_body_without_length_ends_with_its_connection() -> None:
    """A response of HTTP/1.0, and one with neither length nor chunks."""
    for version in (b"1.0", b"1.1"):
        dec = decoder()
        frames = read(dec, [(UP, GET), (DOWN, b"HTTP/%s 200 OK\r\n\r\n" % version + PLAN)])
        assert ends(frames) == []
        assert ends(ended(dec, DOWN)) == [FileEnd(transfer="d1")]


def test_a_broken_off_body_is_not_complete() -> None:
    """The connection ends inside a length, inside chunks, inside the line of a chunk."""
    for body in (LENGTH + PLAN[:50], CHUNKED + chunks(PLAN, 700)[:-5], CHUNKED + b"5\r\nbeans\r\n1"):
        dec = decoder()
        read(dec, [(UP, PUT + body)])
        frames = ended(dec, UP)
        assert ends(frames) == [FileEnd(transfer="u1", complete=False, detail="it was broken off")]
        assert dec.pending(UP) == 0
        assert ended(dec, UP) == []


def test_a_part_of_a_file_is_told_as_a_part() -> None:
    """206 with Content-Range: where it begins, and not complete; several ranges are not the file either."""
    def part(fields: bytes) -> tuple[FileStart, FileEnd]:
        head = b"HTTP/1.1 206 Partial Content\r\n" + fields + LENGTH
        frames = read(decoder(), [(UP, GET), (DOWN, head + PLAN)])
        return starts(frames)[0], ends(frames)[0]

    size = len(PLAN)
    start, end = part(b"Content-Range: bytes 100-%d/%d\r\n" % (size + 99, size + 100))
    assert (start.offset, end.complete, end.detail) == (100, False, "a part of the file")
    start, end = part(b"Content-Range: bytes 0-%d/%d\r\n" % (size - 1, size + 1))
    assert (start.offset, end.complete) == (0, False)
    start, end = part(b"Content-Range: bytes 0-%d/%d\r\n" % (size - 1, size))
    assert (start.offset, end.complete) == (0, True)
    assert not part(b"Content-Type: multipart/byteranges; boundary=x\r\n")[1].complete
    assert not part(b"Content-Range: lines 1-2/*\r\n")[1].complete


# -- content codings


@pytest.mark.parametrize(("coding", "squeeze"), [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress),
                                                 (b"Deflate", zlib.compress)])
def test_a_content_coding_is_undone(coding: bytes, squeeze: Callable[[bytes], bytes]) -> None:
    """What is judged is what the receiver sees, what is sent is what came; the announced size is not the body's."""
    packed = squeeze(PLAN * 200)
    said = [(UP, PUT + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(packed)) + packed)]
    for size in (len(said[0][1]), 7):
        dec = decoder()
        frames = read(dec, cut(said, lambda size=size: size))  # type: ignore[misc]
        assert contents(frames) == {(UP, "u1"): PLAN * 200}
        assert ends(frames) == [FileEnd(transfer="u1")]
        assert starts(frames)[0].offer.size is None
        assert max(len(part.data) for frame in frames for part in frame.events if isinstance(part, FilePart)) <= 65536
        sent = applied(dec, frames)
        assert joined([(act.way, act.data) for act in sent if isinstance(act, Send)], UP) == said[0][1]


@pytest.mark.parametrize(("coding", "body", "detail"), [
    (b"br", b"whatever", "its content coding is not read"),
    (b"gzip, gzip", gzip.compress(PLAN, mtime=0), "its content coding is not read"),
    (b"gzip\r\nContent-Encoding: gzip", gzip.compress(PLAN, mtime=0), "its content coding is not read"),
    (b"gzip", b"no gzip at all", "its content coding is damaged"),
    (b"gzip", gzip.compress(PLAN, mtime=0)[:-9], "its content coding has no end"),
    (b"gzip", gzip.compress(PLAN, mtime=0) + b"tail", "bytes follow the end of its content coding"),
    (b"gzip", gzip.compress(bytes(30 << 20), mtime=0), "its content coding unpacks to more than is read"),
], ids=["br", "twice", "two fields", "none", "cut", "tail", "bomb"])
def test_a_coding_that_cannot_be_undone_is_not_complete(coding: bytes, body: bytes, detail: str) -> None:
    """Unknown, doubled, damaged, cut, followed by more, a bomb: passed on as it came, told, never clean; bounded."""
    dec = decoder()
    frames = read(dec, [(UP, PUT + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(body)) + body)])
    assert [(end.complete, end.detail) for end in ends(frames)] == [(False, detail)]
    assert len(contents(frames)[UP, "u1"]) <= (4 << 20) + 65536
    assert faults(frames) == []


# -- what two readers may read differently


@pytest.mark.parametrize(("head", "name"), [
    (PUT + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "framing"),
    (PUT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "request"),
    (PUT + b"Content-Length: 5, 5\r\n\r\n", "framing"),
    (PUT + b"Content-Length: +5\r\n\r\n", "request"),
    (PUT + b"Content-Length: 0x5\r\n\r\n", "request"),
    (PUT + b"Content-Length: \r\n\r\n", "request"),
    (PUT + b"Content-Length: 9999999999999999\r\n\r\n", "framing"),
    (PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"),
    (PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "request"),
    (PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "request"),
    (PUT + b"Transfer-Encoding: identity\r\n\r\n", "request"),
    (PUT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n", "framing"),
    (PUT + b"Content_Length: 5\r\n\r\n", "framing"),
    (PUT + b"Transfer_Encoding: chunked\r\n\r\n", "framing"),
    (PUT + b"Content-Length : 5\r\n\r\n", "framing"),
    (PUT + b"X: a\r\n b: c\r\n\r\n", "folded"),
    (PUT + b"X: a\nContent-Length: 5\r\n\r\n", "line_end"),
    (PUT + b"X: a\rContent-Length: 5\r\n\r\n", "line_end"),
    (PUT + b"X: a\0\r\n\r\n", "line_end"),
    (PUT + b"no colon\r\n\r\n", "field"),
    (b"\r\n" + PUT + LENGTH, "empty_line"),
    (b"PUT /a HTTP/1.1\n" + HOST + b"\r\n", "line_end"),
    (b"PUT  /a HTTP/1.1\r\n" + HOST + b"\r\n", "request"),
    (b"PUT /a HTTP/1.1\r\n\r\n", "request"),
    (b"PUT /a HTTP/1.1\r\n" + HOST + HOST + b"\r\n", "request"),
    (b"PUT /a HTTP/2.0\r\n" + HOST + b"\r\n", "request"),
    (b"PUT /a\r\n\r\n", "request"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "request"),
    (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", "request"),
    (b"PUT a HTTP/1.1\r\n" + HOST + b"\r\n", "request"),
    (b"PUT http://other/a HTTP/1.1\r\n" + HOST + b"\r\n", "request"),
    (b"PUT /a#b HTTP/1.1\r\n" + HOST + b"\r\n", "request"),
    (b"PUT /a HTTP/1.1\r\nHost: u:p@h\r\n\r\n", "request"),
    (b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", "request"),
    (b"HEAD /a HTTP/1.1\r\n" + HOST + CHUNKED, "request"),
    (PUT + CHUNKED + b"5;x=y\r\nbeans\r\n0\r\n\r\n", "chunk"),
    (PUT + CHUNKED + b" 5\r\nbeans\r\n0\r\n\r\n", "chunk"),
    (PUT + CHUNKED + b"0x5\r\nbeans\r\n0\r\n\r\n", "chunk"),
    (PUT + CHUNKED + b"-1\r\n", "chunk"),
    (PUT + CHUNKED + b"\r\n", "chunk"),
    (PUT + CHUNKED + b"5\nbeans\r\n0\r\n\r\n", "chunk"),
    (PUT + CHUNKED + b"00000000000000005\r\nbeans\r\n", "chunk"),
    (PUT + CHUNKED + b"5\r\nbeans!\r\n0\r\n\r\n", "chunk"),
    (PUT + CHUNKED + b"0\r\nX: trailer\r\n\r\n", "chunk"),
    (b"GET /a HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n" + GET, "behind_end"),
    (b"GET /a HTTP/1.0\r\n\r\n" + GET, "behind_end"),
])
def test_a_request_that_could_be_read_in_two_ways_is_a_fault(head: bytes, name: str) -> None:
    """Request smuggling: one fault, its frame the last and with all the rest, whole and byte by byte."""
    for size in (len(head), 1):
        frames = read(decoder(), cut([(UP, head)], lambda size=size: size))  # type: ignore[misc]
        assert faults(frames) == [f"http_upload.{name}"]
        assert joined([(frame.way, frame.raw) for frame in frames], UP) == head
        assert "Bearer" not in repr([frame.fault for frame in frames])


@pytest.mark.parametrize(("answer", "name"), [
    (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "framing"),
    (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"),
    (OK + b"Transfer-Encoding: gzip\r\n\r\n", "response"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "response"),
    (b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "upgrade"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "framing"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "response"),
    (b"ICY 200 OK\r\n\r\n", "response"),
    (b"HTTP/1.1 200 OK\n\n", "line_end"),
    (OK + CHUNKED + b"5;a\r\n", "chunk"),
    (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\nmore", "behind_end"),
])
def test_a_response_that_could_be_read_in_two_ways_is_a_fault(answer: bytes, name: str) -> None:
    """Response splitting, upgrades, other versions."""
    for size in (len(answer), 1):
        frames = read(decoder(), [(UP, GET), *cut([(DOWN, answer)], lambda size=size: size)])  # type: ignore[misc]
        assert faults(frames) == [f"http_upload.{name}"]


def test_a_response_that_nobody_asked_for_is_the_last() -> None:
    """A server's 408 before it closes is told; a second message behind it would be read as the next one's response."""
    timeout = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    dec = decoder()
    frames = read(dec, [(DOWN, timeout)])
    assert [odd.name for odd in frames[0].oddities] == ["http_upload.unasked"]
    assert faults(dec.feed(Chunk(DOWN, AT, CREATED))) == ["http_upload.behind_end"]


def test_a_head_without_end_is_bounded() -> None:
    """A head is held no longer than its bound, however it comes; so are requests that wait for responses."""
    for size in (65536, 100):
        dec = decoder()
        frames = read(dec, cut([(UP, b"PUT /a HTTP/1.1\r\nX: " + b"y" * 70_000)], lambda size=size: size))  # type: ignore[misc]
        assert faults(frames) == ["http_upload.head"]
        assert dec.pending(UP) == 0
    limits = Limits()
    frames = read(decoder(), [(UP, GET * (limits.http_requests + 1))])
    assert faults(frames) == ["http_upload.pipeline"]
    assert len(frames) == limits.http_requests + 1


def test_faults_name_no_bytes_of_the_peer() -> None:
    """A field that h11 cannot read may be a password: the fault does not repeat it."""
    frames = read(decoder(), [(UP, PUT + b"Authorization: geheim\x0b\r\n\r\n")])
    assert faults(frames) == ["http_upload.request"]
    assert "geheim" not in str(frames[0].fault)


# -- what is held, released, refused


def test_a_client_that_waits_is_answered_while_its_file_is_held() -> None:
    """100 Continue comes from us at once; the server's own, on release, is not passed on."""
    dec = decoder()
    head = dec.feed(Chunk(UP, AT, PUT + b"Expect: 100-continue\r\n" + LENGTH))
    assert applied(dec, head, Action.HOLD) == [Send(UP, head[0].raw), Send(DOWN, CONTINUE)]
    assert applied(dec, dec.feed(Chunk(UP, AT, PLAN))[:-1], Action.HOLD) == [Send(UP, PLAN)]
    answers = dec.feed(Chunk(DOWN, AT, CONTINUE + CREATED))
    assert applied(dec, answers) == [Send(DOWN, CREATED)]


def test_a_client_that_waits_is_left_to_the_server_while_nothing_is_held() -> None:
    """Passed on, the request is answered by the server alone."""
    dec = decoder()
    sent = applied(dec, read(dec, TALKS["chunks"][:2]))
    assert sent == [Send(UP, TALKS["chunks"][0][1]), Send(DOWN, CONTINUE)]


def test_a_refused_upload_is_answered_with_403() -> None:
    """The client reads why; the server sees nothing; the connection ends; nothing is sent any more."""
    dec = decoder()
    frames = read(dec, TALKS["slot"][:2])
    assert [act.way for act in applied(dec, frames[:-1], Action.HOLD) if isinstance(act, Send)] == [UP, UP]
    answer, end = applied(dec, frames[-1:], Action.BLOCK)
    assert isinstance(answer, Send)
    assert answer.way is DOWN
    assert answer.data.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Reference ABCD-EFGH." in answer.data
    assert b"Connection: close\r\n" in answer.data
    assert isinstance(end, Cut)
    assert applied(dec, dec.feed(Chunk(DOWN, AT, CREATED))) == []
    peer = decoder()
    told = read(peer, [(UP, PUT + LENGTH), (DOWN, answer.data)])
    assert faults(told) == []


def test_a_refused_upload_behind_another_request_is_only_ended() -> None:
    """A 403 would be read as the response to the request before: where that is not answered, the end says it."""
    dec = decoder()
    frames = read(dec, [(UP, GET + PUT + LENGTH + PLAN)])
    applied(dec, frames[:1])
    assert applied(dec, frames[1:-1], Action.HOLD) == [Send(UP, PUT + LENGTH), Send(UP, PLAN)]
    assert [type(act) for act in applied(dec, frames[-1:], Action.BLOCK)] == [Cut]


def test_a_refused_upload_that_the_server_has_answered_is_only_ended() -> None:
    """A server that answered early (413) has said the response already."""
    dec = decoder()
    frames = read(dec, TALKS["slot"][:1])
    applied(dec, frames)
    applied(dec, dec.feed(Chunk(DOWN, AT, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")))
    rest = dec.feed(Chunk(UP, AT, PLAN))
    assert [type(act) for act in applied(dec, rest[-1:], Action.BLOCK)] == [Cut]


def test_a_refused_download_is_replaced_by_403_where_nothing_of_it_has_left() -> None:
    """Held whole, the response becomes a 403; a file of which more than the tail may have left is broken off."""
    big = b"x" * 100_000
    for body, kinds in ((PLAN, [Send, Cut]), (big, [Cut])):
        dec = decoder()
        applied(dec, read(dec, [(UP, GET)]))
        frames = read(dec, [(DOWN, OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)])
        applied(dec, frames[:-1], Action.HOLD)
        assert [type(act) for act in applied(dec, frames[-1:], Action.BLOCK)] == kinds
    dec = decoder()
    frames = read(dec, [(UP, GET), (DOWN, OK + LENGTH + PLAN)])
    applied(dec, frames[:-1])
    assert [type(act) for act in applied(dec, frames[-1:], Action.BLOCK)] == [Cut]


def test_a_refused_offer_of_a_file_that_nobody_announced() -> None:
    """The head alone is refused: 403, the end, and no byte of it or of the content to the server."""
    dec = decoder(None)
    frames = read(dec, TALKS["slot"][:2])
    acts = applied(dec, frames[:1], Action.BLOCK) + applied(dec, frames[1:])
    assert [type(act) for act in acts] == [Send, Cut]
    assert isinstance(acts[0], Send)
    assert acts[0].way is DOWN


def test_last_words() -> None:
    """An end from outside is a 403 for a request that waits, a 400 for one that cannot be read, else nothing."""
    assert decoder().close("the end") == []
    dec = decoder()
    applied(dec, read(dec, [(UP, GET)]))
    (last,) = dec.close("the end")
    assert isinstance(last, Send)
    assert last.data.startswith(b"HTTP/1.1 403 ")
    assert dec.close("the end") == []
    dec = decoder()
    read(dec, [(UP, b"nonsense\r\n\r\n")])
    (last,) = dec.close("the end", PeerError("x"))
    assert isinstance(last, Send)
    assert last.data.startswith(b"HTTP/1.1 400 ")
    dec = decoder()
    applied(dec, read(dec, [(UP, GET), (DOWN, OK + LENGTH + PLAN[:9])]))
    assert dec.close("the end") == []


def test_our_words_stand_between_responses_only() -> None:
    """Never inside a head or a body of the server's; never up; nothing is said without a request."""
    dec = decoder()
    read(dec, [(UP, GET)])
    assert dec.ready(DOWN)
    assert not dec.ready(UP)
    read(dec, [(DOWN, OK)])
    assert not dec.ready(DOWN)
    read(dec, [(DOWN, LENGTH + PLAN[:9])])
    assert not dec.ready(DOWN)
    read(dec, [(DOWN, PLAN[9:])])
    assert dec.ready(DOWN)
    assert dec.inject(Notice("x", OFFER), DOWN) == []


# -- gaps, parts, probes


def test_lost_bytes() -> None:
    """Inside a body they are counted; anywhere else neither way can be read any more, and nothing is thrown away."""
    dec = decoder()
    read(dec, [(UP, PUT + LENGTH + PLAN[:100])])
    frames = dec.feed(Chunk(UP, AT, PLAN[150:] + GET, gap=50))
    assert ends(frames) == [FileEnd(transfer="u1", complete=False, detail="bytes are missing")]
    assert frames[-1].kind == "http_upload.GET"
    dec = decoder()
    read(dec, [(UP, PUT + CHUNKED + b"50\r\nbeans")])
    frames = dec.feed(Chunk(UP, AT, PLAN[:69] + b"\r\n0\r\n\r\n", gap=6))
    assert ends(frames) == [FileEnd(transfer="u1", complete=False, detail="bytes are missing")]
    for said, gap in (((UP, PUT + LENGTH + PLAN[:100]), 1 << 20), ((UP, PUT[:9]), 5)):
        dec = decoder()
        frames = read(dec, [said]) + dec.feed(Chunk(UP, AT, b"z" * 200_000, gap=gap))
        assert {frame.kind for frame in frames if b"z" in frame.raw} == {"http_upload.unread"}
        assert faults(dec.feed(Chunk(DOWN, AT, CREATED))) == []
    assert {frame.kind for frame in decoder(from_start=False).feed(Chunk(UP, AT, GET))} == {"http_upload.unread"}


def test_parts_are_no_copies_and_no_longer_than_a_part() -> None:
    """A read of a body is its own part, not a copy; a longer one is cut."""
    dec = decoder()
    read(dec, [(UP, PUT + b"Content-Length: 9000000\r\n\r\n")])
    data = b"x" * 65536
    (frame,) = dec.feed(Chunk(UP, AT, data))
    assert isinstance(frame.events[0], FilePart)
    assert frame.raw is data
    assert frame.events[0].data is data
    assert [len(frame.raw) for frame in dec.feed(Chunk(UP, AT, b"y" * 150_000))] == [65536, 65536, 18928]
    dec = decoder()
    frames = read(dec, [(UP, PUT + CHUNKED + b"30d40\r\n" + b"y" * 200_000 + b"\r\n0\r\n\r\n")])
    assert max(len(frame.raw) for frame in frames) <= 65536
    assert len(contents(frames)[UP, "u1"]) == 200_000


def test_the_announced_size_and_another_length() -> None:
    """A length that is not what was announced is told; the engine cuts what is too long."""
    frames = read(decoder(), [(UP, PUT + b"Content-Length: 3\r\n\r\nabc")])
    assert [odd.name for odd in frames[0].oddities] == ["http_upload.size"]
    assert starts(frames)[0].offer.size == len(PLAN)


def test_the_probe() -> None:
    """A request line, whole; asked on listeners for uploads alone."""
    assert SPEC.expected_only
    assert SPEC.probe(PUT, b"") is Match.STRONG
    assert SPEC.probe(b"", b"") is Match.MORE
    assert SPEC.probe(b"PU", b"") is Match.MORE
    assert SPEC.probe(b"PUT ", b"") is Match.MORE
    assert SPEC.probe(b"GET /a HTTP", b"") is Match.MORE
    assert SPEC.probe(b"GET /a HTTP/2.0\r\n", b"") is Match.NO
    assert SPEC.probe(b"SSH-2.0-x\r\n", b"") is Match.NO
    assert SPEC.probe(b"", b"220 ready\r\n") is Match.NO


def test_a_fault_is_the_end_of_reading() -> None:
    """What comes behind a fault is in parts that nobody reads."""
    dec = decoder()
    (broken,) = read(dec, [(UP, b"nonsense\r\n\r\n" + GET)])
    assert (broken.kind, broken.raw) == (BROKEN, b"nonsense\r\n\r\n" + GET)
    frames = dec.feed(Chunk(UP, AT, GET))
    assert [(frame.kind, frame.raw) for frame in frames] == [("http_upload.unread", GET)]
