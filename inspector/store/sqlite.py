"""The event log in SQLite: one writer thread with group commit, and readers that do not disturb it.

WAL; a batch that holds a durable row is committed with synchronous=FULL, so when `done(True)` is called the row has
been synced to the disk; other batches with NORMAL (a loss of power may take the last of them, a killed process none).
A durable row is committed at once, together with all that wait; while that commit syncs, the next batch gathers.
Rows keep the columns that are searched for and the whole line (docs/events.md) as bytes, and their place in the chain
(inspector/store/chain.py): rows of one commit are chained in the order they are written, by the one thread that writes.

Errors: StoreError, one sentence, when a store cannot be opened. A running writer raises nothing: it retries, says so
once through `tell`, counts, and goes on by itself when the disk lets it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from inspector.model import Limits
from inspector.store import tables
from inspector.store.chain import Link
from inspector.store.checkpoints import Checkpoint, CheckpointError
from inspector.store.keeper import Keeper
from inspector.store.lines import Privacy, Row, unknown
from inspector.store.tables import COLUMNS, Columns, StoreError, check, connect, location, version

__all__ = ["Counters", "Reader", "StoreError", "Writer", "connect", "location"]

Done = Callable[[bool], None]

GROUP_SECONDS = 0.05
"""A row that nobody waits for may stay in memory this long, to share a commit."""
OPEN_SECONDS = 0.01
"""A session that begins may wait this long for others: each costs a synced commit."""
WAIT_SECONDS = 1.0
"""Longest wait for the commits of other processes before an attempt of ours has failed."""
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Pauses between attempts of a commit that fails; the last one repeats."""


class Counters:
    """What the writer has done; plain numbers, read by metrics and status."""

    __slots__ = ("commits", "durable", "failed", "failures", "lost", "refused", "rows")

    def __init__(self) -> None:
        self.rows = 0
        """Rows on disk."""
        self.commits = 0
        self.durable = 0
        """Rows on disk that somebody waited for."""
        self.failed = 0
        """Rows that somebody waited for and that were not written in time (store_failed)."""
        self.lost = 0
        """Rows that nobody waited for, left out because the queue was full or the writer was ended."""
        self.refused = 0
        """Rows that are no event, a fault of ours."""
        self.failures = 0
        """Commits that failed and were tried again."""


class _Item:
    """A row on its way: the row until it is rendered, then its columns; and whether it opens or ends a session."""

    __slots__ = ("columns", "done", "living", "row", "since", "size")

    def __init__(self, row: Row, done: Done | None, since: float, size: int) -> None:
        self.row = row
        self.done = done
        self.since = since
        self.size = size
        self.columns: Columns | None = None
        """Empty: no row of the log."""
        self.living: tuple[str, bytes | None] | None = None


