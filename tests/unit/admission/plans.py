"""Plans and principals for the tests of admission."""

from __future__ import annotations

from gateway.model.policies import AdmissionMode, ChargePlan, Limit, OnStoreLoss, Period, Quota, Tier
from gateway.model.principal import Mode, Principal

MINUTE_MS = 60_000
UPGRADE_URL = "https://portal.example/upgrade"
POLICY_LINE = b"RateLimit-Policy: (as in the policies)\r\n"


def limit(tokens: int = 60, *, burst: int = 20, period_ms: int = MINUTE_MS, name: str = "burst") -> Limit:
    return Limit(name, tokens, period_ms, burst)


def quota(amount: int = 1000, *, per: Period = Period.MONTH, meter: str = "api_calls") -> Quota:
    return Quota(meter, meter, amount, per)


def plan(
    *charges: Limit | Quota | tuple[Quota, int],
    mode: AdmissionMode = AdmissionMode.EXACT,
    on_store_loss: OnStoreLoss = OnStoreLoss.REFUSE,
    upgrade_url: str | None = UPGRADE_URL,
) -> ChargePlan:
    """A plan that pays into `charges`; a quota alone costs 1."""
    limits = tuple(charge for charge in charges if isinstance(charge, Limit))
    priced = tuple(
        (charge, 1) if isinstance(charge, Quota) else charge
        for charge in charges
        if not isinstance(charge, Limit)
    )
    tier = Tier("community", "Community", None, limits, tuple(one for one, _ in priced), frozenset())
    identity = f"{limits} {priced} {mode}"
    return ChargePlan(identity, tier, limits, priced, mode, on_store_loss, upgrade_url, POLICY_LINE)


def principal(account_id: int = 7, mode: Mode = Mode.LIVE) -> Principal:
    return Principal(account_id, f"acct_{account_id}", 1, "key_1", "community", mode, b"")
