"""Files that are offered (XEP-0066, 0095/0096, 0234, 0363, 0385, 0446, 0447; Google Talk's), calls (0166, 0167), and
where their content will travel: SOCKS5 bytestreams (0065, 0260), in-band ones by name (0047, 0261), uploads
(0363).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import UP, Act, CallSetup, Expect, FileOffer, Frame, Opaque, Text, Way, expect_key
from inspector.protocols.xmpp.names import (
    BYTESTREAMS,
    CALL_ACTIONS,
    CANDIDATES,
    JINGLE_FILES,
    LONGEST_JID,
    LONGEST_SID,
    SI_FILE,
    URL_DATA,
    as_compared,
    number_of,
    one_of,
    split_tag,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import Host, Note, Offer
from inspector.protocols.xmpp.words import OWN, Gather, Read, Spot, read_rest
from inspector.wire import urls, xml
from inspector.wire.xml import LANG

_JINGLE_RTP = frozenset({"urn:xmpp:jingle:apps:rtp:1", "urn:xmpp:jingle:apps:rtp:0"})
_HASHES = frozenset({"urn:xmpp:hashes:2", "urn:xmpp:hashes:1", "urn:xmpp:hashes:0"})
_SHARE = "{http://www.google.com/session/share}"
_OFFER_WORDS = 4096
"""Characters of an offer's texts, and of its name, that are remembered with it."""


def described_file(
    element: Element, method: str, sender: str | None, recipients: tuple[str, ...], ident: str | None,
    address: str | None = None, answerable: bool = True,
) -> tuple[FileOffer, list[Spot]]:
    """A file described by child elements (XEP-0234 §6, XEP-0446)."""
    gather = Gather()
    name = ""
    size: int | None = None
    declared: str | None = None
    hashes: list[tuple[str, str]] = []
    for child in element:
        namespace, local = split_tag(child.tag)
        said = (child.text or "").strip()
        if local == "name":
            name = said
            gather.add("file_name", child)
        elif local == "desc":
            gather.add("description", child, child.get(LANG))
        elif local == "size":
            size = number_of(said)
        elif local == "media-type":
            declared = said or None
        elif namespace in _HASHES and local == "hash" and len(hashes) < 8:
            hashes.append((child.get("algo", ""), said))
    return FileOffer(
        sender=sender, recipients=recipients, file_name=name, size=size, method=method, declared_type=declared,
        address=address, hashes=tuple(hashes), id=ident, texts=gather.texts_now(), answerable=answerable,
    ), gather.spots


def upload(
    element: Element, local: str, sender: str | None, recipients: tuple[str, ...], ident: str | None, asked: bool,
) -> list[Read]:
    """HTTP file upload (XEP-0363): the request names the file, the slot says where it goes."""
    gather = Gather()
    if local == "request":
        values: dict[str, str] = {}
        for name, part in (("filename", "file_name"), ("size", ""), ("content-type", "")):
            value = element.get(name)
            if value is not None:
                values[name] = value
                if part:
                    gather.attribute(part, element, name)
        for child in element:
            name = child.tag.rpartition("}")[2]
            values.setdefault(name, child.text or "")
            if name == "filename":
                gather.add("file_name", child)
        return [(FileOffer(
            sender=sender, recipients=recipients, file_name=values.get("filename", ""),
            size=number_of(values.get("size", "")), method="http_upload", declared_type=values.get("content-type"),
            id=ident, texts=gather.texts_now(), answerable=asked,
        ), gather.spots)]
    for child in element:
        if child.tag.rpartition("}")[2] in ("put", "get"):
            # Headers inside <put/> hold authorization: not read.
            gather.attribute("url", child, "url")
            if child.text and not child.text.isspace():
                gather.texts.append(Text("url", child.text))
                gather.spots.append((child, OWN))
    return [(Opaque(
        kind="upload_slot", sender=sender, recipients=recipients, texts=gather.texts_now(), id=ident, answerable=asked,
    ), gather.spots)]


