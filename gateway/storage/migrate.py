"""Bring the database's schema up to date, once, whoever asks and how many at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

import gateway
from gateway.errors import StartupError
from gateway.storage.postgres import SETTING, Connection, open_connection, refusal

LOCK = 0x746F_6C6C_7761_7901
"""Advisory lock of whoever migrates; "tollway" in ASCII."""
LOCK_WITHIN_S = 60
FILE_WITHIN_S = (
    24 * 3600.0
)  # an index of a large table takes its time; None would mean that of other commands
FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")

Tell = Callable[[int, int], None]

CREATE_LIST = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    checksum   bytea NOT NULL CHECK (octet_length(checksum) = 32),
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
READ_LIST = "SELECT name, checksum FROM schema_migrations ORDER BY name"
ADD_TO_LIST = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file `NNNN_name.sql`. Applied once, in the order of the numbers, never changed afterwards."""

    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()


async def migrate(url: str, *, folder: Path | None = None, tell: Tell = lambda _, __: None) -> list[str]:
    """Apply what is missing and return the names applied; safe to call from several processes at once.

    Raises StartupError when an applied file was changed, when the database is newer than this release, or
    when a statement fails. Each file is one transaction: a failure leaves the database at the file before.
    `tell` hears how many of how many files are applied, if any are missing.
    """
    known = read_migrations(folder or migrations_folder())
    connection = await open_connection(url)
    try:
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            raise StartupError(
                f"The database in {SETTING} can only be read: is it a standby? Name the primary."
            )
        # Another process may be migrating: wait for it rather than fail.
        await connection.execute(f"SET lock_timeout = '{LOCK_WITHIN_S}s'", timeout=LOCK_WITHIN_S)
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=LOCK_WITHIN_S + 5)
        return await _apply_missing(connection, known, tell)
    except asyncpg.PostgresError as error:
        raise StartupError(f"The database can not be migrated. {refusal(error)}") from error
    finally:
        await connection.close(timeout=10)


async def _apply_missing(connection: Connection, known: list[Migration], tell: Tell) -> list[str]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        await connection.execute(CREATE_LIST)
    applied = {row["name"]: bytes(row["checksum"]) for row in await connection.fetch(READ_LIST)}
    check_applied(known, applied)
    missing = [migration for migration in known if migration.name not in applied]
    for number, migration in enumerate(missing):
        tell(number, len(missing))
        await _apply(connection, migration)
        tell(number + 1, len(missing))
    return [migration.name for migration in missing]


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            # A lock that is taken makes us fail, not queue everybody else up behind us.
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await connection.execute(migration.sql, timeout=FILE_WITHIN_S)
            await connection.execute(ADD_TO_LIST, migration.name, migration.checksum)
    except asyncpg.PostgresError as error:
        raise StartupError(f"Migration {migration.name} failed and was undone: {error}") from error


def check_applied(known: list[Migration], applied: dict[str, bytes]) -> None:
    """StartupError unless every applied migration is known and unchanged, and none is missing in between."""
    by_name = {migration.name: migration for migration in known}
    for name, checksum in applied.items():
        if name not in by_name:
            raise StartupError(
                f"The database has the migration {name}, which this release does not know: it comes "
                "from a newer Tollway. Install that one, or use another database."
            )
        if by_name[name].checksum != checksum:
            raise StartupError(
                f"The migration {name} was changed after it was applied to this database. Restore the file; "
                "changes to the schema go into a new one."
            )


def read_migrations(folder: Path) -> list[Migration]:
    """Every migration in `folder`, in order. ValueError when files are misnamed or numbers repeat."""
    paths = sorted(folder.glob("*.sql"))
    numbers = [match[1] for path in paths if (match := FILE_NAME.fullmatch(path.stem))]
    if len(numbers) != len(paths) or len(set(numbers)) != len(numbers):
        raise ValueError(f"{folder}: migrations are named NNNN_name.sql, each number once")
    return [Migration(path.stem, path.read_text(encoding="utf-8")) for path in paths]


def migrations_folder() -> Path:
    """Inside the package when installed from a wheel, next to it in a checkout."""
    package = Path(gateway.__file__).parent
    inside = package / "migrations"
    folder = inside if inside.is_dir() else package.parent / "migrations"
    if not folder.is_dir():
        raise StartupError(f"The folder {folder} is missing. Install Tollway again.")
    return folder
