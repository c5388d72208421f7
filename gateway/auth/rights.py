"""Whether a caller that was let in would be let in again: for calls that last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.auth.cache import KeyCache
from gateway.auth.lookups import KeyLookups
from gateway.auth.scopes import expect_scopes
from gateway.clock import Clock
from gateway.errors import (
    AccountSuspended,
    GatewayError,
    InsufficientScope,
    KeyRestricted,
    Unauthenticated,
)
from gateway.model.exchange import Exchange
from gateway.model.principal import Principal

ASKED_AT_ONCE = 32


class Rights:
    """What became of callers, as far as the cache of keys knows: it is told of every change.

    A caller that came without a key of ours (no digest) is judged by its expiry alone.
    """

    def __init__(self, cache: KeyCache, lookups: KeyLookups, clock: Clock) -> None:
        self._entries, self._negative = cache.entries, cache.negative
        self._lookups = lookups
        self._clock = clock

    def of(self, exchange: Exchange) -> tuple[str, GatewayError | None] | None:
        """The tier by now of whoever calls, and why it would be refused. None: that has to be asked."""
        principal = exchange.principal
        assert principal is not None, "admitted calls have a principal"
        now_us = self._clock.monotonic_us()
        entry = self._entries.get(principal.digest)
        if entry is not None and entry.fresh_until_us > now_us:
            if not entry.active:
                return entry.principal.tier, AccountSuspended(internal="suspended while a call was open")
            return entry.principal.tier, self._expired(entry.principal) or _out_of_reach(
                entry.principal, exchange
            )
        if self._negative.get(principal.digest, 0) > now_us:
            return principal.tier, Unauthenticated(internal="revoked or expired while a call was open")
        expired = self._expired(principal)
        if expired is not None or not principal.digest:
            return principal.tier, expired
        return None

    async def ask(self, principals: Sequence[Principal]) -> None:
        """Find out about callers of whom nothing is known, unless Postgres is gone: then nobody can say."""
        for first in range(0, len(principals), ASKED_AT_ONCE):
            if self._lookups.quiet:
                return
            some = principals[first : first + ASKED_AT_ONCE]
            await asyncio.gather(*[self._lookups.ask(principal.digest) for principal in some])

    def _expired(self, principal: Principal) -> GatewayError | None:
        expires_at_us = principal.expires_at_us
        if expires_at_us is None or expires_at_us > self._clock.now_us():
            return None
        return Unauthenticated(internal="expired while a call was open")


def _out_of_reach(principal: Principal, exchange: Exchange) -> GatewayError | None:
    """What a key may be used for can change. Of tokens it is said once: by themselves."""
    route = exchange.route
    if not principal.key or route is None:
        return None
    if principal.restrictions is not None:
        restrictions, method = principal.restrictions, exchange.head.method
        if refusal := restrictions.refusal(route.name, method, exchange.client_address):
            return KeyRestricted(refusal, internal="restricted while a call was open")
    try:
        expect_scopes(principal, route.access.scopes)
    except InsufficientScope as error:
        error.internal = "scopes were taken away while a call was open"
        return error
    return None
