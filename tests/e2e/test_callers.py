"""Who calls, as real callers show it: tokens, nothing at all, test keys, and keys while Postgres is gone."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from gateway.accounts.keys import mint
from gateway.model.principal import Mode
from tests.e2e.conftest import Customer, Gateway, eventually

POLICIES = """
upstreams:
  httpbin: {{targets: [http://127.0.0.1:{httpbin}]}}
tiers:
  paid: {{quotas: [{{meter: api_calls, amount: 100, per: month}}]}}
  visitor: {{limits: [{{name: burst, rate: 2/hour, burst: 2, scope: ip}}]}}
issuers:
  acme:
    issuer: https://acme.example/
    audience: [api]
    algorithms: [RS256]
    jwks_url: http://127.0.0.1:{keys}/jwks.json
routes:
  - {{name: tokens, match: {{path: /anything/tokens}}, upstream: httpbin, access: {{issuers: [acme]}}}}
  - {{name: open, match: {{path: /anything/open}}, upstream: httpbin, access: {{anonymous: visitor}}}}
  - {{name: all, match: {{path: /**}}, upstream: httpbin}}
"""
OURS, THEIRS = (rsa.generate_private_key(65537, 2048) for _ in range(2))
SET = json.dumps({"keys": [{**json.loads(RSAAlgorithm.to_jwk(OURS.public_key())), "kid": "k1"}]}).encode()


class KeySet(BaseHTTPRequestHandler):
    """An issuer's site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(SET)))
        self.end_headers()
        self.wfile.write(SET)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the standard library's name
        """Not said."""


@pytest.fixture(scope="module")
def site() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), KeySet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(
    httpbin: int, site: ThreadingHTTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("callers"), httpbin)
    made.write_policies(POLICIES.format(httpbin=httpbin, keys=site.server_address[1]))
    try:
        made.start()
        yield made
        assert made.stop() == 0, made.log
    finally:
        made.kill()


def token(account: str, key: Any = OURS, kid: str = "k1", **claims: Any) -> str:
    """A token of the issuer; a claim that is None is left out."""
    told = {"iss": "https://acme.example/", "aud": "api", "sub": account, "exp": int(time.time()) + 600}
    told = {name: value for name, value in {**told, **claims}.items() if value is not None}
    return jwt.encode(told, key, "RS256", headers={"kid": kid})


def show(gateway: Gateway, credential: str, path: str = "/anything/tokens") -> requests.Response:
    headers = {"Authorization": f"Bearer {credential}"}
    return requests.get(gateway.url(path), headers=headers, timeout=30)


def test_tokens_of_an_issuer_stand_for_an_account(gateway: Gateway) -> None:
    body = {"name": "Acme", "tier": "paid", "external_id": "crm-7"}
    account = gateway.admin("POST", "/accounts", json=body)["id"]
    good = token("crm-7")
    for _ in range(20):  # fresh connections: both workers
        answer = show(gateway, good)
        assert answer.status_code == 200, answer.text
    sent = answer.json()["headers"]
    assert (sent["Tollway-Account"], sent["Tollway-Tier"], sent.get("Authorization")) == (
        account,
        "paid",
        None,
    )
    refused = {
        show(gateway, wrong).status_code
        for wrong in (
            token("crm-7", THEIRS),
            token("crm-7", kid="../../etc/passwd"),
            token("crm-7", exp=int(time.time()) - 100),
            token("crm-7", exp=None),
            token("crm-7", aud="other"),
            token("crm-8"),
            jwt.encode({"iss": "https://acme.example/", "sub": "crm-7"}, "", "none"),
            good[:-4] + "AAAA",
        )
    }
    assert refused == {401}
    assert show(gateway, good, "/get").status_code == 401, "another route does not believe the issuer"
    gateway.admin("PATCH", f"/accounts/{account}", json={"status": "suspended"})
    give_up_at = time.monotonic() + 1
    while show(gateway, good).status_code == 200:
        assert time.monotonic() < give_up_at, "suspended a second ago and still let in"
    assert {show(gateway, good).status_code for _ in range(10)} == {403}


def test_operators_and_customers_can_not_be_taken_for_each_other(gateway: Gateway) -> None:
    stored = gateway.admin("POST", "/tokens", json={"name": "ci", "scopes": ["usage:read"]})["secret"]
    for admin in (gateway.token, stored):
        for headers in ({"Authorization": f"Bearer {admin}"}, {"X-API-Key": admin}):
            answer = requests.get(gateway.url("/get"), headers=headers, timeout=30)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    url = gateway.control_url("/admin/v1/usage")
    assert requests.get(url, headers={"Authorization": f"Bearer {stored}"}, timeout=30).status_code == 200
    assert requests.get(url, headers=gateway.customer("paid").headers, timeout=30).status_code == 401


def test_who_shows_nothing_has_a_tier_by_address(gateway: Gateway) -> None:
    codes = [requests.get(gateway.url("/anything/open"), timeout=30).status_code for _ in range(4)]
    assert codes == [200, 200, 429, 429]
    assert show(gateway, mint("tw", Mode.LIVE).secret, "/anything/open").status_code == 401
    paid = gateway.customer("paid")
    assert paid.get("/anything/open").status_code == 200


def test_test_keys_rehearse_refusals_and_are_not_billed(gateway: Gateway) -> None:
    paid = gateway.customer("paid")
    made = gateway.admin("POST", f"/accounts/{paid.account}/keys", json={"mode": "test"})
    rehearsing = Customer(gateway, paid.account, made["id"], made["secret"])
    for code, status in (("quota_exceeded", 429), ("rate_limited", 429), ("upstream_timeout", 504)):
        headers = {"Tollway-Simulate": code}
        answer = requests.get(gateway.url("/anything"), headers={**rehearsing.headers, **headers}, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        live = requests.get(gateway.url("/anything"), headers={**paid.headers, **headers}, timeout=30)
        assert live.status_code == 200
        assert "Tollway-Simulate" not in live.json()["headers"]
    assert rehearsing.get("/anything").status_code == 200

    def booked() -> list[dict[str, Any]]:
        rows = gateway.events(paid.account)
        return rows if len(rows) == 7 else []

    rows = eventually(booked, "every call has a row")
    # What was rehearsed never reached the upstream: it charged nothing.
    assert sorted((one["mode"], one["charges"] != {}) for one in rows) == [
        *[("live", True)] * 3,
        *[("test", False)] * 3,
        ("test", True),
    ]
    usage = gateway.admin("GET", f"/accounts/{paid.account}/period")
    assert [one["used"] for one in usage["quotas"]] == [3], "test keys have a ledger of their own"


def test_when_a_key_was_used_last_is_known_without_a_write_for_each_call(gateway: Gateway) -> None:
    paid = gateway.customer("paid")

    def used() -> Any:
        return gateway.admin("GET", f"/keys/{paid.key}")["last_used_at"]

    assert used() is None
    assert paid.get().status_code == 200
    first = eventually(used, "it has been used")
    for _ in range(5):
        assert paid.get().status_code == 200
    assert paid.outcomes(6) == ["served"] * 6
    assert used() == first, "within a minute nothing is written anew"
    noted = gateway.admin("GET", f"/audit?target={paid.key}")["data"]
    assert [one["action"] for one in noted] == ["key.created"]


def test_while_postgres_is_gone_known_keys_work_and_others_are_not_called_wrong(gateway: Gateway) -> None:
    known, unseen = gateway.customer("paid"), gateway.customer("paid")
    wrong = mint("tw", Mode.LIVE).secret
    for _ in range(20):
        assert known.get().status_code == 200
    postgres = int((gateway.data_dir / POSTGRES_PID).read_text().split()[0])
    os.kill(postgres, signal.SIGSTOP)
    stopped = [postgres, *below(postgres)]
    for pid in stopped[1:]:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert {known.get().status_code for _ in range(20)} == {200}
        for secret in (unseen.secret, wrong):
            answer = show(gateway, secret, "/get")
            assert (answer.status_code, answer.json()["code"]) == (503, "key_lookup_unavailable")
            assert "Retry-After" in answer.headers
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: unseen.get().status_code == 200, "it can be looked up again")
    eventually(lambda: show(gateway, wrong, "/get").status_code == 401, "so can the wrong one")


POSTGRES_PID = Path("postgres/postmaster.pid")


def below(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
