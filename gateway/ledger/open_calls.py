"""What the open calls of a journal say about quotas: whose they are and what they will pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from gateway.journal.records import Begin

QUARTER_S = 900
"""Calls that begin within one are told as one: each period begins with a quarter of an hour."""
ROWS_MAX = 10_000
"""Of one journal; half a megabyte. What is beyond is found when it is booked."""

UnitsRow = tuple[int, str, str, int, int]
"""Account, mode, meter, started at in epoch seconds, units."""


class OpenCalls(NamedTuple):
    """Accounts that have calls open, sorted, and what these will pay."""

    accounts: list[int]
    units: list[UnitsRow]


def open_calls(begins: Iterable[Begin]) -> OpenCalls:
    """Of the calls that began so and have not ended."""
    units: Counter[tuple[int, str, str, int]] = Counter()
    accounts: set[int] = set()
    for begin in begins:
        call = begin.call
        if not call.account_id:
            continue
        accounts.add(call.account_id)
        started_s = begin.started_at_us // 1_000_000
        for meter, cost in call.charges.items():
            units[call.account_id, call.mode.value, meter, started_s - started_s % QUARTER_S] += cost
    rows = [(*key, amount) for key, amount in units.most_common(ROWS_MAX) if amount > 0]
    return OpenCalls(sorted(accounts), rows)
