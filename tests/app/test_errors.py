"""UserError: a sentence and an exit status."""

from __future__ import annotations

from inspector.app.errors import FAILED, INTERNAL, WRONG_USE, UserError


def test_a_user_error_carries_its_sentence_and_status() -> None:
    """Unless told otherwise the process ends with 1."""
    fault = UserError("store.db: it is locked")
    assert (fault.sentence, fault.exit, str(fault)) == ("store.db: it is locked", FAILED, "store.db: it is locked")
    assert UserError("x", WRONG_USE).exit == 2


def test_statuses_are_those_of_the_interface() -> None:
    """1 for no, 2 for wrong use, 70 for a fault of ours."""
    assert (FAILED, WRONG_USE, INTERNAL) == (1, 2, 70)
