"""What every process of the gateway does for itself."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref
from pathlib import Path

import pytest

from inspector.app import process
from inspector.app.errors import UserError


def test_only_our_own_files_are_given_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' files beside the store or the authority keep their owner; a folder that has only ours goes with them."""
    given: list[str] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, follow_symlinks: given.append(Path(path).name))
    for name in ("shared/events.db", "shared/events.db-wal", "shared/other", "ours/events.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    process.give_files(tmp_path / "shared", ("events.db", "events.db-wal"), 1, 1)
    assert sorted(given) == ["events.db", "events.db-wal"]
    given.clear()
    process.give_files(tmp_path / "ours", ("events.db", "events.db-wal"), 1, 1)
    assert sorted(given) == ["events.db", "ours"]


def test_an_unknown_loop_is_refused_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uvloop the default is plain asyncio; asking for it by name is one clear sentence."""
    monkeypatch.setenv("INSPECTOR_LOOP", "asyncio")
    assert process.loop_factory() is None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setenv("INSPECTOR_LOOP", "auto")
    assert process.loop_factory() is None
    monkeypatch.setenv("INSPECTOR_LOOP", "uvloop")
    with pytest.raises(UserError, match="uvloop"):
        process.loop_factory()


def test_a_stray_error_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """What a peer said may stand in an exception's text: only type and place reach the log."""
    loop = asyncio.new_event_loop()
    try:
        raise ValueError("the words of a peer")
    except ValueError as error:
        with caplog.at_level("ERROR", logger="inspector"):
            process.stray(loop, {"message": "the words of a peer", "exception": error})
            process.stray(loop, {"message": "the words of a peer"})
    finally:
        loop.close()
    assert "ValueError at" in caplog.text
    assert "the words of a peer" not in caplog.text


class Ended:
    """What an ended session leaves: a cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_ended_sessions_do_not_pile_up() -> None:
    """Everything is collected once as many sessions have ended as live, also what is old for the collector; not before,
    and not again before as many more have."""
    ended, living = 0, 0
    collector = process.Collector(lambda: ended, lambda: living)
    dead = Ended()
    left = weakref.ref(dead)
    gc.collect()  # it is of the oldest generation now
    gc.disable()
    try:
        del dead
        ended = process.Collector.LEAST - 1
        assert not collector.look()
        assert left() is not None
        ended, living = process.Collector.LEAST, 1000
        assert not collector.look()
        ended = 1000
        assert collector.look()
        assert left() is None
        ended, living = 1999, 1000
        assert not collector.look()
        living = 0
        assert collector.look()
    finally:
        gc.enable()
