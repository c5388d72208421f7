"""Limits loosened by operators: said, seen, noted, taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.overrides import Overrides, limit_override
from gateway.accounts.store import Accounts
from gateway.app import enforcement
from gateway.app.enforcement import SwitchFollower
from gateway.auth.cache import KeyCache
from gateway.auth.listener import KeyListener
from gateway.clock import ManualClock
from gateway.model.enforcement import POLICIES_ALONE, Enforcement
from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.operators.enforcement import CHANNEL, Switches
from gateway.storage.postgres import Pool
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.auth.test_listener import until
from tests.integration.controlplane.conftest import Client
from tests.integration.controlplane.test_admin import account, ok, problem
from tests.integration.controlplane.test_operators import bearer, token

ADDRESS = "/admin/v1/enforcement"


async def switch(admin: Client, state: str, **more: object) -> dict[str, Any]:
    return await ok(await admin.put(ADDRESS, json={"state": state, "reason": "incident 7", **more}))


async def test_the_life_of_a_switch(admin: Client, pool: Pool) -> None:
    assert await ok(await admin.get(ADDRESS)) == {"state": "enforce", "switches": []}
    told = await switch(admin, "shadow")
    assert (told["state"], len(told["switches"])) == ("shadow", 1)
    one = told["switches"][0]
    assert (one["limit"], one["tier"], one["route"], one["expires_at"]) == (None, None, None, None)
    assert (one["reason"], one["changed_by"]) == ("incident 7", "bootstrap")
    assert (await switch(admin, "off", reason="worse"))["switches"][0]["reason"] == "worse"
    assert await switch(admin, "enforce") == {"state": "enforce", "switches": []}
    changes = await AuditLog(pool).page(AuditQuestion(target="everything"))
    assert [(one.action, one.actor) for one in changes] == [
        ("enforcement.changed", "bootstrap"),
        ("enforcement.changed", "bootstrap"),
        ("enforcement.created", "bootstrap"),
    ]
    assert changes[0].before is not None
    assert changes[0].after is not None
    assert (changes[0].before["state"], changes[0].after["state"]) == ("off", "enforce")


class Worker:
    """What a worker has of switches: an ear and a follower. It notes what comes into use."""

    def __init__(self, url: str, pool: Pool, clock: ManualClock, folder: Path) -> None:
        self.in_use, self.asked = POLICIES_ALONE, 0
        self._pool, self._clock, self._slots, self._tasks = pool, clock, Slots.in_memory(), Tasks()
        file = folder / "enforcement.json"
        self._follower = SwitchFollower(self._ask, self._use, file, self._slots, clock)
        others = {CHANNEL: self._follower.hear}
        self._listener = KeyListener(url, KeyCache(self._slots), self._slots, others)

    async def _ask(self) -> Enforcement:
        self.asked += 1
        return await Switches(self._pool).enforcement(self._clock.now_us())

    def _use(self, enforcement: Enforcement) -> None:
        self.in_use = enforcement

    async def start(self) -> None:
        await self._follower.begin()
        self._tasks.spawn(self._follower.run(), name="enforcement.follow")
        self._tasks.spawn(self._listener.run(), name="auth.listen")
        await until(lambda: self.asked == 2)  # what was switched before it listened is not told

    async def follows(self, state: str) -> None:
        expected = [] if state == "enforce" else [state]
        await until(lambda: [one.state.value for one in self.in_use.switches] == expected)

    async def close(self) -> None:
        await self._tasks.close()


async def test_a_switch_is_in_use_everywhere_by_being_told_of(
    admin: Client,
    pool: Pool,
    clock: ManualClock,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for a timer: none ends within this test. It takes one notification and one question."""
    monkeypatch.setattr(enforcement, "POLL_S", 3600.0)
    monkeypatch.setattr(enforcement, "RETRY_S", 3600.0)
    workers = [Worker(database_url, pool, clock, tmp_path) for _ in range(3)]
    for worker in workers:
        await worker.start()
    for state in ("shadow", "off", "enforce", "off"):
        await switch(admin, state)
        for worker in workers:
            await worker.follows(state)
    assert [worker.asked for worker in workers] == [6, 6, 6]
    for worker in workers:
        await worker.close()


