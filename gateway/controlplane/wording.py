"""Accounts, keys, tiers and figures as the APIs and pages show them."""

from __future__ import annotations

from datetime import UTC, datetime

from typing_extensions import TypedDict

from gateway.accounts.records import Account, ApiKey
from gateway.model.costs import Cost
from gateway.model.overage import Overage
from gateway.model.policies import ConcurrencyLimit, Limit, OnFull, Price, Quota, Tier
from gateway.operators.audit import Change
from gateway.operators.tokens import AdminToken

Document = dict[str, object]


class AccountDocument(TypedDict):
    """An account."""

    id: str
    external_id: str | None
    name: str
    tier: str
    status: str
    created_at: str | None
    billing_anchor: str | None
    time_zone: str
    internal: bool
    metadata: dict[str, str]


class KeyDocument(TypedDict):
    """A key without its secret."""

    id: str
    account: str
    name: str
    visible: str | None
    last_four: str | None
    mode: str
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    successor: str | None
    only_routes: list[str]
    only_methods: list[str]
    only_networks: list[str]
    not_networks: list[str]
    scopes: list[str] | None


class NewKeyDocument(KeyDocument):
    """A key, the only time with its secret."""

    secret: str


class TokenDocument(TypedDict):
    """An admin token without its secret."""

    id: str
    name: str
    last_four: str
    scopes: list[str]
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewTokenDocument(TokenDocument):
    """An admin token, the only time with its secret."""

    secret: str


class ChangeDocument(TypedDict):
    """One change of one record."""

    id: int
    at: str | None
    actor: str
    request_id: str | None
    action: str
    target: str
    before: dict[str, object] | None
    after: dict[str, object] | None


class CostDocument(TypedDict):
    """What a call costs where calls differ: by method, and on top for each begun KiB of the body."""

    units: int
    methods: dict[str, int]
    per_kib: int


_NO_MINOR_UNIT = frozenset(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG")) | frozenset(
    ("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THREE_DIGITS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
"""Currencies whose minor unit is not a hundredth (ISO 4217)."""

_SPANS_MS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))


