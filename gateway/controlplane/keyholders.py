"""Who looks at an account on the portal port: whoever holds one of its API keys, or is its member."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.accounts.keys import digest, is_well_formed
from gateway.accounts.store import Accounts
from gateway.auth.credentials import Credentials
from gateway.controlplane.callers import Callers, bearer_of
from gateway.controlplane.problems import Problem
from gateway.errors import Unauthenticated
from gateway.model.principal import Mode
from gateway.people.access_tokens import looks_like_one


@dataclass(frozen=True, slots=True)
class Viewer:
    """Which account is looked at. By a key: only at what keys of its mode did."""

    account_id: int
    account: str
    mode: Mode
    key: str | None = None


VIEWER = web.RequestKey("viewer", Viewer)
"""Where handlers find who asks."""


def require_viewer(accounts: Accounts, callers: Callers) -> Middleware:
    """A middleware that lets nobody pass without a key or an access token that works.

    A suspended account may still look.
    """
    credentials = Credentials(accounts.key_prefix)

    async def keyholder(request: web.Request) -> Viewer:
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
        holder = found.principal
        return Viewer(holder.account_id, holder.account, holder.mode, holder.key)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if looks_like_one(bearer_of(request)):
            member = await callers.act_for_account(request, "usage:read")
            request[VIEWER] = Viewer(member.account_id, member.account, Mode.LIVE)
        else:
            request[VIEWER] = await keyholder(request)
        return await handler(request)

    return check


def _only(request: web.Request, name: str) -> bytes | None:
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Unauthenticated(internal=f"more than one {name}")
    return values[0].encode("utf-8", "surrogateescape") if values else None
