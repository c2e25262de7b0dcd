"""Files of one session: what is held, judged, released or refused (design section 8).

Theory of operation
-------------------
The decoder tells a file's content apart: FileStart, FilePart, FileEnd. The policy says how it is taken:

- *spool*: nothing leaves before the verdict. What would leave is written to the spool by the driver, record by record.
- *stream*: all but the last `limits.file_tail_bytes` leaves while it comes; the tail waits here.
- *pass*: it is not read.
- *watch* (captures, a policy that does not enforce): it leaves at once and is judged.
- *refused*: the offer was refused, or the file lied: the decoder is told to refuse each frame.

While a file is held its sender must not wait for its receiver: the decoder answers him (HOLD in `apply`). The frame of
FileEnd waits in the queue of its way like a message that is scanned; what was held goes out in front of it. A file that
travels between other units of the session (in-band) waits beside the queue.
"""

from __future__ import annotations

import msgspec

from inspector.engine import rows
from inspector.engine.items import Item, Transfer
from inspector.engine.owner import Owner
from inspector.engine.world import World, offer_key
from inspector.model import (
    FILE_CONTENT,
    PASSED,
    UP,
    Act,
    Action,
    Came,
    Cut,
    Discard,
    Effect,
    Event,
    Expect,
    File,
    FileEnd,
    FileOffer,
    FilePart,
    FileReport,
    FileStart,
    Finding,
    Frame,
    Judge,
    Judged,
    Notice,
    ScanFailed,
    Send,
    Spool,
    Tell,
    Unspool,
    Unspooled,
    Verdict,
    Way,
)

NOTICE_FILE = "The file {name} was not delivered: company policy. Reference {reference}."
NOTICE_FILE_WARN = "The file {name} was delivered, but it is against company policy. Reference {reference}."

HELD = Verdict(Action.HOLD)
REFUSED = Verdict(Action.BLOCK)
CUT = Verdict(Action.CUT)

_WRAPPED = 4
"""Bytes of a streamed file's tail for each byte of it that is content, above which it is spooled."""
_SHOWN = 80
"""Characters of a file's name that a notice repeats."""


