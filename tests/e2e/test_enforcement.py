"""Operators loosen limits of a running gateway: every worker follows, and nothing but limits changes."""

from __future__ import annotations

from typing import Any

import requests

from tests.e2e.conftest import Customer, Gateway, eventually


def _statuses(customer: Customer, calls: int = 12) -> set[int]:
    """Of calls over connections of their own, so that both workers get some."""
    return {customer.get().status_code for _ in range(calls)}


def _switched(gateway: Gateway, state: str) -> bool:
    lines = requests.get(gateway.control_url("/metrics"), timeout=5).text.splitlines()
    name = "tollway_enforcement_switches{"
    found = [line for line in lines if line.startswith(name) and f'state="{state}"' in line]
    return len(found) == 2 and all(line.endswith(" 1.0") for line in found)


def test_the_life_of_a_kill_switch(own_gateway: Gateway) -> None:
    gateway = own_gateway
    customer = gateway.customer("free")  # bursts of 5
    assert _statuses(customer) == {200, 429}

    body = {"state": "shadow", "reason": "the limit is wrong"}
    gateway.admin("PUT", "/enforcement", json=body)
    eventually(lambda: _switched(gateway, "shadow"), "both workers know", 5)
    assert _statuses(customer) == {200}
    assert gateway.counted("shadow_refusals_total") > 0
    _rows_are_marked(gateway, customer)
    assert requests.get(gateway.url("/get"), timeout=5).status_code == 401
    refused = requests.get(gateway.url("/anything/export"), headers=customer.headers, timeout=5)
    assert refused.json()["code"] == "feature_required"
    ready = requests.get(gateway.control_url("/readyz"), timeout=5).json()
    assert [one["what"] for one in ready["degraded"]] == ["enforcement"]

    assert gateway.stop() == 0
    gateway.start()
    assert _statuses(customer) == {200}, "it survives a restart"

    gateway.admin("PUT", "/enforcement", json={"state": "off", "reason": "still wrong", "limit": "burst"})
    gateway.admin("PUT", "/enforcement", json={"state": "enforce", "reason": "only that one"})
    eventually(lambda: _switched(gateway, "off"), "both workers know", 5)
    shadows = gateway.counted("shadow_refusals_total")
    assert _statuses(customer) == {200}
    assert gateway.counted("shadow_refusals_total") == shadows, "what is off is not even counted"

    gateway.admin("PUT", "/enforcement", json={"state": "enforce", "reason": "mended", "limit": "burst"})
    eventually(lambda: 429 in _statuses(customer), "the limit refuses again", 5)
    assert gateway.log.count("limits are loosened by operators") >= 2


def _rows_are_marked(gateway: Gateway, customer: Customer) -> None:
    """Calls that would have been refused, and those that were, say by what."""
    address = f"/usage/events?account={customer.account}&"

    def marked() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gateway.admin("GET", f"{address}shadow=burst")["data"]
        return found

    row = eventually(marked, "marked rows are booked")[0]
    assert (row["outcome"], row["code"], row["shadows"]) == ("served", None, ["burst"])
    refused = gateway.admin("GET", f"{address}refused_by=burst")["data"]
    assert {(one["status"], one["code"]) for one in refused} == {(429, "rate_limited")}
    told = gateway.admin("GET", f"/explain/{refused[0]['request_id']}")
    assert told["why"] == "Refused with 429 `rate_limited` by `burst`."
    assert [one["how"] for one in told["policies"]] == ["start"]
    assert gateway.tollway("explain", "--request", row["request_id"])["call"]["shadows"] == ["burst"]
