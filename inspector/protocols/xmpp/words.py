"""What a stanza says: its texts, where each is written, and what nobody has read (RFC 6121 §5; XEP-0071, 0004).

A text has a spot: the element and the part of it that the words come from, so that a mask finds them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from inspector.model import CLEAR, Encryption, Event, Opaque, Text
from inspector.protocols.xmpp.names import BIND, ENCRYPTED, SHOW, SHOWS, SIGNED
from inspector.wire import xml
from inspector.wire.xml import LANG

_XHTML = "{http://www.w3.org/1999/xhtml}"
_XHTML_BREAK = _XHTML + "br"
_BLOCKS = frozenset(_XHTML + name for name in (
    "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "table", "tr", "td", "th",
))
_READ_ATTRIBUTES = ("href", "src", "cite", "longdesc", "alt", "title")
_BLOBS = frozenset({
    "{vcard-temp}BINVAL", "{urn:xmpp:avatar:data}data", "{urn:xmpp:bob}data", "{http://jabber.org/protocol/ibb}data",
    "{urn:ietf:params:xml:ns:vcard-4.0}uri",
})
_SECRETS = frozenset({"password", "digest", "token", "hash", "fast"})
"""Local names whose content is a secret: it never becomes a Text."""
Spot = tuple[Element, str | None] | list[tuple[Element, str]]
"""Where a Text comes from: all character data of an element, or (name given) one of its attributes; or a run of pieces
in document order, each _OWN, _TAIL or _BREAK of its element."""
Read = tuple[Event, list[Spot]]
_ALWAYS = frozenset({"body"})
_VCARD_URI = "{urn:ietf:params:xml:ns:vcard-4.0}uri"
_SECRET_FIELDS = ("password", "passwd", "secret", "token")
_NUMBERS = frozenset({"priority", "size", "width", "height", "length", "max", "count", "index"})
_TOKENS = frozenset({"media-type", "date", "photo", "utc", "tzo", "first", "last", "before", "after", "fingerprint"})
_LINKS = ("target", "href", "src", "uri", "url")
"""Attributes that hold a link wherever they stand."""
_UNREAD = frozenset({
    "{jabber:iq:auth}query", BIND + "bind", SIGNED, "{urn:xmpp:http:upload:0}header", "{urn:xmpp:http:upload}header",
})
"""Elements whose content is a login, a name asked for, a signature or an authorization."""
OWN = "#text"
"""Instead of an attribute's name: only the text in front of the first child element."""
TAIL = "#tail"
"""Instead of an attribute's name: the text behind the element, up to the next tag."""
BREAK = "#break"
"""Instead of an attribute's name: the element itself, which stands for a line feed."""


class Gather:
    """Texts of one event with their spots."""

    __slots__ = ("spots", "texts")

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.spots: list[Spot] = []

    def add(self, part: str, element: Element, lang: str | None = None, *, deep: bool = True) -> None:
        """The character data of an element, if there is any."""
        said = xml.plain(element) if deep else (element.text or "")
        if said and (part in _ALWAYS or not said.isspace()):
            self.texts.append(Text(part, said, lang))
            self.spots.append((element, None))

    def attribute(self, part: str, element: Element, name: str) -> None:
        """The value of an attribute, if there is one."""
        value = element.get(name)
        if value:
            self.texts.append(Text(part, value))
            self.spots.append((element, name))

    def freeze(self) -> None:
        """Signed words cannot be changed in place."""
        self.texts = [Text(text.part, text.plain, text.lang, False) for text in self.texts]

    def texts_now(self) -> tuple[Text, ...]:
        return tuple(self.texts)


def read_xhtml(html: Element, gather: Gather) -> None:
    """XHTML-IM (XEP-0071): the words block by block, and the addresses and titles in attributes.

    Words of one line are one Text whatever markup stands between them; a <br/> is a line feed in it.
    """
    for body in html:
        run: list[tuple[Element, str]] = []
        said: list[str] = []
        _read_block(body, run, said, gather, body.get(LANG))
        _end_block(run, said, gather, body.get(LANG))
        for each in body.iter():
            if each.attrib:
                for name in _READ_ATTRIBUTES:
                    gather.attribute("url" if name in ("href", "src", "cite", "longdesc") else "xhtml", each, name)


def _read_block(
    element: Element, run: list[tuple[Element, str]], said: list[str], gather: Gather, lang: str | None,
) -> None:
    if element.text:
        said.append(element.text)
        run.append((element, OWN))
    for child in element:
        if child.tag in _BLOCKS:
            _end_block(run, said, gather, lang)
            _read_block(child, run, said, gather, lang)
            _end_block(run, said, gather, lang)
        else:
            if child.tag == _XHTML_BREAK and not child.text and not len(child):
                said.append("\n")
                run.append((child, BREAK))
            _read_block(child, run, said, gather, lang)
        if child.tail:
            said.append(child.tail)
            run.append((child, TAIL))


def _end_block(run: list[tuple[Element, str]], said: list[str], gather: Gather, lang: str | None) -> None:
    plain = "".join(said)
    if plain and not plain.isspace():
        gather.texts.append(Text("xhtml", plain, lang))
        gather.spots.append(run.copy())
    run.clear()
    said.clear()


