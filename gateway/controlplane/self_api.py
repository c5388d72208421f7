"""`/api/v1/auth/me`, one's own password and second factor."""

from __future__ import annotations

from aiohttp import web

from gateway.controlplane import people_wording
from gateway.controlplane.bodies import Sent, answer, arrived, read_body
from gateway.controlplane.callers import PERSON, SESSION
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.doors import caller_of
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.entry_api import Text
from gateway.controlplane.identity import Identity
from gateway.controlplane.portal_endpoints import SELF
from gateway.controlplane.problems import REQUEST_ID
from gateway.controlplane.proofs import Proofs, wrong_code
from gateway.controlplane.repeats import answer_before, answer_once, repeatable_of
from gateway.errors import Conflict
from gateway.operators.acting import acting
from gateway.operators.idempotency import Repeatable
from gateway.people import checks, mails, totp
from gateway.people.memberships import Memberships
from gateway.people.records import Credentials, Person
from gateway.people.requests import Requests
from gateway.people.sessions import Ended, Sessions
from gateway.people.store import People

ISSUER = "Tollway"
OPEN_SESSION = "/sessions/{session:session_[0-9A-Za-z]+}"


class Proof(Sent):
    """Proves that it is still oneself."""

    password: Text


class FullProof(Proof):
    """The same, with a code of the app or a recovery code."""

    code: Text


class PasswordChange(Sent):
    """The password until now, the one from now on, and a code where an app is set up."""

    current_password: Text
    password: Text
    code: Text | None = None


class Code(Sent):
    """What the app shows now."""

    code: Text


