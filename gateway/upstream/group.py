"""The targets of one upstream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial

from gateway.deadlines import NEVER
from gateway.model.exchange import Exchange
from gateway.model.policies import Upstream
from gateway.upstream.balance import Balancer, balancer
from gateway.upstream.means import Means
from gateway.upstream.pool import Pool
from gateway.upstream.probe import check_forever
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
        self._up = len(self.pools)
        self._checks: list[asyncio.Task[None]] = []
        self.calls = 0
        self._budget = Budget(spec.retries, lambda: self.calls)
        self._ticker = Ticker(self._budget, asyncio.get_running_loop().time())
        means.deadlines.add(self._ticker)
        means.slots.add("upstream_targets", self._up, "up")

    def choose(self, exchange: Exchange) -> Pool:
        """The target for a call."""
        return self._pick(self._takers, exchange)

    def another(self, exchange: Exchange, tried: Collection[Pool]) -> Pool | None:
        """A target that has not been tried for a call, or None."""
        left = [pool for pool in self._takers if pool not in tried]
        return self._pick(left, exchange) if left else None

    def tries(self) -> Tries:
        """How often a call may be tried again."""
        return Tries(self.spec.retries, self._budget, self._means.slots)

    def _pick(self, pools: list[Pool], exchange: Exchange) -> Pool:
        principal = exchange.principal
        return self._balancer.pick(pools, principal.account if principal is not None else "")

    # -- health -----------------------------------------------------------------------------------------

    def check_targets(self) -> None:
        """Begin with the checks that the policies ask for."""
        health = self.spec.health
        if health is not None:
            self._checks = [
                self._means.tasks.spawn(
                    check_forever(pool.dialler, pool.target.authority, health, partial(self._checked, pool)),
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

    def _changed(self, pool: Pool, cause: str, why: str = "", delay_s: float | None = None) -> None:
        up = [pool for pool in self.pools if pool.condition.up]
        self._count(len(up))
        self._takers = up or self.pools
        extra: dict[str, object] = {"upstream": self.spec.name, "target": pool.target.place}
        if not why:
            log.info("a target is back" if pool.condition.up else "a target stays out", extra=extra)
            return
        self._means.slots.add("upstream_ejections_total", 1, cause)
        pool.close()
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
        """Check no more, and close every idle connection."""
        for check in self._checks:
            check.cancel()
        self._ticker.stop()
        self._means.deadlines.discard(self._ticker)
        slots, all_of_them = self._means.slots, len(self.pools)
        slots.add("upstream_targets", -self._up, "up")
        slots.add("upstream_targets", self._up - all_of_them, "down")
        for pool in self.pools:
            self._means.deadlines.discard(pool)
            pool.close()
