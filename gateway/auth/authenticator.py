"""From a request to its principal. For a key seen before: one SHA-256 and one dict look-up, no await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from hashlib import sha256
from typing import Any

from mypy_extensions import mypyc_attr

from gateway.accounts.keys import is_well_formed
from gateway.accounts.records import FoundKey
from gateway.auth.anonymous import anonymous_principal
from gateway.auth.cache import FRESH_US, Entry, KeyCache
from gateway.auth.credentials import Credentials, bearer_token
from gateway.auth.guesses import Guesses
from gateway.auth.jwks import IssuerKeys
from gateway.auth.jwt_claims import looks_like_token
from gateway.auth.lookups import Answer, KeyLookups, Lookup
from gateway.auth.query_keys import take_from_query
from gateway.auth.refusals import Refusals
from gateway.auth.rights import Rights
from gateway.auth.scopes import expect_scopes
from gateway.auth.tokens import Tokens
from gateway.clock import Clock
from gateway.errors import AccountSuspended, KeyLookupUnavailable, KeyRestricted, Unauthenticated
from gateway.model.access import KEYS_ONLY, Issuer
from gateway.model.exchange import Exchange
from gateway.model.policies import Route
from gateway.model.principal import Principal
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

OUTAGE_US = 3_600_000_000
"""How long a key that worked goes on working while Postgres is gone."""

AccountLookup = Callable[[str, bytes], Awaitable[FoundKey | None]]
"""Finds an account by name, for a digest that stands for it."""

_HIT = slot("key_cache_total", "hit")


@mypyc_attr(allow_interpreted_subclasses=True)  # tests say for themselves who somebody is
class Authenticator:
    """Recognises keys. Unknown, revoked, expired and malformed ones get the very same refusal, as late.

    Secrets are never compared: only their SHA-256 is looked up in a dict. Timing could at most tell about
    digests, and nobody can steer a digest or go back from it to a secret.
    """

    def __init__(
        self,
        lookup: Lookup,
        slots: Slots,
        clock: Clock,
        tasks: Tasks,
        key_prefix: str,
        *,
        foreign_keys: bool = False,
        account_lookup: AccountLookup | None = None,
        guesses: Guesses | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """`guesses`: slows down whoever tries many keys; without, nobody is. `refusals`: without, at once."""
        self.cache = KeyCache(slots)
        self._tokens = Tokens(clock, lambda issuer: IssuerKeys(issuer, clock, tasks))
        self._lookup, self._account_lookup = lookup, account_lookup
        self._lookups = KeyLookups(self._look_up, self.cache, slots, clock, tasks)
        self.rights = Rights(self.cache, self._lookups, clock)
        self._slots, self._cells = slots, slots.cells
        self._take = Credentials(key_prefix, foreign=foreign_keys).take
        self._foreign_keys = foreign_keys
        self._guesses = guesses or Guesses(clock, slots, 0)
        self._refusals = refusals or Refusals(clock, 0)
        self._entries = self.cache.entries

    def authenticate(self, exchange: Exchange) -> Coroutine[Any, Any, Principal]:
        """Who calls, once awaited. Credentials that are the upstream's go back into the head.

        Needs the route, and the instants of the start: an entry is judged by the time the request began.

        Raises `Unauthenticated`, `AccountSuspended`, `KeyRestricted`, `InsufficientScope`, `BadRequest` for
        what can be no key; for keys not seen before `TooManyGuesses`, or `KeyLookupUnavailable` while
        Postgres is gone.
        """
        route = exchange.route
        if route is None or route.access is KEYS_ONLY:
            return self._by_key(exchange)
        return self._by_access(exchange, route)

    async def _by_access(self, exchange: Exchange, route: Route) -> Principal:
        principal = await self._by_what_it_accepts(exchange, route)
        if route.access.scopes:
            expect_scopes(principal, route.access.scopes)
        return principal

    async def _by_what_it_accepts(self, exchange: Exchange, route: Route) -> Principal:
        """By whatever the route accepts. What is shown must work: nobody falls back to being anonymous."""
        access, head = route.access, exchange.head
        if access.query_key is not None:
            take_from_query(head, access.query_key)
        token = bearer_token(head.authorization) if access.issuers else None
        if token is not None and looks_like_token(token):
            if route.forward_credentials and head.authorization is not None:
                head.lines += (b"Authorization: ", head.authorization, b"\r\n")
            return await self._held(self._by_token(exchange, token, access.issuers), exchange)
        if access.anonymous is not None and head.api_key is None and bearer_token(head.authorization) is None:
            if head.authorization is not None:  # meant for the upstream
                head.lines += (b"Authorization: ", head.authorization, b"\r\n")
            return anonymous_principal(access.anonymous)
        if not access.keys:
            raise await self._nothing_shown(exchange, "no token of an issuer that the route believes")
        return await self._by_key(exchange)

    async def _by_token(self, exchange: Exchange, token: bytes, issuers: tuple[Issuer, ...]) -> Principal:
        verified = await self._tokens.verify(token, issuers)
        entry = self._entries.get(verified.digest)
        if entry is None:
            return verified.of(await self._not_known(verified.digest, exchange))
        if entry.fresh_until_us > exchange.started_monotonic_us:
            self._cells[_HIT] += 1
            return verified.of(self._checked(verified.digest, entry, exchange))
        return verified.of(await self._recheck(verified.digest, entry, exchange))

    async def _look_up(self, digest: bytes) -> FoundKey | None:
        name = self._tokens.references.name(digest)
        if name is None or self._account_lookup is None:
            return await self._lookup(digest)
        return await self._account_lookup(name, digest)

    async def _by_key(self, exchange: Exchange) -> Principal:
        route = exchange.route
        secret = self._take(exchange.head, forward=route is not None and route.forward_credentials)
        if secret is None:
            raise await self._nothing_shown(exchange, "no credential")
        digest = sha256(secret).digest()
        entry = self._entries.get(digest)
        if entry is not None and entry.fresh_until_us > exchange.started_monotonic_us:
            self._cells[_HIT] += 1
            principal = entry.principal
            if entry.active and principal.expires_at_us is None and principal.restrictions is None:
                return principal
        if entry is None:
            found = self._by_unseen_key(secret, digest, exchange)
        else:
            found = self._by_entry(digest, entry, exchange)
        return await self._held(found, exchange)

    async def _by_entry(self, digest: bytes, entry: Entry, exchange: Exchange) -> Principal:
        if entry.fresh_until_us > exchange.started_monotonic_us:
            return self._checked(digest, entry, exchange)
        return await self._recheck(digest, entry, exchange)

    async def _held(self, found: Coroutine[Any, Any, Principal], exchange: Exchange) -> Principal:
        """Who was found. A refusal is held until it is due."""
        try:
            return await found
        except Unauthenticated as error:
            refused = error
        await self._refusals.hold(exchange.started_monotonic_us)
        try:
            raise refused
        finally:
            del refused  # its frames hold it

    async def _nothing_shown(self, exchange: Exchange, internal: str) -> Unauthenticated:
        if exchange.head.authorization is not None:  # what looks like no key of ours waits like one
            await self._refusals.hold(exchange.started_monotonic_us)
        return Unauthenticated(internal=internal)

    async def _by_unseen_key(self, secret: bytes, digest: bytes, exchange: Exchange) -> Principal:
        # Whoever sends one and the same wrong key again and again does not guess.
        is_new = digest not in self.cache.negative and not self._lookups.is_asking(digest)
        if is_new:
            self._guesses.expect_few(exchange.client_address, secret)
        if not is_well_formed(secret) and not self._foreign_keys:
            self._slots.add("key_cache_total", 1, "malformed")
            raise Unauthenticated(internal="malformed key")
        try:
            return await self._not_known(digest, exchange)
        except Unauthenticated:
            if is_new:
                self._guesses.wrong(exchange.client_address, secret)
            raise

    async def _not_known(self, digest: bytes, exchange: Exchange) -> Principal:
        if self.cache.negative.get(digest, 0) > exchange.started_monotonic_us:
            self._slots.add("key_cache_total", 1, "negative_hit")
            raise Unauthenticated(internal="known not to work")
        answer = await self._lookups.ask(digest)
        if not answer.available:
            self._slots.add("key_cache_total", 1, "unavailable")
            raise KeyLookupUnavailable(internal="Postgres did not answer")
        return self._answered(answer, exchange)

    async def _recheck(self, digest: bytes, entry: Entry, exchange: Exchange) -> Principal:
        """An entry that is no longer fresh. While Postgres is gone it is good for `OUTAGE_US`."""
        age_us = exchange.started_monotonic_us - entry.checked_at_us
        if not self._lookups.quiet or age_us > OUTAGE_US:
            down = self._lookups.down
            asked = self._lookups.ask(digest)
            doubtful = entry.fresh_until_us == 0 or age_us > 2 * FRESH_US
            if age_us > OUTAGE_US or (doubtful and not down):
                # Too old, or changes may have been missed: a key revoked meanwhile must not pass even once.
                # Unless nobody answers anyway: then one call asks now and then, and no other waits for it.
                answer = await asked
                if answer.available:
                    return self._answered(answer, exchange)
        if age_us > OUTAGE_US:
            self._slots.add("key_cache_total", 1, "unavailable")
            raise KeyLookupUnavailable(internal="Postgres has been gone for too long")
        self._cells[_HIT] += 1
        return self._checked(digest, entry, exchange)

    def _checked(self, digest: bytes, entry: Entry, exchange: Exchange) -> Principal:
        expires_at_us = entry.principal.expires_at_us
        if expires_at_us is not None and expires_at_us <= exchange.started_at_us:
            self.cache.put_negative(digest, exchange.started_monotonic_us)
            raise Unauthenticated(internal="expired key")
        return self.usable(entry.principal, exchange, active=entry.active)

    def _answered(self, answer: Answer, exchange: Exchange) -> Principal:
        self._slots.add("key_cache_total", 1, "miss")
        if answer.found is None:
            raise Unauthenticated(internal="unknown, revoked or expired key")
        return self.usable(answer.found.principal, exchange, active=answer.found.active)

    def usable(self, principal: Principal, exchange: Exchange, *, active: bool) -> Principal:
        """The principal, if its account may call and its key may be used for this call; raises if not."""
        if not active:
            raise AccountSuspended(internal=f"account {principal.account} is not active")
        if principal.restrictions is not None:
            route = exchange.route.name if exchange.route is not None else ""
            refusal = principal.restrictions.refusal(route, exchange.head.method, exchange.client_address)
            if refusal:
                raise KeyRestricted(refusal)
        return principal
