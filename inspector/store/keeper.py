"""The keeper of an event store: the one process that signs checkpoints of all chains and removes what is too old.

It runs beside the writers, in a thread of its own, in the process that owns what workers share: the supervisor, or the
gateway itself where there is one worker. Every `limits.checkpoint_seconds`, while rows come, it lists the heads of all
chains and signs them (inspector/store/checkpoints.py). It opens the store for each round, so that a store that was
replaced is kept like any other; it takes the lock that writers wait for only for the moments in which it writes. Where
`retention` is configured (inspector/store/retention.py), the same rounds remove rows: first the checkpoint that says up
to where, then the rows, a small transaction at a time, then one `erased` row that says how many it were.

Waiting goes by the monotonic clock; a clock that jumps changes the time a checkpoint says, never whether one is made.

Errors: StoreError at start, one sentence. Afterwards none: what fails is told once and tried again at the next round.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from inspector.model import Limits
from inspector.store import tables
from inspector.store.checkpoints import Checkpoint, CheckpointError, Signer
from inspector.store.lines import Row
from inspector.store.retention import Clock, Cutter, Plan, Retention
from inspector.store.tables import StoreError

NAME = "keeper"
"""The chain in which the keeper writes rows of its own."""
_SHORTEST = 0.05
"""Between two rounds, whatever limits.checkpoint_seconds says."""
_MORE_SECONDS = 1.0
"""Until the next round, when one has not removed all that is too old."""


class Keeper:
    """Signs checkpoints. `start` and `close` from one thread."""

    def __init__(
        self, path: Path, key: Path, *, gateway: str | None = None, limits: Limits | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`path`: the store; `key`: the file of the checkpoints' key, made where missing; `tell`: is called with a
        sentence, once each, when something cannot be done."""
        self.path = path
        self.gateway = gateway
        self._limits = limits or Limits()
        self.retention = Retention()
        """May be replaced while it runs."""
        self.erased = 0
        """Rows erased because of their age, or the size of the store."""
        self.pruned = 0
        """Rows removed, likewise."""
        self.checkpoints = 0
        """Made so far."""
        self._key = key
        self._signer: Signer | None = None
        self._tell = tell or _silent
        self._told: set[str] = set()
        self._owner = ""
        self._clock = Clock()
        self._cutter = Cutter()
        self._more = False
        self._ends = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def limits(self) -> Limits:
        """May be replaced while it runs."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._wake.set()

    def start(self) -> None:
        """Become the keeper of the store, and begin. Raises StoreError: another living process is it, or store or key
        cannot be used."""
        self._owner = tables.owner()
        try:
            self._signer = Signer(self._key)
            self._own(tables.connect(self.path))
        except (CheckpointError, sqlite3.Error, StoreError) as fault:
            tables.disown(self._owner)
            text = str(fault) if not isinstance(fault, sqlite3.Error) else f"event store {self.path}: {fault}"
            raise StoreError(text) from None
        self._thread = threading.Thread(target=self._run, name="event-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Make a last checkpoint, where something came since the one before, and end. Call it when all writers have
        ended."""
        if self._thread is None:
            return
        self._ends = True
        self._wake.set()
        self._thread.join()
        self._thread = None
        self._round(last=True)
        tables.disown(self._owner)

    def _own(self, base: sqlite3.Connection) -> None:
        """Take the keeper's chain. Raises StoreError when another living process has it."""
        try:
            tables.begin(base, tables.OPEN_SECONDS)
            row = base.execute("SELECT owner FROM writers WHERE chain = ?", (NAME,)).fetchone()
            if row is not None and row[0] != self._owner and tables.alive(row[0]):
                raise StoreError(
                    f"event store {self.path}: another process (pid {row[0].split(' ')[1]}) signs its checkpoints; "
                    "a store has one gateway")
            base.execute("INSERT OR REPLACE INTO writers VALUES (?, ?)", (NAME, self._owner))
            base.execute("COMMIT")
        finally:
            base.close()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            self._wake.wait(max(last + self._every() - time.monotonic(), _SHORTEST))
            self._wake.clear()
            if self._ends:
                return
            if time.monotonic() >= last + self._every():
                self._round()
                last = time.monotonic()

    def _every(self) -> float:
        """Seconds between two rounds."""
        seconds = self.limits.checkpoint_seconds
        return min(seconds, _MORE_SECONDS) if self._more else seconds

    def _round(self, last: bool = False) -> None:
        """One checkpoint, where the chains have grown or something is too old; then what is too old goes."""
        try:
            base = tables.connect(self.path)
        except StoreError as fault:
            self._once(f"no checkpoint could be made: {fault}")
            return
        try:
            plan = Plan(None) if last else self._plan(base)
            checkpoint = self._checkpoint(base, plan)
            if last:
                tables.begin(base, tables.OPEN_SECONDS)
                tables.release(base, self._owner)
                base.execute("COMMIT")
            elif self.retention:
                self._remove(base, plan, {} if checkpoint is None else checkpoint.pruned)
        except (sqlite3.Error, CheckpointError, OSError) as fault:
            self._once(f"event store {self.path}: no checkpoint could be made, or nothing removed ({fault})")
        finally:
            base.close()

    def _plan(self, base: sqlite3.Connection) -> Plan:
        """What is too old or too much; nothing while the clock cannot be believed."""
        last = tables.last_checkpoint(base)
        settled = self._clock.settled(None if last is None else last.t)
        if not self.retention:
            return Plan(None)
        if not settled:
            self._once(f"event store {self.path}: the clock was set, or the gateway was off for long: nothing is "
                       "removed for a day")
            return Plan(None)
        plan = self._cutter.plan(base, self.retention, {} if last is None else last.pruned, time.time())
        self._more = plan.more
        return plan

    def _checkpoint(self, base: sqlite3.Connection, plan: Plan) -> Checkpoint | None:
        """Sign the heads of all chains, and what is to be pruned; the last checkpoint there is. Raises sqlite3.Error,
        CheckpointError."""
        signer = self._signer
        if signer is None:
            return None
        tables.begin(base, tables.OPEN_SECONDS)
        made = None
        try:
            last = tables.last_checkpoint(base)
            heads = tables.heads(base)
            pruned = {} if last is None else dict(last.pruned)
            pruned |= {chain: (cut.prune, cut.digest.hex()) for chain, cut in plan.cuts.items() if cut.digest}
            if heads and (last is None or (heads, pruned) != (last.heads, last.pruned)):
                signer.catch_up(last)
                made = signer.sign(round(time.time(), 3), heads, last, pruned)
                base.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", (made.n, made.t, made.json()))
            # The connection syncs every commit: a checkpoint is on disk before its key is used up, or a loss of power
            # would look like a checkpoint that was removed.
            base.execute("COMMIT" if made is not None else "ROLLBACK")
        except (sqlite3.Error, CheckpointError):
            base.rollback()
            raise
        if made is None:
            return last
        signer.advance()
        self.checkpoints += 1
        return made

    def _remove(self, base: sqlite3.Connection, plan: Plan, pruned: Mapping[str, tuple[int, str]]) -> None:
        """Remove and erase what a checkpoint says is pruned, and what the plan says; and tell it."""
        gone = erased = 0
        for rows, words in self._cutter.work(base, plan, pruned, self.limits.store_batch_rows):
            gone, erased = gone + rows, erased + words
            if self._ends:
                break
        if gone + erased:
            self._put(base, {
                "event": "erased", "by": "retention", "count": erased, "pruned": gone, "before": plan.before,
                "held": sum(len(cut.kept) for cut in plan.cuts.values()),
            })
            self.erased += erased
            self.pruned += gone

    def _put(self, base: sqlite3.Connection, row: Row) -> None:
        """A row of the keeper's own chain."""
        tables.begin(base, tables.OPEN_SECONDS)
        tables.append(base, NAME, [tables.columns_of({**row, "t": time.time()}, self.gateway, "full")])
        base.execute("COMMIT")

    def _once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 256:
            self._told.add(sentence)
            self._tell(sentence)


def _silent(sentence: str) -> None:
    """Tells nobody."""
