"""The pages that links in mails lead to: forms without scripts or cookies, nothing loaded from elsewhere.

Opening a link changes nothing, for mail programs open links, too: the button does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape

from aiohttp import web

from gateway.controlplane.attempted import attempted
from gateway.controlplane.bodies import BODY_TIMEOUT_S
from gateway.controlplane.doors import caller_of
from gateway.controlplane.entrance import Entrance
from gateway.controlplane.html_pages import content_security_policy, html_page
from gateway.controlplane.problems import REQUEST_ID, Problem
from gateway.errors import Invalid
from gateway.people.passwords import Busy
from gateway.telemetry.slots import Slots

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 10vh auto; padding: 0 1rem; }
label { display: block; margin: 1rem 0; }
input { display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; }
button { font: inherit; padding: .5rem 1.5rem; }
"""

CONTENT_SECURITY_POLICY = content_security_policy(_STYLE, forms=True)

Sent = dict[str, str]
Act = Callable[[web.Request, Sent], Awaitable[object]]

_TYPED_ANEW = '<label>{} <input type="password" name="password" autocomplete="new-password"{}></label>'
_CHOSEN = (
    "<label>The password you registered with "
    '<input type="password" name="password" autocomplete="current-password" required></label>'
)
_EMAIL = '<label>Mail address <input type="email" name="email" autocomplete="email" required></label>'


@dataclass(frozen=True, slots=True)
class Form:
    """A page with one button. `fields` is HTML of ours; `done` is what is said afterwards."""

    path: str
    action: str  # as it is counted
    title: str
    fields: str
    button: str
    done: str
    act: Act


class PeoplePages:
    """Confirming an address, setting another password, joining an account."""

    def __init__(self, entrance: Entrance, slots: Slots) -> None:
        self._entrance, self._slots = entrance, slots

    def routes(self) -> list[web.RouteDef]:
        """A page to open and a form to send at each address."""
        again = _TYPED_ANEW.format("New password", " required")
        first = _TYPED_ANEW.format("Password, if you have none here yet", "")
        sent = "If somebody has this address, a mail is on its way."
        ended = "Set. All sessions were ended: log in anew."
        joined = "You are a member now. You can log in."
        confirmed = "Confirmed. You can log in now."
        forms = [
            Form(
                "/verify", "verify", "Confirm your mail address", _CHOSEN, "Confirm", confirmed, self._verify
            ),
            Form(
                "/forgot", "forgot_password", "Forgotten password", _EMAIL, "Send a mail", sent, self._forgot
            ),
            Form("/reset", "reset_password", "Another password", again, "Set it", ended, self._reset),
            Form("/join", "accept_invitation", "Join an account", first, "Join", joined, self._join),
        ]
        shown = [web.get(form.path, _show(form)) for form in forms]
        return shown + [web.post(form.path, _send(form, self._slots)) for form in forms]

    async def _verify(self, request: web.Request, sent: Sent) -> None:
        token, password = sent.get("token", ""), sent.get("password", "")
        await self._entrance.verify(caller_of(request), token, password, request[REQUEST_ID])

    async def _forgot(self, request: web.Request, sent: Sent) -> None:
        await self._entrance.forgot(caller_of(request), sent.get("email", ""))

    async def _reset(self, request: web.Request, sent: Sent) -> None:
        token, password = sent.get("token", ""), sent.get("password", "")
        await self._entrance.reset(caller_of(request), token, password, request[REQUEST_ID])

    async def _join(self, request: web.Request, sent: Sent) -> None:
        token, password = sent.get("token", ""), sent.get("password") or None
        await self._entrance.accept(caller_of(request), token, password, request[REQUEST_ID])


def _show(form: Form) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return _page(form.title, _rendered(form, request.query.get("token", "")))

    return handle


def _send(form: Form, slots: Slots) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        sent = await _read(request)
        try:
            with attempted(slots, form.action):
                await form.act(request, sent)
        except Problem as problem:
            return _again(form, sent, problem.detail, problem.status)
        except Invalid as invalid:
            return _again(form, sent, f"{invalid.field.capitalize()} {invalid.message}.", 422)
        except Busy as busy:
            return _again(form, sent, str(busy), 503)
        return _page(form.title, f"<p>{escape(form.done)}</p>")

    return handle


async def _read(request: web.Request) -> Sent:
    """The fields of a form that a browser sent; what is no text is none."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Problem(415, "unsupported_media_type", "Send the form as a browser does.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            posted = await request.post()
    except TimeoutError:
        raise Problem(408, "request_timeout", "The body did not arrive in time.") from None
    except (ValueError, LookupError):
        raise Problem(400, "bad_request", "The form can not be read.") from None
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _again(form: Form, sent: Sent, said: str, status: int) -> web.Response:
    body = f'<p role="alert"><strong>{escape(said)}</strong></p>{_rendered(form, sent.get("token", ""))}'
    return _page(form.title, body, status)


def _rendered(form: Form, token: str) -> str:
    hidden = f'<input type="hidden" name="token" value="{escape(token)}">' if token else ""
    return (
        f'<form method="post" action="{form.path}">{hidden}{form.fields}<button>{form.button}</button></form>'
    )


def _page(title: str, body: str, status: int = 200) -> web.Response:
    text = html_page(title, _STYLE, f"<h1>{escape(title)}</h1>\n{body}")
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    encoded = text.encode("utf-8", "replace")
    return web.Response(
        body=encoded, status=status, content_type="text/html", charset="utf-8", headers=headers
    )
