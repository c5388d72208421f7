"""Figures as people read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.controlplane import wording
from gateway.model.overage import Overage
from gateway.model.periods import Period, parse_period
from gateway.model.policies import ConcurrencyLimit, Limit, Price, Quota, Tier


@pytest.mark.parametrize(
    ("case", "price", "text"),
    [
        ("hundredths", Price(2500, "USD", "month"), "USD 25.00 per month"),
        ("thousands", Price(123456789, "EUR", "year"), "EUR 1,234,567.89 per year"),
        ("a currency without a minor unit", Price(2500, "JPY", "month"), "JPY 2,500 per month"),
        ("a currency with thousandths", Price(2500, "KWD", "month"), "KWD 2.500 per month"),
        ("less than one", Price(5, "USD", "month"), "USD 0.05 per month"),
        ("nothing", Price(0, "USD", "month"), "free"),
    ],
)
def test_prices(case: str, price: Price, text: str) -> None:
    assert wording.price_text(price) == text, case


@pytest.mark.parametrize(
    ("period_ms", "text"),
    [
        (1_000, "60 requests per second, 20 at once"),
        (60_000, "60 requests per minute, 20 at once"),
        (600_000, "60 requests per 10 minutes, 20 at once"),
        (3_600_000, "60 requests per hour, 20 at once"),
        (86_400_000, "60 requests per day, 20 at once"),
        (1_500, "60 requests per 1500 ms, 20 at once"),
    ],
)
def test_limits(period_ms: int, text: str) -> None:
    assert wording.limit_text(Limit("burst", 60, period_ms, 20)) == text


def test_quotas() -> None:
    quota = Quota("monthly", "api_calls", 100_000, Period.MONTH)
    assert wording.quota_text(quota) == "100,000 api calls per month"
    dearer = replace(quota, per=parse_period("30 days"), overage=Overage(10, "USD", 1000))
    assert wording.quota_text(dearer) == "100,000 api calls per 30 days, then USD 0.10 per 1,000"


def test_instants_are_utc() -> None:
    at = datetime(2026, 11, 21, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert wording.instant(at) == "2026-11-21T10:00:00.123Z"
    assert wording.instant(None) is None
    assert wording.instant_us(0) is None
    assert wording.instant_us(round(at.timestamp() * 1e6)) == "2026-11-21T10:00:00.123Z"
    assert datetime.fromisoformat(wording.instant(at) or "").tzinfo == UTC


def test_customers_are_not_told_of_what_is_only_tried_out() -> None:
    limits = (Limit("a", 1, 1000, 1), Limit("b", 1, 1000, 1, enforce=10), Limit("c", 1, 1000, 1, enforce=0))
    one = Tier("t", "T", None, limits, (Quota("q", "api_calls", 1, Period.DAY, enforce=0),), frozenset())
    slots = (ConcurrencyLimit("d", 1), ConcurrencyLimit("e", 1, enforce=0))
    one = replace(one, concurrency=slots)
    told, known = wording.tier(one), wording.tier(one, shadows=True)
    assert told["limits"] == [wording.limit(each) for each in limits[:2]]
    assert told["quotas"] == []
    assert told["concurrency"] == [wording.concurrency(slots[0])]
    assert known["concurrency"] == [wording.concurrency(each) | {"enforce": each.enforce} for each in slots]
    assert known["limits"] == [wording.limit(each) | {"enforce": each.enforce} for each in limits]
    assert known["quotas"] == [wording.quota(one.quotas[0]) | {"enforce": 0}]
