"""Callers that never rest: numbered calls of all kinds over kept connections."""

from __future__ import annotations

import asyncio
import random
from itertools import count

from gateway.proof.calls import KINDS, Note, make
from gateway.proof.wire import Line
from gateway.proof.world import Caller

PAUSE_S = (0.005, 0.06)
AFTER_A_CUT_S = 0.1
_NAMES = list(KINDS)
_WEIGHTS = [weight for weight, _ in KINDS.values()]


class Traffic:
    """All calls of a proof. `notes` has one entry for each that was begun."""

    def __init__(self, port: int, callers: list[Caller], seed: int) -> None:
        self._port = port
        self._callers = callers
        self._seed = seed
        self._numbers = count(1)
        self._stop = asyncio.Event()
        self.notes: list[Note] = []

    async def run(self) -> None:
        """Call until `stop`; then finish the calls at hand."""
        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                group.create_task(self._call_on(caller), name="proof.caller")

    def stop(self) -> None:
        """No further call."""
        self._stop.set()

    async def _call_on(self, caller: Caller) -> None:
        chance = random.Random(f"{self._seed} {caller.name}")  # noqa: S311 - a plan, not a secret
        line = Line(self._port)
        while not self._stop.is_set():
            kind = chance.choices(_NAMES, _WEIGHTS)[0]
            note = Note(next(self._numbers), kind, caller.account, caller.key)
            self.notes.append(note)
            await make(line, note, caller.secret, chance)
            lost = not (note.whole or note.left)
            await asyncio.sleep(AFTER_A_CUT_S if lost else chance.uniform(*PAUSE_S))
        line.drop()
