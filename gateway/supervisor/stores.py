"""Postgres and Redis before the first process: the configured ones checked, or the embedded ones started."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from gateway.admission.open_counters import open_counters
from gateway.admission.trust import EMBEDDED
from gateway.errors import StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.quotas import QuotaLedger
from gateway.model.policies import PolicySet
from gateway.reconciliation.rebuild import Interrupted, Rebuilder
from gateway.settings import Settings
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.embedded.server import EmbeddedServer
from gateway.storage.migrate import migrate
from gateway.storage.postgres import lazy_pool
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

    def start(self, policies: PolicySet) -> None:
        """Start what is embedded, check that all answers, migrate. StartupError if something is amiss.

        Quota counters are vouched for before anybody calls, if the ledger has all there is.
        """
        with ThreadPoolExecutor(2) as starting:
            for _ in starting.map(EmbeddedServer.start, self._embedded):
                continue
        if self._postgres is not None:
            self.database_url = self._postgres.url
        if self._redis is not None:
            self.redis_url = self._redis.url
        applied = asyncio.run(self._check(policies))
        if applied:
            log.info("migrations applied", extra={"count": len(applied)})

    async def _check(self, policies: PolicySet) -> list[str]:
        await check_redis(self.redis_url)
        applied = await migrate(self.database_url)
        await self._vouch(policies)
        return applied

    async def _vouch(self, policies: PolicySet) -> None:
        """Else the control process does it, once the recorder has booked what is left of the last run."""
        pool, counting = await lazy_pool(self.database_url), await open_counters(self.redis_url)
        name = EMBEDDED if self._redis is not None else None
        rebuilder = Rebuilder(QuotaLedger(pool), counting.counters, lambda: policies, server=name)
        try:
            if not await rebuilder.is_complete():
                return
            if await rebuilder.is_due():
                await rebuilder.rebuild()
            elif rebuilder.misses_restarts:
                await rebuilder.catch_up()
        except (StoreUnavailable, LedgerUnavailable, Interrupted) as error:
            log.info("quota counters are not rebuilt yet", extra={"error": str(error)})
        finally:
            await counting.close()
            pool.terminate()

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
