"""In-band bytestreams (XEP-0047): content of files inside stanzas, how it is held and refused (docs/decisions/0042)."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Event,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Frame,
    Oddity,
    Send,
    Verdict,
    Way,
)
from inspector.protocols.xmpp.edits import REFUSE_BLOCKS, REFUSE_STREAMS
from inspector.protocols.xmpp.names import (
    IBB,
    IBB_CLOSE,
    IBB_DATA,
    IBB_OPEN,
    LONGEST_JID,
    LONGEST_SID,
    QUIET,
    SI_FILE,
    as_compared,
    attribute,
    number_of,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.speech import error, headline, nothing, own_ident, request, terminate
from inspector.protocols.xmpp.state import Block, Content, Files, Offer, Stream
from inspector.protocols.xmpp.words import says_something
from inspector.wire import xml
from inspector.wire.xml import Place

BLOCK_BYTES = 65535
"""Largest block that can be agreed on (XEP-0047 §2.1)."""
_NO_SPACE = str.maketrans("", "", " \t\r\n")


def is_block(element: Element, strays: Sequence[Element]) -> bool:
    """Whether a message is one block of a bytestream and says nothing else (XEP-0047 §4: rules of XEP-0079 aside)."""
    if len(strays) != 1 or strays[0].tag != IBB_DATA or element.get("type") == "error" or says_something(element.text):
        return False
    return all(
        not says_something(child.tail) and (
            child is strays[0] or child.tag.startswith("{http://jabber.org/protocol/amp}")
            or (child.tag in QUIET and not len(child) and not child.text)
        ) and (child is strays[0] or not any(each.text and not each.text.isspace() for each in child.iter()))
        for child in element
    )


def decoded(text: str | None) -> bytes | None:
    """The bytes of base64 as every reader decodes them (RFC 4648 §4; white space is left out by all); None: readers
    differ."""
    if not text:
        return b""
    found = _decoded(text)
    return found if found is not None else _decoded(text.translate(_NO_SPACE))


def _decoded(text: str) -> bytes | None:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    # Python 3.12 takes padding behind four letters.
    return data if len(text) == (len(data) + 2) // 3 * 4 else None


def told_of(offer: FileOffer | None, refused: Verdict) -> str:
    """What people are told of a refused file."""
    name = "" if offer is None else offer.file_name[:80]
    said = f'The file "{name}"' if name else "A file"
    reference = f" Reference {refused.reference}." if refused.reference else ""
    return f"{said} was not delivered: company policy.{reference}"


def endings(way: Way, at: float, files: Files) -> list[Frame]:
    """Frames of files that have ended by what the other way said."""
    ended = files.due[way]
    frames = [
        Frame(way, at, b"", "xmpp.file_end", (event,), note=Block("end", "", None, None)) for event in ended
    ]
    ended.clear()
    return frames


def on_answer(
    owner: Owner, files: Files, way: Way, at: float, raw: bytes, element: Element, typed: str,
) -> Frame | None:
    """An answer: to a request of ours (for us alone), or one that ends or begins a bytestream (None)."""
    ident = element.get("id")
    if ident is None:
        return None
    peer = as_compared(_peer_of(owner, way, element))
    if files.count and ident.startswith(owner.ours):
        number = ident[len(owner.ours):].partition(".")[0]
        for stream in tuple(files.streams.values()):
            if typed == "error" and str(stream.number) == number:
                files.drop(stream, way, "its reader refused a block")
        return Frame(way, at, raw, "xmpp.iq", note=Block("answer", "iq", None, None))
    for stream in files.streams.values():
        if stream.key[0] != peer:
            continue
        if stream.opening == ident and stream.way is not way:
            stream.opening = None
            stream.peers = (stream.peers[0], _peer_of(owner, way, element))
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


def _peer_of(owner: Owner, way: Way, element: Element) -> str:
    """The other end of a stanza, as it is written."""
    return element.get("to" if way is UP else "from") or owner.bare or ""


def on_block(owner: Owner, way: Way, at: float, raw: bytes, element: Element, child: Element, name: str) -> Frame:
    """A stanza that is about an in-band bytestream and nothing else."""
    files = owner.known_files()
    peer, sid = _peer_of(owner, way, element), child.get("sid", "")
    note = Block(child.tag[len(IBB):], name, element.get("id"), peer, None, sid)
    who = as_compared(peer)
    if owner.servers is not None or REFUSE_STREAMS in owner.edits:
        # Its answers go another way, and nobody could be kept waiting.
        return _stray(owner, way, at, raw, note, "not-acceptable")
    if not sid or len(sid) > LONGEST_SID or len(who) > LONGEST_JID or len(child) or any(
        "}" in each for each in child.attrib
    ):
        # Clients disagree about attributes with a namespace and text behind a child.
        return _stray(owner, way, at, raw, note, "bad-request")
    if note.ident is not None and len(note.ident) > LONGEST_SID:
        return _stray(owner, way, at, raw, note, "bad-request")
    stream = files.streams.get((who, sid))
    if child.tag == IBB_OPEN:
        return _opened(owner, files, way, at, raw, child, note, stream)
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
        return _stray(owner, way, at, raw, note, "item-not-found")
    number, data = child.get("seq", ""), decoded(child.text)
    seq = int(number) if number.isascii() and number.isdigit() and len(number) <= 5 else -1
    if stream is None:
        offer = files.of_stream(way, who, sid)
        if offer is not None and offer.refused:
            note.what = "refused"
            return Frame(way, at, raw, f"xmpp.{name}", note=note)
        if not owner.sides[way].loose or not _room_for(owner, files, way, at):
            return _stray(owner, way, at, raw, note, "item-not-found")
        stream = _started(owner, files, way, at, who, peer, sid, offer)
        stream.expected[way] = max(0, seq)
        stream.late = seq != 0
    note.stream = stream
    stream.at = at
    ahead = (seq - stream.expected[way]) % 65536
    gap = ahead * stream.block if ahead < 32768 and owner.sides[way].loose else 0
    if not 0 <= seq < 65536 or (ahead and not gap):
        return _broken(owner, files, way, at, raw, note, "unexpected-request", "a block is not the next one")
    if data is None or len(data) > stream.block:
        why = "a block is not base64" if data is None else "a block is longer than agreed"
        return _broken(owner, files, way, at, raw, note, "bad-request", why)
    stream.expected[way] = (seq + 1) % 65536
    stream.last[way] = note.ident
    content = stream.contents[way]
    part = FilePart(transfer=content.name if content is not None else "", data=data, gap=gap)
    if content is not None:
        content.seen += len(data)
        content.lost = content.lost or gap > 0
        return Frame(way, at, raw, f"xmpp.{name}", (part,), note=note)
    return _begun(owner, files, way, at, raw, note, stream, part)


def _begun(
    owner: Owner, files: Files, way: Way, at: float, raw: bytes, note: Block, stream: Stream, part: FilePart,
) -> Frame:
    """The first block of a way: a file begins."""
    offer = stream.offer
    events: tuple[Event, ...] = ()
    if offer.used or (way is not stream.way and offer.session is None):
        # The one who accepted the stream sends something of his own.
        offer = Offer(_offer_of(owner, way, note.peer or "", note.sid, answerable=False), way)
        events = (offer.offer,)
    elif not stream.announced:
        events = (offer.offer,)
    offer.used = True
    said = offer.offer
    if way is not offer.way:
        # Jingle can ask for a file: the one who answers sends it (XEP-0234 §4.2).
        user, peer = owner.user or "", note.peer or ""
        said = msgspec.structs.replace(
            said, sender=user if way is UP else peer, recipients=(peer if way is UP else user,))
    files.count += 1
    content = stream.contents[way] = Content(
        f"{owner.flow.id}-ibb{files.count}", said, offer.offset, len(part.data),
        stream.late or part.gap > 0,
    )
    start = FileStart(transfer=content.name, offer=said, offset=offer.offset, inband=True)
    part = msgspec.structs.replace(part, transfer=content.name)
    return Frame(way, at, raw, f"xmpp.{note.name}", (*events, start, part), note=note)


def _opened(
    owner: Owner, files: Files, way: Way, at: float, raw: bytes, child: Element, note: Block, stream: Stream | None,
) -> Frame:
    """A bytestream is opened; an offer is linked with it, or it is one itself."""
    who = as_compared(note.peer or "")
    block = min(number_of(child.get("block-size", "")) or BLOCK_BYTES, BLOCK_BYTES)
    if note.name == "message":
        return _stray(owner, way, at, raw, note, "bad-request")
    if stream is not None:
        if stream.way is not way or stream.contents[UP] is not None or stream.contents[DOWN] is not None:
            return _stray(owner, way, at, raw, note, "not-acceptable")
        block = min(block, stream.block)
        del files.streams[stream.key]
    offer = files.of_stream(way, who, note.sid)
    if offer is not None and offer.refused:
        note.what, note.condition = "refused", "not-acceptable"
        return Frame(way, at, raw, "xmpp.iq", note=note)
    if not _room_for(owner, files, way, at):
        return _stray(owner, way, at, raw, note, "resource-constraint")
    if offer is not None and offer.used:
        offer = None
    stream = _started(owner, files, way, at, who, note.peer or "", note.sid, offer, block)
    note.stream = stream
    stream.opening = note.ident
    if stream.announced:
        return Frame(way, at, raw, "xmpp.iq", note=note)
    stream.announced = True
    return Frame(way, at, raw, "xmpp.iq", (stream.offer.offer,), note=note)


def _started(
    owner: Owner, files: Files, way: Way, at: float, who: str, peer: str, sid: str, offer: Offer | None,
    block: int = BLOCK_BYTES,
) -> Stream:
    files.count += 1
    known = offer is not None
    stream = files.streams[who, sid] = Stream(
        files.count, (who, sid), (peer,), way, offer or Offer(_offer_of(owner, way, peer, sid), way), known, block,
        at, expected=[0, 0], last=[None, None], contents=[None, None],
    )
    return stream


def _offer_of(owner: Owner, way: Way, peer: str, sid: str, *, answerable: bool = True) -> FileOffer:
    """A bytestream that nobody offered in other words."""
    user = owner.user or ""
    return FileOffer(
        sender=user if way is UP else peer, recipients=(peer if way is UP else user,), method="ibb", id=sid,
        answerable=answerable,
    )


def _room_for(owner: Owner, files: Files, way: Way, at: float) -> bool:
    """Whether one more bytestream may be opened: one that was silent for long gives way."""
    mine = [stream for stream in files.streams.values() if stream.way is way]
    if len(mine) < owner.limits.files_open:
        return True
    oldest = min(mine, key=lambda stream: stream.at)
    if at - oldest.at <= owner.limits.expect_seconds:
        return False
    files.drop(oldest, None, "nothing came for too long")
    return True


def _stray(owner: Owner, way: Way, at: float, raw: bytes, note: Block, condition: str) -> Frame:
    """A block that belongs to nothing."""
    note.what, note.condition = "stray", condition
    edit = REFUSE_BLOCKS if REFUSE_BLOCKS in owner.edits else None
    return Frame(
        way, at, raw, f"xmpp.{note.name}", (), (Oddity("xmpp.stray_block", condition),), edit=edit, note=note)


def _broken(
    owner: Owner, files: Files, way: Way, at: float, raw: bytes, note: Block, condition: str, why: str,
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
        edit=REFUSE_BLOCKS if REFUSE_BLOCKS in owner.edits else None, note=note,
    )


def apply_block(owner: Owner, frame: Frame, note: Block, verdicts: Sequence[Verdict]) -> list[Act]:
    """What to send for a stanza of an in-band bytestream."""
    way, stream = frame.way, note.stream
    if note.what == "answer":
        return nothing(owner) if way is UP else []
    worst = max(verdicts, key=lambda verdict: verdict.action) if verdicts else PASSED
    if note.what == "end":
        if worst.action >= Action.BLOCK and worst.reference and owner.ready(DOWN):
            return [Send(DOWN, headline(owner, worst.notice or told_of(None, worst)))]
        return []
    if owner.flow.file is not None:
        return [Send(way, frame.raw)]
    if note.what == "refused" or (stream is not None and stream.refused):
        return refuse_block(owner, frame, note)
    if worst.action >= Action.BLOCK or (worst.action is Action.HOLD and note.what == "open"):
        assert stream is not None
        return _refuse_stream(owner, frame, note, stream, worst)
    held = worst.action is Action.HOLD and note.what == "data"
    acts: list[Act] = _held(owner, frame, note) if held else [Send(way, frame.raw)]
    if way is UP:
        # A block that nobody announced is its own offer, and may have been warned of while it is held.
        warned = [each.notice for each in verdicts if each.notice and each.action is not Action.PASS]
        acts += [Send(DOWN, headline(owner, notice)) for notice in warned[:1]]
    return acts


def _held(owner: Owner, frame: Frame, note: Block) -> list[Act]:
    """Keep a block and answer its sender. It gets an identifier of ours, by which its reader's answer is known."""
    way, raw = frame.way, frame.raw
    if note.name != "iq" or note.ident is None or note.stream is None:
        return [Send(way, raw)]
    span = xml.attribute(raw, Place(0, xml.close_of(raw, 0)), "id")
    if span is not None:
        ident = own_ident(owner, note.stream.number).encode()
        raw = b"".join((raw[:span[0]], ident, memoryview(raw)[span[1]:]))
    return [Send(way, raw), request(owner, way.other, note.peer, note.ident, "result")]


