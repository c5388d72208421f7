"""Who may use the admin API."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.controlplane.attempts import Attempts
from gateway.controlplane.doors import caller_of
from gateway.controlplane.problems import Problem
from gateway.operators.scopes import EVERYTHING
from gateway.operators.tokens import AdminTokens

WRONG_TOKENS_MAX = 20
"""So many from one address are looked up within a minute."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts through the admin API, as the audit log calls him, and what he may do."""

    name: str
    scopes: tuple[str, ...] = (EVERYTHING,)
    credential: bytes = field(default=b"", repr=False, compare=False)


OPERATOR = web.RequestKey("operator", Operator)
"""Where handlers find who acts."""


class Tokens(Protocol):
    """What tells operators by their token."""

    async def recognise(self, token: str) -> Operator | None:
        """The operator behind a token; None if it is not one. In constant time over the token's content."""


class BootstrapToken:
    """The one token of the environment. Without it nobody is recognised. Customers' keys never are."""

    def __init__(self, token: str | None) -> None:
        self._digest = hashlib.sha256(token.encode()).digest() if token else None

    async def recognise(self, token: str) -> Operator | None:
        """The operator `bootstrap`, for the right token."""
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        if self._digest is not None and hmac.compare_digest(given, self._digest):
            return Operator("bootstrap", credential=given)
        return None


class StoredTokens:
    """The tokens of the database."""

    def __init__(self, tokens: AdminTokens) -> None:
        self._tokens = tokens

    async def recognise(self, token: str) -> Operator | None:
        """The operator `token:<id>`, with the token's scopes."""
        found = await self._tokens.find(token)
        if found is None:
            return None
        return Operator(f"token:{found.public_id}", found.scopes, hashlib.sha256(token.encode()).digest())


def require_token(bootstrap: Tokens, stored: Tokens, attempts: Attempts) -> Middleware:
    """A middleware that lets nobody pass without a token, and tells handlers who acts.

    The bootstrap token always works. For others, an address that guesses too often gets 429 instead of
    look-ups.
    """

    async def recognise(request: web.Request, token: str) -> Operator | None:
        operator = await bootstrap.recognise(token)
        if operator is not None:
            return operator
        secret = token.encode("utf-8", "surrogateescape")
        # All tokens begin alike: only by address can those who guess be told from others.
        return await attempts.find(caller_of(request), secret, lambda: stored.recognise(token), whole=True)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        operator = await recognise(request, token.strip(" ")) if scheme.lower() == "bearer" else None
        if operator is None:
            raise Problem(
                401,
                "unauthenticated",
                "Send an admin token as `Authorization: Bearer <token>`: one of `tollway token create`, or "
                "the first one, which is what TOLLWAY_ADMIN_TOKEN was set to when the gateway started, "
                "else it is in the file `admin-token` of the data directory.",
                headers={"WWW-Authenticate": 'Bearer realm="tollway-admin"'},
            )
        request[OPERATOR] = operator
        return await handler(request)

    return check
