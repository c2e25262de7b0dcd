"""Turns: a few threads that many clients share, and nobody waits for somebody else's work that does not end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from inspector.drivers.turns import Full, Rounds, Turns
from tests.drivers.mitm_harness import until


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def turns(
    threads: int = 1, share: int = 1, most: int = 100, each: int = 100, stuck: float = 60.0,
) -> Turns:
    return Turns("test", threads, share, lambda: most, lambda: each, lambda: stuck)


class Gate:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.began = threading.Event()

    def __call__(self) -> None:
        self.began.set()
        self.event.wait(20)


def nothing() -> None:
    """Work that is done at once."""


def test_work_is_done_and_its_error_is_told() -> None:
    """`done` comes on the loop, with what the work raised."""

    async def scenario() -> None:
        made, answers = turns(), []

        def bad() -> None:
            raise ZeroDivisionError

        home = threading.get_ident()
        for work in (nothing, bad):
            made.submit("a", work, lambda error: answers.append((type(error), threading.get_ident() == home)))
        await until(lambda: len(answers) == 2)
        assert answers == [(type(None), True), (ZeroDivisionError, True)]
        made.close()

    run(scenario)


def test_clients_take_turns() -> None:
    """Who asked a hundred times is served no more often than who asked twice, while both wait."""

    async def scenario() -> None:
        made, gate, order = turns(), Gate(), []

        def noting(owner: str) -> Callable[[], None]:
            return lambda: order.append(owner)

        made.submit("x", gate, lambda error: None)
        for _ in range(50):
            made.submit("flood", noting("flood"), lambda error: None)
        for _ in range(2):
            made.submit("quiet", noting("quiet"), lambda error: None)
        gate.event.set()
        await until(lambda: len(order) == 52)
        assert order[:4].count("quiet") == 2
        made.close()

    run(scenario)


def test_nobody_has_all_threads() -> None:
    """Work of one client that takes long leaves threads to the others."""

    async def scenario() -> None:
        made, gates = turns(threads=4, share=2), [Gate() for _ in range(8)]
        answers: list[object] = []
        for gate in gates:
            made.submit("slow", gate, lambda error: None)
        await until(lambda: sum(gate.began.is_set() for gate in gates) == 2)
        made.submit("other", nothing, answers.append)
        await until(lambda: answers == [None])
        assert sum(gate.began.is_set() for gate in gates) == 2
        for gate in gates:
            gate.event.set()
        await until(lambda: not made.waiting)
        made.close()

    run(scenario)


def test_what_waits_is_bounded() -> None:
    """For one client and in all; what is taken back makes room."""

    async def scenario() -> None:
        made, gate = turns(most=3, each=2), Gate()
        made.submit("a", gate, lambda error: None)
        made.submit("a", nothing, lambda error: None)
        take_back = made.submit("a", nothing, lambda error: None)
        with pytest.raises(Full, match="of this client"):
            made.submit("a", nothing, lambda error: None)
        made.submit("b", nothing, lambda error: None)
        with pytest.raises(Full):
            made.submit("c", nothing, lambda error: None)
        take_back()
        take_back()
        made.submit("c", nothing, lambda error: None)
        assert (made.refused, made.waiting) == (2, 3)
        gate.event.set()
        await until(lambda: not made.waiting)
        made.close()

    run(scenario)


def test_what_was_taken_back_is_not_answered() -> None:
    """Neither while it waits nor while it runs."""

    async def scenario() -> None:
        made, gate = turns(), Gate()
        answers: list[object] = []
        running = made.submit("a", gate, answers.append)
        waiting = made.submit("a", nothing, answers.append)
        running()
        waiting()
        gate.event.set()
        last: list[object] = []
        made.submit("a", nothing, last.append)
        await until(lambda: last)
        assert answers == []
        made.close()

    run(scenario)


def test_work_that_does_not_end_keeps_nobody_waiting() -> None:
    """After its time a stuck thread counts no more: the others go on. Its answer is heard when it ends after all; and
    no more threads than there are can be given up."""

    async def scenario() -> None:
        told: list[int] = []
        made = turns(2, 2, stuck=0.05)
        gates = [Gate() for _ in range(4)]
        answers: list[object] = []
        late: list[object] = []
        for gate in gates[:2]:
            made.submit("stuck", gate, late.append, told.append)
        await until(lambda: all(gate.began.is_set() for gate in gates[:2]))
        made.submit("other", nothing, answers.append)

        def checked() -> bool:
            made.check()
            return bool(answers)

        await until(checked)
        assert made.stuck == len(set(told)) == len(told) == 2
        assert all(told)
        for gate in gates[2:]:
            made.submit("more", gate, late.append)
        await until(lambda: all(gate.began.is_set() for gate in gates))
        await asyncio.sleep(0)
        made.check()
        assert made.stuck == 2
        for gate in gates:
            gate.event.set()
        await until(lambda: len(late) == 4)
        assert made.stuck == 0
        made.close()

    run(scenario)


def test_after_close_nothing_is_taken() -> None:
    """What waits is not done, what runs is not waited for."""

    async def scenario() -> None:
        made, gate = turns(), Gate()
        answers: list[object] = []
        made.submit("a", gate, lambda error: None)
        made.submit("a", nothing, answers.append)
        made.close()
        gate.event.set()
        with pytest.raises(Full):
            made.submit("a", nothing, answers.append)
        assert (answers, made.waiting) == ([], 0)

    run(scenario)


def test_of_each_client_one_goes_on_in_each_turn_of_the_loop() -> None:
    """Whoever floods with many sessions has one of them served a turn; another client is not behind all of them."""
    soon: list[Callable[[], None]] = []
    rounds, order = Rounds(soon.append), []

    def noting(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    for number in range(5):
        rounds.wait("flood", noting(f"flood {number}"))
    rounds.wait("quiet", noting("quiet"))
    turns_of_the_loop = 0
    while soon:
        turns_of_the_loop += 1
        now, soon[:] = list(soon), []
        for call in now:
            call()
    assert order[:3] == ["flood 0", "quiet", "flood 1"]
    assert (turns_of_the_loop, len(order), rounds.waiting) == (5, 6, 0)


def test_who_waits_again_in_his_turn_is_behind_the_others() -> None:
    """A session that floods on does not go before the next one of its client."""
    soon: list[Callable[[], None]] = []
    rounds, order = Rounds(soon.append), []

    def first() -> None:
        order.append("first")
        rounds.wait("a", first)

    rounds.wait("a", first)
    rounds.wait("a", lambda: order.append("second"))
    for _ in range(3):
        now, soon[:] = list(soon), []
        for call in now:
            call()
    assert order == ["first", "second", "first"]
