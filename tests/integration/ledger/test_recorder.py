from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import asyncpg
import pytest

from gateway.journal.format import FORMAT_VERSION
from gateway.journal.records import ITEMISED, Call, encode_end, encode_units
from gateway.ledger import booking
from gateway.ledger import recorder as recorder_module
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.recorder import Recorder
from gateway.ledger.retention import keep_months
from gateway.model.principal import Mode
from gateway.outcomes import Outcome
from tests.integration.ledger.books import Books
from tests.unit.journal.journals import CALL, begin, end, note, refuse

DAY_US = 86_400_000_000


async def test_calls_become_rows_and_sums_and_journals_go_away(books: Books) -> None:
    writer = books.writer()
    for number in range(300):
        begin(writer, number)
        end(writer, number, Outcome.UPSTREAM_ERROR if number % 10 == 0 else Outcome.SERVED)
    refuse(writer, 300)
    recorder = books.recorder()
    assert await books.book_all(recorder) == 301
    assert await books.outcomes() == {"served": 270, "upstream_error": 30, "unauthenticated": 1}
    assert await books.disagreements() == []
    assert len(list(writer.folder.glob("*.seg"))) == 1
    writer.close()
    await recorder.book_once()
    assert books.left == []
    assert books.slots.get("recorder_events_total") == 301
    assert books.slots.get("recorder_lag_seconds") == 0


async def test_every_field_of_a_row(books: Books) -> None:
    writer = books.writer()
    call = Call(7, 9, Mode.TEST, "team", "builds", "POST", {"api_calls": 1, "builds": 2}, upstream="next")
    begin(writer, 5, call)
    end(writer, 5)
    refuse(writer, 6)
    await books.book_all()
    rows = [dict(row) for row in await books.pool.fetch("SELECT * FROM usage_events ORDER BY started_at")]
    assert rows[0] == {
        "started_at": datetime(2023, 11, 14, 22, 13, 20, 5, UTC),
        "request_id": rows[0]["request_id"],
        "account_id": 7,
        "key_id": 9,
        "ingress_bytes": 10,
        "egress_bytes": 84,
        "ingress_messages": 0,
        "egress_messages": 0,
        "duration_us": 1500,
        "first_byte_us": 900,
        "status": 200,
        "mode": "test",
        "outcome": "served",
        "tier": "team",
        "route": "builds",
        "upstream": "next",
        "method": "POST",
        "charges": '{"builds": 2, "api_calls": 1}',
        "code": None,
        "refused_by": None,
        "shadows": None,
    }
    assert str(rows[0]["request_id"]) == "0192f1a2-b3c4-8abc-9d01-000000000005"
    assert (rows[1]["account_id"], rows[1]["key_id"], rows[1]["route"]) == (None, None, "")
    writer.close()


KILLED_WRITER = """
import sys
from pathlib import Path
from tests.unit.journal.journals import begin, end, make_writer
writer = make_writer(Path(sys.argv[1]))
begin(writer, 1)
end(writer, 1)
begin(writer, 2)
print("written", flush=True)
sys.stdin.read()
"""


async def test_a_worker_killed_within_a_call_leaves_one_interrupted_row(books: Books) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, books.journals_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        recorder = books.recorder()
        assert await books.book_all(recorder) == 1
        process.kill()
        process.wait()
    assert await books.book_all(recorder) == 1
    assert await books.book_all() == 0
    assert await books.outcomes() == {"served": 1, "interrupted": 1}
    assert await books.disagreements() == []
    assert books.left == []


