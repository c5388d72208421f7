"""What operators changed. Written by triggers of the database; here it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.storage.postgres import Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "audit")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one record. `before` is None when it was created, `after` when it was deleted."""

    id: int
    at: datetime
    actor: str
    request_id: str | None
    action: str
    target: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuestion:
    """Which changes; None: any. `before` is the id of the last change of the page before."""

    target: str | None = None
    actor: str | None = None
    action: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    before: int | None = None
    limit: int = 100


class AuditLog:
    """Reads the changes, newest first."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, asked: AuditQuestion) -> list[Change]:
        """A page of changes."""
        rows = await self._pool.fetch(
            QUERIES.page,
            asked.before,
            asked.limit,
            asked.target,
            asked.actor,
            asked.action,
            asked.start,
            asked.end,
        )
        return [
            Change(**{**row, "before": _json(row["before"]), "after": _json(row["after"])}) for row in rows
        ]


def _json(text: str | None) -> Mapping[str, object] | None:
    found: Mapping[str, object] | None = None if text is None else json.loads(text)
    return found
