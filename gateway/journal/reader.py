"""Reads what a writer left, alive or dead: whole records only, damaged bytes counted and passed over."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.journal.format import (
    FIRST_OFFSET,
    FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    PREFIX_BYTES,
    SegmentRefused,
    decode_header,
    frame_at,
    next_frame,
)
from gateway.journal.records import Closed, Decoder, Record
from gateway.journal.segment import SUFFIX, UNBORN_SUFFIX, segment_name
from gateway.journal.writer import LOCK_NAME, UNBORN_PREFIX

_BLOCK_BYTES = 1024 * 1024
_NOTHING = bytes(FRAME_BYTES)
_UNBORN_FOR_S = 60

log = logging.getLogger("tollway.journal")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a journal: everything before it has been dealt with."""

    segment: int
    offset: int


START = Position(0, 0)


class Journal:
    """One journal folder, from the outside. FileNotFoundError when someone else has removed it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.prefix = bytes.fromhex(folder.name)
        self._decoder = Decoder()
        self._checked: set[int] = set()

    def writer_is_alive(self) -> bool:
        """Whether somebody may still write. The lock dies with its holder, however it dies."""
        return not _can_lock(self.folder / LOCK_NAME)

    def segments(self) -> list[int]:
        """Numbers of the segments that are there, ascending."""
        names = (path.stem for path in self.folder.iterdir() if path.suffix == SUFFIX)
        return sorted(int(name) for name in names if name.isdecimal())

    def scan(self, position: Position, *, final: bool) -> Scan:
        """The records from `position` to the end of its segment. Raises SegmentRefused.

        `final`: nobody writes to this segment any more, so what can not be read never will be.
        """
        path = self.folder / segment_name(position.segment)
        if position.segment not in self._checked:
            self._check(path)
            self._checked.add(position.segment)
        return Scan(path, max(position.offset, FIRST_OFFSET), self._decoder, final=final)

    def _check(self, path: Path) -> None:
        with path.open("rb") as file:
            header = decode_header(file.read(FIRST_OFFSET), str(path))
        if header is not None and (header.prefix, segment_name(header.number)) != (self.prefix, path.name):
            raise SegmentRefused(
                f"{path} says that it is segment {header.number} of journal {header.prefix.hex()}. "
                "Move it back to where it belongs; it is left untouched."
            )

    def remove_segment(self, number: int) -> None:
        """Delete a segment that is no longer needed. Deleting it again changes nothing."""
        (self.folder / segment_name(number)).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the journal. OSError if something is in its folder that does not belong there."""
        for number in self.segments():
            self.remove_segment(number)
        for path in list(self.folder.iterdir()):
            if path.name == LOCK_NAME or path.suffix == UNBORN_SUFFIX:
                path.unlink(missing_ok=True)
        self.folder.rmdir()


class Scan:
    """Iterates over the records of one segment; may be left at any time.

    `offset` lies behind the last record handed out, `damaged_bytes` counts what was passed over before it.
    `finished` is true once nothing more can come out of this segment.
    """

    def __init__(self, path: Path, offset: int, decoder: Decoder, *, final: bool) -> None:
        self.path = path
        self.offset = offset
        self.damaged_bytes = 0
        self.finished = False
        self._final = final
        self._decoder = decoder

    def __iter__(self) -> Iterator[Record]:
        with self.path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            while not self.finished:
                block = self._block(descriptor)
                before = self.offset
                yield from self._records(block)
                if self.offset == before and not self.finished and not self._recover(descriptor):
                    return

    def _block(self, descriptor: int) -> bytes:
        """What is there, beginning with a record. At rest, a look at eight bytes shows there is nothing."""
        if not self._final and os.pread(descriptor, FRAME_BYTES, self.offset) in (_NOTHING, b""):
            return b""
        return os.pread(descriptor, _BLOCK_BYTES, self.offset)

    def _records(self, block: bytes) -> Iterator[Record]:
        at, start, record_at = 0, self.offset, self._decoder.record_at
        while True:
            try:
                found = record_at(block, at)
            except ValueError as error:
                at = self._senseless(block, at, str(error))
                self.offset = start + at
                continue
            if found is None:
                return
            record, at = found
            self.offset = start + at
            if type(record) is Closed:
                self.finished = True
                return
            yield record

    def _senseless(self, block: bytes, at: int, why: str) -> int:
        """Pass over an intact frame that nobody understands."""
        frame = frame_at(block, at)
        assert frame is not None, "only what is intact is looked into"
        self._damaged(frame[1] - at, why)
        return frame[1]

    def _recover(self, descriptor: int) -> bool:
        """There was no record at `offset`. Go on behind the damage, if there is anything to go on with.

        A single writer appends, so an intact record further on proves that this place is damaged and not
        merely unfinished.
        """
        if not self._final and os.pread(descriptor, FRAME_BYTES, self.offset) in (_NOTHING, b""):
            return False
        rest = self._rest(descriptor)
        if next_frame(rest, 0) is not None:
            # The writer may have gone on while we read. What precedes an intact record is settled now.
            rest = self._rest(descriptor)
        if frame_at(rest, 0) is not None:
            return True
        following = next_frame(rest, 0)
        if following is not None:
            self._damaged(following, "a checksum does not match")
            self.offset += following
            return True
        if self._final:
            torn = len(rest.rstrip(b"\0"))
            if torn:
                self._damaged(torn, "the last record is incomplete")
            self.offset += torn
            self.finished = True
        return False

    def _rest(self, descriptor: int) -> bytes:
        return os.pread(descriptor, os.fstat(descriptor).st_size, self.offset)

    def _damaged(self, count: int, why: str) -> None:
        self.damaged_bytes += count
        log.error(
            "%d bytes of a journal are damaged at offset %d and were passed over: %s",
            count,
            self.offset,
            why,
            extra={"file": str(self.path), "count": count},
        )


def find_journals(journals_dir: Path) -> list[Path]:
    """Folders of the journals below `journals_dir`, oldest first. None if there is no such directory yet."""
    try:
        return sorted(path for path in journals_dir.iterdir() if _is_journal_id(path.name))
    except FileNotFoundError:
        return []


def sweep_unborn(journals_dir: Path, now_us: int) -> None:
    """Delete journals whose writers were killed before the first segment was there. They hold no record."""
    for folder in journals_dir.glob(UNBORN_PREFIX + "*"):
        try:
            old = folder.stat().st_mtime < now_us / 1_000_000 - _UNBORN_FOR_S
            if old and _can_lock(folder / LOCK_NAME):
                shutil.rmtree(folder)
        except FileNotFoundError:
            continue  # it got its name, or another recorder was faster


def _is_journal_id(name: str) -> bool:
    return len(name) == 2 * PREFIX_BYTES and set(name) <= set("0123456789abcdef")


def _can_lock(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        # Shared, so that two recorders looking at once do not take each other for a writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


assert _BLOCK_BYTES > FRAME_BYTES + MAX_PAYLOAD_BYTES, "a block always holds the record it begins with"
