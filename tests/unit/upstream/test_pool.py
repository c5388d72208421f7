"""Which connections are kept, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from gateway import deadlines
from gateway.errors import UpstreamUnreachable
from gateway.model.policies import Keepalive
from gateway.upstream.connection import AGE_SPREAD
from tests.unit.upstream.rig import Rig, Rigs


@pytest.fixture(autouse=True)
def _sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.001)


async def together(rig: Rig, count: int) -> None:
    """So many calls at hand at once, answered in their order."""
    callers = [await rig.call() for _ in range(count)]
    for caller in callers:
        await rig.answer(caller)


async def until_closed(rig: Rig) -> None:
    async with asyncio.timeout(10):
        while rig.slots.get("upstream_connections"):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("case", "keepalive", "kept"),
    [
        ("all that were needed", Keepalive(), 5),
        ("as many as the policy says", Keepalive(max_idle=2), 2),
        ("none", Keepalive(max_idle=0), 0),
        ("none that has carried its calls", Keepalive(max_calls=1), 0),
    ],
)
async def test_idle_connections_are_kept_up_to_a_limit(
    case: str, keepalive: Keepalive, kept: int, make_rig: Rigs
) -> None:
    rig = make_rig(max_connections=8, keepalive=keepalive)
    await together(rig, 5)
    assert len(rig.open) == kept
    rig.check_nothing_is_left()


async def test_the_one_unused_for_the_longest_time_goes_first(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=3, keepalive=Keepalive(max_idle=2))
    await together(rig, 3)
    assert rig.open == rig.wires[1:]
    last = await rig.call()
    assert rig.wire_of(last) is rig.wires[2], "the last used is used first"
    await rig.answer(last)


async def test_a_connection_carries_so_many_calls(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(max_calls=3))
    for _ in range(7):
        await together(rig, 1)
    assert [wire.asked for wire in rig.wires] == [3, 3, 1]


async def test_calls_that_wait_use_up_connections_as_well(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(max_calls=3))
    await together(rig, 7)
    assert [wire.asked for wire in rig.wires] == [3, 3, 1]
    rig.check_nothing_is_left()


async def test_no_idle_connection_is_needed_to_serve_those_who_wait(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(max_idle=0))
    await together(rig, 4)
    assert [wire.asked for wire in rig.wires] == [4]
    assert rig.open == []


async def test_a_connection_unused_for_too_long_is_closed(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(idle_s=0.01))
    await together(rig, 1)
    await until_closed(rig)
    rig.check_nothing_is_left()


async def test_a_connection_that_is_too_old_takes_no_other_call(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(max_age_s=0.01, idle_s=60))
    old = await rig.call()
    protocol = rig.wire_of(old).protocol
    async with asyncio.timeout(10):
        while asyncio.get_running_loop().time() < protocol._retires_at:
            await asyncio.sleep(0)
    assert len(rig.open) == 1, "a call is not cut for it"
    await rig.answer(old)
    assert rig.open == []


async def test_an_unused_connection_is_closed_when_it_gets_too_old(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(max_age_s=0.05, idle_s=60))
    await together(rig, 1)
    await until_closed(rig)


async def test_connections_made_together_do_not_end_together(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=50, keepalive=Keepalive(max_age_s=100))
    now = asyncio.get_running_loop().time()
    await together(rig, 50)
    ages = [wire.protocol._retires_at - now for wire in rig.wires]
    assert 100 * (1 - AGE_SPREAD) <= min(ages) < max(ages) - 1 < 101
    assert max(ages) < 101


async def test_a_connection_that_is_closed_before_it_is_used_is_no_connection(make_rig: Rigs) -> None:
    rig = make_rig()
    rig.closes_at_once = True
    caller = await rig.call()
    assert isinstance(caller.error, UpstreamUnreachable)
    assert caller.error.internal == "connect: http://a: closed at once"
    rig.check_nothing_is_left()


async def test_a_caller_that_leaves_while_connecting_leaves_a_connection_for_the_next(make_rig: Rigs) -> None:
    rig = make_rig()
    rig.connects_at_once = False
    first, second = [await rig.call() for _ in range(2)]
    first.leave()
    rig.dials[0].result.set_result(None)
    await rig.settle()
    await rig.answer(second)
    assert [wire.asked for wire in rig.wires] == [1]
    rig.check_nothing_is_left()
