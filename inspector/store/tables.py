"""The tables of an event store, and what every process that opens one has to keep to.

Several processes write to one store: each worker its own chain, the one that signs checkpoints, and operators' commands
(erase, hold). SQLite lets one of them write at a time; `begin` waits its turn, for a bounded time and in small steps,
since a worker's commit takes milliseconds and SQLite's own waiting grows to a tenth of a second.

`writers` says which process writes which chain. A chain has one process at a time: who finds another living one there
takes the next free name ("0.1"), so that a worker that drains and its successor do not meet. `living` holds the
sessions of each chain that have not ended: what stands there of a process that is gone was lost with it.

Errors: StoreError, one sentence that names the store; sqlite3.Error from what runs inside a transaction.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from inspector.store.chain import GENESIS, SALT_BYTES, body_of, digest_of, header_of
from inspector.store.checkpoints import Checkpoint, CheckpointError
from inspector.store.lines import Privacy, Row, address, private, render

SCHEMA = 3
"""Version of the tables; a store of a newer one is refused."""
APPLICATION = 0x494D4556
"""SQLite's application_id of an event store ("IMEV"): another program's database is not written to."""
BUSY_SECONDS = 0.25
"""Longest wait for another process's commit before an attempt has failed."""
OPEN_SECONDS = 5.0
"""The same when a store is opened: several workers may make it at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0003, 0.004
MOST_CHAINS = 1000
"""Names tried for a chain whose own name is taken."""

Columns = tuple[Any, ...]
"""id, t, event, COLUMNS, line: what is stored of a row, without its place in a chain."""

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
_PROCESS_TABLES = """
CREATE TABLE writers (chain TEXT PRIMARY KEY, owner TEXT NOT NULL) STRICT;
CREATE TABLE living (
    chain TEXT NOT NULL, flow TEXT NOT NULL, about BLOB NOT NULL, PRIMARY KEY (chain, flow)
) STRICT, WITHOUT ROWID;
CREATE TABLE legal_holds (user TEXT PRIMARY KEY, t REAL NOT NULL, by TEXT NOT NULL, reason TEXT) STRICT;
"""
_CHAIN_COLUMNS = ("chain TEXT", "seq INTEGER", "salt BLOB", "body BLOB", "digest BLOB")
"""What schema 1 did not have; rows of its time are in no chain."""
COLUMNS = ("flow", "message", "protocol", "kind", "action", "user", "sender", "rule", "reference")
_ACTION = COLUMNS.index("action")
"""What the gateway did; a contact list's "block" is none of it."""
_RULE, _REFERENCE = COLUMNS.index("rule"), COLUMNS.index("reference")
INSERT = (
    f"INSERT INTO events (id, t, event, {', '.join(COLUMNS)}, line, chain, seq, salt, body, digest) "  # noqa: S608 - constants
    f"VALUES (?, ?, ?{', ?' * len(COLUMNS)}, ?, ?, ?, ?, ?, ?)"
)


class StoreError(Exception):
    """A store that cannot be opened; the text is one sentence that names it."""


# ------------------------------------------------------------------------------------------------------- opening


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
        _made_ours(path)
    except OSError as fault:
        raise StoreError(f"event store {path}: {(fault.strerror or str(fault)).lower()}") from None
    try:
        base = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as fault:
        raise StoreError(f"event store {path}: {fault}") from None
    try:
        patiently(lambda: _prepare(base, path), OPEN_SECONDS)
    except sqlite3.Error as fault:
        base.close()
        raise StoreError(f"event store {path}: {fault}") from None
    except StoreError:
        base.close()
        raise
    return base


