"""The hold store: messages and files that wait for a reviewer, encrypted on disk.

A folder (0700) with an index (SQLite, 0600), a key file (0600) and one file for each item. What an item says lies in
its file only: AES-256-GCM (NIST SP 800-38D) with a key of its own, made for it. That key lies in the index, wrapped by
the newest key of the key file: rotation wraps all of them anew, erasure forgets one. The index has the columns that
`inspector quarantine list` shows, and nothing more that is readable: whose quota an item counts for is an HMAC.

    item file  = "IMQF1\\n" prefix[8] chunk*         named HMAC-SHA256(names key, id)
    chunk      = length[4] sealed                   nonce = prefix number[4]; the key is never used for another item
    sealed     = AES-GCM(item key, plain, "IMQF1\\n" id 0 number[4] last[1])
    chunk 0    = msgpack of Held; chunks 1 … = a file's content, 256 KiB each, the last one shorter

So a chunk that is changed, moved, left out at the end or taken from another item is known as damaged, and so is an
index that says another number of chunks.

`keep` returns when file, folder and index are on disk; what a crash leaves of one that did not return is swept by
`open`. A change of state is one compare-and-set: of two at a time one wins. Every method may be called from any thread.

What is done with an item is a row of the event log, which is another file: no transaction spans both. So each change
takes its row, and keeps it here in the same transaction, sealed like an item's key, until it is `settled`: what a crash
leaves behind is `owed` to the log, and the act never stands without its row.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import sqlite3
import stat
import struct
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inspector.model import Held, Limits, client_of

SCHEMA = 2
"""Version of the tables; a store of a newer one is refused."""
APPLICATION = 0x494D5148
"""SQLite's application_id of an index of held items ("IMQH")."""
MAGIC = b"IMQF1\n"
CHUNK = 256 * 1024
"""Plain bytes of a chunk of a file's content."""
MOST_HELD = 64 << 20
"""Longest chunk 0 that is believed."""
WAITING = ("held", "released", "delivering", "uncertain")
"""States of what waits for somebody: these count for the quotas."""
ENDED = ("denied", "delivered", "expired")
"""States whose content is only kept for a later look: the oldest gives way when there is no room."""

GIVE_WAY = 32
"""Ended items that one new one may erase: each takes a commit."""
BUSY = 2.0
"""Seconds for which somebody else may lock the index."""
NAMES = 8
"""Recipients in the index; all of them stand in the item."""
NAME = 200
"""Characters of a name in the index: peers choose names."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PREFIX_BYTES = 8
_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">IB")
_BEGIN = len(MAGIC) + _PREFIX_BYTES
_ENDING = ".item"
_TABLES = """
CREATE TABLE items (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, reference TEXT NOT NULL, t REAL NOT NULL,
    state TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL, protocol TEXT NOT NULL, about TEXT NOT NULL,
    kind TEXT NOT NULL, sender TEXT, recipients TEXT NOT NULL, rule TEXT, size INTEGER NOT NULL,
    sendable INTEGER NOT NULL, bytes INTEGER NOT NULL, chunks INTEGER NOT NULL, client BLOB, key INTEGER, wrapped BLOB
) STRICT;
CREATE INDEX items_reference ON items (reference);
CREATE INDEX items_state ON items (state, expires);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_OWED_TABLE = """
CREATE TABLE owed (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, item TEXT NOT NULL, key INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT
"""
_SHOWN = "id, reference, t, state, since, expires, protocol, about, kind, sender, recipients, rule, size, sendable"
_NAMES = tuple(_SHOWN.split(", "))
_WAITS = f"state IN ({', '.join(repr(state) for state in WAITING)})"
_OVER = f"state IN ({', '.join(repr(state) for state in ENDED)})"


Row = dict[str, Any]
"""A row of the event log, as JSON has it; its "id" is its name here, too."""

_decode = msgspec.msgpack.Decoder(Held).decode
"""Made here, by one thread: msgspec learns a type when it meets it first, and of two threads that meet it at the same
time one finds it half learned (a null pointer, and the end of the process)."""


class HoldError(Exception):
    """The store cannot do what was asked; the text is one sentence without what any item says."""


class HoldFull(HoldError):
    """A quota has no room for another item."""


