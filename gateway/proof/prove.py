"""One proof from beginning to end: start, hurt, settle, compare, clean up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import StartupError
from gateway.proof.books import read_books, stores
from gateway.proof.faults import Faults
from gateway.proof.gate import Gate, ProofFailed
from gateway.proof.traffic import Traffic
from gateway.proof.verdict import Check, Run, judge
from gateway.proof.witness import LOG
from gateway.proof.world import CAST
from gateway.tasks import CANCEL_AGAIN_S

TELL_EVERY_S = 15
SETTLE_ROUNDS = 3
WITNESS_WITHIN_S = 30.0
LAID_OUT_WITHIN_S = 120.0

Tell = Callable[[str], None]
Passed = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to prove: for how long, by which seed, with rows in a hypertable or in partitions by month."""

    seconds: float
    seed: int
    hypertable: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out. `folder` is there only if it was to be kept."""

    seed: int
    seconds: float
    checks: list[Check]
    calls: Counter[str]  # by outcome, as booked
    faults: Counter[str]
    folder: Path

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def prove(plan: Plan, *, keep: bool, tell: Tell, passed: Passed = lambda _: None) -> Verdict:
    """Carry out a proof. ProofFailed or StartupError when that can not be done; nothing is left running.

    `tell` hears lines for people, `passed` how many seconds the gateway has been hurt.
    """
    if not Path("/proc/self/comm").exists():
        raise StartupError("tollway prove-metering finds processes in /proc: run it on Linux.")
    folder = Path(tempfile.mkdtemp(prefix="tollway-proof-"))
    tell(f"seed {plan.seed}, {plan.seconds:.0f} s, folder {folder}")
    with _witness(folder, keep=keep) as port:
        gate = Gate(folder, port)
        try:
            return asyncio.run(_prove(gate, folder, plan, (tell, passed)))
        finally:
            gate.end()


@contextlib.contextmanager
def _witness(folder: Path, *, keep: bool) -> Iterator[int]:
    """The upstream's port. At the end it removes the folder, also if we do not live to see it."""
    with (folder / "witness.err").open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "gateway.proof.witness", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise ProofFailed(f"The upstream did not start: {(folder / 'witness.err').read_text()}")
        yield int(line)
    finally:
        if keep:
            process.kill()
        process.stdin.close()
        process.wait(WITNESS_WITHIN_S)
        process.stdout.close()


async def _prove(gate: Gate, folder: Path, plan: Plan, audience: tuple[Tell, Passed]) -> Verdict:
    gate.start()
    await gate.ready()
    if plan.hypertable:
        await gate.have_timescale()
    callers = [caller for who in CAST for caller in await gate.make_callers(who)]
    traffic = Traffic(gate.port, callers, plan.seed)
    faults = Faults(gate, random.Random(plan.seed), folder / "faults.log")  # noqa: S311 - a plan, not a secret
    started_s = time.monotonic()
    laying_out = asyncio.create_task(_lay_out(gate, plan), name="proof.lay_out")
    await _hurt(gate, traffic, faults, plan.seconds, audience)
    lasted_s = time.monotonic() - started_s
    await asyncio.wait_for(laying_out, LAID_OUT_WITHIN_S)
    audience[0]("settling")
    status = await _settle(gate)
    with stores(gate.data_dir) as (database_url, redis_url):
        books = await read_books(folder / LOG, database_url, redis_url, gate.policies())
    run = Run(
        books=books,
        notes=traffic.notes,
        accounts={caller.account: caller.who.tier for caller in callers},
        seconds=lasted_s,
        unbooked=gate.journals(),
        exit_status=status,
        tracebacks=gate.tracebacks(),
    )
    outcomes = Counter(row.outcome for row in books.rows) + Counter(books.of_nobody)
    return Verdict(plan.seed, lasted_s, await asyncio.to_thread(judge, run), outcomes, faults.done, folder)


async def _lay_out(gate: Gate, plan: Plan) -> None:
    """In the midst of it all."""
    if plan.hypertable:
        await gate.to_hypertable(after_s=plan.seconds / 2)


async def _hurt(
    gate: Gate, traffic: Traffic, faults: Faults, seconds: float, audience: tuple[Tell, Passed]
) -> None:
    """Traffic and faults for so long; then the calls at hand finish on a gateway that is whole again."""
    keeping = asyncio.create_task(gate.keep_running(), name="proof.keep_running")
    calling = asyncio.create_task(traffic.run(), name="proof.traffic")
    hurting = asyncio.create_task(faults.run(), name="proof.faults")
    telling = asyncio.create_task(_tell(traffic, faults, *audience), name="proof.tell")
    try:
        await asyncio.wait({keeping, calling, hurting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (keeping, calling, hurting):
            if task.done():
                task.result()  # raises: none of them ends by itself
        await _cancelled(hurting)
        traffic.stop()
        await calling
        await gate.ready()
    finally:
        for task in (hurting, telling, calling, keeping):
            await _cancelled(task)


async def _tell(traffic: Traffic, faults: Faults, tell: Tell, passed: Passed) -> None:
    for second in itertools.count(1):
        await asyncio.sleep(1)
        passed(second)
        if second % TELL_EVERY_S == 0:
            tell(f"{len(traffic.notes):,} calls, {faults.done.total()} faults")


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Again and again: `asyncio.wait_for`, as libraries use it, may take a cancellation for its own."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.result()


async def _settle(gate: Gate) -> int:
    """Stop the gateway once all is booked; its exit status. A last round may need more than one start."""
    status = await gate.stop()
    for _ in range(SETTLE_ROUNDS):
        if not gate.journals():
            break
        gate.start()
        await gate.ready()
        status = await gate.stop()
    return status
