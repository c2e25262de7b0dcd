"""Stream management (XEP-0198; inside a login XEP-0386, 0388): stanzas are counted, and sessions outlive their
connection (docs/decisions/0045). Whatever is refused or said by us, the counts of both ends stay right.

A client that is sent elsewhere, by management or by a stream error (RFC 6120 §4.9.3.19), is led through us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from inspector.model import (
    DOWN,
    UP,
    Act,
    Action,
    Expect,
    FileEnd,
    FilePart,
    FileStart,
    Frame,
    Send,
    SignOn,
    Verdict,
    Way,
)
from inspector.protocols.xmpp.edits import KEEP_PATH, REFUSE_SM, STRIP_SM, TRANSLATE_SM
from inspector.protocols.xmpp.names import (
    OTHER_HOST,
    STANZA_ERROR,
    STANZA_KINDS,
    STANZA_STARTS,
    STREAM_ERROR,
    host_and_port,
    split_tag,
)
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.state import NO_NOTE, Counting, Managed, ManagementUnit
from inspector.protocols.xmpp.writing import pair_places
from inspector.wire import xml
from inspector.wire.counts import Counts
from inspector.wire.xml import Place

_REFRESH = 60.0
"""Seconds after which a managed session that acknowledges something is remembered anew."""
_KEPT_FILES = 64
"""Files of a session whose kept stanzas are counted apart."""
_SM_UNITS = frozenset({"enable", "enabled", "resume", "resumed", "failed", "r", "a"})


def counted(element: Element) -> int | None:
    """The count `h` of a unit of stream management; None when it is none (XEP-0198 §4: an unsigned 32-bit integer)."""
    said = element.get("h", "")
    if not said.isascii() or not said.isdigit() or len(said) > 10:
        return None
    count = int(said)
    return count if count < 1 << 32 else None


def not_managed(namespace: str, local: str) -> str:
    """The answer to a request for management that leads nowhere (XEP-0198 §3, §5)."""
    condition = "item-not-found" if local == "resume" else "unexpected-request"
    return f"<failed xmlns='{namespace}'><{condition} xmlns='{STANZA_ERROR}'/></failed>"


def on_stream_error(owner: Owner, at: float, raw: bytes, element: Element) -> Frame:
    """A stream error (RFC 6120 §4.9); it may send the client to another server (§4.9.3.19)."""
    if KEEP_PATH in owner.edits:
        for child in element:
            if child.tag == OTHER_HOST and not len(child):
                note = ManagementUnit(element, child, "error", address=child.text or "")
                return Frame(DOWN, at, raw, "xmpp.error", edit=KEEP_PATH, note=note)
    return Frame(DOWN, at, raw, "xmpp.error")


def on_management(owner: Owner, way: Way, at: float, raw: bytes, element: Element, namespace: str, local: str) -> Frame:
    """A unit of stream management: asked for, granted, resumed, counts said and asked for."""
    kind = f"xmpp.{local}" if local in _SM_UNITS else "xmpp.other"
    translated = TRANSLATE_SM in owner.edits and STRIP_SM not in owner.edits
    counting = owner.counting
    if way is UP and local in ("enable", "resume"):
        if REFUSE_SM in owner.edits and "sm" not in owner.login.offered:
            return Frame(UP, at, raw, kind, edit=REFUSE_SM, note=not_managed(namespace, local))
        if translated and not (local == "resume" and owner.signed):
            note = ManagementUnit(element, element, local)
            if local == "resume":
                state = note.state = _known_session(owner, element, at)
                if state is None:
                    return Frame(UP, at, raw, kind, edit=TRANSLATE_SM, note=not_managed(namespace, local))
                counting = owner.counting = Counting(state)
                counting.resuming, counting.claimed = state, counted(element) or 0
                return Frame(UP, at, raw, kind, edit=TRANSLATE_SM, note=note)
            if counting is None:
                counting = owner.counting = Counting(Managed(owner.limits.xmpp_counts))
            counting.asked = True
            return Frame(UP, at, raw, kind, note=note)
    elif counting is not None:
        if local == "a":
            if way is UP and at - counting.state.put > _REFRESH:
                remember_session(owner, counting.state, at)
            return Frame(way, at, raw, kind, edit=TRANSLATE_SM, note=ManagementUnit(element, element, local))
        if way is DOWN and local in ("enabled", "resumed", "failed"):
            return _answered(owner, at, raw, element, local, counting, kind)
    elif way is DOWN and local in ("enabled", "resumed"):
        owner.counted_elsewhere = True
        if local == "resumed" and not owner.signed and owner.login.authcid:
            # A resumed session is not bound again: what is known of the user is his login (XEP-0198 §5).
            name = owner.login.authcid
            user = name if "@" in name else f"{name}@{owner.domain or ''}"
            return Frame(DOWN, at, raw, kind, (owner.sign_on(user),), note=NO_NOTE)
        if element.get("location") and KEEP_PATH in owner.edits:
            note = ManagementUnit(element, element, local, address=element.get("location"))
            return Frame(DOWN, at, raw, kind, edit=KEEP_PATH, note=note)
    return Frame(way, at, raw, kind)


def _answered(
    owner: Owner, at: float, raw: bytes, element: Element, local: str, counting: Counting, kind: str,
) -> Frame:
    """What the server says to <enable/> or <resume/>."""
    note = ManagementUnit(element, element, local)
    event = _answer(owner, at, element, local, counting, note)
    if local == "failed" and note.state is None:
        if not counting.granted:
            owner.counting = None
        return Frame(DOWN, at, raw, kind)
    events = (event,) if event is not None else ()
    edit = TRANSLATE_SM if local != "enabled" else KEEP_PATH if note.address is not None else None
    return Frame(DOWN, at, raw, kind, events, edit=edit, note=note)


def _answer(
    owner: Owner, at: float, element: Element, local: str, counting: Counting, note: ManagementUnit,
) -> SignOn | None:
    """The sign-on that a resumption is; fills in what `apply` needs."""
    state = counting.resuming
    if local == "enabled":
        if counting.asked and KEEP_PATH in owner.edits:
            note.address = element.get("location")
        if counting.asked and element.get("id") and element.get("resume") in ("true", "1"):
            counting.state.key = _session_key(owner, element.get("id", ""))
            remember_session(owner, counting.state, at)
        counting.asked, counting.granted = False, True
        return None
    counting.resuming = None
    note.state = state
    if local == "failed":
        counting.asked = False
        return None
    if state is None:
        return None
    counting.granted = True
    owner.rooms = state.rooms
    event = owner.sign_on(state.user, state.identity)
    remember_session(owner, state, at)
    return event


def inline_asked(owner: Owner, at: float, element: Element, parts: Sequence[Element]) -> ManagementUnit:
    """Management that a login asks for (XEP-0388, 0386, 0198 §9). What cannot be resumed is not asked of the
    server; the client is told with the answer to his login."""
    note = ManagementUnit(element, what="authenticate")
    owner.counting = None
    removals: list[Element] = []
    counting = Counting(Managed(owner.limits.xmpp_counts))
    for part in parts:
        if part.tag.endswith("}enable"):
            counting.asked = True
            continue
        state = _known_session(owner, part, at)
        if state is None or counting.resuming is not None:
            removals.append(part)
            counting.refused = split_tag(part.tag)[0]
        else:
            note.part, note.state = part, state
            counting.resuming, counting.claimed = state, counted(part) or 0
    note.removals = removals
    owner.counting = counting
    return note


def inline_answered(
    owner: Owner, at: float, raw: bytes, element: Element, parts: Sequence[Element], event: SignOn | None,
    counting: Counting,
) -> Frame:
    """What the answer to a login says of management that it asked for (XEP-0388, 0198 §9)."""
    note = ManagementUnit(element, what="success")
    if counting.refused is not None:
        note.adding = not_managed(counting.refused, "resume")
        counting.refused = None
    for part in parts[:1]:
        note.part, note.what = part, part.tag.rpartition("}")[2]
        resumed = _answer(owner, at, part, note.what, counting, note)
        event = resumed or event
    return Frame(
        DOWN, at, raw, "xmpp.success2", (event,) if event is not None else (), edit=TRANSLATE_SM, note=note)


def _session_key(owner: Owner, ident: str) -> str:
    domain = (owner.to or owner.domain or "").lower()
    return f"xmpp.managed {hashlib.sha256(f'{domain} {ident}'.encode('utf-8', 'replace')).hexdigest()}"


def _known_session(owner: Owner, resume: Element, at: float) -> Managed | None:
    """The session that a client wants to go on with, if it passed here and is not over."""
    found = owner.memory.get(_session_key(owner, resume.get("previd", "")), at)
    if not isinstance(found, Managed) or found.over or counted(resume) is None:
        return None
    return found


def remember_session(owner: Owner, state: Managed, at: float) -> None:
    """Keep a session that may be resumed, as it is now, for all connections."""
    if state.key is None or owner.user is None:
        return
    state.put, state.user, state.identity, state.rooms = at, owner.user, owner.identity, owner.rooms
    owner.memory.put(state.key, state, at + owner.limits.xmpp_resume_seconds)


def count_sent(
    owner: Owner, frame: Frame, verdicts: Sequence[Verdict], acts: list[Act], counting: Counting, content: bool,
) -> list[Act]:
    """Count what is sent for a frame where it stands on the wire; returns what of it leaves now. `content`: the frame
    is one of a file's.

    What goes the frame's own way leaves now; what is said to the other side waits until the engine has nothing
    that goes there (an answer that belongs to an edit does not wait).
    """
    if counting.turn != counting.state.turn:
        return acts     # it goes on elsewhere
    way, owed = frame.way, counting.owed
    counts, on = counting.state.counts, counting.on
    kept = content and _count_files(frame, verdicts, counting)
    stanza = frame.kind in STANZA_KINDS and bool(frame.raw)
    left: list[Act] = []
    for act in acts:
        if type(act) is Send:
            if act.way is way:
                if not on[way]:
                    pass
                elif stanza:
                    stanza = False
                    if kept:
                        counts[way].taken(kept=True)
                    else:
                        counts[way].passed()
                elif act.data.startswith(STANZA_STARTS):
                    counts[way].added()
            elif act.data.startswith(STANZA_STARTS):
                if frame.edit is None:
                    _owe(owner, act, counting)
                    continue
                if on[act.way]:
                    counts[act.way].added()
        left.append(act)
    if stanza and on[way]:
        counts[way].taken()
    if owed[UP] or owed[DOWN]:
        _settle(owner, counting, left, way if kept else None)
    return left


def _count_files(frame: Frame, verdicts: Sequence[Verdict], counting: Counting) -> bool:
    """Whether a stanza with content of a file is kept back; of a file that ended here, what was kept has gone on
    before, or never will."""
    worst = max(verdict.action for verdict in verdicts) if verdicts else Action.PASS
    kept = False
    for event in frame.events:
        if isinstance(event, FilePart | FileStart):
            kept = worst is Action.HOLD
            if kept and isinstance(event, FilePart) and (
                event.transfer in counting.files or len(counting.files) < _KEPT_FILES
            ):
                counting.files[event.transfer] = counting.files.get(event.transfer, 0) + 1
        elif isinstance(event, FileEnd):
            number = counting.files.pop(event.transfer, 0)
            if worst < Action.HOLD and counting.on[frame.way]:
                counting.state.counts[frame.way].released(number)
    return kept


def _owe(owner: Owner, act: Send, counting: Counting) -> None:
    owed = counting.owed[act.way]
    if sum(map(len, owed)) + len(act.data) <= owner.limits.inject_bytes:
        owed.append(act.data)


def _settle(owner: Owner, counting: Counting, acts: list[Act], but: Way | None = None) -> None:
    """Say what waited, where nothing of the peer's is before it. `but`: what goes there now is kept."""
    for way in (UP, DOWN):
        owed = counting.owed[way]
        if owed and way is not but and not counting.out[way] and owner.ready(way):
            for data in owed:
                if counting.on[way]:
                    counting.state.counts[way].added()
                acts.append(Send(way, data))
            owed.clear()


