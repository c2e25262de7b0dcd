"""What goes into a session and what comes out of it."""

from __future__ import annotations

from typing import Any

import msgspec

from inspector.model.events import Event, Expect, File, Text
from inspector.model.flow import Chunk, Way
from inspector.model.frames import Cut, Notice, Send, StartTls, Tell
from inspector.model.holds import Arrived, Came, Deliver, Hold, Released, Unhold
from inspector.model.ports import Rules
from inspector.model.verdicts import FileReport, Finding


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
    trouble: str = "scanner_failed"
    """The name of the trouble that a failure is: overload, where there was no room for the text."""


class Kept(msgspec.Struct, frozen=True):
    """A durable Note, Hold or Deliver is on disk, or (ok False) could not be written."""

    id: int
    at: float
    ok: bool = True
    why: str = ""
    """Of a Hold that could not be stored: the trouble's name ("hold_full", "store_failed")."""


class Woke(msgspec.Struct, frozen=True):
    """The time asked for by WakeAt has come."""

    at: float


class Secured(msgspec.Struct, frozen=True):
    """TLS asked for by StartTls stands on both sides, or (ok False) failed."""

    at: float
    ok: bool = True
    detail: str = ""
    same: bool = False
    """The client was shown the certificate that the server has shown us. A decoder with `secured` is told."""


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


class Judged(msgspec.Struct, frozen=True):
    """The answer to a Judge effect. `failure` is one sentence, None when the file was judged whole.

    Both: one judge has failed, and the report has what the others have found (sha256 "" when its reader failed).
    """

    file: str
    at: float
    report: FileReport | None = None
    failure: str | None = None


class Unspooled(msgspec.Struct, frozen=True):
    """The answer to an Unspool effect: the next records that were spooled. `end`: there is nothing more."""

    file: str
    at: float
    data: bytes
    end: bool = False
    failure: str | None = None


class Told(msgspec.Struct, frozen=True):
    """Another session has something to say to the people of this one."""

    at: float
    notice: Notice


Input = (
    Chunk | Closed | Scanned | Kept | Woke | Secured | Spliced | Troubled | Killed | Judged | Unspooled | Told
    | Released
)


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
    `needed`: left out no sooner than a durable one, which comes behind it. `barrier`: no effect behind it, of this step
    or of later ones, is carried out before it is on disk (or cannot be); it may wait for others to share a commit.
    """

    id: int
    row: dict[str, Any]
    durable: bool = False
    needed: bool = False
    barrier: bool = False


class Finish(msgspec.Struct, frozen=True):
    """Half-close: nothing more will be sent that way."""

    way: Way


class WakeAt(msgspec.Struct, frozen=True):
    """Answer with Woke at (or soon after) this time. A later WakeAt replaces an earlier one."""

    at: float


class Spool(msgspec.Struct, frozen=True):
    """Append to a file's spool: `content` is what will be judged, `raw` what will be sent on release (b"": nothing).

    One record: Unspool never cuts a raw. The first Spool of a `file` makes it. Trouble is told by Judged.failure.
    """

    file: str
    content: bytes
    raw: bytes = b""


class Judge(msgspec.Struct, frozen=True):
    """Judge a spooled file with `rules`; answer with Judged. `about`: what is known of it (name, size, complete)."""

    file: str
    about: File
    rules: Rules
    client: str = ""
    """The address of the session's client: no client's files keep all others waiting."""


class Unspool(msgspec.Struct, frozen=True):
    """Give the next raw records (about 64 KiB) for `way`, once the writer of that way has room; answer Unspooled."""

    file: str
    way: Way


class Discard(msgspec.Struct, frozen=True):
    """The spooled file is not needed any more."""

    file: str


Effect = (
    Send | Scan | Note | Cut | StartTls | Expect | Finish | WakeAt | Spool | Judge | Unspool | Discard | Tell | Hold
    | Unhold | Deliver | Came | Arrived
)
