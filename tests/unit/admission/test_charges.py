"""What is worked out once per plan and period."""

from __future__ import annotations

import struct

from gateway.admission.charges import CHARGES_MAX, Charges, ChargesByPlan
from gateway.model.periods import Period
from tests.unit.admission.plans import limit, plan, quota

NOON_MS = 1_784_030_400_000  # 2026-07-14 12:00:00


def test_keys_and_numbers_come_in_the_order_of_the_script_s_arguments() -> None:
    charges = Charges(plan(limit(60, burst=20), (quota(1000, per=Period.HOUR), 3)), NOON_MS)
    assert charges.names == ("burst", "api_calls")
    assert charges.keys == ("b:burst", "q:api_calls:hour:1784030400")
    numbers = (*(1, 1000, 20, 1), *(1000, 3, NOON_MS, NOON_MS + 3_600_000, 800))
    assert (struct.unpack("<9d", charges.packed), charges.marks) == (numbers, ("800:80 1000:100 api_calls",))
    assert charges.told == 3 + 2 * 2
    assert charges.periods == (
        ("q:api_calls:hour:1784030400",),
        1_784_030_400_000_000,
        1_784_034_000_000_000,
    )


def test_they_hold_until_the_first_period_ends() -> None:
    charges = Charges(plan(quota(per=Period.MONTH), quota(per=Period.HOUR)), NOON_MS)
    assert (charges.starts_ms, charges.ends_ms) == (NOON_MS, NOON_MS + 3_600_000)


def test_buckets_alone_hold_for_ever() -> None:
    known = ChargesByPlan()
    charges = known.at(plan(limit()), NOON_MS)
    assert known.at(plan(limit()), NOON_MS * 2) is charges


def test_no_more_than_so_many_plans_are_remembered() -> None:
    known = ChargesByPlan()
    first = known.at(plan(limit(burst=1)), NOON_MS)
    for burst in range(2, CHARGES_MAX + 2):
        known.at(plan(limit(burst=burst)), NOON_MS)
    assert known.at(plan(limit(burst=1)), NOON_MS) is not first
