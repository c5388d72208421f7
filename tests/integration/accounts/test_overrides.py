"""Special deals in Postgres, and what gateways hear of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from gateway.accounts.keys import digest
from gateway.accounts.overrides import MOST, Overrides, limit_override, quota_override
from gateway.accounts.recognition import find_principal
from gateway.accounts.records import Account
from gateway.accounts.store import Accounts
from gateway.errors import Conflict, Invalid, NotFound
from gateway.model.principal import Override
from gateway.storage.postgres import Pool, connect_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    await made.close()


@pytest.fixture
def accounts(pool: Pool) -> Accounts:
    return Accounts(pool, "tw")


@pytest.fixture
def overrides(pool: Pool, accounts: Accounts) -> Overrides:
    return Overrides(pool, accounts)


@pytest.fixture
async def ada(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "team")


async def told(pool: Pool, secret: str) -> tuple[Override, ...]:
    found = await find_principal(pool, digest(secret.encode()))
    assert found is not None
    return found.principal.overrides


async def test_a_key_comes_with_its_account_s_overrides_and_its_own(
    accounts: Accounts, overrides: Overrides, pool: Pool, ada: Account
) -> None:
    (key, secret), (_, other) = [await accounts.create_key(ada.public_id) for _ in range(2)]
    assert await told(pool, secret) == ()
    await overrides.set(ada.public_id, limit_override("burst", "900/minute", 300))
    await overrides.set(ada.public_id, quota_override("monthly", 5000))
    await overrides.set(ada.public_id, limit_override("cap", "1/day", 1, of_key=True), key.public_id)
    of_account = (
        Override("burst", False, 900, 60_000, 300),
        Override("monthly", of_key=False, amount=5000),
    )
    assert await told(pool, other) == of_account
    assert await told(pool, secret) == (*of_account, Override("cap", True, 1, 86_400_000, 1))
    listed = [
        (one.name, one.key, one.rate, one.burst, one.amount) for one in await overrides.list(ada.public_id)
    ]
    assert listed == [
        ("burst", None, "900/minute", 300, None),
        ("monthly", None, None, None, 5000),
        ("cap", key.public_id, "1/day", 1, None),
    ]


async def test_set_again_replaces_and_clear_goes_back(
    accounts: Accounts, overrides: Overrides, pool: Pool, ada: Account
) -> None:
    _, secret = await accounts.create_key(ada.public_id)
    await overrides.set(ada.public_id, limit_override("x", "1/second", 1))
    await overrides.set(ada.public_id, quota_override("x", 7))
    assert await told(pool, secret) == (Override("x", of_key=False, amount=7),)
    await overrides.clear(ada.public_id, "x")
    assert await told(pool, secret) == ()
    with pytest.raises(NotFound):
        await overrides.clear(ada.public_id, "x")


async def test_gateways_are_told(overrides: Overrides, database_url: str, ada: Account) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    connection = await asyncpg.connect(database_url)
    try:
        await connection.add_listener("tollway_keys", lambda *told: heard.put_nowait(told[-1]))
        await overrides.set(ada.public_id, quota_override("x", 7))
        assert await heard.get() == f"account:{ada.id}"
        await overrides.clear(ada.public_id, "x")
        assert await heard.get() == f"account:{ada.id}"
    finally:
        await connection.close()


async def test_what_can_not_be(accounts: Accounts, overrides: Overrides, pool: Pool, ada: Account) -> None:
    other = await accounts.create_account("Other", "team")
    key, _ = await accounts.create_key(other.public_id)
    cap = limit_override("cap", "1/day", 1, of_key=True)
    with pytest.raises(NotFound, match="key"):
        await overrides.set(ada.public_id, cap, key.public_id)
    with pytest.raises(NotFound):
        await overrides.set("acct_" + "0" * 20, cap)
    for number in range(MOST):
        await overrides.set(ada.public_id, quota_override(f"n{number}", 1))
    with pytest.raises(Conflict):
        await overrides.set(ada.public_id, quota_override("one-more", 1))
    await overrides.set(ada.public_id, quota_override("n0", 2))
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("UPDATE overrides SET tokens = 1 WHERE name = 'n0'")


@pytest.mark.parametrize("rate", ["0/second", "1/week", "-1/day", "nan/day", "1e3/day", "1/second "])
def test_rates_that_are_none(rate: str) -> None:
    with pytest.raises(Invalid, match="must be"):
        limit_override("x", rate, 1)


@pytest.mark.parametrize(("name", "burst", "amount"), [("X", 1, 1), ("x", 0, 0), ("x", 10**9 + 1, 10**15)])
def test_figures_that_are_none(name: str, burst: int, amount: int) -> None:
    with pytest.raises(Invalid):
        limit_override(name, "1/second", burst)
    with pytest.raises(Invalid):
        quota_override(name, amount)
