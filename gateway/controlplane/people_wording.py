"""People, members and sessions as the portal and the admin API show them."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from gateway.controlplane.wording import instant
from gateway.people.records import Invitation, Membership, Person
from gateway.people.sessions import Session


class Accepted(TypedDict):
    """The request has been taken; what comes of it is in a mail, if anything."""

    status: Literal["accepted"]


class Done(TypedDict):
    """It is done."""

    status: Literal["done"]


ACCEPTED: Accepted = {"status": "accepted"}
DONE: Done = {"status": "done"}


class PersonDocument(TypedDict):
    """Somebody who logs in."""

    id: str
    email: str
    name: str
    created_at: str | None
    totp: bool


class OwnAccountDocument(TypedDict):
    """An account one belongs to, and as what."""

    id: str
    name: str
    role: str


class MeDocument(PersonDocument):
    """Oneself."""

    recovery_codes_left: int
    accounts: list[OwnAccountDocument]


class SessionDocument(TypedDict):
    """What goes on with a session; named as in OAuth (RFC 6749, section 5.1).

    `refresh_expires_in`: seconds within which the refresh token has to be exchanged.
    """

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class OpenSessionDocument(TypedDict):
    """One of one's sessions that go on. `current`: the one that asks; `ends_at`: at the latest."""

    id: str
    created_at: str | None
    refreshed_at: str | None
    expires_at: str | None
    ends_at: str | None
    current: bool


class SessionList(TypedDict):
    """Every session that goes on."""

    data: list[OpenSessionDocument]


class ValidDocument(TypedDict):
    """What an access token stands for."""

    person: str
    session: str
    expires_at: str | None


class TotpOffer(TypedDict):
    """What an authenticator app needs."""

    secret: str
    uri: str


class RecoveryCodes(TypedDict):
    """Codes for when the app is lost, the only time they are shown."""

    recovery_codes: list[str]


class MemberDocument(TypedDict):
    """A member of an account."""

    id: str
    person: str
    email: str
    name: str
    account: str
    role: str
    since: str | None


class MemberList(TypedDict):
    """Every member."""

    data: list[MemberDocument]


class InvitationDocument(TypedDict):
    """An invitation that has not been accepted yet."""

    id: str
    account: str
    email: str
    role: str
    created_at: str | None
    expires_at: str | None


class InvitationList(TypedDict):
    """Every invitation."""

    data: list[InvitationDocument]


def person(one: Person) -> PersonDocument:
    """A person."""
    return {
        "id": one.public_id,
        "email": one.email,
        "name": one.name,
        "created_at": instant(one.created_at),
        "totp": one.totp_enabled_at is not None,
    }


def session(one: Session, current: str) -> OpenSessionDocument:
    """A session as its person sees it."""
    return {
        "id": one.public_id,
        "created_at": instant(one.created_at),
        "refreshed_at": instant(one.refreshed_at),
        "expires_at": instant(one.expires_at),
        "ends_at": instant(one.ends_at),
        "current": one.public_id == current,
    }


def own_account(one: Membership) -> OwnAccountDocument:
    """An account as its member sees it."""
    return {"id": one.account, "name": one.account_name, "role": one.role}


def member(one: Membership) -> MemberDocument:
    """A member as the others see it."""
    return {
        "id": one.public_id,
        "person": one.person,
        "email": one.email,
        "name": one.name,
        "account": one.account,
        "role": one.role,
        "since": instant(one.created_at),
    }


def invitation(one: Invitation) -> InvitationDocument:
    """An invitation, without its token."""
    return {
        "id": one.public_id,
        "account": one.account,
        "email": one.email,
        "role": one.role,
        "created_at": instant(one.created_at),
        "expires_at": instant(one.expires_at),
    }
