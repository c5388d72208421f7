"""Calls bought in advance, so that a worker can decide most calls of a busy account by itself.

An account's first call in a while is decided by the store alone. When calls follow faster than a lease lasts,
each purchase doubles, up to `SIZE_MAX`; what comes back unused shrinks the next one. The store grants a slice
only while there is plenty (`slices.py`), so a scarce limit is decided exactly; a `leased` plan buys then too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import count

from gateway.admission.charges import Charges
from gateway.admission.decider import Bought, Decider
from gateway.admission.fields import leased_lines
from gateway.admission.refunds import Refunds
from gateway.admission.store import Ask, Decision, Status, Store, account_tag
from gateway.admission.token_bucket import LEASE_MS
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.inline import Wait, drive
from gateway.model.exchange import NO_PERIODS
from gateway.model.policies import AdmissionMode, ChargePlan
from gateway.model.principal import Mode, Principal

log = logging.getLogger("tollway.admission")

SIZE_MAX = 256
"""Calls bought at once. At 256, buying costs a worker under one percent of what deciding each call would."""
LEASE_US = LEASE_MS * 1000
BUYING = -1
"""As `low`: a purchase is under way, another one is not begun."""

LeaseKey = tuple[int, str] | tuple[int, str, tuple[str, ...]]
"""Account and plan; under a scoped plan the buckets too."""


class Lease:
    """What one worker holds of one account under one plan. It lives a little longer than its calls."""

    __slots__ = (
        "buckets",
        "calendar",
        "calls",
        "charges",
        "cost",
        "cost_2",
        "costs",
        "expires_us",
        "holder",
        "key",
        "left",
        "left_2",
        "lefts",
        "lines",
        "low",
        "mode",
        "periods",
        "plan",
        "size",
        "stock",
        "tag",
        "touched_us",
        "waiting",
        "wanted",
    )

    def __init__(
        self, principal: Principal, plan: ChargePlan, holder: str, buckets: tuple[str, ...] | None = None
    ) -> None:
        self.key = lease_key(principal, plan, buckets)
        self.buckets = buckets
        self.mode = principal.mode
        self.tag = account_tag(principal.account_id, principal.mode)
        self.calendar = principal.calendar
        self.plan = plan
        self.holder = holder
        self.calls = 0  # that may be made until `expires_us`, of `stock` after the last purchase
        self.stock = 0
        self.low = 0  # with fewer calls than that, buy ahead
        self.expires_us = 0
        self.size = 0  # calls a purchase should bring
        self.wanted = 0  # calls the purchase under way may bring
        self.touched_us = -LEASE_US  # the last purchase
        self.waiting: list[Wait[None]] = []
        self.charges: Charges | None = None
        self.periods = NO_PERIODS
        self.lines = b""
        self.costs: tuple[int, ...] = ()
        self.lefts: tuple[int, ...] = ()
        self.left = self.left_2 = self.cost = self.cost_2 = 0

    @property
    def buying(self) -> bool:
        return self.low == BUYING

    def header(self) -> bytes:
        """The lines about limits for the call just taken. One or two charges is what most plans have."""
        calls, number = self.calls, len(self.lefts)
        if number == 2:
            return self.lines % (self.left + calls * self.cost, self.left_2 + calls * self.cost_2)
        if number == 1:
            return self.lines % (self.left + calls * self.cost)
        return self.lines % tuple(
            [left + calls * cost for left, cost in zip(self.lefts, self.costs, strict=True)]
        )

    def stock_up(self, charges: Charges, decision: Decision) -> None:
        """Take what a purchase brought into the lease."""
        self.calls += decision.extra
        self.stock = self.calls
        if not self.calls:
            return
        self.charges = charges
        self.periods = charges.periods
        self.lines, shown = leased_lines(charges, decision, self.calls)
        self.costs = tuple([charges.costs[position] for position in shown])
        self.lefts = tuple([decision.left[position] for position in shown])
        if shown:
            self.left, self.cost = self.lefts[0], self.costs[0]
        if len(shown) > 1:
            self.left_2, self.cost_2 = self.lefts[1], self.costs[1]

    def next_size(self, now_us: int) -> int:
        """Twice as many if the last purchase was gone in half its time."""
        if now_us - self.touched_us < LEASE_US // 2:
            return min(SIZE_MAX, max(1, self.size * 2))
        return self.size


def lease_key(principal: Principal, plan: ChargePlan, buckets: tuple[str, ...] | None) -> LeaseKey:
    """What a lease is found by."""
    if buckets is None:
        return principal.account_id, plan.id
    return principal.account_id, plan.id, buckets


class Leases:
    """Every lease of one worker. `holder` names the worker and is never used again by another one."""

    def __init__(
        self,
        store: Store,
        decider: Decider,
        refunds: Refunds,
        clock: Clock,
        holder: str,
        on_work: Callable[[], None],
    ) -> None:
        self._store = store
        self._decider = decider
        self._refunds = refunds
        self._monotonic_us = clock.monotonic_us
        self._holder = holder
        self._on_work = on_work
        self._numbers = count(1)
        self.live: dict[LeaseKey, Lease] = {}
        self.test: dict[LeaseKey, Lease] = {}
        self._ends: deque[tuple[int, Lease]] = deque()

    def __len__(self) -> int:
        return len(self._ends)

    def open(self, principal: Principal, plan: ChargePlan, buckets: tuple[str, ...] | None = None) -> Lease:
        """The lease of this account under this plan, made if need be."""
        leases = self.live if principal.mode is Mode.LIVE else self.test
        lease = leases.get(lease_key(principal, plan, buckets))
        if lease is None:
            lease = Lease(principal, plan, f"{self._holder}.{next(self._numbers)}", buckets)
            leases[lease.key] = lease
        lease.calendar = principal.calendar  # it may have changed
        return lease

    def buy(self, lease: Lease, calls: int) -> Wait[Bought]:
        """Charge `calls` (0 or 1) and buy ahead in one script call. Fails with StoreUnavailable.

        It goes on by itself: a caller who leaves takes nothing with him.
        """
        now_us = self._monotonic_us()
        if lease.calls and now_us >= lease.expires_us:
            self._give_back(lease)
        lease.wanted = lease.next_size(now_us)
        lease.low = BUYING
        holder = lease.holder if lease.wanted or lease.stock else ""
        ask = Ask(holder, calls, lease.wanted, lease.calls, scarce=lease.plan.mode is AdmissionMode.LEASED)
        bought: Wait[Bought] = Wait()

        def ended(error: BaseException | None) -> None:
            if error is not None:
                bought.fail(error)

        drive(self._buy(lease, ask, now_us, bought), ended)
        return bought

    async def _buy(self, lease: Lease, ask: Ask, asked_us: int, bought: Wait[Bought]) -> None:
        try:
            charges, decision = await self._decider.decide(
                lease.tag, lease.plan, ask, lease.buckets, lease.calendar
            )
            self._stock_up(lease, charges, decision, asked_us)
        except Exception as error:  # a defect of ours, too: a purchase that never ends keeps others waiting
            self._end_purchase(lease, asked_us)
            if not isinstance(error, StoreUnavailable):  # perhaps nobody waits for it
                log.exception("a purchase failed")
            bought.fail(error)
        else:
            bought.set((charges, decision))
        finally:
            waiting, lease.waiting = lease.waiting, []
            for one in waiting:
                one.set(None)

    def _stock_up(self, lease: Lease, charges: Charges, decision: Decision, asked_us: int) -> None:
        if lease.calls and lease.periods != charges.periods:
            self._give_back(lease)  # they belong to a period that is over
        lease.size = min(lease.wanted, decision.extra)
        if decision.status is Status.ADMITTED:
            lease.stock_up(charges, decision)
            if lease.calls:
                period_left_us = (charges.ends_ms - decision.now_ms - 1) * 1000  # now is rounded down
                self._keep(lease, asked_us + min(LEASE_US, period_left_us))
        self._end_purchase(lease, asked_us)

    def _end_purchase(self, lease: Lease, asked_us: int) -> None:
        lease.low = lease.calls // 2
        lease.touched_us = asked_us
        if not lease.calls:
            self._keep(lease, asked_us + LEASE_US)

    def _keep(self, lease: Lease, until_us: int) -> None:
        lease.expires_us = until_us
        self._ends.append((until_us, lease))
        self._on_work()

    def expire(self, now_us: int) -> None:
        """Give back calls nobody made in time; forget leases nobody used."""
        while self._ends and self._ends[0][0] <= now_us:
            ended_us, lease = self._ends.popleft()
            if lease.expires_us == ended_us:
                self._expire(lease, now_us)

    def _expire(self, lease: Lease, now_us: int) -> None:
        used = lease.stock - lease.calls
        lease.expires_us = 0  # no other entry of the queue is about it
        if lease.calls:
            self._give_back(lease)
        if lease.buying:
            return
        if used > 0:
            lease.size = min(lease.size, used)
            self._keep(lease, now_us + LEASE_US)
        else:
            del (self.live if lease.mode is Mode.LIVE else self.test)[lease.key]

    def _give_back(self, lease: Lease) -> None:
        drive(self._send_back(lease), _ended)

    async def _send_back(self, lease: Lease) -> None:
        calls, charges = lease.calls, lease.charges
        lease.calls = lease.stock = 0
        if charges is None or not calls:
            return
        try:
            await self._store.give_back(lease.tag, charges, lease.holder, calls)
        except StoreUnavailable as lost:
            if lost.unsent:  # the tokens expire by themselves, the units do not
                for charge in charges.quotas:
                    self._refunds.add(lease.tag, charge.key, calls * charge.cost)

    async def close(self) -> None:
        """Give back every call, those of purchases under way included."""
        for lease in [*self.live.values(), *self.test.values()]:
            if lease.buying:
                wait: Wait[None] = Wait()
                lease.waiting.append(wait)
                await wait
            await self._send_back(lease)


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("a lease could not be given back", exc_info=error)
