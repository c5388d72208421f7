"""Long calls are noted as often as is asked for, and not when there is nothing new."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.frames import Conversation
from gateway.journal.records import CallProgress, End
from gateway.metering.progress import LongCallNotes
from gateway.model.exchange import Exchange
from gateway.outcomes import Outcome
from tests.unit.metering.test_meter import Worker

EVERY_S = 10


class Watch:
    """One long call of a worker, looked at by hand."""

    def __init__(self, folder: Path) -> None:
        self.worker = Worker(folder)
        self.notes = LongCallNotes(self.worker.meter, EVERY_S)
        self.call: Exchange = self.worker.request()
        self.worker.meter.begin(self.call)
        self.call.status = 200
        self.worker.clock.advance(0.5)
        self.call.answered_at_us = self.worker.clock.monotonic_us()

    def pass_s(self, seconds: float, *calls: Exchange) -> None:
        self.worker.clock.advance(seconds)
        self.notes.note(calls or (self.call,), self.worker.clock.monotonic_us())

    @property
    def noted(self) -> list[CallProgress]:
        return [record for record in self.worker.records() if isinstance(record, CallProgress)]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_nothing_is_noted_before_its_time(watch: Watch) -> None:
    watch.call.egress_bytes = 100
    for _ in range(9):
        watch.pass_s(1)
    assert watch.noted == []
    watch.pass_s(1)
    (note,) = watch.noted
    assert note.begin.sequence == watch.call.sequence
    assert (note.status, note.egress_bytes, note.duration_us, note.first_byte_us) == (
        200,
        100,
        10_500_000,
        500_000,
    )


def test_a_call_that_goes_on_is_noted_again_and_again(watch: Watch) -> None:
    for number in range(30):
        watch.call.ingress_bytes = number
        watch.pass_s(1)
    assert [note.ingress_bytes for note in watch.noted] == [9, 19, 29]


def test_messages_are_noted(watch: Watch) -> None:
    watch.call.conversation = Conversation()
    watch.call.conversation.ingress.messages = 3
    watch.call.conversation.egress.messages = 4
    watch.pass_s(EVERY_S)
    (note,) = watch.noted
    assert (note.ingress_messages, note.egress_messages) == (3, 4)


def test_a_silent_call_is_noted_once(watch: Watch) -> None:
    for _ in range(10):
        watch.pass_s(EVERY_S)
    assert len(watch.noted) == 1
    watch.call.egress_bytes += 1
    watch.pass_s(EVERY_S)
    assert len(watch.noted) == 2


def test_a_silent_call_is_noted_again_in_the_next_segment(watch: Watch) -> None:
    watch.pass_s(EVERY_S)
    first = watch.worker.meter.segment
    while watch.worker.meter.segment == first:
        other = watch.worker.request()
        watch.worker.meter.begin(other)
        other.outcome = Outcome.SERVED
        watch.worker.meter.end(other)
    watch.pass_s(EVERY_S)
    assert len(watch.noted) == 2


def test_calls_that_are_over_are_forgotten(watch: Watch) -> None:
    watch.pass_s(EVERY_S)
    other = watch.worker.request()
    watch.worker.meter.begin(other)
    watch.pass_s(1, other)
    assert list(watch.notes._noted) == [other.sequence]


def test_a_note_that_finds_no_room_is_counted_and_tried_again(watch: Watch) -> None:
    watch.worker.writer.close()
    watch.pass_s(EVERY_S)
    watch.pass_s(EVERY_S)
    assert watch.worker.slots.get("journal_errors_total") == 2


def test_the_end_of_a_websocket_has_its_messages(watch: Watch) -> None:
    watch.call.conversation = Conversation()
    watch.call.conversation.ingress.messages = 3
    watch.call.conversation.egress.messages = 4
    watch.call.outcome = Outcome.SERVED
    watch.worker.meter.end(watch.call)
    end = watch.worker.records()[-1]
    assert isinstance(end, End)
    assert (end.ingress_messages, end.egress_messages, end.billed) == (3, 4, True)
    counted = [watch.worker.slots.get("messages_total", way) for way in ("ingress", "egress")]
    assert counted == [3, 4]
