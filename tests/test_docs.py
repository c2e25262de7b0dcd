"""What the pages promise, tried."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from inspector import scan
from inspector.model import Text
from inspector.scan.check import check

HOUSE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of docs/write-a-signature.md, as it is written there, with samples."""
    page = (HOUSE / "docs" / "write-a-signature.md").read_text()
    folder = tmp_path_factory.mktemp("signatures") / "acme"
    for name in ("match", "nomatch"):
        (folder / name).mkdir(parents=True)
    for name in ("pack.yaml", "lures.yar", "hosts.csv"):
        block = re.search(rf"^`{re.escape(name)}`[^\n]*:\n\n((?:    [^\n]*\n|\n)+)", page, flags=re.M)
        assert block, name
        (folder / name).write_text(textwrap.dedent(block[1]).strip() + "\n")
    (folder / "match/acme.parcel_lure.txt").write_text("Your parcel waits: pay a customs fee of 2.99 EUR")
    (folder / "nomatch/acme.parcel_lure.txt").write_text("Your parcel is here, and there was no customs fee")
    (folder / "match/acme.hosts.txt").write_text("see http://parcel-fee.example/pay")
    (folder / "nomatch/acme.hosts.txt").write_text("see http://notparcel-fee.example/pay")
    return folder


@pytest.fixture(scope="module")
def scanner(pack: Path) -> scan.PackScanner:
    """The page's pack, compiled."""
    return scan.load(pack.parent).scanner


def test_the_pack_of_the_page_has_no_fault(pack: Path) -> None:
    """`inspector check` finds nothing wrong with the page's example."""
    assert check([pack]) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("YOUR PARCEL: a customs fee of 3 USD", "acme.parcel_lure"),
        ("ｙｏｕｒ ｐａｒｃｅｌ: a customs fee of 3 USD", "acme.parcel_lure"),
        ("your par\u200bcel: a customs fee of 3 USD", "acme.parcel_lure"),
        ("your p\u0430rcel: a customs fee of 3 USD", "acme.parcel_lure"),
        ("at pay.parcel-fee.example now", "acme.hosts"),
        ("please Confirm Your MAILBOX quota", "acme.hosts"),
        ("at parcel-fee.example.org", None),
        ("reconfirm your mailbox quotas", None),
    ],
)
def test_what_the_page_says_of_matching_is_true(scanner: scan.PackScanner, text: str, rule: str | None) -> None:
    """Disguises are seen through, subdomains belong to a domain, longer names and longer words do not."""
    findings = scanner.quick((Text("body", text),))
    assert findings is not None
    assert {finding.rule for finding in findings} == ({rule} if rule else set())


def test_the_rules_that_the_page_calls_refused_are_refused(pack: Path, tmp_path: Path) -> None:
    """Look-ahead, a long repeat, two open repeats and a string without a literal: each is a fault with its place."""
    listed = "\n".join(line for line in (pack / "pack.yaml").read_text().splitlines() if "hosts.csv" not in line)
    source = (pack / "lures.yar").read_text()
    expression = next(line for line in source.splitlines() if "$fee = " in line)
    for number, wrong in enumerate((r"/parcel(?=x)/", "/parcel.{1,65}fee/", "/parcel.*fee.*now/", "/[a-z]{2,9}/")):
        folder = tmp_path / str(number) / "acme"
        folder.mkdir(parents=True)
        (folder / "pack.yaml").write_text(listed)
        (folder / "lures.yar").write_text(source.replace(expression, f"        $fee = {wrong}"))
        with pytest.raises(scan.PackError) as error:
            scan.load(folder.parent)
        assert any(fault.line > 1 and "lures.yar" in str(fault) for fault in error.value.faults), wrong


def test_the_tests_that_the_guarantees_name_are_there() -> None:
    """Each guarantee points at the tests that prove it, by their names in italics: none of them is gone, and the
    reviewers' page says the same guarantees word for word."""
    page = (HOUSE / "docs" / "guarantees.md").read_text()
    named = [" ".join(name.split()) for name in re.findall(r"(?<!\*)\*([a-z][^*]{12,}?)\*(?!\*)", page)]
    assert len(named) >= 10
    there = {
        name.replace("_", " ") for path in (HOUSE / "tests").rglob("test_*.py")
        for name in re.findall(r"def test_(\w+)\(", path.read_text())
    }
    assert [name for name in named if name not in there] == []
    promised = [" ".join(line.split()) for line in re.findall(r"(?m)^[123]\. (?:.+\n)(?:   .+\n)*", page)]
    review = " ".join((HOUSE / "docs" / "review.md").read_text().split())
    assert len(promised) == 3
    assert [line for line in promised if line not in review] == []
