"""Calls put into the ledger as the recorder does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gateway.journal.reader import Position
from gateway.ledger.booking import Booking, Move
from gateway.model.principal import Mode
from gateway.model.usage import UsageEvent
from gateway.outcomes import Outcome
from gateway.storage.postgres import Pool


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
        UsageEvent(
            request_id=request_id(account_id, number, mode),
            started_at_us=at_us,
            account_id=account_id,
            key_id=None,
            mode=mode,
            tier="free",
            route="all",
            method="GET",
            outcome=Outcome.SERVED,
            status=200,
            ingress_bytes=0,
            egress_bytes=0,
            duration_us=3,
            first_byte_us=4,
            charges=dict(charges),
        )
        for number in range(calls)
    ]
    booking = Booking(pool)
    journal = f"{account_id}-{mode.value}-{at_us}"
    start = await booking.follow(journal)
    assert start is not None
    assert await booking.book(journal, Move(start.position, Position(1, 1), finished=True), events)
