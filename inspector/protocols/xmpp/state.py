"""What is known of a connection: its two ways, its login, files that were offered, servers at both ends, stanzas that
are counted; and what `apply` needs of each frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import DOWN, UP, Expect, FileEnd, FileOffer, Identity, Way
from inspector.protocols.xmpp.names import CLIENT, SERVER
from inspector.protocols.xmpp.words import Spot
from inspector.wire.counts import Counts
from inspector.wire.deflated import Deflated
from inspector.wire.xml import Reader, Splitter

_SERVER_TAG = f"{{{SERVER}}}"


class Note(msgspec.Struct):
    """What `apply` needs of a frame: the element, and per event the spots of its texts."""

    element: Element
    spots: Sequence[Sequence[Spot]] = ()
    removals: Sequence[Element] = ()
    hosts: Sequence[Host] = ()
    offer: Offer | None = None
    """The file that an address is for, judged earlier."""
    offered: Sequence[Offer] = ()
    """What is remembered of the files it offers."""


class Host(msgspec.Struct):
    """An address that others will connect to, where it is written, and the names that the connection may ask for."""

    expect: Expect
    keys: tuple[str, ...]
    """Under which it is remembered."""
    element: Element | None = None
    """Has the attributes "host" and "port"; None: nothing is written in its place."""


class Offer(msgspec.Struct):
    """A file that was offered, as far as what follows needs it."""

    offer: FileOffer
    way: Way
    """Of the one who offered."""
    refused: bool = False
    offset: int = 0
    """Bytes that the receiver has already (XEP-0096 §2, XEP-0234 §6.3)."""
    session: str | None = None
    """The Jingle session."""
    used: bool = False
    """Content of it was seen."""


class Content(msgspec.Struct):
    """One way of an in-band bytestream, once something was said there."""

    name: str
    offer: FileOffer
    offset: int = 0
    seen: int = 0
    lost: bool = False

    def end(self, *, by_sender: bool, detail: str = "") -> FileEnd:
        """How it ended. A reader may end it when he has all that was offered."""
        size = self.offer.size
        if not detail:
            if self.lost:
                detail = "bytes are missing"
            elif self.offset:
                detail = "only the end of the file was sent"
            elif size is not None and self.seen != size:
                detail = f"{self.seen} bytes came, {size} were offered"
            elif size is None and not by_sender:
                detail = "its reader has ended it"
        return FileEnd(transfer=self.name, complete=not detail, detail=detail)


class Stream(msgspec.Struct):
    """An in-band bytestream (XEP-0047) between our user and one peer."""

    number: int
    key: tuple[str, str]
    peers: tuple[str, ...]
    """As the stanza that opened it names him, and as the answer to it does."""
    way: Way
    """Of the one who opened it."""
    offer: Offer
    announced: bool
    """The offer came before the stream."""
    block: int
    at: float
    """When something was last said in it."""
    opening: str | None = None
    """The identifier of the request that opened it, until it is answered."""
    refused: bool = False
    late: bool = False
    """Its beginning was not seen."""
    expected: list[int] = []
    """The next number each way."""
    last: list[str | None] = []
    """The identifier of the last block each way."""
    contents: list[Content | None] = []


class Block(msgspec.Struct):
    """What `apply` needs of a stanza that is about an in-band bytestream."""

    what: str
    """open, data, close; stray: of no stream, broken: the stream cannot go on; end: a file ended, nothing is sent."""
    name: str
    """iq or message."""
    ident: str | None
    peer: str | None
    stream: Stream | None = None
    sid: str = ""
    condition: str = "item-not-found"
    kind: str = "cancel"
    user: str | None = None
    """Whose it is, between servers."""


class Files:
    """Offers and in-band bytestreams of one session; made with the first of them."""

    __slots__ = ("count", "due", "leases", "limit", "offers", "streams")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.offers: dict[tuple[object, ...], Offer] = {}
        """By (way of the offerer, peer, kind, identifier …); the oldest leaves first."""
        self.streams: dict[tuple[str, str], Stream] = {}
        """By (peer, sid)."""
        self.due: tuple[list[FileEnd], list[FileEnd]] = ([], [])
        """Files that have ended by what the other way said."""
        self.leases: deque[float] = deque()
        """When ports were leased for its hosts."""
        self.count = 0

    def put(self, key: tuple[object, ...], offer: Offer) -> None:
        """Remember an offer under a name."""
        self.offers.pop(key, None)
        if len(self.offers) >= self.limit:
            del self.offers[next(iter(self.offers))]
        self.offers[key] = offer

    def of_stream(self, way: Way, peer: str, sid: str) -> Offer | None:
        """What was offered for a bytestream that is opened `way`: Jingle lets either side open it."""
        found = self.offers.get((way, peer, "sid", sid))
        if found is None:
            found = self.offers.get((way.other, peer, "sid", sid))
            if found is not None and found.session is None:
                return None
        return found

    def of_session(self, peer: str, session: str, content: str) -> Offer | None:
        """What was offered in a Jingle session: in this content, or in the first."""
        for name in (content, ""):
            for way in (UP, DOWN):
                found = self.offers.get((way, peer, "jingle", session, name))
                if found is not None:
                    return found
        return None

    def drop(self, stream: Stream, by: Way | None, detail: str = "", but: Way | None = None) -> None:
        """A stream has ended. `by`: the side that ended it; `but`: the way whose file is told elsewhere."""
        if self.streams.get(stream.key) is stream:
            del self.streams[stream.key]
        for way in (UP, DOWN):
            content = stream.contents[way]
            if content is not None and way is not but:
                self.due[way].append(content.end(by_sender=way is by, detail=detail))
            stream.contents[way] = None


def _nothing_read(_raw: bytes) -> Element | None:
    return None


class Side:
    """One way of a stream."""

    __slots__ = (
        "broken", "closed", "loose", "open", "qname", "quick", "read", "reader", "skipping", "spaces", "split",
        "started",
    )

    def __init__(self, limit: int, depth: int) -> None:
        self.split = Splitter(limit, depth)
        self.reader: Reader | ServerReader | None = None
        self.read: Callable[[bytes], Element | None] = _nothing_read
        """The reader's method: None or XmlFault when the bytes are not one whole element."""
        self.qname = "stream:stream"
        """The header's tag name as written."""
        self.started = False
        """A header was read."""
        self.quick = False
        """Between whole stanzas after sign-on: a chunk may be one whole stanza."""
        self.closed = False
        self.broken = False
        self.loose = False
        """Bytes of this way were lost, or it was joined in its middle: units may be halves."""
        self.skipping = False
        """Looking for the beginning of a stanza."""
        self.spaces = 0
        """White space since the last unit."""
        self.open = False
        """As sent by `apply`: the reader of this way has a stream header and no close tag."""


