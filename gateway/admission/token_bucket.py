"""Token buckets as plain arithmetic: the Python twin of `bucket.lua`, number for number.

A level is kept in tokens x period_ms, so that whole numbers stay whole: each ms brings `flow.tokens`.
Lua has only doubles, hence the floats; whole numbers below 2^53 are exact in them.

Invariant: tokens + what unexpired holders hold <= burst. So whatever holders spend and whenever, no interval
of `t` seconds sees more than burst + rate x t calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, floor, gcd
from typing import NamedTuple

from gateway.model.policies import Limit

STEP_BACK_MAX_MS = 60_000
"""A clock that steps back further was wrong before: wait for it no longer."""
LEASE_MS = 500
"""How long calls bought in advance may be made, counted by the buyer from before it asked."""
HOLD_MS = 750
"""How long the store keeps room for them. Longer than a lease, so that what was not used can come back."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A limit in lowest terms: `tokens` per `period_ms` flow in, `burst` fit."""

    tokens: int
    period_ms: int
    burst: int

    @classmethod
    def of(cls, limit: Limit) -> Flow:
        shared = gcd(limit.tokens, limit.period_ms)
        return cls(limit.tokens // shared, limit.period_ms // shared, limit.burst)


@dataclass(frozen=True, slots=True)
class Hold:
    """Tokens a holder took out in advance and may spend until `until_ms`."""

    tokens: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """The state of one bucket, as the store keeps it."""

    level: float  # tokens x period_ms
    at_ms: int
    period_ms: int
    holds: Mapping[str, Hold] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Whole tokens in it, those held not included."""
        return floor(self.level / self.period_ms)

    @property
    def held(self) -> int:
        return sum(hold.tokens for hold in self.holds.values())


class Spend(NamedTuple):
    """What came of an attempt to spend. `wait_ms` is 0 when it was allowed."""

    allowed: bool
    bucket: Bucket
    wait_ms: int


def full(flow: Flow, now_ms: int) -> Bucket:
    """A bucket nobody has used lately."""
    return Bucket(float(flow.burst) * flow.period_ms, now_ms, flow.period_ms)


def spend(bucket: Bucket, flow: Flow, cost: int, now_ms: int) -> Spend:
    """Take `cost` tokens if they are there; otherwise say how long to wait."""
    refilled = refill(bucket, flow, now_ms)
    wait = wait_ms(refilled, flow, cost, now_ms)
    return Spend(wait == 0, refilled if wait else take(refilled, cost), wait)


def refill(bucket: Bucket, flow: Flow, now_ms: int, hold_ms: int = HOLD_MS) -> Bucket:
    """The bucket at `now_ms`: what flowed in, without holds that ended. None lasts longer than `hold_ms`."""
    level, at_ms = bucket.level, bucket.at_ms
    if bucket.period_ms != flow.period_ms:  # the policy changed: the same tokens in new units
        level = float(floor(level / bucket.period_ms * flow.period_ms))
    if at_ms - now_ms > STEP_BACK_MAX_MS:
        at_ms = now_ms
    now_ms = max(now_ms, at_ms)  # a clock stepping back mints nothing
    holds = {
        name: Hold(hold.tokens, min(hold.until_ms, now_ms + hold_ms)) for name, hold in bucket.holds.items()
    }
    # In the order they end: until its end a hold keeps room in the bucket that must not fill up.
    for name, hold in sorted(bucket.holds.items(), key=lambda item: item[1].until_ms):
        if hold.until_ms <= now_ms:
            level, at_ms = _flow_in(level, at_ms, flow, holds, hold.until_ms)
            del holds[name]
    level, at_ms = _flow_in(level, at_ms, flow, holds, now_ms)
    return Bucket(level, at_ms, flow.period_ms, holds)


def _flow_in(
    level: float, at_ms: int, flow: Flow, holds: Mapping[str, Hold], until_ms: int
) -> tuple[float, int]:
    elapsed_ms = max(0, until_ms - at_ms)
    return min(_room(flow, holds), level + float(elapsed_ms) * flow.tokens), at_ms + elapsed_ms


def _room(flow: Flow, holds: Mapping[str, Hold]) -> float:
    """The highest level allowed beside these holds."""
    return float(max(0, flow.burst - sum(hold.tokens for hold in holds.values()))) * flow.period_ms


def wait_ms(bucket: Bucket, flow: Flow, cost: int, now_ms: int) -> int:
    """0 when the refilled `bucket` can pay `cost`; else how long until it can if nobody else takes any."""
    missing = float(cost) * flow.period_ms - bucket.level
    if missing <= 0:
        return 0
    ready_ms = bucket.at_ms + ceil(missing / flow.tokens)
    if cost > flow.burst - bucket.held:  # there is no room for that many before the holds end
        ready_ms = max([ready_ms, *(hold.until_ms for hold in bucket.holds.values())])
    return ready_ms - now_ms


def take(bucket: Bucket, tokens: int) -> Bucket:
    """`tokens` less; the caller has made sure that they are there."""
    return replace(bucket, level=bucket.level - float(tokens) * bucket.period_ms)


def settle(bucket: Bucket, flow: Flow, tokens: int) -> Bucket:
    """A call turned out cheaper by `tokens`, or dearer if below 0, than what it took; holds are not touched.

    It may end below empty, by at most a burst: the next calls wait until that has flowed in.
    """
    level = bucket.level + float(tokens) * bucket.period_ms
    return replace(
        bucket, level=max(-float(flow.burst) * bucket.period_ms, min(level, _room(flow, bucket.holds)))
    )


def full_after_ms(bucket: Bucket, flow: Flow) -> int:
    """How long after its `at_ms` it is full whatever it holds."""
    return ceil((float(flow.burst) * flow.period_ms + max(0.0, -bucket.level)) / flow.tokens) + HOLD_MS


def keep_hold(bucket: Bucket, flow: Flow, holder: str, hold: Hold) -> Bucket:
    """Note that `holder` holds what `hold` says, and nothing else of this bucket."""
    holds = {name: other for name, other in bucket.holds.items() if name != holder}
    if hold.tokens > 0:
        holds[holder] = hold
    return replace(bucket, level=min(bucket.level, _room(flow, holds)), holds=holds)


def put_back(bucket: Bucket, flow: Flow, holder: str, tokens: int) -> Bucket:
    """Return unspent tokens of `holder`. What its hold no longer covers has expired and stays gone."""
    hold = bucket.holds.get(holder)
    if hold is None:
        return bucket
    returned = min(tokens, hold.tokens)
    level = bucket.level + float(returned) * bucket.period_ms
    rest = Hold(hold.tokens - returned, hold.until_ms)
    return keep_hold(replace(bucket, level=level), flow, holder, rest)
