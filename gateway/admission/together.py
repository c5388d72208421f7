"""Calls of one loop tick that pay alike, decided by the store in one go.

It admits as many of them as can pay, in the order they came. So a busy account costs Redis one script call
for each tick of a worker, however many calls that brings, and nobody is told anything else than by himself.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gateway.admission.charges import Charges
from gateway.admission.decider import Bought, Decider
from gateway.admission.fields import granted_lines, leased_lines
from gateway.admission.store import EXACT, Ask, Decision, Status, charged_before
from gateway.inline import Wait, drive
from gateway.model.periods import Calendar
from gateway.model.policies import ChargePlan

log = logging.getLogger("tollway.admission")

ROUNDS = 3
"""When only some can pay the others ask again together; after that each by itself, all in one write."""
PLENTY = 16
"""Of what is left these calls paid at most such a part: then windows are the same for all, as in a lease."""

Told = tuple[Charges, Decision, bytes]
"""A decision, what it is about, and the lines about limits for the call if it is admitted."""
_Key = tuple[str, str, tuple[str, ...] | None]


class _Group:
    """Calls of an account under a plan. Should its calendar just change, that of the first counts."""

    __slots__ = ("buckets", "by", "plan", "tag", "waiting")

    def __init__(self, tag: str, plan: ChargePlan, buckets: tuple[str, ...] | None, by: Calendar) -> None:
        self.tag = tag
        self.plan = plan
        self.buckets = buckets
        self.by = by
        self.waiting: list[Wait[Told]] = []


class Together:
    """Every call of one worker that is decided exactly."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._groups: dict[_Key, _Group] = {}

    def decide(self, tag: str, plan: ChargePlan, buckets: tuple[str, ...] | None, by: Calendar) -> Wait[Told]:
        """The decision on one call. Fails with StoreUnavailable when there is none."""
        key = (tag, plan.id, buckets)
        group = self._groups.get(key)
        if group is None:
            if not self._groups:
                asyncio.get_running_loop().call_soon(self._ask)
            group = self._groups[key] = _Group(tag, plan, buckets, by)
        wait: Wait[Told] = Wait()
        group.waiting.append(wait)
        return wait

    def _ask(self) -> None:
        groups, self._groups = self._groups, {}
        now_ms = self._decider.now_ms()
        for group in groups.values():
            self._ask_about(group, now_ms)

    def _ask_about(self, group: _Group, now_ms: int) -> None:
        """Without a coroutine: the first answer is nearly always the last."""
        ask = _ask_for(group.waiting)
        try:
            charges, asked = self._decider.ask(group.tag, group.plan, ask, group.buckets, group.by, now_ms)
        except Exception as error:  # a defect of ours, too: each call hears of it, and none waits for ever
            _fail(group.waiting, error)
        else:
            asked.when_done(partial(self._heard, group, charges, asked))

    def _heard(self, group: _Group, charges: Charges, asked: Wait[Decision]) -> None:
        try:
            decision = asked.result()
            if decision.status is not Status.OTHER_PERIOD:
                group.waiting = _answer(group.waiting, (charges, decision))
        except Exception as error:  # as above
            _fail(group.waiting, error)
        else:
            if group.waiting:
                drive(self._decide(group), _ended)

    async def _decide(self, group: _Group) -> None:
        waiting = group.waiting
        try:
            for _ in range(ROUNDS - 1):
                ask = _ask_for(waiting)
                bought = await self._decider.decide(group.tag, group.plan, ask, group.buckets, group.by)
                waiting = _answer(waiting, bought)
                if not waiting:
                    return
        except Exception as error:  # as above
            _fail(waiting, error)
            return
        for wait in waiting:
            drive(self._decide_alone(group, wait), _ended)

    async def _decide_alone(self, group: _Group, wait: Wait[Told]) -> None:
        try:
            bought = await self._decider.decide(group.tag, group.plan, EXACT, group.buckets, group.by)
        except Exception as error:  # as above
            wait.fail(error)
        else:
            _answer([wait], bought)


def _ask_for(waiting: list[Wait[Told]]) -> Ask:
    return EXACT if len(waiting) == 1 else Ask(calls=len(waiting))


def _answer(waiting: list[Wait[Told]], bought: Bought) -> list[Wait[Told]]:
    """Tell those about whom it is decided; who is left."""
    charges, decision = bought
    if decision.status is not Status.ADMITTED:  # if not one can pay, nobody can
        for wait in waiting:
            wait.set((charges, decision, b""))
        return []
    number = decision.calls
    if number == len(waiting) == 1:
        waiting[0].set((charges, decision, granted_lines(charges, decision)))
        return []
    if number > 1 and _is_plenty(charges, decision):
        _answer_alike(waiting[:number], charges, decision)
    else:
        for place, wait in enumerate(waiting[:number]):
            mine = charged_before(charges, decision, number - 1 - place)
            wait.set((charges, mine, granted_lines(charges, mine)))
    return waiting[number:]


def _fail(waiting: list[Wait[Told]], error: Exception) -> None:
    for wait in waiting:
        wait.fail(error)


def _is_plenty(charges: Charges, decision: Decision) -> bool:
    """Whether what all of these calls paid is little against what is left."""
    if any(decision.wait_ms):
        return False
    costs = zip(decision.left, charges.costs, strict=True)
    return all(left >= PLENTY * decision.calls * cost for left, cost in costs)


def _answer_alike(waiting: list[Wait[Told]], charges: Charges, decision: Decision) -> None:
    """They differ in what is left alone; windows and order are those of the first."""
    later = len(waiting)
    lines, shown = leased_lines(charges, decision, later - 1)
    counts = [(decision.left[one], charges.costs[one]) for one in shown]
    for wait in waiting:
        later -= 1
        wait.set((charges, decision, lines % tuple([left + later * cost for left, cost in counts])))


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("calls could not be decided together", exc_info=error)
