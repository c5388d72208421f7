"""`/admin/v1/explain`: why a call is treated as it is."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from gateway.controlplane.bodies import answer, read_body
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.explanations import Explains, Explanation, PastExplanation, Question

ONE = "/explain/{request_id:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}}"


class ExplainApi:
    """Questions about single calls."""

    def __init__(self, explains: Explains) -> None:
        self._explains = explains

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint(
                "POST",
                "/explain",
                self.explain,
                "explain:read",
                Explanation,
                body=Question,
                refuses=(404,),
                asks=True,
            ),
            Endpoint("GET", ONE, self.look_back, "explain:read", PastExplanation),
        ]

    async def look_back(self, request: web.Request) -> web.Response:
        """What was decided about a call, by the `Tollway-Request-Id` of its answer."""
        return answer(await self._explains.look_back(UUID(request.match_info["request_id"])))

    async def explain(self, request: web.Request) -> web.Response:
        """What would happen to a call now, and why: decided as workers do, nothing charged, nothing sent."""
        return answer(await self._explains.explain(await read_body(request, Question)))