KILLED_IN_A_TUNNEL = """
import sys
from pathlib import Path
from tests.unit.journal.journals import begin, make_writer, note
writer = make_writer(Path(sys.argv[1]))
for number in range(40):
    begin(writer, number) if number < 3 else None
    for sequence in range(3):
        note(writer, sequence, 1000 * number + sequence, number)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("recorders", [1, 4])
async def test_a_worker_killed_within_a_tunnel_leaves_what_had_flowed_once(
    books: Books, recorders: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_IN_A_TUNNEL, books.journals_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        for _ in range(recorders):
            assert await books.book_all() == 0
        process.kill()
        process.wait()
    assert await books.book_all() == 3
    assert await books.book_all() == 0
    rows = await books.pool.fetch("SELECT * FROM usage_events ORDER BY request_id")
    assert [
        (row["outcome"], row["status"], row["egress_bytes"], row["ingress_messages"], row["egress_messages"])
        for row in rows
    ] == [("interrupted", 101, 39_000 + number, 39, 39) for number in range(3)]
    messages = await books.pool.fetchrow("SELECT events, quantity FROM usage_hourly WHERE meter = 'messages'")
    assert messages is not None
    assert tuple(messages) == (3, 3 * 78)
    assert await books.disagreements() == []
    assert books.left == []


async def test_a_journal_of_the_first_format_is_booked(books: Books) -> None:
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    begin(writer, 2)
    writer.close()
    path = writer.folder / "00000001.seg"
    raw = bytearray(path.read_bytes())
    raw[8] = 1
    raw[64:68] = crc32(raw[:64]).to_bytes(4, "little")
    path.write_bytes(raw)
    assert await books.book_all() == 2
    assert await books.outcomes() == {"served": 1, "interrupted": 1}
    assert books.left == []


class Died(BaseException):
    """What a kill -9 looks like from inside: nothing after this point happens."""


Break = Callable[[pytest.MonkeyPatch], None]


def dying(at: str) -> Break:
    def breaking(patch: pytest.MonkeyPatch) -> None:
        def die(*_: object, **__: object) -> None:
            raise Died(at)

        patch.setattr(at, die)

    return breaking


def dying_after_commit(patch: pytest.MonkeyPatch) -> None:
    real = booking.Booking.book

    async def book(self: booking.Booking, *args: Any, **named: Any) -> bool:
        await real(self, *args, **named)
        raise Died("after the commit")

    patch.setattr(booking.Booking, "book", book)


@pytest.mark.parametrize(
    ("case", "kill"),
    [
        ("before the rows", dying("gateway.ledger.booking.copy_of")),
        ("between rows and sums", dying("gateway.ledger.aggregates.Tally.hours")),
        ("between hours and months", dying("gateway.ledger.booking.monthly_totals")),
        ("after the commit, before anything is deleted", dying_after_commit),
        ("while segments are deleted", dying("gateway.journal.reader.Journal.remove_segment")),
        ("while the journal is deleted", dying("gateway.journal.reader.Journal.remove")),
    ],
)
async def test_a_recorder_killed_anywhere_books_nothing_twice_and_loses_nothing(
    books: Books, monkeypatch: pytest.MonkeyPatch, case: str, kill: Break
) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 60)
    expected = 0
    for number in (1, 2):
        writer = books.writer(number)
        for sequence in range(100):
            begin(writer, sequence)
            note(writer, sequence, 50)
            end(writer, sequence)
        begin(writer, 100)
        note(writer, 100, 777)
        writer.close()
        expected += 101
    deaths = 0
    for attempt in range(12):
        recorder = books.recorder()
        with monkeypatch.context() as patch:
            kill(patch)
            try:
                await recorder.book_once()
            except Died:
                deaths += 1
        if attempt == 8:
            await books.recorder().book_once()
    await books.book_all()
    assert deaths > 0
    assert await books.outcomes() == {"served": expected - 2, "interrupted": 2}
    egress = "SELECT sum(egress_bytes) FROM usage_events WHERE outcome = 'interrupted'"
    assert await books.pool.fetchval(egress) == 2 * 777
    assert await books.disagreements() == []
    assert books.left == []


@pytest.mark.parametrize(
    ("set_to", "expected"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
)
async def test_a_commit_is_durable_before_its_journal_is_deleted(
    books: Books, set_to: str, expected: str
) -> None:
    await booking.Booking(books.pool).follow("a" * 20)
    async with books.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL synchronous_commit = {set_to}")
        await connection.fetchrow(booking.QUERIES.lock_cursor, "a" * 20)
        assert await connection.fetchval("SHOW synchronous_commit") == expected


async def test_two_recorders_at_once_book_everything_once(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 23)
    writers = [books.writer(number) for number in (1, 2, 3)]

    async def work() -> None:
        for sequence in range(300):
            for writer in writers:
                begin(writer, sequence)
                end(writer, sequence)
            if sequence % 10 == 0:
                await asyncio.sleep(0)
        for writer in writers:
            writer.close()

    async def record(recorder: Recorder) -> int:
        total = 0
        while books.left:
            total += await recorder.book_once()
        return total

    booked = await asyncio.gather(work(), record(books.recorder()), record(books.recorder()))
    assert sum(count for count in booked if count is not None) == 900
    assert await books.outcomes() == {"served": 900}
    assert await books.disagreements() == []


async def test_long_calls_outlive_rotation_and_a_restart_of_the_recorder(books: Books) -> None:
    writer = books.writer()
    begin(writer, 1)
    for sequence in range(10, 120):
        begin(writer, sequence)
        end(writer, sequence)
    assert await books.book_all() == 110
    assert (writer.folder / "00000001.seg").exists(), "the open call began there"
    end(writer, 1)
    writer.close()
    assert await books.book_all() == 1
    assert await books.outcomes() == {"served": 111}
    assert books.left == []


async def test_a_call_whose_end_went_with_its_segment_stays_over_for_the_next_recorder(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    """Segment 1 stays for the call that is open, segment 2 goes: it alone says that others of 1 are over."""
    writer = books.writer()
    for sequence in (1, 2, 3):
        begin(writer, sequence)
    sequence = 10
    while writer.segment == 1:
        begin(writer, sequence)
        end(writer, sequence)
        sequence += 1
    end(writer, 2)
    end(writer, 3)
    while writer.segment == 2:
        begin(writer, sequence)
        end(writer, sequence)
        sequence += 1
    served = await books.book_all()
    assert sorted(path.name for path in writer.folder.glob("*.seg")) == ["00000001.seg", "00000003.seg"]
    begin(writer, sequence)
    writer.close()
    assert await books.book_all() == 2
    assert await books.outcomes() == {"served": served, "interrupted": 2}
    assert await books.disagreements() == []
    assert "are in the ledger already" not in caplog.text, "nobody leans on the primary key for this"
    assert books.left == []


async def test_a_cursor_that_an_older_release_moved_on_forgets_no_open_call(books: Books) -> None:
    """It moves the cursor alone: what an earlier recorder noted beside it is about another segment."""
    writer = books.writer()
    sequence = 1
    while writer.segment == 1:
        begin(writer, sequence)
        end(writer, sequence)
        sequence += 1
    await books.book_all()
    begin(writer, 500)
    while writer.segment < 4:
        begin(writer, sequence)
        end(writer, sequence)
        sequence += 1
    await books.book_all()
    await books.pool.execute("UPDATE journal_cursors SET open_calls_in = 2, open_calls = '{}'")
    end(writer, 500)
    writer.close()
    await books.book_all()
    assert await books.outcomes() == {"served": sequence}
    assert books.slots.get("recorder_corrupt_records_total") == 0


SUMS_ONLY = Call(7, 9, Mode.LIVE, "team", "pixels", "GET", {"api_calls": 1}, raw=False)


async def test_a_journal_restored_from_a_backup_changes_nothing(books: Books, tmp_path: Path) -> None:
    writer = books.writer()
    for sequence in range(20):
        begin(writer, sequence)
        end(writer, sequence)
    shutil.copytree(writer.folder, tmp_path / "backup")
    await books.book_all()
    writer.close()
    await books.book_all()
    shutil.move(tmp_path / "backup", writer.folder)
    assert await books.book_all() == 0
    assert await books.outcomes() == {"served": 20}
    assert await books.disagreements() == []
    assert books.left == []


async def test_should_a_cursor_be_lost_rows_say_what_is_booked(
    books: Books, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = books.writer()
    for sequence in range(20):
        call = SUMS_ONLY if sequence % 2 else CALL
        begin(writer, sequence, call)
        end(writer, sequence)
    shutil.copytree(writer.folder, tmp_path / "backup")
    writer.close()
    await books.book_all()
    before = await books.pool.fetch("SELECT * FROM usage_hourly ORDER BY meter, route")
    await books.pool.execute("TRUNCATE journal_cursors")
    shutil.move(tmp_path / "backup", writer.folder)
    assert await books.book_all() == 20, "read again"
    assert await books.pool.fetch("SELECT * FROM usage_hourly ORDER BY meter, route") == before
    assert "are in the ledger already" in caplog.text


async def test_calls_of_a_route_without_rows_are_in_the_sums_alone(books: Books) -> None:
    writer = books.writer()
    for sequence in range(30):
        begin(writer, sequence, SUMS_ONLY if sequence % 3 else CALL)
        end(writer, sequence)
    writer.close()
    assert await books.book_all() == 30
    assert await books.outcomes() == {"served": 10}
    for table in ("usage_hourly", "usage_monthly"):
        sums = await books.pool.fetch(
            f"SELECT route, events, quantity FROM {table} WHERE meter = 'api_calls' ORDER BY 1"
        )
        assert [tuple(row) for row in sums] == [("builds", 10, 10), ("pixels", 20, 20)]


@pytest.mark.parametrize("kill", [dying("gateway.ledger.booking.monthly_totals"), dying_after_commit])
async def test_nothing_is_booked_twice_when_rows_were_never_there_or_are_gone(
    books: Books, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kill: Break
) -> None:
    """A recorder dies, segments go out of order, the month's rows are dropped, the journal comes back."""
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 60)
    writer = books.writer()
    for sequence in range(200):
        begin(writer, sequence, SUMS_ONLY if sequence % 2 else CALL)
        end(writer, sequence)
    shutil.copytree(writer.folder, tmp_path / "backup")
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Died):
            await books.recorder().book_once()
    recorder = books.recorder()
    await recorder.book_once()
    segments = sorted(writer.folder.glob("*.seg"))
    await keep_months(books.pool, 1, datetime(2024, 1, 1, tzinfo=UTC))
    for path in segments:  # and one that was booked appears anew
        shutil.copy(tmp_path / "backup" / path.name, path)
    await books.book_all()
    writer.close()
    await books.book_all()
    assert books.left == []
    shutil.move(tmp_path / "backup", writer.folder)
    await keep_months(books.pool, 1, datetime(2024, 1, 1, tzinfo=UTC))
    assert await books.book_all() == 0
    assert await books.outcomes() == {}
    for table in ("usage_hourly", "usage_monthly"):
        booked = f"SELECT sum(events) FROM {table} WHERE meter = 'api_calls'"
        assert await books.pool.fetchval(booked) == 200


