"""The hold desk: the life of what waits for a reviewer, between those who run sessions and those who review.

    held -> released -> delivering -> delivered          denied, expired: it ends without having been delivered
                ^-----------'  (not sent in that session)        uncertain: nobody knows whether it was delivered

One desk for the gateway, in the process that owns the hold store; the sessions may live in other processes. `Holds`
(drivers/mitm_server) is what they ask of it, `Floor` is what it asks of them: plain values both ways, so that either
can stand behind a socket. Whatever is done with one item is done in the order it was asked for.

In memory: the heads of what is released and not yet delivered (at most limits.hold_items, without texts and content),
by the user it waits for; a session is given one item at a time. Every step is a `review` row of the event log; a look
at content, a release and `delivering` go on only when their row is on disk.

Between a change of an item and its row there is no half state: the store keeps the row in the transaction of the change
until the log has it, and a start writes what a crash left out. What was stored and has no verdict in the log yet is
nobody's to review; when the verdict does not come, because its session or its process died, it is erased: it was
undecided, so it is delivered to nobody (decision 88).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import math
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from inspector.app.errors import UserError
from inspector.drivers.metrics import Family, one
from inspector.engine.covers import SEALED, bare
from inspector.model import DOWN, STEPS, UP, Arrived, Cover, Held, Limits, Notice, Place, Released, Told
from inspector.store.holds import WAITING, Damaged, HoldError, HoldFull, HoldStore, Item, Opened, Row
from inspector.store.lines import shown
from inspector.store.retention import Clock
from inspector.store.sqlite import Reader, StoreError, location

if TYPE_CHECKING:
    from inspector.app.config import Config

T = TypeVar("T")
Put = Callable[[dict[str, Any], Callable[[bool], None] | None], None]
"""A row for the event log; with a second argument it is durable, and that is called, from any thread, when it is on
disk."""

Logged = Callable[[Sequence[str]], tuple[set[str], float | None] | None]
"""(which of these are ids of rows of the event log, of verdicts only those that hold; since when it has rows); None: it
cannot be read just now."""

THREADS = 4
BIG_WRITES = 2
"""Files that are stored at a time: messages never wait for a file alone."""
LOOK_SECONDS = 30.0
"""Time between two looks for what has expired."""
DUE = 200
"""Items of one such look."""
TRIED = 16
"""Sessions of one user that are given an item one after another, until he signs on anew."""
ANSWER_SECONDS = 3.0
"""A release waits so long to say that the item was sent, then says that it is queued."""
EXPORTS = 16
"""Exports under way; the oldest gives way."""
WISHES = 1000
"""Wishes that wait for a second person; the oldest gives way."""
EXPORT_SECONDS = 120.0
"""An export that asks for no piece so long is over."""
NOTE = 1000
"""Characters of a reviewer's note."""
PROOF_SECONDS = 5.0
"""Seconds beyond twice limits.store_seconds after which a verdict that is not in the log never comes: its session has
given it up, or is no more."""

DENIED = "Your message was not released. Reference {reference}."
DENIED_FILE = "The file {name} was not released. Reference {reference}."
SEND_AGAIN = "The file {name} was released; please send it again. Reference {reference}."
SEND_AGAIN_MESSAGE = "Your message was released; please send it again. Reference {reference}."
UNDECIDED = (
    "no verdict says that it waits: the gateway or its session ended first; its sender was not told that it does, and "
    "it was delivered to nobody")
COMES_AGAIN = "The file {name} was released; its sender may send it again. Reference {reference}."


_NOT_WRITTEN = "the event log does not write: nothing is {what} that it does not know of"
_NOT_UNDONE = (
    "the event log does not write, and neither does the hold store: what becomes of {id} is known when they do")


class Floor(Protocol):
    """Those who run the sessions, as the desk sees them."""

    def post(self, flow: str, given: Released | Told) -> None:
        """Bring it to the session of a flow. What is for nobody there is answered by `came`, or never."""
        ...

    def cover(self, cover: Cover) -> None:
        """Tell all sessions of a release."""
        ...

    async def sessions_of(self, protocol: str, user: str) -> list[Place]:
        """The living sessions of a user, the newest first."""
        ...


class Rules(msgspec.Struct, frozen=True):
    """The `hold:` section and `four_eyes` of the configuration."""

    on_expiry: Literal["deny", "delete"] = "deny"
    four_eyes: frozenset[str] = frozenset()
    """show, release."""


class Counters:
    """What the desk has done since the start; plain numbers."""

    __slots__ = ("delivered", "denied", "erased", "expired", "forgotten", "full", "kept", "released", "returned",
                 "store_failed", "uncertain")

    def __init__(self) -> None:
        self.kept = 0
        self.full = 0
        """Items for which there was no room: hold_full."""
        self.store_failed = 0
        self.forgotten = 0
        """Stored, and then nobody waited for it."""
        self.released = 0
        self.returned = 0
        """Not sent in the session that had it."""
        self.delivered = 0
        self.denied = 0
        self.uncertain = 0
        self.expired = 0
        self.erased = 0


def open_desk(loaded: Config, floor: Floor, put: Put, current: Callable[[], Config]) -> HoldDesk:
    """The desk of a configuration, with its store open; `current`: the configuration as reloads change it.

    Raises UserError.
    """
    from inspector.app import logs

    store = HoldStore(loaded.store.quarantine, lambda: current().limits, key=loaded.store.key)
    desk = HoldDesk(
        store, floor, put, limits=lambda: current().limits,
        logged=lambda idents: _known(location(loaded.store.events), idents),
        rules=lambda: Rules(current().on_expiry, frozenset(current().four_eyes)),
        tell=lambda sentence: logs.tell("warning", sentence), settled=Clock().settled)
    try:
        desk.open()
    except HoldError as fault:
        raise UserError(str(fault)) from None
    return desk


def _known(path: Path, idents: Sequence[str]) -> tuple[set[str], float | None] | None:
    """See Logged."""
    try:
        with Reader(path) as reader:
            return reader.known(idents), reader.since()
    except StoreError:
        return None


class _Run:
    """What one session is given, one after another."""

    __slots__ = ("current", "queue")

    def __init__(self) -> None:
        self.queue: dict[str, None] = {}
        self.current: str | None = None


