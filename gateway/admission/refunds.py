"""Units on their way back to quota counters: collected, sent together, never waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.admission.store import Store
from gateway.errors import StoreUnavailable
from gateway.inline import drive

log = logging.getLogger("tollway.admission")

ACCOUNTS_MAX = 10_000
"""Accounts with units on their way back, per worker. Beyond that units stay charged."""


class Refunds:
    """What is to go back. Units may get lost when Redis is, never be given back twice."""

    def __init__(self, store: Store, on_work: Callable[[], None]) -> None:
        self._store = store
        self._on_work = on_work
        self._pending: dict[str, dict[str, int]] = {}
        self._stuck = False

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, tag: str, key: str, units: int) -> None:
        """Take `units` off the counter `key` of the account `tag` soon."""
        if units <= 0 or (tag not in self._pending and len(self._pending) >= ACCOUNTS_MAX):
            return
        counters = self._pending.setdefault(tag, {})
        counters[key] = counters.get(key, 0) + units
        self._on_work()

    def flush(self) -> None:
        """Send what was collected; what can not leave stays collected."""
        self._stuck = False
        for tag in list(self._pending):
            drive(self.send(tag), _ended)
            if self._stuck:  # the store is down: the others would fare no better
                break

    async def send(self, tag: str) -> None:
        """Send one account's units. Those that surely did not arrive are collected again."""
        units = self._pending.pop(tag)
        try:
            await self._store.refund(tag, units)
        except StoreUnavailable as lost:
            if lost.unsent:
                self._stuck = True
                for key, amount in units.items():
                    self.add(tag, key, amount)

    async def close(self) -> None:
        """Send everything that is left, once."""
        for tag in list(self._pending):
            await self.send(tag)


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("a refund failed", exc_info=error)
