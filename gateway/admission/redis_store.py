"""Counters in Redis: exact across workers and machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway.admission.admit_script import CALLS_MAX, AdmitScript, full_names
from gateway.admission.charges import Charges
from gateway.admission.redis_time import RedisTime
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import NO_TOKENS, Ask, Deciding, SlotNames, Status, Tokens
from gateway.admission.token_bucket import HOLD_MS
from gateway.admission.trust import Trust
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.storage.tick_client import TickClient

DECIDES = ("evictions.lua", "bucket.lua", "slots.lua", "thresholds.lua", "followers.lua", "admit.lua")
"""Parts of the script that decides. Behind `look.lua` it only looks."""

_HOLD = re.compile(rb"([0-9]+):([0-9]+)")
"""As in `bucket.lua`. What is another text is no hold."""


class Held(NamedTuple):
    """Tokens that workers have taken out of a bucket in advance, and how many workers."""

    tokens: int
    holders: int


class RedisStore:
    """The store of production. `time_from` replaces Redis's own clock, for tests.

    Without `trust` every counter is believed, and one that is missing is one that begins.
    `looks_only`: decisions are made as ever and nothing is charged; for `decide` alone.
    """

    calls_max = CALLS_MAX

    def __init__(
        self,
        redis: TickClient,
        clock: Clock,
        trust: Trust | None = None,
        *,
        time_from: Clock | None = None,
        looks_only: bool = False,
    ) -> None:
        self._redis = redis
        self._trust = trust
        self._time = RedisTime(clock, round(redis.timeout_s * 1000), time_from)
        before = ("look.lua",) if looks_only else ()
        self._admit = self._script(*before, *DECIDES)
        self._give_back = redis.script(script_source("bucket.lua", "followers.lua", "give_back.lua"))
        self._keep_slots = redis.script(script_source("bucket.lua", "slots.lua", "keep_slots.lua"))

    def _script(self, *parts: str) -> AdmitScript:
        return AdmitScript(
            self._redis, script_source(*parts), self._time, self._trust, calls_max=self.calls_max
        )

    def now_ms(self) -> int:
        return self._time.now_ms()

    def decide(self, tag: str, charges: Charges, ask: Ask) -> Deciding:
        """In one script call with others. CountersLost when the ledger does not vouch for a quota counter."""
        return self._admit.decide(tag, charges, ask)

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        numbers: list[int] = []
        for flow, cost in zip(charges.flows, charges.costs, strict=False):
            numbers += (flow.tokens, flow.period_ms, flow.burst, calls * cost)
        # What was charged before a loss is not in counters rebuilt after it: nothing is to come off.
        sure = self._trust is None or self._trust.believes(tag)
        numbers += [calls * charge.cost if sure else 0 for charge in charges.quotas]
        await self._run_give_back(full_names(tag, charges.keys), holder, len(charges.limits), numbers)

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        if self._trust is not None and not self._trust.believes(tag):
            units = {}  # as above
        keys = (*(key for key, _ in tokens), *units)
        numbers: list[int] = []
        for (_, flow), given in tokens.items():
            numbers += (flow.tokens, flow.period_ms, flow.burst, given)
        numbers += units.values()
        await self._run_give_back(full_names(tag, keys), "", len(tokens), numbers)

    async def renew(self, tag: str, slots: SlotNames) -> None:
        """Never late: a slot that was released meanwhile would come back."""
        for _ in range(2):  # the first may be late because Redis's clock was not known yet
            times = self._time.given(), self._time.deadline_ms()
            status, now_ms = await self._run_keep_slots(tag, slots, (*times, SLOT_MS))
            if status != Status.TOO_LATE:
                return
            self._time.seen(now_ms)
        raise StoreUnavailable("Redis runs calls too late")

    async def release(self, tag: str, slots: SlotNames) -> None:
        await self._run_keep_slots(tag, slots, (self._time.given(), 0, 0))

    async def _run_keep_slots(
        self, tag: str, slots: SlotNames, head: tuple[str | int, int, int]
    ) -> tuple[int, int]:
        args: list[str | int] = list(head)
        for names in slots.values():
            args += (len(names), *names)
        status, now_ms = await self._redis.evalsha(
            self._keep_slots, full_names(tag, tuple(slots)), tuple(args)
        )
        return status, now_ms

    async def held(self, tag: str, charges: Charges) -> tuple[Held, ...]:
        """What is taken out of each bucket in advance."""
        found = []
        for key in full_names(tag, charges.keys[: len(charges.limits)]):
            flat = await self._redis.call(("HGETALL", key))
            fields = zip(flat[::2], flat[1::2], strict=True)
            holds = [_HOLD.fullmatch(text) for name, text in fields if name[:2] == b"h:"]
            tokens = [int(one[1]) for one in holds if one is not None and int(one[2]) > self.now_ms()]
            found.append(Held(sum(tokens), len(tokens)))
        return tuple(found)

    async def _run_give_back(
        self, keys: tuple[str, ...], holder: str, buckets: int, numbers: list[int]
    ) -> None:
        arguments = (self._time.given(), holder, HOLD_MS, buckets, *numbers)
        await self._redis.evalsha(self._give_back, keys, arguments)


def counter_names(tag: str, charges: Charges) -> tuple[str, ...]:
    """What the counters of a call are called in Redis: buckets, quotas, sets of slots."""
    return full_names(tag, charges.keys + charges.slot_keys)


def script_source(*parts: str) -> str:
    folder = Path(__file__).parent
    return "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)
