"""A login, then compression (XEP-0138, zlib), the bind and an evening's chat inside; one message that the golden policy
refuses, one it masks. The client flushes one unit in full, sends another in two segments and two in one."""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
COMPRESS = "http://jabber.org/protocol/compress"
OFFER = "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
ME = "amy@garden.example/desk"
BOB = "bob@meadow.example/barn"
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
    ("down", DOWN + f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>{OFFER}"
                    "</stream:features>"),
    ("up", f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGFteQBub25l</auth>"),
    ("down", f"<success xmlns='{SASL}'/>"),
    ("up", UP),
    ("down", DOWN + f"<stream:features><bind xmlns='{BIND}'/>{OFFER}</stream:features>"),
    ("up", f"<compress xmlns='{COMPRESS}'><method>zlib</method></compress>"),
    ("down", f"<compressed xmlns='{COMPRESS}'/>"),
]
INSIDE = [
    ("up", UP),
    ("down", DOWN + f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    ("up", f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    ("down", f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
    ("up", "<presence><status>in the greenhouse</status></presence>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m1'><body>Did you water the ferns?</body></message>"),
    ("down", f"<message from='{BOB}' to='{ME}' type='chat' id='n1'><body>All of them, twice \U0001f33f</body></message>"
             f"<message from='{BOB}' to='{ME}' type='chat' id='n2'><body>And the moss.</body></message>"),
    ("up", "<message to='bob@meadow.example' type='chat' id='m2'><body>Have you met the purple elephant?</body>"
           "</message>"),
    ("down", f"<message from='{BOB}' to='{ME}' type='chat' id='n3'><body>It pays with 4111 1111 1111 1111, I heard."
             "</body></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]


def pressed() -> list[tuple[str, bytes]]:
    """What goes over the wire for INSIDE."""
    deflate = {"up": zlib.compressobj(6), "down": zlib.compressobj(9)}
    said = []
    for number, (way, text) in enumerate(INSIDE):
        flush = zlib.Z_FULL_FLUSH if number == 4 else zlib.Z_SYNC_FLUSH
        data = deflate[way].compress(text.encode()) + deflate[way].flush(flush)
        said += [(way, data[:9]), (way, data[9:])] if number == 7 else [(way, data)]
    return said


save(__file__, Conversation(ports=(40100, 5222)).say([*LOGIN, *pressed()]).close().packets)
