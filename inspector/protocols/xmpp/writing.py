"""Changes in the bytes of a stanza: masks, replacements. What is not changed stays as it came."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from inspector.model import CLEAR, Action, CallSetup, Event, FileOffer, Frame, Message, Opaque, Verdict
from inspector.protocols.xmpp.names import CARBONS, DELAYS, FORWARDED, MESSAGE, one_line, split_tag
from inspector.protocols.xmpp.state import Note
from inspector.protocols.xmpp.words import BREAK, OWN, TAIL, Spot, says_something
from inspector.wire import xml
from inspector.wire.xml import Place, escape


def pair_places(element: Element, place: Place, places: dict[int, Place]) -> None:
    """Put the place of each element under its identity; both trees have the same shape."""
    places[id(element)] = place
    for child, kid in zip(element, place.kids, strict=True):
        pair_places(child, kid, places)


def masked(
    raw: bytes, spot: Spot, places: dict[int, Place], spans: list[tuple[int, int]] | None,
) -> list[tuple[int, int, bytes]]:
    """Changes that mask spans of one text; None: all of it."""
    found: list[tuple[int, int]] = []
    for element, name in spot if isinstance(spot, list) else (spot,):
        place = places[id(element)]
        if name is None:
            found += xml.plain_places(raw, element, place)
        elif name is OWN:
            if not place.empty:
                found += xml.letters(raw, place.open_end, place.kids[0].start if place.kids else place.close_start)
        elif name is TAIL:
            found += xml.letters(raw, place.end, xml.next_tag(raw, place.end))
        elif name is BREAK:
            found.append((place.start, place.end))
        else:
            span = xml.attribute(raw, place, name)
            if span is not None:
                found += xml.letters(raw, *span)
    return xml.mask(found, [(0, len(found))] if spans is None else spans)


def replaced(raw: bytes, element: Element, placeholder: str) -> bytes:
    """A message with its words replaced: tag, and children that are about delivery, stay."""
    top = xml.locate(raw)
    inner = _wrapped(element, top)
    if inner is not None:
        child, place = inner
        part = replaced(raw[place.start:place.end], child, placeholder)
        return raw[:place.start] + part + raw[place.end:]
    name = raw[1:].split(b" ", 1)[0].split(b">", 1)[0].split(b"/", 1)[0].split(b"\t", 1)[0].split(b"\n", 1)[0]
    scope = "" if b":" not in name else " xmlns='jabber:client'"
    body = f"<body{scope}>{one_line(placeholder)}</body>".encode()
    if top.empty:
        return raw[:-2] + b">" + body + b"</" + name + b">"
    kept = b"".join(
        raw[place.start:place.end] for child, place in zip(element, top.kids, strict=True) if _stays(child)
    )
    return raw[:top.open_end] + body + kept + raw[top.close_start:]


def _wrapped(element: Element, place: Place) -> tuple[Element, Place] | None:
    """The message inside a carbon or an archive's result, where nothing else that could have words is around it."""
    for step in range(3):
        if step and (namespace := split_tag(element.tag)[0]) != split_tag(FORWARDED)[0] and not (
            namespace in CARBONS or namespace.startswith("urn:xmpp:mam:")
        ):
            return None
        if step == 2 and element.tag != FORWARDED:
            return None
        if says_something(element.text) or any(says_something(child.tail) for child in element):
            return None
        parts = [(child, kid) for child, kid in zip(element, place.kids, strict=True) if not _stays(child)]
        if len(parts) != 1:
            return None
        element, place = parts[0]
    return (element, place) if element.tag == MESSAGE else None


def beyond_masks(event: Event) -> bool:
    """Whether an event carries more than the words that a mask covers."""
    return isinstance(event, FileOffer | CallSetup) or not event.texts or (
        isinstance(event, Message | Opaque) and event.encryption is not CLEAR
    )


def _stays(child: Element) -> bool:
    """Whether a part of a message is about its delivery only."""
    if child.tag in DELAYS:
        return not len(child) and not (child.text and child.text.strip())
    namespace, _ = split_tag(child.tag)
    return not child.text and not len(child) and namespace in (
        "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0", "urn:xmpp:hints", "urn:xmpp:receipts",
    )


def rewritten(
    frame: Frame, note: Note, verdicts: Sequence[Verdict], written: Sequence[tuple[Element, str, str]] = (),
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
