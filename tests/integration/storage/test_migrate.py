"""The schema from empty, again, changed, newer, and by two at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import StartupError
from gateway.storage import postgres
from gateway.storage.migrate import migrate, migrations_folder, read_migrations


async def test_an_empty_database_gets_every_migration_and_a_second_run_changes_nothing(
    empty_database_url: str,
) -> None:
    names = [migration.name for migration in read_migrations(migrations_folder())]
    assert await migrate(empty_database_url) == names
    assert await migrate(empty_database_url) == []


async def test_two_migrators_at_once_apply_each_file_once(empty_database_url: str) -> None:
    first, second = await asyncio.gather(migrate(empty_database_url), migrate(empty_database_url))
    assert sorted(first + second) == [migration.name for migration in read_migrations(migrations_folder())]


async def test_a_file_may_take_longer_than_other_commands(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of a hundred million rows is not made in a minute."""
    monkeypatch.setattr(postgres, "COMMAND_TIMEOUT_S", 0.2)
    (tmp_path / "0001_long.sql").write_text("SELECT pg_sleep(0.5);")
    assert await migrate(empty_database_url, folder=tmp_path) == ["0001_long"]


async def test_a_changed_file_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "0001_one.sql"
    file.write_text("CREATE TABLE one (a int);")
    await migrate(empty_database_url, folder=tmp_path)
    file.write_text("CREATE TABLE one (a bigint);")
    with pytest.raises(StartupError, match="0001_one was changed after it was applied"):
        await migrate(empty_database_url, folder=tmp_path)


async def test_a_database_of_a_newer_release_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (a int);")
    newer = tmp_path / "0002_two.sql"
    newer.write_text("CREATE TABLE two (a int);")
    await migrate(empty_database_url, folder=tmp_path)
    newer.unlink()
    with pytest.raises(StartupError, match="0002_two, which this release does not know"):
        await migrate(empty_database_url, folder=tmp_path)


async def test_a_failing_file_is_undone_whole_and_the_ones_before_stay(
    empty_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (a int);")
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE two (a int); SELECT nonsense;")
    with pytest.raises(StartupError, match=r"Migration 0002_two failed and was undone: .*nonsense"):
        await migrate(empty_database_url, folder=tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    tables = {
        row["tablename"]
        for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }
    await connection.close()
    assert tables == {"one", "schema_migrations"}
