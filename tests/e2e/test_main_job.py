"""Keys, tiers, limits, quotas and features, with curl, requests and httpx in front and httpbin behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from gateway import __version__
from tests.e2e.conftest import Customer, Gateway, eventually, running

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gateway(httpbin: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that runs from its sources, as `make run` starts it, also where the others are compiled."""
    with running(tmp_path_factory.mktemp("gateway"), httpbin, PYTHONPATH=str(ROOT)) as started:
        said = subprocess.check_output(
            [sys.executable, "-m", "gateway", "--version"], env=started.environment, text=True
        )
        assert said == f"tollway {__version__}\n"
        yield started
        assert '"traceback"' not in started.log, started.log


@pytest.fixture
def paid(gateway: Gateway) -> Customer:
    return gateway.customer("paid")


def curl(*arguments: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers by lower-case name, and parsed body."""
    raw = subprocess.run(
        ["curl", "-sS", "-i", "--max-time", "20", *arguments], capture_output=True, text=True, check=True
    ).stdout
    head, _, body = raw.replace("\r\n", "\n").partition("\n\n")
    lines = head.split("\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("key", ["", "nonsense", "tw_live_000000000000000000000000000000"])
def test_an_unknown_key_is_401(gateway: Gateway, key: str) -> None:
    status, headers, problem = curl(gateway.url("/get"), "-H", f"X-API-Key: {key}" if key else "X-Other: 1")
    assert status == 401
    assert headers["content-type"] == "application/problem+json"
    assert problem["code"] == "unauthenticated"
    assert headers["www-authenticate"].startswith("bearer")


def test_the_paid_tier_passes_and_the_upstream_learns_who_calls(paid: Customer) -> None:
    status, headers, answer = curl(
        paid.gateway.url("/anything/export?x=1"), "-H", f"X-API-Key: {paid.secret}"
    )
    assert status == 200
    assert answer["args"] == {"x": "1"}
    assert answer["headers"]["Tollway-Account"] == paid.account
    assert answer["headers"]["Tollway-Tier"] == "paid"
    assert answer["headers"]["Tollway-Key-Id"] == paid.key
    assert answer["headers"]["Tollway-Request-Id"].lower() == headers["tollway-request-id"]
    assert paid.secret not in json.dumps(answer)
    assert '"api_calls";r=99999;t=' in headers["ratelimit"]
    assert headers["ratelimit-policy"].startswith('"burst";q=1000;w=1')


def test_the_free_tier_is_limited(gateway: Gateway) -> None:
    free = gateway.customer("free")
    answers = [free.get() for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert '"burst";r=0;t=' in refused.headers["RateLimit"]
    assert '"burst";q=60;w=3600' in refused.headers["RateLimit-Policy"]
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["code"], problem["tier"]) == (429, "rate_limited", "free")
    assert problem["violated-policies"] == ["burst"]
    assert problem["limits"][0]["policy"] == "burst"
    assert problem["limits"][0]["used"] == 5
    assert problem["limits"][0]["resets_at"]
    assert problem["upgrade_url"].endswith("/tiers?upgrade=paid")
    assert problem["instance"] == f"urn:uuid:{refused.headers['Tollway-Request-Id']}"
    assert free.outcomes(7) == ["served"] * 5 + ["rate_limited"] * 2


def test_a_monthly_quota_is_used_up_exactly(gateway: Gateway) -> None:
    small = gateway.customer("small")
    with httpx.Client(headers=small.headers, base_url=gateway.url(""), timeout=30) as client:
        answers = [client.get("/get") for _ in range(13)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 3
    problem = answers[-1].json()
    assert problem["code"] == "quota_exceeded"
    assert problem["violated-policies"] == ["api_calls"]
    assert (problem["limits"][0]["limit"], problem["limits"][0]["used"]) == (10, 10)
    assert int(answers[-1].headers["Retry-After"]) > 60 or problem["limits"][0]["resets_in_s"] <= 60
    assert problem["upgrade_url"].endswith("/tiers?upgrade=paid")
    assert small.outcomes(13) == ["served"] * 10 + ["quota_exceeded"] * 3


def test_a_missing_feature_is_403_with_the_way_to_get_it(gateway: Gateway) -> None:
    free = gateway.customer("free")
    answer = free.get("/anything/export")
    assert answer.status_code == 403
    problem = answer.json()
    assert (problem["code"], problem["required"], problem["tier"]) == ("feature_required", ["export"], "free")
    assert problem["upgrade_url"].endswith("/tiers?upgrade=paid")
    assert requests.get(problem["upgrade_url"], timeout=10).status_code == 200
    assert free.outcomes(1) == ["feature_required"]


def test_usage_is_seen_by_command_and_admin_api(paid: Customer) -> None:
    for _ in range(3):
        assert paid.get("/bytes/1000").status_code == 200
    assert paid.get("/anything/export").status_code == 200
    assert paid.get("/status/500").status_code == 500
    assert sorted(paid.outcomes(5)) == ["served"] * 4 + ["upstream_error"]
    usage = paid.gateway.admin("GET", f"/usage?account={paid.account}")["data"]
    assert sum(row["quantity"] for row in usage if row["meter"] == "api_calls") == 4
    assert sum(row["quantity"] for row in usage if row["meter"] == "pages") == 3
    assert sum(row["quantity"] for row in usage if row["meter"] == "egress_bytes") > 3000
    told = json.dumps(paid.gateway.tollway("usage", "--account", paid.account))
    assert "egress_bytes" in told
    assert "upstream_error" in told


def test_calls_of_strangers_are_counted_and_have_no_rows(gateway: Gateway) -> None:
    def unauthenticated() -> int:
        return sum(
            calls for (outcome, _), calls in gateway.of_nobody().items() if outcome == "unauthenticated"
        )

    before = unauthenticated()
    answers = [requests.get(gateway.url("/get"), headers={"X-API-Key": "junk"}, timeout=10) for _ in range(5)]
    eventually(lambda: unauthenticated() >= before + 5, "the refused calls are booked")
    rows = gateway.admin("GET", "/usage/events?limit=1000")["data"]
    ids = {answer.headers["Tollway-Request-Id"] for answer in answers}
    assert not [row for row in rows if row["request_id"] in ids]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_any_method_and_body_pass_unchanged(paid: Customer, method: str) -> None:
    body = b"" if method == "GET" else bytes(range(256)) * 40
    direct = requests.request(
        method, f"http://127.0.0.1:{paid.gateway.upstream_port}/anything/%C3%A9?a=1&a=2", data=body
    )
    through = requests.request(
        method, paid.gateway.url("/anything/%C3%A9?a=1&a=2"), data=body, headers=paid.headers
    )
    assert through.status_code == direct.status_code
    for member in ("args", "data", "method"):
        assert through.json()[member] == direct.json()[member]


def test_chunked_uploads_and_downloads_pass(paid: Customer) -> None:
    pieces = [b"one", b"two" * 50_000, b"three"]
    answer = requests.post(paid.gateway.url("/anything"), data=iter(pieces), headers=paid.headers, timeout=30)
    assert len(answer.json()["data"]) == sum(map(len, pieces))
    streamed = paid.get("/stream/5", stream=True)
    assert len(list(streamed.iter_lines())) == 5
    assert paid.get("/gzip").json()["gzipped"] is True
    assert paid.get("/redirect/1", allow_redirects=False).status_code == 302
    assert requests.head(paid.gateway.url("/get"), headers=paid.headers, timeout=10).status_code == 200


async def test_many_at_once_are_all_counted(gateway: Gateway) -> None:
    paid = gateway.customer("paid")
    async with httpx.AsyncClient(headers=paid.headers, timeout=60) as client:
        answers = await asyncio.gather(*(client.get(gateway.url(f"/get?n={n}")) for n in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert paid.outcomes(200) == ["served"] * 200
    ids = {row["request_id"] for row in gateway.events(paid.account)}
    assert ids == {answer.headers["Tollway-Request-Id"] for answer in answers}
