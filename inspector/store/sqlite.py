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
import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from inspector.model import Limits
from inspector.store.chain import GENESIS, SALT_BYTES, Link, body_of, digest_of, header_of
from inspector.store.checkpoints import Checkpoint, CheckpointError, Signer
from inspector.store.lines import Privacy, Row, private, render, unknown

Done = Callable[[bool], None]

SCHEMA = 2
"""Version of the tables; a store of a newer one is refused."""
APPLICATION = 0x494D4556
"""SQLite's application_id of an event store ("IMEV"): another program's database is not written to."""
GROUP_SECONDS = 0.05
"""A row that nobody waits for may stay in memory this long, to share a commit."""
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Pauses between attempts of a commit that fails; the last one repeats."""

_TABLES = """
CREATE TABLE events (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL, t REAL NOT NULL, event TEXT NOT NULL, flow TEXT, message TEXT,
    protocol TEXT, kind TEXT, action TEXT, user TEXT, sender TEXT, rule TEXT, reference TEXT, line BLOB NOT NULL,
    chain TEXT, seq INTEGER, salt BLOB, body BLOB, digest BLOB
) STRICT;
CREATE INDEX events_id ON events (id);
CREATE INDEX events_t ON events (t);
CREATE INDEX events_flow ON events (flow, n) WHERE flow IS NOT NULL;
CREATE INDEX events_message ON events (message) WHERE message IS NOT NULL;
CREATE INDEX events_reference ON events (reference) WHERE reference IS NOT NULL;
CREATE INDEX events_action ON events (action, t) WHERE action IS NOT NULL;
CREATE INDEX events_user ON events (user, t) WHERE user IS NOT NULL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_CHAIN_TABLES = """
CREATE UNIQUE INDEX events_chain ON events (chain, seq) WHERE chain IS NOT NULL;
CREATE TABLE checkpoints (n INTEGER PRIMARY KEY, t REAL NOT NULL, line TEXT NOT NULL) STRICT;
"""
_CHAIN_COLUMNS = ("chain TEXT", "seq INTEGER", "salt BLOB", "body BLOB", "digest BLOB")
"""What schema 1 did not have; rows of its time are in no chain."""
_COLUMNS = ("flow", "message", "protocol", "kind", "action", "user", "sender", "rule", "reference")
_ACTION = _COLUMNS.index("action")
"""What the gateway did; a contact list's "block" is none of it."""
_RULE, _REFERENCE = _COLUMNS.index("rule"), _COLUMNS.index("reference")
_INSERT = (
    f"INSERT INTO events (id, t, event, {', '.join(_COLUMNS)}, line, chain, seq, salt, body, digest) "  # noqa: S608 - constants
    f"VALUES (?, ?, ?{', ?' * len(_COLUMNS)}, ?, ?, ?, ?, ?, ?)"
)


class StoreError(Exception):
    """A store that cannot be opened; the text is one sentence that names it."""


def location(url: str) -> Path:
    """The path in `sqlite:PATH`. Raises StoreError."""
    scheme, colon, path = url.partition(":")
    if scheme != "sqlite" or not colon or not path:
        raise StoreError(f'event store "{url}": only sqlite:PATH is known')
    return Path(path)


def connect(path: Path) -> sqlite3.Connection:
    """Open for writing; the file (0600), its folder (0700) and the tables are made where missing. Raises StoreError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError as fault:
        raise StoreError(f"event store {path}: {(fault.strerror or str(fault)).lower()}") from None
    try:
        base = sqlite3.connect(path, timeout=0.25, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as fault:
        raise StoreError(f"event store {path}: {fault}") from None
    try:
        _prepare(base, path)
    except sqlite3.Error as fault:
        base.close()
        raise StoreError(f"event store {path}: {fault}") from None
    except StoreError:
        base.close()
        raise
    return base


def _prepare(base: sqlite3.Connection, path: Path) -> None:
    _check(base, path)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("PRAGMA wal_autocheckpoint=4000")
    base.execute("PRAGMA journal_size_limit=67108864")
    if _version(base) < SCHEMA:
        base.execute("BEGIN IMMEDIATE")
        version = _version(base)
        if version == 0:
            for statement in filter(str.strip, (_TABLES + _CHAIN_TABLES).split(";")):
                base.execute(statement)
            base.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            base.execute(f"PRAGMA application_id={APPLICATION}")
        elif version == 1:
            for column in _CHAIN_COLUMNS:
                base.execute(f"ALTER TABLE events ADD COLUMN {column}")
            for statement in filter(str.strip, _CHAIN_TABLES.split(";")):
                base.execute(statement)
            base.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA),))
        base.execute("COMMIT")


def _version(base: sqlite3.Connection) -> int:
    """Version of the tables, 0: an empty file."""
    if not base.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]:
        return 0
    row = base.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    return int(row[0]) if row and str(row[0]).isdigit() else 0


def _check(base: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours, and what a newer release made."""
    mark = base.execute("PRAGMA application_id").fetchone()[0]
    filled = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if filled and mark != APPLICATION:
        raise StoreError(f"event store {path}: this is another program's database")
    if (version := _version(base)) > SCHEMA:
        raise StoreError(
            f"event store {path}: made by a newer release (schema {version}, this one knows {SCHEMA}): "
            "run that release, or name another store"
        )


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
    """A row on its way: the row until it is rendered, then its columns."""

    __slots__ = ("columns", "done", "row", "since", "size")

    def __init__(self, row: Row, done: Done | None, since: float, size: int) -> None:
        self.row = row
        self.done = done
        self.since = since
        self.size = size
        self.columns: tuple[Any, ...] | None = None


