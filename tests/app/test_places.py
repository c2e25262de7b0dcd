"""Where a configuration keeps its things."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.app.errors import UserError
from inspector.app.places import control_path, store_path


def test_defaults_are_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file: var/ of the working directory."""
    monkeypatch.chdir(tmp_path)
    assert store_path(None) == tmp_path / "var" / "inspector.db"
    assert control_path(None) == tmp_path / "var" / "inspector.sock"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """With a file: beside it, wherever the command is run."""
    file = tmp_path / "etc" / "inspector.yaml"
    file.parent.mkdir()
    file.write_text('store: {events: "sqlite:log/e.db"}\ncontrol: run/c.sock\n')
    assert store_path(str(file)) == tmp_path / "etc" / "log" / "e.db"
    assert control_path(str(file)) == tmp_path / "etc" / "run" / "c.sock"


def test_every_fault_of_the_file_is_told(tmp_path: Path) -> None:
    """A file with faults: a line each, with its place."""
    file = tmp_path / "inspector.yaml"
    file.write_text("nonsense: 1\nworkers: many\n")
    with pytest.raises(UserError) as fault:
        store_path(str(file))
    assert len(fault.value.sentence.splitlines()) == 2
    assert "inspector.yaml:1:" in fault.value.sentence and "inspector.yaml:2:" in fault.value.sentence
