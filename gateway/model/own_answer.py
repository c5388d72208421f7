"""What ends a call that the gateway answers itself."""

from __future__ import annotations

from gateway.errors import TollwayError
from gateway.model.policies import Route


class OwnAnswer(TollwayError):
    """Not an error: 204 with `lines`, and no later stage hears of the call, so nobody pays for it.

    `route` is the one it was about; None when it was about the server.
    """

    def __init__(self, lines: bytes, route: Route | None = None) -> None:
        self.lines = lines
        self.route = route
        super().__init__("answered by the gateway itself")
