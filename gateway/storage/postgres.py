"""Connections to Postgres, with one clear line when there is none to be had."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.errors import StartupError

# Generic only in the type stubs, hence the quotes.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

SETTING = "TOLLWAY_DATABASE_URL"
CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
OLDEST_VERSION = 14
DEFAULT_PORT = 5432
SESSION = {"application_name": "tollway", "timezone": "UTC"}

LOST: tuple[type[Exception], ...] = (
    OSError,  # includes TimeoutError and ConnectionError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # being shut down or starting up
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a server that dies within an exchange can leave its connection in disorder
)
"""What a call raises when the database is gone or can not serve, as opposed to refusing what we asked."""

T = TypeVar("T")


@asynccontextmanager
async def transaction(database: Pool | Connection) -> AsyncIterator[Connection]:
    """A transaction: on a connection of the pool, or within the one that the connection is in already."""
    if isinstance(database, asyncpg.Pool):
        async with database.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with database.transaction():
            yield database


async def connect_pool(
    url: str, *, min_size: int = 1, max_size: int = 4, session: Mapping[str, str] | None = None
) -> Pool:
    """A pool of connections that works right now. StartupError in one line, without the password, if not.

    `session`: settings of every connection's session, beside ours.
    """
    check_url(url)
    pool: Pool = asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={**SESSION, **(session or {})},
    )
    try:
        await _explained(_open_pool(pool), url)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def lazy_pool(url: str, *, max_size: int = 4, connect_timeout_s: float = 2.0) -> Pool:
    """A pool that connects when it is first used, for processes that must start while Postgres is gone."""
    check_url(url)
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=max_size,
        timeout=connect_timeout_s,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SESSION,
    )
    return pool


async def _open_pool(pool: Pool) -> None:
    await pool
    async with pool.acquire() as connection:
        _check_version(connection)


async def open_connection(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """One connection outside any pool, for listening and for locks. Fails like `connect_pool`."""
    check_url(url)
    connection: asyncpg.Connection[asyncpg.Record] = await _explained(
        asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=SESSION
        ),
        url,
    )
    try:
        _check_version(connection)
    except StartupError:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
        raise
    return connection


def check_url(url: str) -> None:
    """StartupError unless this is a PostgreSQL URL. Never repeats it: the password may be anywhere."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    # An `@` behind the host, a fragment or an odd query come from a password that was not percent-encoded.
    slipped = "@" in parts.path or bool(parts.fragment)
    if parts.scheme not in {"postgresql", "postgres"} or slipped:
        raise StartupError(
            f"{SETTING} is not a PostgreSQL URL. Write postgresql://user:password@host:5432/database, "
            "with special characters in the password percent-encoded."
        )


def host_of(url: str) -> str:
    """The part of a checked URL that is safe to show: host and port, or the folder of the socket."""
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", ["the default host"])[0]
    return f"{host}:{parts.port}" if parts.port else host


def places_of(url: str) -> list[tuple[str, int]]:
    """Hosts and ports for TCP in a database URL; none when it names sockets. StartupError like `check_url`.

    Several may be named with commas between, as for libpq. Without any, there may be one on this machine.
    """
    check_url(url)
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    listed = unquote(parts.netloc.rpartition("@")[2]) or query.get("host", ["localhost"])[-1]
    ports = query.get("port", [str(DEFAULT_PORT)])[-1].split(",")
    places = []
    for position, place in enumerate(listed.split(",")):
        host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
        if not colon:
            host, port = place, ports[min(position, len(ports) - 1)]
        if host and not host.startswith("/"):
            places.append((host.strip("[]").lower(), int(port)))
    return places


async def _explained(connecting: Awaitable[T], url: str) -> T:
    try:
        return await connecting
    except asyncpg.InvalidAuthorizationSpecificationError as error:  # includes a wrong password
        reason = f"it refused the log-in: {error}. Check user and password in {SETTING}."
    except asyncpg.InvalidCatalogNameError as error:
        reason = f"{error}. Create it, or correct {SETTING}."
    except TimeoutError:
        reason = f"no answer within {CONNECT_TIMEOUT_S:.0f} s. Check {SETTING}."
    except OSError as error:
        reason = f"{error}. Start it, or correct {SETTING}."
    except asyncpg.ClientConfigurationError:
        reason = f"{SETTING} has an option that is not understood."
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ssl.SSLError) as error:
        reason = f"{error}. Check {SETTING}."
    raise StartupError(f"Can not use PostgreSQL at {host_of(url)}: {_one_line(reason)}") from None


def refusal(error: asyncpg.PostgresError) -> str:
    """One line for a statement that a database in good health refused, such as for want of a right."""
    said = _one_line(str(error).partition("\n")[0])
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return f"The database refused: {said}. Name one that can be written in {SETTING}."
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"The database refused: {said}. Give the user in {SETTING} that right, or name another one."
    return f"The database refused: {said}."


def _check_version(connection: Any) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST_VERSION:
        raise StartupError(
            f"PostgreSQL {OLDEST_VERSION} or newer is needed; the server in {SETTING} is {version.major}."
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())