class Writer:
    """The one writer of an event store. `put` from any one thread; everything else happens in the writer's own thread.

    `tell(sentence)` is called from the writer's thread when the store begins to fail, works again, or is given a row
    that docs/events.md does not know; each once.
    """

    def __init__(
        self, path: Path, *, gateway: str | None = None, limits: Limits | None = None, text: Privacy = "full",
        tell: Callable[[str], None] | None = None, chain: str = "0", key: Path | None = None,
    ) -> None:
        """`chain`: the worker's; `key`: the file of the checkpoints' key, None: no checkpoints are made here."""
        self.path = path
        self.chain = chain
        self._key = key
        self._signer: Signer | None = None
        self._seq, self._head = 0, GENESIS
        """Rows of the chain on disk, and the digest of the last one."""
        self._checked: tuple[float, int] = (0.0, 0)
        """When the last checkpoint was made (monotonic), and how many rows the chain had then."""
        self.gateway = gateway
        self.limits = limits or Limits()
        """May be replaced while running."""
        self.text: Privacy = text
        """privacy.text; may be replaced while running."""
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
        self._idle = False
        self._ends: float | None = None
        self._base: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._full: bool | None = None
        self._thread: threading.Thread | None = None

    # ---------------------------------------------------------------------------------------------- the caller's side

    def start(self) -> None:
        """Open the store and start the thread. Raises StoreError."""
        self._open()
        self._thread = threading.Thread(target=self._run, name="event-store", daemon=True)
        self._thread.start()

    def put(self, row: Row, done: Done | None = None) -> None:
        """Write a row; it must not be changed afterwards.

        With `done` the row is durable: done(True) is called from the writer's thread once it is on disk, done(False)
        when it cannot be within limits.store_seconds (then it never will be), or at once, in this thread, when the
        queue is full. Rows that nobody waits for leave a quarter of the queue to those that somebody waits for.
        """
        limits = self.limits
        share = 1.0 if done is not None else 0.75
        size = _size(row)
        if (
            self._thread is None or self._ends is not None
            or len(self._queue) + len(self._held) >= limits.store_queue_rows * share
            or self._came + size - self._went > limits.store_queue_bytes * share
        ):
            if done is None:
                self.counters.lost += 1
            else:
                self.counters.failed += 1
                done(False)
            return
        self._came += size
        self._queue.append(_Item(row, done, time.monotonic(), size))
        if done is not None:
            self._hurry.set()
            self._wake.set()
        elif self._idle:
            self._wake.set()

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
        self._hurry.set()
        self._wake.set()
        self._thread.join(seconds + 1.0)
        self._thread = None

    # ---------------------------------------------------------------------------------------------- the thread's side

    def _run(self) -> None:
        try:
            while True:
                self._idle = True
                if not self._queue and self._ends is None:
                    self._wake.wait(self._until_checkpoint())
                self._idle = False
                self._wake.clear()
                if self._ends is None:
                    self._hurry.wait(GROUP_SECONDS)
                self._hurry.clear()
                self._drain()
                self._checkpoint()
                if self._ends is not None and not self._queue:
                    return
        finally:
            # Whatever ends this thread, nobody waits for ever.
            self._ends = self._ends or 0.0
            self._take()
            self._give_up(lambda _: True)
            if self._base is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._base.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._base.close()

    def _take(self) -> None:
        """Move what waits into the thread's own queue, rendered."""
        queue, held = self._queue, self._held
        while queue:
            item = queue[0]
            if item.columns is None:
                item.columns = self._columns(item.row)
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
        full = any(item.done is not None for item in batch)
        try:
            if self._moved():
                self._open()
            base = self._base
            if base is None:
                raise StoreError("it is not open")
            if full is not self._full:
                base.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
                self._full = full
            base.execute("BEGIN IMMEDIATE")
            rows, seq, head = self._chained(batch)
            base.executemany(_INSERT, rows)
            base.execute("COMMIT")
            self._seq, self._head = seq, head
        except (sqlite3.Error, StoreError, OSError) as fault:
            self._drop()
            return str(fault)
        return None

    def _chained(self, batch: list[_Item]) -> tuple[list[tuple[Any, ...]], int, bytes]:
        """The rows of a batch with their places in the chain, and where it ends then."""
        seq, head, chain = self._seq, self._head, self.chain
        salts = os.urandom(SALT_BYTES * len(batch))
        rows: list[tuple[Any, ...]] = []
        for item in batch:
            columns = item.columns
            if columns is None:
                continue
            seq += 1
            salt = salts[SALT_BYTES * len(rows):SALT_BYTES * (len(rows) + 1)]
            body = body_of(salt, columns[-1])
            header = header_of(
                chain, seq, columns[0], columns[1], columns[2], columns[3 + _ACTION], columns[3 + _RULE],
                columns[3 + _REFERENCE])
            head = digest_of(head, header, body)
            rows.append((*columns, chain, seq, salt, body, head))
        return rows, seq, head

    def _until_checkpoint(self) -> float | None:
        """Seconds until a checkpoint is due; None: nothing has been written since the last one."""
        if self._signer is None or self._checked[1] == self._seq:
            return None
        return max(0.05, self._checked[0] + self.limits.checkpoint_seconds - time.monotonic())

    def _checkpoint(self) -> None:
        """Sign the heads of all chains, when it is time or the end has come."""
        signer, base = self._signer, self._base
        if signer is None or base is None or self._checked[1] == self._seq:
            return
        now = time.monotonic()
        if self._ends is None and now - self._checked[0] < self.limits.checkpoint_seconds:
            return
        self._checked = (now, self._seq)
        try:
            last = _last_checkpoint(base)
            signer.catch_up(last)
            if self._full is not True:
                # On disk before its key is used up: or a loss of power would look like a checkpoint that was removed.
                base.execute("PRAGMA synchronous=FULL")
                self._full = True
            base.execute("BEGIN IMMEDIATE")
            made = signer.sign(round(time.time(), 3), _heads(base), last)
            base.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", (made.n, made.t, made.json()))
            base.execute("COMMIT")
            signer.advance()
        except (sqlite3.Error, CheckpointError, OSError) as fault:
            self._drop()
            self._once(f"event store {self.path}: no checkpoint could be made ({fault})")

    def _written(self, batch: list[_Item]) -> None:
        counters, held = self.counters, self._held
        counters.commits += 1
        counters.rows += len(batch)
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

    def _columns(self, row: Row) -> tuple[Any, ...] | None:
        """What is stored of a row; None: it is no event."""
        try:
            if not row.get("id"):
                row = {**row, "id": self._name(row)}
            line = render(private(row, self.text), self.gateway)
            values = [_column(row.get(name)) for name in _COLUMNS]
            if row["event"] != "verdict":
                values[_ACTION] = _column(row.get("did"))
            columns = (_column(row["id"]), float(row["t"]), row["event"], *values, line)
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            self._once(f"event store: a row that is no event was refused ({row.get('event')}: {fault!r})")
            return None
        if left := unknown(row):
            self._once(f"event store: {row['event']} events have no field {', '.join(left)}; left out")
        return columns

    def _name(self, row: Row) -> str:
        """Id of an event that belongs to no flow, made without chance: from the gateway, the kind and the time."""
        text = f"{self.gateway} {row['event']} {row['t']:.6f}"
        return blake2b(text.encode(), digest_size=8).hexdigest() + "-0"

    def _once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 256:
            self._told.add(sentence)
            self._tell(sentence)

    def _open(self) -> None:
        self._drop()
        self._base = base = connect(self.path)
        self._full = True
        head = base.execute(
            "SELECT seq, digest FROM events WHERE chain = ? ORDER BY seq DESC LIMIT 1", (self.chain,)).fetchone()
        self._seq, self._head = head if head is not None else (0, GENESIS)
        if self._key is not None and self._signer is None:
            try:
                self._signer = Signer(self._key)
            except CheckpointError as fault:
                raise StoreError(str(fault)) from None
            self._checked = (time.monotonic(), 0)
        about = self.path.stat()
        self._inode = (about.st_dev, about.st_ino)

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


