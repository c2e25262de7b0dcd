"""Reads conversations out of captures: what each side of a flow said, in the order of the capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inspector.drivers.pcap import Capture
from inspector.drivers.reassembly import Reassembly, Track
from inspector.model import DOWN, UP, Chunk, Flow, Limits, Way, flow_id


@dataclass
class Talk:
    """One flow: its ends, its chunks (`gap` where bytes are missing), when each way was closed, and oddities."""

    flow: Flow
    chunks: list[Chunk] = field(default_factory=list)
    ends: list[tuple[Way, float]] = field(default_factory=list)
    oddities: list[tuple[str, Way]] = field(default_factory=list)
    packets: int = 0
    payload: int = 0

    @property
    def said(self) -> list[tuple[Way, bytes]]:
        """(way, bytes), neighbours of the same way joined; gaps are left out."""
        out: list[tuple[Way, bytes]] = []
        for chunk in self.chunks:
            if out and out[-1][0] is chunk.way:
                out[-1] = (chunk.way, out[-1][1] + chunk.data)
            elif chunk.data:
                out.append((chunk.way, chunk.data))
        return out

    @property
    def up(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks if chunk.way is UP)

    @property
    def down(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks if chunk.way is DOWN)


class _Listener:
    """The sink of one flow: writes it into its Talk."""

    def __init__(self, track: Track, talk: Talk) -> None:
        self._track = track
        self._talk = talk

    def chunk(self, chunk: Chunk) -> None:
        self._talk.chunks.append(chunk)

    def closed(self, way: Way, at: float) -> None:
        self._talk.ends.append((way, at))

    def oddity(self, name: str, detail: str, way: Way, at: float) -> None:
        self._talk.oddities.append((name, way))

    def gone(self, at: float) -> None:
        self._talk.packets, self._talk.payload = self._track.packets, self._track.bytes


def talks(path: str | Path, servers: frozenset[int] = frozenset(), limits: Limits | None = None) -> list[Talk]:
    """Every flow of a capture, in the order of their first packets. A capture that cannot be read whole is an error."""
    limits = limits or Limits()
    found: list[Talk] = []

    def begin(track: Track) -> _Listener:
        flow = Flow(
            flow_id(track.client, track.server, track.transport, track.opened), track.client, track.server,
            transport=track.transport, opened=track.opened, file=Path(path).name, from_start=track.from_start,
        )
        found.append(Talk(flow))
        return _Listener(track, found[-1])

    with Path(path).open("rb") as stream:
        capture = Capture(stream, str(path), limits)
        reassembly = Reassembly(limits, begin, servers)
        reassembly.run(capture)
        reassembly.finish()
        assert capture.fault is None, f"{path} {capture.fault}"
    return found
