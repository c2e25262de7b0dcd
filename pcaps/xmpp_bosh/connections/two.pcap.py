"""An evening's chat over HTTP on two connections: one request waits while the other speaks; a refused message."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from making import Conversation, save

from tests.protocols.bosh_disguises import ALLOWED, PREFLIGHT, answer, create, created, post, restart

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
ME = "amy@garden.example/desk"
FEATURES = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>{}</stream:features>"
CHAT = "<message xmlns='jabber:client' {} type='chat' id='{}'><body>{}</body></message>"
TO, FROM = "to='bob@meadow.example'", f"from='bob@meadow.example/barn' to='{ME}'"
SID = "f00d-cafe"


def up(rid: int, inside: str = "", **more: object) -> tuple[str, bytes]:
    return "up", post(rid, inside.encode(), sid=SID, **more)  # type: ignore[arg-type]


def down(inside: str = "", **more: object) -> tuple[str, bytes]:
    return "down", answer(inside.encode(), **more)  # type: ignore[arg-type]


first = Conversation(ports=(40900, 5280))
second = Conversation(ports=(40901, 5280), at=first.at + 0.5)


def turn(one: Conversation, said: list[tuple[str, bytes]]) -> None:
    """One connection speaks, after all that was said before on either."""
    one.at = max(first.at, second.at)
    one.say(said)


turn(first, [
    ("up", PREFLIGHT), ("down", ALLOWED),
    ("up", create(4101, to="garden.example")),
    ("down", created(SID, FEATURES.format(
        f"<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>").encode(), accept="gzip")),
    up(4102, f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGFteQBwZW9uaWVz</auth>"), down(f"<success xmlns='{SASL}'/>"),
    ("up", restart(4103, SID)), down(FEATURES.format(f"<bind xmlns='{BIND}'/>")),
    up(4104, f"<iq type='set' id='b1' xmlns='jabber:client'><bind xmlns='{BIND}'><resource>desk</resource></bind>"
             "</iq>"),
    down(f"<iq type='result' id='b1' xmlns='jabber:client'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
    up(4105, "<presence xmlns='jabber:client'/>"),
])
turn(second, [up(4106, CHAT.format(TO, "m1", "Are the tulips out?"))])
turn(first, [down()])
turn(second, [down(CHAT.format(FROM, "n1", "All of them") + CHAT.format(FROM, "n2", "The red ones, too"))])
turn(first, [up(4107)])
turn(second, [up(4108, CHAT.format(TO, "m2", "Tell me of the purple elephant"), chunks=90)])
turn(first, [down()])
turn(second, [down(CHAT.format(FROM, "n3", "Which elephant?"))])
turn(first, [up(4109, CHAT.format(TO, "m3", "Good night, then"), type="terminate"), down(type="terminate")])
first.at = max(first.at, second.at)
second.at = first.at + 0.5
packets = sorted([*first.close().packets, *second.close().packets], key=lambda each: float(each.time))
save(__file__, packets)
