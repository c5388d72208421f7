"""All that can happen to a Redis while calls arrive: what callers get then, what is counted, what is told.

Each row is one fault under load. Three policies share one worker; each must do what it says from the first
call that meets the fault to the last, and Redis must decide again afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.admission.trust import MARK
from gateway.errors import AdmissionUnavailable, QuotaExceeded, RateLimited
from gateway.model.policies import ChargePlan, OnStoreLoss
from tests.integration.redis.conftest import Worker
from tests.integration.redis.servers import Server
from tests.ports import HOST, free_port
from tests.unit.admission.plans import call, limit, plan, principal, quota

PLENTY = 10_000_000
ENOUGH = 20


class World:
    """A Redis behind an address that can be moved to another one, as load balancers and names in DNS do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = folder / "address"
        self.first = Server(folder / "1", free_port(), appendonly="yes")
        self.second = Server(folder / "2", free_port(), replicaof=f"{HOST} {self.first.port}")
        self.now = self.first

    async def start(self) -> None:
        await self.first.start()
        self.point_to(self.first)
        await self.vouch()

    def point_to(self, server: Server) -> None:
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(server.socket)
        self.now = server

    async def vouch_for_what_is_doubted(self, worker: Worker) -> None:
        """Once the worker has noticed."""
        async with asyncio.timeout(60):
            while worker.slots.get("quota_counters_trusted"):
                await asyncio.sleep(0.001)
        await self.vouch()

    async def vouch(self) -> None:
        """As the control process does when it has rebuilt all counters."""
        name = (await self.now.operator.info("server"))["run_id"][:12]
        await self.now.operator.set(MARK, name)

    async def close(self) -> None:
        if self.first.process is not None and self.first.process.poll() is None:
            self.first.signal(signal.SIGCONT)
        await self.first.close()
        await self.second.close()


class Load:
    """Calls under each policy, one after the other, all the time. `seen`: what became of them."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.seen: Counter[tuple[OnStoreLoss, str]] = Counter()
        self.running = True
        self.callers = [asyncio.ensure_future(self._call(action)) for action in OnStoreLoss for _ in "ab"]

    async def _call(self, action: OnStoreLoss) -> None:
        charges = plan(limit(PLENTY, burst=PLENTY), quota(PLENTY), on_store_loss=action)
        while self.running:
            self.seen[action, await self._ask(charges)] += 1
            await asyncio.sleep(0.001)

    async def _ask(self, charges: ChargePlan) -> str:
        try:
            grant = await self.worker.admitter.admit(principal(), charges, call())
        except AdmissionUnavailable:
            return "unavailable"
        except (RateLimited, QuotaExceeded):
            return "refused"
        return "charged" if grant.charged else "passed"

    async def until(self, **expected: str) -> None:
        """Until each policy has ended so many further calls like that."""
        before = Counter(self.seen)
        async with asyncio.timeout(60):
            while any(
                self.seen[key] - before[key] < ENOUGH
                for key in ((OnStoreLoss(action), what) for action, what in expected.items())
            ):
                await asyncio.sleep(0.001)
                assert not any(caller.done() for caller in self.callers)

    async def stop(self) -> None:
        self.running = False
        await asyncio.gather(*self.callers)


Act = Callable[[World], Awaitable[object]]


async def kill(world: World) -> None:
    await world.now.kill()


async def start_again(world: World) -> None:
    await world.now.start()


async def start_empty(world: World) -> None:
    for path in world.now.folder.iterdir():
        if path.is_file():
            path.unlink()
    await start_again(world)


async def stop(world: World) -> None:
    world.now.signal(signal.SIGSTOP)


async def go_on(world: World) -> None:
    world.now.signal(signal.SIGCONT)


async def flush(world: World) -> None:
    await world.now.operator.flushall()


async def load_slowly(world: World) -> None:
    """Killed, and started with so much to read that it says so for a while."""
    async with world.now.operator.pipeline(transaction=False) as ballast:
        for number in range(2500):
            ballast.set(f"ballast{number}", "x")
        await ballast.execute()
    await world.now.kill()
    world.now.options["key-load-delay"] = "500"  # microseconds a command
    await world.now.start()


async def loaded(world: World) -> None:
    async with asyncio.timeout(60):
        while (await world.now.operator.info("persistence"))["loading"]:
            await asyncio.sleep(0.01)


async def become_replica(world: World) -> None:
    await world.now.operator.replicaof(HOST, "1")


async def become_orphan(world: World) -> None:
    await world.now.operator.config_set("replica-serve-stale-data", "no")
    await world.now.operator.replicaof(HOST, "1")


async def become_primary(world: World) -> None:
    await world.now.operator.replicaof("NO", "ONE")


async def fill(world: World) -> None:
    await world.now.operator.config_set("maxmemory", "1")


async def make_room(world: World) -> None:
    await world.now.operator.config_set("maxmemory", "0")


async def forget_scripts(world: World) -> None:
    await world.now.operator.script_flush()


async def take_over(world: World) -> None:
    """The replica becomes the primary and gets the address; the old one is dead."""
    await world.second.start()
    async with asyncio.timeout(60):
        while (await world.second.operator.info("replication"))["master_link_status"] != "up":
            await asyncio.sleep(0.01)
    await world.first.kill()
    await world.second.operator.replicaof("NO", "ONE")
    world.point_to(world.second)


async def nothing(world: World) -> None:
    pass


LOST = "lost the connection to Redis"
REFUSED = "limits can not be decided"
DOUBTED = "quota counters may have been lost"
ENDS = {
    LOST: "connected to Redis again",
    REFUSED: "limits are decided again",
    DOUBTED: "quota counters were rebuilt",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to Redis, how it ends, what the log says: a line when each begins, one when it ends."""

    name: str
    inflict: Act
    mend: Act
    told: tuple[str, ...]
    callers_notice: bool = True


