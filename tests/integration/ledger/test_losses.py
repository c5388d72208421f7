"""What nobody can bring back is told of once, and all else is booked: files gone, a ledger that went back."""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

import pytest

from gateway.journal.reader import Journal
from gateway.journal.writer import JournalWriter
from gateway.ledger import recorder as recorder_module
from gateway.ledger.landmark import FILE
from tests.integration.ledger.books import Books
from tests.unit.journal.journals import begin, end


def calls(writer: JournalWriter, numbers: range) -> None:
    for number in numbers:
        begin(writer, number)
        end(writer, number)


def losses(books: Books) -> int:
    return int(books.slots.get("recorder_losses_total"))


def segments(writer: JournalWriter) -> list[Path]:
    return sorted(writer.folder.glob("*.seg"))


@pytest.mark.parametrize(
    ("case", "gone", "lost"),
    [
        ("the first", slice(0, 1), 1),
        ("two in the middle", slice(1, 3), 2),
        ("all", slice(0, None), 1),
        ("none", slice(0, 0), 0),
    ],
)
@pytest.mark.parametrize("alive", [True, False])
async def test_segments_that_somebody_deleted_are_told_of_once(
    books: Books, caplog: pytest.LogCaptureFixture, case: str, gone: slice, lost: int, alive: bool
) -> None:
    writer = books.writer()
    calls(writer, range(150))
    assert len(segments(writer)) > 4
    if not alive:
        writer.close()
    for path in segments(writer)[gone]:
        path.unlink()
    recorder = books.recorder()
    for _ in range(3):
        await books.book_all(recorder)
    if alive:
        writer.close()
    await books.book_all(recorder)
    assert losses(books) == (1 if lost else 0)
    assert f"{lost} segments of a journal are gone" in caplog.text or not lost
    assert await books.disagreements() == []
    assert books.left == []


async def test_a_recorder_that_looks_while_another_deletes_tells_of_nothing(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = books.writer()
    calls(writer, range(150))
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 40)
    slow, fast = books.recorder(), books.recorder()
    await slow.book_once()
    await books.book_all(fast)
    assert len(segments(writer)) == 1
    await books.book_all(slow)
    writer.close()
    await books.book_all(slow)
    assert await books.outcomes() == {"served": 150}
    assert losses(books) == 0


async def go_back(books: Books, segment: int, offset: int) -> None:
    """The database as it was when the cursor was there."""
    await books.pool.execute("TRUNCATE usage_events, usage_hourly, usage_monthly")
    await books.pool.execute(
        "UPDATE journal_cursors SET segment = $1, offset_bytes = $2, closed_at = NULL, open_calls = NULL",
        segment,
        offset,
    )


async def test_a_ledger_that_went_back_is_told_of_and_what_is_there_is_booked_again(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    writer = books.writer(segment_bytes=1 << 16)
    calls(writer, range(20))
    recorder = books.recorder()
    await books.book_all(recorder)
    await go_back(books, 0, 0)
    calls(writer, range(20, 30))
    assert await books.book_all(recorder) == 0, "it notices that the cursor is elsewhere"
    assert await books.book_all(recorder) == 30, "the segment is still there"
    writer.close()
    await books.book_all(recorder)
    assert await books.outcomes() == {"served": 30}
    assert await books.disagreements() == []
    assert "the ledger is older than what was booked into it" in caplog.text
    assert losses(books) == 1


async def test_a_ledger_that_went_back_before_segments_that_are_deleted(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    writer = books.writer()
    calls(writer, range(150))
    recorder = books.recorder()
    await books.book_all(recorder)
    left = len(segments(writer))
    await go_back(books, 1, 0)
    calls(writer, range(150, 160))
    for _ in range(2):
        await books.book_all(recorder)
    writer.close()
    await books.book_all(recorder)
    assert left == 1
    assert "segments of a journal are gone" in caplog.text
    assert "the ledger is older than what was booked into it" in caplog.text
    assert await books.disagreements() == []
    assert books.left == []


@pytest.mark.parametrize("case", ["another database", "before the end of the journal"])
async def test_a_recorder_that_starts_on_an_older_ledger_says_so_once(
    books: Books, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """All its journals are deleted: only the note of what was booked last is left."""
    writer = books.writer()
    calls(writer, range(5))
    writer.close()
    await books.book_all()
    assert books.left == []
    assert losses(books) == 0
    if case == "another database":
        await books.pool.execute("TRUNCATE usage_events, usage_hourly, usage_monthly, journal_cursors")
    else:
        await go_back(books, 1, 100)
    for _ in range(2):
        await books.book_all()
    assert losses(books) == 1
    assert caplog.text.count("the ledger is older") == 1


async def test_a_ledger_that_is_gone_for_a_while_is_no_older_one(books: Books) -> None:
    writer = books.writer()
    calls(writer, range(5))
    recorder = books.recorder()
    await books.book_all(recorder)
    books.plug.error = ConnectionRefusedError("nobody there")
    calls(writer, range(5, 10))
    assert await recorder._round() > 0
    books.plug.error = None
    writer.close()
    await books.book_all(recorder)
    await books.book_all()
    assert losses(books) == 0
    assert await books.outcomes() == {"served": 10}


async def test_a_damaged_note_of_what_was_booked_stops_nothing(books: Books) -> None:
    path = books.journals_dir.with_name(FILE)
    writer = books.writer()
    for raw in (b"", b"{}", b"[]", b"\xff", b'{"journal": "a", "segment": "x"}'):
        path.write_bytes(raw)
        calls(writer, range(1))
        await books.book_all()
    assert losses(books) == 0
    writer.close()


async def test_a_cursor_ahead_of_its_segment_books_nothing_and_stops_nothing(books: Books) -> None:
    """The disk lost what was booked: a power loss, or a folder from an older backup."""
    writer = books.writer()
    calls(writer, range(3))
    await books.book_all()
    (path,) = segments(writer)
    await books.pool.execute("UPDATE journal_cursors SET offset_bytes = 1 << 30")
    writer.close()
    other = books.writer(2)
    calls(other, range(2))
    other.close()
    await books.book_all()
    assert await books.outcomes() == {"served": 5}
    assert books.left == []
    assert losses(books) == 0
    assert not path.exists()


async def test_segments_that_can_not_be_deleted_do_not_stop_booking(
    books: Books, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that became read-only, for a while."""
    writer, recorder = books.writer(), books.recorder()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Journal, "remove_segment", refuse)
        for first in range(0, 150, 50):
            calls(writer, range(first, first + 50))
            await books.book_all(recorder)
        assert caplog.text.count("can not be deleted") == 1
        assert await books.outcomes() == {"served": 150}
    calls(writer, range(150, 160))
    await books.book_all(recorder)
    assert len(segments(writer)) == 1, "they are deleted once they can be"
    writer.close()
    await books.book_all(recorder)
    assert books.left == []
    assert await books.disagreements() == []


async def test_a_note_that_can_not_be_written_stops_nothing(books: Books) -> None:
    books.journals_dir.with_name(FILE).mkdir()
    writer = books.writer()
    calls(writer, range(5))
    writer.close()
    assert await books.book_all() == 5
    shutil.rmtree(books.journals_dir.with_name(FILE))
