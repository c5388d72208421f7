"""A head that is recognised says exactly what the parser would have said."""

from __future__ import annotations

import inspect
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.dataplane.caller import NOBODY, Caller
from gateway.dataplane.reading import ReadingProtocol
from gateway.dataplane.repeat import LONGEST, PATIENCE, Repeats
from gateway.errors import GatewayError
from gateway.model.exchange import RequestHead
from gateway.outbox import Outbox

FACTS = [
    name
    for name, _ in inspect.getmembers(RequestHead, inspect.isdatadescriptor)
    if not name.startswith("_") and name != "lines"
]


class Counting(Repeats):
    """Says how often it recognised one."""

    hits = 0

    def recognise(self, data: bytes) -> RequestHead | None:
        head = super().recognise(data)
        self.hits += head is not None
        return head


class Forgetful(Repeats):
    """Leaves all to the parser."""

    def recognise(self, data: bytes) -> RequestHead | None:
        return None


class Reader(ReadingProtocol):
    """Takes every request off at once and notes what was read."""

    def __init__(self, repeats: Repeats) -> None:
        super().__init__(Outbox(cast("AbstractEventLoop", None)), 65536)
        self._repeats = repeats
        self._listen_to(Caller("192.0.2.1", b"http", NOBODY))
        self.read: list[object] = []

    def _refuse_unread(self, error: GatewayError) -> None:
        self._deaf = True
        self.read.append(error.code)

    def pause_upload(self) -> None:
        raise AssertionError

    def resume_upload(self) -> None:
        raise AssertionError

    def end_tunnel(self) -> None:
        raise AssertionError

    def take(self, data: bytes) -> None:
        if self._deaf or self._upgrading is not None:
            return
        self._feed(self._unfed + data)
        while self._waiting:
            exchange = self._waiting.popleft()
            head = exchange.head
            facts = {name: getattr(head, name) for name in FACTS}
            self.read.append((facts, b"".join(head.lines), exchange.body_done, exchange.body_parts))


def read_by_both(pieces: Sequence[bytes]) -> int:
    """How many heads were recognised. What was read is the same without."""
    repeats = Counting()
    one, other = Reader(repeats), Reader(Forgetful())
    for piece in pieces:
        one.take(piece)
        other.take(piece)
        assert one.read == other.read
    return repeats.hits


def head(start: bytes = b"GET /a HTTP/1.1", *lines: bytes) -> bytes:
    return b"\r\n".join((start, b"Host: api.example", *lines)) + b"\r\n\r\n"


ORDINARY = (b"Accept: */*", b"Authorization: Bearer tw_live_x", b"X-Odd: \xe9", b"TE: trailers")
AGAIN = head(b"GET /a HTTP/1.1", *ORDINARY)

RECOGNISED = [
    ("the same", AGAIN),
    ("another path", head(b"GET /b/never-seen-1 HTTP/1.1", *ORDINARY)),
    ("a query", head(b"GET /a?x=/y%20z&q[]=1 HTTP/1.1", *ORDINARY)),
    ("a path to be made canonical", head(b"GET /a/../%62//c HTTP/1.1", *ORDINARY)),
    ("a method seen before, without a body", head(b"DELETE /a HTTP/1.1", *ORDINARY)),
]


@pytest.mark.parametrize(("case", "data"), RECOGNISED, ids=[case for case, _ in RECOGNISED])
def test_what_differs_in_its_first_line_only_is_recognised(case: str, data: bytes) -> None:
    read_by_both([head(b"DELETE /x HTTP/1.1")])
    assert read_by_both([AGAIN, data, data]) == 2, case


LEFT = [
    ("another line", head(b"GET /a HTTP/1.1", *ORDINARY, b"X-More: 1")),
    ("another value", AGAIN.replace(b"tw_live_x", b"tw_live_y")),
    ("two requests at once", AGAIN + AGAIN),
    ("a request and the start of another", AGAIN + AGAIN[:20]),
    ("another request before it", head(b"GET /z HTTP/1.1") + AGAIN),
    ("an empty line before it", b"\r\n" + AGAIN),
    ("half of it", AGAIN[:-20]),
    ("its first line in a value", b"GET /z HTTP/1.1\r\nHost: z\r\nX: " + AGAIN),
    ("a space in the target", AGAIN.replace(b"/a", b"/a b")),
    ("two spaces", AGAIN.replace(b" /a", b"  /a")),
    ("a line feed in the target", AGAIN.replace(b"/a", b"/a\n")),
    ("bytes outside ASCII in the target", AGAIN.replace(b"/a", b"/\xc3\xa4")),
    ("a fragment", AGAIN.replace(b"/a", b"/a#b")),
    ("a semicolon", AGAIN.replace(b"/a", b"/a;b")),
    ("an absolute target", AGAIN.replace(b"/a", b"http://other.example/a")),
    ("an asterisk", AGAIN.replace(b"GET /a", b"OPTIONS *")),
    ("a made-up method", AGAIN.replace(b"GET", b"YOINK")),
    ("a refused method", AGAIN.replace(b"GET", b"TRACE")),
    ("no target", AGAIN.replace(b" /a", b"")),
    ("HTTP/1.0", AGAIN.replace(b"HTTP/1.1", b"HTTP/1.0")),
    ("a target too long", AGAIN.replace(b"/a", b"/" + b"a" * 9000)),
]