def stream_initiation(
    element: Element, sender: str | None, recipients: tuple[str, ...], ident: str | None, asked: bool,
) -> list[Read]:
    """SI file transfer (XEP-0095, 0096)."""
    for child in element:
        if child.tag == SI_FILE + "file":
            return [_si_file(
                child, "si", sender, recipients, element.get("id") or ident, element.get("mime-type"), asked,
            )]
    return []


def _si_file(
    element: Element, method: str, sender: str | None, recipients: tuple[str, ...], ident: str | None,
    declared: str | None, asked: bool,
) -> tuple[FileOffer, list[Spot]]:
    """A file described by attributes (XEP-0096 §3; Jingle up to file-transfer:2)."""
    gather = Gather()
    gather.attribute("file_name", element, "name")
    for each in element:
        if each.tag == SI_FILE + "desc":
            gather.add("description", each)
    md5 = element.get("hash")
    return FileOffer(
        sender=sender, recipients=recipients, file_name=element.get("name", ""),
        size=number_of(element.get("size", "")), method=method, declared_type=declared,
        hashes=(("md5", md5),) if md5 else (), id=ident, texts=gather.texts_now(), answerable=asked,
    ), gather.spots


def _is_offered(element: Element) -> bool:
    """Whether an element of a Jingle content describes a file."""
    namespace, local = split_tag(element.tag)
    return local == "file" and (namespace in JINGLE_FILES or element.tag == SI_FILE + "file")


def jingle_events(
    element: Element, sender: str | None, recipients: tuple[str, ...], asked: bool, described: dict[int, FileOffer],
) -> list[Read]:
    """Jingle (XEP-0166): files (0234), calls (0167); reasons are words.

    `described` gets the offers by the identity of the element that describes each.
    """
    action = one_of(element.get("action", ""), CALL_ACTIONS)
    session = element.get("sid")
    read: list[Read] = []
    media: list[str] = []
    for each in element.iter():
        namespace, local = split_tag(each.tag)
        if action in ("session-initiate", "content-add") and _is_offered(each):
            if each.tag == SI_FILE + "file":
                event, spots = _si_file(each, "jingle", sender, recipients, session, None, asked)
            else:
                event, spots = described_file(each, "jingle", sender, recipients, session, answerable=asked)
            described[id(each)] = event
            read.append((event, spots))
        elif local == "description" and namespace in _JINGLE_RTP and len(media) < 8:
            media.append(each.get("media", ""))
    texts = Gather()
    for each in element:
        if each.tag.rpartition("}")[2] == "reason":
            read_rest(each, "reason", texts)
    if media or (not read and (action in ("session-terminate", "session-accept") or texts.texts)):
        read.append((CallSetup(
            action=action, sender=sender, recipients=recipients, media=tuple(media), id=session,
            texts=texts.texts_now(),
        ), texts.spots))
    return read


def google_session(element: Element, sender: str | None, recipients: tuple[str, ...], asked: bool) -> list[Read]:
    """Google Talk's sessions: files it shares (their content goes its own way), else calls."""
    kind, ident = element.get("type", ""), element.get("id")
    read: list[Read] = []
    for each in element.iter():
        if each.tag in (_SHARE + "file", _SHARE + "folder") and kind == "initiate":
            gather = Gather()
            name = ""
            for child in each:
                if child.tag == _SHARE + "name":
                    name = xml.plain(child)
                    gather.add("file_name", child)
            read.append((FileOffer(
                sender=sender, recipients=recipients, file_name=name, size=number_of(each.get("size", "")),
                method="google_talk", id=ident, texts=gather.texts_now(), answerable=asked,
            ), gather.spots))
    if not read:
        read.append((CallSetup(
            action=one_of(kind, CALL_ACTIONS), sender=sender, recipients=recipients, media=("audio",), id=ident,
        ), []))
    return read


def socks_names(sid: str, requester: str, target: str, given: str | None) -> tuple[str, ...]:
    """The names that a SOCKS5 bytestream may ask for (XEP-0065 §5.3.2), the usual one first."""
    found: dict[str, None] = {}
    if given is not None and len(given) == 40 and given.isalnum():
        found[given.lower()] = None
    for one, two in ((requester, target), (as_compared(requester), as_compared(target))):
        text = f"{sid}{one}{two}".encode("utf-8", "replace")
        found[hashlib.sha1(text, usedforsecurity=False).hexdigest()] = None
    return tuple(found)


