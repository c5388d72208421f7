"""Somebody new: from registering to a key that works, and to one that does not any more."""

from __future__ import annotations

import re
import stat
import time
from contextlib import suppress
from typing import Any

import requests

from tests.e2e.conftest import Gateway, eventually

EMAIL, PASSWORD = "ada@example.com", "three mild words"


def test_the_life_of_a_customer(gateway: Gateway) -> None:
    session = requests.Session()

    def ask(method: str, path: str, status: int = 200, body: object = None) -> Any:
        url = f"http://127.0.0.1:{gateway.portal}/api/v1{path}"
        answer = session.request(method, url, json=body, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()

    def call(secret: str) -> requests.Response:
        return requests.get(gateway.url("/get"), headers={"X-API-Key": secret}, timeout=30)

    ask("POST", "/auth/register", 202, {"email": EMAIL, "password": PASSWORD, "account_name": "Engines"})
    (mail,) = eventually(lambda: list((gateway.data_dir / "mail").glob("*.eml")), "the mail is written")
    assert stat.S_IMODE(mail.stat().st_mode) == 0o600
    found = re.search(r"token=(\S+)", mail.read_text())
    assert found
    ask("POST", "/auth/login", 401, {"email": EMAIL, "password": PASSWORD})
    ask("POST", "/auth/verify", 201, {"token": found[1]})
    tokens = ask("POST", "/auth/login", 200, {"email": EMAIL, "password": PASSWORD})
    session.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    account = ask("GET", "/auth/me")["accounts"][0]
    assert account["name"] == "Engines"

    key = ask("POST", "/auth/keys", 201, {"name": "laptop"})
    answer = call(key["secret"])
    assert answer.status_code == 200
    assert answer.json()["headers"]["Tollway-Account"] == account["id"]

    def used() -> bool:
        rows = ask("GET", "/usage")["data"]
        return [row["quantity"] for row in rows if row["meter"] == "api_calls"] == [1]

    eventually(used, "the call is seen")
    gateway.admin("PATCH", f"/accounts/{account['id']}", json={"tier": "paid"})  # so that we may ask often
    successor = ask("POST", f"/auth/keys/{key['id']}/rotate", 201, {"overlap_s": 2})
    eventually(lambda: call(successor["secret"]).status_code == 200, "the new key works")
    eventually(lambda: call(key["secret"]).status_code == 401, "the old key dies after the overlap")

    stream = requests.get(
        gateway.url("/drip?duration=30&numbytes=300&delay=0"),
        headers={"X-API-Key": successor["secret"]},
        timeout=30,
        stream=True,
    )
    assert stream.status_code == 200
    ask("POST", f"/auth/keys/{successor['id']}/revoke")
    eventually(lambda: call(successor["secret"]).status_code == 401, "the key is refused", 5)
    began = time.monotonic()
    with suppress(requests.RequestException):
        assert len(stream.content) < 300, "the open stream is cut"
    assert time.monotonic() - began < 25

    ask("POST", "/auth/logout", 200, {"refresh_token": tokens["refresh_token"]})
    ask("GET", "/auth/me", 401)
    for secret in (PASSWORD, found[1], key["secret"], tokens["access_token"], tokens["refresh_token"]):
        assert secret not in gateway.log
