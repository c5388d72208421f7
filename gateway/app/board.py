"""What the supervisor lets its workers know: whether the public port stays, which posts are attended."""

from __future__ import annotations

import mmap
from enum import IntEnum
from pathlib import Path


class Phase(IntEnum):
    """How long the public port stays open."""

    OPEN = 0
    LEAVING = 1  # load balancers are being told; calls are served, each the last of its connection
    CLOSING = 2  # no new connections; whoever is asked to stop closes the port


class Board:
    """A byte for the phase and one for each post, in a mapped file. One writer, any number of readers."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    @classmethod
    def create(cls, path: Path, posts: int) -> Board:
        """A new board on which every post is attended. It stays mapped in processes forked later."""
        path.write_bytes(bytes([Phase.OPEN]) + bytes([1]) * posts)
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), 1 + posts))

    @property
    def phase(self) -> Phase:
        """Where we are."""
        return Phase(self._memory[0])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._memory[0] = phase

    def unattended(self) -> list[int]:
        """Posts whose connections nobody accepts."""
        states = self._memory[1:]
        return [number for number, attended in enumerate(states) if not attended] if 0 in states else []

    def set_attended(self, post: int, *, attended: bool) -> None:
        """Note that a worker came to a post, or is gone from it."""
        self._memory[1 + post] = attended
