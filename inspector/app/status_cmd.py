"""`inspector sessions` and `inspector status`: what a running gateway says of itself over its control socket."""

from __future__ import annotations

import fnmatch
import json
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inspector.app.control import ask
from inspector.app.errors import WRONG_USE, UserError
from inspector.app.places import control_path, store_path
from inspector.store.lines import rfc3339, shown

USER_SECONDS = 86400
"""`status --user` tells what was done in the last day."""


def sessions_command(args: Namespace) -> int:
    """List the living sessions, or end one; 1 when there is no such session or no gateway."""
    if args.what == "list" and args.id is not None:
        raise UserError("`inspector sessions list` takes no ID (did you mean `inspector sessions kill`?)", WRONG_USE)
    if args.what == "kill" and args.id is None:
        raise UserError("`inspector sessions kill` needs the ID of a session (see `inspector sessions`)", WRONG_USE)
    path = control_path(args.config)
    if args.what == "kill":
        ask(path, "kill", id=args.id)
        print(f"session {shown(args.id)} is being ended")
        return 0
    rows = ask(path, "sessions")
    if args.format == "jsonl":
        for row in rows:
            print(json.dumps(_dated(row)))
    else:
        now = time.time()
        print("\n".join(table(_SESSION, [_session(row, now) for row in rows])))
        print(f"{len(rows)} session{'' if len(rows) == 1 else 's'}")
    return 0


def status_command(args: Namespace) -> int:
    """Tell how the gateway is; 0 when it is well, 1 when it is not or there is none."""
    path = control_path(args.config)
    status = ask(path, "status")
    if args.user is None:
        if args.format == "json":
            print(json.dumps(_dated(status)))
        else:
            print("\n".join(_status(status, time.time())))
    else:
        mine = [row for row in ask(path, "sessions") if _is(row.get("user"), args.user)]
        done = _deeds(args.config, args.user)
        if args.format == "json":
            print(json.dumps({"user": args.user, "sessions": [_dated(row) for row in mine], "verdicts": done}))
        else:
            print("\n".join(_user(args.user, mine, done)))
    sys.stdout.flush()
    return 0 if status.get("healthy") is True else 1


def _is(user: str | None, wanted: str) -> bool:
    return user is not None and fnmatch.fnmatchcase(user, wanted)


def _deeds(config: str | None, user: str) -> dict[str, int]:
    """How often each action was taken on this user's events in the last day; nothing when the log cannot be read."""
    from inspector.store.sqlite import Reader, StoreError

    counted: Counter[str] = Counter()
    try:
        with Reader(store_path(config)) as reader:
            for _, line in reader.select(since=time.time() - USER_SECONDS, events=("verdict",), user=user):
                counted[json.loads(line)["did"] or "pass"] += 1
    except StoreError as fault:
        print(f"inspector: {fault}", file=sys.stderr)
    return dict(counted)


_SESSION = ("ID", "PROTOCOL", "USER", "CLIENT", "SERVER", "SINCE (UTC)", "AGE", "BYTES", "LISTENER")


