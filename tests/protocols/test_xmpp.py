"""XMPP: what is read, what is refused and in which words, what is changed, what ends a session."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from inspector.engine.world import Table
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    CallSetup,
    Chunk,
    ContactChange,
    Cut,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    GroupChange,
    Limits,
    Match,
    Message,
    Notice,
    Opaque,
    PeerError,
    Presence,
    Send,
    SignOn,
    StartTls,
    Text,
    Typing,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import EDITS, SPEC, XmppDecoder, probe

Said = list[tuple[Way, bytes]]

STREAM = "http://etherx.jabber.org/streams"
ON = frozenset(edit.name for edit in EDITS if edit.default)
ME = "alice@example.com/desk"


def head(way: Way, *, declaration: bool = True, ns: str = "jabber:client", more: str = "") -> bytes:
    """A stream header of one side."""
    who = "to='example.com'" if way is UP else "from='example.com' id='s-71'"
    start = "<?xml version='1.0'?>" if declaration else ""
    return (
        f"{start}<stream:stream {who} version='1.0' xml:lang='en' xmlns='{ns}' xmlns:stream='{STREAM}'{more}>"
    ).encode()


def b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


MECHANISMS = (
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
    "<mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>"
    "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>"
)
COMPRESSION = "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
MANAGEMENT = "<sm xmlns='urn:xmpp:sm:2'><optional/></sm><sm xmlns='urn:xmpp:sm:3'><optional/></sm>"


def features(inner: str) -> bytes:
    return f"<stream:features>{inner}</stream:features>".encode()


def login(mechanism: str = "SCRAM-SHA-1", first: str = "n,,n=alice,r=abc") -> Said:
    """From the first byte to the bound resource."""
    return [
        (UP, head(UP)),
        (DOWN, head(DOWN) + features(MECHANISMS)),
        (UP, f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{b64(first)}</auth>".encode()),
        (DOWN, f"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{b64('r=abcdef,s=QQ==,i=4096')}</challenge>".encode()),
        (UP, f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{b64('c=biws,r=abcdef,p=AAAA')}</response>".encode()),
        (DOWN, f"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{b64('v=BBBB')}</success>".encode()),
        (UP, head(UP, declaration=False)),
        (DOWN, head(DOWN) + features(
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'>"
            f"<optional/></session>{MANAGEMENT}{COMPRESSION}"
        )),
        (UP, b"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>desk</resource></bind></iq>"),
        (DOWN, f"<iq type='result' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{ME}</jid></bind></iq>".encode()),
    ]


def talk(*said: tuple[Way, str | bytes]) -> Said:
    """A signed-on conversation."""
    return login() + [(way, data if isinstance(data, bytes) else data.encode()) for way, data in said]


END: tuple[tuple[Way, str], tuple[Way, str]] = ((UP, "</stream:stream>"), (DOWN, "</stream:stream>"))

CHAT_UP = (
    "<message to='bob@example.org/phone' id='m1' type='chat'><body>Lunch at &lt;noon&gt; &amp; not later?</body>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>"
)
CHAT_DOWN = (
    "<message from='bob@example.org/phone' to='alice@example.com/desk' id='q9' type='chat'>"
    "<body>Fine, caf\u00e9 \U0001f642 then</body></message>"
)
XHTML = (
    "<message to='bob@example.org' id='x1' type='chat'><body>see this page</body>"
    "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
    "<p style='color:red'>see <strong>this</strong><br/>page</p><a href='http://page.example/a?b=1&amp;c=2'>link</a>"
    "<img src=\"https://img.example/x.png\" alt='a > b'/></body></html></message>"
)
ROOM = "<x xmlns='http://jabber.org/protocol/muc'/>"
MUC_USER = "http://jabber.org/protocol/muc#user"
FORWARD = (
    "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-01-05T10:00:00Z'/>"
    "<message xmlns='jabber:client' from='bob@example.org/phone' to='alice@example.com' type='chat' id='f1'>"
    "<body>forwarded words</body></message></forwarded>"
)

TALKS: dict[str, Said] = {
    "chat": talk(
        (UP, "<presence/>"), (UP, " "), (UP, CHAT_UP), (DOWN, "\n"), (DOWN, CHAT_DOWN),
        (UP, "<message to='bob@example.org'><body><![CDATA[<raw> & \"quoted\"]]> tail &#x1F600;</body></message>"),
        (UP, "<message to='bob@example.org' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/>"
             "</message>"),
        (DOWN, "<message from='example.com' to='alice@example.com'><subject>Notice</subject><body>Down at ten</body>"
               "</message>"),
        (DOWN, CHAT_DOWN + CHAT_DOWN + "\n\t" + CHAT_DOWN), *END,
    ),
    "forms-of-words": talk(
        (UP, "<message to='bob@example.org' id='l1' type='chat'><subject xml:lang='de'>Thema</subject>"
             "<body>hello</body><body xml:lang='de'>hallo</body><body xml:lang='fr'>bonjour</body>"
             "<thread parent='p1'>thread-7</thread></message>"),
        (UP, XHTML),
        (UP, "<message to='bob@example.org' id='c1' type='chat'><body>hello again</body>"
             "<replace id='m1' xmlns='urn:xmpp:message-correct:0'/></message>"),
        (UP, "<message to='bob@example.org' id='r1' type='chat'><body>&gt; old words\nnew words</body>"
             "<reply to='bob@example.org/phone' id='q9' xmlns='urn:xmpp:reply:0'/>"
             "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='12'/></fallback>"
             "</message>"),
        (DOWN, "<message from='bob@example.org/phone' to='alice@example.com' id='re1' type='chat'>"
               "<reactions id='m1' xmlns='urn:xmpp:reactions:0'><reaction>\U0001f44d</reaction>"
               "<reaction>\U0001f382</reaction></reactions></message>"),
        (UP, "<message to='bob@example.org' id='o1' type='chat'><body>https://up.example/f/plan.pdf</body>"
             "<x xmlns='jabber:x:oob'><url>https://up.example/f/plan.pdf</url><desc>the plan</desc></x></message>"),
        (UP, "<message to='bob@example.org' id='t1' type='chat'><rtt xmlns='urn:xmpp:rtt:0' seq='1' event='new'>"
             "<t>He</t><t>llo</t></rtt></message>"),
        (DOWN, "<message from='bob@example.org/phone' to='alice@example.com/desk' id='m1' type='error'>"
               "<body>hello</body><error type='cancel'><service-unavailable "
               "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"
               "not here</text></error></message>"),
        (UP, "<message to='bob@example.org' id='f1'><x xmlns='jabber:x:data' type='submit'><field var='a'>"
             "<value>form words</value></field></x></message>"),
        (UP, "<message to='bob@example.org' id='rt' type='chat'><retract id='m1' xmlns='urn:xmpp:message-retract:1'/>"
             "<body>I took that back</body></message>"),
        (UP, "<message to='bob@example.org' id='a1' type='chat'><body>/me waves</body></message>"),
        (UP, "<message to='bob@example.org' id='e1'><note xmlns='urn:example:unknown'>words <b>in</b> it</note>"
             "</message>"), *END,
    ),
    "rooms": talk(
        (UP, f"<presence to='team@rooms.example.com/al'>{ROOM}</presence>"),
        (DOWN, f"<presence from='team@rooms.example.com/bo' to='{ME}'><x xmlns='{MUC_USER}'>"
               "<item affiliation='owner' role='moderator'/></x></presence>"),
        (DOWN, f"<presence from='team@rooms.example.com/al' to='{ME}'><x xmlns='{MUC_USER}'>"
               "<item affiliation='none' role='participant'/><status code='110'/></x></presence>"),
        (DOWN, f"<message from='team@rooms.example.com/bo' to='{ME}' type='groupchat' id='h1'><body>before</body>"
               "<delay xmlns='urn:xmpp:delay' stamp='2026-01-05T09:00:00Z' from='team@rooms.example.com'/></message>"),
        (DOWN, f"<message from='team@rooms.example.com' to='{ME}' type='groupchat'><subject>Plans</subject></message>"),
        (UP, "<message to='team@rooms.example.com' id='g1' type='groupchat'><body>hi all</body></message>"),
        (DOWN, f"<message from='team@rooms.example.com/al' to='{ME}' id='g1' type='groupchat' xml:lang='en'>"
               "<body>hi all</body></message>"),
        (DOWN, f"<message from='team@rooms.example.com/bo' to='{ME}' id='g2' type='groupchat'><body>hi al</body>"
               "</message>"),
        (UP, "<message to='team@rooms.example.com/bo' id='p1' type='chat'><body>psst</body>"
             f"<x xmlns='{MUC_USER}'/></message>"),
        (UP, "<message to='team@rooms.example.com' id='s1' type='groupchat'><subject>New plans</subject></message>"),
        (UP, "<message to='carol@example.org' id='i1'><x xmlns='jabber:x:conference' jid='team@rooms.example.com'"
             " reason='come &amp; join'/></message>"),
        (UP, f"<message to='team@rooms.example.com' id='i2'><x xmlns='{MUC_USER}'><invite to='dave@example.org'>"
             "<reason>we need you</reason></invite></x></message>"),
        (DOWN, f"<presence from='team@rooms.example.com/bo' to='{ME}' type='unavailable'><x xmlns='{MUC_USER}'>"
               "<item affiliation='none' role='none'><reason>rude</reason></item><status code='307'/></x></presence>"),
        (UP, "<presence to='team@rooms.example.com/al' type='unavailable'/>"), *END,
    ),
    "presence-and-contacts": talk(
        (UP, "<presence><show>away</show><status>out for lunch</status><status xml:lang='de'>Mittag</status>"
             "<priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"
             "</presence>"),
        (DOWN, f"<presence from='bob@example.org/phone' to='{ME}'><status>in a meeting</status></presence>"),
        (UP, "<presence to='carol@example.org' type='subscribe'><status>please add me</status></presence>"),
        (DOWN, f"<presence from='dave@example.org' to='{ME}' type='subscribe'/>"),
        (UP, "<iq type='get' id='r0'><query xmlns='jabber:iq:roster'/></iq>"),
        (DOWN, f"<iq type='result' id='r0' to='{ME}'><query xmlns='jabber:iq:roster'>"
               "<item jid='bob@example.org' name='Bob' subscription='both'><group>Work</group></item></query></iq>"),
        (UP, "<iq type='set' id='r1'><query xmlns='jabber:iq:roster'><item jid='carol@example.org' name='Carol'>"
             "<group>Friends</group></item></query></iq>"),
        (DOWN, f"<iq type='set' id='p9' to='{ME}'><query xmlns='jabber:iq:roster'><item jid='carol@example.org' "
               "name='Carol' subscription='none' ask='subscribe'/></query></iq>"),
        (UP, "<iq type='set' id='r2'><query xmlns='jabber:iq:roster'><item jid='bob@example.org' "
             "subscription='remove'/></query></iq>"),
        (UP, "<iq type='set' id='k1'><block xmlns='urn:xmpp:blocking'><item jid='eve@example.org'/></block></iq>"),
        (UP, "<iq type='set' id='k2'><unblock xmlns='urn:xmpp:blocking'/></iq>"),
        (UP, "<iq type='set' id='v1'><vCard xmlns='vcard-temp'><FN>Alice A</FN><PHOTO><BINVAL>AAAA</BINVAL></PHOTO>"
             "</vCard></iq>"),
        (UP, "<iq type='set' id='n1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='notes'><item>"
             "<note xmlns='urn:example'>published words</note></item></publish></pubsub></iq>"),
        (UP, "<iq type='get' id='d1' to='example.com'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"),
        (DOWN, f"<iq type='result' id='d1' from='example.com' to='{ME}'><query "
               "xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'/></query></iq>"),
        (DOWN, "<iq type='get' id='pi' from='example.com'><ping xmlns='urn:xmpp:ping'/></iq>"),
        (UP, "<iq type='result' id='pi' to='example.com'/>"), *END,
    ),
    "copies": talk(
        (DOWN, f"<message from='alice@example.com' to='{ME}' type='chat'><received xmlns='urn:xmpp:carbons:2'>"
               f"{FORWARD}</received></message>"),
        (DOWN, f"<message from='alice@example.com' to='{ME}'><sent xmlns='urn:xmpp:carbons:2'>"
               "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='alice@example.com/home' "
               "to='bob@example.org' type='chat'><body>sent from home</body></message></forwarded></sent></message>"),
        (DOWN, f"<message to='{ME}'><result xmlns='urn:xmpp:mam:2' queryid='q' id='77'>{FORWARD}</result></message>"),
        (DOWN, f"<message from='eve@example.net' to='{ME}'><received xmlns='urn:xmpp:carbons:2'>{FORWARD}</received>"
               "</message>"),
        (DOWN, f"<message from='bob@example.org/phone' to='{ME}' type='chat'><body>while you were away</body>"
               "<delay xmlns='urn:xmpp:delay' stamp='2026-01-05T10:00:00Z'/></message>"), *END,
    ),
    "files-and-calls": talk(
        (UP, "<iq type='get' id='u1' to='up.example.com'><request xmlns='urn:xmpp:http:upload:0' "
             "filename='plan.pdf' size='2345' content-type='application/pdf'/></iq>"),
        (DOWN, f"<iq type='result' id='u1' from='up.example.com' to='{ME}'><slot xmlns='urn:xmpp:http:upload:0'>"
               "<put url='https://up.example.com/p/plan.pdf'><header name='Authorization'>Basic c2VjcmV0</header></put>"
               "<get url='https://up.example.com/g/plan.pdf'/></slot></iq>"),
        (UP, "<iq type='set' id='si1' to='bob@example.org/phone'><si xmlns='http://jabber.org/protocol/si' id='sid1' "
             "mime-type='text/plain' profile='http://jabber.org/protocol/si/profile/file-transfer'>"
             "<file xmlns='http://jabber.org/protocol/si/profile/file-transfer' name='list.txt' size='1022' "
             "hash='552da749930852c69ae5d2141d3766b1'><desc>the list</desc></file></si></iq>"),
        (UP, "<iq type='set' id='i1' to='bob@example.org/phone'><open xmlns='http://jabber.org/protocol/ibb' "
             "block-size='4096' sid='ibb1' stanza='iq'/></iq>"),
        (UP, "<iq type='set' id='i2' to='bob@example.org/phone'><data xmlns='http://jabber.org/protocol/ibb' seq='0' "
             "sid='ibb1'>AAAA</data></iq>"),
        (UP, "<iq type='set' id='s1' to='bob@example.org/phone'><query xmlns='http://jabber.org/protocol/bytestreams'"
             " sid='sid1' mode='tcp'><streamhost jid='alice@example.com/desk' host='192.0.2.7' port='5086'/></query>"
             "</iq>"),
        (UP, "<iq type='set' id='j1' to='bob@example.org/phone'><jingle xmlns='urn:xmpp:jingle:1' "
             "action='session-initiate' sid='j1'><content creator='initiator' name='f'><description "
             "xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file><name>photo.jpg</name><size>6144</size>"
             "<media-type>image/jpeg</media-type><desc>a photo</desc><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>"
             "AAAA</hash></file></description></content></jingle></iq>"),
        (UP, "<iq type='set' id='j2' to='bob@example.org/phone'><jingle xmlns='urn:xmpp:jingle:1' "
             "action='session-initiate' sid='j2'><content creator='initiator' name='v'><description "
             "xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></content></jingle></iq>"),
        (UP, "<message to='bob@example.org' id='jm'><propose xmlns='urn:xmpp:jingle-message:0' id='call7'>"
             "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'/></propose></message>"),
        (UP, "<message to='bob@example.org' id='sims'><body>look</body><reference xmlns='urn:xmpp:reference:0' "
             "type='data' uri='https://up.example.com/g/x.png' begin='0' end='4'><media-sharing xmlns='urn:xmpp:sims:1'>"
             "<file xmlns='urn:xmpp:jingle:apps:file-transfer:5'><media-type>image/png</media-type><name>x.png</name>"
             "<size>12</size></file></media-sharing></reference></message>"),
        (UP, "<message to='bob@example.org' id='sfs'><file-sharing xmlns='urn:xmpp:sfs:0'>"
             "<file xmlns='urn:xmpp:file:metadata:0'><name>y.zip</name><size>99</size></file><sources>"
             "<url-data xmlns='http://jabber.org/protocol/url-data' target='https://up.example.com/g/y.zip'/></sources>"
             "</file-sharing></message>"),
        (DOWN, f"<iq type='set' id='o1' from='bob@example.org/phone' to='{ME}'><query xmlns='jabber:iq:oob'>"
               "<url>http://files.example.org/run.exe</url><desc>try it</desc></query></iq>"), *END,
    ),
    "encrypted": talk(
        (UP, "<message to='bob@example.org' id='e1' type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'>"
             "<header sid='1'><key rid='2'>AAAA</key><iv>AAAA</iv></header><payload>BBBB</payload></encrypted>"
             "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>"
             "<body>I sent you an OMEMO encrypted message</body></message>"),
        (UP, "<message to='bob@example.org' id='e2' type='chat'><encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'>"
             "<keys jid='bob@example.org'><key rid='2'>AAAA</key></keys></header><payload>BBBB</payload></encrypted>"
             "</message>"),
        (UP, "<message to='bob@example.org' id='e3' type='chat'><encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'>"
             "<keys jid='bob@example.org'><key rid='2'>AAAA</key></keys></header></encrypted></message>"),
        (UP, "<message to='bob@example.org' id='e4' type='chat'><body>?OTR:AAMDJ+MVmSfjFZcAAAAAAQ==.</body></message>"),
        (UP, "<message to='bob@example.org' id='e5' type='chat'><body>?OTRv23?</body></message>"),
        (UP, "<message to='bob@example.org' id='e6'><openpgp xmlns='urn:xmpp:openpgp:0'>AAAA</openpgp></message>"),
        (UP, "<message to='bob@example.org' id='e7'><body>encrypted</body><x xmlns='jabber:x:encrypted'>AAAA</x>"
             "</message>"),
        (UP, "<message to='bob@example.org' id='e8'><e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[MIME]]></e2e>"
             "</message>"),
        (UP, "<iq type='set' id='dl'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish "
             "node='eu.siacs.conversations.axolotl.devicelist'><item><list xmlns='eu.siacs.conversations.axolotl'>"
             "<device id='1'/></list></item></publish></pubsub></iq>"), *END,
    ),
    "starttls": [
        (UP, head(UP)),
        (DOWN, head(DOWN) + features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>")),
        (UP, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        (DOWN, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ],
    "plain-login": login("PLAIN", "\0alice\0secret-password"),
    "failed-login": [
        *login()[:5], (DOWN, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"),
        (DOWN, b"</stream:stream>"), (UP, b"</stream:stream>"),
    ],
    "legacy-login": [
        (UP, head(UP)), (DOWN, head(DOWN)),
        (UP, b"<iq type='set' id='a1'><query xmlns='jabber:iq:auth'><username>alice</username>"
             b"<password>secret-password</password><resource>desk</resource></query></iq>"),
        (DOWN, b"<iq type='result' id='a1'/>"), (UP, CHAT_UP.encode()),
    ],
    "sasl2": [
        (UP, head(UP)),
        (DOWN, head(DOWN) + features(
            "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-256</mechanism><inline>"
            "<bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:sm:3'/><feature var='urn:xmpp:carbons:2'/>"
            "</inline></bind><sm xmlns='urn:xmpp:sm:3'/></inline></authentication>")),
        (UP, b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'><initial-response>"
             + base64.b64encode(b"n,,n=alice,r=abc") + b"</initial-response><bind xmlns='urn:xmpp:bind:0'><tag>t</tag>"
             b"<enable xmlns='urn:xmpp:sm:3' resume='true'/></bind></authenticate>"),
        (DOWN, b"<challenge xmlns='urn:xmpp:sasl:2'>cj1hYmM=</challenge>"),
        (UP, b"<response xmlns='urn:xmpp:sasl:2'>Yz1iaXdz</response>"),
        (DOWN, b"<success xmlns='urn:xmpp:sasl:2'><additional-data>dj0=</additional-data>"
               b"<authorization-identifier>alice@example.com/desk</authorization-identifier>"
               b"<bound xmlns='urn:xmpp:bind:0'/></success>" + features("")),
        (UP, CHAT_UP.encode()),
    ],
    "strays": talk(
        (UP, "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"),
        (UP, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        (UP, "<resume xmlns='urn:xmpp:sm:3' h='4' previd='old'/>"),
        (UP, "<inactive xmlns='urn:xmpp:csi:0'/>"), (UP, CHAT_UP), *END,
    ),
    "serverless": [
        (UP, b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
             b" from='al@desk' to='bo@lap'>"),
        (DOWN, b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
               b" from='bo@lap' to='al@desk'>"),
        (UP, b"<message from='al@desk' to='bo@lap' type='chat'><body>hello there</body></message>"),
        (DOWN, b"<message from='bo@lap' to='al@desk' type='chat'><body>hello back</body></message>"),
    ],
    "server-stream": [
        (UP, head(UP, ns="jabber:server", more=" xmlns:db='jabber:server:dialback'")),
        (DOWN, head(DOWN, ns="jabber:server")),
        (UP, b"<db:result from='a.example' to='b.example'>key</db:result>"),
    ],
    "another-prefix": [
        (UP, b"<foo:stream\n to=\"example.com\"\tversion='1.0' xmlns=\"jabber:client\" "
             b"xmlns:foo='http://etherx.jabber.org/streams'>"),
        (DOWN, b"<foo:stream from='example.com' id='' xmlns='jabber:client' "
               b"xmlns:foo='http://etherx.jabber.org/streams' xmlns:x='jabber:client'>"),
        (DOWN, b"<x:message from='example.com' type='chat'><x:body>with a prefix</x:body></x:message>"),
        (UP, b"</foo:stream>"), (DOWN, b"</foo:stream >"),
    ],
}


def decoder(edits: Iterable[str] = (), *, from_start: bool = True, limits: Limits | None = None) -> XmppDecoder:
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5222), opened=0.0, from_start=from_start)
    limits = limits or Limits()
    memory: Table[str, object] = Table(16)
    return XmppDecoder(flow, limits, memory, frozenset(edits))


def read(dec: XmppDecoder, said: Said) -> list[Frame]:
    return [frame for way, data in said for frame in dec.feed(Chunk(way, 1.0, data))]


def passed(dec: XmppDecoder, frame: Frame) -> list[Act]:
    return dec.apply(frame, tuple(PASSED for _ in frame.events))


def play(dec: XmppDecoder, said: Said) -> list[Frame]:
    """Feed and let everything pass, frame by frame, as the engine does."""
    frames = []
    for way, data in said:
        for frame in dec.feed(Chunk(way, 1.0, data)):
            frames.append(frame)
            if frame.fault is None:
                passed(dec, frame)
    return frames


def signed(edits: Iterable[str] = ON) -> XmppDecoder:
    dec = decoder(edits)
    play(dec, login())
    return dec


def one(dec: XmppDecoder, way: Way, data: str | bytes) -> Frame:
    (frame,) = dec.feed(Chunk(way, 2.0, data if isinstance(data, bytes) else data.encode()))
    return frame


def events(name: str, edits: Iterable[str] = ()) -> list[Event]:
    return [event for frame in play(decoder(edits), TALKS[name]) for event in frame.events]


def sent(acts: Sequence[Act], way: Way) -> bytes:
    return b"".join(act.data for act in acts if isinstance(act, Send) and act.way is way)


def block(notice: str | None = "No. Reference R1.", placeholder: str | None = None) -> Verdict:
    return Verdict(Action.BLOCK, "r", reference="R1", notice=notice, placeholder=placeholder)


def masked(*spans: tuple[int, int, int]) -> Verdict:
    return Verdict(Action.REDACT, "r", masks=spans)


def texts(event: Any) -> list[tuple[str, str]]:
    return [(text.part, text.plain) for text in event.texts]


class TestSignOn:
    def test_the_bind_result_signs_on_the_full_jid(self) -> None:
        """The sign-on names the JID the server bound, the mechanism and what was seen of channel binding."""
        (event,) = [e for e in events("chat") if isinstance(e, SignOn)]
        assert event == SignOn(
            user=ME, identity="authenticated", mechanism="SCRAM-SHA-1", channel_binding="offered",
            account="alice@example.com",
        )

    def test_no_secret_is_in_any_frame_field_but_raw(self) -> None:
        """A password travels in `raw` only."""
        for name in ("plain-login", "legacy-login"):
            for frame in play(decoder(ON), TALKS[name]):
                assert "secret-password" not in repr(frame.events) + repr(frame.oddities)

    def test_legacy_login(self) -> None:
        """XEP-0078: user, domain of the stream and resource make the JID; the answer's id signs on."""
        (event,) = [e for e in events("legacy-login") if isinstance(e, SignOn)]
        assert (event.user, event.mechanism) == (ME, "XEP-0078 password")

    def test_sasl2_with_bind2(self) -> None:
        """SASL2's success names the full JID when the resource was bound inline."""
        (event,) = [e for e in events("sasl2") if isinstance(e, SignOn)]
        assert (event.user, event.mechanism, event.channel_binding) == (ME, "SCRAM-SHA-256", "none")

    def test_channel_binding_used(self) -> None:
        """A -PLUS login is told, with an oddity that says it will fail."""
        frames = play(decoder(ON), login("SCRAM-SHA-1-PLUS", "p=tls-exporter,,n=alice,r=a"))
        assert [o.name for f in frames for o in f.oddities] == ["xmpp.channel_binding"]
        assert [e.channel_binding for f in frames for e in f.events if isinstance(e, SignOn)] == ["used"]

    def test_channel_binding_stripped(self) -> None:
        """With the edit on, -PLUS and the binding types leave the features, and the sign-on says so."""
        dec = decoder(["xmpp.strip_plus"])
        dec.feed(Chunk(UP, 1.0, head(UP)))
        frame = dec.feed(Chunk(DOWN, 1.0, head(DOWN) + features(MECHANISMS)))[1]
        assert frame.edit == "xmpp.strip_plus"
        assert sent(passed(dec, frame), DOWN) == features(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>"
            "<mechanism>PLAIN</mechanism></mechanisms>"
        )
        frames = play(dec, login()[2:])
        assert [e.channel_binding for f in frames for e in f.events if isinstance(e, SignOn)] == ["stripped"]

    def test_never_down_to_plain(self) -> None:
        """-PLUS is left where only PLAIN would remain."""
        dec = decoder(["xmpp.strip_plus"])
        play(dec, [(UP, head(UP)), (DOWN, head(DOWN))])
        frame = one(dec, DOWN, features(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism>"
            "<mechanism>PLAIN</mechanism></mechanisms>"
        ))
        assert frame.edit is None

    def test_serverless_is_claimed(self) -> None:
        """Without any login (XEP-0174) the sender's word is a claim."""
        first = next(iter(events("serverless")))
        assert first == SignOn(user="al@desk", identity="claimed", mechanism="serverless", channel_binding="none")


