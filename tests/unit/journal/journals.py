"""Small journals for tests: a writer with a manual clock, and what a reader finds."""

from __future__ import annotations

from pathlib import Path

from gateway.clock import ManualClock
from gateway.journal.reader import Journal, Position
from gateway.journal.records import (
    Begin,
    Call,
    CallProgress,
    End,
    Record,
    Whole,
    encode_begin,
    encode_call,
    encode_end,
    encode_progress,
    encode_whole,
)
from gateway.journal.writer import JournalWriter
from gateway.model.principal import Mode
from gateway.outcomes import Outcome

PREFIX = bytes.fromhex("0192f1a2b3c48abc9def")
CALL = Call(7, 9, Mode.LIVE, "team", "builds", "POST", {"api_calls": 1})
NOBODY = Call(0, 0, Mode.LIVE, "", "", "GET", {})
STARTED_AT_US = ManualClock().now_us()


def make_writer(
    folder: Path,
    *,
    prefix: bytes = PREFIX,
    clock: ManualClock | None = None,
    segment_bytes: int = 4096,
    durable: bool = False,
    max_bytes: int | None = None,
) -> JournalWriter:
    """A writer without a background thread."""
    return JournalWriter(
        folder,
        prefix=prefix,
        clock=clock or ManualClock(),
        name="worker-1",
        segment_bytes=segment_bytes,
        sync_interval_s=None,
        durable=durable,
        max_bytes=max_bytes,
    )


def begin(writer: JournalWriter, sequence: int, call: Call = CALL, *, at_us: int = STARTED_AT_US) -> None:
    """Begin call number `sequence`."""
    writer.begin(encode_begin(sequence, at_us + sequence, encode_call(call)))


def end(writer: JournalWriter, sequence: int, outcome: Outcome = Outcome.SERVED) -> None:
    """End it."""
    assert writer.end(encode_end(sequence, (outcome, outcome is Outcome.SERVED, 200, 10, 84, 1_500, 900)))


def note(writer: JournalWriter, sequence: int, egress_bytes: int, messages: int = 0) -> bool:
    """Call number `sequence` goes on; so much has flowed to its caller."""
    reached = (101, 10, egress_bytes, 1_000, 900, messages, messages)
    return writer.progress(encode_progress(sequence, STARTED_AT_US + sequence, encode_call(CALL), reached))


def refuse(writer: JournalWriter, sequence: int) -> bool:
    """A call without a key, in one record."""
    figures = (Outcome.UNAUTHENTICATED, 0, 401, 0, 200, 300, 250)
    return writer.whole(encode_whole(sequence, STARTED_AT_US + sequence, encode_call(NOBODY), figures))


def read_all(journal: Journal, *, final: bool = True) -> list[Record]:
    """Every record that can be read."""
    return [
        record for number in journal.segments() for record in journal.scan(Position(number, 0), final=final)
    ]


def sequences(records: list[Record]) -> list[tuple[str, int]]:
    """The records in short: what and which."""
    short = []
    for record in records:
        if isinstance(record, Begin):
            short.append(("begin", record.sequence))
        elif isinstance(record, CallProgress):
            short.append(("progress", record.begin.sequence))
        elif isinstance(record, End):
            short.append(("end", record.sequence))
        elif isinstance(record, Whole):
            short.append(("whole", record.begin.sequence))
    return short
