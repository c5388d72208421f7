"""Sessions: a log-in goes on while its refresh tokens are exchanged, each once. A second use ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from gateway.errors import NotFound
from gateway.people.records import Person
from gateway.people.store import person_of
from gateway.people.tokens import Purpose, digest_of, mint, new_id
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "sessions")
IDLE_S = 30 * 86_400
"""A session whose token was not exchanged for so long is over."""


class Ended(Enum):
    """Why a session is over."""

    LOGOUT = "logout"
    PASSWORD = "password"  # noqa: S105 - it was changed
    REUSE = "reuse"


@dataclass(frozen=True, slots=True)
class Opened:
    """A session and the token that goes on with it: the only time it is seen. Public ids."""

    person: str
    session: str
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that goes on. `refreshed_at`: when it was last gone on with."""

    public_id: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Reused:
    """The token had been exchanged before: whoever did, the session is over."""

    person: str
    session: str


class Sessions:
    """What may be done with sessions; changes within the transaction of one connection."""

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def begin(self, person: Person) -> Opened:
        """A new session."""
        public_id = new_id("session")
        session_id = await self._database.fetchval(QUERIES.begin, public_id, person.id, IDLE_S)
        return Opened(person.public_id, public_id, await self._add_token(session_id))

    async def person_of_token(self, token: str) -> str | None:
        """Whose refresh token it is or was; None for one that never was."""
        digest = digest_of(Purpose.REFRESH, token)
        return None if digest is None else await self._database.fetchval(QUERIES.person_of_token, digest)

    async def exchange(self, token: str) -> Opened | Reused | None:
        """The next token for this one; None if it does not work.

        A token that comes a second time was stolen, before or after: its session ends with the transaction.
        """
        digest = digest_of(Purpose.REFRESH, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.take_token, digest)
        if row is None or not row["works"]:
            return None
        if row["used"]:
            await self._database.execute(QUERIES.end_one, row["id"], Ended.REUSE.value)
            return Reused(row["person"], row["public_id"])
        await self._database.execute(QUERIES.use_token, digest)
        await self._database.execute(QUERIES.prolong, row["id"], IDLE_S)
        return Opened(row["person"], row["public_id"], await self._add_token(row["id"]))

    async def end(self, token: str, *, everywhere: bool) -> None:
        """End the session of a refresh token that works, or all of its person."""
        digest = digest_of(Purpose.REFRESH, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.take_token, digest)
        if row is None or not row["works"]:
            return
        if everywhere:
            await self.end_all(row["person"], Ended.LOGOUT)
        else:
            await self._database.execute(QUERIES.end_one, row["id"], Ended.LOGOUT.value)

    async def end_all(self, person: str, why: Ended, *, but: str | None = None) -> None:
        """End every session of a person, but the one that is named."""
        await self._database.execute(QUERIES.end_all, person, why.value, but)

    async def of_person(self, person: Person) -> list[Session]:
        """Those of a person that go on, oldest first."""
        return [Session(**row) for row in await self._database.fetch(QUERIES.of_person, person.id)]

    async def end_of_person(self, session: str, person: Person) -> None:
        """End one by its public id. NotFound for those of others, as for none."""
        why = Ended.LOGOUT.value
        if await self._database.fetchval(QUERIES.end_of_person, session, person.id, why) is None:
            raise NotFound("You have no such session that goes on.")

    async def find_person(self, session: str, person: str) -> Person | None:
        """Who a session belongs to, while it goes on."""
        row = await self._database.fetchrow(QUERIES.find_person, session, person)
        return None if row is None else person_of(row)

    async def _add_token(self, session_id: int) -> str:
        token, digest = mint(Purpose.REFRESH)
        await self._database.execute(QUERIES.add_token, digest, session_id)
        return token