def instant(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with a `Z`."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_us(at_us: int) -> str | None:
    """An instant of our clocks; None for 0, which means never."""
    return instant(datetime.fromtimestamp(at_us / 1_000_000, UTC)) if at_us else None


def account(one: Account) -> AccountDocument:
    """An account."""
    return {
        "id": one.public_id,
        "external_id": one.external_id,
        "name": one.name,
        "tier": one.tier,
        "status": one.status,
        "created_at": instant(one.created_at),
        "billing_anchor": None if one.billing_anchor is None else one.billing_anchor.isoformat(),
        "time_zone": one.time_zone,
        "internal": one.internal,
        "metadata": dict(one.metadata),
    }


def key(one: ApiKey) -> KeyDocument:
    """A key without its secret."""
    return {
        "id": one.public_id,
        "account": one.account,
        "name": one.name,
        "visible": one.visible,
        "last_four": one.last_four,
        "mode": one.mode.value,
        "created_at": instant(one.created_at),
        "expires_at": instant(one.expires_at),
        "revoked_at": instant(one.revoked_at),
        "last_used_at": instant(one.last_used_at),
        "successor": one.successor,
        "only_routes": list(one.only_routes),
        "only_methods": list(one.only_methods),
        "only_networks": list(one.only_networks),
        "not_networks": list(one.not_networks),
        "scopes": None if one.scopes is None else list(one.scopes),
    }


def token(one: AdminToken) -> TokenDocument:
    """An admin token without its secret."""
    return {
        "id": one.public_id,
        "name": one.name,
        "last_four": one.last_four,
        "scopes": list(one.scopes),
        "created_at": instant(one.created_at),
        "expires_at": instant(one.expires_at),
        "revoked_at": instant(one.revoked_at),
        "last_used_at": instant(one.last_used_at),
    }


def change(one: Change) -> ChangeDocument:
    """One line of the audit log."""
    return {
        "id": one.id,
        "at": instant(one.at),
        "actor": one.actor,
        "request_id": one.request_id,
        "action": one.action,
        "target": one.target,
        "before": None if one.before is None else dict(one.before),
        "after": None if one.after is None else dict(one.after),
    }


def tier(one: Tier, *, shadows: bool = False) -> Document:
    """A tier as customers may see it. `shadows`: as operators do, with whom it is enforced for."""
    return {
        "name": one.name,
        "title": one.title,
        "price": None if one.price is None else price(one.price),
        "limits": [
            limit(each) | _enforced(each, shadows) for each in one.limits if shadows or not each.shadow
        ],
        "quotas": [
            quota(each) | _enforced(each, shadows) for each in one.quotas if shadows or not each.shadow
        ],
        "concurrency": [
            concurrency(each) | _enforced(each, shadows)
            for each in one.concurrency
            if shadows or not each.shadow
        ],
        "features": sorted(one.features),
    }


def _enforced(one: Limit | Quota | ConcurrencyLimit, shown: bool) -> Document:
    return {"enforce": one.enforce} if shown else {}


def price(one: Price) -> Document:
    """A price in the minor unit, and as text."""
    return {
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "per": one.per,
        "text": price_text(one),
    }


def price_text(one: Price) -> str:
    """Like `USD 25.00 per month`; `free` for nothing."""
    if one.amount_minor == 0:
        return "free"
    return f"{money(one.amount_minor, one.currency)} per {one.per}"


def money(amount_minor: int, currency: str) -> str:
    """Like `USD 25.00`."""
    digits = 0 if currency in _NO_MINOR_UNIT else 3 if currency in _THREE_DIGITS else 2
    whole, minor = divmod(amount_minor, 10**digits)
    return f"{currency} {whole:,}.{minor:0{digits}}" if digits else f"{currency} {whole:,}"


def cost(one: Cost) -> int | CostDocument:
    """What a call costs: a number when all calls are alike."""
    if not one.varies:
        return one.units
    return {"units": one.units, "methods": dict(one.methods), "per_kib": one.per_kib}


def limit(one: Limit) -> Document:
    """A rate limit."""
    return {
        "name": one.name,
        "requests": one.tokens,
        "period_ms": one.period_ms,
        "burst": one.burst,
        "scope": list(one.scope),
        "routes": sorted(one.routes),
        "text": limit_text(one),
    }


def limit_text(one: Limit) -> str:
    """Like `60 requests per minute, 20 at once`."""
    for name, span_ms in _SPANS_MS:
        if one.period_ms % span_ms == 0:
            count = one.period_ms // span_ms
            period = name if count == 1 else f"{count} {name}s"
            break
    else:
        period = f"{one.period_ms} ms"
    counted = one.meter.replace("_", " ") or "requests"
    return f"{one.tokens:,} {counted} per {period}, {one.burst:,} at once" + _whose(one)


def concurrency(one: ConcurrencyLimit) -> Document:
    """How many calls may be under way at once."""
    return {
        "name": one.name,
        "max": one.most,
        "on_full": one.on_full.value,
        "wait_s": one.wait_s if one.on_full is OnFull.QUEUE else None,
        "scope": list(one.scope),
        "routes": sorted(one.routes),
        "text": concurrency_text(one),
    }


def concurrency_text(one: ConcurrencyLimit) -> str:
    """Like `3 requests under way at once`."""
    return f"{one.most:,} {'request' if one.most == 1 else 'requests'} under way at once" + _whose(one)


def _whose(one: Limit | ConcurrencyLimit) -> str:
    each = [_each(part) for part in one.scope if part != "account"]
    text = f", for each {' and '.join(each)}" if each else ""
    return text + (f", on {', '.join(sorted(one.routes))}" if one.routes else "")


def _each(part: str) -> str:
    return "address" if part == "ip" else part.replace("header:", "value of ").replace("claim:", "value of ")


def quota(one: Quota) -> Document:
    """An amount per period."""
    return {
        "name": one.name,
        "meter": one.meter,
        "amount": one.amount,
        "per": one.per.text,
        "soft": one.soft,
        "overage": None if one.overage is None else overage(one.overage),
        "text": quota_text(one),
    }


def quota_text(one: Quota) -> str:
    """Like `1,000 api calls per month`."""
    text = f"{one.amount:,} {one.meter.replace('_', ' ')} per {one.per.text}"
    return text if one.overage is None else f"{text}, then {overage_text(one.overage)}"


def overage(one: Overage) -> Document:
    """What units beyond a quota cost."""
    return {
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "per_units": one.per_units,
        "text": overage_text(one),
    }


def overage_text(one: Overage) -> str:
    """Like `USD 0.10 per 1,000`."""
    return f"{money(one.amount_minor, one.currency)} per {one.per_units:,}"
