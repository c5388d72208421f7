"""TimescaleDB in the ledger's database: whether it can be used, and if not, what has to be done."""

from __future__ import annotations

import re
from dataclasses import dataclass

import asyncpg

from gateway.errors import TollwayError
from gateway.storage.postgres import Connection
from gateway.storage.queries import load_queries

OLDEST = (2, 13)
"""The first with `by_range`. Nothing beyond its Apache-licensed part is used."""

QUERIES = load_queries(__file__, "timescale")


class TimescaleUnusable(TollwayError):
    """Rows can not be laid out in a hypertable here. Says what is missing and how to mend it."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What there is of TimescaleDB: as the server can install it, as this database has it."""

    database: str
    offered: str | None
    installed: str | None
    is_preloaded: bool

    @property
    def version(self) -> str | None:
        """What is used, or would be."""
        return self.installed or self.offered


async def look_up(connection: Connection) -> Extension:
    """What there is of it in the connection's database."""
    row = await connection.fetchrow(QUERIES.extension)
    assert row is not None, "a SELECT without FROM has a row"
    return Extension(row["database"], row["offered"], row["installed"], row["is_preloaded"])


def obstacle(found: Extension) -> str | None:
    """Why it can not be used and what to do about it; None if it can."""
    oldest = ".".join(map(str, OLDEST))
    if found.version is None:
        return (
            f"The PostgreSQL server has no TimescaleDB. Install version {oldest} or newer of it there, add "
            "`timescaledb` to shared_preload_libraries, restart the server, and repeat this."
        )
    if not found.is_preloaded:
        return (
            "The PostgreSQL server has TimescaleDB, but has not loaded it. Add `timescaledb` to "
            "shared_preload_libraries in postgresql.conf, restart the server, and repeat this."
        )
    if _numbers(found.version) >= OLDEST:
        return None
    if found.installed and found.offered and _numbers(found.offered) >= OLDEST:
        return (
            f"The database has TimescaleDB {found.installed}; {oldest} or newer is needed, the server has "
            f'{found.offered}: run `psql -X -d "{found.database}" -c "ALTER EXTENSION timescaledb UPDATE"`.'
        )
    return f"The PostgreSQL server has TimescaleDB {found.version}; {oldest} or newer is needed: upgrade it."


async def ensure_extension(connection: Connection) -> str:
    """Have the extension in this database; its schema, quoted. TimescaleUnusable if that can not be.

    Creates it if the server offers it and our role may.
    """
    found = await look_up(connection)
    if why := obstacle(found):
        raise TimescaleUnusable(why)
    if found.installed is None:
        try:
            async with connection.transaction():
                await connection.execute(QUERIES.one_at_a_time)
                await connection.execute(QUERIES.create)
        except asyncpg.InsufficientPrivilegeError as error:
            raise TimescaleUnusable(
                f"The database's user may not create the extension ({error}). Have a superuser run "
                f'`psql -X -d "{found.database}" -c "CREATE EXTENSION timescaledb"`, and repeat this.'
            ) from error
    return await schema_of(connection)


async def schema_of(connection: Connection) -> str:
    """Where its functions are, quoted. TimescaleUnusable if the database does not have it."""
    schema = await connection.fetchval(QUERIES.schema)
    if schema is None:
        raise TimescaleUnusable("The database does not have the extension timescaledb.")
    return str(schema)


def _numbers(version: str) -> tuple[int, ...]:
    """`2.29.2-dev` as (2, 29, 2)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0]))
