"""A room (XEP-0045): history, topic, words with their reflection, a private word, an invitation, a kick."""

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
ROOM = "tulips@rooms.garden.example"
USER = "http://jabber.org/protocol/muc#user"
TALK = [
    ("up", f"<presence to='{ROOM}/amy'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    ("down", f"<presence from='{ROOM}/carl' to='{ME}'><x xmlns='{USER}'><item affiliation='owner' "
             f"role='moderator'/></x></presence><presence from='{ROOM}/amy' to='{ME}'><x xmlns='{USER}'>"
             "<item affiliation='none' role='participant'/><status code='110'/></x></presence>"),
    ("down", f"<message from='{ROOM}/carl' to='{ME}' type='groupchat' id='h1'><body>Nobody here yet</body>"
             "<delay xmlns='urn:xmpp:delay' stamp='2026-03-01T08:00:00Z'/></message>"
             f"<message from='{ROOM}' to='{ME}' type='groupchat'><subject>Spring</subject></message>"),
    ("up", f"<message to='{ROOM}' type='groupchat' id='g1'><body>Good morning all</body></message>"),
    ("down", f"<message from='{ROOM}/amy' to='{ME}' type='groupchat' id='g1' xml:lang='en'>"
             "<body>Good morning all</body></message>"),
    ("down", f"<message from='{ROOM}/carl' to='{ME}' type='groupchat' id='g2'><body>Morning amy</body></message>"),
    ("up", f"<message to='{ROOM}/carl' type='chat' id='p1'><body>Who is dora?</body><x xmlns='{USER}'/></message>"),
    ("up", f"<message to='dora@meadow.example' id='i1'><x xmlns='jabber:x:conference' jid='{ROOM}' "
           "reason='Come and see'/></message>"),
    ("up", f"<message to='{ROOM}' type='groupchat' id='s1'><subject>Summer</subject></message>"),
    ("down", f"<presence from='{ROOM}/dora' to='{ME}' type='unavailable'><x xmlns='{USER}'><item affiliation='none' "
             "role='none'><reason>trampled the beds</reason></item><status code='307'/></x></presence>"),
    ("up", f"<presence to='{ROOM}/amy' type='unavailable'/>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(LOGIN + TALK).close().packets)
