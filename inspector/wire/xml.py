"""XML streams in units with exact byte spans, and the places of texts inside a unit.

Three tools, none with a protocol's meaning beyond RFC 6120's stream (§4, §11.1 restricted XML):

* `Splitter` cuts one way of a stream into units (header, depth-1 element, close tag, white space) with a byte lexer of
  its own. It holds at most one unit, looks at each byte a bounded number of times however the bytes are cut, and
  refuses comments, processing instructions and declarations before any XML library sees them (RFC 6120 §11.1).
* `Reader` parses one *whole* unit with an expat parser that the process keeps for all sessions whose stream headers
  declare the same namespaces. Between whole units such a parser holds nothing of a session, so an idle session costs no
  parser. expat sees only whole units: reparse deferral (expat 2.6) never delays one, and neither an attribute nor a tag
  is ever parsed twice.
* `locate` finds the bytes of every element of a unit, `letters` those of every character: what a mask needs.

Names of elements and attributes are written as ElementTree writes them: "{namespace}local".
"""

from __future__ import annotations

import atexit
import xml.parsers.expat as expat
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.parsers.expat import ExpatError, XMLParserType, errors

STREAMS = "http://etherx.jabber.org/streams"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

SPACE, HEADER, ELEMENT, CLOSE = "space", "header", "element", "close"

WHITE = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
_CDATA = b"<![CDATA["
_NAME_END = b" \t\r\n/>"
_DECLARATION = 1024
"""Longest XML declaration in bytes; a real one has about 40."""

Namespaces = tuple[tuple[str, str], ...]
"""(prefix, namespace) pairs of a stream header, sorted; the default namespace has prefix ""."""

CLIENT_STREAM: Namespaces = (("", "jabber:client"), ("stream", STREAMS))

_PARSERS = 16
"""Shared parsers kept at a time: real headers need three or four; invented ones displace the least recently used."""


class XmlFault(Exception):
    """Bytes that are not the XML of RFC 6120. `condition`: the stream error of §4.9.3 that says so.

    `name` tells apart what has the same condition; it is the condition with underscores unless given.
    """

    def __init__(self, condition: str, detail: str, name: str | None = None) -> None:
        super().__init__(f"{condition}: {detail}")
        self.condition = condition
        self.detail = detail
        self.name = name or condition.replace("-", "_")


