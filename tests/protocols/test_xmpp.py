"""XMPP: what is read, what is refused and in which words, what is changed, what ends a session."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import SharedMemory, World
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
    Rules,
    Secured,
    Send,
    SignOn,
    StartTls,
    Text,
    Typing,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import EDITS, SPEC, XmppDecoder, probe
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.protocols import xmpp_disguises, zlib_disguises
from tests.protocols.xmpp_talks import FILES

DISGUISES = {**xmpp_disguises.DISGUISES, **zlib_disguises.DISGUISES}

Said = list[tuple[Way, bytes]]

AT = 1_000_000.0

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
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
        (DOWN, f"<challenge xmlns='{SASL}'>{b64('r=abcdef,s=QQ==,i=4096')}</challenge>".encode()),
        (UP, f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{b64('c=biws,r=abcdef,p=AAAA')}</response>".encode()),
        (DOWN, f"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{b64('v=BBBB')}</success>".encode()),
        (UP, head(UP, declaration=False)),
        (DOWN, head(DOWN) + features(
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'>"
            f"<optional/></session>{MANAGEMENT}{COMPRESSION}"
        )),
        (UP, f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>".encode()),
        (DOWN, f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>".encode()),
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
CARBON = f"<message from='alice@example.com' id='2'><received xmlns='urn:xmpp:carbons:2'>{FORWARD}</received></message>"

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
             "type='data' uri='https://up.example.com/g/x.png' begin='0' end='4'>"
             "<media-sharing xmlns='urn:xmpp:sims:1'><file xmlns='urn:xmpp:jingle:apps:file-transfer:5'>"
             "<media-type>image/png</media-type><name>x.png</name>"
             "<size>12</size></file></media-sharing></reference></message>"),
        (UP, "<message to='bob@example.org' id='sfs'><file-sharing xmlns='urn:xmpp:sfs:0'>"
             "<file xmlns='urn:xmpp:file:metadata:0'><name>y.zip</name><size>99</size></file><sources>"
             "<url-data xmlns='http://jabber.org/protocol/url-data' target='https://up.example.com/g/y.zip'/></sources>"
             "</file-sharing></message>"),
        (UP, "<iq type='set' id='i3' to='bob@example.org/phone'><close xmlns='http://jabber.org/protocol/ibb' "
             "sid='ibb1'/></iq>"),
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
        (UP, "<message to='bob@example.org' id='e8'>"
             "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[MIME]]></e2e></message>"),
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
        (DOWN, "<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>"),
        (UP, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        (UP, "<resume xmlns='urn:xmpp:sm:3' h='4' previd='old'/>"),
        (UP, "<inactive xmlns='urn:xmpp:csi:0'/>"), (UP, CHAT_UP), *END,
    ),
    "managed": talk(
        (UP, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        (DOWN, "<enabled xmlns='urn:xmpp:sm:3' id='m-1' resume='true' max='600' location='srv2.example.com:5222'/>"),
        (UP, CHAT_UP), (UP, "<r xmlns='urn:xmpp:sm:3'/>"), (DOWN, "<a xmlns='urn:xmpp:sm:3' h='1'/>"),
        (DOWN, CHAT_DOWN), (DOWN, "<r xmlns='urn:xmpp:sm:3'/>"), (UP, "<a xmlns='urn:xmpp:sm:3' h='1'/>"),
        (DOWN, "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:db8::9]:5222"
               "</see-other-host></stream:error>"), *END,
    ),
    "resumed": [
        *login()[:8], (UP, b"<resume xmlns='urn:xmpp:sm:3' h='4' previd='m-0'/>"),
        (DOWN, b"<resumed xmlns='urn:xmpp:sm:3' h='2' previd='m-0'/>"), (UP, CHAT_UP.encode()),
    ],
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
        (DOWN, head(DOWN, ns="jabber:server", more=" xmlns:db='jabber:server:dialback'")),
        (DOWN, features("<dialback xmlns='urn:xmpp:features:dialback'/>")),
        (UP, b"<db:result from='a.example' to='b.example'>key</db:result>"),
        (DOWN, b"<db:result type='valid' from='b.example' to='a.example'/>"),
        (UP, b"<message from='al@a.example/x' to='bo@b.example' type='chat' id='s1'><body>from one house to the other"
             b"</body></message>"),
        (UP, b"<presence from='al@a.example/x' to='bo@b.example'><status>in the garden today</status></presence>"),
        (UP, b"<db:result from='c.example' to='b.example'>key two</db:result>"),
        (DOWN, b"<db:result type='valid' from='b.example' to='c.example'/>"),
        (UP, b"<s:message xmlns:s='jabber:server' from='cy@c.example' to='bo@b.example'><s:body>a third house says so"
             b"</s:body></s:message>"),
        (UP, b"</stream:stream>"), (DOWN, b"</stream:stream>"),
    ],
    "server-stream-both-ways": [
        (UP, head(UP, ns="jabber:server")), (DOWN, head(DOWN, ns="jabber:server")),
        (DOWN, features("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism>"
                        "</mechanisms><bidi xmlns='urn:xmpp:features:bidi'/>")),
        (UP, b"<bidi xmlns='urn:xmpp:bidi'/>"),
        (UP, b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS5leGFtcGxl</auth>"),
        (DOWN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
        (UP, head(UP, ns="jabber:server")), (DOWN, head(DOWN, ns="jabber:server")), (DOWN, features("")),
        (UP, b"<message from='al@a.example/x' to='bo@b.example' type='chat' id='s1'><body>from one house to the other"
             b"</body></message>"),
        (DOWN, b"<message from='bo@b.example' to='al@a.example/x' type='chat' id='s2'><body>and back again to you"
               b"</body></message>"),
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
TALKS |= {name: talk(*said) for name, said in FILES.items()}


def decoder(edits: Iterable[str] = (), *, from_start: bool = True, limits: Limits | None = None) -> XmppDecoder:
    flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5222), opened=0.0, from_start=from_start)
    limits = limits or Limits()
    memory = SharedMemory(16)
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

    def test_the_same_ciphertext_is_known_on_every_leg(self) -> None:
        """However a server writes it (quotes, order of attributes, prefixes, what it puts beside it), it is the same;
        any change inside it is not. Ciphertext in the body is in the texts."""
        def sealed(inner: str, way: Way = UP) -> str | None:
            ends = "to='bob@example.org'" if way is UP else f"from='{ME}' to='bob@example.org/phone'"
            [event] = one(signed(), way, f"<message {ends} type='chat'>{inner}</message>").events
            assert isinstance(event, Message)
            return event.sealed

        written = ("<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1' x='2'><key rid='2'>AA</key></header>"
                   "<payload>BBBB</payload></encrypted>")
        anew = ('<x:encrypted xmlns:x="urn:xmpp:omemo:2"><x:header x="2" sid="1"><x:key rid="2">A&#65;</x:key>'
                '</x:header><x:payload><![CDATA[BBBB]]></x:payload></x:encrypted>'
                '<stanza-id xmlns="urn:xmpp:sid:0" id="7" by="example.org"/>')
        assert sealed(written)
        assert sealed(written) == sealed(anew, DOWN)
        changes = [("BBBB", "BBBC"), ("'1'", "'3'"), ("</key>", "</key> "), ("omemo:2", "omemo:1"), (">AA<", "><")]
        assert len({sealed(written), *(sealed(written.replace(*change)) for change in changes)}) == 6
        assert sealed("<openpgp xmlns='urn:xmpp:openpgp:0'>AA</openpgp>") != sealed(
            "<openpgp xmlns='urn:xmpp:openpgp:0'>AB</openpgp>")
        assert sealed("<body>?OTR:AAMDJ==.</body>") == ""
        assert sealed("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:new'/><body>x</body>") is None
        assert sealed("<body>words</body>") is None

    def test_forged_sender(self) -> None:
        """A client that writes another's address is told as odd; the sender is who signed on."""
        frame = one(signed(), UP, "<message from='boss@example.com' to='bob@example.org'><body>pay</body></message>")
        assert [o.name for o in frame.oddities] == ["xmpp.from_mismatch"]
        (event,) = frame.events
        assert isinstance(event, Message)
        assert event.sender == ME

    def test_signed_words_cannot_be_edited(self) -> None:
        """Words under a signature (XEP-0027) are not editable."""
        stanza = "<message to='b@example.org'><body>hi</body><x xmlns='jabber:x:signed'>AA</x></message>"
        frame = one(signed(), UP, stanza)
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
            ("jingle", "photo.jpg", 6144, None),
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
        (slot,) = [e for e in events("files-and-calls") if isinstance(e, Opaque) and e.kind == "upload_slot"]
        assert texts(slot) == [
            ("url", "https://up.example.com/p/plan.pdf"), ("url", "https://up.example.com/g/plan.pdf"),
        ]

    def test_bytestream_is_expected(self) -> None:
        """The side connection of a SOCKS5 bytestream is announced with the hash it will ask for."""
        dec = signed()
        frame = next(f for f in read(dec, TALKS["files-and-calls"][10:]) if b"bytestreams" in f.raw)
        (expect,) = [act for act in passed(dec, frame) if isinstance(act, Expect)]
        assert (expect.address, expect.what, expect.by, expect.key) == (
            "192.0.2.7:5086", "bytestream", ME, "33d9b79873bcff9da2d3833955e12e4da22d4405",
        )
        assert expect.offer is not None
        assert expect.offer.file_name == "list.txt"


