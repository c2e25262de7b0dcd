"""Limits: every bound is named, reasoned, and on the page for administrators."""

from __future__ import annotations

import runpy
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from inspector.model import Limits

HOUSE = Path(__file__).resolve().parents[2]


def test_the_table_lists_every_bound_with_a_reason() -> None:
    """Each field has a row with its real default, a reason of more than a word, and whether it is reloadable."""
    rows = Limits.table()
    assert [name for name, *_ in rows] == [field.name for field in fields(Limits)]
    standard = Limits()
    for name, default, reason, reloadable in rows:
        assert getattr(standard, name) == default
        assert default > 0
        assert len(reason.split()) > 2, name
        assert isinstance(reloadable, bool)


def test_names_say_their_unit() -> None:
    """Fractions are allowed for times only: what counts things or bytes is whole."""
    for name, default, _, _ in Limits.table():
        assert default == int(default) or name.endswith("_seconds"), name


def test_limits_do_not_change_under_way() -> None:
    """A Limits is frozen: a reload makes another one."""
    limits = Limits()
    with pytest.raises(FrozenInstanceError):
        limits.frame_bytes = 1  # type: ignore[misc]


def test_the_page_is_current() -> None:
    """docs/limits.md is what `make limits` would write now."""
    page = runpy.run_path(str(HOUSE / "tools" / "limits_page.py"))["page"]
    assert (HOUSE / "docs" / "limits.md").read_text() == page(), "run make limits"
