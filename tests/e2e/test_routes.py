"""Which route a call takes and what it changes, with workers, keys and an upstream that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.e2e.conftest import Customer, Gateway, eventually, running

POLICIES = """
upstreams:
  old:
    targets: [http://127.0.0.1:{port}]
    request_headers: {{set: {{X-Side: old}}}}
  new:
    targets: [http://127.0.0.1:{port}]
    request_headers: {{set: {{X-Side: new}}}}
tiers: {{paid: {{}}}}
routes:
  - name: docs
    match: {{path: /**, hosts: [docs.example.com]}}
    upstream: old
    rewrite: {{path: /anything/docs}}
  - name: tenants
    match: {{path: "/{{page}}/**", hosts: ["*.example.com"]}}
    upstream: old
    rewrite: {{path: "/anything/tenants/{{page}}/**"}}
  - name: all
    match: {{path: /v1/**}}
    split: [{{upstream: old, weight: {old}}}, {{upstream: new, weight: {new}}}]
    rewrite: {{strip_prefix: /v1, add_prefix: /anything, forwarded_prefix: true}}
    response_headers: {{remove: [Server], set: {{X-Frame-Options: DENY}}}}
"""


@pytest.fixture(scope="module")
def routed(httpbin: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("routed")
    Gateway(folder, httpbin).write_policies(POLICIES.format(port=httpbin, old=1, new=1))
    with running(folder, httpbin) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def customers(routed: Gateway) -> list[Customer]:
    return [routed.customer("paid") for _ in range(16)]


def test_path_and_headers_are_what_the_route_says(customers: list[Customer]) -> None:
    answer = customers[0].get("/v1/a/b/?c=d")
    assert answer.json()["url"].endswith("/anything/a/b/?c=d")
    assert answer.json()["headers"]["X-Forwarded-Prefix"] == "/v1"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("host", "arrives"),
    [("docs.example.com", "/docs"), ("api.example.com", "/tenants/x/y"), ("a.b.example.com", "/tenants/x/y")],
)
def test_the_first_route_for_the_host_decides(
    host: str, arrives: str, routed: Gateway, customers: list[Customer]
) -> None:
    answer = requests.get(routed.url("/x/y"), headers=customers[0].headers | {"Host": host}, timeout=10)
    assert answer.json()["url"].partition("/anything")[2] == arrives


def test_a_host_that_no_route_takes(routed: Gateway, customers: list[Customer]) -> None:
    headers = customers[0].headers | {"Host": "example.com"}
    assert requests.get(routed.url("/x/y"), headers=headers, timeout=10).status_code == 404


def sides(customers: list[Customer]) -> list[set[str]]:
    """On which sides each customer is found, over several connections: both workers are asked."""

    def side(one: Customer) -> str:
        headers = one.headers | {"X-Side": "mine", "x_side": "mine"}
        answer = requests.get(one.gateway.url("/v1/a"), headers=headers, timeout=10)
        return str(answer.json()["headers"]["X-Side"])

    return [{side(one) for _ in range(5)} for one in customers]


def test_each_account_is_on_one_side_until_the_weights_change(
    routed: Gateway, customers: list[Customer]
) -> None:
    before = sides(customers)
    assert all(len(found) == 1 for found in before)
    assert {"old"} in before
    assert {"new"} in before
    assert sides(customers) == before
    routed.write_policies(POLICIES.format(port=routed.upstream_port, old=0, new=1))
    eventually(lambda: all(found == {"new"} for found in sides(customers)), "everybody has moved")
    routed.write_policies(POLICIES.format(port=routed.upstream_port, old=3, new=3))
    eventually(lambda: sides(customers) == before, "everybody is where they were")
