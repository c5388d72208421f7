"""Who may use the admin API."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.controlplane.problems import Problem


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts through the admin API."""

    name: str


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
            return Operator("bootstrap")
        return None


def require_token(tokens: Tokens) -> Middleware:
    """A middleware that lets nobody pass without a token, and tells handlers who acts."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        operator = await tokens.recognise(token.strip(" ")) if scheme.lower() == "bearer" else None
        if operator is None:
            raise Problem(
                401,
                "unauthenticated",
                "Send the admin token as `Authorization: Bearer <token>`. It is what TOLLWAY_ADMIN_TOKEN "
                "was set to when the gateway started, else it is in the file `admin-token` of the data "
                "directory.",
                headers={"WWW-Authenticate": 'Bearer realm="tollway-admin"'},
            )
        request[OPERATOR] = operator
        return await handler(request)

    return check
