"""The targets of one upstream."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gateway.deadlines import NEVER
from gateway.model.exchange import Exchange
from gateway.model.policies import Upstream
from gateway.upstream.balance import Balancer, balancer
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.means import Means
from gateway.upstream.moves import Moves
from gateway.upstream.parked import Parked
from gateway.upstream.pool import Pool
from gateway.upstream.probe import check_forever
from gateway.upstream.queue import CallQueue
from gateway.upstream.retries import Budget, Ticker, Tries
from gateway.upstream.tls import TlsFiles

log = logging.getLogger("tollway.upstream")


class Group:
    """Which of an upstream's targets takes a call, and which are well enough to.

    While no target is up, all are tried: better a call that may fail than none at all.
    """

    def __init__(self, spec: Upstream, means: Means) -> None:
        self.spec = spec
        self.tls = TlsFiles(spec.tls)
        self.pools = [Pool(spec, target, self.tls, means, self) for target in spec.targets]
        self.only = self.pools[0] if len(self.pools) == 1 else None
        self._means = means
        self._balancer: Balancer[Pool] = balancer(spec.balance, self.pools)
        self._takers = self.pools
        self.queue = CallQueue(spec, means, self.pools, lambda: self._takers)
        self._up = len(self.pools)
        self._checks: list[asyncio.Task[None]] = []
        self._moves = Moves(self.pools, means.names)
        self._following: asyncio.Task[None] | None = None
        self._broken: set[tuple[Pool, type[Exception]]] = set()  # checks, as far as the log knows
        self.calls = 0
        self.calls_slot = means.slots.named("upstream_calls_total", spec.name)
        self.failures_slot = means.slots.named("upstream_failures_total", spec.name)
        self._budget = Budget(spec.retries, lambda: self.calls)
        self._ticker = Ticker(self._budget, asyncio.get_running_loop().time())
        means.deadlines.add(self._ticker)
        means.slots.add("upstream_targets", self._up, "up")

    def choose(self, exchange: Exchange) -> Pool:
        """The target for a call."""
        return self._pick(self._takers, exchange)

    async def connect(self, parked: Parked, preferred: Pool | None) -> UpstreamConnection:
        """A connection for a call: to this target or, when it is full, to another; else after a wait.

        Raises UpstreamBusy when too many wait, or this call has for too long; NotConnected when its target
        gave it none; Moved when the upstream was closed while it waited; what broke the exchange when its
        caller is gone meanwhile.
        """
        pool = self._free(parked, preferred)
        if pool is not None:
            # A call whose kept connection was closed under it is better off with a new one.
            connection = None if parked.comes_back and pool.has_room else pool.take()
            if connection is not None:
                return connection
        if pool is not None and pool.has_room:
            pool.connect(parked)
        else:
            self.queue.join(parked)
        return await parked.begin()

    def _free(self, parked: Parked, preferred: Pool | None) -> Pool | None:
        """A target with a connection, or room for one, that nobody else waits for."""
        if preferred is not None and preferred in self._takers and self._is_free(preferred):
            return preferred
        left = [pool for pool in self._takers if pool not in parked.failed and self._is_free(pool)]
        return self._pick(left, parked.exchange) if left else None

    def _is_free(self, pool: Pool) -> bool:
        return (pool.has_room or pool.has_idle) and not self.queue.wants(pool)

    def may_connect(self, parked: Parked) -> bool:
        """Whether there is a target that a call has not failed to connect to."""
        return any(pool not in parked.failed for pool in self._takers)

    def tries(self) -> Tries:
        """How often a call may be tried again."""
        return Tries(self.spec.retries, self._budget, self._means.slots)

    def _pick(self, pools: list[Pool], exchange: Exchange) -> Pool:
        principal = exchange.principal
        return self._balancer.pick(pools, principal.account if principal is not None else "")

    # -- health -----------------------------------------------------------------------------------------

    def watch_targets(self) -> None:
        """Begin with the checks that the policies ask for, and follow the targets where their names lead."""
        if self._moves.are_possible:
            following = self._moves.follow_forever()
            self._following = self._means.tasks.spawn(following, name="upstream.follow")
        health = self.spec.health
        if health is not None:
            self._checks = [
                self._means.tasks.spawn(
                    check_forever(
                        pool.dialler,
                        pool.target.authority,
                        health,
                        partial(self._checked, pool),
                        partial(self._check_broke, pool),
                    ),
                    name="upstream.check",
                )
                for pool in self.pools
            ]

    def call_failed(self, pool: Pool, why: str) -> None:
        """Judge: take the target out if it has failed often enough and is not the last one up."""
        if pool.condition.call_failed() and self._up > 1 and pool.condition.up:
            now = asyncio.get_running_loop().time()
            out_s = pool.condition.eject(now)
            pool.deadline = now + out_s
            self._means.deadlines.add(pool)
            self._changed(pool, "calls", why, delay_s=out_s)

    def something_is_free(self) -> None:
        """Judge: whoever waits first gets it."""
        self.queue.serve_soon()

    def readmit(self, pool: Pool) -> None:
        """Judge: let it take calls again, on probation."""
        pool.deadline = NEVER
        self._means.deadlines.discard(pool)
        pool.condition.readmit()
        self._changed(pool, "calls")

    def _checked(self, pool: Pool, why: str) -> None:
        self._means.slots.add("upstream_checks_total", 1, "failed" if why else "passed")
        if pool.condition.checked(passed=not why):
            self._changed(pool, "checks", why)

    def _check_broke(self, pool: Pool, error: Exception) -> None:
        """Count each, but log a kind only once: it is likely to come with every check."""
        self._means.slots.add("upstream_checks_total", 1, "broken")
        if (kind := (pool, type(error))) not in self._broken:
            self._broken.add(kind)
            log.error(
                "a check of a target broke; it goes on",
                extra={"upstream": self.spec.name, "target": pool.target.place},
                exc_info=error,
            )

    def _changed(self, pool: Pool, cause: str, why: str = "", delay_s: float | None = None) -> None:
        up = [pool for pool in self.pools if pool.condition.up]
        self._count(len(up))
        self._takers = up or self.pools
        self.queue.takers_changed()
        extra: dict[str, object] = {"upstream": self.spec.name, "target": pool.target.place}
        if not why:
            log.info("a target is back" if pool.condition.up else "a target stays out", extra=extra)
            return
        self._means.slots.add("upstream_ejections_total", 1, cause)
        pool.close_idle()
        if delay_s is not None:
            extra["delay_s"] = delay_s
        log.warning(
            "a target is out: its calls failed" if cause == "calls" else "a target is out: its checks failed",
            extra=extra | {"error": why, "count": len(up)},
        )

    def _count(self, up: int) -> None:
        self._means.slots.add("upstream_targets", up - self._up, "up")
        self._means.slots.add("upstream_targets", self._up - up, "down")
        self._up = up

    def close(self) -> None:
        """Check no more, close every idle connection, and send calls that wait to where it is now."""
        for check in self._checks:
            check.cancel()
        if self._following is not None:
            self._following.cancel()
        self._ticker.stop()
        self._means.deadlines.discard(self._ticker)
        slots, all_of_them = self._means.slots, len(self.pools)
        slots.add("upstream_targets", -self._up, "up")
        slots.add("upstream_targets", self._up - all_of_them, "down")
        for pool in self.pools:
            self._means.deadlines.discard(pool)
            pool.close()
        self.queue.close()
