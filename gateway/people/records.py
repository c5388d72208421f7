"""What is known of people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


def actor_of(person: str) -> str:
    """As the audit log calls the person with this public id."""
    return f"person:{person}"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who logs in. Hashes and secrets are not part of it."""

    id: int
    public_id: str
    email: str
    name: str
    created_at: datetime
    verified_at: datetime
    password_changed_at: datetime
    totp_enabled_at: datetime | None

    @property
    def actor(self) -> str:
        """As the audit log calls this person."""
        return actor_of(self.public_id)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A person with what proves that it is them."""

    person: Person
    password_hash: str = field(repr=False)
    totp_sealed: bytes | None = field(repr=False)
    totp_step: int


@dataclass(frozen=True, slots=True)
class Membership:
    """That a person belongs to an account, and as what. All but `account_id` are public ids and names."""

    public_id: str
    person: str
    email: str
    name: str
    account_id: int
    account: str
    account_name: str
    role: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """That somebody may become a member, as soon as the token of the mail comes back."""

    id: int
    public_id: str
    account_id: int
    account: str
    account_name: str
    email: str
    role: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Registration:
    """That somebody wants to be a person with an account of their own."""

    email: str
    name: str
    account_name: str
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one person, plain text."""

    recipient: str
    subject: str
    text: str = field(repr=False)
