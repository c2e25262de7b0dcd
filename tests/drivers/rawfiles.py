"""A protocol for the driver's tests, read by the real engine: `FILE name size` on a line, then so many raw bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from inspector.classify.probes import classifier
from inspector.drivers.mitm_server import JudgeDone
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import Paths, World
from inspector.model import (
    Act,
    Action,
    Can,
    Chunk,
    Cut,
    FileEnd,
    FileMode,
    FileOffer,
    FilePart,
    FileReport,
    FileStart,
    Finding,
    Flow,
    Frame,
    Judge,
    Limits,
    Match,
    Notice,
    PeerError,
    Rules,
    Send,
    Spec,
    Unreleased,
    Verdict,
    Way,
)
from tests.engine.toy import ToyScanner
from tests.engine.toyfiles import FilePolicy

PART = 65536


class RawFileDecoder(Unreleased):
    """Reads one file a way."""

    undecryptable = None

    def __init__(self, flow: Flow, limits: Limits, memory: object, edits: frozenset[str]) -> None:
        self._head = [b"", b""]
        self._left = [-1, -1]
        self._ended = [False, False]

    def feed(self, chunk: Chunk) -> list[Frame]:
        frames = []
        way, at, data = chunk.way, chunk.at, chunk.data
        if self._left[way] < 0 and data:
            head, line, rest = (self._head[way] + data).partition(b"\n")
            if not line:
                self._head[way] = head
                return []
            self._head[way] = b""
            _, name, size = head.decode().split(" ")
            self._left[way] = int(size)
            offer = FileOffer(sender="ann", recipients=("bob",), file_name=name, size=int(size), method="raw")
            frames.append(Frame(way, at, head + line, "raw.FILE", (offer, FileStart(transfer="f", offer=offer))))
            data = rest
        for start in range(0, len(data), PART):
            part = data[start:start + PART]
            self._left[way] -= len(part)
            frames.append(Frame(way, at, part, "raw.part", (FilePart(transfer="f", data=part),)))
        if (self._left[way] == 0 and not self._ended[way]) or (chunk.end and self._left[way] > 0):
            self._ended[way] = True
            end = FileEnd(transfer="f", complete=self._left[way] == 0)
            frames.append(Frame(way, at, b"", "raw.end", (end,)))
        return frames

    def pending(self, way: Way) -> int:
        return len(self._head[way])

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        if verdicts and max(v.action for v in verdicts) >= Action.BLOCK:
            return [Send(frame.way.other, b"REFUSED\n"), Cut()] if frame.kind == "raw.end" else []
        return [Send(frame.way, frame.raw)] if frame.raw else []

    def ready(self, way: Way) -> bool:
        return True

    def inject(self, message: Notice, way: Way) -> list[Act]:
        return []

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        return []


def probe(up: bytes, down: bytes) -> Match:
    return Match.STRONG if b"FILE " in (up[:5], down[:5]) else Match.MORE


RAW = Spec(
    name="raw", title="Raw files", probe=probe, decoder=RawFileDecoder, signs_on=False,
    can={"file": Can(drop=True, notify=True)},
)


class FakeJudges:
    """Judges at once, unless `waits`: then `answer` does. Whatever holds "virus" in its first bytes is found."""

    def __init__(self, waits: bool = False) -> None:
        self.waits = waits
        self.asked: list[tuple[Judge, int, JudgeDone]] = []
        self.taken_back = 0

    def judge(self, effect: Judge, content: int, done: JudgeDone) -> Callable[[], None]:
        self.asked.append((effect, content, done))
        if not self.waits:
            asyncio.get_running_loop().call_soon(self.answer)
        return self._take_back

    def _take_back(self) -> None:
        self.taken_back += 1

    def answer(self) -> None:
        """Answer the oldest question."""
        _, content, done = self.asked.pop(0)
        begin, size = os.pread(content, 100, 0), os.fstat(content).st_size
        os.close(content)
        found = (Finding("yara", "core.virus", "high"),) if b"virus" in begin else ()
        done(FileReport(size=size, sha256="00", sha1="11", md5="22", findings=found), None)


def sessions(mode: FileMode, limits: Limits) -> tuple[Callable[..., Session], World]:
    """What makes the gateway's sessions, and their world."""
    world = World(limits)
    kit = Kit(classifier((RAW,)), Rules(1, FilePolicy(mode), ToyScanner()), limits, specs={"raw": RAW})

    def make(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Session:
        return Session(flow, kit, world, listener_protocols=protocols, named_im=named_im, paths=paths)

    return make, world


__all__ = ["RAW", "FakeJudges", "sessions"]
