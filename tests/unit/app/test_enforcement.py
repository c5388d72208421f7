"""A worker follows what operators switch, with and without Postgres."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.app import enforcement
from gateway.app.enforcement import SwitchFollower, read_switches
from gateway.clock import ManualClock
from gateway.model.enforcement import POLICIES_ALONE, Enforcement, Enforcing, Switch
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

SHADOW = Enforcement((Switch(Enforcing.SHADOW, reason="incident 7"),))
OFF = Enforcement((Switch(Enforcing.OFF, "burst", "free", "all", "it is wrong"),))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task does. The test's timeout is the bound."""
    while not condition():
        await asyncio.sleep(0)


class Worker:
    """A follower, what it asks and what it tells."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "enforcement.json"
        self.clock = ManualClock(1_784_000_000_000_000)
        self.slots = Slots.in_memory()
        self.tasks = Tasks()
        self.there: Enforcement | OSError = POLICIES_ALONE  # what Postgres says
        self.in_use = POLICIES_ALONE
        self.asked = 0
        self.follower = SwitchFollower(self._ask, self._use, self.file, self.slots, self.clock)

    async def _ask(self) -> Enforcement:
        self.asked += 1
        if isinstance(self.there, OSError):
            raise self.there
        return self.there

    def _use(self, told: Enforcement) -> None:
        self.in_use = told

    async def begin(self) -> None:
        await self.follower.begin()
        self.tasks.spawn(self.follower.run(), name="follow")

    async def told(self, there: Enforcement | OSError) -> None:
        """Postgres says something else from now on, and that it does."""
        self.there, before = there, self.asked
        self.follower.hear()
        await until(lambda: self.asked > before)
        await asyncio.sleep(0)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    made = Worker(tmp_path)
    yield made
    await made.tasks.close()


async def test_what_is_switched_is_in_use_at_once_and_logged(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await worker.begin()
    assert (worker.in_use, worker.asked) == (POLICIES_ALONE, 1)
    await worker.told(SHADOW)
    assert worker.in_use == SHADOW
    await worker.told(OFF)
    assert worker.in_use == OFF
    figures = [worker.slots.get("enforcement_switches", state) for state in ("shadow", "off")]
    assert figures == [0, 1]
    await worker.told(POLICIES_ALONE)
    assert worker.in_use == POLICIES_ALONE
    told = [(record.levelname, getattr(record, "switches", None)) for record in caplog.records]
    assert told == [
        ("WARNING", ["shadow everything: incident 7"]),
        ("WARNING", ["off limit:burst tier:free route:all: it is wrong"]),
        ("INFO", None),
    ]


async def test_while_postgres_is_gone_the_last_known_state_stays(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.begin()
    await worker.told(SHADOW)
    monkeypatch.setattr(enforcement, "RETRY_S", 0)
    await worker.told(ConnectionRefusedError())
    assert worker.in_use == SHADOW
    asked = worker.asked
    worker.there = OFF
    await until(lambda: worker.asked > asked and worker.in_use == OFF)  # nobody said anything


async def test_nobody_has_to_be_told(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement, "POLL_S", 0)
    await worker.begin()
    await worker.told(POLICIES_ALONE)  # from here on it waits for the shorter time
    worker.there = OFF
    await until(lambda: worker.in_use == OFF)


async def test_a_new_worker_begins_with_what_was_last_known(worker: Worker, tmp_path: Path) -> None:
    await worker.begin()
    await worker.told(OFF)
    later = Worker(tmp_path)
    later.there = ConnectionRefusedError()
    await later.follower.begin()
    assert later.in_use == OFF
    await worker.told(POLICIES_ALONE)
    assert read_switches(worker.file) == POLICIES_ALONE


async def test_a_postgres_that_says_nothing_delays_no_start(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> Enforcement:
        await asyncio.Event().wait()
        return SHADOW

    monkeypatch.setattr(enforcement, "FIRST_S", 0.01)
    follower = SwitchFollower(silent, worker._use, worker.file, worker.slots, worker.clock)
    await follower.begin()
    assert worker.in_use == POLICIES_ALONE


async def test_a_switch_ends_by_itself(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement, "AFTER_S", 0)
    await worker.begin()
    ends_at_us = worker.clock.now_us() + 1
    await worker.told(Enforcement((Switch(Enforcing.OFF, expires_at_us=ends_at_us),)))
    assert worker.in_use
    worker.there = ConnectionRefusedError()
    worker.clock.advance(0.000001)
    await until(lambda: not worker.in_use)


@pytest.mark.parametrize(
    "text", ["", "[]]", "{}1", '[{"state": "half"}]', '[{"state": "off", "x": 1}]', "[1]"]
)
async def test_a_damaged_file_is_no_reason_to_loosen_anything(worker: Worker, text: str) -> None:
    worker.file.write_text(text)
    assert read_switches(worker.file) == POLICIES_ALONE


async def test_a_file_that_can_not_be_written_is_only_said(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.file.parent.joinpath("enforcement.json").mkdir()
    await worker.begin()
    await worker.told(SHADOW)
    assert worker.in_use == SHADOW
    assert any("can not be kept" in record.message for record in caplog.records)
