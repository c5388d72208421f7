"""What the applications are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.accounts.store import Accounts
from gateway.clock import Clock
from gateway.ledger.usage import Usage
from gateway.model.policies import PolicySet
from gateway.storage.postgres import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What both applications need, handed in by whoever builds them."""

    pool: Pool
    accounts: Accounts
    usage: Usage
    policies: Callable[[], PolicySet]  # the snapshot in use
    clock: Clock
