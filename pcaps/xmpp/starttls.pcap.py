"""STARTTLS: what follows <proceed/> cannot be read from a capture."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
UP = (
    "<?xml version='1.0'?><stream:stream to='garden.example' version='1.0' "
    f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
)
DOWN = (
    "<?xml version='1.0'?><stream:stream from='garden.example' id='4f1' version='1.0' xml:lang='en' "
    f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
)
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
TALK = [
    ("up", UP),
    ("down", DOWN + f"<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"),
    ("up", f"<starttls xmlns='{TLS}'/>"),
    ("down", f"<proceed xmlns='{TLS}'/>"),
    ("up", bytes.fromhex("1603010005010000010a")),
    ("down", bytes.fromhex("1603030005020000010b")),
]

save(__file__, Conversation(ports=(40100, 5222)).say(TALK).close().packets)
