"""Who the key belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.model.restrictions import Restrictions


class Mode(Enum):
    """`TEST` keys behave alike, but have counters and a ledger of their own and are never billed."""

    LIVE = "live"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key with its account and tier, as the caches hold it.

    `identity_lines` are the complete header lines that tell the upstream who calls.
    """

    account_id: int
    account: str  # public id, acct_...
    key_id: int
    key: str  # public id, key_...
    tier: str
    mode: Mode
    identity_lines: bytes
    expires_at_us: int | None = None
    digest: bytes = field(default=b"", repr=False, compare=False)  # of the key; empty: it came without one
    restrictions: Restrictions | None = None
