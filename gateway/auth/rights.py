"""Whether a caller that was let in would be let in again: for calls that last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.auth.cache import KeyCache
from gateway.auth.lookups import KeyLookups
from gateway.clock import Clock
from gateway.errors import AccountSuspended, GatewayError, Unauthenticated
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

    def of(self, principal: Principal) -> tuple[str, GatewayError | None] | None:
        """The caller's tier by now, and why it would be refused. None: that has to be asked."""
        now_us = self._clock.monotonic_us()
        entry = self._entries.get(principal.digest)
        if entry is not None and entry.fresh_until_us > now_us:
            if not entry.active:
                return entry.principal.tier, AccountSuspended(internal="suspended while a call was open")
            return entry.principal.tier, self._expired(entry.principal)
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
