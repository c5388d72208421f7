"""Special deals, as operators set them."""

from __future__ import annotations

import pytest

from gateway.accounts.store import Accounts
from tests.integration.controlplane.conftest import Client


async def test_an_override_is_set_listed_and_cleared(admin: Client, accounts: Accounts) -> None:
    account = (await accounts.create_account("Ada", "free")).public_id
    key, _ = await accounts.create_key(account)
    path = f"/admin/v1/accounts/{account}"
    made = await admin.put(f"{path}/overrides/burst", json={"rate": "9/second", "burst": 90})
    assert made.status == 200
    await admin.put(f"{path}/overrides/monthly", json={"amount": 5000})
    await admin.put(f"{path}/keys/{key.public_id}/overrides/cap", json={"rate": "1/minute", "burst": 2})
    data = (await (await admin.get(f"{path}/overrides")).json())["data"]
    assert [(one["name"], one["key"], one["rate"], one["burst"], one["amount"]) for one in data] == [
        ("burst", None, "9/second", 90, None),
        ("monthly", None, None, None, 5000),
        ("cap", key.public_id, "1/minute", 2, None),
    ]
    await admin.delete(f"{path}/overrides/monthly")
    left = await admin.delete(f"{path}/keys/{key.public_id}/overrides/cap")
    assert [one["name"] for one in (await left.json())["data"]] == ["burst"]
    assert (await admin.delete(f"{path}/overrides/monthly")).status == 404
    audit = await (await admin.get("/admin/v1/audit?action=override.created")).json()
    assert len(audit["data"]) == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rate": "1/second"},
        {"burst": 5},
        {"rate": "1/second", "burst": 5, "amount": 5},
        {"rate": "0/second", "burst": 5},
        {"rate": "1/second", "burst": 0},
        {"rate": "1/second", "burst": "5"},
        {"amount": -1},
        {"amount": 1.5},
        {"limit": 1},
    ],
)
async def test_what_is_no_override_is_422(admin: Client, accounts: Accounts, body: dict[str, object]) -> None:
    account = (await accounts.create_account("Ada", "free")).public_id
    answer = await admin.put(f"/admin/v1/accounts/{account}/overrides/burst", json=body)
    assert answer.status == 422


async def test_what_is_not_there_is_refused_and_what_changes_nothing_is_told(
    admin: Client, accounts: Accounts
) -> None:
    account = await accounts.create_account("Acme", "free")
    path = f"/admin/v1/accounts/{account.public_id}/overrides"
    refused = await admin.put(f"{path}/mothly", json={"amount": 5})
    assert refused.status == 404
    assert "monthly" in (await refused.json())["detail"]
    assert (await (await admin.get(path)).json()) == {"data": [], "warnings": [], "next": None}
    told = await (await admin.put(f"{path}/brust", json={"rate": "9/second", "burst": 9})).json()
    assert len(told["warnings"]) == 1
    assert (await (await admin.get(path)).json()) == told
