"""Integer slots in a memory-mapped file: one writer per file, any number of readers, no locks.

An increment is one list-like operation, about 60 ns. The file outlives a crashed writer, so counters do not
fall back to zero when a worker is restarted under the same name.
"""

from __future__ import annotations

import mmap
import sys
from bisect import bisect_left
from collections.abc import MutableSequence
from pathlib import Path
from typing import cast

from gateway.telemetry.catalogue import BY_NAME, FINGERPRINT, LAYOUT, SLOT_COUNT, slot
from gateway.telemetry.names import Names, names_of

_BYTES = (SLOT_COUNT + 1) * 8
"""The last slot holds the fingerprint of the layout: another release's figures are never taken for ours."""


class Slots:
    """The counters of one process.

    Hot paths keep `slot(...)` numbers and write `slots.cells[number] += 1`; everybody else uses `add`, `set`,
    `observe_us`.
    """

    def __init__(self, cells: MutableSequence[int], names: Names | None = None) -> None:
        self.cells = cells
        self._names = names or Names(None)

    @classmethod
    def in_memory(cls) -> Slots:
        """Slots nobody else sees: for tests and one-shot commands."""
        return cls([0] * SLOT_COUNT)

    @classmethod
    def open(cls, path: Path) -> Slots:
        """Slots in `path`, kept from an earlier writer if the layout still fits."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not _fits(path.read_bytes()):
            names_of(path).unlink(missing_ok=True)
            path.unlink()  # not truncated: a process that still maps it would die of SIGBUS
        with path.open("ab+") as file:
            # Written, not truncated to size: on a full disk a hole in the file would kill us later (SIGBUS).
            file.write(bytes(_BYTES - file.tell()))
            file.flush()
            memory = mmap.mmap(file.fileno(), _BYTES)
        cells = cast("MutableSequence[int]", memoryview(memory).cast("q"))
        cells[SLOT_COUNT] = FINGERPRINT
        return cls(cells, Names(names_of(path)))

    def add(self, name: str, amount: int = 1, *labels: str) -> None:
        """Count `amount` more in one series."""
        self.cells[slot(name, *labels)] += amount

    def set(self, name: str, value: int, *labels: str) -> None:
        """Set a gauge."""
        self.cells[slot(name, *labels)] = value

    def get(self, name: str, *labels: str) -> int:
        """The raw integer of one series."""
        return self.cells[slot(name, *labels)]

    def named(self, name: str, value: str) -> int:
        """The slot of a series whose label value only the policies know. Slow to find: keep it."""
        return slot(name, self._names.place(name, value))

    def observe_us(self, name: str, value_us: int) -> None:
        """Put a duration into a histogram without labels; its scale must be microseconds."""
        bounds = BY_NAME[name].bounds
        first = LAYOUT[name]
        self.cells[first + bisect_left(bounds, value_us / 1_000_000)] += 1
        self.cells[first + len(bounds) + 1] += value_us


def read_slots(path: Path) -> list[int]:
    """A snapshot of another process's slots. ValueError if the file has another layout."""
    raw = path.read_bytes()
    if not _fits(raw):
        raise ValueError(f"{path} has another layout than this release")
    return list(memoryview(raw).cast("q"))[:SLOT_COUNT]


def _fits(raw: bytes) -> bool:
    return len(raw) == _BYTES and raw[-8:] == FINGERPRINT.to_bytes(8, sys.byteorder)
