from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from gateway.journal.reader import START, Journal
from gateway.ledger.events import UsageEvent
from gateway.ledger.progress import Batch, Progress
from gateway.outcomes import Outcome
from tests.unit.journal.journals import PREFIX, begin, end, make_writer, note, refuse


def outcomes(batch: Batch) -> list[tuple[int, str]]:
    return [(int.from_bytes(event.request_id[10:]), event.end.outcome.label) for event in batch.events]


def progress_in(folder: Path) -> Progress:
    return Progress(Journal(folder / PREFIX.hex()), START)


def test_events_appear_when_calls_end(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    begin(writer, 2)
    batch = progress.read(10)
    assert outcomes(batch) == []
    assert not progress.must_commit(batch), "begins alone are nothing for the ledger"
    progress.accept(batch, committed=False)
    end(writer, 2)
    refuse(writer, 3)
    batch = progress.read(10)
    assert outcomes(batch) == [(2, "served"), (3, "unauthenticated")]
    assert progress.must_commit(batch)
    writer.close()


def test_a_batch_that_was_not_accepted_is_read_again(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    end(writer, 1)
    progress = progress_in(tmp_path)
    first, second = progress.read(10), progress.read(10)
    assert first == second
    assert outcomes(first) == [(1, "served")]
    writer.close()


def test_batches_end_at_the_limit_and_go_on_there(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for number in range(100):
        begin(writer, number)
        end(writer, number)
    writer.close()
    progress = progress_in(tmp_path)
    found: list[int] = []
    sizes: list[int] = []
    finished = False
    while not finished:
        batch = progress.read(7)
        progress.accept(batch, committed=True)
        found += [number for number, _ in outcomes(batch)]
        sizes.append(len(batch.events))
        finished = batch.finished
    assert found == list(range(100))
    assert max(sizes) == 7


def test_open_calls_of_a_dead_writer_are_interrupted_once(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for number in (1, 2, 3):
        begin(writer, number)
    progress = progress_in(tmp_path)
    progress.accept(progress.read(10), committed=False)
    end(writer, 2)
    begin(writer, 4)
    writer.close()
    batch = progress.read(10)
    assert outcomes(batch) == [(2, "served"), (1, "interrupted"), (3, "interrupted"), (4, "interrupted")]
    assert batch.finished
    progress.accept(batch, committed=True)
    assert progress.open == {}


def test_a_segment_stays_while_a_call_that_began_in_it_is_open(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    for number in range(10, 150):
        begin(writer, number)
        end(writer, number)
    progress.accept(progress.read(1000), committed=True)
    segments = progress.journal.segments()
    assert segments[0] == 1
    assert len(segments) == 2, "the open call's and the current one"
    assert segments[1] > 3
    end(writer, 1)
    progress.accept(progress.read(1000), committed=True)
    begin(writer, 200)
    end(writer, 200)
    progress.accept(progress.read(1000), committed=True)
    assert 1 not in progress.journal.segments()
    writer.close()


def test_a_successor_knows_the_open_calls_of_its_predecessor(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    first = progress_in(tmp_path)
    begin(writer, 1)
    for number in range(10, 150):
        begin(writer, number)
        end(writer, number)
    begin(writer, 2)
    first.accept(first.read(1000), committed=True)
    second = Progress(first.journal, first.committed)
    assert second.open == first.open
    assert sorted(second.open) == [1, 2]
    end(writer, 2)
    end(writer, 1)
    assert outcomes(second.read(10)) == [(2, "served"), (1, "served")]
    writer.close()


def test_what_is_left_open_is_said_when_a_batch_comes_into_another_segment(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    begin(writer, 2)
    progress.accept(progress.read(1000), committed=True)
    begin(writer, 3)
    batch = progress.read(1000)
    assert progress.left_open(batch) is None, "the same segment"
    progress.accept(batch, committed=True)
    end(writer, 1)
    for number in range(10, 80):
        begin(writer, number)
        end(writer, number)
    note(writer, 3, 500)
    begin(writer, 4)
    assert progress.left_open(progress.read(1000)) == [2], "1 is over, 3 and 4 were noted in the new segment"
    writer.close()


def test_a_successor_takes_over_what_was_open_and_nothing_that_only_seems_so(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    first = progress_in(tmp_path)
    begin(writer, 1)
    begin(writer, 2)
    while writer.segment == 1:
        begin(writer, 10)
        end(writer, 10)
    end(writer, 2)
    while writer.segment == 2:
        begin(writer, 11)
        end(writer, 11)
    batch = first.read(1000)
    left_open = first.left_open(batch)
    first.accept(batch, committed=True)
    assert left_open == [1]
    assert first.journal.segments() == [1, 3], "the end of 2 went with its segment"
    assert sorted(Progress(first.journal, first.committed).open) == [1, 2]
    second = Progress(first.journal, first.committed, frozenset(left_open))
    assert second.open == first.open
    writer.close()


def test_an_end_whose_begin_was_damaged_is_damage(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    begin(writer, 2)
    end(writer, 1)
    end(writer, 2)
    writer.close()
    path = writer.folder / "00000001.seg"
    raw = bytearray(path.read_bytes())
    raw[68 + 20] ^= 1
    path.write_bytes(raw)
    batch = progress_in(tmp_path).read(10)
    assert outcomes(batch) == [(2, "served")]
    assert batch.damaged_bytes > 100


KILLED_WRITER = """
import os, sys
from pathlib import Path
from typing import cast
from tests.unit.journal.journals import begin, end, make_writer, refuse
writer = make_writer(Path(sys.argv[1]))
begin(writer, 1)
end(writer, 1)
begin(writer, 2)
refuse(writer, 3)
print("written", flush=True)
sys.stdin.read()
"""


def test_kill_9_between_begin_and_end_is_one_interrupted_call(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        progress = progress_in(tmp_path)
        alive = progress.read(10)
        assert outcomes(alive) == [(1, "served"), (3, "unauthenticated")]
        assert not alive.finished
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    dead = progress.read(10)
    assert dead.finished
    assert sorted(outcomes(dead)) == [(1, "served"), (2, "interrupted"), (3, "unauthenticated")]
    assert [event.charges for event in dead.events if event.end.outcome is Outcome.INTERRUPTED] == [{}]


def test_a_journal_somebody_else_removed_is_noticed(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    writer.close()
    progress.journal.remove()
    with pytest.raises(FileNotFoundError):
        progress.read(10)


def flowed(batch: Batch) -> list[tuple[str, int, int]]:
    return [
        (event.end.outcome.label, event.end.egress_bytes, event.end.egress_messages) for event in batch.events
    ]


def test_a_dead_writers_long_call_has_what_flowed_until_the_last_note(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    note(writer, 1, 500, 5)
    note(writer, 1, 900, 9)
    writer.close()
    batch = progress_in(tmp_path).read(10)
    assert flowed(batch) == [("interrupted", 900, 9)]
    (event,) = batch.events
    assert (event.end.status, event.end.ingress_bytes, event.end.duration_us, event.end.first_byte_us) == (
        101,
        10,
        1000,
        900,
    )
    assert event.charges == {}


@pytest.mark.parametrize("read_between", [False, True])
def test_an_end_wins_over_every_note(tmp_path: Path, read_between: bool) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    if read_between:
        progress.accept(progress.read(10), committed=False)
    note(writer, 1, 500)
    end(writer, 1)
    writer.close()
    batch = progress.read(10)
    assert flowed(batch) == [("served", 84, 0)]
    progress.accept(batch, committed=True)
    assert progress.open == {}


def test_notes_alone_are_nothing_for_the_ledger(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    note(writer, 1, 500)
    batch = progress.read(10)
    assert not progress.must_commit(batch)
    progress.accept(batch, committed=False)
    note(writer, 1, 600)
    writer.close()
    assert flowed(progress.read(10)) == [("interrupted", 600, 0)]


def test_a_note_is_enough_where_the_begin_was_damaged(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    note(writer, 1, 500)
    end(writer, 1)
    writer.close()
    path = writer.folder / "00000001.seg"
    raw = bytearray(path.read_bytes())
    raw[68 + 20] ^= 1
    path.write_bytes(raw)
    assert outcomes(progress_in(tmp_path).read(10)) == [(1, "served")]


def test_a_noted_call_lets_go_of_the_segment_it_began_in(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    progress = progress_in(tmp_path)
    begin(writer, 1)
    for number in range(10, 150):
        begin(writer, number)
        end(writer, number)
    note(writer, 1, 700, 7)
    progress.accept(progress.read(1000), committed=True)
    segments = progress.journal.segments()
    assert 1 not in segments
    successor = Progress(progress.journal, progress.committed)
    writer.close()
    assert flowed(successor.read(10)) == [("interrupted", 700, 7)]


def test_any_flipped_bit_changes_no_event_and_stops_nothing(tmp_path: Path) -> None:
    """Of a small journal, each bit of each record: events are those that were written, or are missing."""
    writer = make_writer(tmp_path)
    begin(writer, 1)
    end(writer, 1)
    begin(writer, 2)
    note(writer, 2, 500)
    refuse(writer, 3)
    end(writer, 2)
    writer.close()
    path = tmp_path / PREFIX.hex() / "00000001.seg"
    intact = path.read_bytes()
    written = progress_in(tmp_path).read(100)
    known = {(event.begin, event.end) for event in map(without_charges, written.events)}
    assert len(known) == 3
    for bit in range(8 * written.position.offset):
        flipped = bytearray(intact)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        batch = progress_in(tmp_path).read(100)
        assert batch.finished
        for event in map(without_charges, batch.events):
            cut = event.end.outcome is Outcome.INTERRUPTED
            assert cut or (event.begin, event.end) in known, bit
        assert len({event.request_id for event in batch.events}) == len(batch.events) >= 2


NO_DICT = cast("dict[str, int]", ())


def without_charges(event: UsageEvent) -> UsageEvent:
    """To compare: dicts have no hash."""
    call = event.begin.call._replace(charges=NO_DICT)
    return event._replace(begin=event.begin._replace(call=call), end=event.end._replace(measured=NO_DICT))
