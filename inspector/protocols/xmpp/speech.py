"""What the gateway says in the words of XMPP: errors (RFC 6120 §8.3), notices as headlines (RFC 6121 §5.2.2),
requests, the ends of streams (RFC 6120 §4.9) and of Jingle sessions (XEP-0166 §6.7).
"""

from __future__ import annotations

from inspector.model import DOWN, UP, Act, FileOffer, PeerError, Send, Way
from inspector.protocols.xmpp.names import (
    CLIENT,
    JINGLE,
    SERVER,
    STANZA_ERROR,
    STREAM_ERROR,
    attribute,
    bare_jid,
    one_line,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import Side
from inspector.wire.xml import STREAMS, escape

_HINTS = "<no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>"


def own_ident(owner: Owner, number: int) -> str:
    """An identifier for a request of ours about a bytestream (0: about none), by which its answer is known."""
    files = owner.known_files()
    files.count += 1
    return f"{owner.ours}{number}.{files.count}"


def request(owner: Owner, way: Way, peer: str | None, ident: str, typed: str = "set", inner: str = "") -> Send:
    """An iq of ours that reads as the other end's."""
    ends = f"{attribute('from', peer)}{attribute('to', owner.user)}" if way is DOWN else attribute("to", peer)
    if way is UP and owner.servers is not None:
        ends = f"{attribute('from', owner.user)}{ends}"
    tail = f">{inner}</iq>" if inner else "/>"
    return Send(way, f"<iq type='{typed}'{attribute('id', ident)}{ends}{tail}".encode())


def terminate(owner: Owner, way: Way, peer: str | None, session: str, text: str) -> Send:
    """The end of a Jingle session (XEP-0166 §6.7)."""
    inner = (
        f"<jingle xmlns='{JINGLE[1:].partition('}')[0]}' action='session-terminate'{attribute('sid', session)}>"
        f"<reason><security-error/><text>{one_line(text)}</text></reason></jingle>"
    )
    return request(owner, way, peer, own_ident(owner, 0), inner=inner)


def peer_of_offer(owner: Owner, offer: FileOffer) -> str | None:
    """The other end of an offer."""
    mine = offer.sender is None or bare_jid(offer.sender).lower() == (owner.bare or "").lower()
    return (offer.recipients[0] if offer.recipients else None) if mine else offer.sender


def nothing(owner: Owner) -> list[Act]:
    """What goes up in place of a swallowed stanza: nothing, or where stanzas are counted one that says nothing."""
    if not owner.counted_elsewhere:
        return []
    # Servers count an unsolicited result and do nothing else with it (sheet, XEP-0198 option 3).
    owner.said += 1
    return [Send(UP, f"<iq type='result' id='{owner.flow.id}-n{owner.said}'/>".encode())]


def error(
    owner: Owner, name: str, ident: str | None, sender: str | None, to: str | None, notice: str | None,
    condition: str = "policy-violation", kind: str = "modify",
) -> bytes:
    """A stanza error (RFC 6120 §8.3.2)."""
    said = ""
    if sender is None and owner.servers is not None:
        sender = owner.user     # between servers a stanza names both ends
    if notice:
        said = f"<text xmlns='{STANZA_ERROR}' xml:lang='en'>{one_line(notice)}</text>"
    by = f" by='{escape(owner.domain)}'" if owner.domain else ""
    # libpurple shows an error only where the message has a body, and shows the error's text then.
    body = f"<body>{one_line(notice)}</body>" if notice and name == "message" else ""
    return (
        f"<{name} type='error'{attribute('id', ident)}{attribute('from', sender)}{attribute('to', to)}>{body}"
        f"<error type='{kind}'{by}><{condition} xmlns='{STANZA_ERROR}'/>{said}</error></{name}>"
    ).encode()


def headline(owner: Owner, text: str) -> bytes:
    """A notice of the gateway. A headline asks for no answer (RFC 6121 §5.2.2): no client makes one by itself."""
    owner.said += 1
    return (
        f"<message type='headline'{attribute('from', owner.domain)}{attribute('to', owner.user)}"
        f" id='{owner.flow.id}-{owner.said}'><body>{one_line(text)}</body>{_HINTS}</message>"
    ).encode()


def stream_end(owner: Owner, side: Side, reason: str, fault: PeerError | None) -> bytes:
    """A stream error and the end of a stream (RFC 6120 §4.9), a header first where none was sent."""
    condition = "policy-violation"
    extra = header = ""
    if fault is not None:
        condition = fault.condition or "undefined-condition"
        if fault.name == "xmpp.too_big":
            extra = "<stanza-too-big xmlns='urn:xmpp:errors'/>"
    elif any(word in reason.lower() for word in ("shutdown", "shutting", "drain", "stopp")):
        condition = "system-shutdown"
    content = CLIENT[1:-1] if owner.servers is None else SERVER
    prefix = side.qname.rpartition(":")[0]
    if not side.open:
        prefix = "stream"
        header = (
            f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{STREAMS}'"
            f" id='{owner.flow.id}'{attribute('from', owner.to)} version='1.0'>"
        )
    name = f"{prefix}:error" if prefix else "error"
    end = f"{prefix}:stream" if prefix else "stream"
    text = f"<text xmlns='{STREAM_ERROR}' xml:lang='en'>{one_line(reason)}</text>" if reason else ""
    return f"{header}<{name}><{condition} xmlns='{STREAM_ERROR}'/>{text}{extra}</{name}></{end}>".encode()
