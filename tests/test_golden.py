"""Golden captures: `inspector scan` of each capture under pcaps/ says what its .expected.jsonl says.

A capture without expected lines fails. After a change that is meant to change them:

    python -m tests.test_golden --bless [name part…]

rewrites the expected lines (of the captures whose path has one of the parts); read the difference before committing it.
They are judged by pcaps/policy.yaml and the packs in pcaps/packs.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from inspector import policy, scan
from inspector.app.scan import Inspection, Row
from inspector.classify.probes import classifier
from inspector.drivers.pcap import open_capture
from inspector.model import Limits, Rules
from inspector.protocols.registry import SPECS
from inspector.store.lines import render

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
SUFFIXES = (".pcap", ".pcapng", ".pcap.gz")


def golden_captures() -> list[Path]:
    """Every capture under pcaps/."""
    return sorted(path for path in PCAPS.rglob("*") if path.name.endswith(SUFFIXES))


def expected_path(capture: Path) -> Path:
    """<scenario>.expected.jsonl beside <scenario>.pcap."""
    name = capture.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return capture.with_name(f"{name}.expected.jsonl")


@cache
def golden_rules() -> Rules:
    """What golden captures are judged by."""
    compiled = policy.compile((PCAPS / "policy.yaml").read_text(), "pcaps/policy.yaml")
    return Rules(1, compiled, scan.load(PCAPS / "packs", Limits()).scanner)


def rows_of(capture: Path) -> list[Row]:
    """The rows that a scan of the capture gives."""
    rows: list[Row] = []
    inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, Limits(), rows.append)
    opened = open_capture(capture.relative_to(PCAPS).as_posix(), capture, Limits())
    inspection.capture(opened)
    opened.close()
    assert opened.fault is None, f"{capture.name} {opened.fault}"
    return rows


def said_of(capture: Path) -> str:
    """The lines of those rows."""
    return "".join(render(row, None).decode() + "\n" for row in rows_of(capture))


def test_there_are_golden_captures() -> None:
    """The folder is where the test looks for it."""
    assert len(golden_captures()) >= 20


@pytest.mark.parametrize("capture", golden_captures(), ids=lambda path: path.relative_to(PCAPS).as_posix())
def test_golden(capture: Path) -> None:
    """The scan of a golden capture says exactly the expected lines."""
    expected = expected_path(capture)
    assert expected.exists(), f"{expected} is missing: look at the lines, then python -m tests.test_golden --bless"
    said = said_of(capture)
    wanted = expected.read_text()
    if said != wanted:
        pytest.fail("".join(difflib.unified_diff(wanted.splitlines(True), said.splitlines(True), "expected", "said")))


def test_nothing_is_expected_of_missing_captures() -> None:
    """Each .expected.jsonl has its capture."""
    known = {expected_path(capture) for capture in golden_captures()}
    assert [path for path in PCAPS.rglob("*.expected.jsonl") if path not in known] == []


LINK_LAYERS = (
    "cooked", "cooked2", "ethernet", "fragments", "ipv6-extensions", "ipv6-fragments", "loop", "loopback", "mpls",
    "one-byte", "packed", "pppoe", "qinq", "raw", "reordered", "vlan",
)


def test_the_same_talk_gives_the_same_messages_whatever_carried_it() -> None:
    """Sixteen captures of one conversation, in different wrappings and orders: the same messages and verdicts."""
    def told(name: str) -> list[tuple[object, ...]]:
        (capture,) = [path for path in (PCAPS / "tcp").glob(f"{name}.pcap*") if path.name.endswith(SUFFIXES)]
        return [
            (row["event"], row["protocol"], row.get("kind"), row.get("sender"), row.get("recipients"), row.get("text"),
             row.get("did"), row.get("rule"), row.get("user"))
            for row in rows_of(capture) if row["event"] in ("message", "verdict", "sign_on")
        ]

    first = told("raw")
    assert [row[5] for row in first if row[0] == "message" and row[2] == "chat"] == [
        "The tulips are out.", "Lovely! Red or yellow?", "Have you seen the purple elephant?",
        "Both. See you on Sunday.",
    ]
    assert [(row[6], row[7]) for row in first if row[0] == "verdict" and row[6] != "pass"] == [("block", "refused")]
    for name in LINK_LAYERS:
        # Captured out of order, the two ways may be told in another order than they passed.
        assert (sorted(map(str, told(name))) if name == "reordered" else told(name)) == (
            sorted(map(str, first)) if name == "reordered" else first), name


@pytest.mark.parametrize("script", sorted(PCAPS.rglob("*.pcap*.py")), ids=lambda path: path.name)
def test_a_synthetic_capture_has_its_script(script: Path) -> None:
    """Each .pcap.py has made the capture of its name."""
    assert script.with_suffix("").exists(), f"run python {script}"


@pytest.mark.long
@pytest.mark.parametrize("script", sorted(PCAPS.rglob("*.pcap*.py")), ids=lambda path: path.name)
def test_a_script_makes_the_same_capture_again(script: Path, tmp_path: Path) -> None:
    """A synthetic capture is what its script says, byte for byte."""
    made = script.with_suffix("").read_bytes()
    again = tmp_path / script.relative_to(PCAPS)
    again.parent.mkdir(parents=True)
    again.write_bytes(script.read_bytes())
    (tmp_path / "making.py").write_bytes((PCAPS / "making.py").read_bytes())
    subprocess.run([sys.executable, str(again)], check=True, capture_output=True, cwd=tmp_path, env={**os.environ})
    assert again.with_suffix("").read_bytes() == made


def bless(parts: list[str]) -> None:
    """Rewrite expected lines."""
    for capture in golden_captures():
        if parts and not any(part in str(capture) for part in parts):
            continue
        expected, said = expected_path(capture), said_of(capture)
        before = expected.read_text() if expected.exists() else None
        if said != before:
            expected.write_text(said)
            print(f"{'new' if before is None else 'changed'}: {expected}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--bless"]:
        sys.exit("usage: python -m tests.test_golden --bless [name part…]")
    bless(sys.argv[2:])