class TestMessages:
    def test_chat_both_ways(self) -> None:
        """Sender, recipient, conversation, id and text, with entities, CDATA and references undone."""
        found = [e for e in events("chat") if isinstance(e, Message)]
        assert found[0] == Message(
            sender=ME, recipients=("bob@example.org/phone",), conversation="bob@example.org", id="m1",
            texts=(Text("body", "Lunch at <noon> & not later?"),),
        )
        assert found[1] == Message(
            sender="bob@example.org/phone", recipients=(ME,), conversation="bob@example.org", id="q9",
            texts=(Text("body", "Fine, caf\u00e9 \U0001f642 then"),),
        )
        assert texts(found[2]) == [("body", "<raw> & \"quoted\" tail \U0001f600")]
        assert (found[3].kind, texts(found[3])) == ("server", [("body", "Down at ten"), ("subject", "Notice")])
        assert [texts(m) for m in found[4:]] == [texts(found[1])] * 3

    def test_typing(self) -> None:
        """A chat state without words is typing."""
        assert [e for e in events("chat") if isinstance(e, Typing)] == [
            Typing(state="composing", sender=ME, recipients=("bob@example.org",)),
        ]

    def test_every_form_of_words(self) -> None:
        """Languages, subject, thread, XHTML with its addresses, corrections, replies, reactions, links, errors."""
        found = [e for e in events("forms-of-words") if isinstance(e, Message)]
        assert [(t.part, t.plain, t.lang) for t in found[0].texts] == [
            ("body", "hello", None), ("body", "hallo", "de"), ("body", "bonjour", "fr"), ("thread", "thread-7", None),
            ("subject", "Thema", "de"),
        ]
        assert texts(found[1]) == [
            ("body", "see this page"), ("xhtml", "see this\npage"), ("xhtml", "link"), ("url", "http://page.example/a?b=1&c=2"),
            ("url", "https://img.example/x.png"), ("xhtml", "a > b"),
        ]
        assert (found[2].kind, found[2].replaces) == ("correction", "m1")
        assert texts(found[3]) == [("body", "> old words\nnew words")]
        assert (found[4].kind, texts(found[4])) == (
            "reaction", [("reaction", "\U0001f44d"), ("reaction", "\U0001f382")],
        )
        assert texts(found[5]) == [
            ("body", "https://up.example/f/plan.pdf"), ("url", "https://up.example/f/plan.pdf"),
            ("description", "the plan"),
        ]
        assert texts(found[6]) == [("rtt", "Hello")]
        assert (found[7].kind, found[7].answerable, texts(found[7])) == (
            "server", False, [("body", "hello"), ("error", "not here")],
        )
        assert (found[8].kind, found[8].replaces, texts(found[8])) == (
            "correction", "m1", [("body", "I took that back")],
        )
        assert found[9].kind == "action"
        assert texts(found[10]) == [("extension", "words "), ("extension", " it"), ("extension", "in")]

    def test_forms(self) -> None:
        """A data form's values are words of something opaque."""
        (form,) = [e for e in events("forms-of-words") if isinstance(e, Opaque)]
        assert (form.kind, texts(form)) == ("form", [("form", "form words")])

    def test_rooms(self) -> None:
        """History, topic, own reflection, others' words, private words, invitations."""
        found = [e for e in events("rooms") if isinstance(e, Message)]
        assert [(m.kind, m.copy, texts(m)[0], m.conversation) for m in found] == [
            ("chat", "history", ("body", "before"), "team@rooms.example.com"),
            ("topic", "no", ("topic", "Plans"), "team@rooms.example.com"),
            ("chat", "no", ("body", "hi all"), "team@rooms.example.com"),
            ("chat", "echo", ("body", "hi all"), "team@rooms.example.com"),
            ("chat", "no", ("body", "hi al"), "team@rooms.example.com"),
            ("chat", "no", ("body", "psst"), "team@rooms.example.com"),
            ("topic", "no", ("topic", "New plans"), "team@rooms.example.com"),
            ("invite", "no", ("reason", "come & join"), "team@rooms.example.com"),
            ("invite", "no", ("reason", "we need you"), "team@rooms.example.com"),
        ]
        assert found[0].sent_at == 1767603600.0

    def test_room_members(self) -> None:
        """Who joined, left, and was thrown out, with the reason given."""
        found = [e for e in events("rooms") if isinstance(e, GroupChange)]
        assert [(g.action, g.member) for g in found] == [
            ("join", "al"), ("join", "bo"), ("join", "al"), ("kick", "bo"), ("leave", "al"),
        ]
        assert texts(found[3]) == [("reason", "rude")]

    def test_copies_are_marked(self) -> None:
        """Carbons, archive results and delayed messages are copies; a forged carbon is not, and is told."""
        found = [e for e in events("copies") if isinstance(e, Message)]
        assert [(m.copy, m.sender, texts(m)) for m in found] == [
            ("carbon", "bob@example.org/phone", [("body", "forwarded words")]),
            ("carbon", "alice@example.com/home", [("body", "sent from home")]),
            ("history", "bob@example.org/phone", [("body", "forwarded words")]),
            ("no", "eve@example.net", [("body", "forwarded words")]),
            ("history", "bob@example.org/phone", [("body", "while you were away")]),
        ]
        assert not any(m.answerable for m in found if m.copy != "no")
        odd = [o.name for f in play(decoder(), TALKS["copies"]) for o in f.oddities]
        assert odd == ["xmpp.spoofed_carbon"]

    def test_encryption_is_recognised(self) -> None:
        """OMEMO old and new, OTR data and offer, OpenPGP old and new, S/MIME; a key transport has no words."""
        found = [e for e in events("encrypted") if isinstance(e, Message | Opaque)]
        assert [(type(e).__name__, e.encryption.inspectable, e.encryption.scheme) for e in found] == [
            ("Message", "metadata", "omemo"), ("Message", "metadata", "omemo"), ("Opaque", "metadata", "omemo"),
            ("Message", "metadata", "otr"), ("Message", "full", "otr"), ("Message", "metadata", "openpgp"),
            ("Message", "metadata", "openpgp"), ("Message", "metadata", "smime"), ("Opaque", "full", "omemo"),
        ]

    def test_forged_sender(self) -> None:
        """A client that writes another's address is told as odd; the sender is who signed on."""
        frame = one(signed(), UP, "<message from='boss@example.com' to='bob@example.org'><body>pay</body></message>")
        assert [o.name for o in frame.oddities] == ["xmpp.from_mismatch"]
        (event,) = frame.events
        assert isinstance(event, Message)
        assert event.sender == ME

    def test_signed_words_cannot_be_edited(self) -> None:
        """Words under a signature (XEP-0027) are not editable."""
        frame = one(signed(), UP, "<message to='b@example.org'><body>hi</body><x xmlns='jabber:x:signed'>AA</x></message>")
        assert [text.editable for text in frame.events[0].texts] == [False]


