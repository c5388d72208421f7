"""One sweep for all waits: each passed deadline is told once, nobody's end spoils another's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from gateway import deadlines
from gateway.deadlines import NEVER, Deadlines


class Patient:
    """Waits until `deadline`; counts how often it was told."""

    def __init__(self, deadline: float, then: Callable[[], None] | None = None) -> None:
        self.deadline = deadline
        self.told = 0
        self._then = then

    def expire(self) -> None:
        self.told += 1
        if self._then is not None:
            self._then()


@pytest.fixture(autouse=True)
def _sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.001)
    monkeypatch.setattr(deadlines, "PARTS", 4)


async def sweeps(count: int) -> None:
    """Let a later patient's deadline pass `count` times: so many sweeps are over."""
    for _ in range(count):
        probe = Patient(0.0)
        watch = Deadlines()
        watch.add(probe)
        while not probe.told:
            await asyncio.sleep(0)
        watch.discard(probe)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_only_passed_deadlines_are_told_and_only_once() -> None:
    now = asyncio.get_running_loop().time()
    passed, later, never = Patient(now - 1), Patient(now + 3600), Patient(NEVER)
    watch = Deadlines()
    for one in (passed, later, never):
        watch.add(one)
    await until(lambda: passed.told == 1)
    await sweeps(3)
    assert (passed.told, later.told, never.told) == (1, 0, 0)
    assert passed.deadline == NEVER


async def test_many_that_pass_together_leave_room_for_others_in_between() -> None:
    watch = Deadlines()
    many = [Patient(0.0) for _ in range(14)]
    for one in many:
        watch.add(one)
    told = [0]
    while told[-1] < len(many):
        await asyncio.sleep(0)
        told.append(sum(one.told for one in many))
    assert max(after - before for before, after in itertools.pairwise(told)) == 4, "in four parts"
    assert {one.told for one in many} == {1}


async def test_who_goes_before_its_turn_is_told_nothing() -> None:
    watch = Deadlines()
    gone, moved = Patient(0.0), Patient(0.0)

    def leave() -> None:
        watch.discard(gone)
        moved.deadline = NEVER

    many = [Patient(0.0, leave), *(Patient(0.0) for _ in range(16))]
    for one in (*many, gone, moved):
        watch.add(one)
    await until(lambda: all(one.told for one in many))
    await sweeps(3)
    assert (gone.told, moved.told) == (0, 0)


async def test_a_deadline_may_be_set_again_while_it_is_told() -> None:
    watch = Deadlines()

    def again() -> None:
        one.deadline = 0.0 if one.told < 3 else NEVER

    one = Patient(0.0, again)
    watch.add(one)
    await until(lambda: one.told == 3)


async def test_a_pair_that_ends_together_is_told_once() -> None:
    first, second = Patient(0.0), Patient(0.0)
    first._then = lambda: setattr(second, "deadline", NEVER)
    second._then = lambda: setattr(first, "deadline", NEVER)
    watch = Deadlines()
    watch.add(first)
    watch.add(second)
    await until(lambda: first.told + second.told > 0)
    await sweeps(3)
    assert first.told + second.told == 1


async def test_one_that_fails_does_not_stop_the_sweeps() -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise LookupError

    broken, honest = Patient(0.0, fail), Patient(0.0)
    watch = Deadlines()
    watch.add(broken)
    watch.add(honest)
    await until(lambda: honest.told == 1)
    later = Patient(0.0)
    watch.add(later)
    await until(lambda: later.told == 1)
    assert [type(one) for one in failures] == [LookupError]


async def test_the_timer_rests_while_nobody_waits_and_starts_again() -> None:
    watch = Deadlines()
    one = Patient(NEVER)
    watch.add(one)
    watch.discard(one)
    watch.discard(one)
    await until(lambda: watch._timer is None)
    again = Patient(0.0)
    watch.add(again)
    await until(lambda: again.told == 1)
