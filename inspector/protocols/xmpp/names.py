"""Names of XML and of people: what a tag, a JID, a number or a time is called and how it is compared.

Sources: RFC 6120 (stanzas, streams), RFC 7622 (JIDs), XEP-0082 and XEP-0091 (times); each namespace names its XEP in
the module that reads it.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from inspector.wire.xml import STREAMS, escape

CLIENT = "{jabber:client}"
MESSAGE, PRESENCE, IQ = CLIENT + "message", CLIENT + "presence", CLIENT + "iq"
BODY, SUBJECT, THREAD, ERROR = CLIENT + "body", CLIENT + "subject", CLIENT + "thread", CLIENT + "error"
STATUS, SHOW, PRIORITY = CLIENT + "status", CLIENT + "show", CLIENT + "priority"
STANZAS = frozenset({"message", "presence", "iq"})
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
SASL2 = "{urn:xmpp:sasl:2}"
BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"
STANZA_ERROR = "urn:ietf:params:xml:ns:xmpp-stanzas"
ERROR_TEXT = f"{{{STANZA_ERROR}}}text"
STREAM = f"{{{STREAMS}}}stream"
STREAM_ERROR = "urn:ietf:params:xml:ns:xmpp-streams"
COMPRESS = "{http://jabber.org/protocol/compress}"
COMPRESS_FEATURE = "{http://jabber.org/features/compress}compression"
SERVER = "jabber:server"
DIALBACK = "{jabber:server:dialback}"
BIDI = "{urn:xmpp:bidi}bidi"
SM = frozenset({"urn:xmpp:sm:2", "urn:xmpp:sm:3"})
CHANNEL_BINDING = "{urn:xmpp:sasl-cb:0}sasl-channel-binding"
FEATURES = f"{{{STREAMS}}}features"
CHATSTATES = "http://jabber.org/protocol/chatstates"
XHTML_IM = "{http://jabber.org/protocol/xhtml-im}html"
MUC = "{http://jabber.org/protocol/muc}x"
MUC_USER = "{http://jabber.org/protocol/muc#user}"
CONFERENCE = "{jabber:x:conference}x"
CARBONS = frozenset({"urn:xmpp:carbons:2", "urn:xmpp:carbons:1"})
FORWARDED = "{urn:xmpp:forward:0}forwarded"
DELAYS = frozenset({"{urn:xmpp:delay}delay", "{jabber:x:delay}x"})
RTT = "{urn:xmpp:rtt:0}rtt"
OOB = "{jabber:x:oob}x"
FORM = "{jabber:x:data}x"
NICK = "{http://jabber.org/protocol/nick}nick"
SIGNED = "{jabber:x:signed}x"
URL_DATA = "{http://jabber.org/protocol/url-data}url-data"
JINGLE_FILES = tuple(f"urn:xmpp:jingle:apps:file-transfer:{n}" for n in (5, 4, 3, 2, 1))
SI_FILE = "{http://jabber.org/protocol/si/profile/file-transfer}"
QUIET = frozenset({
    *(f"{{{CHATSTATES}}}{state}" for state in ("active", "composing", "paused", "inactive", "gone")),
    "{urn:xmpp:receipts}request", "{urn:xmpp:receipts}received",
    *(f"{{urn:xmpp:chat-markers:0}}{mark}" for mark in ("markable", "received", "displayed", "acknowledged")),
    "{urn:xmpp:sid:0}origin-id", "{urn:xmpp:sid:0}stanza-id", "{urn:xmpp:occupant-id:0}occupant-id",
    *(f"{{urn:xmpp:hints}}{hint}" for hint in ("no-store", "no-permanent-store", "no-copy", "store")),
    "{urn:xmpp:carbons:2}private", "{urn:xmpp:reply:0}reply", "{urn:xmpp:styling:0}unstyled",
    "{http://jabber.org/protocol/caps}c", "{urn:xmpp:attention:0}attention",
})
"""Parts of a message without words; when one does hold text it is read as an extension's."""
ENCRYPTED = {
    "{eu.siacs.conversations.axolotl}encrypted": "omemo",
    "{urn:xmpp:omemo:0}encrypted": "omemo",
    "{urn:xmpp:omemo:1}encrypted": "omemo",
    "{urn:xmpp:omemo:2}encrypted": "omemo",
    "{urn:xmpp:openpgp:0}openpgp": "openpgp",
    "{jabber:x:encrypted}x": "openpgp",
    "{urn:ietf:params:xml:ns:xmpp-e2e}e2e": "smime",
}
HINT = "{urn:xmpp:eme:0}encryption"
EME = {
    "eu.siacs.conversations.axolotl": "omemo", "urn:xmpp:omemo:0": "omemo", "urn:xmpp:omemo:1": "omemo",
    "urn:xmpp:omemo:2": "omemo", "urn:xmpp:otr:0": "otr", "jabber:x:encrypted": "openpgp",
    "urn:xmpp:openpgp:0": "openpgp",
}
OTR_TAG = " \t  \t\t\t\t \t \t \t  "
"""White space that offers OTR (XEP-0364); the sheet prints the same as bytes."""
SHOWS = {"away": "away", "xa": "away", "dnd": "dnd", "chat": "free_for_chat"}
IBB = "{http://jabber.org/protocol/ibb}"
IBB_OPEN, IBB_DATA, IBB_CLOSE = IBB + "open", IBB + "data", IBB + "close"
BLOCKS_OF_FILES = frozenset({IBB_OPEN, IBB_DATA, IBB_CLOSE})
BYTESTREAMS = "{http://jabber.org/protocol/bytestreams}"
JINGLE = "{urn:xmpp:jingle:1}jingle"
JINGLES = frozenset({JINGLE, "{http://jabber.org/protocol/jingle}jingle"})
CANDIDATES = tuple(f"urn:xmpp:jingle:transports:{name}:{n}" for name in ("s5b", "ibb") for n in (1, 0))
"""Jingle transports whose `sid` names a bytestream (XEP-0260, 0261)."""
LONGEST_SID = 1023
"""Longest identifier of a bytestream, session or stanza that is followed."""
LONGEST_JID = 3071
"""Longest JID (RFC 7622 §3.1)."""
CALL_ACTIONS = frozenset({
    "session-initiate", "session-accept", "session-info", "session-terminate", "content-add", "content-accept",
    "content-modify", "content-reject", "content-remove", "transport-info", "transport-replace", "transport-accept",
    "transport-reject", "description-info", "security-info", "propose", "ringing", "proceed", "accept", "reject",
    "retract", "finish", "initiate", "terminate", "candidates", "info",
})
STANZA_KINDS = frozenset({"xmpp.message", "xmpp.presence", "xmpp.iq"})
"""Kinds of frames that are counted where stanzas are."""
STANZA_STARTS = (b"<message", b"<presence", b"<iq")
OTHER_HOST = f"{{{STREAM_ERROR}}}see-other-host"


