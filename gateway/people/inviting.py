"""Inviting somebody into an account: the invitation, and the mail whose link accepts it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import Conflict
from gateway.people import checks, mails
from gateway.people.memberships import Memberships
from gateway.people.outbox import Outbox
from gateway.people.records import Invitation
from gateway.storage.postgres import Connection


@dataclass(frozen=True, slots=True)
class Inviting:
    """What invitations need beside the database. `portal_url`: as mails show it, no slash at its end."""

    outbox: Outbox
    portal_url: str

    async def invite(self, connection: Connection, account: str, email: str, role: str) -> Invitation:
        """An invitation, and its mail; `outbox.wake` once the transaction of the connection is done.

        It takes the place of an earlier one to the same address. Raises Conflict for who is a member already,
        NotFound for an account that is not there, and Invalid.
        """
        members = Memberships(connection)
        checks.check_email(email)
        if any(one.email.lower() == email.lower() for one in await members.of_account(account)):
            raise Conflict("Who has this mail address is a member already.")
        made, token = await members.invite(account, email, role)
        await self.outbox.put(connection, mails.invitation(made, self.portal_url, token))
        return made
