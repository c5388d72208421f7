"""Direct and through the gateway, byte for byte: what an upstream may say, and what a caller may."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Customer, running

OURS = (b"ratelimit", b"ratelimit-policy", b"tollway-", b"x-forwarded-", b"x-ratelimit-")
ONE_HOP = (b"connection", b"keep-alive", b"transfer-encoding", b"host", b"authorization")

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
STATUSES = (200, 208, 226, 299, 300, 306, 308, 399, 418, 420, 499, 500, 508, 511, 520, 599)
ANSWERS = {
    **{f"a status, {code}": b"HTTP/1.1 %d Odd  reason\r\n%b" % (code, EMPTY) for code in STATUSES},
    "no reason": b"HTTP/1.1 200 \r\n" + EMPTY,
    "a reason beyond ASCII": b"HTTP/1.1 200 \xc3\xa4\xe4\r\n" + EMPTY,
    "no content": b"HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n",
    "not modified, with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "reset content": b"HTTP/1.1 205 Reset Content\r\n" + EMPTY,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK + EMPTY,
    "early hints twice": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n" * 2 + OK + EMPTY,
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n" + OK + EMPTY,
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\xe4?a b\r\n" + EMPTY,
    "cookies": OK + b"Set-Cookie: a=1, b\r\nSet-Cookie: b=2; Path=/\r\nset-cookie: a=1, b\r\n" + EMPTY,
    "the same field twice, with others between": OK + b"X-A: 1\r\nX-B: 2\r\nx-a: 3\r\nX-A: 1\r\n" + EMPTY,
    "values beyond ASCII": OK + b"X-A: \xe4\xff\x80\r\nX-B: \xc3\xa4\xf0\x9f\x98\x80\r\n" + EMPTY,
    "empty and spaced values": OK + b"X-A:\r\nX-B: a \t b\r\nX-C:c\r\n" + EMPTY,
    "odd names": OK + b"x_a: 1\r\n!#$%&'*+-.^`|~: 2\r\n" + EMPTY,
    "a large head": OK + b"".join(b"X-%d: %b\r\n" % (number, b"y" * 1000) for number in range(60)) + EMPTY,
    "one large value": OK + b"X-A: %b\r\n" % (b"y" * 60_000) + EMPTY,
    "a coding that nobody knows": OK + b"Content-Encoding: x-own\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n",
    "a coding that the body is not in": OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "chunks, extensions, trailer fields": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n00003\r\ncde\r\n0\r\nX-T: 1\r\n\r\n"
    ),
    "until the end": OK + b"Content-Type: a/b\r\n\r\nall of it",
    "until the end, nothing": OK + b"Content-Type: a/b\r\n\r\n",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nold",
    "of HTTP/1.0, sized": b"HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\n\r\nold",
}  # fmt: skip
NAMES = list(ANSWERS)


class Spoken(NamedTuple):
    """An answer or a request, without what belongs to one hop or to the gateway."""

    interim: list[tuple[bytes, list[bytes]]]
    first: bytes
    fields: list[bytes]
    body: bytes


def end_to_end(head: bytes) -> tuple[bytes, list[bytes]]:
    """The first line and the field lines, but for the optional white space around a value."""
    first, *lines = head.split(b"\r\n")
    parted = [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    kept = [(name, value) for name, value in parted if not name.lower().startswith(OURS)]
    return first, [b"%b: %b" % field for field in kept if field[0].lower() not in ONE_HOP]


def heard(raw: bytes, *, is_bodiless: bool = False) -> Spoken:
    interim = []
    head, _, rest = raw.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        interim.append(end_to_end(head))
        head, _, rest = rest.partition(b"\r\n\r\n")
    first, fields = end_to_end(head)
    if b"\r\ntransfer-encoding: chunked" in head.lower() and not is_bodiless:
        rest = joined(rest)
    # The version is that of the hop (RFC 9110, section 2.5).
    return Spoken(interim, first.partition(b" ")[2], fields, rest)


def joined(chunks: bytes) -> bytes:
    body = b""
    while True:
        line, _, chunks = chunks.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            return body
        body, chunks = body + chunks[:size], chunks[size + 2 :]


def without_body(answer: bytes) -> bytes:
    """All heads of an answer, the interim ones too."""
    end = answer.index(b"\r\n\r\n") + 4
    return answer[:end] + (without_body(answer[end:]) if answer.startswith(b"HTTP/1.1 1") else b"")


class Upstream(socketserver.ThreadingTCPServer):
    """Says what its table has for the number in the target; keeps the heads it was sent, and their bodies."""

    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port: int = self.server_address[1]


class Talk(socketserver.StreamRequestHandler):
    server: Upstream

    def handle(self) -> None:
        while head := self._head():
            lower = head.lower()
            if b"\r\ntransfer-encoding: chunked" in lower:
                body = self._chunks()
            else:
                body = self.rfile.read(
                    int((lower + b"\r\ncontent-length: 0").split(b"content-length: ")[1].split()[0])
                )
            self.server.heads.append(head)
            self.server.bodies.append(body)
            number = head.split(b" ")[1].rpartition(b"/")[2].partition(b"?")[0]
            answer = ANSWERS[NAMES[int(number)]]
            if head.startswith(b"HEAD"):
                answer = without_body(answer)
            self.wfile.write(answer)
            is_last = b"\r\nconnection: close" in lower or b"HTTP/1.0" in answer + head.split(b"\r\n")[0]
            if is_last or b"until" in NAMES[int(number)].encode():
                return

    def _head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return b""
            head += line
        return head[:-4]

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def caller(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    with running(tmp_path_factory.mktemp("bytes"), upstream.port) as gateway:
        yield gateway.customer("paid")


def said(port: int, raw: bytes) -> bytes:
    """Send this; all that comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plug:
        plug.sendall(raw)
        answer = b""
        while data := plug.recv(65536):
            answer += data
        return answer


