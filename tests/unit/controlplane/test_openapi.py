"""The admin API's description says what the declarations say."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from aiohttp import web

from gateway.controlplane.accounts_api import AccountChange, NewAccount, Page
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.openapi import describe
from gateway.controlplane.reference_page import render_reference
from gateway.controlplane.wording import AccountDocument


async def change_it(request: web.Request) -> web.Response:
    """Changes it. Or <b>not</b>."""
    raise AssertionError(request)


ONE = "/accounts/{account:acct_[0-9A-Za-z]+}"


def endpoint(method: str, path: str, **more: Any) -> Endpoint:
    return Endpoint(method, path, change_it, "accounts:write", AccountDocument, **more)


@pytest.fixture
def described() -> dict[str, Any]:
    return describe(
        [
            endpoint("GET", "/accounts", query=Page),
            endpoint("POST", "/accounts", body=NewAccount, status=201),
            endpoint("PATCH", ONE, body=AccountChange, refuses=(412,)),
        ],
        "/admin/v1",
        "1.2.3",
    )


def test_every_endpoint_is_there(described: dict[str, Any]) -> None:
    assert {path: sorted(methods) for path, methods in described["paths"].items()} == {
        "/admin/v1/accounts": ["get", "post"],
        "/admin/v1/accounts/{account}": ["patch"],
    }


def test_what_is_sent_and_answered_refers_to_the_types(described: dict[str, Any]) -> None:
    post = described["paths"]["/admin/v1/accounts"]["post"]
    sent = post["requestBody"]["content"]["application/json"]["schema"]
    assert sent == {"$ref": "#/components/schemas/NewAccount"}
    assert post["requestBody"]["required"]
    assert not described["paths"]["/admin/v1/accounts/{account}"]["patch"]["requestBody"]["required"]
    schemas = described["components"]["schemas"]
    assert schemas["NewAccount"]["required"] == ["name", "tier"]
    assert schemas["NewAccount"]["additionalProperties"] is False
    answered = post["responses"]["201"]["content"]["application/json"]["schema"]
    assert answered == {"$ref": "#/components/schemas/AccountDocument"}
    assert "external_id" in schemas["AccountDocument"]["required"]


def test_parameters_come_from_path_query_and_what_the_method_takes(described: dict[str, Any]) -> None:
    def named(path: str, method: str) -> dict[str, str]:
        return {one["name"]: one["in"] for one in described["paths"][path][method]["parameters"]}

    assert named("/admin/v1/accounts", "get") == {"after": "query", "limit": "query"}
    assert named("/admin/v1/accounts", "post") == {"Idempotency-Key": "header"}
    assert named("/admin/v1/accounts/{account}", "patch") == {"account": "path", "If-Match": "header"}


def test_the_page_shows_every_operation_and_nothing_of_it_as_markup(described: dict[str, Any]) -> None:
    page = render_reference(described)
    assert page.count("<details>") == 3
    assert "<b>not</b>" not in page
    assert "<b>not</b>" in unescape(page)
