"""One segment file under a writer: its disk space is taken at birth, then it is written through memory."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

from gateway.journal.format import HEADER_BYTES, SegmentHeader, encode_header

SUFFIX = ".seg"
UNBORN_SUFFIX = ".new"


def segment_name(number: int) -> str:
    """The file name; sorts like the numbers."""
    return f"{number:08d}{SUFFIX}"


def segments_bytes(journals_dir: Path) -> int:
    """What all segments of all journals take. What the recorder deletes meanwhile is left out."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(journals_dir) as journals:
        for journal in journals:
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(journal) as files:
                total += sum(_bytes(file) for file in files if file.name.endswith(SUFFIX))
    return total


def _bytes(file: os.DirEntry[str]) -> int:
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


class Segment:
    """A mapped segment file. Only its writer has one."""

    def __init__(self, memory: mmap.mmap, descriptor: int, number: int, size: int) -> None:
        self.memory = memory
        self.descriptor = descriptor
        self.number = number
        self.size = size

    @classmethod
    def create(cls, folder: Path, header: SegmentHeader, size: int) -> Segment:
        """A new segment in `folder`. OSError if the disk is full or read-only; then nothing is left behind.

        The space is allocated for real: a full disk is an error here and never a SIGBUS at a later write.
        The file gets its name when it is complete, so a reader never sees half a header.
        """
        path = folder / segment_name(header.number)
        unborn = path.with_suffix(UNBORN_SUFFIX)
        descriptor = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            memory = mmap.mmap(descriptor, size)
            memory[:HEADER_BYTES] = encode_header(header)
            unborn.rename(path)
        except OSError:
            os.close(descriptor)
            unborn.unlink(missing_ok=True)
            raise
        return cls(memory, descriptor, header.number, size)

    def close(self) -> None:
        """Unmap. What was written stays in the file whatever happens to this process."""
        self.memory.close()
        os.close(self.descriptor)