class Splitter:
    """Cuts one way of an XML stream into units. Feed with `push`, take with `take` until it gives None.

    `limit` (longest unit, bytes) and `depth` (deepest nesting) may be changed between calls of `take`.
    """

    __slots__ = ("_at", "_base", "_buffer", "_depth", "_mode", "_quote", "_seen", "_tag", "depth", "limit", "opened")

    def __init__(self, limit: int, depth: int) -> None:
        self.limit = limit
        self.depth = depth
        self.opened = False
        """Whether a header was taken: before it nothing but a header may come."""
        self._buffer: bytes | bytearray = b""
        self._base = 0
        self._start_unit(0)

    def _start_unit(self, base: int) -> None:
        self._base = base
        self._at = base      # next byte to look at
        self._seen = base    # no ">" in front of this one, as far as a tag is concerned
        self._tag = base     # "<" of the tag being read
        self._depth = 0
        self._quote = 0      # the quote that the attribute value being read ends in, 0 outside
        self._mode: int = 0  # 0 start, 1 prolog, 2 header tag, 3 tag, 4 content, 5 CDATA, 6 end tag, 7 close tag

    @property
    def pending(self) -> int:
        """Bytes held that are not yet a unit."""
        return len(self._buffer) - self._base

    def push(self, data: bytes) -> None:
        """Take in bytes; `take` must have given None before (or nothing was pushed yet)."""
        if self._base < len(self._buffer):
            buffer = self._buffer
            if isinstance(buffer, bytes) or self._base:
                base = self._base
                buffer = bytearray(buffer[base:])
                self._at -= base
                self._seen -= base
                self._tag -= base
                self._base = 0
            buffer += data
            self._buffer = buffer
        else:
            self._buffer = data
            self._start_unit(0)

    def rest(self) -> bytes:
        """All bytes held, which leave the splitter; it starts anew."""
        data = bytes(self._buffer[self._base:])
        self._buffer = b""
        self._start_unit(0)
        return data

    def take(self) -> tuple[str, bytes] | None:
        """The next whole unit as (what, raw), None when more bytes are needed.

        Raises XmlFault; `rest()` then gives the bytes from the start of the broken unit on.
        """
        buffer, base = self._buffer, self._base
        size = len(buffer)
        if base >= size:
            if base:
                self._buffer = b""
                self._start_unit(0)
            return None
        if self._mode == 0 and self.opened:
            first = buffer[base]
            if first in WHITE:
                at = base + 1
                while at < size and buffer[at] in WHITE:
                    at += 1
                return self._unit(SPACE, at)
            if first != 0x3C:
                raise XmlFault("bad-format", "text between stanzas")
            if base + 1 >= size:
                return None
            second = buffer[base + 1]
            if second == 0x3F:
                self._mode = 1
            elif second == 0x2F:
                self._mode = 7
                self._at = base + 2
            elif second == 0x21:
                raise XmlFault("restricted-xml", "a declaration, comment or CDATA section between stanzas")
            else:
                self._mode = 3
                self._tag = base
                self._at = self._seen = base + 1
        elif not self._mode:
            self._mode = 1
        close = self._lex(buffer, base, min(size, base + self.limit))
        if close is not None:
            ended: int = self._mode
            if ended == 2:
                self.opened = True
                return self._unit(HEADER, close)
            return self._unit(CLOSE if ended == 7 else ELEMENT, close)
        if size - base >= self.limit:
            raise XmlFault("policy-violation", f"a unit longer than {self.limit} bytes", "too_big")
        return None

    def _unit(self, what: str, end: int) -> tuple[str, bytes]:
        raw = bytes(self._buffer[self._base:end])
        self._start_unit(end)
        return what, raw

    def _lex(self, buffer: bytes | bytearray, base: int, end: int) -> int | None:
        """Go on from where the last call stopped; the end of the unit, or None when it lies behind `end`."""
        find = buffer.find
        at, mode = self._at, self._mode
        while True:
            if mode == 4:
                at = find(b"<", at, end)
                if at < 0:
                    self._at, self._mode = end, 4
                    return None
                if at + 1 >= end:
                    self._at, self._mode = at, 4
                    return None
                kind = buffer[at + 1]
                if kind == 0x2F:
                    at += 2
                    mode = 6
                elif kind == 0x21:
                    piece = buffer[at:min(at + 9, end)]
                    if not _CDATA.startswith(piece):
                        raise XmlFault("restricted-xml", "a comment or declaration")
                    if len(piece) < 9:
                        self._at, self._mode = at, 4
                        return None
                    at += 9
                    mode = 5
                elif kind == 0x3F:
                    raise XmlFault("restricted-xml", "a processing instruction")
                else:
                    self._tag = at
                    at += 1
                    self._seen = at
                    mode = 3
            if mode == 6:
                close = find(b">", at, end)
                if close < 0:
                    self._at, self._mode = end, 6
                    return None
                self._depth -= 1
                at = close + 1
                if not self._depth:
                    self._mode = 3
                    return at
                mode = 4
            elif mode == 3 or mode == 2:
                close = self._tag_end(buffer, at, end)
                if close < 0:
                    self._mode = mode
                    return None
                at = close + 1
                if mode == 2:
                    self._mode = 2
                    return at
                if not self._depth and self._is_stream(buffer, close):
                    self._mode = 2
                    return at
                if buffer[close - 1] != 0x2F:
                    self._depth += 1
                    if self._depth > self.depth:
                        raise XmlFault("policy-violation", f"elements nested deeper than {self.depth}", "too_deep")
                elif not self._depth:
                    self._mode = 3
                    return at
                mode = 4
            elif mode == 5:
                close = find(b"]]>", at, end)
                if close < 0:
                    self._at, self._mode = max(at, end - 2), 5
                    return None
                at = close + 3
                mode = 4
            elif mode == 7:
                close = find(b">", at, end)
                if close < 0:
                    self._at, self._mode = end, 7
                    return None
                self._mode = 7
                return close + 1
            elif mode == 1:
                start = self._prolog(buffer, base, end)
                if start < 0:
                    self._mode = 1
                    return None
                self._tag = start
                at = self._seen = start + 1
                mode = 2

    def _tag_end(self, buffer: bytes | bytearray, at: int, end: int) -> int:
        """Index of the ">" that ends the tag read so far up to `at`, or -1; values in quotes may hold any ">"."""
        find = buffer.find
        quote = self._quote
        double = single = -1
        while True:
            if quote:
                closing = find(quote, at, end)
                if closing < 0:
                    self._at, self._quote = end, quote
                    return -1
                at, quote = closing + 1, 0
            close = find(b">", max(at, self._seen), end)
            if close < 0:
                self._at, self._quote, self._seen = at, 0, end
                return -1
            self._seen = close
            # the next quote of each sort up to that ">"; `close` itself stands for "none", and is searched again
            # only when the tag turns out to go on behind it
            if double < at:
                double = find(b'"', at, close)
                if double < 0:
                    double = close
            if single < at:
                single = find(b"'", at, close)
                if single < 0:
                    single = close
            opening = min(double, single)
            if opening >= close:
                self._quote = 0
                return close
            quote = buffer[opening]
            at = opening + 1

    def _is_stream(self, buffer: bytes | bytearray, close: int) -> bool:
        """Whether the first tag of a unit has the local name "stream": a new header (RFC 6120 §4.3.3)."""
        name = bytes(buffer[self._tag + 1:min(close, self._tag + 256)])
        for index, byte in enumerate(name):
            if byte in _NAME_END:
                name = name[:index]
                break
        return name.rpartition(b":")[2] == b"stream"

    def _prolog(self, buffer: bytes | bytearray, base: int, end: int) -> int:
        """Index of the "<" of a header's tag, or -1 when it has not come yet.

        In front of it: a byte order mark, then an XML declaration and white space, or white space alone.
        """
        at = base
        if not self.opened:
            mark = buffer[at:min(at + 3, end)]
            if mark[:1] == BOM[:1]:
                if not BOM.startswith(mark):
                    raise XmlFault("unsupported-encoding", "a byte order mark that is not UTF-8's")
                if len(mark) < 3:
                    return -1
                at += 3
            elif mark[:1] in (b"\xfe", b"\xff", b"\x00"):
                raise XmlFault("unsupported-encoding", "a byte order mark that is not UTF-8's")
        begin = buffer[at:min(at + 6, end)]
        if begin[:2] == b"<?":
            if begin[:5] != b"<?xml"[:len(begin)] or (len(begin) == 6 and begin[5] not in WHITE):
                raise XmlFault("restricted-xml", "a processing instruction")
            close = buffer.find(b"?>", at, min(end, at + _DECLARATION))
            if close < 0:
                if end - at >= _DECLARATION:
                    raise XmlFault("not-well-formed", "an XML declaration without end")
                return -1
            at = close + 2
        elif begin == b"<":
            return -1
        self._at = max(at, self._at)
        at = self._at
        while at < end and buffer[at] in WHITE:
            at += 1
        self._at = at
        if at + 1 >= end:
            if at < end and buffer[at] != 0x3C:
                raise XmlFault("not-well-formed", "no stream header")
            return -1
        if buffer[at] != 0x3C:
            raise XmlFault("not-well-formed", "no stream header")
        if buffer[at + 1] == 0x21:
            raise XmlFault("restricted-xml", "a declaration or comment in front of the stream")
        if buffer[at + 1] == 0x3F:
            condition = "not-well-formed" if at > base else "restricted-xml"
            raise XmlFault(condition, "an XML declaration that is not the first thing")
        if buffer[at + 1] == 0x2F:
            raise XmlFault("not-well-formed", "an end tag where a stream header belongs")
        return at


