"""Fuzzes the framing of HTTP against h11's own: `python -m tests.fuzz fuzz_http_upload`.

The invariant: where the decoder finds no fault in a request (a response), h11 finds none either, reads the same body,
and ends it at the same byte; and the decoder reads the same in one piece and byte by byte. An input is a byte of modes
(bit 0: a response), then what one peer sends. `tests.fuzz http_upload` is the target that all decoders share.
"""

from __future__ import annotations

from pathlib import Path

import h11

from inspector.engine.world import SharedMemory
from inspector.model import DOWN, UP, Address, Chunk, FileEnd, FilePart, Flow, Frame, Limits, Way
from inspector.protocols.http_upload import HttpUploadDecoder
from tests.protocols import contract
from tests.protocols.test_http_upload import CHUNKED, GET, OK, PUT, TALKS, chunks

FLOW = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5280), opened=1.0)


def ours(way: Way, data: bytes, size: int) -> tuple[list[tuple[object, ...]], list[Frame]]:
    """What the decoder makes of it, up to the first fault; conservation is checked on the way."""
    decoder = HttpUploadDecoder(FLOW, Limits(), SharedMemory(10), frozenset())
    if way is DOWN:
        decoder.feed(Chunk(UP, 1.0, GET * 3))
    frames: list[Frame] = []
    for at in range(0, len(data), size):
        frames += decoder.feed(Chunk(way, 1.0, data[at:at + size]))
        if any(frame.fault for frame in frames):
            break
    else:
        assert sum(len(frame.raw) for frame in frames) + decoder.pending(way) == len(data)
    return contract.eventful(frames), frames


def first(frames: list[Frame]) -> tuple[bytes, bool, int]:
    """(content, whether it is whole, bytes up to its end) of the first message."""
    content, bytes_ = b"", 0
    for number, frame in enumerate(frames):
        if number and frame.kind not in ("http_upload.data", "http_upload.end"):
            return content, True, bytes_
        bytes_ += len(frame.raw)
        for event in frame.events:
            if isinstance(event, FilePart):
                content += event.data
            elif isinstance(event, FileEnd):
                return content, True, bytes_
    return content, len(frames) == 1 and not frames[0].events, bytes_


def theirs(way: Way, data: bytes) -> tuple[bytes, bool, int]:
    """The same by h11. Raises h11.RemoteProtocolError."""
    limit = Limits().http_head_bytes
    connection = h11.Connection(h11.SERVER if way is UP else h11.CLIENT, max_incomplete_event_size=limit)
    if way is DOWN:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.receive_data(data)
    content = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            content += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return content, True, len(data) - len(connection.trailing_data[0])
        elif not isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
            return content, False, 0


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the decoder wrongly raises."""
    way, data = (DOWN if data[:1] and data[0] & 1 else UP), data[1:]
    whole, frames = ours(way, data, len(data) or 1)
    single, _ = ours(way, data, 1 if len(data) < 1000 else 97)
    if frames and frames[-1].fault is not None:
        return  # a fault ends the reading wherever it is noticed first
    assert single == whole
    if not frames or b"ontent-" in frames[0].raw.lower().replace(b"content-length", b"").replace(b"content-type", b""):
        return  # h11 undoes no content coding
    if way is DOWN and frames[0].kind.startswith("http_upload.1"):
        return  # the message that is compared begins behind it
    content, complete, bytes_ = first(frames)
    assert theirs(way, data)[:2] == (content, complete)
    if complete:
        assert theirs(way, data)[2] == bytes_


SHORT = (
    (UP, PUT + b"Content-Length: 5\r\n\r\nbeans" + GET), (UP, PUT + CHUNKED + chunks(b"beans and peas", 5) + GET),
    (DOWN, OK + b"Content-Length: 5\r\n\r\nbeans" + OK + CHUNKED + chunks(b"peas", 2)), (DOWN, OK + b"\r\nbeans"),
)


def seeds(folder: Path) -> None:
    """What each side of the test's conversations says, and short messages of each framing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (way, data) in enumerate(SHORT):
        (folder / f"seed-short-{number}").write_bytes(bytes([way]) + data)
    for name, said in TALKS.items():
        for way in (UP, DOWN):
            (folder / f"seed-{name}-{way}").write_bytes(bytes([way]) + contract.joined(said, way)[:8000])
