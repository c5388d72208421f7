"""The slots that calls of this worker hold: renewed while a call lives, released when it has ended.

A call costs one script call when it is admitted and takes part in another, with all that end in the same loop
tick, when it has ended. Only those that last longer than `RENEW_AFTER_US` are renewed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import count

from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import Store, counter_name
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.inline import drive
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.admission")

LOOK_EVERY_S = 1.0
RENEW_AFTER_US = 3_000_000
"""A slot that could not be renewed is tried again at each look: an outage of six seconds loses none."""
GONE_US = (SLOT_MS + 1000) * 1000
"""By then a slot that nobody renewed has ended by itself."""


class Held:
    """The slots of one call: one of the same name in each of its sets."""

    __slots__ = ("counters", "kept_us", "keys", "name", "tag")

    def __init__(self, name: str, tag: str, keys: tuple[str, ...]) -> None:
        self.name = name
        self.tag = tag
        self.keys = keys
        self.counters = tuple([counter_name(tag, key) for key in keys])
        self.kept_us = 0  # when it was asked for or last renewed; monotonic


class HeldSlots:
    """Every slot of one worker. `holder` names the worker and is never used again by another one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        slots: Slots,
        tasks: Tasks,
        holder: str,
        on_freed: Callable[[str], None],
    ) -> None:
        """`on_freed` is told the set of each slot that is released, after the store is."""
        self._store = store
        self._monotonic_us = clock.monotonic_us
        self._cells, self._gauge = slots.cells, slot("concurrency_calls")
        self._cells[self._gauge] = 0  # whatever a worker that died left behind
        self._tasks = tasks
        self._holder = holder
        self._on_freed = on_freed
        self._numbers = count(1)
        self._held: dict[str, Held] = {}
        self._under_way: dict[str, int] = {}  # calls of this worker, by set
        self._released: list[Held] = []
        self._flushes_soon = False
        self._work = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None
        self._closed = False

    def new(self, tag: str, keys: tuple[str, ...]) -> Held:
        """Slots to ask for."""
        return Held(f"{self._holder}.{next(self._numbers)}", tag, keys)

    def asked(self, held: Held) -> None:
        """The store is about to be asked for them."""
        held.kept_us = self._monotonic_us()

    def take(self, held: Held) -> None:
        """The store gave them: keep them until `release`."""
        self._held[held.name] = held
        for counter in held.counters:
            self._under_way[counter] = self._under_way.get(counter, 0) + 1
        self._cells[self._gauge] += 1
        self._wake()

    def under_way(self, counter: str) -> int:
        """Calls of this worker that hold a slot of a set."""
        return self._under_way.get(counter, 0)

    def release(self, name: str) -> None:
        """Their call has ended. Never raises."""
        held = self._held.pop(name, None)
        if held is not None:
            self._cells[self._gauge] -= 1
            for counter in held.counters:
                self._under_way[counter] -= 1
                if not self._under_way[counter]:
                    del self._under_way[counter]
            self.drop(held)

    def drop(self, held: Held) -> None:
        """Release slots at the end of this tick, those included that the store may have given unheard."""
        self._released.append(held)
        if not self._flushes_soon:
            self._flushes_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes_soon = False
        released, self._released = self._released, []
        for tag, group in _by_tag(released):
            drive(self._send(tag, group), _ended)
        for held in released:
            for counter in held.counters:
                self._on_freed(counter)

    async def _send(self, tag: str, group: list[Held]) -> None:
        try:
            await self._store.release(tag, _names(group))
        except StoreUnavailable:
            now_us = self._monotonic_us()
            self._released += [held for held in group if now_us - held.kept_us < GONE_US]
            self._wake()

    def look(self) -> None:
        """Renew what is due; release what could not be released before."""
        if self._released:
            self._flush()
        now_us = self._monotonic_us()
        due = [held for held in self._held.values() if now_us - held.kept_us >= RENEW_AFTER_US]
        for tag, group in _by_tag(due):
            drive(self._renew(tag, group, now_us), _ended)
        if not self._held and not self._released:
            self._work.clear()

    async def _renew(self, tag: str, group: list[Held], now_us: int) -> None:
        try:
            await self._store.renew(tag, _names(group))
        except StoreUnavailable:
            return  # the next look tries again
        for held in group:
            held.kept_us = now_us

    def _wake(self) -> None:
        self._work.set()
        if self._upkeep is None and not self._closed:
            self._upkeep = self._tasks.spawn(self._keep_up(), name="admission.slots")

    async def _keep_up(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    async def close(self) -> None:
        """Release every slot; what can not be sent ends by itself."""
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
        for name in list(self._held):
            self.release(name)
        released, self._released = self._released, []
        for tag, group in _by_tag(released):
            await self._send(tag, group)


def _by_tag(slots: Iterable[Held]) -> Iterable[tuple[str, list[Held]]]:
    groups: dict[str, list[Held]] = {}
    for held in slots:
        groups.setdefault(held.tag, []).append(held)
    return groups.items()


def _names(group: list[Held]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for held in group:
        for key in held.keys:
            names.setdefault(key, []).append(held.name)
    return names


def _ended(error: BaseException | None) -> None:
    if error is not None:
        log.error("slots could not be kept or released", exc_info=error)
