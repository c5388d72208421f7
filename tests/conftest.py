"""Real servers for the tests: one of each kind a session, a fresh database or a flushed Redis a test."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import Phase, settings

from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.migrate import migrate

T = TypeVar("T")
TEMPLATE = "tollway_template"
_numbers = itertools.count(1)

# To explain a failure, Hypothesis traces every line of every run, at ten times the cost.
settings.register_profile("tests", phases=tuple(one for one in Phase if one is not Phase.explain))
settings.load_profile("tests")


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database on the session's server. Tests that write take `database_url` instead."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("servers"), durable=False)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def _template(postgres_url: str) -> str:
    _run(_execute(postgres_url, f"CREATE DATABASE {TEMPLATE}"))
    _run(migrate(_at(postgres_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database of its own, not migrated."""
    yield from _database(postgres_url, "template1")


@pytest.fixture
def database_url(postgres_url: str, _template: str) -> Iterator[str]:
    """A migrated database of its own, gone afterwards."""
    yield from _database(postgres_url, _template)


def _database(postgres_url: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    _run(_execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    yield _at(postgres_url, name)
    _run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("servers"), durable=False)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(_redis_server: EmbeddedRedis) -> str:
    """The session's Redis, empty."""
    _flush(_redis_server.socket_path)
    return _redis_server.url


def _flush(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"FLUSHALL\r\nSCRIPT FLUSH\r\n")
        answered = b""
        while answered.count(b"+OK\r\n") < 2:
            answered += connection.recv(64)


def _at(url: str, database: str) -> str:
    return url.replace("@/tollway?", f"@/{database}?")


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Outside of any test's loop and without touching the one that is set."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