def shortened(offer: FileOffer) -> FileOffer:
    """An offer as it is remembered: many of them stay in memory. Of a long name both ends are kept."""
    name, kind = offer.file_name, offer.declared_type or ""
    words = [*(text.plain for text in offer.texts), name, kind, *(value for each in offer.hashes for value in each)]
    if sum(map(len, words)) <= _OFFER_WORDS:
        return offer
    half = _OFFER_WORDS // 2
    return msgspec.structs.replace(
        offer, file_name=name if len(name) <= _OFFER_WORDS else name[:half] + name[-half:], texts=(), hashes=(),
        declared_type=kind[:255] or None,
    )


def host_place(element: Element) -> str:
    """Host and port of an element, as one address."""
    return urls.place(element.get("host", "")[:255], element.get("port", "")[:5])


def file_name(url: str) -> str:
    """The last part of a URL's path."""
    path = url.partition("?")[0].partition("#")[0]
    return path.rpartition("/")[2] if "://" in path else ""


def out_of_band(
    element: Element, gather: Gather, sender: str | None, recipients: tuple[str, ...], method: str,
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


def shared_files(
    element: Element, sender: str | None, recipients: tuple[str, ...], ident: str | None,
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


def remember_offers(
    owner: Owner, way: Way, peer: str | None, ident: str | None, read: Sequence[Read], offered: list[Offer],
) -> None:
    """Keep what is offered, so that its content finds its name (Jingle's are kept by session)."""
    if owner.servers is not None:
        return      # what is sent elsewhere does not pass the servers
    for event, _ in read:
        if isinstance(event, FileOffer) and event.method in ("si", "http_upload") and event.answerable:
            files = owner.known_files()
            who = as_compared(peer or owner.bare or "")
            if len(who) > LONGEST_JID or (ident is not None and len(ident) > LONGEST_SID):
                continue    # names so long are nobody's
            offer = Offer(shortened(event), way)
            offered.append(offer)
            if event.method == "http_upload":
                files.put((way, who, "upload", ident), offer)
            elif event.id is not None and len(event.id) <= LONGEST_SID:
                files.put((way, who, "sid", event.id), offer)
                files.put((way, who, "iq", ident), offer)


def jingle_offers(
    owner: Owner, way: Way, jingle: Element, described: dict[int, FileOffer], peer: str | None, offered: list[Offer],
) -> Offer | None:
    """Keep the files of a Jingle session by content, and by the bytestreams that the contents name; returns what
    the stanza is about, if that was offered before."""
    session = jingle.get("sid", "")
    who = as_compared(peer or owner.bare or "")
    if owner.servers is not None or not session or len(session) > LONGEST_SID or len(who) > LONGEST_JID:
        return None
    action = jingle.get("action", "")
    offering = action in ("session-initiate", "content-add")
    files = owner.files
    if files is None:
        if not described:
            return None
        files = owner.known_files()
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


def bytestream_hosts(
    owner: Owner, way: Way, query: Element, requester: str | None, target: str | None,
) -> tuple[list[Host], list[Element], Offer | None]:
    """SOCKS5 bytestream hosts (XEP-0065 §5.3.2): where a side connection will go, and the name it will ask for;
    hosts that are too many; what is sent there."""
    sid = query.get("sid", "")
    places = [each for each in query if each.tag == BYTESTREAMS + "streamhost" and each.get("host")]
    who = as_compared((target if way is UP else requester) or owner.bare or "")
    if owner.servers is not None:
        return [], [], None
    if not places or len(sid) > LONGEST_SID or len(who) > LONGEST_JID:
        return [], places, None
    most = owner.limits.xmpp_streamhosts
    files = owner.known_files()
    offer = files.of_stream(way, who, sid) or files.of_stream(way.other, who, sid)
    if offer is None:
        event = FileOffer(
            sender=owner.user if way is UP else requester, recipients=(target,) if target else (), method="s5b",
            address=host_place(places[0]), id=sid,
        )
        offer = Offer(event, way)
        files.put((way, who, "sid", sid), offer)
    keys = socks_names(sid, requester or "", target or "", query.get("dstaddr"))
    hosts = [
        Host(_expected(owner, host_place(each), keys[0], offer.offer, way is not offer.way),
             () if number else keys, each)
        for number, each in enumerate(places[:most])
    ]
    return hosts, places[most:], offer


def jingle_candidates(owner: Owner, way: Way, jingle: Element, peer: str | None) -> tuple[list[Host], list[Element]]:
    """SOCKS5 candidates of a Jingle session (XEP-0260 §2), and those that are too many."""
    hosts: list[Host] = []
    more: list[Element] = []
    most = owner.limits.xmpp_streamhosts
    user, other = owner.user or "", peer or ""
    if owner.servers is not None or len(other) > LONGEST_JID:
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
            offer = owner.known_files().of_session(
                as_compared(other), jingle.get("sid", ""), content.get("name", "")[:LONGEST_SID],
            ) or Offer(FileOffer(
                sender=user if way is UP else other, recipients=(other if way is UP else user,), method="s5b",
                id=sid, answerable=False,
            ), way)
            one, two = (user, other) if way is UP else (other, user)
            keys = socks_names(sid, one, two, transport.get("dstaddr")) + socks_names(sid, two, one, None)
            for each in found[:room]:
                expect = _expected(owner, host_place(each), keys[0], offer.offer, way is not offer.way)
                hosts.append(Host(expect, keys, each))
                keys = keys[:1]
    return hosts, more


def upload_hosts(owner: Owner, slot: Element, sender: str | None, ident: str | None) -> list[Host]:
    """Where an uploaded file goes and can be had (XEP-0363 §5), if it was asked for."""
    files = owner.files
    key = (UP, as_compared(sender or owner.bare or ""), "upload", ident)
    offer = files.offers.pop(key, None) if files is not None else None
    if offer is None:
        return []
    hosts: list[Host] = []
    for name in ("get", "put"):
        for child in slot:
            if child.tag.rpartition("}")[2] == name:
                url = urls.read(child.get("url") or child.text or "")
                if url is not None:
                    expect = _expected(owner, url.address, url.key, offer.offer, False, "http_upload")
                    hosts.append(Host(expect, (url.key,)))
                break
    return hosts


def _expected(
    owner: Owner, address: str, key: str, offer: FileOffer, reverse: bool, what: str = "bytestream",
) -> Expect:
    return Expect(address, what, owner.user, key, offer, owner.flow.id, owner.identity, reverse=reverse)


def leased(
    owner: Owner, frame: Frame, note: Note,
) -> tuple[list[tuple[Element, str, str]], list[Element], list[Act]]:
    """(attributes to write, hosts that get no port of ours and must go, what is expected) of a stanza.

    A session has its share of ports: who offers without end takes none from others.
    """
    changes: list[tuple[Element, str, str]] = []
    surplus: list[Element] = []
    acts: list[Act] = []
    if not note.hosts:
        return changes, surplus, acts
    at, leases = frame.at, owner.known_files().leases
    until = at + owner.limits.expect_seconds
    while leases and leases[0] <= at - owner.limits.lease_seconds:
        leases.popleft()
    for host in note.hosts:
        if host.element is not None:
            if len(leases) >= owner.limits.xmpp_leases:
                surplus.append(host.element)
                continue
            ours = owner.memory.lease(host.expect, frame.way, at)
            if ours is not None:
                leases.append(at)
                changes += [(host.element, "host", ours.ip), (host.element, "port", str(ours.port))]
        acts.append(host.expect)
        for key in host.keys:
            owner.memory.put(expect_key(host.expect.what, key), host.expect, until)
    return changes, surplus, acts


def refuse_offers(owner: Owner, note: Note) -> None:
    """Remember that the files of a stanza were refused: so is their content, whoever sends it all the same."""
    if owner.flow.file is None:
        for offer in note.offered:
            offer.refused = True
