"""How the applications meet the network: aiohttp's server, with our answers where its own would speak."""

from __future__ import annotations

import asyncio
import logging
import uuid

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.controlplane.problems import Problem, render

log = logging.getLogger("tollway.control")

IDLE_TIMEOUT_S = 30.0
"""For a connection's first request head, and between requests."""


class ControlRunner(web.AppRunner):
    """Runs one application. Malformed requests get problem documents, silent sockets are closed.

    aiohttp's own handler would print the offending bytes in answers and logs; those may hold a token.
    """

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, handle_signals=False)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(server.request_handler, request_factory=server.request_factory)


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_TIMEOUT_S,
            access_log=None,  # type: ignore[arg-type] # None is aiohttp's word for no access log
        )


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's; it may repeat bytes of the request
    ) -> web.StreamResponse:
        """An answer to what never reached the application."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        request_id = str(uuid.uuid4())
        log.info(
            "request not understood",
            extra={"status": status, "request_id": request_id, "error": type(exc).__name__},
        )
        if status >= 500:
            problem = Problem(status, "internal_error", "The gateway failed. The failure has been recorded.")
        else:
            problem = Problem(status, "bad_request", "The request is not valid HTTP/1.1.")
        response = render(problem, request_id)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Server"] = "tollway"  # else aiohttp puts in its name and versions
        response.headers["Tollway-Request-Id"] = request_id
        response.force_close()
        return response