def _made_ours(path: Path) -> None:
    """See that the file is there, that it may be written and that it is ours alone. Raises OSError.

    No descriptor of it may be opened and closed here: with it every POSIX lock of this process on the file would go,
    those of SQLite's connections, too. Another process that closes the store would then take itself for the last one
    and remove the WAL that ours go on writing to, which ends in a damaged file (sqlite.org/howtocorrupt.html, 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.mknod(path, 0o600 | stat.S_IFREG)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        why = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(why, os.strerror(why))
    if stat.S_IMODE(mode) & 0o077:
        path.chmod(0o600)


def _prepare(base: sqlite3.Connection, path: Path) -> None:
    check(base, path)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("PRAGMA wal_autocheckpoint=4000")
    base.execute("PRAGMA journal_size_limit=67108864")
    base.execute("PRAGMA secure_delete=ON")
    if version(base) < SCHEMA:
        base.execute("BEGIN IMMEDIATE")
        try:
            _upgrade(base)
            base.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                base.execute("ROLLBACK")
            raise


def _upgrade(base: sqlite3.Connection) -> None:
    """Bring the tables to SCHEMA, inside a transaction; whoever came first has done it."""
    found = version(base)
    if found == 0:
        _run(base, _TABLES + _CHAIN_TABLES + _PROCESS_TABLES)
        base.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        base.execute(f"PRAGMA application_id={APPLICATION}")
        return
    if found == 1:
        for column in _CHAIN_COLUMNS:
            base.execute(f"ALTER TABLE events ADD COLUMN {column}")
        _run(base, _CHAIN_TABLES)
    if found < SCHEMA:
        _run(base, _PROCESS_TABLES)
        base.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA),))


def _run(base: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        base.execute(statement)


def version(base: sqlite3.Connection) -> int:
    """Version of the tables, 0: an empty file."""
    if not base.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]:
        return 0
    row = base.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    return int(row[0]) if row and str(row[0]).isdigit() else 0


def check(base: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours, and what a newer release made. Raises StoreError."""
    mark = base.execute("PRAGMA application_id").fetchone()[0]
    filled = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if filled and mark != APPLICATION:
        raise StoreError(f"event store {path}: this is another program's database")
    if (found := version(base)) > SCHEMA:
        raise StoreError(
            f"event store {path}: made by a newer release (schema {found}, this one knows {SCHEMA}): "
            "run that release, or name another store"
        )


