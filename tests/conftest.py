"""Real servers for the tests: one of each kind a session, a fresh database or a flushed Redis a test."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import Phase, settings

from gateway.ledger import moving
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.migrate import migrate

T = TypeVar("T")
TESTS = Path(__file__).parent
LONG = ("e2e", "integration")
"""Folders whose files may take minutes, the longest first."""
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 2 << 30
"""A file system in memory, and what has to be free there; gateways that run side by side fill half of it."""
TEMPLATE = "tollway_template"
TIMESCALEDB_URL = os.environ.get("TIMESCALEDB_URL")
"""A server with TimescaleDB, as superuser. Where one is named, tests run on both layouts of rows of calls."""
_numbers = itertools.count(1)

# To explain a failure, Hypothesis traces every line of every run, at ten times the cost.
settings.register_profile(
    "tests",
    phases=tuple(one for one in Phase if one is not Phase.explain),
    deadline=None,  # tests assert behaviour, never time
)
settings.load_profile("tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, what takes long comes first: at the end, no core waits long for another."""
    if hasattr(config, "workerinput"):  # of pytest-xdist
        items.sort(key=_when)


def _when(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    return LONG.index(folder) if folder in LONG else len(LONG)


def pytest_collection_finish() -> None:
    """The tests stay: neither a collection of garbage nor a test that looks for it need see them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the session's servers have their data.

    A database is hundreds of small files that come and go with a test: a disk's file system takes several
    times as long.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_BYTES:
        yield tmp_path_factory.mktemp("servers")
        return
    with tempfile.TemporaryDirectory(prefix="tollway-tests-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_url(_servers: Path) -> Iterator[str]:
    """An empty database on the session's server. Tests that write take `database_url` instead."""
    server = EmbeddedPostgres(_servers, durable=False)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def _template(postgres_url: str) -> str:
    run_aside(_execute(postgres_url, f"CREATE DATABASE {TEMPLATE}"))
    run_aside(migrate(_at(postgres_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database of its own, not migrated."""
    yield from _database(postgres_url, "template1")


@pytest.fixture(params=["months", "hypertable"] if TIMESCALEDB_URL else None)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of its own, gone afterwards."""
    if getattr(request, "param", "months") == "months":
        return str(request.getfixturevalue("months_url"))
    url = str(request.getfixturevalue("timescale_url"))
    run_aside(_to_hypertable(url))
    return url


@pytest.fixture
def months_url(postgres_url: str, _template: str) -> Iterator[str]:
    """The same, whose rows of calls are in partitions by month."""
    yield from _database(postgres_url, _template)


@pytest.fixture(scope="session")
def _timescale_template() -> Iterator[str]:
    """A migrated database without the extension, which nobody enters: not even background workers, or there
    would be no copies of it."""
    assert TIMESCALEDB_URL is not None
    name = f"{TEMPLATE}_{os.getpid()}"
    run_aside(_execute(TIMESCALEDB_URL, f"CREATE DATABASE {name} TEMPLATE template0"))
    run_aside(migrate(_at(TIMESCALEDB_URL, name)))
    run_aside(_execute(TIMESCALEDB_URL, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
    inside = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    run_aside(_execute(TIMESCALEDB_URL, inside))
    yield name
    run_aside(_execute(TIMESCALEDB_URL, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def timescale_url(_timescale_template: str) -> Iterator[str]:
    """The same as `database_url` on the server with TimescaleDB, with partitions by month."""
    assert TIMESCALEDB_URL is not None
    yield from _database(TIMESCALEDB_URL, _timescale_template)


async def _to_hypertable(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        assert await moving.to_hypertable(connection, 7, lambda _, __: None) == 0
    finally:
        await connection.close()


def _database(postgres_url: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    run_aside(_execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    yield _at(postgres_url, name)
    run_aside(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def _redis_server(_servers: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(_servers, durable=False)
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
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def run_aside(coroutine: Coroutine[Any, Any, T]) -> T:
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
