"""`inspector events erase` and `inspector events hold`: taking a person out of the event log, and forbidding it.

Both write to the store themselves, beside a running gateway or without one, in a chain of their own ("manage"), and
leave an event that says who did it. Who that was is the user of this machine; whom it was about stands in the event of
an erasure only as a keyed hash (the key lies in `var/erase.key`), because the log is to say nothing of him any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import pwd
import socket
import sqlite3
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from inspector.app.errors import WRONG_USE, UserError
from inspector.app.events_cmd import pad, when
from inspector.app.places import load, store_path
from inspector.model import Limits
from inspector.store import erasing, tables
from inspector.store.erasing import Persons
from inspector.store.lines import Row, rfc3339, shown
from inspector.store.sqlite import Reader, StoreError

CHAIN = "manage"
"""The chain of what operators do to the store."""
PASSES = 3
"""Rows that come while others are erased are erased by the next pass; a session that goes on ends it some time."""


@contextlib.contextmanager
def _store(path: Path) -> Iterator[tuple[sqlite3.Connection, str]]:
    """The store, and the chain that is ours in it. Raises UserError."""
    mine = tables.owner()
    base = None
    try:
        Reader(path).close()
        base = tables.connect(path)
        tables.begin(base, tables.OPEN_SECONDS)
        chain = tables.claim(base, CHAIN, mine)
        base.execute("COMMIT")
        yield base, chain
    except StoreError as fault:
        raise UserError(str(fault)) from None
    except sqlite3.Error as fault:
        raise UserError(f"event store {path}: {fault}") from None
    finally:
        tables.disown(mine)
        if base is not None:
            with contextlib.suppress(sqlite3.Error):
                base.rollback()
                tables.begin(base)
                tables.release(base, mine)
                base.execute("COMMIT")
            base.close()


def _put(base: sqlite3.Connection, chain: str, row: Row) -> None:
    """An event of ours, inside a transaction."""
    tables.append(base, chain, [tables.columns_of({"t": time.time(), **row}, socket.gethostname(), "full")])


def who_asks() -> str:
    """The user of this machine who runs us."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


# --------------------------------------------------------------------------------------------------------- erase


def erase_command(args: Namespace) -> int:
    """Erase a user's rows; 1 when some stay, because of a legal hold or because old pages could not be taken away."""
    if not args.user.strip():
        raise UserError("--user names whose rows are to be erased", WRONG_USE)
    loaded = load(args.config)
    before = time.time() if args.before is None else when(args.before, time.time())
    persons = Persons([args.user])
    key = _key(Path(loaded.state) / "erase.key")
    with _store(store_path(args.config)) as (base, chain):
        count = held = after = 0
        for _ in range(PASSES):
            numbers, kept, last = _find(base, persons, before, after)
            held += kept
            if numbers:
                _tell(base, chain, persons, {
                    "event": "erased", "by": who_asks(), "count": len(numbers), "held": kept, "before": before,
                    "subject": subject(args.user, key),
                })
                count += erasing.erase(base, numbers, Limits().store_batch_rows)
            if last == after:
                break
            after = last
        clean = erasing.scrub(base)
    name = shown(args.user)
    print(f"{count} row{'' if count == 1 else 's'} of {name} erased" if count or held else f"there is no row of {name}")
    if held:
        print(f"{held} row{'' if held == 1 else 's'} stay, because of a legal hold (`inspector events hold list`)")
    if not clean:
        print("a program that reads the store holds old pages of it: ask again when it has ended, so that they go, too")
    sys.stdout.flush()
    return 1 if held or not clean else 0


def _find(base: sqlite3.Connection, persons: Persons, before: float, after: int) -> tuple[list[int], int, int]:
    """Rows (n) to erase behind row `after`, how many more are on legal hold, and the last row that was looked at."""
    on_hold = erasing.held(base)
    last: int = base.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()[0]
    numbers: list[int] = []
    held = 0
    for n, line in erasing.rows_with(base, persons, before, after):
        if n > last:
            break
        if on_hold.among(line):
            held += 1
        else:
            numbers.append(n)
    return numbers, held, last


def _tell(base: sqlite3.Connection, chain: str, persons: Persons, row: Row) -> None:
    """The event comes first: an erasure that a crash interrupts is told, too."""
    tables.begin(base, tables.OPEN_SECONDS)
    _put(base, chain, row)
    erasing.forget_living(base, persons)
    base.execute("COMMIT")


def subject(user: str, key: bytes) -> str:
    """A name as the event of its erasure tells it: who has the key can find it again, nobody else."""
    form = "".join(user.casefold().split())
    return "hmac-sha256:" + hmac.new(key, form.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def _key(path: Path) -> bytes:
    """The key of subjects, made where missing (0600). Raises UserError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(32))
        key = path.read_bytes()
    except OSError as fault:
        raise UserError(f"{path}: {(fault.strerror or str(fault)).lower()}") from None
    if len(key) != 32:
        raise UserError(f"{path}: not a key of 32 bytes")
    return key


# ----------------------------------------------------------------------------------------------------- legal hold


def hold_command(args: Namespace) -> int:
    """Put a user's rows on legal hold, take them off, or list who is; 1 when there was nothing to do."""
    path = store_path(args.config)
    if args.change == "list":
        return _list(path, args.format)
    if not args.user or not args.user.strip():
        raise UserError(f"`hold {args.change}` needs --user", WRONG_USE)
    name, by = shown(args.user), who_asks()
    with _store(path) as (base, chain):
        tables.begin(base, tables.OPEN_SECONDS)
        now = time.time()
        if args.change == "add":
            done = erasing.hold(base, args.user, by, args.reason, now)
        else:
            done = erasing.unhold(base, args.user)
        if done:
            _put(base, chain, {
                "event": "legal_hold", "t": now, "change": args.change, "user": args.user, "by": by,
                "reason": args.reason})
        base.execute("COMMIT")
    if not done:
        raise UserError(f"{name} is on legal hold already" if args.change == "add" else f"{name} is not on legal hold")
    print(f"rows of {name}, and of conversations with him, are kept until `inspector events hold remove`"
          if args.change == "add" else f"rows of {name} are on legal hold no more")
    return 0


def _list(path: Path, form: str) -> int:
    try:
        with Reader(path) as reader:
            found = reader.holds()
    except StoreError as fault:
        raise UserError(str(fault)) from None
    if form == "jsonl":
        for user, t, by, reason in found:
            print(json.dumps({"user": user, "t": rfc3339(t), "by": by, "reason": reason}))
        return 0
    if not found:
        print("nobody is on legal hold")
    else:
        print(f"{pad('USER', 34)}  {pad('SINCE (UTC)', 19)}  {pad('BY', 12)}  REASON")
    for user, t, by, reason in found:
        since = datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S")
        print(f"{pad(shown(user), 34)}  {since}  {pad(shown(by), 12)}  {shown(reason or '-')}")
    return 0
