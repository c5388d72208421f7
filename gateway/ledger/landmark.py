"""What was booked last, on this machine's disk: by it a ledger shows that is older than it was.

PostgreSQL restored from a backup, a standby that took over without the last commits, another database: what
was booked since is gone, and its journals are deleted. Nothing here brings it back, but it is noticed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.journal.reader import Position

FILE = "booked.json"


@dataclass(frozen=True, slots=True)
class Booked:
    """A cursor as it was moved last. `closed`: its journal was finished."""

    journal_id: str
    position: Position
    closed: bool
    at_us: int

    def is_known_to(self, cursor: tuple[Position, bool] | None) -> bool:
        """Whether a ledger with this cursor of the journal (position, closed) has what was booked."""
        if cursor is None:
            return False
        position, closed = cursor
        return closed or (not self.closed and position >= self.position)


class Landmark:
    """The file that says it. A disk that takes no writing leaves an older one: then less is noticed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Booked | None:
        """What was booked last; None if nobody knows."""
        try:
            told = json.loads(self._path.read_bytes())
            position = Position(int(told["segment"]), int(told["offset"]))
            return Booked(str(told["journal"]), position, bool(told["closed"]), int(told["at_us"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, booked: Booked) -> None:
        """Remember this instead. At every moment the file is whole."""
        told = {
            "journal": booked.journal_id,
            "segment": booked.position.segment,
            "offset": booked.position.offset,
            "closed": booked.closed,
            "at_us": booked.at_us,
        }
        aside = self._path.with_suffix(".new")
        with suppress(OSError):
            aside.write_text(json.dumps(told))
            aside.replace(self._path)

    def forget(self) -> None:
        """It has been told."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
