"""What an operator does to an event store, beside a running gateway or without one: erasing a person, legal holds.

It is done in a chain of its own ("manage"), so that an event of it can be written by whoever runs the command.

Errors: StoreError, one sentence that names the store.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inspector.model import Limits
from inspector.store import erasing, tables
from inspector.store.erasing import Persons
from inspector.store.lines import Row
from inspector.store.sqlite import Reader
from inspector.store.tables import StoreError

CHAIN = "manage"
"""The chain of what operators do to the store."""
PASSES = 3
"""Rows that come while others are erased are erased by the next pass; a session that goes on ends it some time."""


@dataclass(slots=True)
class Erased:
    """What became of an erasure."""

    count: int = 0
    held: int = 0
    """Rows that stay because of a legal hold."""
    clean: bool = True
    """Whether old pages are gone, too: False while somebody reads an old state of the store."""


class Managed:
    """A store in the hands of an operator; made by `managed`."""

    def __init__(self, base: sqlite3.Connection, chain: str, gateway: str) -> None:
        self._base = base
        self._chain = chain
        self._gateway = gateway

    def erase(self, user: str, before: float, by: str, subject: str) -> Erased:
        """Erase the rows that name a user and are older than `before`; `subject` is how the event tells of him. The
        event comes first: an erasure that a crash interrupts is told, too."""
        persons, done = Persons([user]), Erased()
        after = 0
        for _ in range(PASSES):
            numbers, kept, last = self._find(persons, before, after)
            done.held += kept
            if numbers:
                with self._writing():
                    self._put({"event": "erased", "by": by, "count": len(numbers), "held": kept, "before": before,
                               "subject": subject})
                    erasing.forget_living(self._base, persons)
                done.count += erasing.erase(self._base, numbers, Limits().store_batch_rows)
            if last == after:
                break
            after = last
        done.clean = erasing.scrub(self._base)
        return done

    def _find(self, persons: Persons, before: float, after: int) -> tuple[list[int], int, int]:
        """Rows (n) to erase behind row `after`, how many more are on legal hold, the last row that was looked at."""
        on_hold = erasing.held(self._base)
        last: int = self._base.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()[0]
        numbers: list[int] = []
        held = 0
        for n, line in erasing.rows_with(self._base, persons, before, after):
            if n > last:
                break
            if on_hold.among(line):
                held += 1
            else:
                numbers.append(n)
        return numbers, held, last

    def hold(self, user: str, by: str, reason: str | None) -> bool:
        """Put a user's rows on legal hold; False: they are."""
        with self._writing():
            done = erasing.hold(self._base, user, by, reason, time.time())
            if done:
                self._put({"event": "legal_hold", "change": "add", "user": user, "by": by, "reason": reason})
        return done

    def unhold(self, user: str, by: str, reason: str | None) -> bool:
        """End a user's legal hold; False: there is none."""
        with self._writing():
            done = erasing.unhold(self._base, user)
            if done:
                self._put({"event": "legal_hold", "change": "remove", "user": user, "by": by, "reason": reason})
        return done

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        tables.begin(self._base, tables.OPEN_SECONDS)
        try:
            yield
            self._base.execute("COMMIT")
        except sqlite3.Error:
            self._base.rollback()
            raise

    def _put(self, row: Row) -> None:
        tables.append(self._base, self._chain, [
            tables.columns_of({"t": time.time(), **row}, self._gateway, "full")])


@contextlib.contextmanager
def managed(path: Path, gateway: str) -> Iterator[Managed]:
    """A store that is there, for an operator; `gateway`: the name that his events have. Raises StoreError, also for
    what fails while he works on it."""
    mine = tables.owner()
    base = None
    try:
        Reader(path).close()
        base = tables.connect(path)
        tables.begin(base, tables.OPEN_SECONDS)
        chain = tables.claim(base, CHAIN, mine)
        base.execute("COMMIT")
        yield Managed(base, chain, gateway)
    except sqlite3.Error as fault:
        raise StoreError(f"event store {path}: {fault}") from None
    finally:
        tables.disown(mine)
        if base is not None:
            with contextlib.suppress(sqlite3.Error):
                base.rollback()
                tables.begin(base)
                tables.release(base, mine)
                base.execute("COMMIT")
            base.close()
