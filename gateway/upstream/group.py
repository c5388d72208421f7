"""The targets of one upstream."""

from __future__ import annotations

from collections.abc import Collection

from gateway.model.exchange import Exchange
from gateway.model.policies import Upstream
from gateway.upstream.balance import Balancer, balancer
from gateway.upstream.pool import Means, Pool
from gateway.upstream.tls import TlsFiles


class Group:
    """Which of an upstream's targets takes a call."""

    def __init__(self, spec: Upstream, means: Means) -> None:
        self.spec = spec
        self.tls = TlsFiles(spec.tls)
        self.pools = [Pool(spec, target, self.tls, means) for target in spec.targets]
        self.only = self.pools[0] if len(self.pools) == 1 else None
        self._balancer: Balancer[Pool] = balancer(spec.balance, self.pools)

    def choose(self, exchange: Exchange) -> Pool:
        """The target for a call."""
        return self._pick(self.pools, exchange)

    def another(self, exchange: Exchange, tried: Collection[Pool]) -> Pool | None:
        """A target that has not been tried for a call, or None."""
        left = [pool for pool in self.pools if pool not in tried]
        return self._pick(left, exchange) if left else None

    def _pick(self, pools: list[Pool], exchange: Exchange) -> Pool:
        principal = exchange.principal
        return self._balancer.pick(pools, principal.account if principal is not None else "")

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self.pools:
            pool.close()
