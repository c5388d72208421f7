"""What a connection asks of its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.model.policies import Upstream

if TYPE_CHECKING:
    from gateway.upstream.connection import UpstreamConnection


class StaleConnection(Exception):
    """A pooled connection had been closed by the upstream before it saw the request."""


class Owner(Protocol):
    """The pool a connection belongs to."""

    spec: Upstream
    host_line: bytes
    troubled: bool  # a call or check failed since the last call that went well

    def opened(self, connection: UpstreamConnection) -> None:
        """The connection is open."""

    def release(self, connection: UpstreamConnection) -> None:
        """The connection can carry another call."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is closed."""

    def call_failed(self, why: str) -> None:
        """No answer, or a broken one, and it was not the caller's fault."""

    def call_went_well(self) -> None:
        """There was an answer, of whatever status. Need not be told while not `troubled`."""
