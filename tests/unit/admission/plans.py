"""Plans and principals for the tests of admission."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.exchange import Exchange, RequestHead
from gateway.model.periods import Period
from gateway.model.policies import (
    OF_ACCOUNT,
    AdmissionMode,
    ChargePlan,
    ConcurrencyLimit,
    Limit,
    OnFull,
    OnStoreLoss,
    Quota,
    Scope,
    Tier,
)
from gateway.model.principal import Mode, Principal

MINUTE_MS = 60_000
UPGRADE_URL = "https://portal.example/upgrade"
POLICY_LINE = b"RateLimit-Policy: (as in the policies)\r\n"


def limit(
    tokens: int = 60,
    *,
    burst: int = 20,
    period_ms: int = MINUTE_MS,
    name: str = "burst",
    scope: Scope = OF_ACCOUNT,
    shadow: bool = False,
    meter: str = "",
) -> Limit:
    return Limit(name, tokens, period_ms, burst, scope, enforce=0 if shadow else 100, meter=meter)


def quota(
    amount: int = 1000,
    *,
    per: Period = Period.MONTH,
    meter: str = "api_calls",
    shadow: bool = False,
    soft: bool = False,
    notify: tuple[int, ...] = (80, 100),
) -> Quota:
    return Quota(meter, meter, amount, per, enforce=0 if shadow else 100, soft=soft, notify=notify)


def at_once(
    most: int,
    *,
    name: str = "builds",
    on_full: OnFull = OnFull.REFUSE,
    wait_s: float = 20,
    scope: Scope = OF_ACCOUNT,
    shadow: bool = False,
) -> ConcurrencyLimit:
    return ConcurrencyLimit(name, most, on_full, wait_s, scope, enforce=0 if shadow else 100)


def plan(
    *charges: Limit | Quota | ConcurrencyLimit | tuple[Quota, int],
    mode: AdmissionMode = AdmissionMode.EXACT,
    on_store_loss: OnStoreLoss = OnStoreLoss.REFUSE,
    upgrade_url: str | None = UPGRADE_URL,
    cost: int = 1,
    metered: Mapping[str, int] | None = None,
) -> ChargePlan:
    """A plan that pays into `charges`; a quota alone costs 1. `metered`: what limits on meters count."""
    limits = tuple(charge for charge in charges if isinstance(charge, Limit))
    priced = tuple(
        (charge, 1) if isinstance(charge, Quota) else charge
        for charge in charges
        if not isinstance(charge, Limit | ConcurrencyLimit)
    )
    tier = Tier("community", "Community", None, limits, tuple(one for one, _ in priced), frozenset())
    slots = tuple(charge for charge in charges if isinstance(charge, ConcurrencyLimit))
    identity = f"{limits} {priced} {slots} {mode} {cost} {metered}"
    return ChargePlan(
        identity,
        tier,
        limits,
        priced,
        mode,
        on_store_loss,
        upgrade_url,
        POLICY_LINE,
        cost,
        concurrency=slots,
        metered=metered or {},
    )


def principal(account_id: int = 7, mode: Mode = Mode.LIVE, key_id: int = 1) -> Principal:
    return Principal(account_id, f"acct_{account_id}", key_id, f"key_{key_id}", "community", mode, b"")


def call(account_id: int = 7, mode: Mode = Mode.LIVE, key_id: int = 1) -> Exchange:
    """A call that nobody answers."""
    exchange = Exchange(RequestHead(), None, b"")  # type: ignore[arg-type]  # nobody is answered here
    exchange.principal = principal(account_id, mode, key_id)
    exchange.body_done = True
    return exchange
