"""`python -m bench.store`: rows a second of one, two and four processes that write one event log, and how long a
durable row takes beside the others.

Each process writes a chain of its own. `rows`: one durable row in ten, as many as the writer takes. `wait`: one durable
row at a time, as a refused message waits for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

CHILD = textwrap.dedent("""
    import json, sys, threading, time
    from pathlib import Path
    from inspector.store.sqlite import Writer

    path, chain, what, seconds = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
    row = {"event": "message", "flow": "00f1", "t": time.time(), "protocol": "xmpp", "kind": "chat", "way": "up",
           "direction": "outbound", "sender": "alice@example.net/desk", "recipients": ["bob@example.net"],
           "user": "alice@example.net", "identity": "authenticated", "conversation": "bob@example.net",
           "text": "a message of ordinary length, as people write them at work " * 2, "copy": "no"}
    row["texts"] = [{"part": "body", "text": row["text"], "lang": None}]
    writer = Writer(path, gateway="gw1", chain=chain)
    writer.start()
    print("ready", flush=True)
    input()
    n, waits, ends = 0, [], time.monotonic() + seconds
    free = threading.Semaphore(200)
    while time.monotonic() < ends:
        n += 1
        one = {**row, "id": f"{chain}-{n}"}
        if what == "wait":
            told, began = threading.Event(), time.monotonic()
            writer.put(one, lambda ok: told.set() if ok else None)
            told.wait(30)
            waits.append(time.monotonic() - began)
        elif n % 10 == 0:
            free.acquire(timeout=30)
            writer.put(one, lambda ok: free.release())
        else:
            writer.put(one)
    writer.close(60)
    waits.sort()
    counters = {name: getattr(writer.counters, name) for name in ("rows", "failures", "failed")}
    places = {"p50": len(waits) // 2, "p99": len(waits) * 99 // 100}
    print(json.dumps(counters | {name: waits[at] if waits else 0 for name, at in places.items()}))
""")


def measure(folder: Path, count: int, what: str, seconds: float) -> list[dict[str, float]]:
    """What so many processes say."""
    path = folder / f"{what}-{count}-{time.monotonic_ns()}" / "events.db"
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(n), what, str(seconds)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True) for n in range(count)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return [json.loads(child.communicate()[0]) for child in children]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn; the median is told")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inspector-bench-") as place:
        found: dict[tuple[str, int], list[list[dict[str, float]]]] = {}
        for _ in range(options.rounds):
            for what in ("rows", "wait"):
                for count in (1, 2, 4):
                    found.setdefault((what, count), []).append(
                        measure(Path(place), count, what, options.seconds))
    print("| processes | rows a second, all together | failed attempts | durable row p50 ms | p99 ms |")
    print("|---|---|---|---|---|")
    for count in (1, 2, 4):
        rates = sorted(sum(one["rows"] for one in each) / options.seconds for each in found["rows", count])
        failures = sum(one["failures"] for each in found["rows", count] + found["wait", count] for one in each)
        lost = sum(one["failed"] for each in found["rows", count] + found["wait", count] for one in each)
        p50, p99 = (
            sorted(max(one[name] for one in each) for each in found["wait", count]) for name in ("p50", "p99"))
        middle = len(rates) // 2
        print(f"| {count} | {rates[middle]:.0f} ({rates[0]:.0f}-{rates[-1]:.0f}) | {failures:.0f} (rows given up: "
              f"{lost:.0f}) | {p50[middle] * 1000:.1f} | {p99[middle] * 1000:.1f} |")


if __name__ == "__main__":
    main()
