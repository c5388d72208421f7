"""Putting a table of keys into Postgres: all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.accounts.key_table import LineProblem, ListedKey, TableProblems
from gateway.accounts.keys import random_text
from gateway.accounts.store import ID_CHARACTERS, Accounts
from gateway.storage.postgres import Connection
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "listed")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many keys were new, had another end than their line, and had lost their line; and new accounts."""

    added: int = 0
    changed: int = 0
    ended: int = 0
    accounts: int = 0


class ListedKeys:
    """Imports within the transaction of one connection."""

    def __init__(self, connection: Connection, accounts: Accounts, tiers: Collection[str] | None) -> None:
        """`tiers`: those that the policies have; None: not known here, so any will do."""
        self._connection, self._accounts, self._tiers = connection, accounts.on(connection), tiers

    async def add(self, keys: Sequence[ListedKey]) -> Imported:
        """Import what is not there yet; what is stays as it is. Raises TableProblems."""
        return await self._add(keys, followed=False)

    async def follow(self, keys: Sequence[ListedKey]) -> Imported:
        """The same, and from now on these keys end as their lines say, or when these are gone.

        Keys that came from elsewhere, were revoked or have a successor are left alone. Raises TableProblems.
        """
        made = await self._add(keys, followed=True)
        digests = [key.digest for key in keys]
        ends = [key.expires_at for key in keys]
        changed = await self._connection.fetch(QUERIES.follow, digests, ends)
        ended = await self._connection.fetch(QUERIES.drop, digests)
        return Imported(made.added, len(changed), len(ended), made.accounts)

    async def _add(self, keys: Sequence[ListedKey], *, followed: bool) -> Imported:
        await self._connection.execute(QUERIES.lock)
        known = await self._known({key.account for key in keys})
        missing: dict[str, list[ListedKey]] = {}
        for key in keys:
            if key.account not in known:
                missing.setdefault(key.account, []).append(key)
        problems = [found for lines in missing.values() if (found := self._not_to_be_made(lines))]
        problems += await self._owned_by_others(keys, known)
        if problems:
            raise TableProblems(sorted(problems, key=lambda one: one.line))
        for name, lines in missing.items():
            known[name] = await self._make(name, lines)
        added = await self._connection.fetch(
            QUERIES.add,
            [f"key_{random_text(ID_CHARACTERS)}" for _ in keys],
            [known[key.account] for key in keys],
            [key.name for key in keys],
            [key.digest for key in keys],
            [key.mode.value for key in keys],
            [key.expires_at for key in keys],
            [None if key.scopes is None else json.dumps(sorted(set(key.scopes))) for key in keys],
            followed,
        )
        return Imported(added=len(added), accounts=len(missing))

    async def _known(self, names: Collection[str]) -> dict[str, int]:
        rows = await self._connection.fetch(QUERIES.accounts, list(names))
        return {row["name"]: row["id"] for row in rows}

    def _not_to_be_made(self, lines: Sequence[ListedKey]) -> LineProblem | None:
        """What keeps the account of these lines from being made."""
        first, tier = lines[0], _first_tier(lines)
        if tier is None:
            return LineProblem(first.line, "account", "is not there; with a `tier` it would be made")
        if first.account.startswith("acct_"):
            return LineProblem(first.line, "account", "is not there, and looks like an id of ours")
        if self._tiers is not None and tier not in self._tiers:
            return LineProblem(first.line, "tier", "is not in the policies in use")
        return None

    async def _make(self, name: str, lines: Sequence[ListedKey]) -> int:
        tier = _first_tier(lines)
        assert tier is not None, "problems were found before"
        called = next((key.account_name for key in lines if key.account_name), name)
        return (await self._accounts.create_account(called, tier, external_id=name)).id

    async def _owned_by_others(self, keys: Sequence[ListedKey], known: dict[str, int]) -> list[LineProblem]:
        rows = await self._connection.fetch(QUERIES.owners, [key.digest for key in keys])
        owners = {bytes(row["digest"]): row["account_id"] for row in rows}
        return [
            LineProblem(key.line, "account", "is another one than has this key already")
            for key in keys
            if key.digest in owners and owners[key.digest] != known.get(key.account)
        ]


def _first_tier(lines: Sequence[ListedKey]) -> str | None:
    return next((key.tier for key in lines if key.tier), None)
