"""How far the recorder is with one journal: what it read, which calls are open, what comes next."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from gateway.journal.reader import Journal, Position, Scan
from gateway.journal.records import Begin, CallProgress, End, Whole
from gateway.ledger.events import UsageEvent, ended_event, interrupted_event
from gateway.ledger.open_calls import OpenCalls, open_calls

Opened = tuple[Begin | CallProgress, int]
"""The last that is known of an open call, and the segment that says so."""


@dataclass(slots=True)
class Batch:
    """What one reading brought. Nothing of it counts until `Progress.accept`."""

    position: Position  # behind the last record read
    events: list[UsageEvent] = field(default_factory=list)
    begun: dict[int, Opened] = field(default_factory=dict)  # still open, by number
    ended: list[int] = field(default_factory=list)  # known from an earlier batch
    damaged_bytes: int = 0
    lost_segments: int = 0  # that should be there and are not
    full: bool = False  # there may be more
    finished: bool = False  # the writer is gone and nothing is left


class Progress:
    """Reads one journal batch by batch.

    `committed` is the position Postgres has, `position` may be ahead of it by begins and progress alone:
    those change nothing in the ledger, and are read again after a restart.
    """

    def __init__(
        self, journal: Journal, committed: Position, open_calls: frozenset[int] | None = None
    ) -> None:
        """`open_calls`: what `left_open` said when `committed` came into its segment, if that is known."""
        self.journal = journal
        self.committed = committed
        self.position = committed
        self.open: dict[int, Opened] = {}
        self._remember(open_calls)

    def _remember(self, open_calls: frozenset[int] | None) -> None:
        """Collect the open calls of an earlier recorder's reading: segments that name them are still there.

        Those that name their ends need not be, so what earlier segments begin counts only if it is known to
        have been open.
        """
        for number in self.journal.segments():
            if number > self.committed.segment:
                return
            behind = number < self.committed.segment
            scan = self.journal.scan(Position(number, 0), final=behind)
            for record in scan:
                if not behind and scan.offset > self.committed.offset:
                    return
                if isinstance(record, End):
                    self.open.pop(record.sequence, None)
                elif isinstance(record, Begin | CallProgress):
                    sequence = record.sequence if isinstance(record, Begin) else record.begin.sequence
                    if not behind or open_calls is None or sequence in open_calls:
                        self.open[sequence] = (record, number)

    def read(self, limit: int) -> Batch:
        """The next events, about `limit` at most. FileNotFoundError, SegmentRefused, OSError."""
        # First whether the writer lives, then its records: what a dead writer wrote is all there.
        alive = self.journal.writer_is_alive()
        batch = Batch(self.position)
        segments = [number for number in self.journal.segments() if number >= self.position.segment]
        expected = max(self.position.segment, 1)
        if not segments and not alive:
            batch.lost_segments = 1  # at least
        for number in segments:
            batch.lost_segments += number - expected
            expected = number + 1
            offset = batch.position.offset if number == batch.position.segment else 0
            scan = self.journal.scan(Position(number, offset), final=not alive or number < segments[-1])
            self._take(scan, number, batch, limit)
            batch.position = Position(number, scan.offset)
            batch.damaged_bytes += scan.damaged_bytes
            if batch.full or not scan.finished:
                return batch
        if not alive:
            self._interrupt(batch)
        return batch

    def accept(self, batch: Batch, *, committed: bool) -> None:
        """The batch counts. `committed`: Postgres has its position.

        OSError if segments can not be deleted; the batch counts all the same, and the next tries again.
        """
        for sequence in batch.ended:
            self.open.pop(sequence, None)
        self.open.update(batch.begun)
        self.position = batch.position
        if committed:
            self.committed = batch.position
            with suppress(FileNotFoundError):  # another recorder has booked the rest and removed the folder
                self._clean_up()

    def must_commit(self, batch: Batch) -> bool:
        """Whether the batch has something for Postgres: events, a segment that can go or is gone."""
        left_a_segment = 0 < self.committed.segment < batch.position.segment
        return bool(batch.events or batch.lost_segments) or batch.finished or left_a_segment

    def open_calls(self) -> OpenCalls:
        """Calls that are open, as far as it is read."""
        return open_calls(
            last.begin if isinstance(last, CallProgress) else last for last, _ in self.open.values()
        )

    def left_open(self, batch: Batch) -> list[int] | None:
        """Calls of earlier segments that are open once the batch counts; None if it stays in its segment.

        Postgres keeps them with the cursor: segments that none of them needs are deleted, and with those the
        ends of others.
        """
        if batch.position.segment == self.committed.segment:
            return None
        return sorted(
            sequence
            for sequence, (_, number) in self._still_open(batch).items()
            if number < batch.position.segment
        )

    def _still_open(self, batch: Batch) -> dict[int, Opened]:
        still_open = self.open | batch.begun
        for sequence in batch.ended:
            still_open.pop(sequence, None)
        return still_open

    def _take(self, scan: Scan, number: int, batch: Batch, limit: int) -> None:
        prefix, begun, events = self.journal.prefix, batch.begun, batch.events
        before = scan.offset
        for record in scan:
            if type(record) is Begin:
                begun[record[0]] = record, number
            elif type(record) is End:
                begin = self._ended(record[0], batch)
                if begin is None:  # it was damaged: nobody knows whose it was
                    batch.damaged_bytes += scan.offset - before
                else:
                    events.append(ended_event(prefix, begin, record))
            elif type(record) is Whole:
                events.append(ended_event(prefix, record.begin, record.end))
            elif type(record) is CallProgress:
                begun[record.begin.sequence] = record, number
            before = scan.offset
            if len(events) >= limit:
                batch.full = True
                return

    def _ended(self, sequence: int, batch: Batch) -> Begin | None:
        """The begin of a call that is over, if it is known."""
        opened = batch.begun.pop(sequence, None)
        if sequence in self.open:
            batch.ended.append(sequence)
            opened = opened or self.open[sequence]
        if opened is None:
            return None
        last = opened[0]
        return last.begin if isinstance(last, CallProgress) else last

    def _interrupt(self, batch: Batch) -> None:
        """The writer is gone: what is still open will never end."""
        still_open = self._still_open(batch)
        lasts = [still_open[sequence][0] for sequence in sorted(still_open)]
        batch.events += [interrupted_event(self.journal.prefix, last) for last in lasts]
        batch.ended = list(self.open)
        batch.begun.clear()
        batch.finished = True

    def _clean_up(self) -> None:
        """Delete segments of which everything is booked and that no open call was noted in last."""
        older = [number for number in self.journal.segments() if number < self.committed.segment]
        if older:
            needed = {number for _, number in self.open.values()}
            for number in older:
                if number not in needed:
                    self.journal.remove_segment(number)
