"""Accounts and keys in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import asyncpg

from gateway.accounts import checks
from gateway.accounts.keys import MintedKey, describe, mint, random_text
from gateway.errors import Conflict, Invalid, NotFound
from gateway.model.principal import Mode, Principal
from gateway.storage.postgres import Connection, Pool, transaction
from gateway.storage.queries import load_queries

ACCOUNTS = load_queries(__file__, "accounts")
KEYS = load_queries(__file__, "keys")
ID_CHARACTERS = 20
DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. `external_id` is what its operator calls it elsewhere."""

    id: int
    public_id: str
    name: str
    tier: str
    status: Literal["active", "suspended"]
    created_at: datetime
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: everything but its secret. `account` and `successor` are public ids."""

    id: int
    public_id: str
    account: str
    name: str
    visible: str
    last_four: str
    mode: Mode
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    successor: str | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that works and who it belongs to; `active` is False while the account is suspended."""

    principal: Principal
    active: bool


class Accounts:
    """What may be done with accounts and keys.

    Each method raises NotFound for an id that is not there, Invalid for a value that can not be stored, and
    what `storage.postgres.LOST` lists when the database is gone. Every change is told to all gateways by
    triggers, in the transaction that makes it.
    """

    def __init__(self, database: Pool | Connection, key_prefix: str) -> None:
        self._database = database
        self._key_prefix = key_prefix

    def on(self, connection: Connection) -> Accounts:
        """The same, within the transaction of a connection."""
        return Accounts(connection, self._key_prefix)

    @property
    def key_prefix(self) -> str:
        """How new keys begin."""
        return self._key_prefix

    async def create_account(self, name: str, tier: str, *, external_id: str | None = None) -> Account:
        """A new account. Conflict if another one has this external id."""
        checks.check_name("name", name)
        checks.check_tier(tier)
        if external_id is not None:
            checks.check_name("external_id", external_id)
        try:
            row = await self._database.fetchrow(
                ACCOUNTS.create_account, _new_id("acct"), name, tier, external_id
            )
        except asyncpg.UniqueViolationError:
            raise Conflict("Another account has this external id.") from None
        return _account(row)

    async def get_account(self, public_id: str) -> Account:
        """The account as it is now."""
        _expect_id(public_id, "acct")
        return _account(await self._database.fetchrow(ACCOUNTS.get_account, public_id))

    async def lock_account(self, public_id: str) -> Account:
        """The account as it is now; within a transaction nobody else changes it until that ends."""
        _expect_id(public_id, "acct")
        return _account(await self._database.fetchrow(ACCOUNTS.lock_account, public_id))

    async def find_account(self, external_id: str) -> Account:
        """The account that its operator calls so elsewhere."""
        checks.check_name("external_id", external_id)
        return _account(await self._database.fetchrow(ACCOUNTS.get_account_by_external_id, external_id))

    async def list_accounts(self, *, after: str | None = None, limit: int = 100) -> list[Account]:
        """A page in the order of creation; `after` is the public id that ended the page before."""
        checks.check_limit(limit)
        start = 0 if after is None else await self._account_cursor(after)
        return [_account(row) for row in await self._database.fetch(ACCOUNTS.list_accounts, start, limit)]

    async def set_name(self, public_id: str, name: str) -> Account:
        """Call the account something else."""
        _expect_id(public_id, "acct")
        return _account(
            await self._database.fetchrow(ACCOUNTS.set_name, public_id, checks.check_name("name", name))
        )

    async def set_tier(self, public_id: str, tier: str) -> Account:
        """Change what the account pays for. Whether the policies have the tier is for the caller to check."""
        _expect_id(public_id, "acct")
        return _account(await self._database.fetchrow(ACCOUNTS.set_tier, public_id, checks.check_tier(tier)))

    async def set_status(self, public_id: str, status: str) -> Account:
        """Suspend an account, or make it active again."""
        _expect_id(public_id, "acct")
        row = await self._database.fetchrow(ACCOUNTS.set_status, public_id, checks.check_status(status))
        return _account(row)

    async def create_key(self, account: str, name: str = "", mode: Mode = Mode.LIVE) -> tuple[ApiKey, str]:
        """A new key for the account, and its secret: the only time it is seen."""
        checks.check_name("name", name, may_be_empty=True)
        owner = await self.get_account(account)
        minted = mint(self._key_prefix, mode)
        async with transaction(self._database) as connection:
            key = await _insert_key(connection, owner.id, name, minted)
        return key, minted.secret

    async def import_key(self, account: str, secret: str, name: str = "") -> ApiKey:
        """Give the account a key whose secret was made elsewhere; again changes nothing.

        Conflict if the secret belongs to another account.
        """
        checks.check_name("name", name, may_be_empty=True)
        try:
            minted = describe(secret)
        except ValueError:
            raise Invalid("secret", "must be a key in our format, with its checksum") from None
        owner = await self.get_account(account)
        async with transaction(self._database) as connection:
            key = await _insert_key(connection, owner.id, name, minted)
        if key.account != account:
            raise Conflict("Another account has this key.")
        return key

    async def list_keys(
        self, account: str, *, after: str | None = None, limit: int = checks.PAGE_MAX
    ) -> list[ApiKey]:
        """The account's keys in the order of creation, revoked and expired ones too."""
        checks.check_limit(limit)
        owner = await self.get_account(account)
        start = 0 if after is None else await self._key_cursor(after)
        return [_api_key(row) for row in await self._database.fetch(KEYS.list_keys, owner.id, start, limit)]

    async def get_key(self, public_id: str) -> ApiKey:
        """The key as it is now."""
        _expect_id(public_id, "key")
        key_id = await self._database.fetchval(KEYS.find_key_id, public_id)
        return _api_key(await self._database.fetchrow(KEYS.get_key, key_id))

    async def find_key(self, digest: bytes) -> FoundKey | None:
        """Who a key belongs to, like `find_principal`."""
        return await find_principal(self._database, digest)

    async def revoke_key(self, public_id: str) -> ApiKey:
        """End a key for good. Again changes nothing: the time of the first revocation stays."""
        _expect_id(public_id, "key")
        await self._database.execute(KEYS.revoke_key, public_id)
        return await self.get_key(public_id)

    async def rotate_key(self, public_id: str, overlap_s: int = DAY_S) -> tuple[ApiKey, str]:
        """A successor with its secret; the old key works `overlap_s` seconds more, never longer than before.

        Conflict if the key does not work any more or has a successor already.
        """
        checks.check_overlap(overlap_s)
        _expect_id(public_id, "key")
        async with transaction(self._database) as connection:
            old = await connection.fetchrow(KEYS.lock_for_rotation, public_id)
            if old is None:
                raise NotFound("There is no such key.")
            if old["successor_id"] is not None:
                raise Conflict("This key has a successor already.")
            if not old["works"]:
                raise Conflict("This key is revoked or expired. Create a new one.")
            minted = mint(self._key_prefix, Mode(old["mode"]))
            key = await _insert_key(connection, old["account_id"], old["name"], minted)
            await connection.execute(KEYS.retire_key, old["id"], key.id, overlap_s)
        return key, minted.secret

    async def _account_cursor(self, after: str) -> int:
        try:
            return (await self.get_account(after)).id
        except NotFound:
            raise Invalid("after", "must be the id of an account") from None

    async def _key_cursor(self, after: str) -> int:
        try:
            return (await self.get_key(after)).id
        except NotFound:
            raise Invalid("after", "must be the id of a key") from None


