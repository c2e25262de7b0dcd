"""The long run's page."""

from __future__ import annotations

from inspector.protocols.registry import SPECS
from tests import long_run


def test_the_section_replaces_the_former_one() -> None:
    """The first section goes behind the page, the next one in its place; the rest of the page stays."""
    first = long_run.section([("irc decoder", "clean: 1 inputs in 2 s", True)], "3 passed", "abc1234", "2026-11-22")
    page = long_run.replaced("# Measurements\n\nWords.\n", first)
    assert page.startswith("# Measurements\n\nWords.\n\n<!-- long run: begin -->\n## The long run\n")
    assert "| fuzzed: irc decoder | clean: 1 inputs in 2 s |" in page
    second = long_run.section([("irc decoder", "FAILED (exit 77)", False)], "3 passed", "def5678", "2026-11-23")
    again = long_run.replaced(page + "\n## After\n", second)
    assert "abc1234" not in again
    assert "2026-11-23, commit def5678" in again
    assert again.endswith("\n## After\n")
    assert again.count("The long run") == 1


def test_every_decoder_and_every_target_file_is_run() -> None:
    """Each registry entry has its target, each fuzz_*.py beside it too."""
    found = long_run.targets()
    assert {f"{spec.name} decoder" for spec in SPECS} <= set(found)
    assert len(found) == len(SPECS) + len(list((long_run.HOUSE / "tests" / "fuzz").glob("fuzz_*.py")))
