"""Which open calls are ended, and what else is done about those that last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.accounts.records import FoundKey
from gateway.dataplane.long_calls import LONG_US, LongCalls
from gateway.errors import AccountSuspended, FeatureRequired, GatewayError, KeyRestricted, Unauthenticated
from gateway.model.exchange import Exchange
from gateway.model.policies import Route, Tier, Upstream
from gateway.model.principal import Principal
from gateway.model.restrictions import Restrictions
from tests.unit.auth.test_authenticator import Bench
from tests.unit.auth.test_rights import CALLER, DIGEST

ROUTE = Route("chat", "/c", frozenset(), frozenset(), Upstream("u", ()), frozenset({"chat"}), {})
TIERS = {
    "team": Tier("team", "", None, (), (), frozenset({"chat", "more"})),
    "free": Tier("free", "", None, (), (), frozenset()),
}


@dataclass
class Line:
    """A client connection that remembers what it was told."""

    exchange: Exchange
    told: list[GatewayError] = field(default_factory=list)

    def withdraw(self, error: GatewayError) -> None:
        self.told.append(error)


class Office:
    """A worker's long calls over a real cache of keys."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.lines: list[Line] = []
        self.noted: list[list[Exchange]] = []
        self.tiers: dict[str, Tier] = TIERS
        self.long_calls = LongCalls(
            cast("Any", self),
            cast("Any", self),
            bench.auth.rights,
            cast("Any", self),
            clock=bench.clock,
            slots=bench.slots,
            tasks=bench.tasks,
        )

    def open(self, principal: Principal = CALLER, route: Route = ROUTE) -> Line:
        exchange = self.bench.exchange(None)
        exchange.principal, exchange.route, exchange.begun = principal, route, True
        self.lines.append(line := Line(exchange))
        return line

    def admitted_before(self, instant_us: int) -> list[tuple[Line, Exchange]]:
        return [
            (line, line.exchange) for line in self.lines if line.exchange.started_monotonic_us < instant_us
        ]

    def note(self, calls: Iterable[Exchange], now_us: int) -> None:
        assert now_us == self.bench.clock.monotonic_us()
        self.noted.append(list(calls))

    def policies(self) -> Any:
        return SimpleNamespace(tiers=self.tiers)

    async def look(self) -> None:
        self.long_calls.look()
        await self.bench.settle()


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    bench = Bench()
    bench.keys[DIGEST] = FoundKey(CALLER, active=True)
    await bench.call()
    yield Office(bench)
    await bench.tasks.close()


async def test_short_calls_are_left_alone(office: Office) -> None:
    line = office.open()
    del office.bench.keys[DIGEST]
    office.bench.auth.cache.drop_key(DIGEST)
    office.bench.clock.advance(LONG_US / 1e6)
    await office.look()
    assert (line.told, office.noted) == ([], [[]])
    office.bench.clock.advance(0.1)
    await office.look()
    assert len(line.told) == 1, "a change while the call was short is seen when it is long"
    assert office.bench.slots.get("long_calls") == 1


@pytest.mark.parametrize(
    ("case", "found", "error", "reason"),
    [
        ("the key was revoked", None, Unauthenticated, "key"),
        (
            "the key is for other routes",
            FoundKey(replace(CALLER, restrictions=Restrictions(routes=frozenset({"else"}))), active=True),
            KeyRestricted,
            "key",
        ),
        ("the account was suspended", FoundKey(CALLER, active=False), AccountSuspended, "account"),
        (
            "the tier lacks the route's feature",
            FoundKey(replace(CALLER, tier="free"), active=True),
            FeatureRequired,
            "feature",
        ),
    ],
)
async def test_who_lost_the_right_is_cut_off_at_the_next_look(
    office: Office, case: str, found: FoundKey | None, error: type[GatewayError], reason: str
) -> None:
    line = office.open()
    office.bench.clock.advance(2)
    await office.look()
    assert line.told == []
    if found is None:
        del office.bench.keys[DIGEST]
    else:
        office.bench.keys[DIGEST] = found
    office.bench.auth.cache.drop_account(CALLER.account_id)
    await office.look()
    assert [type(one) for one in line.told] == [error]
    assert office.bench.slots.get("long_calls_ended_total", reason) == 1


@pytest.mark.parametrize(
    ("case", "tier"),
    [("another tier with the feature", "team"), ("a tier that the policies lack", "unheard-of")],
)
async def test_who_kept_it_goes_on(office: Office, case: str, tier: str) -> None:
    line = office.open()
    office.bench.clock.advance(2)
    office.bench.keys[DIGEST] = FoundKey(replace(CALLER, tier=tier), active=True)
    office.bench.auth.cache.drop_account(CALLER.account_id)
    await office.look()
    await office.look()
    assert line.told == []


async def test_a_thousand_calls_of_one_key_ask_once(office: Office) -> None:
    for _ in range(1000):
        office.open()
    office.bench.clock.advance(2)
    asked = office.bench.asked
    office.bench.auth.cache.drop_account(CALLER.account_id)
    await office.look()
    assert office.bench.asked == asked + 1


async def test_many_keys_are_asked_about_in_one_go(office: Office) -> None:
    lines = [office.open(replace(CALLER, digest=number.to_bytes(32, "big"))) for number in range(300)]
    office.bench.clock.advance(2)
    await office.look()
    assert all(len(line.told) == 1 for line in lines)


async def test_while_postgres_is_gone_calls_go_on(office: Office) -> None:
    line = office.open()
    office.bench.error = ConnectionRefusedError()
    office.bench.clock.advance(2)
    office.bench.auth.cache.drop_account(CALLER.account_id)
    for _ in range(3):
        await office.look()
        office.bench.clock.advance(1)
    assert line.told == []
    office.bench.error = None
    del office.bench.keys[DIGEST]
    office.bench.clock.advance(2)
    await office.look()
    assert len(line.told) == 1


async def test_calls_that_could_not_be_recorded_have_no_progress(office: Office) -> None:
    office.open().exchange.begun = False
    begun = office.open().exchange
    office.bench.clock.advance(2)
    await office.look()
    assert office.noted == [[begun]]