class Header:
    """A stream header as read: attributes by name, namespaces, and the tag's name as written ("stream:stream")."""

    __slots__ = ("attributes", "name", "namespaces", "qname")

    def __init__(self, name: str, qname: str, attributes: dict[str, str], namespaces: Namespaces) -> None:
        self.name = name
        self.qname = qname
        self.attributes = attributes
        self.namespaces = namespaces

    @property
    def content(self) -> str:
        """The default namespace: that of the stanzas."""
        return dict(self.namespaces).get("", "")


def read_header(raw: bytes) -> Header:
    """Parse a stream header (byte order mark, declaration, white space, one start tag). Raises XmlFault."""
    found: list[tuple[str, dict[str, str]]] = []
    namespaces: dict[str, str] = {}
    encodings: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        found.append((f"{{{name}" if "}" in name else name, attributes))

    def declare(prefix: str | None, uri: str | None) -> None:
        namespaces[prefix or ""] = uri or ""

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding:
            encodings.append(encoding)

    if len(raw) > _LONG:
        check_names(raw)
    parser = _parser()
    parser.StartElementHandler = start
    parser.StartNamespaceDeclHandler = declare
    parser.XmlDeclHandler = declaration
    body = raw.removeprefix(BOM)
    try:
        parser.Parse(body if body[:1] == b"<" else body.lstrip(WHITE), False)
    except ExpatError as error:
        raise _fault(error.code, raw) from None
    if any(encoding.upper() != "UTF-8" for encoding in encodings):
        raise XmlFault("unsupported-encoding", "the declaration names an encoding other than UTF-8")
    if len(found) != 1:
        raise XmlFault("not-well-formed", "no single stream header")
    name, attributes = found[0]
    tag = body[body.rindex(b"<", 0, _last_tag(body)):]
    qname = tag[1:]
    for index, byte in enumerate(qname):
        if byte in _NAME_END:
            qname = qname[:index]
            break
    return Header(name, qname.decode(), attributes, tuple(sorted(namespaces.items())))


