"""Calls that wait because all connections of an upstream are in use."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from gateway.deadlines import NEVER
from gateway.errors import UpstreamBusy
from gateway.model.policies import Upstream
from gateway.upstream.means import Means
from gateway.upstream.parked import Moved, Parked
from gateway.upstream.pool import Pool


class CallQueue:
    """Who waits first goes first, whichever target has a connection or room for one.

    Calls wait here until they have a connection, so those at the front may be having one made: a connection
    that becomes free meanwhile is theirs all the same, and the new one goes to whoever is first by then.

    Connections are given out once for each loop tick, at its end. An upstream that closes right after an
    answer is noticed by then, and a call that comes back because its connection was closed under it stands in
    front again. Until then what is free is held: a call that just came can not overtake.
    """

    def __init__(
        self, spec: Upstream, means: Means, pools: Sequence[Pool], takers: Callable[[], Sequence[Pool]]
    ) -> None:
        """`takers`: those of the pools that take calls now."""
        self._spec = spec
        self._means = means
        self._pools = pools
        self._takers = takers
        self._waiting: OrderedDict[Parked, None] = OrderedDict()
        self._connecting: dict[Parked, None] = {}  # have their own connection made; before all of the others
        self._closed = False
        self._served_soon = False
        self._loop = asyncio.get_running_loop()

    def wants(self, pool: Pool) -> bool:
        """Whether a call waits that this target has not failed."""
        return bool(self._waiting) and _first(self._waiting, pool) is not None

    def join(self, parked: Parked) -> None:
        """Let a call wait. Raises UpstreamBusy when as many wait as may, Moved when the queue is closed."""
        if self._closed:
            raise Moved
        is_new = parked.until == NEVER and not parked.comes_back
        if is_new and len(self._waiting) >= self._spec.max_waiting:
            self._means.slots.add("upstream_waits_total", 1, "full")
            raise UpstreamBusy(
                internal=f"{self._spec.name}: all connections in use, {len(self._waiting)} calls wait",
                retry_after_s=parked.retry_after_s if self._spec.max_waiting else 1,
            )
        now = self._loop.time()
        if parked.until == NEVER:
            parked.until = now + parked.timeouts.queue_s
        parked.joined_at, parked.deadline, parked.queue = now, parked.until, self
        if not self._waiting and not self._connecting:
            self._hold(held=True)
        self._waiting[parked] = None
        if parked.comes_back:
            self._waiting.move_to_end(parked, last=False)
        self._means.deadlines.add(parked)
        self._means.slots.add("upstream_waiting", 1)

    def leave(self, parked: Parked, result: str) -> None:
        """Queue: note how a wait ended."""
        slots = self._means.slots
        slots.add("upstream_waits_total", 1, result)
        slots.observe_us("upstream_wait_seconds", int((self._loop.time() - parked.joined_at) * 1_000_000))
        self._remove(parked)

    def _remove(self, parked: Parked) -> None:
        parked.queue = None
        if parked in self._waiting:
            del self._waiting[parked]
        else:
            del self._connecting[parked]
        self._means.deadlines.discard(parked)
        self._means.slots.add("upstream_waiting", -1)
        if not self._waiting and not self._connecting:
            self._hold(held=False)

    def _hold(self, *, held: bool) -> None:
        for pool in self._pools:
            pool.hold(held=held)

    def serve_soon(self) -> None:
        """There may be a connection, or room for one: look at the end of this tick."""
        if not self._served_soon:
            self._served_soon = True
            self._loop.call_soon(self._serve)

    def takers_changed(self) -> None:
        """Other targets take calls now. Who has failed to connect to all of them may ask them once more."""
        takers = self._takers()
        for parked in self._waiting:
            if parked.failed.issuperset(takers):
                parked.failed.clear()
        self.serve_soon()

    def _serve(self) -> None:
        self._served_soon = False
        for pool in self._takers():
            self._serve_from(pool)
        for pool in self._pools:
            pool.settle()

    def _serve_from(self, pool: Pool) -> None:
        while (parked := self._first(pool)) is not None:
            connection = pool.take_held()
            if connection is None:
                break
            parked.connected(connection)
        while pool.may_connect_for_queue and (parked := _first(self._waiting, pool)) is not None:
            del self._waiting[parked]
            self._connecting[parked] = None
            parked.deadline = NEVER  # its turn has come: from here on it is the time to connect
            pool.connect(parked)

    def _first(self, pool: Pool) -> Parked | None:
        return _first(self._connecting, pool) or _first(self._waiting, pool)

    def close(self) -> None:
        """Send those who wait to where the upstream is now, in their order."""
        self._closed = True
        for parked in list(self._waiting):
            if parked in self._waiting:  # else an earlier one's move has ended it
                self._remove(parked)
                parked.moved()


def _first(calls: Iterable[Parked], pool: Pool) -> Parked | None:
    return next((parked for parked in calls if pool not in parked.failed), None)
