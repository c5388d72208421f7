from __future__ import annotations

from gateway.model.enforcement import Enforcement, Enforcing, Switch
from gateway.model.periods import Period
from gateway.model.policies import ConcurrencyLimit, Limit, Quota, Tier
from gateway.routing.loosening import loosened

TIER = Tier(
    "free",
    "Free",
    None,
    (Limit("burst", 60, 60_000, 20),),
    (Quota("monthly", "api_calls", 10, Period.MONTH, enforce=10),),
    frozenset(("export",)),
    concurrency=(ConcurrencyLimit("builds", 1),),
)


def _under(*switches: Switch) -> Tier:
    return loosened(TIER, "all", Enforcement(switches))


def test_in_shadow_everything_is_there_and_refuses_nobody() -> None:
    left = _under(Switch(Enforcing.SHADOW))
    assert (left.limits[0].shadow, left.quotas[0].shadow, left.concurrency[0].shadow) == (True, True, True)
    assert (left.limits[0].burst, left.quotas[0].amount, left.concurrency[0].most) == (20, 10, 1)
    assert left.features == TIER.features


def test_what_is_off_is_not_there() -> None:
    left = _under(Switch(Enforcing.OFF))
    assert (left.limits, left.quotas, left.concurrency) == ((), (), ())
    assert left.features == TIER.features


def test_each_for_itself() -> None:
    left = _under(Switch(Enforcing.OFF, limit="burst"), Switch(Enforcing.SHADOW, limit="builds"))
    assert (left.limits, left.quotas) == ((), TIER.quotas)
    assert left.concurrency[0].shadow
    assert _under(Switch(Enforcing.OFF, tier="team"), Switch(Enforcing.OFF, route="builds")) == TIER
