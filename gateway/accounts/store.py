"""Accounts and keys in Postgres."""

from __future__ import annotations

import json
from typing import Literal

import asyncpg

from gateway.accounts import checks
from gateway.accounts.keys import MintedKey, describe, mint, random_text
from gateway.accounts.recognition import find_principal
from gateway.accounts.records import (
    Account,
    AccountChanges,
    AccountDetails,
    ApiKey,
    FoundKey,
    KeyChanges,
    KeyLimits,
)
from gateway.errors import Conflict, Invalid, NotFound
from gateway.model.principal import Mode
from gateway.storage.postgres import Connection, Pool, transaction
from gateway.storage.queries import load_queries

ACCOUNTS = load_queries(__file__, "accounts")
KEYS = load_queries(__file__, "keys")
ID_CHARACTERS = 20
DAY_S = 86400
ORDINARY = AccountDetails()
UNLIMITED = KeyLimits()


class Accounts:
    """What may be done with accounts and keys.

    Each method raises NotFound for an id that is not there, Invalid for a value that can not be stored, and
    what `storage.postgres.LOST` lists when the database is gone. Every change is told to all gateways and
    noted in the audit log by triggers, in the transaction that makes it.
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

    # -- accounts ---------------------------------------------------------------------------------------

    async def create_account(
        self,
        name: str,
        tier: str,
        *,
        external_id: str | None = None,
        details: AccountDetails = ORDINARY,
    ) -> Account:
        """A new account. Conflict if another one has this external id."""
        if external_id is not None:
            checks.check_name("external_id", external_id)
        public_id = _new_id("acct")
        try:
            await self._database.execute(
                ACCOUNTS.create_account,
                public_id,
                checks.check_name("name", name),
                checks.check_tier(tier),
                external_id,
                checks.check_status(details.status),
                details.billing_anchor,
                checks.check_time_zone(details.time_zone),
                details.internal,
                json.dumps(dict(checks.check_metadata(details.metadata))),
            )
        except asyncpg.UniqueViolationError:
            raise Conflict("Another account has this external id.") from None
        return await self.get_account(public_id)

    async def get_account(self, public_id: str) -> Account:
        """The account as it is now."""
        _expect_id(public_id, "acct")
        return _account(await self._database.fetchrow(ACCOUNTS.get_account, public_id))

    async def lock_account(self, public_id: str) -> Account:
        """The account as it is now; within a transaction nobody else changes it until that ends."""
        _expect_id(public_id, "acct")
        await self._database.fetchval(ACCOUNTS.lock_account, public_id)
        return await self.get_account(public_id)

    async def find_account(self, external_id: str) -> Account:
        """The account that its operator calls so elsewhere."""
        checks.check_name("external_id", external_id)
        return _account(await self._database.fetchrow(ACCOUNTS.get_account_by_external_id, external_id))

    async def list_accounts(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        tier: str | None = None,
        status: str | None = None,
    ) -> list[Account]:
        """A page in the order of creation; `after` is the public id that ended the page before."""
        checks.check_limit(limit)
        if tier is not None:
            checks.check_tier(tier)
        start = 0 if after is None else await self._account_cursor(after)
        rows = await self._database.fetch(ACCOUNTS.list_accounts, start, limit, tier, status)
        return [_account(row) for row in rows]

    async def change_account(self, public_id: str, changes: AccountChanges) -> Account:
        """All of it or nothing. Whether the policies have a tier is for the caller to check."""
        _expect_id(public_id, "acct")
        metadata = changes.metadata
        async with transaction(self._database) as connection:
            await connection.execute(
                ACCOUNTS.change_account,
                public_id,
                None if changes.name is None else checks.check_name("name", changes.name),
                None if changes.tier is None else checks.check_tier(changes.tier),
                None if changes.status is None else checks.check_status(changes.status),
                changes.billing_anchor,
                None if changes.time_zone is None else checks.check_time_zone(changes.time_zone),
                changes.internal,
                None if metadata is None else json.dumps(dict(checks.check_metadata(metadata))),
                changes.drop_billing_anchor,
            )
            changed = await self.on(connection).get_account(public_id)
            checks.check_metadata(changed.metadata)  # merged, it may have become too much
        return changed

    async def set_tier(self, public_id: str, tier: str) -> Account:
        """Change what the account pays for."""
        return await self.change_account(public_id, AccountChanges(tier=tier))

    async def set_status(self, public_id: str, status: str) -> Account:
        """Change whether the account may call."""
        return await self.change_account(public_id, AccountChanges(status=status))

    # -- keys -------------------------------------------------------------------------------------------

    async def create_key(
        self, account: str, name: str = "", mode: Mode = Mode.LIVE, limits: KeyLimits = UNLIMITED
    ) -> tuple[ApiKey, str]:
        """A new key for the account, and its secret: the only time it is seen."""
        owner = await self.get_account(account)
        minted = mint(self._key_prefix, mode)
        return await self._store_key(owner.id, name, minted, limits), minted.secret

    async def import_key(self, account: str, secret: str, name: str = "") -> ApiKey:
        """Give the account a key whose secret was made elsewhere in our format; again changes nothing.

        Conflict if the secret belongs to another account.
        """
        try:
            minted = describe(secret)
        except ValueError:
            raise Invalid("secret", "must be a key in our format, with its checksum") from None
        return await self._import(account, name, minted, UNLIMITED)

    async def import_digest(
        self,
        account: str,
        digest: bytes,
        name: str = "",
        mode: Mode = Mode.LIVE,
        limits: KeyLimits = UNLIMITED,
    ) -> ApiKey:
        """Give the account a key of any format of which only the SHA-256 is known; again changes nothing.

        Conflict if another account has it. Gateways accept such keys while `TOLLWAY_FOREIGN_KEYS` is `yes`.
        """
        if len(digest) != 32:
            raise Invalid("sha256", "must be 32 bytes, written as 64 hexadecimal digits")
        return await self._import(account, name, MintedKey("", digest, None, None, mode), limits)

    async def list_keys(
        self,
        account: str,
        *,
        after: str | None = None,
        limit: int = checks.PAGE_MAX,
        mode: Mode | None = None,
        state: str | None = None,
    ) -> list[ApiKey]:
        """The account's keys in the order of creation, revoked and expired ones too.

        `state`: only those that are `revoked`, `expired`, or work (`works`).
        """
        checks.check_limit(limit)
        owner = await self.get_account(account)
        start = 0 if after is None else await self._key_cursor(after, account)
        wanted = None if mode is None else mode.value
        rows = await self._database.fetch(KEYS.list_keys, owner.id, start, limit, wanted, state)
        return [_api_key(row) for row in rows]

    async def get_key(self, public_id: str) -> ApiKey:
        """The key as it is now."""
        _expect_id(public_id, "key")
        return _api_key(await self._database.fetchrow(KEYS.get_key, public_id))

    async def find_key(self, digest: bytes) -> FoundKey | None:
        """Who a key belongs to, like `find_principal`."""
        return await find_principal(self._database, digest)

    async def revoke_key(self, public_id: str) -> ApiKey:
        """End a key for good. Again changes nothing: the time of the first revocation stays."""
        _expect_id(public_id, "key")
        await self._database.execute(KEYS.revoke_key, public_id)
        return await self.get_key(public_id)

    async def lock_key(self, public_id: str) -> ApiKey:
        """The key as it is now; within a transaction nobody else changes it until that ends."""
        _expect_id(public_id, "key")
        await self._database.fetchval(KEYS.lock_key, public_id)
        return await self.get_key(public_id)

    async def change_key(self, public_id: str, changes: KeyChanges) -> ApiKey:
        """All of it or nothing. Whether the policies have routes and scopes is for the caller to check.

        Conflict for a revoked key: it is over for good. An expired one may be given more time, unless it is
        one whose end a file says.
        """
        _expect_id(public_id, "key")
        limits, name = changes.limits, changes.name
        async with transaction(self._database) as connection:
            accounts = self.on(connection)
            is_listed = await connection.fetchval(KEYS.lock_key, public_id)
            if (await accounts.get_key(public_id)).revoked_at is not None:
                raise Conflict("This key is revoked, for good. Create a new one.")
            if is_listed and (changes.drop_expiry or limits.expires_in_s is not None):
                raise Conflict("When this key ends is said by the file of keys that it stands in.")
            await connection.execute(
                KEYS.change_key,
                public_id,
                None if name is None else checks.check_name("name", name, may_be_empty=True),
                changes.drop_expiry,
                checks.check_life(limits.expires_in_s),
                None if changes.only_routes is None else checks.check_routes(limits.only_routes) or [],
                None if changes.only_methods is None else checks.check_methods(limits.only_methods) or [],
                _replaced("only_networks", changes.only_networks),
                _replaced("not_networks", changes.not_networks),
                changes.all_scopes,
                checks.check_scopes(limits.scopes),
            )
            return await accounts.get_key(public_id)

    async def rotate_key(self, public_id: str, overlap_s: int = DAY_S) -> tuple[ApiKey, str]:
        """A successor like it, with its secret; the old key works `overlap_s` more, never longer than before.

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
            limits = KeyLimits(
                only_routes=tuple(old["only_routes"] or ()),
                only_methods=tuple(old["only_methods"] or ()),
                only_networks=tuple(old["only_networks"] or ()),
                not_networks=tuple(old["not_networks"] or ()),
                scopes=old["scopes"],
            )
            key = await self.on(connection)._store_key(old["account_id"], old["name"], minted, limits)
            await connection.execute(KEYS.retire_key, old["id"], key.id, overlap_s)
        return key, minted.secret

    async def _import(self, account: str, name: str, minted: MintedKey, limits: KeyLimits) -> ApiKey:
        owner = await self.get_account(account)
        key = await self._store_key(owner.id, name, minted, limits)
        if key.account != account:
            raise Conflict("Another account has this key.")
        return key

    async def _store_key(self, account_id: int, name: str, minted: MintedKey, limits: KeyLimits) -> ApiKey:
        """Store a key, or find the one with this very secret that is there already."""
        public_id = _new_id("key")
        stored = await self._database.fetchval(
            KEYS.create_key,
            public_id,
            account_id,
            checks.check_name("name", name, may_be_empty=True),
            minted.digest,
            minted.visible,
            minted.last_four,
            minted.mode.value,
            checks.check_life(limits.expires_in_s),
            checks.check_routes(limits.only_routes),
            checks.check_methods(limits.only_methods),
            checks.check_networks("only_networks", limits.only_networks),
            checks.check_networks("not_networks", limits.not_networks),
            checks.check_scopes(limits.scopes),
        )
        if stored is None:
            return _api_key(await self._database.fetchrow(KEYS.get_key_by_digest, minted.digest))
        return await self.get_key(public_id)

    async def _account_cursor(self, after: str) -> int:
        try:
            return (await self.get_account(after)).id
        except NotFound:
            raise Invalid("after", "must be the id of an account") from None

    async def _key_cursor(self, after: str, account: str) -> int:
        try:
            found = await self.get_key(after)
        except NotFound:
            found = None
        if found is None or found.account != account:
            raise Invalid("after", "must be the id of a key of this account")
        return found.id


