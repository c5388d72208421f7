"""What came of people's attempts to get in, counted without a word about who they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps

from aiohttp import web
from pydantic import ValidationError

from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.problems import Problem
from gateway.controlplane.repeats import Handler
from gateway.errors import Conflict, Invalid
from gateway.telemetry.slots import Slots

ACTIONS = {
    "/register": "register",
    "/verify": "verify",
    "/login": "login",
    "/refresh": "refresh",
    "/password/forgot": "forgot_password",
    "/password/reset": "reset_password",
    "/password/change": "change_password",
    "/invitations/accept": "accept_invitation",
    "/totp/enable": "totp_enable",
    "/totp/confirm": "totp_confirm",
    "/totp/disable": "totp_disable",
}
_BY_CODE = {
    "bad_token": "refused",
    "registration_closed": "refused",
    "unauthenticated": "refused",
    "wrong_credentials": "refused",
    "second_factor_required": "code_needed",
    "wrong_code": "wrong_code",
    "too_many_attempts": "slowed",
}
_CLIENT_ERRORS = range(400, 500)


def counted(endpoints: Iterable[Endpoint], slots: Slots) -> list[Endpoint]:
    """The same endpoints; those that are about getting in count how their calls end."""
    return [
        replace(one, handler=_counting(one.handler, ACTIONS[one.path], slots))
        if one.path in ACTIONS and one.method == "POST"
        else one
        for one in endpoints
    ]


@contextmanager
def attempted(slots: Slots, action: str) -> Iterator[None]:
    """Count how the block ends."""
    try:
        yield
    except Exception as error:
        slots.add("people_attempts_total", 1, action, _outcome(error))
        raise
    slots.add("people_attempts_total", 1, action, "done")


def _counting(handler: Handler, action: str, slots: Slots) -> Handler:
    @wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        with attempted(slots, action):
            return await handler(request)

    return handle


def _outcome(error: Exception) -> str:
    if isinstance(error, Problem):
        return _BY_CODE.get(error.code, "invalid" if error.status in _CLIENT_ERRORS else "failed")
    if isinstance(error, web.HTTPException):
        return "invalid" if error.status in _CLIENT_ERRORS else "failed"
    return "invalid" if isinstance(error, Invalid | Conflict | ValidationError) else "failed"
