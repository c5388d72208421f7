from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.ledger.retention import oldest_kept


@pytest.mark.parametrize(
    ("case", "keep", "oldest"),
    [
        ("the present month and the one before", 1, datetime(2026, 1, 1, tzinfo=UTC)),
        ("over the turn of the year", 2, datetime(2025, 12, 1, tzinfo=UTC)),
        ("a year and a month", 13, datetime(2025, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_oldest_month_that_is_kept(case: str, keep: int, oldest: datetime) -> None:
    assert oldest_kept(datetime(2026, 2, 28, 12, tzinfo=UTC), keep) == oldest
