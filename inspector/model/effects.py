"""What goes into a session and what comes out of it."""

from __future__ import annotations

from typing import Any

import msgspec

from inspector.model.events import Event, Text
from inspector.model.flow import Chunk, Way
from inspector.model.frames import Cut, Expect, Send, StartTls
from inspector.model.ports import Rules
from inspector.model.verdicts import Finding


class Closed(msgspec.Struct, frozen=True):
    """The peer that writes `way` has ended its side."""

    way: Way
    at: float


class Scanned(msgspec.Struct, frozen=True):
    """The answer to a Scan effect. `failure` is one sentence, None when the scan was complete."""

    id: int
    at: float
    findings: tuple[Finding, ...] = ()
    failure: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """A durable Note is on disk, or (ok False) could not be written."""

    id: int
    at: float
    ok: bool = True


class Woke(msgspec.Struct, frozen=True):
    """The time asked for by WakeAt has come."""

    at: float


class Secured(msgspec.Struct, frozen=True):
    """TLS asked for by StartTls stands on both sides, or (ok False) failed."""

    at: float
    ok: bool = True
    detail: str = ""


class Spliced(msgspec.Struct, frozen=True):
    """The driver will relay the rest of this flow unread (TLS that is not to be opened); `protocol` names it."""

    at: float
    protocol: str
    why: str


class Troubled(msgspec.Struct, frozen=True):
    """The driver met trouble (undecryptable, overload, internal): the policy says what follows."""

    at: float
    name: str
    detail: str = ""


class Killed(msgspec.Struct, frozen=True):
    """End this session politely: an operator's word, or the drain at shutdown."""

    at: float
    reason: str


Input = Chunk | Closed | Scanned | Kept | Woke | Secured | Spliced | Troubled | Killed


class Scan(msgspec.Struct, frozen=True):
    """Scan these texts off the loop; answer with Scanned(id). `rules`: the version that asked."""

    id: int
    event: Event
    texts: tuple[Text, ...]
    rules: Rules


class Note(msgspec.Struct, frozen=True):
    """A row for the event log.

    `row` holds plain values in the shape of docs/events.md, without "schema" and "gateway" (the store adds them); "t"
    (and other times) are float seconds. `durable`: answer with Kept(id) once it is on disk (id > 0 only then).
    """

    id: int
    row: dict[str, Any]
    durable: bool = False


class Finish(msgspec.Struct, frozen=True):
    """Half-close: nothing more will be sent that way."""

    way: Way


class WakeAt(msgspec.Struct, frozen=True):
    """Answer with Woke at (or soon after) this time. A later WakeAt replaces an earlier one."""

    at: float


Effect = Send | Scan | Note | Cut | StartTls | Expect | Finish | WakeAt
