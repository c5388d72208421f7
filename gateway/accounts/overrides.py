"""Special deals in Postgres: other figures for limits and quotas of an account, caps of single keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from gateway.accounts.keys import random_text
from gateway.accounts.store import ID_CHARACTERS, Accounts
from gateway.errors import Conflict, Invalid, NotFound
from gateway.model.principal import Override
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "overrides")
MOST = 16
"""Of one account, and of one key: all of them are decided with every call."""
PERIODS_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
TOKENS_MAX, BURST_MAX, AMOUNT_MAX = 999_999_999, 10**9, 10**15 - 1
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """An override as operators see it. `key` is a public id; None: the account as a whole."""

    name: str
    key: str | None
    rate: str | None
    burst: int | None
    amount: int | None
    created_at: datetime


def limit_override(name: str, rate: str, burst: int, *, of_key: bool = False) -> Override:
    """Another rate for a limit. Invalid for figures no limit can have."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour|day)", rate)
    if match is None:
        raise Invalid("rate", "must be like 5/second, 60/minute, 1000/hour or 10000/day")
    if not 1 <= burst <= BURST_MAX:
        raise Invalid("burst", f"must be 1 to {BURST_MAX}")
    return Override(_checked(name), of_key, int(match[1]), PERIODS_MS[match[2]], burst)


def quota_override(name: str, amount: int) -> Override:
    """Another amount for a quota. Invalid for one no quota can have."""
    if not 1 <= amount <= AMOUNT_MAX:
        raise Invalid("amount", f"must be 1 to {AMOUNT_MAX}")
    return Override(_checked(name), of_key=False, amount=amount)


class Overrides:
    """What may be done with overrides. Raises what `Accounts` raises; all gateways are told of changes."""

    def __init__(self, database: Pool | Connection, accounts: Accounts) -> None:
        self._database, self._accounts = database, accounts

    def on(self, connection: Connection) -> Overrides:
        """The same, within the transaction of a connection."""
        return Overrides(connection, self._accounts.on(connection))

    async def set(self, account: str, override: Override, key: str | None = None) -> None:
        """Give an account, or a key of it, this override in place of the one of that name."""
        owner, key_id = await self._owner(account, key)
        if await self._database.fetchval(QUERIES.count_overrides, owner, key_id, override.name) >= MOST:
            raise Conflict(f"There are {MOST} overrides already. Clear one first.")
        figures: tuple[int | None, ...] = (override.tokens, override.period_ms, override.burst, None)
        if override.amount is not None:
            figures = (None, None, None, override.amount)
        public_id = f"ovr_{random_text(ID_CHARACTERS)}"
        await self._database.execute(QUERIES.set_override, public_id, owner, key_id, override.name, *figures)

    async def clear(self, account: str, name: str, key: str | None = None) -> None:
        """Back to what the tier says. NotFound if there is no such override."""
        owner, key_id = await self._owner(account, key)
        if await self._database.fetchval(QUERIES.clear_override, owner, key_id, name) is None:
            raise NotFound("There is no such override.")

    async def list(self, account: str) -> list[StoredOverride]:
        """All of an account and its keys, the account's own first."""
        owner, _ = await self._owner(account, None)
        return [
            StoredOverride(
                name=row["name"],
                key=row["key"],
                rate=None if row["tokens"] is None else _rate(row["tokens"], row["period_ms"]),
                burst=row["burst"],
                amount=row["amount"],
                created_at=row["created_at"],
            )
            for row in await self._database.fetch(QUERIES.list_overrides, owner)
        ]

    async def of_account(self, account: str) -> tuple[Override, ...]:
        """Those of the account as a whole, as its calls are decided by."""
        owner, _ = await self._owner(account, None)
        return tuple(
            Override(
                row["name"],
                of_key=False,
                tokens=row["tokens"] or 0,
                period_ms=row["period_ms"] or 0,
                burst=row["burst"] or 0,
                amount=row["amount"],
            )
            for row in await self._database.fetch(QUERIES.list_overrides, owner)
            if row["key"] is None
        )

    async def _owner(self, account: str, key: str | None) -> tuple[int, int | None]:
        owner = (await self._accounts.get_account(account)).id
        if key is None:
            return owner, None
        key_id = await self._database.fetchval(QUERIES.key_of_account, key, owner)
        if key_id is None:
            raise NotFound("The account has no such key.")
        return owner, key_id


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Invalid("name", "must be the name of a limit or quota, as the policies spell it")
    return name


def _rate(tokens: int, period_ms: int) -> str:
    return f"{tokens}/{next(name for name, one_ms in PERIODS_MS.items() if one_ms == period_ms)}"
