"""What is sent of a stanza that was judged: its masks, its refusal, what its sender is told (RFC 6120 §8.3)."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.model import DOWN, PASSED, UP, Act, Action, FileOffer, Frame, GroupChange, Message, Send, Verdict
from inspector.protocols.xmpp.names import MUC, MUC_USER, NICK, PRIORITY, QUIET, SHOW, SIGNED, STATUS
from inspector.protocols.xmpp.offers import leased, refuse_offers
from inspector.protocols.xmpp.owner import Owner
from inspector.protocols.xmpp.speech import error, headline, nothing
from inspector.protocols.xmpp.state import Note
from inspector.protocols.xmpp.writing import pair_places, replaced, rewritten
from inspector.wire import xml
from inspector.wire.xml import Place

_PRESENCE_KEPT = frozenset({SHOW, PRIORITY, MUC, MUC_USER + "x", SIGNED, "{vcard-temp:x:update}x"})
_CONDITIONS = {
    "http_upload": ("not-allowed", "cancel"), "oob": ("not-acceptable", "modify"), "si": ("forbidden", "cancel"),
    "ibb": ("not-acceptable", "cancel"), "s5b": ("not-acceptable", "cancel"), "jingle": ("not-allowed", "cancel"),
}
"""FileOffer.method -> (condition, type) that clients of that method understand (sheet section 8)."""


def deliver(owner: Owner, frame: Frame, note: Note, verdicts: Sequence[Verdict]) -> list[Act]:
    """Send it with its masks; tell the sender what a rule wants him told."""
    if note.offer is not None and note.offer.refused:
        return refuse_iq(owner, frame, note, verdicts, PASSED)
    changes, surplus, expected = leased(owner, frame, note)
    acts: list[Act] = [Send(frame.way, rewritten(frame, note, verdicts, changes, surplus)), *expected]
    if frame.way is UP and note.element.get("type") not in ("error", "result"):
        for verdict in verdicts:
            if verdict.notice and verdict.action is not Action.PASS:
                acts.append(Send(DOWN, headline(owner, verdict.notice)))
                break
    return acts


def refuse_message(owner: Owner, frame: Frame, note: Note, refused: Verdict) -> list[Act]:
    """A message is swallowed, or words of ours stand in its place; its sender is told with its own identifier."""
    element, way = note.element, frame.way
    get = element.get
    acts: list[Act] = []
    notice = refused.notice
    if refused.placeholder is not None:
        acts.append(Send(way, replaced(frame.raw, element, refused.placeholder)))
    elif way is UP:
        acts += nothing(owner)
    if notice is None:
        return acts
    if way is UP:
        acts.append(Send(DOWN, error(owner, "message", get("id"), get("to"), owner.user, notice)))
    elif get("type") in (None, "normal", "chat") and get("from") and all(
        not isinstance(event, Message) or event.copy == "no" for event in frame.events
    ):
        acts.append(Send(UP, error(owner, "message", get("id"), None, get("from"), notice)))
    return acts


def refuse_iq(
    owner: Owner, frame: Frame, note: Note, verdicts: Sequence[Verdict], refused: Verdict,
) -> list[Act]:
    """A refused request is always answered (RFC 6120 §8.2.3)."""
    get = note.element.get
    condition, kind = "not-allowed", "cancel"
    if note.offer is not None:
        condition, kind = _CONDITIONS.get(note.offer.offer.method, (condition, kind))
    for verdict, event in zip(verdicts, frame.events, strict=False):
        if verdict.action >= Action.HOLD and isinstance(event, FileOffer):
            condition, kind = _CONDITIONS.get(event.method, (condition, kind))
    refuse_offers(owner, note)
    if frame.way is UP:
        acts = nothing(owner)
        answer = error(owner, "iq", get("id"), get("to"), owner.user, refused.notice, condition, kind)
        acts.append(Send(DOWN, answer))
        return acts
    return [Send(UP, error(owner, "iq", get("id"), None, get("from"), refused.notice, condition, kind))]


def announce(owner: Owner, frame: Frame, note: Note) -> list[Act]:
    """Pass a stanza that says where content will travel: our address in place of others where there is one."""
    if note.offer is not None and note.offer.refused:
        return refuse_iq(owner, frame, note, (), PASSED)
    changes, surplus, expected = leased(owner, frame, note)
    raw = frame.raw
    if changes or surplus or note.removals:
        raw = rewritten(frame, note, (), changes, surplus)
    return [Send(frame.way, raw), *expected]


def judge_presence(
    owner: Owner, frame: Frame, note: Note, verdicts: Sequence[Verdict], refused: Verdict | None,
) -> list[Act]:
    """Presence is dropped silently; where only its words are refused it goes without them."""
    if refused is None:
        return deliver(owner, frame, note, verdicts)
    element = note.element
    typed = element.get("type")
    if typed == "error":
        return deliver(owner, frame, note, verdicts)
    words_only = all(
        verdict.action < Action.HOLD or isinstance(event, Message)
        for verdict, event in zip(verdicts, frame.events, strict=False)
    )
    acts: list[Act] = []
    if words_only:
        places: dict[int, Place] = {}
        pair_places(element, xml.locate(frame.raw), places)
        changes = [
            (places[id(child)].start, places[id(child)].end, b"") for child in element
            if child.tag == STATUS or child.tag == NICK or (
                child.tag not in QUIET and child.tag not in _PRESENCE_KEPT
            )
        ]
        acts.append(Send(frame.way, xml.rewrite(frame.raw, changes)))
        if refused.notice and frame.way is UP:
            acts.append(Send(DOWN, headline(owner, refused.notice)))
        return acts
    if frame.way is UP:
        acts += nothing(owner)
        joining = any(isinstance(event, GroupChange) and event.action == "join" for event in frame.events)
        if element.get("to") and (joining or (typed == "subscribe" and refused.notice)):
            # Without an answer the client would wait for the room for ever (XEP-0045 §7.2).
            acts.append(Send(DOWN, error(
                owner, "presence", element.get("id"), element.get("to"), owner.user, refused.notice, "not-allowed",
                "cancel",
            )))
        elif refused.notice:
            acts.append(Send(DOWN, headline(owner, refused.notice)))
    return acts