def _last_tag(body: bytes) -> int:
    """Index just behind the "<" of the header's own tag: it follows the declaration, "<" cannot occur within it."""
    close = body.find(b"?>") + 2 if body.startswith(b"<?xml") else 0
    return body.index(b"<", close) + 1


def _parser() -> XMLParserType:
    parser = expat.ParserCreate("utf-8", "}")
    defer = getattr(parser, "SetReparseDeferralEnabled", None)
    if defer is not None:    # expat before 2.6 has none
        defer(False)
    return parser


def _fault(code: int, raw: bytes) -> XmlFault:
    if code == _UNBOUND:
        return XmlFault("bad-namespace-prefix", "a prefix that is not bound")
    if code == _ENTITY:
        return XmlFault("restricted-xml", "an entity reference other than the five of XML")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return XmlFault("bad-format", "bytes that are not UTF-8")
    return XmlFault("not-well-formed", errors.messages.get(code, "not well-formed"))


_UNBOUND = errors.codes[errors.XML_ERROR_UNBOUND_PREFIX]
_ENTITY = errors.codes[errors.XML_ERROR_UNDEFINED_ENTITY]

_MARK = b"<k/>"
"""Fed behind each unit: it becomes the unit's next sibling only if the unit ended cleanly."""
_LONG = 4096
"""Bytes of base64 from which on they are not shown to the parser."""
_NAMES = 8 << 20
"""Bytes that all names of a long unit may have, each with its namespace: a stanza of 512 KiB of small attributes has
less, and what the parser makes of it is up to four times as much."""
_CODED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class Reader:
    """The process's parser for one set of header namespaces: whole units in, elements out.

    The standard library's XMLParser drives expat without a Python call per tag. It says nothing of byte positions; a
    mark behind each unit tells as much. Not reentrant, not for threads. `bound`: renew the parser after this many
    bytes, since it keeps every name it saw.
    """

    __slots__ = ("_fed", "_feed", "_mark", "_opening", "_root", "bound", "namespaces")

    def __init__(self, namespaces: Namespaces, bound: int = 1 << 20) -> None:
        self.namespaces = namespaces
        self.bound = bound
        self._opening = (
            "<r" + "".join(
                f" xmlns{':' if prefix else ''}{prefix}='{escape(uri)}'"
                for prefix, uri in namespaces if prefix != "xml"
            ) + ">"
        ).encode()
        self._renew()

    def _renew(self) -> None:
        builder = TreeBuilder()
        top = builder.start("top", {})
        # Safe without defusedxml: only what `read` has found free of declarations gets here.
        parser = XMLParser(target=builder, encoding="utf-8")  # noqa: S314
        parser.feed(self._opening)
        parser.feed(_MARK)
        self._feed = parser.feed
        self._root: Element = top[0]
        self._mark: str = self._root[0].tag
        self._root.clear()
        self._fed = 0

    def read(self, raw: bytes) -> Element | None:
        """The element that `raw` is; None when it is not exactly one whole element. Raises XmlFault."""
        # Looking for one byte is ten times faster than for two, and mostly enough.
        if (33 in raw and raw.find(b"<!") >= 0) or (63 in raw and raw.find(b"<?") >= 0):
            _check_markup(raw)
        if len(raw) > _LONG:
            if (run := _run(raw)) is not None:
                return self._read_around(raw, *run)
            check_names(raw, len(self._opening))
        root = self._root
        try:
            self._feed(raw + _MARK)
        except ParseError as error:
            self._renew()
            raise _fault(getattr(error, "code", 0), raw) from None
        # An element still open would have the mark as its child, an unfinished tag or section would have eaten it.
        if len(root) == 2:
            mark = root[1]
            if mark.tag == self._mark and not len(mark):
                element = root[0]
                root.clear()
                self._fed = fed = self._fed + len(raw)
                if fed > self.bound:
                    self._renew()
                return element if element.tail is None and raw[0] == 0x3C else None
        self._renew()
        return None

    def close(self) -> None:
        """Free the parser: nothing can be read any more (ValueError)."""
        self._feed = _closed
        self._root = Element("r")

    def _read_around(self, raw: bytes, start: int, end: int) -> Element | None:
        """Read a unit without a run of its text, which is then put in its place (see `_run`)."""
        element = self.read(raw[:start] + raw[end:])
        if element is not None:
            # The first of the two end tags behind the run is that of the last child: its text ends with the run.
            inner, said = element[-1], raw[start:end].decode("ascii")
            if len(inner):
                inner[-1].tail = (inner[-1].tail or "") + said
            else:
                inner.text = (inner.text or "") + said
        return element


