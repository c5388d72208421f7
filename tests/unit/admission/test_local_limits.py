"""A worker's own part of the limits, while nobody can be asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.charges import Charges
from gateway.admission.local_limits import LocalLimits
from gateway.admission.store import Decision, Status
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan, Limit
from tests.unit.admission.plans import limit, plan, quota

NOON_MS = 1_784_030_400_000  # 2026-07-14 12:00:00
HALF_DAY_MS = 43_200_000
FOUR = limit(240, burst=80)  # 240 a minute among four workers: one a second and 20 at once
DAILY = quota(1000, per=Period.DAY)


def passed(
    local: LocalLimits, charges: ChargePlan, times: int, now_ms: int = NOON_MS, tag: str = "7l"
) -> int:
    answers = [local.decide(tag, charges, None, now_ms).decision.status for _ in range(times)]
    return answers.count(Status.ADMITTED)


def test_a_worker_lets_its_part_pass() -> None:
    local, charges = LocalLimits(4), plan(FOUR)
    assert passed(local, charges, 100) == 20
    assert passed(local, charges, 100, NOON_MS + 7_000) == 7
    assert passed(local, charges, 100, NOON_MS + 7_000, tag="8l") == 20, "accounts are apart"


def test_a_refusal_names_the_limit_and_when_a_retry_can_succeed() -> None:
    local, charges = LocalLimits(4), plan(FOUR)
    passed(local, charges, 20)
    refused = local.decide("7l", charges, None, NOON_MS + 300)
    assert refused.plan is charges
    assert refused.charges.names == ("burst",)
    assert (refused.decision.status, refused.decision.wait_ms) == (Status.REFUSED, (700,))
    assert passed(local, charges, 1, NOON_MS + 999) == 0
    assert passed(local, charges, 1, NOON_MS + 1_000) == 1


def test_all_limits_are_paid_or_none() -> None:
    local, charges = LocalLimits(1), plan(limit(60, burst=5), limit(60, burst=2, name="tight"))
    assert passed(local, charges, 9) == 2
    assert local.decide("7l", charges, None, NOON_MS).decision.left == (3, 0)


def test_fewer_tokens_than_workers_leave_one_for_each() -> None:
    local, charges = LocalLimits(64), plan(limit(64, burst=3, period_ms=1000), cost=3)
    assert passed(local, charges, 5) == 1
    assert passed(local, charges, 5, NOON_MS + 1_000) == 1


def test_scoped_buckets_are_apart() -> None:
    local, charges = LocalLimits(1), plan(limit(60, burst=1, scope=("ip",)))
    for tag, bucket, allowed in (
        ("7l", "{ip=a}:b", True),
        ("8l", "{ip=a}:b", False),
        ("8l", "{ip=b}:b", True),
    ):
        decision = local.decide(tag, charges, (bucket,), NOON_MS).decision
        assert (decision.status is Status.ADMITTED) is allowed


def test_buckets_are_bounded_and_the_one_longest_unused_goes_first() -> None:
    local, charges = LocalLimits(1, buckets_max=2), plan(limit(60, burst=1))
    for tag in ("1l", "2l", "3l"):
        passed(local, charges, 1, tag=tag)
    assert len(local._buckets) == 2
    assert passed(local, charges, 1, tag="3l") == 0
    assert passed(local, charges, 1, tag="1l") == 1


def refused(charges: ChargePlan, left: int) -> tuple[Charges, Decision]:
    return Charges(charges, NOON_MS), Decision(Status.REFUSED, NOON_MS, 0, (left,), (HALF_DAY_MS,))


def test_a_quota_passes_unless_it_was_used_up_before() -> None:
    local, charges = LocalLimits(1), plan(DAILY)
    assert passed(local, charges, 3) == 3
    local.learn("7l", *refused(charges, 0))
    answer = local.decide("7l", charges, None, NOON_MS + 1_000)
    assert answer.charges.names == ("api_calls",)
    assert (answer.decision.left, answer.decision.wait_ms) == ((0,), (HALF_DAY_MS - 1_000,))
    assert passed(local, charges, 1, tag="8l") == 1, "of that account only"
    assert passed(local, charges, 1, NOON_MS + HALF_DAY_MS) == 1, "of that period only"


def test_what_was_left_pays_for_what_is_cheap_enough() -> None:
    local = LocalLimits(1)
    local.learn("7l", *refused(plan((DAILY, 5)), 3))
    assert [passed(local, plan((DAILY, cost)), 1) for cost in (3, 4)] == [1, 0]


def test_a_higher_amount_helps_at_once() -> None:
    local = LocalLimits(1)
    local.learn("7l", *refused(plan(DAILY), 0))
    assert passed(local, plan(quota(2000, per=Period.DAY)), 1) == 1


def test_each_worker_gives_out_its_part_of_what_was_left() -> None:
    """Less one call: the others have gone on since."""
    charges = plan(DAILY)
    for workers, left, part in ((1, 12, 12), (4, 12, 2), (4, 7, 0), (4, 3, 0)):
        local = LocalLimits(workers)
        local.learn("7l", Charges(charges, NOON_MS), Decision(Status.ADMITTED, NOON_MS, 0, (left,), (0,)))
        assert passed(local, charges, 20) == part
        assert passed(local, charges, 1, NOON_MS + HALF_DAY_MS) == 1, "in the next period nothing is known"


def test_what_the_store_admits_again_is_no_longer_short() -> None:
    local, charges = LocalLimits(1), plan(DAILY)
    local.learn("7l", *refused(charges, 0))
    local.learn("7l", Charges(charges, NOON_MS), Decision(Status.ADMITTED, NOON_MS, 0, (5,), (0,)))
    assert passed(local, charges, 1) == 1


@given(
    st.integers(1, 9),
    st.integers(1, 500),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 400)), max_size=80),
)
def test_all_workers_together_stay_within_the_limit(
    workers: int, tokens: int, burst: int, calls: list[tuple[int, int]]
) -> None:
    shared: Limit = limit(tokens, burst=max(burst, workers), period_ms=1000)
    parts = [LocalLimits(workers) for _ in range(workers)]
    now_ms, admitted = NOON_MS, 0
    for which, later_ms in calls:
        now_ms += later_ms
        admitted += passed(parts[which % workers], plan(shared), 3, now_ms)
    assert admitted <= shared.burst + tokens * (now_ms - NOON_MS) / 1000


def test_shadows_refuse_nobody_here_either() -> None:
    local = LocalLimits(1)
    tried = limit(60, burst=1, name="tried", shadow=True, scope=("ip",))
    charges = plan(tried, limit(60, burst=3, scope=("account", "key")), quota(1, per=Period.DAY, shadow=True))
    local.learn("7l", *refused(plan(DAILY), 0))
    answers = [local.decide("7l", charges, ("{ip=a}:b", "b:burst:key=1"), NOON_MS) for _ in range(5)]
    assert [answer.decision.status for answer in answers].count(Status.ADMITTED) == 3
    assert answers[-1].charges.names == ("burst",)
