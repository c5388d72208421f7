"""Connections without sockets and a loop that goes where it is told, one tick at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

HIGH_BYTES = 2000
"""Unsent bytes at which a protocol is told to pause: small, so that a test reaches it often."""

LOW_BYTES = 500


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until it is moved. Connections are made by `dial`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.failures: list[dict[str, Any]] = []
        self.dial: Callable[[FakeTransport], asyncio.Future[None]] | None = None
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self.now

    def tick(self, times: int = 1) -> None:
        """Run all callbacks that are ready now, and no others."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def settle(self) -> None:
        """Run until nothing is left to do at this moment."""
        for _ in range(2000):
            self.tick()
            if not self._ready:  # type: ignore[attr-defined]  # asyncio's own queue: nobody else knows
                return
        raise AssertionError("the loop never comes to rest")

    async def create_connection(  # type: ignore[override]  # as much of it as an upstream's dialler asks for
        self, factory: Any, *_: Any, **__: Any
    ) -> Any:
        """What `dial` decides: a fake transport, or whatever its future raises."""
        assert self.dial is not None
        transport = FakeTransport(self)
        await self.dial(transport)
        protocol = factory()
        transport.open(protocol)
        return transport, protocol


class FakeTransport(asyncio.Transport):
    """One end of a connection, as strict as uvloop's. The test is the other end.

    What the test says is delivered in a later tick, merged, and only while the protocol reads. What the
    protocol writes is taken at once into `received`, or piles up while the test does not read.
    """

    def __init__(self, loop: SteppedLoop, *, is_tls: bool = False) -> None:
        super().__init__()
        self.loop = loop
        self.is_tls = is_tls
        self.piece_bytes = 4096  # at most so much is delivered at once
        self.protocol: Any = None
        self.written = bytearray()  # by the protocol, all of it
        self.received = bytearray()
        self.said_bytes = self.heard_bytes = 0  # by the test; of these, what the protocol was given
        self.deliveries: list[tuple[int, int]] = []  # heard, and what had been written by then
        self.ended = False  # the protocol has ended its side, by half-closing or closing
        self.was_cut = False  # it has ended it with RST
        self.is_lost = False
        self.peer_reads = True
        self.largest_unsent = 0
        self._unsent = bytearray()
        self._says_pause = False
        self._inbound = bytearray()
        self._inbound_end: str = ""  # eof or reset, behind the inbound bytes
        self._reads = True
        self._closing = False
        self._eof_wanted = False
        self._pumping = False

    def open(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    # -- what the test does as the other end ---------------------------------------------------------------

    def says(self, data: bytes) -> None:
        """Bytes for the protocol."""
        if not self._inbound_end:
            self._inbound += data
            self.said_bytes += len(data)
            self._pump_soon()

    def ends(self, how: str) -> None:
        """`eof` or `reset`: no more bytes."""
        if not self._inbound_end:
            self._inbound_end = how
            if how == "reset":
                self._inbound.clear()
            self._pump_soon()

    def reads(self, yes: bool) -> None:
        """Whether the test takes what the protocol writes."""
        self.peer_reads = yes
        if yes:
            self.loop.call_soon(self._flush)

    @property
    def unheard(self) -> int:
        """How much of what was said the protocol has not taken yet."""
        return len(self._inbound)

    # -- what the kernel does ------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closing or not self._reads or self.protocol is None:
            return
        if self._inbound:
            data = bytes(self._inbound[: self.piece_bytes])
            del self._inbound[: self.piece_bytes]
            self.heard_bytes += len(data)
            self.deliveries.append((self.heard_bytes, len(self.written)))
            self.protocol.data_received(data)
            if self._inbound or self._inbound_end:
                self._pump_soon()
        elif self._inbound_end == "reset":
            self._inbound_end = "over"
            self._lose(ConnectionResetError("reset"))
        elif self._inbound_end == "eof":
            self._inbound_end = "over"
            stays = self.protocol.eof_received()
            if not stays or self.is_tls:
                self.close()

    def _flush(self) -> None:
        if not self.peer_reads or self.is_lost:
            return
        self.received += self._unsent
        self._unsent.clear()
        if self._says_pause:
            self._says_pause = False
            self.protocol.resume_writing()
        self._finish_if_flushed()

    def _finish_if_flushed(self) -> None:
        if self._unsent:
            return
        if self._eof_wanted:
            self.ended = True
        if self._closing and not self.is_lost:
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        self._unsent.clear()
        if not self.is_lost:
            self.loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = self.ended = True
            self.protocol.connection_lost(error)

    # -- asyncio.Transport ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_lost or self._eof_wanted or self._closing:
            raise RuntimeError("a write that uvloop would refuse")
        self.written += data
        self._unsent += data
        if self.peer_reads:
            self.received += self._unsent
            self._unsent.clear()
        self.largest_unsent = max(self.largest_unsent, len(self._unsent))
        if len(self._unsent) > HIGH_BYTES and not self._says_pause:
            self._says_pause = True
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        if self.is_lost:
            raise RuntimeError("the handle is closed")
        if self.is_tls:
            raise NotImplementedError
        self._eof_wanted = True
        self._finish_if_flushed()

    def can_write_eof(self) -> bool:
        return not self.is_tls

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._finish_if_flushed()

    def abort(self) -> None:
        if not self.is_lost:
            self.was_cut = True
            self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        if not self._closing:
            self._reads = True
            self._pump_soon()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return "192.0.2.1", 4711
        if name == "socket":
            return None if self.is_lost else _Plug(self)
        if name == "ssl_object":
            return self if self.is_tls else None
        return default


class _Plug:
    """A socket of which little matters."""

    def __init__(self, transport: FakeTransport) -> None:
        self._transport = transport

    def fileno(self) -> int:
        """None: behind this transport no kernel holds anything."""
        return -1

    def setsockopt(self, level: int, option: int, _: object) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self._transport.was_cut = True