_RESTRICTIONS = ("only_routes", "only_methods", "only_networks", "not_networks")


def _new_id(kind: str) -> str:
    return f"{kind}_{random_text(ID_CHARACTERS)}"


def _replaced(field: str, networks: tuple[str, ...] | None) -> list[str] | None:
    """What takes the place of networks: empty for none from now on, None for what is there."""
    return None if networks is None else checks.check_networks(field, networks) or []


def _expect_id(public_id: str, kind: Literal["acct", "key"]) -> None:
    """What can not be an id is not there; Postgres would choke on some of it."""
    if not checks.is_public_id(public_id, kind):
        raise NotFound(f"There is no such {'account' if kind == 'acct' else 'key'}.")


def _account(row: asyncpg.Record | None) -> Account:
    if row is None:
        raise NotFound("There is no such account.")
    values = {**row, "metadata": json.loads(row["metadata"])}
    if not values.pop("anchored"):
        values["billing_anchor"] = None
    return Account(**values)


def _api_key(row: asyncpg.Record | None) -> ApiKey:
    if row is None:
        raise NotFound("There is no such key.")
    values = {**row, "mode": Mode(row["mode"])}
    del values["account_id"]
    for name in _RESTRICTIONS:
        values[name] = tuple(values[name] or ())
    if values["scopes"] is not None:
        values["scopes"] = tuple(values["scopes"])
    return ApiKey(**values)
