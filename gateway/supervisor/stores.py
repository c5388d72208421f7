"""Postgres and Redis before the first process: the configured ones checked, or the embedded ones started."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from gateway.settings import Settings
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.embedded.server import EmbeddedServer
from gateway.storage.migrate import migrate
from gateway.storage.redis import check_redis

log = logging.getLogger("tollway.supervisor")


class Stores:
    """Where this gateway's Postgres and Redis are; owns the embedded ones."""

    def __init__(self, settings: Settings) -> None:
        self.database_url = settings.database_url or ""
        self.redis_url = settings.redis_url or ""
        self._postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
        self._redis = None if settings.redis_url else EmbeddedRedis(settings.data_dir)

    @property
    def _embedded(self) -> list[EmbeddedServer]:
        return [server for server in (self._postgres, self._redis) if server is not None]

    def start(self) -> None:
        """Start what is embedded, check that all answers, migrate. StartupError if something is amiss."""
        with ThreadPoolExecutor(2) as starting:
            for _ in starting.map(EmbeddedServer.start, self._embedded):
                continue
        if self._postgres is not None:
            self.database_url = self._postgres.url
        if self._redis is not None:
            self.redis_url = self._redis.url
        applied = asyncio.run(self._check())
        if applied:
            log.info("migrations applied", extra={"count": len(applied)})

    async def _check(self) -> list[str]:
        await check_redis(self.redis_url)
        return await migrate(self.database_url)

    def tend(self) -> None:
        """Start an embedded server again that died."""
        for server in self._embedded:
            if server.pid is None:
                log.error("%s died, starting it again", server.title)
                server.start()

    def stop(self) -> None:
        """Stop what is embedded, Postgres first: it has the most to write."""
        for server in self._embedded:
            server.stop()