def _heads(base: sqlite3.Connection) -> dict[str, tuple[int, str]]:
    """chain -> (rows, digest of the last one)."""
    query = "SELECT chain, max(seq), digest FROM events WHERE chain IS NOT NULL GROUP BY chain"
    return {chain: (seq, digest.hex()) for chain, seq, digest in base.execute(query)}


def _last_checkpoint(base: sqlite3.Connection) -> Checkpoint | None:
    row = base.execute("SELECT line FROM checkpoints ORDER BY n DESC LIMIT 1").fetchone()
    return None if row is None else Checkpoint.parse(row[0])


def _silent(sentence: str) -> None:
    """Tells nobody."""


def _answer(done: Done, ok: bool) -> None:
    # A loop that has been closed cannot be told any more (RuntimeError of call_soon_threadsafe): nobody waits there.
    with contextlib.suppress(RuntimeError):
        done(ok)


def _agrees(line: Any, columns: list[Any]) -> bool:
    """Whether the columns of a row are those that `Writer` makes of what its line says, as far as it says it."""
    try:
        said = msgspec.json.decode(line)
        ident, _, event, *rest = columns
        if (said["id"], said["event"]) != (ident, event):
            return False
    except (msgspec.DecodeError, KeyError, TypeError):
        return False
    for name, value in zip(_COLUMNS, rest, strict=True):
        if name not in said or (name == "action" and event != "verdict"):
            continue
        expected = said[name]
        if expected is not None and type(expected) is not str:
            continue
        if (_column(expected) or "").lower() != str(value or "").lower():
            return False
    return True


