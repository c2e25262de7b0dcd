"""What waits for a reviewer, as one session sees it: taken out here, delivered here (design sections 5 and 8).

Theory of operation
-------------------
*Out*: a verdict HOLD becomes a Hold effect. Its verdict's row is written only when the content is on disk (Kept), and
the decoder refuses the unit only when that row is on disk too: the peer notices nothing before both. What could not be
stored in time is blocked, and said so.

*In*: Released items wait in the order they came. At a unit boundary of their way the session asks (Deliver), and sends
when the state `delivering` is on disk; Came says that it was sent, or, when the session ends first, that it was not.
A session ends for this when one side has said goodbye or has closed: what would be sent behind that may be read by
nobody, so it waits for the next sign-on; of what was sent just before it the desk is told that the end has come.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from inspector.engine.covers import bare, digest_of
from inspector.engine.items import Item
from inspector.engine.owner import Owner
from inspector.model import (
    DOWN,
    PASSED,
    UP,
    Came,
    Decoder,
    Deliver,
    Effect,
    Event,
    File,
    Finding,
    Held,
    Hold,
    Identity,
    Kept,
    Message,
    Note,
    Released,
    Send,
    Unhold,
    Verdict,
    Went,
)

NOTICE_HOLD = "Your message waits for review. Reference {reference}."
NOTICE_FILE_HOLD = "The file {name} waits for review. Reference {reference}."
SENT = 64
"""Items of which the desk is told that the session has ended behind them: those of the last moment."""


class _Taken:
    """One item on its way to the store."""

    __slots__ = ("held", "item", "rows", "unit")

    def __init__(self, item: Item, unit: int, held: Held) -> None:
        self.item = item
        self.unit = unit
        self.held = held
        self.rows: list[tuple[dict[str, Any], int]] = []
        """Verdict rows that wait for it, and the index of each one's event."""