def pass_management(owner: Owner, frame: Frame, note: ManagementUnit) -> list[Act]:
    """Pass a unit of stream management, its count translated, its address led through us."""
    way, raw, part, counting = frame.way, frame.raw, note.part, owner.counting
    written: list[tuple[Element, str, str]] = []
    state = note.state
    if counting is not None:
        if note.what == "enable":
            counting.on[UP] = True
        elif note.what == "enabled":
            # Inside a login nothing is counted before its answer.
            counting.on = [True, True]
        elif note.what == "a":
            if counting.turn == counting.state.turn and counting.on[way.other]:
                _translate(note.element, counting.state.counts[way.other], written)
        elif note.what == "resumed" and state is not None:
            _resumed(note, state, counting, written)
    if state is not None and part is not None:
        # Whose it is the server says: until then nothing of it changes.
        if note.what in ("resume", "authenticate"):
            _translate(part, state.counts[DOWN].copy(), written)
        elif note.what == "failed":
            _translate(part, state.counts[UP].copy(), written)
    places: dict[int, Place] = {}
    changes: list[tuple[int, int, bytes]] = []
    if written or note.removals or note.address is not None or note.adding:
        pair_places(note.element, xml.locate(raw), places)
    for element, name, value in written:
        span = xml.attribute(raw, places[id(element)], name)
        if span is not None:
            changes.append((*span, value.encode()))
    for element in note.removals:
        changes.append((places[id(element)].start, places[id(element)].end, b""))
    if note.address is not None and part is not None:
        changes += _led(owner, frame, note.address, part, places[id(part)])
    if note.adding and not places[id(note.element)].empty:
        at = places[id(note.element)].close_start
        changes.append((at, at, note.adding.encode()))
    return [Send(way, xml.rewrite(raw, changes) if changes else raw)]


