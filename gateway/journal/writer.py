"""Writes one journal: the records of one worker instance.

`begin` returns when its record is in the mapped file, which outlives the process. Every begin reserves room
for its end, so on a full disk calls that are under way still end properly while new ones are refused.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import struct
from pathlib import Path
from typing import Final
from zlib import crc32

from gateway.clock import Clock
from gateway.errors import JournalUnavailable
from gateway.journal.format import FIRST_OFFSET, PREFIX_BYTES, SegmentHeader, seal
from gateway.journal.records import CLOSED_BYTES, LONGEST_END, encode_closed
from gateway.journal.segment import Segment, segments_bytes
from gateway.journal.sync import BackgroundSync, sync_folder

LOCK_NAME = "lock"
UNBORN_PREFIX = ".new-"
DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
SYNC_INTERVAL_S = 1.0
END_RESERVE_BYTES = 256
"""Kept free for the end of every call that began. Ends are shorter, itemised ones too."""
assert LONGEST_END <= END_RESERVE_BYTES, "every end has room"

_RETRY_AFTER_US = 1_000_000
_CRC_BYTES = 4
_CRC = struct.Struct("<I").pack  # `seal`, without the call: begin and end are on every request's path

log = logging.getLogger("tollway.journal")


class JournalWriter:
    """The only writer of the journal named by `prefix`, below `journals_dir`.

    Holds an exclusive lock on the journal's `lock` file until `close` or death: whoever can take that lock
    knows that the writer is gone. A disk that refuses a new segment is no error of the constructor; it shows
    at the first `begin`, and writing starts by itself once there is space again. Segments of all journals
    beyond `max_bytes` are as if the disk were full. `durable`: whoever writes a call asks for `secure`, too.
    """

    def __init__(
        self,
        journals_dir: Path,
        *,
        prefix: bytes,
        clock: Clock,
        name: str = "",
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        sync_interval_s: float | None = SYNC_INTERVAL_S,
        durable: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        assert len(prefix) == PREFIX_BYTES
        assert segment_bytes > FIRST_OFFSET + CLOSED_BYTES + END_RESERVE_BYTES
        self.folder: Final = journals_dir / prefix.hex()
        self.durable: Final = durable
        self.open_calls = 0
        self._prefix = prefix
        self._clock = clock
        self._name = name
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._segment: Segment | None = None
        self._memory: mmap.mmap  # of the segment; there is one whenever there is free room
        self._lock: int | None = None
        self._at = 0
        self._free = 0  # bytes of the segment neither written nor reserved
        self._failing = False
        self._closed = False
        self._retry_at_us = 0
        self._sync = None if sync_interval_s is None else BackgroundSync(self._progress, sync_interval_s)
        self._rotate()

    def begin(self, body: bytes) -> None:
        """Write a begin and reserve room for its end. Raises JournalUnavailable, then nothing is written."""
        size = len(body) + _CRC_BYTES + END_RESERVE_BYTES
        if self._free < size and not self._make_room(size):
            raise JournalUnavailable
        frame = _CRC(crc32(body)) + body
        at = self._at
        self._at = end = at + len(frame)
        self._memory[at:end] = frame
        self._free -= size
        self.open_calls += 1

    def end(self, body: bytes) -> bool:
        """Write the end of a begun call. There is room: False only after `close`."""
        if self._segment is None:
            return False
        frame = _CRC(crc32(body)) + body
        size = len(frame)
        assert size <= END_RESERVE_BYTES
        at = self._at
        self._at = end = at + size
        self._memory[at:end] = frame
        self._free += END_RESERVE_BYTES - size
        self.open_calls -= 1
        return True

    def whole(self, body: bytes) -> bool:
        """Write a call that never began. False if there is no room: the record is lost."""
        size = len(body) + _CRC_BYTES
        if self._free < size and not self._make_room(size):
            return False
        frame = seal(body)
        self._memory[self._at : self._at + size] = frame
        self._at += size
        self._free -= size
        return True

    def progress(self, body: bytes) -> bool:
        """Write how far a begun call is. False if there is no room: then what was noted before stands."""
        return self.whole(body)

    def secure(self) -> None:
        """Wait until the disk has all that was written to this segment. JournalUnavailable if it has not."""
        if self._segment is None:
            return
        try:
            os.fdatasync(self._segment.descriptor)
        except OSError as error:
            raise JournalUnavailable(internal=f"the disk did not keep a record: {error}") from error

    @property
    def segment(self) -> int:
        """The number of the segment being written; 0 while there is none."""
        return 0 if self._segment is None else self._segment.number

    def close(self) -> None:
        """End the journal. Calls still open will be booked as interrupted."""
        self._closed = True
        self._free = 0
        self._retire()
        if self._sync is not None:
            self._sync.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_room(self, size: int) -> bool:
        """A new segment, if it would help and the last failure is a second ago."""
        if self._closed or size > self._room_when_new() or self._clock.monotonic_us() < self._retry_at_us:
            return False
        return self._rotate()

    def _room_when_new(self) -> int:
        return self._segment_bytes - FIRST_OFFSET - CLOSED_BYTES - END_RESERVE_BYTES * self.open_calls

    def _rotate(self) -> bool:
        number = 1 if self._segment is None else self._segment.number + 1
        header = SegmentHeader(self._prefix, number, self._clock.now_us(), self._name)
        try:
            segment = self._new_segment(header)
        except OSError as error:
            self._failed(error)
            return False
        self._retire()
        self._segment, self._memory = segment, segment.memory
        self._at = FIRST_OFFSET
        self._free = self._room_when_new()
        if self._sync is not None:
            self._sync.watch(segment.descriptor, self.folder)
        if self._failing:
            self._failing = False
            log.info("the journal can be written again", extra={"journal": self.folder.name})
        return True

    def _new_segment(self, header: SegmentHeader) -> Segment:
        journals_dir = self.folder.parent
        most = self._max_bytes
        if most is not None and segments_bytes(journals_dir) + self._segment_bytes > most:
            raise OSError(errno.EDQUOT, "the journals are as large as TOLLWAY_JOURNAL_MAX_MB allows")
        first = self._segment is None
        folder = self._unborn_folder() if first else self.folder
        segment = Segment.create(folder, header, self._segment_bytes)
        try:
            if first:
                folder.rename(self.folder)
            if self.durable:
                sync_folder(self.folder)
                sync_folder(journals_dir)
        except OSError:
            segment.close()
            raise
        return segment

    def _unborn_folder(self) -> Path:
        """The locked folder under a provisional name: it gets its own once its first segment is in it."""
        unborn = self.folder.with_name(UNBORN_PREFIX + self.folder.name)
        unborn.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            lock = os.open(unborn / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._lock = lock
        return unborn

    def _failed(self, error: OSError) -> None:
        self._retry_at_us = self._clock.monotonic_us() + _RETRY_AFTER_US
        if not self._failing:
            self._failing = True
            log.error(
                "the journal can not grow: until it can, calls are treated as TOLLWAY_ON_JOURNAL_FULL says. "
                "Free space on this disk, make it writable, or see why nothing is booked",
                extra={"journal": self.folder.name, "file": str(self.folder), "error": str(error)},
            )

    def _retire(self) -> None:
        """Mark the current segment as complete and let go of it. The mark has its place reserved."""
        segment, self._segment = self._segment, None
        if segment is not None:
            body = encode_closed(self._clock.now_us())
            segment.memory[self._at : self._at + CLOSED_BYTES] = seal(body)
            segment.close()

    def _progress(self) -> int:
        return self._at