def both(caller: Customer, upstream: Upstream, raw: bytes) -> tuple[bytes, bytes]:
    """The answers to this request: direct, and through the gateway with a key."""
    line, _, rest = raw.partition(b"\r\n")
    key = b"Authorization: Bearer " + caller.secret.encode()
    direct = said(upstream.port, raw)
    return direct, said(caller.gateway.listen, b"%b\r\n%b\r\n%b" % (line, key, rest))


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_arrives_as_it_was_said(
    name: str, method: bytes, version: bytes, caller: Customer, upstream: Upstream
) -> None:
    raw = b"%b /%d HTTP/%b\r\nHost: x\r\nConnection: close\r\n\r\n" % (method, NAMES.index(name), version)
    direct, through = (heard(one, is_bodiless=method == b"HEAD") for one in both(caller, upstream, raw))
    if version == b"1.0":
        direct = direct._replace(interim=[])  # nothing that such a caller could read
    assert through == direct


LARGE = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 500) for number in range(110))
LAST, TEN = b"0\r\n\r\n", b"0123456789"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "REPORT", "PURGE")
CALLS = [
    *((f"the method {method}", f"{method} /0 HTTP/1.1\r\n".encode(), b"")
      for method in METHODS),
    ("of HTTP/1.0 with a body", b"POST /0 HTTP/1.0\r\nContent-Length: 3\r\n", b"abc"),
    ("a query of odd signs", b"GET /0?a=%2F&a=%zz&&=;[]{}|^`\"<>? HTTP/1.1\r\n", b""),
    ("a cookie, a field twice", b"GET /0 HTTP/1.1\r\nCookie: a=1\r\nX-A: 1\r\nX-B: 2\r\nx-a: 1\r\n", b""),
    ("values beyond ASCII", b"GET /0 HTTP/1.1\r\nX-A: \xe4\xff\x80\r\nX-B: \xc3\xa4\r\nX-C:\r\n", b""),
    ("a head near the limit", b"GET /0 HTTP/1.1\r\n" + LARGE, b""),
    ("one value near the limit", b"GET /0 HTTP/1.1\r\nX-A: " + b"y" * 60_000 + b"\r\n", b""),
    ("a target at its limit", b"GET /0?" + b"y" * 8189 + b" HTTP/1.1\r\n", b""),
    ("a coded body", b"PUT /0 HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n", b"\x00\xff\r\n"),
    ("chunks", b"PUT /0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"3\r\nabc\r\nA\r\n%b\r\n" % TEN + LAST),
]  # fmt: skip


@pytest.mark.parametrize(("name", "head", "body"), CALLS, ids=[name for name, *_ in CALLS])
def test_a_call_arrives_as_it_was_made(
    name: str, head: bytes, body: bytes, caller: Customer, upstream: Upstream
) -> None:
    upstream.heads.clear()
    upstream.bodies.clear()
    direct, through = both(caller, upstream, head + b"Host: x\r\nConnection: close\r\n\r\n" + body)
    assert heard(through) == heard(direct)
    line, fields = end_to_end(upstream.heads[0])
    # A caller of HTTP/1.0 is told apart by the answer; our own hop is always HTTP/1.1.
    assert end_to_end(upstream.heads[1]) == (line.replace(b"HTTP/1.0", b"HTTP/1.1"), fields)
    assert upstream.bodies[1] == upstream.bodies[0]


def test_the_absolute_form_arrives_as_a_path(caller: Customer, upstream: Upstream) -> None:
    """For an origin server, as a proxy must forward it (RFC 9112, section 3.2.1)."""
    upstream.heads.clear()
    raw = b"GET http://api.example/0?a=b HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
    direct, through = both(caller, upstream, raw)
    assert heard(through) == heard(direct)
    assert upstream.heads[1].startswith(b"GET /0?a=b HTTP/1.1\r\n")


def test_calls_in_one_go_are_answered_in_their_order(caller: Customer, upstream: Upstream) -> None:
    numbers = [number for number, name in enumerate(NAMES) if name.startswith("a status")]
    key = b"Host: x\r\nAuthorization: Bearer %b\r\n" % caller.secret.encode()
    calls = b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, key) for number in numbers)
    answer = said(caller.gateway.listen, calls + b"GET /0 HTTP/1.1\r\n%bConnection: close\r\n\r\n" % key)
    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == [*STATUSES, STATUSES[0]]
