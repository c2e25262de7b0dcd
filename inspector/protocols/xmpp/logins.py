"""Before a user is known: STARTTLS (RFC 6120 §5), SASL and what it is bound to (RFC 6120 §6, RFC 5802, 5929, 9266;
XEP-0388, 0440, 0484), compression (XEP-0138), XEP-0078, the resource that is bound (RFC 6120 §7).
"""

from __future__ import annotations

import base64
import binascii
from xml.etree.ElementTree import Element

from inspector.model import DOWN, UP, Frame, Oddity, SignOn, Way
from inspector.protocols.xmpp.edits import (
    KEEP_BINDING,
    REFUSE_COMPRESSION,
    STRIP_COMPRESSION,
    STRIP_PLUS,
    STRIP_SM,
    TRANSLATE_SM,
)
from inspector.protocols.xmpp.management import inline_answered, inline_asked
from inspector.protocols.xmpp.names import (
    BIND,
    CHANNEL_BINDING,
    COMPRESS,
    COMPRESS_FEATURE,
    LONGEST_JID,
    SASL2,
    SM,
    split_tag,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.servers import external_login
from inspector.protocols.xmpp.state import NO_NOTE, Note
from inspector.protocols.xmpp.words import Read
from inspector.wire.deflated import Deflated
from inspector.wire.xml import XmlFault

END_POINT = "tls-server-end-point"


def binds(mechanism: str) -> bool:
    """Whether a mechanism binds the login to its TLS connection (RFC 5802 §6; XEP-0484)."""
    return mechanism.endswith("-PLUS") or (
        mechanism.startswith("HT-") and mechanism.endswith(("-ENDP", "-EXPR", "-UNIQ"))
    )


def on_starttls(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """The client wants TLS (RFC 6120 §5.4.2.1): nothing comes behind it before the answer."""
    if owner.signed or owner.login.deflating:
        return Frame(UP, at, raw, "xmpp.starttls", (), (Oddity("xmpp.late_starttls"),))
    owner.login.tls = 1
    return Frame(UP, at, raw, "xmpp.starttls")


def on_proceed(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """The server wants it, too (§5.4.2.3). Raises XmlFault where nobody has asked."""
    if owner.login.tls != 1 and not (owner.sides[DOWN].loose and not owner.sides[UP].split.pending):
        raise XmlFault("policy-violation", "<proceed/> that nobody asked for", "unexpected_proceed")
    owner.login.tls = 2
    return Frame(DOWN, at, raw, "xmpp.proceed")


def on_tls_failure(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """The server does not want it (§5.4.2.2): all stays as it was."""
    owner.login.tls = 0
    return Frame(DOWN, at, raw, "xmpp.failure")


def on_features(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """What the server offers (RFC 6120 §4.3.2), and what of it is taken out."""
    owner.login_seen = True
    edits = owner.edits
    compression: list[Element] = []
    management: list[Element] = []
    binding: list[Element] = []
    mechanisms: list[str] = []
    for each in element.iter():
        namespace, local = split_tag(each.tag)
        if each.tag == COMPRESS_FEATURE:
            compression.append(each)
        elif (namespace in SM and local == "sm") or (
            local == "feature" and each.get("var", "").startswith("urn:xmpp:sm:")
        ):
            management.append(each)
        elif each.tag == CHANNEL_BINDING:
            binding.append(each)
        elif local == "mechanism":
            name = (each.text or "").strip()
            mechanisms.append(name)
            if binds(name):
                binding.append(each)
    removals: list[Element] = []
    edit: str | None = None
    offered: set[str] = set()
    if compression:
        if STRIP_COMPRESSION in edits:
            removals += compression
            edit = STRIP_COMPRESSION
        else:
            offered.add("compression")
    if management:
        if STRIP_SM in edits:
            removals += management
            edit = edit or STRIP_SM
        else:
            offered.add("sm")
    if mechanisms:
        owner.login.binding_offered = bool(binding)
        broken = _broken_bindings(element) if binding and owner.login.same and KEEP_BINDING in edits else None
        if broken is not None:
            owner.login.binding = "offered"
            if broken:
                removals += broken
                edit = edit or KEEP_BINDING
        elif binding:
            owner.login.binding = "offered"
            # Never leave only PLAIN: that would be a downgrade made by us (sheet, SASL under interception).
            if STRIP_PLUS in edits and any(not binds(name) and name != "PLAIN" for name in mechanisms):
                removals += binding
                edit = edit or STRIP_PLUS
                owner.login.binding = "stripped"
    owner.login.offered = frozenset(offered)
    note = Note(element, (), removals) if removals else None
    return Frame(DOWN, at, raw, "xmpp.features", edit=edit, note=note)


def _broken_bindings(features: Element) -> list[Element] | None:
    """What of an offer of channel binding does not hold between a client and a server that only share a
    certificate (RFC 5929 §4 does; RFC 9266, RFC 5929 §3 do not); None: nothing that is known to hold is offered."""
    broken: list[Element] = []
    holds = False
    for each in features.iter():
        if each.tag == CHANNEL_BINDING[:-len("sasl-channel-binding")] + "channel-binding":
            if each.get("type") == END_POINT:
                holds = True
            else:
                broken.append(each)
        elif each.tag.endswith("}mechanism"):
            name = (each.text or "").strip()
            if name.startswith("HT-") and binds(name):
                if name.endswith("-ENDP"):
                    holds = True
                else:
                    broken.append(each)
    return broken if holds else None


def on_auth(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """SASL <auth/> (RFC 6120 §6.4.2) and SASL2 <authenticate/> (XEP-0388)."""
    owner.login_seen = True
    mechanism = "".join(c for c in element.get("mechanism", "")[:64] if c.isalnum() or c in "-_")
    servers = owner.servers
    owner.login.mechanism = mechanism
    owner.login.authcid = None
    owner.login.layer = False
    owner.login.bound_to = END_POINT if mechanism.startswith("HT-") and mechanism.endswith("-ENDP") else ""
    if owner.login.binding != "stripped":
        owner.login.binding = "offered" if owner.login.binding_offered else "none"
    response = element.text
    for child in element:
        if child.tag == SASL2 + "initial-response":
            response = child.text
    _sasl_response(owner, response)
    oddities: tuple[Oddity, ...] = ()
    if binds(mechanism):
        owner.login.binding = "used"
    if owner.login.binding == "used" and not (owner.login.same and owner.login.bound_to == END_POINT):
        # The binding belongs to one TLS connection, and there are two: the login will fail by design.
        oddities = (Oddity("xmpp.channel_binding", "login is bound to its TLS connection and will fail"),)
    if servers is not None and mechanism == "EXTERNAL" and (servers.secured or owner.flow.tls):
        # The certificate of the one who logs in ends at us (sheet, SASL under interception).
        oddities = (Oddity("xmpp.external_login", "a login by certificate cannot pass where TLS is opened"),)
    parts = [
        each for each in element.iter()
        if split_tag(each.tag)[0] in SM and each.tag.rpartition("}")[2] in ("enable", "resume")
    ]
    if parts and STRIP_SM in owner.edits:
        return Frame(UP, at, raw, "xmpp.auth", (), oddities, edit=STRIP_SM, note=Note(element, (), parts))
    if parts and TRANSLATE_SM in owner.edits:
        note = inline_asked(owner, at, element, parts)
        return Frame(UP, at, raw, "xmpp.auth", (), oddities, edit=TRANSLATE_SM, note=note)
    return Frame(UP, at, raw, "xmpp.auth", (), oddities)


def on_response(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """An answer to a challenge (RFC 6120 §6.4.3)."""
    _sasl_response(owner, element.text)
    return Frame(UP, at, raw, "xmpp.response")


def _sasl_response(owner: Owner, text: str | None) -> None:
    """Look into one SASL message of the client: authentication name, channel binding, security layer.

    Nothing else of it is kept: PLAIN holds the password in clear.
    """
    mechanism = owner.login.mechanism or ""
    if not text or len(text) > 16384:
        return
    try:
        data = base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return
    if mechanism == "PLAIN":
        parts = data.split(b"\0")
        if len(parts) == 3:
            owner.login.authcid = parts[1][:1023].decode("utf-8", "replace")
    elif mechanism.startswith("SCRAM-"):
        if data[:2] in (b"n,", b"y,", b"p="):
            if data[:2] == b"p=":
                owner.login.binding = "used"
                owner.login.bound_to = data[2:64].partition(b",")[0].decode("utf-8", "replace")
            for field in data.split(b","):
                if field[:2] == b"n=":
                    name = field[2:1025].decode("utf-8", "replace")
                    owner.login.authcid = name.replace("=2C", ",").replace("=3D", "=")
                    break
    elif mechanism == "DIGEST-MD5":
        lowered = data.lower().replace(b" ", b"")
        if b"qop=auth-conf" in lowered or b"qop=auth-int" in lowered or b'qop="auth-' in lowered:
            owner.login.layer = True
        _, _, after = data.partition(b'username="')
        if after:
            owner.login.authcid = after.partition(b'"')[0][:1023].decode("utf-8", "replace")
    elif mechanism == "EXTERNAL":
        owner.login.authcid = data[:LONGEST_JID].decode("utf-8", "replace")
    if mechanism in ("GSSAPI", "GSS-SPNEGO"):
        owner.login.layer = True


def on_success(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """SASL success: the stream restarts behind it; what is wrapped from here on cannot be read."""
    if owner.servers is not None:
        return external_login(owner, at, raw)
    return Frame(DOWN, at, raw, "xmpp.success")


def on_success2(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """SASL2 success: no restart; with Bind2 inline the identifier is a full JID and the session is bound."""
    identifier = ""
    bound = False
    parts: list[Element] = []
    for each in element.iter():
        if each.tag == SASL2 + "authorization-identifier":
            identifier = (each.text or "").strip()
        elif each.tag.endswith("}bound"):
            bound = True
        elif split_tag(each.tag)[0] in SM and each.tag.rpartition("}")[2] in ("enabled", "resumed", "failed"):
            parts.append(each)
            bound = bound or each.tag.endswith("}resumed")
    event = owner.sign_on(identifier) if identifier and (bound or "/" in identifier) else None
    counting = owner.counting
    if counting is not None and (parts or counting.refused is not None):
        return inline_answered(owner, at, raw, element, parts, event, counting)
    if any(not each.tag.endswith("}failed") for each in parts):
        owner.counted_elsewhere = True
    if event is not None:
        return Frame(DOWN, at, raw, "xmpp.success2", (event,), note=NO_NOTE)
    return Frame(DOWN, at, raw, "xmpp.success2")


def on_compress(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """The client asks for it. What is compressed is not compressed again."""
    methods = [(child.text or "").strip() for child in element if child.tag == COMPRESS + "method"]
    known = methods == ["zlib"] and not owner.login.deflating
    if REFUSE_COMPRESSION in owner.edits and not (known and "compression" in owner.login.offered):
        return Frame(UP, at, raw, "xmpp.compress", edit=REFUSE_COMPRESSION)
    if known:
        owner.login.deflating = 1
    return Frame(UP, at, raw, "xmpp.compress")


def on_not_compressed(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """All stays as it was (XEP-0138 4)."""
    if owner.login.deflating == 1:
        owner.login.deflating = 0
    return Frame(DOWN, at, raw, "xmpp.failure")


def on_compressed(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """Behind it both write in zlib streams, and begin anew (XEP-0138 4)."""
    owner.cannot("compression (XEP-0138)")
    if owner.login.deflating != 1:
        return Frame(DOWN, at, raw, "xmpp.compressed")
    owner.login.deflating = 2
    owner.login.coding = Deflated(owner.limits, "xmpp")
    # Worth a row: it is obsolete, and lets who sees lengths guess at words (CRIME).
    return Frame(DOWN, at, raw, "xmpp.compressed", (), (Oddity("xmpp.compressed_stream", "zlib"),))


def guessed_user(owner: Owner, way: Way, element: Element) -> list[Read]:
    """A sign-on from what stanzas say, where no login can be seen: serverless streams, flows joined late."""
    if owner.signed:
        return []
    user: str | None = None
    mechanism: str | None = None
    if owner.sides[way].loose:
        user = element.get("to") if way is DOWN else None
        if user is None or "/" not in user:
            return []
    elif not owner.login_seen and way is UP:
        user = element.get("from")
        mechanism = "serverless"
        if user is None:
            return []
    if user is None:
        return []
    return [(owner.sign_on(user, "claimed", mechanism), [])]


def answers_bind(owner: Owner, ident: str | None, sender: str | None) -> bool:
    """Whether a result is the server's answer to our client's bind: anybody may send one that looks like it."""
    if ident is None or ident != owner.login.bind_id:
        return False
    return sender is None or sender in (owner.domain, owner.bare, owner.user)


def bound_user(owner: Owner, element: Element) -> SignOn | None:
    """The sign-on that an iq result brings: a bound JID (RFC 6120 §7.6), or XEP-0078 accepted."""
    for child in element:
        if child.tag == BIND + "bind":
            for jid in child:
                if jid.tag == BIND + "jid" and jid.text and jid.text.strip():
                    owner.login.bind_id = None
                    return owner.sign_on(jid.text.strip())
    if not owner.signed and owner.login.legacy is not None and element.get("id") == owner.login.legacy[0]:
        _, jid_text, mechanism = owner.login.legacy
        owner.login.legacy = None
        return owner.sign_on(jid_text, mechanism=mechanism)
    return None


def legacy_auth(owner: Owner, query: Element, ident: str | None) -> None:
    """jabber:iq:auth set (XEP-0078): user and resource; the password is not looked at."""
    owner.login_seen = True
    user = resource = ""
    mechanism = "XEP-0078"
    for child in query:
        local = child.tag.rpartition("}")[2]
        if local == "username":
            user = (child.text or "").strip()[:1023]
        elif local == "resource":
            resource = (child.text or "").strip()[:1023]
        elif local == "password":
            mechanism = "XEP-0078 password"
        elif local == "digest":
            mechanism = "XEP-0078 digest"
    if user:
        jid = f"{user}@{owner.domain or ''}" + (f"/{resource}" if resource else "")
        owner.login.legacy = (ident, jid, mechanism)
