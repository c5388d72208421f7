"""Which journals a rebuild of quota counters waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.ledger.quotas import JournalState
from gateway.reconciliation.rebuild import SILENT_AFTER, behind

LOSS = datetime(2026, 7, 14, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("case", "closed", "seen_at", "moved_since", "waits"),
    [
        ("booked to beyond the loss", False, LOSS + SECOND, False, False),
        ("booked exactly up to it", False, LOSS, False, False),
        ("not so far yet", False, LOSS - SECOND, False, True),
        ("so far, and something was booked since", False, LOSS + SECOND, True, True),
        ("of which nothing was told yet", False, None, True, True),
        ("finished", True, LOSS - SECOND, True, False),
        ("whose recorder fell silent long before", False, LOSS - SILENT_AFTER, True, False),
    ],
)
def test_a_journal(case: str, closed: bool, seen_at: datetime | None, moved_since: bool, waits: bool) -> None:
    journal = JournalState(closed, seen_at, frozenset(), moved_since)
    assert behind(LOSS, {"one": journal}) == ({"one"} if waits else set()), case
