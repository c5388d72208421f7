"""What is sent when: the rest of a tick together, large pieces at once, and never out of order."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.outbox import Outbox


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
