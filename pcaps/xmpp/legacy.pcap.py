"""An old client and server: no version, no features, XEP-0078 login with a digest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
ME = "amy@garden.example/desk"
OLD = f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
TALK = [
    ("up", "<?xml version='1.0' encoding='UTF-8'?>\n<stream:stream to=\"garden.example\" " + OLD),
    ("down", "<?xml version='1.0'?><stream:stream from='garden.example' id='91f' " + OLD),
    ("up", "<iq type='get' id='a0'><query xmlns='jabber:iq:auth'><username>amy</username></query></iq>"),
    ("down", "<iq type='result' id='a0'><query xmlns='jabber:iq:auth'><username/><digest/><resource/></query></iq>"),
    ("up", "<iq type='set' id='a1'><query xmlns='jabber:iq:auth'><username>amy</username>"
           "<digest>0123456789012345678901234567890123456789</digest><resource>desk</resource></query></iq>"),
    ("down", "<iq type='result' id='a1'/>"),
    ("up", "<message to='bob@meadow.example'><body>Old but well</body></message>"),
    ("down", f"<message from='garden.example' to='{ME}'><body>This server closes at ten</body></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40100, 5222)).say(TALK).close().packets)
