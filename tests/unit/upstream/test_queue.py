"""Who waits first goes first, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway import deadlines
from gateway.deadlines import NEVER
from gateway.errors import (
    ClientGone,
    UpstreamBusy,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.model.policies import Ejection, Retries, Timeouts
from tests.unit.upstream.rig import A, B, Caller, Rigs

NO_RETRIES = Retries(attempts=0)


@pytest.fixture(autouse=True)
def _sweep_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.001)


async def until_ended(caller: Caller) -> None:
    async with asyncio.timeout(10):
        while caller.waits:
            await asyncio.sleep(0)


async def test_who_waits_first_goes_first(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=2)
    callers = [await rig.call() for _ in range(8)]
    assert rig.waiting == 6
    for caller in callers:
        await rig.answer(caller)
    assert sorted(rig.order) == list(range(1, 9))
    assert [wire.asked for wire in rig.wires] == [4, 4]
    assert rig.waits() == {"connected": 6}
    rig.check_nothing_is_left()


async def test_beyond_the_bound_calls_are_refused_at_once(make_rig: Rigs) -> None:
    rig = make_rig(max_waiting=2, timeouts=Timeouts(queue_s=2.5))
    served = [await rig.call() for _ in range(3)]
    refused = rig.begin()
    assert isinstance(refused.error, UpstreamBusy)
    assert refused.error.headers == b"Retry-After: 3\r\n"
    assert refused.error.internal == "up: all connections in use, 2 calls wait"
    for caller in served:
        await rig.answer(caller)
    assert rig.waits() == {"connected": 2, "full": 1}
    rig.check_nothing_is_left()


async def test_without_a_queue_calls_are_refused_at_once(make_rig: Rigs) -> None:
    rig = make_rig(max_waiting=0)
    first = await rig.call()
    refused = rig.begin()
    assert isinstance(refused.error, UpstreamBusy)
    assert refused.error.headers == b"Retry-After: 1\r\n"
    await rig.answer(first)
    rig.check_nothing_is_left()


async def test_a_wait_ends(make_rig: Rigs) -> None:
    rig = make_rig()
    first = await rig.call()
    late, patient = await rig.call(queue_s=0.01), await rig.call()
    await until_ended(late)
    assert isinstance(late.error, UpstreamBusy)
    assert late.error.internal == "queue: no connection was free within 0.01 s"
    assert late.error.headers == b"Retry-After: 1\r\n"
    await rig.answer(first)
    await rig.answer(patient)
    assert rig.waits() == {"connected": 1, "late": 1}
    rig.check_nothing_is_left()


async def test_the_time_for_the_whole_call_includes_the_wait(make_rig: Rigs) -> None:
    rig = make_rig(A, B)
    held = [await rig.call() for _ in range(2)]
    waiting = await rig.call(total_s=0.01)
    assert rig.waiting == 1
    await until_ended(waiting)
    assert isinstance(waiting.error, UpstreamTimeout)
    assert waiting.error.internal == "total: the call took more than 0.01 s"
    assert rig.waits() == {"left": 1}
    for caller in held:
        await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_the_time_for_the_whole_call_ends_it_though_another_target_is_left(make_rig: Rigs) -> None:
    rig = make_rig(A, B)
    rig.connects_at_once = False
    caller = await rig.call(total_s=0.01)
    await until_ended(caller)
    assert isinstance(caller.error, UpstreamTimeout)
    assert caller.error.internal.startswith("total: ")
    assert len(rig.dials) == 1
    rig.dials[0].result.set_result(None)
    await rig.settle()
    rig.check_nothing_is_left()


async def test_a_caller_that_leaves_makes_room(make_rig: Rigs) -> None:
    rig = make_rig(max_waiting=2)
    first, leaving, staying = [await rig.call() for _ in range(3)]
    leaving.leave()
    assert rig.waiting == 1
    assert isinstance(leaving.error, ClientGone)
    last = await rig.call()
    assert last.waits
    for caller in (first, staying, last):
        await rig.answer(caller)
    assert rig.order == [1, 3, 4]
    assert rig.waits() == {"connected": 2, "left": 1}
    rig.check_nothing_is_left()


async def test_a_call_that_just_came_does_not_overtake(make_rig: Rigs) -> None:
    rig = make_rig()
    first, second = [await rig.call() for _ in range(2)]
    rig.wire_of(first).answer()
    third = rig.begin()  # in the tick in which the connection became free
    await rig.settle()
    await rig.answer(second)
    await rig.answer(third)
    assert rig.order == [1, 2, 3]
    rig.check_nothing_is_left()


async def test_nor_does_it_take_the_room_of_a_lost_connection(make_rig: Rigs) -> None:
    rig = make_rig(retries=NO_RETRIES)
    first, second = [await rig.call() for _ in range(2)]
    wire = rig.wire_of(first)
    wire.close()
    await asyncio.sleep(0)
    third = rig.begin()
    await rig.settle()
    assert isinstance(first.error, UpstreamInvalid)
    await rig.answer(second)
    await rig.answer(third)
    assert rig.order == [1, 2, 3]
    rig.check_nothing_is_left()


async def test_a_connection_that_closes_after_its_answer_is_not_handed_on(make_rig: Rigs) -> None:
    rig = make_rig(retries=NO_RETRIES)
    first, second = await rig.call(), await rig.call(method="POST", body=b"once")
    wire = rig.wire_of(first)
    wire.answer()
    wire.close()
    await rig.settle()
    await rig.answer(second)
    assert [wire.asked for wire in rig.wires] == [1, 1]
    rig.check_nothing_is_left()


@pytest.mark.parametrize("later", [0, 1], ids=["in the same tick", "one later"])
async def test_a_call_that_was_not_sent_yet_is_sent_elsewhere_whatever_it_is(
    later: int, make_rig: Rigs
) -> None:
    """The connection closes between hand-over and the end of the tick; 1: its end is told after that."""
    rig = make_rig(max_connections=1)
    first, second, third = await rig.call(), await rig.call(method="POST", body=b"whole"), await rig.call()
    wire = rig.wire_of(first)
    wire.answer()
    while wire.protocol._exchange is not second.exchange:
        await asyncio.sleep(0)
    if later:
        wire.closed = True
        asyncio.get_running_loop().call_soon(
            lambda: asyncio.get_running_loop().call_soon(wire.protocol.connection_lost, None)
        )
    else:
        wire.closed = True
        wire.protocol.connection_lost(None)
    await rig.settle()
    await rig.answer(second)
    await rig.answer(third)
    assert rig.order == [1, 2, 3], "it stays ahead of those behind it"
    assert b"\r\n\r\nwhole" in rig.wires[1].written
    assert second.exchange.body_parts == []
    rig.check_nothing_is_left()


async def test_a_get_whose_connection_closes_under_it_is_first_again(make_rig: Rigs) -> None:
    rig = make_rig()
    first, second, third = [await rig.call() for _ in range(3)]
    await rig.answer(first)
    rig.wire_of(second).close()
    await rig.settle()
    await rig.answer(second)
    await rig.answer(third)
    assert rig.order == [1, 2, 2, 3]
    rig.check_nothing_is_left()


async def test_a_post_whose_connection_closes_under_it_is_not_sent_twice(make_rig: Rigs) -> None:
    rig = make_rig()
    first, second, third = await rig.call(), await rig.call(method="POST", body=b"x"), await rig.call()
    await rig.answer(first)
    rig.wire_of(second).close()
    await rig.settle()
    assert isinstance(second.error, UpstreamInvalid)
    await rig.answer(third)
    assert rig.order == [1, 2, 3]
    rig.check_nothing_is_left()


async def test_a_post_of_which_a_part_was_sent_is_not_sent_twice(make_rig: Rigs) -> None:
    """Its connection closes before the next part of its body is handed over."""
    rig = make_rig()
    await rig.answer(await rig.call())
    caller = rig.begin("POST", b"begun", is_whole=False)
    await rig.settle()
    wire = rig.wire_of(caller)
    wire.closed = True
    assert caller.exchange.uplink is not None
    caller.exchange.uplink.upload(b"more")
    await asyncio.sleep(0)
    wire.protocol.connection_lost(None)
    assert isinstance(caller.error, UpstreamInvalid)
    assert rig.order == [1, 2]
    rig.check_nothing_is_left()


async def test_a_part_of_a_body_that_came_with_its_head_is_sent_elsewhere_too(make_rig: Rigs) -> None:
    rig = make_rig()
    await rig.answer(await rig.call())
    caller = rig.begin("POST", b"begun ", is_whole=False)
    assert caller.exchange.uplink is not None
    caller.exchange.uplink.upload(b"and more")
    wire = rig.wire_of(caller)
    wire.closed = True
    await asyncio.sleep(0)
    wire.protocol.connection_lost(None)
    await rig.settle()
    assert b"\r\n\r\nbegun and more" in rig.wires[1].written
    assert rig.wires[1].protocol._unsent == [], "not kept once it is sent"
    caller.exchange.body_done = True
    await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_once_its_connection_is_being_made_a_call_has_the_time_to_connect(make_rig: Rigs) -> None:
    rig = make_rig()
    first, second = await rig.call(), await rig.call(queue_s=0.05)
    rig.connects_at_once = False
    rig.wire_of(first).protocol._is_last = True
    await rig.answer(first)
    (parked,) = rig.group.queue._connecting
    assert parked.deadline == NEVER
    rig.dials[0].result.set_result(None)
    await rig.settle()
    await rig.answer(second)
    rig.check_nothing_is_left()


async def test_the_first_in_line_takes_what_any_target_has(make_rig: Rigs) -> None:
    rig = make_rig(A, B)
    one, two, three, four = [await rig.call() for _ in range(4)]
    assert {rig.wire_of(one).target, rig.wire_of(two).target} == {A, B}
    target = rig.wire_of(two).target
    await rig.answer(two)
    assert rig.wire_of(three).target is target
    await rig.answer(one)
    await rig.answer(three)
    await rig.answer(four)
    rig.check_nothing_is_left()


async def test_a_free_connection_goes_to_the_first_though_one_is_being_made_for_it(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=2)
    one, two, three, four = [await rig.call() for _ in range(4)]
    rig.connects_at_once = False
    rig.wire_of(one).protocol.owner.call_went_well()
    rig.wire_of(one).protocol._is_last = True  # closes after its answer: room, and a connection to make
    await rig.answer(one)
    assert len(rig.dials) == 1
    await rig.answer(two)
    assert rig.wire_of(three).asked == 2
    rig.dials[0].result.set_result(None)
    await rig.settle()
    assert rig.wire_of(four).asked == 1
    for caller in (three, four):
        await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_a_call_that_waits_and_can_not_be_connected_learns_why_and_the_next_goes_on(
    make_rig: Rigs,
) -> None:
    rig = make_rig()
    first, second, third = [await rig.call() for _ in range(3)]
    rig.connects_at_once = False
    rig.wire_of(first).protocol._is_last = True
    await rig.answer(first)
    rig.dials[0].refuse()
    await rig.settle()
    assert isinstance(second.error, UpstreamUnreachable)
    rig.dials[0].result.set_result(None)
    await rig.settle()
    await rig.answer(third)
    assert rig.waits() == {"connected": 1, "failed": 1}
    rig.check_nothing_is_left()


async def test_everybody_learns_that_the_only_target_died(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=3, retries=NO_RETRIES)
    callers = [await rig.call() for _ in range(20)]
    rig.connects_at_once = False
    for wire in rig.open:
        wire.close()
    for _ in range(17):
        await rig.settle()
        assert len(rig.dials) <= 3
        for dial in list(rig.dials):
            dial.refuse()
    await rig.settle()
    assert [type(caller.error) for caller in callers] == [UpstreamInvalid] * 3 + [UpstreamUnreachable] * 17
    rig.check_nothing_is_left()


async def test_those_who_wait_do_not_all_find_out_about_a_dead_target(make_rig: Rigs) -> None:
    """Ten connections die at once; until that target is left out, one after the other tries it."""
    rig = make_rig(
        A, B, max_connections=10, retries=Retries(percent=0, at_least=0), ejection=Ejection(failures=12)
    )
    callers = [await rig.call() for _ in range(60)]
    assert rig.waiting == 40
    rig.connects_at_once = False
    for wire in rig.open:
        if wire.target is A:
            wire.close()
    while True:
        await rig.settle()
        if not rig.dials:
            break
        assert len(rig.dials) <= 1
        for dial in list(rig.dials):
            dial.refuse()
    failed = [caller for caller in callers if isinstance(caller.error, UpstreamUnreachable)]
    assert len(failed) <= 2
    while any(caller.waits for caller in callers):
        next(wire for wire in rig.open if wire.protocol._exchange is not None).answer()
        await rig.settle()
    rig.check_nothing_is_left()


async def test_a_target_that_is_back_is_tried_by_one_and_then_serves_those_who_wait(make_rig: Rigs) -> None:
    rig = make_rig(A, B, max_connections=2, ejection=Ejection(failures=1))
    rig.pools[0].call_failed("test")
    assert not rig.pools[0].condition.up
    callers = [await rig.call() for _ in range(6)]
    assert {wire.target for wire in rig.wires} == {B}
    assert rig.waiting == 4
    rig.connects_at_once = False
    rig.pools[0].expire()
    await rig.settle()
    assert [dial.target for dial in rig.dials] == [A]
    rig.dials[0].result.set_result(None)
    rig.connects_at_once = True
    await rig.settle()
    assert rig.waiting == 2
    for caller in callers:
        await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_a_target_that_is_out_gives_nothing_to_those_who_wait(make_rig: Rigs) -> None:
    rig = make_rig(A, B, ejection=Ejection(failures=1))
    one, two, three = [await rig.call() for _ in range(3)]
    on_a = next(caller for caller in (one, two) if rig.wire_of(caller).target is A)
    on_b = two if on_a is one else one
    rig.pools[0].call_failed("test")
    await rig.answer(on_a)
    assert rig.waiting == 1
    await rig.answer(on_b)
    assert rig.wire_of(three).target is B
    await rig.answer(three)
    rig.check_nothing_is_left()


async def test_who_failed_one_target_may_ask_it_again_when_it_is_the_only_one_left(make_rig: Rigs) -> None:
    rig = make_rig(A, B, ejection=Ejection(failures=2))
    on_b = next(caller for caller in [await rig.call() for _ in range(2)] if rig.wire_of(caller).target is B)
    rig.wires[0 if rig.wires[0].target is A else 1].close()
    rig.connects_at_once = False
    await rig.settle()
    failing = await rig.call()
    assert [dial.target for dial in rig.dials] == [A]
    rig.pools[0].troubled = False
    rig.pools[0].condition.call_went_well()
    rig.dials[0].refuse()
    await rig.settle()
    assert rig.waiting == 1, "for the other one"
    rig.connects_at_once = True
    rig.pools[1].call_failed("test")
    rig.pools[1].call_failed("test")
    await rig.settle()
    assert rig.wire_of(failing).target is A
    await rig.answer(failing)
    await rig.answer(on_b)
    rig.check_nothing_is_left()


async def test_a_reload_moves_those_who_wait_in_their_order(make_rig: Rigs) -> None:
    rig = make_rig(max_waiting=8)
    old = await rig.call()
    callers = [await rig.call() for _ in range(4)]
    rig.adopt(replace(rig.spec, max_connections=2, max_waiting=1))
    await rig.settle()
    assert (rig.waiting, len(rig.open)) == (2, 3)
    for caller in callers:
        await rig.answer(caller)
    await rig.answer(old)
    assert sorted(rig.order) == [1, 2, 3, 4, 5]
    assert [wire.asked for wire in rig.wires] == [1, 2, 2]
    assert rig.wires[0].closed, "a connection of the upstream as it was is not kept"
    assert rig.waits() == {"connected": 2}
    rig.check_nothing_is_left()


async def test_a_reload_that_takes_the_upstream_away_serves_those_who_wait(make_rig: Rigs) -> None:
    rig = make_rig()
    callers = [await rig.call() for _ in range(3)]
    rig.adopt()
    await rig.settle()
    for caller in callers:
        await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_a_reload_does_not_let_anybody_wait_longer(make_rig: Rigs) -> None:
    rig = make_rig()
    await rig.call()
    await rig.call(queue_s=60)
    waiting = await rig.call(queue_s=0.01)
    rig.adopt(replace(rig.spec, host_header=rig.spec.host_header, max_waiting=7))
    await until_ended(waiting)
    assert isinstance(waiting.error, UpstreamBusy)
    for caller in rig.callers[:2]:
        await rig.answer(caller)
    rig.check_nothing_is_left()


async def test_at_the_end_those_who_wait_are_refused(make_rig: Rigs) -> None:
    rig = make_rig()
    first, second = [await rig.call() for _ in range(2)]
    rig.forwarder.close()
    assert isinstance(second.error, UpstreamBusy)
    await rig.answer(first)
    assert rig.open == []
    assert rig.waiting == 0


async def test_a_call_whose_connection_is_closed_after_a_reload_goes_where_the_upstream_is(
    make_rig: Rigs,
) -> None:
    rig = make_rig()
    await rig.answer(await rig.call())
    second, third = [await rig.call() for _ in range(2)]
    rig.adopt(replace(rig.spec, targets=(B,)))
    await rig.settle()
    assert rig.wire_of(third).target is B
    rig.wire_of(second).close()
    await rig.settle()
    await rig.answer(second)
    await rig.answer(third)
    rig.check_nothing_is_left()


async def test_a_stale_call_that_finds_its_room_taken_waits_in_front(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=1, max_waiting=1)
    await rig.answer(await rig.call())
    stale = await rig.call()
    wire = rig.wire_of(stale)
    behind = await rig.call()
    wire.close()
    await asyncio.sleep(0)  # told of its end; the room is given out with the tick
    await rig.settle()
    assert behind.waits
    await rig.answer(stale)
    await rig.answer(behind)
    assert rig.order == [1, 2, 2, 3]
    rig.check_nothing_is_left()


async def test_nothing_waits_for_the_end_of_a_tick_while_nobody_waits(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=4)
    for _ in range(10):
        caller = await rig.call()
        rig.wire_of(caller).answer()
        assert rig.pools[0].has_idle, "free at once"
        assert not rig.group.queue._served_soon
    assert len(rig.wires) == 1
    assert rig.waits() == {}
