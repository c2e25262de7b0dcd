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
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from inspector.app.errors import WRONG_USE, UserError
from inspector.app.places import load, store_path
from inspector.app.wording import pad, when
from inspector.store.lines import rfc3339, shown
from inspector.store.managing import managed
from inspector.store.sqlite import Reader, StoreError


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
    key = _key(Path(loaded.state) / "erase.key")
    try:
        with managed(store_path(args.config), socket.gethostname()) as store:
            done = store.erase(args.user, before, who_asks(), subject(args.user, key))
    except StoreError as fault:
        raise UserError(str(fault)) from None
    count, held = done.count, done.held
    name = shown(args.user)
    print(f"{count} row{'' if count == 1 else 's'} of {name} erased" if count or held else f"there is no row of {name}")
    if held:
        print(f"{held} row{'' if held == 1 else 's'} stay, because of a legal hold (`inspector events hold list`)")
    if not done.clean:
        print("a program that reads the store holds old pages of it: ask again when it has ended, so that they go, too")
    sys.stdout.flush()
    return 1 if held or not done.clean else 0


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
    try:
        with managed(path, socket.gethostname()) as store:
            done = (store.hold if args.change == "add" else store.unhold)(args.user, by, args.reason)
    except StoreError as fault:
        raise UserError(str(fault)) from None
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
