"""Two counts of one way: what a reader says he has, in the writer's count."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inspector.wire.counts import Counts


def model(said: str, count: int) -> int:
    """The writer's count by its definition: the most of his units of which all that went on are among the first `count`
    that the reader got. p: passed, t: taken out, a: added."""
    had = written = reached = 0
    for each in said:
        if each == "a":
            reached += 1
            continue
        written += 1
        reached += each == "p"
        if reached > count:
            break
        had = written
    return had


@given(st.text("ppta", max_size=40), st.integers(0, 2**32))
def test_what_the_reader_has_is_the_writers_count(said: str, seed: int) -> None:
    """For any units passed, taken out and added, and any counts that only grow, what is said to the writer is what the
    definition says, or less by what was taken out behind something of ours."""
    random, counts = Random(seed), Counts(64)
    told = 0
    for index, each in enumerate(said):
        {"p": counts.passed, "t": counts.taken, "a": counts.added}[each]()
        if random.random() < 0.3:
            told = random.randint(told, counts.reached)
            had = counts.had(told)
            assert had <= model(said[:index + 1], told)
    assert counts.had(counts.reached) == counts.written


def test_a_unit_that_was_taken_out_is_had_once_all_before_it_are() -> None:
    """One passed, one refused, one passed: the writer is told 0, 2, 3."""
    counts = Counts(8)
    counts.passed()
    counts.taken()
    counts.passed()
    assert [counts.had(count) for count in (0, 1, 2)] == [0, 2, 3]


def test_what_we_said_is_not_told_to_the_writer() -> None:
    """One of ours between two of his: the reader's 1, 2, 3 are his 1, 1, 2."""
    counts = Counts(8)
    counts.passed()
    counts.added()
    counts.passed()
    assert [counts.had(count) for count in (1, 2, 3)] == [1, 1, 2]


def test_counts_that_never_went_apart_are_alike() -> None:
    """As long as nothing was taken out or added nothing need be changed; nor once that is acknowledged and made up."""
    counts = Counts(8)
    alike = []
    for step in (counts.passed, counts.taken, counts.added, lambda: counts.had(2)):
        step()
        alike.append(counts.alike)
    assert alike == [True, False, False, True]


def test_a_count_does_not_go_back_or_beyond() -> None:
    """Less than was said before is not said again; more than was sent is all."""
    counts = Counts(8)
    for _ in range(5):
        counts.passed()
    assert counts.had(4) == 4
    assert counts.had(2) == 4
    assert counts.had(9) == 5


def test_counts_begin_again_behind_two_to_the_32nd() -> None:
    """The wire's counts are modulo 2^32."""
    counts = Counts(8)
    counts.written = counts.reached = 2**32 - 2
    assert counts.had(2**32 - 2) == 2**32 - 2
    counts.taken()
    for _ in range(3):
        counts.passed()
    assert counts.had(2**32 - 1) == 0
    assert counts.had(1) == 2


def test_what_was_kept_counts_when_it_goes_on() -> None:
    """A unit that is kept is had by us; released, the reader's count of it is not the writer's."""
    counts = Counts(8)
    counts.taken(kept=True)
    counts.taken(kept=True)
    assert counts.had(0) == 2
    counts.released(2)
    counts.passed()
    assert [counts.had(count) for count in (1, 2, 3)] == [2, 2, 3]
    assert counts.had(3) == 3


def test_what_went_on_unseen_shows_in_the_readers_count() -> None:
    """Of three that are kept one went on before anybody said so: the reader counts one more than we know of."""
    counts = Counts(8)
    for _ in range(3):
        counts.taken(kept=True)
    counts.passed()
    assert counts.had(2) == 4
    counts.passed()
    assert counts.had(2) == 4
    assert counts.had(3) == 5


def test_a_stream_goes_on_behind_what_was_had() -> None:
    """After a resumption the rest is sent again: both go on from what the reader had."""
    counts = Counts(8)
    counts.passed()
    counts.taken()
    counts.passed()
    counts.passed()
    assert counts.resume(2) == 3
    counts.passed()
    assert (counts.reached, counts.written) == (3, 4)
    assert counts.had(3) == 4


def test_places_that_are_not_acknowledged_are_bounded() -> None:
    """A reader that never says what he has costs no more than the bound; afterwards he is believed less, not more."""
    counts = Counts(16)
    for _ in range(1000):
        counts.passed()
        counts.added()
    assert len(counts._apart) <= 16
    assert counts.had(10) == 0
    assert counts.had(2000) == 1000


def test_asking_changes_nothing() -> None:
    """A copy answers as the counts would, and they stay as they were."""
    counts = Counts(8)
    counts.taken()
    counts.passed()
    counts.passed()
    assert counts.copy().had(2) == 3
    assert counts.had(1) == 2
