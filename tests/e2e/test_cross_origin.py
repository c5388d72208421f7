"""A page of another origin, as its browser asks: preflights cost nothing, and refusals can be read."""

from __future__ import annotations

import subprocess

import requests

from tests.e2e.conftest import Gateway, eventually

ORIGIN = "https://app.example.com"
BEFOREHAND = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def counted(gateway: Gateway, outcome: str) -> float:
    lines = requests.get(gateway.control_url("/metrics"), timeout=5).text.splitlines()
    wanted = [line for line in lines if line.startswith("tollway_requests_total{") and f'"{outcome}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)


def test_preflights_are_free_counted_and_booked(gateway: Gateway) -> None:
    small = gateway.customer("small")  # ten calls a month
    url = gateway.url("/anything/pages/1")
    for _ in range(12):
        asked = requests.options(url, headers=BEFOREHAND | small.headers, timeout=10)
        assert asked.status_code == 204
        assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert asked.headers["Access-Control-Allow-Methods"] == "GET, POST, HEAD"
        assert "RateLimit" not in asked.headers
    eventually(lambda: gateway.of_nobody().get(("answered", "pages"), 0) >= 12, "preflights are booked")
    assert counted(gateway, "answered") >= 12
    page = {"Origin": ORIGIN} | small.headers
    answers = [requests.post(url, headers=page, json={}, timeout=30) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert small.outcomes(11) == ["served"] * 10 + ["quota_exceeded"]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Access-Control-Allow-Credentials" not in answer.headers, (
            "httpbin says so, the policy does not"
        )
        assert "Tollway-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


def test_a_page_learns_that_its_key_is_wrong(gateway: Gateway) -> None:
    answer = requests.get(gateway.url("/anything/pages/1"), headers={"Origin": ORIGIN}, timeout=10)
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_preflight_of_a_call_on_another_route_is_a_call(gateway: Gateway) -> None:
    asked = BEFOREHAND | {"Access-Control-Request-Method": "DELETE"}
    assert requests.options(gateway.url("/anything/pages/1"), headers=asked, timeout=10).status_code == 401


def test_options_of_the_server(gateway: Gateway) -> None:
    command = ["curl", "-sSi", "--max-time", "20", "-X", "OPTIONS", "--request-target", "*", gateway.url("")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert answer.startswith("HTTP/1.1 204 ")
    assert "\nAllow: GET, " in answer
