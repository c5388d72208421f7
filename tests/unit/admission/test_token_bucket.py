"""The arithmetic of buckets, without any store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.token_bucket import (
    HOLD_MS,
    STEP_BACK_MAX_MS,
    Bucket,
    Flow,
    Hold,
    full,
    keep_hold,
    put_back,
    refill,
    settle,
    spend,
    wait_ms,
)
from gateway.model.policies import Limit

TEN_A_SECOND = Flow(1, 100, 20)
AT = 1_000_000


def bucket_of(tokens: float, *, holds: dict[str, Hold] | None = None) -> Bucket:
    return Bucket(tokens * TEN_A_SECOND.period_ms, AT, TEN_A_SECOND.period_ms, holds or {})


@pytest.mark.parametrize(
    ("case", "tokens", "after_ms", "cost", "allowed", "left", "retry_after_ms"),
    [
        ("the last token pays", 1, 0, 1, True, 0, 0),
        ("an empty bucket waits for one token", 0, 0, 1, False, 0, 100),
        ("half a token waits for the other half", 0.5, 0, 1, False, 0, 50),
        ("time refills it", 0, 100, 1, True, 0, 0),
        ("a millisecond before the token is there is too early", 0, 99, 1, False, 0, 1),
        ("it never holds more than the burst", 15, 3_600_000, 1, True, 19, 0),
        ("a cost above one waits for all of it", 2, 0, 5, False, 2, 300),
        ("the whole burst at once", 20, 0, 20, True, 0, 0),
        ("a clock stepping back mints nothing", 0, -50, 1, False, 0, 150),
        ("and takes nothing away", 3, -50, 1, True, 2, 0),
        ("a clock that was far ahead is not waited for", 0, -STEP_BACK_MAX_MS - 1, 1, False, 0, 100),
    ],
)
def test_spend(
    case: str, tokens: float, after_ms: int, cost: int, allowed: bool, left: int, retry_after_ms: int
) -> None:
    outcome = spend(bucket_of(tokens), TEN_A_SECOND, cost, AT + after_ms)
    assert (outcome.allowed, outcome.bucket.tokens, outcome.wait_ms) == (allowed, left, retry_after_ms), case


@pytest.mark.parametrize(
    ("case", "limit", "flow"),
    [
        ("60 a minute is one a second", Limit("a", 60, 60_000, 5), Flow(1, 1000, 5)),
        ("what has no common part stays", Limit("a", 7, 1000, 5), Flow(7, 1000, 5)),
        ("faster than one a millisecond", Limit("a", 20_000, 1000, 5), Flow(20, 1, 5)),
    ],
)
def test_a_flow_is_a_limit_in_lowest_terms(case: str, limit: Limit, flow: Flow) -> None:
    assert Flow.of(limit) == flow, case


def test_a_refused_call_can_pass_exactly_when_it_was_told_to_come_back() -> None:
    refused = spend(bucket_of(0.25), TEN_A_SECOND, 3, AT)
    assert not spend(refused.bucket, TEN_A_SECOND, 3, AT + refused.wait_ms - 1).allowed
    assert spend(refused.bucket, TEN_A_SECOND, 3, AT + refused.wait_ms).allowed


def test_a_hold_keeps_room_that_does_not_fill_up() -> None:
    held = bucket_of(12, holds={"w": Hold(8, AT + 400)})
    assert refill(held, TEN_A_SECOND, AT + 300).tokens == 12


def test_after_its_end_a_hold_lets_only_new_time_flow_in() -> None:
    held = bucket_of(12, holds={"w": Hold(8, AT + 400)})
    refilled = refill(held, TEN_A_SECOND, AT + 600)
    assert refilled.tokens == 14, "200 ms after the end bring two tokens, the 400 ms before bring none"
    assert refilled.holds == {}


def test_holds_end_one_after_the_other() -> None:
    held = bucket_of(10, holds={"late": Hold(5, AT + 700), "early": Hold(5, AT + 200)})
    assert refill(held, TEN_A_SECOND, AT + 400).tokens == 12
    assert refill(held, TEN_A_SECOND, AT + 700).tokens == 15
    assert refill(held, TEN_A_SECOND, AT + 1300).tokens == 20


def test_a_hold_from_a_clock_that_was_ahead_ends_in_time() -> None:
    held = bucket_of(10, holds={"w": Hold(5, AT + 3_600_000)})
    assert refill(held, TEN_A_SECOND, AT).holds["w"].until_ms == AT + HOLD_MS


def test_unspent_tokens_come_back_while_they_are_held() -> None:
    held = bucket_of(12, holds={"w": Hold(8, AT + 400)})
    returned = put_back(held, TEN_A_SECOND, "w", 3)
    assert (returned.tokens, returned.held) == (15, 5)


def test_more_than_is_held_does_not_come_back() -> None:
    held = bucket_of(12, holds={"w": Hold(2, AT + 400)})
    assert put_back(held, TEN_A_SECOND, "w", 8).tokens == 14


def test_what_expired_does_not_come_back() -> None:
    expired = refill(bucket_of(12, holds={"w": Hold(8, AT + 400)}), TEN_A_SECOND, AT + 400)
    assert put_back(expired, TEN_A_SECOND, "w", 8) == expired


def test_a_hold_the_bucket_forgot_makes_room_for_itself() -> None:
    assert keep_hold(full(TEN_A_SECOND, AT), TEN_A_SECOND, "w", Hold(8, AT + 400)).tokens == 12


def test_a_cost_with_no_room_beside_the_holds_waits_for_their_end() -> None:
    held = bucket_of(15, holds={"w": Hold(5, AT + 700)})
    assert wait_ms(held, TEN_A_SECOND, 16, AT) == 700


@pytest.mark.parametrize(
    ("case", "tokens", "given", "left"),
    [
        ("cheaper than it took", 3, 4, 7),
        ("never more than fits beside the holds", 3, 100, 15),
        ("dearer", 3, -2, 1),
        ("much dearer: below empty", 3, -10, -7),
        ("at most a burst below", 3, -1000, -20),
    ],
)
def test_what_a_call_turned_out_to_cost_is_set_right(case: str, tokens: int, given: int, left: int) -> None:
    bucket = bucket_of(tokens, holds={"a": Hold(5, AT + 500)})
    settled = settle(bucket, TEN_A_SECOND, given)
    assert (settled.tokens, settled.held) == (left, 5), case


def test_a_bucket_below_empty_waits_until_that_has_flowed_in() -> None:
    bucket = settle(bucket_of(0), TEN_A_SECOND, -7)
    assert wait_ms(bucket, TEN_A_SECOND, 1, AT) == 800
    assert spend(bucket, TEN_A_SECOND, 1, AT + 800).allowed


def test_a_changed_period_keeps_the_tokens() -> None:
    refilled = refill(bucket_of(7.5), Flow(1, 1000, 20), AT)
    assert (refilled.level, refilled.period_ms) == (7500, 1000)


def test_a_lowered_burst_applies_at_once() -> None:
    assert refill(bucket_of(20), Flow(1, 100, 4), AT).tokens == 4


@given(
    tokens=st.integers(1, 10**9),
    period_ms=st.sampled_from([1000, 60_000, 3_600_000, 86_400_000]),
    burst=st.integers(1, 10**9),
    steps=st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 50)), max_size=30),
)
def test_no_bucket_ever_holds_more_than_its_burst_or_less_than_nothing(
    tokens: int, period_ms: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    flow = Flow.of(Limit("any", tokens, period_ms, burst))
    bucket, now_ms = full(flow, AT), AT
    for elapsed_ms, cost in steps:
        now_ms += elapsed_ms
        bucket = spend(bucket, flow, cost, now_ms).bucket
        assert 0 <= bucket.tokens <= burst
