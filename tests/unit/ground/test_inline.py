"""Coroutines stepped by hand end exactly once, whatever they wait for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.inline import Wait, drive, waited


class Ended:
    """Collects what `done` was told."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    def __call__(self, error: BaseException | None) -> None:
        self.errors.append(error)


@pytest.fixture
def ended() -> Ended:
    return Ended()


def test_without_anything_to_wait_for_it_ends_within_the_call(ended: Ended) -> None:
    steps: list[str] = []

    async def straight() -> None:
        steps.append("ran")

    drive(straight(), ended)
    assert (steps, ended.errors) == (["ran"], [None])


def test_a_wait_that_is_satisfied_costs_no_parking(ended: Ended) -> None:
    there: Wait[int] = Wait()
    there.set(3)
    got: list[int] = []

    async def take() -> None:
        got.append(await there)

    drive(take(), ended)
    assert (got, ended.errors, there.done) == ([3], [None], True)


def test_setting_a_wait_resumes_within_that_very_call(ended: Ended) -> None:
    first: Wait[int] = Wait()
    second: Wait[int] = Wait()
    got: list[int] = []

    async def take() -> None:
        got.append(await first)
        got.append(await second)

    drive(take(), ended)
    assert ended.errors == []
    first.set(1)
    assert got == [1]
    second.set(2)
    assert (got, ended.errors) == ([1, 2], [None])


def test_a_failed_wait_raises_in_who_waits(ended: Ended) -> None:
    broken: Wait[None] = Wait()
    error = ValueError("broken")

    async def take() -> None:
        await broken

    drive(take(), ended)
    broken.fail(error)
    assert ended.errors == [error]


@pytest.mark.parametrize(
    ("case", "again"),
    [
        ("set again", lambda wait: wait.set(9)),
        ("failed afterwards", lambda wait: wait.fail(ValueError())),
    ],
)
def test_only_the_first_word_counts(case: str, again: Callable[[Wait[int]], None], ended: Ended) -> None:
    wait: Wait[int] = Wait()
    got: list[int] = []

    async def take() -> None:
        got.append(await wait)

    drive(take(), ended)
    wait.set(1)
    again(wait)
    assert (got, ended.errors) == ([1], [None]), case


@pytest.mark.parametrize("parks", [False, True])
def test_an_error_is_told_once(ended: Ended, parks: bool) -> None:
    wait: Wait[None] = Wait()

    async def fail() -> None:
        if parks:
            await wait
        raise LookupError

    drive(fail(), ended)
    wait.set(None)
    assert [type(error) for error in ended.errors] == [LookupError]


def test_a_coroutine_may_survive_a_failed_wait(ended: Ended) -> None:
    wait: Wait[None] = Wait()

    async def survive() -> None:
        with contextlib.suppress(ValueError):
            await wait

    drive(survive(), ended)
    wait.fail(ValueError())
    assert ended.errors == [None]


def test_waiting_for_something_else_is_a_clear_error(ended: Ended) -> None:
    class Strange:
        def __await__(self) -> Any:
            yield "a strange thing"

    async def take() -> None:
        await Strange()

    drive(take(), ended)
    (error,) = ended.errors
    assert isinstance(error, TypeError)
    assert "a strange thing" in str(error)


async def from_a_callback(coroutine: Coroutine[Any, Any, None], ended: Ended) -> BaseException | None:
    """Drive as a connection does, with no current task, and wait for the end."""
    asyncio.get_running_loop().call_soon(drive, coroutine, ended)
    while not ended.errors:
        await asyncio.sleep(0)
    return ended.errors[0]


async def test_awaits_asyncio_futures_and_tasks(ended: Ended) -> None:
    got: list[object] = []

    async def slow() -> str:
        await asyncio.sleep(0)
        return "task"

    async def take() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_soon(future.set_result, "future")
        got.append(await future)
        got.append(await loop.create_task(slow()))

    assert await from_a_callback(take(), ended) is None
    assert got == ["future", "task"]


async def test_a_cancelled_task_ends_who_waits_for_it(ended: Ended) -> None:
    forever = asyncio.ensure_future(asyncio.Event().wait())
    cleaned_up: list[bool] = []

    async def take() -> None:
        try:
            await forever
        finally:
            cleaned_up.append(True)

    asyncio.get_running_loop().call_later(0, forever.cancel)
    assert isinstance(await from_a_callback(take(), ended), asyncio.CancelledError)
    assert cleaned_up == [True]


async def test_a_wait_works_under_a_plain_task_too() -> None:
    wait: Wait[int] = Wait()

    async def take() -> int:
        return await wait

    task = asyncio.ensure_future(take())
    await asyncio.sleep(0)
    wait.set(4)
    assert await task == 4


async def test_setting_a_wait_whose_task_was_cancelled_changes_nothing() -> None:
    wait: Wait[int] = Wait()

    async def take() -> int:
        return await wait

    task = asyncio.ensure_future(take())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    wait.set(4)
    assert task.cancelled()


class Held:
    """Something that a weak reference can watch."""


@pytest.mark.parametrize("by", ["hand", "a task"])
async def test_a_wait_that_failed_does_not_keep_what_its_error_went_through(by: str) -> None:
    async def until(wait: Wait[None], held: Held) -> None:
        with contextlib.suppress(ZeroDivisionError):
            await wait
        assert held is not None

    gc.collect()
    gc.disable()
    try:
        wait: Wait[None] = Wait()
        held = Held()
        watch = weakref.ref(held)
        waiting = until(wait, held)
        del held
        if by == "hand":
            drive(waiting, lambda _: None)
            wait.fail(ZeroDivisionError())
        else:
            task = asyncio.create_task(waiting)
            asyncio.get_running_loop().call_soon(wait.fail, ZeroDivisionError())
            await task
        del waiting
        assert watch() is None
        assert wait.done
    finally:
        gc.enable()


async def waits_and_tells(value: int, after: Wait[None]) -> int:
    await after
    if value < 0:
        raise KeyError(value)
    return value


def test_what_a_coroutine_will_give_is_a_wait_set_within_the_call_that_completes_it() -> None:
    after: Wait[None] = Wait()
    told: list[int] = []
    wait = waited(waits_and_tells(7, after))
    wait.when_done(lambda: told.append(wait.result()))
    assert not wait.done
    after.set(None)
    assert told == [7]
    wait.when_done(lambda: told.append(8))
    assert told == [7, 8], "it is there: at once"


def test_and_so_is_what_it_raises() -> None:
    after: Wait[None] = Wait()
    wait = waited(waits_and_tells(-1, after))
    after.set(None)
    with pytest.raises(KeyError):
        wait.result()


def test_a_wait_is_what_it_is() -> None:
    wait: Wait[int] = Wait()
    assert waited(wait) is wait