def _closing(owner: Owner, way: Way, note: Block, number: int) -> Send:
    inner = f"<close xmlns='{IBB[1:-1]}'{attribute('sid', note.sid)}/>"
    return request(owner, way, note.peer, own_ident(owner, number), inner=inner)


def _refusal(owner: Owner, frame: Frame, note: Block, notice: str | None) -> list[Act]:
    """What the sender of a refused block is told."""
    back = frame.way.other
    if note.name == "iq":
        sender, to = (note.peer, owner.user) if back is DOWN else (None, note.peer)
        return [Send(back, error(owner, "iq", note.ident, sender, to, notice, note.condition, note.kind))]
    if note.stream is not None:
        return [_closing(owner, back, note, note.stream.number)]
    return []


def refuse_block(owner: Owner, frame: Frame, note: Block) -> list[Act]:
    """Take one stanza out of the way: its sender gets an error, the reader of a stream that broke its end."""
    acts: list[Act] = nothing(owner) if frame.way is UP else []
    if note.what == "broken" and note.stream is not None:
        acts.append(_closing(owner, frame.way, note, note.stream.number))
    return acts + _refusal(owner, frame, note, None)


def _refuse_stream(owner: Owner, frame: Frame, note: Block, stream: Stream, refused: Verdict) -> list[Act]:
    """End a bytestream for both sides; what comes of it later is refused."""
    files, way, offer = owner.known_files(), frame.way, stream.offer.offer
    stream.refused = True
    ending = any(isinstance(event, FileEnd) for event in frame.events)
    files.drop(stream, None, "refused", but=way if ending else None)
    files.put((stream.way, stream.key[0], "sid", stream.key[1]), Offer(offer, stream.way, refused=True))
    if note.what != "broken":
        note.condition = "not-acceptable"
    acts: list[Act] = nothing(owner) if way is UP else []
    if note.what == "open":
        return acts + _refusal(owner, frame, note, refused.notice)
    text = refused.notice or told_of(offer, refused)
    acts.append(_closing(owner, way, note, stream.number))
    acts += _refusal(owner, frame, note, text)
    if stream.offer.session is not None:
        acts += [terminate(owner, each, note.peer, stream.offer.session, text) for each in (way, way.other)]
    acts.append(Send(DOWN, headline(owner, text)))
    return acts
