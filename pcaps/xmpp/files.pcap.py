"""Files and calls by every method that names them: HTTP upload and link, SI, IBB, SOCKS5, Jingle, JMI."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
ME = "amy@garden.example/desk"
UP = (
    "<?xml version='1.0'?><stream:stream to='garden.example' version='1.0' "
    f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
)
DOWN = (
    "<?xml version='1.0'?><stream:stream from='garden.example' id='4f1' version='1.0' xml:lang='en' "
    f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
)
LOGIN = [
    ("up", UP),
    ("down", DOWN),
    ("down", f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>SCRAM-SHA-1</mechanism>"
             "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"),
    ("up", f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>bixuPWFteSxyPWFiYw==</auth>"),
    ("down", f"<challenge xmlns='{SASL}'>cj1hYmNkZWYscz1RUT09LGk9NDA5Ng==</challenge>"),
    ("up", f"<response xmlns='{SASL}'>Yz1iaXdzLHI9YWJjZGVmLHA9QUFBQQ==</response>"),
    ("down", f"<success xmlns='{SASL}'>dj1CQkJC</success>"),
    ("up", UP),
    ("down", DOWN + f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    ("up", f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    ("down", f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
]
BOB = "bob@meadow.example/barn"
TALK = [
    ("up", "<iq type='get' id='u1' to='up.garden.example'><request xmlns='urn:xmpp:http:upload:0' "
           "filename='tulips.jpg' size='20480' content-type='image/jpeg'/></iq>"),
    ("down", f"<iq type='result' id='u1' from='up.garden.example' to='{ME}'><slot xmlns='urn:xmpp:http:upload:0'>"
             "<put url='https://up.garden.example/p/tulips.jpg'><header name='Authorization'>Bearer abc</header></put>"
             "<get url='https://up.garden.example/g/tulips.jpg'/></slot></iq>"),
    ("up", f"<message to='{BOB}' type='chat' id='m1'><body>https://up.garden.example/g/tulips.jpg</body>"
           "<x xmlns='jabber:x:oob'><url>https://up.garden.example/g/tulips.jpg</url></x></message>"),
    ("up", f"<iq type='set' id='s1' to='{BOB}'><si xmlns='http://jabber.org/protocol/si' id='sid1' "
           "profile='http://jabber.org/protocol/si/profile/file-transfer'><file "
           "xmlns='http://jabber.org/protocol/si/profile/file-transfer' name='seeds.txt' size='1022'>"
           "<desc>what to order</desc></file></si></iq>"),
    ("down", f"<iq type='set' id='i1' from='{BOB}' to='{ME}'><open xmlns='http://jabber.org/protocol/ibb' sid='ibb1' "
             "block-size='4096' stanza='iq'/></iq>"),
    ("up", f"<iq type='result' id='i1' to='{BOB}'/>"),
    ("up", f"<iq type='set' id='b1' to='{BOB}'><query xmlns='http://jabber.org/protocol/bytestreams' sid='sid1' "
           f"mode='tcp'><streamhost jid='{ME}' host='10.0.0.5' port='5086'/></query></iq>"),
    ("up", f"<iq type='set' id='j1' to='{BOB}'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='j1'>"
           "<content creator='initiator' name='f'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'><file>"
           "<name>beds.pdf</name><size>6144</size><media-type>application/pdf</media-type></file></description>"
           "</content></jingle></iq>"),
    ("up", f"<message to='{BOB}' id='c1'><propose xmlns='urn:xmpp:jingle-message:0' id='call1'>"
           "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(LOGIN + TALK).close().packets)
