"""`/api/v1/auth`: registering, logging in and out, and forgotten passwords."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field, StrictBool

from gateway.controlplane import people_wording
from gateway.controlplane.bodies import Sent, answer, read_body
from gateway.controlplane.callers import CHALLENGE, CLAIMS
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.doors import caller_of
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.entrance import Entrance
from gateway.controlplane.identity import Identity
from gateway.controlplane.portal_endpoints import PUBLIC, SELF
from gateway.controlplane.problems import REQUEST_ID, Problem
from gateway.controlplane.proofs import Proofs
from gateway.controlplane.repeats import Handler
from gateway.controlplane.wording import instant_us
from gateway.operators.acting import acting
from gateway.people import access_tokens
from gateway.people.records import actor_of
from gateway.people.sessions import Opened, Reused, Sessions

Text = Annotated[str, Field(max_length=2000)]


class Newcomer(Sent):
    """Who wants to register. `name` is the person's, `account_name` what the account is called."""

    email: Text
    password: Text
    name: Text = ""
    account_name: Text = ""


class MailToken(Sent):
    """The token of a mail."""

    token: Text


class Confirmation(MailToken):
    """The token of a mail, and the password of the registration it belongs to."""

    password: Text


class LogIn(Sent):
    """What proves who it is. `code`: of the authenticator app, or a recovery code."""

    email: Text
    password: Text
    code: Text | None = None


class RefreshToken(Sent):
    """The refresh token of a session."""

    refresh_token: Text


class LogOut(RefreshToken):
    """Which session ends; `everywhere`: all sessions of its person."""

    everywhere: StrictBool = False


class Forgotten(Sent):
    """Whose password is forgotten."""

    email: Text


class Reset(MailToken):
    """Another password, and the token of the mail that allows it."""

    password: Text


class Acceptance(MailToken):
    """The token of an invitation; a password, and a name, of who has not registered yet."""

    password: Text | None = None
    name: Text = ""


