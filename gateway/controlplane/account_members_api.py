"""`/admin/v1/accounts/{account}/members` and `.../invitations`: who belongs to an account, for operators."""

from __future__ import annotations

from aiohttp import web

from gateway.accounts.store import Accounts
from gateway.controlplane import people_wording
from gateway.controlplane.accounts_api import ACCOUNT, Empty, Page
from gateway.controlplane.bodies import Sent, answer, check_match, read_body, read_query, tagged
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.entry_api import Text
from gateway.controlplane.members_api import INVITATION, MEMBER, NewRole, Role
from gateway.people.inviting import Inviting
from gateway.people.memberships import Memberships
from gateway.people.records import Membership
from gateway.storage.postgres import Pool


class FirstMember(Sent):
    """Who may become a member, and as what: an owner unless it says otherwise, who invites the others."""

    email: Text
    role: Role = "owner"


class MembersQuestion(Page):
    """Which of them."""

    role: Role | None = None


class MemberPage(people_wording.MemberList):
    """A page of members."""

    next: str | None


class InvitationPage(people_wording.InvitationList):
    """A page of invitations."""

    next: str | None


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
            Endpoint("GET", f"{ACCOUNT}/members", self.list_members, read, MemberPage, query=MembersQuestion),
            Endpoint("GET", member, self.get_member, read, one),
            Endpoint("PATCH", member, self.change_member, write, one, body=NewRole, refuses=(409, 412)),
            Endpoint("DELETE", member, self.remove_member, write, one, body=Empty, refuses=(409, 412)),
            Endpoint("GET", invitations, self.list_invitations, read, InvitationPage, query=MembersQuestion),
            Endpoint("GET", f"{ACCOUNT}{INVITATION}", self.get_invitation, read, invited),
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
            Endpoint(
                "DELETE",
                f"{ACCOUNT}{INVITATION}",
                self.withdraw,
                write,
                invited,
                body=Empty,
                refuses=(412,),
            ),
        ]

    async def list_members(self, request: web.Request) -> web.Response:
        """The members of an account, first who joined first."""
        page = read_query(request, MembersQuestion)
        account = await self._accounts.get_account(request.match_info["account"])
        found = await Memberships(self._pool).of_account(account.public_id)
        fitting = [one for one in found if page.role in (None, one.role)]
        return answer(page.cut([(one.public_id, people_wording.member(one)) for one in fitting]))

    async def get_member(self, request: web.Request) -> web.Response:
        """One member. The `ETag` goes into `If-Match` of a change that must not undo somebody else's."""
        members = Memberships(self._pool)
        found = await members.get(request.match_info["member"], request.match_info["account"])
        return tagged(people_wording.member(found))

    async def change_member(self, request: web.Request) -> web.Response:
        """Give a member another role. An account with members keeps at least one owner."""
        wanted = await read_body(request, NewRole)
        members, member = await self._seen_member(request)
        return tagged(people_wording.member(await members.set_role(member, wanted.role)))

    async def remove_member(self, request: web.Request) -> web.Response:
        """Take a member away, at once. An account with members keeps at least one owner."""
        await read_body(request, Empty)
        members, member = await self._seen_member(request)
        await members.remove(member)
        return answer(people_wording.member(member))

    async def list_invitations(self, request: web.Request) -> web.Response:
        """Invitations that can still be accepted."""
        page = read_query(request, MembersQuestion)
        account = await self._accounts.get_account(request.match_info["account"])
        found = await Memberships(self._pool).invitations(account.public_id)
        fitting = [one for one in found if page.role in (None, one.role)]
        return answer(page.cut([(one.public_id, people_wording.invitation(one)) for one in fitting]))

    async def get_invitation(self, request: web.Request) -> web.Response:
        """One invitation, with its `ETag`."""
        members = Memberships(self._pool)
        found = await members.get_invitation(request.match_info["invitation"], request.match_info["account"])
        return tagged(people_wording.invitation(found))

    async def invite(self, request: web.Request) -> web.Response:
        """Send somebody a mail whose link makes them a member. It replaces an earlier one."""
        wanted = await read_body(request, FirstMember)
        account = await self._accounts.on(request[CONNECTION]).get_account(request.match_info["account"])
        made = await self._inviting.invite(request[CONNECTION], account.public_id, wanted.email, wanted.role)
        return answer(people_wording.invitation(made), status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """The invitation can not be accepted any more."""
        await read_body(request, Empty)
        members = await self._lock(request)
        account, invitation = request.match_info["account"], request.match_info["invitation"]
        found = await members.get_invitation(invitation, account)
        check_match(request, people_wording.invitation(found))
        await members.drop_invitation(found)
        return answer(people_wording.invitation(found))

    async def _seen_member(self, request: web.Request) -> tuple[Memberships, Membership]:
        """The member, until the transaction ends. Raises Problem if `If-Match` names another state."""
        members = await self._lock(request)
        found = await members.get(request.match_info["member"], request.match_info["account"])
        check_match(request, people_wording.member(found))
        return members, found

    async def _lock(self, request: web.Request) -> Memberships:
        """Members of an account are changed one after the other, as what an `ETag` says must stay true."""
        await self._accounts.on(request[CONNECTION]).lock_account(request.match_info["account"])
        return Memberships(request[CONNECTION])