def root(data: bytes) -> ElementTree.Element:
    """What was sent, parsed as a client would: inside its stream."""
    return ElementTree.fromstring(head(DOWN, declaration=False) + data + b"</stream:stream>")


C = "{jabber:client}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


class TestRefusal:
    def test_a_refused_message_is_answered_with_its_own_id(self) -> None:
        """Nothing goes up; the sender gets <policy-violation/> from the address he wrote to, with the reference: in the
        error's text, and as a body, without which libpurple shows nobody the error."""
        dec = signed()
        acts = dec.apply(one(dec, UP, CHAT_UP), [block("No & <no>.\r\nReference R1.\0")])
        assert sent(acts, UP) == b""
        (answer,) = root(sent(acts, DOWN))
        assert (answer.tag, answer.get("type"), answer.get("id"), answer.get("from"), answer.get("to")) == (
            C + "message", "error", "m1", "bob@example.org/phone", ME,
        )
        body, error = answer
        assert (body.tag, body.text) == (C + "body", "No & <no>.  Reference R1.")
        assert (error.get("type"), error.get("by")) == ("modify", "example.com")
        assert [child.tag for child in error] == [ERRORS + "policy-violation", ERRORS + "text"]
        assert error[1].text == "No & <no>.  Reference R1."

    def test_no_id_no_notice(self) -> None:
        """Without an id the answer has none; without a notice nobody is told."""
        dec = signed()
        frame = one(dec, UP, "<message to='bob@example.org'><body>words</body></message>")
        (answer,) = root(sent(dec.apply(frame, [block()]), DOWN))
        assert answer.get("id") is None
        assert dec.apply(frame, [block(None)]) == []

    def test_an_incoming_message_is_dropped_or_replaced(self) -> None:
        """The recipient gets nothing, or the placeholder in place of every word; what is about delivery stays."""
        dec = signed()
        stanza = CHAT_DOWN.replace("</message>", (
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>x</body></html>"
            "<x xmlns='jabber:x:oob'><url>http://a.example/b</url></x>"
            "<stanza-id xmlns='urn:xmpp:sid:0' id='9' by='alice@example.com'/></message>"
        ))
        frame = one(dec, DOWN, stanza)
        verdicts = [block(None)] * len(frame.events)
        assert dec.apply(frame, verdicts) == []
        data = sent(dec.apply(frame, [block(None, "[gone & \n<why>]")] * len(frame.events)), DOWN)
        assert data == (
            b"<message from='bob@example.org/phone' to='alice@example.com/desk' id='q9' type='chat'>"
            b"<body>[gone &amp;  &lt;why&gt;]</body>"
            b"<stanza-id xmlns='urn:xmpp:sid:0' id='9' by='alice@example.com'/></message>"
        )

    def test_a_bounce_goes_to_the_sender_of_a_chat_only(self) -> None:
        """A refused chat from outside is answered upstream; a room, a copy or an error never."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, CHAT_DOWN), [block()])
        (answer,) = root(sent(acts, UP))
        assert (answer.get("to"), answer.get("from"), answer.get("id")) == ("bob@example.org/phone", None, "q9")
        for stanza in (
            "<message from='r@rooms.example.com/bo' id='1' type='groupchat'><body>words</body></message>",
            CARBON,
        ):
            assert dec.apply(one(dec, DOWN, stanza), [block()]) == []

    def test_a_placeholder_in_a_copy(self) -> None:
        """In a carbon the inner message is replaced; the wrapper stays."""
        dec = signed()
        data = sent(dec.apply(one(dec, DOWN, CARBON), [block(None, "gone")]), DOWN)
        assert data == CARBON.replace("forwarded words", "gone").encode()

    def test_a_prefixed_message_gets_its_placeholder_in_the_right_namespace(self) -> None:
        """The new body is jabber:client's though the stanza uses a prefix."""
        dec = decoder()
        frames = play(dec, TALKS["another-prefix"][:3])
        data = sent(dec.apply(frames[-1], [block(None, "gone")]), DOWN)
        (message,) = root(data.replace(b"<x:message", b"<x:message xmlns:x='jabber:client'"))
        assert [(child.tag, child.text) for child in message] == [(C + "body", "gone")]

    @pytest.mark.parametrize("stanza", [
        "<message to='b@example.org' type='error' id='1'><body>secret words</body><error type='cancel'/></message>",
        "<iq type='result' id='1' to='b@example.org'><vCard xmlns='vcard-temp'><FN>secret words</FN></vCard></iq>",
    ])
    def test_answers_are_masked_never_refused(self, stanza: str) -> None:
        """An error or a result goes on, with every word masked, and is not answered."""
        dec = signed()
        frame = one(dec, UP, stanza)
        acts = dec.apply(frame, [block()] * len(frame.events))
        assert acts == [Send(UP, stanza.replace("secret words", "*" * 12).encode())]

    @pytest.mark.parametrize(("index", "condition"), [
        (0, "not-allowed"), (2, "forbidden"), (3, "not-acceptable"), (5, "not-acceptable"), (6, "not-allowed"),
    ])
    def test_a_refused_request_is_always_answered(self, index: int, condition: str) -> None:
        """File offers by iq get the error their method's clients understand, with or without a notice."""
        way, data = TALKS["files-and-calls"][10 + index]
        dec = signed()
        for notice in ("No.", None):
            acts = dec.apply(one(dec, way, data), [block(notice)])
            assert sent(acts, UP) == b""
            (answer,) = root(sent(acts, DOWN))
            assert (answer.tag, answer.get("type")) == (C + "iq", "error")
            assert answer[0][0].tag == ERRORS + condition

    def test_a_refused_request_from_outside_is_answered_upstream(self) -> None:
        """An iq set from a peer is answered to the peer; the client never sees it."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, TALKS["files-and-calls"][-3][1]), [block(None)])
        assert sent(acts, DOWN) == b""
        (answer,) = root(sent(acts, UP))
        assert (answer.get("type"), answer.get("id"), answer.get("to")) == ("error", "o1", "bob@example.org/phone")

    def test_presence_loses_its_words_or_is_dropped(self) -> None:
        """Refused status words leave the presence; a refused presence is silent."""
        dec = signed()
        frame = one(dec, UP, TALKS["presence-and-contacts"][10][1])
        acts = dec.apply(frame, [PASSED, block(None)])
        assert b"lunch" not in sent(acts, UP)
        assert b"<show>away</show><priority>5</priority><c " in sent(acts, UP)
        assert dec.apply(frame, [block(None), PASSED]) == []

    def test_a_refused_join_is_answered(self) -> None:
        """Else the client would wait for the room for ever."""
        dec = signed()
        frame = one(dec, UP, f"<presence to='team@rooms.example.com/al'>{ROOM}</presence>")
        (answer,) = root(sent(dec.apply(frame, [block(None)]), DOWN))
        assert (answer.tag, answer.get("type"), answer.get("from")) == (
            C + "presence", "error", "team@rooms.example.com/al",
        )

    def test_a_warning_delivers_and_tells(self) -> None:
        """The message goes on untouched; the sender reads a headline of his server."""
        dec = signed()
        acts = dec.apply(one(dec, UP, CHAT_UP), [Verdict(Action.WARN, "r", notice="Careful.")])
        assert sent(acts, UP) == CHAT_UP.encode()
        (notice,) = root(sent(acts, DOWN))
        assert (notice.get("type"), notice.get("from"), notice.get("to")) == ("headline", "example.com", ME)
        assert notice.findtext(C + "body") == "Careful."

    def test_a_refused_sign_on_ends_the_session(self) -> None:
        """A bind result cannot be swallowed."""
        dec = decoder()
        frames = play(dec, login()[:-1])
        assert frames
        acts = dec.apply(one(dec, DOWN, login()[-1][1]), [block()])
        assert isinstance(acts[-1], Cut)
        assert b"policy-violation" in sent(acts, DOWN)


class TestMasks:
    def test_masks_reach_every_form(self) -> None:
        """Body, XHTML over markup and line break, and an address; all other bytes are exact."""
        dec = signed()
        frame = one(dec, UP, XHTML)
        acts = dec.apply(frame, [masked((0, 4, 8), (1, 4, 13), (3, 23, 26))])
        assert sent(acts, UP).decode() == (
            XHTML.replace("see this page", "see **** page")
            .replace("<strong>this</strong><br/>page", "<strong>****</strong>*****")
            .replace("/a?b=1&amp;c=2", "/a?b***c=2")
        )

    @pytest.mark.parametrize(("written", "span", "want"), [
        ("a&lt;b&gt;c", (1, 4), "a***c"), ("x&#65;&#x1F600;y", (1, 3), "x**y"),
        ("<![CDATA[ab]]>cd", (1, 3), "<![CDATA[a*]]>*d"),
        ("<![CDATA[]]]]><![CDATA[>]]>z", (0, 3), "<![CDATA[**]]><![CDATA[*]]>z"), ("a\r\nb", (1, 2), "a*b"),
        ("caf\u00e9 \U0001f642!", (3, 6), "caf***!"), ("a\rb", (1, 3), "a**"), ("ab", (1, 99), "a*"),
    ])
    def test_a_star_a_character_however_it_is_written(self, written: str, span: tuple[int, int], want: str) -> None:
        """References, CDATA, line ends and any UTF-8 are masked as the characters they stand for."""
        dec = signed()
        frame = one(dec, UP, f"<message to='b@example.org'><body>{written}</body></message>")
        acts = dec.apply(frame, [masked((0, *span))])
        assert sent(acts, UP).decode() == f"<message to='b@example.org'><body>{want}</body></message>"

    def test_attributes_are_masked(self) -> None:
        """A file name in an attribute, in either quotes, with references."""
        dec = signed()
        stanza = (
            "<iq type='get' id='u'><request xmlns='urn:xmpp:http:upload:0' size='1' content-type='a>b' "
            "filename = \"a&amp;b.txt\"/></iq>"
        )
        acts = dec.apply(one(dec, UP, stanza), [masked((0, 1, 3))])
        assert sent(acts, UP).decode() == stanza.replace("a&amp;b.txt", "a**.txt")

    def test_masks_in_a_carbon(self) -> None:
        """The words inside a copy are found and masked."""
        dec = signed()
        acts = dec.apply(one(dec, DOWN, CARBON), [masked((0, 0, 9))])
        assert sent(acts, DOWN).decode() == CARBON.replace("forwarded words", "********* words")

    def test_words_of_unknown_extensions_are_masked(self) -> None:
        """Text before and behind markup of an unknown extension."""
        dec = signed()
        head_, tail = "<message to='b@example.org'><n xmlns='urn:example:u'>", "</n></message>"
        stanza = head_ + "one <b>two</b> three<![CDATA[<4>]]>" + tail
        frame = one(dec, UP, stanza)
        assert texts(frame.events[0]) == [("extension", "one "), ("extension", " three<4>"), ("extension", "two")]
        acts = dec.apply(frame, [masked((0, 0, 3), (1, 1, 9), (2, 0, 3))])
        assert sent(acts, UP).decode() == (
            head_ + "*** <b>***</b> *****<![CDATA[***]]>" + tail
        )


class TestEdits:
    def test_compression_and_management_are_not_offered(self) -> None:
        """Where management is to be stripped both leave the features, in every place, and nothing else changes."""
        for name, index in (("chat", 7), ("sasl2", 1)):
            dec = decoder(ON | {"xmpp.strip_sm"})
            play(dec, TALKS[name][:index])
            frame = next(f for f in dec.feed(Chunk(DOWN, 1.0, TALKS[name][index][1])) if f.kind == "xmpp.features")
            data = sent(passed(dec, frame), DOWN)
            assert frame.edit is not None
            assert b"urn:xmpp:sm" not in data
            assert b"compress" not in data
            want = frame.raw.decode()
            for piece in (MANAGEMENT, COMPRESSION, "<feature var='urn:xmpp:sm:3'/>", "<sm xmlns='urn:xmpp:sm:3'/>"):
                want = want.replace(piece, "")
            assert data.decode() == want

    def test_inline_management_leaves_the_login(self) -> None:
        """A client that asks for stream management inside SASL2 is not heard where it is to be stripped."""
        dec = decoder(ON | {"xmpp.strip_sm"})
        play(dec, TALKS["sasl2"][:2])
        frame = one(dec, UP, TALKS["sasl2"][2][1])
        assert frame.edit == "xmpp.strip_sm"
        assert b"sm:3" not in sent(passed(dec, frame), UP)
        assert b"<tag>t</tag>" in sent(passed(dec, frame), UP)

    def test_strays_are_answered(self) -> None:
        """What was not offered and is asked for all the same is answered, not sent on."""
        dec = signed(ON | {"xmpp.strip_sm"})
        answers = []
        for way, data in (said for said in TALKS["strays"][10:14] if said[0] is UP):
            frame = one(dec, way, data)
            assert frame.edit is not None
            acts = passed(dec, frame)
            assert sent(acts, UP) == b""
            answers.append(sent(acts, DOWN).decode())
        assert answers == [
            "<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>",
            "<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
            "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
        ]

    def test_what_was_offered_is_left_alone(self) -> None:
        """With the strip edits off the requests go on though the refusing ones are on."""
        dec = signed(["xmpp.refuse_compression", "xmpp.refuse_sm"])
        for way, data in TALKS["strays"][10:14]:
            assert one(dec, way, data).edit is None

    KINDS = (
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256-PLUS</mechanism>"
        "<mechanism>SCRAM-SHA-256</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>{}"
        "</sasl-channel-binding>"
    )
    EXPORTER = "<channel-binding type='tls-exporter'/>"
    END_POINT = "<channel-binding type='tls-server-end-point'/>"

    def offered(self, kinds: str, *, same: bool, edits: Iterable[str] = ON) -> tuple[bytes, XmppDecoder]:
        """The features as the client gets them, and the decoder."""
        dec = decoder(edits)
        if same:
            dec.secured()
        play(dec, [(UP, head(UP)), (DOWN, head(DOWN))])
        return sent(passed(dec, one(dec, DOWN, features(self.KINDS.format(kinds)))), DOWN), dec

    def test_channel_binding_that_holds_is_left(self) -> None:
        """Shown the server's own certificate, a client can bind to it: other kinds leave the offer, the mechanisms
        stay, also where they are to be stripped; the login is told as bound, without a warning."""
        for edits in (ON, ON | {"xmpp.strip_plus"}):
            data, dec = self.offered(self.EXPORTER + self.END_POINT, same=True, edits=edits)
            assert data == features(self.KINDS.format(self.END_POINT))
            frame = one(dec, UP, f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>"
                                 f"{b64('p=tls-server-end-point,,n=alice,r=abc')}</auth>")
            assert frame.oddities == ()
            assert dec._binding == "used"

    def test_channel_binding_that_does_not_hold_is_as_ever(self) -> None:
        """Nothing that holds is offered, or the certificate is another: left alone, or stripped where that is wanted;
        and a login by a kind that does not hold is told to fail."""
        for kinds, same in ((self.EXPORTER, True), (self.EXPORTER + self.END_POINT, False), ("", True)):
            data, dec = self.offered(kinds, same=same)
            assert data == features(self.KINDS.format(kinds))
            data, _ = self.offered(kinds, same=same, edits=ON | {"xmpp.strip_plus"})
            assert b"PLUS" not in data
            frame = one(dec, UP, f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>"
                                 f"{b64('p=tls-exporter,,n=alice,r=abc')}</auth>")
            assert [oddity.name for oddity in frame.oddities] == ["xmpp.channel_binding"]

    @pytest.mark.parametrize("same", [True, False])
    def test_the_session_tells_which_certificate_the_client_saw(self, same: bool) -> None:
        """Behind STARTTLS: only where it was the server's own is the offer narrowed to what holds."""
        kit = Kit(classifier((SPEC,)), Rules(1, ToyPolicy(), ToyScanner()), Limits(), edits=ON)
        world = World(kit.limits)
        flow = Flow("f", Address("10.0.0.1", 40000), Address("192.0.2.1", 5222), opened=AT)
        session = Session(flow, kit, world)
        for way, data in TALKS["starttls"]:
            session.step(Chunk(way, AT, data), world)
        session.step(Secured(AT, same=same), world)
        session.step(Chunk(UP, AT, head(UP)), world)
        session.step(Chunk(DOWN, AT, head(DOWN)), world)
        offer = features(self.KINDS.format(self.EXPORTER + self.END_POINT))
        (effect,) = [each for each in session.step(Chunk(DOWN, AT, offer), world) if isinstance(each, Send)]
        assert (b"tls-exporter" in effect.data) is not same

    def test_an_offer_that_holds_is_left_alone(self) -> None:
        """Where only that kind is offered nothing changes: clients that check the offer by a hash find it whole."""
        data, _ = self.offered(self.END_POINT, same=True)
        assert data == features(self.KINDS.format(self.END_POINT))

    def test_real_time_text_is_taken_out(self) -> None:
        """Letters on their way cannot be judged: the element goes, the message stays."""
        dec = signed()
        frame = one(dec, UP, TALKS["forms-of-words"][16][1])
        assert (frame.edit, frame.events) == ("xmpp.strip_rtt", ())
        assert sent(passed(dec, frame), UP) == b"<message to='bob@example.org' id='t1' type='chat'></message>"

    def test_where_stanzas_are_counted_a_drop_is_replaced(self) -> None:
        """With stream management on, a swallowed stanza is replaced by one that says nothing, and none is injected."""
        dec = signed(())
        play(dec, [(UP, b"<enable xmlns='urn:xmpp:sm:3'/>"), (DOWN, b"<enabled xmlns='urn:xmpp:sm:3'/>")])
        acts = dec.apply(one(dec, UP, CHAT_UP), [block(None)])
        assert sent(acts, UP).startswith(b"<iq type='result' id=")
        assert not dec.ready(DOWN)


