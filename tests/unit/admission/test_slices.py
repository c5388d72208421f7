"""How much may be bought in advance."""

from __future__ import annotations

import pytest

from gateway.admission.slices import bucket_slice, quota_slice


@pytest.mark.parametrize(
    ("case", "tokens", "burst", "cost", "calls"),
    [
        ("a full bucket gives a sixteenth", 1600, 1600, 1, 100),
        ("dear calls are fewer", 1600, 1600, 8, 12),
        ("it stays half full", 810, 1600, 1, 10),
        ("half full it gives nothing", 800, 1600, 1, 0),
        ("a small bucket gives nothing", 15, 15, 1, 0),
        ("an odd burst rounds against the buyer", 17, 33, 1, 0),
        ("an empty one gives nothing", 0, 1600, 1, 0),
    ],
)
def test_a_bucket_gives_while_it_is_plentiful(
    case: str, tokens: int, burst: int, cost: int, calls: int
) -> None:
    assert bucket_slice(tokens, burst, cost) == calls, case


@pytest.mark.parametrize(
    ("case", "remaining", "cost", "calls"),
    [
        ("a sixty-fourth of what remains", 6400, 1, 100),
        ("dear calls are fewer", 6400, 30, 3),
        ("the last amount that gives", 4096, 1, 64),
        ("below that every call is decided", 4095, 1, 0),
        ("over-used after a lower tier", -5, 1, 0),
    ],
)
def test_a_quota_gives_while_it_is_plentiful(case: str, remaining: int, cost: int, calls: int) -> None:
    assert quota_slice(remaining, cost) == calls, case


def test_when_asked_to_both_give_of_little_too() -> None:
    assert bucket_slice(160, 1600, 1, scarce=True) == 10
    assert quota_slice(640, 1, scarce=True) == 10
    assert (bucket_slice(15, 1600, 1, scarce=True), quota_slice(63, 1, scarce=True)) == (0, 0)
    assert quota_slice(-5, 1, scarce=True) == 0, "over-used after a lower tier"
