"""What a connection may carry next, after a call with a body."""

from __future__ import annotations

import pytest

from gateway.model.policies import Keepalive
from tests.unit.upstream.rig import Caller, Rig, Rigs

BODY = b"a=1"


async def post(rig: Rig) -> Caller:
    """A call with a body, all of it sent."""
    caller = await rig.call(method="POST", body=BODY)
    caller.exchange.ingress_bytes = len(BODY)
    return caller


async def test_a_body_that_was_sent_costs_no_connection(make_rig: Rigs) -> None:
    rig = make_rig()
    for _ in range(3):
        await rig.answer(await post(rig))
    assert [wire.asked for wire in rig.wires] == [3]


async def test_one_that_the_kernel_has_not_taken_ends_it(make_rig: Rigs) -> None:
    """Who answers before the body was sent has not read it, and may take it for the next call."""
    rig = make_rig()
    caller = await post(rig)
    rig.wire_of(caller).stuck_bytes = 1
    await rig.answer(caller)
    assert rig.open == []
    assert caller.exchange.status == 200


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("late", [b"", b"b=2"])
async def test_one_whose_end_is_written_in_the_tick_of_the_answer_ends_it(
    late: bytes, chunked: bool, make_rig: Rigs
) -> None:
    rig = make_rig()
    caller = rig.begin(method="POST", body=BODY, is_whole=False)
    caller.exchange.head.chunked = chunked
    caller.exchange.ingress_bytes = len(BODY)
    await rig.settle()
    wire, uplink = rig.wire_of(caller), caller.exchange.uplink
    assert uplink is not None
    if late:
        uplink.upload(late)
    caller.exchange.body_done = True
    uplink.upload_done()
    wire.answer()
    await rig.settle()
    ended = bool(late) or chunked
    assert wire.closed is ended, "without a piece or a last chunk nothing was written"


@pytest.mark.parametrize("pieces", [1, 2])
async def test_an_answer_that_begins_before_the_body_is_there_ends_it(pieces: int, make_rig: Rigs) -> None:
    rig = make_rig()
    caller = rig.begin(method="POST", body=BODY, is_whole=False)
    caller.exchange.ingress_bytes = len(BODY)
    await rig.settle()
    wire, uplink = rig.wire_of(caller), caller.exchange.uplink
    assert uplink is not None
    wire.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"hi"[: 2 - pieces])
    uplink.upload(b"rest")
    caller.exchange.body_done = True
    uplink.upload_done()
    await rig.settle()
    wire.protocol.data_received(b"hi"[2 - pieces :])
    await rig.settle()
    assert caller.got == b"hi"
    assert wire.closed


@pytest.mark.parametrize("first_bytes", [1, 20, 40])
async def test_a_piece_of_an_answer_while_the_kernel_has_not_taken_the_body_ends_it(
    first_bytes: int, make_rig: Rigs
) -> None:
    rig = make_rig()
    caller = await post(rig)
    wire, answer = rig.wire_of(caller), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    wire.stuck_bytes = 1
    wire.protocol.data_received(answer[:first_bytes])
    wire.stuck_bytes = 0
    wire.protocol.data_received(answer[first_bytes:])
    await rig.settle()
    assert caller.got == b"hi"
    assert wire.closed


async def test_an_interim_answer_says_nothing_of_the_body(make_rig: Rigs) -> None:
    rig = make_rig()
    caller = await post(rig)
    wire = rig.wire_of(caller)
    wire.stuck_bytes = 1
    wire.protocol.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
    wire.stuck_bytes = 0
    await rig.answer(caller)
    assert not wire.closed


async def test_where_bodies_may_stay_unread_the_first_is_the_last(make_rig: Rigs) -> None:
    rig = make_rig(keepalive=Keepalive(reuse_after_body=False))
    for _ in range(2):
        await rig.answer(await rig.call())
    await rig.answer(await post(rig))
    await rig.answer(await rig.call())
    assert [wire.asked for wire in rig.wires] == [3, 1]
    assert rig.wires[0].written.count(b"Connection: close\r\n") == 1
    assert rig.wires[0].closed
    assert b"Connection: close" not in rig.wires[1].written
