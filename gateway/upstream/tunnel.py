"""An upstream's connection once it has switched to another protocol: bytes both ways, and how that ends."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod

from gateway.deadlines import NEVER
from gateway.frames import BAD_GATEWAY, GOING_AWAY, Conversation, FramesRefused, close_frame
from gateway.model.exchange import Exchange
from gateway.model.policies import Timeouts
from gateway.outbox import LARGE_BYTES, Outbox
from gateway.outcomes import Outcome
from gateway.upstream.owner import Owner
from gateway.upstream.reading import ReadingProtocol

CLOSE_S = 4.0
"""What an upstream gets to read our last words, or the rest of an upload that it has answered already."""

log = logging.getLogger("tollway.upstream")


class Unheard(asyncio.Protocol):
    """In place of a connection that has said its last: what still comes is dropped until the other side ends.

    A connection closed at once would be reset by what is on its way, and our last words lost with it.
    """

    def __init__(self, connection: asyncio.Protocol) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


class TunnelProtocol(ReadingProtocol):
    """Passes bytes both ways. When to, and what comes before, is decided on top of it."""

    def __init__(self, owner: Owner, outbox: Outbox) -> None:
        super().__init__()
        self.owner = owner
        self._outbox = outbox
        self.deadline = NEVER
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._timeouts: Timeouts = owner.spec.timeouts
        self._caller_ended = self._upstream_ended = False  # which ways are at their end
        self._is_held = False  # the caller does not read
        self._awaits_turn = False  # others with large pieces are read first

    @abstractmethod
    def _let_go(self) -> Exchange | None:
        """Carry no call any more."""

    @abstractmethod
    def close(self) -> None: ...

    # -- room --------------------------------------------------------------------------------------------

    def pause_answer(self) -> None:
        self._is_held = True
        self.transport.pause_reading()
        self.deadline = NEVER

    def resume_answer(self) -> None:
        self._is_held = False
        if not self._awaits_turn:
            self.transport.resume_reading()
        self.deadline = self._loop.time() + self._timeouts.idle_s

    def _take_ration(self, count: int) -> None:
        """After a large piece of an answer that goes on."""
        is_over = self._exchange is None or self.transport.is_closing()
        if not is_over and not self._awaits_turn and not self._outbox.ration.take(count, self._have_turn):
            self._awaits_turn = True
            self.transport.pause_reading()

    def _have_turn(self) -> None:
        self._awaits_turn = False
        if not self._is_held and not self.transport.is_closing():
            self.transport.resume_reading()

    # -- tunnels -----------------------------------------------------------------------------------------

    def _pass(self, exchange: Exchange, data: bytes) -> None:
        count = len(data)
        if data:
            exchange.egress_bytes += len(data)
            if exchange.conversation is not None:
                try:
                    data = exchange.conversation.egress.feed(data)
                except FramesRefused as refused:
                    self._refuse_frames(exchange, exchange.conversation, refused, of_caller=False)
                    return
            exchange.downstream.body(data)
        self.deadline = self._loop.time() + self._timeouts.idle_s
        exchange.downstream.flush()
        if count >= LARGE_BYTES:
            self._take_ration(count)

    def _pass_up(self, exchange: Exchange, data: bytes) -> None:
        if exchange.conversation is not None:
            try:
                data = exchange.conversation.ingress.feed(data)
            except FramesRefused as refused:
                self._refuse_frames(exchange, exchange.conversation, refused, of_caller=True)
                return
        self._outbox.write(self.transport, data)
        self.deadline = self._loop.time() + self._timeouts.idle_s

    def _refuse_frames(
        self, exchange: Exchange, conversation: Conversation, refused: FramesRefused, *, of_caller: bool
    ) -> None:
        """Nothing more passes either way. Both sides are told so; whom nothing can be told now is cut."""
        self._note_refusal(exchange, refused, of_caller=of_caller)
        self._let_go()
        exchange.outcome = Outcome.CLIENT_ABORTED if of_caller else Outcome.UPSTREAM_ABORTED
        to_caller, to_upstream = close_frames(refused, of_caller=of_caller)
        if of_caller or conversation.ingress.is_between:
            self._hang_up(to_upstream)
        else:
            self.transport.abort()
        if not of_caller or conversation.egress.is_between:
            exchange.downstream.hang_up(to_caller)
        else:
            exchange.downstream.abort()
            exchange.finished.set(None)

    def _hang_up(self, farewell: bytes) -> None:
        self._outbox.write(self.transport, farewell)
        if not self.transport.can_write_eof():
            self._outbox.after(self.transport, self.close)
            return
        self._outbox.after(self.transport, self.transport.write_eof)
        self.transport.set_protocol(Unheard(self))
        self.transport.resume_reading()
        self.deadline = self._loop.time() + CLOSE_S

    def eof_received(self) -> bool:
        """The upstream's last byte. A tunnel lives on until the caller has sent its own."""
        exchange = self._exchange
        if exchange is None or not self._switched or self._caller_ended:
            return False
        if not self.transport.can_write_eof():
            return False  # TLS can not end one way only
        self._upstream_ended = True
        if exchange.conversation is not None:
            exchange.conversation.egress.end()
        exchange.downstream.end_tunnel()
        return True

    def _note_refusal(self, exchange: Exchange, refused: FramesRefused, *, of_caller: bool) -> None:
        """Count it, and one line in the log."""
        self.owner.frames_refused("ingress" if of_caller else "egress")
        log.log(
            logging.INFO if of_caller else logging.WARNING,
            "a WebSocket was closed for what its %s sent",
            "caller" if of_caller else "upstream",
            extra={
                "code": refused.reason,
                "request_id": exchange.request_id.decode(),
                "route": exchange.route.name if exchange.route is not None else "",
                "target": self.owner.target.place,
                "upstream": self.owner.spec.name,
            },
        )

    def _end_way_up(self, exchange: Exchange) -> None:
        """The caller's last byte."""
        self._caller_ended = True
        if exchange.conversation is not None:
            exchange.conversation.ingress.end()
        # TLS can not end one way only: there the tunnel ends.
        ended = self._upstream_ended or not self.transport.can_write_eof()
        self._outbox.after(self.transport, self.transport.close if ended else self.transport.write_eof)


def close_frames(refused: FramesRefused, *, of_caller: bool) -> tuple[bytes, bytes]:
    """The last bytes for the caller and for the upstream: who sent the frame is told why."""
    why = close_frame(refused.code, refused.reason, masked=not of_caller)
    if of_caller:
        return why, refused.passed + close_frame(GOING_AWAY, "", masked=True)
    return refused.passed + close_frame(BAD_GATEWAY, refused.reason), why