class HoldDesk:
    """See the module. `put` takes a row of the event log, and tells (from any thread) when it is on disk; `tell` one
    sentence for the administrator."""

    def __init__(
        self, store: HoldStore, floor: Floor, put: Put, *, limits: Callable[[], Limits] = Limits,
        rules: Callable[[], Rules] = Rules, tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time, settled: Callable[[float | None], bool] = lambda _: True,
        logged: Logged = lambda idents: (set(idents), None),
    ) -> None:
        """`settled`: whether the clock can be believed, given the latest time that an item says
        (store/retention.Clock). `logged`: what the event log has; called in a thread."""
        self.store = store
        self.floor = floor
        self.limits = limits
        self.rules = rules
        self.counters = Counters()
        self.states: dict[str, int] = {}
        """Items by state, as of a moment ago."""
        self.bytes = 0
        """Of the store's disk, likewise."""
        self._put = put
        self._tell = tell
        self._clock = clock
        self._settled = settled
        self._unsettled = False
        """The administrator has been told that nothing expires at present."""
        self._started = 0.0
        self._ready = False
        """Whether what a crash left out is known: nobody reviews before that."""
        self._logged = logged
        self._rows = itertools.count(1)
        self._told: set[str] = set()
        """Ids of rows that are on disk, and that the store may forget."""
        self._unsaid: dict[str, tuple[str, Row]] = {}
        """id -> (hold, row), of rows that the log did not take: they are written again."""
        self._unproved: dict[str, tuple[float, float]] = {}
        """hold -> (until when its verdict may come, by the loop's clock; when it was taken out): of items whose verdict
        has not been seen in the log."""
        self._passing: dict[str, tuple[float, str]] = {}
        """id -> (until when, by the loop's clock; hold), of rows `held` that have not been seen in the log, or whose
        verdict has not: the store keeps them, so that the next start knows of it."""
        self._opened = Opened()
        self._pool = ThreadPoolExecutor(THREADS, "hold")
        self._big = asyncio.Semaphore(BIG_WRITES)
        self._waiting = 0
        """Bytes of messages on their way to the store."""
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._live: dict[str, Held] = {}
        """Heads of what is released or being delivered, in the order of its release."""
        self._sendable: set[str] = set()
        """Those of them that we send ourselves; the others' senders send them again."""
        self._for: dict[tuple[str, str], dict[str, None]] = {}
        """(protocol, user without resource) -> what is released and not sent yet."""
        self._runs: dict[str, _Run] = {}
        """By flow."""
        self._delivering: dict[str, str] = {}
        """hold -> flow."""
        self._settling: dict[str, tuple[str, asyncio.TimerHandle]] = {}
        """hold -> (flow, timer), of what was sent a moment ago, in a session that has not ended since."""
        self._tried: dict[str, list[str]] = {}
        """hold -> flows in which it could not be sent; none of them is given it again before a user signs on there."""
        self._unwritten: dict[str, tuple[str, bool]] = {}
        """hold -> (flow, whether it was sent), of news that the store did not take: they are told again."""
        self._lost_ones: set[str] = set()
        """Of those whose session had ended without any news."""
        self._undone: dict[str, tuple[str, str, str]] = {}
        """hold -> (state that has no row, state it goes back to, the row's id), of decisions that the store did not let
        be undone."""
        self._covers: dict[str, Cover] = {}
        self._untold: set[str] = set()
        """Released items that somebody must send again and has not been told of."""
        self._answers: dict[str, asyncio.Event] = {}
        self._wishes: dict[tuple[str, str], tuple[str, float]] = {}
        """(command, hold) -> (who wished it, when)."""
        self._exports: dict[str, tuple[str, str, float, bytes | None]] = {}
        """ticket -> (hold, who, when last used, content of a message)."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._changed = True
        self._looked_at = 0.0

    # -- life

    def open(self) -> Opened:
        """Open the store. Raises HoldError."""
        opened = self._opened = self.store.open()
        if opened.swept:
            self._tell(f"{opened.swept} files that a crash left in the hold store are deleted; nobody waits for them")
        for ident in opened.missing[:10]:
            self._tell(f"{ident} is damaged: its file is gone from the hold store")
        return opened

    async def start(self) -> None:
        """Find out what became of what was on its way, and begin to look after the rest."""
        self._started = self._clock()
        await self._catch_up()
        for item in await self._do(self.store.items, ("delivering",)):
            await self._found_delivering(item)
        now, limits = self._clock(), self.limits()
        for item in await self._do(self.store.items, ("released", "delivered")):
            seconds = limits.cover_file_seconds if item.about == "file" else limits.cover_seconds
            if item.state == "delivered" and item.since + seconds <= now:
                continue
            held = await self._read(item)
            if held is None:
                continue
            if item.state == "released":
                self._wait_for(held)
            if item.since + seconds > now and not self._owes(item.id):
                self._cover(_head(held), item.since + seconds)
        await self._count()
        self._ready = True
        self._timer = asyncio.ensure_future(self._look_after())

    async def stop(self) -> None:
        """Finish what has begun and close the store."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        for hold in tuple(self._settling):
            self._unsettle(hold)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5.0)
        with contextlib.suppress(HoldError):
            await self._write_again()
            await self._prove()
            await self._settle()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    # -- what the event log is owed (see the module)

    async def _catch_up(self) -> None:
        """Write what a crash has left out, each once, in the order in which it was done."""
        if self._opened.rotated is not None:
            reason = f"{self._opened.rotated} items; a crash had broken it off"
            self._note(self._made("rotated", None, by=None, reason=reason))
        owed = await self._do(self.store.owed)
        if not owed:
            return
        until = self._proof_ends()
        held = {said.item for said in owed if said.row.get("step") == "held"}
        for item in [item for hold in held for item in await self._do(self.store.find, hold) if item.state == "held"]:
            self._unproved[item.id] = until, item.t
        for said in owed:
            if said.item in self._unproved and said.row.get("step") == "held":
                self._passing[str(said.row["id"])] = until, said.item
        answer = await self._do(self._logged, [str(said.row["id"]) for said in owed])
        known = answer[0] if answer is not None else set[str]()
        self._told |= known
        await asyncio.gather(*(self._enter(said.row, said.item) for said in owed if said.row["id"] not in known))
        await self._settle()

    def _proof_ends(self) -> float:
        return asyncio.get_running_loop().time() + 2 * self.limits().store_seconds + PROOF_SECONDS

    async def _prove(self) -> None:
        """Look which items' verdicts, and which rows that nobody waits for, have come to the log."""
        if not self._unproved and not self._passing:
            return
        # A verdict is named by its item: "h" and the id of its row.
        asked = [*(hold[1:] for hold in self._unproved), *self._passing]
        answer = await self._do(self._logged, asked)
        if answer is None:
            return  # its time is not over before the log can be read
        (known, since), now = answer, asyncio.get_running_loop().time()
        for hold, (until, t) in tuple(self._unproved.items()):
            if hold[1:] in known:
                self._unproved.pop(hold, None)
            elif until <= now and (since is None or since > t):
                self._unproved.pop(hold, None)  # the log is a newer one: it can say nothing about this item
            elif until <= now:
                await self._orphaned(hold)
        for ident, (until, hold) in tuple(self._passing.items()):
            if hold not in self._unproved and (ident in known or until <= now):
                del self._passing[ident]
                self._told.add(ident)

    async def _orphaned(self, hold: str) -> None:
        """No verdict says that it waits: its sender was not told, and nobody will be given it."""
        async with self._turn(hold):
            found = await self._do(self.store.find, hold)
            if found and found[0].state == "held":
                held = await self._read(found[0])
                row = self._made("erased", held or found[0], reason=UNDECIDED)
                # Its name stays: a row that waits long for its store may still name it.
                if await self._do(self.store.erase, hold, self._clock(), row):
                    self.counters.forgotten += 1
                    self._note(row, hold)
            self._unproved.pop(hold, None)

    async def _settle(self) -> None:
        """The store need not keep rows that are on disk."""
        told = self._told - self._passing.keys()
        if told:
            self._told -= told
            try:
                await self._do(self.store.settle, told)
            except HoldError:
                self._told |= told
                raise

    def _owes(self, hold: str) -> bool:
        """Whether something that was done with an item is not in the log yet."""
        return any(item == hold for item, _ in self._unsaid.values())

    async def _say_what_is_owed(self, hold: str) -> bool:
        """Write what the log did not take of an item; whether it has all of it now."""
        for item, row in tuple(self._unsaid.values()):
            if item == hold and not await self._enter(row, hold):
                return False
        return True

    async def _found_delivering(self, item: Item) -> None:
        held = await self._read(item)
        again = held is not None and held.named and bool(held.raw)
        await self._undo(item.id, held, again, "the gateway ended while it was being delivered")

    async def _undo(self, ident: str, held: Held | None, again: bool, why: str) -> None:
        """Out of `delivering`, when nobody knows whether it was sent."""
        state = "released" if again else "uncertain"
        if again:
            why = f"{why}; it will be sent again under the same id"
        row = self._made(state, held or ident, reason=why)
        if not await self._do(self.store.move, ident, ("delivering",), state, self._clock(), None, row):
            return
        self._delivering.pop(ident, None)
        if not again:
            self.counters.uncertain += 1
            self._leave(ident)
        elif held is not None:
            self._wait_for(held)
        await self._enter(row, ident)

    def status(self) -> dict[str, Any]:
        """For `inspector status`."""
        return {
            "states": dict(self.states), "bytes": self.bytes, "unsent": len(self._live) - len(self._delivering),
            **{name: getattr(self.counters, name) for name in self.counters.__slots__},
        }

    def source(self) -> Iterable[Family]:
        """For the page of metrics."""
        yield Family("inspector_held", "gauge", "Held items, by their state.",
                     [((None, state), float(self.states.get(state, 0))) for state in STEPS])
        yield one("inspector_held_bytes", "gauge", "Bytes of held items on disk.", self.bytes)
        for name, help in (
            ("kept", "Items that were held."), ("full", "Items for which there was no room (hold_full)."),
            ("store_failed", "Items that could not be stored."), ("forgotten", "Items that nobody waited for."),
            ("released", "Releases."), ("returned", "Released items that a session could not send."),
            ("delivered", "Released items that were sent."), ("denied", "Items that were denied."),
            ("uncertain", "Items of which nobody knows whether they were delivered."),
            ("expired", "Items that nobody decided in time."), ("erased", "Items that were erased."),
        ):
            yield one(f"inspector_holds_{name}_total", "counter", help, getattr(self.counters, name))

    def covers(self) -> list[Cover]:
        """Releases that still cover what follows: for a worker that begins."""
        now = self._clock()
        return [cover for cover in self._covers.values() if cover.until > now]

    # -- what sessions ask (mitm_server.Holds)

    async def keep(self, held: Held, content: int) -> str | None:
        """Store an item; None, or the trouble's name. It is nobody's to review before its verdict is in the log."""
        return await self._whole(self._keep(held, content))

    async def _keep(self, held: Held, content: int) -> str | None:
        size = len(held.raw) + sum(len(plain) for _, plain in held.texts)
        row = self._made("held", held, reason=held.reason or None)
        gave_way: dict[str, Row] = {}

        def giving_way(item: Item) -> Row:
            gave_way[item.id] = self._made("erased", item, reason="the oldest that had ended gave way")
            return gave_way[item.id]
        try:
            if self._waiting + size > self.limits().hold_queue_bytes:
                self.counters.full += 1
                return "hold_full"
            self._waiting += size
            try:
                async with self._turn(held.id):
                    # From here on: a reviewer may find it in the store before we hear that it is there.
                    self._unproved[held.id] = math.inf, held.t
                    try:
                        async with self._big if content >= 0 else contextlib.nullcontext():
                            await self._do(self.store.keep, held, self._clock(), content, row, giving_way)
                    finally:
                        self._unproved[held.id] = self._proof_ends(), held.t
                    self._passing[row["id"]] = self._proof_ends(), held.id
                    self._put(row, None)
                    self.counters.kept += 1
                    self._changed = True
            finally:
                self._waiting -= size
        except HoldFull:
            self._unproved.pop(held.id, None)
            self.counters.full += 1
            return "hold_full"
        except HoldError as fault:
            self.counters.store_failed += 1
            self._tell(str(fault))
            with contextlib.suppress(HoldError):  # else it is known when its time is over
                if not await self._do(self.store.find, held.id):
                    self._unproved.pop(held.id, None)
            return "store_failed"
        finally:
            if content >= 0:
                os.close(content)
            if gave_way:
                self._spawn(self._gave_way(gave_way))
        return None

    async def _gave_way(self, rows: Mapping[str, Row]) -> None:
        """Rows of ended items that were to give way: of those that did."""
        for item in await self._do(self.store.items, ("erased",)):
            if (row := rows.get(item.id)) is not None:
                self._forget_exports(item.id)
                self._note(row, item.id)

    def forget(self, hold: str) -> None:
        """What was kept under this id waits for nobody."""
        self._spawn(self._forget(hold))

    async def _forget(self, hold: str) -> None:
        async with self._turn(hold):
            found = await self._do(self.store.find, hold)
            if not found or found[0].state != "held":
                return  # a reviewer was faster, and his word counts
            row = self._made("erased", found[0], reason="the session had ended, or could not wait any longer")
            if await self._do(self.store.forget, hold, row):
                self._unproved.pop(hold, None)
                self.counters.forgotten += 1
                self._note(row, hold)

    async def deliver(self, hold: str, flow: str) -> bool:
        """Write durably that it is being sent in the session of `flow`. False: it must not be sent."""
        return await self._whole(self._may_deliver(hold, flow))

    async def _may_deliver(self, hold: str, flow: str) -> bool:
        may = False
        try:
            async with self._turn(hold):
                may = await self._deliver(hold, flow)
        except HoldError as fault:
            self._tell(str(fault))
            if self._delivering.get(hold) == flow:
                self._unwritten[hold] = flow, False
        if not may:
            self._next(flow, hold)
        return may

    async def _deliver(self, hold: str, flow: str) -> bool:
        held, run = self._live.get(hold), self._runs.get(flow)
        if held is None or hold in self._delivering or run is None or run.current != hold:
            return False  # it is another's, or this session is over
        # From here on its session's end finds it, however long the disk takes.
        self._delivering[hold] = flow
        row = self._made("delivering", held, session=flow)
        if not await self._say_what_is_owed(hold) or not await self._do(
                self.store.move, hold, ("released",), "delivering", self._clock(), None, row):
            del self._delivering[hold]
            return False
        self._unlist(held)
        if not await self._enter(row, hold):
            self._unsaid.pop(row["id"], None)
            await self._do(
                self.store.move, hold, ("delivering",), "released", self._clock(), None, None, row["id"])
            del self._delivering[hold]
            self._wait_for(held)
            return False
        self._cover_again(held)
        return True

    def came(self, hold: str, flow: str, sent: bool | None) -> None:
        """What became of a released item in that session. One that was sent is delivered; but where the session ends
        within limits.settle_seconds (`sent` None) nobody knows. Told twice that it was sent: it was read."""
        settling = self._settling.get(hold)
        if settling is not None and settling[0] == flow:
            if sent:
                self._unsettle(hold)
                self._spawn(self._sure(hold))
            else:
                self._end_behind(hold, flow)
            return
        if sent is None:
            return
        seconds = self.limits().settle_seconds
        if sent and hold in self._sendable and self._delivering.get(hold) == flow and seconds > 0:
            loop = asyncio.get_running_loop()
            self._settling[hold] = flow, loop.call_later(seconds, self._went_on, hold)
        self._spawn(self._came(hold, flow, sent))

    def _unsettle(self, hold: str) -> None:
        """Whether it was delivered is not a matter of time any more."""
        if (settling := self._settling.pop(hold, None)) is not None:
            settling[1].cancel()

    def _end_behind(self, hold: str, flow: str) -> None:
        """Its session has ended in the moment in which it was sent; nobody is told that it was delivered."""
        _, timer = self._settling[hold]
        timer.cancel()
        self._settling[hold] = "", timer
        self._spawn(self._doubt(hold, flow))

    def _went_on(self, hold: str) -> None:
        """Its session lives: it was delivered."""
        del self._settling[hold]
        self._answered(hold)

    async def _sure(self, hold: str) -> None:
        async with self._turn(hold):
            self._answered(hold)

    async def _doubt(self, hold: str, flow: str) -> None:
        """Nobody knows whether it was read."""
        async with self._turn(hold):
            self._unsettle(hold)
            held = next(iter([await self._read(item) for item in await self._do(self.store.find, hold)]), None)
            row = self._made(
                "uncertain", held or hold, session=flow, reason="its session ended in the moment in which it was sent")
            if await self._do(self.store.move, hold, ("delivered",), "uncertain", self._clock(), None, row):
                self.counters.uncertain += 1
                await self._enter(row, hold)
            self._answered(hold)

    def _answered(self, hold: str) -> None:
        """Who asked for its release may be told what became of it."""
        if (waits := self._answers.get(hold)) is not None:
            waits.set()

    async def _came(self, hold: str, flow: str, sent: bool) -> None:
        try:
            await self._record(hold, flow, sent)
        except HoldError as fault:
            self._tell(str(fault))
            if self._delivering.get(hold) == flow:
                self._unwritten[hold] = flow, sent
        self._next(flow, hold)
        if not sent and await self._elsewhere(hold, flow):
            return
        if hold not in self._settling:
            self._answered(hold)

    async def _elsewhere(self, hold: str, flow: str) -> bool:
        """What could not be sent in one session is given to another one of its user; False: there is none."""
        held = self._live.get(hold)
        if held is None or hold in self._delivering or hold not in self._sendable:
            return False
        tried = self._tried.setdefault(hold, [])
        if flow in tried or len(tried) >= TRIED:
            return False
        tried.append(flow)
        return await self._offer(held) is not None

    async def _record(self, hold: str, flow: str, sent: bool) -> None:
        """Write what became of it. Raises HoldError."""
        async with self._turn(hold):
            held = self._live.get(hold)
            if hold in self._sendable and self._delivering.get(hold) != flow:
                pass  # this session does not have it (any more): what it says is of no weight
            elif sent:
                before = ("delivering",) if hold in self._sendable else ("delivering", "released")
                row = self._made("delivered", held or hold, session=flow)
                if await self._do(self.store.move, hold, before, "delivered", self._clock(), None, row):
                    self.counters.delivered += 1
                    self._leave(hold)
                    await self._enter(row, hold)
            elif await self._do(
                    self.store.move, hold, ("delivering",), "released", self._clock(), None,
                    row := self._made("released", held or hold, session=flow,
                                      reason="it could not be sent in this session")):
                self._delivering.pop(hold, None)
                self.counters.returned += 1
                if held is not None:
                    self._wait_for(held)
                self._note(row, hold)
            elif self._delivering.get(hold) == flow:
                # The store had never taken that it was being delivered: it is released there.
                del self._delivering[hold]
                if held is not None:
                    self._wait_for(held)
            if self._unwritten.get(hold, ("",))[0] == flow:
                del self._unwritten[hold]

    def arrived(self, flow: str, arrived: Arrived) -> None:
        """A user has signed on in that session: what was released for him may come."""
        for hold in tuple(self._for.get((arrived.protocol, bare(arrived.user)), ())):
            held = self._live[hold]
            if self._is_his(held, flow, arrived.identity, arrived.client):
                self._tried.pop(hold, None)
                self._hand_over(held, flow)

    def ended(self, flow: str) -> None:
        """A session that was given released items is over."""
        for hold in [hold for hold, (where, _) in self._settling.items() if where == flow]:
            self._end_behind(hold, flow)
        self._spawn(self._ended(flow))

    async def _ended(self, flow: str) -> None:
        run = self._runs.pop(flow, None)
        for hold in [hold for hold, where in self._delivering.items() if where == flow]:
            async with self._turn(hold):
                # What was told of it has been heard by now: nothing was.
                if self._delivering.get(hold) == flow and hold not in self._unwritten:
                    await self._lost(hold)
        if run is None:
            return
        for hold in (*((run.current,) if run.current is not None else ()), *run.queue):
            held = self._live.get(hold)
            if held is not None and hold not in self._delivering:
                await self._offer(held)

    async def _lost(self, hold: str) -> None:
        """The session that had it is over, and has not said whether it was sent."""
        held = self._live.get(hold)
        again = held is not None and held.named
        try:
            await self._undo(hold, held, again, "its session ended while it was being delivered")
        except HoldError as fault:
            self._tell(str(fault))
            self._lost_ones.add(hold)
        self._answered(hold)

    async def _write_again(self) -> None:
        """What the store did not take when it came."""
        for hold, (flow, sent) in tuple(self._unwritten.items()):
            await self._came(hold, flow, sent)  # it stays there until it is written: its session may end meanwhile
        for hold in tuple(self._lost_ones):
            self._lost_ones.discard(hold)
            async with self._turn(hold):
                if hold in self._delivering:
                    await self._lost(hold)
        for hold, (state, before, ident) in tuple(self._undone.items()):
            async with self._turn(hold):
                await self._take_back(hold, state, before, ident)
        for ident, (hold, row) in tuple(self._unsaid.items()):
            if ident in self._unsaid and not await self._enter(row, hold):
                return

    # -- giving to sessions

    @staticmethod
    def _is_his(held: Held, flow: str, identity: str, client: str) -> bool:
        """Whether a session of his name is his: what was authenticated needs that again; a mere claim, its address."""
        if held.identity == "authenticated":
            return identity == "authenticated"
        return flow == held.flow or client == held.client

    async def _offer(self, held: Held) -> str | None:
        """Give it to the newest session that is his; its flow, None: there is none."""
        if held.user is None:
            return None
        for place in await self.floor.sessions_of(held.protocol, held.user):
            if place.flow in self._tried.get(held.id, ()):
                continue
            if self._is_his(held, place.flow, place.identity, place.client):
                self._hand_over(held, place.flow)
                return place.flow
        return None

    def _hand_over(self, held: Held, flow: str) -> None:
        if held.id not in self._sendable:
            if held.id in self._untold:
                self._untold.discard(held.id)
                self._cover_again(held)
                self._say(flow, held, SEND_AGAIN if held.about == "file" else SEND_AGAIN_MESSAGE, COMES_AGAIN)
            return
        run = self._runs.get(flow)
        if run is None:
            run = self._runs[flow] = _Run()
        if held.id != run.current:
            run.queue[held.id] = None
        self._next(flow, None)

    def _next(self, flow: str, done: str | None) -> None:
        """Give a session the next one, when it has none; `done`: it is finished with this one."""
        run = self._runs.get(flow)
        if run is None:
            return
        if done is not None and run.current == done:
            run.current = None
        while run.current is None and run.queue:
            hold = next(iter(run.queue))
            del run.queue[hold]
            if hold in self._live and hold not in self._delivering:
                run.current = hold
                self._spawn(self._give(hold, flow))
        if run.current is None:
            del self._runs[flow]

    async def _give(self, hold: str, flow: str) -> None:
        try:
            held = await self._do(self.store.read, hold)
        except Damaged as fault:
            async with self._turn(hold):
                self._tell(str(fault))
                await self._undo_damaged(hold, str(fault))
            self._next(flow, hold)
            return
        except HoldError as fault:
            self._tell(str(fault))
            self._next(flow, hold)
            return
        self.floor.post(flow, Released(self._clock(), held))

    async def _undo_damaged(self, hold: str, why: str) -> None:
        head = self._live.get(hold)
        row = self._made("uncertain", head or hold, reason=why)
        if await self._do(self.store.move, hold, ("released",), "uncertain", self._clock(), None, row):
            self.counters.uncertain += 1
            self._leave(hold)
            self._note(row, hold)

    def _wait_for(self, held: Held) -> None:
        """It is released and waits for its user."""
        head = self._live.get(held.id)
        if head is None:
            head = self._live[held.id] = _head(held)
            if held.raw:
                self._sendable.add(held.id)
            else:
                self._untold.add(held.id)
        if head.user is not None:
            self._for.setdefault((head.protocol, bare(head.user)), {})[head.id] = None

    def _unlist(self, held: Held) -> None:
        """It does not wait for its user (any more)."""
        key = (held.protocol, bare(held.user))
        waits = self._for.get(key)
        if waits is not None:
            waits.pop(held.id, None)
            if not waits:
                del self._for[key]

    def _leave(self, hold: str) -> None:
        """It is neither released nor being delivered any more."""
        self._delivering.pop(hold, None)
        self._tried.pop(hold, None)
        self._sendable.discard(hold)
        self._untold.discard(hold)
        held = self._live.pop(hold, None)
        if held is not None:
            self._unlist(held)

    def _cover(self, held: Held, until: float) -> None:
        """Tell all sessions that the legs which follow may pass. `held`: its head."""
        if not held.digest:
            return
        readers = [bare(name) for name in held.recipients]
        if held.way is DOWN and held.user is not None:
            readers.append(bare(held.user))
        cover = Cover(
            hold=held.id, reference=held.reference, protocol=held.protocol, sender=bare(held.sender),
            digest=held.digest, recipients=tuple(dict.fromkeys(readers)), conversation=held.conversation,
            file_name=held.file_name, until=until)
        now = self._clock()
        for old in [old for old, other in self._covers.items() if other.until <= now]:
            del self._covers[old]
        self._covers.pop(held.id, None)
        if until > now:
            while len(self._covers) >= self.limits().covers:
                del self._covers[next(iter(self._covers))]
            self._covers[held.id] = cover
        self.floor.cover(cover)

    def _cover_again(self, held: Held) -> None:
        """Where it was released long ago: what follows it follows now."""
        limits, now = self.limits(), self._clock()
        seconds = limits.cover_file_seconds if held.about == "file" else limits.cover_seconds
        cover = self._covers.get(held.id)
        if cover is None or cover.until - now < seconds / 2:
            self._cover(held, now + seconds)

    def _forget_exports(self, hold: str | None = None) -> None:
        """Those of an item that is erased, and those that nobody goes on with, have no content any more."""
        now = self._clock()
        for ticket, (item, _, since, _) in tuple(self._exports.items()):
            if item == hold or now - since > EXPORT_SECONDS:
                del self._exports[ticket]

    def _uncover(self, hold: str) -> None:
        """It was taken back."""
        if (cover := self._covers.pop(hold, None)) is not None:
            self.floor.cover(msgspec.structs.replace(cover, until=0.0))

    def _say(self, flow: str, held: Held, up: str, down: str) -> None:
        """A word to the people of a session about an item of theirs."""
        text = up if held.way is UP else down
        text = text.replace("{reference}", held.reference).replace("{name}", held.file_name or "that you sent")
        self.floor.post(flow, Told(self._clock(), Notice(text)))

    async def _tell_sender(self, held: Held) -> None:
        """It will not be delivered: its sender is told, where he is signed on here."""
        user, identity = (_owner(held), held.identity) if held.way is UP else (bare(held.sender), "authenticated")
        if not user:
            return
        text = DENIED_FILE if held.about == "file" else DENIED
        for place in await self.floor.sessions_of(held.protocol, user):
            if self._is_his(msgspec.structs.replace(held, identity=identity), place.flow, place.identity, place.client):
                self._say(place.flow, held, text, text)
                return

    # -- what reviewers ask

    async def ask(self, command: str, request: Mapping[str, Any], by: str) -> Any:
        """A command of the control socket, by the name of who asks. Raises UserError."""
        if not self._ready:
            raise UserError("the hold desk has not started yet")
        try:
            if command == "holds":
                return await self._list(request)
            if command == "hold.rotate":
                return await self._rotate(by)
            if command == "hold.piece":
                return await self._piece(request, by)
            note = request.get("note")
            if note is not None and (not isinstance(note, str) or len(note) > NOTE):
                raise UserError(f"a note is text of at most {NOTE} characters")
            item = await self._item(request.get("id"))
            if item.id in self._unproved:
                await self._prove()
                if item.id in self._unproved:
                    raise UserError(f"{item.id} is being held at this moment: its verdict is not in the event log yet")
            match command:
                case "hold.show":
                    return await self._show(item, by)
                case "hold.release":
                    return await self._release(item, by, note, again=request.get("again") is True)
                case "hold.deny":
                    return await self._deny(item, by, note)
                case "hold.export":
                    return await self._export(item, by)
                case "hold.erase":
                    return await self._erase(item, by, note)
        except HoldError as fault:
            raise UserError(str(fault)) from None
        raise UserError("unknown command")

    async def _item(self, key: object) -> Item:
        if not isinstance(key, str) or not key:
            raise UserError("which one? an id or a reference is wanted")
        found = await self._do(self.store.find, key)
        if not found:
            raise UserError(f"nothing is held as {shown(key)}")
        if len(found) > 1:
            raise UserError(f"{len(found)} items have the reference {shown(key)}: "
                            f"{', '.join(item.id for item in found[:10])}")
        return found[0]

    async def _list(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        state = request.get("state")
        if state is not None and state not in STEPS:
            raise UserError(f"there is no such state (one of {', '.join(STEPS)})")
        return [msgspec.to_builtins(item) for item in await self._do(self.store.items, (state,) if state else ())]

    def _second(self, command: str, item: Item, by: str) -> None:
        """Four eyes: raises UserError until a second person asks for the same."""
        if command not in self.rules().four_eyes:
            return
        now, seconds = self._clock(), self.limits().four_eyes_seconds
        wish = self._wishes.get((command, item.id))
        if wish is not None and now - wish[1] <= seconds:
            if wish[0] != by:
                del self._wishes[command, item.id]
                return
            raise UserError(f"{item.id}: somebody other than {by} must ask for the same")
        self._wishes.pop((command, item.id), None)
        while len(self._wishes) >= WISHES:
            del self._wishes[next(iter(self._wishes))]
        self._wishes[command, item.id] = (by, now)
        self._put(self._made(f"{command}_wished", item, by=by), None)
        raise UserError(f"{item.id}: noted; a second person must ask for the same within {seconds / 60:g} minutes")

    async def _show(self, item: Item, by: str) -> dict[str, Any]:
        held = await self._look_at("shown", item, by)
        said = msgspec.to_builtins(held)
        del said["raw"]
        return {"item": msgspec.to_builtins(item), "held": {**said, "way": "up" if held.way is UP else "down"}}

    async def _look_at(self, step: str, item: Item, by: str) -> Held:
        """What an item says, for a reviewer; without its row on disk there is no look. Raises UserError, HoldError."""
        async with self._turn(item.id):
            held = await self._do(self.store.read, item.id)
            self._second("show", item, by)
            if not await self._row(step, held, by=by):
                raise UserError(_NOT_WRITTEN.format(what="shown"))
            return held

    async def _release(self, item: Item, by: str, note: str | None, *, again: bool) -> dict[str, Any]:
        """`again`: he knows that it may have been delivered already. Who saw it waiting a moment ago does not."""
        held = await self._do(self.store.read, item.id)
        if item.state not in ("held", "uncertain") or (item.state == "uncertain" and not again):
            raise UserError(_too_late(item, item.state))
        self._second("release", item, by)
        waits = asyncio.Event()
        async with self._turn(item.id):
            limits, now = self.limits(), self._clock()
            keep = None if held.raw else float(limits.cover_file_seconds)
            row = self._made("released", held, by=by, note=note)
            if not await self._do(self.store.move, item.id, (item.state,), "released", now, keep, row):
                raise UserError(_too_late(item, (await self._item(item.id)).state))
            if not await self._enter(row, item.id):
                back = await self._take_back(item.id, "released", item.state, row["id"])
                raise UserError(_NOT_WRITTEN.format(what="released") if back else _NOT_UNDONE.format(id=item.id))
            self.counters.released += 1
            self._wait_for(held)
            seconds = limits.cover_file_seconds if held.about == "file" else limits.cover_seconds
            self._cover(_head(held), now + seconds)
        self._answers[item.id] = waits
        try:
            flow = await self._offer(self._live.get(item.id, held))
            if flow is not None and held.raw:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await waits.wait()
        finally:
            if self._answers.get(item.id) is waits:
                del self._answers[item.id]
        state = (await self._item(item.id)).state
        return {"id": item.id, "reference": item.reference, "state": state, "sendable": bool(held.raw),
                "user": _owner(held), "here": flow is not None, "about": held.about, "way": held.way.name.lower()}

    async def _take_back(self, hold: str, state: str, before: str, ident: str) -> bool:
        """A decision has no row (`ident`): it is none. False: the store does not take that either; it is told again."""
        self._unsaid.pop(ident, None)
        try:
            await self._do(self.store.move, hold, (state,), before, self._clock(), None, None, ident)
            found = await self._do(self.store.find, hold) if before == "released" else []
        except HoldError as fault:
            self._tell(str(fault))
            self._undone[hold] = state, before, ident
            return False
        self._undone.pop(hold, None)
        for item in found:
            if item.state == "released" and (held := await self._read(item)) is not None:
                self._wait_for(held)
        return True

    async def _deny(self, item: Item, by: str, note: str | None) -> dict[str, Any]:
        async with self._turn(item.id):
            # What it was when it was asked for may be over: where it comes from is where it would go back to.
            before, held = (await self._item(item.id)).state, await self._read(item)
            if before not in ("held", "uncertain", "released"):
                raise UserError(_too_late(item, before))
            row = self._made("denied", held or item, by=by, note=note)
            if not await self._do(self.store.move, item.id, (before,), "denied", self._clock(), None, row):
                raise UserError(_too_late(item, (await self._item(item.id)).state))
            self._leave(item.id)
            self._uncover(item.id)
            if not await self._enter(row, item.id):
                back = await self._take_back(item.id, "denied", before, row["id"])
                raise UserError(_NOT_WRITTEN.format(what="denied") if back else _NOT_UNDONE.format(id=item.id))
            self.counters.denied += 1
        if held is not None:
            await self._tell_sender(held)
        return {"id": item.id, "reference": item.reference, "state": "denied"}

    async def _export(self, item: Item, by: str) -> dict[str, Any]:
        held = await self._look_at("exported", item, by)
        while len(self._exports) >= EXPORTS:
            del self._exports[next(iter(self._exports))]
        ticket = secrets.token_hex(16)
        whole = None
        if held.about != "file":
            said = {**msgspec.to_builtins(held), "way": held.way.name.lower()}
            whole = msgspec.json.format(msgspec.json.encode(said)) + b"\n"
        self._exports[ticket] = (item.id, by, self._clock(), whole)
        return {"id": item.id, "ticket": ticket, "about": held.about, "name": held.file_name}

    async def _piece(self, request: Mapping[str, Any], by: str) -> dict[str, Any]:
        ticket, number = request.get("ticket"), request.get("n")
        found = self._exports.get(ticket) if isinstance(ticket, str) else None
        now = self._clock()
        if found is None or found[1] != by or now - found[2] > EXPORT_SECONDS or type(number) is not int or number < 0:
            raise UserError("this export is over; ask for it again")
        hold, _, _, whole = found
        data, last = (whole, True) if whole is not None else await self._do(self.store.content, hold, number)
        if last:
            del self._exports[str(ticket)]
        else:
            self._exports[str(ticket)] = (hold, by, now, None)
        return {"data": base64.b64encode(data).decode(), "last": last}

    async def _erase(self, item: Item, by: str, note: str | None) -> dict[str, Any]:
        async with self._turn(item.id):
            if item.id in self._delivering:
                raise UserError(f"{item.id} is being delivered at this moment")
            row = self._made("erased", item, by=by, note=note)
            if not await self._do(self.store.erase, item.id, self._clock(), row):
                raise UserError(f"{item.id} was erased already")
            self.counters.erased += 1
            self._leave(item.id)
            self._uncover(item.id)
            self._forget_exports(item.id)
            await self._enter(row, item.id)
        return {"id": item.id, "reference": item.reference, "state": "erased"}

    async def _rotate(self, by: str) -> dict[str, Any]:
        rows: list[Row] = []

        def rotated(done: int) -> Row:
            rows.append(self._made("rotated", None, by=by, reason=f"{done} items"))
            return rows[0]
        done = await self._do(self.store.rotate, rotated)
        await self._enter(rows[0], "")
        return {"items": done}

    # -- what time does

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(max(0.05, min(1.0, self.limits().hold_seconds / 10)))
            try:
                await self.look()
            except HoldError as fault:
                self._tell(str(fault))

    async def look(self) -> None:
        """End what nobody decided in time, erase what was kept long enough, count."""
        now = self._clock()
        if self._unwritten or self._lost_ones or self._undone or self._unsaid:
            await self._write_again()
        await self._prove()
        await self._settle()
        self._forget_exports()
        # A clock that was set back is no reason to look no more.
        if abs(now - self._looked_at) >= min(LOOK_SECONDS, self.limits().hold_seconds / 10):
            self._looked_at = now
            if await self._believed():
                for item in await self._do(self.store.due, now, DUE):
                    await self._expire(item)
        if self._changed:
            await self._count()

    async def _believed(self) -> bool:
        """Whether the clock may end what waits: one that jumped years ahead would end all of it at once."""
        settled = self._settled(await self._do(self.store.latest))
        if not settled and not self._unsettled:
            self._tell("the clock was set, or nothing was held for long: nothing that is held expires for a day")
        self._unsettled = not settled
        return settled

    async def _expire(self, item: Item) -> None:
        async with self._turn(item.id):
            found = await self._do(self.store.find, item.id)
            if not found or found[0].state != item.state:
                return  # somebody has done something with it meanwhile
            now, waiting = self._clock(), item.state in WAITING
            if item.state == "erased":
                await self._do(self.store.forget, item.id)
                return
            if not waiting:
                row = self._made("erased", item, reason="it had ended, and was kept long enough")
                if await self._do(self.store.erase, item.id, now, row):
                    self.counters.erased += 1
                    self._forget_exports(item.id)
                    self._note(row, item.id)
                return
            if item.id in self._unproved:
                return  # that it was held at all is not sure yet
            held = await self._read(item)
            why = "released, and nobody came for it" if item.state == "released" else "nobody decided in time"
            row = self._made("expired", held or item, reason=why)
            if not await self._do(self.store.move, item.id, (item.state,), "expired", now, None, row):
                return
            self.counters.expired += 1
            self._leave(item.id)
            self._uncover(item.id)
            await self._enter(row, item.id)
            row = self._made("erased", item, reason="hold.on_expiry is delete")
            if self.rules().on_expiry == "delete" and await self._do(self.store.erase, item.id, now, row):
                self.counters.erased += 1
                self._forget_exports(item.id)
                self._note(row, item.id)
        if held is not None and self.rules().on_expiry == "deny":
            await self._tell_sender(held)

    async def _count(self) -> None:
        self.states, self.bytes = await self._do(self.store.counts)
        self._changed = False

    # -- small pieces

    async def _do(self, call: Callable[..., T], *values: Any) -> T:
        """A call of the store, in a thread. Raises HoldError."""
        self._changed = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, call, *values)
        except RuntimeError as fault:
            raise HoldError(f"the hold store is closed ({fault})") from None

    async def _read(self, item: Item) -> Held | None:
        """What an item says; None, and the administrator is told: it cannot be read."""
        try:
            return await self._do(self.store.read, item.id)
        except HoldError as fault:
            self._tell(str(fault))
            return None

    @contextlib.asynccontextmanager
    async def _turn(self, hold: str) -> AsyncIterator[None]:
        """One thing at a time with one item, in the order they began to wait."""
        lock, users = self._turns.get(hold) or (asyncio.Lock(), 0)
        self._turns[hold] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._turns[hold][1] - 1
            if users:
                self._turns[hold] = (lock, users)
            else:
                del self._turns[hold]

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do to its end what has begun, though who asked for it dies meanwhile and his call is cancelled: of a change
        that the store knows this desk must know, too."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except HoldError as fault:
                self._tell(str(fault))
        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note(self, row: Row, hold: str = "") -> None:
        """Have a row of what was done with an item written; nobody waits for it."""
        loop = asyncio.get_running_loop()

        def answered(ok: bool) -> None:
            loop.call_soon_threadsafe(self._heard, row, hold, ok)
        self._put(row, answered)

    def _heard(self, row: Row, hold: str, ok: bool) -> None:
        """What the log has taken the store may forget; what it has not is owed to it."""
        if ok:
            self._unsaid.pop(row["id"], None)
            self._told.add(row["id"])
        else:
            self._unsaid[row["id"]] = hold, row

    async def _enter(self, row: Row, hold: str) -> bool:
        """Write a row of what was done with an item; whether it is on disk."""
        ok = await self._write(row)
        self._heard(row, hold, ok)
        return ok

    async def _row(self, step: str, about: Held | Item | str | None, **more: Any) -> bool:
        """A row of the event log about something that is not done yet; whether it is on disk."""
        return await self._write(self._made(step, about, **more))

    async def _write(self, row: Row) -> bool:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def settle(ok: bool) -> None:
            if not done.done():
                done.set_result(ok)

        def answered(ok: bool) -> None:
            loop.call_soon_threadsafe(settle, ok)
        self._put(row, answered)
        return await done

    def _made(self, step: str, about: Held | Item | str | None, **more: Any) -> dict[str, Any]:
        hold = about if isinstance(about, str) or about is None else about.id
        now = self._clock()
        row: dict[str, Any] = {
            "event": "review", "id": f"{hold or 'holds'}-{int(self._started * 1000):x}-{next(self._rows)}", "t": now,
            "flow": None, "hold": hold, "step": step, **more,
        }
        if isinstance(about, Held | Item):
            row.update(
                reference=about.reference, protocol=about.protocol, kind=about.kind, about=about.about,
                sender=about.sender, recipients=list(about.recipients), rule=about.rule)
        if isinstance(about, Held):
            row.update(
                flow=about.flow, way="up" if about.way is UP else "down", direction=about.direction, user=about.user,
                identity=about.identity, conversation=about.conversation, message=about.message)
        return row


def _head(held: Held) -> Held:
    """All that is remembered of a released item. A digest of nothing that was read is none: it would cover whatever
    else cannot be read."""
    read = held.about == "file" or held.digest.startswith(SEALED) or any(plain for _, plain in held.texts)
    return msgspec.structs.replace(
        held, raw=b"", texts=(), user=_owner(held), digest=held.digest if read else "")


def _owner(held: Held) -> str | None:
    """Whose it is: the user of its session; of a file on a connection of its own, which has none, its sender (who is
    only told something)."""
    if held.user is None and held.way is UP and not held.raw:
        return held.sender
    return held.user


def _too_late(item: Item, state: str) -> str:
    if state in ("released", "delivering", "delivered"):
        return f"{item.id} was released already ({state})"
    if state == "uncertain":
        return f"{item.id} may have been delivered already: --again sends it all the same"
    return f"{item.id} was {'denied' if state == 'denied' else state} already"
