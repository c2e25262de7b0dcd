"""`make test-long`: ten minutes of fuzzing for each decoder, then the tests marked long.

The outcome goes into docs/measurements.md.

    python -m tests.long_run [SECONDS]      of fuzzing each decoder, 600 without
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from inspector.protocols.registry import SPECS

HOUSE = Path(__file__).resolve().parent.parent
PAGE = HOUSE / "docs" / "measurements.md"
BEGIN, END = "<!-- long run: begin -->", "<!-- long run: end -->"


def targets() -> dict[str, list[str]]:
    """Name -> arguments for Python: the common target of each decoder, and the special ones beside it."""
    found = {f"{spec.name} decoder": ["-m", "tests.fuzz", spec.name] for spec in SPECS}
    for path in sorted((HOUSE / "tests" / "fuzz").glob("fuzz_*.py")):
        found[f"{path.stem.removeprefix('fuzz_')} ways"] = ["-m", "tests.fuzz", path.stem]
    return found


def fuzz(seconds: int) -> list[tuple[str, str, bool]]:
    """All targets, as many at a time as there are cores: (name, outcome, clean)."""
    waiting = targets()
    running: dict[str, subprocess.Popen[bytes]] = {}
    done = []
    logs = HOUSE / "build" / "fuzz"
    logs.mkdir(parents=True, exist_ok=True)
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            name = next(iter(waiting))
            command = [sys.executable, *waiting.pop(name), f"-max_total_time={seconds}"]
            with (logs / f"{name.replace(' ', '-')}.log").open("wb") as log:
                running[name] = subprocess.Popen(command, cwd=HOUSE, stdout=log, stderr=log)
        time.sleep(1)
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            text = (logs / f"{name.replace(' ', '-')}.log").read_text(errors="replace")
            runs = re.findall(r"Done (\d+) runs in (\d+) second", text)
            clean = process.returncode == 0 and bool(runs)
            outcome = (
                f"clean: {int(runs[-1][0]):,} inputs in {int(runs[-1][1])} s" if clean
                else f"FAILED (exit {process.returncode}), see build/fuzz/{name.replace(' ', '-')}.log"
            )
            print(f"fuzz {name}: {outcome}", flush=True)
            done.append((name, outcome, clean))
            del running[name]
    return sorted(done)


def long_tests() -> tuple[str, bool]:
    """The tests marked long: pytest's closing line, and whether all passed (no such test is no failure)."""
    command = [sys.executable, "-m", "pytest", "-m", "long", "-o", "timeout=1800", "-q"]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "long"}
    run = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=False)
    print(run.stdout, run.stderr, flush=True)
    closing = [line for line in run.stdout.splitlines() if " in " in line and line.strip()]
    return (closing[-1].strip("= ") if closing else f"exit {run.returncode}"), run.returncode in (0, 5)


def section(outcomes: list[tuple[str, str, bool]], tests: str, commit: str, day: str) -> str:
    """The page's section."""
    rows = "".join(f"| fuzzed: {name} | {outcome} |\n" for name, outcome, _ in outcomes)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        f"{BEGIN}\n## The long run\n\n{day}, commit {commit}, {machine} (`make test-long`).\n\n"
        f"| what | outcome |\n|---|---|\n{rows}| tests marked long | {tests} |\n{END}\n"
    )


def replaced(page: str, text: str) -> str:
    """The page with this section in the place of the former one, or behind the rest."""
    if BEGIN in page and END in page:
        return page[:page.index(BEGIN)] + text + page[page.index(END) + len(END) + 1:]
    return page.rstrip() + "\n\n" + text


def main() -> int:
    """Run all and write the page; 1 when anything failed."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    outcomes = fuzz(seconds)
    tests, passed = long_tests()
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False).stdout.strip()
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    PAGE.write_text(replaced(PAGE.read_text(), section(outcomes, tests, commit or "unknown", day)))
    return 0 if passed and all(clean for *_, clean in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
