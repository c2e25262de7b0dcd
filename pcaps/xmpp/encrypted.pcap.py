"""End-to-end encryption by its marks: OMEMO old and new, a key transport, OTR, OpenPGP."""

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
BOB = "bob@meadow.example"
TALK = [
    ("up", f"<message to='{BOB}' type='chat' id='e1'><encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'>"
           "<key rid='2'>AAAA</key><iv>AAAA</iv></header><payload>AAAA</payload></encrypted>"
           "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>"
           "<body>This message is encrypted with OMEMO</body></message>"),
    ("up", f"<message to='{BOB}' type='chat' id='e2'><encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'>"
           "<keys jid='bob@meadow.example'><key rid='2'>AAAA</key></keys></header></encrypted></message>"),
    ("up", f"<message to='{BOB}' type='chat' id='e3'><body>?OTRv23?</body></message>"),
    ("down", f"<message from='{BOB}/barn' to='{ME}' type='chat' id='e4'><body>?OTR:AAMKAAAAwAAA.</body></message>"),
    ("up", f"<message to='{BOB}' type='chat' id='e5'><openpgp xmlns='urn:xmpp:openpgp:0'>AAAA</openpgp></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(LOGIN + TALK).close().packets)
