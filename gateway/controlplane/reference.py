"""What an API can do, for programs and for people."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from aiohttp import web

from gateway.controlplane.bodies import answer
from gateway.controlplane.reference_page import CONTENT_SECURITY_POLICY, render_reference


class Reference:
    """Two addresses of one description. It holds no secret, so it asks for no token.

    Described when it is asked for: most gateways never are, and it takes a tenth of a second.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe

    @cached_property
    def _described(self) -> dict[str, Any]:
        return self._describe()

    @cached_property
    def _page(self) -> str:
        return render_reference(self._described)

    async def document(self, _: web.Request) -> web.Response:
        """The OpenAPI document."""
        return answer(self._described)

    async def page(self, _: web.Request) -> web.Response:
        """The same as a page."""
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(text=self._page, content_type="text/html", charset="utf-8", headers=headers)