FAULTS = [
    Fault("killed", kill, start_again, (LOST, DOUBTED)),
    Fault("stopped", stop, go_on, (LOST,)),
    Fault("flushed", flush, nothing, (DOUBTED,)),
    Fault("restarted empty", kill, start_empty, (LOST, DOUBTED)),
    Fault("LOADING", load_slowly, loaded, (LOST, DOUBTED)),
    Fault("READONLY", become_replica, become_primary, (LOST,)),
    Fault("MASTERDOWN", become_orphan, become_primary, (REFUSED,)),
    Fault("OOM", fill, make_room, (REFUSED,)),
    Fault("NOSCRIPT", forget_scripts, nothing, (), callers_notice=False),
    Fault("failover", take_over, nothing, (LOST, DOUBTED)),
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.close()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_each_policy_does_what_it_says(
    world: World, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await Worker(f"unix://{world.address}", trusting=False).start()
    load = Load(worker)
    await load.until(refuse="charged", local="charged", allow="charged")
    caplog.set_level(logging.INFO, "tollway")
    caplog.clear()
    await fault.inflict(world)
    if fault.callers_notice:
        await load.until(refuse="unavailable", local="passed", allow="passed")
    await fault.mend(world)
    if DOUBTED in fault.told:
        await world.vouch_for_what_is_doubted(worker)
    await load.until(refuse="charged", local="charged", allow="charged")
    await _heard(caplog, [ENDS[beginning] for beginning in fault.told])
    assert worker.slots.get("admission_store_up") == worker.slots.get("quota_counters_trusted") == 1
    for action in OnStoreLoss:
        decided = sum(count for (of, what), count in load.seen.items() if of is action and what != "charged")
        assert worker.slots.get("admission_store_lost_total", action.value) == decided
    await load.stop()
    await worker.close()
    paid = {what for (action, what), _ in load.seen.items() if action is not OnStoreLoss.REFUSE}
    assert "unavailable" not in paid, "no 5xx for whom the policy lets pass"
    for beginning, end in ENDS.items():
        times = 1 if beginning in fault.told else 0
        assert _lines(caplog, beginning) == _lines(caplog, end) == times, beginning


def _lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(record.message.startswith(text) for record in caplog.records)


async def _heard(caplog: pytest.LogCaptureFixture, texts: list[str]) -> None:
    async with asyncio.timeout(60):
        while not all(_lines(caplog, text) for text in texts):
            await asyncio.sleep(0.01)
