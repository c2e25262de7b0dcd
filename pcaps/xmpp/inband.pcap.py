"""Files in the stream itself: one offered by SI, one by Jingle from the other side, one that nobody offered and that is
broken off; words between the blocks."""

import base64
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
IBB = "http://jabber.org/protocol/ibb"
SI = "http://jabber.org/protocol/si"
JINGLE = "urn:xmpp:jingle"
ME = "amy@garden.example/desk"
BOB = "bob@meadow.example/barn"
HEADS = {
    "up": f"<stream:stream to='garden.example' version='1.0' xmlns='jabber:client' xmlns:stream='{STREAMS}'>",
    "down": f"<?xml version='1.0'?><stream:stream from='garden.example' id='7c2' version='1.0' "
            f"xmlns='jabber:client' xmlns:stream='{STREAMS}'>",
}
ENDS = {"up": f"to='{BOB}'", "down": f"from='{BOB}' to='{ME}'"}
OTHER = {"up": "down", "down": "up"}
LOGIN = [
    ("up", HEADS["up"]),
    ("down", HEADS["down"] + f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>SCRAM-SHA-1</mechanism>"
             "</mechanisms></stream:features>"),
    ("up", f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>bixuPWFteSxyPWFiYw==</auth>"),
    ("down", f"<challenge xmlns='{SASL}'>cj1hYmNkZWYscz1RUT09LGk9NDA5Ng==</challenge>"),
    ("up", f"<response xmlns='{SASL}'>Yz1iaXdzLHI9YWJjZGVmLHA9QUFBQQ==</response>"),
    ("down", f"<success xmlns='{SASL}'>dj1CQkJC</success>"),
    ("up", HEADS["up"]),
    ("down", HEADS["down"] + f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    ("up", f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    ("down", f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
]


def asked(way: str, ident: str, inner: str, answer: str = "") -> list[tuple[str, str]]:
    """A request and its answer."""
    tail = f">{answer}</iq>" if answer else "/>"
    return [(way, f"<iq type='set' id='{ident}' {ENDS[way]}>{inner}</iq>"),
            (OTHER[way], f"<iq type='result' id='{ident}' {ENDS[OTHER[way]]}{tail}")]


def stream(way: str, sid: str, content: bytes, block: int, whole: bool = True) -> list[tuple[str, str]]:
    """An in-band bytestream; not `whole`: the reader ends it before its end."""
    said = asked(way, f"{sid}o", f"<open xmlns='{IBB}' block-size='{block}' sid='{sid}' stanza='iq'/>")
    for seq, at in enumerate(range(0, len(content), block)):
        text = base64.b64encode(content[at:at + block]).decode()
        said += asked(way, f"{sid}{seq}", f"<data xmlns='{IBB}' seq='{seq}' sid='{sid}'>{text}</data>")
    return said + asked(way if whole else OTHER[way], f"{sid}c", f"<close xmlns='{IBB}' sid='{sid}'/>")


SEEDS = "".join(f"{number:3} bags of seed, row {number % 7}\n" for number in range(60)).encode()
FORM = (
    "<feature xmlns='http://jabber.org/protocol/feature-neg'><x xmlns='jabber:x:data' type='{}'>"
    f"<field var='stream-method'>{{}}<value>{IBB}</value>{{}}</field></x></feature>"
)
LEAVES = bytes(range(256)) * 12
FILE = (
    f"<content creator='initiator' name='f'><description xmlns='{JINGLE}:apps:file-transfer:5'><file>"
    f"<name>leaves.bin</name><size>{len(LEAVES)}</size></file></description>"
    f"<transport xmlns='{JINGLE}:transports:ibb:1' block-size='1024' sid='t1'/></content>"
)
TALK = [
    *asked("up", "s1", f"<si xmlns='{SI}' id='seeds' profile='{SI}/profile/file-transfer'><file "
                       f"xmlns='{SI}/profile/file-transfer' name='seeds.txt' size='{len(SEEDS)}'/>"
                       + FORM.format("form", "<option>", "</option>") + "</si>",
           f"<si xmlns='{SI}'>" + FORM.format("submit", "", "") + "</si>"),
    *stream("up", "seeds", SEEDS, 512)[:6],
    ("up", f"<message to='{BOB}' type='chat' id='m1'><body>The list is on its way.</body></message>"),
    *stream("up", "seeds", SEEDS, 512)[6:],
    *asked("down", "j1", f"<jingle xmlns='{JINGLE}:1' action='session-initiate' sid='js1'>{FILE}</jingle>"),
    *asked("up", "j2", f"<jingle xmlns='{JINGLE}:1' action='session-accept' sid='js1'>{FILE}</jingle>"),
    *stream("down", "t1", LEAVES, 1024),
    *asked("up", "j3", f"<jingle xmlns='{JINGLE}:1' action='session-terminate' sid='js1'><reason><success/></reason>"
                       "</jingle>"),
    *stream("up", "weeds", b"dandelion, nettle, couch grass; ", 16, whole=False),
    ("down", f"<message from='{BOB}' to='{ME}' type='chat' id='m2'><body>No weeds, please.</body></message>"),
    ("up", f"<message to='{BOB}' type='chat' id='m3'><body>As you like.</body></message>"),
    ("up", "</stream:stream>"),
    ("down", "</stream:stream>"),
]

save(__file__, Conversation(ports=(40107, 5222)).say(LOGIN + TALK).close().packets)
