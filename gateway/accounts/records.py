"""What is known of accounts and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from gateway.model.periods import Calendar, calendar
from gateway.model.principal import Mode, Principal


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. `external_id` is what its operator calls it elsewhere."""

    id: int
    public_id: str
    external_id: str | None
    name: str
    tier: str
    status: str
    created_at: datetime
    billing_anchor: date | None  # the day its periods are counted from; None: they are those of calendars
    time_zone: str
    internal: bool  # of the operator's own: never billed
    metadata: Mapping[str, str]

    @property
    def calendar(self) -> Calendar:
        """By which the periods of its quotas are counted."""
        return calendar(self.billing_anchor, self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDetails:
    """What an account is made of, beside its name and tier."""

    status: str = "active"
    billing_anchor: date | None = None
    time_zone: str = "UTC"
    internal: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanges:
    """What is given changes, the rest stays. `metadata` is merged; a name with None goes."""

    name: str | None = None
    tier: str | None = None
    status: str | None = None
    billing_anchor: date | None = None
    drop_billing_anchor: bool = False
    time_zone: str | None = None
    internal: bool | None = None
    metadata: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: everything but its secret. `account` and `successor` are public ids.

    A key that was imported as a digest has no `visible` beginning and no `last_four`.
    """

    id: int
    public_id: str
    account: str
    name: str
    visible: str | None
    last_four: str | None
    mode: Mode
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    successor: str | None
    only_routes: tuple[str, ...]
    only_methods: tuple[str, ...]
    only_networks: tuple[str, ...]
    not_networks: tuple[str, ...]
    scopes: tuple[str, ...] | None  # None: all that routes may require


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How far a key reaches. An empty restriction restricts nothing; no `expires_in_s`: until revoked.

    `not_networks`: not from there, even if `only_networks` has it.
    `scopes`: for routes that require some only where the key has them; None: it has all.
    """

    expires_in_s: int | None = None
    only_routes: tuple[str, ...] = ()
    only_methods: tuple[str, ...] = ()
    only_networks: tuple[str, ...] = ()
    not_networks: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanges:
    """What is given changes, the rest stays. An empty restriction takes one away."""

    name: str | None = None
    expires_in_s: int | None = None  # from now on
    drop_expiry: bool = False
    only_routes: tuple[str, ...] | None = None
    only_methods: tuple[str, ...] | None = None
    only_networks: tuple[str, ...] | None = None
    not_networks: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | None = None
    all_scopes: bool = False

    @property
    def limits(self) -> KeyLimits:
        """How far the key is to reach, as far as that changes."""
        return KeyLimits(
            expires_in_s=self.expires_in_s,
            only_routes=self.only_routes or (),
            only_methods=self.only_methods or (),
            only_networks=self.only_networks or (),
            not_networks=self.not_networks or (),
            scopes=self.scopes,
        )


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that works and who it belongs to; `active` is False while the account may not call."""

    principal: Principal
    active: bool
