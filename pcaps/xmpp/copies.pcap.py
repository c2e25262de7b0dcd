"""Copies of messages: carbons of another device, an archive's page, offline messages, a forged carbon."""

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
INNER = (
    "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-03-01T08:00:00Z'/>"
    "<message xmlns='jabber:client' from='bob@meadow.example/barn' to='amy@garden.example/phone' type='chat' id='c{n}'>"
    "<body>Copy number {n}</body></message></forwarded>"
)
TALK = [
    ("up", "<iq type='set' id='e1'><enable xmlns='urn:xmpp:carbons:2'/></iq>"),
    ("down", f"<iq type='result' id='e1' to='{ME}'/>"),
    ("down", f"<message from='amy@garden.example' to='{ME}' type='chat'><received xmlns='urn:xmpp:carbons:2'>"
             + INNER.format(n=1) + "</received></message>"),
    ("up", "<iq type='set' id='q1'><query xmlns='urn:xmpp:mam:2' queryid='f'/></iq>"),
    ("down", "".join(
        f"<message to='{ME}'><result xmlns='urn:xmpp:mam:2' queryid='f' id='a{n}'>" + INNER.format(n=n)
        + "</result></message>" for n in (2, 3, 4)
    ) + f"<iq type='result' id='q1' to='{ME}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>"),
    ("down", f"<message from='bob@meadow.example/barn' to='{ME}' type='chat'><body>You were away</body>"
             "<delay xmlns='urn:xmpp:delay' from='garden.example' stamp='2026-03-01T09:00:00Z'/></message>"),
    ("down", f"<message from='eve@moor.example' to='{ME}'><received xmlns='urn:xmpp:carbons:2'>" + INNER.format(n=5)
             + "</received></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(LOGIN + TALK).close().packets)
