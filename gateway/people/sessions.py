"""Sessions: a log-in goes on while its refresh tokens are exchanged, each once. A second use ends it.

Unless it comes at once: then an answer was lost, or two tabs of a browser asked at the same moment, and it
gets the very token that the first use got. So there is only ever one line of tokens. Two who have the same
one can not both go on with it: whoever comes second, and not at once, ends the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import asyncpg

from gateway.errors import NotFound
from gateway.people.records import Person
from gateway.people.store import person_of
from gateway.people.tokens import Purpose, digest_of, mint, new_id, successor
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "sessions")
IDLE_S = 30 * 86_400
"""A session whose token was not exchanged for so long is over."""
MOST_S = 90 * 86_400
"""A session is over so long after its log-in, however often it was gone on with; unless told otherwise."""
GRACE_S = 20
"""How long after its first use a token may come again."""


class Ended(Enum):
    """Why a session is over."""

    LOGOUT = "logout"
    PASSWORD = "password"  # noqa: S105 - it was changed
    REUSE = "reuse"


@dataclass(frozen=True, slots=True)
class Opened:
    """A session and the token that goes on with it, within `left_s`. Public ids."""

    person: str
    session: str
    refresh_token: str = field(repr=False)
    left_s: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session that goes on. `refreshed_at`: when it was last gone on with; `ends_at`: at the latest."""

    public_id: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Reused:
    """The token had been exchanged before: whoever did, the session is over."""

    person: str
    session: str


class Sessions:
    """What may be done with sessions; changes within the transaction of one connection.

    `most_s`: how long they last at most, those that go on already, too.
    """

    def __init__(self, database: Pool | Connection, most_s: int = MOST_S) -> None:
        self._database, self._most_s = database, most_s

    async def begin(self, person: Person) -> Opened:
        """A new session."""
        public_id = new_id("session")
        row = await self._database.fetchrow(QUERIES.begin, public_id, person.id, IDLE_S, self._most_s)
        assert row is not None, "an INSERT returns its row"
        token, digest = mint(Purpose.REFRESH)
        await self._database.execute(QUERIES.add_token, digest, row["id"])
        return Opened(person.public_id, public_id, token, row["left_s"])

    async def person_of_token(self, token: str) -> str | None:
        """Whose refresh token it is or was; None for one that never was."""
        digest = digest_of(Purpose.REFRESH, token)
        return None if digest is None else await self._database.fetchval(QUERIES.person_of_token, digest)

    async def exchange(self, token: str, key: bytes) -> Opened | Reused | None:
        """The next token for this one, the same each time; None if it does not work. `key`: what makes them.

        A token that comes again later than `GRACE_S` was stolen, before or after: its session ends with the
        transaction.
        """
        row = await self._take(token)
        if row is None:
            return None
        following, digest = successor(Purpose.REFRESH, token, key)
        left_s = row["left_s"]
        if not row["used"]:
            await self._database.execute(QUERIES.use_token, digest_of(Purpose.REFRESH, token))
            left_s = await self._database.fetchval(QUERIES.prolong, row["id"], IDLE_S, self._most_s)
            await self._database.execute(QUERIES.add_token, digest, row["id"])
        elif not row["used_just_now"]:
            await self._database.execute(QUERIES.end_one, row["id"], Ended.REUSE.value)
            return Reused(row["person"], row["public_id"])
        return Opened(row["person"], row["public_id"], following, left_s)

    async def end(self, token: str, *, everywhere: bool) -> None:
        """End the session of a refresh token that works, or all of its person."""
        row = await self._take(token)
        if row is None:
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
        return [
            Session(**row) for row in await self._database.fetch(QUERIES.of_person, person.id, self._most_s)
        ]

    async def end_of_person(self, session: str, person: Person) -> None:
        """End one by its public id. NotFound for those of others, as for none."""
        why = Ended.LOGOUT.value
        if await self._database.fetchval(QUERIES.end_of_person, session, person.id, why) is None:
            raise NotFound("You have no such session that goes on.")

    async def find_person(self, session: str, person: str) -> Person | None:
        """Who a session belongs to, while it goes on."""
        row = await self._database.fetchrow(QUERIES.find_person, session, person, self._most_s)
        return None if row is None else person_of(row)

    async def _take(self, token: str) -> asyncpg.Record | None:
        """The session of a token that is or was its, while it goes on. Nobody else uses it meanwhile."""
        digest = digest_of(Purpose.REFRESH, token)
        if digest is None:
            return None
        row = await self._database.fetchrow(QUERIES.take_token, digest, self._most_s, GRACE_S)
        return row if row is not None and row["works"] else None
