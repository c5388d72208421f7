"""Units beyond a quota, and what they cost: the total of a period less the amount, whatever marks say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from gateway.accounts.overrides import Overrides, quota_override
from gateway.accounts.records import Account, AccountChanges
from gateway.accounts.store import Accounts
from gateway.controlplane.collaborators import Collaborators
from gateway.model.overage import Overage
from gateway.model.periods import Period
from gateway.model.policies import Meter, Quota, Tier
from gateway.model.principal import Mode
from gateway.routing.rollout import percentile
from gateway.storage.postgres import Pool
from tests.integration.controlplane.books import book
from tests.integration.controlplane.conftest import POLICIES, Client

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OVERAGE = Overage(25, "USD", 10)


def tier(name: str, *quotas: Quota) -> Tier:
    return Tier(name, name, None, (), quotas, frozenset())


TOKENS = Quota("tokens", "tokens", 100, Period.MONTH, overage=OVERAGE)
TIERS = {
    "free": tier(
        "free",
        TOKENS,
        Quota("fair-use", "tokens", 50, Period.DAY, soft=True),
        Quota("hard", "api_calls", 1, Period.MONTH),
    ),
    "large": tier("large", replace(TOKENS, amount=120, overage=replace(OVERAGE, amount_minor=9))),
    "partly": tier("partly", replace(TOKENS, enforce=50)),
}


@pytest.fixture
def collaborators(collaborators: Collaborators) -> Collaborators:
    meters = {**POLICIES.meters, "tokens": Meter("tokens", "token")}
    policies = replace(POLICIES, meters=meters, tiers=TIERS)
    return replace(collaborators, policies=lambda: policies)


@pytest.fixture
async def account(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "free")


async def quotas(client: Client, account: Account, query: str = "") -> dict[str, Any]:
    answer = await client.get(f"/admin/v1/accounts/{account.public_id}/period?history=0{query}")
    assert answer.status == 200, await answer.text()
    return {one["name"]: one for one in (await answer.json())["quotas"]}


async def due(client: Client, account: Account, query: str = "") -> tuple[int, int]:
    """Units beyond the quota with overage, and what is due for them."""
    told = (await quotas(client, account, query))["tokens"]
    return told["beyond"], told["overage"]["due_minor"]


async def test_calls_count_at_what_they_cost_marked_or_not(
    admin: Client, account: Account, pool: Pool
) -> None:
    """Three calls with a reserve of 40 turned out to cost 41, and nobody marked them; one was marked."""
    await book(pool, account.id, NOW - timedelta(hours=2), calls=3, charges={"tokens": 41})
    marked = {"api_calls": 2, "tokens": 40, "beyond:tokens": 20, "beyond:fair-use": 40}
    await book(pool, account.id, NOW - timedelta(hours=1), calls=1, charges=marked)
    told = await quotas(admin, account)
    assert {name: (one["used"], one["beyond"]) for name, one in told.items()} == {
        "tokens": (163, 63),
        "fair-use": (163, 113),
        "hard": (2, 1),
    }
    assert told["tokens"]["overage"] == {
        "amount_minor": 25,
        "currency": "USD",
        "per_units": 10,
        "text": "USD 0.25 per 10",
        "due_minor": 7 * 25,
    }
    assert (told["fair-use"]["overage"], told["hard"]["overage"]) == (None, None)


async def test_the_tier_and_the_deal_of_now_hold_for_the_whole_period(
    admin: Client, accounts: Accounts, account: Account, pool: Pool
) -> None:
    await book(pool, account.id, NOW - timedelta(days=3), calls=5, charges={"tokens": 27})
    assert await due(admin, account) == (35, 4 * 25)
    await accounts.set_tier(account.public_id, "large")
    assert await due(admin, account) == (15, 2 * 9), "raised: less is beyond"
    deals = Overrides(pool, accounts)
    await deals.set(account.public_id, quota_override("tokens", 134), None)
    assert await due(admin, account) == (1, 9), "the price is the tier's"
    await deals.set(account.public_id, quota_override("tokens", 10), None)
    assert await due(admin, account) == (125, 13 * 9), "lowered: what is used stays used"


async def test_what_is_posted_and_corrected_is_in_it(admin: Client, account: Account, pool: Pool) -> None:
    await book(pool, account.id, NOW - timedelta(days=3), calls=1, charges={"tokens": 99})
    new = {"account": account.public_id, "meter": "tokens"}
    await admin.post("/admin/v1/usage", json=new | {"id": "p", "quantity": 12})
    assert await due(admin, account) == (11, 2 * 25)
    taken = new | {"id": "c", "quantity": -1, "reason": "counted twice"}
    await admin.post("/admin/v1/usage/corrections", json=taken)
    assert await due(admin, account) == (10, 25)
    await admin.post("/admin/v1/usage/corrections", json=taken | {"id": "d", "quantity": -30})
    assert await due(admin, account) == (0, 0)


async def test_a_period_that_is_over_by_its_last_moment(
    admin: Client, accounts: Accounts, account: Account, pool: Pool
) -> None:
    october = datetime(2026, 10, 31, 23, tzinfo=UTC)
    await book(pool, account.id, october, calls=1, charges={"tokens": 120})
    await book(pool, account.id, NOW - timedelta(days=20), calls=1, charges={"tokens": 7})
    told = (await quotas(admin, account, "&at=2026-10-31T23:59:59Z"))["tokens"]
    assert (told["used"], told["beyond"], told["projected"], told["overage"]["due_minor"]) == (
        120,
        20,
        120,
        50,
    )
    assert (told["period_start"], told["resets_at"]) == (
        "2026-10-01T00:00:00.000Z",
        "2026-11-01T00:00:00.000Z",
    )
    assert await due(admin, account) == (0, 0)
    anchored = AccountChanges(billing_anchor=date(2026, 1, 15))
    await accounts.change_account(account.public_id, anchored)
    assert await due(admin, account, "&at=2026-11-14T23:59:59Z") == (27, 3 * 25), "periods of the anchor"


async def test_the_future_is_not_told(admin: Client, account: Account) -> None:
    for at, expected in (("2026-11-21T12:00:01Z", 422), ("tomorrow", 422), ("2026-11-21T12:00:00Z", 200)):
        answer = await admin.get(f"/admin/v1/accounts/{account.public_id}/period?at={at}")
        assert answer.status == expected, at


async def test_nobody_pays_for_test_keys_or_internal_accounts(
    admin: Client, accounts: Accounts, account: Account, pool: Pool
) -> None:
    await book(pool, account.id, NOW, calls=1, charges={"tokens": 111}, mode=Mode.TEST)
    assert await due(admin, account, "&mode=test") == (11, 0)
    await book(pool, account.id, NOW - timedelta(hours=1), calls=1, charges={"tokens": 102})
    assert await due(admin, account) == (2, 25)
    await accounts.change_account(account.public_id, AccountChanges(internal=True))
    assert await due(admin, account) == (2, 0)


async def test_a_shadow_of_this_account_costs_nothing(admin: Client, accounts: Accounts) -> None:
    """Half of the accounts have the quota; for the others it is a shadow."""
    for number in range(8):
        account = await accounts.create_account(str(number), "partly")
        has_it = "tokens" in await quotas(admin, account)
        assert has_it == (percentile(account.public_id) < 50)


async def test_customers_see_what_is_due(
    portal: Client, accounts: Accounts, account: Account, pool: Pool
) -> None:
    _, secret = await accounts.create_key(account.public_id)
    await book(pool, account.id, NOW - timedelta(days=40), calls=1, charges={"tokens": 101})
    headers = {"Authorization": f"Bearer {secret}"}
    told = await (await portal.get("/api/v1/period?at=2026-10-31", headers=headers)).json()
    assert (told["at"], told["current"]["start"]) == ("2026-10-31T00:00:00.000Z", "2026-10-01T00:00:00.000Z")
    (tokens,) = [one for one in told["quotas"] if one["name"] == "tokens"]
    assert (tokens["beyond"], tokens["overage"]["due_minor"]) == (1, 25)
