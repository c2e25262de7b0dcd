"""One connection: its bytes become units, units frames, and frames what is sent (RFC 6120 §4, §8; RFC 6121)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Chunk,
    Cut,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Identity,
    Limits,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    PeerError,
    Recode,
    Send,
    SignOn,
    StartTls,
    Text,
    Unreleased,
    Verdict,
    Way,
)
from inspector.protocols.xmpp.edits import REFUSE_BLOCKS, REFUSE_COMPRESSION, STRIP_RTT
from inspector.protocols.xmpp.inband import apply_block, endings, is_block, on_block, refuse_block
from inspector.protocols.xmpp.logins import (
    guessed_user,
    on_auth,
    on_compress,
    on_compressed,
    on_features,
    on_not_compressed,
    on_proceed,
    on_response,
    on_starttls,
    on_success,
    on_success2,
    on_tls_failure,
)
from inspector.protocols.xmpp.management import (
    count_sent,
    end_session,
    on_management,
    on_stream_error,
    pass_management,
    remember_session,
    said_now,
)
from inspector.protocols.xmpp.messages import bound_events, keep_message, leftovers, read_message, release_message
from inspector.protocols.xmpp.names import (
    BIDI,
    BLOCKS_OF_FILES,
    BODY,
    COMPRESS,
    DIALBACK,
    ERROR,
    FEATURES,
    IQ,
    LONGEST_JID,
    MESSAGE,
    PRESENCE,
    QUIET,
    RTT,
    SASL,
    SASL2,
    SERVER,
    SM,
    STANZA_KINDS,
    STANZA_STARTS,
    STANZAS,
    STREAM,
    TLS,
    bare_jid,
    split_tag,
)
from inspector.protocols.xmpp.presence import on_presence
from inspector.protocols.xmpp.queries import on_iq
from inspector.protocols.xmpp.refusals import announce, deliver, judge_presence, refuse_iq, refuse_message
from inspector.protocols.xmpp.servers import (
    begin_servers,
    leave_post,
    name_ends,
    on_bidi,
    on_dialback_result,
    posted,
    with_sign_on,
)
from inspector.protocols.xmpp.speech import headline, peer_of_offer, stream_end, terminate
from inspector.protocols.xmpp.state import (
    NO_NOTE,
    Block,
    Counting,
    Files,
    Login,
    ManagementUnit,
    Note,
    ServerReader,
    Servers,
    Side,
)
from inspector.protocols.xmpp.words import Read, one_unit
from inspector.protocols.xmpp.writing import beyond_masks, rewritten
from inspector.wire import xml
from inspector.wire.deflated import Deflated
from inspector.wire.xml import LANG, STREAMS, Splitter, XmlFault

_TLS_FAILED = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"


class XmppDecoder(Unreleased):
    """Reads and writes one connection of a client, or of a server, to a server."""

    __slots__ = (
        "_max_depth", "_small", "_stanza_bytes", "bare", "counted_elsewhere", "counting", "domain", "edits", "files",
        "flow", "identity", "limits", "login", "login_seen", "memory", "ours", "rooms", "said", "servers",
        "sides", "signed", "to", "undecryptable", "user",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        self.flow = flow
        self.memory = memory
        self.files: Files | None = None
        self.ours = f"{flow.id}-h"
        """How identifiers of requests of ours begin: their answers are for us."""
        self.limits = limits
        self.edits = edits
        self._stanza_bytes = min(limits.xmpp_stanza_bytes, limits.frame_bytes)
        # A unit shorter than this cannot go beyond any of the other bounds: <a></a> is 7 bytes, ' a=""' is 5.
        self._small = min(
            7 * limits.xmpp_depth, 5 * limits.xmpp_attributes, 4 * limits.xmpp_children, limits.xmpp_name_bytes,
        )
        self._max_depth = limits.xmpp_depth
        up = Side(min(limits.xmpp_preauth_bytes, self._stanza_bytes), limits.xmpp_depth)
        down = Side(min(limits.xmpp_server_stanza_bytes, limits.frame_bytes), limits.xmpp_depth)
        self.sides = (up, down)
        self.undecryptable: str | None = None
        """Why the rest of the flow cannot be read; from then on all frames are raw fillers."""
        self.signed = False
        self.user: str | None = None
        self.identity: Identity = "unknown"
        self.bare: str | None = None
        self.domain: str | None = None
        self.to: str | None = None
        self.login = Login(flow.same_certificate)
        self.counted_elsewhere = False
        """Stanzas are counted, and nobody translates."""
        self.counting: Counting | None = None
        self.servers: Servers | None = None
        self.login_seen = False
        """Anything of a login was seen: not a serverless stream (XEP-0174)."""
        self.rooms: dict[str, str] | None = None
        """Rooms entered: bare JID -> own nickname."""
        self.said = 0
        if not flow.from_start:
            self._loosen(up)
            self._loosen(down)

    # -- reading

    def feed(self, chunk: Chunk) -> list[Frame]:
        """Frames completed by this chunk; see Decoder.feed."""
        way, data = chunk.way, chunk.data
        side = self.sides[way]
        frames: list[Frame] = []
        counting = self.counting
        if counting is not None and not counting.feeding:
            return self._feed_counted(chunk, counting)
        files = self.files
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
                            frames.append(on_iq(self, way, chunk.at, data, element))
                        elif tag == PRESENCE:
                            frames.append(on_presence(self, way, chunk.at, data, element))
                        if frames:
                            if files is not None and files.due[way]:
                                frames += endings(way, chunk.at, files)
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
                frames.append(on_iq(self, way, at, raw, element))
            elif tag == PRESENCE:
                frames.append(on_presence(self, way, at, raw, element))
            else:
                return 0
        except XmlFault:
            return 0
        side.spaces = 0
        files = self.files
        if files is not None and files.due[way]:
            frames += endings(way, at, files)
        return end

    def _excess(self, raw: bytes, element: Element) -> str | None:
        """What of an element goes beyond the bounds on shape, as a phrase."""
        limits = self.limits
        if len(raw) <= limits.xmpp_name_bytes and raw.count(b"=") <= limits.xmpp_attributes:
            tags = raw.count(b"<")
            if tags <= limits.xmpp_depth and tags <= limits.xmpp_children:
                return None
        return xml.measure(
            element, limits.xmpp_depth, limits.xmpp_attributes, limits.xmpp_children, limits.xmpp_name_bytes,
        )

    def secured(self) -> None:
        """TLS was opened, and the client was shown the server's own certificate."""
        self.login.same = True

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
            if self.login.tls and split.pending and self._stopped(way, side, at, frames):
                return
            if self.login.deflating == 1 and way is UP and split.pending:
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
            files = self.files
            if files is not None and files.due[way]:
                frames += endings(way, at, files)
            if self._blind():
                if self.login.deflating != 2:
                    self._fill(way, at, split.rest(), frames)
                return
        side.quick = (
            self.signed and split.opened and not split.pending and not side.closed and self.servers is None
            and self.login.deflating != 1)

    def _fill(self, way: Way, at: float, data: bytes, frames: list[Frame]) -> None:
        size = self.limits.part_bytes
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], "xmpp.raw"))

    def _stopped(self, way: Way, side: Side, at: float, frames: list[Frame]) -> bool:
        """Whether bytes of this way may not come now: TLS is about to start (RFC 6120 §5.4.3.3)."""
        if self.login.tls == 1 and way is DOWN:
            return False
        held = side.split.rest()
        if self.login.tls == 2 and held[0] == 0x16:
            self.cannot("STARTTLS that was not opened")
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
        if self.login.layer and not self.signed and held[:1] not in (b"<", b" "):
            self.cannot("a SASL security layer")
            self._fill(way, at, held, frames)
            return False
        side.broken = True
        error = PeerError(f"xmpp.{fault.name}", fault.detail, fault.condition)
        frames.append(Frame(way, at, held, BROKEN, fault=error))
        return False

    def _blind(self) -> bool:
        return self.undecryptable is not None

    def cannot(self, why: str) -> None:
        """What follows cannot be read, both ways."""
        self.undecryptable = why
        for side in self.sides:
            side.quick = False

    def _loosen(self, side: Side) -> None:
        side.loose = side.skipping = side.open = True
        side.split.opened = True
        side.split.limit = max(side.split.limit, self._stanza_bytes)
        side.closed = False
        if side.reader is None:
            self._parse_with(side, xml.CLIENT_STREAM)

    def _parse_with(self, side: Side, namespaces: xml.Namespaces) -> None:
        reader = xml.reader(namespaces, self.limits.xmpp_parser_bytes)
        side.reader = reader if self.servers is None else ServerReader(reader)
        side.read = side.reader.read

    def _skip(self, way: Way, side: Side, at: float, frames: list[Frame]) -> bool:
        """Pass over bytes up to the next thing that looks like the beginning of a stanza; False: none yet."""
        held = side.split.rest()
        if held[:2] == b"\x16\x03":
            self.cannot("TLS")
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
            bound = self.limits.xmpp_keepalive_bytes
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
        if self.servers is not None and tag in (MESSAGE, IQ, PRESENCE):
            return self._between(way, at, raw, element, self.servers)
        if tag == MESSAGE:
            return self._message(way, at, raw, element)
        if tag == IQ:
            return on_iq(self, way, at, raw, element)
        if tag == PRESENCE:
            return on_presence(self, way, at, raw, element)
        namespace, local = split_tag(tag)
        if local in STANZAS:
            raise XmlFault("invalid-namespace", "a stanza outside the namespace of client streams")
        if tag == DIALBACK + "result":
            return on_dialback_result(self, way, at, raw, element)
        handler = _NONZAS.get((way, tag))
        if handler is not None:
            return handler(self, at, raw, element)
        if namespace in SM:
            return on_management(self, way, at, raw, element, namespace, local)
        return Frame(way, at, raw, _KINDS.get(tag, "xmpp.other"))

    def _header(self, way: Way, side: Side, at: float, raw: bytes) -> Frame:
        servers = self.servers
        if side.started and self.signed and not side.loose and not (servers is not None and servers.again[way]):
            raise XmlFault("not-well-formed", "a stream header inside a stream", "unexpected_restart")
        header = xml.read_header(raw)
        if header.name != STREAM:
            raise XmlFault("invalid-namespace", "a stream header outside the streams namespace")
        attributes = header.attributes
        bound = self.limits.xmpp_attributes
        if len(attributes) > bound or len(header.namespaces) > bound:
            raise XmlFault("policy-violation", f"more than {bound} attributes", "too_much")
        side.qname = header.qname
        content = header.content
        if content in _OTHER_STREAMS:
            oddity, why = _OTHER_STREAMS[content]
            self.cannot(why)
            event = Opaque(
                kind=oddity, sender=attributes.get("from"),
                recipients=(attributes["to"],) if attributes.get("to") else (), answerable=False,
            )
            return Frame(way, at, raw, "xmpp.server_stream", (event,), (Oddity(f"xmpp.{oddity}"),), note=NO_NOTE)
        if content not in ("jabber:client", SERVER):
            raise XmlFault("invalid-namespace", "stanzas of no known namespace")
        begun = self.login.deflating == 3 or any(each.started and not each.loose for each in self.sides)
        if begun and (servers is None) is (content == SERVER):
            raise XmlFault("invalid-namespace", "stanzas of one namespace, and then of another")
        side.started = True
        namespaces = header.namespaces
        if content == SERVER:
            namespaces = begin_servers(self, way, attributes, namespaces)
        self._parse_with(side, namespaces)
        if way is UP:
            self.to = attributes.get("to") or self.to
            if self.domain is None:
                self.domain = self.to
        elif attributes.get("from"):
            self.domain = attributes["from"]
        if raw.endswith(b"/>"):
            side.closed = True
        return Frame(way, at, raw, "xmpp.stream")

    # -- streams between servers

    def _between(self, way: Way, at: float, raw: bytes, element: Element, servers: Servers) -> Frame:
        """A stanza between two servers, read as its user's own."""
        name_ends(self, way, element)
        tag = element.tag
        if tag == MESSAGE:
            frame = self._message(way, at, raw, element)
        elif tag == IQ:
            frame = on_iq(self, way, at, raw, element)
        else:
            frame = on_presence(self, way, at, raw, element)
            self.rooms = None
        return with_sign_on(self, frame, element, servers)

    def _apply_between(self, frame: Frame, verdicts: Sequence[Verdict], servers: Servers) -> list[Act]:
        """What to send for a frame between servers. A stream goes one way (RFC 6120 §4.5) unless both agreed on more:
        an answer for the other way is left for the stream that goes there, and that is rung at."""
        note = frame.note
        if isinstance(note, Note) and note is not NO_NOTE:
            name_ends(self, frame.way, note.element)
        elif isinstance(note, Block):
            self.user = note.user
        servers.writing = True
        acts = self.apply(frame, verdicts)
        servers.writing = False
        left: list[Act] = []
        for act in acts:
            if (
                isinstance(act, Send) and act.way is DOWN and frame.way is UP and not servers.bidi
                and act.data.startswith(STANZA_STARTS)
            ):
                left += leave_post(self, act.data, frame.at)
            else:
                left.append(act)
        if frame.way is UP and self.signed and self.login.deflating != 1 and self.sides[UP].open:
            left += posted(self)
        return left

    def recoded(self) -> tuple[Deflated, tuple[bytes, bytes]] | None:
        """See Recode: what both have agreed on, and what came behind it."""
        if self.login.deflating != 2 or self.login.coding is None:
            return None
        self.login.deflating, self.undecryptable = 3, None
        up, down = self.sides
        kept = up.split.rest(), down.split.rest()
        for side in self.sides:
            side.split = Splitter(side.split.limit, self._max_depth)
            side.started = side.closed = side.loose = side.skipping = False
        return self.login.coding, kept

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
        if chunk.end and self.counting is counting and counting.turn == counting.state.turn:
            remember_session(self, counting.state, chunk.at)
        return frames

    def sign_on(self, jid: str, identity: Identity = "authenticated", mechanism: str | None = None) -> SignOn:
        """Its user is known; the event that says so."""
        jid = jid[:LONGEST_JID]
        self.signed = True
        self.user = jid
        self.bare = bare_jid(jid)
        self.domain = self.bare.rpartition("@")[2] or self.domain
        self.sides[UP].split.limit = self._stanza_bytes
        if self.login.mechanism == "ANONYMOUS":
            identity = "claimed"
        self.identity = identity
        return SignOn(
            user=jid, identity=identity, mechanism=mechanism or self.login.mechanism,
            channel_binding=self.login.binding, account=self.bare if self.bare != jid else None,
        )

    # -- messages

    def _message(self, way: Way, at: float, raw: bytes, element: Element) -> Frame:
        get = element.get
        kind = get("type")
        if self.signed and (kind == "chat" or kind is None or kind == "normal") and element.text is None:
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
                            peer = to or self.bare
                            if sender is None:
                                sender = self.user
                                to = peer
                            elif sender != self.user:
                                peer = None    # he names himself: to be compared
                        else:
                            peer = sender if sender is not None and "@" in sender else None
                            to = to or self.user
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
        if strays and (self.signed or self.sides[way].loose) and is_block(element, strays):
            return on_block(self, way, at, raw, element, strays[0], "message")
        oddities: list[Oddity] = []
        read: list[Read] = guessed_user(self, way, element)
        read += read_message(self, way, element, oddities)
        removals = list(element.iter(RTT)) if STRIP_RTT in self.edits else []
        read += leftovers(self, way, element, read, removals)
        bound_events(self, read)
        edit = STRIP_RTT if removals else None
        if strays:
            oddities.append(Oddity("xmpp.stray_block", "file content beside words"))
            if REFUSE_BLOCKS in self.edits:
                removals += strays
                edit = REFUSE_BLOCKS
        return Frame(
            way, at, raw, "xmpp.message", tuple(event for event, _ in read), tuple(oddities), edit=edit,
            note=Note(element, [spots for _, spots in read], removals),
            units=one_unit(read, element), stays=element.get("type") == "error",
        )

    def known_files(self) -> Files:
        """What was offered and is transferred here; made with the first of it."""
        files = self.files
        if files is None:
            files = self.files = Files(self.limits.xmpp_offers)
        return files

    def _with_endings(self, chunk: Chunk, files: Files) -> list[Frame]:
        """A chunk of a way whose files have ended by what the other way said, or end here."""
        way, at = chunk.way, chunk.at
        frames = endings(way, at, files)
        if chunk.data or chunk.gap:
            frames += self.feed(Chunk(way, at, chunk.data, chunk.gap))
        if chunk.end:
            for stream in tuple(files.streams.values()):
                if stream.contents[way] is not None:
                    files.drop(stream, None, "the session ended before the file")
            broken = [frames.pop()] if frames and frames[-1].fault is not None else []
            frames += endings(way, at, files) + broken
        return frames

    # -- writing

    def pending(self, way: Way) -> int:
        """Bytes held that are not yet a frame."""
        return self.sides[way].split.pending

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """What to send for a frame; see Decoder.apply."""
        counting, servers = self.counting, self.servers
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
                return announce(self, frame, note)
        elif type(note) is Block:
            return apply_block(self, frame, note, verdicts)
        elif type(note) is ManagementUnit:
            return pass_management(self, frame, note)
        return [Send(frame.way, frame.raw)]

    def _apply_counted(self, frame: Frame, verdicts: Sequence[Verdict], counting: Counting) -> list[Act]:
        """What to send for a frame where stanzas are counted; what is sent is counted where it stands on the wire."""
        way = frame.way
        content = bool(frame.events) and type(frame.events[-1]) in _CONTENT
        if not content and counting.out[way]:
            counting.out[way] -= 1
        counting.writing = True
        acts = self.apply(frame, verdicts)
        counting.writing = False
        owed = counting.owed
        if len(acts) == 1 and not content and frame.kind in STANZA_KINDS and not owed[UP] and not owed[DOWN]:
            act = acts[0]
            if type(act) is Send and act.way is way and counting.turn == counting.state.turn:
                # As nearly always: one stanza, sent on.
                if counting.on[way]:
                    counting.state.counts[way].passed()
                return acts
        return count_sent(self, frame, verdicts, acts, self.counting or counting, content)

    def _moved(self, frame: Frame) -> list[Act]:
        """Pass a unit that changes what the peers have open."""
        way, kind = frame.way, frame.kind
        side = self.sides[way]
        if kind == "xmpp.stream":
            side.open = not frame.raw.endswith(b"/>")
        elif kind == "xmpp.close":
            side.open = False
            end_session(self)
        elif kind == "xmpp.proceed" and self.undecryptable is None and self.login.tls == 2:
            self.login.tls = 0
            if self.servers is not None:
                self.servers.secured = True
            for each in self.sides:
                each.split = Splitter(each.split.limit, self._max_depth)
                each.started = each.open = each.closed = each.loose = each.skipping = False
            return [StartTls(self.to, frame.raw, _TLS_FAILED)]
        elif kind in ("xmpp.success", "xmpp.compressed"):
            # A new stream begins behind it, both ways (RFC 6120 §6.4.6).
            for each in self.sides:
                each.open = False
            if kind == "xmpp.compressed" and self.login.coding is not None:
                return [Send(way, frame.raw), Recode(self.login.coding)]
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
            return refuse_block(self, frame, note)
        if isinstance(note, ManagementUnit):
            return pass_management(self, frame, note)
        assert isinstance(note, Note)
        if note.hosts or note.offer is not None:
            return announce(self, frame, note)
        return [Send(frame.way, rewritten(frame, note, ()))]

    def _judged(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        note = frame.note
        if isinstance(note, Block):
            return apply_block(self, frame, note, verdicts)
        if not isinstance(note, Note) or note is NO_NOTE:
            if any(verdict.action >= Action.BLOCK for verdict in verdicts):
                # A sign-on that is refused cannot be masked or swallowed: only the session can go.
                return [*self.close("the sign-on is refused"), Cut("sign-on refused")]
            return pass_management(self, frame, note) if isinstance(note, ManagementUnit) else self._moved(frame)
        refused = next((verdict for verdict in verdicts if verdict.action >= Action.HOLD), None)
        if frame.kind == "xmpp.presence":
            return judge_presence(self, frame, note, verdicts, refused)
        if refused is None:
            return deliver(self, frame, note, verdicts)
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
            return deliver(self, frame, note, verdicts)
        if frame.kind == "xmpp.iq":
            return refuse_iq(self, frame, note, verdicts, refused)
        return refuse_message(self, frame, note, refused)

    def ready(self, way: Way) -> bool:
        """Whether something may be injected: signed on, the stream open, and (DOWN) nobody counting stanzas."""
        side = self.sides[way]
        return (
            self.signed and (side.started or side.loose) and not side.closed and not side.broken
            and not side.skipping and self.undecryptable is None and not (self.counted_elsewhere and way is DOWN)
            and self.login.deflating != 1
        )

    @property
    def parted(self) -> bool:
        """Whether one side has closed its stream (RFC 6120 4.4): the other answers that, and reads nothing more."""
        return self.sides[UP].closed or self.sides[DOWN].closed

    def inject(self, message: Notice, way: Way) -> list[Act]:
        """A notice of the gateway as a headline from the server's domain; the session of a refused file is ended."""
        if self.servers is not None:
            # Whoever is meant is on no stream in particular: only what was left for this one is said.
            post = self.servers.post
            if way is DOWN and message.left and len(post) < self.limits.xmpp_domains:
                post.append(message.left)
            return said_now(self, posted(self) if way is DOWN and self.ready(UP) else [])
        if not self.ready(way):
            return []
        acts: list[Act] = []
        about = message.about
        if isinstance(about, FileOffer) and about.method == "jingle" and about.id:
            acts.append(terminate(self, way, peer_of_offer(self, about), about.id, message.text))
        if way is DOWN and message.text:
            acts.append(Send(DOWN, headline(self, message.text)))
        return said_now(self, acts)

    def keep(self, frames: Sequence[Frame], index: int) -> bytes | None:
        """The message stanza, its namespaces declared where they are used, without a namespace of its own; a reader's
        with the time it came (XEP-0203)."""
        return keep_message(frames, index, self.sides[frames[-1].way])

    def release(self, kept: bytes, way: Way) -> list[Act] | None:
        """The stanza in this stream's namespace; from its writer, or to its reader, as the resource he has now."""
        return release_message(self, kept, way) if self.ready(way) else None

    def close(self, reason: str, fault: PeerError | None = None) -> list[Act]:
        """A stream error to the client (RFC 6120 §4.9), the end of the stream to the server."""
        up, down = self.sides
        if self.undecryptable is not None or self.login.tls == 2:
            return []
        acts: list[Act] = []
        end_session(self)
        if not down.closed:
            acts.append(Send(DOWN, stream_end(self, down, reason, fault)))
            down.open = False
        if up.open and self.login.tls == 0:
            acts.append(Send(UP, f"</{up.qname}>".encode()))
            up.open = False
        return acts


_CLOSINGS = {b"<m": b"</message>", b"<i": b"</iq>", b"<p": b"</presence>"}
_NESTED = 16
"""Stanzas inside a stanza that the short way follows."""
_MOVES = frozenset({"xmpp.stream", "xmpp.close", "xmpp.proceed", "xmpp.success", "xmpp.compressed"})
_CONTENT = frozenset({FileStart, FilePart, FileEnd})
"""Frames that end in these leave when the engine says so, whatever else waits."""
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
    (UP, TLS + "starttls"): on_starttls,
    (DOWN, TLS + "proceed"): on_proceed,
    (DOWN, TLS + "failure"): on_tls_failure,
    (DOWN, FEATURES): on_features,
    (UP, SASL + "auth"): on_auth,
    (UP, SASL + "response"): on_response,
    (DOWN, SASL + "success"): on_success,
    (UP, SASL2 + "authenticate"): on_auth,
    (UP, SASL2 + "response"): on_response,
    (DOWN, SASL2 + "success"): on_success2,
    (DOWN, f"{{{STREAMS}}}error"): on_stream_error,
    (UP, BIDI): on_bidi,
    (UP, COMPRESS + "compress"): on_compress,
    (DOWN, COMPRESS + "compressed"): on_compressed,
    (DOWN, COMPRESS + "failure"): on_not_compressed,
}
