"""The writing half of a client connection: how an answer is framed and sent."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus

from mypy_extensions import mypyc_attr

from gateway.dataplane.cross_origin import with_cors
from gateway.model.exchange import Exchange
from gateway.outbox import Outbox

_STATUS_LINES: dict[int, tuple[bytes, bytes]] = {
    status.value: (
        status.phrase.encode(),
        b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()),
    )
    for status in HTTPStatus
}


_TCP_NOTSENT_LOWAT = 25  # of Linux; Python 3.12 has a name for it

_RESET = struct.pack("ii", 1, 0)
"""With this for SO_LINGER, closing sends RST and drops what is not sent."""

LARGE_BYTES = 65536
"""A piece of an answer from this size on is sent at once: it is worth a write of its own."""

UNSENT_BYTES = 512 << 10
"""What the kernel holds of a large answer beyond what is under way; else it may be megabytes."""

DRAIN_BYTES = 65536
"""An unread request body up to this size is read and dropped; a larger one closes the connection."""


def drainable(exchange: Exchange) -> bool:
    """Whether little enough of the request body is missing to read and drop it.

    A caller that waits for `100 Continue` may never send its body, so nothing can be read past it.
    """
    if exchange.body_done:
        return True
    length, received = exchange.head.content_length, exchange.ingress_bytes
    if length is None or exchange.holds_back:
        return False
    return length - received <= DRAIN_BYTES


def status_line(status: int, reason: bytes) -> bytes:
    """The status line with the reason as the upstream sent it."""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


@mypyc_attr(allow_interpreted_subclasses=True)  # as `ReadingProtocol` does
class AnsweringProtocol(asyncio.Protocol):
    """Implements `Downstream` for the exchange that is being answered. The reading half builds on it."""

    transport: asyncio.Transport

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.exchange: Exchange | None = None  # the one being handled
        self.close_after_answer = False
        self._out: list[bytes] = []
        self._chunked = False
        self._is_bounded = False  # how much the kernel takes of what it can not send yet
        self._stalled = False  # there is more to write than the caller reads

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        exchange = self.exchange
        assert exchange is not None, "only the exchange at hand is answered"
        head, route = exchange.head, exchange.route
        if route is not None and route.cors is not None:
            lines = with_cors(lines, head, route.cors)
        exchange.status = status
        exchange.answered_at_us = time.monotonic_ns() // 1000
        out = self._out
        usual = _STATUS_LINES.get(status)
        out.append(usual[1] if usual is not None and usual[0] == reason else status_line(status, reason))
        out += lines
        if length is not None:
            out.append(b"Content-Length: %d\r\n" % length)
        elif head.method != "HEAD" and status not in (204, 304):
            if head.http_1_0:
                self.close_after_answer = True
            else:
                self._chunked = True
                out.append(b"Transfer-Encoding: chunked\r\n")
        if exchange.grant is not None:
            out.append(exchange.grant.header)
        if self.close_after_answer or not head.keep_alive:
            self.close_after_answer = True
            out.append(b"Connection: close\r\n")
        elif head.http_1_0:
            out.append(b"Connection: keep-alive\r\n")
        out += (b"Tollway-Request-Id: ", exchange.request_id, b"\r\n\r\n")

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        exchange = self.exchange
        assert exchange is not None, "only the exchange at hand is answered"
        exchange.status = 101
        exchange.answered_at_us = time.monotonic_ns() // 1000
        self.close_after_answer = True
        self._out += (status_line(101, reason), *lines, b"Connection: upgrade\r\n")
        if exchange.grant is not None:
            self._out.append(exchange.grant.header)
        self._out += (b"Tollway-Request-Id: ", exchange.request_id, b"\r\n\r\n")
        self.flush()

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        exchange = self.exchange
        if exchange is None or exchange.head.http_1_0:
            return
        if status == 100:
            if not exchange.head.expects_continue:
                return
            exchange.continued = True
        # Not by `flush`, which may pause the upstream's connection: the final answer can come with this one,
        # and the next call would find it paused. Its reader bounds how much comes before an answer.
        self.outbox.write(self.transport, b"".join((status_line(status, reason), *lines, b"\r\n")))

    def body(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            data = out[0] if len(out) == 1 else b"".join(out)
            if len(data) < LARGE_BYTES:
                self.outbox.write(self.transport, data)
            else:
                if not self._is_bounded:
                    self._bound_unsent()
                self.outbox.write_large(self.transport, data)
        if self._stalled and self.exchange is not None and self.exchange.uplink is not None:
            self.exchange.uplink.pause_answer()  # it began while the one before was not being read

    def _bound_unsent(self) -> None:
        """A hundred callers that read slowly should not have us fill hundreds of megabytes first."""
        self._is_bounded = True
        plug = self.transport.get_extra_info("socket")
        if plug is not None:
            with suppress(OSError, ValueError):  # closed meanwhile, a unix socket, a system without it
                plug.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def hang_up(self, farewell: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None, "a tunnel is an exchange"
        self.body(farewell)
        self.flush()
        exchange.finished.set(None)  # not failed: the connection ends in order

    def complete(self) -> None:
        out = self._out
        if self._chunked:
            self._chunked = False
            out.append(b"0\r\n\r\n")
        if out:
            self._out = []
            self.outbox.write(self.transport, b"".join(out))

    def abort(self) -> None:
        self._out.clear()
        self.close_after_answer = True  # whatever else was asked for on this connection
        # A plain close would say that the answer ends here, to a caller that reads until the end.
        if (plug := self.transport.get_extra_info("socket")) is not None:
            with suppress(OSError, ValueError):  # closed meanwhile
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