async def find_principal(connection_or_pool: Connection | Pool, digest: bytes) -> FoundKey | None:
    """Who a key belongs to; None for a key that is unknown, revoked or expired.

    Raises what `storage.postgres.LOST` lists when the database is gone.
    """
    row = await connection_or_pool.fetchrow(KEYS.find_principal, digest)
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
        digest=digest,
    )
    return FoundKey(principal, row["active"])


async def _insert_key(connection: Connection, account_id: int, name: str, minted: MintedKey) -> ApiKey:
    """Store a key, or find the one with this very secret that is there already."""
    stored = (minted.digest, minted.visible, minted.last_four, minted.mode.value)
    key_id = await connection.fetchval(KEYS.create_key, _new_id("key"), account_id, name, *stored)
    if key_id is None:
        return _api_key(await connection.fetchrow(KEYS.get_key_by_digest, minted.digest))
    return _api_key(await connection.fetchrow(KEYS.get_key, key_id))


def _new_id(kind: str) -> str:
    return f"{kind}_{random_text(ID_CHARACTERS)}"


def _expect_id(public_id: str, kind: Literal["acct", "key"]) -> None:
    """What can not be an id is not there; Postgres would choke on some of it."""
    if not checks.is_public_id(public_id, kind):
        raise NotFound(f"There is no such {'account' if kind == 'acct' else 'key'}.")


def _account(row: asyncpg.Record | None) -> Account:
    if row is None:
        raise NotFound("There is no such account.")
    return Account(**row)


def _api_key(row: asyncpg.Record | None) -> ApiKey:
    if row is None:
        raise NotFound("There is no such key.")
    return ApiKey(**{**row, "mode": Mode(row["mode"])})
