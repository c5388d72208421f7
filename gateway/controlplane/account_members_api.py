"""`/admin/v1/accounts/{account}/members` and `.../invitations`: who belongs to an account, for operators."""

from __future__ import annotations

from aiohttp import web

from gateway.accounts.store import Accounts
from gateway.controlplane import people_wording
from gateway.controlplane.accounts_api import ACCOUNT
from gateway.controlplane.bodies import Sent, answer, read_body
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.entry_api import Text
from gateway.controlplane.members_api import INVITATION, MEMBER, NewRole, Role
from gateway.people.inviting import Inviting
from gateway.people.memberships import Memberships
from gateway.storage.postgres import Pool


class FirstMember(Sent):
    """Who may become a member, and as what: an owner unless it says otherwise, who invites the others."""

    email: Text
    role: Role = "owner"


class AccountMembersApi:
    """What operators do about members, so that an account they made gets its first owner."""

    def __init__(self, pool: Pool, accounts: Accounts, inviting: Inviting) -> None:
        self._pool, self._accounts, self._inviting = pool, accounts, inviting

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        words, read, write = people_wording, "members:read", "members:write"
        member, invitations = f"{ACCOUNT}{MEMBER}", f"{ACCOUNT}/invitations"
        one, invited = words.MemberDocument, words.InvitationDocument
        return [
            Endpoint("GET", f"{ACCOUNT}/members", self.list_members, read, words.MemberList),
            Endpoint("PATCH", member, self.change_member, write, one, body=NewRole, refuses=(409,)),
            Endpoint("DELETE", member, self.remove_member, write, one, refuses=(409,)),
            Endpoint("GET", invitations, self.list_invitations, read, words.InvitationList),
            Endpoint(
                "POST",
                invitations,
                self.invite,
                write,
                invited,
                body=FirstMember,
                status=201,
                refuses=(409,),
                done=self._inviting.outbox.wake,
            ),
            Endpoint("DELETE", f"{ACCOUNT}{INVITATION}", self.withdraw, write, invited),
        ]

    async def list_members(self, request: web.Request) -> web.Response:
        """Every member of an account."""
        account = await self._accounts.get_account(request.match_info["account"])
        found = await Memberships(self._pool).of_account(account.public_id)
        return answer({"data": [people_wording.member(one) for one in found]})

    async def change_member(self, request: web.Request) -> web.Response:
        """Give a member another role. An account with members keeps at least one owner."""
        wanted = await read_body(request, NewRole)
        members = Memberships(request[CONNECTION])
        member = await members.get(request.match_info["member"], request.match_info["account"])
        return answer(people_wording.member(await members.set_role(member, wanted.role)))

    async def remove_member(self, request: web.Request) -> web.Response:
        """Take a member away, at once. An account with members keeps at least one owner."""
        members = Memberships(request[CONNECTION])
        member = await members.get(request.match_info["member"], request.match_info["account"])
        await members.remove(member)
        return answer(people_wording.member(member))

    async def list_invitations(self, request: web.Request) -> web.Response:
        """Invitations that can still be accepted."""
        account = await self._accounts.get_account(request.match_info["account"])
        found = await Memberships(self._pool).invitations(account.public_id)
        return answer({"data": [people_wording.invitation(one) for one in found]})

    async def invite(self, request: web.Request) -> web.Response:
        """Send somebody a mail whose link makes them a member. It replaces an earlier one."""
        wanted = await read_body(request, FirstMember)
        account = await self._accounts.on(request[CONNECTION]).get_account(request.match_info["account"])
        made = await self._inviting.invite(request[CONNECTION], account.public_id, wanted.email, wanted.role)
        return answer(people_wording.invitation(made), status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """The invitation can not be accepted any more."""
        members = Memberships(request[CONNECTION])
        account, invitation = request.match_info["account"], request.match_info["invitation"]
        found = await members.get_invitation(invitation, account)
        await members.drop_invitation(found)
        return answer(people_wording.invitation(found))
