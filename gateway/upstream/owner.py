"""What a connection asks of its pool, and what it says when a call breaks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from gateway.errors import GatewayError
from gateway.model.exchange import Exchange
from gateway.model.policies import Target, Upstream

if TYPE_CHECKING:
    from gateway.upstream.connection import UpstreamConnection

log = logging.getLogger("tollway.upstream")


class StaleConnection(Exception):
    """The upstream closed or spoke of something else before it answered. `unsent`: before it was asked."""

    def __init__(self, *, unsent: bool) -> None:
        self.unsent = unsent
        super().__init__()


class Owner(Protocol):
    """The pool a connection belongs to."""

    spec: Upstream
    target: Target
    host_line: bytes
    troubled: bool  # a call or check failed since the last call that went well

    def opened(self, connection: UpstreamConnection) -> None:
        """The connection is open."""

    def release(self, connection: UpstreamConnection) -> None:
        """The connection can carry another call."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is closed."""

    def frames_refused(self, direction: str) -> None:
        """A WebSocket was closed for what came in this direction, `ingress` or `egress`."""

    def call_failed(self, why: str) -> None:
        """No answer, or a broken one, and it was not the caller's fault."""

    def call_went_well(self) -> None:
        """There was an answer, of whatever status. Need not be told while not `troubled`."""


def log_break(exchange: Exchange, owner: Owner, error: GatewayError) -> None:
    """An answer that ends within: nobody can be told but the log."""
    log.warning(
        "an answer was broken off",
        extra={
            "code": error.code,
            "error": error.internal,
            "request_id": exchange.request_id.decode(),
            "route": exchange.route.name if exchange.route is not None else "",
            "status": exchange.status,
            "target": owner.target.place,
            "upstream": owner.spec.name,
        },
    )
