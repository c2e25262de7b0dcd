"""How long rows of an event log stay: by age and by size; what the keeper does about it at each of its rounds.

A chain can only be cut at its beginning. So what is old is removed whole up to the first row that must stay, and the
checkpoint that is signed before the first row goes says up to where and which digest the chain goes on from. Old rows
behind one that must stay (a legal hold) are erased: their place in the chain stays. The last row of a chain stays.

Which row is old is said by its time. A clock that was wrong for a while must not cost rows: a row of the future is no
reason to keep what is in front of it, nor to remove anything; and after a jump of the clock, or a start at a time that
does not follow the last checkpoint, nothing is removed for a day (`Clock`).

Errors: sqlite3.Error.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inspector.store import erasing, tables
from inspector.store.erasing import Persons

ROUND_ROWS = 50_000
"""Rows of a chain that one round removes or erases; there is a next one."""
SETTLE_SECONDS = 86400.0
"""A clock that jumped is believed again after this."""
JUMP_SECONDS = 3600.0
GAP_SECONDS = 14 * 86400.0
"""A gateway that was off for longer than this waits like one whose clock jumped."""
_FUTURE_SECONDS = 3600.0
_ROOM = 0.95
"""Of the size that is allowed, this much is left full."""
_PAUSE = 0.02
_STANDING = "chain = ? AND seq > ? AND seq <= ? AND salt IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Retention:
    """What is configured; None: no bound."""

    days: float | None = None
    megabytes: float | None = None

    def __bool__(self) -> bool:
        return self.days is not None or self.megabytes is not None


class Clock:
    """Whether the wall clock can be believed."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._until = 0.0
        self._begun = False

    def settled(self, last: float | None) -> bool:
        """Whether nothing strange was seen of it for a while. `last`: the time that the last checkpoint says."""
        now = time.monotonic()
        offset = time.time() - now
        if abs(offset - self._offset) > JUMP_SECONDS:
            self._offset, self._until = offset, now + SETTLE_SECONDS
        elif not self._begun and last is not None and not -JUMP_SECONDS <= time.time() - last <= GAP_SECONDS:
            self._until = now + SETTLE_SECONDS
        self._begun = True
        return now >= self._until


@dataclass(slots=True)
class Cut:
    """What becomes of one chain: rows up to `prune` go, old ones up to `erase` are erased but those that are held."""

    prune: int
    digest: bytes
    erase: int
    kept: list[int] = field(default_factory=list)
    """Rows (seq) between them that are on hold."""


@dataclass(slots=True)
class Plan:
    """What one round does."""

    before: float | None
    cuts: dict[str, Cut] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    """Whose rows are on legal hold."""
    more: bool = False
    """There is more than a round takes."""


