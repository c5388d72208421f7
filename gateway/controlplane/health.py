"""Is the gateway alive, and can it serve known customers?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from aiohttp import web
from redis.exceptions import RedisError

from gateway.clock import Clock
from gateway.controlplane.bodies import answer
from gateway.controlplane.problems import Problem
from gateway.controlplane.processes import read_all
from gateway.errors import TollwayError
from gateway.storage.postgres import LOST
from gateway.tasks import Tasks

Check = Callable[[], Awaitable[object]]

CHECK_TIMEOUT_S = 1.0
_FAILURES: tuple[type[Exception], ...] = (TollwayError, asyncpg.PostgresError, RedisError, *LOST)


class Health:
    """`/healthz` and `/readyz`.

    Ready means that customers the workers know are served: every expected worker is ready and Redis answers.
    Postgres is not needed for that for a while, so its loss is reported as `degraded` and stays 200.
    `postgres` and `redis` ask the servers for a sign of life and raise their libraries' errors if there is
    none.
    """

    def __init__(
        self, folder: Path, workers: int, clock: Clock, tasks: Tasks, *, postgres: Check, redis: Check
    ) -> None:
        self._folder, self._workers, self._clock, self._tasks = folder, workers, clock, tasks
        self._postgres, self._redis = postgres, redis

    async def healthz(self, _: web.Request) -> web.Response:
        """This process lives."""
        return answer({"status": "alive"})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when ready, else 503 with everything that is missing and how to mend it."""
        postgres, redis = await asyncio.gather(self._answers(self._postgres), self._answers(self._redis))
        degraded = [] if postgres else [_POSTGRES_LOST]
        missing = self._missing_workers() + ([] if redis else [_REDIS_LOST])
        if missing:
            raise Problem(
                503,
                "not_ready",
                "The gateway can not serve every customer right now.",
                headers={"Retry-After": "1"},
                extensions={"missing": missing, "degraded": degraded},
            )
        return answer({"status": "ready", "degraded": degraded})

    async def _answers(self, check: Check) -> bool:
        """Whether `check` ends well in time. Not `timeout()`: to leave a lost connection may take long."""
        task = self._tasks.spawn(_ends_well(check), name="control.health")
        await asyncio.wait({task}, timeout=CHECK_TIMEOUT_S)
        if task.done():
            return task.result()
        task.cancel()
        return False

    def _missing_workers(self) -> list[dict[str, str]]:
        processes = read_all(self._folder)
        now_us = self._clock.monotonic_us()
        missing = []
        for number in range(1, self._workers + 1):
            name = f"worker-{number}"
            process = processes.get(name)
            lack = "has not started" if process is None else process.lacks(now_us)
            if lack is not None:
                mend = "It is restarted by itself; if this stays, its log lines say what stops it."
                missing.append({"what": name, "why": lack, "mend": mend})
        return missing


_POSTGRES_LOST = {
    "what": "postgres",
    "why": "did not answer within a second; known keys go on working, new ones and changes do not",
    "mend": "Start PostgreSQL, or correct TOLLWAY_DATABASE_URL and restart the gateway.",
}
_REDIS_LOST = {
    "what": "redis",
    "why": "did not answer within a second; limits and quotas can not be decided",
    "mend": "Start Redis, or correct TOLLWAY_REDIS_URL and restart the gateway.",
}


async def _ends_well(check: Check) -> bool:
    try:
        await check()
    except _FAILURES:
        return False
    return True
