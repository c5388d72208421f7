"""Quota counters as one sees them from outside: all there are, by whose and of which period they are.

For those who compare them with the ledger. Nothing of it is on a call's path.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import redis.asyncio
import redis.exceptions

from gateway.admission.charges import period_key
from gateway.admission.period import Span, period_at
from gateway.admission.presence import FORGOTTEN_AFTER_MS, JOURNALS
from gateway.admission.redis_store import script_source
from gateway.admission.store import account_tag
from gateway.admission.trust import MARK, name_of
from gateway.errors import StoreUnavailable
from gateway.model.periods import Period, parse_period
from gateway.model.principal import Mode

AFTER_PERIOD_MS = 3_600_000
"""Counters outlive their period by so much; as in admit.lua."""

_KEY = re.compile(rb"tw:\{([0-9]{1,19})([lt])\}:q:([^:]+):([0-9a-z]+):([0-9]{1,15})(?:-([0-9]{1,15}))?")
_UNITS = re.compile(rb"-?[0-9]{1,17}")
KEYS = "tw:{*}:q:*"
AT_ONCE = 1000
REBUILDING = "tw:rebuilding"
"""The token of the rebuild under way: gone with the data, so that nobody vouches for half of it."""
REBUILT_WITHIN_MS = 600_000
BEGIN = script_source("evictions.lua", "begin_rebuild.lua")
REBUILD = script_source("evictions.lua", "followers.lua", "counter.lua", "rebuild.lua")
MEND = script_source("evictions.lua", "followers.lua", "counter.lua", "mend.lua")
POST = script_source("evictions.lua", "followers.lua", "counter.lua", "post.lua")
MOVE = script_source("evictions.lua", "followers.lua", "counter.lua", "move.lua")
MOVED = 1 << 52
"""On top of what a counter counts when its account has left it; as in followers.lua."""
HEARD_WITHIN_MS = 7_200_000
"""Workers that Postgres can not reach go by what they knew of an account for half as long."""


class QuotaPeriod(NamedTuple):
    """What one counter counts: units of a meter by an account in a period."""

    account_id: int
    mode: Mode
    meter: str
    per: Period
    span: Span


class Move(NamedTuple):
    """Counters of one account and mode, each with the units that the ledger has: those that the account
    leaves, those that it keeps, and those that it goes over to.
    """

    left: Mapping[QuotaPeriod, int]
    kept: Mapping[QuotaPeriod, int]
    taken: Mapping[QuotaPeriod, int]


class QuotaCounters:
    """The counters of every account. Everything raises StoreUnavailable when Redis can not say."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def now_us(self) -> int:
        """Redis's clock: it decides which period it is."""
        with translated():
            seconds, microseconds = await self._redis.time()
        return seconds * 1_000_000 + microseconds

    async def read(self) -> AsyncIterator[tuple[QuotaPeriod, int]]:
        """Every counter once, and what it said at some moment meanwhile."""
        seen: set[QuotaPeriod] = set()
        cursor = 0
        while True:
            with translated():
                cursor, keys = await self._redis.scan(cursor, match=KEYS, count=AT_ONCE)
                known = {key: parsed for key in keys if (parsed := parse_counter(key)) is not None}
                values = await self._redis.mget(list(known)) if known else []
            for counted, value in zip(known.values(), values, strict=True):
                units = units_in(value)
                if units is not None and counted not in seen:
                    seen.add(counted)
                    yield counted, units
            if cursor == 0:
                return

    async def counted(self, periods: Sequence[QuotaPeriod]) -> dict[QuotaPeriod, int]:
        """What counters say; those that are missing are left out."""
        if not periods:
            return {}
        with translated():
            values = await self._redis.mget([counter_key(one) for one in periods])
        return known_units(periods, values)

    async def journals(self, now_us: int) -> set[str]:
        """Journals of all workers that may have charged calls in the periods that count."""
        since_ms = now_us // 1000 - FORGOTTEN_AFTER_MS
        with translated():
            await self._redis.zremrangebyscore(JOURNALS, "-inf", since_ms)
            found = await self._redis.zrange(JOURNALS, 0, -1)
        return {name.decode() if isinstance(name, bytes) else str(name) for name in found}

    async def forget_journals(self, finished: set[str]) -> None:
        """Journals that are booked to their end."""
        if finished:
            with translated():
                await self._redis.zrem(JOURNALS, *finished)

    async def server(self) -> str:
        """What the server is called, as workers call it."""
        with translated():
            return name_of(await self._redis.info("server"))

    async def vouched_for(self) -> str | None:
        """The server whose counters the ledger vouches for."""
        with translated():
            mark = await self._redis.get(MARK)
        return mark.decode() if isinstance(mark, bytes) else mark

    async def begin_rebuild(self, token: str) -> None:
        """From now on `raise_all` takes this token, and no other."""
        with translated():
            await self._redis.eval(BEGIN, 1, REBUILDING, token, str(REBUILT_WITHIN_MS))

    async def raise_all(
        self, token: str, counters: Sequence[tuple[QuotaPeriod, int]], *, vouch_for: str = ""
    ) -> bool:
        """Raise counters to so many units, make those that are missing, vouch for all of a server.

        False, and nothing is done, when data was lost since `begin_rebuild` or another one began.
        """
        keys, args = [REBUILDING, MARK], [token, vouch_for]
        for period, units in counters:
            keys.append(counter_key(period))
            args += (str(units), str(period.span.end_s * 1000 + AFTER_PERIOD_MS))
        with translated():
            return bool(await self._redis.eval(REBUILD, len(keys), *keys, *args))

    async def set_right(self, period: QuotaPeriod, units: int, *, lower_from: int | None) -> bool:
        """Make a counter say `units`. Lowered only from exactly `lower_from`. Whether it was changed."""
        keep_until_ms = period.span.end_s * 1000 + AFTER_PERIOD_MS
        expected = "" if lower_from is None else str(lower_from)
        with translated():
            return bool(
                await self._redis.eval(
                    MEND, 2, counter_key(period), MARK, str(units), str(keep_until_ms), expected
                )
            )

    async def move(self, move: Move) -> None:
        """What was used goes along, and what is still charged to the counters that are left; see move.lua."""
        counters, args = told_of(move)
        with translated():
            await self._redis.eval(MOVE, 1 + len(counters), MARK, *counters, *map(str, args))

    async def add(self, units: Mapping[QuotaPeriod, int], now_us: int) -> None:
        """Count units that no call has paid. Counters of periods that are over and gone are left so."""
        pipeline = self._redis.pipeline(transaction=False)
        for counters, args in told_of_posting(units, now_us):
            pipeline.eval(POST, 1 + len(counters), MARK, *counters, *map(str, args))
        with translated():
            await pipeline.execute()


