"""One connection: its bytes become units, units frames, and frames what is sent (RFC 6120 §4, §8; RFC 6121)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import (
    BROKEN,
    CLEAR,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    CallSetup,
    Chunk,
    ContactChange,
    Copy,
    Cut,
    Encryption,
    Event,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    GroupChange,
    Identity,
    Kind,
    Limits,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    PeerError,
    Presence,
    Recode,
    Send,
    SignOn,
    StartTls,
    Tell,
    Text,
    Typing,
    Unreleased,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols.xmpp.edits import (
    KEEP_BINDING,
    KEEP_PATH,
    REFUSE_BLOCKS,
    REFUSE_COMPRESSION,
    REFUSE_SM,
    REFUSE_STREAMS,
    STRIP_COMPRESSION,
    STRIP_PLUS,
    STRIP_RTT,
    STRIP_SM,
    TRANSLATE_SM,
)
from inspector.protocols.xmpp.inband import BLOCK_BYTES, decoded, is_block, told_of
from inspector.protocols.xmpp.logins import END_POINT, binds
from inspector.protocols.xmpp.management import Counting, Managed, ManagementUnit, counted, not_managed
from inspector.protocols.xmpp.names import (
    BIDI,
    BIND,
    BLOCKS_OF_FILES,
    BODY,
    BYTESTREAMS,
    CALL_ACTIONS,
    CANDIDATES,
    CARBONS,
    CHANNEL_BINDING,
    CHATSTATES,
    CLIENT,
    COMPRESS,
    COMPRESS_FEATURE,
    CONFERENCE,
    DELAYS,
    DIALBACK,
    EME,
    ENCRYPTED,
    ERROR,
    ERROR_TEXT,
    FEATURES,
    FORM,
    FORWARDED,
    HINT,
    IBB,
    IBB_CLOSE,
    IBB_OPEN,
    IQ,
    JINGLE,
    JINGLE_FILES,
    JINGLES,
    LONGEST_JID,
    LONGEST_SID,
    MESSAGE,
    MUC,
    MUC_USER,
    NICK,
    OOB,
    OTHER_HOST,
    OTR_TAG,
    PRESENCE,
    PRIORITY,
    QUIET,
    RTT,
    SASL,
    SASL2,
    SERVER,
    SHOW,
    SHOWS,
    SI_FILE,
    SIGNED,
    SM,
    STANZA_ERROR,
    STANZA_STARTS,
    STANZAS,
    STATUS,
    STREAM,
    STREAM_ERROR,
    SUBJECT,
    THREAD,
    TLS,
    URL_DATA,
    XHTML_IM,
    as_compared,
    attribute,
    bare_jid,
    domain_of,
    host_and_port,
    number_of,
    one_line,
    one_of,
    split_tag,
    time_of,
)
from inspector.protocols.xmpp.offers import (
    described_file,
    file_name,
    google_session,
    host_place,
    jingle_events,
    shortened,
    socks_names,
    stream_initiation,
    upload,
)
from inspector.protocols.xmpp.servers import ServerReader, Servers
from inspector.protocols.xmpp.state import NO_NOTE, Block, Content, Files, Host, Note, Offer, Side, Stream
from inspector.protocols.xmpp.words import (
    Gather,
    Read,
    one_unit,
    opaque,
    outermost,
    read_leftovers,
    read_rest,
    read_xhtml,
    roster,
    sealed_digest,
)
from inspector.protocols.xmpp.writing import beyond_masks, masked, pair_places, replaced
from inspector.wire import urls, xml
from inspector.wire.counts import Counts
from inspector.wire.deflated import Deflated
from inspector.wire.xml import LANG, STREAMS, Place, Splitter, XmlFault, escape

_whole = xml.reader((("", ""),))
"""Reads what `keep` wrote."""
_SILENT_IQ = frozenset({
    "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "urn:xmpp:ping",
    "jabber:iq:version", "jabber:iq:last", "urn:xmpp:time", "jabber:iq:time", "urn:xmpp:carbons:2", "urn:xmpp:push:0",
    "urn:ietf:params:xml:ns:xmpp-session", "urn:xmpp:extdisco:2", "urn:xmpp:extdisco:1", "jabber:iq:auth",
    "urn:ietf:params:xml:ns:xmpp-bind", "http://jabber.org/protocol/ibb", "jabber:iq:roster", "urn:xmpp:blocking",
    "urn:xmpp:mam:2", "urn:xmpp:mam:1", "urn:xmpp:mam:0",
})
"""Queries without a person's words. What they hold in forms is read all the same."""
_OPAQUE_IQ = {
    "vcard-temp": "vcard", "urn:ietf:params:xml:ns:vcard-4.0": "vcard", "http://jabber.org/protocol/pubsub": "pubsub",
    "http://jabber.org/protocol/pubsub#owner": "pubsub", "jabber:iq:private": "private",
    "jabber:iq:register": "register", "jabber:iq:search": "search", "http://jabber.org/protocol/commands": "command",
    "http://jabber.org/protocol/muc#owner": "room", "http://jabber.org/protocol/muc#admin": "room",
}
_TLS_FAILED = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
_HINTS = "<no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>"


