"""One connection to an upstream: sends a request, relays the answer, goes back to its pool."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from typing import cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade

from gateway.deadlines import NEVER
from gateway.errors import GatewayError, UpstreamInvalid, UpstreamTimeout
from gateway.model.exchange import Exchange
from gateway.model.policies import HostHeader, Timeouts
from gateway.outbox import LARGE_BYTES, Outbox
from gateway.outcomes import Outcome
from gateway.upstream.owner import Owner, StaleConnection, log_break
from gateway.upstream.reading import MAX_HEAD_BYTES
from gateway.upstream.report import AnswerReport
from gateway.upstream.request import request_head
from gateway.upstream.tunnel import CLOSE_S, TunnelProtocol
from gateway.upstream.whole import Whole, read_whole

AGE_SPREAD = 0.1
"""By how much of their age limit connections differ, so that those made together do not all end together."""

_BODY_IS_USUAL = frozenset(
    ("POST", "PUT", "PATCH", "QUERY", "SEARCH", "REPORT", "PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "ACL")
)
"""Some upstreams ignore the body of others and would take it for the next request on the connection."""


def _reason(error: HttpParserError) -> str:
    """Why an answer is not valid, for our log: never its bytes, of which the parser's own words have none."""
    cause = error.__context__
    return cause.internal if isinstance(cause, GatewayError) else f"no valid HTTP: {error}"


