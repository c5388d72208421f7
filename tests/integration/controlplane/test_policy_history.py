"""Which policies were in use when is noted by whoever took them into use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import policy_notes
from gateway.app.policy_notes import PolicyNotes
from gateway.operators.policy_history import PolicyHistory
from gateway.policy.sources import Sources
from gateway.storage.postgres import Pool
from gateway.tasks import Tasks
from tests.integration.controlplane.conftest import POLICIES


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


async def _noted(pool: Pool, count: int) -> list[tuple[str, str]]:
    while len(found := await PolicyHistory(pool).page(None, 10)) < count:
        await asyncio.sleep(0.005)
    return [(one.digest[0], one.how) for one in reversed(found)]


async def test_each_change_is_noted_once_and_how_it_came(pool: Pool, tasks: Tasks, tmp_path: Path) -> None:
    in_use, accepted = [POLICIES], tmp_path / "policies.json"
    Sources(()).write(accepted)
    notes = PolicyNotes(PolicyHistory(pool), accepted, lambda: in_use[0])
    tasks.spawn(notes.keep(), name="notes")
    assert await _noted(pool, 1) == [("d", "start")]
    notes.wake()  # nothing has changed
    for digest, how in (("e", "signal"), ("f", "change")):
        Sources(()).write(accepted, how)
        in_use[0] = replace(POLICIES, digest=digest * 64)
        notes.wake()
        await _noted(pool, 2 if digest == "e" else 3)
    assert await _noted(pool, 3) == [("d", "start"), ("e", "signal"), ("f", "change")]


async def test_a_restart_with_the_same_policies_is_no_news(pool: Pool, tasks: Tasks, tmp_path: Path) -> None:
    for _ in range(2):
        again = Tasks()
        again.spawn(
            PolicyNotes(PolicyHistory(pool), tmp_path / "none", lambda: POLICIES).keep(), name="notes"
        )
        await _noted(pool, 1)
        await again.close()
    tasks.spawn(
        PolicyNotes(
            PolicyHistory(pool), tmp_path / "none", lambda: replace(POLICIES, digest="e" * 64)
        ).keep(),
        name="notes",
    )
    assert await _noted(pool, 2) == [("d", "start"), ("e", "start")]


async def test_what_could_not_be_noted_is_noted_later(
    pool: Pool, tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_notes, "RETRY_S", 0.01)
    await pool.execute("ALTER TABLE policy_history RENAME TO hidden")
    tasks.spawn(PolicyNotes(PolicyHistory(pool), tmp_path / "none", lambda: POLICIES).keep(), name="notes")
    await asyncio.sleep(0)
    await pool.execute("ALTER TABLE hidden RENAME TO policy_history")
    assert await _noted(pool, 1) == [("d", "start")]