class Holding:
    """The held and the released items of one session. A part of the Session."""

    __slots__ = ("_asked", "_beside", "_go", "_left", "_released", "_sent", "_session", "_stored", "_taken")

    def __init__(self, session: Owner) -> None:
        self._session = session
        self._taken: dict[int, _Taken] = {}
        """By the id of the Hold effect."""
        self._stored: list[_Taken] = []
        """Of these, what is stored; the rows of the last ones may be on their way."""
        self._beside: list[tuple[int, dict[str, Any]]] = []
        """Rows of the item that is being decided whose events wait with a held one, and the index of each."""
        self._released: deque[Held] = deque()
        self._asked: int | None = None
        """The id of the Deliver effect for the first of them."""
        self._go = False
        """It may be sent."""
        self._left: deque[tuple[str, Decoder]] = deque(maxlen=session.limits.releases_waiting)
        """Items that were left with a decoder, which writes when its peer asks (BOSH), on whatever connection."""
        self._sent: deque[str] = deque(maxlen=SENT)
        """Items that were sent last."""

    # -- out

    def take(
        self, item: Item, index: int, event: Event, asked: Verdict, row: dict[str, Any], reference: str, at: float,
        out: list[Effect], findings: tuple[Finding, ...],
    ) -> None:
        """An event of `item` is to be held: store it. Events of one unit are stored once."""
        session, frame = self._session, item.frame
        unit = frame.units[index] if frame.units is not None else index
        for taken in self._taken.values():
            if taken.item is item and taken.unit == unit:
                taken.rows.append((row, index))
                return
        context = session.context
        raw = b""
        # All that a release would send is there to be read, what no rule minds, too.
        units = frame.units or ()
        beside = [each for each, place in zip(frame.events, units, strict=False) if place == unit and each is not event]
        texts = [text for each in (event, *beside) for text in each.texts]
        if isinstance(event, Message) and context.user is not None and session.can_hold(event):
            frames = [frame] if item.group is None else [each.frame for each in item.group.items]
            decoder = session.decoder
            raw = (decoder.keep(frames, index) if decoder is not None else None) or b""
        file = event if isinstance(event, File) else None
        held = Held(
            id=f"h{row['id']}", reference=reference, t=frame.at, protocol=context.protocol or "",
            about="file" if file is not None else "message", kind=getattr(event, "kind", None) or event.name,
            way=frame.way, direction=context.directions[frame.way], flow=session.flow.id,
            client=session.flow.client.ip, user=context.user, identity=self._identity(item, event),
            sender=getattr(event, "sender", None) or (context.user if frame.way is UP else None),
            recipients=tuple(getattr(event, "recipients", ())), conversation=getattr(event, "conversation", None),
            message=row["message"],
            named=bool(raw) and session.names_messages and getattr(event, "id", None) is not None,
            digest=digest_of(event), size=file.size or 0 if file is not None else len(raw), rule=asked.rule,
            reason=asked.reason, policy=row["policy"], findings=tuple(dict.fromkeys(f.rule for f in findings)),
            texts=tuple((text.part, text.plain) for text in texts), raw=raw,
            file_name=file.file_name if file is not None else None,
            file_type=file.kinds[0] if file is not None and file.kinds else None,
        )
        ident = session.next_id()
        taken = self._taken[ident] = _Taken(item, unit, held)
        taken.rows.append((row, index))
        session.wait_for(item, ident, at, out)
        out.append(Hold(ident, held, item.file.id if file is not None and item.file is not None else None))

    def wait_beside(self, index: int, row: dict[str, Any]) -> None:
        """A row of an event that waits with a held one of its unit."""
        self._beside.append((index, row))

    def beside(self, item: Item, out: list[Effect]) -> None:
        """All events of `item` are decided: such rows are written with those of what their events wait with."""
        rows, self._beside = self._beside, []
        units = item.frame.units
        for index, row in rows:
            unit = units[index] if units is not None else index
            taken = next((each for each in self._taken.values() if each.item is item and each.unit == unit), None)
            if taken is not None:
                taken.rows.append((row, index))
            else:
                out.append(Note(0, row))

    def _identity(self, item: Item, event: Event) -> Identity:
        """How well it is known whose the item is. A connection that carries files signs nobody on: it is its sender's
        who announced it, in his own session, and he is told of it there wherever this connection came from."""
        context, start = self._session.context, item.file.start if item.file is not None else None
        if context.user is not None or start is None or start.expected is None or not isinstance(event, File):
            return context.identity
        return start.expected.identity if bare(start.expected.by) == bare(event.sender) else context.identity

    def kept(self, inp: Kept, out: list[Effect]) -> bool:
        """An answer to a Hold or a Deliver. False: it is about something else."""
        if inp.id == self._asked:
            self._asked = None
            if inp.ok:
                self._go = True
                self.speak(out)
            else:
                self._released.popleft()
                self.speak(out)
            return True
        taken = self._taken.pop(inp.id, None)
        if taken is None:
            return False
        session, item = self._session, taken.item
        if item.kept is not None:
            item.kept.discard(inp.id)
        if inp.ok:
            self._stored = [*(one for one in self._stored if one.item.kept), taken]
            for row, _ in taken.rows:
                row["held"] = taken.held.id
                session.note_durably(item, row, inp.at, out)
        else:
            name = inp.why or "store_failed"
            session.note_trouble(
                name, "what was to be held could not be stored: it is refused", "block", inp.at, out, follows=True)
            self._refuse(taken, inp.at, out, durable=True)
        return True

    def give_up(self, item: Item | None, at: float, out: list[Effect]) -> None:
        """No answer in time, or the session has ended (None: all): what is stored later waits for nobody."""
        for ident, taken in tuple(self._taken.items()):
            if item is None or self._of(taken, item):
                del self._taken[ident]
                out.append(Unhold(taken.held.id))
                self._refuse(taken, at, out, durable=False)

    def unwritten(self, item: Item, at: float, out: list[Effect]) -> None:
        """A row that `item` waits for is not written: its sender is told that it is refused. The row may still be
        written; if it is, what is stored waits for a reviewer, as it says, and else the hold desk erases that."""
        self.give_up(item, at, out)
        for taken in self._stored:
            if self._of(taken, item):
                for _, index in taken.rows:
                    self._blocked(item, index)
        self._stored = [taken for taken in self._stored if not self._of(taken, item)]

    @staticmethod
    def _of(taken: _Taken, item: Item) -> bool:
        return taken.item is item or (item.group is not None and taken.item in item.group.items)

    def _refuse(self, taken: _Taken, at: float, out: list[Effect], *, durable: bool) -> None:
        """It is blocked instead, and the rows and the sender are told so."""
        session, item = self._session, taken.item
        for row, index in taken.rows:
            row["did"] = row["action"] = "block"
            notice = self._blocked(item, index)
            if notice is not None:
                row["notice"] = notice
            if durable:
                session.note_durably(item, row, at, out)
            else:
                out.append(Note(0, row))

    def _blocked(self, item: Item, index: int) -> str | None:
        """What was to be held is blocked: counted, and what its sender is told of it; None: nothing."""
        session = self._session
        if item.file is not None or item.verdicts is None or item.verdicts[index] is not PASSED:
            session.count_refused()  # what is only archived was not counted as held
        if item.verdicts is None:
            return None
        old = item.verdicts[index] if item.file is None else item.verdicts[0]
        if old.notice is None:
            return None
        text = session.refusal(old.reference)
        new = msgspec.structs.replace(old, notice=text)
        for place, verdict in enumerate(item.verdicts):
            if verdict is old:
                item.verdicts[place] = new
        return text

    # -- in

    def release(self, inp: Released, out: list[Effect]) -> None:
        """An item for this session."""
        if len(self._released) >= self._session.limits.releases_waiting:
            out.append(Came(inp.held.id, False))
            return
        self._released.append(inp.held)
        self.speak(out)

    def speak(self, out: list[Effect]) -> None:
        """Send what may be sent now."""
        session = self._session
        parted = self._parted(out)
        while self._released:
            held = self._released[0]
            if parted and self._asked is None:
                self._released.popleft()
                self._go = False
                out.append(Came(held.id, False))
                continue
            if not session.has_room(held.way):
                return
            if self._asked is None and not self._is_his(held):
                self._released.popleft()
                self._go = False
                out.append(Came(held.id, False))
                continue
            if not self._go:
                if self._asked is None:
                    self._asked = session.next_id()
                    out.append(Deliver(self._asked, held.id))
                return
            self._released.popleft()
            self._go = False
            decoder = session.decoder
            if decoder is not None and (leave := getattr(decoder, "leave", None)) is not None:
                if held.raw and leave(held.raw, held.way, held.id):
                    self._leave(held.id, decoder, out)
                else:
                    out.append(Came(held.id, False))
                continue
            acts = decoder.release(held.raw, held.way) if decoder is not None and held.raw else None
            sends = [act for act in acts or () if isinstance(act, Send)]
            for act in sends:
                if act.way is held.way:
                    out.append(act)
                else:
                    session.aside(act, out)
            sent = any(act.way is held.way for act in sends)
            if sent:
                self._sent.append(held.id)
            out.append(Came(held.id, sent))

    def _parted(self, out: list[Effect]) -> bool:
        """Whether this session has ended, as far as a peer's words go; the desk is told of what was sent last."""
        session, decoder = self._session, self._session.decoder
        if not (session.closed(UP) or session.closed(DOWN) or getattr(decoder, "parted", False)):
            return False
        self._doubt(out)
        return True

    def _doubt(self, out: list[Effect]) -> None:
        out.extend(Came(hold, None) for hold in self._sent)
        self._sent.clear()

    def _leave(self, hold: str, decoder: Decoder, out: list[Effect]) -> None:
        """It was left with the decoder: told of when it goes, or taken back at the end of this session."""
        if len(self._left) == self._left.maxlen:
            self._take_back(out)
        self._left.append((hold, decoder))

    def _take_back(self, out: list[Effect]) -> None:
        """What was left first, unless it has gone."""
        hold, decoder = self._left.popleft()
        if decoder.take_back(hold):  # type: ignore[attr-defined]
            out.append(Came(hold, False))

    def _is_his(self, held: Held) -> bool:
        """Whether this is still a session of the item's user: he may have taken another name since the desk looked."""
        context, flow = self._session.context, self._session.flow
        if context.protocol != held.protocol or held.user is None or bare(context.user) != bare(held.user):
            return False
        if held.identity == "authenticated":
            return context.identity == "authenticated"
        return flow.id == held.flow or flow.client.ip == held.client

    def end(self, at: float, out: list[Effect]) -> None:
        """The session is over: what was not stored waits for nobody, what was not sent is sent elsewhere."""
        self.give_up(None, at, out)
        while self._left:
            self._take_back(out)
        out.extend(Came(held.id, False) for held in self._released)
        self._doubt(out)
        self._released.clear()
        self._asked, self._go = None, False


def went(act: Went, *, sent: bool) -> list[Effect]:
    """The desk is told of what was left with a decoder, in the name of the session that it was given to."""
    came = Came(act.hold, sent, act.flow)
    # It was the answer to what its reader asked, or goes with what its writer said: no matter what ends.
    return [came, came] if sent else [came]


__all__ = ["NOTICE_FILE_HOLD", "NOTICE_HOLD", "Holding", "went"]
