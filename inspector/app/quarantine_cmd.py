"""`inspector quarantine`: what waits for a reviewer, over the control socket of a running gateway.

All but `list` leave a row in the event log with the name of who asked. What peers said reaches the terminal through
`shown` only; an exported file is made 0600, and never in the place of another one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inspector.app.control import ask
from inspector.app.errors import UserError
from inspector.app.places import control_path
from inspector.app.status_cmd import age, table
from inspector.store.lines import rfc3339, shown


def command(args: Namespace) -> int:
    """One of list, show, release, deny, export, erase, rotate; 1 where the gateway says no, or there is none."""
    path = control_path(args.config)
    match args.what:
        case "list":
            return _list(path, args.state, args.format)
        case "show":
            return _show(path, args.id, args.format)
        case "release":
            return _release(path, args.id, args.note, again=args.again)
        case "deny":
            done = ask(path, "hold.deny", id=args.id, note=args.note)
            print(f"{done['id']} is denied")
        case "export":
            return _export(path, args.id, Path(args.file))
        case "erase":
            done = ask(path, "hold.erase", id=args.id, note=args.note)
            print(f"{done['id']} is erased: its key is gone")
        case "rotate":
            done = ask(path, "hold.rotate", seconds=300.0)
            print(f"the key is new; {done['items']} items are wrapped by it")
    return 0


def _list(path: Path, state: str | None, form: str) -> int:
    items = ask(path, "holds", state=state)
    if form == "jsonl":
        for item in items:
            print(json.dumps(_line(item)))
        return 0
    now = time.time()
    heads = ("ID", "REFERENCE", "SINCE (UTC)", "STATE", "PROTOCOL", "KIND", "WHO", "RULE", "SIZE", "LEFT")
    print("\n".join(table(heads, [_row(item, now) for item in items])))
    print(f"{len(items)} item{'' if len(items) == 1 else 's'}")
    return 0


def _line(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as other programs read it."""
    return {
        "id": item["id"], "reference": item["reference"], "t": rfc3339(item["t"]), "state": item["state"],
        "protocol": item["protocol"], "kind": item["kind"], "sender": item["sender"],
        "recipients": item["recipients"], "rule": item["rule"], "size": item["size"],
        "expires": rfc3339(item["expires"]), "about": item["about"], "sendable": item["sendable"],
    }


def _row(item: Mapping[str, Any], now: float) -> tuple[str, ...]:
    to = item["recipients"]
    readers = ", ".join(to[:2]) + (f" and {len(to) - 2} more" if len(to) > 2 else "")
    return (
        item["id"], item["reference"], rfc3339(item["t"])[:19].replace("T", " "), item["state"], item["protocol"],
        item["kind"], f"{item['sender'] or '?'} > {readers or '?'}", item["rule"] or "-", str(item["size"]),
        age(item["expires"] - now),
    )


def _show(path: Path, key: str, form: str) -> int:
    said = ask(path, "hold.show", id=key)
    if form == "jsonl":
        held = said["held"]
        print(json.dumps({**_line(said["item"]), **{
            name: held[name] for name in (
                "way", "direction", "flow", "client", "user", "identity", "conversation", "message", "digest",
                "reason", "policy", "findings", "texts", "file_name", "file_type")}}))
    else:
        print("\n".join(_told(said)))
    return 0


def _told(said: Mapping[str, Any]) -> Iterator[str]:
    item, held = said["item"], said["held"]
    yield f"{shown(item['id'])}, reference {shown(item['reference'])}: {item['state']}"
    yield f"  taken     {rfc3339(item['t'])[:19].replace('T', ' ')} UTC"
    yield f"  until     {rfc3339(item['expires'])[:19].replace('T', ' ')} UTC in this state"
    yield f"  what      {shown(', '.join((held['protocol'], held['kind'], held['direction'])))}"
    readers = ", ".join(map(shown, held["recipients"])) or "?"
    yield f"  who       {shown(held['sender'] or '?')} to {readers}"
    yield f"  session   of {shown(held['user'] or '?')} ({held['identity']}), from {shown(held['client'])}"
    if held["conversation"]:
        yield f"  in        {shown(held['conversation'])}"
    yield f"  rule      {shown(held['rule'] or '-')}"
    if held["findings"]:
        yield f"  found     {', '.join(map(shown, held['findings']))}"
    if held["reason"]:
        yield f"  because   {shown(held['reason'])}"
    if held["message"]:
        yield f"  event     {shown(held['message'])}"
    if held["about"] == "file":
        yield f"  file      {shown(held['file_name'] or '?')}, {held['size']} bytes, {shown(held['file_type'] or '?')}"
        yield f"  sha256    {shown(held['digest'])}"
    for part, text in held["texts"]:
        yield f"  {shown(part):9} {shown(text)}"
    if not item["sendable"]:
        yield "  release   its sender must send it again; it passes then"


def _release(path: Path, key: str, note: str | None, *, again: bool) -> int:
    done = ask(path, "hold.release", id=key, note=note, again=again)
    ident, user = shown(done["id"]), shown(done["user"] or "its user")
    if done["state"] == "delivered":
        print(f"{ident} is released and sent")
    elif not done["sendable"]:
        told = "has been told" if done["here"] else "will be told when he signs on"
        if done["way"] == "up":
            print(f"{ident} is released: {user} must send it again ({told})")
        else:
            print(f"{ident} is released: its sender must send it again ({user} {told})")
    elif done["state"] == "delivering":
        print(f"{ident} is released and is being sent")
    elif done["state"] == "uncertain":
        raise UserError(f"{ident} was sent, and its session ended in that moment: nobody knows whether it was read")
    else:
        why = "waits for room in his session" if done["here"] else f"goes out when {user} signs on"
        print(f"{ident} is released and queued: it {why}")
    return 0


def _export(path: Path, key: str, file: Path) -> int:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UserError(f"{file} is there already; nothing was exported") from None
    except OSError as fault:
        raise UserError(f"{file}: {(fault.strerror or str(fault)).lower()}") from None
    size = 0
    try:
        with open(handle, "wb") as out:
            done = ask(path, "hold.export", id=key)
            last, number = False, 0
            while not last:
                piece = ask(path, "hold.piece", ticket=done["ticket"], n=number)
                data = base64.b64decode(piece["data"])
                size += out.write(data)
                last, number = piece["last"], number + 1
    except (UserError, OSError) as fault:
        with contextlib.suppress(OSError):
            file.unlink()
        if isinstance(fault, OSError):
            raise UserError(f"{file}: {(fault.strerror or str(fault)).lower()}") from None
        raise
    print(f"{shown(done['id'])} is exported to {shown(str(file))}: {size} bytes, only you may read it")
    sys.stdout.flush()
    return 0
