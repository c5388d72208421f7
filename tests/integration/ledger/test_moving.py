"""Rows laid out anew: all of them or none, and for readers, recorders and roles as if nothing had been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from gateway.ledger import moving, retention
from gateway.ledger.layout import Layout, LayoutRefused, layout_of, standing
from gateway.ledger.moving import to_hypertable, to_months
from gateway.ledger.retention import keep_months
from gateway.storage.postgres import Connection, Pool
from tests.conftest import TIMESCALEDB_URL, run_aside
from tests.integration.ledger.books import Books
from tests.timescale import offer
from tests.unit.journal.journals import begin, end

MONTHS = [datetime(1971, 1, 1, tzinfo=UTC), *(datetime(2025, month, 15, tzinfo=UTC) for month in (6, 8, 9))]
SHAPE = """
SELECT c.relname, i.indisprimary, replace(pg_get_indexdef(c.oid), ' ON ONLY ', ' ON ')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'usage_events'::regclass
ORDER BY 1
"""
COLUMNS = """
SELECT attname, atttypid::regtype::text, attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
WHERE attrelid = 'usage_events'::regclass AND attnum > 0
ORDER BY attnum
"""


@pytest.fixture(params=["stand-in", "timescaledb"] if TIMESCALEDB_URL else ["stand-in"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with partitions by month that may have hypertables."""
    if request.param == "timescaledb":
        return str(request.getfixturevalue("timescale_url"))
    url = str(request.getfixturevalue("months_url"))
    run_aside(offer(url))
    return url


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


def quiet(_: int, __: int) -> None:
    """Nobody watches."""


def book(books: Books, number: int, *months: datetime) -> None:
    writer = books.writer(number)
    for sequence, month in enumerate(months, start=1):
        begin(writer, sequence, at_us=round(month.timestamp()) * 1_000_000)
        end(writer, sequence)
    writer.close()


async def rows(connection: Connection) -> list[Any]:
    return [
        tuple(row)
        for row in await connection.fetch("SELECT * FROM usage_events ORDER BY started_at, request_id")
    ]


async def look(connection: Connection) -> tuple[list[Any], list[Any]]:
    return [tuple(row) for row in await connection.fetch(SHAPE)], [
        tuple(row) for row in await connection.fetch(COLUMNS)
    ]


async def test_there_and_back_every_row_column_and_index_is_what_it_was(
    books: Books, connection: Connection
) -> None:
    book(books, 1, *MONTHS)
    await books.book_all()
    before, shape = await rows(connection), await look(connection)
    told: list[tuple[int, int]] = []
    assert await to_hypertable(connection, 7, lambda done, of: told.append((done, of))) == 4
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert await layout_of(connection) is Layout.HYPERTABLE
    assert (await rows(connection), await look(connection)) == (before, shape)
    assert await to_hypertable(connection, 7, quiet) is None, "it is one"
    assert await to_months(connection, quiet) == 4
    assert await layout_of(connection) is Layout.MONTHS
    assert (await rows(connection), await look(connection)) == (before, shape)
    assert await to_months(connection, quiet) is None
    assert await books.disagreements() == []


async def test_one_recorder_books_before_between_and_after(books: Books, connection: Connection) -> None:
    """It has prepared its statements and knows which partitions are there."""
    recorder = books.recorder()
    book(books, 1, *MONTHS)
    await books.book_all(recorder)
    await to_hypertable(connection, 7, quiet)
    book(books, 2, *MONTHS, datetime(2031, 5, 1, tzinfo=UTC))
    assert await books.book_all(recorder) == 5
    await to_months(connection, quiet)
    book(books, 3, *MONTHS)
    assert await books.book_all(recorder) == 4
    assert await books.outcomes() == {"served": 13}
    assert await books.disagreements() == []


async def test_the_key_refuses_in_both(books: Books, connection: Connection) -> None:
    book(books, 1, *MONTHS)
    await books.book_all()
    again = "INSERT INTO usage_events SELECT * FROM usage_events WHERE started_at >= '2025-07-01' LIMIT 1"
    await to_hypertable(connection, 7, quiet)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(again)
    await to_months(connection, quiet)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(again)


