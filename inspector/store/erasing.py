"""Taking words and people out of an event log whose chain still verifies; and legal holds, which forbid it.

An erased row has no salt, no line and none of the columns that tell who: its header (chain, number, id, time, kind,
action, rule, reference) and the salted hash of its line stay (inspector/store/chain.py). It is first written over in
place, at its own length, so that no page of the file keeps a copy; then it is cut short. What SQLite has copied while
it sorted its pages is taken away by `scrub`.

A person is known by the names that rows have for him. Names are compared without case and blanks (screen names); a name
with a resource ("room@host/nick") is only itself, one without stands for all its resources.

Errors: sqlite3.Error, from inside the caller's transactions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from inspector.store.lines import Row
from inspector.store.tables import begin, patiently

VACUUM_BYTES = 64 << 20
"""A store up to this size is written anew when it is scrubbed; of a larger one, which would keep the writers waiting
for longer than they wait, the one index that has names."""
SCRUB_SECONDS = 10.0
"""Longest wait for readers of the write-ahead file."""
_PAUSE = 0.02
"""Between two transactions: a writer that waits comes in."""
_WHO = ("flow", "message", "protocol", "kind", "user", "sender")
"""Columns that go; the others are the chain's header."""


class _Named(msgspec.Struct, gc=False):
    """The fields of a line that name people."""

    sender: str | None = None
    user: str | None = None
    account: str | None = None
    contact: str | None = None
    member: str | None = None
    conversation: str | None = None
    recipients: tuple[str | None, ...] = ()


_decode = msgspec.json.Decoder(_Named).decode


def people(line: bytes) -> tuple[str, ...]:
    """Everybody whom a line names as writer, reader, user, or whom it is about. A line that cannot be read names
    nobody."""
    try:
        named = _decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ()
    return tuple(name for name in (
        named.sender, named.user, named.account, named.contact, named.member, named.conversation, *named.recipients,
    ) if name)


class Persons:
    """Names to look for in rows."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._forms = frozenset(map(_form, self.names))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def among(self, line: bytes) -> bool:
        """Whether a line names one of them."""
        if not self._forms:
            return False
        for name in people(line):
            form = _form(name)
            if form in self._forms or form.partition("/")[0] in self._forms:
                return True
        return False

    def named(self, name: str | None) -> bool:
        """Whether a name is one of theirs."""
        form = _form(name or "")
        return form in self._forms or form.partition("/")[0] in self._forms


def _form(name: str) -> str:
    return "".join(name.casefold().split())


# ---------------------------------------------------------------------------------------------------- legal holds


def holds(base: sqlite3.Connection) -> list[tuple[str, float, str, str | None]]:
    """(user, since, by, reason) of each legal hold, by name."""
    return base.execute("SELECT user, t, by, reason FROM legal_holds ORDER BY user").fetchall()


def held(base: sqlite3.Connection) -> Persons:
    """Whose rows are on legal hold."""
    return Persons(user for user, *_ in holds(base))


def hold(base: sqlite3.Connection, user: str, by: str, reason: str | None, t: float) -> bool:
    """Put a user's rows on legal hold, inside a transaction; False: they are."""
    if held(base).named(user):
        return False
    base.execute("INSERT INTO legal_holds VALUES (?, ?, ?, ?)", (user, t, by, reason))
    return True


def unhold(base: sqlite3.Connection, user: str) -> bool:
    """End a legal hold, inside a transaction; False: there is none of that name."""
    wanted = Persons([user])
    names = [name for name, *_ in holds(base) if wanted.named(name) and Persons([name]).named(user)]
    for name in names:
        base.execute("DELETE FROM legal_holds WHERE user = ?", (name,))
    return bool(names)


# --------------------------------------------------------------------------------------------------------- rows


def rows_with(
    base: sqlite3.Connection, persons: Persons, before: float, after: int = 0,
) -> Iterator[tuple[int, bytes]]:
    """(n, line) of rows older than `before`, behind row `after`, that name one of them and are not erased."""
    query = ("SELECT n, line FROM events WHERE n > ? AND t < ? AND (salt IS NOT NULL OR chain IS NULL) ORDER BY n")
    for n, line in base.execute(query, (after, before)):
        if persons.among(line):
            yield n, line


def blank(base: sqlite3.Connection, numbers: Sequence[int]) -> int:
    """Erase rows by n, inside a transaction: in place, at their length. Rows in no chain (of an earlier release) are
    removed. How many it were: one that is erased already does not count."""
    marks = ", ".join("?" * len(numbers))
    gone = base.execute(f"DELETE FROM events WHERE chain IS NULL AND n IN ({marks})", numbers).rowcount  # noqa: S608
    length = " + ".join(f"ifnull(length(CAST({name} AS BLOB)), 0)" for name in (*_WHO, "line", "salt"))
    empty = ", ".join(f"{name} = NULL" for name in _WHO)
    return gone + base.execute(
        f"UPDATE events SET line = zeroblob({length}), salt = NULL, {empty} "  # noqa: S608 - constants
        f"WHERE salt IS NOT NULL AND n IN ({marks})", numbers).rowcount


def shorten(base: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Give back the room of erased rows, inside a transaction; when all that belong together are blank."""
    marks = ", ".join("?" * len(numbers))
    base.execute(
        f"UPDATE events SET line = x'' WHERE salt IS NULL AND chain IS NOT NULL AND n IN ({marks})", numbers)  # noqa: S608


def erase(base: sqlite3.Connection, numbers: Sequence[int], batch: int) -> int:
    """Erase rows in transactions of `batch` rows, between which others write. How many it were."""
    count = 0
    for work in (blank, shorten):
        for at in range(0, len(numbers), batch):
            begin(base, SCRUB_SECONDS)
            try:
                count += work(base, numbers[at:at + batch]) or 0
                base.execute("COMMIT")
            except sqlite3.Error:
                base.rollback()
                raise
            time.sleep(_PAUSE)
    return count


def forget_living(base: sqlite3.Connection, persons: Persons) -> None:
    """Take names out of the sessions that live now, inside a transaction."""
    for chain, flow, about in base.execute("SELECT chain, flow, about FROM living").fetchall():
        known: Row = msgspec.json.decode(about)
        if persons.named(known.get("user")):
            base.execute("UPDATE living SET about = ? WHERE chain = ? AND flow = ?",
                         (msgspec.json.encode({**known, "user": None}), chain, flow))


def scrub(base: sqlite3.Connection) -> bool:
    """Take away what SQLite copied of rows that are erased: from its pages, and from the write-ahead file. False: a
    reader holds that open, and it still has old pages. Raises sqlite3.Error."""
    pages, size = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * size <= VACUUM_BYTES:
        base.execute("PRAGMA temp_store=MEMORY")
        patiently(lambda: base.execute("VACUUM"), SCRUB_SECONDS)
    else:
        patiently(lambda: base.execute("REINDEX events_user"), SCRUB_SECONDS)
    ends = time.monotonic() + SCRUB_SECONDS
    while True:
        if _emptied(base):
            return True
        if time.monotonic() >= ends:
            return False
        time.sleep(_PAUSE)


def _emptied(base: sqlite3.Connection) -> bool:
    """Whether all of the write-ahead file is in the store, and the file is empty."""
    row: Any = base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return bool(row[0] == 0)
