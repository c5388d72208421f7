"""What one loop tick moves: its writes, sent together at its end, and how much is read of large pieces.

Waking a sleeping peer costs more than the write itself. When a tick has read from many sockets, the peers
are woken by the first write and find the others when they look: a sixth less CPU per request under load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LARGE_BYTES = 65536
"""Pieces from this size on are rationed."""

RATION_BYTES = 512 << 10
"""Of large pieces, in one tick, by all connections: a few milliseconds."""

MOST_AT_ONCE = 2
"""How many go on in one tick: sockets are read by a quarter of a megabyte."""


class Outbox:
    """Holds what connections have to say until the tick ends. Order per transport is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ration = Ration(loop)
        self.ticks = 0  # how often it was emptied; what was written in this one has not been sent
        self.dropped: set[asyncio.Transport] = set()  # were closing when it was emptied, so nothing was sent
        self._pending: list[tuple[asyncio.Transport, bytes | Callable[[], None]]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send `data` at the end of this tick, unless the transport is closing by then."""
        pending = self._pending
        if not pending:
            self._loop.call_soon(self._flush)
        pending.append((transport, data))

    def write_large(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send `data` now, unless something before it is still held; its sender learns at once when to pause.

        One look at a socket may bring as much as the kernel holds, megabytes, in many pieces.
        """
        if any(held is transport for held, _ in self._pending):
            self.write(transport, data)
        elif not transport.is_closing():
            transport.write(data)

    def after(self, transport: asyncio.Transport, action: Callable[[], None]) -> None:
        """Call `action` (close, write_eof) once everything written so far has been handed over."""
        if self._pending:
            self._pending.append((transport, action))
        else:
            action()

    def _flush(self) -> None:
        self.ticks += 1
        pending, self._pending = self._pending, []
        if self.dropped:
            self.dropped.clear()
        for transport, item in pending:
            if transport.is_closing():
                self.dropped.add(transport)
            elif isinstance(item, bytes):
                transport.write(item)
            else:
                item()


class Ration:
    """Lets large transfers take turns, so that small calls come in between.

    A socket with much to say is read again and again within one tick, by megabytes. With a hundred of them a
    call of a few bytes would wait until all have filled the buffers behind us.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left_bytes = RATION_BYTES
        self._is_counting = False
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, count: int, go_on: Callable[[], None]) -> bool:
        """Whether to read on in this tick, after so many bytes; if not, `go_on` is called in its turn."""
        if not self._is_counting:
            self._is_counting = True
            self._loop.call_soon(self._next_tick)
        self._left_bytes -= count
        if self._left_bytes > 0:
            return True
        self._waiting.append(go_on)
        return False

    def _next_tick(self) -> None:
        self._left_bytes = RATION_BYTES
        for _ in range(min(len(self._waiting), MOST_AT_ONCE)):
            self._waiting.popleft()()
        self._is_counting = bool(self._waiting)
        if self._is_counting:
            self._loop.call_soon(self._next_tick)
