from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.records import Begin, Call, End
from gateway.ledger.aggregates import Tally, TotalRow, month_of, monthly_totals
from gateway.ledger.events import UsageEvent, instant
from gateway.model.principal import Mode
from gateway.outcomes import Outcome

HOUR_US = 3_600_000_000

CALLS = [
    Call(account, key, mode, "team", route, "GET", charges)
    for account, key in ((0, 0), (1, 1), (2, 0))
    for mode in Mode
    for route in ("", "a")
    for charges in ({}, {"api_calls": 1}, {"api_calls": 2, "builds": 5})
]


def an_end(outcome: Outcome, figures: tuple[int, int, int], messages: tuple[int, int]) -> End:
    ingress, egress, duration_us = figures
    return End(1, outcome, True, 200, ingress, egress, duration_us, 0, {}, *messages)


def an_event(at_us: int, call: Call, end: End, charges: dict[str, int] | None) -> UsageEvent:
    """`charges` None: as planned."""
    return UsageEvent(bytes(10), Begin(1, at_us, call), end, call.charges if charges is None else charges)


figures = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3000))
ends = st.builds(an_end, st.sampled_from(Outcome), figures, st.tuples(st.integers(0, 2), st.integers(0, 2)))
charges = st.dictionaries(st.sampled_from(["api_calls", "builds", "egress_bytes"]), st.integers(0, 5))
# Some calls are the same object, as those of one journal are, and some only alike, as those of two are.
calls = st.sampled_from(CALLS) | st.sampled_from(CALLS).map(lambda call: call._replace())
instants = st.integers(0, 800 * 24).map(lambda hours: hours * HOUR_US // 2)
events = st.builds(an_event, instants, calls, ends, st.none() | charges)


def hourly_totals(batch: list[UsageEvent]) -> list[TotalRow]:
    return Tally(batch).hours()


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
        "ingress_bytes": sum(event.end.ingress_bytes for event in batch),
        "egress_bytes": sum(event.end.egress_bytes + event.charges.get("egress_bytes", 0) for event in batch),
        "duration_ms": sum(event.end.duration_us // 1000 for event in batch),
        "messages": sum(event.end.ingress_messages + event.end.egress_messages for event in batch),
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


def test_keys_were_used_when_their_last_call_began() -> None:
    called = [
        an_event(at_us, CALLS[-5], an_end(Outcome.SERVED, (0, 0, 0), (0, 0)), None) for at_us in (5, 9, 7)
    ]
    assert called[0].begin.call.key_id == 0, "of nobody's key nothing is noted"
    assert Tally(called).key_uses() == {}
    keyed = [event._replace(begin=event.begin._replace(call=CALLS[12])) for event in called]
    assert Tally(keyed).key_uses() == {1: instant(9)}


def test_partitions_are_needed_where_there_are_rows() -> None:
    end = an_end(Outcome.SERVED, (0, 0, 0), (0, 0))
    first, other = (
        an_event(0, CALLS[0], end, None),
        an_event(40 * 24 * HOUR_US, CALLS[0]._replace(raw=False), end, None),
    )
    assert Tally([first, other]).months() == {instant(0)}
