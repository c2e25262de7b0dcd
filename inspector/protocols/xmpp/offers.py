"""Files that are offered (XEP-0066, 0095/0096, 0234, 0363, 0385, 0446, 0447; Google Talk), and calls (0166, 0167)."""

from __future__ import annotations

import hashlib
from xml.etree.ElementTree import Element

import msgspec

from inspector.model import CallSetup, FileOffer, Opaque, Text
from inspector.protocols.xmpp.names import (
    CALL_ACTIONS,
    JINGLE_FILES,
    SI_FILE,
    as_compared,
    number_of,
    one_of,
    split_tag,
)
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
    return urls.place(element.get("host", "")[:255], element.get("port", "")[:5])


def file_name(url: str) -> str:
    """The last part of a URL's path."""
    path = url.partition("?")[0].partition("#")[0]
    return path.rpartition("/")[2] if "://" in path else ""
