"""How rows of calls are laid out: by month, or in a hypertable of TimescaleDB. `moving` changes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import asyncpg

from gateway.errors import TollwayError
from gateway.ledger.timescale import Extension, look_up
from gateway.storage.postgres import Connection
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "layout")


class LayoutRefused(TollwayError):
    """The rows stay as they are. Says why, and what to do."""


class Layout(Enum):
    """Where rows of calls are: whichever it is, with the same columns, key and indices."""

    MONTHS = "months"
    HYPERTABLE = "hypertable"


@dataclass(frozen=True, slots=True)
class Standing:
    """How rows are laid out, and what there is of TimescaleDB."""

    layout: Layout
    parts: int
    size_bytes: int
    oldest_at: datetime | None
    newest_at: datetime | None
    timescale: Extension


async def layout_of(connection: Connection) -> Layout:
    """How rows are laid out now. LayoutRefused if the database is older than the question."""
    try:
        return Layout(await connection.fetchval(QUERIES.layout))
    except asyncpg.UndefinedFunctionError as error:
        raise LayoutRefused("The database is of an older version. Run `tollway migrate`.") from error


async def standing(connection: Connection) -> Standing:
    """All there is to see of it. LayoutRefused as above."""
    layout = await layout_of(connection)
    row = await connection.fetchrow(QUERIES.parts)
    assert row is not None, "counts have a row"
    extension = await look_up(connection)
    return Standing(layout, row["parts"], row["size_bytes"], row["oldest_at"], row["newest_at"], extension)
