"""The rules in force, as files of the gateway's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inspector.app import build, snapshot
from inspector.wire.located import Faults
from tests.app.test_build import CSV, PACK


def folder(path: Path, policy: str = "rules: []\n") -> str:
    """A configuration with one pack and a folder that is none; its path."""
    pack = path / "signatures" / "p"
    pack.mkdir(parents=True)
    (pack / "pack.yaml").write_text(PACK)
    (pack / "a.csv").write_text(CSV)
    (path / "signatures" / "notes").mkdir()
    (path / "signatures" / "notes" / "big").write_text("not a pack")
    (path / "policy.yaml").write_text(policy)
    (path / "i.yaml").write_text("policy: policy.yaml\nsignatures: signatures\narchive: full\n")
    return str(path / "i.yaml")


def test_what_is_loaded_later_is_what_was_copied(tmp_path: Path) -> None:
    """Files that are edited, or gone, after the copy was taken change nothing of what it gives."""
    path = folder(tmp_path)
    taken, _ = snapshot.take(path, 7)
    before = build.build_rules(taken.config(), 7)
    (tmp_path / "policy.yaml").write_text("rules:\n  - {name: x, when: {event: file}, then: block}\n")
    (tmp_path / "signatures" / "p" / "a.csv").unlink()
    (tmp_path / "i.yaml").write_text("archive: none\n")
    after = build.build_rules(taken.config(), 7)
    assert after.rules.policy.digest == before.rules.policy.digest
    assert list(after.rules.scanner.packs) == ["p@1.0.0"]
    assert taken.config().archive == "full"


def test_only_packs_are_copied_for_us_alone(tmp_path: Path) -> None:
    """What else lies in the folder stays there; the copies are private, and removed when they are not needed."""
    taken, _ = snapshot.take(folder(tmp_path), 1)
    copy = Path(taken.folder)
    assert sorted(os.listdir(copy / "signatures")) == ["p"]
    assert copy.stat().st_mode & 0o777 == 0o700
    other, _ = snapshot.take(str(tmp_path / "i.yaml"), 2)
    snapshot.clear(tmp_path / "var", keep=2)
    assert not copy.exists()
    assert Path(other.folder).exists()
    other.remove()
    assert not Path(other.folder).exists()


def test_faults_name_the_files_that_were_copied(tmp_path: Path) -> None:
    """An administrator never hears of the copies."""
    taken, _ = snapshot.take(folder(tmp_path, "rules:\n  - {name: x, then: blok}\n"), 1)
    with pytest.raises(Faults) as found:
        build.build_rules(taken.config(), 1)
    sentences = [taken.named(str(fault)) for fault in found.value.faults]
    assert sentences[0].startswith(f"{taken.policy}:2:")
    assert taken.folder not in sentences[0]


def test_what_is_not_there_is_told_under_its_name(tmp_path: Path) -> None:
    """No policy, no packs: the same faults as without workers."""
    path = folder(tmp_path)
    (tmp_path / "policy.yaml").unlink()
    taken, _ = snapshot.take(path, 1)
    with pytest.raises(Faults) as found:
        build.build_rules(taken.config(), 1)
    assert taken.named(str(found.value.faults[0])) == f"{taken.policy}: cannot be read: no such file or directory"


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """A configuration that is gone; a policy that is a folder without end is none."""
    with pytest.raises(Faults, match=r"gone\.yaml: cannot be read"):
        snapshot.take(str(tmp_path / "gone.yaml"), 1)