class XmppDecoder(Unreleased):
    """Reads and writes one connection of a client, or of a server, to a server."""

    __slots__ = (
        "_authcid", "_bare", "_bind_id", "_binding", "_bound_to", "_cb_offered", "_coding", "_count", "_counting",
        "_deflating", "_domain",
        "_edits", "_files", "_flow", "_identity", "_layer", "_legacy", "_limits", "_max_depth", "_mechanism", "_memory",
        "_offered", "_ours", "_plain", "_rooms", "_same", "_servers", "_sides", "_signed", "_sm", "_small",
        "_stanza_bytes", "_tls", "_to", "_user", "undecryptable",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        self._flow = flow
        self._memory = memory
        self._files: Files | None = None
        self._ours = f"{flow.id}-h"
        """How identifiers of requests of ours begin: their answers are for us."""
        self._limits = limits
        self._edits = edits
        self._stanza_bytes = min(limits.xmpp_stanza_bytes, limits.frame_bytes)
        # A unit shorter than this cannot go beyond any of the other bounds: <a></a> is 7 bytes, ' a=""' is 5.
        self._small = min(
            7 * limits.xmpp_depth, 5 * limits.xmpp_attributes, 4 * limits.xmpp_children, limits.xmpp_name_bytes,
        )
        self._max_depth = limits.xmpp_depth
        up = Side(min(limits.xmpp_preauth_bytes, self._stanza_bytes), limits.xmpp_depth)
        down = Side(min(limits.xmpp_server_stanza_bytes, limits.frame_bytes), limits.xmpp_depth)
        self._sides = (up, down)
        self.undecryptable: str | None = None
        """Why the rest of the flow cannot be read; from then on all frames are raw fillers."""
        self._signed = False
        self._user: str | None = None
        self._identity: Identity = "unknown"
        self._bare: str | None = None
        self._domain: str | None = None
        self._to: str | None = None
        self._tls = 0
        """0 none; 1 <starttls/> was seen; 2 <proceed/> was seen and is not applied yet."""
        self._mechanism: str | None = None
        self._authcid: str | None = None
        self._binding = "none"
        self._cb_offered = False
        self._same = flow.same_certificate
        """The client was shown the server's own certificate."""
        self._bound_to = ""
        """What the login is bound to."""
        self._layer = False
        self._bind_id: str | None = None
        """The identifier of the client's last request to bind a resource."""
        self._legacy: tuple[str | None, str, str] | None = None
        self._offered: frozenset[str] = frozenset()
        """Of "sm" and "compression" what the client was offered, edits considered."""
        self._deflating = 0
        """0: nothing; 1: <compress/> was seen, and waits for its answer; 2: <compressed/> was seen; 3: what is fed was
        compressed."""
        self._coding: Deflated | None = None
        """What was agreed on, for who can undo it."""
        self._sm = False
        """Stanzas are counted, and nobody translates."""
        self._counting: Counting | None = None
        self._servers: Servers | None = None
        self._plain = False
        """Anything of a login was seen: not a serverless stream (XEP-0174)."""
        self._rooms: dict[str, str] | None = None
        """Rooms entered: bare JID -> own nickname."""
        self._count = 0
        if not flow.from_start:
            self._loosen(up)
            self._loosen(down)

    # -- reading

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Frames completed by this chunk; see Decoder.feed."""
        way, data = chunk.way, chunk.data
        side = self._sides[way]
        frames: list[Frame] = []
        counting = self._counting
        if counting is not None and not counting.feeding:
            return self._feed_counted(chunk, counting)
        files = self._files
        if files is not None and (chunk.end or files.due[way]):
            return self._with_endings(chunk, files)
        if side.quick and not chunk.gap:
            closing = _CLOSINGS.get(data[:2])
            at = 0
            if closing is not None and data.endswith(closing) and data.find(closing, 0, -1) < 0:
                # One stanza, as most chunks are.
                try:
                    element = side.read(data) if len(data) <= side.split.limit else None
                    if element is not None and (len(data) <= self._small or self._excess(data, element) is None):
                        tag = element.tag
                        side.spaces = 0
                        if tag == MESSAGE:
                            frames.append(self._message(way, chunk.at, data, element))
                        elif tag == IQ:
                            frames.append(self._iq(way, chunk.at, data, element))
                        elif tag == PRESENCE:
                            frames.append(self._presence(way, chunk.at, data, element))
                        if frames:
                            if files is not None and files.due[way]:
                                frames += self._endings(way, chunk.at, files)
                            return frames
                except XmlFault:
                    pass    # the long way says what is wrong, and of which bytes
            else:
                size = len(data)
                while at < size:
                    after = self._whole(way, side, chunk.at, data, at, frames)
                    if not after:
                        break
                    at = after
                else:
                    return frames
            if at:
                data = data[at:]
        if data or chunk.gap or (self.undecryptable is not None and side.split.pending):
            self._feed(way, side, chunk.at, data, chunk.gap, frames)
        return frames

    def _whole(self, way: Way, side: Side, at: float, data: bytes, start: int, frames: list[Frame]) -> int:
        """Read one whole stanza that begins at `start`, without the splitter; 0: it has to go the long way.

        Where it ends is a guess from the tag's name; that it is one whole element is what the reader says.
        """
        closing = _CLOSINGS.get(data[start:start + 2])
        if closing is None:
            return 0
        end = data.find(closing, start)
        if end < 0:
            if data[-2:] != b"/>":
                return 0
            end = len(data)
        else:
            end += len(closing)
            if end != len(data):
                opening = closing[:1] + closing[2:-1]
                # As many ends as beginnings: a message may hold others (XEP-0297).
                opened, closed = data.count(opening, start, end), 1
                while closed < opened:
                    end = data.find(closing, end)
                    if end < 0:
                        return 0
                    before, end = end, end + len(closing)
                    closed += 1
                    opened += data.count(opening, before, end)
                    if closed > _NESTED:
                        return 0
        raw = data if not start and end == len(data) else data[start:end]
        if len(raw) > side.split.limit:
            return 0
        try:
            element = side.read(raw)
            if element is None or (len(raw) > self._small and self._excess(raw, element) is not None):
                return 0
            tag = element.tag
            if tag == MESSAGE:
                frames.append(self._message(way, at, raw, element))
            elif tag == IQ:
                frames.append(self._iq(way, at, raw, element))
            elif tag == PRESENCE:
                frames.append(self._presence(way, at, raw, element))
            else:
                return 0
        except XmlFault:
            return 0
        side.spaces = 0
        files = self._files
        if files is not None and files.due[way]:
            frames += self._endings(way, at, files)
        return end

    def _excess(self, raw: bytes, element: Element) -> str | None:
        """What of an element goes beyond the bounds on shape, as a phrase."""
        limits = self._limits
        if len(raw) <= limits.xmpp_name_bytes and raw.count(b"=") <= limits.xmpp_attributes:
            tags = raw.count(b"<")
            if tags <= limits.xmpp_depth and tags <= limits.xmpp_children:
                return None
        return xml.measure(
            element, limits.xmpp_depth, limits.xmpp_attributes, limits.xmpp_children, limits.xmpp_name_bytes,
        )

    def secured(self) -> None:
        """TLS was opened, and the client was shown the server's own certificate."""
        self._same = True

    def _feed(self, way: Way, side: Side, at: float, data: bytes, gap: int, frames: list[Frame]) -> None:
        """The long way: the splitter finds the units."""
        split = side.split
        side.quick = False
        if side.broken or self._blind():
            self._fill(way, at, split.rest() + data if split.pending else data, frames)
            return
        if gap:
            held = split.rest()
            if held:
                frames.append(Frame(way, at, held, "xmpp.lost", (), (Oddity("xmpp.gap"),)))
            self._loosen(side)
        split.push(data)
        while True:
            if self._tls and split.pending and self._stopped(way, side, at, frames):
                return
            if self._deflating == 1 and way is UP and split.pending:
                # It may be read as it stands, or as compressed: nobody says so before the answer (XEP-0138 4).
                side.broken = True
                fault = PeerError(
                    "xmpp.compress_injection", "bytes behind the client's <compress/>", "policy-violation")
                frames.append(Frame(way, at, split.rest(), BROKEN, fault=fault))
                return
            if side.skipping and not self._skip(way, side, at, frames):
                return
            raw = b""
            try:
                unit = split.take()
                if unit is None:
                    break
                what, raw = unit
                frame = self._unit(way, side, at, what, raw)
            except XmlFault as fault:
                if not self._faulty(way, side, at, raw, fault, frames):
                    return
                continue
            frames.append(frame)
            files = self._files
            if files is not None and files.due[way]:
                frames += self._endings(way, at, files)
            if self._blind():
                if self._deflating != 2:
                    self._fill(way, at, split.rest(), frames)
                return
        side.quick = (
            self._signed and split.opened and not split.pending and not side.closed and self._servers is None
            and self._deflating != 1)

    def _fill(self, way: Way, at: float, data: bytes, frames: list[Frame]) -> None:
        size = self._limits.part_bytes
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], "xmpp.raw"))

    def _stopped(self, way: Way, side: Side, at: float, frames: list[Frame]) -> bool:
        """Whether bytes of this way may not come now: TLS is about to start (RFC 6120 §5.4.3.3)."""
        if self._tls == 1 and way is DOWN:
            return False
        held = side.split.rest()
        if self._tls == 2 and held[0] == 0x16:
            self._cannot("STARTTLS that was not opened")
            self._fill(way, at, held, frames)
            return True
        side.broken = True
        what = "the client's <starttls/>" if way is UP else "the server's <proceed/>"
        fault = PeerError("xmpp.starttls_injection", f"plaintext behind {what}", "policy-violation")
        frames.append(Frame(way, at, held, BROKEN, fault=fault))
        return True

    def _faulty(
        self, way: Way, side: Side, at: float, raw: bytes, fault: XmlFault, frames: list[Frame],
    ) -> bool:
        """Broken bytes: the last frame, or (True) where bytes were lost before, the search for the next stanza."""
        split = side.split
        if side.loose:
            held = raw or split.rest()
            frames.append(Frame(way, at, held, "xmpp.skipped", (), (Oddity("xmpp.resync", fault.condition),)))
            side.skipping = True
            return True
        held = raw + split.rest()
        if self._layer and not self._signed and held[:1] not in (b"<", b" "):
            self._cannot("a SASL security layer")
            self._fill(way, at, held, frames)
            return False
        side.broken = True
        error = PeerError(f"xmpp.{fault.name}", fault.detail, fault.condition)
        frames.append(Frame(way, at, held, BROKEN, fault=error))
        return False

    def _blind(self) -> bool:
        return self.undecryptable is not None

    def _cannot(self, why: str) -> None:
        self.undecryptable = why
        for side in self._sides:
            side.quick = False

    def _loosen(self, side: Side) -> None:
        side.loose = side.skipping = side.open = True
        side.split.opened = True
        side.split.limit = max(side.split.limit, self._stanza_bytes)
        side.closed = False
        if side.reader is None:
            self._parse_with(side, xml.CLIENT_STREAM)

    def _parse_with(self, side: Side, namespaces: xml.Namespaces) -> None:
        reader = xml.reader(namespaces, self._limits.xmpp_parser_bytes)
        side.reader = reader if self._servers is None else ServerReader(reader)
        side.read = side.reader.read

    def _skip(self, way: Way, side: Side, at: float, frames: list[Frame]) -> bool:
        """Pass over bytes up to the next thing that looks like the beginning of a stanza; False: none yet."""
        held = side.split.rest()
        if held[:2] == b"\x16\x03":
            self._cannot("TLS")
            self._fill(way, at, held, frames)
            return False
        best, size = -1, len(held)
        for token in _BEGINNINGS:
            found = held.find(token, 0, size)
            if found >= 0:
                best = found
                size = min(len(held), found + len(token))
        keep = best
        if best < 0:
            last = held.rfind(b"<", max(0, len(held) - _LONGEST_BEGINNING))
            tail = held[last:]
            keep = last if last >= 0 and any(token.startswith(tail) for token in _BEGINNINGS) else len(held)
        if keep:
            frames.append(Frame(way, at, held[:keep], "xmpp.skipped", (), (Oddity("xmpp.resync"),)))
        if keep < len(held):
            side.split.push(held[keep:])
        if best < 0:
            return False
        side.skipping = False
        return True

    def _unit(self, way: Way, side: Side, at: float, what: str, raw: bytes) -> Frame:
        """The frame of one unit. Raises XmlFault."""
        if what is xml.SPACE:
            before = side.spaces
            side.spaces = after = before + len(raw)
            bound = self._limits.xmpp_keepalive_bytes
            odd = (Oddity("xmpp.much_white_space"),) if before <= bound < after else ()
            return Frame(way, at, raw, "xmpp.space", (), odd)
        side.spaces = 0
        if side.closed:
            raise XmlFault("not-well-formed", "bytes behind the end of the stream", "after_close")
        if what is xml.HEADER:
            return self._header(way, side, at, raw)
        if what is xml.CLOSE:
            if raw[2:-1].strip(xml.WHITE) != side.qname.encode():
                raise XmlFault("not-well-formed", "an end tag that is not the stream's")
            side.closed = True
            return Frame(way, at, raw, "xmpp.close")
        reader = side.reader
        if reader is None:
            raise XmlFault("not-well-formed", "no stream header")
        element = reader.read(raw)
        if element is None:
            raise XmlFault("not-well-formed", "not one whole element")
        if len(raw) > self._small:
            excess = self._excess(raw, element)
            if excess is not None:
                raise XmlFault("policy-violation", excess, "too_much")
        tag = element.tag
        if self._servers is not None and tag in (MESSAGE, IQ, PRESENCE):
            return self._between(way, at, raw, element, self._servers)
        if tag == MESSAGE:
            return self._message(way, at, raw, element)
        if tag == IQ:
            return self._iq(way, at, raw, element)
        if tag == PRESENCE:
            return self._presence(way, at, raw, element)
        namespace, local = split_tag(tag)
        if local in STANZAS:
            raise XmlFault("invalid-namespace", "a stanza outside the namespace of client streams")
        if tag == DIALBACK + "result":
            return self._dialback_result(way, at, raw, element)
        handler = _NONZAS.get((way, tag))
        if handler is not None:
            return handler(self, at, raw, element)
        if namespace in SM:
            return self._sm_unit(way, at, raw, element, namespace, local)
        return Frame(way, at, raw, _KINDS.get(tag, "xmpp.other"))

    def _header(self, way: Way, side: Side, at: float, raw: bytes) -> Frame:
        servers = self._servers
        if side.started and self._signed and not side.loose and not (servers is not None and servers.again[way]):
            raise XmlFault("not-well-formed", "a stream header inside a stream", "unexpected_restart")
        header = xml.read_header(raw)
        if header.name != STREAM:
            raise XmlFault("invalid-namespace", "a stream header outside the streams namespace")
        attributes = header.attributes
        bound = self._limits.xmpp_attributes
        if len(attributes) > bound or len(header.namespaces) > bound:
            raise XmlFault("policy-violation", f"more than {bound} attributes", "too_much")
        side.qname = header.qname
        content = header.content
        if content in _OTHER_STREAMS:
            oddity, why = _OTHER_STREAMS[content]
            self._cannot(why)
            event = Opaque(
                kind=oddity, sender=attributes.get("from"),
                recipients=(attributes["to"],) if attributes.get("to") else (), answerable=False,
            )
            return Frame(way, at, raw, "xmpp.server_stream", (event,), (Oddity(f"xmpp.{oddity}"),), note=NO_NOTE)
        if content not in ("jabber:client", SERVER):
            raise XmlFault("invalid-namespace", "stanzas of no known namespace")
        begun = self._deflating == 3 or any(each.started and not each.loose for each in self._sides)
        if begun and (servers is None) is (content == SERVER):
            raise XmlFault("invalid-namespace", "stanzas of one namespace, and then of another")
        side.started = True
        namespaces = header.namespaces
        if content == SERVER:
            namespaces = self._begin_servers(way, attributes, namespaces)
        self._parse_with(side, namespaces)
        if way is UP:
            self._to = attributes.get("to") or self._to
            if self._domain is None:
                self._domain = self._to
        elif attributes.get("from"):
            self._domain = attributes["from"]
        if raw.endswith(b"/>"):
            side.closed = True
        return Frame(way, at, raw, "xmpp.stream")

    # -- streams between servers

    def _begin_servers(self, way: Way, attributes: dict[str, str], namespaces: xml.Namespaces) -> xml.Namespaces:
        """A header of a stream between servers; returns the namespaces to read it with."""
        servers = self._servers
        if servers is None:
            servers = self._servers = Servers()
            self._plain = True
            for side in self._sides:
                side.quick = False
        servers.again[way] = False
        name = attributes.get("from" if way is UP else "to")
        if name:
            servers.initiator = domain_of(name)
        return tuple((prefix, CLIENT[1:-1] if uri == SERVER else uri) for prefix, uri in namespaces)

    def _between(self, way: Way, at: float, raw: bytes, element: Element, servers: Servers) -> Frame:
        """A stanza between two servers, read as its user's own; with his domain's sign-on where that is another than
        the last."""
        self._ends(way, element)
        tag = element.tag
        if tag == MESSAGE:
            frame = self._message(way, at, raw, element)
        elif tag == IQ:
            frame = self._iq(way, at, raw, element)
        else:
            frame = self._presence(way, at, raw, element)
            self._rooms = None
        note, oddities = frame.note, frame.oddities
        if isinstance(note, Block):
            note.user = self._user
        if not element.get("from") or not element.get("to"):
            oddities = (*oddities, Oddity("xmpp.no_address", "a stanza between servers without both ends"))
        domain = domain_of(self._user or "")
        if way is UP and domain and domain != servers.current and not isinstance(note, Block):
            if domain not in servers.proven:
                oddities = (*oddities, Oddity("xmpp.unproven_domain", "stanzas of a domain that has not proved itself"))
            event = self._domain_signs_on(domain, servers)
            if isinstance(note, Note) and note is not NO_NOTE:
                note.spots = [(), *(note.spots or [()] * len(frame.events))]
            else:
                note = Note(element, [(), *([()] * len(frame.events))])
            units = None if frame.units is None else (-1, *frame.units)
            if units is None and frame.events and not frame.stays:
                units = (-1, *range(len(frame.events)))
            return msgspec.structs.replace(
                frame, events=(event, *frame.events), note=note, oddities=oddities, units=units)
        return frame if oddities is frame.oddities else msgspec.structs.replace(frame, oddities=oddities)

    def _ends(self, way: Way, element: Element) -> None:
        """Whose stanza it is: the user is he who is behind the server that opened the stream."""
        mine, other = element.get("from"), element.get("to")
        if way is DOWN:
            mine, other = other, mine
        self._user = mine[:LONGEST_JID] if mine else None
        self._bare = bare_jid(self._user) if self._user else None
        self._domain = domain_of(other)[:LONGEST_JID] if other else self._to

    def _domain_signs_on(self, domain: str, servers: Servers) -> SignOn:
        """The sign-on of a domain, as far as it has proved itself."""
        how = servers.proven.get(domain)
        servers.current = domain
        self._signed = True
        self._sides[UP].split.limit = self._sides[DOWN].split.limit
        self._identity = "authenticated" if how is not None else "claimed"
        return SignOn(user=domain, identity=self._identity, mechanism=how, channel_binding="none")

    def _proved(self, domain: str, how: str, servers: Servers) -> SignOn:
        if len(servers.proven) >= self._limits.xmpp_domains and domain not in servers.proven:
            del servers.proven[next(iter(servers.proven))]
        servers.proven[domain] = how
        return self._domain_signs_on(domain, servers)

    def _dialback_result(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        """<db:result/> (XEP-0220 §2): up a key is shown, down the answer. The key is not looked at."""
        servers = self._servers
        one, two = domain_of(element.get("from", "")), domain_of(element.get("to", ""))
        if servers is not None and one and two and len(one) <= LONGEST_JID and len(two) <= LONGEST_JID:
            if way is UP:
                if len(servers.claimed) >= self._limits.xmpp_domains:
                    del servers.claimed[next(iter(servers.claimed))]
                servers.claimed[one, two] = None
            elif (two, one) in servers.claimed:
                del servers.claimed[two, one]
                if element.get("type") == "valid":
                    self._reachable(two, one, at)
                    return Frame(DOWN, at, raw, "xmpp.db:result", (self._proved(two, "dialback", servers),),
                                 note=NO_NOTE)
            elif element.get("type") == "valid":
                return Frame(DOWN, at, raw, "xmpp.db:result", (), (Oddity("xmpp.unasked_result"),))
        return Frame(way, at, raw, "xmpp.db:result")

    def _external(self, at: float, raw: bytes) -> Frame:
        """SASL EXTERNAL succeeded: the domain that asked for it, or that opened the stream (XEP-0178 §3)."""
        servers = self._servers
        assert servers is not None
        servers.again = [True, True]
        domain = domain_of(self._authcid or servers.initiator or "")
        if not domain:
            return Frame(DOWN, at, raw, "xmpp.success")
        if self._to:
            self._reachable(domain, domain_of(self._to), at)
        event = self._proved(domain, self._mechanism or "SASL", servers)
        return Frame(DOWN, at, raw, "xmpp.success", (event,), note=NO_NOTE)

    def _bidi(self, at: float, raw: bytes, _element: Element) -> Frame:
        if self._servers is not None:
            self._servers.bidi = True
        return Frame(UP, at, raw, "xmpp.bidi")

    def _reachable(self, mine: str, other: str, at: float) -> None:
        """Remember where words of `mine` for `other` can be said: on this stream."""
        assert self._servers is not None
        pairs = self._servers.pairs
        if len(pairs) >= self._limits.xmpp_domains:
            del pairs[next(iter(pairs))]
        pairs[mine, other] = None
        self._memory.put(f"xmpp.servers {mine} {other}", self._flow.id, at + self._limits.idle_seconds)

    def _apply_between(self, frame: Frame, verdicts: Sequence[Verdict], servers: Servers) -> list[Act]:
        """What to send for a frame between servers. A stream goes one way (RFC 6120 §4.5) unless both agreed on more:
        an answer for the other way is left for the stream that goes there, and that is rung at."""
        note = frame.note
        if isinstance(note, Note) and note is not NO_NOTE:
            self._ends(frame.way, note.element)
        elif isinstance(note, Block):
            self._user = note.user
        servers.writing = True
        acts = self.apply(frame, verdicts)
        servers.writing = False
        left: list[Act] = []
        for act in acts:
            if (
                isinstance(act, Send) and act.way is DOWN and frame.way is UP and not servers.bidi
                and act.data.startswith(STANZA_STARTS)
            ):
                left += self._post(act.data, frame.at)
            else:
                left.append(act)
        if frame.way is UP and self._signed and self._deflating != 1 and self._sides[UP].open:
            left += self._posted()
        return left

    def _post(self, stanza: bytes, at: float) -> list[Act]:
        """Leave a stanza for the stream that goes from the domain of our other end to our user's, wherever that is."""
        mine, other = domain_of(self._user or ""), (self._domain or "").lower()
        flow = self._memory.get(f"xmpp.servers {other} {mine}", at)
        if not isinstance(flow, str) or self._servers is None or mine not in self._servers.proven:
            return []   # nobody is told of what was said in his name by somebody else
        return [Tell(flow, Notice("", left=stanza))]

    def _posted(self) -> list[Act]:
        """What was left for this stream and may be said now."""
        assert self._servers is not None
        post, self._servers.post = self._servers.post, []
        return [Send(UP, stanza) for stanza in post]

    # -- what is not a stanza

    def _starttls(self, at: float, raw: bytes, _element: Element) -> Frame:
        if self._signed or self._deflating:
            return Frame(UP, at, raw, "xmpp.starttls", (), (Oddity("xmpp.late_starttls"),))
        self._tls = 1
        return Frame(UP, at, raw, "xmpp.starttls")

    def _proceed(self, at: float, raw: bytes, _element: Element) -> Frame:
        if self._tls != 1 and not (self._sides[DOWN].loose and not self._sides[UP].split.pending):
            raise XmlFault("policy-violation", "<proceed/> that nobody asked for", "unexpected_proceed")
        self._tls = 2
        return Frame(DOWN, at, raw, "xmpp.proceed")

    def _tls_failure(self, at: float, raw: bytes, _element: Element) -> Frame:
        self._tls = 0
        return Frame(DOWN, at, raw, "xmpp.failure")

    def _features(self, at: float, raw: bytes, element: Element) -> Frame:
        self._plain = True
        edits = self._edits
        compression: list[Element] = []
        management: list[Element] = []
        binding: list[Element] = []
        mechanisms: list[str] = []
        for each in element.iter():
            namespace, local = split_tag(each.tag)
            if each.tag == COMPRESS_FEATURE:
                compression.append(each)
            elif (namespace in SM and local == "sm") or (
                local == "feature" and each.get("var", "").startswith("urn:xmpp:sm:")
            ):
                management.append(each)
            elif each.tag == CHANNEL_BINDING:
                binding.append(each)
            elif local == "mechanism":
                name = (each.text or "").strip()
                mechanisms.append(name)
                if binds(name):
                    binding.append(each)
        removals: list[Element] = []
        edit: str | None = None
        offered: set[str] = set()
        if compression:
            if STRIP_COMPRESSION in edits:
                removals += compression
                edit = STRIP_COMPRESSION
            else:
                offered.add("compression")
        if management:
            if STRIP_SM in edits:
                removals += management
                edit = edit or STRIP_SM
            else:
                offered.add("sm")
        if mechanisms:
            self._cb_offered = bool(binding)
            broken = self._broken_bindings(element) if binding and self._same and KEEP_BINDING in edits else None
            if broken is not None:
                self._binding = "offered"
                if broken:
                    removals += broken
                    edit = edit or KEEP_BINDING
            elif binding:
                self._binding = "offered"
                # Never leave only PLAIN: that would be a downgrade made by us (sheet, SASL under interception).
                if STRIP_PLUS in edits and any(not binds(name) and name != "PLAIN" for name in mechanisms):
                    removals += binding
                    edit = edit or STRIP_PLUS
                    self._binding = "stripped"
        self._offered = frozenset(offered)
        note = Note(element, (), removals) if removals else None
        return Frame(DOWN, at, raw, "xmpp.features", edit=edit, note=note)

    def _broken_bindings(self, features: Element) -> list[Element] | None:
        """What of an offer of channel binding does not hold between a client and a server that only share a
        certificate (RFC 5929 §4 does; RFC 9266, RFC 5929 §3 do not); None: nothing that is known to hold is offered."""
        broken: list[Element] = []
        holds = False
        for each in features.iter():
            if each.tag == CHANNEL_BINDING[:-len("sasl-channel-binding")] + "channel-binding":
                if each.get("type") == END_POINT:
                    holds = True
                else:
                    broken.append(each)
            elif each.tag.endswith("}mechanism"):
                name = (each.text or "").strip()
                if name.startswith("HT-") and binds(name):
                    if name.endswith("-ENDP"):
                        holds = True
                    else:
                        broken.append(each)
        return broken if holds else None

    def _auth(self, at: float, raw: bytes, element: Element) -> Frame:
        """SASL <auth/> (RFC 6120 §6.4.2) and SASL2 <authenticate/> (XEP-0388)."""
        self._plain = True
        mechanism = "".join(c for c in element.get("mechanism", "")[:64] if c.isalnum() or c in "-_")
        servers = self._servers
        self._mechanism = mechanism
        self._authcid = None
        self._layer = False
        self._bound_to = END_POINT if mechanism.startswith("HT-") and mechanism.endswith("-ENDP") else ""
        if self._binding != "stripped":
            self._binding = "offered" if self._cb_offered else "none"
        response = element.text
        for child in element:
            if child.tag == SASL2 + "initial-response":
                response = child.text
        self._sasl_response(response)
        oddities: tuple[Oddity, ...] = ()
        if binds(mechanism):
            self._binding = "used"
        if self._binding == "used" and not (self._same and self._bound_to == END_POINT):
            # The binding belongs to one TLS connection, and there are two: the login will fail by design.
            oddities = (Oddity("xmpp.channel_binding", "login is bound to its TLS connection and will fail"),)
        if servers is not None and mechanism == "EXTERNAL" and (servers.secured or self._flow.tls):
            # The certificate of the one who logs in ends at us (sheet, SASL under interception).
            oddities = (Oddity("xmpp.external_login", "a login by certificate cannot pass where TLS is opened"),)
        parts = [
            each for each in element.iter()
            if split_tag(each.tag)[0] in SM and each.tag.rpartition("}")[2] in ("enable", "resume")
        ]
        if parts and STRIP_SM in self._edits:
            return Frame(UP, at, raw, "xmpp.auth", (), oddities, edit=STRIP_SM, note=Note(element, (), parts))
        if parts and TRANSLATE_SM in self._edits:
            note = self._inline_asked(at, element, parts)
            return Frame(UP, at, raw, "xmpp.auth", (), oddities, edit=TRANSLATE_SM, note=note)
        return Frame(UP, at, raw, "xmpp.auth", (), oddities)

    def _response(self, at: float, raw: bytes, element: Element) -> Frame:
        self._sasl_response(element.text)
        return Frame(UP, at, raw, "xmpp.response")

    def _sasl_response(self, text: str | None) -> None:
        """Look into one SASL message of the client: authentication name, channel binding, security layer.

        Nothing else of it is kept: PLAIN holds the password in clear.
        """
        mechanism = self._mechanism or ""
        if not text or len(text) > 16384:
            return
        try:
            data = base64.b64decode(text, validate=False)
        except (binascii.Error, ValueError):
            return
        if mechanism == "PLAIN":
            parts = data.split(b"\0")
            if len(parts) == 3:
                self._authcid = parts[1][:1023].decode("utf-8", "replace")
        elif mechanism.startswith("SCRAM-"):
            if data[:2] in (b"n,", b"y,", b"p="):
                if data[:2] == b"p=":
                    self._binding = "used"
                    self._bound_to = data[2:64].partition(b",")[0].decode("utf-8", "replace")
                for field in data.split(b","):
                    if field[:2] == b"n=":
                        name = field[2:1025].decode("utf-8", "replace")
                        self._authcid = name.replace("=2C", ",").replace("=3D", "=")
                        break
        elif mechanism == "DIGEST-MD5":
            lowered = data.lower().replace(b" ", b"")
            if b"qop=auth-conf" in lowered or b"qop=auth-int" in lowered or b'qop="auth-' in lowered:
                self._layer = True
            _, _, after = data.partition(b'username="')
            if after:
                self._authcid = after.partition(b'"')[0][:1023].decode("utf-8", "replace")
        elif mechanism == "EXTERNAL":
            self._authcid = data[:LONGEST_JID].decode("utf-8", "replace")
        if mechanism in ("GSSAPI", "GSS-SPNEGO"):
            self._layer = True

    def _success(self, at: float, raw: bytes, _element: Element) -> Frame:
        """SASL success: the stream restarts behind it; what is wrapped from here on cannot be read."""
        if self._servers is not None:
            return self._external(at, raw)
        return Frame(DOWN, at, raw, "xmpp.success")

    def _success2(self, at: float, raw: bytes, element: Element) -> Frame:
        """SASL2 success: no restart; with Bind2 inline the identifier is a full JID and the session is bound."""
        identifier = ""
        bound = False
        parts: list[Element] = []
        for each in element.iter():
            if each.tag == SASL2 + "authorization-identifier":
                identifier = (each.text or "").strip()
            elif each.tag.endswith("}bound"):
                bound = True
            elif split_tag(each.tag)[0] in SM and each.tag.rpartition("}")[2] in ("enabled", "resumed", "failed"):
                parts.append(each)
                bound = bound or each.tag.endswith("}resumed")
        event = self._sign_on(identifier) if identifier and (bound or "/" in identifier) else None
        counting = self._counting
        if counting is not None and (parts or counting.refused is not None):
            return self._inline_answered(at, raw, element, parts, event, counting)
        if any(not each.tag.endswith("}failed") for each in parts):
            self._sm = True
        if event is not None:
            return Frame(DOWN, at, raw, "xmpp.success2", (event,), note=NO_NOTE)
        return Frame(DOWN, at, raw, "xmpp.success2")

    def _stream_error(self, at: float, raw: bytes, element: Element) -> Frame:
        """A stream error (RFC 6120 §4.9); it may send the client to another server (§4.9.3.19)."""
        if KEEP_PATH in self._edits:
            for child in element:
                if child.tag == OTHER_HOST and not len(child):
                    note = ManagementUnit(element, child, "error", address=child.text or "")
                    return Frame(DOWN, at, raw, "xmpp.error", edit=KEEP_PATH, note=note)
        return Frame(DOWN, at, raw, "xmpp.error")

    # -- compression (XEP-0138)

    def _compress(self, at: float, raw: bytes, element: Element) -> Frame:
        """The client asks for it. What is compressed is not compressed again."""
        methods = [(child.text or "").strip() for child in element if child.tag == COMPRESS + "method"]
        known = methods == ["zlib"] and not self._deflating
        if REFUSE_COMPRESSION in self._edits and not (known and "compression" in self._offered):
            return Frame(UP, at, raw, "xmpp.compress", edit=REFUSE_COMPRESSION)
        if known:
            self._deflating = 1
        return Frame(UP, at, raw, "xmpp.compress")

    def _not_compressed(self, at: float, raw: bytes, _element: Element) -> Frame:
        """All stays as it was (XEP-0138 4)."""
        if self._deflating == 1:
            self._deflating = 0
        return Frame(DOWN, at, raw, "xmpp.failure")

    def _compressed(self, at: float, raw: bytes, _element: Element) -> Frame:
        """Behind it both write in zlib streams, and begin anew (XEP-0138 4)."""
        self._cannot("compression (XEP-0138)")
        if self._deflating != 1:
            return Frame(DOWN, at, raw, "xmpp.compressed")
        self._deflating = 2
        self._coding = Deflated(self._limits, "xmpp")
        # Worth a row: it is obsolete, and lets who sees lengths guess at words (CRIME).
        return Frame(DOWN, at, raw, "xmpp.compressed", (), (Oddity("xmpp.compressed_stream", "zlib"),))

    def recoded(self) -> tuple[Deflated, tuple[bytes, bytes]] | None:
        """See Recode: what both have agreed on, and what came behind it."""
        if self._deflating != 2 or self._coding is None:
            return None
        self._deflating, self.undecryptable = 3, None
        up, down = self._sides
        kept = up.split.rest(), down.split.rest()
        for side in self._sides:
            side.split = Splitter(side.split.limit, self._max_depth)
            side.started = side.closed = side.loose = side.skipping = False
        return self._coding, kept

    # -- stream management (XEP-0198)

    def _sm_unit(self, way: Way, at: float, raw: bytes, element: Element, namespace: str, local: str) -> Frame:
        kind = f"xmpp.{local}" if local in _SM_UNITS else "xmpp.other"
        translated = TRANSLATE_SM in self._edits and STRIP_SM not in self._edits
        counting = self._counting
        if way is UP and local in ("enable", "resume"):
            if REFUSE_SM in self._edits and "sm" not in self._offered:
                return Frame(UP, at, raw, kind, edit=REFUSE_SM, note=not_managed(namespace, local))
            if translated and not (local == "resume" and self._signed):
                note = ManagementUnit(element, element, local)
                if local == "resume":
                    state = note.state = self._known(element, at)
                    if state is None:
                        return Frame(UP, at, raw, kind, edit=TRANSLATE_SM, note=not_managed(namespace, local))
                    counting = self._counting = Counting(state)
                    counting.resuming, counting.claimed = state, counted(element) or 0
                    return Frame(UP, at, raw, kind, edit=TRANSLATE_SM, note=note)
                if counting is None:
                    counting = self._counting = Counting(Managed(self._limits.xmpp_counts))
                counting.asked = True
                return Frame(UP, at, raw, kind, note=note)
        elif counting is not None:
            if local == "a":
                if way is UP and at - counting.state.put > _REFRESH:
                    self._remember_session(counting.state, at)
                return Frame(way, at, raw, kind, edit=TRANSLATE_SM, note=ManagementUnit(element, element, local))
            if way is DOWN and local in ("enabled", "resumed", "failed"):
                return self._sm_answered(at, raw, element, local, counting, kind)
        elif way is DOWN and local in ("enabled", "resumed"):
            self._sm = True
            if local == "resumed" and not self._signed and self._authcid:
                # A resumed session is not bound again: what is known of the user is his login (XEP-0198 §5).
                name = self._authcid
                user = name if "@" in name else f"{name}@{self._domain or ''}"
                return Frame(DOWN, at, raw, kind, (self._sign_on(user),), note=NO_NOTE)
            if element.get("location") and KEEP_PATH in self._edits:
                note = ManagementUnit(element, element, local, address=element.get("location"))
                return Frame(DOWN, at, raw, kind, edit=KEEP_PATH, note=note)
        return Frame(way, at, raw, kind)

    def _sm_answered(
        self, at: float, raw: bytes, element: Element, local: str, counting: Counting, kind: str,
    ) -> Frame:
        """What the server says to <enable/> or <resume/>."""
        note = ManagementUnit(element, element, local)
        event = self._sm_answer(at, element, local, counting, note)
        if local == "failed" and note.state is None:
            if not counting.granted:
                self._counting = None
            return Frame(DOWN, at, raw, kind)
        events = (event,) if event is not None else ()
        edit = TRANSLATE_SM if local != "enabled" else KEEP_PATH if note.address is not None else None
        return Frame(DOWN, at, raw, kind, events, edit=edit, note=note)

    def _sm_answer(
        self, at: float, element: Element, local: str, counting: Counting, note: ManagementUnit,
    ) -> SignOn | None:
        """The sign-on that a resumption is; fills in what `apply` needs."""
        state = counting.resuming
        if local == "enabled":
            if counting.asked and KEEP_PATH in self._edits:
                note.address = element.get("location")
            if counting.asked and element.get("id") and element.get("resume") in ("true", "1"):
                counting.state.key = self._session_key(element.get("id", ""))
                self._remember_session(counting.state, at)
            counting.asked, counting.granted = False, True
            return None
        counting.resuming = None
        note.state = state
        if local == "failed":
            counting.asked = False
            return None
        if state is None:
            return None
        counting.granted = True
        self._rooms = state.rooms
        event = self._sign_on(state.user, state.identity)
        self._remember_session(state, at)
        return event

    def _inline_asked(self, at: float, element: Element, parts: Sequence[Element]) -> ManagementUnit:
        """Management that a login asks for (XEP-0388, 0386, 0198 §9). What cannot be resumed is not asked of the
        server; the client is told with the answer to his login."""
        note = ManagementUnit(element, what="authenticate")
        self._counting = None
        removals: list[Element] = []
        counting = Counting(Managed(self._limits.xmpp_counts))
        for part in parts:
            if part.tag.endswith("}enable"):
                counting.asked = True
                continue
            state = self._known(part, at)
            if state is None or counting.resuming is not None:
                removals.append(part)
                counting.refused = split_tag(part.tag)[0]
            else:
                note.part, note.state = part, state
                counting.resuming, counting.claimed = state, counted(part) or 0
        note.removals = removals
        self._counting = counting
        return note

    def _inline_answered(
        self, at: float, raw: bytes, element: Element, parts: Sequence[Element], event: SignOn | None,
        counting: Counting,
    ) -> Frame:
        note = ManagementUnit(element, what="success")
        if counting.refused is not None:
            note.adding = not_managed(counting.refused, "resume")
            counting.refused = None
        for part in parts[:1]:
            note.part, note.what = part, part.tag.rpartition("}")[2]
            resumed = self._sm_answer(at, part, note.what, counting, note)
            event = resumed or event
        return Frame(
            DOWN, at, raw, "xmpp.success2", (event,) if event is not None else (), edit=TRANSLATE_SM, note=note)

    def _session_key(self, ident: str) -> str:
        domain = (self._to or self._domain or "").lower()
        return f"xmpp.managed {hashlib.sha256(f'{domain} {ident}'.encode('utf-8', 'replace')).hexdigest()}"

    def _known(self, resume: Element, at: float) -> Managed | None:
        """The session that a client wants to go on with, if it passed here and is not over."""
        found = self._memory.get(self._session_key(resume.get("previd", "")), at)
        if not isinstance(found, Managed) or found.over or counted(resume) is None:
            return None
        return found

    def _remember_session(self, state: Managed, at: float) -> None:
        if state.key is None or self._user is None:
            return
        state.put, state.user, state.identity, state.rooms = at, self._user, self._identity, self._rooms
        self._memory.put(state.key, state, at + self._limits.xmpp_resume_seconds)

    def _feed_counted(self, chunk: Chunk, counting: Counting) -> list[Frame]:
        """Read on while stanzas are counted: what the engine has of frames is to be known."""
        counting.feeding = True
        frames = self.feed(chunk)
        counting.feeding = False
        number = len(frames)
        for frame in frames:
            if frame.events and type(frame.events[-1]) in _CONTENT:
                number -= 1
        counting.out[chunk.way] += number
        if chunk.end and self._counting is counting and counting.turn == counting.state.turn:
            self._remember_session(counting.state, chunk.at)
        return frames

    def _sign_on(self, jid: str, identity: Identity = "authenticated", mechanism: str | None = None) -> SignOn:
        jid = jid[:3071]
        self._signed = True
        self._user = jid
        self._bare = bare_jid(jid)
        self._domain = self._bare.rpartition("@")[2] or self._domain
        self._sides[UP].split.limit = self._stanza_bytes
        if self._mechanism == "ANONYMOUS":
            identity = "claimed"
        self._identity = identity
        return SignOn(
            user=jid, identity=identity, mechanism=mechanism or self._mechanism, channel_binding=self._binding,
            account=self._bare if self._bare != jid else None,
        )

    # -- messages

    def _message(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        get = element.get
        kind = get("type")
        if self._signed and (kind == "chat" or kind is None or kind == "normal") and element.text is None:
            # The usual message: one body, and parts without words.
            body: Element | None = None
            for child in element:
                tag = child.tag
                if tag == BODY:
                    if body is not None:
                        break
                    body = child
                elif tag not in QUIET or child.text is not None:
                    break
                if len(child) or child.tail is not None:
                    break
            else:
                if body is not None:
                    said = body.text
                    if said and said[0] not in "?/" and "\t" not in said:
                        sender, to = get("from"), get("to")
                        if way is UP:
                            peer = to or self._bare
                            if sender is None:
                                sender = self._user
                                to = peer
                            elif sender != self._user:
                                peer = None    # he names himself: to be compared
                        else:
                            peer = sender if sender is not None and "@" in sender else None
                            to = to or self._user
                        if peer is not None and to is not None:
                            event = Message(
                                sender=sender, recipients=(to,), conversation=peer.partition("/")[0].lower(),
                                texts=(Text("body", said, body.get(LANG) if body.attrib else None),), id=get("id"),
                            )
                            return Frame(
                                way, at, raw, "xmpp.message", (event,), note=Note(element, (((body, None),),)),
                            )
        return self._rich_message(way, at, raw, element)

    def _rich_message(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        strays = [child for child in element if child.tag in BLOCKS_OF_FILES]
        if strays and (self._signed or self._sides[way].loose) and is_block(element, strays):
            return self._block(way, at, raw, element, strays[0], "message")
        oddities: list[Oddity] = []
        read: list[Read] = self._guessed_user(way, element)
        read += self._read_message(way, element, oddities)
        removals = list(element.iter(RTT)) if STRIP_RTT in self._edits else []
        read += self._leftovers(way, element, read, removals)
        self._bound_events(read)
        edit = STRIP_RTT if removals else None
        if strays:
            oddities.append(Oddity("xmpp.stray_block", "file content beside words"))
            if REFUSE_BLOCKS in self._edits:
                removals += strays
                edit = REFUSE_BLOCKS
        return Frame(
            way, at, raw, "xmpp.message", tuple(event for event, _ in read), tuple(oddities), edit=edit,
            note=Note(element, [spots for _, spots in read], removals),
            units=one_unit(read, element), stays=element.get("type") == "error",
        )

    def _leftovers(
        self, way: Way, element: Element, read: Sequence[Read], removals: Sequence[Element] = (),
    ) -> list[Read]:
        """Words of a stanza that nobody has read: servers carry them to the other side wherever they stand."""
        gather = Gather()
        read_leftovers(element, read, removals, gather)
        if not gather.texts:
            return []
        get = element.get
        sender = (self._user or get("from")) if way is UP else get("from")
        to = get("to") or (self._domain if way is UP else self._user)
        return [(Opaque(
            kind="extension", sender=sender, recipients=(to,) if to else (), texts=gather.texts_now(), id=get("id"),
            answerable=get("type") not in ("error", "result"),
        ), gather.spots)]

    def _bound_events(self, read: list[Read]) -> None:
        bound = self._limits.xmpp_events
        if len(read) > bound:
            raise XmlFault("policy-violation", f"more than {bound} events in one stanza", "too_much")

    def _guessed_user(self, way: Way, element: Element) -> list[Read]:
        """A sign-on from what stanzas say, where no login can be seen: serverless streams, flows joined late."""
        if self._signed:
            return []
        user: str | None = None
        mechanism: str | None = None
        if self._sides[way].loose:
            user = element.get("to") if way is DOWN else None
            if user is None or "/" not in user:
                return []
        elif not self._plain and way is UP:
            user = element.get("from")
            mechanism = "serverless"
            if user is None:
                return []
        if user is None:
            return []
        return [(self._sign_on(user, "claimed", mechanism), [])]

    def _read_message(
        self, way: Way, element: Element, oddities: list[Oddity], copy: Copy = "no", sent_at: float | None = None,
        forwarder: str | None = None, outer: bool = True,
    ) -> list[Read]:
        """Events of a message. Not `outer`: one inside <forwarded/>, sent on by `forwarder` (None: a server's copy)."""
        get = element.get
        typed = get("type")
        sender, to = get("from"), get("to")
        if way is UP and outer:
            if sender is not None and self._bare is not None and sender.lower() not in (
                self._bare.lower(), (self._user or "").lower(),
            ):
                oddities.append(Oddity("xmpp.from_mismatch"))
            sender = self._user or sender
        elif forwarder is not None:
            sender = forwarder
        receiver = to or (self._user if way is DOWN else self._bare) or ""
        recipients = (receiver,) if receiver else ()
        gather = Gather()
        subjects: list[Element] = []
        others: list[Read] = []
        kind: Kind = "chat"
        encryption = CLEAR
        replaces: str | None = None
        typing: str | None = None
        room: str | None = None
        keys_only = False
        sealed: list[Element] = []
        signed = False
        bodies = 0
        for child in element:
            tag = child.tag
            if tag == BODY:
                gather.add("body", child, child.get(LANG))
                bodies += 1
                continue
            if tag in QUIET and not len(child) and not child.text:
                if tag.startswith(CHATSTATES, 1):
                    typing = tag.rpartition("}")[2]
                continue
            if tag == HINT and encryption is CLEAR:
                encryption = Encryption("metadata", EME.get(child.get("namespace", ""), "eme"))
            namespace, local = split_tag(tag)
            if tag == SUBJECT:
                subjects.append(child)
            elif tag == THREAD:
                gather.add("thread", child)
            elif tag == ERROR:
                for part in child.iter():
                    if part.tag == ERROR_TEXT or (part is child and part.text and part.text.strip()):
                        gather.add("error", part, part.get(LANG), deep=False)
            elif tag == XHTML_IM:
                read_xhtml(child, gather)
            elif tag in ENCRYPTED:
                encryption = Encryption("metadata", ENCRYPTED[tag])
                sealed.append(child)
                if encryption.scheme == "omemo" and not any(c.tag == f"{{{namespace}}}payload" for c in child):
                    keys_only = True
            elif tag == SIGNED:
                signed = True
            elif tag in DELAYS:
                stamp = time_of(child.get("stamp"))
                if way is DOWN and outer:
                    copy = "history"
                if sent_at is None:
                    sent_at = stamp
                if child.text and child.text.strip():
                    gather.add("reason", child)
            elif namespace == "urn:xmpp:message-correct:0" and local == "replace":
                kind, replaces = "correction", child.get("id")
            elif namespace.startswith("urn:xmpp:message-retract:") and local in ("retract", "retracted"):
                kind, replaces = "correction", child.get("id")
                read_rest(child, "reason", gather)
            elif namespace == "urn:xmpp:reactions:0":
                kind = "reaction"
                for each in child:
                    gather.add("reaction", each)
            elif tag == RTT:
                if STRIP_RTT not in self._edits:
                    gather.add("rtt", child)
            elif tag == CONFERENCE:
                kind, room = "invite", child.get("jid")
                gather.attribute("reason", child, "reason")
                gather.attribute("room", child, "jid")
                read_rest(child, "reason", gather)
            elif namespace == MUC_USER[1:-1]:
                for each in child:
                    if each.tag in (MUC_USER + "invite", MUC_USER + "decline"):
                        kind = "invite"
                        room = room or (to if way is UP else sender)
                        for part in each:
                            if part.tag == MUC_USER + "reason":
                                gather.add("reason", part)
                    elif each.tag == MUC_USER + "item":
                        read_rest(each, "reason", gather)
            elif namespace in CARBONS and local in ("received", "sent"):
                mine = way is DOWN and (sender is None or sender.lower() == (self._bare or "").lower())
                if not mine:
                    oddities.append(Oddity("xmpp.spoofed_carbon"))
                others += self._read_forwarded(way, child, "carbon" if mine else "no", oddities, sender)
            elif namespace.startswith("urn:xmpp:mam:") and local == "result":
                others += self._read_forwarded(way, child, "history", oddities, sender)
            elif tag == FORWARDED:
                others += self._read_one_forwarded(way, child, copy, oddities, sender)
            elif tag == OOB:
                others += self._read_oob(child, gather, sender, recipients, "oob", get("id"))
            elif namespace == "urn:xmpp:reference:0" or (namespace == "urn:xmpp:sfs:0" and local == "file-sharing"):
                found = self._read_shared(child, sender, recipients, get("id"))
                others += found
                if not found:
                    gather.attribute("url", child, "uri")
                    read_rest(child, "extension", gather)
            elif namespace == "urn:xmpp:jingle-message:0":
                media = tuple(
                    each.get("media", "") for each in child if each.tag.rpartition("}")[2] == "description"
                )
                texts = Gather()
                read_rest(child, "reason", texts)
                event: Event = CallSetup(
                    action=one_of(local, CALL_ACTIONS), sender=sender, recipients=recipients, media=media[:8],
                    id=child.get("id"), texts=texts.texts_now(),
                )
                others.append((event, texts.spots))
            elif namespace == "urn:xmpp:bob" and local == "data":
                others.append((FileOffer(
                    sender=sender, recipients=recipients, method="bob", file_name=child.get("cid", ""),
                    declared_type=child.get("type"), id=get("id"), answerable=typed != "error",
                ), []))
            elif tag == FORM:
                others.append(opaque("form", child, sender, recipients, get("id"), typed != "error"))
            elif namespace == "http://jabber.org/protocol/pubsub#event":
                others.append(opaque("pubsub", child, sender, recipients, get("id"), False))
            elif tag == NICK:
                gather.add("nick", child)
            elif tag in BLOCKS_OF_FILES:
                pass
            else:
                read_rest(child, "extension", gather)
        topic = typed == "groupchat" and subjects and not bodies
        for each in subjects:
            gather.add("topic" if topic else "subject", each, each.get(LANG))
        peer = to if way is UP else sender
        if not outer:
            # A forwarded copy: the conversation is with whoever of the two is not the user himself.
            mine = sender is not None and self._bare is not None and bare_jid(sender).lower() == self._bare.lower()
            peer = to if mine else sender
        if typed == "groupchat" and outer and way is DOWN and copy == "no" and self._is_own(sender):
            copy = "echo"
        first = gather.texts[0].plain if gather.texts and gather.texts[0].part == "body" else ""
        if first[:4] == "?OTR":
            encryption = Encryption("metadata" if first[4:5] in (":", ",", "|") else "full", "otr")
        elif encryption is CLEAR and OTR_TAG in first:
            encryption = Encryption("full", "otr")
        if kind == "chat":
            if topic:
                kind = "topic"
            elif typed == "error":
                kind = "server"
            elif typed == "headline":
                kind = "notice"
            elif way is DOWN and outer and sender is not None and "@" not in sender:
                kind = "server"
            elif first[:4] == "/me ":
                kind = "action"
        read: list[Read] = []
        if gather.texts or encryption is not CLEAR or kind in ("invite", "correction", "reaction"):
            if signed:
                gather.freeze()
            conversation = bare_jid(room or peer or "").lower() or None
            answerable = typed != "error" and copy == "no"
            if keys_only and not gather.texts:
                event = Opaque(
                    kind="key_transport", sender=sender, recipients=recipients, id=get("id"), encryption=encryption,
                    answerable=answerable,
                )
            else:
                event = Message(
                    kind=kind, sender=sender, recipients=recipients, conversation=conversation,
                    texts=gather.texts_now(), id=get("id"), copy=copy, encryption=encryption, sent_at=sent_at,
                    replaces=replaces, answerable=answerable, in_room=typed == "groupchat",
                    sealed=sealed_digest(sealed) if sealed else "" if encryption.scheme == "otr" else None,
                )
            read.append((event, gather.spots))
        elif typing is not None and not others:
            read.append((Typing(state=typing, sender=sender, recipients=recipients), []))
        return read + others

    def _read_forwarded(
        self, way: Way, wrapper: Element, copy: Copy, oddities: list[Oddity], archive: str | None,
    ) -> list[Read]:
        """Events of the messages inside <forwarded/> (XEP-0297) of a wrapper."""
        read: list[Read] = []
        for forwarded in wrapper:
            if forwarded.tag == FORWARDED:
                read += self._read_one_forwarded(way, forwarded, copy, oddities, archive)
        return read

    def _read_one_forwarded(
        self, way: Way, forwarded: Element, copy: Copy, oddities: list[Oddity], archive: str | None,
    ) -> list[Read]:
        read: list[Read] = []
        stamp: float | None = None
        for child in forwarded:
            if child.tag in DELAYS:
                stamp = time_of(child.get("stamp"))
        for child in forwarded:
            if child.tag == MESSAGE:
                by = archive if copy == "no" else None
                read += self._read_message(way, child, oddities, copy, stamp, by, False)
            elif child.tag not in DELAYS:
                gather = Gather()
                read_rest(child, "extension", gather)
                if gather.texts:
                    read.append((Opaque(kind="forwarded", sender=archive, texts=gather.texts_now()), gather.spots))
        return read

    def _is_own(self, sender: str | None) -> bool:
        """Whether a room's message is the user's own, coming back."""
        if sender is None or self._rooms is None:
            return False
        room, _, nick = sender.partition("/")
        return self._rooms.get(room.lower()) == nick

    def _read_oob(
        self, element: Element, gather: Gather, sender: str | None, recipients: tuple[str, ...], method: str,
        ident: str | None,
    ) -> list[Read]:
        """A link to a file (XEP-0066): its texts are the message's too, so that a mask on either reaches both."""
        url = ""
        texts = Gather()
        for child in element:
            local = child.tag.rpartition("}")[2]
            if local == "url":
                url = xml.plain(child).strip()
                gather.add("url", child)
                texts.add("url", child)
            else:
                gather.add("description", child)
                texts.add("description", child)
        offer = FileOffer(
            sender=sender, recipients=recipients, file_name=file_name(url), method=method,
            address=urls.shown(url)[:2048] or None, id=ident, texts=texts.texts_now(),
        )
        return [(offer, texts.spots)]

    def _read_shared(
        self, element: Element, sender: str | None, recipients: tuple[str, ...], ident: str | None,
    ) -> list[Read]:
        """Files shared by SIMS (XEP-0385) and SFS (XEP-0447)."""
        read: list[Read] = []
        address: str | None = None
        for each in element.iter():
            local = each.tag.rpartition("}")[2]
            if each.tag == URL_DATA:
                address = address or each.get("target")
            elif local == "reference" and each.get("uri"):
                address = address or each.get("uri")
        for each in element.iter():
            namespace, local = split_tag(each.tag)
            if local == "file" and (namespace in JINGLE_FILES or namespace == "urn:xmpp:file:metadata:0"):
                method = "sfs" if namespace == "urn:xmpp:file:metadata:0" else "sims"
                where = urls.shown(address)[:2048] if address is not None else None
                read.append(described_file(each, method, sender, recipients, ident, where))
        return read

    # -- queries

    def _iq(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        get = element.get
        typed = get("type")
        if typed == "result" and not self._signed and way is DOWN and self._servers is None:
            event = self._signing(element)
            if event is not None:
                return Frame(DOWN, at, raw, "xmpp.iq", (event,), note=NO_NOTE)
        files = self._files
        if files is not None and (typed == "result" or typed == "error"):
            answered = self._file_answer(files, way, at, raw, element, typed)
            if answered is not None:
                return answered
        read: list[Read] = []
        hosts: list[Host] = []
        strays: list[Element] = []
        offer: Offer | None = None
        offered: list[Offer] = []
        asked = typed == "set" or typed == "get"
        if asked and len(element) == 1 and element[0].tag in BLOCKS_OF_FILES and (
            self._signed or self._sides[way].loose
        ):
            return self._block(way, at, raw, element, element[0], "iq")
        sender = (self._user or get("from")) if way is UP else get("from")
        to = get("to") or (self._domain if way is UP else self._user)
        recipients = (to,) if to else ()
        ident = get("id")
        for child in element:
            namespace, local = split_tag(child.tag)
            if namespace == "urn:ietf:params:xml:ns:xmpp-bind":
                if self._servers is not None:
                    pass
                elif way is UP and typed == "set":
                    self._bind_id = ident
                elif way is DOWN and typed == "result" and self._answers_bind(ident, get("from")):
                    event = self._signing(element)
                    if event is not None:
                        read.append((event, []))
            elif child.tag == "{jabber:iq:auth}query":
                if way is UP and typed == "set":
                    self._legacy_auth(child, ident)
            elif namespace == "jabber:iq:roster":
                if typed == "set":
                    read += roster(child, sender if way is UP else self._user, way)
            elif namespace == "urn:xmpp:blocking":
                if typed == "set" and local in ("block", "unblock"):
                    read += [
                        (ContactChange(action=local, contact=item.get("jid", ""), sender=sender), [])
                        for item in child if item.get("jid")
                    ] or [(ContactChange(action=local, contact="*", sender=sender), [])]
            elif namespace == "jabber:iq:privacy":
                if typed == "set":
                    for item in child.iter("{jabber:iq:privacy}item"):
                        action = "block" if item.get("action") == "deny" else "unblock"
                        read.append((ContactChange(action=action, contact=item.get("value", "*"), sender=sender), []))
            elif namespace in ("urn:xmpp:http:upload:0", "urn:xmpp:http:upload"):
                read += upload(child, local, sender, recipients, ident, asked)
                if way is DOWN and typed == "result" and local == "slot":
                    hosts += self._slot(child, get("from"), ident)
            elif child.tag == "{jabber:iq:oob}query":
                read += self._read_oob(child, Gather(), sender, recipients, "oob", ident)
            elif namespace == "http://jabber.org/protocol/si":
                read += stream_initiation(child, sender, recipients, ident, asked)
            elif child.tag in BLOCKS_OF_FILES:
                strays.append(child)
            elif child.tag == BYTESTREAMS + "query":
                if typed == "set":
                    more, too_many, offer = self._bytestream(way, child, get("from") or sender, to)
                    hosts += more
                    strays += too_many
                    if offer is not None and offer.offer.method == "s5b" and not offer.used:
                        read.append((offer.offer, []))
                        offer.used = True
                        offered.append(offer)
            elif child.tag in JINGLES:
                described: dict[int, FileOffer] = {}
                read += jingle_events(child, sender, recipients, asked, described)
                if typed == "set":
                    offer = self._jingle_offers(
                        way, child, described, get("to" if way is UP else "from"), offered)
                    more, too_many = self._candidates(way, child, get("to" if way is UP else "from"))
                    hosts += more
                    strays += too_many
            elif child.tag == "{http://www.google.com/session}session":
                read += google_session(child, sender, recipients, asked)
            elif child.tag == ERROR:
                texts = Gather()
                for part in child:
                    if part.tag == ERROR_TEXT:
                        texts.add("error", part, part.get(LANG))
                if texts.texts:
                    read.append((Opaque(
                        kind="error", sender=sender, recipients=recipients, id=ident, texts=texts.texts_now(),
                        answerable=False,
                    ), texts.spots))
            elif namespace in _SILENT_IQ:
                for form in outermost(child, FORM):
                    read.append(opaque("form", form, sender, recipients, ident, asked))
            else:
                read.append(opaque(_OPAQUE_IQ.get(namespace, "iq"), child, sender, recipients, ident, asked))
        if asked and read:
            self._remember(way, get("to" if way is UP else "from"), ident, read, offered)
        read += self._leftovers(way, element, read)
        # What says nothing is no event: a disco answer, an empty result.
        read = [
            (event, spots) for event, spots in read
            if not isinstance(event, Opaque) or event.texts or event.kind in ("pubsub", "vcard", "metadata")
        ]
        oddities: tuple[Oddity, ...] = ()
        edit: str | None = None
        if strays:
            oddities = (Oddity("xmpp.stray_block", "more than can be read"),)
            edit = REFUSE_BLOCKS if REFUSE_BLOCKS in self._edits else None
            if edit is None:
                strays = []
        if not read:
            note = Note(element, (), strays, hosts, offer, offered) if strays or hosts or offer is not None else None
            return Frame(way, at, raw, "xmpp.iq", (), oddities, edit=edit, note=note)
        self._bound_events(read)
        return Frame(
            way, at, raw, "xmpp.iq", tuple(event for event, _ in read), oddities, edit=edit,
            note=Note(element, [spots for _, spots in read], strays, hosts, offer, offered),
            units=one_unit(read, element), stays=element.get("type") in ("error", "result"),
        )

    def _answers_bind(self, ident: str | None, sender: str | None) -> bool:
        """Whether a result is the server's answer to our client's bind: anybody may send one that looks like it."""
        if ident is None or ident != self._bind_id:
            return False
        return sender is None or sender in (self._domain, self._bare, self._user)

    def _signing(self, element: Element) -> SignOn | None:
        """The sign-on that an iq result brings: a bound JID (RFC 6120 §7.6), or XEP-0078 accepted."""
        for child in element:
            if child.tag == BIND + "bind":
                for jid in child:
                    if jid.tag == BIND + "jid" and jid.text and jid.text.strip():
                        self._bind_id = None
                        return self._sign_on(jid.text.strip())
        if not self._signed and self._legacy is not None and element.get("id") == self._legacy[0]:
            _, jid_text, mechanism = self._legacy
            self._legacy = None
            return self._sign_on(jid_text, mechanism=mechanism)
        return None

    def _legacy_auth(self, query: Element, ident: str | None) -> None:
        """jabber:iq:auth set (XEP-0078): user and resource; the password is not looked at."""
        self._plain = True
        user = resource = ""
        mechanism = "XEP-0078"
        for child in query:
            local = child.tag.rpartition("}")[2]
            if local == "username":
                user = (child.text or "").strip()[:1023]
            elif local == "resource":
                resource = (child.text or "").strip()[:1023]
            elif local == "password":
                mechanism = "XEP-0078 password"
            elif local == "digest":
                mechanism = "XEP-0078 digest"
        if user:
            jid = f"{user}@{self._domain or ''}" + (f"/{resource}" if resource else "")
            self._legacy = (ident, jid, mechanism)

    # -- files: offers, and where their content will travel

    def _known_files(self) -> Files:
        files = self._files
        if files is None:
            files = self._files = Files(self._limits.xmpp_offers)
        return files

    def _remember(
        self, way: Way, peer: str | None, ident: str | None, read: Sequence[Read], offered: list[Offer],
    ) -> None:
        """Keep what is offered, so that its content finds its name (Jingle's are kept by session)."""
        if self._servers is not None:
            return      # what is sent elsewhere does not pass the servers
        for event, _ in read:
            if isinstance(event, FileOffer) and event.method in ("si", "http_upload") and event.answerable:
                files = self._known_files()
                who = as_compared(peer or self._bare or "")
                if len(who) > LONGEST_JID or (ident is not None and len(ident) > LONGEST_SID):
                    continue    # names so long are nobody's
                offer = Offer(shortened(event), way)
                offered.append(offer)
                if event.method == "http_upload":
                    files.put((way, who, "upload", ident), offer)
                elif event.id is not None and len(event.id) <= LONGEST_SID:
                    files.put((way, who, "sid", event.id), offer)
                    files.put((way, who, "iq", ident), offer)

    def _jingle_offers(
        self, way: Way, jingle: Element, described: dict[int, FileOffer], peer: str | None, offered: list[Offer],
    ) -> Offer | None:
        """Keep the files of a Jingle session by content, and by the bytestreams that the contents name; returns what
        the stanza is about, if that was offered before."""
        session = jingle.get("sid", "")
        who = as_compared(peer or self._bare or "")
        if self._servers is not None or not session or len(session) > LONGEST_SID or len(who) > LONGEST_JID:
            return None
        action = jingle.get("action", "")
        offering = action in ("session-initiate", "content-add")
        files = self._files
        if files is None:
            if not described:
                return None
            files = self._known_files()
        about: Offer | None = None
        for content in jingle:
            if content.tag.rpartition("}")[2] != "content":
                continue
            name = content.get("name", "")[:LONGEST_SID]
            if offering:
                file = next((described[id(each)] for each in content.iter() if id(each) in described), None)
                offer = Offer(shortened(file), way, session=session) if file is not None else None
                if offer is not None:
                    offered.append(offer)
                    files.put((way, who, "jingle", session, name), offer)
                    if name and (way, who, "jingle", session, "") not in files.offers:
                        files.put((way, who, "jingle", session, ""), offer)
            else:
                offer = files.of_session(who, session, name)
                about = about or offer
            if offer is None:
                continue
            for each in content.iter():
                namespace, local = split_tag(each.tag)
                if local == "transport" and namespace in CANDIDATES:
                    sid = each.get("sid", "")
                    if sid and len(sid) <= LONGEST_SID:
                        files.put((offer.way, who, "sid", sid), offer)
                elif local == "range" and not offering:
                    offer.offset = max(offer.offset, number_of(each.get("offset", "")) or 0)
        if action == "session-terminate":
            for stream in tuple(files.streams.values()):
                if stream.key[0] == who and stream.offer.session == session:
                    files.drop(stream, way)
            return None
        return about

    def _bytestream(
        self, way: Way, query: Element, requester: str | None, target: str | None,
    ) -> tuple[list[Host], list[Element], Offer | None]:
        """SOCKS5 bytestream hosts (XEP-0065 §5.3.2): where a side connection will go, and the name it will ask for;
        hosts that are too many; what is sent there."""
        sid = query.get("sid", "")
        places = [each for each in query if each.tag == BYTESTREAMS + "streamhost" and each.get("host")]
        who = as_compared((target if way is UP else requester) or self._bare or "")
        if self._servers is not None:
            return [], [], None
        if not places or len(sid) > LONGEST_SID or len(who) > LONGEST_JID:
            return [], places, None
        most = self._limits.xmpp_streamhosts
        files = self._known_files()
        offer = files.of_stream(way, who, sid) or files.of_stream(way.other, who, sid)
        if offer is None:
            event = FileOffer(
                sender=self._user if way is UP else requester, recipients=(target,) if target else (), method="s5b",
                address=host_place(places[0]), id=sid,
            )
            offer = Offer(event, way)
            files.put((way, who, "sid", sid), offer)
        keys = socks_names(sid, requester or "", target or "", query.get("dstaddr"))
        hosts = [
            Host(self._expect(host_place(each), keys[0], offer.offer, way is not offer.way),
                 () if number else keys, each)
            for number, each in enumerate(places[:most])
        ]
        return hosts, places[most:], offer

    def _candidates(self, way: Way, jingle: Element, peer: str | None) -> tuple[list[Host], list[Element]]:
        """SOCKS5 candidates of a Jingle session (XEP-0260 §2), and those that are too many."""
        hosts: list[Host] = []
        more: list[Element] = []
        most = self._limits.xmpp_streamhosts
        user, other = self._user or "", peer or ""
        if self._servers is not None or len(other) > LONGEST_JID:
            return [], []
        for content in jingle:
            for transport in content:
                namespace, local = split_tag(transport.tag)
                if local != "transport" or namespace not in CANDIDATES:
                    continue
                sid = transport.get("sid", "")
                found = [each for each in transport if each.tag.endswith("}candidate") and each.get("host")]
                room = most - len(hosts) if len(sid) <= LONGEST_SID else 0
                more += found[room:]
                if not found or not room:
                    continue
                offer = self._known_files().of_session(
                    as_compared(other), jingle.get("sid", ""), content.get("name", "")[:LONGEST_SID],
                ) or Offer(FileOffer(
                    sender=user if way is UP else other, recipients=(other if way is UP else user,), method="s5b",
                    id=sid, answerable=False,
                ), way)
                one, two = (user, other) if way is UP else (other, user)
                keys = socks_names(sid, one, two, transport.get("dstaddr")) + socks_names(sid, two, one, None)
                for each in found[:room]:
                    expect = self._expect(host_place(each), keys[0], offer.offer, way is not offer.way)
                    hosts.append(Host(expect, keys, each))
                    keys = keys[:1]
        return hosts, more

    def _slot(self, slot: Element, sender: str | None, ident: str | None) -> list[Host]:
        """Where an uploaded file goes and can be had (XEP-0363 §5), if it was asked for."""
        files = self._files
        key = (UP, as_compared(sender or self._bare or ""), "upload", ident)
        offer = files.offers.pop(key, None) if files is not None else None
        if offer is None:
            return []
        hosts: list[Host] = []
        for name in ("get", "put"):
            for child in slot:
                if child.tag.rpartition("}")[2] == name:
                    url = urls.read(child.get("url") or child.text or "")
                    if url is not None:
                        expect = self._expect(url.address, url.key, offer.offer, False, "http_upload")
                        hosts.append(Host(expect, (url.key,)))
                    break
        return hosts

    def _expect(
        self, address: str, key: str, offer: FileOffer, reverse: bool, what: str = "bytestream",
    ) -> Expect:
        return Expect(address, what, self._user, key, offer, self._flow.id, self._identity, reverse=reverse)

    # -- files: in-band bytestreams (XEP-0047)

    def _with_endings(self, chunk: Chunk, files: Files) -> list[Frame]:
        """A chunk of a way whose files have ended by what the other way said, or end here."""
        way, at = chunk.way, chunk.at
        frames = self._endings(way, at, files)
        if chunk.data or chunk.gap:
            frames += self.feed(Chunk(way, at, chunk.data, chunk.gap))
        if chunk.end:
            for stream in tuple(files.streams.values()):
                if stream.contents[way] is not None:
                    files.drop(stream, None, "the session ended before the file")
            broken = [frames.pop()] if frames and frames[-1].fault is not None else []
            frames += self._endings(way, at, files) + broken
        return frames

    def _endings(self, way: Way, at: float, files: Files) -> list[Frame]:
        ended = files.due[way]
        frames = [
            Frame(way, at, b"", "xmpp.file_end", (event,), note=Block("end", "", None, None)) for event in ended
        ]
        ended.clear()
        return frames

    def _file_answer(
        self, files: Files, way: Way, at: float, raw: bytes, element: Element, typed: str,
    ) -> Frame | None:
        """An answer: to a request of ours (for us alone), or one that ends or begins a bytestream (None)."""
        ident = element.get("id")
        if ident is None:
            return None
        peer = as_compared(self._peer_of(way, element))
        if files.count and ident.startswith(self._ours):
            number = ident[len(self._ours):].partition(".")[0]
            for stream in tuple(files.streams.values()):
                if typed == "error" and str(stream.number) == number:
                    files.drop(stream, way, "its reader refused a block")
            return Frame(way, at, raw, "xmpp.iq", note=Block("answer", "iq", None, None))
        for stream in files.streams.values():
            if stream.key[0] != peer:
                continue
            if stream.opening == ident and stream.way is not way:
                stream.opening = None
                stream.peers = (stream.peers[0], self._peer_of(way, element))
                if typed == "error":
                    files.drop(stream, way)
                break
            if typed == "error" and stream.last[way.other] == ident:
                files.drop(stream, way, "its reader refused a block")
                break
        offer = files.offers.get((way.other, peer, "iq", ident))
        if offer is not None and typed == "result":
            for each in element.iter():
                if each.tag == SI_FILE + "range":
                    offer.offset = max(offer.offset, number_of(each.get("offset", "")) or 0)
        return None

    def _peer_of(self, way: Way, element: Element) -> str:
        """The other end of a stanza, as it is written."""
        return element.get("to" if way is UP else "from") or self._bare or ""

    def _block(self, way: Way, at: float, raw: bytes, element: Element, child: Element, name: str) -> Frame:
        """A stanza that is about an in-band bytestream and nothing else."""
        files = self._known_files()
        peer, sid = self._peer_of(way, element), child.get("sid", "")
        note = Block(child.tag[len(IBB):], name, element.get("id"), peer, None, sid)
        who = as_compared(peer)
        if self._servers is not None or REFUSE_STREAMS in self._edits:
            # Its answers go another way, and nobody could be kept waiting.
            return self._stray(way, at, raw, note, "not-acceptable")
        if not sid or len(sid) > LONGEST_SID or len(who) > LONGEST_JID or len(child) or any(
            "}" in each for each in child.attrib
        ):
            # Clients disagree about attributes with a namespace and text behind a child.
            return self._stray(way, at, raw, note, "bad-request")
        if note.ident is not None and len(note.ident) > LONGEST_SID:
            return self._stray(way, at, raw, note, "bad-request")
        stream = files.streams.get((who, sid))
        if child.tag == IBB_OPEN:
            return self._opened(files, way, at, raw, child, note, stream)
        if child.tag == IBB_CLOSE:
            if stream is None:
                return Frame(way, at, raw, f"xmpp.{name}")
            content = stream.contents[way]
            files.drop(stream, way, but=way)
            note.stream = stream
            events = (content.end(by_sender=True),) if content is not None else ()
            return Frame(way, at, raw, f"xmpp.{name}", events, note=note)
        if stream is not None and peer not in stream.peers:
            # A server may take it for somebody else: what reached nobody must not count as content.
            return self._stray(way, at, raw, note, "item-not-found")
        number, data = child.get("seq", ""), decoded(child.text)
        seq = int(number) if number.isascii() and number.isdigit() and len(number) <= 5 else -1
        if stream is None:
            offer = files.of_stream(way, who, sid)
            if offer is not None and offer.refused:
                note.what = "refused"
                return Frame(way, at, raw, f"xmpp.{name}", note=note)
            if not self._sides[way].loose or not self._room_for(files, way, at):
                return self._stray(way, at, raw, note, "item-not-found")
            stream = self._stream(files, way, at, who, peer, sid, offer)
            stream.expected[way] = max(0, seq)
            stream.late = seq != 0
        note.stream = stream
        stream.at = at
        ahead = (seq - stream.expected[way]) % 65536
        gap = ahead * stream.block if ahead < 32768 and self._sides[way].loose else 0
        if not 0 <= seq < 65536 or (ahead and not gap):
            return self._broken(files, way, at, raw, note, "unexpected-request", "a block is not the next one")
        if data is None or len(data) > stream.block:
            why = "a block is not base64" if data is None else "a block is longer than agreed"
            return self._broken(files, way, at, raw, note, "bad-request", why)
        stream.expected[way] = (seq + 1) % 65536
        stream.last[way] = note.ident
        content = stream.contents[way]
        part = FilePart(transfer=content.name if content is not None else "", data=data, gap=gap)
        if content is not None:
            content.seen += len(data)
            content.lost = content.lost or gap > 0
            return Frame(way, at, raw, f"xmpp.{name}", (part,), note=note)
        return self._begun(files, way, at, raw, note, stream, part)

    def _begun(
        self, files: Files, way: Way, at: float, raw: bytes, note: Block, stream: Stream, part: FilePart,
    ) -> Frame:
        """The first block of a way: a file begins."""
        offer = stream.offer
        events: tuple[Event, ...] = ()
        if offer.used or (way is not stream.way and offer.session is None):
            # The one who accepted the stream sends something of his own.
            offer = Offer(self._offer_of(way, note.peer or "", note.sid, answerable=False), way)
            events = (offer.offer,)
        elif not stream.announced:
            events = (offer.offer,)
        offer.used = True
        said = offer.offer
        if way is not offer.way:
            # Jingle can ask for a file: the one who answers sends it (XEP-0234 §4.2).
            user, peer = self._user or "", note.peer or ""
            said = msgspec.structs.replace(
                said, sender=user if way is UP else peer, recipients=(peer if way is UP else user,))
        files.count += 1
        content = stream.contents[way] = Content(
            f"{self._flow.id}-ibb{files.count}", said, offer.offset, len(part.data),
            stream.late or part.gap > 0,
        )
        start = FileStart(transfer=content.name, offer=said, offset=offer.offset, inband=True)
        part = msgspec.structs.replace(part, transfer=content.name)
        return Frame(way, at, raw, f"xmpp.{note.name}", (*events, start, part), note=note)

    def _opened(
        self, files: Files, way: Way, at: float, raw: bytes, child: Element, note: Block, stream: Stream | None,
    ) -> Frame:
        """A bytestream is opened; an offer is linked with it, or it is one itself."""
        who = as_compared(note.peer or "")
        block = min(number_of(child.get("block-size", "")) or BLOCK_BYTES, BLOCK_BYTES)
        if note.name == "message":
            return self._stray(way, at, raw, note, "bad-request")
        if stream is not None:
            if stream.way is not way or stream.contents[UP] is not None or stream.contents[DOWN] is not None:
                return self._stray(way, at, raw, note, "not-acceptable")
            block = min(block, stream.block)
            del files.streams[stream.key]
        offer = files.of_stream(way, who, note.sid)
        if offer is not None and offer.refused:
            note.what, note.condition = "refused", "not-acceptable"
            return Frame(way, at, raw, "xmpp.iq", note=note)
        if not self._room_for(files, way, at):
            return self._stray(way, at, raw, note, "resource-constraint")
        if offer is not None and offer.used:
            offer = None
        stream = self._stream(files, way, at, who, note.peer or "", note.sid, offer, block)
        note.stream = stream
        stream.opening = note.ident
        if stream.announced:
            return Frame(way, at, raw, "xmpp.iq", note=note)
        stream.announced = True
        return Frame(way, at, raw, "xmpp.iq", (stream.offer.offer,), note=note)

    def _stream(
        self, files: Files, way: Way, at: float, who: str, peer: str, sid: str, offer: Offer | None,
        block: int = BLOCK_BYTES,
    ) -> Stream:
        files.count += 1
        known = offer is not None
        stream = files.streams[who, sid] = Stream(
            files.count, (who, sid), (peer,), way, offer or Offer(self._offer_of(way, peer, sid), way), known, block,
            at, expected=[0, 0], last=[None, None], contents=[None, None],
        )
        return stream

    def _offer_of(self, way: Way, peer: str, sid: str, *, answerable: bool = True) -> FileOffer:
        """A bytestream that nobody offered in other words."""
        user = self._user or ""
        return FileOffer(
            sender=user if way is UP else peer, recipients=(peer if way is UP else user,), method="ibb", id=sid,
            answerable=answerable,
        )

    def _room_for(self, files: Files, way: Way, at: float) -> bool:
        """Whether one more bytestream may be opened: one that was silent for long gives way."""
        mine = [stream for stream in files.streams.values() if stream.way is way]
        if len(mine) < self._limits.files_open:
            return True
        oldest = min(mine, key=lambda stream: stream.at)
        if at - oldest.at <= self._limits.expect_seconds:
            return False
        files.drop(oldest, None, "nothing came for too long")
        return True

    def _stray(self, way: Way, at: float, raw: bytes, note: Block, condition: str) -> Frame:
        """A block that belongs to nothing."""
        note.what, note.condition = "stray", condition
        edit = REFUSE_BLOCKS if REFUSE_BLOCKS in self._edits else None
        return Frame(
            way, at, raw, f"xmpp.{note.name}", (), (Oddity("xmpp.stray_block", condition),), edit=edit, note=note)

    def _broken(
        self, files: Files, way: Way, at: float, raw: bytes, note: Block, condition: str, why: str,
    ) -> Frame:
        """A block that its reader may take or not: the stream ends here (XEP-0047 §2.2)."""
        stream = note.stream
        assert stream is not None
        content = stream.contents[way]
        files.drop(stream, None, why, but=way)
        note.what, note.condition = "broken", condition
        return Frame(
            way, at, raw, f"xmpp.{note.name}",
            (content.end(by_sender=True, detail=why),) if content is not None else (),
            (Oddity("xmpp.broken_block", why),),
            edit=REFUSE_BLOCKS if REFUSE_BLOCKS in self._edits else None, note=note,
        )

    # -- presence

    def _presence(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        get = element.get
        typed = get("type")
        sender = (self._user or get("from")) if way is UP else get("from")
        to = get("to") or (None if way is UP else self._user)
        recipients = (to,) if to else ()
        words = Gather()
        show: str | None = None
        read: list[Read] = self._guessed_user(way, element)
        room: Element | None = None
        joining = False
        signed = False
        for child in element:
            tag = child.tag
            if tag == STATUS:
                words.add("status", child, child.get(LANG))
            elif tag == SHOW:
                show = (child.text or "").strip()
            elif tag == MUC:
                joining = True
            elif tag == MUC_USER + "x":
                room = child
            elif tag == NICK:
                words.add("nick", child)
            elif tag == SIGNED:
                signed = True
            elif tag == ERROR:
                for part in child:
                    if part.tag == ERROR_TEXT:
                        words.add("error", part, part.get(LANG))
            elif tag not in QUIET and tag != PRIORITY:
                if tag == "{vcard-temp:x:update}x":
                    continue
                read_rest(child, "extension", words)
        if typed is None:
            availability = "online" if not show else SHOWS.get(show, "unknown")
        elif typed == "unavailable":
            availability = "offline"
        elif typed in ("subscribe", "subscribed", "unsubscribe", "unsubscribed"):
            availability = typed
        else:
            availability = "unknown"
        group = self._room(way, to if way is UP else sender, typed, joining, room)
        if group is not None:
            read.append(group)
        else:
            read.append((Presence(sender=sender, recipients=recipients, availability=availability), []))
        if words.texts:
            if signed:
                words.freeze()
            read.append((Message(
                kind="status", sender=sender, recipients=recipients, conversation=bare_jid(to or "").lower() or None,
                texts=words.texts_now(), answerable=typed != "error",
            ), words.spots))
        read += self._leftovers(way, element, read)
        return Frame(
            way, at, raw, "xmpp.presence", tuple(event for event, _ in read),
            note=Note(element, [spots for _, spots in read]),
        )

    def _room(
        self, way: Way, occupant: str | None, typed: str | None, joining: bool, item: Element | None,
    ) -> Read | None:
        """A room's presence (XEP-0045 §7): join, leave, kick, nick; remembers the user's own nick per room."""
        room, _, nick = (occupant or "").partition("/")
        if not room or not nick:
            return None
        rooms = self._rooms
        key = room.lower()
        if way is UP:
            known = rooms is not None and key in rooms
            if joining and typed is None:
                if rooms is None:
                    rooms = self._rooms = {}
                if key in rooms or len(rooms) < self._limits.xmpp_rooms:
                    rooms[key] = nick
                return GroupChange(action="join", group=room, member=nick), []
            if not known or rooms is None:
                return None
            if typed == "unavailable":
                del rooms[key]
                return GroupChange(action="leave", group=room, member=nick), []
            if typed is None and rooms[key] != nick:
                rooms[key] = nick
                return GroupChange(action="nick", group=room, member=nick), []
            return None
        if item is None:
            return None
        codes = {status.get("code") for status in item if status.tag == MUC_USER + "status"}
        texts = Gather()
        for each in item:
            if each.tag == MUC_USER + "item":
                read_rest(each, "reason", texts)
        action = "join"
        if typed == "unavailable":
            action = "nick" if "303" in codes else "kick" if codes & {"301", "307", "321", "322", "333"} else "leave"
        elif typed is not None:
            return None
        if "110" in codes and rooms is not None and key in rooms and action == "join":
            rooms[key] = nick
        return GroupChange(action=action, group=room, member=nick, texts=texts.texts_now()), texts.spots

    # -- writing

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a frame."""
        return self._sides[way].split.pending

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """What to send for a frame; see Decoder.apply."""
        counting, servers = self._counting, self._servers
        if counting is not None and not counting.writing:
            return self._apply_counted(frame, verdicts, counting)
        if servers is not None and not servers.writing:
            return self._apply_between(frame, verdicts, servers)
        for verdict in verdicts:
            if verdict is not PASSED and verdict.action:
                return self._judged(frame, verdicts)
        if frame.edit is not None:
            return self._edited(frame)
        note = frame.note
        if note is None:
            if frame.kind in _MOVES:
                return self._moved(frame)
        elif type(note) is Note:
            if note.hosts or note.offer is not None:
                return self._announced(frame, note)
        elif type(note) is Block:
            return self._apply_block(frame, note, verdicts)
        elif type(note) is ManagementUnit:
            return self._managed(frame, note)
        return [Send(frame.way, frame.raw)]

    def _apply_counted(self, frame: Frame, verdicts: Sequence[Verdict], counting: Counting) -> list[Act]:
        """What to send for a frame where stanzas are counted; what is sent is counted where it stands on the wire.

        What goes the frame's own way leaves now; what is said to the other side waits until the engine has nothing
        that goes there (an answer that belongs to an edit does not wait).
        """
        way = frame.way
        content = bool(frame.events) and type(frame.events[-1]) in _CONTENT
        if not content and counting.out[way]:
            counting.out[way] -= 1
        counting.writing = True
        acts = self.apply(frame, verdicts)
        counting.writing = False
        owed = counting.owed
        if len(acts) == 1 and not content and frame.kind in _STANZA_KINDS and not owed[UP] and not owed[DOWN]:
            act = acts[0]
            if type(act) is Send and act.way is way and counting.turn == counting.state.turn:
                # As nearly always: one stanza, sent on.
                if counting.on[way]:
                    counting.state.counts[way].passed()
                return acts
        counting = self._counting or counting
        if counting.turn != counting.state.turn:
            return acts     # it goes on elsewhere
        counts, on = counting.state.counts, counting.on
        kept = content and self._count_files(frame, verdicts, counting)
        stanza = frame.kind in _STANZA_KINDS and bool(frame.raw)
        left: list[Act] = []
        for act in acts:
            if type(act) is Send:
                if act.way is way:
                    if not on[way]:
                        pass
                    elif stanza:
                        stanza = False
                        if kept:
                            counts[way].taken(kept=True)
                        else:
                            counts[way].passed()
                    elif act.data.startswith(STANZA_STARTS):
                        counts[way].added()
                elif act.data.startswith(STANZA_STARTS):
                    if frame.edit is None:
                        self._owe(act, counting)
                        continue
                    if on[act.way]:
                        counts[act.way].added()
            left.append(act)
        if stanza and on[way]:
            counts[way].taken()
        if owed[UP] or owed[DOWN]:
            self._settle(counting, left, way if kept else None)
        return left

    def _count_files(self, frame: Frame, verdicts: Sequence[Verdict], counting: Counting) -> bool:
        """Whether a stanza with content of a file is kept back; of a file that ended here, what was kept has gone on
        before, or never will."""
        worst = max(verdict.action for verdict in verdicts) if verdicts else Action.PASS
        kept = False
        for event in frame.events:
            if isinstance(event, FilePart | FileStart):
                kept = worst is Action.HOLD
                if kept and isinstance(event, FilePart) and (
                    event.transfer in counting.files or len(counting.files) < _KEPT_FILES
                ):
                    counting.files[event.transfer] = counting.files.get(event.transfer, 0) + 1
            elif isinstance(event, FileEnd):
                number = counting.files.pop(event.transfer, 0)
                if worst < Action.HOLD and counting.on[frame.way]:
                    counting.state.counts[frame.way].released(number)
        return kept

    def _owe(self, act: Send, counting: Counting) -> None:
        owed = counting.owed[act.way]
        if sum(map(len, owed)) + len(act.data) <= self._limits.inject_bytes:
            owed.append(act.data)

    def _settle(self, counting: Counting, acts: list[Act], but: Way | None = None) -> None:
        """Say what waited, where nothing of the peer's is before it. `but`: what goes there now is kept."""
        for way in (UP, DOWN):
            owed = counting.owed[way]
            if owed and way is not but and not counting.out[way] and self.ready(way):
                for data in owed:
                    if counting.on[way]:
                        counting.state.counts[way].added()
                    acts.append(Send(way, data))
                owed.clear()

    def _managed(self, frame: Frame, note: ManagementUnit) -> list[Act]:
        """Pass a unit of stream management, its count translated, its address led through us."""
        way, raw, part, counting = frame.way, frame.raw, note.part, self._counting
        written: list[tuple[Element, str, str]] = []
        state = note.state
        if counting is not None:
            if note.what == "enable":
                counting.on[UP] = True
            elif note.what == "enabled":
                # Inside a login nothing is counted before its answer.
                counting.on = [True, True]
            elif note.what == "a":
                if counting.turn == counting.state.turn and counting.on[way.other]:
                    self._translate(note.element, counting.state.counts[way.other], written)
            elif note.what == "resumed" and state is not None:
                self._resumed(note, state, counting, written)
        if state is not None and part is not None:
            # Whose it is the server says: until then nothing of it changes.
            if note.what in ("resume", "authenticate"):
                self._translate(part, state.counts[DOWN].copy(), written)
            elif note.what == "failed":
                self._translate(part, state.counts[UP].copy(), written)
        places: dict[int, Place] = {}
        changes: list[tuple[int, int, bytes]] = []
        if written or note.removals or note.address is not None or note.adding:
            pair_places(note.element, xml.locate(raw), places)
        for element, name, value in written:
            span = xml.attribute(raw, places[id(element)], name)
            if span is not None:
                changes.append((*span, value.encode()))
        for element in note.removals:
            changes.append((places[id(element)].start, places[id(element)].end, b""))
        if note.address is not None and part is not None:
            changes += self._led(frame, note.address, part, places[id(part)])
        if note.adding and not places[id(note.element)].empty:
            at = places[id(note.element)].close_start
            changes.append((at, at, note.adding.encode()))
        return [Send(way, xml.rewrite(raw, changes) if changes else raw)]

    def _translate(self, element: Element, counts: Counts, written: list[tuple[Element, str, str]]) -> None:
        """The count that its writer gives as that of its reader."""
        given = counted(element)
        if given is not None:
            alike = counts.alike
            had = counts.had(given)
            if had != given and not alike:
                written.append((element, "h", str(had)))

    def _resumed(
        self, note: ManagementUnit, state: Managed, counting: Counting, written: list[tuple[Element, str, str]],
    ) -> None:
        """Both go on from what the other has; each sends again what is behind it."""
        up, down = state.counts
        down.resume(counting.claimed)
        given = counted(note.part) if note.part is not None else None
        if given is not None and note.part is not None:
            had = up.resume(given)
            if had != given:
                written.append((note.part, "h", str(had)))
        state.turn += 1
        counting.state, counting.turn, counting.on = state, state.turn, [True, True]

    def _led(self, frame: Frame, address: str, part: Element, place: Place) -> list[tuple[int, int, bytes]]:
        """Lead the client through us where he is sent elsewhere; where that cannot be, he is not sent."""
        raw = frame.raw
        host, port = host_and_port(address)
        ours = None
        if host:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            expect = Expect(where, "xmpp", self._user, None, None, self._flow.id, self._identity)
            ours = self._memory.lease(expect, DOWN, frame.at)
        if ours is None and not self._flow.reverse:
            return []
        new = None if ours is None else f"[{ours.ip}]:{ours.port}" if ":" in ours.ip else f"{ours.ip}:{ours.port}"
        if part.tag == OTHER_HOST:
            if new is None:
                return [(place.start, place.end, f"<resource-constraint xmlns='{STREAM_ERROR}'/>".encode())]
            return [(place.open_end, place.close_start, new.encode())]
        span = xml.attribute(raw, place, "location")
        if span is None:
            return []
        if new is not None:
            return [(*span, new.encode())]
        return [(raw.rindex(b"location", place.start, span[0]), span[1] + 1, b"")]

    def _moved(self, frame: Frame) -> list[Act]:
        """Pass a unit that changes what the peers have open."""
        way, kind = frame.way, frame.kind
        side = self._sides[way]
        if kind == "xmpp.stream":
            side.open = not frame.raw.endswith(b"/>")
        elif kind == "xmpp.close":
            side.open = False
            self._end_session()
        elif kind == "xmpp.proceed" and self.undecryptable is None and self._tls == 2:
            self._tls = 0
            if self._servers is not None:
                self._servers.secured = True
            for each in self._sides:
                each.split = Splitter(each.split.limit, self._max_depth)
                each.started = each.open = each.closed = each.loose = each.skipping = False
            return [StartTls(self._to, frame.raw, _TLS_FAILED)]
        elif kind in ("xmpp.success", "xmpp.compressed"):
            # A new stream begins behind it, both ways (RFC 6120 §6.4.6).
            for each in self._sides:
                each.open = False
            if kind == "xmpp.compressed" and self._coding is not None:
                return [Send(way, frame.raw), Recode(self._coding)]
        return [Send(way, frame.raw)]

    def _edited(self, frame: Frame) -> list[Act]:
        """Make a frame's edit; nothing was held against its events."""
        note = frame.note
        if frame.edit == REFUSE_COMPRESSION:
            return [Send(DOWN, (
                b"<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>"
            ))]
        if isinstance(note, str):
            return [Send(DOWN, note.encode())]
        if isinstance(note, Block):
            return self._refuse_block(frame, note)
        if isinstance(note, ManagementUnit):
            return self._managed(frame, note)
        assert isinstance(note, Note)
        if note.hosts or note.offer is not None:
            return self._announced(frame, note)
        return [Send(frame.way, self._rewritten(frame, note, ()))]

    def _judged(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        note = frame.note
        if isinstance(note, Block):
            return self._apply_block(frame, note, verdicts)
        if not isinstance(note, Note) or note is NO_NOTE:
            if any(verdict.action >= Action.BLOCK for verdict in verdicts):
                # A sign-on that is refused cannot be masked or swallowed: only the session can go.
                return [*self.close("the sign-on is refused"), Cut("sign-on refused")]
            return self._managed(frame, note) if isinstance(note, ManagementUnit) else self._moved(frame)
        refused = next((verdict for verdict in verdicts if verdict.action >= Action.HOLD), None)
        if frame.kind == "xmpp.presence":
            return self._judged_presence(frame, note, verdicts, refused)
        if refused is None:
            return self._delivered(frame, note, verdicts)
        typed = note.element.get("type")
        answer = typed in ("error", "result") if frame.kind == "xmpp.iq" else typed == "error"
        if answer:
            if frame.kind == "xmpp.message" and any(
                verdict.action >= Action.HOLD and beyond_masks(event)
                for verdict, event in zip(verdicts, frame.events, strict=False)
            ):
                # What was refused has no words to mask: of the error only the error itself goes on.
                payload = [child for child in note.element if child.tag != ERROR]
                note = Note(note.element, note.spots, [*note.removals, *payload])
            return self._delivered(frame, note, verdicts)
        if frame.kind == "xmpp.iq":
            return self._refused_iq(frame, note, verdicts, refused)
        return self._refused_message(frame, note, refused)

    def _delivered(self, frame: Frame, note: Note, verdicts: Sequence[Verdict]) -> list[Act]:
        """Send it with its masks; tell the sender what a rule wants him told."""
        if note.offer is not None and note.offer.refused:
            return self._refused_iq(frame, note, verdicts, PASSED)
        changes, surplus, expected = self._leased(frame, note)
        acts: list[Act] = [Send(frame.way, self._rewritten(frame, note, verdicts, changes, surplus)), *expected]
        if frame.way is UP and note.element.get("type") not in ("error", "result"):
            for verdict in verdicts:
                if verdict.notice and verdict.action is not Action.PASS:
                    acts.append(Send(DOWN, self._headline(verdict.notice)))
                    break
        return acts

    def _rewritten(
        self, frame: Frame, note: Note, verdicts: Sequence[Verdict], written: Sequence[tuple[Element, str, str]] = (),
        surplus: Sequence[Element] = (),
    ) -> bytes:
        """The frame's bytes with removals made, masks put and attributes written; of an answer that is refused every
        text is masked."""
        raw = frame.raw
        places: dict[int, Place] = {}
        pair_places(note.element, xml.locate(raw), places)
        changes: list[tuple[int, int, bytes]] = []
        for element, name, value in written:
            span = xml.attribute(raw, places[id(element)], name)
            if span is not None:
                changes.append((*span, escape(value).encode()))
        for element in (*note.removals, *surplus):
            place = places[id(element)]
            changes.append((place.start, place.end, b""))
        for verdict, spots in zip(verdicts, note.spots, strict=False):
            if verdict.action is Action.REDACT:
                wanted: dict[int, list[tuple[int, int]]] = {}
                for text, start, end in verdict.masks:
                    wanted.setdefault(text, []).append((start, end))
                for index, spans in wanted.items():
                    changes += masked(raw, spots[index], places, spans)
            elif verdict.action >= Action.HOLD:
                for spot in spots:
                    changes += masked(raw, spot, places, None)
        return xml.rewrite(raw, changes) if changes else raw

    def _refused_message(self, frame: Frame, note: Note, refused: Verdict) -> list[Act]:
        element, way = note.element, frame.way
        get = element.get
        acts: list[Act] = []
        notice = refused.notice
        if refused.placeholder is not None:
            acts.append(Send(way, replaced(frame.raw, element, refused.placeholder)))
        elif way is UP:
            acts += self._nothing()
        if notice is None:
            return acts
        if way is UP:
            acts.append(Send(DOWN, self._error("message", get("id"), get("to"), self._user, notice)))
        elif get("type") in (None, "normal", "chat") and get("from") and all(
            not isinstance(event, Message) or event.copy == "no" for event in frame.events
        ):
            acts.append(Send(UP, self._error("message", get("id"), None, get("from"), notice)))
        return acts

    def _refused_iq(
        self, frame: Frame, note: Note, verdicts: Sequence[Verdict], refused: Verdict,
    ) -> list[Act]:
        """A refused request is always answered (RFC 6120 §8.2.3)."""
        get = note.element.get
        condition, kind = "not-allowed", "cancel"
        if note.offer is not None:
            condition, kind = REFUSALS.get(note.offer.offer.method, (condition, kind))
        for verdict, event in zip(verdicts, frame.events, strict=False):
            if verdict.action >= Action.HOLD and isinstance(event, FileOffer):
                condition, kind = REFUSALS.get(event.method, (condition, kind))
        self._refuse_offers(note)
        if frame.way is UP:
            acts = self._nothing()
            answer = self._error("iq", get("id"), get("to"), self._user, refused.notice, condition, kind)
            acts.append(Send(DOWN, answer))
            return acts
        return [Send(UP, self._error("iq", get("id"), None, get("from"), refused.notice, condition, kind))]

    # -- writing: files

    def _announced(self, frame: Frame, note: Note) -> list[Act]:
        """Pass a stanza that says where content will travel: our address in place of others where there is one."""
        if note.offer is not None and note.offer.refused:
            return self._refused_iq(frame, note, (), PASSED)
        changes, surplus, expected = self._leased(frame, note)
        raw = frame.raw
        if changes or surplus or note.removals:
            raw = self._rewritten(frame, note, (), changes, surplus)
        return [Send(frame.way, raw), *expected]

    def _leased(
        self, frame: Frame, note: Note,
    ) -> tuple[list[tuple[Element, str, str]], list[Element], list[Act]]:
        """(attributes to write, hosts that get no port of ours and must go, what is expected) of a stanza.

        A session has its share of ports: who offers without end takes none from others.
        """
        changes: list[tuple[Element, str, str]] = []
        surplus: list[Element] = []
        acts: list[Act] = []
        if not note.hosts:
            return changes, surplus, acts
        at, leases = frame.at, self._known_files().leases
        until = at + self._limits.expect_seconds
        while leases and leases[0] <= at - self._limits.lease_seconds:
            leases.popleft()
        for host in note.hosts:
            if host.element is not None:
                if len(leases) >= self._limits.xmpp_leases:
                    surplus.append(host.element)
                    continue
                ours = self._memory.lease(host.expect, frame.way, at)
                if ours is not None:
                    leases.append(at)
                    changes += [(host.element, "host", ours.ip), (host.element, "port", str(ours.port))]
            acts.append(host.expect)
            for key in host.keys:
                self._memory.put(expect_key(host.expect.what, key), host.expect, until)
        return changes, surplus, acts

    def _refuse_offers(self, note: Note) -> None:
        """Remember that the files of a stanza were refused: so is their content, whoever sends it all the same."""
        if self._flow.file is None:
            for offer in note.offered:
                offer.refused = True

    def _apply_block(self, frame: Frame, note: Block, verdicts: Sequence[Verdict]) -> list[Act]:
        """What to send for a stanza of an in-band bytestream."""
        way, stream = frame.way, note.stream
        if note.what == "answer":
            return self._nothing() if way is UP else []
        worst = max(verdicts, key=lambda verdict: verdict.action) if verdicts else PASSED
        if note.what == "end":
            if worst.action >= Action.BLOCK and worst.reference and self.ready(DOWN):
                return [Send(DOWN, self._headline(worst.notice or told_of(None, worst)))]
            return []
        if self._flow.file is not None:
            return [Send(way, frame.raw)]
        if note.what == "refused" or (stream is not None and stream.refused):
            return self._refuse_block(frame, note)
        if worst.action >= Action.BLOCK or (worst.action is Action.HOLD and note.what == "open"):
            assert stream is not None
            return self._refuse_stream(frame, note, stream, worst)
        held = worst.action is Action.HOLD and note.what == "data"
        acts: list[Act] = self._held(frame, note) if held else [Send(way, frame.raw)]
        if way is UP:
            # A block that nobody announced is its own offer, and may have been warned of while it is held.
            warned = [each.notice for each in verdicts if each.notice and each.action is not Action.PASS]
            acts += [Send(DOWN, self._headline(notice)) for notice in warned[:1]]
        return acts

    def _held(self, frame: Frame, note: Block) -> list[Act]:
        """Keep a block and answer its sender. It gets an identifier of ours, by which its reader's answer is known."""
        way, raw = frame.way, frame.raw
        if note.name != "iq" or note.ident is None or note.stream is None:
            return [Send(way, raw)]
        span = xml.attribute(raw, Place(0, xml.close_of(raw, 0)), "id")
        if span is not None:
            ident = self._own_ident(note.stream.number).encode()
            raw = b"".join((raw[:span[0]], ident, memoryview(raw)[span[1]:]))
        return [Send(way, raw), self._request(way.other, note.peer, note.ident, "result")]

    def _own_ident(self, number: int) -> str:
        files = self._known_files()
        files.count += 1
        return f"{self._ours}{number}.{files.count}"

    def _request(self, way: Way, peer: str | None, ident: str, typed: str = "set", inner: str = "") -> Send:
        """An iq of ours that reads as the other end's."""
        ends = f"{attribute('from', peer)}{attribute('to', self._user)}" if way is DOWN else attribute("to", peer)
        if way is UP and self._servers is not None:
            ends = f"{attribute('from', self._user)}{ends}"
        tail = f">{inner}</iq>" if inner else "/>"
        return Send(way, f"<iq type='{typed}'{attribute('id', ident)}{ends}{tail}".encode())

    def _closing(self, way: Way, note: Block, number: int) -> Send:
        inner = f"<close xmlns='{IBB[1:-1]}'{attribute('sid', note.sid)}/>"
        return self._request(way, note.peer, self._own_ident(number), inner=inner)

    def _terminate(self, way: Way, peer: str | None, session: str, text: str) -> Send:
        """The end of a Jingle session (XEP-0166 §6.7)."""
        inner = (
            f"<jingle xmlns='{JINGLE[1:].partition('}')[0]}' action='session-terminate'{attribute('sid', session)}>"
            f"<reason><security-error/><text>{one_line(text)}</text></reason></jingle>"
        )
        return self._request(way, peer, self._own_ident(0), inner=inner)

    def _refusal(self, frame: Frame, note: Block, notice: str | None) -> list[Act]:
        """What the sender of a refused block is told."""
        back = frame.way.other
        if note.name == "iq":
            sender, to = (note.peer, self._user) if back is DOWN else (None, note.peer)
            return [Send(back, self._error("iq", note.ident, sender, to, notice, note.condition, note.kind))]
        if note.stream is not None:
            return [self._closing(back, note, note.stream.number)]
        return []

    def _refuse_block(self, frame: Frame, note: Block) -> list[Act]:
        """Take one stanza out of the way: its sender gets an error, the reader of a stream that broke its end."""
        acts: list[Act] = self._nothing() if frame.way is UP else []
        if note.what == "broken" and note.stream is not None:
            acts.append(self._closing(frame.way, note, note.stream.number))
        return acts + self._refusal(frame, note, None)

    def _refuse_stream(self, frame: Frame, note: Block, stream: Stream, refused: Verdict) -> list[Act]:
        """End a bytestream for both sides; what comes of it later is refused."""
        files, way, offer = self._known_files(), frame.way, stream.offer.offer
        stream.refused = True
        ending = any(isinstance(event, FileEnd) for event in frame.events)
        files.drop(stream, None, "refused", but=way if ending else None)
        files.put((stream.way, stream.key[0], "sid", stream.key[1]), Offer(offer, stream.way, refused=True))
        if note.what != "broken":
            note.condition = "not-acceptable"
        acts: list[Act] = self._nothing() if way is UP else []
        if note.what == "open":
            return acts + self._refusal(frame, note, refused.notice)
        text = refused.notice or told_of(offer, refused)
        acts.append(self._closing(way, note, stream.number))
        acts += self._refusal(frame, note, text)
        if stream.offer.session is not None:
            acts += [self._terminate(each, note.peer, stream.offer.session, text) for each in (way, way.other)]
        acts.append(Send(DOWN, self._headline(text)))
        return acts

    def _peer(self, offer: FileOffer) -> str | None:
        """The other end of an offer."""
        mine = offer.sender is None or bare_jid(offer.sender).lower() == (self._bare or "").lower()
        return (offer.recipients[0] if offer.recipients else None) if mine else offer.sender

    def _judged_presence(
        self, frame: Frame, note: Note, verdicts: Sequence[Verdict], refused: Verdict | None,
    ) -> list[Act]:
        """Presence is dropped silently; where only its words are refused it goes without them."""
        if refused is None:
            return self._delivered(frame, note, verdicts)
        element = note.element
        typed = element.get("type")
        if typed == "error":
            return self._delivered(frame, note, verdicts)
        words_only = all(
            verdict.action < Action.HOLD or isinstance(event, Message)
            for verdict, event in zip(verdicts, frame.events, strict=False)
        )
        acts: list[Act] = []
        if words_only:
            places: dict[int, Place] = {}
            pair_places(element, xml.locate(frame.raw), places)
            changes = [
                (places[id(child)].start, places[id(child)].end, b"") for child in element
                if child.tag == STATUS or child.tag == NICK or (
                    child.tag not in QUIET and child.tag not in PRESENCE_KEPT
                )
            ]
            acts.append(Send(frame.way, xml.rewrite(frame.raw, changes)))
            if refused.notice and frame.way is UP:
                acts.append(Send(DOWN, self._headline(refused.notice)))
            return acts
        if frame.way is UP:
            acts += self._nothing()
            joining = any(isinstance(event, GroupChange) and event.action == "join" for event in frame.events)
            if element.get("to") and (joining or (typed == "subscribe" and refused.notice)):
                # Without an answer the client would wait for the room for ever (XEP-0045 §7.2).
                acts.append(Send(DOWN, self._error(
                    "presence", element.get("id"), element.get("to"), self._user, refused.notice, "not-allowed",
                    "cancel",
                )))
            elif refused.notice:
                acts.append(Send(DOWN, self._headline(refused.notice)))
        return acts

    def _nothing(self) -> list[Act]:
        """What goes up in place of a swallowed stanza: nothing, or where stanzas are counted one that says nothing."""
        if not self._sm:
            return []
        # Servers count an unsolicited result and do nothing else with it (sheet, XEP-0198 option 3).
        self._count += 1
        return [Send(UP, f"<iq type='result' id='{self._flow.id}-n{self._count}'/>".encode())]

    def _error(
        self, name: str, ident: str | None, sender: str | None, to: str | None, notice: str | None,
        condition: str = "policy-violation", kind: str = "modify",
    ) -> bytes:
        """A stanza error (RFC 6120 §8.3.2)."""
        said = ""
        if sender is None and self._servers is not None:
            sender = self._user     # between servers a stanza names both ends
        if notice:
            said = f"<text xmlns='{STANZA_ERROR}' xml:lang='en'>{one_line(notice)}</text>"
        by = f" by='{escape(self._domain)}'" if self._domain else ""
        # libpurple shows an error only where the message has a body, and shows the error's text then.
        body = f"<body>{one_line(notice)}</body>" if notice and name == "message" else ""
        return (
            f"<{name} type='error'{attribute('id', ident)}{attribute('from', sender)}{attribute('to', to)}>{body}"
            f"<error type='{kind}'{by}><{condition} xmlns='{STANZA_ERROR}'/>{said}</error></{name}>"
        ).encode()

    def _headline(self, text: str) -> bytes:
        """A notice of the gateway. A headline asks for no answer (RFC 6121 §5.2.2): no client makes one by itself."""
        self._count += 1
        return (
            f"<message type='headline'{attribute('from', self._domain)}{attribute('to', self._user)}"
            f" id='{self._flow.id}-{self._count}'><body>{one_line(text)}</body>{_HINTS}</message>"
        ).encode()

    def ready(self, way: Way) -> bool:
        """Whether something may be injected: signed on, the stream open, and (DOWN) nobody counting stanzas."""
        side = self._sides[way]
        return (
            self._signed and (side.started or side.loose) and not side.closed and not side.broken
            and not side.skipping and self.undecryptable is None and not (self._sm and way is DOWN)
            and self._deflating != 1
        )

    @property
    def parted(self) -> bool:
        """Whether one side has closed its stream (RFC 6120 4.4): the other answers that, and reads nothing more."""
        return self._sides[UP].closed or self._sides[DOWN].closed

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """A notice of the gateway as a headline from the server's domain; the session of a refused file is ended."""
        if self._servers is not None:
            # Whoever is meant is on no stream in particular: only what was left for this one is said.
            post = self._servers.post
            if way is DOWN and message.left and len(post) < self._limits.xmpp_domains:
                post.append(message.left)
            return self._said(self._posted() if way is DOWN and self.ready(UP) else [])
        if not self.ready(way):
            return []
        acts: list[Act] = []
        about = message.about
        if isinstance(about, FileOffer) and about.method == "jingle" and about.id:
            acts.append(self._terminate(way, self._peer(about), about.id, message.text))
        if way is DOWN and message.text:
            acts.append(Send(DOWN, self._headline(message.text)))
        return self._said(acts)

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """The message stanza, its namespaces declared where they are used, without a namespace of its own; a reader's
        with the time it came (XEP-0203)."""
        frame = frames[-1]
        side = self._sides[frame.way]
        if frame.kind != "xmpp.message" or len(frames) > 1 or side.reader is None:
            return None
        if type(frame.events[index]) is not Message or any(type(event) is FileOffer for event in frame.events):
            return None
        try:
            element = side.reader.read(frame.raw)
        except XmlFault:
            return None
        if element is None:
            return None
        if frame.way is DOWN and not any(child.tag in DELAYS for child in element):
            stamp = datetime.fromtimestamp(max(0.0, frame.at), UTC).isoformat(timespec="seconds")
            attributes = {"stamp": stamp.replace("+00:00", "Z")}
            element.append(element.makeelement("{urn:xmpp:delay}delay", attributes))
        return xml.write(element, element.tag[1:].rpartition("}")[0])

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        """The stanza in this stream's namespace; from its writer, or to its reader, as the resource he has now."""
        if not self.ready(way) or not kept.startswith(b"<message"):
            return None
        element = _whole.read(kept)
        if element is None:
            return None
        namespace = b"jabber:client"
        if self._servers is not None:
            # Between servers only where both domains have this stream for each other.
            namespace = b"jabber:server"
            ends = domain_of(element.get("from", "")), domain_of(element.get("to", ""))
            if (ends if way is UP else ends[::-1]) not in self._servers.pairs or (
                way is DOWN and not self._servers.bidi
            ):
                return None
        else:
            own, user = ("from", "to")[way], self._user
            if user is not None and element.get(own, "").partition("/")[0] == user.partition("/")[0]:
                element.set(own, user)
        raw = xml.write(element, "")
        counting = self._counting
        if counting is not None and counting.turn == counting.state.turn and counting.on[way]:
            # It leaves at once: the engine asks only where nothing is before it.
            counting.state.counts[way].added()
        return [Send(way, b"<message xmlns='" + namespace + b"'" + raw[8:])]

    def _said(self, acts: list[Act]) -> list[Act]:
        """Stanzas of ours outside `apply`, counted where they are."""
        counting = self._counting
        if counting is None or counting.turn != counting.state.turn:
            return acts
        left: list[Act] = []
        for act in acts:
            if isinstance(act, Send):
                self._owe(act, counting)
            else:
                left.append(act)
        self._settle(counting, left)
        return left

    def _end_session(self) -> None:
        """The stream was closed: nobody goes on with its session."""
        counting = self._counting
        if counting is not None and counting.turn == counting.state.turn:
            counting.state.over = True

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """A stream error to the client (RFC 6120 §4.9), the end of the stream to the server."""
        up, down = self._sides
        if self.undecryptable is not None or self._tls == 2:
            return []
        acts: list[Act] = []
        self._end_session()
        condition = "policy-violation"
        extra = ""
        if fault is not None:
            condition = fault.condition or "undefined-condition"
            if fault.name == "xmpp.too_big":
                extra = "<stanza-too-big xmlns='urn:xmpp:errors'/>"
        elif any(word in reason.lower() for word in ("shutdown", "shutting", "drain", "stopp")):
            condition = "system-shutdown"
        if not down.closed:
            header = ""
            content = CLIENT[1:-1] if self._servers is None else SERVER
            prefix = down.qname.rpartition(":")[0]
            if not down.open:
                prefix = "stream"
                header = (
                    f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{STREAMS}'"
                    f" id='{self._flow.id}'{attribute('from', self._to)} version='1.0'>"
                )
            name = f"{prefix}:error" if prefix else "error"
            end = f"{prefix}:stream" if prefix else "stream"
            text = f"<text xmlns='{STREAM_ERROR}' xml:lang='en'>{one_line(reason)}</text>" if reason else ""
            acts.append(Send(DOWN, (
                f"{header}<{name}><{condition} xmlns='{STREAM_ERROR}'/>{text}{extra}</{name}></{end}>"
            ).encode()))
            down.open = False
        if up.open and self._tls == 0:
            acts.append(Send(UP, f"</{up.qname}>".encode()))
            up.open = False
        return acts


PRESENCE_KEPT = frozenset({SHOW, PRIORITY, MUC, MUC_USER + "x", SIGNED, "{vcard-temp:x:update}x"})
REFUSALS = {
    "http_upload": ("not-allowed", "cancel"), "oob": ("not-acceptable", "modify"), "si": ("forbidden", "cancel"),
    "ibb": ("not-acceptable", "cancel"), "s5b": ("not-acceptable", "cancel"), "jingle": ("not-allowed", "cancel"),
}
"""FileOffer.method -> (condition, type) that clients of that method understand (sheet section 8)."""
_CLOSINGS = {b"<m": b"</message>", b"<i": b"</iq>", b"<p": b"</presence>"}
_NESTED = 16
"""Stanzas inside a stanza that the short way follows."""
_MOVES = frozenset({"xmpp.stream", "xmpp.close", "xmpp.proceed", "xmpp.success", "xmpp.compressed"})
_CONTENT = frozenset({FileStart, FilePart, FileEnd})
"""Frames that end in these leave when the engine says so, whatever else waits."""
_STANZA_KINDS = frozenset({"xmpp.message", "xmpp.presence", "xmpp.iq"})
_REFRESH = 60.0
"""Seconds after which a managed session that acknowledges something is remembered anew."""
_KEPT_FILES = 64
"""Files of a session whose kept stanzas are counted apart."""
_SM_UNITS = frozenset({"enable", "enabled", "resume", "resumed", "failed", "r", "a"})
_BEGINNINGS = (
    b"<message ", b"<message>", b"<presence ", b"<presence>", b"<presence/>", b"<iq ", b"<?xml ", b"<stream:stream ",
    b"</stream:stream>", b"<stream:features>",
)
_LONGEST_BEGINNING = max(len(token) for token in _BEGINNINGS)
_OTHER_STREAMS = {
    "jabber:component:accept": ("component", "a component stream (XEP-0114)"),
    "jabber:component:connect": ("component", "a component stream (XEP-0114)"),
}
_KINDS = {
    f"{{{STREAMS}}}error": "xmpp.error", SASL + "challenge": "xmpp.challenge", SASL + "failure": "xmpp.failure",
    SASL + "abort": "xmpp.abort", SASL2 + "challenge": "xmpp.challenge", SASL2 + "failure": "xmpp.failure",
    SASL2 + "continue": "xmpp.continue",
    DIALBACK + "verify": "xmpp.db:verify",
    "{urn:xmpp:csi:0}active": "xmpp.active", "{urn:xmpp:csi:0}inactive": "xmpp.inactive",
}
_Handler = Callable[[XmppDecoder, float, bytes, Element], Frame]
_NONZAS: dict[tuple[Way, str], _Handler] = {
    (UP, TLS + "starttls"): XmppDecoder._starttls,
    (DOWN, TLS + "proceed"): XmppDecoder._proceed,
    (DOWN, TLS + "failure"): XmppDecoder._tls_failure,
    (DOWN, FEATURES): XmppDecoder._features,
    (UP, SASL + "auth"): XmppDecoder._auth,
    (UP, SASL + "response"): XmppDecoder._response,
    (DOWN, SASL + "success"): XmppDecoder._success,
    (UP, SASL2 + "authenticate"): XmppDecoder._auth,
    (UP, SASL2 + "response"): XmppDecoder._response,
    (DOWN, SASL2 + "success"): XmppDecoder._success2,
    (DOWN, f"{{{STREAMS}}}error"): XmppDecoder._stream_error,
    (UP, BIDI): XmppDecoder._bidi,
    (UP, COMPRESS + "compress"): XmppDecoder._compress,
    (DOWN, COMPRESS + "compressed"): XmppDecoder._compressed,
    (DOWN, COMPRESS + "failure"): XmppDecoder._not_compressed,
}
