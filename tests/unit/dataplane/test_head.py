"""What the head of a request must look like, and what of it reaches the upstream."""

from __future__ import annotations

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from gateway.dataplane.head import MAX_HEADER_LINES, MAX_TARGET_BYTES, HeadReader
from gateway.errors import GatewayError
from gateway.model.exchange import RequestHead


class Reading:
    """The parser's callbacks as a connection wires them."""

    def __init__(self) -> None:
        self.reader = HeadReader()
        self.on_url = self.reader.url
        self.on_header = self.reader.header
        self.parser = HttpRequestParser(self)
        self.head: RequestHead | None = None
        self.error: GatewayError | None = None

    def on_headers_complete(self) -> None:
        parser = self.parser
        try:
            self.head = self.reader.finish(
                parser.get_method(), keep_alive=parser.should_keep_alive(), version=parser.get_http_version
            )
        except GatewayError as error:
            self.error = error


def read(raw: bytes) -> RequestHead | str:
    """The head, or the code of its refusal; `malformed` when the parser refuses the bytes."""
    reading = Reading()
    try:
        reading.parser.feed_data(raw)
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        return "malformed"
    if reading.error is not None:
        return reading.error.code
    assert reading.head is not None
    return reading.head


def request(*lines: bytes, start: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: api.example") -> bytes:
    return b"\r\n".join((start, host, *lines)) + b"\r\n\r\n"


def forwarded(*lines: bytes) -> bytes:
    head = read(request(*lines))
    assert isinstance(head, RequestHead)
    return b"".join(head.lines)


REFUSED = [
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", "bad_request"),
    ("two Hosts", request(b"Host: other"), "bad_request"),
    ("a Host with a space", request(host=b"Host: a b"), "bad_request"),
    ("a Host with user info", request(host=b"Host: u@h"), "bad_request"),
    ("a Host with a path", request(host=b"Host: h/x"), "bad_request"),
    ("an empty Host", request(host=b"Host:"), "bad_request"),
    ("space before the colon", request(b"A : b"), "malformed"),
    ("a folded line", request(b"A: b", b" c"), "malformed"),
    ("a bare line feed", b"GET / HTTP/1.1\nHost: x\n\n", "malformed"),
    ("NUL in a value", request(b"A: b\0c"), "malformed"),
    ("two different lengths", request(b"Content-Length: 1", b"Content-Length: 2"), "malformed"),
    ("the same length twice", request(b"Content-Length: 1", b"Content-Length: 1"), "malformed"),
    ("a list of lengths", request(b"Content-Length: 1, 1"), "malformed"),
    ("a length with a sign", request(b"Content-Length: +1"), "malformed"),
    ("a length beside chunked", request(b"Content-Length: 1", b"Transfer-Encoding: chunked"), "malformed"),
    ("an unknown coding", request(b"Transfer-Encoding: xchunked"), "malformed"),
    ("gzip before chunked", request(b"Transfer-Encoding: gzip, chunked"), "not_implemented"),
    (
        "chunked twice",
        request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        "malformed",
    ),
    (
        "chunked in HTTP/1.0",
        request(b"Transfer-Encoding: chunked", start=b"GET /x HTTP/1.0"),
        "bad_request",
    ),
    ("HTTP/0.9", request(start=b"GET /x HTTP/0.9"), "version_refused"),
    ("HTTP/2.0 in text", request(start=b"GET /x HTTP/2.0"), "version_refused"),
    ("HTTP/1.2", request(start=b"GET /x HTTP/1.2"), "malformed"),
    ("TRACE", request(start=b"TRACE /x HTTP/1.1"), "method_refused"),
    ("CONNECT", b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "method_refused"),
    ("a method in lower case", request(start=b"get /x HTTP/1.1"), "malformed"),
    ("a made-up method", request(start=b"YOINK /x HTTP/1.1"), "malformed"),
    ("another expectation", request(b"Expect: 200-ok"), "expectation_unknown"),
    (
        "an upgrade with a body",
        request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"),
        "bad_request",
    ),
    ("two keys", request(b"X-API-Key: a", b"X-API-Key: b"), "bad_request"),
    ("two Authorizations", request(b"Authorization: a", b"Authorization: b"), "bad_request"),
    ("two simulations", request(b"Tollway-Simulate: a", b"Tollway-Simulate: b"), "bad_request"),
    ("a key outside ASCII", request("X-API-Key: ä".encode()), "bad_request"),
    ("our identity with an underscore", request(b"Tollway_Account: acct_x"), "bad_request"),
    ("forwarding with underscores", request(b"X_Forwarded_For: 1.2.3.4"), "bad_request"),
    ("a key with underscores", request(b"X_API_Key: a"), "bad_request"),
    ("our identity with a dot", request(b"Tollway.Account: acct_x"), "bad_request"),
    ("our identity with other signs", request(b"tollway!tier: scale"), "bad_request"),
    ("forwarding with a tilde", request(b"X-Forwarded~Proto: https"), "bad_request"),
    ("a target that is no path", request(start=b"GET x HTTP/1.1"), "malformed"),
    ("a target of another scheme", request(start=b"GET ftp://h/x HTTP/1.1"), "bad_request"),
    ("a fragment", request(start=b"GET /x?y#z HTTP/1.1"), "bad_request"),
    (
        "a target too long",
        request(start=b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1"),
        "target_too_long",
    ),
    ("too many lines", request(*[b"A: b"] * MAX_HEADER_LINES), "head_too_large"),
]


@pytest.mark.parametrize(("case", "raw", "code"), REFUSED, ids=[case for case, _, _ in REFUSED])
def test_a_head_that_is_refused(case: str, raw: bytes, code: str) -> None:
    assert read(raw) == code


NOT_FORWARDED = [
    ("hop-by-hop", b"Keep-Alive: timeout=5"),
    ("proxy credentials", b"Proxy-Authorization: Basic eA=="),
    ("what Connection names", b"Connection: X-Hop\r\nX-Hop: 1"),
    ("identity", b"Tollway-Account: acct_evil"),
    ("identity in odd case", b"tOLLWAY-tIER: scale"),
    ("forwarding", b"X-Forwarded-For: 1.2.3.4"),
    ("standard forwarding", b"Forwarded: for=1.2.3.4"),
    ("real ip", b"X-Real-IP: 1.2.3.4"),
    ("rewriting", b"X-Original-URL: /admin"),
    ("method override", b"X-HTTP-Method-Override: DELETE"),
    ("our key", b"X-API-Key: tw_live_x"),
    ("a wish for a simulation", b"Tollway-Simulate: rate_limited"),
    ("credentials", b"Authorization: Bearer tw_live_x"),
    ("an offer of h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA"),
]


@pytest.mark.parametrize(("case", "lines"), NOT_FORWARDED, ids=[case for case, _ in NOT_FORWARDED])
def test_a_line_that_never_reaches_the_upstream(case: str, lines: bytes) -> None:
    assert forwarded(lines, b"X-Kept: 1") == b"X-Kept: 1\r\n"


def test_what_only_travels_keeps_bytes_case_and_order() -> None:
    lines = (b"x-B: 1", b"X-a: \xe9\xff", b"Cookie: a=b", b"Cookie: c=d", b"x_own: 1", b"Accept:")
    assert forwarded(*lines) == b"".join(line.replace(b"Accept:", b"Accept: ") + b"\r\n" for line in lines)


def test_connection_can_not_strip_what_we_read_or_set() -> None:
    head = read(
        request(
            b"Connection: Content-Length, Host, Authorization, close",
            b"Content-Length: 3",
            b"Authorization: Bearer k",
        )
    )
    assert isinstance(head, RequestHead)
    assert (head.content_length, head.host, head.authorization) == (3, "api.example", b"Bearer k")
    assert not head.keep_alive


def test_an_absolute_target_replaces_host() -> None:
    head = read(request(start=b"GET http://Other.example:81/p?q=1 HTTP/1.1"))
    assert isinstance(head, RequestHead)
    assert (head.host, head.authority, head.path, head.query) == (
        "other.example",
        b"Other.example:81",
        "/p",
        b"?q=1",
    )


@pytest.mark.parametrize(
    ("case", "raw", "http_1_0", "keep_alive"),
    [
        ("HTTP/1.1", request(), False, True),
        ("HTTP/1.1 that closes", request(b"Connection: close"), False, False),
        ("HTTP/1.0", request(start=b"GET /x HTTP/1.0"), True, False),
        ("HTTP/1.0 that stays", request(b"Connection: keep-alive", start=b"GET /x HTTP/1.0"), True, True),
    ],
)
def test_versions(case: str, raw: bytes, http_1_0: bool, keep_alive: bool) -> None:
    head = read(raw)
    assert isinstance(head, RequestHead)
    assert (head.http_1_0, head.keep_alive) == (http_1_0, keep_alive)


def test_http_1_0_needs_no_host() -> None:
    assert isinstance(read(b"GET /x HTTP/1.0\r\n\r\n"), RequestHead)
