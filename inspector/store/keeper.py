"""The keeper of an event store: the one process that signs checkpoints of all chains.

It runs beside the writers, in a thread of its own, in the process that owns what workers share: the supervisor, or the
gateway itself where there is one worker. Every `limits.checkpoint_seconds`, while rows come, it lists the heads of all
chains and signs them (inspector/store/checkpoints.py). It opens the store for each round, so that a store that was
replaced is kept like any other; it takes the lock that writers wait for only for the moments in which it writes.

Waiting goes by the monotonic clock; a clock that jumps changes the time a checkpoint says, never whether one is made.

Errors: StoreError at start, one sentence. Afterwards none: what fails is told once and tried again at the next round.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from inspector.model import Limits
from inspector.store import tables
from inspector.store.checkpoints import Checkpoint, CheckpointError, Signer
from inspector.store.tables import StoreError

NAME = "keeper"
"""The chain in which the keeper writes rows of its own."""
_SHORTEST = 0.05
"""Between two rounds, whatever limits.checkpoint_seconds says."""


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
        self.checkpoints = 0
        """Made so far."""
        self._key = key
        self._signer: Signer | None = None
        self._tell = tell or _silent
        self._told: set[str] = set()
        self._owner = ""
        self._chain = NAME
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
            self._wake.wait(max(last + self.limits.checkpoint_seconds - time.monotonic(), _SHORTEST))
            self._wake.clear()
            if self._ends:
                return
            if time.monotonic() >= last + self.limits.checkpoint_seconds:
                self._round()
                last = time.monotonic()

    def _round(self, last: bool = False) -> None:
        """One checkpoint, where the chains have grown."""
        try:
            base = tables.connect(self.path)
        except StoreError as fault:
            self._once(f"no checkpoint could be made: {fault}")
            return
        try:
            self._checkpoint(base)
            if last:
                tables.begin(base)
                tables.release(base, self._owner)
                base.execute("COMMIT")
        except (sqlite3.Error, CheckpointError, OSError) as fault:
            self._once(f"event store {self.path}: no checkpoint could be made ({fault})")
        finally:
            base.close()

    def _checkpoint(self, base: sqlite3.Connection) -> Checkpoint | None:
        """Sign the heads of all chains; None: nothing has come since the last one. Raises sqlite3.Error,
        CheckpointError."""
        signer = self._signer
        if signer is None:
            return None
        tables.begin(base)
        made = None
        try:
            last = tables.last_checkpoint(base)
            heads = tables.heads(base)
            if heads and (last is None or heads != last.heads):
                signer.catch_up(last)
                made = signer.sign(round(time.time(), 3), heads, last)
                base.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", (made.n, made.t, made.json()))
            # The connection syncs every commit: a checkpoint is on disk before its key is used up, or a loss of power
            # would look like a checkpoint that was removed.
            base.execute("COMMIT" if made is not None else "ROLLBACK")
        except (sqlite3.Error, CheckpointError):
            base.rollback()
            raise
        if made is not None:
            signer.advance()
            self.checkpoints += 1
        return made

    def _once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 256:
            self._told.add(sentence)
            self._tell(sentence)


def _silent(sentence: str) -> None:
    """Tells nobody."""
