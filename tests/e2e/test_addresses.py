"""Who calls, from the settings and policies of an operator to usage rows and what the upstream is told."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import POLICIES, Gateway, eventually, running

ROUTES = """
  - {{name: office, match: {{path: /anything/office}}, upstream: httpbin, addresses: {{allow: [203.0.113.0/24]}}}}
  - {{name: outside, match: {{path: /anything/outside}}, upstream: httpbin, addresses: {{deny: [203.0.113.0/24]}}}}
  - {{name: desks, match: {{path: /anything/desks}}, upstream: httpbin, addresses: {{allow: [203.0.113.0/24], deny: [203.0.113.66]}}}}
"""  # noqa: E501  one route a line


@pytest.fixture
def gateway(httpbin: int, tmp_path: Path) -> Iterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    text = POLICIES.replace("routes:\n", "routes:" + ROUTES)
    (folder / "all.yaml").write_text(text.format(port=httpbin))
    with running(tmp_path, httpbin, TOLLWAY_TRUSTED_PROXIES="127.0.0.1") as started:
        yield started


def test_a_route_for_some_addresses(gateway: Gateway) -> None:
    paid = gateway.customer("paid")

    def call(caller: str, secret: str = paid.secret) -> tuple[int, dict[str, Any]]:
        return call_from(gateway, caller, secret, "/anything/office")

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


def test_a_route_for_all_but_some_addresses(gateway: Gateway) -> None:
    paid = gateway.customer("paid")
    for path, caller, status in (
        ("outside", "203.0.113.9", 403),
        ("outside", "::ffff:203.0.113.9", 403),
        ("outside", "198.51.100.1, 203.0.113.9", 403),
        ("outside", "203.0.113.9, 198.51.100.1", 200),
        ("outside", "2001:db8::1", 200),
        ("desks", "203.0.113.9", 200),
        ("desks", "203.0.113.66", 403),
        ("desks", "198.51.100.1", 403),
    ):
        answered, answer = call_from(gateway, caller, paid.secret, f"/anything/{path}")
        assert (answered, answer.get("code")) == (status, "address_refused" if status == 403 else None)
    assert paid.outcomes(3) == ["served"] * 3


def test_a_key_for_all_but_some_addresses(gateway: Gateway) -> None:
    """Changes are in effect at once, a successor is alike, and what is refused is not charged."""
    paid = gateway.customer("paid")
    lists = {"only_networks": ["203.0.113.0/24"], "not_networks": ["203.0.113.66/32"]}
    made = gateway.admin("POST", f"/accounts/{paid.account}/keys", json={"name": "desks", **lists})

    def statuses(secret: str) -> list[int]:
        callers = ("203.0.113.9", "203.0.113.66", "::ffff:203.0.113.66", "198.51.100.1")
        return [call_from(gateway, caller, secret, "/anything")[0] for caller in callers]

    assert statuses(made["secret"]) == [200, 403, 403, 403]
    told = call_from(gateway, "203.0.113.66", made["secret"], "/anything")[1]
    assert (told["code"], told["detail"]) == ("key_restricted", "This key may not be used from this address.")
    path = f"/keys/{made['id']}"
    gateway.admin("PATCH", path, json={"only_networks": []})
    eventually(lambda: statuses(made["secret"]) == [200, 403, 403, 200], "from anywhere but there")
    successor = gateway.admin("POST", f"{path}/rotate", json={})
    assert statuses(successor["secret"]) == [200, 403, 403, 200]
    gateway.tollway("key", "set", made["id"], "--not-network", "203.0.113.0/24")
    eventually(lambda: statuses(made["secret"]) == [403, 403, 403, 200], "not from the office")
    gateway.tollway("key", "set", made["id"], "--no-not-network")
    eventually(lambda: statuses(made["secret"]) == [200] * 4, "from everywhere")
    assert set(paid.outcomes(9)) == {"served"}


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


def call_from(gateway: Gateway, caller: str, secret: str, path: str) -> tuple[int, dict[str, Any]]:
    """Call as a proxy does that is trusted, in the name of a caller."""
    said = f"X-API-Key: {secret}\r\nX-Forwarded-For: {caller}\r\nConnection: close\r\n\r\n"
    return speak(gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\n{said}".encode())


def speak(gateway: Gateway, raw: bytes) -> tuple[int, dict[str, Any]]:
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
