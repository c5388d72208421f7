"""`/api/v1/auth/members` and `/api/v1/auth/invitations`: who belongs to an account."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from gateway.controlplane import people_wording
from gateway.controlplane.bodies import Sent, answer, read_body
from gateway.controlplane.callers import MEMBERSHIP, PERSON
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.doors import caller_of
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.entry_api import Text
from gateway.controlplane.identity import Identity
from gateway.controlplane.problems import Problem
from gateway.people import checks
from gateway.people.inviting import Inviting
from gateway.people.memberships import Memberships
from gateway.people.records import Membership
from gateway.people.roles import may_decide_about

MEMBER = "/members/{member:member_[0-9A-Za-z]+}"
INVITATION = "/invitations/{invitation:invitation_[0-9A-Za-z]+}"

Role = Literal["owner", "admin", "member", "billing"]


class Invited(Sent):
    """Who may become a member, and as what."""

    email: Text
    role: Role = "member"


class NewRole(Sent):
    """What a member is from now on."""

    role: Role


class MembersApi:
    """What members do about members."""

    def __init__(self, with_: Collaborators, identity: Identity) -> None:
        self._pool, self._identity = with_.pool, identity

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/api/v1/auth`."""
        words = people_wording
        read, write = "members:read", "members:write"
        return [
            Endpoint("GET", "/members", self.list_members, read, words.MemberList),
            Endpoint(
                "PATCH", MEMBER, self.change_member, write, words.MemberDocument, body=NewRole, refuses=(409,)
            ),
            # Whoever is a member may leave.
            Endpoint("DELETE", MEMBER, self.remove_member, read, words.MemberDocument, refuses=(409,)),
            Endpoint("GET", "/invitations", self.list_invitations, read, words.InvitationList),
            Endpoint(
                "POST",
                "/invitations",
                self.invite,
                write,
                words.InvitationDocument,
                body=Invited,
                status=201,
                refuses=(409,),
            ),
            Endpoint("DELETE", INVITATION, self.withdraw, write, words.InvitationDocument),
        ]

    async def list_members(self, request: web.Request) -> web.Response:
        """Every member of the account."""
        found = await Memberships(self._pool).of_account(request[MEMBERSHIP].account)
        return answer({"data": [people_wording.member(one) for one in found]})

    async def change_member(self, request: web.Request) -> web.Response:
        """Give a member another role. Only owners make owners, or change what an owner is."""
        wanted = await read_body(request, NewRole)
        members, own = Memberships(request[CONNECTION]), request[MEMBERSHIP]
        member = await members.get(request.match_info["member"], own.account)
        _check(own, member.role, wanted.role)
        return answer(people_wording.member(await members.set_role(member, wanted.role)))

    async def remove_member(self, request: web.Request) -> web.Response:
        """Take a member away, at once; anybody may leave. An account keeps at least one owner."""
        members, own = Memberships(request[CONNECTION]), request[MEMBERSHIP]
        member = await members.get(request.match_info["member"], own.account)
        if member.person != request[PERSON].public_id:
            _check(own, member.role)
        await members.remove(member)
        return answer(people_wording.member(member))

    async def list_invitations(self, request: web.Request) -> web.Response:
        """Invitations that can still be accepted."""
        found = await Memberships(self._pool).invitations(request[MEMBERSHIP].account)
        return answer({"data": [people_wording.invitation(one) for one in found]})

    async def invite(self, request: web.Request) -> web.Response:
        """Send somebody a mail whose link makes them a member. It replaces an earlier one."""
        wanted, own = await read_body(request, Invited), request[MEMBERSHIP]
        _check(own, wanted.role)
        email = checks.check_email(wanted.email)
        if replaced := await Memberships(request[CONNECTION]).role_invited(own.account, email):
            _check(own, replaced)
        inviting = Inviting(self._identity.outbox, self._identity.portal_url)
        self._identity.doors.mail(caller_of(request), email)
        made = await inviting.invite(request[CONNECTION], own.account, email, wanted.role)
        return answer(people_wording.invitation(made), status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """The invitation can not be accepted any more."""
        members, own = Memberships(request[CONNECTION]), request[MEMBERSHIP]
        invitation = await members.get_invitation(request.match_info["invitation"], own.account)
        _check(own, invitation.role)
        await members.drop_invitation(invitation)
        return answer(people_wording.invitation(invitation))


def _check(own: Membership, *roles: str) -> None:
    """Whether this member may give or take away these roles."""
    if not all(may_decide_about(own.role, role) for role in roles):
        detail = f"Members in the role `{own.role}` do not decide about that."
        raise Problem(403, "forbidden", detail, extensions={"role": own.role})