def _size(row: Row) -> int:
    """Characters of a row's texts and names: what its memory grows with. A peer chooses names and identifiers, too."""
    size = sum(len(part["text"] or "") if isinstance(part, dict) else 0 for part in row.get("texts") or ())
    for name, value in row.items():
        if type(value) is str:
            size += len(value) if name != "text" else 0
        elif type(value) is list and name != "texts":
            size += sum(len(one) for one in value if type(one) is str)
    return size


def _column(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else (value.name.lower() if hasattr(value, "name") else str(value))
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


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
            _check(self._base, path)
            if _version(self._base) == 0:
                raise StoreError(f"event store {path}: there is nothing in it yet")
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
        where, values = ["n > ?"], [after]  # type: tuple[list[str], list[Any]]
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
        query = f"SELECT n, line FROM events WHERE id IN ({marks}) OR message IN ({marks}) ORDER BY n"  # noqa: S608
        return list(self._rows(query, [*ids, *ids]))

    def of_flow(self, flow: str, events: tuple[str, ...], limit: int = 1000) -> list[tuple[int, bytes]]:
        """Rows of these kinds of one flow, in the order they were written."""
        marks = ", ".join("?" * len(events))
        query = f"SELECT n, line FROM events WHERE flow = ? AND event IN ({marks}) ORDER BY n LIMIT ?"  # noqa: S608
        return list(self._rows(query, [flow, *events, limit]))

    def links(self) -> Iterator[Link]:
        """Every chained row, chain by chain in its order."""
        if _version(self._base) < 2:  # chains came with schema 2
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
        erased = "salt IS NULL AND chain IS NOT NULL" if _version(self._base) >= 2 else "0"
        query = f"SELECT n, {erased}, line, id, t, event, {', '.join(_COLUMNS)} FROM events"  # noqa: S608 - constants
        try:
            for n, without, line, *columns in self._base.execute(query):
                if not without and not _agrees(line, columns):
                    yield f"row n={n}: its columns are not what its line says"
        except sqlite3.Error as fault:
            raise StoreError(f"event store: {fault}") from None

    def displaced(self) -> int:
        """Rows in no chain that are not of an earlier release: they stand behind a row that is in one; and rows whose
        order in the table is not that of their chain."""
        if _version(self._base) < 2:
            return 0
        behind = ("SELECT count(*) FROM events WHERE chain IS NULL "
                  "AND n > (SELECT min(n) FROM events WHERE chain IS NOT NULL)")
        turned = ("SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY chain ORDER BY seq) AS before FROM events "
                  "WHERE chain IS NOT NULL) WHERE before > n")
        return int(self._all(behind, ())[0][0]) + int(self._all(turned, ())[0][0])

    def unchained(self) -> int:
        """Rows of an earlier release, in no chain."""
        if _version(self._base) < 2:  # chains came with schema 2
            return int(self._all("SELECT count(*) FROM events", ())[0][0])
        return int(self._all("SELECT count(*) FROM events WHERE chain IS NULL", ())[0][0])

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, in order. Raises StoreError, also for one that cannot be read."""
        if _version(self._base) < 2:  # chains came with schema 2
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
