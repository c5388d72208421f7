"""A stand-in for TimescaleDB, in a real PostgreSQL: an extension of its name that makes no chunks.

What decides whether the extension can be used, and what moves rows, is tried with it everywhere. What only
the real one can show needs a server that has it (`TIMESCALEDB_URL`).
"""

from __future__ import annotations

from pathlib import Path

import asyncpg

FUNCTIONS = """
CREATE FUNCTION by_range(name, interval) RETURNS text LANGUAGE sql RETURN $1::text;
CREATE FUNCTION create_hypertable(relation regclass, dimension text, create_default_indexes boolean)
    RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz)
    RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_events;
    RETURN QUERY DELETE FROM usage_events WHERE started_at < older_than RETURNING 'chunk';
END
$$;
"""


async def offer(url: str, version: str = "2.29.2", *, preloaded: bool = True) -> None:
    """Have the server offer the stand-in to this database, under a version loaded or not."""
    connection = await asyncpg.connect(url)
    try:
        data = Path(
            await connection.fetchval("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
        )
        folder = data / "offered" / version / "extension"
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, folder.parent, folder.parent.parent):
            path.chmod(0o755)
        (folder / "timescaledb.control").write_text(f"default_version = '{version}'\n")
        (folder / f"timescaledb--{version}.sql").write_text(FUNCTIONS)
        database = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(
            f"ALTER DATABASE {database} SET extension_control_path = '$system:{folder.parent}'"
        )
        if preloaded:
            await connection.execute(f"ALTER DATABASE {database} SET timescaledb.disable_load = 'off'")
    finally:
        await connection.close()
