from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.clock import ManualClock, SystemClock
from gateway.errors import JournalUnavailable
from gateway.journal.format import SegmentHeader
from gateway.journal.reader import Journal, find_journals
from gateway.journal.records import encode_charges, encode_end
from gateway.journal.segment import Segment, segments_bytes
from gateway.journal.writer import DEFAULT_SEGMENT_BYTES, END_RESERVE_BYTES, JournalWriter
from tests.unit.journal.journals import PREFIX, begin, end, make_writer, note, read_all, refuse, sequences


def journal_in(folder: Path) -> Journal:
    return Journal(folder / PREFIX.hex())


def test_what_was_written_is_read_while_the_writer_lives(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    refuse(writer, 2)
    end(writer, 1)
    assert sequences(read_all(journal_in(tmp_path), final=False)) == [("begin", 1), ("whole", 2), ("end", 1)]
    writer.close()


def test_the_lock_tells_whether_the_writer_lives(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    assert journal_in(tmp_path).writer_is_alive()
    writer.close()
    assert not journal_in(tmp_path).writer_is_alive()


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for number in range(200):
        begin(writer, number)
        end(writer, number)
    writer.close()
    journal = journal_in(tmp_path)
    assert len(journal.segments()) > 3
    assert sequences(read_all(journal)) == [(what, n) for n in range(200) for what in ("begin", "end")]


def test_calls_that_outlive_many_segments_end_in_a_later_one(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for number in (1, 2, 3):
        begin(writer, number)
    for number in range(10, 200):
        begin(writer, number)
        end(writer, number)
    for number in (3, 1, 2):
        end(writer, number)
    writer.close()
    assert sequences(read_all(journal_in(tmp_path)))[-3:] == [("end", 3), ("end", 1), ("end", 2)]


class FullDisk:
    """Makes new segments impossible while `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.tries = 0
        real = os.posix_fallocate

        def fallocate(descriptor: int, offset: int, length: int) -> None:
            self.tries += 1
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor, offset, length)

        monkeypatch.setattr("gateway.journal.segment.os.posix_fallocate", fallocate)


def fill(writer: JournalWriter) -> list[int]:
    """Begin calls until one is refused; the numbers of those that began."""
    begun: list[int] = []
    while True:
        try:
            begin(writer, len(begun))
        except JournalUnavailable:
            return begun
        begun.append(len(begun))


def test_on_a_full_disk_every_begun_call_can_still_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    writer = make_writer(tmp_path)
    disk.full = True
    begun = fill(writer)
    assert len(begun) > 5
    while refuse(writer, 0):
        pass
    for number in begun:
        end(writer, number)
    writer.close()
    assert sequences(read_all(journal_in(tmp_path)))[-len(begun) :] == [("end", n) for n in begun]


def test_the_reserve_holds_for_the_longest_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)
    writer = make_writer(tmp_path)
    disk.full = True
    begun = fill(writer)
    measured = encode_charges({"x" * (END_RESERVE_BYTES - 49 - 4 - 9): 1})
    for number in begun:
        body = encode_end(number, (1, 1, 200, 0, 0, 0, 0), measured)
        assert len(body) + 4 == END_RESERVE_BYTES
        assert writer.end(body)
    writer.close()
    assert len(read_all(journal_in(tmp_path))) == 2 * len(begun)


def test_space_that_returns_is_used_within_a_second_and_both_changes_are_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    disk = FullDisk(monkeypatch)
    writer = make_writer(tmp_path, clock=clock)
    disk.full = True
    with caplog.at_level(logging.INFO):
        begun = fill(writer)
        tries = disk.tries
        for _ in range(50):
            with pytest.raises(JournalUnavailable):
                begin(writer, 999)
        assert disk.tries == tries, "a full disk is asked once a second"
        clock.advance(1)
        with pytest.raises(JournalUnavailable):
            begin(writer, 999)
        assert disk.tries == tries + 1
        disk.full = False
        with pytest.raises(JournalUnavailable):
            begin(writer, 999)
        clock.advance(1)
        begin(writer, 1000)
    messages = [record.getMessage() for record in caplog.records]
    assert [message[:20] for message in messages] == ["the journal can not ", "the journal can be w"]
    for number in [*begun, 1000]:
        end(writer, number)
    writer.close()
    assert not list((tmp_path / PREFIX.hex()).glob("*.new"))


def test_a_worker_that_starts_on_a_full_disk_refuses_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    disk = FullDisk(monkeypatch)
    disk.full = True
    writer = make_writer(tmp_path, clock=clock)
    with pytest.raises(JournalUnavailable):
        begin(writer, 1)
    assert not refuse(writer, 2)
    assert find_journals(tmp_path) == []
    disk.full = False
    clock.advance(1)
    begin(writer, 3)
    end(writer, 3)
    writer.close()
    assert sequences(read_all(journal_in(tmp_path))) == [("begin", 3), ("end", 3)]


def test_more_open_calls_than_a_segment_can_end_are_refused(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begun = fill(writer)
    assert 5 < len(begun) < 4096 // END_RESERVE_BYTES
    for number in begun:
        end(writer, number)
    begin(writer, 500)
    writer.close()


def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    begin(writer, 1)
    writer.close()
    assert not writer.end(encode_end(1, (1, 1, 200, 0, 0, 0, 0)))
    assert not refuse(writer, 2)
    with pytest.raises(JournalUnavailable):
        begin(writer, 2)
    assert sequences(read_all(journal_in(tmp_path))) == [("begin", 1)]
    writer.close()


def test_a_real_disk_that_runs_full(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        clock = ManualClock()
        writer = make_writer(mount / "journals", clock=clock, segment_bytes=65536)
        filler = mount / "filler"
        with filler.open("wb") as file, pytest.raises(OSError):
            os.posix_fallocate(file.fileno(), 0, 256 * 1024)
        filler.write_bytes(bytes(256 * 1024 - 65536 - 32768))
        begun = fill(writer)
        for number in begun:
            end(writer, number)
        filler.unlink()
        clock.advance(1)
        begin(writer, 1000)
        end(writer, 1000)
        writer.close()
        assert len(read_all(journal_in(mount / "journals"))) == 2 * len(begun) + 2
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_disk_that_is_read_only_refuses_until_it_is_not(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", mount], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        clock = ManualClock()
        writer = make_writer(mount / "journals", clock=clock)
        with pytest.raises(JournalUnavailable):
            begin(writer, 1)
        assert not refuse(writer, 2)
        subprocess.run(["mount", "-o", "remount,rw", mount], check=True)
        clock.advance(1)
        begin(writer, 3)
        end(writer, 3)
        writer.close()
        assert sequences(read_all(journal_in(mount / "journals"))) == [("begin", 3), ("end", 3)]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_progress_that_finds_no_room_leaves_room_for_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    writer = make_writer(tmp_path)
    disk.full = True
    begun = fill(writer)
    notes = 0
    while note(writer, begun[0], 500):
        notes += 1
    for number in begun:
        end(writer, number)
    writer.close()
    assert len(read_all(journal_in(tmp_path))) == 2 * len(begun) + notes


def test_all_journals_together_stay_within_their_bound(tmp_path: Path) -> None:
    clock = ManualClock()
    one, other = (
        make_writer(tmp_path, prefix=PREFIX[:-1] + bytes((number,)), clock=clock, max_bytes=3 * 4096)
        for number in (1, 2)
    )
    begun = fill(one)
    while True:  # its second segment is the third in all
        try:
            begin(one, 1000)
        except JournalUnavailable:
            break
        end(one, 1000)
    for number in begun:
        end(one, number)
    fill(other)
    assert segments_bytes(tmp_path) == 3 * 4096
    (one.folder / "00000001.seg").unlink()  # booked
    clock.advance(1)
    begin(other, 2000)
    assert segments_bytes(tmp_path) == 3 * 4096
    one.close()
    other.close()


def test_a_journal_that_is_deleted_while_all_are_measured_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder deletes a journal that is booked just when a worker takes its next segment."""
    one, other = (make_writer(tmp_path, prefix=PREFIX[:-1] + bytes((n,)), max_bytes=1 << 20) for n in (1, 2))
    other.close()
    real, seen = os.scandir, list[str]()

    def scandir(path: str | os.PathLike[str] | int) -> object:
        if not isinstance(path, int) and not seen and Path(path) == other.folder:
            seen.append(os.fspath(path))
            shutil.rmtree(other.folder)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for number in range(100):
        begin(one, number)
        end(one, number)
    assert seen
    assert one.segment > 1
    one.close()


def test_the_bound_is_told_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = make_writer(tmp_path, max_bytes=1000)
    with pytest.raises(JournalUnavailable):
        begin(writer, 1)
    (told,) = caplog.records
    assert "TOLLWAY_JOURNAL_MAX_MB" in told.__dict__["error"]
    writer.close()


class Disk:
    """Counts what the disk is asked to keep, and refuses when it is broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.broken = False
        monkeypatch.setattr("gateway.journal.writer.os.fdatasync", self.fdatasync)

    def fdatasync(self, descriptor: int) -> None:
        os.fstat(descriptor)  # it is open
        self.asked += 1
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")


def test_a_record_is_secured_when_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    writer = make_writer(tmp_path, durable=True)
    begin(writer, 1)
    assert disk.asked == 0
    writer.secure()
    assert disk.asked == 1
    disk.broken = True
    with pytest.raises(JournalUnavailable):
        writer.secure()
    writer.close()
    writer.secure()  # there is nothing left to keep
    assert disk.asked == 2


def test_a_durable_journal_has_its_name_kept_before_a_record_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []
    monkeypatch.setattr("gateway.journal.writer.sync_folder", kept.append)
    writer = make_writer(tmp_path, durable=True)
    assert kept == [writer.folder, tmp_path]
    fill(writer)
    writer.close()


def test_the_background_thread_syncs_every_segment_and_leaves_no_descriptor(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    writer = JournalWriter(
        tmp_path, prefix=PREFIX, clock=SystemClock(), segment_bytes=4096, sync_interval_s=0.001
    )
    for number in range(500):
        begin(writer, number)
        end(writer, number)
    writer.close()
    assert len(read_all(journal_in(tmp_path))) == 1000
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_failing_sync_is_logged_once_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("gateway.journal.sync.os.fdatasync", fdatasync)
    writer = JournalWriter(tmp_path, prefix=PREFIX, clock=SystemClock(), sync_interval_s=0.001)
    begin(writer, 1)
    end(writer, 1)
    writer.close()
    assert len(read_all(journal_in(tmp_path))) == 2
    assert [record.getMessage()[:27] for record in caplog.records] == ["the journal can not be sync"]


def test_a_segment_takes_all_its_space_at_birth(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, SegmentHeader(PREFIX, 1, 0, "w"), DEFAULT_SEGMENT_BYTES)
    assert (tmp_path / "00000001.seg").stat().st_blocks * 512 >= DEFAULT_SEGMENT_BYTES
    segment.close()
