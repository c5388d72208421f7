"""Whatever we take for a message, h11 takes for the same message: no framing that only we would accept."""

from __future__ import annotations

import os
import re
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from typing import cast

import h11
from httptools import HttpParserError, HttpParserUpgrade
from hypothesis import event, example, given, settings
from hypothesis import strategies as some

from gateway.dataplane.caller import NOBODY, Caller
from gateway.dataplane.reading import ReadingProtocol
from gateway.errors import GatewayError, UpstreamInvalid
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.outbox import Outbox
from gateway.upstream.reading import ReadingProtocol as AnswerReading
from gateway.upstream.whole import read_whole

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
LONG = settings(max_examples=1500 * max(TIMES, 1), deadline=None, database=None, derandomize=not TIMES)


@dataclass(frozen=True)
class Message:
    """A request or an answer, as one of the two parsers read it."""

    start: bytes  # the method or the status
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_old: bool = False


# -- requests ---------------------------------------------------------------------------------------------


class Requests(ReadingProtocol):
    """Takes every request off at once, as a connection does that answers without delay."""

    def __init__(self) -> None:
        super().__init__(Outbox(cast("AbstractEventLoop", None)), 65536)
        self._listen_to(Caller("192.0.2.1", b"http", NOBODY))
        self.begun: list[Exchange] = []
        self.bodies: list[bytes] = []
        self.is_over = False

    def _refuse_unread(self, error: GatewayError) -> None:
        self._deaf = self.is_over = True

    def pause_upload(self) -> None: ...

    def resume_upload(self) -> None: ...

    def end_tunnel(self) -> None: ...

    def take(self, data: bytes) -> None:
        rest, self._unfed = self._unfed + data, b""
        while rest and not self.is_over and self._upgrading is None:
            self._feed(rest)
            rest, self._unfed = self._unfed, b""
        while self._waiting:
            self.begun.append(self._waiting.popleft())

    def messages(self) -> list[Message]:
        found = []
        for exchange in self.begun:
            if not exchange.body_done:
                break
            head = exchange.head
            lines = b"".join(head.lines).split(b"\r\n")[:-1]
            pairs = (line.partition(b": ") for line in lines)
            fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            found.append(Message(head.method_bytes, fields, b"".join(exchange.body_parts)))
            if not head.keep_alive:
                break
        return found


_SPACES = re.compile(rb"\A([A-Z]+) +([!-~]+) +(HTTP/1\.[01]\r\n)")


def requests_by_h11(data: bytes) -> tuple[list[Message], str]:
    """Whole requests, and why there are no more."""
    found: list[Message] = []
    rest = data
    while True:
        # llhttp skips line ends before a request, as RFC 9112, section 2.2 allows; h11 does not.
        rest = rest.lstrip(b"\r\n")
        # It takes several spaces between the words of the first line for one, as section 3 allows.
        rest = _SPACES.sub(rb"\1 \2 \3", rest)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
        connection.receive_data(rest)
        try:
            message = _request_by_h11(connection)
        except h11.RemoteProtocolError as error:
            return found, str(error)
        if message is None:
            return found, "more"
        found.append(message)
        # A connection of HTTP/1.0 that is kept is nothing that h11 knows of.
        kept = any(name == b"connection" and b"keep-alive" in value.lower() for name, value in message.fields)
        if connection.their_state is h11.MUST_CLOSE and not (message.is_old and kept):
            return found, "close"
        rest = connection.trailing_data[0]


def _request_by_h11(connection: h11.Connection) -> Message | None:
    body = b""
    while True:
        event_ = connection.next_event()
        if isinstance(event_, h11.Request):
            request = event_
        elif isinstance(event_, h11.Data):
            body += bytes(event_.data)
        elif isinstance(event_, h11.EndOfMessage):
            fields = tuple((bytes(name), bytes(value)) for name, value in request.headers)
            return Message(bytes(request.method), fields, body, request.http_version == b"1.0")
        else:
            return None