def _closed(_raw: object) -> None:
    raise ValueError("the parser is closed")


def _run(raw: bytes) -> tuple[int, int] | None:
    """Span of the long run of base64 that a unit ends with, in front of its last two end tags (a block of a file).

    None: it has none, or declarations or CDATA sections. Between a ">" and a "</" such a run is text wherever the unit
    is well-formed, and where it is not (a value in quotes) it is not without the run either.
    """
    last = raw.rfind(b"<")
    end = raw.rfind(b"<", 0, max(last, 0))
    if end < 0 or raw[last + 1:last + 2] != b"/" or raw[end + 1] != 0x2F:
        return None
    start = raw.rfind(b">", 0, end) + 1
    if not start or end - start < _LONG or 33 in raw or 63 in raw or raw[start:end].translate(None, _CODED):
        return None
    return start, end


def check_names(raw: bytes, least: int = 0) -> None:
    """Raise XmlFault where the names of a unit could become far more than it is: the parser gives each element and
    attribute the whole name of its namespace, so a long one and thousands of names make gigabytes of a stanza.
    `least`: length of namespaces that are known already. Linear."""
    longest = max(least, _longest_namespace(raw))
    if longest * (raw.count(b"<") + raw.count(b"=")) > _NAMES:
        raise XmlFault("policy-violation", "names of namespaces too long for so many names")


def _longest_namespace(raw: bytes) -> int:
    """Bytes of the longest value that stands behind a declaration of a namespace, or more (text may look like one)."""
    longest = 0
    quotes = {0x22: -1, 0x27: -1}
    """Where each sign was last looked for and found."""
    looked = -1
    at = raw.find(b"xmlns")
    while at >= 0:
        sign = raw.find(b"=", at)
        if sign < 0:
            break
        for quote, place in quotes.items():
            if place < sign:
                found = raw.find(quote, sign)
                quotes[quote] = found if found >= 0 else len(raw)
        opens = min(quotes.values())
        if opens != looked and opens < len(raw):
            looked = opens
            closes = raw.find(raw[opens], opens + 1)
            longest = max(longest, (closes if closes >= 0 else len(raw)) - opens)
        at = raw.find(b"xmlns", sign)
    return longest


def _check_markup(raw: bytes) -> None:
    """Raise XmlFault at a comment, processing instruction or declaration; CDATA sections may stand."""
    at = 0
    while True:
        at = raw.find(b"<", at)
        if at < 0:
            return
        if raw.startswith(_CDATA, at):
            at = raw.find(b"]]>", at)
            if at < 0:
                return
        elif raw[at + 1:at + 2] in (b"!", b"?"):
            raise XmlFault("restricted-xml", "a comment, processing instruction or declaration")
        at += 1


_readers: dict[tuple[Namespaces, int], Reader] = {}


