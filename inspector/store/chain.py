"""The chain of an event log's rows: what makes a changed, removed or reordered row visible.

A row's digest is H(previous digest, header, H(salt, body)). The body is the row's line (docs/events.md), which may have
to be erased; then salt and line go, H(salt, body) stays, and the chain still verifies. The header is what stays in any
case: chain, number, id, time, kind, action, rule and reference. H is SHA-256. Without the salt a guess at an erased
line could be confirmed by hashing it.

A chain belongs to one worker and goes on over restarts. Pure: no I/O, no clock, no chance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

GENESIS = bytes(32)
"""In front of a chain's first row."""
SALT_BYTES = 16
_ROW = b"inspector row 1\0"


@dataclass(frozen=True, slots=True)
class Link:
    """A row as the chain sees it. `line` and `salt` are None of an erased row."""

    chain: str
    seq: int
    id: str
    t: float
    event: str
    action: str | None
    rule: str | None
    reference: str | None
    line: bytes
    salt: bytes | None
    body: bytes
    digest: bytes


def body_of(salt: bytes, line: bytes) -> bytes:
    """H(salt, body)."""
    return sha256(salt + line).digest()


def header_of(
    chain: str, seq: int, ident: str, t: float, event: str, action: str | None, rule: str | None, reference: str | None,
) -> bytes:
    """The fields that stay, each with its length; None and "" differ."""
    parts = [struct.pack("<qd", seq, t)]
    for value in (chain, ident, event, action, rule, reference):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            data = value.encode()
            parts.append(struct.pack("<I", len(data)) + data)
    return b"".join(parts)


def digest_of(previous: bytes, header: bytes, body: bytes) -> bytes:
    """A row's digest: three parts of fixed or told length."""
    return sha256(_ROW + previous + struct.pack("<I", len(header)) + header + body).digest()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a chain, and at which row."""

    chain: str
    seq: int
    what: str

    def __str__(self) -> str:
        return f"chain {self.chain}, row {self.seq}: {self.what}"


@dataclass(slots=True)
class Walk:
    """What a walk along one chain has found."""

    chain: str
    seq: int = 0
    """The last row that verifies."""
    rows: int = 0
    """Rows that verify: fewer than `seq` where the chain's beginning was pruned."""
    erased: int = 0
    head: bytes = GENESIS
    fault: Fault | None = None
    """The first one; nothing behind it is proved."""


def walk(
    links: Iterable[Link], pruned: Mapping[str, tuple[int, bytes]] | None = None,
) -> Iterator[tuple[Link, Walk]]:
    """Verify rows in the order of (chain, seq); after each row the state of its chain. The last one of a chain with a
    fault has it; rows behind a fault are not looked at. `pruned`: chain -> (last row that is gone, its digest); rows up
    to there that are still being removed are passed over."""
    state: Walk | None = None
    first = 0
    for link in links:
        if state is None or state.chain != link.chain:
            seq, digest = (pruned or {}).get(link.chain, (0, GENESIS))
            state = Walk(link.chain, seq, head=digest)
            first = seq
        if state.fault is not None or (type(link.seq) is int and link.seq <= first):
            continue
        state.fault = _fault(link, state)
        if state.fault is None:
            state.seq += 1
            state.rows += 1
            state.erased += link.salt is None
            state.head = link.digest
        yield link, state


def _fault(link: Link, state: Walk) -> Fault | None:
    expected = state.seq + 1
    if not all(type(value) is kind for value, kind in (
        (link.seq, int), (link.id, str), (link.t, float), (link.event, str), (link.line, bytes), (link.body, bytes),
        (link.digest, bytes),
    )) or type(link.salt) not in (bytes, type(None)) or any(
        type(value) not in (str, type(None)) for value in (link.action, link.rule, link.reference)
    ):
        return Fault(link.chain, expected, "the row is none that a gateway writes")
    if link.seq != expected:
        missing = f"row {expected} is missing" if link.seq > expected else "it is there twice"
        return Fault(link.chain, link.seq, missing)
    if link.salt is not None and body_of(link.salt, link.line) != link.body:
        return Fault(link.chain, link.seq, f"what event {link.id} says was changed")
    header = header_of(
        link.chain, link.seq, link.id, link.t, link.event, link.action, link.rule, link.reference)
    if digest_of(state.head, header, link.body) != link.digest:
        return Fault(link.chain, link.seq, f"event {link.id} was changed, or a row before it was exchanged")
    return None
