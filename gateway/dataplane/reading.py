"""The reading half of a client connection: from bytes to exchanges and the pieces of their bodies."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from mypy_extensions import mypyc_attr

from gateway.dataplane.answering import AnsweringProtocol
from gateway.dataplane.caller import Caller
from gateway.dataplane.head import HeadReader, ProxyHeadReader, refuse_method
from gateway.dataplane.methods import METHODS_OF_RTSP, may_become_one, method_of, with_stand_in
from gateway.dataplane.offers import parser_of_body
from gateway.dataplane.repeat import Repeats
from gateway.dataplane.rtsp import (
    RequestLine,
    begins_rtsp,
    first_line,
    requests_of_rtsp,
    what_may_be_one,
    with_its_end,
)
from gateway.errors import BadRequest, BodyTooLarge, GatewayError, HeadTooLarge
from gateway.model.exchange import Exchange, RequestHead
from gateway.outbox import Outbox

_NO_PARSER = HttpRequestParser(object())


@mypyc_attr(allow_interpreted_subclasses=True)  # tests read with no more than this
class ReadingProtocol(AnsweringProtocol):
    """Parses what is fed. When to feed, and what becomes of an exchange, is decided on top of it."""

    def __init__(self, outbox: Outbox, max_head_bytes: int) -> None:
        super().__init__(outbox)
        self._max_head_bytes = max_head_bytes
        self._reader = HeadReader()
        self.on_url = self._reader.url  # called by the parser directly: two calls saved per header line
        self.on_header = self._reader.header
        self._parser = HttpRequestParser(self)
        self._repeats = Repeats(max_head_bytes)
        self._feeding = b""  # the segment that is being parsed
        self._leads = False  # the head that is read next in there is the first thing in it
        self._head_bytes = 0  # of the head being read, at least; 0: between messages or in a body
        self._head_most_bytes = 0  # with all that came in the same segments
        self._begun = b""  # of that head, up to the end of its first line; behind another message: nothing
        self._behind = b""  # what such a head may have for its first line
        self._rtsp: frozenset[RequestLine] | None = None  # which would not be ours; None: not looked yet
        self._unknown_method = b""  # that it has, when the parser reads another in its place
        self._framing_bytes = 0  # of a chunked message since its last piece of body; -1: there was one
        self._incoming: Exchange | None = None  # the one whose message is being read
        self._waiting: deque[Exchange] = deque()  # read, not yet handled
        self._unfed = b""
        self._deaf = False  # nothing more is parsed: the framing is lost or we are closing
        self._upgrading: Exchange | None = None  # asked for another protocol: nothing after it is HTTP

    def _listen_to(self, caller: Caller) -> None:
        """Before the first byte: whose calls these are."""
        self._caller = caller
        if caller.is_proxy:
            self._reader = ProxyHeadReader()
            self.on_url = self._reader.url
            self.on_header = self._reader.header
            self._parser = HttpRequestParser(self)

    def _exchange(self, head: RequestHead) -> Exchange:
        caller = self._caller
        if head.authority != caller.authority or head.said is not caller.said:
            caller.hear(head)
        return Exchange(head, self, caller.lines, caller.address)

    def _read_no_more(self) -> None:
        """The connection has ended. A parser and who listens to it hold on to each other."""
        self._parser = _NO_PARSER
        self._incoming = self._upgrading = None

    @abstractmethod
    def _refuse_unread(self, error: GatewayError) -> None:
        """The rest of the bytes means nothing."""

    @abstractmethod
    def pause_upload(self) -> None: ...

    @abstractmethod
    def resume_upload(self) -> None: ...

    @abstractmethod
    def end_tunnel(self) -> None: ...

    # -- the end -----------------------------------------------------------------------------------------

    def say_last(self) -> None:
        """End behind the next answer, which will say so: a caller that was not told may send another call.

        Changes nothing while an answer is under way that did not say it, or while others are due first.
        """
        exchange = self.exchange
        if not self._waiting and not self._unfed and (exchange is None or not exchange.status):
            self.close_after_answer = True

    def _is_busy(self) -> bool:
        """Whether anything of a call is here, or nothing is taken any more."""
        call = self.exchange is not None or self._incoming is not None or bool(self._waiting or self._unfed)
        return call or bool(self._head_bytes) or self._deaf

    # -- httptools --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head_bytes = 1

    def on_headers_complete(self) -> None:
        parser = self._parser
        most_bytes = self._head_most_bytes + len(self._feeding)
        self._head_bytes = self._head_most_bytes = 0
        try:
            if most_bytes > self._max_head_bytes and self._reader.size() > self._max_head_bytes:
                raise HeadTooLarge
            method = parser.get_method()
            self._check_protocol(method, self._reader.target)
            head = self._reader.finish(
                method, keep_alive=parser.should_keep_alive(), version=parser.get_http_version
            )
            if self._unknown_method:
                self._set_method(head)
        except GatewayError as error:
            self._refuse_unread(error)
            raise
        exchange = self._incoming = self._exchange(head)
        if head.upgrade is not None:
            head.keep_alive = False  # unless it is switched, the connection ends with the answer
            self._upgrading = exchange
        self._waiting.append(exchange)

    def _check_protocol(self, method: bytes, target: bytes) -> None:
        """BadRequest for a head that the parser has read as one of RTSP."""
        if self._leads:
            begun, self._begun, self._leads = self._begun, b"", False
            is_rtsp = begins_rtsp(begun + self._feeding, method, target)
        else:
            if self._rtsp is None:
                self._rtsp, self._behind = requests_of_rtsp(self._behind + self._feeding), b""
            is_rtsp = (method, target) in self._rtsp
        if is_rtsp:
            raise BadRequest("The request is one of RTSP, not of HTTP/1.1.")

    def on_body(self, data: bytes) -> None:
        exchange = self._incoming
        assert exchange is not None, "a body follows a head"
        exchange.ingress_bytes += len(data)
        self._framing_bytes = -1
        if exchange.outcome is None:
            if exchange.ingress_bytes > exchange.max_body_bytes:
                error = BodyTooLarge(exchange.max_body_bytes)
                self._refuse_unread(error)
                raise error
            exchange.body_parts.append(data)

    def on_message_complete(self) -> None:
        exchange = self._incoming
        assert exchange is not None, "a message ends after its head"
        self._incoming = None
        exchange.body_done = True
        if exchange.head.chunked:
            self._reader.reset()  # trailer fields are never forwarded
            self._framing_bytes = 0
        if exchange.uplink is not None:
            self._send_body(exchange)
            exchange.uplink.upload_done()

    # -- feeding ----------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        is_start = self._incoming is None and not self._head_bytes
        if is_start and (head := self._repeats.recognise(data)) is not None:
            exchange = self._exchange(head)
            exchange.body_done = True
            self._waiting.append(exchange)
            return
        self._feeding = data
        self._leads = is_start or bool(self._begun)
        self._rtsp = None
        body_of = self._incoming
        try:
            self._parser.feed_data(data)
            if is_start and len(self._waiting) == 1 and self._incoming is None and not self._head_bytes:
                self._repeats.remember(data, self._waiting[0].head)
        except HttpParserUpgrade as upgrade:
            if not self._deaf:
                self._go_on(data[upgrade.args[0] :])
        except HttpParserError as error:
            if not self._deaf and self._goes_on(data, error, is_start=is_start):
                return
        self._feeding = b""
        if self._head_bytes:
            is_behind = self._head_bytes == 1 and (body_of is not None or bool(self._waiting))
            self._count_head(len(data), is_behind=is_behind)
            if self._deaf:
                self._begun = self._behind = b""
            elif self._leads and not is_behind:
                self._follow_method(data, is_start=is_start)
            else:
                self._behind = what_may_be_one(data) if is_behind else with_its_end(self._behind, data)
        elif self._incoming is not None:
            self._count_body(self._incoming, len(data))

    # -- methods that the parser does not know ----------------------------------------------------------

    def _goes_on(self, data: bytes, error: HttpParserError, *, is_start: bool) -> bool:
        """The parser has stopped. Whether only for a method it does not know, and the request is read on."""
        if isinstance(error, HttpParserCallbackError):
            raise error  # a defect of ours: the loop logs it and cuts the connection
        is_method = isinstance(error, HttpParserInvalidMethodError)
        is_alone = (is_start or self._begun) and not self._waiting and self._incoming is None
        if is_alone and not self._unknown_method:
            begun = data if is_start else self._begun + data
            method = method_of(begun)
            if method is not None and (is_method or method in METHODS_OF_RTSP):
                self._read_anew(begun, method)
                return True
            if is_method and may_become_one(begun):
                return False  # it is said again when more of it is there
        # The parser's words are its own: they repeat nothing of what it read.
        why = f"The request is not valid HTTP/1.1: {error}."
        if is_method and not is_alone:
            why += " A method that is not well known can not follow another request in one piece."
        self._refuse_unread(BadRequest(why))
        return False

    def _follow_method(self, data: bytes, *, is_start: bool) -> None:
        """Of a head that comes in pieces: keep what is needed to read it anew, and to know its protocol."""
        if self._begun.endswith(b"\n") and not is_start:
            return
        begun = data if is_start else self._begun + data
        method = method_of(begun)
        if method in METHODS_OF_RTSP and not self._unknown_method:
            self._read_anew(begun, method)
        else:
            self._begun = first_line(begun)

    def _read_anew(self, begun: bytes, method: bytes) -> None:
        self._unknown_method = method
        self._head_bytes = self._head_most_bytes = 0
        self._begun = b""
        self._reader.reset()
        self._parser = HttpRequestParser(self)
        self._repeats = Repeats(self._max_head_bytes)  # what stands in must not be taken for itself
        self._feed(with_stand_in(begun, method))

    def _set_method(self, head: RequestHead) -> None:
        method, self._unknown_method = self._unknown_method, b""
        refuse_method(method)
        head.method, head.method_bytes = method.decode("ascii"), method

    # -- after a request that the parser takes for the last -----------------------------------------------

    def _go_on(self, rest: bytes) -> None:
        """After a request that asks for another protocol, or offers one."""
        self._unfed = rest + self._unfed
        if self._upgrading is not None:
            return  # the rest is for the tunnel, if there will be one
        exchange = self._waiting[-1]
        if exchange.head.has_body:
            exchange.body_done = False
            self._incoming = exchange
            self._parser = parser_of_body(self, exchange.head)
        else:
            self._parser = HttpRequestParser(self)

    def _count_head(self, count: int, *, is_behind: bool) -> None:
        """Never more than there is: of a head behind another message, only what has been collected."""
        self._head_bytes += self._reader.size() if is_behind else count
        self._head_most_bytes += count
        if self._head_bytes > self._max_head_bytes and not self._deaf:
            self._refuse_unread(HeadTooLarge())

    def _count_body(self, exchange: Exchange, count: int) -> None:
        """Pass on what came, and bound what is no body: chunk extensions and trailer fields."""
        if exchange.uplink is not None:
            self._send_body(exchange)
        if exchange.head.chunked:
            self._framing_bytes = 0 if self._framing_bytes < 0 else self._framing_bytes + count
            if self._framing_bytes > self._max_head_bytes:
                self._refuse_unread(HeadTooLarge("The chunk extensions or trailer fields are too large."))

    @staticmethod
    def _send_body(exchange: Exchange) -> None:
        """What came together goes on together: a million tiny chunks cost no million writes."""
        parts = exchange.body_parts
        if parts and exchange.uplink is not None:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            exchange.uplink.upload(data)
