"""A login with SCRAM, an evening's chat both ways; one message that the golden policy refuses."""

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
TALK = [
    ("up", "<presence><show>chat</show><status>in the greenhouse</status></presence>"),
    ("up", "<iq type='get' id='r1'><query xmlns='jabber:iq:roster'/></iq>"),
    ("down", f"<iq type='result' id='r1' to='{ME}'><query xmlns='jabber:iq:roster'>"
             "<item jid='bob@meadow.example' name='Bob' subscription='both'/></query></iq>"),
    ("down", f"<presence from='bob@meadow.example/barn' to='{ME}'><status>mowing</status></presence>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m1'><body>Are the tulips out?</body>"
           "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"),
    ("up", " "),
    ("down", f"<message from='bob@meadow.example/barn' to='{ME}' type='chat'>"
             "<composing xmlns='http://jabber.org/protocol/chatstates'/></message>"),
    ("down", f"<message from='bob@meadow.example/barn' to='{ME}' type='chat' id='n1'>"
             "<body>All of them &amp; the daffodils \u00fcberall \U0001f337</body></message>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m2'>"
           "<body>Tell me of the purple elephant</body></message>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m3'><body>My card is 4111 1111 1111 1111, is it?</body>"
           "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
           "<p>My <em>card</em> is 4111 <b>1111</b> 1111 1111, is it?</p></body></html></message>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m4'><body>Perhaps not</body>"
           "<replace id='m3' xmlns='urn:xmpp:message-correct:0'/></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(LOGIN + TALK).close().packets)
