"""Counters in Redis: exact across workers and machines."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gateway.admission.charges import Charges
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import NO_TOKENS, Ask, Decision, SlotNames, Status, Tokens
from gateway.admission.token_bucket import HOLD_MS
from gateway.admission.trust import Trust
from gateway.clock import Clock
from gateway.errors import CountersLost, StoreUnavailable
from gateway.storage.tick_client import TickClient

DRIFT_US_PER_MS = 1
"""An estimate of Redis's clock ages: clocks drift apart by less than a thousandth."""
STEP_US = 1_000_000
"""An estimate wrong by more than that is not late news: the clock was set."""


STATUSES = tuple(Status)
"""By their numbers; to ask the enumeration for each call is slower."""
DECIDES = ("evictions.lua", "bucket.lua", "slots.lua", "thresholds.lua", "admit.lua")
"""Parts of the script that decides. Behind `look.lua` it only looks."""


class RedisTime:
    """Redis's clock, estimated from its answers.

    An answer is read after it was written, so each one says "at least this much"; the largest counts.
    """

    __slots__ = ("_clock", "_offset_us", "_seen_us")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen_us = clock.monotonic_us()
        self._offset_us = clock.now_us() - self._seen_us  # until Redis says otherwise

    def now_ms(self) -> int:
        return (self._clock.monotonic_us() + self._offset_us) // 1000

    def seen(self, now_ms: int) -> None:
        """Redis just said that it was `now_ms`."""
        seen_us = self._clock.monotonic_us()
        offset_us = now_ms * 1000 - seen_us
        aged_us = self._offset_us - (seen_us - self._seen_us) * DRIFT_US_PER_MS // 1000
        if offset_us > aged_us or aged_us - offset_us > STEP_US:
            self._offset_us, self._seen_us = offset_us, seen_us


class Held(NamedTuple):
    """Tokens that workers have taken out of a bucket in advance, and how many workers."""

    tokens: int
    holders: int