@pytest.mark.parametrize(
    ("case", "days"),
    [("a year ago", -365), ("before the epoch's third year", -19_000), ("a clock far ahead", 40_000)],
)
async def test_partitions_are_made_for_any_month(books: Books, case: str, days: int) -> None:
    writer = books.writer()
    at_us = max(0, books.clock.now_us() + days * DAY_US)
    begin(writer, 1, at_us=at_us)
    end(writer, 1)
    writer.close()
    assert await books.book_all() == 1
    assert await books.disagreements() == []


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("connection refused"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
)
async def test_an_outage_is_logged_once_survived_and_caught_up(
    books: Books, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(recorder_module, "POLL_S", 0.001)
    monkeypatch.setattr(recorder_module, "MAX_BACKOFF_S", 0.002)
    books.plug.error = error
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    stop = asyncio.Event()
    with caplog.at_level(logging.INFO):
        running = asyncio.ensure_future(books.recorder().run(stop))
        while books.plug.asked < 5:
            await asyncio.sleep(0.001)
        books.clock.advance(30)
        books.plug.error = None
        while not books.slots.get("recorder_events_total"):
            await asyncio.sleep(0.001)
        begin(writer, 2)
        end(writer, 2)
        writer.close()
        stop.set()
        await running
    assert await books.outcomes() == {"served": 2}, "what was there at the stop is booked"
    assert books.slots.get("recorder_errors_total") >= 5
    messages = [record.getMessage() for record in caplog.records if record.name == "tollway.ledger"]
    assert messages == ["usage can not be booked and waits on disk", "usage is being booked again"]


async def test_to_catch_up_takes_no_more_memory_the_more_there_is(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 500)
    recorder, peaks = books.recorder(), []
    for turn, calls in enumerate((1_000, 1_000, 12_000)):  # the first of them fills caches
        writer = books.writer(turn)
        for number in range(calls):
            begin(writer, number)
            end(writer, number)
        writer.close()
        tracemalloc.start()
        assert await books.book_all(recorder) == calls
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1], peaks


