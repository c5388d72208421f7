"""Whether TimescaleDB can be used, asked of a real PostgreSQL, with a stand-in for the extension."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.ledger.timescale import TimescaleUnusable, ensure_extension, look_up
from tests.timescale import offer


@pytest.fixture
def url(empty_database_url: str) -> str:
    return empty_database_url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def refusal(url: str) -> str:
    async with connected(url) as connection:
        with pytest.raises(TimescaleUnusable) as refused:
            await ensure_extension(connection)
        assert (await look_up(connection)).installed is None
    return str(refused.value)


async def test_a_server_without_it(url: str) -> None:
    assert "has no TimescaleDB. Install" in await refusal(url)


async def test_a_server_that_has_not_loaded_it(url: str) -> None:
    await offer(url, preloaded=False)
    assert "shared_preload_libraries" in await refusal(url)


async def test_one_that_is_too_old(url: str) -> None:
    await offer(url, "2.12.2")
    assert "has TimescaleDB 2.12.2; 2.13 or newer is needed" in await refusal(url)


async def test_a_database_that_is_behind_its_server(url: str) -> None:
    await offer(url, "2.12.2")
    async with connected(url) as connection:
        await connection.execute("CREATE EXTENSION timescaledb")
    await offer(url, "2.29.2")
    async with connected(url) as connection:
        with pytest.raises(TimescaleUnusable, match="ALTER EXTENSION timescaledb UPDATE"):
            await ensure_extension(connection)


async def test_a_role_that_may_not_create_it(url: str) -> None:
    await offer(url)
    async with connected(url) as connection:
        await connection.execute("DROP ROLE IF EXISTS modest")
        await connection.execute("CREATE ROLE modest LOGIN")
    modest = urlsplit(url)._replace(netloc="modest@").geturl()
    why = await refusal(modest)
    assert "may not create the extension" in why
    assert 'CREATE EXTENSION timescaledb"' in why
    async with connected(url) as connection:
        await connection.execute("CREATE EXTENSION timescaledb")
    async with connected(modest) as connection:
        assert await ensure_extension(connection) == "public", "a superuser has created it since"
    async with connected(url) as connection:
        await connection.execute("DROP ROLE modest")


async def test_it_is_created_where_it_can_be(url: str) -> None:
    await offer(url)
    async with connected(url) as connection:
        assert await ensure_extension(connection) == "public"
        assert await ensure_extension(connection) == "public"
        assert (await look_up(connection)).installed == "2.29.2"


async def test_it_may_be_in_a_schema_of_its_own(url: str) -> None:
    await offer(url)
    async with connected(url) as connection:
        await connection.execute('CREATE SCHEMA "Time"; CREATE EXTENSION timescaledb SCHEMA "Time"')
        assert await ensure_extension(connection) == '"Time"'