@pytest.mark.parametrize(("case", "data"), LEFT, ids=[case for case, _ in LEFT])
def test_what_differs_otherwise_is_left_to_the_parser(case: str, data: bytes) -> None:
    assert read_by_both([AGAIN, data]) == 0, case
    read_by_both([AGAIN, data, AGAIN, AGAIN, data, AGAIN])


def traced(number: int, start: bytes = b"GET /a HTTP/1.1") -> bytes:
    return head(start, b"Accept: */*", b"Traceparent: 00-%d" % number, b"Authorization: Bearer tw_live_x")


def test_one_line_may_differ_each_time() -> None:
    pieces = [traced(number, b"GET /%d HTTP/1.1" % number) for number in range(10)]
    assert read_by_both(pieces) == 8
    assert read_by_both([traced(1), traced(2), traced(2), traced(3)]) == 2


def keyed(key: bytes, name: bytes = b"X-API-Key: ", start: bytes = b"GET /a HTTP/1.1") -> bytes:
    return head(start, b"Accept: */*", name + key, b"X-More: 1")


@pytest.mark.parametrize(
    "name", [b"X-API-Key: ", b"x-api-key:", b"Authorization: Bearer ", b"AUTHORIZATION:\t"]
)
def test_a_caller_may_speak_for_another_customer_each_time(name: bytes) -> None:
    pieces = [keyed(b"tw_live_%d" % number, name, b"GET /%d HTTP/1.1" % number) for number in range(10)]
    assert read_by_both(pieces) == 8
    assert read_by_both([keyed(b"1", name), keyed(b"2", name), keyed(b"2", name), keyed(b"a b", name)]) == 2


LEFT_AT_THE_CREDENTIAL = [
    ("none", keyed(b"")),
    ("a space before it", keyed(b" 3")),
    ("a space behind it", keyed(b"3 ")),
    ("bytes outside ASCII", keyed(b"3\xe9")),
    ("a control character", keyed(b"3\x01")),
    ("a carriage return", keyed(b"3\rX: y")),
    ("a bare line feed", keyed(b"3\nX: y")),
    ("a second line", keyed(b"3\r\nX: y")),
    ("a second key", keyed(b"3\r\nX-API-Key: 4")),
    ("a length", keyed(b"3\r\nContent-Length: 2") + b"hi"),
    ("another request within", keyed(b"3\r\n\r\n" + keyed(b"4"))),
    ("another name", keyed(b"3", b"X-Api-Kez: ")),
    ("another spelling", keyed(b"3", b"X-API-KEY: ")),
    ("none of it", head(b"GET /a HTTP/1.1", b"Accept: */*", b"X-More: 1")),
]


@pytest.mark.parametrize(
    ("case", "data"), LEFT_AT_THE_CREDENTIAL, ids=[case for case, _ in LEFT_AT_THE_CREDENTIAL]
)
def test_what_is_no_plain_credential_is_left_to_the_parser(case: str, data: bytes) -> None:
    assert read_by_both([keyed(b"1"), keyed(b"2"), data]) == 0, case
    read_by_both([keyed(b"1"), keyed(b"2"), data, keyed(b"2"), keyed(b"3"), data, data])


LEFT_AT_THE_LINE_THAT_DIFFERS = [
    (
        "a length",
        [head(b"GET /a HTTP/1.1", b"Content-Length: 0"), AGAIN, AGAIN[:-2] + b"Content-Length: 0\r\n\r\n"],
    ),
    ("identity", [head(b"GET /a HTTP/1.1", b"Tollway-Tier: %d" % number) for number in range(3)]),
    (
        "the end of the connection",
        [traced(1), traced(2), traced(3).replace(b"Traceparent: 00-3", b"Connection: close")],
    ),
    ("a body", [traced(1), traced(2), traced(3).replace(b"Traceparent: 00-3", b"Content-Length: 2") + b"hi"]),
    ("two lines for one", [traced(1), traced(2), traced(3).replace(b"00-3", b"00-3\r\nX: 1")]),
    ("no line at all", [traced(1), traced(2), traced(3).replace(b"Traceparent: 00-3\r\n", b"")]),
    ("an empty line", [traced(1), traced(2), traced(3).replace(b"Traceparent: 00-3", b"")]),
    ("a folded line", [traced(1), traced(2), traced(3).replace(b"Traceparent: 00-3", b" x: y")]),
    ("a bare line feed", [traced(1), traced(2), traced(3).replace(b"00-3", b"00\n3")]),
    (
        "what Connection names",
        [head(b"GET /a HTTP/1.1", b"Connection: X", b"X: %d" % number) for number in range(3)],
    ),
    (
        "another request within",
        [traced(1), traced(2), traced(3).replace(b"00-3", b"00\r\n\r\n" + traced(4)[:-2])],
    ),
]


