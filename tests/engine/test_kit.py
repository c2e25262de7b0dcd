"""What sessions are handed."""

from __future__ import annotations

from inspector.engine.kit import ALL
from tests.engine.toy import toy_kit


def test_nothing_is_logged_or_edited_unless_it_is_asked_for() -> None:
    """Defaults: passed messages are counted only, no protocol edit is on, every group's content is read."""
    kit = toy_kit()
    assert (kit.archive, kit.edits, kit.never_inspect) == ("none", frozenset(), frozenset())


def test_the_driver_can_do_all_but_hold() -> None:
    """Holding belongs to a later release: a hold is a block until then."""
    assert not ALL.hold
    assert ALL.drop and ALL.mask and ALL.placeholder and ALL.notify and ALL.inject
    assert toy_kit().driver_can is ALL


def test_a_reload_replaces_what_judges_in_place() -> None:
    """Sessions hold the kit, so a new rule set is in force for their next frame."""
    kit = toy_kit()
    newer = toy_kit().rules
    kit.rules = newer
    assert kit.rules is newer