def busy(fault: sqlite3.Error) -> bool:
    """Whether another connection is in the way just now."""
    code = getattr(fault, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def patiently[T](work: Callable[[], T], seconds: float) -> T:
    """Do what another connection may be in the way of, again and again for `seconds` at most. Raises sqlite3.Error."""
    ends = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            return work()
        except sqlite3.Error as fault:
            if not busy(fault) or time.monotonic() >= ends:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def begin(base: sqlite3.Connection, seconds: float = BUSY_SECONDS) -> None:
    """Begin to write; other processes' commits are waited for, `seconds` at most. Raises sqlite3.Error."""
    base.execute("PRAGMA busy_timeout=0")
    try:
        patiently(lambda: base.execute("BEGIN IMMEDIATE"), seconds)
    finally:
        base.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")


# ---------------------------------------------------------------------------------------------------------- rows


def columns_of(row: Row, gateway: str | None, text: Privacy) -> Columns:
    """What is stored of a row. Raises KeyError, TypeError, ValueError, AttributeError: it is no event."""
    if not row.get("id"):
        row = {**row, "id": _name(row, gateway)}
    line = render(private(row, text), gateway)
    values = [column(row.get(name)) for name in COLUMNS]
    if row["event"] != "verdict":
        values[_ACTION] = column(row.get("did"))
    return (column(row["id"]), float(row["t"]), row["event"], *values, line)


def column(value: Any) -> str | None:
    """A value as it stands in a column that is searched for."""
    if value is None:
        return None
    text = value if isinstance(value, str) else (value.name.lower() if hasattr(value, "name") else str(value))
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _name(row: Row, gateway: str | None) -> str:
    """Id of an event that belongs to no flow, made without chance: from the gateway, the kind and the time."""
    text = f"{gateway} {row['event']} {row['t']:.6f}"
    return blake2b(text.encode(), digest_size=8).hexdigest() + "-0"


def head(base: sqlite3.Connection, chain: str) -> tuple[int, bytes]:
    """(number, digest) of a chain's last row."""
    row = base.execute(
        "SELECT seq, digest FROM events WHERE chain = ? ORDER BY seq DESC LIMIT 1", (chain,)).fetchone()
    if row is None:
        return 0, GENESIS
    # Whoever has changed the last row has broken the chain there; what comes behind it is written all the same.
    return (row[0] if type(row[0]) is int else 0), (row[1] if type(row[1]) is bytes else GENESIS)


def append(base: sqlite3.Connection, chain: str, rows: Sequence[Columns]) -> None:
    """Put rows behind a chain's last one; inside a transaction, so that nobody comes between."""
    seq, last = head(base, chain)
    salts = os.urandom(SALT_BYTES * len(rows))
    linked: list[Columns] = []
    for columns in rows:
        seq += 1
        salt = salts[SALT_BYTES * len(linked):SALT_BYTES * (len(linked) + 1)]
        body = body_of(salt, columns[-1])
        header = header_of(
            chain, seq, columns[0], columns[1], columns[2], columns[3 + _ACTION], columns[3 + _RULE],
            columns[3 + _REFERENCE])
        last = digest_of(last, header, body)
        linked.append((*columns, chain, seq, salt, body, last))
    base.executemany(INSERT, linked)


def agrees(line: Any, columns: list[Any]) -> bool:
    """Whether the columns of a row are those that `columns_of` makes of what its line says, as far as it says it."""
    try:
        said = msgspec.json.decode(line)
        ident, _, event, *rest = columns
        if (said["id"], said["event"]) != (ident, event):
            return False
    except (msgspec.DecodeError, KeyError, TypeError):
        return False
    for name, value in zip(COLUMNS, rest, strict=True):
        if name not in said or (name == "action" and event != "verdict"):
            continue
        expected = said[name]
        if expected is not None and type(expected) is not str:
            continue
        if (column(expected) or "").lower() != str(value or "").lower():
            return False
    return True


# ------------------------------------------------------------------------------------------------------- chains


def chains(base: sqlite3.Connection) -> list[str]:
    """Names of all chains, found along the index: a look-up a chain, not one a row."""
    found: list[str] = []
    name = ""
    while True:
        row = base.execute(
            "SELECT chain FROM events WHERE chain > ? ORDER BY chain LIMIT 1" if found else
            "SELECT chain FROM events WHERE chain >= ? ORDER BY chain LIMIT 1", (name,)).fetchone()
        if row is None:
            return found
        name = row[0]
        found.append(name)


def heads(base: sqlite3.Connection) -> dict[str, tuple[int, str]]:
    """chain -> (number, digest in hex) of the last row."""
    return {chain: (seq, digest.hex()) for chain in chains(base) for seq, digest in (head(base, chain),)}


def last_checkpoint(base: sqlite3.Connection) -> Checkpoint | None:
    """The newest one that is stored. Raises CheckpointError."""
    row = base.execute("SELECT line FROM checkpoints ORDER BY n DESC LIMIT 1").fetchone()
    try:
        return None if row is None else Checkpoint.parse(row[0])
    except CheckpointError as fault:
        raise CheckpointError(f"the last stored checkpoint is {fault}") from None


# ---------------------------------------------------------------------------------------------- who writes, who lives

_OURS: set[str] = set()
"""Owners that live in this process."""
_COUNT = 0


def owner() -> str:
    """A name for a writer of this process that no other one has, and by which others can tell whether it lives: boot,
    process, the process's start in ticks of that boot, a counter. `disown` when it ends."""
    global _COUNT
    _COUNT += 1
    name = f"{_boot()} {os.getpid()} {_started(os.getpid())} {_COUNT}"
    _OURS.add(name)
    return name


def disown(name: str) -> None:
    """The owner of that name lives no more."""
    _OURS.discard(name)


def alive(name: str) -> bool:
    """Whether the owner of that name still writes: its process runs (a later one may have its number), and has not
    disowned it."""
    boot, pid, started, *_ = (*name.split(" "), "", "", "")
    if boot != _boot() or not pid.isdigit():
        return False
    if int(pid) == os.getpid() and started == _started(os.getpid()):
        return name in _OURS
    return bool(started) and started == _started(int(pid))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def _started(pid: int) -> str:
    """When a process was started, in clock ticks since the boot; "" when it does not run, or is a zombie."""
    try:
        # The second field, the program's name, may have blanks and parentheses in it.
        rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if rest[:1] in (["Z"], ["X"]) or len(rest) < 20 else rest[19]


def claim(base: sqlite3.Connection, chain: str, mine: str) -> str:
    """Take a chain, or the first free name behind it where another living process has it; inside a transaction.
    Raises StoreError."""
    for name in (chain, *(f"{chain}.{n}" for n in range(1, MOST_CHAINS))):
        row = base.execute("SELECT owner FROM writers WHERE chain = ?", (name,)).fetchone()
        if row is None or row[0] == mine or not alive(row[0]):
            base.execute("INSERT OR REPLACE INTO writers VALUES (?, ?)", (name, mine))
            return name
    raise StoreError(f"all names of chain {chain} are taken")


def release(base: sqlite3.Connection, mine: str) -> None:
    """Give back the chains of an owner."""
    base.execute("DELETE FROM writers WHERE owner = ?", (mine,))


def opened(row: Row) -> tuple[str, bytes]:
    """(flow, what is remembered of it) of a session that lives: from a row {"event": "flow", "state": "open"}."""
    about: dict[str, Any] = {name: column(row.get(name)) for name in ("protocol", "user", "listener")}
    about["confidence"] = row.get("confidence") if isinstance(row.get("confidence"), (int, float)) else None
    ends = {name: None if row.get(name) is None else address(row[name]) for name in ("client", "server")}
    return str(row["flow"]), msgspec.json.encode({"t": float(row["t"]), **about, **ends})


def lost(base: sqlite3.Connection, now: float, mine: str) -> list[Row]:
    """Take the sessions of processes that are gone out of `living`, and of `mine` before it writes; a row of trouble
    `session_lost` for each. Inside a transaction."""
    owners = dict(base.execute("SELECT chain, owner FROM writers").fetchall())
    rows: list[Row] = []
    for chain in [name for (name,) in base.execute("SELECT DISTINCT chain FROM living").fetchall()]:
        if (of := owners.get(chain)) is not None and of != mine and alive(of):
            continue
        for flow, about in base.execute("SELECT flow, about FROM living WHERE chain = ? ORDER BY flow", (chain,)):
            rows.append(_lost(flow, about, now))
        base.execute("DELETE FROM living WHERE chain = ?", (chain,))
    return rows


def _lost(flow: str, about: bytes, now: float) -> Row:
    try:
        known: dict[str, Any] = msgspec.json.decode(about)
        since = float(known["t"])
        known = {name: known.get(name) for name in ("protocol", "user", "listener", "client", "server")}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        known, since = {}, now
    return {
        "event": "trouble", "id": f"{flow}-0", "t": now, "flow": flow, "name": "session_lost",
        "detail": f"the gateway ended without ending this session, which was open for {max(0, round(now - since))} "
                  "seconds or less; what was undecided was delivered to nobody", **known,
    }


def live(base: sqlite3.Connection, chain: str, changes: Iterable[tuple[str, bytes | None]]) -> None:
    """Sessions that began (with what is remembered of them) and that ended (None), in order; inside a transaction."""
    for flow, about in changes:
        if about is None:
            base.execute("DELETE FROM living WHERE chain = ? AND flow = ?", (chain, flow))
        else:
            base.execute("INSERT OR REPLACE INTO living VALUES (?, ?, ?)", (chain, flow, about))