class SelfApi:
    """What one does with oneself."""

    def __init__(self, with_: Collaborators, identity: Identity) -> None:
        self._pool, self._identity = with_.pool, identity
        self._proofs = Proofs(with_.pool, identity, with_.clock)

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/api/v1/auth`."""
        words = people_wording
        return [
            Endpoint("GET", "/me", self.get_me, SELF, words.MeDocument),
            Endpoint("GET", "/sessions", self.list_sessions, SELF, words.SessionList),
            Endpoint("DELETE", OPEN_SESSION, self.end_session, SELF, words.Done, refuses=(404,)),
            Endpoint("POST", "/password/change", self.change_password, SELF, words.Done, body=PasswordChange),
            Endpoint(
                "POST",
                "/totp/enable",
                self.enable_totp,
                SELF,
                words.TotpOffer,
                body=Proof,
                refuses=(409,),
                repeatable=True,
            ),
            Endpoint(
                "POST",
                "/totp/confirm",
                self.confirm_totp,
                SELF,
                words.RecoveryCodes,
                body=Code,
                refuses=(409,),
                repeatable=True,
            ),
            Endpoint("POST", "/totp/disable", self.disable_totp, SELF, words.Done, body=FullProof),
        ]

    async def get_me(self, request: web.Request) -> web.Response:
        """Oneself, and the accounts one belongs to."""
        person = request[PERSON]
        accounts = await Memberships(self._pool).of_person(person)
        document: people_wording.MeDocument = {
            **people_wording.person(person),
            "recovery_codes_left": await People(self._pool).count_recovery_codes(person),
            "accounts": [people_wording.own_account(one) for one in accounts],
        }
        return answer(document)

    async def list_sessions(self, request: web.Request) -> web.Response:
        """One's sessions that go on, the one that asks among them."""
        found, current = (
            await self._identity.sessions(self._pool).of_person(request[PERSON]),
            request[SESSION],
        )
        return answer({"data": [people_wording.session(one, current) for one in found]})

    async def end_session(self, request: web.Request) -> web.Response:
        """End one of one's sessions: its tokens work no more."""
        person, session = request[PERSON], request.match_info["session"]
        async with acting(self._pool, person.actor, request[REQUEST_ID]) as connection:
            await Sessions(connection).end_of_person(session, person)
        return answer(people_wording.DONE)

    async def change_password(self, request: web.Request) -> web.Response:
        """Set another password. All other sessions end."""
        sent = await read_body(request, PasswordChange)
        known = await self._prove(request, sent.current_password)
        checks.check_password(sent.password, known.person.email)
        password_hash = await self._identity.passwords.hash(sent.password)
        async with acting(self._pool, known.person.actor, request[REQUEST_ID]) as connection:
            await self._proofs.code(connection, known, sent.code)
            await People(connection).set_password(known.person, password_hash)
            await Requests(connection).drop_resets(known.person)
            but = request[SESSION]
            await Sessions(connection).end_all(known.person.public_id, Ended.PASSWORD, but=but)
            mail = mails.password_changed(known.person.email, self._identity.portal_url)
            await self._identity.outbox.put(connection, mail)
        self._identity.outbox.wake()
        return answer(people_wording.DONE)

    async def enable_totp(self, request: web.Request) -> web.Response:
        """Begin to set up an authenticator app. It is asked for once `confirm` has seen a code of it."""
        sent, repeatable = await read_body(request, Proof), await self._repeatable(request)
        if (before := await answer_before(self._pool, repeatable)) is not None:
            return before
        known = await self._prove(request, sent.password)
        secret = totp.new_secret()
        sealed = await self._proofs.seal_totp(known.person, secret)
        async with acting(self._pool, known.person.actor, request[REQUEST_ID]) as connection:

            async def offer(_: web.Request) -> web.Response:
                if not await People(connection).offer_totp(known.person, sealed):
                    raise Conflict("An authenticator app is set up already. Disable it first.")
                document: people_wording.TotpOffer = {
                    "secret": totp.spelled(secret),
                    "uri": totp.uri(secret, known.person.email, ISSUER),
                }
                return answer(document)

            return await answer_once(connection, repeatable, request, offer)

    async def confirm_totp(self, request: web.Request) -> web.Response:
        """From now on log-ins need a code. Answers with recovery codes, the only time they are shown."""
        sent, person = await read_body(request, Code), request[PERSON]
        repeatable = await self._repeatable(request)
        if (before := await answer_before(self._pool, repeatable)) is not None:
            return before
        known, step = await self._offered(person, sent.code)
        async with acting(self._pool, person.actor, request[REQUEST_ID]) as connection:

            async def enable(_: web.Request) -> web.Response:
                codes = totp.new_recovery_codes()
                digests = [digest for digest in map(totp.recovery_digest, codes) if digest is not None]
                if not await People(connection).enable_totp(known, step, digests):
                    raise Conflict("Another app was offered meanwhile. Begin again with `enable`.")
                document: people_wording.RecoveryCodes = {"recovery_codes": codes}
                return answer(document)

            return await answer_once(connection, repeatable, request, enable)

    async def _offered(self, person: Person, code: str) -> tuple[Credentials, int]:
        """The app that waits to be confirmed, and the step of its code. Raises Problem and Conflict."""
        known = await People(self._pool).credentials(person.email)
        if known is None or known.totp_sealed is None or person.totp_enabled_at is not None:
            raise Conflict("No authenticator app waits to be confirmed. Begin with `enable`.")
        self._identity.doors.code(person.public_id)
        step = await self._proofs.step(known, code)
        if step is None:
            raise wrong_code()
        self._identity.doors.code_was_right(person.public_id)
        return known, step

    async def _repeatable(self, request: web.Request) -> Repeatable | None:
        credential = await self._identity.vault.credential(request[PERSON].public_id)
        return repeatable_of(request, await arrived(request), credential)

    async def disable_totp(self, request: web.Request) -> web.Response:
        """From now on the password is enough."""
        sent = await read_body(request, FullProof)
        known = await self._prove(request, sent.password)
        async with acting(self._pool, known.person.actor, request[REQUEST_ID]) as connection:
            await self._proofs.code(connection, known, sent.code)
            await People(connection).disable_totp(known.person)
        return answer(people_wording.DONE)

    async def _prove(self, request: web.Request, password: str) -> Credentials:
        caller, email = caller_of(request), request[PERSON].email
        known = await self._proofs.password(caller, email, password)
        self._identity.doors.logged_in(caller, email)
        return known
