"""Streams between servers (RFC 6120 §4; docs/decisions/0046): whose stanzas they are, which domains have proved
themselves by dialback (XEP-0220) or SASL EXTERNAL (XEP-0178), one way or both (XEP-0288).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import msgspec

from inspector.model import DOWN, UP, Act, Frame, Notice, Oddity, Send, SignOn, Tell, Way
from inspector.protocols.xmpp.names import CLIENT, LONGEST_JID, SERVER, bare_jid, domain_of
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import NO_NOTE, Block, Note, Servers
from inspector.wire import xml


def begin_servers(owner: Owner, way: Way, attributes: dict[str, str], namespaces: xml.Namespaces) -> xml.Namespaces:
    """A header of a stream between servers; returns the namespaces to read it with."""
    servers = owner.servers
    if servers is None:
        servers = owner.servers = Servers()
        owner.login_seen = True
        for side in owner.sides:
            side.quick = False
    servers.again[way] = False
    name = attributes.get("from" if way is UP else "to")
    if name:
        servers.initiator = domain_of(name)
    return tuple((prefix, CLIENT[1:-1] if uri == SERVER else uri) for prefix, uri in namespaces)


def name_ends(owner: Owner, way: Way, element: Element) -> None:
    """Whose stanza it is: the user is he who is behind the server that opened the stream."""
    mine, other = element.get("from"), element.get("to")
    if way is DOWN:
        mine, other = other, mine
    owner.user = mine[:LONGEST_JID] if mine else None
    owner.bare = bare_jid(owner.user) if owner.user else None
    owner.domain = domain_of(other)[:LONGEST_JID] if other else owner.to


def with_sign_on(owner: Owner, frame: Frame, element: Element, servers: Servers) -> Frame:
    """A frame of a stanza between servers; with the sign-on of its user's domain where that is another than the
    last."""
    note, oddities = frame.note, frame.oddities
    if isinstance(note, Block):
        note.user = owner.user
    if not element.get("from") or not element.get("to"):
        oddities = (*oddities, Oddity("xmpp.no_address", "a stanza between servers without both ends"))
    domain = domain_of(owner.user or "")
    if frame.way is UP and domain and domain != servers.current and not isinstance(note, Block):
        if domain not in servers.proven:
            oddities = (*oddities, Oddity("xmpp.unproven_domain", "stanzas of a domain that has not proved itself"))
        event = _signs_on(owner, domain, servers)
        if isinstance(note, Note) and note is not NO_NOTE:
            note.spots = [(), *(note.spots or [()] * len(frame.events))]
        else:
            note = Note(element, [(), *([()] * len(frame.events))])
        units = None if frame.units is None else (-1, *frame.units)
        if units is None and frame.events and not frame.stays:
            units = (-1, *range(len(frame.events)))
        return msgspec.structs.replace(
            frame, events=(event, *frame.events), note=note, oddities=oddities, units=units)
    return frame if oddities is frame.oddities else msgspec.structs.replace(frame, oddities=oddities)


def _signs_on(owner: Owner, domain: str, servers: Servers) -> SignOn:
    """The sign-on of a domain, as far as it has proved itself."""
    how = servers.proven.get(domain)
    servers.current = domain
    owner.signed = True
    owner.sides[UP].split.limit = owner.sides[DOWN].split.limit
    owner.identity = "authenticated" if how is not None else "claimed"
    return SignOn(user=domain, identity=owner.identity, mechanism=how, channel_binding="none")


def _proved(owner: Owner, domain: str, how: str, servers: Servers) -> SignOn:
    if len(servers.proven) >= owner.limits.xmpp_domains and domain not in servers.proven:
        del servers.proven[next(iter(servers.proven))]
    servers.proven[domain] = how
    return _signs_on(owner, domain, servers)


def on_dialback_result(owner: Owner, way: Way, at: float, raw: bytes, element: Element) -> Frame:
    """<db:result/> (XEP-0220 §2): up a key is shown, down the answer. The key is not looked at."""
    servers = owner.servers
    one, two = domain_of(element.get("from", "")), domain_of(element.get("to", ""))
    if servers is not None and one and two and len(one) <= LONGEST_JID and len(two) <= LONGEST_JID:
        if way is UP:
            if len(servers.claimed) >= owner.limits.xmpp_domains:
                del servers.claimed[next(iter(servers.claimed))]
            servers.claimed[one, two] = None
        elif (two, one) in servers.claimed:
            del servers.claimed[two, one]
            if element.get("type") == "valid":
                _reachable(owner, two, one, at)
                return Frame(DOWN, at, raw, "xmpp.db:result", (_proved(owner, two, "dialback", servers),),
                             note=NO_NOTE)
        elif element.get("type") == "valid":
            return Frame(DOWN, at, raw, "xmpp.db:result", (), (Oddity("xmpp.unasked_result"),))
    return Frame(way, at, raw, "xmpp.db:result")


def external_login(owner: Owner, at: float, raw: bytes) -> Frame:
    """SASL EXTERNAL succeeded: the domain that asked for it, or that opened the stream (XEP-0178 §3)."""
    servers = owner.servers
    assert servers is not None
    servers.again = [True, True]
    domain = domain_of(owner.login.authcid or servers.initiator or "")
    if not domain:
        return Frame(DOWN, at, raw, "xmpp.success")
    if owner.to:
        _reachable(owner, domain, domain_of(owner.to), at)
    event = _proved(owner, domain, owner.login.mechanism or "SASL", servers)
    return Frame(DOWN, at, raw, "xmpp.success", (event,), note=NO_NOTE)


def on_bidi(owner: Owner, at: float, raw: bytes, _element: Element) -> Frame:
    """<bidi/> (XEP-0288): stanzas go both ways."""
    if owner.servers is not None:
        owner.servers.bidi = True
    return Frame(UP, at, raw, "xmpp.bidi")


def _reachable(owner: Owner, mine: str, other: str, at: float) -> None:
    """Remember where words of `mine` for `other` can be said: on this stream."""
    assert owner.servers is not None
    pairs = owner.servers.pairs
    if len(pairs) >= owner.limits.xmpp_domains:
        del pairs[next(iter(pairs))]
    pairs[mine, other] = None
    owner.memory.put(f"xmpp.servers {mine} {other}", owner.flow.id, at + owner.limits.idle_seconds)


def leave_post(owner: Owner, stanza: bytes, at: float) -> list[Act]:
    """Leave a stanza for the stream that goes from the domain of our other end to our user's, wherever that is."""
    mine, other = domain_of(owner.user or ""), (owner.domain or "").lower()
    flow = owner.memory.get(f"xmpp.servers {other} {mine}", at)
    if not isinstance(flow, str) or owner.servers is None or mine not in owner.servers.proven:
        return []   # nobody is told of what was said in his name by somebody else
    return [Tell(flow, Notice("", left=stanza))]


def posted(owner: Owner) -> list[Act]:
    """What was left for this stream and may be said now."""
    assert owner.servers is not None
    post, owner.servers.post = owner.servers.post, []
    return [Send(UP, stanza) for stanza in post]