class Writer:
    """The one writer of an event store. `put` from any one thread; everything else happens in the writer's own thread.

    `tell(sentence)` is called from the writer's thread when the store begins to fail, works again, or is given a row
    that docs/events.md does not know; each once.
    """

    def __init__(
        self, path: Path, *, gateway: str | None = None, limits: Limits | None = None, text: Privacy = "full",
        tell: Callable[[str], None] | None = None, chain: str = "0", key: Path | None = None,
    ) -> None:
        """`chain`: the worker's; `key`: the file of the checkpoints' key, for a writer that has a `keeper` of its own;
        None: checkpoints are another one's work."""
        self.path = path
        self.chain = chain
        """The one it writes: another name than the one asked for while another living process has that."""
        self.keeper = None if key is None else Keeper(path, key, gateway=gateway, limits=limits, tell=tell)
        self._asked = chain
        self._owner: str | None = None
        self._limits = limits or Limits()
        self.gateway = gateway
        self.text: Privacy = text
        """privacy.text; may be replaced while running."""
        self.sparing = False
        """The disk is full: rows that nobody waits for are left out, what room is left is for the others."""
        self.counters = Counters()
        self.fault: str | None = None
        """Why it cannot write at present; None: all is well."""
        self._tell = tell or _silent
        self._told: set[str] = set()
        self._queue: deque[_Item] = deque()
        self._held: deque[_Item] = deque()
        self._came = 0
        """Characters of texts put so far (the caller's side writes it) …"""
        self._went = 0
        """… and no longer waiting (the thread's side writes it)."""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._waited = threading.Event()
        self._idle = False
        self._graves = False
        """Somebody has died whose sessions are to be told lost."""
        self._ends: float | None = None
        self._base: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._full: bool | None = None
        self._thread: threading.Thread | None = None

    @property
    def limits(self) -> Limits:
        """May be replaced while running."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        if self.keeper is not None:
            self.keeper.limits = limits

    # ---------------------------------------------------------------------------------------------- the caller's side

    def start(self) -> None:
        """Open the store, tell which sessions were lost with the last process, and start the thread. Raises
        StoreError."""
        self._owner = tables.owner()
        try:
            self._open(tables.OPEN_SECONDS)
            if self.keeper is not None:
                self.keeper.start()
        except (sqlite3.Error, StoreError) as fault:
            self._leave()
            raise StoreError(str(fault) if isinstance(fault, StoreError) else f"event store {self.path}: {fault}") \
                from None
        self._thread = threading.Thread(target=self._run, name="event-store", daemon=True)
        self._thread.start()

    def put(self, row: Row, done: Done | None = None, *, hurry: bool = True) -> None:
        """Write a row; it must not be changed afterwards.

        {"event": "flow", "state": "open"} is remembered until the "end" of its flow and no row of the log: what is
        remembered when a process has gone becomes `session_lost` at the next start. It is synced like a durable row.

        With `done` the row is durable: done(True) is called from the writer's thread once it is on disk, done(False)
        when it cannot be within limits.store_seconds (then it never will be), or at once, in this thread, when the
        queue is full. Rows that nobody waits for leave a quarter of the queue to those that somebody waits for.
        `hurry` False: who waits can wait for the others of GROUP_SECONDS, so that however many such rows come, they
        make no more than one commit in that time.
        """
        limits = self.limits
        share = 1.0 if done is not None else 0.75
        size = _size(row)
        if (
            self._thread is None or self._ends is not None
            or len(self._queue) + len(self._held) >= limits.store_queue_rows * share
            or self._came + size - self._went > limits.store_queue_bytes * share
            or (self.sparing and done is None and row.get("event") != "flow")
        ):
            if done is None:
                self.counters.lost += 1
            else:
                self.counters.failed += 1
                done(False)
            return
        self._came += size
        self._queue.append(_Item(row, done, time.monotonic(), size))
        if done is not None and hurry:
            self._waited.set()
            self._hurry.set()
            self._wake.set()
        elif row.get("state") == "open" and row.get("event") == "flow":
            self._hurry.set()
            self._wake.set()
        elif self._idle:
            self._wake.set()

    def bury(self) -> None:
        """A process that wrote here has ended, and no other one takes its place: with our next commit it is told which
        sessions were lost with it."""
        self._graves = True

    @property
    def waiting(self) -> int:
        """Rows not yet on disk."""
        return len(self._queue) + len(self._held)

    @property
    def healthy(self) -> bool:
        """Whether the thread runs and its last commit succeeded."""
        return self.fault is None and self._thread is not None and self._thread.is_alive()

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, for `seconds` at most, and end."""
        if self._thread is None:
            return
        self._ends = time.monotonic() + seconds
        self._waited.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join(seconds + 1.0)
        self._thread = None
        if self.keeper is not None:
            self.keeper.close()

    # ---------------------------------------------------------------------------------------------- the thread's side

    def _run(self) -> None:
        try:
            while True:
                self._idle = True
                if not self._queue and self._ends is None:
                    self._wake.wait()
                self._idle = False
                self._wake.clear()
                if self._ends is None:
                    self._hurry.wait(GROUP_SECONDS)
                    self._waited.wait(OPEN_SECONDS)
                self._waited.clear()
                self._hurry.clear()
                self._drain()
                if self._ends is not None and not self._queue:
                    return
        finally:
            # Whatever ends this thread, nobody waits for ever.
            self._ends = self._ends or 0.0
            self._take()
            self._give_up(lambda _: True)
            self._leave()

    def _take(self) -> None:
        """Move what waits into the thread's own queue, rendered."""
        queue, held = self._queue, self._held
        while queue:
            item = queue[0]
            if item.columns is None:
                item.columns = self._columns(item)
            if item.columns is None:
                self.counters.refused += 1
                self._went += item.size
                if item.done is not None:
                    _answer(item.done, False)
            else:
                held.append(item)
            queue.popleft()

    def _drain(self) -> None:
        """Write until nothing waits, or the end has come."""
        attempt = 0
        self._take()
        while self._held:
            batch = [self._held[at] for at in range(min(len(self._held), self.limits.store_batch_rows))]
            fault = self._commit(batch)
            if fault is None:
                attempt = 0
                self._written(batch)
            else:
                self._failing(fault)
                seconds = self.limits.store_seconds
                late = time.monotonic() - seconds
                self._take()
                self._give_up(lambda item, late=late: item.done is not None and item.since <= late)  # type: ignore[misc]
                if self._ends is not None and time.monotonic() >= self._ends:
                    return
                time.sleep(min(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)], seconds))
                attempt += 1
            self._take()

    def _commit(self, batch: list[_Item]) -> str | None:
        """One transaction; the fault in words when it failed."""
        rows = [item.columns for item in batch if item.columns]
        living = [item.living for item in batch if item.living is not None]
        full = any(item.done is not None for item in batch) or any(about is not None for _, about in living)
        graves = False
        try:
            if self._moved():
                self._open()
            base = self._base
            if base is None:
                raise StoreError("it is not open")
            if full is not self._full:
                base.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
                self._full = full
            tables.begin(base, min(WAIT_SECONDS, self.limits.store_seconds))
            # The chain's end is read where nobody can come between: two processes that write one chain do not fork it.
            tables.append(base, self.chain, rows)
            tables.live(base, self.chain, living)
            graves, self._graves = self._graves, False
            lost = tables.lost(base, time.time(), "") if graves else []
            tables.append(base, self.chain, [tables.columns_of(row, self.gateway, self.text) for row in lost])
            base.execute("COMMIT")
        except (sqlite3.Error, StoreError, OSError) as fault:
            self._graves = self._graves or graves
            self._drop()
            return str(fault)
        self.counters.rows += len(lost)
        return None

    def _written(self, batch: list[_Item]) -> None:
        counters, held = self.counters, self._held
        counters.commits += 1
        counters.rows += sum(1 for item in batch if item.columns)
        for item in batch:
            held.popleft()
            self._went += item.size
            if item.done is not None:
                counters.durable += 1
                _answer(item.done, True)
        if self.fault is not None:
            self.fault = None
            self._tell(f"event store {self.path}: writes again")

    def _failing(self, fault: str) -> None:
        self.counters.failures += 1
        if self.fault is None:
            self._tell(f"event store {self.path}: cannot write ({fault}); trying again")
        self.fault = fault

    def _give_up(self, hopeless: Callable[[_Item], bool]) -> None:
        keep: deque[_Item] = deque()
        for item in self._held:
            if not hopeless(item):
                keep.append(item)
                continue
            self._went += item.size
            if item.done is None:
                self.counters.lost += 1
            else:
                self.counters.failed += 1
                _answer(item.done, False)
        self._held = keep

    def _columns(self, item: _Item) -> Columns | None:
        """What is stored of a row; None: it is no event."""
        row = item.row
        try:
            if row["event"] == "flow" and (state := row.get("state")) in ("open", "end"):
                if state == "open":
                    item.living = tables.opened(row)
                    return ()
                item.living = (str(row.get("flow")), None)
            columns = tables.columns_of(row, self.gateway, self.text)
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            self._once(f"event store: a row that is no event was refused ({row.get('event')}: {fault!r})")
            return None
        if left := unknown(row):
            self._once(f"event store: {row['event']} events have no field {', '.join(left)}; left out")
        return columns

    def _once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 256:
            self._told.add(sentence)
            self._tell(sentence)

    def _open(self, seconds: float = tables.BUSY_SECONDS) -> None:
        """Open the store; one that we have not had before: take a chain there, and tell which sessions were lost."""
        self._drop()
        self._base = base = connect(self.path)
        self._full = True
        about = self.path.stat()
        inode = (about.st_dev, about.st_ino)
        if inode == self._inode or self._owner is None:
            return
        tables.begin(base, seconds)
        chain = tables.claim(base, self._asked, self._owner)
        lost = [tables.columns_of(row, self.gateway, self.text) for row in tables.lost(base, time.time(), self._owner)]
        tables.append(base, chain, lost)
        base.execute("COMMIT")
        self.counters.rows += len(lost)
        self.chain, self._inode = chain, inode

    def _leave(self) -> None:
        """Close the store for good: the chain is another one's to take."""
        if self._base is not None:
            with contextlib.suppress(sqlite3.Error):
                if self._owner is not None:
                    tables.begin(self._base)
                    tables.release(self._base, self._owner)
                    self._base.execute("COMMIT")
                self._base.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._drop()
        if self._owner is not None:
            tables.disown(self._owner)

    def _drop(self) -> None:
        """Close the connection; the next commit opens a new one."""
        if self._base is not None:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
        self._base = None

    def _moved(self) -> bool:
        """Whether the file under our connection is no longer the one of that name (removed, replaced): SQLite would
        go on writing into the nameless one."""
        if self._base is None:
            return True
        try:
            about = self.path.stat()
        except OSError:
            return True
        return (about.st_dev, about.st_ino) != self._inode


