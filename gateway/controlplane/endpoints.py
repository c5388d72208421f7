"""The addresses of the admin API: what each takes, who may use it, and how a change is made whole.

The same declarations make the router and the OpenAPI document.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import asyncpg
from aiohttp import web
from asyncpg.pool import PoolConnectionProxy

from gateway.controlplane.bodies import Sent, arrived
from gateway.controlplane.problems import REQUEST_ID, Problem
from gateway.controlplane.tokens import OPERATOR, Operator
from gateway.operators import idempotency
from gateway.operators.acting import acting
from gateway.operators.idempotency import KeyReused, Repeatable
from gateway.operators.scopes import allows
from gateway.storage.postgres import Connection, Pool

Handler = Callable[[web.Request], Awaitable[web.Response]]

CONNECTION: web.RequestKey[PoolConnectionProxy[asyncpg.Record]] = web.RequestKey(
    "connection", PoolConnectionProxy
)
"""Where handlers that change something find the connection of their transaction."""

LONGEST_KEY = 255
_REPLAYED = ("Location", "ETag")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address. `path` is aiohttp's spelling; the handler's docstring describes it."""

    method: str
    path: str
    handler: Handler
    scope: str
    answers: object  # the type of the document
    status: int = 200
    body: type[Sent] | None = None
    query: type[Sent] | None = None
    refuses: tuple[int, ...] = ()  # statuses beyond those that any endpoint may answer
    asks: bool = False  # a POST that is a question: it changes nothing
    csv: bool = False  # whether it answers as CSV, too
    done: Callable[[], None] | None = None  # what follows once the change is there

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET" and not self.asks


def bind(endpoints: Iterable[Endpoint], pool: Pool) -> list[web.RouteDef]:
    """Routes that check scopes and make every change one transaction, noted as the operator's."""
    return [
        web.route(one.method, one.path, _changing(one, pool) if one.changes else _reading(one))
        for one in endpoints
    ]


def _reading(endpoint: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        _check_scope(request[OPERATOR], endpoint.scope)
        return await endpoint.handler(request)

    return handle


def _changing(endpoint: Endpoint, pool: Pool) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        operator = request[OPERATOR]
        _check_scope(operator, endpoint.scope)
        body = await arrived(request)  # before the transaction, which must not wait for the network
        repeatable = _repeatable(request, body, operator)
        async with acting(pool, operator.name, request[REQUEST_ID]) as connection:
            if repeatable is not None and (before := await _claim(connection, repeatable)) is not None:
                return before
            request[CONNECTION] = connection
            response = await endpoint.handler(request)
            if repeatable is not None:
                await idempotency.keep(connection, repeatable, _packed(response))
        if endpoint.done is not None:
            endpoint.done()
        return response

    return handle


def _check_scope(operator: Operator, scope: str) -> None:
    if not allows(operator.scopes, scope):
        raise Problem(
            403,
            "forbidden",
            f"This token does not have the scope `{scope}`.",
            extensions={"required_scope": scope, "scopes": list(operator.scopes)},
        )


def _repeatable(request: web.Request, body: bytes, operator: Operator) -> Repeatable | None:
    """What makes this request repeatable; None without an `Idempotency-Key`."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys or request.method != "POST":
        return None
    key = keys[0]
    if len(keys) > 1 or not key or len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        detail = f"Send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters."
        raise Problem(400, "bad_idempotency_key", detail)
    sent = f"{request.method} {request.path_qs}\0".encode() + hashlib.sha256(body).digest()
    return Repeatable(operator.credential, key.encode(), sent)


async def _claim(connection: Connection, repeatable: Repeatable) -> web.Response | None:
    try:
        packed = await idempotency.claim(connection, repeatable)
    except KeyReused as reused:
        raise Problem(409, "idempotency_key_reused", str(reused)) from reused
    return None if packed is None else _unpacked(packed)


def _packed(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes), "answers of the API are whole"
    headers = {name: response.headers[name] for name in _REPLAYED if name in response.headers}
    packed = {"status": response.status, "headers": headers, "body": base64.b64encode(body).decode()}
    return json.dumps(packed).encode()


def _unpacked(packed: bytes) -> web.Response:
    told = json.loads(packed)
    return web.Response(
        body=base64.b64decode(told["body"]),
        status=told["status"],
        headers={**told["headers"], "Idempotent-Replayed": "true"},
        content_type="application/json",
    )