async def test_the_lag_is_the_age_of_the_oldest_event_that_waits(books: Books) -> None:
    recorder = books.recorder()
    writer = books.writer()
    begin(writer, 1, at_us=books.clock.now_us())
    end(writer, 1)
    await books.book_all(recorder)
    begin(writer, 2, at_us=books.clock.now_us())
    end(writer, 2)
    books.clock.advance(60)
    books.plug.error = OSError("gone")
    with pytest.raises(LedgerUnavailable):
        await recorder.book_once()
    assert 59_900_000 < books.slots.get("recorder_lag_seconds") < 60_000_000
    books.plug.error = None
    await books.book_all(recorder)
    assert books.slots.get("recorder_lag_seconds") == 0
    writer.close()


async def test_one_refused_batch_does_not_hold_up_other_journals(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, healthy = books.writer(1), books.writer(2)
    for writer in (poisoned, healthy):
        begin(writer, 1)
        end(writer, 1)
    real = booking.Booking.book

    async def book(self: booking.Booking, journal_id: str, *args: Any, **named: Any) -> bool:
        if journal_id == poisoned.folder.name:
            raise LedgerUnavailable("value out of range", lost=False)
        return await real(self, journal_id, *args, **named)

    monkeypatch.setattr(booking.Booking, "book", book)
    with pytest.raises(LedgerUnavailable):
        await books.recorder().book_once()
    assert await books.outcomes() == {"served": 1}
    poisoned.close()
    healthy.close()


async def test_damage_is_counted_and_the_rest_is_booked(books: Books) -> None:
    writer = books.writer()
    for sequence in range(3):
        begin(writer, sequence)
        end(writer, sequence)
    writer.close()
    path = writer.folder / "00000001.seg"
    raw = bytearray(path.read_bytes())
    at = raw.rfind(b"team")
    raw[at] ^= 1
    path.write_bytes(raw)
    assert await books.book_all() == 2
    assert books.slots.get("recorder_corrupt_records_total") > 0
    assert books.left == []


async def test_a_journal_of_a_newer_version_is_left_alone_and_told_about_once(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    writer.close()
    path = writer.folder / "00000001.seg"
    raw = bytearray(path.read_bytes())
    raw[8] = FORMAT_VERSION + 1
    raw[64:68] = crc32(raw[:64]).to_bytes(4, "little")
    path.write_bytes(raw)
    recorder = books.recorder()
    for _ in range(3):
        assert await recorder.book_once() == 0
    assert path.read_bytes() == raw
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a journal can not be read or removed and is left alone until the recorder starts again"
    ]


async def test_cursors_stay_whoever_wants_to_delete_them(books: Books) -> None:
    """The recorder of an older release did, a week after a journal was finished."""
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    writer.close()
    await books.book_all()
    assert await books.pool.fetchval("SELECT count(*) FROM journal_cursors") == 1
    await books.pool.execute("UPDATE journal_cursors SET closed_at = now() - interval '8 days'")
    await books.pool.execute("DELETE FROM journal_cursors WHERE closed_at < now() - interval '7 days'")
    assert await books.pool.fetchval("SELECT count(*) FROM journal_cursors") == 1


async def test_nothing_to_do_asks_postgres_nothing(books: Books) -> None:
    recorder = books.recorder()
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    await books.book_all(recorder)
    asked = books.plug.asked
    assert await recorder.book_once() == 0
    begin(writer, 2)
    assert await recorder.book_once() == 0, "a begin alone is no event"
    assert books.plug.asked == asked
    writer.close()


async def test_a_full_disk_of_postgres_is_an_outage(books: Books) -> None:
    books.plug.error = asyncpg.DiskFullError("could not extend file")
    writer = books.writer()
    begin(writer, 1)
    end(writer, 1)
    with pytest.raises(LedgerUnavailable) as caught:
        await books.recorder().book_once()
    assert caught.value.lost
    writer.close()


async def test_half_made_journals_are_swept(books: Books) -> None:
    unborn = books.journals_dir / (".new-" + "00" * 10)
    unborn.mkdir(parents=True)
    os.utime(unborn, (0, 0))
    await books.recorder().book_once()
    assert books.left == []


async def test_charges_that_are_due_one_by_one(books: Books) -> None:
    writer = books.writer()
    call = Call(7, 9, Mode.LIVE, "team", "ask", "POST", {"tokens": 2000, "api_calls": 1}, kept_charges=1)
    for number, units in enumerate([(21, 1), (5000, 0), (0, 1)]):
        begin(writer, number, call)
        figures = (Outcome.SERVED, ITEMISED, 200, 10, 84, 1_500, 900)
        assert writer.end(encode_end(number, figures, encode_units(units)))
    begin(writer, 3, call)
    writer.close()
    await books.book_all()
    rows = await books.pool.fetch("SELECT outcome, charges FROM usage_events ORDER BY started_at")
    assert [(row["outcome"], json.loads(row["charges"])) for row in rows] == [
        ("served", {"tokens": 21, "api_calls": 1}),
        ("served", {"tokens": 5000}),
        ("served", {"api_calls": 1}),
        ("interrupted", {"tokens": 2000}),
    ]
    assert await books.disagreements() == []


async def test_an_amount_that_nobody_believes_keeps_nothing_from_being_booked(books: Books) -> None:
    writer = books.writer()
    most = (1 << 63) - 1
    call = Call(7, 9, Mode.LIVE, "team", "ask", "POST", {"tokens": most})
    for number in range(2):
        begin(writer, number, call)
        end(writer, number)
    recorder = books.recorder()
    await books.book_all(recorder)
    begin(writer, 2, call)
    end(writer, 2)
    await books.book_all(recorder)
    assert await books.outcomes() == {"served": 3}
    for table in ("usage_hourly", "usage_monthly"):
        row = await books.pool.fetchrow(f"SELECT events, quantity FROM {table} WHERE meter = 'tokens'")
        assert row is not None
        assert tuple(row) == (3, most)
