"""What can go wrong in the ledger."""

from __future__ import annotations

from gateway.errors import TollwayError


class LedgerUnavailable(TollwayError):
    """Nothing was booked. `lost`: Postgres is gone; otherwise it refused what we asked."""

    def __init__(self, message: str, *, lost: bool) -> None:
        self.lost = lost
        super().__init__(message)


class InvalidCursor(TollwayError):
    """A page cursor that this room never handed out."""
