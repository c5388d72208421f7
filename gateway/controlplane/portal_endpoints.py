"""The addresses of people's API: who may use each, and how a change of an account is made whole.

The declarations are as for the admin API; the `scope` is `public`, `person`, or the right that a member of
the account needs. Only the last kind gets a transaction: what proves a password must not hold one meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from gateway.controlplane.bodies import arrived
from gateway.controlplane.callers import ACCOUNT_HEADER, MEMBERSHIP, PERSON, Callers
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.openapi import IDEMPOTENCY_KEY, Flavour, Json
from gateway.controlplane.problems import REQUEST_ID
from gateway.controlplane.repeats import Handler, answer_once, repeatable_of
from gateway.operators.acting import acting
from gateway.storage.postgres import Pool

PUBLIC, SELF = "public", "person"
KEYS_TOO = ("account:read", "usage:read")
"""Rights that whoever holds a key of the account has as well."""


def bind_portal(
    endpoints: Iterable[Endpoint], callers: Callers, pool: Pool, done: Callable[[], None]
) -> list[web.RouteDef]:
    """Routes that know who asks. Changes of an account are noted as that person's; `done` follows each."""
    return [web.route(one.method, one.path, _guarded(one, callers, pool, done)) for one in endpoints]


def _guarded(endpoint: Endpoint, callers: Callers, pool: Pool, done: Callable[[], None]) -> Handler:
    if endpoint.scope == PUBLIC:
        return endpoint.handler
    if endpoint.scope == SELF:
        return _personal(endpoint, callers)
    return _changing(endpoint, callers, pool, done) if endpoint.changes else _reading(endpoint, callers)


def _personal(endpoint: Endpoint, callers: Callers) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        await callers.recognise(request)
        return await endpoint.handler(request)

    return handle


def _reading(endpoint: Endpoint, callers: Callers) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        await callers.act_for_account(request, endpoint.scope)
        return await endpoint.handler(request)

    return handle


def _changing(endpoint: Endpoint, callers: Callers, pool: Pool, done: Callable[[], None]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        await callers.act_for_account(request, endpoint.scope)
        body = await arrived(request)  # before the transaction, which must not wait for the network
        credential = await callers.credential(request[PERSON])
        repeatable = repeatable_of(request, body, credential, request[MEMBERSHIP].account)
        async with acting(pool, request[PERSON].actor, request[REQUEST_ID]) as connection:
            request[CONNECTION] = connection
            response = await answer_once(connection, repeatable, request, endpoint.handler)
        done()
        return response

    return handle


def _needs(scope: str) -> str:
    if scope == PUBLIC:
        return "For everybody."
    if scope == SELF:
        return "Needs an access token."
    if scope in KEYS_TOO:
        return "Needs one of the account's API keys, or an access token of a member."
    return f"Needs an access token, and the right `{scope}` in the account that `{ACCOUNT_HEADER}` names."


def _headers(one: Endpoint) -> list[tuple[str, Json]]:
    if one.scope in (PUBLIC, SELF):
        return [IDEMPOTENCY_KEY] if one.repeatable else []
    account: tuple[str, Json] = (ACCOUNT_HEADER, {"type": "string"})
    return [account, IDEMPOTENCY_KEY] if one.method == "POST" and one.scope not in KEYS_TOO else [account]


FLAVOUR = Flavour(
    title="Tollway portal API",
    needs=_needs,
    is_public=lambda scope: scope == PUBLIC,
    headers=_headers,
    also_refuses=lambda one: set() if one.scope in (PUBLIC, SELF) else {404, 422},
)
