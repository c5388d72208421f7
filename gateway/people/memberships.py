"""Who belongs to which account, and who is invited to."""

from __future__ import annotations

import re

from gateway.errors import Conflict, NotFound
from gateway.people import checks
from gateway.people.records import Invitation, Membership, Person
from gateway.people.roles import OWNER
from gateway.people.tokens import Purpose, digest_of, mint, new_id
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "memberships")
INVITED_S = 7 * 86_400

_PUBLIC_ID = re.compile(r"(member|invitation)_[0-9A-Za-z]{16,40}")


class Memberships:
    """What may be done with members, over a pool or within the transaction of one connection.

    Methods raise NotFound for what is not there, and Conflict when an account would be left without an owner.
    """

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def add(self, person: Person, account_id: int, role: str) -> bool:
        """Make the person a member. False, and nothing changed, if they are one already."""
        checks.check_role(role)
        found = await self._database.fetchval(QUERIES.add, new_id("member"), person.id, account_id, role)
        return found is not None

    async def of_person(self, person: Person) -> list[Membership]:
        """The accounts of a person, first the one they joined first."""
        return [Membership(**row) for row in await self._database.fetch(QUERIES.of_person, person.id)]

    async def of_account(self, account: str) -> list[Membership]:
        """The members of an account, first who joined first."""
        return [Membership(**row) for row in await self._database.fetch(QUERIES.of_account, account)]

    async def get(self, public_id: str, account: str) -> Membership:
        """A member of this account."""
        row = None
        if _PUBLIC_ID.fullmatch(public_id):
            row = await self._database.fetchrow(QUERIES.get, public_id, account)
        if row is None:
            raise NotFound("There is no such member.")
        return Membership(**row)

    async def set_role(self, member: Membership, role: str) -> Membership:
        """The same member in another role."""
        checks.check_role(role)
        if role != OWNER:
            await self._expect_other_owner(member)
        await self._database.execute(QUERIES.set_role, member.public_id, role)
        return await self.get(member.public_id, member.account)

    async def remove(self, member: Membership) -> None:
        """The person is a member no more."""
        await self._expect_other_owner(member)
        await self._database.execute(QUERIES.remove, member.public_id)

    async def _expect_other_owner(self, member: Membership) -> None:
        """Within a transaction this stays true until its end."""
        owners = [
            row["public_id"] for row in await self._database.fetch(QUERIES.lock_owners, member.account_id)
        ]
        if owners == [member.public_id]:
            raise Conflict("An account has at least one owner. Make somebody else an owner first.")

    async def invite(self, account: str, email: str, role: str) -> tuple[Invitation, str]:
        """An invitation and the token that accepts it. It replaces an earlier one to the same address."""
        checks.check_email(email)
        checks.check_role(role)
        token, digest = mint(Purpose.INVITE)
        made = await self._database.fetchval(
            QUERIES.invite, new_id("invitation"), digest, account, email, role, INVITED_S
        )
        row = await self._database.fetchrow(QUERIES.get_invitation, made)
        if row is None:
            raise NotFound("There is no such account.")
        return Invitation(**row), token

    async def role_invited(self, account: str, email: str) -> str | None:
        """As what somebody is invited by now; within a transaction it stays so. None if they are not."""
        role: str | None = await self._database.fetchval(QUERIES.role_invited, account, email)
        return role

    async def invitations(self, account: str) -> list[Invitation]:
        """Those that can still be accepted."""
        rows = await self._database.fetch(QUERIES.invitations_of_account, account)
        return [Invitation(**row) for row in rows]

    async def find_invitation(self, token: str) -> Invitation | None:
        """The invitation that this token accepts; within a transaction nobody else accepts it meanwhile."""
        digest = digest_of(Purpose.INVITE, token)
        row = None if digest is None else await self._database.fetchrow(QUERIES.find_invitation, digest)
        return None if row is None else Invitation(**row)

    async def get_invitation(self, public_id: str, account: str) -> Invitation:
        """An invitation to this account."""
        row = None
        if _PUBLIC_ID.fullmatch(public_id):
            row = await self._database.fetchrow(QUERIES.find_invitation_of_account, public_id, account)
        if row is None:
            raise NotFound("There is no such invitation.")
        return Invitation(**row)

    async def drop_invitation(self, invitation: Invitation) -> None:
        """It can not be accepted any more."""
        await self._database.execute(QUERIES.drop_invitation, invitation.id)
