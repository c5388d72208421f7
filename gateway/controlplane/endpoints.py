"""The addresses of the admin API: what each takes, who may use it, and how a change is made whole.

The same declarations make the router and the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import asyncpg
from aiohttp import web
from asyncpg.pool import PoolConnectionProxy

from gateway.controlplane.bodies import Sent, arrived
from gateway.controlplane.problems import REQUEST_ID, Problem
from gateway.controlplane.repeats import Handler, answer_once, repeatable_of
from gateway.controlplane.tokens import OPERATOR, Operator
from gateway.operators.acting import acting
from gateway.operators.scopes import allows
from gateway.storage.postgres import Pool

CONNECTION: web.RequestKey[PoolConnectionProxy[asyncpg.Record]] = web.RequestKey(
    "connection", PoolConnectionProxy
)
"""Where handlers that change something find the connection of their transaction."""


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
    repeatable: bool = False  # a POST about oneself that may carry an `Idempotency-Key`
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
        repeatable = repeatable_of(request, body, operator.credential)
        async with acting(pool, operator.name, request[REQUEST_ID]) as connection:
            request[CONNECTION] = connection
            response = await answer_once(connection, repeatable, request, endpoint.handler)
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
