"""One lease: how it grows and what it shows. How leases are bought is in `test_admitter.py`."""

from __future__ import annotations

import pytest

from gateway.admission.charges import Charges
from gateway.admission.leases import LEASE_US, SIZE_MAX, Lease
from gateway.admission.store import Decision, Status
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan
from tests.unit.admission.plans import limit, plan, principal, quota

NOON_MS = 1_784_030_400_000


@pytest.mark.parametrize(
    ("case", "size", "since_us", "next_size"),
    [
        ("the first purchase buys nothing ahead", 0, LEASE_US, 0),
        ("soon needed again: one", 0, LEASE_US // 2 - 1, 1),
        ("gone in half its time: twice as many", 8, LEASE_US // 2 - 1, 16),
        ("it lasted: as many again", 8, LEASE_US // 2, 8),
        ("never more than so many", 200, 0, SIZE_MAX),
    ],
)
def test_growth(case: str, size: int, since_us: int, next_size: int) -> None:
    lease = Lease(principal(), plan(limit()), "w")
    lease.size, lease.touched_us = size, 1_000_000
    assert lease.next_size(1_000_000 + since_us) == next_size, case


@pytest.mark.parametrize(
    ("charges", "left", "shown"),
    [
        (plan(limit(60, burst=99)), (50,), b'"burst";r=53;t=54\r\n'),
        (
            plan(limit(60, burst=99), (quota(per=Period.DAY), 2)),
            (50, 100),
            b'"api_calls";r=106;t=43200,"burst";r=53;t=54\r\n',
        ),
        (
            plan(limit(60, burst=99), quota(per=Period.DAY), quota(meter="tokens", per=Period.HOUR)),
            (50, 100, 200),
            b'"burst";r=53;t=54,"api_calls";r=103;t=43200,"tokens";r=203;t=3600\r\n',
        ),
    ],
)
def test_what_is_shown_follows_the_calls_left(
    charges: ChargePlan, left: tuple[int, ...], shown: bytes
) -> None:
    lease = Lease(principal(), charges, "w")
    lease.stock_up(Charges(charges, NOON_MS), Decision(Status.ADMITTED, NOON_MS, 4, left, (0,) * len(left)))
    lease.calls -= 1
    assert lease.header().endswith(shown)
