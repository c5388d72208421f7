"""What the applications are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters
from gateway.clock import Clock
from gateway.ledger.usage import Usage
from gateway.model.policies import PolicySet
from gateway.storage.postgres import Pool
from gateway.telemetry.slots import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What both applications need, handed in by whoever builds them."""

    pool: Pool
    accounts: Accounts
    usage: Usage
    policies: Callable[[], PolicySet]  # the snapshot in use
    clock: Clock
    counters: QuotaCounters | None = None  # None: nobody counts posted usage but the ledger
    slots: Slots = field(default_factory=Slots.in_memory)  # where it is counted what comes of attempts
    usage_window: timedelta = timedelta(days=35)
    """How far back usage may be posted."""
    key_refusal_ms: int = 0
    """How long after it came it is said that a key or token does not work."""
