"""The script that decides, called once for the calls of a loop tick.

Each call is decided by itself, in the order they came, and hears of nothing but itself. What calls have in
common is said once: plans are few, and their numbers are most of what there is to say. Numbers go packed.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator, Sequence
from typing import cast

from gateway.admission.charges import Charges
from gateway.admission.redis_time import RedisTime
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import EXACT, Ask, Decision, Status
from gateway.admission.token_bucket import HOLD_MS
from gateway.admission.trust import Trust
from gateway.errors import CountersLost, StoreRefused, StoreUnavailable
from gateway.inline import Wait, drive
from gateway.storage.redis_tick import OUTSTANDING_MAX, Args
from gateway.storage.tick_client import TickClient

log = logging.getLogger("tollway.admission")

CALLS_MAX = 32
"""Decided by one script call, in less than a millisecond: meanwhile Redis serves nobody else."""
NUMBERS_MAX = 2000
"""Answered by one script call. What Lua can hand over at once is 8,000."""
FAILED = 5
"""The status of a call that ended in an error of its own."""
HEAD = struct.Struct("<5d")
FORM = struct.Struct("<6d")
STATUSES = tuple(Status)
"""By their numbers; to ask the enumeration for each call is slower."""


def full_names(tag: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """What counters of an account are called in Redis; see `store.counter_name`."""
    prefix = f"tw:{{{tag}}}:"
    return tuple([prefix + name if name[0] != "{" else "tw:" + name for name in names])


_Call = tuple[str, Charges, Ask, Wait[Decision]]
"""Its account's tag, what it pays, how much is asked, and who waits for the decision."""
_Form = int | tuple[int, Ask]


class _Sheet:
    """Calls for one script call, and what `admit.lua` wants to be told of them."""

    __slots__ = ("_forms", "_of_calls", "_of_forms", "_slots", "calls", "has_quotas", "keys", "numbers")

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.keys: list[str] = []
        self.numbers = 1  # that will be answered
        self.has_quotas = False
        self._forms: dict[_Form, int] = {}
        self._of_forms: list[str | bytes] = []
        self._of_calls = bytearray()
        self._slots: list[str] = []

    def add(self, call: _Call) -> None:
        tag, charges, ask, _ = call
        # The same numbers are the same object; those of all calls on the sheet live as long as it does.
        numbers = id(charges.packed)
        alike: _Form = numbers if ask is EXACT else (numbers, ask._replace(slot=""))
        form = self._forms.get(alike)
        if form is None:
            form = self._forms[alike] = len(self._forms) + 1
            self._add_form(charges, ask)
        self._of_calls.append(form)
        keys = charges.keys
        if charges.slot_keys:
            self._slots.append(ask.slot)
            keys += charges.slot_keys
        self.keys += full_names(tag, keys)
        self.numbers += charges.told
        if charges.quotas:
            self.has_quotas = True
        self.calls.append(call)

    def _add_form(self, charges: Charges, ask: Ask) -> None:
        wanted = -ask.wanted if ask.scarce else ask.wanted
        counts = len(charges.limits), len(charges.quotas), len(charges.slot_keys)
        self._of_forms += (ask.holder, FORM.pack(ask.calls, wanted, ask.held, *counts) + charges.packed)
        self._of_forms += charges.marks

    def arguments(self, time: RedisTime, server: str, distrust: int) -> Args:
        head = HEAD.pack(time.deadline_ms(), HOLD_MS, SLOT_MS, distrust, len(self._forms))
        return (time.given(), head, server, *self._of_forms, bytes(self._of_calls), *self._slots)


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
        sheet = self._sheet
        if not self._is_ending and self._calls_max > 1:
            self._is_ending = True
            asyncio.get_running_loop().call_soon(self._end_tick)
        sheet.add((tag, charges, ask, wait))
        self._waiting += 1
        if len(sheet.calls) >= self._calls_max or sheet.numbers >= NUMBERS_MAX:
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
        told: Sequence[Decision | Exception]
        try:
            told = await self._ask(sheet)
        except StoreRefused as refused:
            if len(sheet.calls) > 1:
                self._send_each(sheet)
                return
            told = [refused]
        except Exception as error:  # a defect of ours, too: each call hears of it, and none waits for ever
            told = [error] * len(sheet.calls)
        self._waiting -= len(told)
        for (_, _, _, wait), answer in zip(sheet.calls, told, strict=True):
            if type(answer) is Decision:
                wait.set(answer)
            else:
                wait.fail(cast("Exception", answer))

    async def _ask(self, sheet: _Sheet) -> Sequence[Decision | Exception]:
        """What Redis says of each call. Too late: perhaps by our idea of its clock alone, now set right."""
        for _ in range(2):
            numbers, failures = await self._ask_once(sheet)
            if len(numbers) > 1:
                return self._told(sheet, numbers, iter(failures))
        raise StoreUnavailable("Redis runs calls too late")

    async def _ask_once(self, sheet: _Sheet) -> tuple[tuple[int, ...], list[bytes]]:
        trust, server, distrust, keys = self._trust, "", 0, sheet.keys
        if trust is not None and sheet.has_quotas:
            mark, server, distrust = trust.question(sheet.calls[0][0])
            keys = [*keys, mark]
        arguments = sheet.arguments(self._time, server, distrust)
        answer = await self._redis.evalsha(self._script, tuple(keys), arguments)
        packed, *failures = answer if type(answer) is list and answer else (answer,)
        numbers = _numbers_in(packed)
        if len(numbers) not in {1, sheet.numbers}:
            raise _unreadable(f"{sheet.numbers} numbers were to be answered, and there are {len(numbers)}")
        self._time.seen(numbers[0])
        return numbers, failures

    def _told(
        self, sheet: _Sheet, numbers: tuple[int, ...], failures: Iterator[bytes]
    ) -> list[Decision | Exception]:
        told: list[Decision | Exception] = []
        now_ms, at = numbers[0], 1
        for tag, charges, _, _ in sheet.calls:
            status, extra, calls = numbers[at : at + 3]
            end = at + charges.told
            sets = end - len(charges.slot_keys)
            if status < FAILED and status != Status.UNTRUSTED:
                left, waits_ms, in_use = (
                    numbers[at + 3 : sets : 2],
                    numbers[at + 4 : sets : 2],
                    numbers[sets:end],
                )
                told.append(Decision(STATUSES[status], now_ms, extra, left, waits_ms, in_use, calls))
            else:
                told.append(self._failed(tag, status, failures))
            at = end
        return told

    def _failed(self, tag: str, status: int, failures: Iterator[bytes]) -> Exception:
        if status == FAILED:
            return StoreRefused(next(failures, b"without a word").decode("utf-8", "replace"))
        if self._trust is not None:
            self._trust.doubt(tag)
        return CountersLost("the quota counters are being rebuilt from the ledger")

    def _send_each(self, sheet: _Sheet) -> None:
        """The first call failed, so that nothing was decided: that may have been its own fault alone."""
        for call in sheet.calls:
            alone = _Sheet()
            alone.add(call)
            drive(self._run(alone), _ended)


def _numbers_in(packed: object) -> tuple[int, ...]:
    if type(packed) is not bytes or len(packed) % 8:
        raise _unreadable("it is not packed numbers")
    return struct.unpack(f"<{len(packed) // 8}q", packed)


def _unreadable(why: str) -> StoreUnavailable:
    """Nobody asks again: some may have been charged."""
    return StoreUnavailable(f"the answer of Redis can not be read: {why}")


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("calls could not be decided", exc_info=error)
