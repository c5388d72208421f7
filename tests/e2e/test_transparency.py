"""Direct and through the gateway: the same status, the same end-to-end header fields, the same bytes."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Customer, Gateway

OURS = frozenset(("ratelimit", "ratelimit-policy", "tollway-request-id"))
ONE_HOP = frozenset(("connection", "keep-alive", "transfer-encoding"))
VARIES = frozenset(("date",))


class Answer(NamedTuple):
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes


def ask(port: int, method: str, target: str, fields: dict[str, str], body: bytes | None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, body=body, headers=fields)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    left_out = OURS | ONE_HOP | VARIES
    end_to_end = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
    return Answer(answer.status, answer.reason, end_to_end, content)


STATUSES = [200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404,
            405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 422, 425, 426, 428, 429, 431,
            451, 500, 501, 502, 503, 504, 505, 599]  # fmt: skip
CASES: list[tuple[str, str, dict[str, str], bytes | None]] = [
    *(("GET", f"/status/{status}", {}, None) for status in STATUSES),
    *((method, "/status/202", {}, None) for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    ("HEAD", "/bytes/5000?seed=1", {}, None),
    ("OPTIONS", "/get", {"Origin": "http://o.example", "Access-Control-Request-Method": "PUT"}, None),
    ("GET", "/encoding/utf8", {}, None),
    ("GET", "/image/png", {}, None),
    ("GET", "/bytes/100000?seed=7", {}, None),
    ("GET", "/stream-bytes/100000?seed=7&chunk_size=1000", {}, None),
    ("GET", "/range/2000?chunk_size=100", {"Range": "bytes=100-1099"}, None),
    ("GET", "/range/2000", {"Range": "bytes=5000-"}, None),
    ("GET", "/redirect-to?url=%2Fget&status_code=307", {}, None),
    ("GET", "/cookies/set?a=1&b=2", {}, None),
    ("GET", "/cookies", {"Cookie": "a=1; b=2"}, None),
    ("GET", "/etag/abc", {"If-None-Match": "abc"}, None),
    ("GET", "/cache", {"If-Modified-Since": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ("GET", "/response-headers?X-A=1&X-A=2&X-Long=" + "y" * 4000, {}, None),
    ("GET", "/base64/w6TDtsO8", {}, None),
    ("GET", "/drip?duration=1&numbytes=5&delay=0", {}, None),
    ("GET", "/html", {"X-Large": "z" * 6000}, None),
    ("POST", "/status/413", {"Content-Type": "application/octet-stream"}, bytes(range(256)) * 200),
]


@pytest.fixture(scope="module")
def paid(gateway: Gateway) -> Customer:
    return gateway.customer("paid")


@pytest.mark.parametrize(("method", "target", "fields", "body"), CASES, ids=lambda value: str(value)[:40])
def test_the_answer_is_the_upstreams(
    method: str, target: str, fields: dict[str, str], body: bytes | None, paid: Customer
) -> None:
    direct = ask(paid.gateway.upstream_port, method, target, fields, body)
    through = ask(paid.gateway.listen, method, target, {**fields, **paid.headers}, body)
    assert through.status == direct.status
    assert through.reason == direct.reason
    assert through.body == direct.body
    assert sorted(through.fields) == sorted(direct.fields)


@pytest.mark.parametrize(
    ("coding", "decode"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)], ids=["gzip", "deflate"]
)
def test_an_encoding_is_passed_as_it_is(
    coding: str, decode: Callable[[bytes], bytes], paid: Customer
) -> None:
    """Encoded is what httpbin saw, our fields among it, so it can not be the same bytes as without us."""
    through = ask(paid.gateway.listen, "GET", f"/{coding}", {"Accept-Encoding": coding, **paid.headers}, None)
    assert ("Content-Encoding", coding) in through.fields
    assert ("Content-Length", str(len(through.body))) in through.fields
    assert json.loads(decode(through.body))["method"] == "GET"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "body", [b"", b"{}", bytes(range(256)), b"x" * 300_000], ids=["none", "small", "octets", "large"]
)
def test_the_request_is_the_callers(method: str, body: bytes, paid: Customer) -> None:
    fields = {"Content-Type": "application/octet-stream", "Content-Encoding": "x-own", "Accept": "a/b"}
    target = "/anything/p%C3%A4th/x?a=1&a=2&b=%2F&c="
    direct = ask(paid.gateway.upstream_port, method, target, fields, body)
    through = ask(paid.gateway.listen, method, target, {**fields, **paid.headers}, body)
    assert (direct.status, through.status) == (200, 200)
    told, heard = parsed(direct), parsed(through)
    assert heard == told


def parsed(answer: Answer) -> dict[str, object]:
    """What httpbin saw, without what only the gateway may add."""
    seen = json.loads(answer.body)
    headers = {
        name: value
        for name, value in seen["headers"].items()
        if not name.startswith(("Tollway-", "X-Forwarded-")) and name not in ("Host", "Connection")
    }
    return {
        **{name: seen[name] for name in ("args", "data", "files", "form", "method")},
        "path": seen["url"].partition("/anything")[2],
        "headers": headers,
    }
