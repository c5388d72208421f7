"""What was booked is what `tollway usage` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from gateway.accounts.store import Accounts
from gateway.journal.reader import Position
from gateway.journal.records import Call
from gateway.ledger.booking import Booking, Move
from gateway.ledger.events import UsageEvent
from gateway.model.principal import Mode
from gateway.outcomes import Outcome
from gateway.storage.postgres import connect_pool
from tests.commands import Commands
from tests.unit.ledger.calls import an_event

DAY = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


def event(
    number: int, account: int | None, at: datetime, outcome: Outcome, charges: Mapping[str, int]
) -> UsageEvent:
    return an_event(
        number.to_bytes(16, "big"),
        int(at.timestamp()) * 1_000_000,
        Call(account or 0, 0, Mode.LIVE, "community", "projects", "GET", charges),
        outcome=outcome,
        status=200 if outcome is Outcome.SERVED else 429,
        egress_bytes=2345,
        duration_us=12_300,
        first_byte_us=11_000,
    )


async def book(database_url: str) -> str:
    """Two served calls on one day, a refused one on the next, and one of nobody we know."""
    pool = await connect_pool(database_url, max_size=1)
    try:
        account = await Accounts(pool, "tw").create_account("Acme", "community")
        booking = Booking(pool)
        start = await booking.follow("0" * 20)
        assert start is not None
        events = [
            event(1, account.id, DAY, Outcome.SERVED, {"api_calls": 1, "tokens": 70}),
            event(2, account.id, DAY + timedelta(hours=1), Outcome.SERVED, {"api_calls": 5, "tokens": 1200}),
            event(3, account.id, DAY + timedelta(days=1), Outcome.RATE_LIMITED, {}),
            event(4, None, DAY, Outcome.UNAUTHENTICATED, {}),
        ]
        at = start.position
        move = Move(at, Position(at.segment, at.offset + 100))
        assert await booking.book("0" * 20, move, events)
        return account.public_id
    finally:
        await pool.close()


@pytest.fixture
def account(database_url: str) -> str:
    with asyncio.Runner() as runner:
        return runner.run(book(database_url))


MARCH = ("--from", "2026-03", "--to", "2026-04")


def test_people_see_calls_by_route_and_outcome_and_units_by_meter(tollway: Commands, account: str) -> None:
    ended = tollway.run("usage", "--account", account, *MARCH)
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["ROUTE", "MODE", "OUTCOME", "CALLS"] in lines
    assert ["projects", "live", "served", "2"] in lines
    assert ["projects", "live", "rate_limited", "1"] in lines
    assert ["METER", "MODE", "UNITS"] in lines
    assert ["tokens", "live", "1,270"] in lines
    assert ["api_calls", "live", "6"] in lines
    assert "unauthenticated" not in ended.out


@pytest.mark.parametrize(
    ("case", "by", "first"),
    [
        ("hours", "hour", ["2026-03-14", "15:00", "projects", "live", "served", "1"]),
        ("days", "day", ["2026-03-14", "projects", "live", "served", "2"]),
        ("months", "month", ["2026-03", "projects", "live"]),
    ],
)
def test_sums_come_in_buckets(tollway: Commands, account: str, case: str, by: str, first: list[str]) -> None:
    ended = tollway.run("usage", "--account", account, *MARCH, "--by", by)
    assert any(line.split()[: len(first)] == first for line in ended.out.splitlines()), ended.out


def test_scripts_get_every_sum(tollway: Commands, account: str) -> None:
    told = tollway.run("usage", "--account", account, *MARCH, "--by", "day", "--json").json
    assert (told["from"], told["to"], told["bucket"]) == (
        "2026-03-01T00:00:00.000Z",
        "2026-04-01T00:00:00.000Z",
        "day",
    )
    tokens = [row for row in told["data"] if row["meter"] == "tokens"]
    assert [(row["bucket_start"], row["quantity"], row["events"]) for row in tokens] == [
        ("2026-03-14T00:00:00.000Z", 1270, 2)
    ]


def test_the_newest_calls_one_by_one(tollway: Commands, account: str) -> None:
    heads, newest = tollway.run("usage", "--account", account, "--events", "1").out.splitlines()
    assert heads.startswith("STARTED (UTC)")
    assert newest.split()[:8] == [
        "2026-03-15",
        "15:09:26",
        "GET",
        "projects",
        "429",
        "rate_limited",
        "12",
        "0",
    ]
    told = tollway.run("usage", "--account", account, "--events", "10", "--json").json
    assert [row["charges"] for row in told["data"]] == [
        {},
        {"api_calls": 5, "tokens": 1200},
        {"api_calls": 1, "tokens": 70},
    ]


def test_this_month_is_what_one_gets_unasked(tollway: Commands, account: str) -> None:
    assert tollway.run("usage", "--account", account).out == "No calls in this time.\n"


@pytest.mark.parametrize(
    ("case", "words", "code", "said"),
    [
        ("nobody we know", ["--account", "acct_00000000000000000000"], 1, "There is no such account."),
        ("a time that is none", ["--account", "x", "--from", "yesterday"], 2, "write 2026-03, 2026-03-01 or"),
        ("before all time", ["--account", "x", "--from", "0001-01-01T00:00+14:00"], 2, "write 2026-03,"),
        (
            "backwards",
            ["--account", "x", "--from", "2026-03-02", "--to", "2026-03-01"],
            2,
            "to must be later than `from`",
        ),
        ("two questions at once", ["--account", "x", "--events", "1", "--by", "day"], 2, "goes with neither"),
    ],
)
def test_what_can_not_be_shown_says_why(
    tollway: Commands, case: str, words: list[str], code: int, said: str
) -> None:
    ended = tollway.run("usage", *words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


def test_times_days_and_buckets_in_a_zone(tollway: Commands, account: str) -> None:
    told = tollway.run(
        "usage", "--account", account, *MARCH, "--by", "day", "--time-zone", "Pacific/Kiritimati", "--json"
    ).json
    assert (told["time_zone"], told["from"]) == ("Pacific/Kiritimati", "2026-02-28T10:00:00.000Z")
    starts = {row["bucket_start"] for row in told["data"]}
    assert starts == {"2026-03-14T10:00:00.000Z", "2026-03-15T10:00:00.000Z"}
    by_day = tollway.run(
        "usage", "--account", account, *MARCH, "--by", "day", "--time-zone", "Pacific/Kiritimati"
    )
    assert "2026-03-15" in by_day.out, "which is where it began there"
    ended = tollway.run("usage", "--account", account, "--by", "day", "--time-zone", "Asia/Kolkata")
    assert (ended.code, "is not full hours from UTC" in ended.err) == (2, True)


def test_usage_as_csv(tollway: Commands, account: str) -> None:
    lines = tollway.run("usage", "--account", account, *MARCH, "--csv", "--meter", "tokens").out.splitlines()
    assert lines[0].startswith("bucket_start,account,key,route")
    assert [line.split(",")[-2:] for line in lines[1:]] == [["1270", "2"]]
    calls = tollway.run("usage", "--account", account, "--events", "10", "--csv").out.splitlines()
    assert len(calls) == 1 + 3
    assert tollway.run("usage", "--account", account, "--csv", "--json").code == 2
