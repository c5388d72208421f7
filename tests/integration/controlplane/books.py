"""Calls put into the ledger as the recorder does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gateway.journal.reader import Position
from gateway.journal.records import Call
from gateway.ledger.booking import Booking, Move
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from tests.unit.ledger.calls import an_event


def request_id(account_id: int, number: int, mode: Mode = Mode.LIVE) -> bytes:
    """Of the call `number` of an account; higher numbers are later ids."""
    return bytes([account_id, mode is Mode.TEST]).ljust(15, b"\0") + bytes([number])


ONE_CALL = {"api_calls": 1}


async def book(
    pool: Pool,
    account_id: int,
    at: datetime,
    *,
    calls: int,
    mode: Mode = Mode.LIVE,
    charges: Mapping[str, int] = ONE_CALL,
) -> None:
    """So many served calls at one instant, each paying one unit of `api_calls`, or other `charges`."""
    at_us = round(at.timestamp() * 1_000_000)
    events = [
        an_event(
            request_id(account_id, number, mode),
            at_us,
            Call(account_id, 0, mode, "free", "all", "GET", dict(charges)),
            duration_us=3,
            first_byte_us=4,
        )
        for number in range(calls)
    ]
    booking = Booking(pool)
    journal = f"{account_id}-{mode.value}-{at_us}"
    start = await booking.follow(journal)
    assert start is not None
    assert await booking.book(journal, Move(start.position, Position(1, 1), finished=True), events)
