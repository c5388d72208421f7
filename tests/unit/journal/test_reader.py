from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.journal.format import FIRST_OFFSET, SegmentRefused
from gateway.journal.reader import Journal, Position, Scan, find_journals, sweep_unborn
from gateway.journal.segment import segment_name
from tests.unit.journal.journals import PREFIX, begin, end, make_writer, note, read_all, refuse, sequences

ONE = Position(1, 0)


def written(folder: Path, *, close: bool = True) -> tuple[Journal, Path, list[tuple[str, int]]]:
    """A journal of one segment with a few records, its file and what is in it."""
    writer = make_writer(folder)
    begin(writer, 1)
    refuse(writer, 2)
    begin(writer, 3)
    note(writer, 1, 500)
    end(writer, 3)
    end(writer, 1)
    journal = Journal(folder / PREFIX.hex())
    if close:
        writer.close()
    expected = [("begin", 1), ("whole", 2), ("begin", 3), ("progress", 1), ("end", 3), ("end", 1)]
    return journal, journal.folder / segment_name(1), expected


def test_a_scan_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    journal = Journal(writer.folder)
    begin(writer, 1)
    first = journal.scan(ONE, final=False)
    assert sequences(list(first)) == [("begin", 1)]
    assert not first.finished
    end(writer, 1)
    second = journal.scan(Position(1, first.offset), final=False)
    assert sequences(list(second)) == [("end", 1)]
    writer.close()
    third = journal.scan(Position(1, second.offset), final=False)
    assert list(third) == []
    assert third.finished


def test_a_scan_may_be_left_after_any_record(tmp_path: Path) -> None:
    journal, _, expected = written(tmp_path)
    found, position = [], ONE
    for _ in expected:
        scan = journal.scan(position, final=True)
        found.append(next(iter(scan)))
        position = Position(1, scan.offset)
    assert sequences(found) == expected


def test_every_place_to_cut_a_segment_keeps_the_good_prefix(tmp_path: Path) -> None:
    journal, path, expected = written(tmp_path)
    raw = path.read_bytes()
    ends = [FIRST_OFFSET]
    scan = journal.scan(ONE, final=True)
    ends += [scan.offset for _ in scan]
    for size in range(len(raw[: ends[-1] + 40])):
        path.write_bytes(raw[:size])
        whole = sum(size >= place for place in ends[1:])
        scan = journal.scan(ONE, final=True)
        assert sequences(list(scan)) == expected[:whole], size
        torn = size - max(place for place in [0, *ends] if place <= size)
        if FIRST_OFFSET <= size < ends[-1]:
            assert scan.damaged_bytes in (torn, len(raw[size - torn : size].rstrip(b"\0")))


