"""One shape for everything that goes wrong on these ports (RFC 9457), and the headers all answers get."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import ValidationError

from gateway.errors import Conflict, Invalid, NotFound, TollwayError, TooManyGuesses
from gateway.people.passwords import Busy
from gateway.storage.postgres import LOST

log = logging.getLogger("tollway.control")

REQUEST_ID = web.RequestKey("request_id", str)


class Problem(TollwayError):
    """An answer that is not what was asked for. `extensions` are further members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = headers or {}
        self.extensions = extensions or {}


def invalid(errors: Iterable[tuple[str, str]]) -> Problem:
    """422 with one entry per field that can not be used."""
    listed = [{"field": field, "message": message} for field, message in errors]
    return Problem(
        422, "invalid", "The request has fields that can not be used.", extensions={"errors": listed}
    )


def too_many_attempts(detail: str, wait_s: int) -> Problem:
    """429 for who guesses, or tries too often."""
    return Problem(429, "too_many_attempts", detail, headers={"Retry-After": str(wait_s)})


def render(problem: Problem, request_id: str) -> web.Response:
    """The document of one problem."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
        **problem.extensions,
    }
    return web.Response(
        body=json.dumps(document).encode(),
        status=problem.status,
        headers=problem.headers,
        content_type="application/problem+json",
    )


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error below it into a problem document. The only place that catches everything."""
    request_id = request[REQUEST_ID] = str(uuid.uuid4())
    try:
        return await handler(request)
    except Exception as error:
        return render(_problem_of(error, request_id), request_id)


def _problem_of(error: Exception, request_id: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationError):
        return invalid((_path(one["loc"]), one["msg"]) for one in error.errors(include_url=False))
    if isinstance(error, web.HTTPException):
        return _of_http(error)
    if isinstance(error, LOST):
        log.warning(
            "the database did not answer", extra={"request_id": request_id, "error": type(error).__name__}
        )
        detail = "The database does not answer right now. Try again shortly."
        return Problem(503, "database_unavailable", detail, headers={"Retry-After": "5"})
    return _of_accounts(error) or _defect(error, request_id)


def _of_accounts(error: Exception) -> Problem | None:
    """What the rooms below refuse."""
    match error:
        case NotFound():
            return Problem(404, "not_found", str(error))
        case Conflict():
            return Problem(409, "conflict", str(error))
        case Invalid():
            return invalid([(error.field, error.message)])
        case TooManyGuesses():
            return too_many_attempts(error.detail, error.retry_after_s)
        case Busy():
            return Problem(503, "busy", str(error), headers={"Retry-After": "2"})
    return None


def _defect(error: Exception, request_id: str) -> Problem:
    log.error("request failed", extra={"request_id": request_id}, exc_info=error)
    return Problem(500, "internal_error", "The gateway failed. The failure has been recorded.")


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


_HTTP_CODES = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not know this method. `Allow` names those it knows."),
    413: ("body_too_large", "The body is larger than 1 MB."),
}


def _of_http(error: web.HTTPException) -> Problem:
    """What aiohttp's router and readers raise."""
    code, detail = _HTTP_CODES.get(error.status, ("bad_request", "The request can not be understood."))
    headers = {name: value for name, value in error.headers.items() if name in {"Allow", "Location"}}
    return Problem(error.status, code, detail, headers=headers)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Security headers of every answer on these ports; pages may have set a wider policy for themselves."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Cache-Control", "no-store")
    headers["Tollway-Request-Id"] = request.get(REQUEST_ID, "")
    headers.pop("Server", None)
