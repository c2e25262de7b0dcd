"""The events of a message in every form (RFC 6121 §5); a message that is kept, and released later.

Bodies and what stands beside them: XHTML (XEP-0071), real-time text (0301), corrections (0308), retractions (0424),
reactions (0444), room invitations (0045, 0249), encryption by its marks (0027, 0364, 0373, 0380, 0384, RFC 3923).
Copies: delayed (0203), carbons (0280), archives (0313), forwarded (0297). Calls proposed (0353), files shared (0066,
0385, 0447).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

from inspector.model import (
    CLEAR,
    DOWN,
    UP,
    Act,
    CallSetup,
    Copy,
    Encryption,
    Event,
    FileOffer,
    Frame,
    Kind,
    Message,
    Oddity,
    Opaque,
    Send,
    Typing,
    Way,
)
from inspector.protocols.xmpp.edits import STRIP_RTT
from inspector.protocols.xmpp.names import (
    BLOCKS_OF_FILES,
    BODY,
    CALL_ACTIONS,
    CARBONS,
    CHATSTATES,
    CONFERENCE,
    DELAYS,
    EME,
    ENCRYPTED,
    ERROR,
    ERROR_TEXT,
    FORM,
    FORWARDED,
    HINT,
    MESSAGE,
    MUC_USER,
    NICK,
    OOB,
    OTR_TAG,
    QUIET,
    RTT,
    SIGNED,
    SUBJECT,
    THREAD,
    XHTML_IM,
    bare_jid,
    domain_of,
    one_of,
    split_tag,
    time_of,
)
from inspector.protocols.xmpp.offers import out_of_band, shared_files
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import Side
from inspector.protocols.xmpp.words import Gather, Read, opaque, read_leftovers, read_rest, read_xhtml, sealed_digest
from inspector.wire import xml
from inspector.wire.xml import LANG, XmlFault


def leftovers(
    owner: Owner, way: Way, element: Element, read: Sequence[Read], removals: Sequence[Element] = (),
) -> list[Read]:
    """Words of a stanza that nobody has read: servers carry them to the other side wherever they stand."""
    gather = Gather()
    read_leftovers(element, read, removals, gather)
    if not gather.texts:
        return []
    get = element.get
    sender = (owner.user or get("from")) if way is UP else get("from")
    to = get("to") or (owner.domain if way is UP else owner.user)
    return [(Opaque(
        kind="extension", sender=sender, recipients=(to,) if to else (), texts=gather.texts_now(), id=get("id"),
        answerable=get("type") not in ("error", "result"),
    ), gather.spots)]


def bound_events(owner: Owner, read: list[Read]) -> None:
    """Raises XmlFault where one stanza says more than is looked at."""
    bound = owner.limits.xmpp_events
    if len(read) > bound:
        raise XmlFault("policy-violation", f"more than {bound} events in one stanza", "too_much")


def read_message(
    owner: Owner, way: Way, element: Element, oddities: list[Oddity], copy: Copy = "no", sent_at: float | None = None,
    forwarder: str | None = None, outer: bool = True,
) -> list[Read]:
    """Events of a message. Not `outer`: one inside <forwarded/>, sent on by `forwarder` (None: a server's copy)."""
    get = element.get
    typed = get("type")
    sender, to = get("from"), get("to")
    if way is UP and outer:
        if sender is not None and owner.bare is not None and sender.lower() not in (
            owner.bare.lower(), (owner.user or "").lower(),
        ):
            oddities.append(Oddity("xmpp.from_mismatch"))
        sender = owner.user or sender
    elif forwarder is not None:
        sender = forwarder
    receiver = to or (owner.user if way is DOWN else owner.bare) or ""
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
            if STRIP_RTT not in owner.edits:
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
            mine = way is DOWN and (sender is None or sender.lower() == (owner.bare or "").lower())
            if not mine:
                oddities.append(Oddity("xmpp.spoofed_carbon"))
            others += _read_forwarded(owner, way, child, "carbon" if mine else "no", oddities, sender)
        elif namespace.startswith("urn:xmpp:mam:") and local == "result":
            others += _read_forwarded(owner, way, child, "history", oddities, sender)
        elif tag == FORWARDED:
            others += _read_one_forwarded(owner, way, child, copy, oddities, sender)
        elif tag == OOB:
            others += out_of_band(child, gather, sender, recipients, "oob", get("id"))
        elif namespace == "urn:xmpp:reference:0" or (namespace == "urn:xmpp:sfs:0" and local == "file-sharing"):
            found = shared_files(child, sender, recipients, get("id"))
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
        mine = sender is not None and owner.bare is not None and bare_jid(sender).lower() == owner.bare.lower()
        peer = to if mine else sender
    if typed == "groupchat" and outer and way is DOWN and copy == "no" and _is_own(owner, sender):
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
    owner: Owner, way: Way, wrapper: Element, copy: Copy, oddities: list[Oddity], archive: str | None,
) -> list[Read]:
    """Events of the messages inside <forwarded/> (XEP-0297) of a wrapper."""
    read: list[Read] = []
    for forwarded in wrapper:
        if forwarded.tag == FORWARDED:
            read += _read_one_forwarded(owner, way, forwarded, copy, oddities, archive)
    return read


