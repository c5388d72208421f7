from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gateway.accounts.records import Account, ApiKey
from gateway.accounts.store import Accounts
from gateway.journal.records import Call
from gateway.ledger import usage as usage_room
from gateway.ledger.buckets import Bucket
from gateway.ledger.errors import InvalidCursor
from gateway.ledger.usage import EventRow, Sums, Usage, UsageRow
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.outcomes import Outcome
from gateway.storage.postgres import Pool
from tests.integration.ledger.books import Books
from tests.unit.journal.journals import begin, end, refuse

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def us(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000


class Customers:
    """Two accounts, and calls of theirs in the ledger."""

    def __init__(self, books: Books, one: Account, key: ApiKey, other: Account) -> None:
        self.books = books
        self.one, self.key, self.other = one, key, other
        self.usage = Usage(books.pool)

    async def call(
        self,
        *instants: datetime,
        account: Account | None = None,
        mode: Mode = Mode.LIVE,
        marks: Marks | None = None,
    ) -> None:
        account = account or self.one
        key_id = self.key.id if account is self.one else 0
        call = Call(account.id, key_id, mode, "team", "builds", "GET", {"api_calls": 1, "tokens": 3})
        call = call._replace(marks=marks)
        writer = self.books.writer(await self.books.pool.fetchval("SELECT 1 + count(*) FROM journal_cursors"))
        for sequence, at in enumerate(instants):
            begin(writer, sequence, call, at_us=us(at) - sequence)
            end(writer, sequence, Outcome.SERVED)
        writer.close()
        await self.books.book_all()


@pytest.fixture
async def customers(books: Books, pool: Pool) -> Customers:
    accounts = Accounts(pool, "tw")
    one, other = await accounts.create_account("One", "team"), await accounts.create_account("Other", "team")
    key, _ = await accounts.create_key(one.public_id)
    return Customers(books, one, key, other)


def units(rows: list[UsageRow], meter: str) -> list[tuple[datetime | None, int, int]]:
    return [(row.bucket_start, row.quantity, row.events) for row in rows if row.meter == meter]


async def test_a_summary_without_buckets(customers: Customers) -> None:
    await customers.call(JANUARY, JANUARY + timedelta(days=3), FEBRUARY)
    await customers.call(JANUARY, account=customers.other)
    rows = await customers.usage.summary(customers.one.public_id, JANUARY, FEBRUARY)
    assert units(rows, "api_calls") == [(None, 2, 2)]
    assert units(rows, "tokens") == [(None, 6, 2)]
    assert units(rows, "ingress_bytes") == [(None, 20, 2)]
    assert units(rows, "egress_bytes") == [(None, 168, 2)]
    assert units(rows, "duration_ms") == [(None, 2, 2)]
    assert rows[0].account == customers.one.public_id
    assert rows[0].key == customers.key.public_id
    assert (rows[0].route, rows[0].mode, rows[0].outcome) == ("builds", Mode.LIVE, "served")


@pytest.mark.parametrize(
    ("bucket", "starts"),
    [
        ("hour", [JANUARY, JANUARY + timedelta(hours=5), JANUARY + timedelta(days=3), FEBRUARY]),
        ("day", [JANUARY, JANUARY + timedelta(days=3), FEBRUARY]),
        ("month", [JANUARY, FEBRUARY]),
    ],
)
async def test_buckets(customers: Customers, bucket: str, starts: list[datetime]) -> None:
    await customers.call(
        JANUARY,
        JANUARY + timedelta(hours=5, minutes=59),
        JANUARY + timedelta(days=3),
        FEBRUARY,
    )
    account = customers.one.public_id
    whole = await customers.usage.summary(account, JANUARY, MARCH, bucket)  # type: ignore[arg-type]  # a table's text
    cut = await customers.usage.summary(
        account,
        JANUARY,
        MARCH - timedelta(days=1),
        bucket,  # type: ignore[arg-type]  # a table's text
    )
    assert whole == cut, "hours and months agree"
    assert [start for start, _, _ in units(whole, "api_calls")] == starts
    assert sum(quantity for _, quantity, _ in units(whole, "api_calls")) == 4


async def test_an_hour_that_is_cut_counts_in_full(customers: Customers) -> None:
    await customers.call(JANUARY + timedelta(minutes=5))
    start = JANUARY + timedelta(minutes=30)
    rows = await customers.usage.summary(customers.one.public_id, start, start + timedelta(minutes=1))
    assert units(rows, "api_calls") == [(None, 1, 1)]


async def test_modes_are_apart_and_nobody_is_none(customers: Customers) -> None:
    await customers.call(JANUARY)
    await customers.call(JANUARY, JANUARY, mode=Mode.TEST)
    usage = customers.usage
    everything = await usage.summary(None, JANUARY, FEBRUARY)
    assert {(row.mode, row.events) for row in everything if row.meter == "api_calls"} == {
        (Mode.LIVE, 1),
        (Mode.TEST, 2),
    }
    test = await usage.summary(customers.one.public_id, JANUARY, FEBRUARY, mode=Mode.TEST)
    assert units(test, "tokens") == [(None, 6, 2)]
    writer = customers.books.writer(200)
    refuse(writer, 1)
    writer.close()
    await customers.books.book_all()
    rows = await usage.summary(None, datetime(2023, 11, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC))
    assert {(row.account, row.key, row.outcome) for row in rows} == {(None, None, "unauthenticated")}
    assert units(rows, "api_calls") == [(None, 0, 1)], "refused calls are counted and cost nothing"


@pytest.mark.parametrize("bucket", ["hour", "day", "month", None])
@pytest.mark.parametrize("limit", [1, 3, 7, 10**9])
async def test_sums_come_in_pages_without_gap_or_repetition(
    customers: Customers, bucket: Bucket | None, limit: int
) -> None:
    instants = [JANUARY, JANUARY + timedelta(hours=5), JANUARY + timedelta(days=3), FEBRUARY]
    await customers.call(*instants)
    await customers.call(*instants, account=customers.other)
    await customers.call(*instants, mode=Mode.TEST)
    for account, until in ((None, MARCH), (customers.one.public_id, MARCH - timedelta(days=1))):
        everything = await customers.usage.summary(account, JANUARY, until, bucket)
        question = Sums(account, JANUARY, until, bucket)
        found, cursor = await customers.usage.page(question, limit)
        while cursor is not None:
            assert len(found) % limit == 0
            page, cursor = await customers.usage.page(question, limit, cursor)
            assert 1 <= len(page) <= limit
            found += page
        assert found == everything
        assert len(everything) >= 10


async def test_no_page_of_sums_is_longer_than_allowed(
    customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_room, "MAX_SUMS", 2)
    await customers.call(JANUARY)
    page, cursor = await customers.usage.page(Sums(None, JANUARY, FEBRUARY), 10**9)
    assert len(page) == 2
    assert cursor is not None


async def test_a_cursor_leads_nobody_to_the_sums_of_another_account(customers: Customers) -> None:
    await customers.call(JANUARY)
    await customers.call(JANUARY, account=customers.other)
    _, cursor = await customers.usage.page(Sums(None, JANUARY, FEBRUARY), 1)
    mine, _ = await customers.usage.page(Sums(customers.other.public_id, JANUARY, FEBRUARY), 100, cursor)
    assert {row.account for row in mine} == {customers.other.public_id}


async def test_an_unknown_account_has_used_nothing(customers: Customers) -> None:
    await customers.call(JANUARY)
    assert await customers.usage.summary("acct_none", JANUARY, FEBRUARY) == []
    assert await customers.usage.events("acct_none") == []


async def test_events_come_newest_first_in_pages(customers: Customers) -> None:
    await customers.call(*(JANUARY + timedelta(hours=hour) for hour in range(10)))
    await customers.call(*(JANUARY + timedelta(hours=hour) for hour in range(10)), account=customers.other)
    for account, total in ((customers.one.public_id, 10), (None, 20)):
        found: list[EventRow] = []
        cursor: str | None = None
        while page := await customers.usage.events(account, 3, cursor):
            assert len(page) <= 3
            found += page
            cursor = page[-1].cursor
        assert len({event.request_id for event in found}) == total
        assert [event.started_at for event in found] == sorted(
            (event.started_at for event in found), reverse=True
        )
    event = (await customers.usage.events(customers.one.public_id, 1))[0]
    assert isinstance(event.request_id, UUID)
    assert (event.account, event.key) == (customers.one.public_id, customers.key.public_id)
    assert event.charges == {"api_calls": 1, "tokens": 3}
    assert (event.outcome, event.status, event.duration_us) == ("served", 200, 1500)


@pytest.mark.parametrize(
    "cursor", ["", "x", "1.x", ".", "99999999999999999999999.0192f1a2-b3c4-8abc-9def-000000000001"]
)
async def test_a_strange_cursor_is_refused(customers: Customers, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await customers.usage.events(None, 10, cursor)


@pytest.mark.parametrize(("asked", "given"), [(-1, 0), (0, 0), (5, 5), (10**9, 12)])
async def test_pages_are_bounded(customers: Customers, asked: int, given: int) -> None:
    await customers.call(*(JANUARY for _ in range(12)))
    assert len(await customers.usage.events(None, asked)) == given


async def test_what_was_decided_is_in_the_row_and_can_be_asked_for(customers: Customers) -> None:
    refused = Marks("rate_limited", ("burst", "tried"))
    await customers.call(JANUARY)
    await customers.call(JANUARY, FEBRUARY, marks=Marks(shadows=("tried",)))
    await customers.call(FEBRUARY, account=customers.other, marks=refused)
    assert len(await customers.usage.events(None)) == 4
    found = await customers.usage.events(None, shadow="tried")
    assert [(row.code, row.refused_by, row.shadows) for row in found] == [(None, (), ("tried",))] * 2
    (row,) = await customers.usage.events(None, refused_by="tried")
    assert (row.code, row.refused_by, row.shadows) == ("rate_limited", ("burst", "tried"), ())
    assert await customers.usage.events(customers.one.public_id, refused_by="tried") == []
    assert await customers.usage.events(None, refused_by="burst", shadow="tried") == []
    assert await customers.usage.events(None, before=found[0].cursor, shadow="tried") == [found[1]]
    assert await customers.usage.event(row.request_id) == row
    assert await customers.usage.event(UUID(int=7)) is None


async def test_the_total_of_a_period_is_for_quotas(customers: Customers) -> None:
    await customers.call(JANUARY, FEBRUARY - timedelta(seconds=1), FEBRUARY)
    await customers.call(JANUARY, mode=Mode.TEST)
    total = customers.usage.period_total
    assert await total(customers.one.id, "api_calls", JANUARY, FEBRUARY) == 2
    assert await total(customers.one.id, "tokens", JANUARY, FEBRUARY, Mode.TEST) == 3
    assert await total(customers.one.id, "unheard-of", JANUARY, FEBRUARY) == 0
    assert await total(10**12, "api_calls", JANUARY, FEBRUARY) == 0


async def test_a_period_may_begin_and_end_within_an_hour(customers: Customers) -> None:
    """As days do in India, at half past."""
    start = JANUARY - timedelta(minutes=330)
    end = start + timedelta(days=1)
    second = timedelta(seconds=1)
    await customers.call(start - second, start, start + timedelta(hours=5), end - second, end)
    total = customers.usage.period_total
    assert await total(customers.one.id, "api_calls", start, end) == 3
    assert await total(customers.one.id, "api_calls", start, start + second) == 1, "all within one hour"
    assert await total(customers.one.id, "api_calls", start + second, end - second) == 1
