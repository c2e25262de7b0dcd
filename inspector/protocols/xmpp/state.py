"""What is known of one connection: its two ways, what `apply` needs of a frame, files that were offered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import DOWN, UP, Expect, FileEnd, FileOffer, Way
from inspector.protocols.xmpp.servers import ServerReader
from inspector.protocols.xmpp.words import Spot
from inspector.wire.xml import Reader, Splitter


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
