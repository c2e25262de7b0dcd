"""`inspector workers`: the processes of a running gateway, and how they are exchanged while it runs."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from inspector.app.control import ask
from inspector.app.places import control_path
from inspector.app.status_cmd import age, table
from inspector.store.lines import rfc3339, shown

RESTART_SECONDS = 600.0
"""A restart is answered when the last new worker takes connections; each has to load the rules."""
_HEADS = ("WORKER", "PID", "STATE", "SESSIONS", "MEMORY", "AGE", "RULES", "CHAIN", "LETTERS LOST", "VERSION")


def workers_command(args: Namespace) -> int:
    """List the workers, or exchange them one after the other; 1 when there is no gateway, or only one worker."""
    path = control_path(args.config)
    if args.what == "restart":
        answer = ask(path, "restart", seconds=RESTART_SECONDS)
        if args.format == "jsonl":
            print(json.dumps(answer))
        else:
            leaving = ", ".join(str(one) for one in answer["leaving"])
            print(f"new workers take new sessions; those of worker {leaving} are being ended")
        return 0
    rows = ask(path, "workers")
    if args.format == "jsonl":
        for row in rows:
            print(json.dumps({**row, "since": rfc3339(float(row["since"]))}))
    else:
        print("\n".join(table(_HEADS, [_cells(row, time.time()) for row in rows])))
    return 0


def _cells(row: Mapping[str, Any], now: float) -> tuple[str, ...]:
    return (
        str(row["number"]), str(row["pid"]), shown(row["state"]), str(row["sessions"]),
        f"{row['memory'] / 1e6:.0f} MB", age(now - float(row["since"])), str(row["rules"]), shown(row["chain"]),
        str(row.get("letters_lost", 0)), shown(row["version"]),
    )
