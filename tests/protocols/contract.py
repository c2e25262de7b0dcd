"""What the contract suite does with every registry entry: conversations, decoders, what was sent.

Conversations come from `pcaps/<protocol>/*.pcap` and from the `TALKS` of the protocol's own test module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from inspector.engine.world import SharedMemory
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Action,
    Address,
    Can,
    Chunk,
    Decoder,
    Event,
    Expect,
    FileEnd,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Send,
    Spec,
    StartTls,
    Verdict,
    Way,
    Went,
)
from tests.talk import talks

PCAPS = Path(__file__).parents[2] / "pcaps"
LIMITS = Limits()
AT = 1_000_000.0

Said = list[tuple[Way, bytes]]


class Talk(list[tuple[Way, bytes]]):
    """A conversation with its name, under which the test module may say what announced it."""

    def __init__(self, said: Said, name: str) -> None:
        super().__init__(said)
        self.name = name


def conversations(spec: Spec) -> dict[str, Said]:
    """Name -> what was said, of one protocol. Every protocol has at least one."""
    found: dict[str, Said] = {}
    for path in sorted((PCAPS / spec.name).glob("*.pcap")):
        for number, talk in enumerate(talks(path)):
            probed = spec.probe(talk.up[:4096], talk.down[:4096])
            if talk.said and probed >= 2 and not spec.expected_only:
                found[f"{path.stem}-{number}"] = talk.said
    module = importlib.import_module(f"tests.protocols.test_{spec.name}")
    found.update(module.TALKS)
    assert found, f"{spec.name} has no conversation"
    return found


def expected(spec: Spec, talk: str = "") -> Expect | None:
    """What announced a conversation: EXPECTED of the protocol's test module, by the talk's name."""
    module = importlib.import_module(f"tests.protocols.test_{spec.name}")
    announced: dict[str, Expect] = getattr(module, "EXPECTED", {})
    return announced.get(talk, announced.get(""))


def flow(spec: Spec, from_start: bool = True, talk: str = "") -> Flow:
    port = min(spec.ports) if spec.ports else 4000
    return Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", port), opened=AT, from_start=from_start,
                expected=expected(spec, talk))


def decoder(
    spec: Spec, edits: Iterable[str] = (), from_start: bool = True, said: Said | None = None,
) -> Decoder:
    """A fresh decoder for a conversation."""
    where = flow(spec, from_start, said.name if isinstance(said, Talk) else "")
    return spec.decoder(where, LIMITS, SharedMemory(LIMITS.memory_entries), frozenset(edits))


def read(dec: Decoder, said: Said) -> list[Frame]:
    """Feed a conversation; every frame in order."""
    frames: list[Frame] = []
    for way, data in said:
        frames += dec.feed(Chunk(way, AT, data))
    return frames


def cut(said: Said, sizes: Callable[[], int]) -> Said:
    """The same conversation in pieces of `sizes()` bytes."""
    out: Said = []
    for way, data in said:
        start = 0
        while start < len(data):
            size = max(1, sizes())
            out.append((way, data[start : start + size]))
            start += size
    return out


def raw(frames: Iterable[Frame], way: Way) -> bytes:
    return b"".join(f.raw for f in frames if f.way is way)


def eventful(frames: Iterable[Frame]) -> list[tuple[object, ...]]:
    """What must not depend on how the stream was cut: a file's content is cut as it came."""
    found: list[tuple[object, ...]] = []
    for frame in frames:
        if any(isinstance(event, FilePart | FileEnd) for event in frame.events):
            for event in frame.events:
                if not isinstance(event, FilePart):
                    found.append((frame.way, event))
                elif found and found[-1][0] == "content" and found[-1][1:3] == (frame.way, event.transfer):
                    found[-1] = (*found[-1][:3], bytes(found[-1][3]) + event.data)  # type: ignore[call-overload]
                elif event.data:
                    found.append(("content", frame.way, event.transfer, bytes(event.data)))
        elif frame.events:
            found.append((frame.kind, frame.raw, frame.events, frame.group))
    return found


def contents(frames: Iterable[Frame]) -> dict[tuple[Way, str], bytes]:
    """The content of every file that was read."""
    found: dict[tuple[Way, str], bytes] = {}
    for frame in frames:
        for event in frame.events:
            if isinstance(event, FileStart):
                found.setdefault((frame.way, event.transfer), b"")
            elif isinstance(event, FilePart):
                found[frame.way, event.transfer] += event.data
    return found


def written(
    dec: Decoder, frames: Iterable[Frame], judge: Callable[[Frame], Sequence[Verdict]] | None = None,
    went: list[Went] | None = None,
) -> Said:
    """What `apply` sends for these frames, in order; StartTls counts as its frame's own bytes. `went`: is given what
    became of items that were left."""
    out: Said = []
    for frame in frames:
        if frame.fault is not None:
            out.append((frame.way, frame.raw))
            continue
        verdicts = judge(frame) if judge and (frame.events or frame.group) else tuple(PASSED for _ in frame.events)
        for act in dec.apply(frame, verdicts):
            if isinstance(act, Send):
                out.append((act.way, act.data))
            elif isinstance(act, StartTls):
                out.append((frame.way, frame.raw))
            elif isinstance(act, Went) and went is not None:
                went.append(act)
    return out


def joined(said: Iterable[tuple[Way, bytes]], way: Way) -> bytes:
    return b"".join(data for w, data in said if w is way)


def can(spec: Spec, event: Event) -> Can:
    return spec.can.get(f"{event.name}.{getattr(event, 'kind', '')}") or spec.can.get(event.name) or Can()


def possible(spec: Spec, event: Event, way: Way) -> list[Verdict]:
    """Every verdict that the engine may hand to `apply` for this event (file content has its own tests)."""
    if isinstance(event, FileStart | FilePart | FileEnd):
        return [PASSED]
    able = can(spec, event)
    notice = None
    if able.notify and getattr(event, "answerable", True):
        notice = "Refused by policy, reference ABCD-EFGH: see <https://example.net/?a=1&b=2> \r\n\0 ]]> ü."
    found = [PASSED, Verdict(Action.WARN, "r", reference="ABCD-EFGH", notice=notice)]
    if able.drop:
        found.append(Verdict(Action.BLOCK, "r", reference="ABCD-EFGH", notice=notice))
        found.append(Verdict(Action.BLOCK, "r", reference="ABCD-EFGH"))
    if able.placeholder:
        found.append(Verdict(Action.BLOCK, "r", placeholder="[removed <by> policy & co]\r\n", notice=notice))
    if able.mask:
        masks = tuple(
            (index, 0, max(1, len(text.plain) // 2)) for index, text in enumerate(event.texts)
            if text.plain and text.editable
        )
        if masks:
            found.append(Verdict(Action.REDACT, "r", masks=masks, notice=notice))
    return found


__all__ = ["AT", "DOWN", "LIMITS", "UP", "Said"]
