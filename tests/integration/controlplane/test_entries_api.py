"""Usage that is no call: posted once each, all of a batch or nothing, corrected by further entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import redis.asyncio

from gateway.accounts.records import Account, AccountDetails
from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters
from gateway.admission.posted import count_posted
from gateway.admission.trust import MARK
from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.ledger.entries import Counted, Holder
from gateway.ledger.quotas import QuotaLedger
from gateway.model.principal import Mode
from gateway.reconciliation.reconciler import Reconciler
from gateway.reconciliation.standing import Standing
from gateway.storage.postgres import Pool
from tests.integration.controlplane.conftest import POLICIES, Client

USAGE = "/admin/v1/usage"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.set(MARK, "whatever it is called")
    yield client
    await client.aclose()


@pytest.fixture
def collaborators(collaborators: Collaborators, store: redis.asyncio.Redis) -> Collaborators:
    return replace(collaborators, counters=QuotaCounters(store))


@pytest.fixture
async def account(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "free")


def event(account: Account, id: str = "e-1", **changes: object) -> dict[str, object]:  # noqa: A002 - the field's name
    return {"id": id, "account": account.public_id, "meter": "api_calls", "quantity": 3, **changes}


async def sums(pool: Pool, table: str = "usage_monthly") -> list[tuple[object, ...]]:
    rows = await pool.fetch(
        f"SELECT outcome, meter, events::int, quantity::int FROM {table} ORDER BY outcome, meter, 3, 4"
    )
    return [tuple(row) for row in rows]


async def counted(store: redis.asyncio.Redis) -> dict[str, int]:
    return {period.per.text: units async for period, units in QuotaCounters(store).read()}


async def test_posted_usage_is_a_row_and_in_the_sums(admin: Client, account: Account, pool: Pool) -> None:
    answer = await admin.post(USAGE, json=event(account, at="2026-11-20T10:30:00Z"))
    assert answer.status == 201
    told = await answer.json()
    assert told.pop("booked_at")
    assert told == {
        "id": "e-1",
        "kind": "posted",
        "account": account.public_id,
        "key": None,
        "mode": "live",
        "meter": "api_calls",
        "quantity": 3,
        "at": "2026-11-20T10:30:00.000Z",
        "reason": None,
        "author": "bootstrap",
    }
    assert await sums(pool) == await sums(pool, "usage_hourly") == [("posted", "api_calls", 1, 3)]
    hour = await pool.fetchval("SELECT hour_start FROM usage_hourly")
    assert hour == datetime(2026, 11, 20, 10, tzinfo=UTC)
    usage = await (await admin.get(f"{USAGE}?account={account.public_id}")).json()
    assert [(row["outcome"], row["quantity"]) for row in usage["data"]] == [("posted", 3)]


async def test_the_same_again_gets_the_same_answer_and_books_nothing(
    admin: Client, account: Account, pool: Pool, clock: ManualClock
) -> None:
    first = await (await admin.post(USAGE, json=event(account))).json()
    clock.advance(86_400 * 90)
    again = await admin.post(USAGE, json=event(account))
    assert (again.status, await again.json()) == (201, first)
    batch = await admin.post(f"{USAGE}/batch", json={"events": [event(account), event(account, "e-2")]})
    assert (await batch.json())["data"][0] == first
    assert await sums(pool) == [("posted", "api_calls", 1, 3), ("posted", "api_calls", 1, 3)], "of two months"


@pytest.mark.parametrize(
    "change", [{"quantity": 4}, {"meter": "egress_bytes"}, {"mode": "test"}, {"at": "2026-11-20T10:30:00Z"}]
)
async def test_an_id_stands_for_one_content(
    admin: Client, account: Account, pool: Pool, change: dict[str, object]
) -> None:
    await admin.post(USAGE, json=event(account))
    answer = await admin.post(
        f"{USAGE}/batch", json={"events": [event(account, "new"), event(account) | change]}
    )
    told = await answer.json()
    assert (answer.status, told["code"]) == (409, "usage_id_reused")
    assert [one["field"] for one in told["errors"]] == ["events.1.id"]
    assert await sums(pool) == [("posted", "api_calls", 1, 3)]
    assert await pool.fetchval("SELECT count(*) FROM usage_entries") == 1


async def test_the_same_at_once_is_booked_once(admin: Client, account: Account, pool: Pool) -> None:
    events = [event(account, f"e-{number}") for number in range(20)]
    answers = await asyncio.gather(
        *(admin.post(f"{USAGE}/batch", json={"events": turn}) for turn in (events, events[::-1], events[5:]))
    )
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert await sums(pool) == [("posted", "api_calls", 20, 60)]


BAD: list[tuple[str, dict[str, object], str]] = [
    ("nobody", {"account": "acct_00000000000000000000"}, "account"),
    ("no meter", {"meter": "wishes"}, "meter"),
    ("nothing", {"quantity": 0}, "quantity"),
    ("negative", {"quantity": -1}, "quantity"),
    ("huge", {"quantity": 10**15}, "quantity"),
    ("beyond all integers", {"quantity": 10**40}, "quantity"),
    ("a fraction", {"quantity": 1.5}, "quantity"),
    ("a text", {"quantity": "3"}, "quantity"),
    ("true", {"quantity": True}, "quantity"),
    ("too old", {"at": "2026-10-01T00:00:00Z"}, "at"),
    ("not yet", {"at": "2026-11-21T12:06:00Z"}, "at"),
    ("no time", {"at": "yesterday"}, "at"),
    ("somebody's key", {"key": "key_00000000000000000000"}, "key"),
    ("an id with spaces", {"id": "a b"}, "id"),
    ("no id", {"id": ""}, "id"),
    ("a field nobody knows", {"price": 1}, "price"),
    ("a meter with a NUL", {"meter": "a\0"}, "meter"),
]


@pytest.mark.parametrize(("case", "change", "field"), BAD, ids=[case for case, _, _ in BAD])
async def test_what_can_not_be_booked_names_the_field_and_writes_nothing(
    admin: Client, account: Account, pool: Pool, case: str, change: dict[str, object], field: str
) -> None:
    bad = event(account, "bad") | change
    batch = {"events": [event(account, "good"), bad, event(account, "fine")]}
    for path, body, expected in ((USAGE, bad, field), (f"{USAGE}/batch", batch, f"events.1.{field}")):
        answer = await admin.post(path, json=body)
        told = await answer.json()
        assert (answer.status, told["code"]) == (422, "invalid"), case
        assert [one["field"] for one in told["errors"]] == [expected]
    assert await pool.fetchval("SELECT count(*) FROM usage_entries") == 0
    assert await sums(pool) == []


async def test_all_problems_of_a_batch_at_once(admin: Client, account: Account) -> None:
    events = [event(account), event(account), event(account, "x") | {"account": "no", "meter": "no"}]
    told = await (await admin.post(f"{USAGE}/batch", json={"events": events})).json()
    assert [one["field"] for one in told["errors"]] == ["events.1.id", "events.2.account", "events.2.meter"]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_1_to_1000_events(admin: Client, account: Account, count: int) -> None:
    events = [event(account, f"e-{number}") for number in range(count)]
    assert (await admin.post(f"{USAGE}/batch", json={"events": events})).status == 422
    if count:
        assert (await admin.post(f"{USAGE}/batch", json={"events": events[:1000]})).status == 201


async def test_a_sum_never_overflows(admin: Client, account: Account, pool: Pool) -> None:
    await admin.post(USAGE, json=event(account))
    await pool.execute("UPDATE usage_hourly SET quantity = 9223372036854775800")
    assert (await admin.post(USAGE, json=event(account, "more", quantity=999))).status == 201
    assert await pool.fetchval("SELECT quantity FROM usage_hourly") == 9223372036854775807


async def test_a_key_says_the_mode(admin: Client, accounts: Accounts, account: Account, pool: Pool) -> None:
    key, _ = await accounts.create_key(account.public_id, mode=Mode.TEST)
    told = await (await admin.post(USAGE, json=event(account, key=key.public_id))).json()
    assert (told["key"], told["mode"]) == (key.public_id, "test")
    other = await admin.post(USAGE, json=event(account, "e-2", key=key.public_id, mode="live"))
    assert [one["field"] for one in (await other.json())["errors"]] == ["mode"]


async def test_posted_usage_pays_into_quotas_and_nothing_drifts(
    admin: Client, account: Account, pool: Pool, store: redis.asyncio.Redis, clock: ManualClock
) -> None:
    clock.advance(await QuotaCounters(store).now_us() / 1e6 - clock.now_us() / 1e6)  # quotas go by Redis's
    await admin.post(USAGE, json=event(account, "e-1", quantity=7))
    await admin.post(USAGE, json=event(account, "e-1", quantity=7))
    assert await counted(store) == {"day": 7, "month": 7}
    taken = {"reason": "counted twice", "quantity": -2}
    await admin.post(f"{USAGE}/corrections", json=event(account, "c-1", **taken))
    assert await counted(store) == {"day": 5, "month": 5}
    await admin.post(USAGE, json=event(account, "other", quantity=7, mode="test"))
    before = datetime.fromtimestamp(clock.now_us() / 1e6, UTC) - timedelta(days=34)
    await admin.post(USAGE, json=event(account, "old", at=before.isoformat()))
    reconciler = Reconciler(QuotaLedger(pool), QuotaCounters(store), lambda: POLICIES, quiet_s=0.0)
    assert await reconciler.look(repair=False) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata"])
async def test_quota_periods_are_those_of_the_accounts_calendar(
    admin: Client, accounts: Accounts, pool: Pool, store: redis.asyncio.Redis, clock: ManualClock, zone: str
) -> None:
    clock.advance(await QuotaCounters(store).now_us() / 1e6 - clock.now_us() / 1e6)
    details = AccountDetails(time_zone=zone, billing_anchor=date(2026, 1, 31))
    account = await accounts.create_account("Ada", "free", details=details)
    midnight = datetime.fromtimestamp(clock.now_us() / 1e6, ZoneInfo(zone)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    for number, minutes in enumerate((-1, 1)):
        at = (midnight + timedelta(minutes=minutes)).astimezone(UTC).isoformat()
        await admin.post(USAGE, json=event(account, f"e-{number}", at=at, quantity=number + 1))
    spans = {(period.per.text, units) async for period, units in QuotaCounters(store).read()}
    assert ("day", 2) in spans
    reconciler = Reconciler(QuotaLedger(pool), QuotaCounters(store), lambda: POLICIES, quiet_s=0.0)
    found = await reconciler.look(repair=False)
    assert [one for one in found if one.standing is not Standing.BEHIND or one.counted] == []


async def test_without_redis_the_ledger_has_it(caplog: pytest.LogCaptureFixture) -> None:
    nowhere = redis.asyncio.Redis.from_url("redis://127.0.0.1:1")
    new = Counted(Holder(7, "free"), Mode.LIVE, "api_calls", 3, NOW)
    await count_posted(QuotaCounters(nowhere), POLICIES.tiers, [new])
    assert "until the next reconciliation" in caplog.text


async def test_corrections_are_entries_with_a_reason_and_an_author(
    admin: Client, account: Account, pool: Pool
) -> None:
    await admin.post(USAGE, json=event(account, quantity=10))
    correction = event(account, "c-1", quantity=-4, reason="ran twice")
    answer = await admin.post(f"{USAGE}/corrections", json=correction)
    told = await answer.json()
    assert (answer.status, told["kind"], told["reason"], told["author"]) == (
        201,
        "correction",
        "ran twice",
        "bootstrap",
    )
    again = await admin.post(f"{USAGE}/corrections", json=correction)
    assert await again.json() == told
    assert await sums(pool) == [("correction", "api_calls", 1, -4), ("posted", "api_calls", 1, 10)]
    audit = await (await admin.get("/admin/v1/audit?action=correction.created")).json()
    assert [(one["target"], one["actor"], one["after"]["quantity"]) for one in audit["data"]] == [
        ("c-1", "bootstrap", -4)
    ]
    other = await admin.post(f"{USAGE}/corrections", json=correction | {"reason": "another"})
    assert other.status == 409


@pytest.mark.parametrize(
    ("case", "change", "field"),
    [
        ("more than was booked", {"quantity": -11}, "quantity"),
        ("in a month with nothing", {"at": "2026-10-20T00:00:00Z"}, "quantity"),
        ("of keys for tests", {"mode": "test"}, "quantity"),
        ("nothing", {"quantity": 0}, "quantity"),
        ("without a reason", {"reason": " "}, "reason"),
        ("too long ago", {"at": "2025-10-01T00:00:00Z"}, "at"),
    ],
)
async def test_what_can_not_be_taken_back(
    admin: Client, account: Account, pool: Pool, case: str, change: dict[str, object], field: str
) -> None:
    await admin.post(USAGE, json=event(account, quantity=10))
    correction = event(account, "c-1", quantity=-4, reason="ran twice") | change
    answer = await admin.post(f"{USAGE}/corrections", json=correction)
    assert answer.status == 422, case
    assert [one["field"] for one in (await answer.json())["errors"]] == [field]
    assert await sums(pool) == [("posted", "api_calls", 1, 10)]


async def test_two_corrections_at_once_take_back_no_more_than_there_is(
    admin: Client, account: Account, pool: Pool
) -> None:
    await admin.post(USAGE, json=event(account, quantity=10))
    answers = await asyncio.gather(
        *(
            admin.post(f"{USAGE}/corrections", json=event(account, f"c-{n}", quantity=-4, reason="x"))
            for n in range(5)
        )
    )
    assert sorted(answer.status for answer in answers) == [201, 201, 422, 422, 422]
    assert await pool.fetchval("SELECT sum(quantity) FROM usage_monthly") == 2


async def test_entries_are_never_edited(admin: Client, account: Account, pool: Pool) -> None:
    await admin.post(USAGE, json=event(account))
    for change in ("UPDATE usage_entries SET quantity = 1", "DELETE FROM usage_entries"):
        with pytest.raises(Exception, match="append-only"):
            await pool.execute(change)


async def test_entries_are_listed_a_page_at_a_time(admin: Client, account: Account) -> None:
    events = [event(account, f"e-{number}") for number in range(5)]
    await admin.post(f"{USAGE}/batch", json={"events": events})
    await admin.post(f"{USAGE}/corrections", json=event(account, "c-1", quantity=-1, reason="x"))
    seen, query = [], f"account={account.public_id}&limit=2"
    page = await (await admin.get(f"{USAGE}/entries?{query}")).json()
    while True:
        seen += [one["id"] for one in page["data"]]
        if page["next"] is None:
            break
        page = await (await admin.get(f"{USAGE}/entries?{query}&before={page['next']}")).json()
    assert seen == ["c-1", *(f"e-{number}" for number in reversed(range(5)))]
    only = await (await admin.get(f"{USAGE}/entries?kind=correction")).json()
    assert [one["id"] for one in only["data"]] == ["c-1"]


async def test_who_posts_usage_may_not_take_some_back(
    admin: Client, stranger: Client, account: Account
) -> None:
    made = await (await admin.post("/admin/v1/tokens", json={"name": "ci", "scopes": ["usage:write"]})).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    posted = await stranger.post(USAGE, json=event(account), headers=headers)
    assert (await posted.json())["author"] == f"token:{made['id']}"
    taken = event(account, "c-1", quantity=-1, reason="x")
    assert (await stranger.post(f"{USAGE}/corrections", json=taken, headers=headers)).status == 403
