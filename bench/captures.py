"""Captures: a folder's wall time, and packets a second beside tshark on one large merged capture."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import ratio, spread, table
from bench.processes import HOUSE, inspector, python


def wall(command: list[str]) -> float:
    """Seconds of a whole process, output thrown away."""
    start = time.perf_counter()
    subprocess.run(command, cwd=HOUSE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def scan(capture: Path) -> list[str]:
    return inspector("scan", str(capture), "--format", "jsonl")


def tshark(capture: Path) -> list[str]:
    return [shutil.which("tshark") or "tshark", "-n", "-r", str(capture)]


def empty(folder: Path) -> Path:
    """A capture of no packets: what start-up costs."""
    path = folder / "empty.pcap"
    path.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    return path


def run(folder: Path, captures: Path, packets: int, rounds: int) -> None:
    """Prints both tables."""
    if not captures.is_dir():
        print(f"no captures at {captures}: name a folder with --captures")
        return
    walls = []
    for number in range(rounds):
        print(f"\rround {number + 1}/{rounds}: the folder", end="", file=sys.stderr, flush=True)
        walls.append(wall(scan(captures)))
    print(f"\r{captures.name}: `inspector scan` of the folder, one process: {spread(walls, 2)} s wall")

    merged = folder / "merged.pcap"
    merge = python("-m", "bench.merge_capture", str(captures), str(merged), "--packets", str(packets))
    subprocess.run(merge, cwd=HOUSE, check=True, stdout=subprocess.DEVNULL)
    nothing = empty(folder)
    rates: dict[str, list[float]] = {"inspector scan": [], "tshark -n": []}
    for number in range(rounds):
        for name, command in (("inspector scan", scan), ("tshark -n", tshark)):
            if name == "tshark -n" and not shutil.which("tshark"):
                continue
            print(f"\rround {number + 1}/{rounds}: {name:40}", end="", file=sys.stderr, flush=True)
            rates[name].append(packets / (wall(command(merged)) - wall(command(nothing))))
    merged.unlink()
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
    ours, theirs = rates["inspector scan"], rates["tshark -n"]
    print(f"\nmerged capture of {packets:,} packets, start-up excluded\n")
    rows = [[name, spread(values, 0), spread(ratio(values, theirs), 2) if theirs else "-"]
            for name, values in (("inspector scan", ours), ("tshark -n", theirs))]
    print(table(["reader", "packets a second", "of tshark"], rows))
