"""The proxy one would write first: an aiohttp handler and a ClientSession. Nothing is enforced.

`python -m bench.rivals.aiohttp_proxy PORT UPSTREAM_URL`
"""

from __future__ import annotations

import sys

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade")
)
SESSION = web.AppKey("session", ClientSession)


def proxy_to(upstream: str) -> web.Application:
    """An application that relays every call to `upstream`."""

    async def relay(request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        async with request.app[SESSION].request(
            request.method,
            f"{upstream}{request.raw_path}",
            headers=headers,
            data=await request.read() if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            body = await answer.read()
            kept = CIMultiDict(pair for pair in answer.headers.items() if pair[0].lower() not in HOP_BY_HOP)
            return web.Response(status=answer.status, body=body, headers=kept)

    async def sessions(app: web.Application) -> None:
        app[SESSION] = ClientSession(
            connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False
        )

    async def close(app: web.Application) -> None:
        await app[SESSION].close()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", relay)
    app.on_startup.append(sessions)
    app.on_cleanup.append(close)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(proxy_to(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
