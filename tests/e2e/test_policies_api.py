"""Policies put into the folder of a running gateway through its admin API are in use when it answers."""

from __future__ import annotations

import requests

from tests.e2e.conftest import POLICIES, Gateway, eventually


def test_policies_are_applied_and_remembered(own_gateway: Gateway) -> None:
    gateway = own_gateway
    shown = requests.get(
        gateway.control_url("/admin/v1/policies"),
        headers={"Authorization": f"Bearer {gateway.token}"},
        timeout=5,
    )
    text = POLICIES.format(port=gateway.upstream_port) + "upgrade_url: https://example.com/{tier}\n"
    answer = requests.put(
        gateway.control_url("/admin/v1/policies"),
        headers={"Authorization": f"Bearer {gateway.token}", "If-Match": shown.headers["ETag"]},
        json={"files": {"all.yaml": text}},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["in_use"] is True
    assert gateway.admin("GET", "/policies")["digest"] == told["digest"]

    def history() -> list[tuple[str, str]]:
        rows = gateway.admin("GET", "/policies/history")["data"]
        found = [
            (one["how"], one["actor"])
            for one in rows
            if one["digest"] in (told["digest"], shown.json()["digest"])
        ]
        return found if len(found) == 2 else []

    assert eventually(history, "both are noted") == [("api", "bootstrap"), ("start", "gateway")]

    target = f'{{targets: ["http://127.0.0.1:{gateway.listen}"]}}'
    refused = requests.put(
        gateway.control_url("/admin/v1/policies"),
        headers={"Authorization": f"Bearer {gateway.token}", "If-Match": "*"},
        json={"files": {"all.yaml": text, "more.yaml": f"upstreams: {{us: {target}}}\n"}},
        timeout=30,
    )
    assert refused.status_code == 422, "the gateway itself is no upstream, as at a reload"


def test_workers_say_what_they_use(gateway: Gateway) -> None:
    digest = gateway.admin("GET", "/policies")["digest"]

    def told() -> bool:
        workers = [
            one for one in gateway.admin("GET", "/workers")["data"] if one["name"].startswith("worker")
        ]
        targets = gateway.admin("GET", "/upstreams")["data"]
        assert {one["policies"] for one in workers} == {digest}
        assert len({one["pid"] for one in workers}) == 2
        return [(one["worker"], one["up"]) for one in targets] == [("worker-1", True), ("worker-2", True)]

    eventually(told, "both workers report")
