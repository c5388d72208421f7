"""What is sent when: the rest of a tick together, large pieces at once, and never out of order."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

from gateway.outbox import MOST_AT_ONCE, RATION_BYTES, Outbox, Ration


class Sink:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closing


async def test_a_large_piece_is_sent_at_once() -> None:
    sink, outbox = Sink(), Outbox(asyncio.get_running_loop())
    outbox.write(cast("asyncio.Transport", Sink()), b"for another")
    outbox.write_large(cast("asyncio.Transport", sink), b"large")
    assert sink.sent == [b"large"]


async def test_a_large_piece_does_not_overtake() -> None:
    sink, outbox = Sink(), Outbox(asyncio.get_running_loop())
    transport = cast("asyncio.Transport", sink)
    outbox.write(transport, b"small")
    outbox.write_large(transport, b"large")
    outbox.write(transport, b"end")
    assert sink.sent == []
    await asyncio.sleep(0)
    assert sink.sent == [b"small", b"large", b"end"]


async def test_nothing_is_sent_to_one_that_is_closing() -> None:
    sink, outbox = Sink(), Outbox(asyncio.get_running_loop())
    sink.closing = True
    outbox.write_large(cast("asyncio.Transport", sink), b"large")
    assert sink.sent == []


async def test_large_pieces_are_read_on_until_the_ration_of_the_tick_is_used() -> None:
    ration, heard = Ration(asyncio.get_running_loop()), list[str]()
    assert ration.take(RATION_BYTES - 1, lambda: heard.append("never"))
    assert not ration.take(1, lambda: heard.append("its turn"))
    assert heard == []
    await asyncio.sleep(0)
    assert heard == ["its turn"]
    assert ration.take(RATION_BYTES - 1, lambda: heard.append("never")), "another tick, another ration"


async def test_those_who_wait_have_their_turn_in_order_a_few_in_each_tick() -> None:
    ration, heard = Ration(asyncio.get_running_loop()), list[int]()
    for number in range(2 * MOST_AT_ONCE + 1):
        assert not ration.take(RATION_BYTES, partial(heard.append, number))
    for most in (MOST_AT_ONCE, 2 * MOST_AT_ONCE, 2 * MOST_AT_ONCE + 1, 2 * MOST_AT_ONCE + 1):
        await asyncio.sleep(0)
        assert heard == list(range(most))


async def test_one_that_wants_more_in_its_turn_is_behind_the_others() -> None:
    ration, heard = Ration(asyncio.get_running_loop()), list[str]()

    def again() -> None:
        heard.append("first")
        ration.take(RATION_BYTES, lambda: heard.append("first again"))

    ration.take(RATION_BYTES, again)
    for name in ("second", "third", "fourth"):
        ration.take(RATION_BYTES, partial(heard.append, name))
    for _ in range(4):
        await asyncio.sleep(0)
    assert heard == ["first", "second", "third", "fourth", "first again"]
