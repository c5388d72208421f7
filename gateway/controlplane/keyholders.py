"""Who looks at an account on the portal port: whoever holds one of its API keys, or is its member."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.accounts.keys import digest, is_well_formed
from gateway.accounts.records import FoundKey
from gateway.accounts.store import Accounts
from gateway.auth.credentials import Credentials
from gateway.controlplane.attempts import Attempts
from gateway.controlplane.callers import Callers, bearer_of
from gateway.controlplane.doors import caller_of
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


def require_viewer(
    accounts: Accounts, callers: Callers, attempts: Attempts, *, foreign_keys: bool
) -> Middleware:
    """A middleware that lets nobody pass without a key or an access token that works.

    A suspended account may still look. A key is none from where it does not work.
    `foreign_keys`: keys may have any format.
    """
    credentials = Credentials(accounts.key_prefix, foreign=foreign_keys)

    async def find(request: web.Request, secret: bytes) -> FoundKey | None:
        # Garbage is refused by its checksum, so that it costs no question to the database.
        found = await accounts.find_key(digest(secret)) if foreign_keys or is_well_formed(secret) else None
        limits = found.principal.restrictions if found is not None else None
        return None if limits is not None and not limits.addresses.admits(request.remote or "") else found

    async def keyholder(request: web.Request) -> Viewer:
        try:
            secret, _ = credentials.choose(_only(request, "Authorization"), _only(request, "X-API-Key"))
        except Unauthenticated:
            secret = None
        found = None
        if secret:
            found = await attempts.find(caller_of(request), secret, lambda: find(request, secret))
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
