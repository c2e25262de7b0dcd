"""docs/evasion.md: the table of cases and results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from inspector.protocols.registry import BY_NAME
from tests.evasion import known
from tests.evasion.cases import ACTIONS, PLAINEST, Case, disguises, play, protocol_cases, said, writing_cases
from tests.evasion.targets import TARGETS
from tests.evasion.writings import WRITINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evasion.md"

INTRO = """\
# Disguised content: what was tried, and what became of it

<!-- Made by tools/evasion_page.py from tests/evasion and the DISGUISES of tests/protocols: change it there. -->

Each protocol's test module says how a text can be disguised in that protocol (`DISGUISES`). The suite says each
target through each disguise, under a policy that refuses what is found and under one that masks it, and reads what
arrives with decoders of its own: the secret, or most of it, must not be there in any form that a client would show.
A new protocol without disguises fails a test.

- **refused**: nothing of it arrived. **masked**: it arrived with stars. **taken out**: an edit takes that part out
  of every message. **cut**: the session ended. Two words: under the refusing policy, and under the masking
  one.
- **not found**: it arrives. Each is listed with its reason at the end; a test holds that the list is true.
- **-**: the disguise cannot carry the target (no line breaks in a line, no phrase in a link …).

Beside what the tables say, the suite cuts each disguise at every byte, sends it one byte a segment, among harmless
messages in one segment, in eight sessions by turns, and, in captures, in segments out of order, sent twice
and overlapping (`tests/evasion/test_evasion.py`; a part of it in `make test`, all in `make test-long`). Pieces of one
number or link in several messages are tried there, too.
"""


def _results(case: Case) -> tuple[str, ...]:
    """Under both policies."""
    found = []
    for action in ACTIONS:
        outcome, seen = play(case, action)
        found.append("not found" if seen else "taken out" if outcome == "passed" else outcome)
    return tuple(found)


def _cell(results: tuple[str, ...]) -> str:
    return " / ".join(dict.fromkeys(results))


def _row(name: str, cells: list[str]) -> str:
    """A row; equal cells are said once."""
    return f"| {name} | " + " | ".join(cells) + " |\n"


def _shown(name: str) -> str:
    return name.replace("|", "\\|")


def text() -> str:
    """The page. Plays every case: minutes."""
    out = [INTRO]
    counted: Counter[str] = Counter()

    def result(case: Case) -> str:
        if said(case) is None:
            return "-"
        results = _results(case)
        counted.update(results)
        return _cell(results)

    titles = list(TARGETS)
    for protocol in dict.fromkeys(case.protocol for case in protocol_cases()):
        out.append(f"\n## {BY_NAME[protocol].title}\n\n{_row('disguise', titles)}{'|---' * (len(titles) + 1)}|\n")
        for name in disguises(protocol):
            out.append(_row(_shown(name), [result(Case(protocol, name, target)) for target in titles]))
    out.append("\n## Writings of the text\n\nIn " + "; ".join(
        f"{protocol}: {', '.join(names)}" for protocol, names in PLAINEST.items())
        + ". The worst result of all is told.\n\n" + _row("writing", titles) + "|---" * (len(titles) + 1) + "|\n")
    cells: dict[tuple[str, str], set[str]] = {}
    for protocol, names in PLAINEST.items():
        for name in names:
            for case in writing_cases(protocol, name):
                results = _results(case)
                counted.update(results)
                cells.setdefault((case.writing, case.target), set()).add(_cell(results))
    for writing in WRITINGS:
        row = ["not found" if "not found" in found else ", ".join(sorted(found)) if found else "-"
               for found in (cells.get((writing, target), set()) for target in titles)]
        out.append(_row(_shown(writing), row))
    total = sum(counted.values())
    out.append(f"\n## In all\n\n{total:,} cases: " + ", ".join(
        f"{count:,} {what}" for what, count in sorted(counted.items())) + ".\n")
    head = _row("protocol", ["disguise", "target", "writing", "why"])
    out.append(f"\n## Known not to be found\n\n{head}|---|---|---|---|---|\n")
    for entry in known.KNOWN:
        where = [_star(name) for name in (entry.disguise, entry.target, entry.writing or "plain")]
        out.append(_row(_star(entry.protocol), [*where, entry.reason]))
    out.append(BEYOND)
    return "".join(out)


BEYOND = """
Beyond any list: other words for the same thing, spelling that no table knows (l33t, blanks between all letters),
pictures of words, ciphers of the users' own (base64 in a message, the name of a file as a message), a phrase in two
messages, a key line by line (its header is refused, its lines alone are any data), a number in more than eight
messages, a phrase of another alphabet in Latin letters that look like it. End-to-end encryption is told, not read; the
policy can refuse it.
"""


def _star(pattern: str) -> str:
    return "any" if pattern == "*" else _shown(pattern)


def checked() -> None:
    """Raises AssertionError where the page lacks a row."""
    written = PAGE.read_text(encoding="utf-8")
    assert written.startswith(INTRO) and written.endswith(BEYOND), "run tools/evasion_page.py"
    for protocol in BY_NAME:
        for name in disguises(protocol):
            assert f"| {_shown(name)} | " in written, f"{protocol}: {name}: run tools/evasion_page.py"
    for writing in WRITINGS:
        assert f"| {_shown(writing)} | " in written, f"{writing}: run tools/evasion_page.py"
    for entry in known.KNOWN:
        assert entry.reason in written, "run tools/evasion_page.py"
