"""Cursors of pages: where a list goes on. Callers hand them back; nothing in them is secret."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from gateway.ledger.errors import InvalidCursor
from gateway.ledger.events import instant

LONGEST = 4096
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = (1 << 63) - 1

SumCursor = tuple[datetime | None, int | None, int, str, str, str, str]
"""Bucket start, account id, key id, route, mode, outcome, meter. Without an account id it is no cursor."""
NO_CURSOR: SumCursor = (None, None, 0, "", "", "", "")


def event_cursor(started_at: datetime, request_id: UUID) -> str:
    """The place of one call in a list of calls."""
    return f"{_microseconds(started_at)}.{request_id}"


def parse_event_cursor(text: str) -> tuple[datetime, UUID]:
    """What `event_cursor` made. InvalidCursor."""
    at, _, request_id = text.partition(".")
    try:
        return instant(int(at)), UUID(request_id)
    except (ValueError, OverflowError) as error:
        raise _invalid() from error


def sum_cursor(row: asyncpg.Record) -> str:
    """The place of one row in a list of sums."""
    start = row["bucket_start"]
    at_us = None if start is None else _microseconds(start)
    names = ("account_id", "key_id", "route", "mode", "outcome", "meter")
    document = json.dumps([at_us, *(row[name] for name in names)], separators=(",", ":"))
    return urlsafe_b64encode(document.encode()).decode().rstrip("=")


def parse_sum_cursor(text: str) -> SumCursor:
    """What `sum_cursor` made. InvalidCursor."""
    try:
        raw = urlsafe_b64decode(text[:LONGEST].encode("ascii") + b"==")
        at_us, account_id, key_id, *texts = json.loads(raw)
        start = None if at_us is None else instant(_integer(at_us))
        route, mode, outcome, meter = (_text(one) for one in texts)
        return start, _integer(account_id), _integer(key_id), route, mode, outcome, meter
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _invalid() from error


def _integer(value: object) -> int:
    if type(value) is int and abs(value) <= _LARGEST:
        return value
    raise ValueError("not an integer that Postgres takes")


def _text(value: object) -> str:
    if isinstance(value, str) and value.isascii() and "\0" not in value:
        return value
    raise ValueError("not a name of ours")


def _microseconds(at: datetime) -> int:
    return (at - instant(0)) // _MICROSECOND


def _invalid() -> InvalidCursor:
    return InvalidCursor("The cursor is not one of ours. Start again without it.")
