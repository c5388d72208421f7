"""A call that waits for a connection."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Protocol

from gateway.deadlines import NEVER
from gateway.errors import GatewayError, UpstreamBusy
from gateway.inline import Wait
from gateway.model.exchange import Exchange
from gateway.model.policies import Timeouts
from gateway.upstream.connection import UpstreamConnection

if TYPE_CHECKING:
    from gateway.upstream.pool import Pool


class NotConnected(Exception):
    """No connection to a target could be made. `error` is what the caller is told when no other has one."""

    def __init__(self, error: GatewayError) -> None:
        self.error = error
        super().__init__()


class Moved(Exception):
    """The upstream was closed while the call waited: where it is now, there may be another."""


class Queue(Protocol):
    """Who wants to know that a call no longer waits."""

    def leave(self, parked: Parked, result: str) -> None:
        """It has a connection, or has given up."""


class Parked:
    """Stands in for the uplink of a call that has no connection yet.

    A caller that hangs up ends the wait at once. A body that comes meanwhile is kept as far as it was read;
    the caller is read no further.
    """

    def __init__(self, exchange: Exchange, timeouts: Timeouts, *, comes_back: bool = False) -> None:
        self.exchange = exchange
        self.timeouts = timeouts
        self.comes_back = comes_back  # it had its turn, and nothing came of it
        self.failed: set[Pool] = set()  # targets that could not be connected to
        self.queue: Queue | None = None  # it stands in
        self.joined_at = 0.0
        self.until = NEVER  # how long it waits for a connection to become free, however often
        self.deadline = NEVER
        self.wait: Wait[UpstreamConnection] = Wait()

    def begin(self) -> Wait[UpstreamConnection]:
        """Wait, or wait again after a wait that failed."""
        self.wait = Wait()
        self.exchange.uplink = self
        if self.exchange.body_parts and not self.exchange.body_done:
            self.exchange.downstream.pause_upload()
        return self.wait

    def connected(self, connection: UpstreamConnection) -> bool:
        """Hand over a connection; False when nobody waits any more."""
        if self.wait.done:
            return False
        self._end("connected")
        self.wait.set(connection)
        return True

    def not_connected(self, pool: Pool, error: GatewayError) -> None:
        """End the wait because its target could not be connected to, unless it has ended."""
        if not self.wait.done:
            self.failed.add(pool)
            self.comes_back = self.queue is not None
            self._end("failed")
            self.wait.fail(NotConnected(error))

    def give_up(self, error: BaseException, result: str = "left") -> None:
        """End the wait with an error, unless it has ended."""
        if not self.wait.done:
            self._end(result)
            self.wait.fail(error)

    def moved(self) -> None:
        """End the wait, not in vain: the upstream is elsewhere now. Whoever moves all keeps their order."""
        self.comes_back = False
        self.exchange.uplink = None
        self.wait.fail(Moved())

    def expire(self) -> None:
        """Deadlines: no connection became free in time."""
        waited_s = self.timeouts.queue_s
        busy = UpstreamBusy(
            internal=f"queue: no connection was free within {waited_s:g} s", retry_after_s=self.retry_after_s
        )
        self.give_up(busy, "late")

    @property
    def retry_after_s(self) -> int:
        """By then, whoever waits now has been connected or refused."""
        return ceil(self.timeouts.queue_s)

    def _end(self, result: str) -> None:
        self.exchange.uplink = None
        if self.queue is not None:
            self.queue.leave(self, result)

    # -- Uplink -----------------------------------------------------------------------------------------

    def upload(self, data: bytes) -> None:
        self.exchange.body_parts.append(data)
        self.exchange.downstream.pause_upload()

    def upload_done(self) -> None:
        """Nothing to do: whoever sends the request looks at the exchange."""

    def pause_answer(self) -> None:
        """There is none yet."""

    def resume_answer(self) -> None:
        """There is none yet."""

    def cancel(self) -> None:
        broken = self.exchange.broken
        assert isinstance(broken, GatewayError), "a caller that is gone has been noted"
        self.give_up(broken)
