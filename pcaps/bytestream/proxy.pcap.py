"""Files by SOCKS5 bytestreams: one sent through a proxy, announced by SI; one from a peer, announced by nobody.

The stream's name is SHA-1 of its id and both JIDs (XEP-0065 5.3.2).
"""

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SI = "http://jabber.org/protocol/si"
TRANSFER = SI + "/profile/file-transfer"
S5B = "http://jabber.org/protocol/bytestreams"
NEGOTIATION = "http://jabber.org/protocol/feature-neg"
ME, BOB, PROXY = "amy@garden.example/desk", "bob@meadow.example/barn", "proxy.garden.example"
HEAD = f"version='1.0' xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
UP = f"<?xml version='1.0'?><stream:stream to='garden.example' {HEAD}"
DOWN = f"<?xml version='1.0'?><stream:stream from='garden.example' id='4f1' {HEAD}"
SEEDS = b"".join(b"bed %02d: two rows of carrots, one of onions\n" % bed for bed in range(40))


def form(kind: str, inside: str) -> str:
    return (f"<feature xmlns='{NEGOTIATION}'><x xmlns='jabber:x:data' type='{kind}'><field var='stream-method' "
            f"type='list-single'>{inside}</field></x></feature>")


before = [
    ("up", UP), ("down", DOWN),
    ("down", f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>"
             "</stream:features>"),
    ("up", f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGFteQBub3RoaW5n</auth>"),
    ("down", f"<success xmlns='{SASL}'/>"),
    ("up", UP), ("down", DOWN + f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    ("up", f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    ("down", f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
    ("up", f"<iq type='set' id='s1' to='{BOB}'><si xmlns='{SI}' id='sid1' profile='{TRANSFER}'>"
           f"<file xmlns='{TRANSFER}' name='beds.txt' size='{len(SEEDS)}'/>"
           + form("form", f"<option><value>{S5B}</value></option>") + "</si></iq>"),
    ("down", f"<iq type='result' id='s1' from='{BOB}' to='{ME}'><si xmlns='{SI}'>"
             + form("submit", f"<value>{S5B}</value>") + "</si></iq>"),
    ("up", f"<iq type='set' id='h1' to='{BOB}'><query xmlns='{S5B}' sid='sid1' mode='tcp'>"
           f"<streamhost jid='{PROXY}' host='10.0.0.9' port='7777'/></query></iq>"),
    ("down", f"<iq type='result' id='h1' from='{BOB}' to='{ME}'><query xmlns='{S5B}' sid='sid1'>"
             f"<streamhost-used jid='{PROXY}'/></query></iq>"),
]
after = [
    ("up", f"<iq type='set' id='a1' to='{PROXY}'><query xmlns='{S5B}' sid='sid1'><activate>{BOB}</activate></query>"
           "</iq>"),
    ("down", f"<iq type='result' id='a1' from='{PROXY}' to='{ME}'/>"),
]


def shake(name: str) -> list[tuple[str, bytes]]:
    digits = hashlib.sha1(name.encode()).hexdigest().encode()
    tail = b"\0\3\x28" + digits + b"\0\0"
    return [("up", b"\5\1\0"), ("down", b"\5\0"), ("up", b"\5\1" + tail), ("down", b"\5\0" + tail)]


talk = Conversation(ports=(40110, 5222)).say(before)
sent = Conversation(server="10.0.0.9", ports=(40111, 7777), at=talk.at).say(shake("sid1" + ME + BOB))
talk.at = sent.at
talk.say(after)
sent.at = talk.at
sent.say([("up", SEEDS[:1000]), ("up", SEEDS[1000:])]).close()
other = Conversation(server="10.0.0.8", ports=(40112, 5086), at=START + 20)
other.say([*shake("sid2" + BOB + ME), ("down", b"a note that nobody announced\n")]).close()
talk.at = START + 25
talk.say([("up", "</stream:stream>"), ("down", "</stream:stream>")]).close()
save(__file__, sorted([*talk.packets, *sent.packets, *other.packets], key=lambda packet: float(packet.time)))
