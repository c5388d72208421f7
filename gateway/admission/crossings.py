"""Thresholds of quotas that were reached: fetched from Redis by whoever books them, then forgotten there."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import redis.asyncio

from gateway.admission.counters import QuotaPeriod, parse_counter, translated
from gateway.admission.period import Span

EVENTS = "tw:quota-events"
"""As in thresholds.lua. The script writes it with the charge, so there is none without the other; what is
fetched twice is booked once."""
AT_ONCE = 500
_FIELD = re.compile(r"(.+)\|([0-9]{1,19})\|([0-9]{1,4})")
_VALUE = re.compile(r"([0-9]{1,15})\|(-?[0-9]{1,19})\|([0-9]{1,15})\|([a-z0-9_-]+)")


class Crossing(NamedTuple):
    """A threshold that was reached: `percent` of `amount`, with `used` units."""

    period: QuotaPeriod
    quota: str
    amount: int
    percent: int
    used: int
    at_ms: int


class Crossings:
    """Those that nobody has booked yet. Everything raises StoreUnavailable when Redis can not say."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client
        self._cursor = 0

    async def fetch(self) -> dict[bytes, Crossing]:
        """Some of them, by what to `forget` them by; about `AT_ONCE`, others with the next call."""
        with translated():
            answer: Any = await self._redis.hscan(EVENTS, self._cursor, count=AT_ONCE)
        found: dict[bytes, bytes]
        self._cursor, found = answer
        read = {field: read_crossing(field.decode(), value.decode()) for field, value in found.items()}
        return {field: one for field, one in read.items() if one is not None}

    async def forget(self, fields: list[bytes]) -> None:
        """Those that are booked."""
        if fields:
            with translated():
                await self._redis.hdel(EVENTS, *fields)


def read_crossing(field: str, value: str) -> Crossing | None:
    """What the script wrote; None for what only a newer release understands."""
    names, facts = _FIELD.fullmatch(field), _VALUE.fullmatch(value)
    period = parse_counter(names[1].encode()) if names else None
    if names is None or facts is None or period is None:
        return None
    at_ms, used, ends_ms, quota = facts.groups()
    whole = period._replace(span=Span(period.span.start_s, int(ends_ms) // 1000))
    return Crossing(whole, quota, int(names[2]), int(names[3]), int(used), int(at_ms))
