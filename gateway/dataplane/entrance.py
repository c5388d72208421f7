"""What comes before HTTP on a new socket: a PROXY preamble, a TLS handshake, or one after the other.

A socket counts as a connection from its first moment on, and has `wait_s` for each of the two.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import Protocol, cast

from gateway.dataplane.caller import Trust, peer_address
from gateway.dataplane.connection import Connection
from gateway.dataplane.proxy_protocol import Preamble, PreambleInvalid
from gateway.deadlines import NEVER, Deadlines
from gateway.inline import drive
from gateway.telemetry.slots import Slots
from gateway.throttle import Throttle

log = logging.getLogger("tollway.dataplane")


class Register(Protocol):
    """Who counts connections. Any of these may cut the connection."""

    def opened(self, connection: Connection) -> None: ...

    def named(self, connection: Connection, address: str) -> None: ...

    def closed(self, connection: Connection) -> None: ...


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is to be done before HTTP begins, and what is needed for it."""

    trust: Trust
    tls: ssl.SSLContext | None
    wait_s: float
    deadlines: Deadlines
    slots: Slots
    told: Throttle  # how often the log hears of bad preambles: anybody may send them


class Entrance(asyncio.BufferedProtocol):
    """Has the socket until HTTP begins; then its connection has it.

    A buffered protocol, because those say how much may be read: exactly the preamble.
    """

    def __init__(self, connection: Connection, threshold: Threshold, register: Register) -> None:
        self.deadline = NEVER
        self._connection = connection
        self._threshold = threshold
        self._register = register
        self._preamble = Preamble()

    # -- asyncio.BufferedProtocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = self._connection
        self._transport = connection.transport = cast("asyncio.Transport", transport)
        connection.address = peer_address(transport)
        self._register.opened(connection)
        if transport.is_closing():
            return
        if self._threshold.trust.expects_preamble(connection.address):
            self.deadline = asyncio.get_running_loop().time() + self._threshold.wait_s
            self._threshold.deadlines.add(self)
        else:
            self._go_on()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        return self._preamble.room

    def buffer_updated(self, nbytes: int) -> None:
        preamble = self._preamble
        try:
            preamble.took(nbytes)
        except PreambleInvalid as invalid:
            self._refuse(str(invalid))
            return
        if preamble.is_whole:
            self._threshold.deadlines.discard(self)
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._preamble_read)  # not while the transport is reading

    def eof_received(self) -> None:
        if self._preamble.is_begun:  # else somebody has looked whether the port is open
            self._refuse("it broke off")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._threshold.deadlines.discard(self)
        self._register.closed(self._connection)

    def expire(self) -> None:
        """Deadlines: the preamble did not come in time."""
        self._refuse("it did not come in time")

    # -- the preamble -------------------------------------------------------------------------------------

    def _preamble_read(self) -> None:
        if self._preamble.source is not None and not self._transport.is_closing():
            self._register.named(self._connection, self._preamble.source)
        if not self._transport.is_closing():
            self._go_on()

    def _refuse(self, why: str) -> None:
        self._threshold.slots.add("proxy_protocol_errors_total")
        self._transport.abort()
        if self._threshold.told.take(""):
            return
        log.warning(
            "a connection had no valid PROXY preamble: %s; does the load balancer send one?",
            why,
            extra={"peer": self._connection.address},
        )

    # -- the handshake ------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        transport, connection = self._transport, self._connection
        if self._threshold.tls is not None:
            drive(self._shake_hands(self._threshold.tls), self._handshake_ended)
        else:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            transport.resume_reading()

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        early = _Early(self._connection)
        transport = await asyncio.get_running_loop().start_tls(
            self._transport, early, context, server_side=True, ssl_handshake_timeout=self._threshold.wait_s
        )
        # Loops do not agree on what a socket that was closed meanwhile comes back as.
        if transport is None or early.is_lost or self._transport.is_closing():
            raise ConnectionResetError
        early.hand_over(transport)

    def _handshake_ended(self, error: BaseException | None) -> None:
        if error is None:
            return
        if not isinstance(error, OSError | asyncio.CancelledError):  # TLS and time-outs are among the first
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a TLS handshake failed unexpectedly", "exception": error}
            )
        self._threshold.slots.add("tls_handshake_errors_total")
        self._transport.abort()
        self._register.closed(self._connection)


class _Early(asyncio.Protocol):
    """Keeps what arrives with the last bytes of a handshake, before its end is known to us."""

    def __init__(self, connection: Connection) -> None:
        self.is_lost = False
        self._connection = connection
        self._is_handed_over = False
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._is_handed_over:  # lost before, told after
            self._connection.connection_lost(exc)

    def hand_over(self, transport: asyncio.Transport) -> None:
        """From here on the connection is told everything."""
        self._is_handed_over = True
        transport.set_protocol(self._connection)
        self._connection.connection_made(transport)
        if self._data:
            self._connection.data_received(self._data)