async def test_switches_of_a_part(admin: Client, accounts: Accounts, pool: Pool) -> None:
    told = await switch(admin, "shadow", limit="burst", tier="free", route="all")
    assert (told["state"], len(told["switches"])) == ("enforce", 1)
    assert len((await switch(admin, "off", limit="monthly"))["switches"]) == 2
    assert len((await switch(admin, "enforce", limit="monthly"))["switches"]) == 1
    special = await account(admin)
    await Overrides(pool, accounts).set(special["id"], limit_override("deal", "1/second", 1))
    assert len((await switch(admin, "off", limit="deal"))["switches"]) == 2


async def test_a_switch_ends_by_itself(admin: Client, pool: Pool) -> None:
    told = await switch(admin, "off", expires_in_s=60)
    assert told["switches"][0]["expires_at"] is not None
    (stored,) = await Switches(pool).in_force(1_000_000)
    assert stored.switch.expires_at_us is not None
    assert 1_000_000 < stored.switch.expires_at_us <= 61_000_000
    await pool.execute("UPDATE enforcement_switches SET expires_at = now() - interval '1 second'")
    assert await ok(await admin.get(ADDRESS)) == {"state": "enforce", "switches": []}


@pytest.mark.parametrize(
    ("case", "body", "field"),
    [
        ("no reason", {"state": "off"}, "reason"),
        ("an empty reason", {"state": "off", "reason": " "}, "reason"),
        ("a reason of two lines", {"state": "off", "reason": "a\nb"}, "reason"),
        ("no such state", {"state": "on", "reason": "r"}, "state"),
        ("a tier that is not there", {"state": "off", "reason": "r", "tier": "gold"}, "tier"),
        ("a route that is not there", {"state": "off", "reason": "r", "route": "x"}, "route"),
        ("a limit that is not there", {"state": "off", "reason": "r", "limit": "brust"}, "limit"),
        (
            "a limit of another tier",
            {"state": "off", "reason": "r", "limit": "burst", "tier": "team"},
            "limit",
        ),
        ("no name", {"state": "off", "reason": "r", "limit": "a b"}, "limit"),
        ("enforced for a while", {"state": "enforce", "reason": "r", "expires_in_s": 5}, "expires_in_s"),
        ("for no time", {"state": "off", "reason": "r", "expires_in_s": 0}, "expires_in_s"),
        ("for an account", {"state": "off", "reason": "r", "account": "acct_1"}, "account"),
    ],
)
async def test_what_can_not_be_switched(
    admin: Client, case: str, body: dict[str, object], field: str
) -> None:
    document = await problem(await admin.put(ADDRESS, json=body), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == [field], case
    assert (await ok(await admin.get(ADDRESS)))["switches"] == []


async def test_who_saw_another_state_changes_nothing(admin: Client) -> None:
    seen = await admin.get(ADDRESS)
    await switch(admin, "shadow")
    body = {"state": "off", "reason": "r"}
    response = await admin.put(ADDRESS, json=body, headers={"If-Match": seen.headers["ETag"]})
    await problem(response, 412, "precondition_failed")
    assert (await ok(await admin.get(ADDRESS)))["state"] == "shadow"


async def test_only_who_may(admin: Client, stranger: Client) -> None:
    reader = bearer((await token(admin, "enforcement:read"))["secret"])
    await ok(await stranger.get(ADDRESS, headers=reader))
    body = {"state": "off", "reason": "r"}
    await problem(await stranger.put(ADDRESS, json=body, headers=reader), 403, "forbidden")
    other = bearer((await token(admin, "accounts:write", "gateway:write"))["secret"])
    await problem(await stranger.get(ADDRESS, headers=other), 403, "forbidden")
