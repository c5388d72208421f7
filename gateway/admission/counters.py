"""Quota counters as one sees them from outside: all there are, by whose and of which period they are.

For those who compare them with the ledger. Nothing of it is on a call's path.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import redis.asyncio
import redis.exceptions

from gateway.admission.charges import period_key
from gateway.admission.store import account_tag
from gateway.errors import StoreUnavailable
from gateway.model.policies import Period
from gateway.model.principal import Mode

_KEY = re.compile(rb"tw:\{([0-9]{1,19})([lt])\}:q:([^:]+):([a-z]+):([0-9]{1,15})")
_KEYS = "tw:{*}:q:*"
_AT_ONCE = 1000


class QuotaPeriod(NamedTuple):
    """What one counter counts: units of a meter by an account in a period."""

    account_id: int
    mode: Mode
    meter: str
    per: Period
    start_s: int


class QuotaCounters:
    """Reads the counters of every account. Raises StoreUnavailable when Redis can not say."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def read(self) -> AsyncIterator[tuple[QuotaPeriod, int]]:
        """Every counter once, and what it said at some moment meanwhile."""
        seen: set[QuotaPeriod] = set()
        cursor = 0
        while True:
            try:
                cursor, keys = await self._redis.scan(cursor, match=_KEYS, count=_AT_ONCE)
                known = {key: parsed for key in keys if (parsed := _parse(key)) is not None}
                values = await self._redis.mget(list(known)) if known else []
            except (redis.exceptions.RedisError, OSError) as error:
                raise StoreUnavailable(str(error) or type(error).__name__) from error
            for counted, value in zip(known.values(), values, strict=True):
                if value is not None and counted not in seen:
                    seen.add(counted)
                    yield counted, int(value)
            if cursor == 0:
                return


def counter_key(counted: QuotaPeriod) -> str:
    """The name of its counter in Redis."""
    tag = account_tag(counted.account_id, counted.mode)
    return f"tw:{{{tag}}}:{period_key(counted.meter, counted.per, counted.start_s)}"


def _parse(key: bytes | str) -> QuotaPeriod | None:
    match = _KEY.fullmatch(key) if isinstance(key, bytes) else None
    if match is None:
        return None
    account, mode, meter, per, start = match.groups()
    try:
        period = Period(per.decode())
    except ValueError:
        return None  # of a newer release
    live = Mode.LIVE if mode == b"l" else Mode.TEST
    return QuotaPeriod(int(account), live, meter.decode(), period, int(start))
