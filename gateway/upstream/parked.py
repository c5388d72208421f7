"""A call that waits for a connection."""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.inline import Wait
from gateway.model.exchange import Exchange
from gateway.upstream.connection import UpstreamConnection


class Parked:
    """Stands in for the uplink of a call that has no connection yet.

    A caller that hangs up ends the wait at once. A body that comes meanwhile is kept as far as it was read;
    the caller is read no further.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.wait: Wait[UpstreamConnection] = Wait()
        self._exchange = exchange
        exchange.uplink = self
        if exchange.body_parts and not exchange.body_done:
            exchange.downstream.pause_upload()

    def connected(self, connection: UpstreamConnection) -> bool:
        """Hand over a connection; False when nobody waits any more."""
        if self.wait.done:
            return False
        self._exchange.uplink = None
        self.wait.set(connection)
        return True

    def give_up(self, error: BaseException) -> None:
        """End the wait with an error, unless it has ended."""
        if not self.wait.done:
            self._exchange.uplink = None
            self.wait.fail(error)

    # -- Uplink -----------------------------------------------------------------------------------------

    def upload(self, data: bytes) -> None:
        self._exchange.body_parts.append(data)
        self._exchange.downstream.pause_upload()

    def upload_done(self) -> None:
        """Nothing to do: whoever sends the request looks at the exchange."""

    def pause_answer(self) -> None:
        """There is none yet."""

    def resume_answer(self) -> None:
        """There is none yet."""

    def cancel(self) -> None:
        broken = self._exchange.broken
        assert isinstance(broken, GatewayError), "a caller that is gone has been noted"
        self.give_up(broken)