class TestOtherEvents:
    def test_presence_and_status(self) -> None:
        """Availability is Presence, the words of it a Message of kind status."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Presence | Message)]
        assert [(e.availability if isinstance(e, Presence) else texts(e)) for e in found] == [
            "away", [("status", "out for lunch"), ("status", "Mittag")], "online", [("status", "in a meeting")],
            "subscribe", [("status", "please add me")], "subscribe",
        ]

    def test_contacts(self) -> None:
        """Roster and block list changes."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, ContactChange)]
        assert [(c.action, c.contact) for c in found] == [
            ("add", "carol@example.org"), ("update", "carol@example.org"), ("remove", "bob@example.org"),
            ("block", "eve@example.org"), ("unblock", "*"),
        ]
        assert texts(found[0]) == [("nick", "Carol"), ("group", "Friends")]

    def test_opaque(self) -> None:
        """vCards and published items show their words, not their blobs."""
        found = [e for e in events("presence-and-contacts") if isinstance(e, Opaque)]
        assert [(o.kind, texts(o)) for o in found] == [
            ("vcard", [("vcard", "Alice A")]), ("pubsub", [("pubsub", "published words")]),
        ]

    def test_files(self) -> None:
        """Every way a file is offered names it."""
        found = [e for e in events("files-and-calls") if isinstance(e, FileOffer)]
        assert [(f.method, f.file_name, f.size, f.address) for f in found] == [
            ("http_upload", "plan.pdf", 2345, None), ("si", "list.txt", 1022, None), ("ibb", "", None, None),
            ("s5b", "", None, "192.0.2.7:5086"), ("jingle", "photo.jpg", 6144, None),
            ("sims", "x.png", 12, "https://up.example.com/g/x.png"),
            ("sfs", "y.zip", 99, "https://up.example.com/g/y.zip"),
            ("oob", "run.exe", None, "http://files.example.org/run.exe"),
        ]

    def test_calls(self) -> None:
        """Jingle and its message initiation arrange calls."""
        found = [e for e in events("files-and-calls") if isinstance(e, CallSetup)]
        assert [(c.action, c.media) for c in found] == [("session-initiate", ("audio",)), ("propose", ("video",))]

    def test_upload_slot_without_its_authorization(self) -> None:
        """The addresses of a slot are read, its header is not."""
        (slot,) = [e for e in events("files-and-calls") if isinstance(e, Opaque)]
        assert texts(slot) == [
            ("url", "https://up.example.com/p/plan.pdf"), ("url", "https://up.example.com/g/plan.pdf"),
        ]

    def test_bytestream_is_expected(self) -> None:
        """The side connection of a SOCKS5 bytestream is announced with the hash it will ask for."""
        dec = signed()
        frame = next(f for f in read(dec, TALKS["files-and-calls"][10:]) if b"bytestreams" in f.raw)
        assert [act for act in passed(dec, frame) if isinstance(act, Expect)] == [
            Expect("192.0.2.7:5086", "socks5_bytestream", ME, "33d9b79873bcff9da2d3833955e12e4da22d4405"),
        ]
