"""XMPP client-to-server and server-to-server (RFC 6120, 6121, 3920, 3921) over TCP, with STARTTLS and Direct TLS.

A unit is a stream header, a close tag, one depth-1 element, or white space between them. Units pass byte-identical;
a changed one differs only in the bytes of the change.

Read: chat in every form (RFC 6121 §5; XEP-0071, 0224, 0245, 0301, 0308, 0394, 0424, 0444, 0461), rooms (0045, 0249),
presence and status, roster and blocking (RFC 6121 §2; XEP-0016, 0191), copies (0203, 0280, 0313, 0297), file offers
(0047, 0065, 0066, 0095/0096, 0231, 0234, 0260, 0261, 0363, 0385, 0447) with the content of in-band bytestreams (0047)
and where other content will travel, calls (0166, 0167, 0353), end-to-end encryption by its marks (0027, 0364, 0373,
0380, 0384, RFC 3923), identity (SASL and bind, 0078, 0388 with 0386), stream management (0198), streams compressed by
zlib (0138; docs/decisions/0084). Between servers: the same stanzas, whose senders' domains are proved by dialback
(0220) or SASL EXTERNAL, one way or both (0288).

Carried by others: WebSocket (xmpp_websocket), BOSH (xmpp_bosh). Not decoded: component streams and SASL security layers
(told as undecryptable); pictures that travel inside stanzas (0084, 0153, 0231); Google Talk's own transport of files;
attributes of extensions that are not known.

Versions seen in captures: libpurple, slixmpp, Prosody 0.12, ejabberd-like servers.

Lives here: one protocol in several modules, whose door this file is. Each has one subject and imports only those
above it in this list:

    names        what tags, people, numbers and times are called, and how they are compared
    edits        changes made whatever the verdict
    recognise    the probe
    words        the texts of a stanza, and where each is written
    state        what is known of a connection, and of a frame until it is sent
    owner        what the modules below may ask of a connection: they are functions of it
    writing      changes in the bytes of a stanza
    speech       errors, notices and requests of ours
    offers       files that are offered, calls, and where content will travel
    messages     the events of a message
    inband       content of in-band bytestreams
    servers      streams between servers
    management   stanzas counted, sessions that go on
    logins       TLS, SASL, compression, the resource that is bound
    presence     status, and who is in a room
    queries      the events of a query
    refusals     what is sent of a stanza that was judged
    decoder      one connection: bytes to frames, frames to what is sent

May import: model, wire.
Never: another protocol; and nothing outside imports what is inside.
"""

from __future__ import annotations

from inspector.model import Can, Spec
from inspector.protocols.xmpp.decoder import XmppDecoder
from inspector.protocols.xmpp.edits import EDITS, REFUSE_BLOCKS
from inspector.protocols.xmpp.recognise import probe

__all__ = ["EDITS", "REFUSE_BLOCKS", "SPEC", "XmppDecoder", "probe"]

_ALL = Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True)
SPEC = Spec(
    name="xmpp",
    title="XMPP (Jabber)",
    probe=probe,
    decoder=XmppDecoder,
    ports=frozenset({5222, 5223, 5269, 5270}),
    tls_ports=frozenset({5223, 5270}),
    alpn=frozenset({"xmpp-client", "xmpp-server"}),
    can={
        "sign_on": Can(),
        "message": _ALL,
        "message.status": Can(drop=True, mask=True, notify=True),
        "presence": Can(drop=True, notify=True),
        "contact": Can(drop=True, mask=True, notify=True),
        "group": Can(drop=True, notify=True),
        "file": Can(drop=True, mask=True, notify=True, hold=True),
        "file.ibb": Can(drop=True, mask=True, notify=True, hold=True, inject=True),
        "file.s5b": Can(drop=True, mask=True, notify=True, hold=True),
        "file.si": Can(drop=True, mask=True, notify=True, hold=True),
        "call": Can(drop=True, notify=True),
        "typing": Can(drop=True),
        "opaque": Can(drop=True, mask=True, notify=True),
    },
    edits=EDITS,
    applications=("jabber", "google_talk"),
    names_messages=True,
    not_decoded=(
        "component streams (XEP-0114)",
        "in-band bytestreams between servers: refused",
        "pictures inside stanzas (XEP-0084, 0153, 0231)",
        "files over Jingle's ICE and data channels, over Google Talk's own transport",
        "streams compressed by another method than zlib (XEP-0138, 0229), SASL security layers",
        "attributes of extensions that are not known",
    ),
)
