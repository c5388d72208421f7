"""People on the portal port, recognised by their access token, and the account they act for."""

from __future__ import annotations

from aiohttp import web

from gateway.clock import Clock
from gateway.controlplane.identity import Identity
from gateway.controlplane.problems import Problem, invalid
from gateway.people import access_tokens
from gateway.people.memberships import Memberships
from gateway.people.records import Membership, Person
from gateway.people.roles import may
from gateway.storage.postgres import Pool

PERSON = web.RequestKey("person", Person)
"""Where handlers find who asks,"""
SESSION = web.RequestKey("session", str)
"""by which session,"""
CLAIMS = web.RequestKey("claims", access_tokens.Claims)
"""with which token,"""
MEMBERSHIP = web.RequestKey("membership", Membership)
"""and as a member of which account."""

ACCOUNT_HEADER = "Tollway-Account"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tollway-portal"'}


def bearer_of(request: web.Request) -> str:
    """The token of the one `Authorization: Bearer` header; empty without."""
    values = request.headers.getall("Authorization", [])
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip(" ") if scheme.lower() == "bearer" else ""


class Callers:
    """Lets nobody pass whose session is over, and nobody act for an account without the right."""

    def __init__(self, pool: Pool, identity: Identity, clock: Clock) -> None:
        self._identity, self._clock = identity, clock
        self._sessions, self._memberships = identity.sessions(pool), Memberships(pool)

    async def recognise(self, request: web.Request) -> Person:
        """Who asks. Raises Problem 401; all tokens that do not work are answered alike."""
        claims = await self._identity.read_token(bearer_of(request), self._clock)
        person = None if claims is None else await self._sessions.find_person(claims.session, claims.person)
        if claims is None or person is None:
            detail = "Send an access token of a session that goes on, as `Authorization: Bearer <token>`."
            raise Problem(401, "unauthenticated", detail, headers=CHALLENGE)
        request[PERSON], request[SESSION], request[CLAIMS] = person, claims.session, claims
        return person

    async def credential(self, person: Person) -> bytes:
        """A secret that stands for the person in all of their sessions."""
        return await self._identity.vault.credential(person.public_id)

    async def act_for_account(self, request: web.Request, right: str) -> Membership:
        """The person's membership of the account in question, if it has the right. Raises Problem."""
        person = await self.recognise(request)
        chosen = _choose(
            await self._memberships.of_person(person), request.headers.getall(ACCOUNT_HEADER, [])
        )
        if not may(chosen.role, right):
            detail = f"Members in the role `{chosen.role}` do not have the right `{right}`."
            raise Problem(403, "forbidden", detail, extensions={"required_right": right, "role": chosen.role})
        request[MEMBERSHIP] = chosen
        return chosen


def _choose(memberships: list[Membership], named: list[str]) -> Membership:
    """The membership that the header names, or the only one."""
    if len(named) > 1:
        raise invalid([(ACCOUNT_HEADER, "is given more than once")])
    fitting = [one for one in memberships if not named or one.account == named[0]]
    if not fitting:
        raise Problem(404, "not_found", "You are not a member of such an account.")
    if len(fitting) > 1:
        raise invalid([(ACCOUNT_HEADER, "must name one of your accounts, as you have several")])
    return fitting[0]