def _translate(element: Element, counts: Counts, written: list[tuple[Element, str, str]]) -> None:
    """The count that its writer gives as that of its reader."""
    given = counted(element)
    if given is not None:
        alike = counts.alike
        had = counts.had(given)
        if had != given and not alike:
            written.append((element, "h", str(had)))


def _resumed(
    note: ManagementUnit, state: Managed, counting: Counting, written: list[tuple[Element, str, str]],
) -> None:
    """Both go on from what the other has; each sends again what is behind it."""
    up, down = state.counts
    down.resume(counting.claimed)
    given = counted(note.part) if note.part is not None else None
    if given is not None and note.part is not None:
        had = up.resume(given)
        if had != given:
            written.append((note.part, "h", str(had)))
    state.turn += 1
    counting.state, counting.turn, counting.on = state, state.turn, [True, True]


def _led(owner: Owner, frame: Frame, address: str, part: Element, place: Place) -> list[tuple[int, int, bytes]]:
    """Lead the client through us where he is sent elsewhere; where that cannot be, he is not sent."""
    raw = frame.raw
    host, port = host_and_port(address)
    ours = None
    if host:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        expect = Expect(where, "xmpp", owner.user, None, None, owner.flow.id, owner.identity)
        ours = owner.memory.lease(expect, DOWN, frame.at)
    if ours is None and not owner.flow.reverse:
        return []
    new = None if ours is None else f"[{ours.ip}]:{ours.port}" if ":" in ours.ip else f"{ours.ip}:{ours.port}"
    if part.tag == OTHER_HOST:
        if new is None:
            return [(place.start, place.end, f"<resource-constraint xmlns='{STREAM_ERROR}'/>".encode())]
        return [(place.open_end, place.close_start, new.encode())]
    span = xml.attribute(raw, place, "location")
    if span is None:
        return []
    if new is not None:
        return [(*span, new.encode())]
    return [(raw.rindex(b"location", place.start, span[0]), span[1] + 1, b"")]


def said_now(owner: Owner, acts: list[Act]) -> list[Act]:
    """Stanzas of ours outside `apply`, counted where they are."""
    counting = owner.counting
    if counting is None or counting.turn != counting.state.turn:
        return acts
    left: list[Act] = []
    for act in acts:
        if isinstance(act, Send):
            _owe(owner, act, counting)
        else:
            left.append(act)
    _settle(owner, counting, left)
    return left


def end_session(owner: Owner) -> None:
    """The stream was closed: nobody goes on with its session."""
    counting = owner.counting
    if counting is not None and counting.turn == counting.state.turn:
        counting.state.over = True