async def test_old_chunks_go_and_no_month_is_made(books: Books, connection: Connection) -> None:
    await to_hypertable(connection, 1, quiet)
    book(books, 1, *MONTHS)
    await books.book_all()
    present = datetime(2025, 11, 1, tzinfo=UTC)
    assert await keep_months(books.pool, 0, present) == [], "0 keeps everything"
    assert len(await keep_months(books.pool, 2, present)) == 3
    assert await books.outcomes() == {"served": 1}
    assert (
        await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '^usage_events_[0-9]'") == 0
    )
    sums = "SELECT count(*) FROM usage_hourly WHERE meter = 'api_calls'"
    assert await connection.fetchval(sums) == 4


async def test_a_late_journal_has_its_chunk_until_the_next_turn(books: Books, connection: Connection) -> None:
    await to_hypertable(connection, 7, quiet)
    present = datetime(2025, 11, 1, tzinfo=UTC)
    await keep_months(books.pool, 1, present)
    book(books, 1, *MONTHS)
    assert await books.book_all() == 4
    assert await books.outcomes() == {"served": 4}
    await keep_months(books.pool, 1, present)
    assert await books.outcomes() == {}


async def test_dropping_chunks_does_not_wait_for_who_reads(
    books: Books, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_WITHIN_MS", 1)
    await to_hypertable(connection, 7, quiet)
    book(books, 1, *MONTHS)
    await books.book_all()
    async with books.pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM usage_events")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))
    assert await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))


@pytest.mark.parametrize("direction", ["to a hypertable", "to months"])
async def test_who_is_killed_midway_has_changed_nothing(
    books: Books, connection: Connection, direction: str
) -> None:
    book(books, 1, *MONTHS)
    await books.book_all()
    if direction == "to months":
        await to_hypertable(connection, 7, quiet)
    before, layout = await rows(connection), await layout_of(connection)
    async with books.pool.acquire() as mover:
        pid = mover.get_server_pid()

        def kill(done: int, _: int) -> None:
            if done == 2:
                killed.append(
                    asyncio.ensure_future(connection.execute("SELECT pg_terminate_backend($1)", pid))
                )

        killed: list[asyncio.Future[Any]] = []
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await (to_months(mover, kill) if layout is Layout.HYPERTABLE else to_hypertable(mover, 7, kill))
    await asyncio.gather(*killed)
    assert (await layout_of(connection), await rows(connection)) == (layout, before)


async def test_who_reads_does_not_wait_and_who_books_does(books: Books, connection: Connection) -> None:
    book(books, 1, *MONTHS)
    await books.book_all()
    seen: list[Any] = []

    async def looked() -> None:
        async with books.pool.acquire() as other:
            seen.append(await other.fetchval("SELECT count(*) FROM usage_events"))
            await other.execute("SET lock_timeout = 1")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.execute("INSERT INTO usage_events SELECT * FROM usage_events")

    async with moving._instead_of(connection, Layout.MONTHS):
        await looked()
    assert seen == [4]


WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.mark.parametrize("direction", ["to a hypertable", "to months"])
async def test_what_was_to_be_booked_meanwhile_is_booked_where_rows_are_afterwards(
    books: Books, connection: Connection, direction: str
) -> None:
    """A writer that waits for the table itself would go on with what it knew of the old one."""
    recorder = books.recorder()
    book(books, 1, *MONTHS)
    await books.book_all(recorder)
    if direction == "to months":
        await to_hypertable(connection, 7, quiet)
        book(books, 2, *MONTHS)
        await books.book_all(recorder)
    before = len(await rows(connection))
    book(books, 3, *MONTHS)
    async with books.pool.acquire() as reader:
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM usage_events")
            laid_out = to_months(connection, quiet) if before == 8 else to_hypertable(connection, 7, quiet)
            moving_them = asyncio.ensure_future(laid_out)
            while await reader.fetchval(WAITING) < 1:
                await asyncio.sleep(0)
            booking = asyncio.ensure_future(books.book_all(recorder))
            while await reader.fetchval(WAITING) < 2:
                await asyncio.sleep(0)
        assert await moving_them == before
        assert await booking == 4
    assert len(await rows(connection)) == before + 4
    assert await books.disagreements() == []


async def test_somebody_who_goes_on_reading_keeps_it_from_being_done(
    books: Books, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "LOCK_WITHIN_S", 0.01)
    book(books, 1, *MONTHS)
    await books.book_all()
    async with books.pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM usage_events")
        with pytest.raises(LayoutRefused, match="pg_stat_activity"):
            await to_hypertable(connection, 7, quiet)
    assert await layout_of(connection) is Layout.MONTHS
    assert await to_hypertable(connection, 7, quiet) == 4


