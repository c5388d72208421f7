"""What is known of callers that were let in, and what has to be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.records import FoundKey
from gateway.auth.cache import FRESH_US
from gateway.errors import AccountSuspended, InsufficientScope, KeyRestricted, Unauthenticated
from gateway.model.access import Access
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.networks import AddressRules, parse_networks
from gateway.model.policies import Route, Upstream
from gateway.model.principal import Principal
from gateway.model.restrictions import Restrictions
from tests.unit.auth.test_authenticator import PAST_FRESH_S, PRINCIPAL, SECRET, Bench

DIGEST = digest(SECRET)
CALLER = replace(PRINCIPAL, digest=DIGEST)
OPEN = Route("chat", "/c", frozenset(), frozenset(), Upstream("u", ()), frozenset(), {})
HERE, TEN = parse_networks("192.0.2.0/24"), parse_networks("10.0.0.0/8")
ONLY_HERE, ONLY_TEN = AddressRules(HERE), AddressRules(TEN)
NOT_HERE, NOT_TEN = AddressRules(deny=HERE), AddressRules(deny=TEN)
SCOPED = replace(OPEN, access=Access(scopes=frozenset({"chat"})))


def call(caller: Principal = CALLER, route: Route = OPEN) -> Exchange:
    """A GET that was let in, from 192.0.2.1."""
    made = Exchange(RequestHead(), cast("Any", None), b"", "192.0.2.1")
    made.head.method, made.principal, made.route = "GET", caller, route
    return made


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.keys[DIGEST] = FoundKey(CALLER, active=True)
    await made.call()
    yield made
    await made.tasks.close()


async def test_a_caller_that_nobody_changed_costs_no_question(bench: Bench) -> None:
    asked = bench.asked
    assert bench.auth.rights.of(call()) == ("team", None)
    assert bench.asked == asked


async def test_after_a_change_it_is_asked_and_then_known(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.auth.cache.drop_account(1)
    assert rights.of(call()) is None
    bench.keys[DIGEST] = FoundKey(replace(CALLER, tier="free"), active=True)
    await rights.ask([CALLER])
    assert rights.of(call()) == ("free", None)


async def test_a_revoked_key_is_refused(bench: Bench) -> None:
    rights = bench.auth.rights
    del bench.keys[DIGEST]
    bench.auth.cache.drop_key(DIGEST)
    await rights.ask([CALLER])
    standing = rights.of(call())
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_a_suspended_account_is_refused(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.keys[DIGEST] = FoundKey(CALLER, active=False)
    bench.auth.cache.drop_account(1)
    await rights.ask([CALLER])
    standing = rights.of(call())
    assert standing is not None
    assert isinstance(standing[1], AccountSuspended)


async def test_a_key_that_was_rotated_expires_when_its_overlap_is_over(bench: Bench) -> None:
    rights = bench.auth.rights
    expiring = replace(CALLER, expires_at_us=bench.clock.now_us() + 5_000_000)
    bench.keys[DIGEST] = FoundKey(expiring, active=True)
    bench.auth.cache.drop_key(DIGEST)
    await rights.ask([CALLER])
    assert rights.of(call()) == ("team", None)
    bench.clock.advance(5)
    standing = rights.of(call())
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_what_was_heard_long_ago_is_asked_anew(bench: Bench) -> None:
    bench.clock.advance(PAST_FRESH_S)
    assert bench.auth.rights.of(call()) is None


async def test_while_postgres_is_gone_nobody_is_refused_but_expiry_is_known(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.error = ConnectionRefusedError()
    bench.clock.advance(FRESH_US / 1e6 + 1)
    await rights.ask([CALLER])
    asked = bench.asked
    await rights.ask([CALLER] * 100)
    assert bench.asked == asked, "a moment later nobody asks again"
    assert rights.of(call()) is None
    standing = rights.of(call(replace(CALLER, expires_at_us=bench.clock.now_us())))
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_a_caller_without_a_key_of_ours_has_its_expiry_alone(bench: Bench) -> None:
    assert bench.auth.rights.of(call(replace(CALLER, digest=b""))) == ("team", None)


@pytest.mark.parametrize(
    ("case", "by_now", "refusal"),
    [
        ("nothing", {}, None),
        ("to other routes", {"restrictions": Restrictions(routes=frozenset({"else"}))}, KeyRestricted),
        ("to its route", {"restrictions": Restrictions(routes=frozenset({"chat"}))}, None),
        ("to other methods", {"restrictions": Restrictions(methods=frozenset({"POST"}))}, KeyRestricted),
        ("to other networks", {"restrictions": Restrictions(addresses=ONLY_TEN)}, KeyRestricted),
        ("to its network", {"restrictions": Restrictions(addresses=ONLY_HERE)}, None),
        ("off its network", {"restrictions": Restrictions(addresses=NOT_HERE)}, KeyRestricted),
        ("off another network", {"restrictions": Restrictions(addresses=NOT_TEN)}, None),
        ("to other scopes", {"scopes": frozenset({"read"})}, InsufficientScope),
        ("to its scope", {"scopes": frozenset({"chat"})}, None),
    ],
)
async def test_a_key_that_is_kept_to_less_meanwhile(
    bench: Bench, case: str, by_now: dict[str, Any], refusal: type[Exception] | None
) -> None:
    bench.keys[DIGEST] = FoundKey(replace(CALLER, **by_now), active=True)
    bench.auth.cache.drop_key(DIGEST)
    await bench.auth.rights.ask([CALLER])
    standing = bench.auth.rights.of(call(route=SCOPED))
    assert standing is not None
    assert type(standing[1]) is (refusal or type(None))


async def test_scopes_of_tokens_are_their_own(bench: Bench) -> None:
    account = replace(CALLER, key_id=0, key="", scopes=frozenset())
    bench.keys[DIGEST] = FoundKey(account, active=True)
    bench.auth.cache.drop_key(DIGEST)
    await bench.auth.rights.ask([account])
    by_token = replace(account, scopes=frozenset({"chat"}))
    assert bench.auth.rights.of(call(by_token, SCOPED)) == ("team", None)