class EntryApi:
    """What needs no session, begins one or ends one."""

    def __init__(self, with_: Collaborators, identity: Identity, entrance: Entrance) -> None:
        self._pool, self._clock = with_.pool, with_.clock
        self._identity, self._entrance = identity, entrance
        self._proofs = Proofs(with_.pool, identity, with_.clock)

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/api/v1/auth`."""
        words = people_wording
        posts: list[tuple[str, Handler, object, type[Sent], int]] = [
            ("/register", self.register, words.Accepted, Newcomer, 202),
            ("/verify", self.verify, words.PersonDocument, Confirmation, 201),
            ("/login", self.log_in, words.SessionDocument, LogIn, 200),
            ("/refresh", self.refresh, words.SessionDocument, RefreshToken, 200),
            ("/logout", self.log_out, words.Done, LogOut, 200),
            ("/password/forgot", self.forgot_password, words.Accepted, Forgotten, 202),
            ("/password/reset", self.reset_password, words.Done, Reset, 200),
            ("/invitations/accept", self.accept_invitation, words.Done, Acceptance, 200),
        ]
        public = [
            Endpoint("POST", path, handler, PUBLIC, answers, body=body, status=status)
            for path, handler, answers, body, status in posts
        ]
        return [*public, Endpoint("POST", "/validate", self.validate, SELF, words.ValidDocument)]

    async def register(self, request: web.Request) -> web.Response:
        """Begin to register. A mail with a link follows, whose token goes to `verify`."""
        wanted = await read_body(request, Newcomer)
        names = wanted.name, wanted.account_name
        await self._entrance.register(caller_of(request), wanted.email, wanted.password, names)
        return answer(people_wording.ACCEPTED, status=202)

    async def verify(self, request: web.Request) -> web.Response:
        """Confirm the mail address. Now there is a person, and an account that is theirs."""
        sent, caller = await read_body(request, Confirmation), caller_of(request)
        person = await self._entrance.verify(caller, sent.token, sent.password, request[REQUEST_ID])
        return answer(people_wording.person(person), status=201)

    async def log_in(self, request: web.Request) -> web.Response:
        """Begin a session, with mail address and password, and a code if an authenticator app is set up."""
        sent, caller = await read_body(request, LogIn), caller_of(request)
        known = await self._proofs.password(caller, sent.email, sent.password)
        async with acting(self._pool, known.person.actor, request[REQUEST_ID]) as connection:
            await self._proofs.code(connection, known, sent.code)
            opened = await self._identity.sessions(connection).begin(known.person)
        self._identity.doors.logged_in(caller, sent.email)
        return await self._session(opened)

    async def refresh(self, request: web.Request) -> web.Response:
        """Go on with a session. The refresh token works once; a second use ends the session.

        Unless it follows within 20 seconds, because the answer was lost: that gets the same token again.
        """
        sent, caller = await read_body(request, RefreshToken), caller_of(request)
        person = await self._person_of(caller, sent.refresh_token)
        opened: Opened | Reused | None = None
        if person is not None:
            key = await self._identity.vault.successor_key()
            async with acting(self._pool, actor_of(person), request[REQUEST_ID]) as connection:
                opened = await self._identity.sessions(connection).exchange(sent.refresh_token, key)
        if not isinstance(opened, Opened):  # said once the transaction is done: it may have ended the session
            detail = "This refresh token does not work. Log in again."
            raise Problem(401, "unauthenticated", detail, headers=CHALLENGE)
        return await self._session(opened)

    async def log_out(self, request: web.Request) -> web.Response:
        """End a session, or all of its person, at once. A token that does not work changes nothing."""
        sent, caller = await read_body(request, LogOut), caller_of(request)
        person = await self._person_of(caller, sent.refresh_token)
        if person is not None:
            async with acting(self._pool, actor_of(person), request[REQUEST_ID]) as connection:
                sessions = self._identity.sessions(connection)
                await sessions.end(sent.refresh_token, everywhere=sent.everywhere)
        return answer(people_wording.DONE)

    async def validate(self, request: web.Request) -> web.Response:
        """Whether an access token works, and whose it is."""
        claims = request[CLAIMS]
        document: people_wording.ValidDocument = {
            "person": claims.person,
            "session": claims.session,
            "expires_at": instant_us(claims.expires_at_s * 1_000_000),
        }
        return answer(document)

    async def forgot_password(self, request: web.Request) -> web.Response:
        """Ask for another password. If somebody has the address, a mail with a link follows."""
        sent = await read_body(request, Forgotten)
        await self._entrance.forgot(caller_of(request), sent.email)
        return answer(people_wording.ACCEPTED, status=202)

    async def reset_password(self, request: web.Request) -> web.Response:
        """Set another password with the token of the mail. Every session of the person ends."""
        sent = await read_body(request, Reset)
        await self._entrance.reset(caller_of(request), sent.token, sent.password, request[REQUEST_ID])
        return answer(people_wording.DONE)

    async def accept_invitation(self, request: web.Request) -> web.Response:
        """Become a member of an account, with the token of the mail. Who is new sets a password."""
        sent = await read_body(request, Acceptance)
        await self._entrance.accept(
            caller_of(request), sent.token, sent.password, request[REQUEST_ID], sent.name
        )
        return answer(people_wording.DONE)

    async def _person_of(self, caller: str, refresh_token: str) -> str | None:
        """Whose token it is; tokens that never were are counted as guesses."""
        self._identity.doors.token(caller)
        person = await Sessions(self._pool).person_of_token(refresh_token)
        if person is not None:
            self._identity.doors.token_was_right(caller)
        return person

    async def _session(self, opened: Opened) -> web.Response:
        access_token = await self._identity.access_token(opened.person, opened.session, self._clock)
        document: people_wording.SessionDocument = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": min(access_tokens.LIFE_S, opened.left_s),
            "refresh_token": opened.refresh_token,
            "refresh_expires_in": opened.left_s,
        }
        return answer(document)
