"""What goes wrong in a proof, and when: all of it follows from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.proof.gate import CLOCKS, Gate

STEP_S = 300
STOPPED_S = (0.1, 2.5)
EVERY_S = (0.3, 1.3)


class Fault(NamedTuple):
    """`kill` (SIGKILL), `stop` (SIGSTOP for `figure` seconds), or `clock`: off by `figure` seconds."""

    what: str
    whom: str
    figure: float = 0.0

    def __str__(self) -> str:
        if self.what == "clock":
            return f"clock {self.figure:+.0f} s {self.whom}"
        return f"{self.what} {self.whom}"


KILLED = ("worker-1", "worker-2") * 3 + ("recorder",) * 3 + ("control", "supervisor", "redis", "postgres")
STOPPED = ("worker-1", "worker-2", "recorder", "control", "supervisor", "redis", "postgres")


def plan(chance: random.Random) -> Iterator[tuple[float, Fault]]:
    """Seconds to wait and what to do then, for ever. Everything comes once before anything comes again."""
    while True:
        deck = [Fault("kill", whom) for whom in KILLED]
        deck += [Fault("stop", whom, chance.uniform(*STOPPED_S)) for whom in STOPPED]
        deck += [Fault("clock", whom, step) for whom in CLOCKS for step in (-STEP_S, STEP_S)]
        deck += [Fault("clock", "worker-1", 0), Fault("clock", "worker-2", 0)]
        chance.shuffle(deck)
        for fault in deck:
            yield chance.uniform(*EVERY_S), fault


class Faults:
    """Carries out the plan on one gateway, and remembers what it did."""

    def __init__(self, gate: Gate, chance: random.Random, log: Path) -> None:
        self._gate = gate
        self._plan = plan(chance)
        self._log = log
        self._stopped: dict[int, asyncio.Task[None]] = {}
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled; then nothing is left stopped."""
        started_s = time.monotonic()
        try:
            with self._log.open("a", encoding="utf-8", buffering=1) as log:
                for wait_s, fault in self._plan:
                    await asyncio.sleep(wait_s)
                    done = self._carry_out(fault)
                    log.write(
                        f"{time.monotonic() - started_s:8.3f} {fault}{'' if done else ' (not there)'}\n"
                    )
                    if done:
                        self.done[f"{fault.what} {fault.whom}"] += 1
        finally:
            for pid in list(self._stopped):
                self._go_on(pid)

    def _carry_out(self, fault: Fault) -> bool:
        if fault.what == "clock":
            self._gate.clocks[fault.whom][0] = round(fault.figure * 1_000_000)
            return True
        pid = self._gate.pids().get(fault.whom)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            if fault.what == "kill":
                os.kill(pid, signal.SIGKILL)
            elif pid not in self._stopped:
                os.kill(pid, signal.SIGSTOP)
                self._stopped[pid] = asyncio.create_task(self._later(pid, fault.figure), name="proof.go_on")
            return True
        return False

    async def _later(self, pid: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._go_on(pid)

    def _go_on(self, pid: int) -> None:
        task = self._stopped.pop(pid, None)
        if task is not None:
            task.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
