"""What waits for a mail to come back: registrations and forgotten passwords. And forgetting what is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.people.records import Person, Registration
from gateway.people.store import person_of
from gateway.people.tokens import Purpose, digest_of, mint
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "requests")
VERIFY_S = 86_400
RESET_S = 3600
FORGET_EVERY_S = 3600.0


class Requests:
    """Requests that are confirmed by a token, each once, in the transaction of one connection."""

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def keep_registration(self, wanted: Registration) -> str:
        """The token that completes it. It belongs to this very password: nobody slips in another one."""
        token, digest = mint(Purpose.VERIFY)
        await self._database.execute(
            QUERIES.keep_registration,
            digest,
            wanted.email,
            wanted.name,
            wanted.account_name,
            wanted.password_hash,
            VERIFY_S,
        )
        return token

    async def find_registration(self, token: str) -> Registration | None:
        """What the token would complete."""
        digest = digest_of(Purpose.VERIFY, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.find_registration, digest)
        return None if row is None else Registration(**row)

    async def take_registration(self, token: str) -> Registration | None:
        """What the token completes, and no other token any more."""
        digest = digest_of(Purpose.VERIFY, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.take_registration, digest)
        return None if row is None else Registration(**row)

    async def keep_reset(self, person: Person | None) -> str:
        """The token that sets another password; for nobody as much work for one that sets none."""
        token, digest = mint(Purpose.RESET)
        await self._database.execute(QUERIES.keep_reset, digest, person.id if person else 0, RESET_S)
        return token

    async def find_reset(self, token: str) -> Person | None:
        """Whose password the token sets; within a transaction nobody else uses it meanwhile."""
        digest = digest_of(Purpose.RESET, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.find_reset, digest)
        return None if row is None else person_of(row)

    async def drop_resets(self, person: Person) -> None:
        """No token sets this person's password any more."""
        await self._database.execute(QUERIES.drop_resets, person.id)


async def forget_forever(pool: Pool) -> None:
    """Delete what expired or ended long ago, now and every hour. A lost database is tried again then."""
    while True:
        with suppress(*LOST):
            for query in (
                QUERIES.forget_registrations,
                QUERIES.forget_resets,
                QUERIES.forget_invitations,
                QUERIES.forget_sessions,
                QUERIES.forget_tokens,
                QUERIES.forget_mails,
            ):
                await pool.execute(query)
        await asyncio.sleep(FORGET_EVERY_S)