class TestStartTls:
    def test_proceed_becomes_starttls(self) -> None:
        """The client's <starttls/> goes up; the server's <proceed/> is held by the driver; the stream begins anew."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:2])
        frame = one(dec, UP, TALKS["starttls"][2][1])
        assert passed(dec, frame) == [Send(UP, frame.raw)]
        frame = one(dec, DOWN, TALKS["starttls"][3][1])
        assert passed(dec, frame) == [StartTls(
            "example.com", TALKS["starttls"][3][1],
            b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
        )]
        frames = play(dec, [*login(), (UP, CHAT_UP.encode())])
        assert not any(f.fault for f in frames)
        assert isinstance(frames[-1].events[0], Message)

    @pytest.mark.parametrize("surplus", [b" ", b"<auth/>", CHAT_UP.encode(), b"\x16\x03\x01"])
    def test_plaintext_behind_starttls_is_an_attack(self, surplus: bytes) -> None:
        """Anything behind <starttls/>, in the same read or a later one, ends in a fault."""
        for cut in (True, False):
            dec = decoder(ON)
            play(dec, TALKS["starttls"][:2])
            asked = TALKS["starttls"][2][1]
            pieces = [asked, surplus] if cut else [asked + surplus]
            frames = read(dec, [(UP, piece) for piece in pieces])
            assert [f.kind for f in frames] == ["xmpp.starttls", BROKEN]
            assert frames[-1].fault is not None
            assert "injection" in frames[-1].fault.name

    @pytest.mark.parametrize("way", [UP, DOWN])
    def test_plaintext_around_proceed_is_an_attack(self, way: Way) -> None:
        """Behind <proceed/> nothing may come in plaintext, from neither side."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:3])
        if way is DOWN:
            frames = dec.feed(Chunk(DOWN, 1.0, TALKS["starttls"][3][1] + b"<features/>"))
        else:
            frames = dec.feed(Chunk(DOWN, 1.0, TALKS["starttls"][3][1])) + dec.feed(Chunk(UP, 1.0, head(UP)))
        assert frames[-1].kind == BROKEN
        assert frames[-1].fault is not None
        assert frames[-1].fault.name == "xmpp.starttls_injection"

    def test_tls_of_a_capture_cannot_be_read(self) -> None:
        """Offline the TLS bytes follow: said, and passed over."""
        dec = decoder()
        frames = read(dec, [*TALKS["starttls"], (UP, b"\x16\x03\x01\x02\x00data"), (DOWN, b"\x16\x03\x03\x00")])
        assert [f.kind for f in frames[-2:]] == ["xmpp.raw", "xmpp.raw"]
        assert dec.undecryptable is not None

    def test_a_refused_starttls_goes_on(self) -> None:
        """The server's <failure/> and the end of the stream pass."""
        dec = decoder(ON)
        frames = play(dec, [
            *TALKS["starttls"][:3], (DOWN, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"),
            (UP, b"</stream:stream>"),
        ])
        assert not any(f.fault for f in frames)

    def test_proceed_that_nobody_asked_for(self) -> None:
        """An unasked <proceed/> ends in a fault."""
        dec = decoder(ON)
        play(dec, TALKS["starttls"][:2])
        frame = one(dec, DOWN, TALKS["starttls"][3][1])
        assert frame.fault is not None

    def test_proceed_in_front_of_half_a_stanza_loses_none_of_it(self) -> None:
        """In a stream joined in its middle nobody knows what was asked: what the client has half said is no TLS."""
        dec = decoder(from_start=False)
        half = CHAT_UP.encode()[:40]
        read(dec, [(UP, half)])
        for frame in read(dec, [(DOWN, CHAT_DOWN.encode()), (DOWN, TALKS["starttls"][3][1])]):
            assert not any(isinstance(act, StartTls) for act in passed(dec, frame))
        assert dec.pending(UP) == len(half)


BAD: dict[str, tuple[str | bytes, str]] = {
    "comment": ("<message><!-- x --><body>a</body></message>", "restricted-xml"),
    "instruction": ("<message><?x y?></message>", "restricted-xml"),
    "doctype": ("<!DOCTYPE x [<!ENTITY a 'b'>]><message/>", "restricted-xml"),
    "doctype-inside": ("<message><!DOCTYPE x></message>", "restricted-xml"),
    "entity": ("<message><body>&lol;</body></message>", "restricted-xml"),
    "control": ("<message><body>a\x01b</body></message>", "not-well-formed"),
    "reference-to-nul": ("<message><body>&#0;</body></message>", "not-well-formed"),
    "mismatch": ("<message><body></message></body>", "not-well-formed"),
    "twice": ("<message id='1' id='2'/>", "not-well-formed"),
    "unbound": ("<message><a:b/></message>", "bad-namespace-prefix"),
    "text": ("hello<message/>", "bad-format"),
    "utf8": (b"<message><body>\xed\xa0\x80</body></message>", "bad-format"),
    "overlong": (b"<message><body>\xc0\xbc</body></message>", "bad-format"),
    "wrong-end": ("</stream>", "not-well-formed"),
    "namespace": ("<message xmlns='jabber:server'><body>a</body></message>", "invalid-namespace"),
    "header-inside": (head(UP), "not-well-formed"),
    "deep": ("<message>" + "<a>" * 64 + "</a>" * 64 + "</message>", "policy-violation"),
    "attributes": ("<message " + " ".join(f"a{n}='1'" for n in range(101)) + "/>", "policy-violation"),
    "children": ("<message>" + "<a/>" * 10001 + "</message>", "policy-violation"),
    "long-name": ("<message><" + "a" * 1025 + "/></message>", "policy-violation"),
    "big": ("<message><body>" + "a" * 262144 + "</body></message>", "policy-violation"),
    "events": ("<iq type='set'><query xmlns='jabber:iq:roster'>" + "<item jid='a'/>" * 1001 + "</query></iq>",
               "policy-violation"),
    "copies": ("<message>" + "<x xmlns='jabber:x:oob'/>" * 1001 + "</message>", "policy-violation"),
    "big-attribute": ("<message a='" + ">" * 262144, "policy-violation"),
}


class TestHostile:
    @pytest.mark.parametrize("name", BAD)
    def test_restricted_xml_is_refused_as_the_rfc_says(self, name: str) -> None:
        """One BROKEN frame with the stream error's name; what came before it is whole; cuts change nothing."""
        bad, condition = BAD[name]
        data = CHAT_UP.encode() + (bad if isinstance(bad, bytes) else bad.encode())
        found = []
        for size in (len(data), 1, 1460):
            dec = signed()
            frames = read(dec, [(UP, data[start:start + size]) for start in range(0, len(data), size)])
            index = next(i for i, f in enumerate(frames) if f.fault is not None)
            assert b"".join(f.raw for f in frames) == data
            assert sum(f.kind == BROKEN for f in frames) == 1
            fault = frames[index].fault
            assert fault is not None
            assert fault.condition == condition
            found.append(([f.kind for f in frames[:index]], fault.name, fault.detail))
        assert found[0] == found[1] == found[2]
        assert found[0][0] == ["xmpp.message"]

    def test_stanza_limits(self) -> None:
        """A stanza of just the limit passes, a larger one from the server; before the sign-on the limit is smaller."""
        dec = signed()
        start, end = b"<message to='b@example.org'><body>", b"</body></message>"
        frame = one(dec, UP, start + b"a" * (262144 - len(start) - len(end)) + end)
        assert frame.kind == "xmpp.message"
        frame = one(dec, DOWN, start + b"a" * (524288 - len(start) - len(end)) + end)
        assert frame.kind == "xmpp.message"
        dec = decoder()
        play(dec, login()[:2])
        frames = dec.feed(Chunk(UP, 1.0, b"<auth mechanism='X'>" + b"a" * 10000))
        assert frames[-1].fault is not None
        assert frames[-1].fault.name == "xmpp.too_big"

    @pytest.mark.parametrize(("start", "condition"), [
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>" + head(UP, declaration=False), "unsupported-encoding"),
        (head(UP).decode().encode("utf-16"), "unsupported-encoding"),
        (b" " + head(UP), "not-well-formed"),
        (b"<!DOCTYPE a>" + head(UP, declaration=False), "restricted-xml"),
        (b"<!-- a -->" + head(UP, declaration=False), "restricted-xml"),
        (b"<stream:stream xmlns='jabber:client'>", "bad-namespace-prefix"),
        (b"<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", "invalid-namespace"),
        (b"<message/>", "invalid-namespace"),
        (head(UP, ns="urn:example:other"), "invalid-namespace"),
    ])
    def test_headers_that_are_refused(self, start: bytes, condition: str) -> None:
        """Encodings, declarations and namespaces that RFC 6120 does not allow."""
        for size in (len(start), 1):
            frames = read(decoder(), [(UP, start[at:at + size]) for at in range(0, len(start), size)])
            fault = next(f.fault for f in frames if f.fault is not None)
            assert fault.condition == condition

    def test_headers_that_are_allowed(self) -> None:
        """Byte order mark, white space, no declaration, any prefix, any quotes, open and close at once."""
        for start in (
            b"\xef\xbb\xbf" + head(UP), b" \r\n\t" + head(UP, declaration=False), head(UP) + b"</stream:stream>",
            b"<stream:stream xmlns='jabber:client' xmlns:stream='" + STREAM.encode() + b"' a='>'/>",
        ):
            for size in (len(start), 1):
                frames = read(decoder(), [(UP, start[at:at + size]) for at in range(0, len(start), size)])
                assert not any(f.fault for f in frames)
                assert frames[0].raw == start.removesuffix(b"</stream:stream>")

    def test_nothing_comes_behind_the_end(self) -> None:
        """White space may follow </stream:stream>, nothing else."""
        dec = signed()
        assert one(dec, UP, "</stream:stream>").kind == "xmpp.close"
        assert one(dec, UP, "\n").kind == "xmpp.space"
        assert one(dec, UP, "<presence/>").kind == BROKEN

    def test_white_space_floods_are_told_once(self) -> None:
        """A long run passes, with one oddity."""
        dec = signed()
        odd = [o.name for _ in range(5) for f in dec.feed(Chunk(UP, 1.0, b" " * 1500)) for o in f.oddities]
        assert odd == ["xmpp.much_white_space"]

    def test_component_streams_are_told_and_passed_over(self) -> None:
        """Component streams: an opaque event, an oddity, a reason; then raw frames."""
        for ns, name in (("jabber:component:connect", "component"), ("jabber:component:accept", "component")):
            dec = decoder()
            frames = read(dec, [(UP, head(UP, ns=ns) + b"<x/>"), (DOWN, head(DOWN, ns=ns)), (UP, b"<\0")])
            assert [f.kind for f in frames] == ["xmpp.server_stream", "xmpp.raw", "xmpp.raw", "xmpp.raw"]
            assert [o.name for f in frames for o in f.oddities] == [f"xmpp.{name}"]
            assert dec.undecryptable is not None
            assert dec.close("x") == []

    def test_compression_that_was_not_prevented(self) -> None:
        """Behind <compressed/> nothing can be read where nobody takes the coding, and it is said; what stood behind it
        in the same bytes leaves with the next."""
        dec = signed(())
        frames = read(dec, [
            (UP, TALKS["strays"][10][1]),
            (DOWN, b"<compressed xmlns='http://jabber.org/protocol/compress'/>\x78\x9c\x00"), (UP, b"\x78\x9c"),
            (DOWN, b""),
        ])
        assert [f.kind for f in frames] == ["xmpp.compress", "xmpp.compressed", "xmpp.raw", "xmpp.raw"]
        assert frames[-1].raw == b"\x78\x9c\x00"
        assert dec.undecryptable is not None

    def test_a_security_layer_is_told(self) -> None:
        """DIGEST-MD5 with qop=auth-conf: what follows <success/> is wrapped."""
        answer = b64('username="alice",realm="x",nonce="n",qop=auth-conf,response=1')
        dec = decoder()
        said = [
            *login()[:2], (UP, b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='DIGEST-MD5'/>"),
            (UP, f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{answer}</response>".encode()),
            (DOWN, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"), (UP, b"\0\0\0\x40wrapped"),
        ]
        frames = read(dec, said)
        assert frames[-1].kind == "xmpp.raw"
        assert dec.undecryptable == "a SASL security layer"

    def test_joined_in_the_middle(self) -> None:
        """A flow joined late finds the next stanza and guesses the user from what the server writes."""
        dec = decoder(from_start=False)
        frames = read(dec, [
            (DOWN, b"dy>tail</body></message>" + CHAT_DOWN.encode()), (UP, b"<body>half</body></message><mess"),
            (UP, CHAT_UP.encode()[5:]),
        ])
        kinds = [(f.way, f.kind) for f in frames]
        assert kinds == [
            (DOWN, "xmpp.skipped"), (DOWN, "xmpp.message"), (UP, "xmpp.skipped"), (UP, "xmpp.message"),
        ]
        assert frames[1].events[0] == SignOn(user=ME, identity="claimed", channel_binding="none",
                                             account="alice@example.com")

    def test_joined_in_the_middle_it_can_still_speak(self) -> None:
        """Once a stanza was found on the way notices go out, and the ending has no second header."""
        dec = decoder(from_start=False)
        assert not dec.ready(DOWN)
        play(dec, [(DOWN, CHAT_DOWN.encode())])
        assert dec.ready(DOWN)
        assert not dec.ready(UP)
        assert sent(dec.close("policy"), DOWN).startswith(b"<stream:error>")

    def test_after_a_gap(self) -> None:
        """Lost bytes cost the stanza they were in, not the conversation."""
        dec = decoder()
        read(dec, login())
        frames = dec.feed(Chunk(UP, 2.0, CHAT_UP.encode()[:40]))
        after = b"</forwarded></message>" + CHAT_UP.encode() + b"</a>" + CHAT_UP.encode()
        frames += dec.feed(Chunk(UP, 2.0, after, 99))
        assert [f.kind for f in frames] == [
            "xmpp.lost", "xmpp.skipped", "xmpp.message", "xmpp.skipped", "xmpp.message",
        ]

    def test_after_the_fault_the_rest_is_passed_over(self) -> None:
        """Bytes fed to a broken way are still accounted for."""
        dec = signed()
        assert one(dec, UP, "<!x").kind == BROKEN
        assert one(dec, UP, "more").raw == b"more"

    def test_one_byte_at_a_time_is_linear(self) -> None:
        """Twice the bytes take about twice the steps: a quarter of a MiB of markup byte by byte within seconds."""
        body = b"<message><body a='" + b">" * 60000 + b"'>" + b"<b/>&amp;]]" * 8000 + b"</body></message>"
        dec = signed()
        frames = [f for at in range(len(body)) for f in dec.feed(Chunk(UP, 1.0, body[at:at + 1]))]
        assert [f.kind for f in frames] == ["xmpp.message"]
        assert frames[0].raw == body


class TestEnding:
    def test_a_fault_ends_in_its_stream_error(self) -> None:
        """The client reads the condition and the stream's end; the server only the end."""
        dec = signed()
        fault = one(dec, UP, "<!DOCTYPE x>").fault
        acts = dec.close("malformed", fault)
        assert sent(acts, UP) == b"</stream:stream>"
        (error,) = ElementTree.fromstring(head(DOWN, declaration=False) + sent(acts, DOWN))
        assert error.tag == f"{{{STREAM}}}error"
        assert [child.tag.rpartition("}")[2] for child in error] == ["restricted-xml", "text"]

    def test_too_big_says_so(self) -> None:
        """The application condition of an over-size stanza."""
        acts = signed().close("", PeerError("xmpp.too_big", "", "policy-violation"))
        assert b"<stanza-too-big xmlns='urn:xmpp:errors'/>" in sent(acts, DOWN)

    def test_a_header_first_where_none_was_sent(self) -> None:
        """Before the server's header, and between <success/> and the next header, ours goes in front."""
        dec = decoder()
        play(dec, login()[:1])
        data = sent(dec.close("policy"), DOWN)
        (error,) = ElementTree.fromstring(data)
        assert error[0].tag.endswith("policy-violation")
        dec = decoder()
        play(dec, login()[:6])
        assert sent(dec.close("policy"), DOWN).startswith(b"<?xml")
        dec = decoder()
        play(dec, login()[:3])
        assert sent(dec.close("policy"), DOWN).startswith(b"<stream:error>")

    def test_drain(self) -> None:
        """A gateway that goes down says so."""
        assert b"<system-shutdown " in sent(signed().close("shutdown"), DOWN)

    def test_a_closed_stream_is_not_closed_again(self) -> None:
        """Each side gets one end only."""
        dec = signed()
        play(dec, [(DOWN, b"</stream:stream>"), (UP, b"</stream:stream>")])
        assert dec.close("policy") == []

    def test_ready_only_after_the_sign_on(self) -> None:
        """Nothing is injected before the resource is bound, and nothing after the end."""
        dec = decoder()
        for way, data in login()[:-1]:
            play(dec, [(way, data)])
            assert not dec.ready(DOWN)
            assert dec.inject(Notice("x"), DOWN) == []
        play(dec, login()[-1:])
        assert dec.ready(DOWN)
        assert dec.ready(UP)
        (notice,) = root(sent(dec.inject(Notice("a & b"), DOWN), DOWN))
        assert notice.findtext(C + "body") == "a & b"
        play(dec, [(DOWN, b"</stream:stream>")])
        assert not dec.ready(DOWN)


@pytest.mark.parametrize("way", [UP, DOWN])
def test_who_closes_his_stream_has_parted(way: Way) -> None:
    """Nothing is released behind it, either way: the other side answers the end, and that is all."""
    dec = signed()
    one(dec, way, "<presence type='unavailable'/>")
    assert not dec.parted
    one(dec, way, "</stream:stream>")
    assert dec.parted


class TestProbe:
    @pytest.mark.parametrize("start", [
        head(UP), head(UP, declaration=False), b"\xef\xbb\xbf" + head(UP), b"\r\n  " + head(UP, declaration=False),
        b"\n\n" + head(UP), head(UP, ns="jabber:server"), TALKS["another-prefix"][0][1],
        b"<!-- x -->" + head(UP, declaration=False), head(UP).decode().encode("utf-16"),
    ])
    def test_a_header_is_strong_and_its_prefixes_are_undecided(self, start: bytes) -> None:
        """STRONG with the whole tag, never NO before, on either side."""
        assert probe(start, b"") == Match.STRONG
        assert probe(b"", start) == Match.STRONG
        if start[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            for size in range(len(start)):
                assert probe(start[:size], b"") == Match.MORE, start[:size]

    @pytest.mark.parametrize("start", [
        b"WA\x01\x05", b"<policy-file-request/>\0", b"<!DOCTYPE html><html><body>", b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"<html xmlns='jabber:client'>", b"<?xml version='1.0'?><rss>", b"NICK a\r\n",
        b"<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", b"<stream>", b"<iq>", b"\0\0\0\x10",
    ])
    def test_other_beginnings_are_not(self, start: bytes) -> None:
        """Nothing but a stream header of the streams namespace is taken."""
        assert probe(start, b"") == Match.NO

    def test_stanzas_without_header_are_weak(self) -> None:
        """A flow joined in the middle of a conversation."""
        assert probe(CHAT_UP.encode(), b"") == Match.WEAK

    def test_a_header_without_end(self) -> None:
        """A header longer than any server reads is taken if it names the streams namespace."""
        assert probe(head(UP)[:-1] + b" a='" + b"x" * 12000, b"") == Match.STRONG


class TestProperties:
    @pytest.mark.parametrize("seed", range(20))
    def test_short_way_and_long_way_agree(self, seed: int) -> None:
        """Whole chunks, random cuts and joined chunks give the same events in the same order."""
        rng = random.Random(seed)
        for name in ("chat", "forms-of-words", "copies", "encrypted", "presence-and-contacts"):
            want = [e for f in read(decoder(ON), TALKS[name]) for e in f.events]
            for way in (UP, DOWN):
                dec = signed()
                said = b"".join(data for w, data in TALKS[name][10:] if w is way)
                pieces, at = [], 0
                while at < len(said):
                    size = rng.choice((1, 2, 5, 30, 300, 3000, 30000))
                    pieces.append((way, said[at:at + size]))
                    at += size
                got = [e for f in read(dec, pieces) for e in f.events]
                mine = decoder(ON)
                read(mine, TALKS[name][:10])
                assert got == [
                    e for w, data in TALKS[name][10:] if w is way for f in mine.feed(Chunk(w, 1.0, data))
                    for e in f.events
                ]
            assert want

    def test_an_idle_session_is_small(self) -> None:
        """A signed-on session holds no parser and about 3 KB."""
        import tracemalloc

        warm = [signed() for _ in range(5)]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            many = [signed() for _ in range(200)]
            each = (tracemalloc.get_traced_memory()[0] - before) / len(many)
        finally:
            tracemalloc.stop()
        assert warm
        assert each < 3600  # of them 300 for what files may need, 100 for counted and for servers' streams