def _silent(sentence: str) -> None:
    """Tells nobody."""


def _answer(done: Done, ok: bool) -> None:
    # A loop that has been closed cannot be told any more (RuntimeError of call_soon_threadsafe): nobody waits there.
    with contextlib.suppress(RuntimeError):
        done(ok)


def _size(row: Row) -> int:
    """Characters of a row's texts and names: what its memory grows with. A peer chooses names and identifiers, too."""
    size = sum(len(part["text"] or "") if isinstance(part, dict) else 0 for part in row.get("texts") or ())
    for name, value in row.items():
        if type(value) is str:
            size += len(value) if name != "text" else 0
        elif type(value) is list and name != "texts":
            size += sum(len(one) for one in value if type(one) is str)
    return size


# -------------------------------------------------------------------------------------------------------- reading


class Reader:
    """Reads an event store, also while a gateway writes to it. Rows come as (n, line)."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError."""
        if not path.is_file():
            raise StoreError(f"event store {path}: there is none yet (has the gateway run with this configuration?)")
        try:
            self._base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        except sqlite3.Error as fault:
            raise StoreError(f"event store {path}: {fault}") from None
        try:
            check(self._base, path)
            if version(self._base) == 0:
                raise StoreError(f"event store {path}: there is nothing in it yet")
            self._whole = "(salt IS NOT NULL OR chain IS NULL)" if version(self._base) >= 2 else "1"
            """Of rows that are not erased."""
        except sqlite3.Error as fault:
            self._base.close()
            raise StoreError(f"event store {path}: {fault}") from None
        except StoreError:
            self._base.close()
            raise

    def close(self) -> None:
        self._base.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def select(
        self, *, since: float | None = None, until: float | None = None, events: tuple[str, ...] = (),
        actions: tuple[str, ...] = (), user: str | None = None, after: int = 0, limit: int | None = None,
    ) -> Iterator[tuple[int, bytes]]:
        """Rows in the order of time; with `limit` the newest so many. `user` names the session's user or the writer,
        `*` and `?` as in file names; `after`: only rows with a greater n."""
        where, values = ["n > ?", self._whole], [after]  # type: tuple[list[str], list[Any]]
        if since is not None:
            where.append("t >= ?")
            values.append(since)
        if until is not None:
            where.append("t < ?")
            values.append(until)
        for column, names in (("event", events), ("action", actions)):
            if names:
                where.append(f"{column} IN ({', '.join('?' * len(names))})")
                values.extend(names)
        if user is not None:
            match = "GLOB" if any(letter in user for letter in "*?[") else "="
            where.append(f"(user {match} ? OR sender {match} ?)")
            values.extend((user, user))
        condition = " AND ".join(where)
        if limit is None:
            query = f"SELECT n, line FROM events WHERE {condition} ORDER BY t, n"  # noqa: S608 - values are bound
        else:
            newest = f"SELECT n, t, line FROM events WHERE {condition} ORDER BY t DESC, n DESC LIMIT ?"  # noqa: S608
            query = f"SELECT n, line FROM ({newest}) ORDER BY t, n"  # noqa: S608
            values.append(limit)
        yield from self._rows(query, values)

    def about(self, key: str) -> list[tuple[int, bytes]]:
        """The rows that an event id, a message's id or a reference names, and those that speak of them."""
        ids = {key}
        named = "SELECT id, message FROM events WHERE id = ? OR message = ? OR reference = ?"
        for row in self._all(named, (key, key, key)):
            ids.update(name for name in row if name)
        marks = ", ".join("?" * len(ids))
        query = (f"SELECT n, line FROM events WHERE (id IN ({marks}) OR message IN ({marks})) "  # noqa: S608
                 f"AND {self._whole} ORDER BY n")
        return list(self._rows(query, [*ids, *ids]))

    def of_flow(self, flow: str, events: tuple[str, ...], limit: int = 1000) -> list[tuple[int, bytes]]:
        """Rows of these kinds of one flow, in the order they were written."""
        marks = ", ".join("?" * len(events))
        query = (f"SELECT n, line FROM events WHERE flow = ? AND event IN ({marks}) AND {self._whole} "  # noqa: S608
                 "ORDER BY n LIMIT ?")
        return list(self._rows(query, [flow, *events, limit]))

    def known(self, idents: Sequence[str]) -> set[str]:
        """Which of these are ids of rows, erased ones included; of verdicts only those that hold something: another one
        says that nothing waits."""
        found: set[str] = set()
        for at in range(0, len(idents), 500):
            some = tuple(idents[at:at + 500])
            marks = ", ".join("?" * len(some))
            query = f"SELECT id FROM events WHERE id IN ({marks}) AND (event != 'verdict' OR action = 'hold')"  # noqa: S608
            found.update(row[0] for row in self._all(query, some))
        return found

    def since(self) -> float | None:
        """The earliest time that a row says; None: there is no row."""
        earliest = self._all("SELECT min(t) FROM events", ())[0][0]
        return None if earliest is None else float(earliest)

    def erased(self, key: str) -> tuple[str, float, str, str | None, str | None] | None:
        """(id, t, event, action, rule): what stays of an erased row that an event id or a reference names."""
        if version(self._base) < 2:
            return None
        found = self._all(
            "SELECT id, t, event, action, rule FROM events WHERE (id = ? OR reference = ?) AND salt IS NULL "
            "AND chain IS NOT NULL ORDER BY n LIMIT 1", (key, key))
        return found[0] if found else None

    def living(self, flow: str) -> dict[str, Any] | None:
        """What is remembered of a session that has not ended; None: nothing."""
        if version(self._base) < 3:  # that came with schema 3
            return None
        found = self._all("SELECT about FROM living WHERE flow = ?", (flow,))
        try:
            return dict(msgspec.json.decode(found[0][0])) if found else None
        except (msgspec.DecodeError, TypeError, ValueError):
            return None

    def holds(self) -> list[tuple[str, float, str, str | None]]:
        """(user, since, by, reason) of each legal hold."""
        if version(self._base) < 3:  # they came with schema 3
            return []
        return self._all("SELECT user, t, by, reason FROM legal_holds ORDER BY user", ())

    def links(self) -> Iterator[Link]:
        """Every chained row, chain by chain in its order."""
        if version(self._base) < 2:  # chains came with schema 2
            return
        query = (
            "SELECT chain, seq, id, t, event, action, rule, reference, line, salt, body, digest FROM events "
            "WHERE chain IS NOT NULL ORDER BY chain, seq"
        )
        try:
            for row in self._base.execute(query):
                yield Link(*row)
        except sqlite3.Error as fault:
            raise StoreError(f"event store: {fault}") from None

    def disagreeing(self) -> Iterator[str]:
        """One sentence for each row whose columns, by which it is found, are not what its line says. An erased row has
        no line and none of a person's columns."""
        erased = "salt IS NULL AND chain IS NOT NULL" if version(self._base) >= 2 else "0"
        query = f"SELECT n, {erased}, line, id, t, event, {', '.join(COLUMNS)} FROM events"  # noqa: S608 - constants
        try:
            for n, without, line, *columns in self._base.execute(query):
                if not without and not tables.agrees(line, columns):
                    yield f"row n={n}: its columns are not what its line says"
        except sqlite3.Error as fault:
            raise StoreError(f"event store: {fault}") from None

    def displaced(self) -> int:
        """Rows in no chain that are not of an earlier release: they stand behind a row that is in one; and rows whose
        order in the table is not that of their chain."""
        if version(self._base) < 2:
            return 0
        behind = ("SELECT count(*) FROM events WHERE chain IS NULL "
                  "AND n > (SELECT min(n) FROM events WHERE chain IS NOT NULL)")
        turned = ("SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY chain ORDER BY seq) AS before FROM events "
                  "WHERE chain IS NOT NULL) WHERE before > n")
        return int(self._all(behind, ())[0][0]) + int(self._all(turned, ())[0][0])

    def unchained(self) -> int:
        """Rows of an earlier release, in no chain."""
        if version(self._base) < 2:  # chains came with schema 2
            return int(self._all("SELECT count(*) FROM events", ())[0][0])
        return int(self._all("SELECT count(*) FROM events WHERE chain IS NULL", ())[0][0])

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, in order. Raises StoreError, also for one that cannot be read."""
        if version(self._base) < 2:  # chains came with schema 2
            return []
        try:
            return [Checkpoint.parse(row[0]) for row in self._all("SELECT line FROM checkpoints ORDER BY n", ())]
        except CheckpointError as fault:
            raise StoreError(f"event store: a stored checkpoint is {fault}") from None

    def snapshot(self) -> None:
        """From here on read one state of the store, whatever is written meanwhile."""
        self._all("BEGIN", ())
        self.last()

    def last(self) -> int:
        """The greatest n, 0 when there is no row."""
        return int(self._all("SELECT coalesce(max(n), 0) FROM events", ())[0][0])

    def _rows(self, query: str, values: list[Any]) -> Iterator[tuple[int, bytes]]:
        try:
            yield from self._base.execute(query, values)
        except sqlite3.Error as fault:
            raise StoreError(f"event store: {fault}") from None

    def _all(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._base.execute(query, values).fetchall()
        except sqlite3.Error as fault:
            raise StoreError(f"event store: {fault}") from None
