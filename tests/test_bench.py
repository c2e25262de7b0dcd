"""What the bench leans on when it sets the stage."""

from __future__ import annotations

from bench.workers import came_to


def test_a_session_is_found_whoever_else_comes_and_goes() -> None:
    """A worker that answered before it had accepted the connection that looked for an open port had none; then one, and
    when that had left and ours had come, one again. Only what is known beside one more tells where ours is."""
    have = {0: 0, 1: 0}
    assert came_to(have, {0: 0, 1: 0}) is None
    assert came_to(have, {0: 1, 1: 0}) == 0
    assert came_to(have, {0: 2, 1: 0}) is None, "somebody else's is there, too"
    assert came_to(have, {0: 1, 1: 1}) is None, "which of them is ours?"
    assert came_to({0: 3, 1: 4}, {0: 3, 1: 5}) == 1
    assert came_to({0: 3, 1: 4}, {0: 3, 1: 3}) is None
