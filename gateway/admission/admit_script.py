"""The script that decides, called once for the calls of a loop tick.

Each call is decided by itself, in the order they came, and hears of nothing but itself. What calls have in
common is said once: plans are few, and their numbers are most of what there is to say.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple, cast

import hiredis

from gateway.admission.charges import Charges
from gateway.admission.redis_time import RedisTime
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import Ask, Decision, Status
from gateway.admission.token_bucket import HOLD_MS
from gateway.admission.trust import Trust
from gateway.errors import CountersLost, StoreRefused, StoreUnavailable
from gateway.inline import Wait, drive
from gateway.storage.redis_tick import OUTSTANDING_MAX, Args
from gateway.storage.tick_client import TickClient

log = logging.getLogger("tollway.admission")

CALLS_MAX = 32
"""Decided by one script call, in less than a millisecond: meanwhile Redis serves nobody else."""
TOO_LATE = (Status.TOO_LATE.value, 0, 0)
STATUSES = tuple(Status)
"""By their numbers; to ask the enumeration for each call is slower."""


def full_names(tag: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """What counters of an account are called in Redis; see `store.counter_name`."""
    prefix = f"tw:{{{tag}}}:"
    return tuple([prefix + name if name[0] != "{" else "tw:" + name for name in names])


class _Call(NamedTuple):
    tag: str
    charges: Charges
    ask: Ask
    wait: Wait[Decision]


class _Sheet:
    """Calls for one script call, and what `admit.lua` wants to be told of them."""

    __slots__ = ("_forms", "_of_calls", "_of_forms", "calls", "has_quotas", "keys")

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.keys: list[str] = []
        self.has_quotas = False
        self._forms: dict[tuple[object, ...], int] = {}
        self._of_forms: list[str | int] = []
        self._of_calls: list[str | int] = []

    def add(self, call: _Call) -> None:
        tag, charges, ask, _ = call
        # The same numbers are the same object; those of all calls on the sheet live as long as it does.
        alike = (id(charges.numbers), id(charges.most), ask[:4], ask.scarce)
        form = self._forms.get(alike)
        if form is None:
            form = self._forms[alike] = len(self._forms) + 1
            wanted = -ask.wanted if ask.scarce else ask.wanted
            counts = len(charges.limits), len(charges.quotas), len(charges.slot_keys)
            self._of_forms += (ask.holder, ask.calls, wanted, ask.held, *counts)
            self._of_forms += charges.numbers
            self._of_forms += charges.most
        self._of_calls.append(form)
        if charges.slot_keys:
            self._of_calls.append(ask.slot)
        self.keys += full_names(tag, charges.keys + charges.slot_keys)
        self.has_quotas = self.has_quotas or bool(charges.quotas)
        self.calls.append(call)

    def arguments(self, time: RedisTime, server: str, distrust: int) -> Args:
        head = (time.given(), time.deadline_ms(), HOLD_MS, SLOT_MS, server, distrust, len(self._forms))
        return (*head, *self._of_forms, *self._of_calls)


class AdmitScript:
    """`admit.lua` with what precedes it, for the calls of one worker.

    `calls_max`: for one script call; 1 where the keys of two calls do not lie together.
    """

    def __init__(
        self,
        redis: TickClient,
        source: str,
        time: RedisTime,
        trust: Trust | None,
        *,
        calls_max: int = CALLS_MAX,
    ) -> None:
        self._redis = redis
        self._script = redis.script(source)
        self._time = time
        self._trust = trust
        self._calls_max = calls_max
        self._sheet = _Sheet()
        self._is_ending = False
        self._waiting = 0

    def decide(self, tag: str, charges: Charges, ask: Ask) -> Wait[Decision]:
        """The decision on one call. StoreUnavailable within the client's timeout when there is none.

        CountersLost when the ledger does not vouch for a quota counter.
        """
        wait: Wait[Decision] = Wait()
        if self._waiting >= OUTSTANDING_MAX:
            wait.fail(StoreUnavailable("too many calls wait for Redis", unsent=True))
            return wait
        calls = self._sheet.calls
        if not self._is_ending and self._calls_max > 1:
            self._is_ending = True
            asyncio.get_running_loop().call_soon(self._end_tick)
        self._sheet.add(_Call(tag, charges, ask, wait))
        self._waiting += 1
        if len(calls) >= self._calls_max:
            self._send()
        return wait

    def _end_tick(self) -> None:
        self._is_ending = False
        self._send()
        self._redis.flush()

    def _send(self) -> None:
        if self._sheet.calls:
            sheet, self._sheet = self._sheet, _Sheet()
            drive(self._run(sheet), _ended)

    async def _run(self, sheet: _Sheet) -> None:
        told: list[Decision | Exception]
        try:
            now_ms, replies = await self._ask(sheet)
            told = [self._told(call, now_ms, one) for call, one in zip(sheet.calls, replies, strict=True)]
        except StoreRefused as refused:
            if len(sheet.calls) > 1:
                self._send_each(sheet)
                return
            told = [refused]
        except Exception as error:  # a defect of ours, too: each call hears of it, and none waits for ever
            told = [error] * len(sheet.calls)
        self._waiting -= len(told)
        for call, answer in zip(sheet.calls, told, strict=True):
            if type(answer) is Decision:
                call.wait.set(answer)
            else:
                call.wait.fail(cast("Exception", answer))

    async def _ask(self, sheet: _Sheet) -> tuple[int, list[Any]]:
        """Redis's time and what it says of each call."""
        trust, server, distrust, keys = self._trust, "", 0, sheet.keys
        if trust is not None and sheet.has_quotas:
            mark, server, distrust = trust.question(sheet.calls[0].tag)
            keys = [*keys, mark]
        arguments = sheet.arguments(self._time, server, distrust)
        now_ms, *replies = await self._redis.evalsha(self._script, tuple(keys), arguments)
        self._time.seen(now_ms)
        return now_ms, replies or [TOO_LATE] * len(sheet.calls)

    def _told(self, call: _Call, now_ms: int, reply: Any) -> Decision | Exception:
        if type(reply) is hiredis.ReplyError:
            return StoreRefused(str(reply))
        if reply[0] == Status.UNTRUSTED and self._trust is not None:
            self._trust.doubt(call.tag)
            return CountersLost("the quota counters are being rebuilt from the ledger")
        end = 3 + 2 * len(call.charges.keys)
        left, wait_ms, in_use = tuple(reply[3:end:2]), tuple(reply[4:end:2]), tuple(reply[end:])
        return Decision(STATUSES[reply[0]], now_ms, reply[1], left, wait_ms, in_use, reply[2])

    def _send_each(self, sheet: _Sheet) -> None:
        """The first call failed, so that nothing was decided: that may have been its own fault alone."""
        for call in sheet.calls:
            alone = _Sheet()
            alone.add(call)
            drive(self._run(alone), _ended)


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("calls could not be decided", exc_info=error)
