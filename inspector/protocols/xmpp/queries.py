"""Queries and their answers (RFC 6120 §8.2.3): roster and blocking (RFC 6121 §2; XEP-0016, 0191), logins that end in
one (RFC 6120 §7, XEP-0078), offers of files and calls, forms (XEP-0004), and words in whatever else is asked.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from inspector.model import DOWN, UP, ContactChange, FileOffer, Frame, Oddity, Opaque, Way
from inspector.protocols.xmpp.edits import REFUSE_BLOCKS
from inspector.protocols.xmpp.inband import on_answer, on_block
from inspector.protocols.xmpp.logins import answers_bind, bound_user, legacy_auth
from inspector.protocols.xmpp.messages import bound_events, leftovers
from inspector.protocols.xmpp.names import BLOCKS_OF_FILES, BYTESTREAMS, ERROR, ERROR_TEXT, FORM, JINGLES, split_tag
from inspector.protocols.xmpp.offers import (
    bytestream_hosts,
    google_session,
    jingle_candidates,
    jingle_events,
    jingle_offers,
    out_of_band,
    remember_offers,
    stream_initiation,
    upload,
    upload_hosts,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import NO_NOTE, Host, Note, Offer
from inspector.protocols.xmpp.words import Gather, Read, one_unit, opaque, outermost
from inspector.wire.xml import LANG

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


def on_iq(owner: Owner, way: Way, at: float, raw: bytes, element: Element) -> Frame:
    """The frame of an iq stanza."""
    get = element.get
    typed = get("type")
    if typed == "result" and not owner.signed and way is DOWN and owner.servers is None:
        event = bound_user(owner, element)
        if event is not None:
            return Frame(DOWN, at, raw, "xmpp.iq", (event,), note=NO_NOTE)
    files = owner.files
    if files is not None and (typed == "result" or typed == "error"):
        answered = on_answer(owner, files, way, at, raw, element, typed)
        if answered is not None:
            return answered
    read: list[Read] = []
    hosts: list[Host] = []
    strays: list[Element] = []
    offer: Offer | None = None
    offered: list[Offer] = []
    asked = typed == "set" or typed == "get"
    if asked and len(element) == 1 and element[0].tag in BLOCKS_OF_FILES and (
        owner.signed or owner.sides[way].loose
    ):
        return on_block(owner, way, at, raw, element, element[0], "iq")
    sender = (owner.user or get("from")) if way is UP else get("from")
    to = get("to") or (owner.domain if way is UP else owner.user)
    recipients = (to,) if to else ()
    ident = get("id")
    for child in element:
        namespace, local = split_tag(child.tag)
        if namespace == "urn:ietf:params:xml:ns:xmpp-bind":
            if owner.servers is not None:
                pass
            elif way is UP and typed == "set":
                owner.login.bind_id = ident
            elif way is DOWN and typed == "result" and answers_bind(owner, ident, get("from")):
                event = bound_user(owner, element)
                if event is not None:
                    read.append((event, []))
        elif child.tag == "{jabber:iq:auth}query":
            if way is UP and typed == "set":
                legacy_auth(owner, child, ident)
        elif namespace == "jabber:iq:roster":
            if typed == "set":
                read += _roster(child, sender if way is UP else owner.user, way)
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
                hosts += upload_hosts(owner, child, get("from"), ident)
        elif child.tag == "{jabber:iq:oob}query":
            read += out_of_band(child, Gather(), sender, recipients, "oob", ident)
        elif namespace == "http://jabber.org/protocol/si":
            read += stream_initiation(child, sender, recipients, ident, asked)
        elif child.tag in BLOCKS_OF_FILES:
            strays.append(child)
        elif child.tag == BYTESTREAMS + "query":
            if typed == "set":
                more, too_many, offer = bytestream_hosts(owner, way, child, get("from") or sender, to)
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
                offer = jingle_offers(
                    owner, way, child, described, get("to" if way is UP else "from"), offered)
                more, too_many = jingle_candidates(owner, way, child, get("to" if way is UP else "from"))
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
        remember_offers(owner, way, get("to" if way is UP else "from"), ident, read, offered)
    read += leftovers(owner, way, element, read)
    # What says nothing is no event: a disco answer, an empty result.
    read = [
        (event, spots) for event, spots in read
        if not isinstance(event, Opaque) or event.texts or event.kind in ("pubsub", "vcard", "metadata")
    ]
    oddities: tuple[Oddity, ...] = ()
    edit: str | None = None
    if strays:
        oddities = (Oddity("xmpp.stray_block", "more than can be read"),)
        edit = REFUSE_BLOCKS if REFUSE_BLOCKS in owner.edits else None
        if edit is None:
            strays = []
    if not read:
        note = Note(element, (), strays, hosts, offer, offered) if strays or hosts or offer is not None else None
        return Frame(way, at, raw, "xmpp.iq", (), oddities, edit=edit, note=note)
    bound_events(owner, read)
    return Frame(
        way, at, raw, "xmpp.iq", tuple(event for event, _ in read), oddities, edit=edit,
        note=Note(element, [spots for _, spots in read], strays, hosts, offer, offered),
        units=one_unit(read, element), stays=element.get("type") in ("error", "result"),
    )


def _roster(query: Element, sender: str | None, way: Way) -> list[Read]:
    """Roster set and push (RFC 6121 §2): names and groups are words."""
    read: list[Read] = []
    for item in query:
        gather = Gather()
        gather.attribute("nick", item, "name")
        for group in item:
            gather.add("group", group)
        subscription = item.get("subscription")
        if subscription == "remove":
            action = "remove"
        elif way is UP and subscription is None:
            action = "add"
        else:
            action = "update"
        read.append((ContactChange(
            action=action, contact=item.get("jid", ""), sender=sender, texts=gather.texts_now(),
        ), gather.spots))
    return read