NO_NOTE = Note(Element("none"))


class Servers:
    """A stream between two servers: each stanza has its own two ends."""

    __slots__ = ("again", "bidi", "claimed", "current", "initiator", "pairs", "post", "proven", "secured", "writing")

    def __init__(self) -> None:
        self.initiator: str | None = None
        """The domain that opened the stream, as its header says."""
        self.claimed: dict[tuple[str, str], None] = {}
        """(from, to) of dialback keys that wait for their result."""
        self.proven: dict[str, str] = {}
        """Domains that have proved to be who they say, and how."""
        self.pairs: dict[tuple[str, str], None] = {}
        """(domain that has proved itself, domain that has accepted it)."""
        self.current: str | None = None
        """The domain that the sign-on was told of last."""
        self.bidi = False
        """Stanzas go both ways (XEP-0288)."""
        self.secured = False
        """TLS was opened by us."""
        self.again = [False, False]
        """A new header may come behind the login."""
        self.post: list[bytes] = []
        """Stanzas that other streams have left for this one."""
        self.writing = False


class ServerReader:
    """Reads stanzas between servers as those of clients: what differs is the name of their namespace."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.read

    def read(self, raw: bytes) -> Element | None:
        """See Reader.read."""
        element = self._read(raw)
        if element is not None:
            for each in element.iter():
                if each.tag.startswith(_SERVER_TAG):
                    each.tag = CLIENT + each.tag[len(_SERVER_TAG):]
        return element


class Managed:
    """A session whose stanzas are counted (XEP-0198): it may outlive its connection, and is then found by its
    identifier, of which nothing but a hash is kept."""

    __slots__ = ("counts", "identity", "key", "over", "put", "rooms", "turn", "user")

    def __init__(self, limit: int) -> None:
        self.counts = (Counts(limit), Counts(limit))
        self.turn = 0
        """Which connection it is on: the ones before have no say any more."""
        self.key: str | None = None
        """Under which it is remembered; None: it cannot be resumed."""
        self.put = 0.0
        """When it was remembered last."""
        self.over = False
        self.user = ""
        self.identity: Identity = "unknown"
        self.rooms: dict[str, str] | None = None


class Counting:
    """Stream management on one connection."""

    __slots__ = (
        "asked", "claimed", "feeding", "files", "granted", "on", "out", "owed", "refused", "resuming", "state", "turn",
        "writing",
    )

    def __init__(self, state: Managed) -> None:
        self.state = state
        self.turn = state.turn
        self.on = [False, False]
        """Whether stanzas of that way are counted yet."""
        self.out = [0, 0]
        """Frames that the engine has."""
        self.owed: tuple[list[bytes], list[bytes]] = ([], [])
        """Stanzas of ours that wait for those: they are counted where they stand on the wire."""
        self.asked = False
        """<enable/> has no answer yet."""
        self.granted = False
        """It had one, and it was <enabled/>."""
        self.resuming: Managed | None = None
        """<resume/> has no answer yet."""
        self.claimed = 0
        """How many stanzas the client says there that it has."""
        self.refused: str | None = None
        """The namespace of a <resume/> inside a login that was taken out."""
        self.files: dict[str, int] = {}
        """Stanzas of files that were kept, by transfer."""
        self.feeding = self.writing = False


class ManagementUnit(msgspec.Struct):
    """What `apply` needs of a unit that has to do with stream management or leads elsewhere."""

    element: Element
    part: Element | None = None
    """What of it says so."""
    what: str = ""
    """Its local name."""
    state: Managed | None = None
    """Of a resumption."""
    removals: Sequence[Element] = ()
    address: str | None = None
    """Where the client is sent."""
    adding: str = ""
    """What is said in front of its end."""


class Login:
    """What a connection has said and agreed on before its user is known: TLS, SASL, compression, a resource."""

    __slots__ = (
        "authcid", "bind_id", "binding", "binding_offered", "bound_to", "coding", "deflating", "layer", "legacy",
        "mechanism", "offered", "same", "tls",
    )

    def __init__(self, same: bool) -> None:
        self.tls = 0
        """0 none; 1 <starttls/> was seen; 2 <proceed/> was seen and is not applied yet."""
        self.mechanism: str | None = None
        self.authcid: str | None = None
        """The name that the client gives there."""
        self.binding = "none"
        self.binding_offered = False
        self.same = same
        """The client was shown the server's own certificate."""
        self.bound_to = ""
        """What the login is bound to."""
        self.layer = False
        """A SASL security layer may follow."""
        self.bind_id: str | None = None
        """The identifier of the client's last request to bind a resource."""
        self.legacy: tuple[str | None, str, str] | None = None
        """Of a login by XEP-0078: its identifier, the name that it asks for, how."""
        self.offered: frozenset[str] = frozenset()
        """Of "sm" and "compression" what the client was offered, edits considered."""
        self.deflating = 0
        """0: nothing; 1: <compress/> was seen, and waits for its answer; 2: <compressed/> was seen; 3: what is fed was
        compressed."""
        self.coding: Deflated | None = None
        """What was agreed on, for who can undo it."""
