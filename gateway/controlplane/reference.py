"""What an API can do, for programs and for people."""

from __future__ import annotations

from aiohttp import web

from gateway.controlplane.bodies import answer
from gateway.controlplane.reference_page import CONTENT_SECURITY_POLICY, render_reference


class Reference:
    """Two addresses of one description. It holds no secret, so it asks for no token."""

    def __init__(self, described: dict[str, object]) -> None:
        self._described = described
        self._page = render_reference(described)

    async def document(self, _: web.Request) -> web.Response:
        """The OpenAPI document."""
        return answer(self._described)

    async def page(self, _: web.Request) -> web.Response:
        """The same as a page."""
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(text=self._page, content_type="text/html", charset="utf-8", headers=headers)
