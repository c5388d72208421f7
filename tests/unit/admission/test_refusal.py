"""What a refused caller reads."""

from __future__ import annotations

import pytest

from gateway.admission.charges import Charges
from gateway.admission.refusal import refusal
from gateway.admission.store import Decision, Status
from gateway.errors import ConcurrencyExceeded, QuotaExceeded, RateLimited
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan
from tests.unit.admission.plans import UPGRADE_URL, limit, plan, quota

NOON_MS = 1_784_030_400_000  # 2026-07-14 12:00:00
MIDNIGHT = "2026-07-15T00:00:00Z"
BURST = limit(60, burst=20)
DAILY = quota(1000, per=Period.DAY)
HALF_DAY_MS = 43_200_000


def refused(
    charges: ChargePlan, left: tuple[int, ...], wait_ms: tuple[int, ...]
) -> RateLimited | QuotaExceeded | ConcurrencyExceeded:
    decision = Decision(Status.REFUSED, NOON_MS, 0, left, wait_ms)
    return refusal(charges, Charges(charges, NOON_MS), decision)


def test_an_empty_bucket() -> None:
    error = refused(plan(BURST, DAILY), (0, 812), (1_500, 0))
    assert isinstance(error, RateLimited)
    assert error.headers.endswith(
        b'RateLimit: "burst";r=0;t=2,"api_calls";r=812;t=43200\r\nRetry-After: 2\r\n'
    )
    assert error.detail == (
        "The limit `burst` of the tier `community` allows 60 calls per minute with bursts of up to 20. "
        f"Try again in 2 s. For more, upgrade at {UPGRADE_URL}"
    )
    assert error.extensions == {
        "violated-policies": ["burst"],
        "limits": [
            {
                "policy": "burst",
                "limit": 20,
                "used": 20,
                "remaining": 0,
                "resets_at": "2026-07-14T12:00:02Z",
                "resets_in_s": 2,
            }
        ],
        "tier": "community",
        "upgrade_url": UPGRADE_URL,
    }


def test_a_used_up_quota() -> None:
    error = refused(plan(BURST, DAILY), (4, 0), (0, HALF_DAY_MS))
    assert isinstance(error, QuotaExceeded)
    assert b"Retry-After: 43200\r\n" in error.headers
    assert error.detail == (
        "The quota `api_calls` of the tier `community` is used up: 1000 of 1000 api_calls in this day. "
        f"It starts again at {MIDNIGHT}. For more, upgrade at {UPGRADE_URL}"
    )
    assert error.extensions["violated-policies"] == ["api_calls"]


def test_a_call_too_dear_for_the_rest() -> None:
    error = refused(plan((DAILY, 5)), (3,), (HALF_DAY_MS,))
    assert "997 of 1000 api_calls in this day, and this call needs 5" in error.detail


def test_both_at_once_is_a_quota_s_matter() -> None:
    error = refused(plan(BURST, DAILY), (0, 0), (1_500, HALF_DAY_MS))
    assert isinstance(error, QuotaExceeded)
    assert error.extensions["violated-policies"] == ["burst", "api_calls"]
    assert b"Retry-After: 43200\r\n" in error.headers


def test_the_last_millisecond_of_a_period_still_names_the_quota() -> None:
    error = refused(plan(BURST, DAILY), (0, 0), (1_500, 1))
    assert isinstance(error, QuotaExceeded)
    assert b"Retry-After: 2\r\n" in error.headers, "the bucket takes longer, so a retry has to wait for it"


def test_over_used_after_a_lower_tier_says_what_is_used() -> None:
    error = refused(plan(DAILY), (-50,), (HALF_DAY_MS,))
    limits = error.extensions["limits"]
    assert isinstance(limits, list)
    assert (limits[0]["used"], limits[0]["remaining"]) == (1050, 0)


def test_without_a_link_none_is_named() -> None:
    error = refused(plan(BURST, upgrade_url=None), (0,), (100,))
    assert "upgrade" not in error.detail
    assert "upgrade_url" not in error.extensions


@pytest.mark.parametrize(("later_ms", "retry_after_s"), [(0, 2), (500, 2), (501, 3), (2_000, 4)])
def test_who_is_told_to_wait_longer_reads_it_everywhere(later_ms: int, retry_after_s: int) -> None:
    charges = plan(BURST)
    decision = Decision(Status.REFUSED, NOON_MS, 0, (0,), (1_500,))
    error = refusal(charges, Charges(charges, NOON_MS), decision, later_ms)
    assert error.headers.endswith(b'"burst";r=0;t=2\r\nRetry-After: %d\r\n' % retry_after_s)
    assert f"Try again in {retry_after_s} s." in error.detail