class Damaged(HoldError):
    """An item that cannot be read: its file is gone, cut, changed, or not of its key."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What the index says of an item: what `inspector quarantine list` shows."""

    id: str
    reference: str
    t: float
    """When it was taken out."""
    state: str
    since: float
    """When it came into that state."""
    expires: float
    """When it leaves that state by itself."""
    protocol: str
    about: str
    kind: str
    sender: str | None
    recipients: tuple[str, ...]
    rule: str | None
    size: int
    sendable: bool
    """A release sends it; else its sender must send it again."""


class Opened(msgspec.Struct, frozen=True):
    """What `open` found."""

    swept: int = 0
    """Files of items that had never been answered as kept, or had been erased: deleted."""
    missing: tuple[str, ...] = ()
    """Items whose file is gone."""
    rotated: int | None = None
    """Items whose keys were wrapped anew, to finish a rotation that a crash had broken off; None: there was none."""


class Owed(msgspec.Struct, frozen=True):
    """A row that the event log may not have."""

    item: str
    """The item it is about; "": no single one."""
    row: Row


def _nothing(_step: str) -> None:
    """Before a step: nothing."""


class HoldStore:
    """The one store of a folder."""

    def __init__(
        self, folder: Path, limits: Callable[[], Limits] = Limits, *, key: Path | None = None,
        before: Callable[[str], None] = _nothing,
    ) -> None:
        """`key`: the key file, None: `key` in the folder. `before`: called before each step that changes the disk, with
        its name; a test ends there."""
        self.folder = folder
        self.limits = limits
        self.keys = _Keys(key or folder / "key", before)
        self._before = before
        self._lock = threading.RLock()
        self._base: sqlite3.Connection | None = None
        self._locked = -1
        self._reserved: dict[int, tuple[int, bytes]] = {}
        """Items that are being written: their bytes and whose they are."""
        self._reservation = 0

    # -- life

    @property
    def index(self) -> Path:
        """The file of the index."""
        return self.folder / "index.db"

    def open(self) -> Opened:
        """Open or make the store; finish a rotation, sweep what a crash left. Raises HoldError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_mode & 0o077:
                self.folder.chmod(0o700)
            self._claim()
            self._connect()
            with self._lock:
                kept = int(self._row("SELECT count(*) FROM items WHERE wrapped IS NOT NULL")[0])
                self.keys.load(needed=kept)
                rotated = self._wrap_anew() if self.keys.several else None
                opened = msgspec.structs.replace(self._sweep(), rotated=rotated)
        except (OSError, sqlite3.Error) as fault:
            self.close()
            raise HoldError(f"hold store {self.folder}: {_why(fault)}") from None
        except HoldError:
            self.close()
            raise
        return opened

    def _claim(self) -> None:
        """Nobody else may use the folder: what another one is writing would be swept as a crash's leftover."""
        self._locked = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HoldError(f"hold store {self.folder}: another gateway uses it") from None

    def _connect(self) -> None:
        handle = os.open(self.index, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        base = self._base = sqlite3.connect(self.index, timeout=BUSY, isolation_level=None, check_same_thread=False)
        mark = base.execute("PRAGMA application_id").fetchone()[0]
        filled = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if filled and mark != APPLICATION:
            raise HoldError(f"hold store {self.index}: this is another program's database")
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        base.execute("PRAGMA secure_delete=ON")
        if filled:
            row = base.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            version = int(row[0]) if row and str(row[0]).isdigit() else 0
            if version > SCHEMA:
                raise HoldError(
                    f"hold store {self.index}: made by a newer release (schema {version}, this one knows {SCHEMA}): "
                    "run that release, or name another folder")
            if version < SCHEMA:
                base.execute("BEGIN IMMEDIATE")
                base.execute(_OWED_TABLE)
                base.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA),))
                base.execute("COMMIT")
            return
        base.execute("BEGIN IMMEDIATE")
        base.execute(f"PRAGMA application_id={APPLICATION}")
        for statement in (_TABLES + _OWED_TABLE).split(";"):
            base.execute(statement)
        base.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        base.execute("COMMIT")

    def _sweep(self) -> Opened:
        known = {self._name(row[0]): row[0] for row in self._rows("SELECT id FROM items WHERE wrapped IS NOT NULL")}
        there = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(_ENDING)}
        leftovers = there - known.keys()
        for name in leftovers:
            (self.folder / name).unlink()
        return Opened(len(leftovers), tuple(sorted(known[name] for name in known.keys() - there)))

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            if self._base is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._base.close()
                self._base = None
            if self._locked >= 0:
                os.close(self._locked)
                self._locked = -1

    # -- items

    def keep(
        self, held: Held, at: float, content: int = -1, row: Row | None = None,
        gave_way: Callable[[Item], Row] | None = None,
    ) -> list[Item]:
        """Store an item: when this returns, it is on disk for good. `content`: a descriptor of a file's content, read
        from its begin (the caller closes it). `row`: what the event log is owed of it; `gave_way` makes the row of an
        ended item that has to give way. Returns those items.

        Raises HoldFull, HoldError.
        """
        plain = _packed(held)
        try:
            length = os.fstat(content).st_size if content >= 0 else 0
            chunks = 1 + -(-length // CHUNK)
            size = _BEGIN + len(plain) + length + chunks * (_LENGTH.size + _TAG_BYTES)
            client = self.keys.masked(client_of(held.client))
            with self._room(size, client, gave_way) as gone:
                key = AESGCM.generate_key(bit_length=8 * _KEY_BYTES)
                self._write(held.id, key, plain, content, length, chunks)
                try:
                    self._insert(held, at, size, chunks, client, key, row)
                except sqlite3.Error:
                    with contextlib.suppress(OSError):
                        self._path(held.id).unlink()
                    raise
            return gone
        except (OSError, sqlite3.Error) as fault:
            raise HoldError(f"hold store: {_why(fault)}") from None

    @contextlib.contextmanager
    def _room(
        self, size: int, client: bytes, gave_way: Callable[[Item], Row] | None = None,
    ) -> Iterator[list[Item]]:
        """Room for an item, while it is written. Raises HoldFull."""
        limits = self.limits()
        with self._lock:
            rows = self._row(
                f"SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(client = ?), 0), "  # noqa: S608 - constants
                f"coalesce(sum(bytes * (client = ?)), 0) FROM items WHERE {_WAITS}", client, client)
            items, bytes_, own_items, own_bytes = map(int, rows)
            coming = self._reserved.values()
            items += len(coming)
            bytes_ += sum(other for other, _ in coming)
            own_items += sum(1 for _, whose in coming if whose == client)
            own_bytes += sum(other for other, whose in coming if whose == client)
            if items >= limits.hold_items or bytes_ + size > limits.hold_bytes:
                raise HoldFull("no more can be held: limits.hold_items, limits.hold_bytes")
            if own_items >= limits.hold_client_items or own_bytes + size > limits.hold_client_bytes:
                raise HoldFull(
                    "no more can be held for this client: limits.hold_client_items, limits.hold_client_bytes")
            self._reservation = mine = self._reservation + 1
            self._reserved[mine] = (size, client)
        try:
            yield self._give_way(items + 1 - limits.hold_items, bytes_ + size - limits.hold_bytes, gave_way)
        finally:
            with self._lock:
                del self._reserved[mine]

    def _give_way(self, items: int, bytes_: int, gave_way: Callable[[Item], Row] | None) -> list[Item]:
        """Erase the oldest ended items, so many above what may be beside the waiting ones."""
        with self._lock:
            ended = self._rows(f"SELECT id, bytes FROM items WHERE {_OVER} ORDER BY since")  # noqa: S608 - constants
            items += len(ended)
            bytes_ += sum(row[1] for row in ended)
            gone: list[Item] = []
            for ident, size in ended[:GIVE_WAY]:
                if items <= 0 and bytes_ <= 0:
                    break
                found = self.find(ident)
                row = gave_way(found[0]) if found and gave_way is not None else None
                if found and self.erase(ident, found[0].since, row):
                    gone.append(found[0])
                items -= 1
                bytes_ -= size
            return gone

    def _write(self, ident: str, key: bytes, plain: bytes, content: int, length: int, chunks: int) -> None:
        """The item's file, synced, and its name in the folder too."""
        path = self._path(ident)
        cipher, prefix = AESGCM(key), os.urandom(_PREFIX_BYTES)
        self._before("file")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write(handle, MAGIC + prefix)
            for number in range(chunks):
                if number:
                    plain = _read(content, min(CHUNK, length - (number - 1) * CHUNK), (number - 1) * CHUNK)
                last = number == chunks - 1
                sealed = cipher.encrypt(_nonce(prefix, number), plain, _place(ident, number, last))
                self._before("chunk")
                _write(handle, _LENGTH.pack(len(sealed)) + sealed)
            self._before("sync")
            os.fsync(handle)
        except (OSError, HoldError):
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(handle)
        self._before("sync folder")
        _sync_folder(self.folder)

    def _insert(
        self, held: Held, at: float, size: int, chunks: int, client: bytes, key: bytes, row: Row | None,
    ) -> None:
        values: tuple[Any, ...] = (
            held.id, held.reference, held.t, "held", at, at + self.limits().hold_seconds, held.protocol, held.about,
            held.kind, _short(held.sender), json.dumps([_short(name) for name in held.recipients[:NAMES]]), held.rule,
            held.size, bool(held.raw), size, chunks, client,
        )
        with self._changing("index"):
            # Here, where no rotation can come between: it would forget the key that this one is wrapped by.
            values = (*values, *self.keys.wrap(held.id, key))
            self._run(
                f"INSERT INTO items ({_SHOWN}, bytes, chunks, client, key, wrapped) "  # noqa: S608 - constants and marks
                f"VALUES ({', '.join('?' * len(values))})", *values)
            self._owe(held.id, row)

    def forget(self, ident: str, row: Row | None = None) -> bool:
        """An item that waits for nobody after all: as if it had never been kept. Raises HoldError."""
        return self._drop(ident, row, "DELETE FROM items WHERE id = ?", ident)

    def erase(self, ident: str, at: float, row: Row | None = None) -> bool:
        """Forget the item's key and delete its file; what is left says that there was one. False: it was done already,
        or there is no such item. Raises HoldError."""
        keep = self.limits().hold_seconds
        done = self._drop(
            ident, row, "UPDATE items SET state = 'erased', since = ?, expires = ?, sender = NULL, recipients = '[]', "
            "bytes = 0, client = NULL, key = NULL, wrapped = NULL WHERE id = ? AND wrapped IS NOT NULL",
            at, at + keep, ident)
        if done:
            with self._guard(), self._changing("tombstones"):
                self._run("DELETE FROM items WHERE state = 'erased' AND n <= (SELECT n FROM items WHERE "
                          "state = 'erased' ORDER BY n DESC LIMIT 1 OFFSET ?)", int(self.limits().hold_items))
        return done

    def _drop(self, ident: str, row: Row | None, statement: str, *values: Any) -> bool:
        with self._guard():
            with self._changing("erase"):
                done = self._run(statement, *values) > 0
                if done:
                    self._owe(ident, row)
            if done:
                # What the index says no more is no more in its log either.
                # (As far as nobody reads it at this moment: that must not keep those waiting who keep something.)
                self._run("PRAGMA busy_timeout=20")
                self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
                self._run(f"PRAGMA busy_timeout={int(BUSY * 1000)}")
                self._before("delete")
                self._path(ident).unlink(missing_ok=True)
        return done

    def move(
        self, ident: str, before: Collection[str], state: str, at: float, keep: float | None = None,
        row: Row | None = None, instead_of: str | None = None,
    ) -> bool:
        """From one of the states `before` into `state`, durably; False: it is in none of them (any more).

        `keep`: seconds until it leaves that state by itself, None: limits.hold_seconds. `row`: what the event log is
        owed of it; `instead_of`: the id of a row that it is owed no more, as what it says is taken back. Raises
        HoldError.
        """
        seconds = self.limits().hold_seconds if keep is None else keep
        with self._guard(), self._changing("move"):
            done = self._run(
                f"UPDATE items SET state = ?, since = ?, expires = ? WHERE id = ? AND "  # noqa: S608 - only marks
                f"state IN ({', '.join('?' * len(before))})", state, at, at + seconds, ident, *before) > 0
            if done:
                self._owe(ident, row)
                if instead_of is not None:
                    self._run("DELETE FROM owed WHERE id = ?", instead_of)
            return done

    # -- what the event log is owed

    def _owe(self, ident: str, row: Row | None) -> None:
        """Inside of a transaction: the row of what it does."""
        if row is not None:
            number, sealed = self.keys.wrap(f"row {row['id']}", json.dumps(row).encode())
            self._run("INSERT INTO owed (id, item, key, sealed) VALUES (?, ?, ?, ?)", row["id"], ident, number, sealed)

    def owed(self) -> list[Owed]:
        """All rows that are not settled, in the order of what they say. Raises HoldError."""
        found = []
        with self._guard():
            for ident, item, number, sealed in self._rows("SELECT id, item, key, sealed FROM owed ORDER BY n"):
                with contextlib.suppress(Damaged, ValueError):
                    found.append(Owed(item, json.loads(self.keys.unwrap(f"row {ident}", number, sealed))))
        return found

    def settle(self, idents: Collection[str]) -> None:
        """The event log has these rows. Raises HoldError."""
        with self._guard(), self._changing("settle"):
            for ident in idents:
                self._run("DELETE FROM owed WHERE id = ?", ident)

    # -- reading

    def find(self, key: str) -> list[Item]:
        """The item of that id, else those of that reference (small letters and a missing dash do not matter)."""
        letters = key.strip(" .,").replace("-", "").upper()
        with self._guard():
            query = f"SELECT {_SHOWN} FROM items WHERE"  # noqa: S608 - constants
            rows = self._rows(f"{query} id = ?", key) or self._rows(
                f"{query} reference = ? ORDER BY n", f"{letters[:4]}-{letters[4:]}")
        return [_item(row) for row in rows]

    def items(self, states: Sequence[str] = (), limit: int = -1) -> list[Item]:
        """All items, or those of some states, in the order they came."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        with self._guard():
            rows = self._rows(f"SELECT {_SHOWN} FROM items {where} ORDER BY n LIMIT ?", *states, limit)  # noqa: S608
        return [_item(row) for row in rows]

    def due(self, at: float, limit: int) -> list[Item]:
        """Items whose time in their state is over, erased ones included."""
        with self._guard():
            rows = self._rows(
                f"SELECT {_SHOWN} FROM items WHERE expires <= ? AND state != 'delivering' "  # noqa: S608 - constants
                "ORDER BY expires LIMIT ?", at, limit)
        return [_item(row) for row in rows]

    def latest(self) -> float | None:
        """The latest time that an item says; None: there is none."""
        with self._guard():
            found = self._row("SELECT max(since) FROM items")[0]
        return None if found is None else float(found)

    def counts(self) -> tuple[dict[str, int], int]:
        """(items by state, bytes on disk)."""
        with self._guard():
            rows = self._rows("SELECT state, count(*), sum(bytes) FROM items GROUP BY state")
        return {row[0]: row[1] for row in rows}, sum(row[2] for row in rows)

    def read(self, ident: str) -> Held:
        """What an item says. Raises Damaged; HoldError: no such item, or it was erased."""
        plain = self._chunk(ident, 0)[0]
        try:
            held = _decode(plain)
        except (msgspec.DecodeError, ValueError):
            raise Damaged(f"{ident} is damaged: it says nothing that is known here") from None
        if held.id != ident:
            raise Damaged(f"{ident} is damaged: it is another item")
        return held

    def content(self, ident: str, number: int) -> tuple[bytes, bool]:
        """(piece `number` of a file's content, from 0; whether it is the last). Of a message (b"", True).

        Raises Damaged, HoldError.
        """
        return self._chunk(ident, number + 1)

    def _chunk(self, ident: str, number: int) -> tuple[bytes, bool]:
        with self._guard():
            row = self._row("SELECT chunks, key, wrapped FROM items WHERE id = ?", ident)
            if row is None:
                raise HoldError(f"nothing is held as {ident}")
            chunks, which, wrapped = row
            if wrapped is None:
                raise HoldError(f"{ident} was erased")
            if number >= chunks:
                return b"", True
            cipher = AESGCM(self.keys.unwrap(ident, which, wrapped))
        try:
            handle = os.open(self._path(ident), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise Damaged(f"{ident} is damaged: its file is gone") from None
        except OSError as fault:
            raise HoldError(f"hold store: {_why(fault)}") from None
        try:
            head = _read(handle, _BEGIN, 0)
            at, most = _BEGIN, MOST_HELD
            if number:
                first = _LENGTH.unpack(_read(handle, _LENGTH.size, at))[0]
                at += _LENGTH.size + first + (number - 1) * (_LENGTH.size + CHUNK + _TAG_BYTES)
                most = CHUNK + _TAG_BYTES
            length = _LENGTH.unpack(_read(handle, _LENGTH.size, at))[0]
            if not head.startswith(MAGIC) or length > most:
                raise Damaged(f"{ident} is damaged: its file is none of this store")
            sealed = _read(handle, length, at + _LENGTH.size)
        except OSError as fault:
            raise HoldError(f"hold store: {_why(fault)}") from None
        except Damaged:
            raise Damaged(f"{ident} is damaged: its file is not whole") from None
        finally:
            os.close(handle)
        last = number == chunks - 1
        try:
            return cipher.decrypt(_nonce(head[len(MAGIC):], number), sealed, _place(ident, number, last)), last
        except InvalidTag:
            raise Damaged(f"{ident} is damaged: it is not what was stored") from None

    # -- keys

    def rotate(self, row: Callable[[int], Row] | None = None) -> int:
        """Make a new key, wrap all items' keys with it, forget the old one; how many items. `row` makes of that number
        what the event log is owed. Raises HoldError."""
        with self._guard():
            self.keys.renew()
            return self._wrap_anew(row)

    def _wrap_anew(self, row: Callable[[int], Row] | None = None) -> int:
        done = 0
        with self._changing("wrap"):
            for ident, which, wrapped in self._rows("SELECT id, key, sealed FROM owed"):
                if which != self.keys.newest:
                    with contextlib.suppress(Damaged):
                        plain = self.keys.unwrap(f"row {ident}", which, wrapped)
                        self._run("UPDATE owed SET key = ?, sealed = ? WHERE id = ?",
                                  *self.keys.wrap(f"row {ident}", plain), ident)
            for ident, which, wrapped in self._rows("SELECT id, key, wrapped FROM items WHERE wrapped IS NOT NULL"):
                if which == self.keys.newest:
                    continue
                try:
                    key = self.keys.unwrap(ident, which, wrapped)
                except Damaged:
                    continue  # stays damaged: there is nothing to save
                self._run("UPDATE items SET key = ?, wrapped = ? WHERE id = ?", *self.keys.wrap(ident, key), ident)
                done += 1
            if row is not None:
                self._owe("", row(done))
        self.keys.retire()
        return done

    # -- small pieces

    def _name(self, ident: str) -> str:
        return self.keys.masked(f"item {ident}").hex() + _ENDING

    def _path(self, ident: str) -> Path:
        return self.folder / self._name(ident)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """One at a time; faults of disk and index as HoldError."""
        with self._lock:
            try:
                yield
            except (OSError, sqlite3.Error) as fault:
                raise HoldError(f"hold store: {_why(fault)}") from None

    @contextlib.contextmanager
    def _changing(self, step: str) -> Iterator[None]:
        """A transaction."""
        with self._lock:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._before(step)
                self._run("COMMIT")
            except (sqlite3.Error, HoldError):
                with contextlib.suppress(sqlite3.Error):
                    self._run("ROLLBACK")
                raise

    def _cursor(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        if self._base is None:
            raise HoldError("the hold store is closed")
        return self._base.execute(statement, values)

    def _run(self, statement: str, *values: Any) -> int:
        return self._cursor(statement, values).rowcount

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._cursor(statement, values).fetchall()

    def _row(self, statement: str, *values: Any) -> Any:
        return self._cursor(statement, values).fetchone()


class _Keys:
    """The key file: the keys that wrap items' keys, newest last, and the one that names things. JSON, 0600, replaced as
    a whole; while a rotation runs it has two keys."""

    def __init__(self, path: Path, before: Callable[[str], None]) -> None:
        self.path = path
        self._before = before
        self._names = b""
        self._keys: dict[int, bytes] = {}

    @property
    def newest(self) -> int:
        return max(self._keys)

    @property
    def several(self) -> bool:
        return len(self._keys) > 1

    def load(self, needed: int) -> None:
        """Read the key file, or make it where nothing needs an old one. Raises HoldError, OSError."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if needed:
                raise HoldError(
                    f"hold store: the key file {self.path} is gone, and {needed} held items cannot be read without it; "
                    "put it back, or move the whole folder away") from None
            self._names, self._keys = os.urandom(_KEY_BYTES), {1: AESGCM.generate_key(bit_length=8 * _KEY_BYTES)}
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._save()
            return
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o600)
            text = file.read(1 << 16)
        try:
            said = json.loads(text)
            names = bytes.fromhex(said["names"])
            keys = {int(number): bytes.fromhex(key) for number, key in said["keys"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise HoldError(f"hold store: {self.path} is no key file") from None
        if not keys or {len(names), *map(len, keys.values())} != {_KEY_BYTES}:
            raise HoldError(f"hold store: {self.path} is no key file")
        self._names, self._keys = names, keys

    def masked(self, text: str) -> bytes:
        """HMAC-SHA256 of a name: the same for the same text, and of no use without the key file."""
        return hmac.digest(self._names, text.encode("utf-8", "surrogatepass"), "sha256")

    def wrap(self, ident: str, key: bytes) -> tuple[int, bytes]:
        """(number of the newest key, an item's key wrapped by it)."""
        number, nonce = self.newest, os.urandom(_NONCE_BYTES)
        return number, nonce + AESGCM(self._keys[number]).encrypt(nonce, key, _wrapping(ident))

    def unwrap(self, ident: str, number: int, wrapped: bytes) -> bytes:
        """An item's key. Raises Damaged."""
        try:
            return AESGCM(self._keys[number]).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _wrapping(ident))
        except (KeyError, InvalidTag, ValueError):
            raise Damaged(f"{ident} is damaged: its key is not of this store's key file") from None

    def renew(self) -> None:
        """A new key beside the old ones. Raises OSError."""
        keys = self._keys
        self._keys = {**keys, self.newest + 1: AESGCM.generate_key(bit_length=8 * _KEY_BYTES)}
        try:
            self._save()
        except OSError:
            self._keys = keys
            raise

    def retire(self) -> None:
        """Forget all keys but the newest. Raises OSError."""
        keys = self._keys
        self._keys = {self.newest: keys[self.newest]}
        try:
            self._save()
        except OSError:
            self._keys = keys
            raise

    def _save(self) -> None:
        text = json.dumps({
            "names": self._names.hex(), "keys": {str(number): key.hex() for number, key in self._keys.items()}})
        fresh = self.path.with_name(self.path.name + ".new")
        old = -1
        self._before("key file")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            old = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._before("replace key file")
            os.replace(fresh, self.path)
            _sync_folder(self.path.parent)
            if old >= 0:
                with contextlib.suppress(OSError):
                    # As far as the disk lets it: what has been forgotten is not to be found in free blocks.
                    os.pwrite(old, bytes(os.fstat(old).st_size), 0)
                    os.fsync(old)
        finally:
            if old >= 0:
                os.close(old)


def _item(row: tuple[Any, ...]) -> Item:
    said = dict(zip(_NAMES, row, strict=True))
    said["recipients"], said["sendable"] = tuple(msgspec.json.decode(said["recipients"])), bool(said["sendable"])
    return Item(**said)


def _packed(held: Held) -> bytes:
    """An item as msgpack; a peer's half characters, which UTF-8 has no place for, as question marks."""
    try:
        return msgspec.msgpack.encode(held)
    except UnicodeEncodeError:
        clean = {
            name: _cleaned(getattr(held, name)) for name in held.__struct_fields__
            if isinstance(getattr(held, name), str | tuple) and name != "way"
        }
        return msgspec.msgpack.encode(msgspec.structs.replace(held, **clean))


def _cleaned(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_cleaned, value))
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()


def _short(text: str | None) -> str | None:
    text = _clean(text)
    return text if text is None or len(text) <= NAME else text[:NAME - 1] + "…"


def _nonce(prefix: bytes, number: int) -> bytes:
    return prefix + _LENGTH.pack(number)


def _place(ident: str, number: int, last: bool) -> bytes:
    """What a chunk is bound to."""
    return MAGIC + ident.encode("utf-8", "surrogatepass") + b"\0" + _PLACE.pack(number, last)


def _wrapping(ident: str) -> bytes:
    return b"IMQK1\n" + ident.encode("utf-8", "surrogatepass")


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left):]


def _read(handle: int, length: int, offset: int) -> bytes:
    """Exactly so many bytes. Raises Damaged, OSError."""
    data = os.pread(handle, length, offset)
    while len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            raise Damaged("a file ends too early")
        data += more
    return data


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(fault: Exception) -> str:
    if isinstance(fault, OSError):
        why = (fault.strerror or type(fault).__name__).lower()
        return f"{fault.filename}: {why}" if isinstance(fault.filename, str | os.PathLike) else why
    return str(fault)
