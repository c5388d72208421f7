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
from gateway.controlplane.processes import Process, read_all
from gateway.errors import TollwayError
from gateway.storage.postgres import LOST
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import worker_names

Check = Callable[[], Awaitable[object]]

CHECK_TIMEOUT_S = 1.0
OVERLOADED_MAX_US = 10_000_000
"""All workers overloaded for this long: load balancers had better send calls elsewhere."""

Entry = dict[str, str]
_FAILURES: tuple[type[Exception], ...] = (TollwayError, asyncpg.PostgresError, RedisError, *LOST)


class Health:
    """`/healthz` and `/readyz`.

    Ready means that customers the workers know are served: every expected worker is ready, not all of them
    are overloaded for long, Redis answers, and nobody has asked the gateway to stop. Postgres is not needed
    for that for a while, so its loss is reported as `degraded` and stays 200.
    `postgres` and `redis` ask the servers for a sign of life and raise their libraries' errors if there is
    none.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        clock: Clock,
        tasks: Tasks,
        *,
        postgres: Check,
        redis: Check,
        evicting: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`evicting`: by which policy Redis drops keys, if it does."""
        self._folder, self._count, self._clock, self._tasks = folder, workers, clock, tasks
        self._postgres, self._redis, self._evicting = postgres, redis, evicting

    async def healthz(self, _: web.Request) -> web.Response:
        """This process lives."""
        return answer({"status": "alive"})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when ready, else 503 with everything that is missing and how to mend it."""
        postgres, redis = await asyncio.gather(self._answers(self._postgres), self._answers(self._redis))
        missing, degraded = self._workers()
        degraded += [] if postgres else [_POSTGRES_LOST]
        if (policy := self._evicting()) is not None:
            degraded.append({**_REDIS_EVICTS, "why": f"drops keys when its memory is full ({policy})"})
        missing += [] if redis else [_REDIS_LOST]
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

    def _workers(self) -> tuple[list[Entry], list[Entry]]:
        """What is missing of the workers, and what is not as it should be."""
        processes = read_all(self._folder)
        supervisor = processes.get("supervisor")
        if supervisor is not None and supervisor.state in ("draining", "stopped"):
            return [_STOPPING], []
        now_us = self._clock.monotonic_us()
        missing: list[Entry] = []
        serving: list[Process] = []
        for number in range(1, self._count + 1):
            there = [processes[name] for name in worker_names(number) if name in processes]
            serving += (well := [one for one in there if one.lacks(now_us) is None])
            if not well:
                name, why = f"worker-{number}", "has not started"
                if there:
                    name, why = there[0].name, there[0].lacks(now_us) or why
                missing.append({"what": name, "why": why, "mend": _WORKER_MEND})
        overloaded = [one for one in serving if one.overloaded_since_us]
        since_us = max((one.overloaded_since_us for one in overloaded), default=now_us)
        if serving and len(overloaded) == len(serving) and now_us - since_us >= OVERLOADED_MAX_US:
            return [*missing, _OVERLOADED], []
        told = "turns calls away because it is overloaded"
        degraded = [{"what": one.name, "why": told, "mend": _OVERLOADED["mend"]} for one in overloaded]
        return missing, degraded + _loosened(serving)


def _loosened(workers: list[Process]) -> list[Entry]:
    """What operators switched, as the workers have it. Reasons and names are not for everybody."""
    shadow = max((one.shadow_switches for one in workers), default=0)
    off = max((one.off_switches for one in workers), default=0)
    if not shadow and not off:
        return []
    why = f"is loosened by operators: {shadow} in shadow, {off} off"
    mend = "`tollway enforcement show` says what, by whom and why; `tollway enforcement set` takes it back."
    return [{"what": "enforcement", "why": why, "mend": mend}]


_WORKER_MEND = "It is restarted by itself; if this stays, its log lines say what stops it."
_OVERLOADED = {
    "what": "workers",
    "why": "all of them have been overloaded for 10 s or longer, and turn calls away",
    "mend": "Add gateways or workers; tollway_overloaded says whether it is the processor or the memory.",
}
_STOPPING = {
    "what": "gateway",
    "why": "is stopping; calls in flight are being finished",
    "mend": "Send calls to another gateway, or start this one again.",
}
_POSTGRES_LOST = {
    "what": "postgres",
    "why": "did not answer within a second; known keys go on working, new ones and changes do not",
    "mend": "Start PostgreSQL, or correct TOLLWAY_DATABASE_URL and restart the gateway.",
}
_REDIS_EVICTS = {
    "what": "redis",
    "mend": "CONFIG SET maxmemory-policy noeviction: what it drops are customers' limits and slots.",
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
