"""What supervisor and worker say to each other at the start of a worker, and when one takes another's place."""

from __future__ import annotations

import msgspec

from inspector.app.snapshot import Snapshot
from inspector.model import Expect

PROGRAM = ("-m", "inspector.app.worker")
SPEECH = 3
"""Version of what supervisor and worker say to each other; those of different versions do not work together."""



class Begin(msgspec.Struct, frozen=True):
    """All that a worker is told at its start. Sockets are named by their descriptors, which it inherits."""

    speech: int
    number: int
    """Its chain in the event log, its mailbox, its folder in the spool."""
    count: int
    """How many workers share what there is."""
    snapshot: Snapshot
    gateway: str
    started: float
    listening: list[tuple[str, int, list[int]]]
    """(listener's address, port, sockets): also the ports that this worker may lease."""
    box: int
    boxes: dict[int, int]
    """Number of a worker -> the writing end of its mailbox."""
    words: int
    """The box for what accounts write through other workers, and those of all workers."""
    words_to: dict[int, int]
    level: str | None
    """--log-level; None: as the configuration says."""
    format: str | None


class InForce(msgspec.Struct, frozen=True):
    """What a worker has loaded."""

    version: int
    policy: str
    packs: list[str]
    enforce: bool
    warnings: list[str]


class Ready(msgspec.Struct, frozen=True):
    """The answer to `begin`."""

    speech: int
    release: str
    rules: InForce


class Lease(msgspec.Struct, frozen=True):
    """A leased port that goes to another worker."""

    listener: str
    port: int
    expect: Expect
    until: float
    ends: tuple[str, str] | None
