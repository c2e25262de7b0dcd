"""`inspector run`, the command: what it refuses before anything is started."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from inspector.app.errors import UserError
from inspector.app.run_cmd import run_command


def test_a_configuration_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """No traceback, and nothing is started: the file is named."""
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        run_command(Namespace(config=str(tmp_path / "nowhere.yaml"), log_level=None, log_format=None))