_METHODS = some.sampled_from((b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS"))
_FRAMING = some.sampled_from(
    (
        (b"", b""),
        (b"Content-Length: 5\r\n", b"GET /"),
        (b"Content-Length: 0\r\n", b""),
        (b"Content-Length: 005\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: Chunked\r\n", b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n00\r\nX: y\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n", b"abc"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", b"abc"),
    )
)
_LINES = some.sampled_from(
    (b"", b"X: y\r\n", b"Accept: */*\r\n", b"X:\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
     b"Connection: content-length\r\n", b"Expect: 100-continue\r\n", b"X: \xe9\r\n")
)  # fmt: skip
_VERSIONS = some.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0"))


@some.composite
def _request(draw: some.DrawFn) -> bytes:
    lines, body = draw(_FRAMING)
    more = b"".join(draw(some.lists(_LINES, max_size=2)))
    return b"%b /p HTTP/%b\r\nHost: h\r\n%b%b\r\n%b" % (draw(_METHODS), draw(_VERSIONS), more, lines, body)


_NOISE = some.sampled_from(
    (b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b",", b"0", b"5", b"f", b"\0", b"\x0b", b"\x0c", b"+",
     b"-", b"_", b"x", b"\x7f", b"\x80", b"\xff", b"chunked", b"Content-Length: 1\r\n",
     b"Transfer-Encoding: chunked\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b'"', b"\\", b"")
)  # fmt: skip


@some.composite
def _spoiled(draw: some.DrawFn, messages: some.SearchStrategy[bytes]) -> bytes:
    """Some messages after one another, here and there with other bytes in their place."""
    data = b"".join(draw(some.lists(messages, min_size=1, max_size=3)))
    for _ in range(draw(some.integers(0, 3))):
        at = draw(some.integers(0, len(data)))
        skipped = draw(some.sampled_from((0, 0, 1, 2)))
        data = data[:at] + draw(_NOISE) + data[at + skipped :]
    return data


_CUTS = some.lists(some.integers(0, 400), max_size=4)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes, cut."""
    places = sorted({min(cut, len(data)) for cut in cuts})
    starts, ends = [0, *places], [*places, len(data)]
    return [data[start:end] for start, end in zip(starts, ends, strict=True) if end > start]


def told_upstream(message: Message) -> Message:
    """A message without what only travels, or not, by our own rules: what is left must be the same."""
    return Message(message.start, (), message.body)


@LONG
@example(b"GET  /p   HTTP/1.1\r\nHost: h\r\n\r\n", [])
@example(b"\rGET /p HTTP/1.1\r\nHost: h\r\n\r\n", [])
@example(b"GET /p HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /p HTTP/1.1\r\nHost: h\r\n\r\n", [])
@given(_spoiled(_request()), _CUTS)
def test_a_request_that_we_take_is_one_for_h11_too(data: bytes, cuts: list[int]) -> None:
    ours = Requests()
    for piece in pieces(data, cuts):
        ours.take(piece)
    mine = ours.messages()
    theirs, why = requests_by_h11(data)
    event(f"{len(mine)} of ours, {len(theirs)} of theirs")
    for at, message in enumerate(mine):
        assert at < len(theirs), f"only we take it: {message}; h11: {why}"
        assert told_upstream(message) == told_upstream(theirs[at])
        theirs_travel = [field for field in theirs[at].fields if field in message.fields]
        assert list(message.fields) == theirs_travel


def test_requests_are_taken_at_all() -> None:
    ours = Requests()
    ours.take(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\nPOST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na")
    assert [message.start for message in ours.messages()] == [b"GET", b"POST"]


# -- answers ----------------------------------------------------------------------------------------------


class _Caller:
    """What reached the caller."""

    def __init__(self) -> None:
        self.status = 0
        self.body_ = b""
        self.lines = b""

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        self.status, self.lines = status, b"".join(lines)

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None: ...

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        self.status = 101

    def body(self, data: bytes) -> None:
        self.body_ += data


class Answers(AnswerReading):
    """One answer, as a connection to an upstream reads it."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.caller = _Caller()
        self._exchange = Exchange(RequestHead(), cast("Downstream", self.caller), b"")
        self._exchange.head.method = method

    def take(self, data: bytes) -> bool:
        """Whether to go on."""
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade, UpstreamInvalid):
            self._reusable = False
            return False
        return not self._complete

    @property
    def message(self) -> Message | None:
        if not self._complete:
            return None
        return Message(b"%d" % self.caller.status, (), self.caller.body_)


_BETWEEN = re.compile(rb"(\AHTTP/1\.[01] 1[0-9]{2}[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)[\r\n]+")
"""An interim answer, and line ends behind it."""


def answer_by_h11(data: bytes, method: str) -> tuple[Message | None, str]:
    """The final answer if it is whole, and why it is not."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    # As with requests, llhttp skips line ends before each answer, interim ones included; h11 does not.
    connection.receive_data(_BETWEEN.sub(rb"\1", data.lstrip(b"\r\n")))
    body = b""
    try:
        while True:
            event_ = connection.next_event()
            if isinstance(event_, h11.Response):
                status = event_.status_code
            elif isinstance(event_, h11.Data):
                body += bytes(event_.data)
            elif isinstance(event_, h11.EndOfMessage):
                return Message(b"%d" % status, (), body), ""
            elif not isinstance(event_, h11.InformationalResponse):
                return None, "more"
    except h11.RemoteProtocolError as error:
        return None, str(error)


_STATUS = some.sampled_from(
    (b"200 OK", b"404 Not Found", b"204 No Content", b"304 Not Modified", b"500 ", b"999 X")
)
_PROTOCOL = some.sampled_from(
    (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.1", b"ICE/1.1")
)
_INTERIM = some.sampled_from(
    (b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n")
)


@some.composite
def _answer(draw: some.DrawFn) -> bytes:
    lines, body = draw(_FRAMING)
    more = b"".join(draw(some.lists(_LINES, max_size=2)))
    start = b"%b%b %b\r\n" % (draw(_INTERIM), draw(_PROTOCOL), draw(_STATUS))
    return b"%b%b%b\r\n%b" % (start, more, lines, body)


@LONG
@example(b"HTTP/1.1 200 \x00OK\r\n\r\n", [], "HEAD")
@example(b"HTTP/1.1 204 \x1b\r\n\r\n", [], "GET")
@example(b"\r\rHTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", [], "HEAD")
@given(_spoiled(_answer()), _CUTS, some.sampled_from(("GET", "HEAD")))
def test_an_answer_that_we_take_is_one_for_h11_too(data: bytes, cuts: list[int], method: str) -> None:
    theirs, why = answer_by_h11(data, method)
    ours = Answers(method)
    for piece in pieces(data, cuts):
        if not ours.take(piece):
            break
    mine = ours.message
    event(f"{'taken' if mine else 'not taken'} by us, {'taken' if theirs else 'not taken'} by h11")
    if mine is not None:
        assert theirs == mine, why
    whole = read_whole(data)
    if whole is not None:
        event("read whole")
        assert answer_by_h11(data, "GET")[0] == Message(b"%d" % whole[0], (), whole[3])
