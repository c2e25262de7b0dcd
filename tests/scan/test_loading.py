"""Loading a folder of packs: all faults at once, warnings apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.model import Text
from inspector.scan import PackError, load
from tests.scan import making


def test_missing_samples_are_warnings(tmp_path: Path) -> None:
    """A pack without samples loads, and says so."""
    making.write(tmp_path, making.rule("a", '$a = "word"', "$a"))
    loaded = load(tmp_path)
    assert [one.rule for one in loaded.scanner.quick([Text("b", "a word")]) or ()] == ["t.a"]
    assert [one.text for one in loaded.warnings] == [
        "the rule t.a has no sample in match/ that matches",
        "the rule t.a has no sample in nomatch/ that does not match",
    ]


def test_all_faults_of_all_packs(tmp_path: Path) -> None:
    """One error holds the faults of every file of every pack."""
    making.write(tmp_path, making.rule("a", '$a = "word"', "$b"))
    making.write(tmp_path, "rule {", name="u")
    (making.write(tmp_path, "", name="v") / "pack.yaml").write_text("name: v\n")
    with pytest.raises(PackError) as caught:
        load(tmp_path)
    assert {Path(one.path).parent.name for one in caught.value.faults} == {"t", "u", "v"}
    assert all(one.line for one in caught.value.faults)


def test_no_folder_is_a_fault_and_no_pack_is_none(tmp_path: Path) -> None:
    """A folder that is not there is told; an empty one has only the built-in detectors."""
    with pytest.raises(PackError, match="no such folder"):
        load(tmp_path / "gone")
    scanner = load(tmp_path).scanner
    assert scanner.packs == ()
    assert [one.rule for one in scanner.quick([Text("b", "4111 1111 1111 1111")]) or ()] == ["dlp.card_number"]


def test_many_missing_samples_are_told_by_their_number(tmp_path: Path) -> None:
    """Ten thousand rules without samples do not make twenty thousand lines in the log at each start."""
    making.write(tmp_path, "".join(making.rule(f"r{i}", f'$a = "word{i}"', "$a") for i in range(30)))
    texts = [one.text for one in load(tmp_path).warnings]
    assert len(texts) == 21 and texts[-1].startswith("40 more samples are missing")