def test_every_place_to_zero_a_segment_keeps_the_good_prefix(tmp_path: Path) -> None:
    journal, path, expected = written(tmp_path)
    raw = path.read_bytes()
    ends: list[int] = []
    scan = journal.scan(ONE, final=True)
    ends += [scan.offset for _ in scan]
    for size in range(FIRST_OFFSET, ends[-1]):
        zeroed = raw[:size].ljust(len(raw), b"\0")
        path.write_bytes(zeroed)
        whole = sum(zeroed[:place] == raw[:place] for place in ends)  # a record may end in zeros
        assert sequences(read_all(journal, final=True)) == expected[:whole], size
        live = journal.scan(ONE, final=False)
        assert sequences(list(live)) == expected[:whole], size
        assert not live.finished, "what is unfinished may still be written"
        assert live.damaged_bytes == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_flipped_bit_costs_one_record_and_no_other(tmp_path: Path, data: st.DataObject) -> None:
    if not find_journals(tmp_path):
        written(tmp_path)
    journal = Journal(tmp_path / PREFIX.hex())
    path = journal.folder / segment_name(1)
    intact = path.read_bytes()
    scan = journal.scan(ONE, final=True)
    records = [(record, scan.offset) for record in scan]
    try:
        bit = data.draw(st.integers(FIRST_OFFSET * 8, records[-1][1] * 8 - 1))
        flipped = bytearray(intact)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        damaged = journal.scan(ONE, final=data.draw(st.booleans()))
        found = list(damaged)
        lost = next(index for index, (_, place) in enumerate(records) if bit // 8 < place)
        assert found == [record for index, (record, _) in enumerate(records) if index != lost]
        start = records[lost - 1][1] if lost else FIRST_OFFSET
        assert damaged.damaged_bytes == records[lost][1] - start
        assert damaged.finished
    finally:
        path.write_bytes(intact)


def test_a_flipped_bit_in_the_header_costs_nothing(tmp_path: Path) -> None:
    journal, path, expected = written(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.write_bytes(raw)
    assert sequences(read_all(journal)) == expected


def test_a_record_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    journal, path, expected = written(tmp_path, close=True)
    raw = path.read_bytes()
    scan = journal.scan(ONE, final=True)
    ends = [scan.offset for _ in scan]
    half = (ends[-2] + ends[-1]) // 2
    path.write_bytes(raw[:half].ljust(len(raw), b"\0"))
    live = journal.scan(ONE, final=False)
    assert sequences(list(live)) == expected[:-1]
    path.write_bytes(raw)
    assert sequences(list(journal.scan(Position(1, live.offset), final=False))) == expected[-1:]


def test_a_long_segment_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.reader._BLOCK_BYTES", 256)
    journal, _, expected = written(tmp_path)
    assert sequences(read_all(journal)) == expected


def test_a_segment_of_another_journal_is_refused_and_left(tmp_path: Path) -> None:
    journal, _, _ = written(tmp_path)
    other = tmp_path / ("ff" * 10)
    journal.folder.rename(other)
    with pytest.raises(SegmentRefused, match="left untouched"):
        read_all(Journal(other))


def test_only_journals_are_found_oldest_first(tmp_path: Path) -> None:
    for name in ("01" * 10, "00" * 10, ".new-" + "02" * 10, "lost+found", "AB" * 10):
        (tmp_path / name).mkdir()
    assert [path.name for path in find_journals(tmp_path)] == ["00" * 10, "01" * 10]
    assert find_journals(tmp_path / "nowhere") == []


def test_a_journal_without_a_lock_file_has_no_writer(tmp_path: Path) -> None:
    assert not Journal(tmp_path / ("00" * 10)).writer_is_alive()


def test_two_recorders_looking_at_once_do_not_take_each_other_for_a_writer(tmp_path: Path) -> None:
    journal, _, _ = written(tmp_path)
    with (journal.folder / "lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not journal.writer_is_alive()


def test_removing_a_journal_leaves_what_does_not_belong_there(tmp_path: Path) -> None:
    journal, _, _ = written(tmp_path)
    (journal.folder / "notes.txt").write_text("mine")
    with pytest.raises(OSError):
        journal.remove()
    (journal.folder / "notes.txt").unlink()
    journal.remove()
    assert not journal.folder.exists()


def test_half_made_journals_of_killed_writers_go_after_a_minute(tmp_path: Path) -> None:
    clock = ManualClock()
    unborn = tmp_path / (".new-" + "00" * 10)
    unborn.mkdir()
    (unborn / "lock").touch()
    now_s = clock.now_us() / 1_000_000
    os.utime(unborn, (now_s, now_s))
    sweep_unborn(tmp_path, clock.now_us())
    assert unborn.exists()
    clock.advance(61)
    sweep_unborn(tmp_path, clock.now_us())
    assert not unborn.exists()


def test_a_record_finished_while_we_looked_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _, expected = written(tmp_path)
    fresh = Scan._block
    stale: list[bytes] = []

    def block(scan: Scan, descriptor: int) -> bytes:
        data = fresh(scan, descriptor)
        if not stale:
            stale.append(data[:20].ljust(len(data), b"\0"))  # what one sees half a microsecond too early
            return stale[0]
        return data

    monkeypatch.setattr(Scan, "_block", block)
    scan = journal.scan(ONE, final=False)
    assert sequences(list(scan)) == expected
    assert scan.damaged_bytes == 0


BUSY_WRITER = """
import sys
from pathlib import Path
from tests.unit.journal.journals import begin, end, make_writer
writer = make_writer(Path(sys.argv[1]), segment_bytes=65536)
print("ready", flush=True)
for number in range(20000):
    begin(writer, number)
    end(writer, number)
"""


def test_reading_while_another_process_writes_sees_every_record_once(tmp_path: Path) -> None:
    found: list[tuple[str, int]] = []
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_WRITER, tmp_path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        journal, position = Journal(tmp_path / PREFIX.hex()), ONE
        alive = True
        while True:
            later = journal.segments()[-1] > position.segment
            scan = journal.scan(position, final=later or not alive)
            found += sequences(list(scan))
            assert scan.damaged_bytes == 0
            position = Position(position.segment, scan.offset)
            if later and scan.finished:
                position = Position(position.segment + 1, 0)
            elif not alive:
                break
            else:
                alive = journal.writer_is_alive()
    assert found == [(what, number) for number in range(20000) for what in ("begin", "end")]
