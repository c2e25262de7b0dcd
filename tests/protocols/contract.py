"""What the contract suite does with every registry entry: conversations, decoders, what was sent.

Conversations come from `pcaps/<protocol>/*.pcap` and from the `TALKS` of the protocol's own test module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from inspector.engine.world import Table
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
    Flow,
    Frame,
    Limits,
    Send,
    Spec,
    StartTls,
    Verdict,
    Way,
)
from tests.talk import talks

PCAPS = Path(__file__).parents[2] / "pcaps"
LIMITS = Limits()
AT = 1_000_000.0

Said = list[tuple[Way, bytes]]


def conversations(spec: Spec) -> dict[str, Said]:
    """Name -> what was said, of one protocol. Every protocol has at least one."""
    found: dict[str, Said] = {}
    for path in sorted((PCAPS / spec.name).glob("*.pcap")):
        for number, talk in enumerate(talks(path)):
            probed = spec.probe(talk.up[:4096], talk.down[:4096])
            if talk.said and probed >= 2:
                found[f"{path.stem}-{number}"] = talk.said
    module = importlib.import_module(f"tests.protocols.test_{spec.name}")
    found.update(module.TALKS)
    assert found, f"{spec.name} has no conversation"
    return found


def flow(spec: Spec, from_start: bool = True) -> Flow:
    port = min(spec.ports) if spec.ports else 4000
    return Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", port), opened=AT, from_start=from_start)


def decoder(spec: Spec, edits: Iterable[str] = (), from_start: bool = True) -> Decoder:
    memory: Table[str, object] = Table(LIMITS.memory_entries)
    return spec.decoder(flow(spec, from_start), LIMITS, memory, frozenset(edits))


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


def eventful(frames: Iterable[Frame]) -> list[tuple[str, bytes, tuple[Event, ...], str | None]]:
    """What must not depend on how the stream was cut."""
    return [(f.kind, f.raw, f.events, f.group) for f in frames if f.events]


def written(
    dec: Decoder, frames: Iterable[Frame], judge: Callable[[Frame], Sequence[Verdict]] | None = None,
) -> Said:
    """What `apply` sends for these frames, in order; StartTls counts as its frame's own bytes."""
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
    return out


def joined(said: Iterable[tuple[Way, bytes]], way: Way) -> bytes:
    return b"".join(data for w, data in said if w is way)


def can(spec: Spec, event: Event) -> Can:
    return spec.can.get(f"{event.name}.{getattr(event, 'kind', '')}") or spec.can.get(event.name) or Can()


def possible(spec: Spec, event: Event, way: Way) -> list[Verdict]:
    """Every verdict that the engine may hand to `apply` for this event."""
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
