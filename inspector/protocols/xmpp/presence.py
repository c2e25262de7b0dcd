"""Presence: status (RFC 6121 §4), and who comes to a room, leaves it and is called what there (XEP-0045 §7)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from inspector.model import UP, Frame, GroupChange, Message, Presence, Way
from inspector.protocols.xmpp.logins import guessed_user
from inspector.protocols.xmpp.messages import leftovers
from inspector.protocols.xmpp.names import (
    ERROR,
    ERROR_TEXT,
    MUC,
    MUC_USER,
    NICK,
    PRIORITY,
    QUIET,
    SHOW,
    SHOWS,
    SIGNED,
    STATUS,
    bare_jid,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import Note
from inspector.protocols.xmpp.words import Gather, Read, read_rest
from inspector.wire.xml import LANG


def on_presence(owner: Owner, way: Way, at: float, raw: bytes, element: Element) -> Frame:
    """The frame of a presence stanza."""
    get = element.get
    typed = get("type")
    sender = (owner.user or get("from")) if way is UP else get("from")
    to = get("to") or (None if way is UP else owner.user)
    recipients = (to,) if to else ()
    words = Gather()
    show: str | None = None
    read: list[Read] = guessed_user(owner, way, element)
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
    group = _room_change(owner, way, to if way is UP else sender, typed, joining, room)
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
    read += leftovers(owner, way, element, read)
    return Frame(
        way, at, raw, "xmpp.presence", tuple(event for event, _ in read),
        note=Note(element, [spots for _, spots in read]),
    )


def _room_change(
    owner: Owner, way: Way, occupant: str | None, typed: str | None, joining: bool, item: Element | None,
) -> Read | None:
    """A room's presence (XEP-0045 §7): join, leave, kick, nick; remembers the user's own nick per room."""
    room, _, nick = (occupant or "").partition("/")
    if not room or not nick:
        return None
    rooms = owner.rooms
    key = room.lower()
    if way is UP:
        known = rooms is not None and key in rooms
        if joining and typed is None:
            if rooms is None:
                rooms = owner.rooms = {}
            if key in rooms or len(rooms) < owner.limits.xmpp_rooms:
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
