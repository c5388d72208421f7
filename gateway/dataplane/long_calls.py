"""What a worker does about calls that last: notes how far they are, and ends those that lost their right.

One timer for all of them. A call is looked at from its second second on, so short calls never pay for this.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from gateway.auth.rights import Rights
from gateway.clock import Clock
from gateway.dataplane.connection import Connection
from gateway.errors import FeatureRequired, GatewayError, InsufficientScope, KeyRestricted, Unauthenticated
from gateway.metering.progress import LongCallNotes
from gateway.model.exchange import Exchange
from gateway.model.policies import PolicySet
from gateway.model.principal import Principal
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

TICK_S = 0.5
LONG_US = 1_000_000

Call = tuple[Connection, Exchange]
_REASONS = (((Unauthenticated, KeyRestricted, InsufficientScope), "key"), ((FeatureRequired,), "feature"))
log = logging.getLogger("tollway.dataplane")


class Server(Protocol):
    """Who knows the connections."""

    def admitted_before(self, instant_us: int) -> list[Call]:
        """Admitted calls under way that began before a monotonic instant."""


class Policies(Protocol):
    """Where the snapshot in use is found."""

    def policies(self) -> PolicySet:
        """The newest accepted policies."""


class LongCalls:
    """Looks after the long calls of one worker until its `run` is cancelled."""

    def __init__(
        self,
        server: Server,
        notes: LongCallNotes,
        rights: Rights,
        policies: Policies,
        *,
        clock: Clock,
        slots: Slots,
        tasks: Tasks,
    ) -> None:
        self._server, self._notes, self._rights, self._policies = server, notes, rights, policies
        self._clock, self._slots, self._tasks = clock, slots, tasks
        self._asking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look every `TICK_S`."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.look()
            except Exception:
                log.exception("long calls could not be looked after; it is tried again")

    def look(self) -> None:
        """Note progress that is due, end what has lost its right, ask about callers that changed."""
        now_us = self._clock.monotonic_us()
        calls = self._server.admitted_before(now_us - LONG_US)
        self._slots.set("long_calls", len(calls))
        self._notes.note((exchange for _, exchange in calls if exchange.begun), now_us)
        doubtful = self._judge(calls)
        if doubtful and (self._asking is None or self._asking.done()):
            self._asking = self._tasks.spawn(self._ask(doubtful), name="dataplane.ask_again")

    def _judge(self, calls: list[Call]) -> list[Principal]:
        """End calls whose callers would be refused now; the callers of whom nobody knows."""
        doubtful: dict[bytes, Principal] = {}
        for connection, exchange in calls:
            principal = exchange.principal
            assert principal is not None, "admitted calls have a principal"
            standing = self._rights.of(exchange)
            if standing is None:
                doubtful[principal.digest] = principal
            elif (refusal := standing[1] or self._feature_gone(exchange, standing[0])) is not None:
                self._end(connection, exchange, refusal)
        return list(doubtful.values())

    async def _ask(self, doubtful: list[Principal]) -> None:
        await self._rights.ask(doubtful)
        self._judge(self._server.admitted_before(self._clock.monotonic_us() - LONG_US))

    def _feature_gone(self, exchange: Exchange, tier_name: str) -> GatewayError | None:
        """A tier that is not in the policies is the operator's mistake: that ends nothing."""
        tier, route = self._policies.policies().tiers.get(tier_name), exchange.route
        if tier is None or route is None or route.requires <= tier.features:
            return None
        required: dict[str, object] = {"required": sorted(route.requires), "tier": tier_name}
        return FeatureRequired(internal="gone while a call was open", extensions=required)

    def _end(self, connection: Connection, exchange: Exchange, refusal: GatewayError) -> None:
        reason = next((name for kinds, name in _REASONS if isinstance(refusal, kinds)), "account")
        self._slots.add("long_calls_ended_total", 1, reason)
        log.info(
            "an open call was ended: its caller would be refused by now",
            extra={
                "code": refusal.code,
                "error": refusal.internal,
                "request_id": exchange.request_id.decode(),
                "route": exchange.route.name if exchange.route is not None else "",
            },
        )
        connection.withdraw(refusal)
