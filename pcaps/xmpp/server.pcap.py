"""A server-to-server stream with dialback, for two domains; a message of each, one with a card number."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
TALK = [
    ("up", f"<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='{STREAMS}' "
           "from='garden.example' to='meadow.example' version='1.0'>"),
    ("down", f"<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' "
             f"xmlns:stream='{STREAMS}' from='meadow.example' id='d1' version='1.0'><stream:features/>"),
    ("up", "<db:result from='garden.example' to='meadow.example'>0a1b</db:result>"),
    ("down", "<db:result type='valid' from='meadow.example' to='garden.example'/>"),
    ("up", "<message from='rose@garden.example/bench' to='clover@meadow.example' type='chat' id='n1'>"
           "<body>the gate is open</body></message>"),
    ("up", "<db:result from='orchard.example' to='meadow.example'>1b2c</db:result>"),
    ("down", "<db:result type='valid' from='meadow.example' to='orchard.example'/>"),
    ("up", "<message from='plum@orchard.example' to='clover@meadow.example' type='chat' id='n2'>"
           "<body>pay with 4111 1111 1111 1111 then</body></message>"),
    ("up", "<presence from='rose@garden.example/bench' to='clover@meadow.example'><status>in the shade</status>"
           "</presence>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(TALK).close().packets)
