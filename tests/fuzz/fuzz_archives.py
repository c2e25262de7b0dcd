"""Fuzzes the judging of files, all openers together: `python -m tests.fuzz fuzz_archives`.

The invariant: any bytes, under any name, end in a report within the budgets of members, bytes and time; nothing is
raised. An input is a byte that says the name (and, its highest bit, that 32 KiB of nothing stand in front, as in an
image of a disc), then the content. The corpus begins with a small file of each kind that is opened.
"""

from __future__ import annotations

import time
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inspector.scan"]):
    from inspector.model import File, Limits
    from inspector.scan.files import RULES
    from tests.scan import making
    from tests.scan.making_files import seeds as made

NAMES = ("", "a.bin", "photo.jpg.exe", "../x.tar.gz", "a.docx", "b\u202ec.zip", "x.eml", "C:\\y.7z")
LIMITS = Limits(archive_bytes=4 << 20, archive_members=200, archive_seconds=4)
EMPTY = bytes(32768)
JUDGE = making.judge(limits=LIMITS)


def one(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever an opener wrongly raises."""
    first = data[0] if data else 0
    content = (EMPTY if first & 0x80 else b"") + data[1:]
    start = time.monotonic()
    report = JUDGE.judge(content, File(file_name=NAMES[first % len(NAMES)]))
    assert time.monotonic() - start < LIMITS.archive_seconds + 4
    assert report.size == len(content)
    assert report.members <= LIMITS.archive_members + 1
    assert {found.rule for found in report.findings if found.detector == "file"} <= set(RULES)


def seeds(folder: Path) -> None:
    """A file of each kind; older finds stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(made()):
        behind = data.startswith(EMPTY)
        head = bytes((number % len(NAMES) | behind << 7,))
        (folder / f"seed-{number}").write_bytes(head + data[len(EMPTY) if behind else 0:])
