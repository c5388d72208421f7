"""Stores that misbehave on purpose, and calls stepped without an event loop."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.admission.charges import Charges
from gateway.admission.memory_store import MemoryStore
from gateway.admission.store import NO_TOKENS, Ask, Decision, SlotNames, Tokens
from gateway.clock import Clock
from gateway.errors import StoreUnavailable
from gateway.inline import Wait


class FakeStore(MemoryStore):
    """A memory store that notes what it is asked, and can be down or slow."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asks: list[Ask] = []
        self.returned: list[tuple[str, int]] = []
        self.refunded: list[dict[str, int]] = []
        self.tokens: list[Tokens] = []
        self.renewed: list[tuple[str, SlotNames]] = []
        self.released: list[tuple[str, SlotNames]] = []
        self.down = False
        self.defect: type[Exception] | None = None
        self.unsent = True
        self.gate: Wait[None] | None = None  # while set, decisions wait for it

    async def decide(self, tag: str, charges: Charges, ask: Ask) -> Decision:
        self._check()
        if self.defect is not None:
            raise self.defect
        self.asks.append(ask)
        decision = await super().decide(tag, charges, ask)
        if self.gate is not None:
            await self.gate
        return decision

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        self._check()
        self.returned.append((tag, calls))
        await super().give_back(tag, charges, holder, calls)

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        self._check()
        self.refunded.append(dict(units))
        self.tokens += [dict(tokens)] if tokens else []
        await super().refund(tag, units, tokens)

    async def renew(self, tag: str, slots: SlotNames) -> None:
        self._check()
        self.renewed.append((tag, slots))
        await super().renew(tag, slots)

    async def release(self, tag: str, slots: SlotNames) -> None:
        self._check()
        self.released.append((tag, slots))
        await super().release(tag, slots)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down for the test", unsent=self.unsent)
