"""Whose counters a call pays into: the names of buckets whose limits tell more apart than accounts."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from gateway.model.exchange import Exchange
from gateway.model.networks import address_block
from gateway.model.policies import OF_ACCOUNT, ChargePlan, ConcurrencyLimit, Limit, Scope
from gateway.model.principal import Mode, Principal

HEADER = "header:"
CLAIM = "claim:"


def bucket_key(limit: Limit) -> str:
    """The bucket of a limit that tells accounts apart and nothing else, below the account's tag."""
    return f"b:{limit.name}"


def slot_set_key(limit: ConcurrencyLimit) -> str:
    """The slots of a limit that tells accounts apart and nothing else, below the account's tag."""
    return f"c:{limit.name}"


def counter_keys(plan: ChargePlan, exchange: Exchange) -> tuple[str, ...]:
    """The bucket of each limit of a scoped plan, and then the set of slots of each concurrency limit.

    Below the account's tag like `b:<limit>:key=9`. One that several accounts share has a tag of its own, in
    braces, and its rate in its name: under another rate it is another bucket.
    """
    keys = [_key(bucket_key(limit), limit, exchange) for limit in plan.limits]
    keys += [_key(slot_set_key(limit), limit, exchange) for limit in plan.concurrency]
    return tuple(keys)


def _key(name: str, limit: Limit | ConcurrencyLimit, exchange: Exchange) -> str:
    scope = limit.scope
    if scope == OF_ACCOUNT:
        return name
    principal = exchange.principal
    assert principal is not None, "authenticated before it is charged"
    values = [_value(part, exchange, principal) for part in scope if part != "account"]
    if not limit.shared:
        return f"{name}:{','.join([value for value in values if value is not None])}"
    if None in values:
        # Without the header or claim that tells callers apart an account is told apart by itself: leaving one
        # out must neither open a way around the limit nor use up what is others'.
        values = [value or f"account={principal.account_id}" for value in values]
    mode = "l" if principal.mode is Mode.LIVE else "t"
    return f"{{{','.join(map(str, values))},{mode}}}:{name}:{_size(limit)}"


def _size(limit: Limit | ConcurrencyLimit) -> str:
    if isinstance(limit, ConcurrencyLimit):
        return str(limit.most)
    return f"{limit.tokens}/{limit.period_ms}/{limit.burst}"


def _value(part: str, exchange: Exchange, principal: Principal) -> str | None:
    """What a part of a scope is for this call; None for a header or claim that it does not have."""
    if part == "key":
        return f"key={principal.key_id}"
    if part == "ip":
        return f"ip={address_block(exchange.client_address)}"
    if part == "route":
        assert exchange.route is not None, "routed before it is charged"
        return f"route={exchange.route.name}"
    if part.startswith(CLAIM):
        name = part.removeprefix(CLAIM)
        return next((f"claim={digest}" for claim, digest in principal.claims if claim == name), None)
    return _header(part.removeprefix(HEADER), exchange)


def _header(name: str, exchange: Exchange) -> str | None:
    """The header's value, all its lines together, as a digest: callers choose what is in it, and how much."""
    values: list[bytes] = _finder(name).findall(b"\r\n" + b"".join(exchange.head.lines))
    if not values:
        return None
    digest = blake2b(b",".join(values), digest_size=12, person=b"tollway.scope")
    return f"{name}={digest.hexdigest()}"


@lru_cache(maxsize=256)
def _finder(name: str) -> re.Pattern[bytes]:
    pattern = rb"(?<=\r\n)" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)"
    return re.compile(pattern, re.IGNORECASE)


def describe(scope: Scope) -> str:
    """How a limit's rate is meant, for people: empty when it is the account's."""
    each = [
        "address" if part == "ip" else part.replace(HEADER, "value of ").replace(CLAIM, "value of ")
        for part in scope
        if part != "account"
    ]
    return f" for each {' and '.join(each)}" if each else ""