def as_compared(jid: str) -> str:
    """A JID as servers compare it (RFC 7622 §3): case and width of the resource alone tell two apart."""
    bare, slash, resource = jid.partition("/")
    bare = bare.lower() if bare.isascii() else unicodedata.normalize("NFKC", bare).casefold()
    return f"{bare.removesuffix('.')}{slash}{resource}"


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of an address that a client is sent to; "" when it is none."""
    address = address.strip()
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        port = rest.removeprefix(":") if bracket else "none"
    elif address.count(":") > 1:
        host, port = address, ""
    else:
        host, _, port = address.partition(":")
    number = 5222 if not port else number_of(port) or 0
    if not host or len(host) > 255 or not 0 < number < 65536 or any(c.isspace() or c in "/@[]<>&'\"" for c in host):
        return "", 0
    return host, number


def split_tag(tag: str) -> tuple[str, str]:
    """Namespace and local name of a tag."""
    namespace, _, local = tag.rpartition("}")
    return namespace[1:], local


def one_line(text: str) -> str:
    """Text of ours as XML: without NUL and line ends (design section 9)."""
    return escape(text.replace("\r", " ").replace("\n", " ").replace("\t", " "))


def attribute(name: str, value: str | None) -> str:
    """An attribute as it is written, with the space in front of it; nothing where there is no value."""
    return "" if value is None else f" {name}='{escape(value)}'"


def bare_jid(jid: str) -> str:
    """A JID without its resource (RFC 7622 §3.1)."""
    return jid.partition("/")[0]


def number_of(text: str) -> int | None:
    """A number of digits only, at most 18; None when it is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def one_of(name: str, names: frozenset[str]) -> str:
    """A name that is known, else "other"."""
    return name if name in names else "other"


def domain_of(jid: str) -> str:
    """The domain of a JID, as servers compare it."""
    return bare_jid(jid).rpartition("@")[2].lower().removesuffix(".")


def time_of(stamp: str | None) -> float | None:
    """Seconds since the epoch of a XEP-0082 or XEP-0091 time; None when it is neither."""
    if not stamp or len(stamp) > 40:
        return None
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    try:
        return when.timestamp()
    except (OverflowError, ValueError):
        return None
