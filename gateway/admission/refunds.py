"""What calls were charged and did not cost, or cost beyond that, on its way to counters and buckets.

Collected, sent together, never waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.admission.store import Store
from gateway.admission.token_bucket import Flow
from gateway.errors import StoreUnavailable
from gateway.inline import drive

log = logging.getLogger("tollway.admission")

ACCOUNTS_MAX = 10_000
"""Accounts with units on their way, per worker. Beyond that what was charged stays as it was."""


class _Pending:
    """What is to go to the counters of one account. Above 0 it is given back, below 0 it is charged."""

    __slots__ = ("tokens", "units")

    def __init__(self) -> None:
        self.units: dict[str, int] = {}
        self.tokens: dict[tuple[str, Flow], int] = {}


class Refunds:
    """What is to go back. Units may get lost when Redis is, never be given back twice."""

    def __init__(self, store: Store, on_work: Callable[[], None]) -> None:
        self._store = store
        self._on_work = on_work
        self._pending: dict[str, _Pending] = {}
        self._stuck = False

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, tag: str, key: str, units: int) -> None:
        """Take `units` off the counter `key` of the account `tag` soon; below 0 add them."""
        if units and (pending := self._of(tag)) is not None:
            pending.units[key] = pending.units.get(key, 0) + units

    def add_tokens(self, tag: str, key: str, flow: Flow, tokens: int) -> None:
        """Put `tokens` into a bucket soon; below 0 take them out."""
        if tokens and (pending := self._of(tag)) is not None:
            pending.tokens[key, flow] = pending.tokens.get((key, flow), 0) + tokens

    def _of(self, tag: str) -> _Pending | None:
        pending = self._pending.get(tag)
        if pending is None and len(self._pending) < ACCOUNTS_MAX:
            pending = self._pending[tag] = _Pending()
            self._on_work()
        return pending

    def flush(self) -> None:
        """Send what was collected; what can not leave stays collected."""
        self._stuck = False
        for tag in list(self._pending):
            self.flush_account(tag)
            if self._stuck:  # the store is down: the others would fare no better
                break

    def flush_account(self, tag: str) -> None:
        """Send what was collected for one account, if there is anything."""
        if tag in self._pending:
            drive(self.send(tag), _ended)

    async def send(self, tag: str) -> None:
        """Send one account's units. Those that surely did not arrive are collected again."""
        sent = self._pending.pop(tag)
        try:
            await self._store.refund(tag, sent.units, sent.tokens)
        except StoreUnavailable as lost:
            if lost.unsent:
                self._stuck = True
                for key, amount in sent.units.items():
                    self.add(tag, key, amount)
                for (key, flow), amount in sent.tokens.items():
                    self.add_tokens(tag, key, flow, amount)

    async def close(self) -> None:
        """Send everything that is left, once."""
        for tag in list(self._pending):
            await self.send(tag)


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("a refund failed", exc_info=error)
