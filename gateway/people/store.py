"""People in Postgres, and what proves that it is them."""

from __future__ import annotations

from collections.abc import Collection

import asyncpg

from gateway.people import checks
from gateway.people.records import Credentials, Person
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "people")


class People:
    """What may be done with people, over a pool or within the transaction of one connection."""

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def create(self, public_id: str, email: str, name: str, password_hash: str) -> Person | None:
        """A new person whose address has been verified; None when somebody has the address already."""
        row = await self._database.fetchrow(
            QUERIES.create_person,
            public_id,
            checks.check_email(email),
            checks.check_name(name),
            password_hash,
        )
        return None if row is None else person_of(row)

    async def credentials(self, email: str) -> Credentials | None:
        """Who has this mail address, in whatever case, and what proves it; None for nobody."""
        row = await self._database.fetchrow(QUERIES.find_credentials, checks.check_email(email))
        if row is None:
            return None
        sealed = row["totp_sealed"]
        return Credentials(
            person_of(row), row["password_hash"], None if sealed is None else bytes(sealed), row["totp_step"]
        )

    async def set_password(self, person: Person, password_hash: str) -> None:
        """Another password."""
        await self._database.execute(QUERIES.set_password, person.id, password_hash)

    async def refresh_hash(self, known: Credentials, password_hash: str) -> None:
        """The same password, hashed with today's effort."""
        await self._database.execute(
            QUERIES.refresh_hash, known.person.id, password_hash, known.password_hash
        )

    async def has_changed(self, known: Credentials) -> bool:
        """Whether another password was set since; within a transaction nobody sets one until that ends."""
        person = known.person
        return bool(await self._database.fetchval(QUERIES.has_changed, person.id, person.password_changed_at))

    async def offer_totp(self, person: Person, sealed: bytes) -> bool:
        """Keep the secret of an app that is not asked for yet. False if another one is already."""
        return bool(await self._database.fetchval(QUERIES.offer_totp, person.id, sealed))

    async def enable_totp(self, known: Credentials, step: int, codes: Collection[bytes]) -> bool:
        """From now on log-ins need the app, or one of the codes. False if somebody was faster."""
        enabled = await self._database.fetchval(QUERIES.enable_totp, known.person.id, step, known.totp_sealed)
        if enabled:
            await self._database.execute(QUERIES.drop_recovery_codes, known.person.id)
            await self._database.execute(QUERIES.add_recovery_codes, known.person.id, list(codes))
        return bool(enabled)

    async def disable_totp(self, person: Person) -> None:
        """From now on the password is enough."""
        await self._database.execute(QUERIES.disable_totp, person.id)
        await self._database.execute(QUERIES.drop_recovery_codes, person.id)

    async def use_step(self, person: Person, step: int) -> bool:
        """Whether the app's code of this step is used for the first time."""
        return bool(await self._database.fetchval(QUERIES.use_step, person.id, step))

    async def use_recovery_code(self, person: Person, digest: bytes) -> bool:
        """Whether it is one of the person's codes; it works no more."""
        return bool(await self._database.fetchval(QUERIES.use_recovery_code, person.id, digest))

    async def count_recovery_codes(self, person: Person) -> int:
        """How many are left."""
        return int(await self._database.fetchval(QUERIES.count_recovery_codes, person.id))


def person_of(row: asyncpg.Record) -> Person:
    """The person of a row that has all of `Person`'s columns."""
    return Person(**{name: row[name] for name in Person.__slots__})