class RedisStore:
    """The store of production. `time_from` replaces Redis's own clock, for tests.

    Without `trust` every counter is believed, and one that is missing is one that begins.
    `looks_only`: decisions are made as ever and nothing is charged; for `decide` alone.
    """

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
        self._time = RedisTime(clock)
        self._time_from = time_from
        self._deadline_ms = round(redis.timeout_s * 1000)  # nobody waits for longer
        self._admit = redis.script(
            script_source("look.lua", *DECIDES) if looks_only else script_source(*DECIDES)
        )
        self._give_back = redis.script(script_source("bucket.lua", "give_back.lua"))
        self._keep_slots = redis.script(script_source("bucket.lua", "slots.lua", "keep_slots.lua"))

    def now_ms(self) -> int:
        if self._time_from is not None:
            return self._time_from.now_us() // 1000
        return self._time.now_ms()

    def decide(self, tag: str, charges: Charges, ask: Ask) -> Coroutine[Any, Any, Decision]:
        """One script call; a second one when ours came too late because Redis's clock was not known yet.

        CountersLost when the ledger does not vouch for a quota counter.
        """
        return self._decide_by(self._admit, tag, charges, ask)

    async def _decide_by(self, script: str, tag: str, charges: Charges, ask: Ask) -> Decision:
        decision = await self._decide_once(script, tag, charges, ask)
        if decision.status is Status.TOO_LATE:
            decision = await self._decide_once(script, tag, charges, ask)
            if decision.status is Status.TOO_LATE:
                raise StoreUnavailable("Redis runs calls too late")
        return decision

    async def _decide_once(self, script: str, tag: str, charges: Charges, ask: Ask) -> Decision:
        given, deadline_ms = self._given_and_deadline()
        sets = len(charges.slot_keys)
        of_slots: tuple[str | int, ...] = (ask.slot, SLOT_MS, *charges.most) if sets else ()
        keys = _keys(tag, charges.keys + charges.slot_keys)
        trust, server, distrust = self._trust, "", 0
        if trust is not None and charges.quotas:
            mark, server, distrust = trust.question(tag)
            keys = (*keys, mark)
        reply: list[int] = await self._redis.evalsha(
            script,
            keys,
            (
                given,
                deadline_ms,
                ask.holder,
                HOLD_MS,
                ask.calls,
                -ask.wanted if ask.scarce else ask.wanted,
                ask.held,
                len(charges.limits),
                sets,
                server,
                distrust,
                *charges.numbers,
                *of_slots,
            ),
        )
        if self._time_from is None:
            self._time.seen(reply[1])
        if trust is not None and reply[0] == Status.UNTRUSTED:
            trust.doubt(tag)
            raise CountersLost("the quota counters are being rebuilt from the ledger")
        end = 4 + 2 * len(charges.keys)
        left, wait_ms, in_use = tuple(reply[4:end:2]), tuple(reply[5:end:2]), tuple(reply[end:])
        return Decision(STATUSES[reply[0]], reply[1], reply[2], left, wait_ms, in_use, reply[3])

    def _given_and_deadline(self) -> tuple[str | int, int]:
        if self._time_from is not None:
            return self._time_from.now_us() // 1000, 0
        return "", self._time.now_ms() + self._deadline_ms

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        numbers: list[int] = []
        for flow, cost in zip(charges.flows, charges.costs, strict=False):
            numbers += (flow.tokens, flow.period_ms, flow.burst, calls * cost)
        # What was charged before a loss is not in counters rebuilt after it: nothing is to come off.
        sure = self._trust is None or self._trust.believes(tag)
        numbers += [calls * charge.cost if sure else 0 for charge in charges.quotas]
        await self._run_give_back(_keys(tag, charges.keys), holder, len(charges.limits), numbers)

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        if self._trust is not None and not self._trust.believes(tag):
            units = {}  # as above
        keys = (*(key for key, _ in tokens), *units)
        numbers: list[int] = []
        for (_, flow), given in tokens.items():
            numbers += (flow.tokens, flow.period_ms, flow.burst, given)
        numbers += units.values()
        await self._run_give_back(_keys(tag, keys), "", len(tokens), numbers)

    async def renew(self, tag: str, slots: SlotNames) -> None:
        """Never late: a slot that was released meanwhile would come back."""
        for _ in range(2):  # the first may be late because Redis's clock was not known yet
            given, deadline_ms = self._given_and_deadline()
            status, now_ms = await self._run_keep_slots(tag, slots, (given, deadline_ms, SLOT_MS))
            if status != Status.TOO_LATE:
                return
            self._time.seen(now_ms)
        raise StoreUnavailable("Redis runs calls too late")

    async def release(self, tag: str, slots: SlotNames) -> None:
        given, _ = self._given_and_deadline()
        await self._run_keep_slots(tag, slots, (given, 0, 0))

    async def _run_keep_slots(
        self, tag: str, slots: SlotNames, head: tuple[str | int, int, int]
    ) -> tuple[int, int]:
        args: list[str | int] = list(head)
        for names in slots.values():
            args += (len(names), *names)
        status, now_ms = await self._redis.evalsha(self._keep_slots, _keys(tag, tuple(slots)), tuple(args))
        return status, now_ms

    async def held(self, tag: str, charges: Charges) -> tuple[Held, ...]:
        """What is taken out of each bucket in advance."""
        found = []
        for key in _keys(tag, charges.keys[: len(charges.limits)]):
            flat = await self._redis.call(("HGETALL", key))
            texts = [value for name, value in zip(flat[::2], flat[1::2], strict=True) if name[:2] == b"h:"]
            holds = [tuple(map(int, text.split(b":"))) for text in texts]
            tokens = [tokens for tokens, ends_ms in holds if ends_ms > self.now_ms()]
            found.append(Held(sum(tokens), len(tokens)))
        return tuple(found)

    async def _run_give_back(
        self, keys: tuple[str, ...], holder: str, buckets: int, numbers: list[int]
    ) -> None:
        given = "" if self._time_from is None else self._time_from.now_us() // 1000
        await self._redis.evalsha(self._give_back, keys, (given, holder, HOLD_MS, buckets, *numbers))


def counter_names(tag: str, charges: Charges) -> tuple[str, ...]:
    """What the counters of a call are called in Redis: buckets, quotas, sets of slots."""
    return _keys(tag, charges.keys + charges.slot_keys)


def _keys(tag: str, names: tuple[str, ...]) -> tuple[str, ...]:
    prefix = f"tw:{{{tag}}}:"
    return tuple([prefix + name if name[0] != "{" else "tw:" + name for name in names])


def script_source(*parts: str) -> str:
    folder = Path(__file__).parent
    return "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)
