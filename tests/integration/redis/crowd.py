"""Worker processes that call as fast as they may, and a table of their calls that outlives them.

Each calls until it is told to end (SIGTERM), or dies (SIGKILL). The table has a row a process, of numbers by
hundredths of a second since the crowd began, on the monotonic clock that all processes share: calls offered,
calls admitted, and calls of which nobody knows because Redis did not answer in time.
"""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing
import os
import signal
import time
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import AdmissionUnavailable, ConcurrencyExceeded, QuotaExceeded, RateLimited
from gateway.model.policies import AdmissionMode, ChargePlan
from gateway.outcomes import Outcome
from tests.integration.redis.conftest import PATIENT_S, Worker
from tests.unit.admission.plans import at_once, call, limit, plan, principal, quota

BIN_NS = 10_000_000
BINS = 6000  # a minute
COLUMNS = 3
OFFERED, ADMITTED, UNKNOWN = range(COLUMNS)
ROW_BYTES = BINS * COLUMNS * 8
CALLERS = 16
PAUSE_S = 0.001
FLAP_NS = 7_000_000
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])  # one process imports everything, and they are its forks


@dataclass(frozen=True)
class Charged:
    """What the calls of a crowd pay into. 0: nothing of that kind."""

    mode: str
    rate: int = 0  # a second
    burst: int = 0
    amount: int = 0
    slots: int = 0
    other_rate: int = 0  # the account goes over to a tier with these, and back, all the time
    other_amount: int = 0

    @property
    def plans(self) -> tuple[ChargePlan, ...]:
        """Under the first, then under the second, and so on, for `FLAP_NS` each."""
        if not self.other_rate and not self.other_amount:
            return (self.plan,)
        other = replace(self, rate=self.other_rate, burst=self.other_rate, amount=self.other_amount)
        return self.plan, other.plan

    @property
    def plan(self) -> ChargePlan:
        charges = [limit(self.rate, burst=self.burst, period_ms=1000)] if self.rate else []
        quotas = [quota(self.amount)] if self.amount else []
        slots = [at_once(self.slots)] if self.slots else []
        return plan(*charges, *quotas, *slots, mode=AdmissionMode(self.mode))


class Crowd:
    """Several such processes on one Redis."""

    def __init__(self, url: str, folder: Path, charged: Charged, size: int = 4) -> None:
        self._table = folder / "table"
        self._table.write_bytes(bytes(ROW_BYTES * size))
        self._began_ns = time.monotonic_ns()
        self._size = size
        self._processes = [
            _PROCESSES.Process(target=_run, args=(url, self._table, row, self._began_ns, charged))
            for row in range(size)
        ]
        for process in self._processes:
            process.start()

    def kill(self, row: int) -> None:
        """As the kernel does it: no word to anybody. Returns when it is dead."""
        self._processes[row].kill()
        self._processes[row].join(10)

    def end(self) -> None:
        """The others finish the calls they have begun and give back what they hold."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(20)
        ends = {process.exitcode for process in self._processes}
        assert ends <= {0, -signal.SIGKILL, -signal.SIGTERM}, "the last is one that had not begun"

    @property
    def elapsed_s(self) -> float:
        return (time.monotonic_ns() - self._began_ns) / 1e9

    def by_time(self, column: int) -> list[int]:
        """Of all processes together, by hundredths of a second."""
        numbers, row = array("q", self._table.read_bytes()), BINS * COLUMNS
        rows = [numbers[at + column : at + row : COLUMNS] for at in range(0, self._size * row, row)]
        return [sum(cells) for cells in zip(*rows, strict=True)]

    def total(self, column: int) -> int:
        return sum(self.by_time(column))


class _Row:
    def __init__(self, table: Path, row: int, began_ns: int) -> None:
        with table.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._memory).cast("q")
        self._first = row * BINS * COLUMNS
        self._began_ns = began_ns

    def add(self, column: int) -> None:
        at = min((time.monotonic_ns() - self._began_ns) // BIN_NS, BINS - 1)
        self._cells[self._first + COLUMNS * at + column] += 1


async def _call(url: str, row: _Row, plans: tuple[ChargePlan, ...]) -> None:
    worker = await Worker(url, timeout_s=PATIENT_S).start()
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)

    async def caller() -> None:
        while not ending.is_set():
            one = call()
            row.add(OFFERED)
            charges = plans[time.monotonic_ns() // FLAP_NS % len(plans)]
            try:
                one.grant = await worker.admitter.admit(principal(), charges, one)
            except (RateLimited, QuotaExceeded, ConcurrencyExceeded):
                await asyncio.sleep(PAUSE_S)
                continue
            except AdmissionUnavailable:
                row.add(UNKNOWN)
                continue
            row.add(ADMITTED)
            await asyncio.sleep(PAUSE_S if charges.concurrency else 0)  # others are to have their turn
            one.outcome = Outcome.SERVED
            worker.admitter.settle(one)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await worker.close()


def _run(url: str, table: Path, row: int, began_ns: int, charged: Charged) -> None:
    os.nice(1)
    asyncio.run(_call(url, _Row(table, row, began_ns), charged.plans))
