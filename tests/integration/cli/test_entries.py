"""Usage that is posted, and corrected, on the command line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from gateway.accounts.store import Accounts
from gateway.admission.counters import MOVED
from gateway.admission.trust import MARK
from gateway.storage.postgres import connect_pool
from tests.commands import Commands

POLICIES = """
upstreams: {api: {targets: [http://127.0.0.1:9]}}
meters: {minutes: {unit: minute}}
tiers:
  team: {quotas: [{meter: minutes, amount: 100, per: month}]}
  weekly: {quotas: [{meter: minutes, amount: 100, per: week}]}
routes: [{name: all, match: {path: /**}, upstream: api}]
"""


@pytest.fixture
def account(database_url: str) -> str:
    async def create() -> str:
        pool = await connect_pool(database_url, max_size=1)
        try:
            return (await Accounts(pool, "tw").create_account("Acme", "team")).public_id
        finally:
            await pool.close()

    with asyncio.Runner() as runner:
        return runner.run(create())


@pytest.fixture
def policies() -> str:
    return POLICIES


@pytest.fixture
def stores(both_stores: Mapping[str, str], redis_url: str) -> Mapping[str, str]:
    with redis.Redis.from_url(redis_url) as client:
        client.set(MARK, "whatever it is called")
    return both_stores


def test_usage_is_posted_once_corrected_and_shown(tollway: Commands, account: str) -> None:
    words = ("--account", account, "--meter", "minutes")
    posted = ("usage", "post", *words, "--quantity", "12", "--id", "build-1")
    first = tollway.run(*posted, "--json").json
    assert (first["kind"], first["quantity"], first["author"][:4]) == ("posted", 12, "cli:")
    assert tollway.run(*posted, "--json").json == first
    said = tollway.run("usage", "correct", *words, "--quantity", "-2", "--reason", "it hung")
    assert re.fullmatch(rf"cli-[0-9a-f]{{24}}: -2 minutes of {account} at \S+ \S+ UTC\n", said.out)
    lines = [line.split() for line in tollway.run("usage", "--account", account).out.splitlines()]
    assert ["minutes", "live", "10"] in lines
    assert tollway.run("reconcile", "--json").json == {"data": []}


@pytest.mark.parametrize(
    ("case", "words", "code", "said"),
    [
        ("nothing", ("post", "--quantity", "0"), 2, "at least 1"),
        ("an odd id", ("post", "--quantity", "1", "--id", "a b"), 2, "visible ASCII"),
        ("too old", ("post", "--quantity", "1", "--at", "2020-01"), 1, "at: is more than 35 days ago"),
        (
            "more than there is",
            ("correct", "--quantity", "-1", "--reason", "x"),
            1,
            "takes back more than the 0",
        ),
        ("no reason", ("correct", "--quantity", "-1", "--reason", " "), 2, "1 to 500 printable"),
    ],
)
def test_what_can_not_be_booked_says_why(
    tollway: Commands, account: str, case: str, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = tollway.run("usage", *words, "--account", account, "--meter", "minutes")
    assert (ended.code, ended.out) == (code, ""), case
    assert said in ended.err


def test_meters_are_those_of_the_policies(tollway: Commands, account: str, folder: Path) -> None:
    words = ("usage", "post", "--account", account, "--meter", "wishes", "--quantity", "1")
    assert "meter: there is no such meter" in tollway.run(*words).err
    (folder / "policies" / "all.yaml").write_text("tiers: 1\n")
    assert "has no policies in order" in tollway.run(*words).err


def test_usage_asks_for_an_account(tollway: Commands) -> None:
    assert "Missing option '--account'" in tollway.run("usage").err


def test_an_account_that_moves_keeps_what_it_used(tollway: Commands, account: str, redis_url: str) -> None:
    """By a new anchor, which begins a period today, and by going to another tier and back."""
    words = ("--account", account, "--meter", "minutes", "--quantity", "12")
    tollway.run("usage", "post", *words)
    today = datetime.now(UTC).date().isoformat()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for move in (("set", account, "--billing-anchor", today), ("set-tier", account, "weekly")):
            before = set(client.keys("tw:{*}:q:*"))
            tollway.run("account", *move)
            made = set(client.keys("tw:{*}:q:*")) - before
            says = {name: client.get(name) for name in made}
            assert sorted(one for one in says.values() if int(one) < MOVED) == ["0", "12"], (
                move,
                "test and live",
            )
