"""Callers and connections come and leave at random: no call is lost or answered twice, no count leaks."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.errors import UpstreamBusy
from gateway.model.policies import Balance, Ejection, Keepalive, Retries, Timeouts
from tests.unit.upstream.rig import A, B, Caller, Rig, Rigs


class Chaos:
    """Does one thing after the other, drawn from a seed."""

    def __init__(self, rig: Rig, draw: random.Random) -> None:
        self.rig = rig
        self.draw = draw
        self.sent: set[int] = set()

    def waiting(self) -> list[Caller]:
        return [caller for caller in self.rig.callers if caller.waits]

    def call(self) -> None:
        method = self.draw.choice(["GET", "GET", "POST"])
        self.rig.begin(method, b"body" if method == "POST" else b"")

    def leave(self) -> None:
        if calls := self.waiting():
            self.draw.choice(calls).leave()

    def answer(self) -> None:
        wires = [wire for wire in self.rig.open if wire.protocol._exchange is not None and wire.asked]
        if wires:
            wire = self.draw.choice(wires)
            if wire.protocol._started_in != self.rig.forwarder._means.outbox.ticks:
                wire.answer()
                if self.draw.random() < 0.2:
                    wire.close()

    def close(self) -> None:
        if wires := self.rig.open:
            self.draw.choice(wires).close()

    def connect(self) -> None:
        pending = [dial for dial in self.rig.dials if not dial.result.done()]
        if pending:
            dial = self.draw.choice(pending)
            if self.draw.random() < 0.3:
                dial.refuse()
            else:
                dial.result.set_result(None)

    def reload(self) -> None:
        if self.draw.random() < 0.1:
            self.rig.adopt(replace(self.rig.spec, max_connections=self.draw.choice([1, 2, 5])))

    def expire(self) -> None:
        for pool in self.rig.pools:
            if pool.condition.out_until != float("inf") and self.draw.random() < 0.3:
                pool.expire()
        late = [parked for parked in self.rig.group.queue._waiting if self.draw.random() < 0.05]
        for parked in late[:1]:
            parked.expire()

    async def step(self) -> None:
        act = self.draw.choice(
            [self.call, self.answer, self.connect] * 3 + [self.leave, self.close, self.reload, self.expire]
        )
        act()
        for pool in self.rig.pools:
            assert len(pool._connections) <= pool.spec.max_connections
        if self.draw.random() < 0.4:
            await self.rig.settle()
            self.check_nobody_waits_in_vain()

    def check_nobody_waits_in_vain(self) -> None:
        """Whatever a waiting call could use is in use."""
        group = self.rig.group
        for pool in group._takers:
            if group.queue.wants(pool):
                assert not pool.has_idle
                assert not pool.may_connect_for_queue

    async def calm_down(self) -> None:
        """Answer what is at hand and connect what is not, until nobody waits."""
        self.rig.connects_at_once = True
        for _ in range(2000):
            for dial in list(self.rig.dials):
                if not dial.result.done():
                    dial.result.set_result(None)
            await self.rig.settle()
            for wire in self.rig.open:
                if wire.protocol._exchange is not None and wire.asked:
                    wire.answer()
            await self.rig.settle()
            if not self.waiting():
                return


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens(seed: int, make_rig: Rigs) -> None:
    draw = random.Random(seed)
    rig = make_rig(
        *((A,) if draw.random() < 0.5 else (A, B)),
        max_connections=draw.choice([1, 2, 4]),
        max_waiting=draw.choice([0, 3, 20]),
        balance=draw.choice(list(Balance)),
        retries=draw.choice([Retries(), Retries(attempts=0), Retries(attempts=5, at_least=1000)]),
        keepalive=draw.choice(
            [Keepalive(), Keepalive(max_calls=3), Keepalive(max_idle=0), Keepalive(max_idle=1)]
        ),
        ejection=Ejection(failures=2),
        timeouts=Timeouts(queue_s=600),
    )
    rig.connects_at_once = False
    chaos = Chaos(rig, draw)
    for _ in range(150):
        await chaos.step()
    await chaos.calm_down()
    rig.check_nothing_is_left()
    refused = sum(isinstance(caller.error, UpstreamBusy) for caller in rig.callers)
    assert refused == rig.waits().get("full", 0) + rig.waits().get("late", 0)