class UpstreamConnection(TunnelProtocol):
    """Implements `Uplink` for the exchange it carries; at most one at a time."""

    def __init__(self, owner: Owner, outbox: Outbox) -> None:
        super().__init__(owner, outbox)
        self.reused = False
        self._holds_back = False  # the upstream reads slower than the caller sends
        self._started_in = -1  # which tick the call was written in
        self._is_last = False  # no other call after this one
        self._uploaded_in = -1  # which tick the body's last piece was written in
        keepalive = owner.spec.keepalive
        self._trusts_bodies_read = keepalive.reuse_after_body
        self._idle_s = keepalive.idle_s
        self._is_limited = keepalive.max_age_s is not None or keepalive.max_calls is not None
        self._calls_left = keepalive.max_calls or -1  # below 0: no limit
        self._retires_at = NEVER
        self._unsent: list[bytes] = []  # of the body, as long as nothing of the call has been sent

    # -- asyncio.Protocol -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        now = self._loop.time()
        self.deadline = now + CLOSE_S  # who asked for it may be gone
        max_age_s = self.owner.spec.keepalive.max_age_s
        if max_age_s is not None:
            self._retires_at = now + max_age_s * (1 - AGE_SPREAD * random.random())  # noqa: S311  no secret
        self.owner.opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._started_in == self._outbox.ticks:
            self._go_stale(exchange)  # nobody asked, or the call has not been sent: this is no answer to it
            return
        if not self._is_parsing:
            whole = read_whole(data) if exchange.head.method != "HEAD" and self._report is None else None
            if whole is not None:
                self._relay_whole(exchange, whole)
                return
            self._is_parsing = True
        if self._switched:
            self._pass(exchange, data)
        elif self._parse(exchange, data):
            self._go_on(exchange, len(data))

    def _parse(self, exchange: Exchange, data: bytes) -> bool:
        """Whether the answer goes on; else it has failed, or it was the beginning of a tunnel."""
        try:
            self._feed(data)
        except HttpParserUpgrade as upgrade:
            if self._switched and self._exchange is not None:
                self._pass(exchange, data[upgrade.args[0] :])
            elif not self._switched:
                self._fail(UpstreamInvalid(internal="an upgrade nobody asked for"))
            return False
        except HttpParserError as error:
            if isinstance(error, HttpParserCallbackError) and not isinstance(error.__context__, GatewayError):
                raise  # a defect of ours: the loop logs it and cuts the connection
            self._reusable = False
            if not self._complete:  # else only what follows the answer is no HTTP
                self._fail(UpstreamInvalid(internal=_reason(error)))
                return False
        return True

    def _go_on(self, exchange: Exchange, count: int) -> None:
        if self._complete:
            self._finish()
            return
        has_begun = self._answered or len(self._unanswered) > self._begins_at  # beyond interim answers
        if has_begun and exchange.ingress_bytes and self._upload_is_unsent():
            self._is_last = True  # who answers that early may never read the rest
        if self._answered:
            self._relay(exchange, count)
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail(UpstreamInvalid(internal="the response head is too large"))

    def _relay_whole(self, exchange: Exchange, whole: Whole) -> None:
        status, reason, lines, body = whole
        if self._header_change is not None:
            lines = self._header_change.apply(lines)
        self._answered = True
        exchange.downstream.answer(status, reason, lines, len(body))
        if body:
            exchange.egress_bytes += len(body)
            exchange.downstream.body(body)
        self._finish()

    def _relay(self, exchange: Exchange, count: int) -> None:
        if not exchange.body_done:
            self._is_last = True  # as above
        if exchange.egress_bytes > self._relayed_bytes:
            self._relayed_bytes, self._head_bytes = exchange.egress_bytes, 0
        else:
            self._head_bytes += count  # chunk extensions or trailer fields
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(UpstreamInvalid(internal="the trailer fields are too large"))
                return
        self.deadline = self._loop.time() + self._timeouts.idle_s
        exchange.downstream.flush()
        if count >= LARGE_BYTES:
            self._take_ration(count)

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.lost(self)
        if self._exchange is not None:
            self._end_broken(self._exchange, exc)
        self._read_no_more()

    def _end_broken(self, exchange: Exchange, exc: Exception | None) -> None:
        if exc is None and (self._until_close or self._switched):
            self._reusable = False
            self._finish()
        elif self.reused and not self._head_bytes and not self._answered:
            self._go_stale(exchange)
        else:
            began = "within the" if self._head_bytes or self._answered else "without an"
            self._fail(UpstreamInvalid(internal=f"the connection was closed {began} answer"))

    def pause_writing(self) -> None:
        self._holds_back = True
        if self._exchange is not None:
            if not self._answered:
                self.deadline = self._loop.time() + self._timeouts.response_s
            self._exchange.downstream.pause_upload()

    def resume_writing(self) -> None:
        self._holds_back = False
        if self._exchange is not None:
            if not self._answered:
                self._set_wait(self._exchange)
            self._exchange.downstream.resume_upload()

    def _set_wait(self, exchange: Exchange) -> None:
        """The upstream's time runs once it has the whole request, or is asked whether it wants the rest."""
        waits_for_it = exchange.body_done or exchange.holds_back
        self.deadline = self._loop.time() + self._timeouts.response_s if waits_for_it else NEVER

    def _continue(self, exchange: Exchange) -> None:
        self._set_wait(exchange)
        exchange.downstream.resume_upload()

    # -- the call ---------------------------------------------------------------------------------------

    def start(self, exchange: Exchange, timeouts: Timeouts | None = None) -> None:
        """Send the request with as much of its body as is there. `timeouts`: instead of the upstream's."""
        self._exchange = exchange
        exchange.uplink = self
        self._timeouts = timeouts or self.owner.spec.timeouts
        route = exchange.route
        self._header_change = route.response_headers if route is not None else None
        billing = route.billing if route is not None else None
        self._report = AnswerReport(billing) if billing is not None and billing.reads else None
        exchange.report = self._report
        head = exchange.head
        client_host = self.owner.spec.host_header is HostHeader.CLIENT
        parts = request_head(exchange, self.owner.host_line, client_host=client_host)
        if head.has_body:
            self._add_body(exchange, parts)
        else:
            parts.append(b"\r\n")
        self._set_wait(exchange)
        self._started_in = self._outbox.ticks
        self._outbox.write(self.transport, b"".join(parts))
        if self._unsent:
            self._outbox.after(self.transport, self._unsent.clear)
        if not exchange.body_done:
            exchange.downstream.resume_upload()

    def _add_body(self, exchange: Exchange, parts: list[bytes]) -> None:
        """What is there of the body, behind the last lines of the head."""
        if exchange.head.method not in _BODY_IS_USUAL or not self._trusts_bodies_read:
            self._is_last = True
            parts.append(b"Connection: close\r\n")
        parts.append(b"\r\n")
        body = b"".join(exchange.body_parts)
        exchange.body_parts.clear()
        self._unsent = [body]
        if exchange.head.chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if exchange.body_done:
                parts.append(b"0\r\n\r\n")
        else:
            parts.append(body)

    def upload(self, data: bytes) -> None:
        assert self._exchange is not None, "an uplink carries an exchange"
        if self._switched:
            self._pass_up(self._exchange, data)
            return
        if self._nothing_was_sent():
            self._unsent.append(data)  # what comes behind what was dropped is not sent either
        if self._exchange.head.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._uploaded_in = self._outbox.ticks
        self._outbox.write(self.transport, data)
        if not self._answered and not self._holds_back:
            self._set_wait(self._exchange)

    def upload_done(self) -> None:
        assert self._exchange is not None, "an uplink carries an exchange"
        if self._switched:
            self._end_way_up(self._exchange)
            return
        if self._exchange.head.chunked:
            self._uploaded_in = self._outbox.ticks
            self._outbox.write(self.transport, b"0\r\n\r\n")
        if not self._answered:
            self._set_wait(self._exchange)

    def cancel(self) -> None:
        self._let_go()
        self.transport.abort()

    def expire(self) -> None:
        """Deadlines: idle for too long, or the upstream took too long."""
        if self._exchange is None:
            if self.transport.is_closing():
                self.transport.abort()  # an upload that is no longer read
            self.close()
        else:
            waits = self._timeouts
            self._fail(
                UpstreamTimeout(
                    internal=f"idle: nothing came for {waits.idle_s:g} s"
                    if self._answered
                    else f"response: no answer within {waits.response_s:g} s"
                )
            )

    def give_up(self, error: GatewayError) -> None:
        """The call has taken too long as a whole. Only a target that has not answered is to blame."""
        self._fail(error, blame=not self._answered)

    def rest(self) -> None:
        """Go into the pool without having carried a call."""
        self.deadline = self._loop.time() + self._idle_s
        self.owner.release(self)

    # -- the end ----------------------------------------------------------------------------------------

    def _let_go(self) -> Exchange | None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.uplink = None
        return exchange

    def _finish(self) -> None:
        """The answer is whole. Back to the pool first: the caller's next request may come at once."""
        exchange = self._let_go()
        assert exchange is not None, "only a carried exchange can finish"
        if self._is_limited:
            self._age()
        keeps = self._reusable and exchange.body_done and not self._is_last
        if exchange.ingress_bytes and self._upload_is_unsent():
            keeps = False  # it was answered unread, and would be taken for the next call
        if keeps and not self.transport.is_closing():
            self._begin()
            self.reused = True
            self.deadline = self._loop.time() + self._idle_s
            self.owner.release(self)
        else:
            self.close()
        if self.owner.troubled:
            self.owner.call_went_well()
        exchange.outcome = Outcome.SERVED if exchange.status < 500 else Outcome.UPSTREAM_ERROR
        exchange.downstream.complete()
        exchange.finished.set(None)

    def _upload_is_unsent(self) -> bool:
        return self._uploaded_in == self._outbox.ticks or self.transport.get_write_buffer_size() > 0

    def _age(self) -> None:
        """By a call: it may have been the last, or idle time may be shorter from now on."""
        self._calls_left -= 1
        left_s = self._retires_at - self._loop.time()
        self._is_last = self._is_last or not self._calls_left or left_s <= 0
        self._idle_s = min(self._idle_s, left_s)

    def leads_elsewhere(self, addresses: Collection[str]) -> bool:
        """Whether its other end has none of these addresses, and it would carry another call."""
        if self._is_last or self.transport.is_closing():
            return False
        peer = self.transport.get_extra_info("peername")
        return peer is not None and peer[0] not in addresses

    def retire(self) -> None:
        """Carry no other call than the one at hand, or the one it was made for."""
        self._is_last = True

    def close(self) -> None:
        """Carry no other call. What was written is sent, within bounds."""
        self.deadline = self._loop.time() + CLOSE_S
        self.transport.close()

    def _go_stale(self, exchange: Exchange | None) -> None:
        """Nothing the upstream said was about this call: another connection may carry it."""
        self._let_go()
        self.transport.abort()
        if exchange is not None:
            unsent = self._nothing_was_sent()
            if unsent:
                exchange.body_parts[:0] = self._unsent
            exchange.finished.fail(StaleConnection(unsent=unsent))

    def _nothing_was_sent(self) -> bool:
        """The call is still in the outbox, or was dropped because the connection was closing by then."""
        outbox = self._outbox
        dropped = self._started_in + 1 == outbox.ticks and self.transport in outbox.dropped
        return dropped or self._started_in == outbox.ticks

    def _fail(self, error: GatewayError, *, blame: bool = True) -> None:
        """Before the answer began the caller is told; after that its connection is cut."""
        exchange = self._let_go()
        self.transport.abort()
        if exchange is None:
            return
        if blame:
            self.owner.call_failed(error.internal)
        error.target = self.owner.target.place
        if not self._answered:
            exchange.finished.fail(error)
            return
        log_break(exchange, self.owner, error)
        timed_out = isinstance(error, UpstreamTimeout)
        exchange.outcome = Outcome.TIMEOUT if timed_out else Outcome.UPSTREAM_ABORTED
        exchange.downstream.abort()
        exchange.finished.set(None)
