"""How a text can be disguised in XMPP: places, spellings of XML, copies, carriers."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

from inspector.model import DOWN, UP, Way
from tests.evasion.reading import renderings
from tests.evasion.ways import Disguise, Said
from tests.protocols.xmpp_talks import BOB, ME, in_band, si_answer, si_offer

CLIENT = "jabber:client"
STREAM = "http://etherx.jabber.org/streams"
XHTML = "http://www.w3.org/1999/xhtml"
XHTML_IM = "http://jabber.org/protocol/xhtml-im"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
_BREAKS = dict.fromkeys(map(ord, "\t\n\r"))
ROOM = "garden@rooms.example.org"
MORE = " xmlns:c='jabber:client' xmlns:h='http://www.w3.org/1999/xhtml'"


def _head(way: Way) -> str:
    who = "to='example.com'" if way is UP else "from='example.com' id='s1'"
    return f"<stream:stream {who} version='1.0' xmlns='{CLIENT}' xmlns:stream='{STREAM}'{MORE}>"


BEFORE: Said = [(way, said.encode()) for way, said in (
    (UP, _head(UP)), (DOWN, _head(DOWN)),
    (DOWN, f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"),
    (UP, f"<auth xmlns='{SASL}' mechanism='PLAIN'>{base64.b64encode(bytes(1) + b'alice' + bytes(1) + b'pw').decode()}"
         "</auth>"),
    (DOWN, f"<success xmlns='{SASL}'/>"), (UP, _head(UP)), (DOWN, _head(DOWN)),
    (DOWN, f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    (UP, f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    (DOWN, f"<iq type='result' id='b'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
)]
_HEADS = {way: _head(way).encode() for way in (UP, DOWN)}


# -- the reader


def read(data: bytes) -> list[str]:
    """All character data and attributes of the stanzas that came, joined in any way a client may; files decoded."""
    shown: list[str] = []
    files: dict[str, bytes] = {}
    parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("end",))
    parser.feed(_HEADS[UP])
    at = data.rfind(b"<stream:stream")
    rest = data if at < 0 else data[data.index(b">", at) + 1:]
    parser.feed(rest)
    came = parser.read_events()
    while True:
        try:
            element = next(came)[1]  # type: ignore[misc]
        except StopIteration:
            break
        except ET.ParseError:  # what comes behind is shown to nobody, by a client; here it is
            shown.append(rest.decode("utf-8", "replace"))
            break
        assert isinstance(element, ET.Element)
        words = "".join(element.itertext())
        if element.tag == "{http://jabber.org/protocol/ibb}data":
            sid = element.get("sid", "")
            files[sid] = files.get(sid, b"") + base64.b64decode(element.text or "")
        shown += renderings(words)
        shown += element.attrib.values()
        shown += [value.translate(_BREAKS) for value in element.attrib.values()]
        shown.append(" ".join(element.itertext()))
    return shown + [content.decode("utf-8", "replace") for content in files.values()]


# -- spellings


def decimal(text: str) -> str:
    return "".join(f"&#{ord(c)};" for c in text)


def hexadecimal(text: str) -> str:
    return "".join(f"&#x{ord(c):04X};" for c in text)


def cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def shredded(text: str) -> str:
    """CDATA sections, references and bare letters in turn."""
    forms = (cdata, decimal, escape, hexadecimal)
    return "".join(forms[at % 4](char) for at, char in enumerate(text))


def _ends(way: Way, more: str = "type='chat' id='d1'") -> str:
    return f"to='{BOB}' {more}" if way is UP else f"from='{BOB}' to='{ME}' {more}"


def _html(inner: str, attributes: str = "") -> str:
    return f"<html xmlns='{XHTML_IM}'><body xmlns='{XHTML}'{attributes}>{inner}</body></html>"


def _forwarded(inner: str, sender: str = BOB, to: str = ME) -> str:
    return (
        f"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='{CLIENT}' from='{sender}' to='{to}' type='chat'>{inner}"
        "</message></forwarded>"
    )


Stanza = Callable[[Way, str], str | None]


def _message(inner: Callable[[str], str], more: str = "type='chat' id='d1'") -> Stanza:
    return lambda way, text: f"<message {_ends(way, more)}>{inner(text)}</message>"


def _body(spelled: Callable[[str], str] = escape, more: str = "type='chat' id='d1'", also: str = "",
          attributes: str = "") -> Stanza:
    return _message(lambda text: f"<body{attributes}>{spelled(text)}</body>{also}", more)


def _link(form: str, spelled: Callable[[str], str] = str) -> Stanza:
    """Only what is a link stands in an attribute."""

    def stanza(way: Way, text: str) -> str | None:
        if not text.startswith("http"):
            return None
        return f"<message {_ends(way)}>{form.format(spelled(quoteattr(text.partition(' ')[0])))}</message>"

    return stanza


def _each_letter(text: str) -> str:
    return "".join(f"<span>{escape(char)}</span>" for char in text)


_OMEMO = (
    "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>QUJD</key><iv>QUJD</iv></header>"
    "<payload>QUJDREVG</payload></encrypted>"
)
_BOTH: dict[str, Stanza] = {
    "body": _body(),
    "CDATA": _body(cdata),
    "CDATA around each letter": _body(lambda text: "".join(map(cdata, text))),
    "references, decimal": _body(decimal),
    "references, hexadecimal": _body(hexadecimal),
    "references with many zeros": _body(lambda text: "".join(f"&#{ord(c):012d};" for c in text)),
    "CDATA, references and letters in turn": _body(shredded),
    "entities of XML": _body(lambda text: escape(text, {"'": "&apos;", '"': "&quot;"}) + " &lt;&amp;&gt;"),
    "namespace prefix": lambda way, text: f"<c:message {_ends(way)}><c:body>{escape(text)}</c:body></c:message>",
    "a prefix of its own on each element": lambda way, text: (
        f"<q:message xmlns:q='{CLIENT}' {_ends(way)}><z:body xmlns:z='{CLIENT}'>{escape(text)}</z:body></q:message>"),
    "prefix changed inside": lambda way, text: (
        f"<message xmlns:stream='urn:x' {_ends(way)}><stream:a/><c:body xmlns:c='{CLIENT}'>{escape(text)}</c:body>"
        "</message>"),
    "attributes in another order, single quotes": lambda way, text: (
        f"<message id=\"d1\"\n\ttype = \"chat\"  {_ends(way, '')} ><body >{escape(text)}</body ></message >"),
    "unknown type": _body(more="type='shout' id='d1'"),
    "normal": _body(more=""),
    "headline": _body(more="type='headline'"),
    "error with words": _message(
        lambda text: "<body>x</body><error type='cancel'><service-unavailable "
                     "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text "
                     f"xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{escape(text)}</text></error>", "type='error'"),
    "several bodies": _message(
        lambda text: f"<body xml:lang='en'>hello</body><body xml:lang='de'>{escape(text)}</body><body>hi</body>"),
    "second body without a language": _message(lambda text: f"<body>hello</body><body>{escape(text)}</body>"),
    "behind six thousand letters": _body(lambda text: "la la " * 1000 + escape(text)),
    "three hundred times": _body(lambda text: f"{escape(text)}, " * 300 if len(text) < 100 else escape(text)),
    "in a list of thousands of numbers": _body(
        lambda text: "".join(f"{n * 7919 % 10007} " for n in range(2000)) + escape(text)),
    "markup inside the body": _body(lambda text: f"<b xmlns='urn:x'>{escape(text)}</b>"),
    "body split by an element": _body(
        lambda text: f"{escape(text[:len(text) // 2])}<x xmlns='urn:x'/>{escape(text[len(text) // 2:])}"),
    "text outside of the body": _message(lambda text: f"<body>hi</body>{escape(text)}<x xmlns='urn:x'/>"),
    "subject": _message(lambda text: f"<subject>{escape(text)}</subject><body>hi</body>"),
    "subject alone": _message(lambda text: f"<subject>{escape(text)}</subject>"),
    "thread": _message(lambda text: f"<body>hi</body><thread>{escape(text)}</thread>"),
    "nick": _message(lambda text: f"<body>hi</body><nick xmlns='http://jabber.org/protocol/nick'>{escape(text)}</nick>"),
    "XHTML only": _message(lambda text: _html(f"<p>{escape(text)}</p>")),
    "XHTML beside a harmless body": _message(lambda text: "<body>hello</body>" + _html(f"<p>{escape(text)}</p>")),
    "XHTML, a tag around each letter": _message(lambda text: "<body>hello</body>" + _html(_each_letter(text))),
    "XHTML, lists and bold halves": _message(lambda text: _html(
        f"<ul><li><strong>{escape(text[:len(text) // 2])}</strong><em>{escape(text[len(text) // 2:])}</em></li></ul>")),
    "XHTML with a prefix": _message(
        lambda text: f"<html xmlns='{XHTML_IM}'><h:body><h:p>{escape(text)}</h:p></h:body></html>"),
    "XHTML, title of an image": _message(
        lambda text: _html(f"<img src='http://garden.example/x.png' alt={quoteattr(text)}/>")),
    "XHTML link": _link("<body>hi</body>" + _html("<a href={}>here</a>")),
    "XHTML link with tabs and line breaks": _link(
        "<body>hi</body>" + _html("<a href={}>here</a>"), lambda link: "&#9;".join(link[:20]) + "&#10;" + link[20:]),
    "XHTML image": _link("<body>hi</body>" + _html("<img src={} alt='x'/>")),
    "link in a reference": _link("<reference xmlns='urn:xmpp:reference:0' type='data' uri={}/>"),
    "link to a file with description": _message(
        lambda text: "<x xmlns='jabber:x:oob'><url>http://garden.example/x</url>"
                     f"<desc>{escape(text)}</desc></x>"),
    "address of a file": _message(
        lambda text: f"<x xmlns='jabber:x:oob'><url>{escape(text)}</url></x>"),
    "correction": _message(
        lambda text: f"<body>{escape(text)}</body><replace id='old' xmlns='urn:xmpp:message-correct:0'/>"),
    "retraction with a reason": _message(
        lambda text: f"<retract id='old' xmlns='urn:xmpp:message-retract:1'><reason>{escape(text)}</reason></retract>"),
    "reaction": _message(
        lambda text: f"<reactions id='old' xmlns='urn:xmpp:reactions:0'><reaction>{escape(text)}</reaction>"
                     "</reactions>"),
    "reply with fallback": _message(
        lambda text: f"<body>&gt; {escape(text)}\nyes</body><reply to='{BOB}' id='old' xmlns='urn:xmpp:reply:0'/>"
                     "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='40'/>"
                     "</fallback>"),
    "body beside an encrypted one": _body(also=_OMEMO),
    "beside a hint of encryption": _body(
        also="<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>"),
    "with an OTR tag": _body(lambda text: escape(text) + " \t  \t\t\t\t \t \t \t    \t\t  \t "),
    "forwarded": _message(lambda text: _forwarded(f"<body>{escape(text)}</body>")),
    "forwarded, nested": _message(
        lambda text: _forwarded(_forwarded(_forwarded(f"<body>{escape(text)}</body>")))),
    "forwarded beside a body": _message(
        lambda text: "<body>look</body>" + _forwarded(f"<body>{escape(text)}</body>")),
    "pretended carbon": _message(
        lambda text: f"<received xmlns='urn:xmpp:carbons:2'>{_forwarded(f'<body>{escape(text)}</body>')}</received>"),
    "pretended archive": _message(
        lambda text: "<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>"
                     f"{_forwarded(f'<body>{escape(text)}</body>')}</result>"),
    "with a delay": _body(also="<delay xmlns='urn:xmpp:delay' stamp='2026-01-05T10:00:00Z'/>"),
    "invitation with a reason": _message(
        lambda text: f"<x xmlns='jabber:x:conference' jid='{ROOM}' reason={quoteattr(text)}/>"),
    "mediated invitation": _message(
        lambda text: f"<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{BOB}'><reason>{escape(text)}"
                     "</reason></invite></x>"),
    "form": _message(
        lambda text: "<x xmlns='jabber:x:data' type='form'><field type='fixed' var='a'><value>"
                     f"{escape(text)}</value></field></x>"),
    "label of a form": _message(
        lambda text: f"<x xmlns='jabber:x:data' type='form'><title>{escape(text)}</title><field var='a' "
                     "type='text-single'/></x>"),
    "an extension nobody knows": _message(
        lambda text: f"<body>hi</body><x xmlns='urn:nobody'><y>{escape(text)}</y></x>"),
    "an extension, element by element": _message(
        lambda text: "<body>hi</body><x xmlns='urn:nobody'>" + "<i/>".join(map(escape, text)) + "</x>"),
    "real-time text": _message(
        lambda text: f"<rtt xmlns='urn:xmpp:rtt:0' seq='0' event='new'><t>{escape(text)}</t></rtt>"),
    "stanza identifier": lambda way, text: (
        f"<message {_ends(way, '')} type='chat' id={quoteattr(text)}><body>hi</body></message>"),
    "body of a message to nobody": lambda way, text: f"<message type='chat'><body>{escape(text)}</body></message>",
    "status": lambda way, text: (
        f"<presence {_ends(way, '')}><show>dnd</show><status>{escape(text)}</status></presence>"),
    "status with references": lambda way, text: (
        f"<presence {_ends(way, '')}><status>{shredded(text)}</status></presence>"),
    "subscription with words": lambda way, text: (
        f"<presence {_ends(way, '')} type='subscribe'><status>{escape(text)}</status></presence>"),
    "leaving with words": lambda way, text: (
        f"<presence {_ends(way, '')} type='unavailable'><status>{escape(text)}</status></presence>"),
    "query with words": lambda way, text: (
        f"<iq {_ends(way, '')} type='set' id='q1'><query xmlns='urn:nobody'><note>{escape(text)}</note></query></iq>"),
    "vCard": lambda way, text: (
        f"<iq {_ends(way, '')} type='{'set' if way is UP else 'get'}' id='q1'><vCard xmlns='vcard-temp'><DESC>"
        f"{escape(text)}</DESC></vCard></iq>"),
    "ad-hoc command": lambda way, text: (
        f"<iq {_ends(way, '')} type='set' id='q1'><command xmlns='http://jabber.org/protocol/commands' node='x'>"
        f"<note type='info'>{escape(text)}</note></command></iq>"),
    "file offer, description": lambda way, text: (
        f"<iq {_ends(way, '')} type='set' id='q1'>"
        + si_offer("s9", "list.txt", 900).replace("a list", escape(text)) + "</iq>"),
}
_DOWN: dict[str, Stanza] = {
    "room": lambda way, text: (
        f"<message from='{ROOM}/bob' to='{ME}' type='groupchat' id='d1'><body>{escape(text)}</body></message>"),
    "room's subject": lambda way, text: (
        f"<message from='{ROOM}/bob' to='{ME}' type='groupchat'><subject>{escape(text)}</subject></message>"),
    "words of a server": lambda way, text: (
        f"<message from='example.com' to='{ME}'><body>{escape(text)}</body></message>"),
    "carbon": lambda way, text: (
        f"<message from='alice@example.com' to='{ME}'><received xmlns='urn:xmpp:carbons:2'>"
        f"{_forwarded(f'<body>{shredded(text)}</body>')}</received></message>"),
    "archive": lambda way, text: (
        f"<message from='alice@example.com' to='{ME}'><result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>"
        f"{_forwarded(f'<body>{escape(text)}</body>')}</result></message>"),
    "published item": lambda way, text: (
        f"<message from='bob@example.org' to='{ME}'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
        f"<items node='urn:xmpp:microblog:0'><item id='1'><entry xmlns='http://www.w3.org/2005/Atom'><title>"
        f"{escape(text)}</title></entry></item></items></event></message>"),
    "answer to a query": lambda way, text: (
        f"<iq from='{BOB}' to='{ME}' type='result' id='q1'><query xmlns='urn:nobody'><note>{escape(text)}</note>"
        "</query></iq>"),
}
_UP: dict[str, Stanza] = {
    "room": lambda way, text: (
        f"<message to='{ROOM}' type='groupchat' id='d1'><body>{escape(text)}</body></message>"),
    "room's subject": lambda way, text: (
        f"<message to='{ROOM}' type='groupchat'><subject>{escape(text)}</subject></message>"),
    "to several (XEP-0033)": lambda way, text: (
        "<message to='multicast.example.com'><addresses xmlns='http://jabber.org/protocol/address'><address type='to' "
        f"jid='{BOB}' desc='x'/></addresses><body>{escape(text)}</body></message>"),
    "published item": lambda way, text: (
        "<iq type='set' id='q1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:microblog:0'>"
        f"<item id='1'><entry xmlns='http://www.w3.org/2005/Atom'><title>{escape(text)}</title></entry></item></publish>"
        "</pubsub></iq>"),
    "private storage": lambda way, text: (
        "<iq type='set' id='q1'><query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'>"
        f"<note jid='{BOB}'>{escape(text)}</note></storage></query></iq>"),
    "name of a contact": lambda way, text: (
        "<iq type='set' id='q1'><query xmlns='jabber:iq:roster'>"
        f"<item jid='bob@example.org' name={quoteattr(text)}/></query></iq>"),
    "status for all": lambda way, text: f"<presence><status>{escape(text)}</status></presence>",
}


def _disguise(way: Way, stanza: Stanza) -> Disguise:
    def say(text: str) -> Said | None:
        said = stanza(way, text)
        return None if said is None else [(way, said.encode())]

    def harmless(number: int) -> bytes:
        more = f"id='n{number}' type='chat'"
        return f"<message {_ends(way, more)}><body>the tulips are out</body></message>".encode()

    return Disguise(way, say, read, BEFORE, harmless=harmless)


def _file(way: Way, block: int) -> Disguise:
    """In-band bytes, offered before."""

    def say(text: str) -> Said | None:
        content = text.encode()
        offer = (way, f"<iq {_ends(way, '')} type='set' id='o1'>{si_offer('s1', 'list.txt', len(content))}</iq>")
        answer = (way.other, f"<iq {_ends(way.other, '')} type='result' id='o1'>{si_answer()}</iq>")
        said = [offer, answer, *in_band(way, "s1", content, block)]
        return [(side, stanza.encode()) for side, stanza in said]

    return Disguise(way, say, read, BEFORE)


DISGUISES: dict[str, Disguise] = {
    **{f"{name}, up": _disguise(UP, stanza) for name, stanza in {**_BOTH, **_UP}.items()},
    **{f"{name}, down": _disguise(DOWN, stanza) for name, stanza in {**_BOTH, **_DOWN}.items()},
    "in-band bytes, up": _file(UP, 4096),
    "in-band bytes, one a block, down": _file(DOWN, 7),
}
