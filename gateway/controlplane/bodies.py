"""Reading what was sent: JSON bodies and query strings into checked models, answers out of plain values."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from gateway.controlplane.problems import Problem, invalid

MAX_BODY_BYTES = 1_000_000
BODY_TIMEOUT_S = 30.0

M = TypeVar("M", bound=BaseModel)


class Sent(BaseModel):
    """Base of everything that callers send: unknown fields are errors, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def arrived(request: web.Request) -> bytes:
    """The whole body. Raises Problem when it takes too long."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "request_timeout", "The body did not arrive in time.") from None


async def read_body(request: web.Request, model: type[M]) -> M:
    """The JSON body as `model`; no body counts as `{}`. Raises Problem or pydantic's ValidationError."""
    raw = await arrived(request)
    if raw and request.content_type != "application/json":
        raise Problem(
            415, "unsupported_media_type", "Send JSON, with the header `Content-Type: application/json`."
        )
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_no_duplicates) if raw else {}
    except (ValueError, RecursionError):
        raise Problem(400, "bad_request", "The body is not valid JSON in UTF-8, or repeats a name.") from None
    return model.model_validate(document)


def read_query(request: web.Request, model: type[M]) -> M:
    """The query string as `model`. Raises Problem for a name given twice, or pydantic's ValidationError."""
    query = request.query
    if repeated := sorted({name for name in query if len(query.getall(name)) > 1}):
        raise invalid((name, "is given more than once") for name in repeated)
    return model.model_validate(dict(query))


def answer(
    document: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer."""
    body = json.dumps(document, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def tagged(
    document: Mapping[str, object],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    state: Mapping[str, object] | None = None,
) -> web.Response:
    """A JSON answer with an `ETag` (RFC 9110, section 8.8.3) that changes with the document.

    `state`: what it is to change with instead, where the document is a page of that.
    """
    tag = _etag(document if state is None else state)
    return answer(document, status=status, headers={**(headers or {}), "ETag": tag})


def check_match(request: web.Request, document: Mapping[str, object]) -> None:
    """Raises Problem if `If-Match` names another state than the document's (RFC 9110, section 13.1.1)."""
    wanted = ",".join(request.headers.getall("If-Match", []))
    if wanted and wanted.strip() != "*" and _etag(document) not in map(str.strip, wanted.split(",")):
        raise Problem(412, "precondition_failed", "It has changed since: read it again, then decide anew.")


def _etag(document: Mapping[str, object]) -> str:
    return f'"{hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:24]}"'


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is repeated")
    return document
