"""Proving that it is oneself: password, and code where one is asked for."""

from __future__ import annotations

import logging

from gateway.clock import Clock
from gateway.controlplane.callers import CHALLENGE
from gateway.controlplane.identity import Identity
from gateway.controlplane.problems import Problem
from gateway.people import totp
from gateway.people.records import Credentials, Person
from gateway.people.store import People
from gateway.storage.postgres import Connection, Pool

log = logging.getLogger("tollway.portal")


class Proofs:
    """Compares what is given with what is kept. Raises Problem, Invalid for no mail address, and Busy."""

    def __init__(self, pool: Pool, identity: Identity, clock: Clock) -> None:
        self._pool, self._identity, self._clock = pool, identity, clock

    async def password(self, caller: str, email: str, password: str) -> Credentials:
        """Who has this address and this password. It takes as long for an address nobody has."""
        people = People(self._pool)
        self._identity.doors.log_in(caller, email)
        known = await people.credentials(email)
        passwords = self._identity.passwords
        right = await passwords.matches(None if known is None else known.password_hash, password)
        if known is None or not right:
            raise _wrong_credentials()
        if passwords.is_dated(known.password_hash):
            await people.refresh_hash(known, await passwords.hash(password))
        return known

    async def code(self, connection: Connection, known: Credentials, code: str | None) -> None:
        """The code of the app, or a recovery code, if the person uses an app. Each works once.

        In the transaction of what it is asked for. Whoever set another password meanwhile ended all that the
        one before could prove.
        """
        if await People(connection).has_changed(known):
            raise _wrong_credentials()
        if known.person.totp_enabled_at is None:
            return
        if code is None:
            detail = "Send the `code` of your authenticator app, too, or one of your recovery codes."
            raise Problem(401, "second_factor_required", detail, headers=CHALLENGE)
        self._identity.doors.code(known.person.public_id)
        if not await self._use(connection, known, code):
            raise wrong_code()
        self._identity.doors.code_was_right(known.person.public_id)

    async def _use(self, connection: Connection, known: Credentials, code: str) -> bool:
        people = People(connection)
        digest = totp.recovery_digest(code)
        if digest is not None:
            return await people.use_recovery_code(known.person, digest)
        step = await self.step(known, code)
        return step is not None and await people.use_step(known.person, step)

    async def step(self, known: Credentials, code: str) -> int | None:
        """Which step of the person's app this code is of; None if of none that can be used."""
        secret = await self.totp_secret(known)
        now_s = self._clock.now_us() // 1_000_000
        return None if secret is None else totp.step_of(secret, code, now_s, known.totp_step)

    async def totp_secret(self, known: Credentials) -> bytes | None:
        """What the app shares with us; None if there is none, or the portal's secret is another now."""
        if known.totp_sealed is None:
            return None
        secret = await self._identity.vault.open(known.totp_sealed, known.person.public_id)
        if secret is None:
            log.error("authenticator apps were set up with another portal secret: recovery codes still work")
        return secret

    async def seal_totp(self, person: Person, secret: bytes) -> bytes:
        """What is kept of an app's secret."""
        return await self._identity.vault.seal(secret, person.public_id)


def _wrong_credentials() -> Problem:
    detail = "Mail address and password do not fit, or the address has not been confirmed yet."
    return Problem(401, "wrong_credentials", detail, headers=CHALLENGE)


def wrong_code() -> Problem:
    """For a code that is wrong, used or too old."""
    return Problem(
        401, "wrong_code", "This code does not work. Each works once, and soon.", headers=CHALLENGE
    )