def _read_one_forwarded(
    owner: Owner, way: Way, forwarded: Element, copy: Copy, oddities: list[Oddity], archive: str | None,
) -> list[Read]:
    read: list[Read] = []
    stamp: float | None = None
    for child in forwarded:
        if child.tag in DELAYS:
            stamp = time_of(child.get("stamp"))
    for child in forwarded:
        if child.tag == MESSAGE:
            by = archive if copy == "no" else None
            read += read_message(owner, way, child, oddities, copy, stamp, by, False)
        elif child.tag not in DELAYS:
            gather = Gather()
            read_rest(child, "extension", gather)
            if gather.texts:
                read.append((Opaque(kind="forwarded", sender=archive, texts=gather.texts_now()), gather.spots))
    return read


def _is_own(owner: Owner, sender: str | None) -> bool:
    """Whether a room's message is the user's own, coming back."""
    if sender is None or owner.rooms is None:
        return False
    room, _, nick = sender.partition("/")
    return owner.rooms.get(room.lower()) == nick


def keep_message(frames: Sequence[Frame], index: int, side: Side) -> bytes | None:
    """The message stanza, its namespaces declared where they are used, without a namespace of its own; a reader's with
    the time it came (XEP-0203). None: it is none, or more than words."""
    frame = frames[-1]
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


def release_message(owner: Owner, kept: bytes, way: Way) -> list[Act] | None:
    """The stanza in this stream's namespace; from its writer, or to its reader, as the resource he has now. None: not
    here."""
    if not kept.startswith(b"<message"):
        return None
    element = _whole.read(kept)
    if element is None:
        return None
    namespace = b"jabber:client"
    servers, counting = owner.servers, owner.counting
    if servers is not None:
        # Between servers only where both domains have this stream for each other.
        namespace = b"jabber:server"
        ends = domain_of(element.get("from", "")), domain_of(element.get("to", ""))
        if (ends if way is UP else ends[::-1]) not in servers.pairs or (way is DOWN and not servers.bidi):
            return None
    else:
        own, user = ("from", "to")[way], owner.user
        if user is not None and element.get(own, "").partition("/")[0] == user.partition("/")[0]:
            element.set(own, user)
    raw = xml.write(element, "")
    if counting is not None and counting.turn == counting.state.turn and counting.on[way]:
        # It leaves at once: the engine asks only where nothing is before it.
        counting.state.counts[way].added()
    return [Send(way, b"<message xmlns='" + namespace + b"'" + raw[8:])]


_whole = xml.reader((("", ""),))
"""Reads what `keep_message` wrote."""
