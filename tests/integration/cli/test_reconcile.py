"""`tollway reconcile`: what differs is named, and repaired only when that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import pytest
import redis

from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaPeriod, counter_key
from gateway.admission.period import period_at
from gateway.admission.trust import MARK
from gateway.cli import reconcile
from gateway.journal.reader import Position
from gateway.ledger.booking import Booking, Move
from gateway.model.periods import Period
from gateway.model.principal import Mode
from gateway.outcomes import Outcome
from gateway.reconciliation.reconciler import Reconciler
from gateway.storage.postgres import connect_pool
from tests.commands import Commands
from tests.integration.cli.test_usage import event

POLICIES = """
upstreams: {up: {targets: [http://127.0.0.1:9]}}
tiers: {community: {quotas: [{meter: api_calls, amount: 100, per: month}]}}
routes: [{name: all, match: {path: /**}, upstream: up}]
"""
Count = Callable[[int], None]


async def book_five(database_url: str) -> tuple[int, str]:
    """An account with five units in this month's ledger, by a journal that is finished."""
    pool = await connect_pool(database_url, max_size=1)
    try:
        account = await Accounts(pool, "tw").create_account("Acme", "community")
        booking = Booking(pool)
        start = await booking.follow("0" * 20)
        assert start is not None
        events = [event(1, account.id, datetime.now(UTC), Outcome.SERVED, {"api_calls": 5})]
        assert await booking.book("0" * 20, Move(start.position, Position(1, 1), finished=True), events)
        return account.id, account.public_id
    finally:
        await pool.close()


@pytest.fixture
def account(database_url: str) -> tuple[int, str]:
    with asyncio.Runner() as runner:
        return runner.run(book_five(database_url))


@pytest.fixture
def count(redis_url: str, account: tuple[int, str]) -> Count:
    """Sets the account's counter of this month."""
    span = period_at(Period.MONTH, int(datetime.now(UTC).timestamp() * 1_000_000))
    key = counter_key(QuotaPeriod(account[0], Mode.LIVE, "api_calls", Period.MONTH, span))

    def set_counter(units: int) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.set(key, units)

    return set_counter


@pytest.fixture
def policies() -> str:
    return POLICIES


@pytest.fixture
def stores(
    monkeypatch: pytest.MonkeyPatch, both_stores: Mapping[str, str], redis_url: str
) -> Mapping[str, str]:
    monkeypatch.setattr(reconcile, "QUIET_S", 0.0)
    with redis.Redis.from_url(redis_url) as client:
        client.set(MARK, "whatever it is called")
    return both_stores


def test_counters_that_agree(tollway: Commands, count: Count) -> None:
    count(5)
    ended = tollway.run("reconcile")
    assert (ended.code, ended.out) == (0, "Every quota counter agrees with the ledger.\n"), ended.err


def test_one_that_is_behind_is_named_and_repaired_when_asked(
    tollway: Commands, count: Count, account: tuple[int, str]
) -> None:
    count(2)
    ended = tollway.run("reconcile")
    assert ended.code == 1
    cells = ended.out.splitlines()[1].split()
    assert cells[:4] == [account[1], "live", "api_calls", "month"]
    assert cells[-4:] == ["2", "5", "behind", "no"]
    told = tollway.run("reconcile", "--repair", "--json")
    assert told.code == 0
    (found,) = told.json["data"]
    assert (found["account"], found["counted"], found["booked"]) == (account[1], 2, 5)
    assert (found["standing"], found["repaired"]) == ("behind", True)
    assert tollway.run("reconcile", "--json").json == {"data": []}


def test_one_that_is_gone_comes_back(tollway: Commands, account: tuple[int, str]) -> None:
    (found,) = tollway.run("reconcile", "--repair", "--json").json["data"]
    assert (found["account"], found["counted"], found["repaired"]) == (account[1], 0, True)
    assert tollway.run("reconcile", "--json").json == {"data": []}


@pytest.mark.usefixtures("account")
def test_without_policies_nobody_knows_which_should_be_there(
    tollway: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_POLICIES", "/none")
    ended = tollway.run("reconcile")
    assert ended.code == 0
    assert "Counters that are gone are not noticed: /none" in ended.err


def test_one_that_is_ahead_takes_a_second_look(
    tollway: Commands, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(9)
    ended = tollway.run("reconcile", "--json")
    assert "looking again" in ended.err
    assert [one["standing"] for one in ended.json["data"]] == ["under_way"], "not 15 seconds apart"
    monkeypatch.setattr(reconcile, "Reconciler", partial(Reconciler, quiet_s=0.0))
    (found,) = tollway.run("reconcile", "--repair", "--json").json["data"]
    assert (found["counted"], found["booked"], found["standing"]) == (9, 5, "ahead")
    assert found["repaired"]
    assert tollway.run("reconcile", "--json").json == {"data": []}