@atexit.register
def _let_go() -> None:
    """Close all parsers. Left to the end of the process, Python 3.12 frees what they are made by in front of them, and
    dies of it."""
    for each in _readers.values():
        each.close()
    _readers.clear()


def reader(namespaces: Namespaces, bound: int = 1 << 20) -> Reader:
    """The shared reader for these namespaces."""
    key = (namespaces, bound)
    found = _readers.pop(key, None)
    if found is None:
        while len(_readers) >= _PARSERS:
            del _readers[next(iter(_readers))]
        found = Reader(namespaces, bound)
    _readers[key] = found
    return found


def measure(element: Element, depth: int, attributes: int, children: int, name_bytes: int) -> str | None:
    """What of an element goes beyond these bounds, as a phrase; None when nothing does."""
    count = deep = 0
    level = [element]
    while level:
        deep += 1
        level = [child for each in level for child in each]
    if deep > depth:
        return f"elements nested deeper than {depth}"
    for each in element.iter():
        count += 1
        if len(each.tag.rpartition("}")[2]) > name_bytes:
            return f"an element name longer than {name_bytes}"
        if each.attrib:
            if len(each.attrib) > attributes:
                return f"more than {attributes} attributes"
            if any(len(name.rpartition("}")[2]) > name_bytes for name in each.attrib):
                return f"an attribute name longer than {name_bytes}"
    if count > children:
        return f"more than {children} elements"
    return None


# -- places of a unit's parts


class Place:
    """Where an element of a unit stands in its raw bytes.

    start..open_end: its start tag; close_start..end: its end tag (equal for an empty tag); kids: in document order.
    """

    __slots__ = ("close_start", "end", "kids", "open_end", "start")

    def __init__(self, start: int, open_end: int) -> None:
        self.start = start
        self.open_end = open_end
        self.close_start = open_end
        self.end = open_end
        self.kids: list[Place] = []

    @property
    def empty(self) -> bool:
        """Whether the element is written as one empty tag."""
        return self.open_end == self.end


def locate(raw: bytes) -> Place:
    """The places of the elements of one whole well-formed unit (a Reader has read it)."""
    top = Place(0, 0)
    stack = [top]
    at, size = 0, len(raw)
    while at < size:
        at = raw.find(b"<", at)
        if at < 0:
            break
        kind = raw[at + 1]
        if kind == 0x2F:
            close = raw.index(b">", at) + 1
            place = stack.pop()
            place.close_start, place.end = at, close
            at = close
        elif kind == 0x21:
            at = raw.index(b"]]>", at) + 3
        else:
            close = close_of(raw, at)
            place = Place(at, close)
            stack[-1].kids.append(place)
            if raw[close - 2] != 0x2F:
                stack.append(place)
            at = close
    return top.kids[0]


def close_of(raw: bytes, at: int) -> int:
    """Index behind the ">" of the start tag at `at`; -1 when it is not there."""
    quote = 0
    for index in range(at, len(raw)):
        byte = raw[index]
        if quote:
            if byte == quote:
                quote = 0
        elif byte == 0x3E:
            return index + 1
        elif byte == 0x22 or byte == 0x27:
            quote = byte
    return -1


def attribute(raw: bytes, place: Place, name: str) -> tuple[int, int] | None:
    """Span of the value of an attribute of the start tag, without quotes; `name` as written there. None: not there."""
    at, end = place.start + 1, place.open_end
    wanted = name.encode()
    while at < end and raw[at] not in _NAME_END:
        at += 1
    while at < end:
        while at < end and raw[at] in WHITE:
            at += 1
        equals = raw.find(b"=", at, end)
        if equals < 0:
            return None
        found = raw[at:equals].strip(WHITE)
        at = equals + 1
        while at < end and raw[at] in WHITE:
            at += 1
        closing = raw.index(raw[at:at + 1], at + 1, end)
        if found == wanted:
            return at + 1, closing
        at = closing + 1
    return None


