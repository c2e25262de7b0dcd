"""A short chat over HTTP on one connection, its bodies with a length and in chunks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

from inspector.model import DOWN, UP
from tests.protocols.bosh_disguises import ALLOWED, PREFLIGHT, bound

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
ME = "amy@garden.example/desk"
HEAD = "<stream:stream {} version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
SAID = [
    (UP, HEAD.format("to='garden.example'")),
    (DOWN, HEAD.format("from='garden.example' id='5a2'")),
    (DOWN, f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"),
    (UP, f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGFteQBwZW9uaWVz</auth>"),
    (DOWN, f"<success xmlns='{SASL}'/>"),
    (UP, HEAD.format("to='garden.example'")),
    (DOWN, HEAD.format("from='garden.example' id='5a3'")),
    (DOWN, f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    (UP, f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    (DOWN, f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
    (UP, "<presence/>"),
    (UP, "<message to='bob@meadow.example' type='chat' id='m1'><body>Are the tulips out?</body></message>"),
    (DOWN, f"<message from='bob@meadow.example/barn' to='{ME}' type='chat' id='n1'><body>All of them</body></message>"),
    (DOWN, f"<message from='bob@meadow.example/barn' to='{ME}' type='chat' id='n2'><body>And roses</body></message>"),
    (UP, "<message to='bob@meadow.example' type='chat' id='m2'><body>Tell me of the purple elephant</body></message>"),
    (UP, "<message to='bob@meadow.example' type='chat' id='m3'><body>Good night, then</body></message>"),
    (UP, "</stream:stream>"),
]
plain = bound([(way, text.encode()) for way, text in SAID], sid="5a2")
pieces = bound([(way, text.encode()) for way, text in SAID], sid="5a2", chunks=50)
talk = [(UP, PREFLIGHT), (DOWN, ALLOWED), *plain[:16], *pieces[16:]]

save(__file__, Conversation(ports=(40900, 5280)).say(
    [("up" if way is UP else "down", data) for way, data in talk]).close().packets)
