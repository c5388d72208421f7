"""How somebody becomes a person with an account, gets back in, or joins an account: from mail to mail.

Whether an address is known shows neither in an answer nor in the time it takes.
"""

from __future__ import annotations

from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.identity import Identity
from gateway.controlplane.problems import Problem
from gateway.errors import Invalid
from gateway.operators.acting import acting
from gateway.people import checks, mails
from gateway.people.memberships import Memberships
from gateway.people.records import Person, Registration, actor_of
from gateway.people.requests import Requests
from gateway.people.roles import OWNER
from gateway.people.sessions import Ended, Sessions
from gateway.people.store import People
from gateway.people.tokens import new_id

REGISTRATION = "registration"
"""Who acts, for the audit log, before it is known who it is."""


def bad_token() -> Problem:
    """For a token that is unknown, used or expired: all alike."""
    detail = "This link or token does not work: it was used before, or is too old. Ask for another one."
    return Problem(400, "bad_token", detail)


def closed() -> Problem:
    """Nobody registers here by themselves."""
    return Problem(403, "registration_closed", "Registration is closed here. Ask for an invitation.")


class Entrance:
    """What one does before one can log in. Raises Problem, Invalid and Busy."""

    def __init__(self, with_: Collaborators, identity: Identity) -> None:
        self._pool, self._accounts, self._policies = with_.pool, with_.accounts, with_.policies
        self._identity = identity

    async def register(self, caller: str, email: str, password: str, names: tuple[str, str]) -> None:
        """Send a mail to the address. `names`: of the person and of the account, empty for none."""
        if self._identity.tier_of_newcomers(self._policies()) is None:
            raise closed()
        checks.check_password(password, checks.check_email(email))
        name, account_name = checks.check_name(names[0]), checks.check_name(names[1], "account_name")
        self._identity.doors.mail(caller, email)
        password_hash = await self._identity.passwords.hash(password)
        wanted = Registration(email, name, account_name, password_hash)
        portal = self._identity.portal_url
        async with acting(self._pool, REGISTRATION) as connection:
            token = await Requests(connection).keep_registration(wanted)
            known = await People(connection).credentials(email)
            mail = mails.known_already(email, portal) if known else mails.verification(email, portal, token)
            await self._identity.outbox.put(connection, mail)
        self._identity.outbox.wake()

    async def verify(self, caller: str, token: str, password: str, request_id: str) -> Person:
        """The token of the mail came back: now there is a person, with an account that is theirs.

        With the password of this registration: who only has the mail may be somebody in whose name another
        registered, and would make that one's password valid.
        """
        tier = self._identity.tier_of_newcomers(self._policies())
        if tier is None:
            raise closed()
        self._identity.doors.token(caller)
        begun = await Requests(self._pool).find_registration(token)
        if begun is None:
            raise bad_token()
        if not await self._identity.passwords.matches(begun.password_hash, password):
            raise Invalid(
                "password", "must be the one of this registration; if it was not you, register anew"
            )
        public_id = new_id("person")
        async with acting(self._pool, actor_of(public_id), request_id) as connection:
            wanted = await Requests(connection).take_registration(token)
            if wanted is None:
                raise bad_token()
            made = await People(connection).create(public_id, wanted.email, wanted.name, wanted.password_hash)
            if made is None:
                raise bad_token()  # they were invited meanwhile, or are registered: this changes no password
            # Not the whole address: the audit log, which keeps everything, has the names of accounts.
            name = wanted.account_name or wanted.name or wanted.email.partition("@")[0]
            account = await self._accounts.on(connection).create_account(name, tier)
            await Memberships(connection).add(made, account.id, OWNER)
        self._identity.doors.token_was_right(caller)
        return made

    async def forgot(self, caller: str, email: str) -> None:
        """Send the person with this address, if there is one, what sets another password."""
        checks.check_email(email)
        self._identity.doors.mail(caller, email)
        outbox = self._identity.outbox
        async with acting(self._pool, REGISTRATION) as connection:
            known = await People(connection).credentials(email)
            token = await Requests(connection).keep_reset(known.person if known else None)
            if known is None:
                await outbox.put_nothing(connection, email)
            else:
                await outbox.put(
                    connection, mails.reset(known.person.email, self._identity.portal_url, token)
                )
        outbox.wake()

    async def reset(self, caller: str, token: str, password: str, request_id: str) -> None:
        """Another password; every session is over. A second factor stays."""
        self._identity.doors.token(caller)
        person = await Requests(self._pool).find_reset(token)
        if person is None:
            raise bad_token()
        self._identity.doors.token_was_right(caller)
        checks.check_password(password, person.email)
        password_hash = await self._identity.passwords.hash(password)
        async with acting(self._pool, person.actor, request_id) as connection:
            if await Requests(connection).find_reset(token) is None:
                raise bad_token()  # somebody was faster
            await Requests(connection).drop_resets(person)
            await People(connection).set_password(person, password_hash)
            await Sessions(connection).end_all(person.public_id, Ended.PASSWORD)
            await self._identity.outbox.put(
                connection, mails.password_changed(person.email, self._identity.portal_url)
            )
        self._identity.outbox.wake()

    async def accept(
        self, caller: str, token: str, password: str | None, request_id: str, name: str = ""
    ) -> None:
        """The token of an invitation came back: who has its address is a member, and a person from now on."""
        name = checks.check_name(name)
        self._identity.doors.token(caller)
        invited = await Memberships(self._pool).find_invitation(token)
        if invited is None:
            raise bad_token()
        self._identity.doors.token_was_right(caller)
        known = await People(self._pool).credentials(invited.email)
        public_id = new_id("person") if known is None else known.person.public_id
        password_hash = "" if known else await self._first_password(password, invited.email)
        async with acting(self._pool, actor_of(public_id), request_id) as connection:
            members = Memberships(connection)
            invited = await members.find_invitation(token)
            if invited is None:
                raise bad_token()
            person = known.person if known else None
            if person is None:
                made = await People(connection).create(public_id, invited.email, name, password_hash)
                if made is None:
                    raise bad_token()  # they registered at the same moment: the invitation is still there
                person = made
            await members.add(person, invited.account_id, invited.role)
            await members.drop_invitation(invited)

    async def _first_password(self, password: str | None, email: str) -> str:
        if password is None:
            raise Invalid("password", "is needed: nobody has registered with the invited address yet")
        return await self._identity.passwords.hash(checks.check_password(password, email))
