"""The loop that brings journals into Postgres: in batches, once each, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from gateway.clock import Clock
from gateway.journal.format import SegmentRefused
from gateway.journal.reader import Journal, find_journals, sweep_unborn
from gateway.ledger.booking import Booking, Move
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.events import instant
from gateway.ledger.landmark import FILE, Booked, Landmark
from gateway.ledger.progress import Batch, Progress
from gateway.storage.postgres import Pool
from gateway.telemetry.slots import Slots

BATCH_EVENTS = 20_000
"""Large, for the sums: cells that calls share are written once for all of them. Some 20 MB of memory."""
POLL_S = 0.2
MAX_BACKOFF_S = 5.0
FINAL_PASS_S = 10.0
_SWEEP_EVERY_US = 3_600_000_000
_TELL_EVERY_US = 10_000_000
_ASK_EVERY_US = 500_000

OLDER_LEDGER = (
    "the ledger is older than what was booked into it: it was restored from a backup, a standby took over "
    "without the last commits, or it is another database. What was booked since is missing, and its journals "
    "are deleted. Recover PostgreSQL up to the time given"
)
LOST_SEGMENTS = (
    "%d segments of a journal are gone that the ledger does not have: somebody deleted them, or the ledger "
    "was restored from a backup. What they held is not booked"
)

log = logging.getLogger("tollway.ledger")


class Recorder:
    """Books the journals below `journals_dir`. Several may run, on one directory or on many.

    Killed at any point, it or its successor goes on where Postgres says that it was. While Postgres is away
    journals wait on disk, and memory holds one batch at most.
    """

    def __init__(self, pool: Pool, journals_dir: Path, slots: Slots, clock: Clock) -> None:
        self._booking = Booking(pool)
        self._journals_dir = journals_dir
        self._slots = slots
        self._clock = clock
        self._progress: dict[str, Progress] = {}
        self._left_alone: set[str] = set()  # told about once; looked at again after a restart
        self._not_cleaned: set[str] = set()  # told about once
        self._landmark = Landmark(journals_dir.with_name(FILE))
        self._in_doubt = True  # whether the ledger is the one that we left
        self._waiting_since_us: dict[str, int] = {}  # journal -> end of its oldest event not yet booked
        self._behind = False
        self._failing = False
        self._failures = 0
        self._sweep_at_us = 0
        self._ask_at_us = self._tell_at_us = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Book until `stop`, then whatever is there already. Survives any outage of Postgres."""
        while not stop.is_set():
            delay_s = await self._round()
            if delay_s:
                await _pause(stop, delay_s)
        try:
            async with asyncio.timeout(FINAL_PASS_S):
                while await self.book_once():
                    pass
        except (LedgerUnavailable, TimeoutError) as error:
            log.warning("stopped before all was booked; the rest waits on disk", extra={"error": str(error)})

    async def book_once(self) -> int:
        """One batch of every journal. Returns how many events were booked.

        Raises LedgerUnavailable: at once if Postgres is gone, at the end if it refused one journal's batch.
        """
        booked, refused = 0, None
        self._behind = False
        folders = [path for path in find_journals(self._journals_dir) if path.name not in self._left_alone]
        self._drop_vanished({path.name for path in folders})
        try:
            self._sweep()
            await self._recognise_ledger()
            asked_at = await self._time_to_tell()
            for folder in folders:
                try:
                    booked += await self._advance(folder)
                except LedgerUnavailable as error:
                    if error.lost:
                        raise
                    refused = error
            if asked_at is not None and refused is None and not self._behind:
                await self._tell_seen(asked_at)
        finally:
            self._show_lag()
        if refused is not None:
            raise refused
        return booked

    async def _time_to_tell(self) -> datetime | None:
        """The time by Postgres if what is seen is to be told now; asked before journals are read.

        That is every ten seconds, and at every turn while quota counters wait for it.
        """
        now_us = self._clock.monotonic_us()
        if not self._progress or now_us < self._ask_at_us:
            return None
        self._ask_at_us = now_us + _ASK_EVERY_US
        with suppress(LedgerUnavailable):  # whether that is an outage shows when there is something to book
            present_time, is_awaited = await self._booking.look_up()
            if is_awaited:
                self._ask_at_us = now_us
            elif now_us < self._tell_at_us:
                return None
            self._tell_at_us = now_us + _TELL_EVERY_US
            return present_time
        return None

    async def _tell_seen(self, asked_at: datetime) -> None:
        """What was written before `asked_at` has been read by now, and booked if it is over."""
        open_calls = {name: progress.open_calls() for name, progress in self._progress.items()}
        self._in_doubt = True
        await self._recognise_ledger()
        with suppress(LedgerUnavailable):
            await self._booking.note_seen(asked_at, open_calls)

    async def _recognise_ledger(self) -> None:
        """Say so, once, if the ledger lacks what was booked last. Asked whenever it may be another."""
        if not self._in_doubt:
            return
        booked = self._landmark.read()
        if booked is not None:
            try:
                cursor = await self._booking.cursor_of(booked.journal_id)
            except LedgerUnavailable:
                return
            if not booked.is_known_to(cursor):
                self._landmark.forget()
                self._slots.add("recorder_losses_total")
                at = instant(booked.at_us).isoformat()
                log.error(OLDER_LEDGER, extra={"journal": booked.journal_id, "at": at})
        self._in_doubt = False

    async def _round(self) -> float:
        """One pass; returns how long to wait before the next."""
        try:
            await self.book_once()
        except LedgerUnavailable as error:
            reason, self._in_doubt = str(error), True
        else:
            if self._failing:
                self._failing, self._failures = False, 0
                log.info("usage is being booked again")
            return 0.0 if self._behind else POLL_S
        self._slots.add("recorder_errors_total")
        if not self._failing:
            self._failing = True
            log.error("usage can not be booked and waits on disk", extra={"error": reason})
        self._failures += 1
        longest_s = min(MAX_BACKOFF_S, POLL_S * (1 << min(self._failures, 10)))
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    async def _advance(self, folder: Path) -> int:
        """Book the next batch of one journal."""
        try:
            progress = self._progress.get(folder.name) or await self._follow(folder)
            if progress is None:
                return 0
            batch = progress.read(BATCH_EVENTS)
            if not progress.must_commit(batch):
                self._accept(progress, batch, committed=False)
                return 0
            return await self._book(progress, batch)
        except FileNotFoundError:
            self._progress.pop(folder.name, None)  # another recorder was faster: ask Postgres again
        except (SegmentRefused, OSError) as error:
            self._leave_alone(folder, error)
        return 0

    async def _follow(self, folder: Path) -> Progress | None:
        """Begin with a journal, or delete it if all of it has been booked."""
        journal = Journal(folder)
        cursor = await self._booking.follow(journal.id)
        if cursor is None:
            self._remove(journal)
            return None
        progress = self._progress[journal.id] = Progress(journal, cursor.position, cursor.open_calls)
        return progress

    async def _book(self, progress: Progress, batch: Batch) -> int:
        journal, events = progress.journal, batch.events
        if events:
            self._waiting_since_us[journal.id] = events[0].ended_at_us
        move = Move(progress.committed, batch.position, progress.left_open(batch), batch.finished)
        mine = await self._booking.book(journal.id, move, events)
        self._waiting_since_us.pop(journal.id, None)
        if not mine:
            del self._progress[journal.id]
            self._in_doubt = True
            return 0
        self._landmark.write(Booked(journal.id, batch.position, batch.finished, self._clock.now_us()))
        if batch.lost_segments:
            self._tell_lost(journal, batch.lost_segments)
        self._slots.add("recorder_batches_total")
        self._slots.add("recorder_events_total", len(events))
        self._accept(progress, batch, committed=True)
        if batch.full:
            self._behind = True
            self._waiting_since_us[journal.id] = events[-1].ended_at_us
        if batch.finished:
            del self._progress[journal.id]
            self._remove(journal)
        return len(events)

    def _remove(self, journal: Journal) -> None:
        try:
            journal.remove()
        except FileNotFoundError:
            return  # another recorder was faster
        except OSError as error:
            self._leave_alone(journal.folder, error)

    def _accept(self, progress: Progress, batch: Batch, *, committed: bool) -> None:
        if batch.damaged_bytes:
            self._slots.add("recorder_corrupt_records_total", batch.damaged_bytes)
        try:
            progress.accept(batch, committed=committed)
        except OSError as error:  # what is booked stays on disk until it can be deleted
            if progress.journal.id not in self._not_cleaned:
                self._not_cleaned.add(progress.journal.id)
                log.error(  # noqa: TRY400 - one line: the trace says nothing more
                    "segments that are booked can not be deleted; booking goes on",
                    extra={"file": str(progress.journal.folder), "error": str(error)},
                )

    def _tell_lost(self, journal: Journal, count: int) -> None:
        self._slots.add("recorder_losses_total")
        log.error(
            LOST_SEGMENTS,
            count,
            extra={"journal": journal.id, "file": str(journal.folder), "count": count},
        )

    def _leave_alone(self, folder: Path, error: Exception) -> None:
        self._progress.pop(folder.name, None)
        self._left_alone.add(folder.name)
        self._slots.add("recorder_errors_total")
        log.error(
            "a journal can not be read or removed and is left alone until the recorder starts again",
            extra={"journal": folder.name, "file": str(folder), "error": str(error)},
        )

    def _drop_vanished(self, present: set[str]) -> None:
        for journal_id in self._progress.keys() - present:
            del self._progress[journal_id]
        for journal_id in self._waiting_since_us.keys() - present:
            del self._waiting_since_us[journal_id]

    def _sweep(self) -> None:
        """Once an hour: what nobody needs any more."""
        if self._clock.monotonic_us() < self._sweep_at_us:
            return
        sweep_unborn(self._journals_dir, self._clock.now_us())
        self._sweep_at_us = self._clock.monotonic_us() + _SWEEP_EVERY_US

    def _show_lag(self) -> None:
        waiting = min(self._waiting_since_us.values(), default=None)
        lag_us = 0 if waiting is None else max(0, self._clock.now_us() - waiting)
        self._slots.set("recorder_lag_seconds", lag_us)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
