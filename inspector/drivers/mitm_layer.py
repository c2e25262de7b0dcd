"""One conversation of the live proxy: bytes and news go into its Session, effects come out.

Knows neither sockets nor mitmproxy: the driver's I/O (mitm_io, mitm) hands it an outlet. Here is the one catch-all of
the package (design §6): mitmproxy loses the chunk on which a layer raises and forwards the next one, so an error of
ours must be caught at the top, noted as `trouble internal`, and end the session on both sides.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from inspector.drivers.spool import Spool as Disk
from inspector.drivers.spool import Spooled, SpoolError
from inspector.model import (
    UP,
    Arrived,
    Came,
    Chunk,
    Closed,
    Cut,
    Deliver,
    Discard,
    Effect,
    Expect,
    Finish,
    Flow,
    Hold,
    Input,
    Judge,
    Judged,
    Kept,
    Killed,
    Note,
    Notice,
    Scan,
    Scanned,
    Secured,
    Send,
    Spliced,
    Spool,
    StartTls,
    Tell,
    Troubled,
    Unhold,
    Unspool,
    Unspooled,
    WakeAt,
    Way,
    Woke,
)


class SessionLike(Protocol):
    """What the driver needs of inspector.engine.session.Session."""

    @property
    def over(self) -> bool: ...
    def step(self, given: Input, world: Any) -> list[Effect]: ...
    def queued(self, way: Way) -> int: ...


class Timer(Protocol):
    """What loop.call_later returns."""

    def cancel(self) -> None: ...


class Host(Protocol):
    """What a conversation asks of the gateway that runs it."""

    @property
    def world(self) -> Any:
        """The world that spans the worker's flows, handed to every step."""
        ...

    def clock(self) -> float:
        """Seconds since the epoch, never running back."""
        ...

    def scan(self, effect: Scan, done: Callable[[Scanned], None], client: str) -> None:
        """Run a long scan off the loop; `done` is called on the loop, later. `client`: whose turn it takes."""
        ...

    def note(self, note: Note, done: Callable[[Kept], None] | None) -> None:
        """Hand a row to the event log; `done`, when given, is called on the loop once it is durable or failed."""
        ...

    def note_first(self, note: Note, client: str, then: Callable[[], None]) -> bool:
        """Hand a row of trouble to the event log; `then` is called on the loop, later, once it is durable or cannot
        be. False: too many wait for such rows; it was not taken."""
        ...

    @property
    def disk(self) -> Disk:
        """The spool of files."""
        ...

    def judge(self, effect: Judge, file: Spooled, done: Callable[[Judged], None]) -> Callable[[], None]:
        """Judge a spooled file; `done` is called on the loop, later. What is returned takes the question back."""
        ...

    def tell(self, flow: str, notice: Notice) -> None:
        """Post Told(notice) to the session of that flow, later, if it lives here."""
        ...

    def hold(self, effect: Hold, content: int, done: Callable[[Kept], None]) -> None:
        """Store what waits for a reviewer; `done` is called on the loop, later. `content`: a descriptor of a file's
        content, which is the host's to close; -1: none."""
        ...

    def deliver(self, flow: str, effect: Deliver, done: Callable[[Kept], None]) -> None:
        """Write durably that a released item is being sent in this session; `done` is called on the loop, later."""
        ...

    def review(self, flow: str, effect: Unhold | Came | Arrived) -> None:
        """Tell the hold desk what became of an item, or who has come."""
        ...

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call after `delay` seconds."""
        ...

    def log(self, sentence: str) -> None:
        """One sentence for the administrator."""
        ...


class Outlet(Protocol):
    """Where effects go: the two peers, through TLS where it stands."""

    def finish(self, way: Way) -> None:
        """Half-close: the peer that reads `way` gets the end of the stream after what was sent."""
        ...

    def cut(self) -> None:
        """Flush what was sent, close both sides, read nothing more."""
        ...

    def secure(self, effect: StartTls) -> None:
        """Begin TLS, upstream first."""
        ...

    def post(self, news: Input) -> None:
        """Bring news (a scan's result, a timer) to `Conversation.step` along the path that the bytes take."""
        ...

    def when_room(self, way: Way, call: Callable[[], None]) -> None:
        """Call, later, once the peer that reads `way` has read enough of what was sent to it."""
        ...


Write = Callable[[bytes], object]

_EFFECT = 512
"""What an effect that waits behind a row of trouble counts for, beside its bytes: a flood of small ones has its bound,
too."""


def trouble_row(
    flow: Flow, number: int, at: float, name: str, detail: str, did: str | None = "cut",
) -> dict[str, Any]:
    """A `trouble` row of the driver's own, in the shape of design §10. Its ids have a "d": the engine counts from 1."""
    return {
        "event": "trouble", "id": f"{flow.id}-d{number}", "t": at, "flow": flow.id, "name": name, "detail": detail,
        "protocol": None, "way": None, "did": did, "user": None, "listener": flow.listener,
        "client": {"ip": flow.client.ip, "port": flow.client.port},
        "server": {"ip": flow.server.ip, "port": flow.server.port}, "message": None, "count": None,
    }


def where(error: BaseException) -> str:
    """Type and place of an error, without its text: that may hold what a peer said."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )


def _nowhere(data: bytes) -> None:
    """The writer when nobody is left."""


class _Nobody:
    """The outlet when nobody is left."""

    def __init__(self, conversation: Conversation, host: Host) -> None:
        self._conversation = conversation
        self._host = host

    def finish(self, way: Way) -> None: ...

    def cut(self) -> None: ...

    def secure(self, effect: StartTls) -> None: ...

    def post(self, news: Input) -> None:
        self._conversation.step(news)

    def when_room(self, way: Way, call: Callable[[], None]) -> None:  # noqa: ARG002 - the shape of an Outlet
        self._host.later(0.0, call)


class _Closed:
    """The outlet of a session that is over: a word that still comes for it finds nobody, and nothing is held by it."""

    def finish(self, way: Way) -> None: ...

    def cut(self) -> None: ...

    def secure(self, effect: StartTls) -> None: ...

    def post(self, news: Input) -> None: ...

    def when_room(self, way: Way, call: Callable[[], None]) -> None: ...


_CLOSED = _Closed()


class Conversation:
    """A live session: its flow, its engine Session, and the writers of both ways.

    `write[way]` takes the bytes for the peer that reads `way`; the I/O sets and replaces it: plain, through TLS, or
    through layers.
    """

    __slots__ = (
        "__weakref__", "_before_end", "_behind", "_behind_bytes", "_files", "_host", "_judging", "_notes", "_timer",
        "_wake_at", "bytes", "ended", "flow", "last", "outlet", "over", "securing", "session", "up", "write",
    )

    def __init__(self, flow: Flow, session: SessionLike, host: Host, outlet: Outlet, up: Write, down: Write) -> None:
        self.flow = flow
        self.session = session
        self.outlet = outlet
        self.write: list[Write] = [up, down]
        self.last = flow.opened
        """When something last arrived, for the idle limit."""
        self.bytes = 0
        self.up = 0
        """Of these, the client's."""
        self.over = False
        """After a cut, or when the engine says so: nothing more is read."""
        self.securing: StartTls | None = None
        """Between the agreement to start TLS and the word to the client to begin."""
        self.ended = 0
        """Ways whose writer has closed, as bits (1 UP, 2 DOWN)."""
        self._host = host
        self._behind: deque[Effect] | None = None
        """Effects behind a barrier: a row of trouble that is not on disk yet. None: there is no barrier."""
        self._behind_bytes = 0
        self._before_end: Callable[[], None] | None = None
        """What layers wait for that open TLS, when it has failed."""
        self._files: dict[str, Spooled] | None = None
        """What is in the spool."""
        self._judging: dict[str, Callable[[], None]] | None = None
        """Files that are being judged, and how to take the question back."""
        self._timer: Timer | None = None
        self._wake_at = 0.0
        self._notes = 0

    # -- from the I/O

    def receive(self, way: Way, data: bytes) -> None:
        """Bytes that the peer writing `way` has sent."""
        if self.over or self.ended >> way & 1:
            return
        self.last = now = self._host.clock()
        size = len(data)
        self.bytes += size
        if way is UP:
            self.up += size
        if self.securing is None:
            self.step(Chunk(way, now, data))
        else:
            self.injected()

    def injected(self) -> None:
        """Plaintext of the client's behind the agreement to start TLS: CVE-2011-0411 and its kin."""
        if self.ending:
            return
        self.step(Troubled(self._host.clock(), "injection", "plaintext from the client behind STARTTLS"))
        self._end_behind()

    def closed(self, way: Way) -> None:
        """The peer that writes `way` has ended its side."""
        bit = 1 << way
        if self.over or self.ended & bit:
            return
        self.ended |= bit
        self.step(Closed(way, self._host.clock()))

    @property
    def busy(self) -> bool:
        """Whether a file is still being judged or released."""
        return bool(self._files or self._judging)

    def orphaned(self) -> None:
        """Both connections are gone. A file that is being judged is judged to its end: the log is to know it."""
        self.write = [_nowhere, _nowhere]
        self.outlet = _Nobody(self, self._host)
        self.closed(Way.UP)
        self.closed(Way.DOWN)
        if not self.busy:
            self.end()

    def _settle(self) -> None:
        """Nobody is left to answer or to send to: what the session still waits for comes to nothing, and its last rows
        are written."""
        if self.over or self.session.over:
            return
        self._only_news(self._effects(Killed(self._host.clock(), "both sides have ended")))

    def broken(self, way: Way) -> None:
        """The connection of the peer that writes `way` cannot go on (TLS that is broken), nor can the other one."""
        self.closed(way)
        self.lost()

    def lost(self) -> None:
        """Both connections end now: nobody is spoken to, and what the session leaves behind is told."""
        self._settle()
        self.end()

    def splice(self, protocol: str, why: str) -> None:
        """TLS that is left alone: the session will pass it on unread, or cut."""
        self.step(Spliced(self._host.clock(), protocol, why))

    def secured(
        self, ok: bool, detail: str = "", same: bool = False, then: Callable[[], None] | None = None,
    ) -> None:
        """TLS that `StartTls` asked for stands on both sides (`same`: with one certificate), or failed (the session
        then ends). `then`: called when the client may be told that it failed, before the end."""
        self.securing = None
        self._before_end = then
        self.step(Secured(self._host.clock(), ok, detail, same))
        if not ok:
            self._end_behind()

    def kill(self, reason: str) -> None:
        """End politely, by an operator's word or the drain."""
        self.outlet.post(Killed(self._host.clock(), reason))

    def held(self, way: Way, limit: int) -> bool:
        """Whether more than `limit` bytes wait in the session that way; nothing more is read for one that only waits
        to be ended."""
        if self._behind is not None and (self.session.over or self._behind_bytes > limit):
            return True
        return self.session.queued(way) > limit

    @property
    def ending(self) -> bool:
        """Whether it is over but for a row that is not on disk yet."""
        return self._behind is not None and self.session.over

    # -- the step

    def step(self, given: Input) -> None:
        """Give `given` to the session and carry out what it answers. Never raises for an error of engine or decoder."""
        if self.over:
            return
        if type(given) is Kept and not given.id:
            self._pass_barrier()
            return
        effects = self._effects(given)
        if self._behind is not None:
            self._put_behind(effects)
        elif len(effects) == 1 and type(effect := effects[0]) is Send:
            self.write[effect.way](effect.data)  # what nearly every message is
        else:
            self._carry_out_all(effects)
        if self.session.over or self.ended == 3:
            self._after()

    def _carry_out_all(self, effects: Iterable[Effect]) -> None:
        rest = iter(effects)
        for effect in rest:
            if type(effect) is Send:
                self.write[effect.way](effect.data)
                continue
            if type(effect) is Note and effect.barrier:
                self._barrier(effect, rest)
                return
            self._carry_out(effect)
            if self.over:
                return

    def _after(self) -> None:
        """Whether it is over now. What ends it may stand behind a barrier, unless nobody is left to notice."""
        if self.over or (self._behind is not None and self.ended != 3):
            return
        if self.session.over:
            self.end()
        elif self.ended == 3 and not self.busy:
            self._settle()
            self.end()

    # -- rows of trouble that must be on disk before the peers notice

    def _barrier(self, note: Note, effects: Iterable[Effect]) -> None:
        """Nothing behind this row is carried out before it is on disk. Other such rows that stand behind it already are
        waited for with it, all at once: the log writes rows in their order, and the last one on disk means all."""
        behind: list[Effect] = []
        for effect in effects:
            if type(effect) is Note and effect.barrier:
                self._host.note(Note(0, note.row, needed=True, barrier=True), None)
                note = effect
            else:
                behind.append(effect)
        if self.ended != 3 and self._host.note_first(note, self.flow.client.ip, self._written):
            self._behind = deque()
            self._behind_bytes = 0
            self._put_behind(behind)
        else:
            self._host.note(Note(0, note.row), None)
            self._carry_out_all(behind)

    def _put_behind(self, effects: Iterable[Effect]) -> None:
        assert self._behind is not None
        for effect in effects:
            self._behind.append(effect)
            self._behind_bytes += _EFFECT
            if type(effect) is Send:
                self._behind_bytes += len(effect.data)
            elif type(effect) is Spool:
                self._behind_bytes += len(effect.content) + len(effect.raw)

    def _written(self) -> None:
        """The row is on disk: go on, along the path that bytes take. Layers that open TLS do not lead here."""
        if self._behind is None or self.over:
            return
        if self.securing is not None or self._before_end is not None:
            self._pass_barrier()
        else:
            self.outlet.post(Kept(0, self._host.clock()))

    def _pass_barrier(self) -> None:
        if self._behind is not None:
            self._tell_layers()  # which may end it
        behind, self._behind = self._behind, None
        if behind is not None:
            self._carry_out_all(behind)
            self._after()

    def _tell_layers(self) -> None:
        then, self._before_end = self._before_end, None
        if then is not None:
            then()

    def _end_behind(self) -> None:
        """End, behind what waits for a row."""
        if self._behind is not None:
            self._behind.append(Cut())
        else:
            self.end()

    def _only_news(self, effects: Iterable[Effect]) -> None:
        """Of what cannot be carried out any more: what others must know."""
        for effect in effects:
            if isinstance(effect, Note):
                self._host.note(Note(0, effect.row, needed=effect.durable or effect.needed), None)
            elif isinstance(effect, Unhold | Came | Tell):
                self._carry_out(effect)

    def _effects(self, given: Input) -> list[Effect]:
        crashed = ""
        while True:
            try:
                return self.session.step(given, self._host.world)
            except Exception as error:  # the one catch-all: see the module's docstring
                place = where(error)
                self._host.log(f"session {self.flow.id} is cut because of an internal error: {place}")
                if crashed:
                    # Not even the engine's own answer to trouble came: say it for it
                    return [Note(0, self._row("internal", crashed), barrier=True), Cut("internal")]
                crashed = place
                given = Troubled(self._host.clock(), "internal", place)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Note):
            self._host.note(effect, self._post if effect.durable and effect.id > 0 else None)
        elif isinstance(effect, Scan):
            self._host.scan(effect, self._post, self.flow.client.ip)
        elif isinstance(effect, WakeAt):
            self._wake(effect.at)
        elif isinstance(effect, Spool):
            self._spool(effect)
        elif isinstance(effect, Unspool):
            self.outlet.when_room(effect.way, lambda: self._unspool(effect))
        elif isinstance(effect, Judge):
            self._judge(effect)
        elif isinstance(effect, Discard):
            self._discard(effect.file)
        elif isinstance(effect, Tell):
            self._host.tell(effect.flow, effect.notice)
        elif isinstance(effect, Finish):
            self.outlet.finish(effect.way)
        elif isinstance(effect, Hold):
            self._hold(effect)
        elif isinstance(effect, Deliver):
            self._host.deliver(self.flow.id, effect, self._post)
        elif isinstance(effect, Unhold | Came | Arrived):
            self._host.review(self.flow.id, effect)
        elif isinstance(effect, StartTls):
            self.securing = effect
            self.outlet.secure(effect)
        elif isinstance(effect, Cut):
            self.end()
        else:
            assert isinstance(effect, Send | Expect)  # Send went before; Expect is kept by the world already

    def _post(self, news: Input) -> None:
        """An answer that comes later takes the outlet of its own time: layers come and go."""
        self.outlet.post(news)

    def _wake(self, at: float) -> None:
        """One timer a session. A later wish only moves the time: a timer that fires too early arms itself again."""
        early = self._timer is None or at < self._wake_at
        self._wake_at = at
        if early:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._host.later(max(0.0, at - self._host.clock()), self._woke)

    def _woke(self) -> None:
        self._timer = None
        if self.over:
            return
        now = self._host.clock()
        if now < self._wake_at:
            self._timer = self._host.later(self._wake_at - now, self._woke)
        else:
            self.outlet.post(Woke(now))

    def _hold(self, effect: Hold) -> None:
        content = -1
        if effect.file is not None:
            file = self._files.get(effect.file) if self._files else None
            try:
                content = file.content() if file is not None else -1
            except SpoolError:
                content = -1
            if content < 0:
                # What is not in the spool any more cannot be kept.
                failed = Kept(effect.id, self._host.clock(), False, "store_failed")
                self._host.later(0.0, lambda: self.outlet.post(failed))
                return
        self._host.hold(effect, content, self._post)

    # -- files

    def _file(self, name: str) -> Spooled:
        if self._files is None:
            self._files = {}
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = self._host.disk.open(self.flow.client.ip)
        return file

    def _spool(self, effect: Spool) -> None:
        file = self._file(effect.file)
        if file.failure is None:
            try:
                file.append(effect.content, effect.raw)
            except SpoolError as error:
                self._failed(effect.file, str(error))

    def _failed(self, name: str, failure: str) -> None:
        """Say so later: an answer is never given inside the step that asked."""
        self._host.later(0.0, lambda: self.outlet.post(Judged(name, self._host.clock(), None, failure)))

    def _judge(self, effect: Judge) -> None:
        name, file = effect.file, self._file(effect.file)
        if file.failure is not None:
            self._failed(name, file.failure)
            return
        if self._judging is None:
            self._judging = {}
        waiting = self._judging

        def done(answer: Judged) -> None:
            if waiting.pop(name, None) is not None and not self.over:
                self.outlet.post(answer)

        waiting[name] = self._host.judge(effect, file, done)

    def _unspool(self, effect: Unspool) -> None:
        if self.over:
            return
        now = self._host.clock()
        file = self._files.get(effect.file) if self._files else None
        if file is None:
            answer = Unspooled(effect.file, now, b"", True, "there is no such file in the spool")
        else:
            try:
                answer = Unspooled(effect.file, now, *file.next())
            except SpoolError as error:
                answer = Unspooled(effect.file, now, b"", True, str(error))
        self.last = now  # a peer that reads slowly is not idle
        self.outlet.post(answer)

    def _discard(self, name: str) -> None:
        if self._judging and (take_back := self._judging.pop(name, None)) is not None:
            take_back()
        if self._files and (file := self._files.pop(name, None)) is not None:
            file.discard()

    # -- the end

    def _row(self, name: str, detail: str) -> dict[str, Any]:
        """A row of trouble that the driver itself met."""
        self._notes += 1
        return trouble_row(self.flow, self._notes, self._host.clock(), name, detail)

    def end(self) -> None:
        """Flush and close both sides; nothing more is read or stepped."""
        if not self.over:
            self._tell_layers()  # which may end it
            self._end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        behind, self._behind = self._behind, None
        # What was to be sent behind a row has not been.
        self._only_news(
            msgspec.structs.replace(effect, sent=False) if isinstance(effect, Came) and effect.sent else effect
            for effect in behind or ())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for name in (*(self._files or ()), *(self._judging or ())):
            self._discard(name)
        self.outlet.cut()
        # What it wrote to holds it, too: let go, all dies without the collector.
        self.outlet = _CLOSED
        self.write = [_nowhere, _nowhere]
