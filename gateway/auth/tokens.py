"""Callers recognised by a token of an issuer that the route believes (JWT)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from gateway.auth.jwks import IssuerKeys
from gateway.auth.jwt_claims import Claims, Refused, read_header, read_issuer, verify
from gateway.clock import Clock
from gateway.errors import Unauthenticated
from gateway.model.access import Issuer
from gateway.model.principal import Principal

log = logging.getLogger("tollway.auth")

MOST_REMEMBERED = 10_000
MOST_REFERENCES = 100_000


class Verified:
    """A token that was believed: whom it stands for, until when."""

    __slots__ = ("base", "claims", "digest", "principal")

    def __init__(self, claims: Claims, digest: bytes) -> None:
        self.claims = claims
        self.digest = digest  # of the account that it names, as a key of the cache
        self.base: Principal | None = None
        self.principal: Principal | None = None

    def of(self, base: Principal) -> Principal:
        """The account's principal, with the token's expiry and tier."""
        if self.principal is None or self.base is not base:
            self.base = base
            tier = self.claims.tier or base.tier
            lines = base.identity_lines.replace(
                f"Tier: {base.tier}\r\n".encode(), f"Tier: {tier}\r\n".encode()
            )
            self.principal = replace(
                base,
                tier=tier,
                identity_lines=lines,
                expires_at_us=self.claims.expires_at_us,
                scopes=self.claims.scopes,
                claims=self.claims.counted,
                # With a tier of its own it is judged by its expiry: the account's tier says nothing about it.
                digest=base.digest if tier == base.tier else b"",
            )
        return self.principal


class References:
    """Accounts that tokens name, under digests, so that one cache holds them and keys alike."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def digest(self, name: str) -> bytes:
        """Stands for the account. No key has it: keys are hashed without what is put in front here."""
        digest = sha256(b"account\0" + name.encode()).digest()
        if digest not in self._names:
            if len(self._names) >= MOST_REFERENCES:
                self._names.clear()
            self._names[digest] = name
        return digest

    def name(self, digest: bytes) -> str | None:
        """What a digest stands for, if it is an account's."""
        return self._names.get(digest)


class Tokens:
    """Verifies tokens, and remembers those verified until they expire."""

    def __init__(self, clock: Clock, keys_of: Callable[[Issuer], IssuerKeys]) -> None:
        self._clock, self._keys_of = clock, keys_of
        self.references = References()
        self._keys: dict[str, tuple[Issuer, IssuerKeys]] = {}
        self._verified: dict[tuple[bytes, str], Verified] = {}

    async def verify(self, token: bytes, issuers: tuple[Issuer, ...]) -> Verified:
        """What the token stands for, if one of these issuers has issued it. Raises Unauthenticated."""
        try:
            return await self._verify(token, issuers)
        except Refused as refused:
            raise Unauthenticated(internal=f"token: {refused}") from None

    async def _verify(self, token: bytes, issuers: tuple[Issuer, ...]) -> Verified:
        named = read_issuer(token)
        issuer = next((one for one in issuers if one.issuer == named), None)
        if issuer is None:
            raise Refused("of an issuer that this route does not believe")
        keys = self._issuer_keys(issuer)
        known = (sha256(token).digest(), issuer.name)
        verified = self._verified.get(known)
        now_us = self._clock.now_us()
        if verified is not None:
            if verified.claims.expires_at_us <= now_us:
                del self._verified[known]
                raise Refused("expired")
            return verified
        header = read_header(token)
        key = await keys.find(header.key_id)
        if key is None:
            raise Refused("signed with a key that the issuer does not have")
        claims = verify(token, header, key, issuer, now_us / 1_000_000)
        if len(self._verified) >= MOST_REMEMBERED:
            self._verified.clear()
        verified = self._verified[known] = Verified(claims, self.references.digest(claims.account))
        return verified

    def _issuer_keys(self, issuer: Issuer) -> IssuerKeys:
        """The keys of an issuer; another one of the same name, after a reload, begins afresh."""
        held = self._keys.get(issuer.name)
        if held is None or held[0] != issuer:
            self._verified.clear()
            held = self._keys[issuer.name] = (issuer, self._keys_of(issuer))
        elif held[0] is not issuer:
            held = self._keys[issuer.name] = (issuer, held[1])
        return held[1]
