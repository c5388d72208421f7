"""From a key's digest to who it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterable

import asyncpg

from gateway.accounts.records import FoundKey
from gateway.model.networks import NO_NETWORKS, AddressRules, Networks, parse_network
from gateway.model.periods import calendar
from gateway.model.principal import Mode, Override, Principal
from gateway.model.restrictions import Restrictions
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

KEYS = load_queries(__file__, "keys")
ADDRESSES_OF_A_KEY = 32
"""Whose answer is kept: a key has few callers, there are many keys, and its holder may have a whole /64."""


async def find_principal(database: Connection | Pool, digest: bytes) -> FoundKey | None:
    """Who a key belongs to; None for a key that is unknown, revoked or expired.

    Raises what `storage.postgres.LOST` lists when the database is gone.
    """
    row = await database.fetchrow(KEYS.find_principal, digest)
    if row is None:
        return None
    headers = {"Tollway-Account": row["account"], "Tollway-Tier": row["tier"], "Tollway-Key-Id": row["key"]}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    principal = Principal(
        account_id=row["account_id"],
        account=row["account"],
        key_id=row["key_id"],
        key=row["key"],
        tier=row["tier"],
        mode=Mode(row["mode"]),
        identity_lines=lines.encode("ascii"),  # the table's CHECKs allow nothing that could end a line
        expires_at_us=row["expires_at_us"],
        overrides=_overrides(row["overrides"]),
        calendar=calendar(row["billing_anchor"], row["time_zone"]),
        digest=digest,
        restrictions=_restrictions(row),
        scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
    )
    return FoundKey(principal, row["active"])


async def find_principal_of_key(database: Connection | Pool, public_id: str) -> FoundKey | None:
    """The same for a key that is named by its id, as operators do."""
    digest = await database.fetchval(KEYS.digest_of, public_id)
    return None if digest is None else await find_principal(database, digest)


async def find_account_principal(database: Connection | Pool, name: str, digest: bytes) -> FoundKey | None:
    """Who an account is that is named by its id, ours or the external one; None if there is none.

    `digest` stands for the name. Raises what `storage.postgres.LOST` lists when the database is gone.
    """
    row = await database.fetchrow(KEYS.find_account_principal, name)
    if row is None:
        return None
    lines = f"Tollway-Account: {row['account']}\r\nTollway-Tier: {row['tier']}\r\n"
    principal = Principal(
        account_id=row["account_id"],
        account=row["account"],
        key_id=0,
        key="",
        tier=row["tier"],
        mode=Mode.LIVE,
        identity_lines=lines.encode("ascii"),
        overrides=_overrides(row["overrides"]),
        calendar=calendar(row["billing_anchor"], row["time_zone"]),
        digest=digest,
    )
    return FoundKey(principal, row["active"])


def _restrictions(row: asyncpg.Record) -> Restrictions | None:
    routes, methods = row["only_routes"], row["only_methods"]
    allow, deny = row["only_networks"], row["not_networks"]
    if routes is None and methods is None and allow is None and deny is None:
        return None
    addresses = AddressRules(
        None if allow is None else _networks(allow), NO_NETWORKS if deny is None else _networks(deny)
    )
    return Restrictions(frozenset(routes or ()), frozenset(methods or ()), addresses)


def _networks(texts: Iterable[str]) -> Networks:
    return Networks(map(parse_network, texts), remembered=ADDRESSES_OF_A_KEY)


def _overrides(told: str | None) -> tuple[Override, ...]:
    return tuple(
        Override(name, of_key, tokens or 0, period_ms or 0, burst or 0, amount)
        for name, of_key, tokens, period_ms, burst, amount in json.loads(told or "[]")
    )
