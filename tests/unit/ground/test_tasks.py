"""Background tasks have names and an owner, and no failure is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.tasks import Tasks


async def test_a_task_has_its_name_and_its_result() -> None:
    async def answer() -> int:
        return 42

    tasks = Tasks()
    task = tasks.spawn(answer(), name="room.activity")
    assert task.get_name() == "room.activity"
    assert await task == 42


async def test_a_failure_nobody_awaits_is_logged_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("lost")

    tasks = Tasks()
    task = tasks.spawn(fail(), name="room.activity")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.message == "task failed"
    assert record.__dict__["task"] == "room.activity"
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


async def test_a_failure_somebody_awaits_is_theirs_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("lost")

    tasks = Tasks()
    with pytest.raises(LookupError):
        await tasks.spawn(fail(), name="room.activity", awaited=True)
    await asyncio.sleep(0)
    assert not caplog.records
    assert not tasks._running


async def test_close_ends_everything_and_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    cleaned_up: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append("yes")

    tasks = Tasks()
    for _ in range(3):
        tasks.spawn(forever(), name="room.forever")
    await asyncio.sleep(0)
    await tasks.close()
    assert cleaned_up == ["yes"] * 3
    assert not tasks._running
    assert not caplog.records


async def test_close_without_tasks_is_nothing() -> None:
    await Tasks().close()


async def test_an_ended_task_is_not_kept() -> None:
    async def answer() -> None:
        return

    tasks = Tasks()
    await tasks.spawn(answer(), name="room.activity")
    await asyncio.sleep(0)
    assert not tasks._running


async def test_a_task_whose_cancellation_was_swallowed_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.tasks.CANCEL_AGAIN_S", 0.001)

    async def swallow() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    tasks = Tasks()
    task = tasks.spawn(swallow(), name="room.activity")
    await asyncio.sleep(0)
    await tasks.close()
    assert task.cancelled()
    assert {record.__dict__["task"] for record in caplog.records} == {"room.activity"}
