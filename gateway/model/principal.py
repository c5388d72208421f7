"""Who the key belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.model.periods import IN_UTC, Calendar
from gateway.model.restrictions import Restrictions


class Mode(Enum):
    """`TEST` keys behave alike, but have counters and a ledger of their own and are never billed."""

    LIVE = "live"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Override:
    """A special deal beside the tier: other figures for the limit or quota of that name.

    Of an account, or (a limit only) a cap of one key. `amount` is a quota's; the rest means nothing then.
    """

    name: str
    of_key: bool
    tokens: int = 0
    period_ms: int = 0
    burst: int = 0
    amount: int | None = None


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
    overrides: tuple[Override, ...] = ()
    scopes: frozenset[str] | None = None  # what its key or token was given; None: not told apart
    claims: tuple[tuple[str, str], ...] = ()  # of its token: those that limits go by, with digests of them
    calendar: Calendar = IN_UTC  # by which the periods of its quotas are counted
    terms: str = field(init=False, compare=False)  # the same for all who have this tier and these overrides

    def __post_init__(self) -> None:
        terms = f"{self.tier} {self.overrides}" if self.overrides else self.tier
        object.__setattr__(self, "terms", terms)
