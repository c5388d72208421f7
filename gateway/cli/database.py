"""The database of a command: the configured one, a running gateway's, or one started for this command."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from gateway.controlplane.problems import Problem
from gateway.errors import StartupError
from gateway.operators.acting import ACTOR_SETTING
from gateway.settings import Settings, read_settings
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis, OwnedElsewhere
from gateway.storage.embedded.server import EmbeddedServer
from gateway.storage.migrate import migrate
from gateway.storage.postgres import LOST, Pool, connect_pool, refusal
from gateway.telemetry.logs import set_up_logs

T = TypeVar("T")


def with_database(work: Callable[[Pool, Settings], Awaitable[T]]) -> T:
    """Run `work` on a pool of the settings' database. Failures of Postgres become one clear line."""
    settings = command_settings()
    with database_url(settings) as url:
        if settings.database_url is None:
            asyncio.run(migrate(url))
        return asyncio.run(_on_pool(work, url, settings))


def with_stores(work: Callable[[Pool, str, Settings], Awaitable[T]]) -> T:
    """The same with the URL of the settings' Redis, which is started as well if no gateway runs it."""
    settings = command_settings()

    async def with_redis(pool: Pool, settings: Settings) -> T:
        return await work(pool, redis_at, settings)

    with database_url(settings) as url, redis_url(settings) as redis_at:
        if settings.database_url is None:
            asyncio.run(migrate(url))
        return asyncio.run(_on_pool(with_redis, url, settings))


def command_settings() -> Settings:
    """The settings of a command that is not a server; its logs go to stderr, warnings only."""
    settings = read_settings(os.environ)
    set_up_logs(settings.log_format, "warning", "command")
    return settings


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL to connect to. The embedded server is started, and stopped again, if no gateway runs it."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with _embedded(EmbeddedPostgres(settings.data_dir), "command.lock") as url:
        yield url


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """The same for Redis."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    with _embedded(EmbeddedRedis(settings.data_dir), "command-redis.lock") as url:
        yield url


@contextmanager
def _embedded(server: EmbeddedServer, lock_name: str) -> Iterator[str]:
    with ExitStack() as held:
        held.enter_context(_one_command_at_a_time(server.data_dir, lock_name))
        try:
            server.start()
        except OwnedElsewhere:
            held.close()  # a gateway runs it: commands need not wait for each other
        else:
            held.callback(server.stop)
        yield server.url


@contextmanager
def _one_command_at_a_time(data_dir: Path, lock_name: str) -> Iterator[None]:
    """A second command waits: the server of the first would vanish under it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / lock_name).open("a")
    except OSError as error:
        raise StartupError(
            f"The data folder {data_dir} can not be used: {error.strerror}. Set TOLLWAY_DATA_DIR to another."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _user() -> str:
    """Who types, for the audit log."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in many containers
        return str(os.getuid())


async def _on_pool(work: Callable[[Pool, Settings], Awaitable[T]], url: str, settings: Settings) -> T:
    pool = await connect_pool(url, max_size=1, session={ACTOR_SETTING: f"cli:{_user()}"})
    try:
        return await work(pool, settings)
    except asyncpg.UndefinedTableError as error:
        raise StartupError("The database has no tables of this version. Run `tollway migrate`.") from error
    except LOST as error:
        reason = str(error) or type(error).__name__
        raise StartupError(f"The database went away: {reason}. Look what was done, and repeat it.") from error
    except asyncpg.PostgresError as error:
        raise StartupError(refusal(error)) from error
    except Problem as problem:  # what is shared with the admin API says which field is wrong
        listed: Any = problem.extensions.get("errors", ())
        lines = [f"{one['field']}: {one['message']}" for one in listed]
        raise StartupError("\n".join(lines) or problem.detail) from problem
    finally:
        await pool.close()
