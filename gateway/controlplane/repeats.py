"""Changes that may be sent again: with an `Idempotency-Key` the second time gets the first answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.controlplane.problems import Problem
from gateway.operators import idempotency
from gateway.operators.idempotency import KeyReused, Repeatable
from gateway.storage.postgres import Connection, Pool

Handler = Callable[[web.Request], Awaitable[web.Response]]

LONGEST_KEY = 255
_REPLAYED = ("Location", "ETag")


def repeatable_of(request: web.Request, body: bytes, credential: bytes, about: str = "") -> Repeatable | None:
    """What makes this request repeatable; None without an `Idempotency-Key`.

    `credential`: a secret of who asks; `about`: what the address leaves out.
    """
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys or request.method != "POST":
        return None
    key = keys[0]
    if len(keys) > 1 or not key or len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        detail = f"Send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters."
        raise Problem(400, "bad_idempotency_key", detail)
    sent = f"{request.method} {request.path_qs}\0{about}".encode() + hashlib.sha256(body).digest()
    return Repeatable(credential, key.encode(), sent)


async def answer_once(
    connection: Connection, repeatable: Repeatable | None, request: web.Request, handler: Handler
) -> web.Response:
    """The handler's answer, or the one that the same request had before. In the transaction of the change."""
    if repeatable is None:
        return await handler(request)
    if (before := await _claim(connection, repeatable)) is not None:
        return before
    response = await handler(request)
    await idempotency.keep(connection, repeatable, _packed(response))
    return response


async def answer_before(pool: Pool, repeatable: Repeatable | None) -> web.Response | None:
    """The answer that the same request had before, for handlers that prove something first."""
    try:
        packed = None if repeatable is None else await idempotency.find(pool, repeatable)
    except KeyReused as reused:
        raise _reused(reused) from reused
    return None if packed is None else _unpacked(packed)


def _reused(reused: KeyReused) -> Problem:
    return Problem(409, "idempotency_key_reused", str(reused))


async def _claim(connection: Connection, repeatable: Repeatable) -> web.Response | None:
    try:
        packed = await idempotency.claim(connection, repeatable)
    except KeyReused as reused:
        raise _reused(reused) from reused
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
