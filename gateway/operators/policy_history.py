"""Which policies were in use when: a row for each time that a gateway took others into use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "policy_history")


class How(Enum):
    """What made a gateway take policies into use."""

    START = "start"
    CHANGE = "change"  # of the files
    SIGNAL = "signal"  # SIGHUP
    API = "api"


@dataclass(frozen=True, slots=True)
class Applied:
    """Policies that a gateway took into use."""

    id: int
    applied_at: datetime
    gateway: str
    digest: str
    how: str
    actor: str


class PolicyHistory:
    """What may be done with the history: it only grows."""

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database
        self.announced: dict[str, str] = {}  # digest -> the operator who is putting it into the folder

    async def note(self, gateway: str, digest: str, how: How, actor: str | None = None) -> None:
        """A gateway takes policies into use. No `actor`: it is whoever the transaction is noted for."""
        await self._database.execute(QUERIES.note, gateway, digest, how.value, actor)

    async def audit(self, before: str, after: str, files: list[str]) -> None:
        """A line of the audit log: an operator put other policies into the folder."""
        await self._database.execute(QUERIES.audit, before, after, files)

    async def announcer(self, digest: str) -> str | None:
        """Who lately put the policies with this digest into a folder, by the audit log."""
        actor: str | None = await self._database.fetchval(QUERIES.announced, digest)
        return actor

    async def latest(self, gateway: str) -> str | None:
        """The digest that a gateway took into use last, as far as it is known."""
        digest: str | None = await self._database.fetchval(QUERIES.latest, gateway)
        return digest

    async def page(self, before: int | None, limit: int, gateway: str | None = None) -> list[Applied]:
        """Newest first, of one gateway or of all; `before` is the id of the last one of the page before."""
        return [Applied(**row) for row in await self._database.fetch(QUERIES.page, before, limit, gateway)]

    async def at(self, instant: datetime) -> list[Applied]:
        """What each gateway had in use at an instant, as far as it is known."""
        return [Applied(**row) for row in await self._database.fetch(QUERIES.at, instant)]
