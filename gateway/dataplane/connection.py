"""A client connection: one request after the other, pipelining, tunnels and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from gateway.dataplane.answering import drainable
from gateway.dataplane.caller import Caller, Trust, peer_address
from gateway.dataplane.waits import TimedProtocol, Waits
from gateway.deadlines import NEVER, Deadlines
from gateway.errors import ClientGone, GatewayError
from gateway.frames import GOING_AWAY, POLICY_VIOLATION, close_frame
from gateway.inline import drive
from gateway.model.exchange import Exchange, RequestHead
from gateway.outbox import Outbox
from gateway.outcomes import Outcome

FEED_BYTES = 65536
"""Parsed at once: bounds how many pipelined requests can be waiting."""

TURN = 16
"""Pipelined requests handled in one go; then the other connections have their turn."""

LINGER_S = 2.0
"""For a caller to take note that we have ended our side."""

Handle = Callable[[Exchange], Coroutine[Any, Any, None]]


class Shell(Protocol):
    """Who wants to know which connections are open."""

    def opened(self, connection: Connection) -> None:
        """A connection is there; said again when HTTP begins on one that something came before."""

    def closed(self, connection: Connection) -> None: ...


class Connection(TimedProtocol):
    """One client connection. Requests are handled one after the other, in the order they came."""

    def __init__(
        self,
        handle: Handle,
        waits: Waits,
        deadlines: Deadlines,
        outbox: Outbox,
        shell: Shell,
        trust: Trust,
    ) -> None:
        super().__init__(outbox, waits)
        self.address = ""  # of the other end; with the PROXY protocol of whom it connected for
        self._trust = trust
        self._handle = handle
        self._deadlines = deadlines
        self._shell = shell
        self._advancing = False
        self._has_ended = False  # the caller has, its way of a tunnel: nothing more will come

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.address = self.address or peer_address(transport)
        scheme = b"https" if transport.get_extra_info("ssl_object") is not None else b"http"
        self._listen_to(Caller(self.address, scheme, self._trust))
        self.deadline = self._loop.time() + self._waits.head_s
        self._deadlines.add(self)
        self._shell.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._upgrading is not None:
            self._pass(self._upgrading, data)
        elif self._unfed or self._waiting:
            self._unfed += data
            self._advance()
        elif len(data) <= FEED_BYTES:
            self._feed(data)
            self._advance()
        else:
            self._take_large(data)

    def eof_received(self) -> bool:
        """A caller that sent its last byte before it has its answer counts as gone, as with other proxies.

        In a tunnel it may still listen, so only our way to the upstream ends.
        """
        exchange = self._upgrading
        if exchange is None or exchange.status != 101 or exchange.uplink is None:
            self._deaf = True
            # The transport closes, which lasts as long as something is left that the caller does not read.
            self.deadline = self._loop.time() + self._waits.body_s
            return False
        self._has_ended = True
        exchange.uplink.upload_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._deadlines.discard(self)
        self._waiting.clear()
        exchange = self.exchange
        if exchange is not None:
            # A tunnel ends when either side leaves; that is no failure.
            ended = Outcome.SERVED if exchange.status == 101 and exc is None else Outcome.CLIENT_ABORTED
            exchange.outcome = exchange.outcome or ended
            self._break(exchange, ClientGone())
        self._read_no_more()
        self._shell.closed(self)

    # -- refusing what is read ----------------------------------------------------------------------------

    def _refuse_unread(self, error: GatewayError) -> None:
        """The rest of the bytes means nothing: answer what came before, then this error, then close."""
        self._deaf = True
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            exchange = Exchange(RequestHead(), self, b"", self.address)
            exchange.broken = error
            exchange.body_done = True
            exchange.head.keep_alive = False
            self._waiting.append(exchange)
        elif exchange.outcome is not None:
            self._linger()  # answered before its body was whole: there is nobody left to tell
        else:
            exchange.head.keep_alive = False
            self._break(exchange, error)

    def _break(self, exchange: Exchange, error: GatewayError) -> None:
        """The exchange can not go on; whoever works on it learns at its next step."""
        if exchange.broken is None:
            exchange.broken = error
        if exchange.uplink is not None:
            exchange.uplink.cancel()
            exchange.uplink = None
            exchange.finished.fail(error)

    def withdraw(self, error: GatewayError) -> None:
        """The call at hand may not go on: refuse it, or end what it is being answered.

        A WebSocket is told so in a close frame (1008, our code as its reason) if that fits in between two
        frames of the upstream's; any other answer that has begun is cut.
        """
        exchange = self.exchange
        if exchange is None or exchange.uplink is None or exchange.outcome is not None:
            return  # it has just ended, or is between two tries: then it is ended the next time
        exchange.head.keep_alive = False
        if exchange.status:
            exchange.outcome = Outcome.ACCESS_ENDED
        conversation = exchange.conversation
        if conversation is not None and conversation.egress.is_between:
            exchange.broken = error
            exchange.uplink.cancel()
            self.hang_up(close_frame(POLICY_VIOLATION, error.code))
        else:
            self._break(exchange, error)

    # -- handling ---------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Handle what is waiting and feed what is unread, in a loop: completions may come synchronously."""
        if self._advancing:
            return
        self._advancing = True
        handled = 0
        while True:
            if self.exchange is None and self._waiting:
                if self._stalled:
                    break  # who does not read answers gets no more of them
                if handled == TURN:
                    self._loop.call_soon(self._advance)
                    break
                handled += 1
                self.exchange = self._waiting.popleft()
                drive(self._handle(self.exchange), self._handled)
            elif self._unfed and self._may_feed():
                data, self._unfed = self._unfed[:FEED_BYTES], self._unfed[FEED_BYTES:]
                self._feed(data)
            else:
                break
        self._advancing = False
        busy = self.exchange is not None and self._incoming is None
        if not busy or self._waiting or self._unfed or self._reading_paused or self._upload_paused:
            self._set_wait()  # else there is nothing to wait for but the upstream

    def _may_feed(self) -> bool:
        """Read on for the exchange at hand while its body has somewhere to go, or for the next one."""
        if self._deaf or self._waiting or self._upgrading is not None or self._held_back():
            return False
        return self.exchange is self._incoming if self.exchange is not None else not self._stalled

    def _take_large(self, data: bytes) -> None:
        if self._is_body(len(data)):
            self._feed(data)
        else:
            self._unfed = data
        self._advance()
        if not self._awaits_turn and not self.outbox.ration.take(len(data), self._have_turn):
            self._awaits_turn = True
            self._set_wait()

    def _have_turn(self) -> None:
        self._awaits_turn = False
        if not self.transport.is_closing():
            self._advance()

    def _is_body(self, count: int) -> bool:
        incoming = self._incoming
        if incoming is None or incoming.head.content_length is None:
            return False
        return incoming.head.content_length - incoming.ingress_bytes >= count

    def _handled(self, error: BaseException | None) -> None:
        exchange = self.exchange
        assert exchange is not None, "an exchange ends once"
        if error is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a request failed unexpectedly", "exception": error}
            )
            self.abort()
        self.exchange = None
        broken, exchange.broken = exchange.broken, None  # it holds frames, and they the exchange
        self._last_route = exchange.route
        self._upload_paused = False
        exchange.body_parts.clear()
        is_last = self.close_after_answer or (self._deaf and not self._waiting)
        if is_last or broken is not None or not drainable(exchange):
            self._linger()
            return
        if not self._stalled:
            self.deadline = self._loop.time() + self._waits.keepalive_s
        if (
            self._waiting
            or self._incoming is not None
            or self._head_bytes
            or self._reading_paused
            or self._unfed
        ):
            self._advance()  # most calls leave nothing behind

    def _linger(self) -> None:
        """Close without a reset that could destroy the answer in flight: end our side, read to the end."""
        more = self._incoming is not None or self._upgrading is not None or self._unfed or self._waiting
        unread = self._deaf or more or self._head_bytes
        self._deaf = True
        self._unfed = b""
        self._waiting.clear()
        if self.transport.is_closing():
            self.deadline = self._loop.time() + self._waits.body_s
            return
        wait_s = self._waits.body_s
        if not unread or self._has_ended or not self.transport.can_write_eof():
            self.outbox.after(self.transport, self.transport.close)
        else:
            self.outbox.after(self.transport, self.transport.write_eof)
            self._pause_reading(paused=False)
            wait_s = LINGER_S
        if not self._stalled:
            self.deadline = self._loop.time() + wait_s

    # -- tunnels ------------------------------------------------------------------------------------------

    def _pass(self, exchange: Exchange, data: bytes) -> None:
        """Bytes after a request for another protocol: into the tunnel, or kept until there is one."""
        if exchange.status == 101 and exchange.uplink is not None:
            exchange.ingress_bytes += len(data)
            exchange.uplink.upload(data)
        else:
            self._unfed += data
            self._pause_reading(paused=True)

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        super().switch(reason, lines)
        self._uptake = None  # what holds for answers does not hold for tunnels
        early, self._unfed = self._unfed, b""
        if self._upgrading is not None and early:
            self._pass(self._upgrading, early)
        self._set_wait()

    def end_tunnel(self) -> None:
        self.flush()
        if self.transport.can_write_eof():
            self.outbox.after(self.transport, self.transport.write_eof)

    # -- shutdown -----------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether HTTP has; else a handshake or a preamble is under way."""
        return self.deadline != NEVER

    def is_idle(self) -> bool:
        """Whether nothing of a call is here."""
        return not self._is_busy() and not self.transport.is_closing()

    def go_away(self) -> None:
        """There is hardly any time left: tell a WebSocket (1001), if that fits in between two frames."""
        exchange = self.exchange
        if exchange is None or exchange.uplink is None or exchange.outcome is not None:
            return
        conversation = exchange.conversation
        if conversation is not None and conversation.egress.is_between:
            exchange.outcome = Outcome.SERVED
            exchange.uplink.cancel()
            self.hang_up(close_frame(GOING_AWAY, ""))

    def leave(self) -> None:
        """Close an idle connection."""
        if self.has_begun:
            self.close_after_answer = True
            self._linger()
        else:
            self.abort()