def read_rest(element: Element, part: str, gather: Gather) -> None:
    """All words inside an element, one Text per element that has any; neither secrets nor base64 blobs."""
    stack = [element]
    while stack:
        each = stack.pop()
        if _hidden(each):
            continue
        if each.text and not each.text.isspace():
            gather.texts.append(Text(part, each.text, each.get(LANG)))
            gather.spots.append((each, OWN))
        for child in each:
            if child.tail and not child.tail.isspace():
                gather.texts.append(Text(part, child.tail))
                gather.spots.append((child, TAIL))
        stack.extend(reversed(each))


def _hidden(element: Element) -> bool:
    """Whether the content of an element is base64, or a secret that must reach no event."""
    tag = element.tag
    if tag in _BLOBS:
        return tag != _VCARD_URI or (element.text or "")[:5].lower() == "data:"
    local = tag.rpartition("}")[2]
    if local in _SECRETS:
        return True
    if local != "field":
        return False
    name = element.get("var", "").lower()
    return element.get("type") == "text-private" or any(word in name for word in _SECRET_FIELDS)


def read_leftovers(
    element: Element, read: Sequence[Read], removals: Sequence[Element], gather: Gather,
) -> None:
    """Words of a stanza that are in no spot of `read`; neither secrets, blobs, ciphertext nor what is removed."""
    covered: set[tuple[int, str]] = set()
    for _, spots in read:
        for spot in spots:
            if isinstance(spot, list):
                covered.update((id(each), name) for each, name in spot)
            elif spot[1] is None:
                for each in spot[0].iter():
                    covered.add((id(each), OWN))
                    covered.update((id(child), TAIL) for child in each)
            else:
                covered.add((id(spot[0]), spot[1]))
    gone = {id(each) for each in removals}
    result = element.get("type") == "result"
    stack = [element]
    while stack:
        each = stack.pop()
        tag = each.tag
        if _hidden(each) or tag in _UNREAD or tag in ENCRYPTED or id(each) in gone or (
            result and tag == "{jabber:iq:roster}query"
        ):
            continue
        text = each.text
        if text and not text.isspace() and (id(each), OWN) not in covered and not _formal(tag, text.strip()):
            gather.texts.append(Text("extension", text, each.get(LANG)))
            gather.spots.append((each, OWN))
        if each.attrib:
            for name in _LINKS:
                if "://" in each.get(name, "") and (id(each), name) not in covered:
                    gather.attribute("url", each, name)
        for child in each:
            tail = child.tail
            if tail and not tail.isspace() and (id(child), TAIL) not in covered:
                gather.texts.append(Text("extension", tail))
                gather.spots.append((child, TAIL))
        stack.extend(reversed(each))


def _formal(tag: str, text: str) -> bool:
    """Whether a text is what its element is for: a number, a time, a type, no words."""
    if tag == SHOW:
        return text in SHOWS
    local = tag.rpartition("}")[2]
    if local in _NUMBERS:
        return len(text) < 12 and text.lstrip("-").isdigit()
    if local in _TOKENS:
        return len(text) <= 64 and not any(c.isspace() for c in text)
    return False


def opaque(
    kind: str, element: Element, sender: str | None, recipients: tuple[str, ...], ident: str | None, answerable: bool,
) -> Read:
    """Words of an element that nobody reads in another way; what a form is, or is the set-up of encryption, is said."""
    gather = Gather()
    encryption = CLEAR
    if kind in ("form", "command", "register", "search", "room"):
        kind_part = "form"
    else:
        kind_part = kind
    read_rest(element, kind_part, gather)
    node = next((each.get("node", "") for each in element.iter() if each.get("node")), "")
    if "omemo" in node or "axolotl" in node:
        # Device lists and bundles: publishing them is the set-up of OMEMO (XEP-0384 §5).
        kind, encryption = "metadata", Encryption("full", "omemo")
    return Opaque(
        kind=kind, sender=sender, recipients=recipients, texts=gather.texts_now(), id=ident, encryption=encryption,
        answerable=answerable,
    ), gather.spots


def one_unit(read: Sequence[Read], element: Element) -> tuple[int, ...] | None:
    """A stanza is refused whole, but for an answer, of which only words are masked."""
    return None if len(read) < 2 or element.get("type") in ("error", "result") else (0,) * len(read)


def says_something(text: str | None) -> bool:
    """Whether a text has more than white space."""
    return text is not None and not text.isspace()


def outermost(element: Element, tag: str) -> Iterator[Element]:
    """Elements of that name, none inside another."""
    for child in element:
        if child.tag == tag:
            yield child
        else:
            yield from outermost(child, tag)


def sealed_digest(parts: Sequence[Element]) -> str:
    """A digest of elements that hold ciphertext, as they are read: however a server writes them, it is the same."""
    made = hashlib.sha256()
    for part in parts:
        for node in part.iter():
            attributes = sorted(node.items())
            pieces = [node.tag, *(piece for pair in attributes for piece in pair), node.text or ""]
            if node is not part:
                pieces.append(node.tail or "")
            made.update(b"%d,%d;" % (len(attributes), len(node)))
            for piece in pieces:
                data = piece.encode("utf-8", "surrogatepass")
                made.update(b"%d:" % len(data))
                made.update(data)
    return made.hexdigest()
