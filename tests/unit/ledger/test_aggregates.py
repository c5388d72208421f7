from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.aggregates import TotalRow, hourly_totals, month_of, monthly_totals
from gateway.ledger.events import instant
from gateway.model.principal import Mode
from gateway.model.usage import UsageEvent
from gateway.outcomes import Outcome

HOUR_US = 3_600_000_000

events = st.builds(
    UsageEvent,
    request_id=st.binary(min_size=16, max_size=16),
    started_at_us=st.integers(0, 800 * 24).map(lambda hours: hours * HOUR_US // 2),
    account_id=st.sampled_from([None, 1, 2]),
    key_id=st.sampled_from([None, 1]),
    mode=st.sampled_from(Mode),
    tier=st.just("team"),
    route=st.sampled_from(["", "a"]),
    method=st.just("GET"),
    outcome=st.sampled_from(Outcome),
    status=st.just(200),
    ingress_bytes=st.integers(0, 3),
    egress_bytes=st.integers(0, 3),
    duration_us=st.integers(0, 3000),
    first_byte_us=st.just(0),
    charges=st.dictionaries(st.sampled_from(["api_calls", "builds"]), st.integers(0, 5)),
)


def by_key(rows: list[TotalRow]) -> Counter[tuple[object, ...]]:
    """Events and quantities in one comparable sum."""
    total: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        total[(*row[:7], "events")] += row[7]
        total[(*row[:7], "quantity")] += row[8]
    return total


@given(st.lists(events), st.integers(0, 20))
def test_splitting_a_batch_changes_no_total(batch: list[UsageEvent], at: int) -> None:
    first, second = hourly_totals(batch[:at]), hourly_totals(batch[at:])
    assert by_key(first) + by_key(second) == +by_key(hourly_totals(batch))
    split = by_key(monthly_totals(first)) + by_key(monthly_totals(second))
    assert split == +by_key(monthly_totals(hourly_totals(batch)))


@given(st.lists(events))
def test_totals_are_the_sums_of_the_events(batch: list[UsageEvent]) -> None:
    rows = hourly_totals(batch)
    for meter, quantity in {
        "api_calls": sum(event.charges.get("api_calls", 0) for event in batch),
        "builds": sum(event.charges.get("builds", 0) for event in batch),
        "ingress_bytes": sum(event.ingress_bytes for event in batch),
        "egress_bytes": sum(event.egress_bytes for event in batch),
        "duration_ms": sum(event.duration_us // 1000 for event in batch),
    }.items():
        assert sum(row[8] for row in rows if row[6] == meter) == quantity
        assert sum(row[8] for row in monthly_totals(rows) if row[6] == meter) == quantity
    assert sum(row[7] for row in rows if row[6] == "api_calls") == len(batch)


@given(st.lists(events))
def test_rows_come_sorted_and_each_key_once(batch: list[UsageEvent]) -> None:
    for rows in (hourly_totals(batch), monthly_totals(hourly_totals(batch))):
        keys = [row[:7] for row in rows]
        assert keys == sorted(set(keys))


def test_the_bucket_is_the_hour_and_month_of_the_start() -> None:
    assert month_of(instant(1_700_000_000_000_000)) == datetime(2023, 11, 1, tzinfo=UTC)