class FileDesk:
    """The files of one session. A part of the Session: it works with its queues and counts."""

    __slots__ = ("_all", "_ids", "_open", "_session")

    def __init__(self, session: Owner) -> None:
        self._session = session
        self._open: dict[tuple[Way, str], Transfer] = {}
        """Files whose content still comes, by way and name; the name may be used again after their end."""
        self._all: dict[str, Transfer] = {}
        """Those, and the ones that wait for a verdict or are sent on, by id."""
        self._ids = 0

    # -- what the session asks

    def held(self, way: Way) -> int:
        """Bytes of that way kept in memory."""
        return sum(t.tail_bytes + len(t.pending) for t in self._all.values() if t.way is way)

    def busy(self, way: Way) -> bool:
        """Whether a file beside the queue is still being judged or sent: that may last beyond the way's end, unless
        nothing can be said there any more."""
        return any(
            t.way is way and (
                (t.mode == "watch" and t.deadline is not None)
                or (t.inband and t.item is not None and self._ready(way))
            )
            for t in self._all.values())

    def beside(self) -> list[Item]:
        """Items that wait outside the queues."""
        return [t.item for t in self._all.values() if t.item is not None and t.inband]

    # -- frames

    def take(self, frame: Frame, left: int, world: World, out: list[Effect]) -> None:
        """A frame with content of a file."""
        start = next((event for event in frame.events if type(event) is FileStart), None)
        if start is not None:
            transfer = self._begin(frame, start, left, world, out)
            if transfer is None:
                return
        else:
            last = frame.events[-1]
            assert isinstance(last, FilePart | FileEnd)
            found = self._open.get((frame.way, last.transfer))
            if found is None:
                self._refuse(frame, left, world, out)
                return
            transfer = found
        content = b""
        for event in frame.events:
            if type(event) is FilePart:
                content = event.data if not content else content + event.data
                transfer.bytes += len(event.data)
                if event.gap:
                    transfer.complete = False
            elif type(event) is FileEnd:
                transfer.end = event
        transfer.moved = frame.at
        why = self._too_much(transfer)
        if why:
            self._lie(transfer, why, frame, left, world, out)
        elif transfer.mode == "refused":
            self._refuse(frame, left, world, out)
            if transfer.end is not None:
                self._forget(transfer)
        elif transfer.mode in ("pass", "watch"):
            self._watch(transfer, frame, left, content, world, out)
        elif transfer.end is None:
            self._hold(transfer, frame, left, content, world, out)
        else:
            self._read(transfer, content, out)
            self._ended(transfer, frame, left, world, out)

    def _begin(
        self, frame: Frame, start: FileStart, left: int, world: World, out: list[Effect],
    ) -> Transfer | None:
        session = self._session
        kit, rules, way = session.kit, session.kit.rules, frame.way
        self._ids += 1
        transfer = Transfer(f"{session.flow.id}-f{self._ids}", way, start, rules)
        watching = session.dry or not rules.policy.enforce
        if not watching and sum(each.way is way for each in self._all.values()) >= kit.limits.files_open:
            session.note_trouble("overload", "too many files at a time", "block", frame.at, out)
            self._refuse(frame, left, world, out)
            return None
        before = self._open.get((way, start.transfer))
        if before is not None:
            if before.mode != "refused":
                self._note_unjudged(before, frame.at, out)
            self._drop(before, out)
        self._take_user(transfer)
        item = session.item(frame, left)
        offers: list[Event] = [event for event in frame.events if not isinstance(event, FILE_CONTENT)]
        if offers:
            self._judge_offers(item, offers, frame.at, world, out)
            assert item.verdicts is not None
            transfer.said = () if watching else tuple(item.verdicts)
            worst = max(verdict.action for verdict in item.verdicts)
            rest = [Verdict(worst) if worst >= Action.BLOCK else HELD] * (len(frame.events) - len(offers))
            item.verdicts = [*item.verdicts, *rest]
            if worst >= Action.BLOCK and not watching:
                transfer.mode = "refused"
                self._open[way, start.transfer] = self._all[transfer.id] = transfer
                session.enqueue(item)
                session.pump(way, world, out, frame.at)
                if any(type(event) is FileEnd for event in frame.events):
                    self._forget(transfer)
                return None
        if session.unread():
            transfer.mode = "pass"
        else:
            mode = rules.policy.file_mode(start.offer, session.context, way, frame.at)
            if session.would_hold(start.offer, way, frame.at):
                mode = "spool"  # what has left in part cannot wait for a reviewer
            if mode == "spool" and (start.offer.size or 0) > kit.limits.spool_bytes:
                mode = "stream"
            transfer.mode = "watch" if watching and mode != "pass" else mode
            transfer.told = mode if session.dry else transfer.mode
        transfer.offered = _row_of(start, session.flow.id, world, frame.at)
        self._open[way, start.transfer] = self._all[transfer.id] = transfer
        if transfer.mode != "pass":
            self._watch_over(frame.at, out)
        return transfer

    def _take_user(self, transfer: Transfer) -> None:
        """Whose file it is, on a connection that nobody announced: HTTP does not say, the session that was given the
        slot of an upload does. Who fetches one is not known."""
        session, expected = self._session, transfer.start.expected
        spec, context = session.spec, session.context
        if spec is None or spec.parent is None or session.flow.expected is not None:
            return
        if transfer.way is UP and expected is not None and expected.by is not None:
            context.user, context.identity = expected.by, expected.identity
        else:
            context.user, context.identity = None, "unknown"

    def _watch_over(self, at: float, out: list[Effect]) -> None:
        if not self._session.dry:
            self._session.wake_at(at + self._session.kit.limits.file_idle_seconds, out)

    def _judge_offers(
        self, item: Item, offers: list[Event], at: float, world: World, out: list[Effect],
    ) -> None:
        """Nobody offered this file before: what is known of it is judged now."""
        session, frame, rules = self._session, item.frame, item.rules
        item.frame = msgspec.structs.replace(frame, events=tuple(offers))
        item.solid = True
        for event in offers:
            try:
                found = rules.scanner.full(event.texts) if event.texts and not session.unread() else ()
                item.findings.append(found)
            except ScanFailed as failure:
                item.findings.append(str(failure) or "the scan failed")
        session.decide(item, at, world, out)
        item.frame = frame

    def _too_much(self, transfer: Transfer) -> str:
        """Why more came than can be taken, "" as a rule."""
        limits, size = self._session.kit.limits, transfer.offer.size
        if transfer.mode in ("refused", "pass"):
            return ""
        if size is not None and transfer.start.offset + transfer.bytes > size + limits.file_over_bytes:
            return f"a file is longer than the {size} bytes that were offered"
        if transfer.mode == "spool":
            # A file without a size, or wrapped in more than it holds, must not take the room of all others.
            if size is None and transfer.bytes > limits.spool_bytes:
                return f"a file of unknown size is longer than the {limits.spool_bytes} bytes that are spooled"
            if transfer.spooled > 2 * limits.spool_bytes:
                return "what a file is wrapped in takes too much of the spool"
        return ""

    def _lie(
        self, transfer: Transfer, why: str, frame: Frame, left: int, world: World, out: list[Effect],
    ) -> None:
        """More came than was offered (design section 8), or than can be taken."""
        session = self._session
        name = "malformed" if "offered" in why else "overload"
        if transfer.mode == "watch":
            if transfer.complete:
                session.note_trouble(name, why, "pass", frame.at, out)
            transfer.complete = False
            self._watch(transfer, frame, left, b"", world, out)
            return
        session.note_trouble(name, why, "block" if transfer.inband else "cut", frame.at, out)
        self._note_unjudged(transfer, frame.at, out)
        if transfer.inband:
            transfer.mode = "refused"
            self._discard(transfer, out)
            self._refuse(frame, left, world, out)
            if transfer.end is not None:
                self._forget(transfer)
            return
        self._drop(transfer, out)
        session.cut(frame.at, world, out, reason="a file longer than can be taken")

    def _refuse(self, frame: Frame, left: int, world: World, out: list[Effect]) -> None:
        """A frame of a file that is not taken."""
        session = self._session
        item = session.item(frame, left)
        verdict = REFUSED if session.kit.rules.policy.enforce and not session.dry else PASSED
        if verdict is REFUSED and 0 < left < len(frame.raw):
            verdict = CUT  # half of the unit has left: the other half must not follow
        item.verdicts = [verdict] * len(frame.events)
        session.enqueue(item)
        session.pump(frame.way, world, out, frame.at)

    def _watch(
        self, transfer: Transfer, frame: Frame, left: int, content: bytes, world: World, out: list[Effect],
    ) -> None:
        """The frame leaves as it came; its content is looked at, or not."""
        session = self._session
        if transfer.mode == "watch":
            self._read(transfer, content, out)
        item = session.item(frame, left)
        item.verdicts = _each(transfer, frame, PASSED)
        transfer.sent += len(frame.raw)
        if transfer.end is not None:
            if transfer.mode == "watch":
                # Nothing can be done about it any more; a capture says what would have been done.
                gone = frame if session.dry else msgspec.structs.replace(frame, raw=frame.raw or b"-")
                transfer.item = session.item(gone, 0 if session.dry else len(gone.raw))
                self._judge(transfer, frame.at, world, out)
            else:
                self._note_unjudged(transfer, frame.at, out)
                self._forget(transfer)
        session.enqueue(item)
        session.pump(frame.way, world, out, frame.at)

    def _read(self, transfer: Transfer, content: bytes, out: list[Effect]) -> None:
        """Content to be judged, unless it is too long to be."""
        if transfer.unread or not content:
            return
        if transfer.mode != "spool" and transfer.bytes > self._session.kit.limits.file_scan_bytes:
            transfer.unread = True
            out.append(Discard(transfer.id))
        else:
            out.append(Spool(transfer.id, content))

    def _hold(
        self, transfer: Transfer, frame: Frame, left: int, content: bytes, world: World, out: list[Effect],
    ) -> None:
        """Keep what would leave (all but `left` bytes, which have left already); answer the sender."""
        session, way = self._session, frame.way
        decoder = session.decoder
        assert decoder is not None
        acts: list[Act] = decoder.apply(frame, _each(transfer, frame, HELD))
        if not session.arranged(acts, frame.at, world, out):
            return
        own: list[bytes] = []
        answers: list[Send] = []
        for act in acts:
            if isinstance(act, Send):
                if act.way is way:
                    own.append(act.data)
                else:
                    answers.append(act)
            elif isinstance(act, Cut):
                session.cut(frame.at, world, out, polite=False, reason=act.reason)
                return
            elif isinstance(act, Expect):
                out.append(act)
        raw = own[0] if len(own) == 1 else b"".join(own)
        if left:
            raw = raw[left:]
            transfer.sent += left
        if transfer.mode == "spool":
            if content or raw:
                out.append(Spool(transfer.id, content, raw))
            transfer.spooled += len(raw)
        else:
            self._read(transfer, content, out)
            if raw:
                transfer.tail.append((raw, len(content)))
                transfer.tail_bytes += len(raw)
                transfer.tail_content += len(content)
        for answer in answers:  # the sender is told that we have it once we have it
            if transfer.inband:
                session.aside(answer, out)
            elif not session.finished(answer.way):
                out.append(answer)
        if transfer.tail:
            self._flow(transfer, out)

    def _flow(self, transfer: Transfer, out: list[Effect]) -> None:
        """Let the older part of a streamed file go, as far as a tail of its content stays."""
        session, way, tail = self._session, transfer.way, transfer.tail
        most = session.kit.limits.file_tail_bytes
        while tail and not (session.waits(way) and not transfer.inband):  # what came before must leave before
            data, content = tail[0]
            if transfer.tail_bytes - len(data) < most or transfer.tail_content - content < most:
                break
            tail.popleft()
            transfer.tail_bytes -= len(data)
            transfer.tail_content -= content
            transfer.sent += len(data)
            out.append(Send(way, data))
        if transfer.tail_bytes > _WRAPPED * most and not transfer.unread:
            # Little content in large wrappings: the tail is too long for memory, so it goes to the disk.
            for data, _ in tail:
                out.append(Spool(transfer.id, b"", data))
            transfer.spooled = transfer.tail_bytes
            transfer.mode = "spool"
            tail.clear()
            transfer.tail_bytes = transfer.tail_content = 0

    def _ended(self, transfer: Transfer, frame: Frame, left: int, world: World, out: list[Effect]) -> None:
        """All of it is here: it is judged, and its last frame waits for the verdict."""
        session = self._session
        transfer.item = item = session.item(frame, left)
        item.file = transfer
        if not transfer.inband:
            session.enqueue(item)
        self._judge(transfer, frame.at, world, out)

    def _judge(self, transfer: Transfer, at: float, world: World, out: list[Effect]) -> None:
        self._open.pop(transfer.name, None)
        transfer.deadline = at + self._session.kit.limits.file_seconds
        if transfer.unread:
            most = self._session.kit.limits.file_scan_bytes
            self.judged(Judged(transfer.id, at, None, f"longer than the {most} bytes that are judged"), world, out)
            return
        if not transfer.bytes:
            out.append(Spool(transfer.id, b""))  # an empty file is a file, too
        out.append(Judge(transfer.id, self._file(transfer, None), transfer.rules, self._session.flow.client.ip))
        if not self._session.dry:
            self._session.wake_at(transfer.deadline, out)

    def _file(self, transfer: Transfer, report: FileReport | None) -> File:
        """The event that the policy sees."""
        offer, end = transfer.offer, transfer.end
        seen = transfer.start.offset + transfer.bytes
        complete = (
            transfer.complete and end is not None and end.complete and transfer.mode != "pass"
            and (offer.size is None or seen >= offer.size)
        )
        return File(
            sender=offer.sender, recipients=offer.recipients, conversation=offer.conversation,
            file_name=offer.file_name, size=transfer.bytes if transfer.mode != "pass" else offer.size,
            method=offer.method, declared_type=offer.declared_type, address=offer.address, id=offer.id,
            sha256=report.sha256 if report else None, sha1=report.sha1 if report else None,
            md5=report.md5 if report else None, kinds=report.kinds if report else (),
            media_type=report.media_type if report else None, complete=complete,
            members=report.members if report else 0, encrypted=report.encrypted if report else False,
            offer=transfer.offered,
            mode=transfer.told, sent=0 if self._session.dry else transfer.sent, texts=offer.texts,
        )

    # -- answers

    def judged(self, inp: Judged, world: World, out: list[Effect]) -> None:
        """The verdict on the content."""
        transfer = self._all.get(inp.file)
        if transfer is None or transfer.deadline is None or transfer.item is None:
            return
        transfer.deadline = None
        session, item, rules = self._session, transfer.item, transfer.rules
        context, way = session.context, transfer.way
        self._take_user(transfer)
        if context.policy is not rules.policy:
            session.enter(rules)
        report = inp.report
        found: tuple[Finding, ...] = report.findings if report is not None else ()
        event = self._file(transfer, report if report is not None and report.sha256 else None)
        asked: Verdict | None = None
        if report is None or inp.failure is not None:
            event = msgspec.structs.replace(event, complete=False)
            asked = session.failed_scan(
                event, inp.failure or "the file was not judged", way, inp.at, policy_rules=rules, out=out)
        if found or inp.failure is None:
            # What one judge has found counts although another one has failed.
            said = rules.policy.decide(event, context, way, inp.at, found)
            if said is not None and (asked is None or asked.action is Action.PASS or said.action > asked.action):
                asked = said
        if inp.failure is not None or report is None:
            found = (*found, rows.UNSCANNED)
        cover = None
        if asked is not None and asked.action is Action.HOLD:
            cover = session.cover(event, way, inp.at, world)
        did = PASSED if asked is None or cover is not None else session.did(item, event, asked)
        if cover is not None:
            out.append(Came(cover.hold, True))
        verdict = session.outcome(item, event, asked, found, inp.at, out, did, did.action, 0, cover)
        item.verdicts = _each(transfer, item.frame, verdict)
        if transfer.mode == "watch":
            self._discard(transfer, out)
            self._forget(transfer)
            if session.closed(way):
                session.finish(way, world, out, inp.at)
            return
        self._go_on(transfer, inp.at, world, out)

    def unspooled(self, inp: Unspooled, world: World, out: list[Effect]) -> None:
        """More of a released file."""
        transfer = self._all.get(inp.file)
        if transfer is None or not transfer.unspooling:
            return
        session = self._session
        if inp.failure is not None:
            session.note_trouble("store_failed", inp.failure, "cut", inp.at, out)
            session.cut(inp.at, world, out, reason="store_failed")
            return
        transfer.done = inp.end
        transfer.moved = inp.at
        if transfer.inband:
            transfer.pending += inp.data
            self.speak(transfer.way, inp.at, world, out)
            return
        if inp.data:
            out.append(Send(transfer.way, inp.data))
        self._more(transfer, inp.at, world, out)

    def _more(self, transfer: Transfer, at: float, world: World, out: list[Effect]) -> None:
        if transfer.done:
            self._go_on(transfer, at, world, out)
        else:
            out.append(Unspool(transfer.id, transfer.way))

    def speak(self, way: Way, at: float, world: World, out: list[Effect]) -> None:
        """In-band bytes that wait for a unit boundary."""
        session = self._session
        for transfer in tuple(self._all.values()):
            if transfer.pending and transfer.way is way and session.decoder is not None:
                if not session.decoder.ready(way):
                    return
                out.append(Send(way, transfer.pending))
                transfer.pending = b""
                self._more(transfer, at, world, out)

    def _go_on(self, transfer: Transfer, at: float, world: World, out: list[Effect]) -> None:
        """A verdict, a row on disk, a piece sent: what follows."""
        session, item = self._session, transfer.item
        if item is None:
            return  # it is forgotten: the session has ended
        if not transfer.inband:
            session.pump(transfer.way, world, out, at)
        elif item.verdicts is not None and not item.kept and self.release(item, out):
            session.deliver(item.frame, tuple(item.verdicts), item.left, world, out)
        if transfer.inband and session.closed(transfer.way) and not session.over and not session.waits(transfer.way):
            session.finish(transfer.way, world, out, at)

    def kept(self, item: Item, at: float, world: World, out: list[Effect]) -> None:
        """A row of an item beside the queue is on disk."""
        if item.file is not None:
            self._go_on(item.file, at, world, out)

    def release(self, item: Item, out: list[Effect]) -> bool:
        """Send, or throw away, what was held of the file whose last frame is `item`. True: that frame may go now."""
        transfer = item.file
        assert transfer is not None
        assert item.verdicts is not None
        if transfer.closed:
            return True
        verdict = max(item.verdicts, key=lambda v: v.action)
        way = transfer.way
        if verdict.action >= Action.WARN and not transfer.unspooling and not transfer.done:
            self._tell(transfer, verdict, out)
        if verdict.placeholder is not None:
            # Words for people: content has no place for them.
            item.verdicts = [msgspec.structs.replace(one, placeholder=None) for one in item.verdicts]
        if verdict.action >= Action.BLOCK:
            transfer.pending = b""
        elif transfer.mode == "stream":
            data = b"".join(raw for raw, _ in transfer.tail)
            transfer.tail.clear()
            transfer.tail_bytes = transfer.tail_content = 0
            if data and transfer.inband and not self._ready(way):
                transfer.pending, transfer.done = data, True
                return False
            if data:
                out.append(Send(way, data))
        elif transfer.spooled and not transfer.done:
            if not transfer.unspooling:
                transfer.unspooling = True
                out.append(Unspool(transfer.id, way))
                self._watch_over(transfer.moved, out)
            return False
        if transfer.pending:
            return False
        self._discard(transfer, out)
        self._forget(transfer)
        return True

    def _ready(self, way: Way) -> bool:
        decoder = self._session.decoder
        return decoder is not None and decoder.ready(way)

    def _tell(self, transfer: Transfer, verdict: Verdict, out: list[Effect]) -> None:
        """Tell the people of the conversation where the file was offered."""
        expected = transfer.start.expected
        if expected is None or expected.flow is None or expected.flow == self._session.flow.id:
            return
        offer = transfer.offer
        out.append(Tell(expected.flow, Notice(notice_of(offer, verdict), offer, words_for_reader(offer, verdict))))

    def woke(self, at: float, world: World, out: list[Effect]) -> None:
        """No verdict in time is a failed scan; a file that does not move is given up."""
        for transfer in tuple(self._all.values()):
            if transfer.closed or self._session.over:
                continue
            if transfer.deadline is None:
                self._stuck(transfer, at, world, out)
            elif transfer.deadline <= at:
                self.judged(Judged(transfer.id, at, None, "no answer in time"), world, out)
            else:
                self._session.wake_at(transfer.deadline, out)

    def _stuck(self, transfer: Transfer, at: float, world: World, out: list[Effect]) -> None:
        """Whoever sends or takes nothing for long gives back the room that is held for him."""
        session = self._session
        if transfer.mode == "pass" or (transfer.end is not None and not transfer.unspooling) or transfer.done:
            return
        idle = session.kit.limits.file_idle_seconds
        if at < transfer.moved + idle:
            session.wake_at(transfer.moved + idle, out)
            return
        if transfer.mode == "refused":
            self._drop(transfer, out)
            return
        why = f"a file did not move for {idle:g} seconds"
        if transfer.mode == "watch":
            session.note_trouble("overload", why, "pass", at, out)
            out.append(Discard(transfer.id))
            transfer.mode, transfer.complete = "pass", False
            return
        alone = transfer.inband and not transfer.unspooling
        session.note_trouble("overload", why, "block" if alone else "cut", at, out)
        if transfer.end is None:
            self._note_unjudged(transfer, at, out)
        self._drop(transfer, out)
        if not alone:
            session.cut(at, world, out, reason="a file that does not move")

    def end(self, at: float, out: list[Effect]) -> None:
        """The session is over: what was not decided was delivered to nobody."""
        for transfer in tuple(self._all.values()):
            item = transfer.item
            if transfer.mode != "refused" and (item is None or item.verdicts is None):
                self._note_unjudged(transfer, at, out)
            elif item is not None and item.verdicts and max(v.action for v in item.verdicts) < Action.BLOCK:
                self._session.note_trouble(
                    "undelivered", "the session ended before a released file was sent", "block", at, out)
            self._drop(transfer, out)

    # -- endings of one file

    def _note_unjudged(self, transfer: Transfer, at: float, out: list[Effect]) -> None:
        """The row of a file that nobody judged."""
        transfer.complete = False
        self._session.note_file(self._file(transfer, None), transfer.way, at, out)

    def _drop(self, transfer: Transfer, out: list[Effect]) -> None:
        self._discard(transfer, out)
        self._forget(transfer)

    def _discard(self, transfer: Transfer, out: list[Effect]) -> None:
        if not transfer.closed:
            transfer.closed = True
            transfer.tail.clear()
            transfer.tail_bytes = transfer.tail_content = 0
            transfer.pending = b""
            out.append(Discard(transfer.id))

    def _forget(self, transfer: Transfer) -> None:
        self._all.pop(transfer.id, None)
        transfer.item = None  # which holds the file
        if self._open.get(transfer.name) is transfer:
            del self._open[transfer.name]


