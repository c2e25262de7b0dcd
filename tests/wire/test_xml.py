"""XML streams: units with exact spans, the shared reader, places of texts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from xml.etree.ElementTree import Element, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import xml
from inspector.wire.xml import CLIENT_STREAM, CLOSE, ELEMENT, HEADER, SPACE, Reader, Splitter, XmlFault

HEAD = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a>b'>"
STREAM = [
    (HEADER, b"<?xml version='1.0'?>\n" + HEAD),
    (ELEMENT, b"<stream:features/>"),
    (SPACE, b" \r\n"),
    (ELEMENT, b"<message a=\"x'>\" b='\">'><body>1 &gt; 0 ></body></message>"),
    (ELEMENT, b"<a><![CDATA[</a>]]]]><![CDATA[>]]></a>"),
    (ELEMENT, b"<a>/></a>"),
    (ELEMENT, b"<a\n\tb = '1'\n/>"),
    (ELEMENT, b"<a><a><a/></a ></a >"),
    (ELEMENT, "<é ü='ö'>日本</é>".encode()),
    (HEADER, HEAD),
    (ELEMENT, b"<iq/>"),
    (CLOSE, b"</stream:stream>"),
]


def take(splitter: Splitter) -> Iterator[tuple[str, bytes]]:
    while (unit := splitter.take()) is not None:
        yield unit


def split(data: bytes, size: int, limit: int = 10000, depth: int = 8) -> list[tuple[str, bytes]]:
    splitter = Splitter(limit, depth)
    units = []
    for at in range(0, len(data), size):
        splitter.push(data[at:at + size])
        units += list(take(splitter))
    return units


def joined(units: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """White space comes as it was cut: neighbours are one."""
    out: list[tuple[str, bytes]] = []
    for what, raw in units:
        if what is SPACE and out and out[-1][0] is SPACE:
            out[-1] = (SPACE, out[-1][1] + raw)
        else:
            out.append((what, raw))
    return out


class TestSplitter:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10000])
    def test_units_and_their_exact_bytes(self, size: int) -> None:
        """Quotes, CDATA, empty tags, restarts: the same units for any cut."""
        assert joined(split(b"".join(raw for _, raw in STREAM), size)) == STREAM

    @pytest.mark.parametrize(("data", "condition"), [
        (b"<a><!-- -->", "restricted-xml"), (b"<a><?b ?>", "restricted-xml"), (b"<!DOCTYPE a>", "restricted-xml"),
        (b"<a><![CDATX[", "restricted-xml"), (b"x", "bad-format"), (b"<?php ", "restricted-xml"),
        (b"<a>" * 9, "policy-violation"), (b"<a b='" + b"c" * 300, "policy-violation"),
        (b"<![CDATA[", "restricted-xml"), (b"<?xml " + b"a" * 1100 + b"?>", "not-well-formed"),
    ])
    def test_what_is_refused(self, data: bytes, condition: str) -> None:
        """The condition is the same for any cut, and the bytes are given back from the unit's start on."""
        for size in (1, 5, 10000):
            splitter = Splitter(2000 if data[:5] == b"<?xml" else 200, 8)
            splitter.push(HEAD)
            assert splitter.take() == (HEADER, HEAD)
            given_: list[bytes] = []
            with pytest.raises(XmlFault) as caught:
                for at in range(0, len(data), size):
                    given_.append(data[at:at + size])
                    splitter.push(given_[-1])
                    assert splitter.take() is None
            assert caught.value.condition == condition
            assert splitter.rest() == b"".join(given_)
            assert splitter.pending == 0

    @pytest.mark.parametrize(
        "data", [b"</a>", b"x<a>", b"\xfe\xff", b"\xef\xbbx", b" <?xml version='1.0'?>", b"<!DOCTYPE a>"],
    )
    def test_what_is_no_beginning(self, data: bytes) -> None:
        """Before the header nothing else may come."""
        splitter = Splitter(1000, 8)
        splitter.push(data)
        with pytest.raises(XmlFault):
            splitter.take()

    def test_the_limit_is_exact(self) -> None:
        """A unit of just the limit passes, one byte more does not, however it is cut."""
        unit = b"<a>" + b"b" * 93 + b"</a>"
        for size in (1, 1000):
            assert split(HEAD + unit, size, limit=100)[-1] == (ELEMENT, unit)
            with pytest.raises(XmlFault) as caught:
                split(HEAD + unit.replace(b"b", b"bb", 1), size, limit=100)
            assert caught.value.name == "too_big"

    @given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=20))
    def test_every_byte_is_in_a_unit_or_pending(self, data: bytes, sizes: list[int]) -> None:
        """Units, what is pending, and what is given back after a fault are what was pushed."""
        splitter = Splitter(100, 8)
        out = b""
        fed = b""
        pieces = iter([*sizes, 10000])
        rest = HEAD + data
        while rest:
            size = next(pieces)
            fed, piece, rest = fed + rest[:size], rest[:size], rest[size:]
            splitter.push(piece)
            try:
                for _, raw in take(splitter):
                    out += raw
            except XmlFault:
                assert out + splitter.rest() == fed
                return
            assert len(out) + splitter.pending == len(fed)
        assert fed.startswith(out)

    @pytest.mark.parametrize("pattern", [b">", b"'", b"<b/>", b"]]", b"a='>'", b"&amp;", b"<b>", b"</", b"\"'"])
    def test_linear_in_the_bytes(self, pattern: bytes) -> None:
        """Four times the bytes, byte by byte, cost not much more than four times: no pattern is looked at again."""
        def cost(length: int, opening: bytes) -> float:
            data = opening + (pattern * (length // len(pattern) + 1))[:length]
            splitter = Splitter(1 << 30, 1 << 30)
            splitter.push(HEAD)
            splitter.take()
            begin = time.process_time()
            try:
                for at in range(len(data)):
                    splitter.push(data[at:at + 1])
                    splitter.take()
            except XmlFault:
                pass
            return time.process_time() - begin

        for opening in (b"<a b='", b"<a>", b"<a ", b"<a b=\"", b"<a><![CDATA["):
            small = min(cost(4000, opening) for _ in range(3))
            large = min(cost(16000, opening) for _ in range(2))
            assert large < 12 * small + 0.05

    def test_a_great_attribute_at_once(self) -> None:
        """Quotes and ends without number inside one tag cost one look each."""
        data = HEAD + b"<a " + b"".join(b"a%d='>' " % n for n in range(60000)) + b"/>"
        begin = time.process_time()
        assert split(data, len(data), limit=1 << 30)[-1][1] == data[len(HEAD):]
        assert time.process_time() - begin < 2


class TestHeader:
    def test_what_a_header_says(self) -> None:
        """Name, attributes, namespaces, and the tag's own spelling."""
        header = xml.read_header(b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>\n" + HEAD)
        assert header.name == "{http://etherx.jabber.org/streams}stream"
        assert header.qname == "stream:stream"
        assert header.attributes == {"to": "a>b"}
        assert header.namespaces == CLIENT_STREAM
        assert header.content == "jabber:client"
        assert xml.read_header(b"<s/>").content == ""

    @pytest.mark.parametrize(("data", "condition"), [
        (b"<?xml version='1.0' encoding='KOI8-R'?><a>", "unsupported-encoding"), (b"<a:b>", "bad-namespace-prefix"),
        (b"<a b='&c;'>", "restricted-xml"), (b"<a \xff>", "bad-format"), (b"<a b>", "not-well-formed"),
        (b"<?xml version='1.0'?>", "not-well-formed"),
    ])
    def test_faults(self, data: bytes, condition: str) -> None:
        """Each with the stream error that says it."""
        with pytest.raises(XmlFault) as caught:
            xml.read_header(data)
        assert caught.value.condition == condition


class TestReader:
    def test_one_whole_element(self) -> None:
        """Names come with their namespaces, text whole."""
        element = Reader(CLIENT_STREAM).read(b"<message to='a'>x<stream:b xml:lang='de'/>&lt;y</message>")
        assert element is not None
        assert (element.tag, element.attrib, element.text) == ("{jabber:client}message", {"to": "a"}, "x")
        assert element[0].tag == "{http://etherx.jabber.org/streams}b"
        assert element[0].get(xml.LANG) == "de"
        assert element[0].tail == "<y"

    @pytest.mark.parametrize("data", [
        b"<a>", b"<a><b></b>", b"<a/><b/>", b"<a/> ", b"<a/>x>", b"<a b='>", b"<a><![CDATA[</a>", b"<a/><b>", b"<a/><",
        b"<a>&am", b"<a></a", b"x>", b"<k>", b"<a/><k>", b"<a/><k/>", b"<a><k/>", b"<k/><k/>", b"<a/><![CDATA[>",
    ])
    def test_anything_else_is_refused_and_leaves_nothing_behind(self, data: bytes) -> None:
        """Not one whole element: None or a fault, and the next unit is read as if nothing had been."""
        reader = Reader(CLIENT_STREAM)
        try:
            assert reader.read(data) is None
        except XmlFault as fault:
            assert fault.condition == "not-well-formed"
        element = reader.read(b"<c>d</c>")
        assert element is not None
        assert (element.tag, element.text, len(element)) == ("{jabber:client}c", "d", 0)

    @pytest.mark.parametrize(("data", "condition"), [
        (b"<a><!-- --></a>", "restricted-xml"), (b"<a><?b?></a>", "restricted-xml"), (b"<a>&b;</a>", "restricted-xml"),
        (b"<a><!DOCTYPE b></a>", "restricted-xml"), (b"</r>", "not-well-formed"), (b"<a>\0</a>", "not-well-formed"),
        (b"<a>\xff</a>", "bad-format"), (b"<b:a/>", "bad-namespace-prefix"), (b"<a b='' b=''/>", "not-well-formed"),
        (b"<a/></r>", "not-well-formed"), (b"<a/></r><a></a>", "not-well-formed"),
        (b"<a>]]></a>", "not-well-formed"), (b"<a xmlns:b=''/>", "not-well-formed"),
    ])
    def test_faults(self, data: bytes, condition: str) -> None:
        """Each with its stream error; the reader goes on with the next unit."""
        reader = Reader(CLIENT_STREAM)
        for _ in range(2):
            with pytest.raises(XmlFault) as caught:
                reader.read(data)
            assert caught.value.condition == condition
            assert reader.read(b"<c/>") is not None

    def test_no_unit_changes_what_the_next_one_means(self) -> None:
        """Namespaces declared in one unit are gone in the next."""
        reader = Reader(CLIENT_STREAM)
        assert reader.read(b"<x:a xmlns:x='urn:x' xmlns='urn:y'><b/></x:a>") is not None
        element = reader.read(b"<b/>")
        assert element is not None
        assert element.tag == "{jabber:client}b"
        with pytest.raises(XmlFault):
            reader.read(b"<x:a/>")

    def test_renewed_after_its_bound(self) -> None:
        """A parser keeps names for ever: after so many bytes another takes its place, unseen."""
        reader = Reader(CLIENT_STREAM, bound=2000)
        for number in range(200):
            element = reader.read(b"<name%d at%d='1'/>" % (number, number))
            assert element is not None
            assert element.tag == f"{{jabber:client}}name{number}"

    def test_shared_and_bounded(self) -> None:
        """One reader per set of namespaces; invented ones push out the least recently used."""
        first = xml.reader(CLIENT_STREAM)
        assert xml.reader(CLIENT_STREAM) is first
        for number in range(40):
            xml.reader((("", "jabber:client"), ("p", f"urn:{number}'<&>\n")))
            assert xml.reader(CLIENT_STREAM) is first
        again = xml.reader((("", "jabber:client"), ("p", "urn:39'<&>\n"))).read(b"<p:a/>")
        assert again is not None
        assert again.tag == "{urn:39'<&>\n}a"

    @pytest.mark.parametrize("template", [
        b"<iq><data>%s</data></iq>", b"<iq><data>%s</data> \n</iq >", b"<iq><data>a&amp;b>%s</data></iq>",
        b"<iq><data><c/>%s</data></iq>", b"<iq><data><c/>d>%s</data ></iq>",
        b"<iq><a/><b>c</b>d<data e='>'>%s</data></iq>",
        b"<iq><data>%s</data><a/></iq>", b"<iq>%s</iq>", b"<iq><data/>%s</iq>", b"<a><b><c>%s</c></b></a>",
        b"<iq><data>%s </data></iq>", b"<iq><data>%s\xc3\xa9</data></iq>",
        b"<iq><data>x<![CDATA[>%s</x]]></data></iq>",
        b"<iq><data a='>%s</data></iq>", b"<iq><data a='>%s'></data></iq>", b"<iq><data>]]>%s</data></iq>",
        b"<iq><data>&>%s</data></iq>", b"<iq><data>%s</data></iq", b"<iq><data>%s</iq></data>",
        b"<iq></data>%s</iq></r>",
        b"<iq><data>%s</data></iq><iq/>", b"<iq/><iq><data>%s</data></iq>", b" <iq><data>%s</data></iq>",
        b"<iq><data>%s</data></iq>a", b"<iq><data>\xff>%s</data></iq>", b"<iq><x:data>%s</x:data></iq>",
        b"<data>%s</data></r>", b">%s</data></iq>", b"<iq><data <a>%s</data></iq>", b"<iq><data>%s</<data></iq>",
        b"<iq><data><?pi >%s</data></iq>", b"<iq><data><!-- >%s</data> --></iq>",
    ])
    def test_a_long_run_of_base64(self, template: bytes) -> None:
        """It means what it means to a parser that is shown it: the same element, or the same fault."""
        for run in (b"QUJD" * 2000, b"+/==" * 1025):
            raw = template % run
            told: list[tuple[str, object]] = []
            for reader in (Reader(CLIENT_STREAM), Reader(CLIENT_STREAM)):
                # The second one is shown all of it.
                try:
                    if not told:
                        element = reader.read(raw)
                    else:
                        with pytest.MonkeyPatch.context() as patch:
                            patch.setattr(xml, "_LONG", 1 << 30)
                            element = reader.read(raw)
                    told.append(("read", element if element is None else tostring(element)))
                except XmlFault as fault:
                    told.append(("fault", (fault.name, fault.condition)))
                after = reader.read(b"<c/>")
                assert after is not None
                assert not len(after)
            assert told[0] == told[1]

    def test_a_long_run_of_base64_is_not_parsed(self) -> None:
        """A block of a file costs its parser only its tags: the count that renews it stays where it is."""
        reader = Reader(CLIENT_STREAM, bound=20_000)
        before = reader._feed
        for _ in range(100):
            element = reader.read(b"<iq><data>%s</data></iq>" % (b"QUJD" * 2000))
            assert element is not None
            assert element[0].text == "QUJD" * 2000
        assert reader._feed is before

    def test_measure(self) -> None:
        """Depth, attributes, elements and names beyond their bounds are named."""
        reader = Reader(CLIENT_STREAM)

        def said(data: bytes) -> str | None:
            element = reader.read(data)
            assert element is not None
            return xml.measure(element, 3, 2, 5, 4)

        assert said(b"<a><b><c/></b></a>") is None
        assert said(b"<a><b><c><d/></c></b></a>") == "elements nested deeper than 3"
        assert said(b"<a b='' c='' d=''/>") == "more than 2 attributes"
        assert said(b"<a>" + b"<b/>" * 5 + b"</a>") == "more than 5 elements"
        assert said(b"<abcde/>") == "an element name longer than 4"
        assert said(b"<a abcde=''/>") == "an attribute name longer than 4"


WRITTEN = st.recursive(
    st.sampled_from(["a", "é", "😀", "&amp;", "&#65;", "&#x1F600;", "<![CDATA[<b>]]>", "<![CDATA[]]>", "\r\n", "\r",
                     " ", ">", "]", "'", "<c/>", "<c d='>&quot;'/>"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: "<d>" + "".join(parts) + "</d >") | st.lists(
        inner, max_size=5).map("".join),
    max_leaves=20,
)


class TestPlaces:
    @given(WRITTEN)
    def test_every_character_has_its_bytes(self, inner: str) -> None:
        """As many places as characters, in order; a star in place of each gives as many stars."""
        raw = f"<a>{inner}</a>".encode()
        reader = Reader(CLIENT_STREAM)
        try:
            element = reader.read(raw)
        except XmlFault:
            assert "]]>" in inner
            return
        assert element is not None
        place = xml.locate(raw)
        said = xml.plain(element)
        places = xml.plain_places(raw, element, place)
        assert len(places) == len(said)
        assert places == sorted(places)
        masked = reader.read(xml.rewrite(raw, xml.mask(places, [(0, len(said))])))
        assert masked is not None
        assert xml.plain(masked) == "*" * len(said)
        assert [e.tag for e in masked.iter()] == [e.tag for e in element.iter()]
        if len(said) > 1:
            half = reader.read(xml.rewrite(raw, xml.mask(places, [(1, 2)])))
            assert half is not None
            assert xml.plain(half) == said[:1] + "*" + said[2:]

    @pytest.mark.parametrize(("tag", "name", "value"), [
        (b"<a b='1' c=\"2\"/>", "c", b"2"), (b"<a\n b\t=\r'x>y' bc='z'>", "b", b"x>y"), (b"<a bc='1' b=''/>", "b", b""),
        (b"<a b='c=1'/>", "c", None), (b"<a/>", "b", None), (b"<a b='c' >", "d", None),
    ])
    def test_attributes(self, tag: bytes, name: str, value: bytes | None) -> None:
        """The span of a value, whatever stands around it."""
        place = xml.Place(0, len(tag))
        span = xml.attribute(tag, place, name)
        assert (None if span is None else tag[span[0]:span[1]]) == value

    def test_places_of_elements(self) -> None:
        """Start tag, content, end tag of every element."""
        raw = b"<a x='<'.>1<b/><![CDATA[<q>]]><c>2</c>3</a>".replace(b"<'.", b"'")
        top = xml.locate(raw)
        assert raw[top.start:top.end] == raw
        assert [raw[kid.start:kid.end] for kid in top.kids] == [b"<b/>", b"<c>2</c>"]
        assert raw[top.kids[1].open_end:top.kids[1].close_start] == b"2"
        assert (top.kids[0].empty, top.kids[1].empty) == (True, False)
        assert raw[:xml.next_tag(raw, top.kids[0].end)].endswith(b"]]>")
        assert xml.close_of(b"<a b='>", 0) == -1

    def test_rewrite(self) -> None:
        """Changes in any order; one inside another's span is left out."""
        assert xml.rewrite(b"abcdef", [(4, 5, b"E"), (1, 3, b""), (2, 3, b"x"), (0, 0, b"<")]) == b"<adEf"

    @given(st.text(st.characters(codec=None, exclude_categories=[])))
    def test_escape_makes_xml_of_any_text(self, text: str) -> None:
        """In content and in both quotes; only what XML cannot hold is missing."""
        escaped = xml.escape(text)
        for template in ("<a>{}</a>", "<a b='{}'/>", '<a b="{}"/>'):
            element = Reader(CLIENT_STREAM).read(template.format(escaped).encode())
            assert element is not None
            got = element.text if len(element.attrib) == 0 else element.get("b")
            assert (got or "") == "".join(
                c for c in text if c in "\t\n\r" or (
                    ord(c) >= 32 and not 0xD800 <= ord(c) < 0xE000 and c not in "\ufffe\uffff"
                )
            )


def test_elements_are_plain_elements() -> None:
    """What the reader gives is an ordinary Element of the standard library."""
    assert isinstance(Reader(CLIENT_STREAM).read(b"<a/>"), Element)


def test_what_is_written_reads_the_same() -> None:
    """Prefixes of the stream are gone: every namespace stands where it is used; texts, tails and attributes stay."""
    namespaces = (("", "jabber:client"), ("s", "urn:s"), ("t", "urn:t"))
    raw = (
        b"<message xml:lang='de' s:mark='1' id='&lt;x&gt;'>a &amp; b<s:one t:two=\"'\"><three xmlns=''>c</three>d"
        b"</s:one>"
        b"<four/>e<body xmlns='urn:b'><five xmlns='jabber:client'>\xc3\xbc</five></body></message>")
    element = xml.reader(namespaces).read(raw)
    assert element is not None
    written = xml.write(element, "jabber:client")
    assert b"s:" not in written.replace(b"xmlns:", b"")
    again = xml.reader((("", "jabber:client"),)).read(written)
    assert again is not None

    def same(one: Element, two: Element) -> bool:
        return (one.tag, one.attrib, one.text or "", one.tail or "", len(one)) == (
            two.tag, two.attrib, two.text or "", two.tail or "", len(two)) and all(
            same(a, b) for a, b in zip(one, two, strict=True))

    assert same(element, again)


def named(uri: int, names: int, *, attributes: bool = False) -> bytes:
    """A stanza with a namespace of so many letters and so many names in it."""
    piece = "<b a:x{}=''/>" if attributes else "<a:x{}/>"
    return (f"<iq xmlns:a='{'u' * uri}'>" + "".join(piece.format(number) for number in range(names)) + "</iq>").encode()


@pytest.mark.parametrize("attributes", [False, True])
def test_a_long_namespace_and_many_names_are_refused(attributes: bool) -> None:
    """128 KiB of a stanza became 600 MB: each name has its namespace in it. Many short ones, and one long one, are
    read."""
    read = Reader(CLIENT_STREAM).read
    with pytest.raises(XmlFault) as fault:
        read(named(30000, 10000, attributes=attributes))
    assert fault.value.condition == "policy-violation"
    for uri, names in ((60, 10000), (100000, 20)):
        element = read(named(uri, names, attributes=attributes))
        assert element is not None
        assert len(element) == names
    with pytest.raises(XmlFault):
        Reader((("", "jabber:client"), ("a", "u" * 9000))).read(
            b"<iq>" + b"".join(b"<a:x%d/>" % number for number in range(4000)) + b"</iq>")
    header = b"<stream:stream xmlns:stream='s' xmlns:a='" + b"u" * 100000 + b"'"
    with pytest.raises(XmlFault):
        xml.read_header(header + b"".join(b" a:x%d=''" % number for number in range(4000)) + b">")


@pytest.mark.parametrize(
    "piece", [b"xmlns", b"xmlns=", b"xmlns='", b"xmlns=\"'", b"xmlns='\"", b"xmlns=' ", b"=", b"'"])
def test_the_look_for_long_namespaces_is_linear(piece: bytes) -> None:
    """However declarations are begun and not ended, or only look like some."""
    for tail in (b"", b"'", b'"', b"'\""):
        spent = []
        for size in (1 << 14, 1 << 17):
            data = piece * (size // len(piece)) + b"x" * size + tail
            begun = time.process_time()
            xml._longest_namespace(data)
            spent.append(time.process_time() - begun)
        assert spent[1] < 40 * spent[0] + 0.1, (piece, tail, spent)


def test_what_looks_like_a_declaration_hides_none() -> None:
    """The longest is found behind text that looks like another one's beginning."""
    for text in ("xmlns='", 'xmlns="', "xmlns", "xmlns=", "xmlns='xmlns=\"", ""):
        assert xml._longest_namespace(f"<a>{text}<b xmlns:c = \n'{'u' * 5000}'/></a>".encode()) >= 5000


def test_parsers_are_closed_before_the_process_ends() -> None:
    """Python 3.12 dies when a parser outlives the module that made it."""
    code = "from inspector.wire import xml; kept = xml.reader(()); kept.read(b'<a/>'); read = kept.read"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_closed_parser_reads_nothing() -> None:
    """It is an error of ours, not of the peer."""
    closed = xml.Reader(())
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.read(b"<a/>")