def letters(raw: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of the characters that the bytes start..end stand for: text, references, CDATA; no tags in between.

    One entry a character as expat reports it: a reference is one, CR LF is one (XML 1.0 §2.11).
    """
    spans: list[tuple[int, int]] = []
    at = start
    cdata = False
    while at < end:
        byte = raw[at]
        if cdata and byte == 0x5D and raw.startswith(b"]]>", at):
            cdata = False
            at += 3
            continue
        if not cdata and byte == 0x3C:
            cdata = True
            at += 9
            continue
        if not cdata and byte == 0x26:
            after = raw.index(b";", at) + 1
        elif byte == 0x0D and raw[at + 1:at + 2] == b"\n" and at + 2 <= end:
            after = at + 2
        elif byte < 0x80:
            after = at + 1
        elif byte < 0xE0:
            after = at + 2
        elif byte < 0xF0:
            after = at + 3
        else:
            after = at + 4
        spans.append((at, after))
        at = after
    return spans


def rewrite(raw: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """`raw` with each span (start, end) replaced; a change inside a span that an earlier one replaced is left out."""
    pieces: list[bytes] = []
    at = 0
    for start, end, new in sorted(changes, key=lambda change: (change[0], -change[1])):
        if start < at:
            continue
        pieces.append(raw[at:start])
        pieces.append(new)
        at = end
    pieces.append(raw[at:])
    return b"".join(pieces)


def next_tag(raw: bytes, at: int) -> int:
    """Index of the next "<" that begins a tag, CDATA sections passed over."""
    at = raw.index(b"<", at)
    while raw.startswith(_CDATA, at):
        at = raw.index(b"<", raw.index(b"]]>", at))
    return at


def plain(element: Element) -> str:
    """All character data of an element in document order."""
    if not len(element):
        return element.text or ""
    return "".join(element.itertext())


def plain_places(raw: bytes, element: Element, place: Place) -> list[tuple[int, int]]:
    """For each character of `plain(element)` its bytes in `raw`."""
    found: list[tuple[int, int]] = []
    if place.empty:
        return found
    at = place.open_end
    for child, kid in zip(element, place.kids, strict=True):
        found += letters(raw, at, kid.start)
        found += plain_places(raw, child, kid)
        at = kid.end
    found += letters(raw, at, place.close_start)
    return found


def mask(places: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int]]) -> list[tuple[int, int, bytes]]:
    """Changes that put one "*" in place of each character of the spans."""
    wanted: set[int] = set()
    for start, end in spans:
        wanted.update(range(max(start, 0), min(end, len(places))))
    return [(*places[index], b"*") for index in sorted(wanted)]


_SPECIAL = str.maketrans({
    "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;",
    **{chr(code): None for code in range(32) if code not in (9, 10, 13)}, "\ufffe": None, "\uffff": None,
    **{chr(code): None for code in range(0xD800, 0xE000)},
})


def escape(text: str) -> str:
    """Text fit for element content and attribute values in either quotes, without the characters XML cannot hold."""
    # A table is ten times dearer than five looks. What is printable has none of the characters that XML cannot hold.
    if text.isprintable() and not (
        "&" in text or "<" in text or ">" in text or "'" in text or '"' in text
    ):
        return text
    return text.translate(_SPECIAL)


_XML = "{http://www.w3.org/XML/1998/namespace}"


def write(element: Element, namespace: str) -> bytes:
    """An element as bytes that mean the same anywhere where `namespace` is the default one, and that declare nothing
    the reader could not know: every other namespace stands where it is used. Linear in what it holds."""
    out: list[str] = []
    todo: list[tuple[Element | str, str]] = [(element, namespace)]
    while todo:
        node, default = todo.pop()
        if isinstance(node, str):
            out.append(node)
            continue
        uri, local = _split(node.tag)
        out.append(f"<{local}")
        if uri != default:
            out.append(f" xmlns='{escape(uri)}'")
        for number, (name, value) in enumerate(node.items()):
            if name.startswith(_XML):
                name = "xml:" + name[len(_XML):]
            elif name[0] == "{":
                own, name = _split(name)
                out.append(f" xmlns:a{number}='{escape(own)}'")
                name = f"a{number}:{name}"
            out.append(f" {name}='{escape(value)}'")
        if len(node) == 0 and not node.text:
            out.append("/>")
            continue
        out.append(">" + escape(node.text or ""))
        todo.append((f"</{local}>", ""))
        for child in reversed(node):
            if child.tail:
                todo.append((escape(child.tail), ""))
            todo.append((child, uri))
    return "".join(out).encode()


def _split(tag: str) -> tuple[str, str]:
    """("uri", "local") of "{uri}local"."""
    if tag[0] != "{":
        return "", tag
    uri, _, local = tag[1:].rpartition("}")
    return uri, local
