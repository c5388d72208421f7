"""The reading half of an upstream's connection: from bytes to the answer that its exchange gets."""

from __future__ import annotations

import asyncio
import re

from httptools import HttpResponseParser
from mypy_extensions import mypyc_attr

from gateway.errors import UpstreamInvalid
from gateway.frames import Conversation
from gateway.model.changes import HeaderChange
from gateway.model.exchange import Exchange
from gateway.upstream.fields import TRAVELS, travels, without_listed
from gateway.upstream.report import AnswerReport

MAX_HEAD_BYTES = 65536
_REASON = re.compile(rb"[\t -~\x80-\xff]*")
_VERSION = re.compile(rb"[\r\n]*HTTP/1\.[01] ")
"""How an answer begins. The parser would take one of RTSP, of ICE, and of HTTP/2.0 for ours."""
_NO_PARSER = HttpResponseParser(object())


def _protocols(field: bytes) -> set[bytes]:
    """What an `Upgrade` names. The parser has refused lines that could mean anything else."""
    return {protocol.strip().lower() for protocol in field.split(b",")}


@mypyc_attr(allow_interpreted_subclasses=True)  # tests read with no more than this
class ReadingProtocol(asyncio.Protocol):
    """Parses answers and hands them on. What a call is, and how it ends, is decided on top of it."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._is_parsing = False  # else the parser has seen nothing of this answer
        self._answered = False  # the final head has gone to the caller
        self._header_change: HeaderChange | None = None  # of the route of this call
        self._report: AnswerReport | None = None  # where the route bills by what answers say
        self._forget()

    def _begin(self) -> None:
        """Nothing of the next answer has been read."""
        self._answered = False
        if self._is_parsing:
            self._is_parsing = False
            if self._is_bodiless:
                self._parser = HttpResponseParser(self)  # this one still waits for the body
            self._forget()

    def _forget(self) -> None:
        self._lines: list[bytes] = []
        self._connection = b""
        self._reason = b""
        self._length: int | None = None
        self._has_transfer_encoding = False
        self._is_chunked = False
        self._head_bytes = 0
        self._unanswered = b""  # all that came of the answer, until its final head is whole
        self._begins_at = 0  # where in there the head begins that is being read
        self._until_close = False
        self._upgrade = b""
        self._switched = False  # to another protocol: what follows is not ours to read
        self._relayed_bytes = 0  # of the body, when it was last seen to grow
        self._complete = False
        self._reusable = True
        self._is_bodiless = False  # though the parser does not know: the answer to HEAD

    def _read_no_more(self) -> None:
        """The connection has ended. A parser and who listens to it hold on to each other."""
        self._parser = _NO_PARSER

    def _feed(self, data: bytes) -> None:
        if not self._answered:
            self._head_bytes += len(data)
            self._unanswered += data
        self._parser.feed_data(data)

    def _continue(self, exchange: Exchange) -> None:
        """The caller has been told to send its body. For whoever minds the time."""

    # -- httptools --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False  # bytes beyond the answer: drop them with the connection

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._report is not None and self._answered:
            self._report.trailer(name, value)
            return
        goes_on = TRAVELS.get(name)
        if goes_on is None:
            goes_on = travels(name)
        if goes_on:
            self._lines += (name, b": ", value, b"\r\n")
            return
        lower = name.lower()
        if self._answered:
            return  # a trailer field, which is not passed on
        if lower == b"content-length":
            self._length = int(value)
        elif lower == b"connection":
            self._connection += b"," + value
        elif lower == b"upgrade":
            self._upgrade = self._upgrade + b", " + value if self._upgrade else value
        elif lower == b"transfer-encoding":
            self._is_chunked = not self._has_transfer_encoding and value.strip().lower() == b"chunked"
            self._has_transfer_encoding = True

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or self._answered:
            return
        begin = _VERSION.match(self._unanswered, self._begins_at)
        if begin is None:
            raise UpstreamInvalid(internal="neither HTTP/1.1 nor HTTP/1.0")
        status = self._parser.get_status_code()
        if status < 100:
            raise UpstreamInvalid(internal="a status below 100")
        if not _REASON.fullmatch(self._reason):  # the parser lets all pass but line ends
            raise UpstreamInvalid(internal="a control character in the reason")
        if self._head_bytes > MAX_HEAD_BYTES and sum(map(len, self._lines)) > MAX_HEAD_BYTES:
            raise UpstreamInvalid(internal="the response head is too large")
        if self._connection and self._connection.lower() not in (b",keep-alive", b",close"):
            self._lines = without_listed(self._lines, self._connection)
        if status == 101:
            self._switch(exchange)
            return
        if status < 200:
            self._pass_interim(exchange, status)
            self._begins_at = self._unanswered.index(b"\r\n\r\n", begin.end()) + 4
            return
        if self._has_transfer_encoding and not self._is_chunked:
            raise UpstreamInvalid(internal="a transfer coding other than chunked")
        has_no_body = exchange.head.method == "HEAD" or status in (204, 304)
        self._until_close = not has_no_body and self._length is None and not self._has_transfer_encoding
        if exchange.head.method == "HEAD":
            self._complete = self._is_bodiless = True
            self._reusable = self._parser.should_keep_alive()
        self._answered = True
        self._unanswered = b""
        length = None if status == 204 else self._length
        exchange.downstream.answer(status, self._reason, self._read_lines(), length)

    def _read_lines(self) -> list[bytes]:
        """The header lines of the final answer as they go on to the caller."""
        lines, change = self._lines, self._header_change
        if self._report is not None:
            lines = self._report.head(lines)
        return lines if change is None else change.apply(lines)

    def _pass_interim(self, exchange: Exchange, status: int) -> None:
        lines, change = self._lines, self._header_change
        lines = lines if self._report is None else self._report.strip(lines)
        goes_on = status == 100 and exchange.holds_back
        exchange.downstream.interim(
            status, self._reason, lines if change is None else change.without_dropped(lines)
        )
        if goes_on:
            self._continue(exchange)
        self._lines, self._reason, self._connection, self._length = [], b"", b"", None
        self._has_transfer_encoding = False

    def _switch(self, exchange: Exchange) -> None:
        if exchange.head.upgrade is None:
            raise UpstreamInvalid(internal="101 without a request to switch protocols")
        if not self._parser.should_upgrade() or not self._upgrade:
            raise UpstreamInvalid(internal="101 that names no protocol")
        if not _protocols(self._upgrade) <= _protocols(exchange.head.upgrade):
            raise UpstreamInvalid(internal="101 to a protocol that nobody asked for")
        self._answered = self._switched = True
        self._unanswered = b""
        if self._upgrade.strip().lower() == b"websocket":
            exchange.conversation = Conversation(exchange.route.max_message if exchange.route else None)
        lines = [*self._read_lines(), b"Upgrade: ", self._upgrade, b"\r\n"]
        exchange.downstream.switch(self._reason, lines)

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._complete:
            self._reusable = False
            return
        exchange.egress_bytes += len(data)
        exchange.downstream.body(data)
        if self._report is not None:
            self._report.body(data)

    def on_message_complete(self) -> None:
        if self._answered and not self._complete and not self._switched:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()
