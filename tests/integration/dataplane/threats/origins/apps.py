"""One application for each way a Python server hands requests over: it tells what it was given.

`/premium/x` has a handler of its own. Whatever other path arrives, the answer is what the application saw.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import flask
from aiohttp import web

PREMIUM = "the premium handler"
PATH = "/premium/x"

Fields = list[tuple[str, str]]


def told(path: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """What the application saw. Header names in lower case, with hyphens."""
    seen = [(name.lower().replace("_", "-"), value) for name, value in fields]
    return json.dumps({"path": path, "fields": seen}).encode()


def _variables(environ: Mapping[str, Any]) -> Fields:
    return [(name[5:], str(value)) for name, value in environ.items() if name.startswith("HTTP_")]


def wsgi(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """PEP 3333, without a framework: the path is percent-decoded by the server."""
    path = environ["PATH_INFO"]
    body = PREMIUM.encode() if path == PATH else told(path, _variables(environ))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


framework = flask.Flask(__name__)


@framework.route(PATH)
def _premium() -> str:
    return PREMIUM


@framework.route("/", defaults={"path": ""})
@framework.route("/<path:path>")
def _other(path: str) -> bytes:
    return told(path, _variables(flask.request.environ))


async def asgi(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """ASGI 3, without a framework: the path is percent-decoded, fields are a list of pairs."""
    if scope["type"] != "http":
        return
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    body = PREMIUM.encode() if scope["path"] == PATH else told(scope["path"], fields)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def _aiohttp_premium(_: web.Request) -> web.Response:
    return web.Response(text=PREMIUM)


async def _aiohttp_other(request: web.Request) -> web.Response:
    return web.Response(body=told(request.path, request.headers.items()))


def aiohttp_app() -> web.Application:
    """With aiohttp's own router."""
    app = web.Application()
    app.router.add_get(PATH, _aiohttp_premium)
    app.router.add_get("/{rest:.*}", _aiohttp_other)
    return app
