"""The contract of a protocol: frames, acts, specs.  See docs/add-a-protocol.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final, Literal, Protocol

import msgspec

from inspector.model.events import Event, Expect, FileOffer, Message
from inspector.model.flow import Address, Chunk, Flow, Way
from inspector.model.limits import Limits
from inspector.model.verdicts import Verdict


class PeerError(Exception):
    """Hostile or broken bytes: the one error that peer bytes may end in. Decoders *carry* it in their last frame.

    `name`: the oddity-style name ("xmpp.restricted_xml"); `detail`: one sentence without peer text beyond a short
    escaped excerpt; `condition`: the protocol's own word for it, used in the polite ending (None = general).
    """

    def __init__(self, name: str, detail: str = "", condition: str | None = None) -> None:
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name
        self.detail = detail
        self.condition = condition


class Match(IntEnum):
    """What a probe says. NO is never final: more bytes may change it."""

    NO = 0
    MORE = 1
    WEAK = 2
    STRONG = 3


class Oddity(msgspec.Struct, frozen=True, gc=False):
    """Strange but survivable traffic: named ("irc.empty_line"), counted, never an exception."""

    name: str
    detail: str = ""


WHOLE: Final = "whole"
FIRST: Final = "first"
MORE: Final = "more"
LAST: Final = "last"
Part = Literal["whole", "first", "more", "last"]
BROKEN = "broken"
"""The `kind` of the last frame of a decoder that met bytes it cannot go on from."""


class Frame(msgspec.Struct, frozen=True):
    """One unit of a protocol: its exact bytes and what happens in it.

    `kind` is protocol.unit in the specification's spelling ("irc.PRIVMSG", "xmpp.message"), or BROKEN.
    `edit`: the name of the edit that `apply` will make whatever the verdict (None: none).
    `group`: one message over several units shares it; its event is on the LAST; its verdict is for all.
    `note`: private to the decoder that made the frame (what `apply` needs); nobody else looks at it.
    `units`: per event, which part of the frame it is about: events of one part are refused together (a stanza; the same
    target of a line). None: each stands for itself.
    """

    way: Way
    at: float
    raw: bytes
    kind: str
    events: tuple[Event, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    part: Part = "whole"
    group: str | None = None
    fault: PeerError | None = None
    edit: str | None = None
    note: object = None
    units: tuple[int, ...] | None = None
    stays: bool = False
    """An answer, or what keeps both sides in step: a refusal takes its words (and is logged as redact), it goes on."""
    unread: str = ""
    """It is of no IM (a page's request between those of BOSH), in one sentence, and has no events: what the policy has
    for trouble `unclassified` says whether it passes. Where not, `apply` is given one verdict, BLOCK, for it."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Bytes for the peer that reads `way` (UP: the server; DOWN: the client)."""

    way: Way
    data: bytes


class StartTls(msgspec.Struct, frozen=True):
    """Both sides agreed to start TLS here: upstream first.

    The driver opens TLS to the server (SNI and verification: `server_name`, None = the driver's own knowledge), and
    only when that stands sends `proceed` DOWN and starts TLS with the client; if it fails it sends `failure` DOWN and
    ends the session.
    """

    server_name: str | None
    proceed: bytes
    failure: bytes


class Coding(Protocol):
    """How both sides write from some byte on (a compression): made by the decoder that sees them agree on it.

    One for a session. What it writes refers to what it wrote before, so it must be given the bytes in the order in
    which they leave: that only the engine knows, and the engine alone calls it (docs/decisions/0084).
    """

    def read(self, way: Way, data: bytes) -> Iterator[bytes | PeerError]:
        """What the peer that writes `way` has said with these bytes, in pieces of a bounded size, made as they are
        asked for. A PeerError is the last: nothing more can be read of that way, now or later."""
        ...

    def write(self, way: Way, data: bytes) -> bytes:
        """These bytes for the peer that reads `way`, who can read all of them as soon as he has them."""
        ...


class Recode(msgspec.Struct, frozen=True):
    """Both sides agreed to write in `coding` from here on: so does what is sent behind this act, either way.

    The decoder makes it in `apply`. In `feed` it stops at the same place: it says `undecryptable`, keeps what stands
    behind, and has a method `recoded() -> tuple[Coding, tuple[bytes, bytes]] | None`, by which the engine takes the
    coding and what was kept of each way. From then on the decoder is fed what the coding reads, and is not
    undecryptable any more. Nobody takes it: nothing more can be read.
    """

    coding: Coding


class Cut(msgspec.Struct, frozen=True):
    """End the session: nothing more is read; what was sent before is flushed."""

    reason: str = ""


class Notice(msgspec.Struct, frozen=True):
    """Something the gateway itself says to a user."""

    text: str
    about: Message | FileOffer | None = None
    """The message it is about, None: in general. A FileOffer: its transfer was refused after the offer had passed."""
    reader: str | None = None
    """Of a file: what he reads for whom it was; None: `text`, too. An empty text is told to nobody."""
    left: bytes = b""
    """What one decoder leaves for another of its protocol to say, as it stands on the wire; not for people."""


class Tell(msgspec.Struct, frozen=True):
    """Give `notice` to the session of `flow`, as Told, if it still lives here: its decoder's `inject` is asked."""

    flow: str
    notice: Notice


class Went(msgspec.Struct, frozen=True):
    """What became of an item that was left with a decoder (`leave`). `sent`: it has gone with the Send in front of this
    act; False: it never will, nothing of it was sent. `flow`: of the session whose decoder it was left with."""

    hold: str
    flow: str
    sent: bool


Act = Send | StartTls | Recode | Expect | Cut | Tell | Went


class Can(msgspec.Struct, frozen=True):
    """What a protocol can do with a kind of event."""

    drop: bool = False
    mask: bool = False
    placeholder: bool = False
    notify: bool = False
    hold: bool = False
    inject: bool = False


class Edit(msgspec.Struct, frozen=True):
    """A named change that a decoder makes whatever the verdict."""

    name: str
    what: str
    default: bool = True


class Memory(Protocol):
    """Bounded memory shared by the flows of a worker (redirects, cookies, offers)."""

    def get(self, key: str, at: float) -> object | None: ...
    def put(self, key: str, value: object, until: float) -> None: ...

    def lease(self, expect: Expect, way: Way, at: float) -> Address | None:
        """An address of ours to write in place of `expect.address`, so that the connection passes through us.

        `way`: DOWN when the client of this flow will read the address and connect, UP when somebody behind the server
        will. It takes one connection, within `limits.lease_seconds`. None: leave the address as it is (the connection
        passes through us anyway, or there is no port to lease; the world counts that).
        """
        ...


class Decoder(Protocol):
    """Reads and writes one flow of one protocol. Sans I/O, no clock, never raises for peer bytes."""

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Frames completed by this chunk. A fault is the last frame (kind BROKEN, raw = all the rest of that way)."""
        ...

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a frame."""
        ...

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """What to send for a frame: one verdict per event, in order; called for every frame, in order within a way.

        File content (frames with FileStart, FilePart, FileEnd) may get HOLD: the receiver will get it later or never.
        Then the Sends of the frame's own way are what will be sent on release (the engine keeps them, in order), and
        those of the other way are what the sender waits for (a DCC or IBB acknowledgement, 100 Continue): they leave at
        once. A decoder that answered so swallows the receiver's own acknowledgements of that transfer later.
        A frame whose FileEnd gets BLOCK ends the transfer for both sides; what of it was held is thrown away.
        In-band file frames are applied when they are read, whatever else of that way waits.
        """
        ...

    def ready(self, way: Way) -> bool:
        """Whether something may be injected that way: at a unit boundary, negotiation over, not inside a part."""
        ...

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """Bytes that say `message` in the protocol's own form. Only when ready(way).

        UP is asked for refused files only: what the peer behind the server must be told so that it does not wait;
        often nothing.
        """
        ...

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """The form in which event number `index` of the last frame can be sent later, by `release` of another decoder
        of this protocol, in another session: for `hold`. `frames`: all units of its message, in order, as they came;
        one as a rule. Called before `apply` (which is then told to refuse it). It depends on nothing of this session:
        no sequence numbers, no prefixes declared elsewhere; it keeps the original sender, and the id by which a reader
        knows it again. None: it cannot be sent later (Spec.can says so too).
        """
        ...

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        """Send what `keep` gave: UP in a session of its writer, DOWN in one of its reader. Only when ready(way).

        As if it had come just now (sequence numbers, counters, request ids of this session), with a stamp of when it
        was written where the protocol has one. None: not in this session (a room that was left).

        A decoder that may write only when its peer asks, perhaps on another connection (BOSH), has `leave(kept, way,
        hold) -> bool` instead: it keeps it for then; False: not in this session. The decoder of the connection that it
        goes with gives a Went behind the Send. `take_back(hold) -> bool`, of the one that it was left with: whether it
        had not gone; then it never will.

        A decoder whose protocol has a word for the end of a session has `parted`: whether one side has said it. What
        is sent behind that may be read by nobody, though the connection stands: nothing is released there any more.
        """
        ...

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """The polite ending to both sides (stream error, ERROR and QUIT), without the Cut, which the engine adds."""
        ...


class Unreleased:
    """The part of a decoder that cannot send later what was held."""

    __slots__ = ()

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:  # noqa: ARG002 - the contract's shape, as below
        """None."""
        return None

    def release(self, kept: bytes, way: Way) -> list[Act] | None:  # noqa: ARG002
        """Not here."""
        return None


class Wordless(Unreleased):
    """The part of a decoder whose bytes are all its peers': there is no place for words of ours, at no time.

    People are told in the conversation that arranged the connection; its end is the connection's end.
    """

    __slots__ = ()

    def ready(self, way: Way) -> bool:  # noqa: ARG002 - the contract's shape, here and below
        """Never."""
        return False

    def inject(self, message: Notice, way: Way) -> list[Act]:  # noqa: ARG002
        """Nothing."""
        return []

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:  # noqa: ARG002
        """Nothing."""
        return []


DecoderFactory = Callable[[Flow, Limits, Memory, frozenset[str]], Decoder]
"""(flow, limits, memory, names of the edits that are on) -> Decoder."""


class Spec(msgspec.Struct, frozen=True):
    """A registry entry: all that the rest of the house knows of a protocol."""

    name: str
    title: str
    probe: Callable[[bytes, bytes], Match]
    """(up, down) -> Match, over the first bytes of both ways; any port."""
    decoder: DecoderFactory
    transports: frozenset[str] = frozenset({"tcp"})
    ports: frozenset[int] = frozenset()
    """A hint: they only break ties, and name listeners as IM."""
    tls_ports: frozenset[int] = frozenset()
    """Ports where TLS from byte 0 is customary."""
    alpn: frozenset[str] = frozenset()
    signs_on: bool = True
    """Whether sessions of it have a sign-on before which nothing of the user's may leave."""
    can: Mapping[str, Can] = {}
    """Per event name ("message"), or event.kind ("message.topic"), which wins."""
    edits: tuple[Edit, ...] = ()
    applications: tuple[str, ...] = ()
    not_decoded: tuple[str, ...] = ()
    parent: str | None = None
    """The protocol whose side connections this reads (DCC: irc): what events and policy call it."""
    carries: str | None = None
    """A carrier (WebSocket, BOSH): the protocol inside it, which is what events and policy call it."""
    names_messages: bool = False
    """Its readers know a message sent twice by its id: after a crash a released one may be sent again."""
    behind: Callable[[bytes], Callable[[bytes], bool] | None] | None = None
    """Of a protocol that may begin behind any number of bytes of something else, on the same connection (HTTP): given
    the first bytes of a flow that is not recognised and begins to pass, what looks on at all that goes up. It is given
    each piece before that is sent, and says whether the protocol begins in it. None: it cannot begin there."""
    expected_only: bool = False
    """Its first bytes say too little (raw DCC) or are too common (HTTP): read only where a connection was announced, or
    where a listener is for it alone."""
