"""Who calls, from the settings and policies of an operator to usage rows and what the upstream is told."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import POLICIES, Gateway, running

OFFICE = "203.0.113.0/24"
ROUTE = (
    "  - {{name: office, match: {{path: /anything/office}}, upstream: httpbin, addresses: {{allow: [%s]}}}}\n"
)


@pytest.fixture
def gateway(httpbin: int, tmp_path: Path) -> Iterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    text = POLICIES.replace("routes:\n", "routes:\n" + ROUTE % OFFICE)
    (folder / "all.yaml").write_text(text.format(port=httpbin))
    with running(tmp_path, httpbin, TOLLWAY_TRUSTED_PROXIES="127.0.0.1") as started:
        yield started


def test_a_route_for_some_addresses(gateway: Gateway) -> None:
    paid = gateway.customer("paid")

    def call(caller: str, secret: str = paid.secret) -> tuple[int, dict[str, str]]:
        said = f"X-API-Key: {secret}\r\nX-Forwarded-For: {caller}\r\nConnection: close\r\n\r\n"
        return speak(gateway, f"GET /anything/office HTTP/1.1\r\nHost: x\r\n{said}".encode())

    status, answer = call("203.0.113.9")
    assert status == 200
    assert answer["origin"] == "203.0.113.9, 127.0.0.1"  # what httpbin makes of X-Forwarded-For
    for caller in ("203.0.114.9", "203.0.113.9, 198.51.100.1", "unknown", ""):
        status, answer = call(caller)
        assert (status, answer["code"]) == (403, "address_refused")
    assert call("198.51.100.1", "no key at all")[1]["code"] == "address_refused", (
        "before the key is looked at"
    )
    assert call("::ffff:203.0.113.10")[0] == 200
    assert paid.outcomes(2) == ["served", "served"]
    assert gateway.counted("requests_total") == 7


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.1"])
def test_limits_by_address_go_by_the_address_that_is_believed(
    trusted: str, httpbin: int, tmp_path: Path
) -> None:
    """Behind a proxy each caller has its own; who makes addresses up has one for all of them."""
    folder = tmp_path / "policies"
    folder.mkdir()
    limit = "limits: [{{name: visits, rate: 1/hour, burst: 2, scope: ip}}]"
    text = POLICIES.replace("limits: [{{name: burst, rate: 1000/second, burst: 1000}}]", limit)
    (folder / "all.yaml").write_text(text.format(port=httpbin))
    with running(tmp_path, httpbin, TOLLWAY_TRUSTED_PROXIES=trusted) as gateway:
        paid = gateway.customer("paid")

        def call(caller: str) -> int:
            said = f"X-Forwarded-For: {caller}\r\nX-Real-IP: {caller}\r\nForwarded: for={caller}\r\n"
            head = f"GET /anything HTTP/1.1\r\nHost: x\r\nX-API-Key: {paid.secret}\r\n{said}"
            return speak(gateway, f"{head}Connection: close\r\n\r\n".encode())[0]

        one = [call("203.0.113.9") for _ in range(3)]
        other = [call(f"6.6.6.{n}, 198.51.100.7") for n in range(3)]
        mine = [call("203.0.113.9, 127.0.0.1")]
    assert one == [200, 200, 429]
    assert other == ([200, 200, 429] if trusted == "127.0.0.1" else [429] * 3)
    assert mine == [429]


def speak(gateway: Gateway, raw: bytes) -> tuple[int, dict[str, str]]:
    """Send bytes and read the answer to its end: its status and the JSON in it."""
    with socket.create_connection(("127.0.0.1", gateway.listen), timeout=20) as connection:
        connection.sendall(raw)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


def test_the_proxy_protocol(httpbin: int, tmp_path: Path) -> None:
    settings = {"TOLLWAY_TRUSTED_PROXIES": "127.0.0.0/8", "TOLLWAY_PROXY_PROTOCOL": "trusted"}
    with running(tmp_path, httpbin, **settings) as gateway:
        paid = gateway.customer("paid")
        raw = f"GET /anything HTTP/1.1\r\nHost: x\r\nX-API-Key: {paid.secret}\r\nConnection: close\r\n\r\n"
        status, answer = speak(gateway, b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" + raw.encode())
        assert (status, answer["origin"]) == (200, "192.0.2.7")
        with socket.create_connection(("127.0.0.1", gateway.listen), timeout=20) as connection:
            connection.sendall(raw.encode())
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert gateway.counted("proxy_protocol_errors_total") == 1
        assert gateway.log.count("no valid PROXY preamble") == 1
