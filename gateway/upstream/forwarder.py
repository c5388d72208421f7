"""One call to the upstream of its route."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway.deadlines import NEVER, Deadlines
from gateway.errors import GatewayError, UpstreamBusy, UpstreamInvalid, UpstreamUnreachable
from gateway.model.exchange import Exchange
from gateway.model.policies import Upstream
from gateway.outbox import Outbox
from gateway.outcomes import Outcome
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialling import Objection
from gateway.upstream.group import Group
from gateway.upstream.means import Means
from gateway.upstream.names import Names
from gateway.upstream.owner import StaleConnection
from gateway.upstream.parked import Moved, NotConnected, Parked
from gateway.upstream.pool import Pool
from gateway.upstream.retries import Tries
from gateway.upstream.total import TotalTime

log = logging.getLogger("tollway.upstream")

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""RFC 9110, section 9.2.2, without TRACE, which we refuse."""


_SERVED = Outcome.SERVED
_FAILURES = (Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_ABORTED, Outcome.TIMEOUT)


class Forwarder:
    """Sends calls to upstreams over kept connections."""

    def __init__(
        self,
        deadlines: Deadlines,
        outbox: Outbox,
        slots: Slots,
        tasks: Tasks,
        objection: Objection | None = None,
    ) -> None:
        """`objection`: says of a target that it is the gateway itself."""
        for gauge, *labels in (
            ("upstream_connections",),
            ("upstream_waiting",),
            ("upstream_targets", "up"),
            ("upstream_targets", "down"),
        ):
            slots.set(gauge, 0, *labels)  # what a worker that died left behind
        self._means = Means(deadlines, outbox, slots, tasks, Names(tasks), objection)
        self._cells = slots.cells
        self._groups: dict[str, Group] = {}
        self._closed = False

    def standing(self) -> list[dict[str, object]]:
        """Every target, how this worker sees it and how it uses it."""
        return [
            {
                "upstream": name,
                "target": pool.target.place,
                "up": pool.condition.up,
                "failed_calls": pool.deadline != NEVER,
                "failed_checks": pool.condition.checked_out,
                "connections": pool.connections,
                "in_use": pool.in_use,
            }
            for name, group in self._groups.items()
            for pool in group.pools
        ]

    def adopt(self, upstreams: Mapping[str, Upstream]) -> None:
        """Take the upstreams of a snapshot into use: open what is new, close what is gone or has changed.

        Problems with their files are logged; calls to such an upstream get 502 until they are mended. Calls
        that wait for a connection wait for one of the new upstream of that name.
        """
        gone = [group for name, group in self._groups.items() if upstreams.get(name) != group.spec]
        for group in gone:
            del self._groups[group.spec.name]
        for name, spec in upstreams.items():
            if name not in self._groups:
                self._open(spec).watch_targets()
        for group in gone:
            group.close()

    async def forward(self, exchange: Exchange) -> None:
        """Relay the call and its answer; returns when the answer is whole or broken off.

        Raises GatewayError while the caller has not been answered. Tries again, within the policy's budget,
        when nothing was sent, or when a kept connection turned out stale under an idempotent call without a
        body.
        """
        route = exchange.route
        assert route is not None, "routed before it is forwarded"
        broken = exchange.broken
        if broken is not None:
            raise broken
        # By name: a call that was routed before a reload goes where the upstream is now.
        group = self._groups.get(route.upstream.name) or self._open(route.upstream)
        group.calls += 1
        self._cells[group.calls_slot] += 1
        timeouts = route.timeouts or group.spec.timeouts
        total_s = timeouts.total_s
        total = TotalTime(exchange, total_s, self._means.deadlines) if total_s is not None else None
        try:
            pool = group.only or group.choose(exchange)
            tries = None
            connection = pool.take()
            if connection is None:
                tries = group.tries()
                connection = await self._connect(group, pool, Parked(exchange, timeouts), tries)
            while True:
                connection.start(exchange, timeouts)
                try:
                    await exchange.finished
                except StaleConnection as stale:
                    unsent = stale.unsent
                else:
                    if exchange.outcome is not _SERVED and exchange.outcome in _FAILURES:
                        self._cells[group.failures_slot] += 1
                    return
                tries = tries or group.tries()
                may = exchange.head.method in _IDEMPOTENT and not exchange.head.has_body
                if not (unsent or may) or not tries.again("stale", unsent=unsent):
                    closed = UpstreamInvalid(internal="a kept connection was closed under the request")
                    closed.target = connection.owner.target.place
                    raise closed
                exchange.finished = type(exchange.finished)()
                parked = Parked(exchange, timeouts, comes_back=True)
                connection = await self._connect(group, pool, parked, tries)
        except GatewayError as error:
            if error is not exchange.broken:  # else it is the caller who left
                self._cells[group.failures_slot] += 1
            raise
        finally:
            if total is not None:
                total.over()

    async def _connect(
        self, group: Group, pool: Pool | None, parked: Parked, tries: Tries
    ) -> UpstreamConnection:
        """A connection to this target, else to another.

        Nothing has been sent, so it does not matter what the call is; only how many are tried again.
        """
        exchange = parked.exchange
        while True:
            try:
                return await group.connect(parked, pool)
            except NotConnected as failed:
                if exchange.broken is not None or not group.may_connect(parked) or not tries.again("connect"):
                    raise failed.error from None
                pool = None
            except Moved:
                if self._closed:
                    raise UpstreamBusy(internal="the gateway stops") from None
                group = self._groups.get(group.spec.name) or self._open(group.spec)
                pool = group.choose(exchange)

    def _open(self, spec: Upstream) -> Group:
        group = self._groups[spec.name] = Group(spec, self._means)
        if any(target.tls for target in spec.targets):
            try:
                group.tls.context()
            except UpstreamUnreachable as problem:
                log.error(  # noqa: TRY400  says it all
                    "an upstream can not be called: mend its files; they are tried again for each connection",
                    extra={"upstream": spec.name, "error": problem.internal},
                )
        return group

    def close(self) -> None:
        """Close every idle connection; refuse what still waits for one."""
        self._closed = True
        for group in self._groups.values():
            group.close()
