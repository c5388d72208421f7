"""The RateLimit lines, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.admission.charges import Charges
from gateway.admission.fields import granted_lines, leased_lines, refused_lines, whole_seconds
from gateway.admission.store import Decision, Status
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan, Limit, LimitFields, Quota
from tests.unit.admission.plans import POLICY_LINE, limit, plan, quota

NOON_MS = 1_784_030_400_000  # 2026-07-14 12:00:00
BURST = limit(60, burst=20)
DAILY = quota(1000, per=Period.DAY)


def admitted(*left: int, extra: int = 0) -> Decision:
    return Decision(Status.ADMITTED, NOON_MS, extra, left, (0,) * len(left))


@pytest.mark.parametrize(
    ("case", "charges", "left", "line"),
    [
        ("a bucket: the time its tokens take to come", plan(BURST), (19,), b'"burst";r=19;t=19'),
        ("an empty one: the time of the next token", plan(BURST), (0,), b'"burst";r=0;t=1'),
        ("a slow one, rounded up", plan(limit(7, burst=9)), (5,), b'"burst";r=5;t=43'),
        ("a fast one: at least a second", plan(limit(20_000, period_ms=1000)), (3,), b'"burst";r=3;t=1'),
        ("a quota: until the period ends", plan(DAILY), (812,), b'"api_calls";r=812;t=43200'),
        ("never negative", plan(DAILY), (-3,), b'"api_calls";r=0;t=43200'),
        ("both", plan(BURST, DAILY), (9, 19), b'"burst";r=9;t=9,"api_calls";r=19;t=43200'),
        ("the tightest first", plan(BURST, DAILY), (19, 5), b'"api_calls";r=5;t=43200,"burst";r=19;t=19'),
        (
            "in calls, not units",
            plan(BURST, (DAILY, 9)),
            (9, 72),
            b'"api_calls";r=72;t=43200,"burst";r=9;t=9',
        ),
        (
            "what refuses nobody last",
            plan(quota(9, per=Period.DAY, soft=True), BURST),
            (9, -3),
            b'"burst";r=9;t=9,"api_calls";r=0;t=43200',
        ),
        ("among equals the longer", plan(BURST, DAILY), (5, 5), b'"api_calls";r=5;t=43200,"burst";r=5;t=5'),
    ],
)
def test_granted(case: str, charges: ChargePlan, left: tuple[int, ...], line: bytes) -> None:
    lines = granted_lines(Charges(charges, NOON_MS), admitted(*left))
    assert lines == POLICY_LINE + b"RateLimit: " + line + b"\r\n", case


def test_calls_bought_ahead_are_still_available() -> None:
    charges = Charges(plan(BURST, (DAILY, 3)), NOON_MS)
    assert b'"burst";r=14;t=14,"api_calls";r=112;' in granted_lines(charges, admitted(10, 100, extra=4))


def test_a_lease_fills_in_what_is_left_call_by_call() -> None:
    charges = Charges(plan(BURST, DAILY), NOON_MS)
    lines, shown = leased_lines(charges, admitted(10, 100, extra=4), 4)
    assert shown == (0, 1)
    assert lines % (13, 103) == POLICY_LINE + b'RateLimit: "burst";r=13;t=14,"api_calls";r=103;t=43200\r\n'


def test_a_percent_sign_in_the_policy_line_survives() -> None:
    charges = Charges(plan(BURST), NOON_MS)
    charges.policy_line = b"RateLimit-Policy: 100 %d\r\n"
    assert (leased_lines(charges, admitted(10), 0).lines % 9).startswith(
        b"RateLimit-Policy: 100 %d\r\nRateLimit: "
    )


def test_refused_shows_nothing_left_and_when_that_ends() -> None:
    charges = Charges(plan(BURST, DAILY), NOON_MS)
    decision = Decision(Status.REFUSED, NOON_MS, 0, (0, 812), (2_001, 0))
    assert refused_lines(charges, decision).endswith(b'"burst";r=0;t=3,"api_calls";r=812;t=43200\r\n')


@pytest.mark.parametrize(("duration_ms", "seconds"), [(1, 1), (1000, 1), (1001, 2), (0, 0)])
def test_seconds_are_rounded_up(duration_ms: int, seconds: int) -> None:
    assert whole_seconds(duration_ms) == seconds


def test_what_refuses_for_longest_is_first() -> None:
    charges = Charges(plan(BURST, limit(6, name="slow"), DAILY), NOON_MS)
    decision = Decision(Status.REFUSED, NOON_MS, 0, (0, 0, 0), (1_000, 9_000, 0))
    assert refused_lines(charges, decision).endswith(
        b'RateLimit: "slow";r=0;t=9,"burst";r=0;t=1,"api_calls";r=0;t=43200\r\n'
    )


def in_dialect(fields: LimitFields, *charges: Limit | Quota) -> Charges:
    policy = POLICY_LINE if fields is LimitFields.DRAFT else b""
    return Charges(replace(plan(*charges), fields=fields, policy_header=policy), NOON_MS)


@pytest.mark.parametrize(
    ("case", "left", "figures"),
    [
        ("a full bucket", (20, 900), (20, 20, 0)),
        ("until it is full again", (5, 900), (20, 5, 15)),
        ("an empty one", (0, 900), (20, 0, 20)),
        ("the quota is tighter", (9, 4), (1000, 4, 43_200)),
        ("never negative", (9, -4), (1000, 0, 43_200)),
    ],
)
def test_legacy_fields_tell_the_tightest(case: str, left: tuple[int, int], figures: tuple[int, ...]) -> None:
    charges = in_dialect(LimitFields.LEGACY, BURST, DAILY)
    wanted = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n" % figures
    assert granted_lines(charges, admitted(*left)) == wanted, case


def test_legacy_fields_of_a_refusal_never_reset_before_a_retry_can_succeed() -> None:
    charges = in_dialect(LimitFields.LEGACY, BURST, DAILY)
    decision = Decision(Status.REFUSED, NOON_MS, 0, (0, 812), (20_400, 0))  # others hold tokens
    assert refused_lines(charges, decision) == (
        b"X-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 21\r\n"
    )


def test_legacy_fields_of_a_lease_have_one_place() -> None:
    lines, shown = leased_lines(in_dialect(LimitFields.LEGACY, DAILY, BURST), admitted(4, 100, extra=4), 4)
    assert shown == (0,)
    assert lines % 7 == b"X-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 7\r\nX-RateLimit-Reset: 12\r\n"


def test_off_says_nothing() -> None:
    charges = in_dialect(LimitFields.OFF, BURST, DAILY)
    refused = Decision(Status.REFUSED, NOON_MS, 0, (0, 812), (2_001, 0))
    assert granted_lines(charges, admitted(10, 100)) == refused_lines(charges, refused) == b""
    assert leased_lines(charges, admitted(10, 100), 5) == (b"", ())


@pytest.mark.parametrize("fields", list(LimitFields))
def test_shadows_are_shown_to_nobody(fields: LimitFields) -> None:
    charges = in_dialect(fields, limit(name="tried", shadow=True), BURST, quota(5, meter="b", shadow=True))
    decision = Decision(Status.ADMITTED, NOON_MS, 0, (0, 19, -3), (500, 0, 500))
    for lines in (granted_lines(charges, decision), refused_lines(charges, decision)):
        assert (b"burst" in lines, b"tried" in lines, b'"b"' in lines) == (
            fields.value == "draft",
            False,
            False,
        )
    alone = in_dialect(fields, limit(shadow=True))
    assert granted_lines(alone, admitted(5)) == b""
