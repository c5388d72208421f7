"""An answer that is read whole comes out exactly as the parser would have made it."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.upstream.reading import ReadingProtocol
from gateway.upstream.whole import LONGEST_HEAD, read_whole


class Caller:
    """What reached the caller."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        self.got.append((status, reason, b"".join(lines), length))

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        self.got.append((status, reason, b"".join(lines)))

    def body(self, data: bytes) -> None:
        self.got.append(data)


class Parsing(ReadingProtocol):
    """The parser alone."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self._exchange = Exchange(RequestHead(), cast("Downstream", self.caller), b"")
        self._exchange.head.method = "GET"

    def parse(self, data: bytes) -> None:
        self._feed(data)

    @property
    def ended_well(self) -> bool:
        return self._complete and self._reusable


def is_read_whole(data: bytes) -> bool:
    """Whether it was. Then the parser found the same, an answer that ends there and leaves all in order."""
    whole = read_whole(data)
    if whole is None:
        return False
    parsing = Parsing()
    parsing.parse(data)
    status, reason, lines, body = whole
    expected: list[object] = [(status, reason, b"".join(lines), len(body))]
    assert parsing.caller.got == expected + [body] * bool(body)
    assert parsing.ended_well
    assert read_whole(data) == whole, "the second time from memory"
    return True


def answer(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", body: bytes = b"hi") -> bytes:
    return b"\r\n".join((start, *lines)) + b"\r\n\r\n" + body


LENGTH = b"Content-Length: 2"

READ = [
    ("a plain one", answer(LENGTH)),
    ("a long one", answer(b"Content-Length: 100000", body=b"x" * 100_000)),
    ("no body", answer(b"Content-Length: 0", body=b"")),
    ("lower case", answer(b"content-length:2", b"content-type:text/plain")),
    ("an error of the upstream", answer(LENGTH, start=b"HTTP/1.1 500 Internal Server Error")),
    ("no reason", answer(LENGTH, start=b"HTTP/1.1 299 ")),
    ("an unheard status", answer(LENGTH, start=b"HTTP/1.1 599 Whatever")),
    ("an empty value", answer(LENGTH, b"X-Empty:")),
    ("spaces before a value", answer(LENGTH, b"X: \t  y")),
    ("bytes outside ASCII", answer(LENGTH, b"X: \xe9\xff")),
    ("lists of cookies", answer(LENGTH, b"Set-Cookie: a=b", b"Set-Cookie: a=b", b"Set-Cookie: c=d")),
    ("the connection is kept", answer(LENGTH, b"Connection: keep-alive", b"Keep-Alive: timeout=5")),
    ("limits of its own", answer(LENGTH, b"RateLimit: x", b"RateLimit-Policy: y", b"Tollway-Account: z")),
]


@pytest.mark.parametrize(("case", "data"), READ, ids=[case for case, _ in READ])
def test_what_is_ordinary_is_read_whole(case: str, data: bytes) -> None:
    assert is_read_whole(data), case


def test_what_callers_must_not_see_is_dropped() -> None:
    whole = read_whole(READ[-1][1])
    assert whole is not None
    assert b"".join(whole[2]) == b""


LEFT = [
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
    ("half a body", answer(LENGTH, body=b"h")),
    ("more than the body", answer(LENGTH, body=b"hi!")),
    ("another answer behind it", answer(LENGTH) + answer(LENGTH)),
    ("no length", answer(b"X: y")),
    ("two lengths", answer(LENGTH, LENGTH)),
    ("two different lengths", answer(LENGTH, b"Content-Length: 3")),
    ("a list of lengths", answer(b"Content-Length: 2, 2")),
    ("a signed length", answer(b"Content-Length: +2")),
    ("a length in other digits", answer("Content-Length: \uff12".encode())),
    ("a length of many digits", answer(b"Content-Length: 0000000000000000000000002")),
    ("an empty length", answer(b"Content-Length:", body=b"")),
    ("chunked", answer(b"Transfer-Encoding: chunked", body=b"2\r\nhi\r\n0\r\n\r\n")),
    ("chunked and a length", answer(LENGTH, b"Transfer-Encoding: chunked")),
    ("the connection ends", answer(LENGTH, b"Connection: close")),
    ("Connection names a field", answer(LENGTH, b"Connection: X-Hop", b"X-Hop: 1")),
    ("an upgrade", answer(LENGTH, b"Upgrade: h2c")),
    ("HTTP/1.0", answer(LENGTH, start=b"HTTP/1.0 200 OK")),
    ("another version", answer(LENGTH, start=b"HTTP/1.2 200 OK")),
    ("no version", answer(LENGTH, start=b"200 OK")),
    ("interim", answer(start=b"HTTP/1.1 103 Early Hints", body=b"")),
    ("never a body", answer(b"Content-Length: 0", start=b"HTTP/1.1 204 No Content", body=b"")),
    ("not modified", answer(LENGTH, start=b"HTTP/1.1 304 Not Modified", body=b"")),
    ("a status of two digits", answer(LENGTH, start=b"HTTP/1.1 20 OK")),
    ("a status of four", answer(LENGTH, start=b"HTTP/1.1 2000 OK")),
    ("a space before the colon", answer(LENGTH, b"X : y")),
    ("a folded line", answer(LENGTH, b"X: y", b" z")),
    ("no colon", answer(LENGTH, b"X")),
    ("an empty name", answer(LENGTH, b": x")),
    ("NUL", answer(LENGTH, b"X: \0")),
    ("a bare carriage return", answer(LENGTH, b"X: a\rb")),
    ("a bare line feed", answer(LENGTH, b"X: a\nb")),
    ("spaces behind a value", answer(LENGTH, b"X: a ")),
    ("a huge head", answer(LENGTH, b"X: " + b"x" * LONGEST_HEAD)),
    ("no head at all", b"\r\n\r\n"),
]


@pytest.mark.parametrize(("case", "data"), LEFT, ids=[case for case, _ in LEFT])
def test_what_is_unusual_is_left_to_the_parser(case: str, data: bytes) -> None:
    assert not is_read_whole(data), case
    assert not is_read_whole(data), case


_NAMES = some.sampled_from(
    (b"Content-Length", b"content-length", b"Connection", b"X-A", b"Upgrade", b"TE", b"Set-Cookie")
)
_VALUES = some.sampled_from((b"2", b"keep-alive", b"close", b"", b"a b", b"\xff")) | some.binary(max_size=4)
_GAPS = some.sampled_from((b": ", b":", b" :", b":\t"))
_FIELDS = some.builds(lambda name, gap, value: name + gap + value, _NAMES, _GAPS, _VALUES)
_STARTS = some.sampled_from(
    (b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 204 No Content", b"HTTP/1.0 200 OK")
)


@settings(max_examples=1500, deadline=None, database=None, derandomize=True)
@given(
    _STARTS, some.lists(_FIELDS, max_size=5), some.booleans(), some.integers(0, 400), some.binary(max_size=2)
)
def test_any_answer_comes_out_the_same(
    start: bytes, fields: list[bytes], has_length: bool, at: int, changed: bytes
) -> None:
    data = answer(*fields, *[LENGTH] * has_length, start=start)
    is_read_whole(data)
    is_read_whole(data[:at] + changed + data[at + len(changed) :])