def _row_of(start: FileStart, flow: str, world: World, at: float) -> str | None:
    """The id of the row of the offer that a file came of. By its session, too: others may offer something in the same
    words. A passive offer names no address, its answer does."""
    tried: list[tuple[str | None, FileOffer]] = [(flow, start.offer)]
    expected = start.expected
    if expected is not None and expected.offer is not None:
        passive = msgspec.structs.replace(expected.offer, address=None)
        tried += [(expected.flow, expected.offer), (expected.flow, passive)]
    return next((found for key in tried if (found := world.offers.get(offer_key(*key), at)) is not None), None)


def _each(transfer: Transfer, frame: Frame, content: Verdict) -> list[Verdict]:
    """One verdict for each event: `content` for the file's, for an offer what was decided of it, if that is worse than
    what becomes of the file."""
    said, transfer.said = iter(transfer.said), ()
    offer = PASSED if content is HELD else content
    return [
        content if isinstance(event, FILE_CONTENT) else max(next(said, offer), offer, key=lambda one: one.action)
        for event in frame.events
    ]


def notice_of(offer: FileOffer, verdict: Verdict) -> str:
    """What people are told of a refused file."""
    text = verdict.notice
    if text is None:
        text = _named(NOTICE_FILE_WARN if verdict.action is Action.WARN else NOTICE_FILE, offer)
    return " ".join(text.replace("{reference}", verdict.reference).split())


def words_for_reader(offer: FileOffer, verdict: Verdict) -> str:
    """What he reads for whom the file was: the rule's placeholder, never what it says to the sender. Empty: nothing."""
    if verdict.action < Action.BLOCK:
        return ""
    text = verdict.placeholder
    if text is None:
        text = "" if verdict.notice == "" else _named(NOTICE_FILE, offer)
    return " ".join(text.replace("{reference}", verdict.reference).split())


def named_file(text: str, name: str) -> str:
    """`text` with the file's name in place of {name}: as much of it as a notice repeats."""
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
    return text.replace("{name}", f'"{shown}"' if shown else "")


def _named(text: str, offer: FileOffer) -> str:
    return named_file(text, offer.file_name)


__all__ = ["FileDesk", "named_file", "notice_of", "words_for_reader"]
