"""How a counter stands to the ledger, and when it may be changed. Pure functions: looks in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from gateway.admission.counters import QuotaPeriod
from gateway.ledger.quotas import JournalState

BEGUN_WITHIN = timedelta(seconds=1)
"""Between a charge in Redis and the begin in the journal. Calls that wait longer than 100 ms are refused."""


class Standing(Enum):
    """A counter that is not what the ledger says."""

    BEHIND = "behind"  # of the ledger: it was lost, or calls passed uncounted. Raised at once
    AHEAD = "ahead"  # and nothing is under way that explains it: calls that were never billed. Lowered
    UNDER_WAY = "under_way"  # ahead, and calls or leases may explain it


@dataclass(frozen=True, slots=True)
class Look:
    """Counters and ledger at one time. The ledger is read first: so no counter seems behind that is not."""

    at: datetime  # by Postgres, after all of it was read
    figures: Mapping[QuotaPeriod, tuple[int, int]]  # counted and booked
    announced: frozenset[str]  # journals that workers said they write
    journals: Mapping[str, JournalState]


def standing(period: QuotaPeriod, before: Look | None, now: Look, quiet_s: float) -> Standing | None:
    """What to make of one counter; None if it agrees with the ledger.

    A counter that is ahead is wrong when nothing has moved since the look `before`, at least `quiet_s` ago,
    all that was written until then is booked, and no call of the account is open. Leases end within a second,
    and none is bought without moving the counter.
    """
    counted, booked = now.figures[period]
    if counted == booked:
        return None
    if counted < booked:
        return Standing.BEHIND
    if before is None or now.at - before.at < timedelta(seconds=quiet_s):
        return Standing.UNDER_WAY
    still = before.figures.get(period) == (counted, booked)
    if still and drained(before.at + BEGUN_WITHIN, now) and not _is_open(period.account_id, now):
        return Standing.AHEAD
    return Standing.UNDER_WAY


def drained(since: datetime, look: Look) -> bool:
    """Whether every journal there is was booked up to `since` or beyond."""
    if look.announced - look.journals.keys():
        return False  # no recorder has seen it yet
    return all(
        one.closed or (one.seen_at is not None and one.seen_at >= since) for one in look.journals.values()
    )


def _is_open(account_id: int, look: Look) -> bool:
    return any(account_id in one.open_accounts for one in look.journals.values() if not one.closed)
