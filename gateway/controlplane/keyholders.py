"""Customers on the portal port, recognised by their own API key."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.accounts.keys import digest, is_well_formed
from gateway.accounts.store import Accounts
from gateway.auth.credentials import Credentials
from gateway.controlplane.problems import Problem
from gateway.errors import Unauthenticated
from gateway.model.principal import Principal

PRINCIPAL = web.RequestKey("principal", Principal)
"""Where handlers find who asks."""


def require_key(accounts: Accounts) -> Middleware:
    """A middleware that lets nobody pass without a key that works. A suspended account may still look."""
    credentials = Credentials(accounts.key_prefix)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            secret, _ = credentials.choose(_only(request, "Authorization"), _only(request, "X-API-Key"))
        except Unauthenticated:
            secret = None
        # Garbage is refused by its checksum, so that guessing costs no question to the database.
        found = await accounts.find_key(digest(secret)) if secret and is_well_formed(secret) else None
        if found is None:
            raise Problem(
                401,
                Unauthenticated.code,
                Unauthenticated.default_detail,
                headers={"WWW-Authenticate": 'Bearer realm="tollway"'},
            )
        request[PRINCIPAL] = found.principal
        return await handler(request)

    return check


def _only(request: web.Request, name: str) -> bytes | None:
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Unauthenticated(internal=f"more than one {name}")
    return values[0].encode("utf-8", "surrogateescape") if values else None
