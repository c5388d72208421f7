"""Months of raw rows: made ahead, dropped when they are old, by one at a time and never at readers' cost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.ledger import retention
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.retention import LOCK, keep_months, keep_months_forever
from gateway.storage.postgres import Pool
from tests.integration.ledger.books import Books
from tests.unit.journal.journals import begin, end


@pytest.fixture
def database_url(months_url: str) -> str:
    """Partitions by month, whatever else there may be: `test_moving.py` has what holds for hypertables."""
    return months_url


async def months(pool: Pool) -> list[str]:
    return [row["name"].removeprefix("usage_events_") for row in await pool.fetch(retention.QUERIES.months)]


async def booked(books: Books, *months: datetime) -> None:
    writer = books.writer()
    for number, month in enumerate(months, start=1):
        begin(writer, number, at_us=round(month.timestamp()) * 1_000_000)
        end(writer, number)
    writer.close()
    await books.book_all()


async def test_old_months_go_and_their_sums_stay(books: Books) -> None:
    await booked(books, *(datetime(2025, month, 15, tzinfo=UTC) for month in (6, 8, 9)))
    await keep_months(books.pool, 0, datetime(2025, 11, 1, tzinfo=UTC))
    assert "2025_06" in await months(books.pool), "0 keeps everything"
    gone = await keep_months(books.pool, 2, datetime(2025, 11, 1, tzinfo=UTC))
    assert gone == ["usage_events_2025_06", "usage_events_2025_07", "usage_events_2025_08"]
    assert (await months(books.pool))[:2] == ["2025_09", "2025_10"]
    assert await books.outcomes() == {"served": 1}
    sums = "SELECT count(*) FROM usage_hourly WHERE meter = 'api_calls'"
    assert await books.pool.fetchval(sums) == 3


async def test_months_are_made_ahead(books: Books) -> None:
    await keep_months(books.pool, 0, datetime.now(UTC))
    present = datetime.now(UTC).replace(day=1)
    ahead = [present, present + timedelta(days=31), (present + timedelta(days=31)).replace(day=1)]
    ahead[2] += timedelta(days=31)
    assert await months(books.pool) == [f"{month:%Y_%m}" for month in ahead]


async def test_a_late_journal_gets_its_month_back_until_the_next_turn(books: Books) -> None:
    await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))
    await booked(books, datetime(2025, 6, 15, tzinfo=UTC))
    assert await books.outcomes() == {"served": 1}
    assert "usage_events_2025_06" in await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))
    assert await books.outcomes() == {}


async def test_partitions_made_by_many_at_once_and_for_the_next_month(books: Books) -> None:
    instant = datetime(2031, 12, 31, 23, 59, 59, tzinfo=UTC)
    async with books.pool.acquire() as one, books.pool.acquire() as other:
        await asyncio.gather(
            *(connection.execute("SELECT ensure_usage_month($1)", instant) for connection in (one, other))
        )
    writer = books.writer()
    begin(writer, 1, at_us=round(instant.timestamp()) * 1_000_000)
    end(writer, 1)
    writer.close()
    await books.book_all()
    names = await books.pool.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits ORDER BY 1")
    tables = [row["name"] for row in names if "pkey" not in row["name"] and "idx" not in row["name"]]
    assert tables == ["usage_events_2031_12", "usage_events_2032_01"]


async def test_a_partition_dropped_under_a_running_recorder_is_made_again(books: Books) -> None:
    recorder = books.recorder()
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    await books.book_all(recorder)
    await books.pool.execute("DROP TABLE usage_events_2023_11")
    begin(writer, 2)
    end(writer, 2)
    with pytest.raises(LedgerUnavailable):
        await recorder.book_once()
    assert await recorder.book_once() == 1
    writer.close()


async def test_one_at_a_time(books: Books) -> None:
    async with books.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        await keep_months(books.pool, 0, datetime.now(UTC))
        assert await months(books.pool) == []
        await other.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def test_who_reads_is_not_kept_waiting(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LOCK_WITHIN_MS", 1)
    await booked(books, datetime(2025, 6, 15, tzinfo=UTC))
    async with books.pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM usage_events")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))
    assert await keep_months(books.pool, 1, datetime(2025, 11, 1, tzinfo=UTC))


async def test_the_job_survives_an_outage(
    books: Books, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    tried = asyncio.Event()

    async def failing(*_: object) -> list[str]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("gone")
        tried.set()
        return []

    monkeypatch.setattr(retention, "keep_months", failing)
    job = asyncio.ensure_future(keep_months_forever(books.pool, 1, 0.0))
    await tried.wait()
    job.cancel()
    assert "can not be looked after" in caplog.text
