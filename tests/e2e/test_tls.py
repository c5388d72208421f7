"""The public port with a certificate, as curl sees it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.conftest import running

CERTS = Path(__file__).parents[1] / "integration" / "dataplane" / "certs"


def test_curl_verifies_the_certificate_and_gets_its_answer(httpbin: int, tmp_path: Path) -> None:
    chain, key = str(CERTS / "first.crt"), str(CERTS / "first.key")
    with running(tmp_path, httpbin, TOLLWAY_TLS_CERT=chain, TOLLWAY_TLS_KEY=key) as gateway:
        paid = gateway.customer("paid")
        url, header = f"https://localhost:{gateway.listen}/anything", ("-H", f"X-API-Key: {paid.secret}")
        answer = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--cacert", chain, *header, url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert json.loads(answer)["url"].startswith("https://")  # httpbin goes by X-Forwarded-Proto
        assert paid.outcomes(1) == ["served"]


def test_the_control_port_opens_to_the_network_with_a_token_and_tls(httpbin: int, tmp_path: Path) -> None:
    chain, key = str(CERTS / "first.crt"), str(CERTS / "first.key")
    told = {"TOLLWAY_CONTROL_TLS_CERT": chain, "TOLLWAY_CONTROL_TLS_KEY": key}
    with running(tmp_path, httpbin, **told) as gateway:
        url, header = f"https://localhost:{gateway.control}/admin/v1/accounts", f"Bearer {gateway.token}"
        answer = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "--cacert", chain, "-H", f"Authorization: {header}", url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert json.loads(answer)["next"] is None
        plain = subprocess.run(
            ["curl", "-s", "--max-time", "20", f"http://localhost:{gateway.control}/healthz"], check=False
        )
        assert plain.returncode != 0