@pytest.mark.parametrize(
    ("case", "pieces"),
    LEFT_AT_THE_LINE_THAT_DIFFERS,
    ids=[case for case, _ in LEFT_AT_THE_LINE_THAT_DIFFERS],
)
def test_what_is_no_ordinary_line_is_left_to_the_parser(case: str, pieces: list[bytes]) -> None:
    assert read_by_both(pieces) == 0, case
    read_by_both([piece for piece in pieces for _ in range(2)])


NEVER_REPEATED = [
    ("a body", head(b"POST /a HTTP/1.1", b"Content-Length: 2") + b"hi"),
    ("a length of nothing", head(b"POST /a HTTP/1.1", b"Content-Length: 0")),
    ("a chunked body", head(b"POST /a HTTP/1.1", b"Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\n\r\n"),
    ("the last of its connection", head(b"GET /a HTTP/1.1", b"Connection: close")),
    ("HTTP/1.0", head(b"GET /a HTTP/1.0")),
    ("HTTP/1.0 that is kept", head(b"GET /a HTTP/1.0", b"Connection: keep-alive")),
    ("a switch of protocols", head(b"GET /a HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket")),
    ("an offer of another protocol", head(b"GET /a HTTP/1.1", b"Connection: upgrade", b"Upgrade: h2c")),
    ("a wish for a simulation", head(b"GET /a HTTP/1.1", b"Tollway-Simulate: rate_limited")),
    ("two at once", AGAIN + AGAIN),
    ("one too long to be kept", head(b"GET /a HTTP/1.1", b"X: " + b"x" * LONGEST)),
]


@pytest.mark.parametrize(("case", "data"), NEVER_REPEATED, ids=[case for case, _ in NEVER_REPEATED])
def test_heads_with_more_to_them_are_always_parsed(case: str, data: bytes) -> None:
    assert read_by_both([data, data, data]) == 0, case


def test_after_the_last_request_of_a_connection_nothing_is_recognised() -> None:
    assert read_by_both([AGAIN, head(b"GET /a HTTP/1.1", b"Connection: close"), AGAIN]) == 0


def test_who_varies_every_head_is_no_longer_compared() -> None:
    repeats = Repeats()
    reader = Reader(repeats)
    for count in range(PATIENCE):
        reader.take(head(b"GET /a HTTP/1.1", b"Traceparent: %d" % count, b"Baggage: %d" % count))
    reader.take(AGAIN)
    assert repeats.recognise(AGAIN) is None


def test_who_varies_a_head_now_and_then_is_compared_for_ever() -> None:
    pieces = [piece for at in range(5 * PATIENCE) for piece in (head(b"GET /%d HTTP/1.1" % at), AGAIN, AGAIN)]
    assert read_by_both(pieces) == 5 * PATIENCE


_LINES = some.sampled_from(
    (
        *(*ORDINARY, b"X-API-Key: 1", b"X-API-Key: 2", b"x-api-key:3 ", b"Authorization: Bearer tw_live_y"),
        *(b"Connection: close", b"Connection: X-Odd", b"Upgrade: h2c", b"Bad : 1"),
    )
)
_STARTS = some.sampled_from(
    (b"GET /a HTTP/1.1", b"GET /b HTTP/1.1", b"POST /c?d HTTP/1.1", b"GET /e HTTP/1.0", b"OPTIONS * HTTP/1.1")
)
_HEADS = some.builds(lambda start, lines: head(start, *lines), _STARTS, some.lists(_LINES, max_size=2))


@some.composite
def _conversation(draw: some.DrawFn) -> list[bytes]:
    """Heads that often repeat, whole or cut anywhere, now and then with a byte changed."""
    heads = draw(some.lists(_HEADS, min_size=1, max_size=3))
    said = b""
    pieces: list[bytes] = []
    for _ in range(draw(some.integers(1, 10))):
        data = draw(some.sampled_from(heads))
        if draw(some.integers(0, 9)) == 0:
            at = draw(some.integers(0, len(data) - 1))
            data = data[:at] + draw(some.binary(max_size=2)) + data[at + 1 :]
        said += data
        if draw(some.booleans()):
            pieces.append(said)
            said = b""
        elif draw(some.booleans()):
            at = draw(some.integers(0, len(said)))
            pieces.append(said[:at])
            said = said[at:]
    return [piece for piece in (*pieces, said) if piece]


@settings(max_examples=600, deadline=None, database=None, derandomize=True)
@given(_conversation())
def test_any_conversation_reads_the_same(pieces: list[bytes]) -> None:
    read_by_both(pieces)


def test_a_head_without_a_line_is_not_remembered() -> None:
    """The parser takes none; compiled, a slice that ends before it begins would be an error."""
    repeats, data = Repeats(), head()[: len("GET /a HTTP/1.1")] + b"\r\n\r\n"
    read = RequestHead()
    read.method, read.method_bytes = "GET", b"GET"
    repeats.remember(data, read)
    assert repeats.recognise(data) is None