def _session(row: Mapping[str, Any], now: float) -> tuple[str, ...]:
    since = float(row.get("since") or 0.0)
    return (
        str(row.get("id")), str(row.get("protocol") or "-"), str(row.get("user") or "-"), str(row.get("client") or "-"),
        str(row.get("server") or "-"), rfc3339(since)[:19].replace("T", " "), age(now - since),
        str(row.get("bytes") or 0), str(row.get("listener") or "-"),
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, each column as wide as its widest cell; cells are shown, not obeyed."""
    from inspector.app.wording import columns

    cells = [tuple(map(shown, row)) for row in rows]
    widths = [max(columns(row[at]) for row in (heads, *cells)) for at in range(len(heads))]
    for row in (heads, *cells):
        padded = (cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _status(status: Mapping[str, Any], now: float) -> Iterator[str]:
    rules, reload, store = status["rules"], status["reload"], status["store"]
    well = "healthy" if status["healthy"] else "NOT HEALTHY"
    yield f"inspector {shown(status['version'])} on {shown(status['gateway'])}: {well}"
    for problem in status["problems"]:
        yield f"  problem    {shown(problem)}"
    yield f"  running    for {age(now - status['started'])}, process {status['pid']}"
    yield from _workers(status.get("workers") or (), now)
    yield f"  config     {shown(status['config'] or 'the embedded defaults')}"
    for number, listener in enumerate(status["listeners"]):
        yield f"  {'listens   ' if not number else '          '} {shown(listener['mode'])} {shown(listener['address'])}"
    enforced = "" if rules["enforce"] else ", NOT ENFORCED: everything passes"
    yield f"  rules      set {rules['version']}, loaded {age(now - rules['loaded'])} ago{enforced}"
    yield f"  policy     {shown(rules['policy'])}"
    yield f"  packs      {', '.join(map(shown, rules['packs'])) or 'none'}"
    yield f"  reloads    {reload['accepted']} accepted, {reload['refused']} refused"
    if reload["last_refused"]:
        yield "  the last reload was refused; the set above stays in force:"
        for fault in reload["faults"]:
            yield f"    {shown(fault)}"
    protocols = ", ".join(f"{shown(name)} {count}" for name, count in sorted(status["protocols"].items()))
    yield f"  sessions   {status['sessions']}{f' ({protocols})' if protocols else ''}"
    counters = status["counters"]
    actions = ", ".join(f"{shown(name)} {count}" for name, count in sorted(counters["actions"].items()))
    yield f"  messages   {counters['messages']} judged"
    if actions:
        yield f"  verdicts   {actions}"
    troubles = ", ".join(f"{shown(name)} {count}" for name, count in sorted(counters["troubles"].items()))
    if troubles:
        yield f"  troubles   {troubles}"
    others = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in counters.items()
        if isinstance(value, int) and value and name not in ("messages", "passed")
    )
    if others:
        yield f"  counted    {shown(others)}"
    yield from _files(status["files"])
    yield from _holds(status.get("holds"))
    writes = "writes" if store["healthy"] else "DOES NOT WRITE"
    missed = f", {store['failed']} not in time, {store['lost']} left out" if store["failed"] or store["lost"] else ""
    yield f"  event log  {writes}: {store['rows']} rows, {store['waiting']} waiting{missed}"


def _workers(workers: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    """The workers, where there are several."""
    for number, one in enumerate(workers if len(workers) > 1 else ()):
        yield (f"  {'workers   ' if not number else '          '} {one['number']}: process {one['pid']}, "
               f"{shown(one['state'])} for {age(now - one['since'])}, {one['sessions']} sessions, "
               f"{one['memory'] / 1e6:.0f} MB")


def _files(files: Mapping[str, Any]) -> Iterator[str]:
    judged = files["clean"] + files["found"] + files["failed"]
    more = [f"{files[name]} {words}" for name, words in (
        ("found", "with findings"), ("failed", "NOT JUDGED"), ("waiting", "waiting"), ("spool_refused", "without room"),
    ) if files[name]]
    yield f"  files      {', '.join([f'{judged} asked about', *more])}; {files['workers']} workers"
    if files["spooled"]:
        yield f"  spool      {files['spooled']} files, {files['spool_bytes']} bytes"
    ended = files["deaths"] + files["overruns"]
    if ended:
        yield f"  workers    {ended} ended early ({files['overruns']} took too long), {files['restarts']} started anew"
    if files["leases"] or files["leases_used"] or files["leases_exhausted"]:
        yield (f"  leases     {files['leases']} stand, {files['leases_used']} used, "
               f"{files['leases_exhausted']} times none free, {files['leases_refused']} led nowhere")


def _holds(holds: Mapping[str, Any] | None) -> Iterator[str]:
    if holds is None:
        return
    states = holds["states"]
    waits = [f"{states[name]} {words}" for name, words in (
        ("held", "wait for a reviewer"), ("released", "released and not fetched"), ("delivering", "being delivered"),
        ("uncertain", "UNCERTAIN whether delivered"),
    ) if states.get(name)]
    more = [f"{holds[name]} {words}" for name, words in (
        ("full", "NOT HELD: no room"), ("store_failed", "NOT HELD: could not be stored")) if holds[name]]
    if waits or more or holds["kept"]:
        yield f"  held       {', '.join([*waits, *more]) or 'nothing waits'}; {holds['bytes']} bytes"


def _user(user: str, sessions: Sequence[Mapping[str, Any]], done: Mapping[str, int]) -> Iterator[str]:
    now = time.time()
    yield f"{shown(user)}: {len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    if sessions:
        yield from table(_SESSION, [_session(row, now) for row in sessions])
    told = ", ".join(f"{shown(name)} {count}" for name, count in sorted(done.items()))
    yield f"in the last day: {told or 'nothing was done to what he wrote or was to read'}"


def _dated(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same with times as other programs expect them: RFC 3339."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            out[name] = _dated(value)
        elif name in ("since", "started", "loaded") and isinstance(value, (int, float)):
            out[name] = rfc3339(float(value))
        else:
            out[name] = value
    return out


def age(seconds: float) -> str:
    """A length of time in at most two units: 5s, 3m12s, 2h5m, 4d3h."""
    left = max(0, int(seconds))
    if left < 60:
        return f"{left}s"
    for size, unit, small, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if left >= size:
            rest = left % size // small
            return f"{left // size}{unit}{f'{rest}{name}' if rest else ''}"
    raise AssertionError(left)
