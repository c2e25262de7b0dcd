"""XMPP: what is read, what is refused and in which words, what is changed, what ends a session."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from inspector.engine.world import SharedMemory
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Event,
    Flow,
    Frame,
    Limits,
    Send,
    SignOn,
    Verdict,
    Way,
)
from inspector.protocols.xmpp import EDITS, XmppDecoder
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


def root(data: bytes) -> ElementTree.Element:
    """What was sent, parsed as a client would: inside its stream."""
    return ElementTree.fromstring(head(DOWN, declaration=False) + data + b"</stream:stream>")


C = "{jabber:client}"
ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


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
