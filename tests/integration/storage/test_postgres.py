"""Connections, and one clear line when there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from gateway.errors import StartupError
from gateway.storage import postgres

Connect = Callable[[str], Awaitable[Any]]
connects = pytest.mark.parametrize("connect", [postgres.connect_pool, postgres.open_connection])


async def test_a_pool_works_in_utc_and_names_itself(database_url: str) -> None:
    pool = await postgres.connect_pool(database_url, max_size=2)
    assert await pool.fetchval("SHOW timezone") == "UTC"
    assert await pool.fetchval("SHOW application_name") == "tollway"
    await pool.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


async def refusal(connect: Connect, url: str) -> str:
    with pytest.raises(StartupError) as caught:
        await connect(url)
    message = str(caught.value)
    assert "\n" not in message
    assert "TOLLWAY_DATABASE_URL" in message
    assert "hunter2" not in message
    return message


@connects
async def test_nobody_listens(connect: Connect, closed_port: int) -> None:
    message = await refusal(connect, f"postgresql://u:hunter2@127.0.0.1:{closed_port}/db")
    assert f"127.0.0.1:{closed_port}" in message


@connects
async def test_no_such_host(connect: Connect) -> None:
    assert "db.invalid" in await refusal(connect, "postgresql://u:hunter2@db.invalid/db")


@connects
async def test_no_such_database(connect: Connect, postgres_url: str) -> None:
    message = await refusal(connect, postgres_url.replace("/tollway?", "/elsewhere?"))
    assert "elsewhere" in message


@connects
async def test_no_such_role(connect: Connect, postgres_url: str) -> None:
    message = await refusal(connect, postgres_url.replace("//tollway@", "//stranger:hunter2@"))
    assert "refused the log-in" in message


@connects
async def test_an_option_nobody_knows(connect: Connect, postgres_url: str) -> None:
    await refusal(connect, f"{postgres_url}&sslmode=hunter2")


@connects
async def test_something_else_listens(connect: Connect) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await refusal(connect, f"postgresql://u:hunter2@127.0.0.1:{port}/db")
    server.close()


@connects
async def test_nobody_answers(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", 0.05)
    ended = asyncio.Event()

    async def be_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert "no answer within" in await refusal(connect, f"postgresql://u:hunter2@127.0.0.1:{port}/db")
    ended.set()
    server.close()


@connects
async def test_a_server_too_old(connect: Connect, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncpg.Connection, "get_server_version", lambda _: SimpleNamespace(major=13))
    message = await refusal(connect, postgres_url)
    assert "PostgreSQL 14 or newer is needed" in message
