"""One call to the upstream of its route."""

from __future__ import annotations

from gateway.deadlines import Deadlines
from gateway.errors import UpstreamInvalid, UpstreamUnreachable
from gateway.model.exchange import Exchange
from gateway.model.policies import Upstream
from gateway.outbox import Outbox
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.connection import StaleConnection, UpstreamConnection
from gateway.upstream.pool import Pool

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""RFC 9110, section 9.2.2, without TRACE, which we refuse."""


class _Targets:
    """The pools of one upstream, taken in turn."""

    def __init__(self, spec: Upstream, pools: list[Pool]) -> None:
        self.spec = spec
        self.pools = pools
        self._turn = 0

    def in_turn(self) -> list[Pool]:
        """All pools, beginning with the next in turn."""
        self._turn = (self._turn + 1) % len(self.pools)
        return self.pools[self._turn :] + self.pools[: self._turn]


class Forwarder:
    """Sends calls to upstreams over kept connections."""

    def __init__(self, deadlines: Deadlines, outbox: Outbox, slots: Slots, tasks: Tasks) -> None:
        self._deadlines = deadlines
        self._outbox = outbox
        self._slots = slots
        self._tasks = tasks
        self._targets: dict[str, _Targets] = {}

    async def forward(self, exchange: Exchange) -> None:
        """Relay the call and its answer; returns when the answer is whole or broken off.

        Raises GatewayError while the caller has not been answered. Sends a call again only when a kept
        connection turned out stale, the method is idempotent and the request has no body.
        """
        assert exchange.route is not None, "routed before it is forwarded"
        targets = self._targets_of(exchange.route.upstream)
        pools = targets.pools if len(targets.pools) == 1 else targets.in_turn()
        connection = pools[0].take() or await self._connect(pools)
        while True:
            if exchange.broken is not None:
                self._put_back(connection)
                raise exchange.broken
            connection.start(exchange)
            try:
                await exchange.finished
            except StaleConnection:
                if exchange.head.method not in _IDEMPOTENT or exchange.head.has_body:
                    raise UpstreamInvalid(internal="a kept connection was closed under the request") from None
                self._slots.add("upstream_retries_total")
                exchange.finished = type(exchange.finished)()
                connection = await self._connect(pools)
            else:
                return

    async def _connect(self, pools: list[Pool]) -> UpstreamConnection:
        """A fresh connection to the first target that takes one."""
        for pool in pools[:-1]:
            try:
                return await self._tasks.spawn(pool.connect(), name="upstream.connect", awaited=True)
            except UpstreamUnreachable:
                continue
        return await self._tasks.spawn(pools[-1].connect(), name="upstream.connect", awaited=True)

    @staticmethod
    def _put_back(connection: UpstreamConnection) -> None:
        if not connection.transport.is_closing():
            connection.owner.release(connection)

    def _targets_of(self, spec: Upstream) -> _Targets:
        known = self._targets.get(spec.name)
        if known is not None and (known.spec is spec or known.spec == spec):
            return known
        if known is not None:
            for pool in known.pools:
                pool.close()
        pools = [Pool(spec, target, self._deadlines, self._outbox, self._slots) for target in spec.targets]
        targets = self._targets[spec.name] = _Targets(spec, pools)
        return targets

    def close(self) -> None:
        """Close every idle connection."""
        for targets in self._targets.values():
            for pool in targets.pools:
                pool.close()