class Cutter:
    """Plans and does the removing, a round at a time; remembers how far it has looked, so that what stays is looked at
    once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[str, ...], int, int | None]] = {}
        """chain -> (holds, erased up to here, the first row on hold)."""

    def plan(
        self, base: sqlite3.Connection, retention: Retention, pruned: Mapping[str, tuple[int, str]], now: float,
    ) -> Plan:
        """What is too old or too much, by chain."""
        before = None if retention.days is None else now - retention.days * 86400
        plan = Plan(before)
        if not retention:
            return plan
        persons = erasing.held(base)
        plan.held = persons.names
        starts = {chain: pruned.get(chain, (0, ""))[0] for chain in tables.chains(base)}
        number = _too_many(base, retention.megabytes, {
            chain: self._done(chain, start, persons)[0] for chain, start in starts.items()})
        if before is None and number is None:
            return plan
        for chain, start in starts.items():
            cut = self._cut(base, chain, start, before, number, now, persons, plan)
            if cut is not None:
                plan.cuts[chain] = cut
        plan.more = plan.more or (number is not None and bool(plan.cuts))
        return plan

    def _done(self, chain: str, start: int, persons: Persons) -> tuple[int, int | None]:
        """(up to where a chain's old rows are erased or on hold, the first row on hold)."""
        seen, done, first_held = self._seen.get(chain, ((), start, None))
        return (max(done, start), first_held) if seen == persons.names else (start, None)

    def _cut(
        self, base: sqlite3.Connection, chain: str, start: int, before: float | None, number: int | None, now: float,
        persons: Persons, plan: Plan,
    ) -> Cut | None:
        done, first_held = self._done(chain, start, persons)
        old = "(t < :before OR n < :number)"
        asked: dict[str, Any] = {
            "chain": chain, "start": done, "before": before if before is not None else -1e300, "number": number or 0,
            "future": now + _FUTURE_SECONDS, "head": tables.head(base, chain)[0], "most": done + ROUND_ROWS,
        }
        young = base.execute(
            f"SELECT seq FROM events WHERE chain = :chain AND seq > :start AND seq <= :most AND NOT ({old} "  # noqa: S608
            "OR t > :future) ORDER BY seq LIMIT 1", asked).fetchone()
        asked["end"] = min(asked["head"], young[0] if young else asked["most"] + 1)
        plan.more = plan.more or (young is None and asked["head"] > asked["most"])
        last = base.execute(
            f"SELECT seq FROM events WHERE chain = :chain AND seq > :start AND seq < :end AND {old} "  # noqa: S608
            "ORDER BY seq DESC LIMIT 1", asked).fetchone()
        end = last[0] if last else done
        if first_held is not None and first_held - 1 <= start and end <= done:
            return None
        # What earlier rounds have kept stands still: it is no more this one's to erase than theirs.
        since = done if first_held is None else first_held - 1
        kept = [
            seq for seq, line in base.execute(
                f"SELECT seq, line FROM events WHERE {_STANDING} ORDER BY seq", (chain, since, end))  # noqa: S608
            if persons.among(line)
        ] if persons and end > since else []
        if first_held is None and kept:
            first_held = kept[0]
        self._seen[chain] = (persons.names, end, first_held)
        prune = end if first_held is None else first_held - 1
        if prune <= start and end <= done:
            return None
        row = base.execute("SELECT digest FROM events WHERE chain = ? AND seq = ?", (chain, prune)).fetchone()
        return Cut(prune, row[0], end, kept) if prune > start and row else Cut(start, b"", end, kept)

    def work(self, base: sqlite3.Connection, plan: Plan, pruned: Mapping[str, tuple[int, str]], batch: int) -> \
            Iterator[tuple[int, int]]:
        """Do it, a transaction of `batch` rows at a time, between which others write; after each (rows removed, rows
        erased). `pruned`: what the last checkpoint says, so that rows that an interrupted round left go, too."""
        for chain, (seq, _) in pruned.items():
            while True:
                tables.begin(base, tables.OPEN_SECONDS)
                first = "SELECT n FROM events WHERE chain = ? AND seq <= ? ORDER BY seq LIMIT ?"
                gone = base.execute(f"DELETE FROM events WHERE n IN ({first})", (chain, seq, batch)).rowcount  # noqa: S608
                base.execute("COMMIT")
                if not gone:
                    break
                yield gone, 0
                time.sleep(_PAUSE)
        for chain, cut in plan.cuts.items():
            kept = set(cut.kept)
            numbers = [
                n for n, seq in base.execute(
                    f"SELECT n, seq FROM events WHERE {_STANDING} ORDER BY seq",  # noqa: S608
                    (chain, cut.prune, cut.erase))
                if seq not in kept
            ]
            for at in range(0, len(numbers), batch):
                if erasing.held(base).names != plan.held:
                    return  # a legal hold was put meanwhile: the next round knows whose rows stay
                yield 0, erasing.erase(base, numbers[at:at + batch], batch)
        if plan.before is not None:
            yield self._unchained(base, plan.before), 0

    def _unchained(self, base: sqlite3.Connection, before: float) -> int:
        """Remove rows of an earlier release, which are in no chain."""
        persons = erasing.held(base)
        numbers = [
            n for n, line in base.execute(
                "SELECT n, line FROM events WHERE chain IS NULL AND t < ? ORDER BY n LIMIT ?", (before, ROUND_ROWS))
            if not persons.among(line)
        ]
        return erasing.erase(base, numbers, 500) if numbers else 0


def _too_many(base: sqlite3.Connection, megabytes: float | None, done: Mapping[str, int]) -> int | None:
    """Rows with an n below this are too much for the size that is allowed; None: it is kept. `done`: by chain, up to
    which row nothing more is to be had."""
    if megabytes is None:
        return None
    pages, free, size = (
        base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    used, allowed = (pages - free) * size, megabytes * (1 << 20)
    if used <= allowed:
        return None
    # The last row of a chain stays, also of one that nobody has written to for long, and so do rows on legal hold and
    # the headers of those behind them: rows are counted from the first one that may go, or the gap behind such a row
    # would count as rows, and the log would grow beyond every bound.
    first: int | None = None
    for chain, seq in done.items():
        found = base.execute(
            "SELECT n FROM events WHERE chain = ? AND seq > ? AND seq < ? AND salt IS NOT NULL ORDER BY seq LIMIT 1",
            (chain, seq, tables.head(base, chain)[0])).fetchone()
        if found is not None and (first is None or found[0] < first):
            first = found[0]
    last = base.execute("SELECT max(n) FROM events").fetchone()[0]
    if first is None:
        return None
    return int(first + (last - first + 1) * (1 - _ROOM * allowed / used))