async def test_rights_and_owner_stay(database_url: str, connection: Connection) -> None:
    """Also when it is a superuser who types, and the gateway has a role of its own."""
    await connection.execute("DROP ROLE IF EXISTS books_owner, books_reader")
    await connection.execute("CREATE ROLE books_owner LOGIN; CREATE ROLE books_reader LOGIN")
    try:
        await connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO books_owner")
        await connection.execute("ALTER TABLE usage_events OWNER TO books_owner")
        await connection.execute("GRANT SELECT ON usage_events TO books_reader WITH GRANT OPTION")
        await connection.execute(
            "GRANT UPDATE (tier) ON usage_events TO books_reader; GRANT INSERT ON usage_events TO PUBLIC"
        )
        for forth in (True, False):
            move = to_hypertable(connection, 7, quiet) if forth else to_months(connection, quiet)
            assert await move == 0
            owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'usage_events'"
            assert await connection.fetchval(owner) == "books_owner"
            for right in ("SELECT WITH GRANT OPTION", "INSERT"):
                asked = "SELECT has_table_privilege('books_reader', 'usage_events', $1)"
                assert await connection.fetchval(asked, right), right
            column = "SELECT has_column_privilege('books_reader', 'usage_events', $1, 'UPDATE')"
            assert await connection.fetchval(column, "tier")
            assert not await connection.fetchval(column, "route")
    finally:
        await connection.execute("DROP OWNED BY books_owner, books_reader CASCADE")
        await connection.execute("DROP ROLE books_owner, books_reader")


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("daily", "CREATE VIEW daily AS SELECT count(*) FROM usage_events"),
        (
            "trigger tell",
            "CREATE TRIGGER tell AFTER INSERT ON usage_events FOR EACH ROW EXECUTE FUNCTION keep_row()",
        ),
        ("policy mine", "CREATE POLICY mine ON usage_events USING (true)"),
        ("publication abroad", "CREATE PUBLICATION abroad FOR TABLE usage_events"),
    ],
)
async def test_what_hangs_on_the_table_is_named_and_not_lost(
    books: Books, connection: Connection, what: str, made: str
) -> None:
    await connection.execute(made)
    with pytest.raises(LayoutRefused, match=what):
        await to_hypertable(connection, 7, quiet)
    assert await layout_of(connection) is Layout.MONTHS
    book(books, 1, *MONTHS)
    assert await books.book_all() == 4


async def test_two_at_once_do_it_once(books: Books) -> None:
    async with books.pool.acquire() as one, books.pool.acquire() as other:
        done = await asyncio.gather(
            to_hypertable(one, 7, quiet), to_hypertable(other, 7, quiet), return_exceptions=True
        )
    assert done.count(0) == 1
    refused = next(one for one in done if one != 0)
    assert refused is None or "Somebody else has just" in str(refused)


async def test_rows_that_can_not_be_moved_keep_all_where_they_are(connection: Connection) -> None:
    """A time without a month, which no gateway writes."""
    await connection.execute(
        "CREATE TABLE ages PARTITION OF usage_events FOR VALUES FROM ('4000-01-01') TO (MAXVALUE)"
    )
    await connection.execute(
        "INSERT INTO usage_events SELECT 'infinity', gen_random_uuid(), "
        "1, 1, 0, 0, 0, 0, 200, 'live', 'served', '', '', 'GET', '{}'"
    )
    with pytest.raises(LayoutRefused, match="1 rows were to be moved, and 0 were"):
        await to_hypertable(connection, 7, quiet)
    assert await layout_of(connection) is Layout.MONTHS
    assert await connection.fetchval("SELECT count(*) FROM usage_events") == 1


async def test_a_database_of_an_older_version_says_what_to_type(connection: Connection) -> None:
    await connection.execute("DROP FUNCTION usage_rows_layout")
    with pytest.raises(LayoutRefused, match="tollway migrate"):
        await to_hypertable(connection, 7, quiet)


async def test_what_there_is_to_see(books: Books, connection: Connection) -> None:
    book(books, 1, *MONTHS)
    await books.book_all()
    await to_hypertable(connection, 7, quiet)
    await to_months(connection, quiet)
    found = await standing(connection)
    assert found.layout is Layout.MONTHS
    assert found.oldest_at is not None
    assert found.newest_at is not None
    assert [found.oldest_at.date(), found.newest_at.date()] == [MONTHS[0].date(), MONTHS[-1].date()]
    assert found.parts == 4 + 3, "months with rows, and those ahead"
    assert found.size_bytes > 0