def units_in(value: object) -> int | None:
    """What a counter says; None if it is missing, or no number of units, as in counter.lua."""
    if not isinstance(value, bytes) or not _UNITS.fullmatch(value):
        return None
    units = int(value)
    return units - MOVED if units >= MOVED else units


def told_of(move: Move) -> tuple[list[str], list[str | int]]:
    """The counters of a move, and what move.lua is told of them."""
    keys: list[str] = []
    args: list[str | int] = [HEARD_WITHIN_MS]
    for role, booked in move._asdict().items():
        for period, units in booked.items():
            keys.append(counter_key(period))
            args += (role, period.meter, units, period.span.end_s * 1000 + AFTER_PERIOD_MS)
    return keys, args


def told_of_posting(units: Mapping[QuotaPeriod, int], now_us: int) -> list[tuple[list[str], list[str | int]]]:
    """What post.lua is told, once for each account and mode: counters, and for each its units and its end."""
    told: dict[str, tuple[list[str], list[str | int]]] = {}
    for period, count in units.items():
        over = period.span.end_s * 1_000_000 <= now_us
        counters, args = told.setdefault(account_tag(period.account_id, period.mode), ([], []))
        counters.append(counter_key(period))
        args += (count, "" if over else period.span.end_s * 1000 + AFTER_PERIOD_MS)
    return list(told.values())


def known_units(periods: Sequence[QuotaPeriod], values: Sequence[object]) -> dict[QuotaPeriod, int]:
    """Of each counter what it says, in the order of the values. Without those that say nothing."""
    told = zip(periods, map(units_in, values), strict=True)
    return {period: units for period, units in told if units is not None}


def counter_key(counted: QuotaPeriod) -> str:
    """The name of its counter in Redis."""
    tag = account_tag(counted.account_id, counted.mode)
    return f"tw:{{{tag}}}:{period_key(counted.meter, counted.per, counted.span)}"


@contextmanager
def translated() -> Iterator[None]:
    """What goes wrong with Redis, as StoreUnavailable."""
    try:
        yield
    except (redis.exceptions.RedisError, OSError) as error:
        raise StoreUnavailable(str(error) or type(error).__name__) from error


def parse_counter(key: bytes | str) -> QuotaPeriod | None:
    """What a counter counts, by its name; None for another key."""
    match = _KEY.fullmatch(key) if isinstance(key, bytes) else None
    if match is None:
        return None
    account, mode, meter, per, start, end = match.groups()
    try:
        period = parse_period(per.decode())
    except ValueError:
        return None  # of a newer release
    live = Mode.LIVE if mode == b"l" else Mode.TEST
    span = period_at(period, int(start) * 1_000_000) if end is None else Span(int(start), int(end))
    return QuotaPeriod(int(account), live, meter.decode(), period, span)
