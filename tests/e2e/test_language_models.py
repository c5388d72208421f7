"""Tokens of language models: read in answers, reserved and settled, the same in ledger and counters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import Customer, Gateway, eventually, running

POLICIES = """
upstreams:
  models: {{targets: [http://127.0.0.1:{port}]}}
meters:
  tokens: {{unit: token}}
  input: {{unit: token}}
  output: {{unit: token}}
  work: {{unit: step}}
tiers:
  team:
    quotas:
      - {{meter: tokens, amount: 1000, per: month}}
      - {{meter: api_calls, amount: 100000, per: month}}
      - {{meter: output, amount: 1000000, per: month}}
      - {{meter: work, amount: 1000000, per: day}}
  paced:
    limits: [{{name: tpm, rate: 60/hour, burst: 500, meter: tokens}}]
routes:
  - name: completions
    match: {{methods: [POST], path: /v1/chat/completions}}
    upstream: models
    charges:
      api_calls: 1
      tokens: {{response_json: usage.total_tokens, response_events: usage.total_tokens, reserve: 100}}
  - name: messages
    match: {{methods: [POST], path: /v1/messages}}
    upstream: models
    charges:
      input: {{response_events: [usage.input_tokens, message.usage.input_tokens]}}
      output: {{response_events: usage.output_tokens, times: 5}}
      work: {{response_header: X-Work}}
  - name: fails
    match: {{path: /v1/fails}}
    upstream: models
    charges:
      api_calls: 1
      tokens: {{response_json: usage.total_tokens, bill_on: {{upstream_error: true}}}}
"""


@pytest.fixture(scope="module")
def models() -> Iterator[int]:
    """The upstream's port."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.llm"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def gateway(models: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(POLICIES.format(port=models))
    with running(folder, models) as started:
        yield started
        assert '"traceback"' not in started.log, started.log


def post(customer: Customer, path: str, **asked: Any) -> requests.Response:
    url = customer.gateway.url(path)
    return requests.post(url, headers=customer.headers, json=asked, timeout=30, stream=True)


def charges(customer: Customer, count: int) -> list[dict[str, int]]:
    """What the account's calls were billed, oldest first, once there are `count`."""

    def rows() -> list[dict[str, Any]]:
        found = customer.gateway.events(customer.account)
        return found if len(found) >= count else []

    return [row["charges"] for row in reversed(eventually(rows, f"{count} usage rows"))]


def workers(gateway: Gateway) -> list[int]:
    """Process ids of the workers, by what they are called in the kernel."""
    children = gateway.children().values()
    return [pid for pid in children if "worker" in Path(f"/proc/{pid}/comm").read_text()]


def drift(gateway: Gateway) -> list[Any]:
    """Counters that do not say what the ledger says."""
    found: list[Any] = gateway.tollway("reconcile")["data"]
    return found


def test_answers_and_streams_are_billed_by_what_they_say(gateway: Gateway) -> None:
    team = gateway.customer("team")
    assert post(team, "/v1/chat/completions", words=12).json()["usage"]["total_tokens"] == 21
    assert post(team, "/v1/chat/completions", words=13, compressed=True).json()["usage"]["total_tokens"] == 22
    stream = post(team, "/v1/chat/completions", words=14, stream=True).content
    assert stream.endswith(b"data: [DONE]\n\n")
    assert stream.count(b"data: ") == 6
    answer = post(team, "/v1/messages", words=15)
    assert b'"output_tokens": 15' in answer.content
    assert "X-Work" not in answer.headers
    assert charges(team, 4) == [
        {"api_calls": 1, "tokens": 21},
        {"api_calls": 1, "tokens": 22},
        {"api_calls": 1, "tokens": 23},
        {"input": 25, "output": 75, "work": 3},
    ]
    assert drift(gateway) == []


def test_who_leaves_early_pays_the_reserve_and_failures_cost_what_policies_say(gateway: Gateway) -> None:
    team = gateway.customer("team")
    answer = post(team, "/v1/chat/completions", words=1, stream=True, endless=True)
    assert next(answer.iter_lines()).startswith(b"data: ")
    answer.close()
    assert charges(team, 1) == [{"api_calls": 1, "tokens": 100}]
    assert post(team, "/v1/fails").status_code == 500
    assert charges(team, 2)[1] == {"tokens": 5}, "the call itself is free"
    eventually(lambda: not drift(gateway), "counters say what the ledger says")


def test_a_quota_is_settled_with_the_true_cost(gateway: Gateway) -> None:
    team = gateway.customer("team")
    for words, total in ((391, 400), (491, 500)):
        assert post(team, "/v1/chat/completions", words=words).json()["usage"]["total_tokens"] == total
    # 900 of 1000 are used: one more fits its reserve, and turns out dearer.
    assert post(team, "/v1/chat/completions", words=791, stream=True).content.endswith(b"[DONE]\n\n")
    refused = post(team, "/v1/chat/completions", words=1)
    assert refused.status_code == 429
    assert refused.json()["code"] == "quota_exceeded"
    (standing,) = refused.json()["limits"]
    assert (standing["policy"], standing["used"], standing["limit"]) == ("tokens", 1700, 1000)
    assert sum(one.get("tokens", 0) for one in charges(team, 4)) == 1700
    assert drift(gateway) == []


def test_a_limit_per_meter_waits_for_what_was_really_used(gateway: Gateway) -> None:
    paced = gateway.customer("paced")
    answer = post(paced, "/v1/chat/completions", words=441)
    assert 'qu="token"' in answer.headers["RateLimit-Policy"]
    assert answer.json()["usage"]["total_tokens"] == 450
    refused = post(paced, "/v1/chat/completions", words=1)
    assert refused.status_code == 429
    problem = refused.json()
    assert problem["code"] == "rate_limited"
    assert (problem["limits"][0]["used"], problem["limits"][0]["limit"]) == (450, 500)
    assert "60 tokens per hour" in problem["detail"]


def test_a_killed_worker_leaves_no_drift_behind(models: int, tmp_path: Path) -> None:
    kept = POLICIES.format(port=models) + "bill_on: {interrupted: true}\n"
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(kept)
    with running(tmp_path, models) as gateway:
        team = gateway.customer("team")
        answer = post(team, "/v1/chat/completions", words=1, stream=True, endless=True)
        lines = answer.iter_lines()  # kept: without it the answer would be closed
        assert next(lines).startswith(b"data: ")
        for pid in workers(gateway):
            os.kill(pid, signal.SIGKILL)
        assert charges(team, 1) == [{"api_calls": 1, "tokens": 100}]
        assert team.outcomes(1) == ["interrupted"]
        eventually(lambda: not drift(gateway), "the reserve stays charged, as it is billed")
