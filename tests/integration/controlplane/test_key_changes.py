"""Keys are changed: what is given and nothing else, seen by all, noted, and undone by nobody unknowingly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.store import Accounts
from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.storage.postgres import Pool

from .conftest import Client
from .people import Visitor

MADE: dict[str, Any] = {
    "name": "ci",
    "expires_in_s": 3600,
    "only_routes": ["all"],
    "only_methods": ["GET"],
    "only_networks": ["192.0.2.0/24"],
    "not_networks": ["192.0.2.66/32"],
    "scopes": ["projects:write"],
}


async def make(admin: Client, accounts: Accounts, **more: Any) -> dict[str, Any]:
    account = (await accounts.create_account("Acme", "free")).public_id
    made = await admin.post(f"/admin/v1/accounts/{account}/keys", json={**MADE, **more})
    told: dict[str, Any] = await made.json()
    assert made.status == 201, told
    return told


async def change(admin: Client, key: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    answered = await admin.patch(
        f"/admin/v1/keys/{key}",
        json=body,
        headers={name.replace("_", "-"): one for name, one in headers.items()},
    )
    return answered.status, await answered.json()


@pytest.mark.parametrize(
    ("case", "body", "changed"),
    [
        ("nothing", {}, {}),
        ("the name", {"name": "cd"}, {"name": "cd"}),
        ("no name", {"name": ""}, {"name": ""}),
        ("never expires", {"expires_in_s": None}, {"expires_at": None}),
        ("another route", {"only_routes": ["write"]}, {"only_routes": ["write"]}),
        ("any route", {"only_routes": []}, {"only_routes": []}),
        ("more methods", {"only_methods": ["POST", "GET"]}, {"only_methods": ["GET", "POST"]}),
        ("any method", {"only_methods": []}, {"only_methods": []}),
        ("other networks", {"only_networks": ["2001:db8::/32"]}, {"only_networks": ["2001:db8::/32"]}),
        ("any network", {"only_networks": []}, {"only_networks": []}),
        ("others left out", {"not_networks": ["2001:db8::7"]}, {"not_networks": ["2001:db8::7/128"]}),
        ("IPv4 as IPv6", {"not_networks": ["::ffff:192.0.2.0/120"]}, {"not_networks": ["192.0.2.0/24"]}),
        ("none left out", {"not_networks": []}, {"not_networks": []}),
        ("no scope", {"scopes": []}, {"scopes": []}),
        ("all scopes", {"scopes": None}, {"scopes": None}),
    ],
)
async def test_what_is_given_changes_and_the_rest_stays(
    admin: Client, accounts: Accounts, case: str, body: dict[str, object], changed: dict[str, object]
) -> None:
    made = await make(admin, accounts)
    del made["secret"]
    assert await change(admin, made["id"], body) == (200, {**made, **changed})
    assert await (await admin.get(f"/admin/v1/keys/{made['id']}")).json() == {**made, **changed}


async def test_another_expiry_counts_from_now_even_for_a_key_that_has_expired(
    admin: Client, accounts: Accounts, pool: Pool
) -> None:
    made = await make(admin, accounts)
    await pool.execute("UPDATE api_keys SET expires_at = now() - interval '1 s'")
    assert await accounts.find_key(digest(made["secret"].encode())) is None
    status, told = await change(admin, made["id"], {"expires_in_s": 7200})
    assert status == 200
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=55) < left <= timedelta(hours=2)
    assert await accounts.find_key(digest(made["secret"].encode())) is not None


async def test_a_revoked_key_is_over(admin: Client, accounts: Accounts) -> None:
    made = await make(admin, accounts)
    await accounts.revoke_key(made["id"])
    status, problem = await change(admin, made["id"], {"expires_in_s": None})
    assert (status, problem["code"]) == (409, "conflict")
    assert await accounts.find_key(digest(made["secret"].encode())) is None


@pytest.mark.parametrize(
    ("case", "body", "field"),
    [
        ("a route that is not there", {"only_routes": ["wishes"]}, "only_routes"),
        ("a scope that no route requires", {"scopes": ["wishes"]}, "scopes"),
        ("a method in small letters", {"only_methods": ["get"]}, "only_methods"),
        ("no network", {"only_networks": ["here"]}, "only_networks"),
        ("no network to leave out", {"not_networks": ["there"]}, "not_networks"),
        ("bits behind a prefix", {"not_networks": ["10.0.0.1/8"]}, "not_networks"),
        ("too many", {"not_networks": [f"10.0.0.{one}" for one in range(101)]}, "not_networks"),
        ("null for none left out", {"not_networks": None}, "not_networks"),
        ("a line break in the name", {"name": "a\r\nb"}, "name"),
        ("a life of no time", {"expires_in_s": 0}, "expires_in_s"),
        ("a life of a century", {"expires_in_s": 10**10}, "expires_in_s"),
        ("null where there is none", {"only_routes": None}, "only_routes"),
        ("what can not be changed", {"mode": "test"}, "mode"),
    ],
)
async def test_a_change_that_can_not_be_changes_nothing(
    admin: Client, accounts: Accounts, case: str, body: dict[str, object], field: str
) -> None:
    made = await make(admin, accounts)
    before = await accounts.get_key(made["id"])
    status, problem = await change(admin, made["id"], {"name": "other", **body})
    assert status == 422
    assert [one["field"].partition(".")[0] for one in problem["errors"]] == [field]
    assert await accounts.get_key(made["id"]) == before


async def test_that_a_key_is_used_is_no_change_that_somebody_could_undo(
    admin: Client, accounts: Accounts, pool: Pool
) -> None:
    made = await make(admin, accounts)
    seen = (await admin.get(f"/admin/v1/keys/{made['id']}")).headers["ETag"]
    await pool.execute("UPDATE api_keys SET last_used_at = now()")
    assert (await change(admin, made["id"], {"name": "first"}, If_Match=seen))[0] == 200
    status, problem = await change(admin, made["id"], {"name": "second"}, If_Match=seen)
    assert (status, problem["code"]) == (412, "precondition_failed")


async def test_the_audit_log_has_both_sides(admin: Client, accounts: Accounts, pool: Pool) -> None:
    made = await make(admin, accounts)
    await change(admin, made["id"], {"only_routes": [], "not_networks": ["10.0.0.0/8"], "name": "cd"})
    await change(admin, made["id"], {"name": "cd"})
    first, *_ = noted = await AuditLog(pool).page(AuditQuestion(target=made["id"], limit=10))
    assert [one.action for one in noted] == ["key.changed", "key.created"], "the same again is no change"
    assert first.before is not None
    assert first.after is not None
    assert {name for name, value in first.after.items() if first.before[name] != value} == {
        "name",
        "only_routes",
        "not_networks",
    }
    assert (first.before["only_routes"], first.after["only_routes"]) == (["all"], None)
    assert (first.before["not_networks"], first.after["not_networks"]) == (["192.0.2.66/32"], ["10.0.0.0/8"])


async def test_gateways_are_told_of_what_a_key_may_do_now(
    admin: Client, accounts: Accounts, pool: Pool
) -> None:
    made = await make(admin, accounts)
    told: list[str] = []

    def hear(*heard: object) -> None:
        told.append(str(heard[-1]))

    async with pool.acquire() as listening:
        await listening.add_listener("tollway_keys", hear)
        await change(admin, made["id"], {"only_methods": ["POST"]})
        await change(admin, made["id"], {"not_networks": ["192.0.2.0/24"]})
        await listening.execute("SELECT 1")
        await listening.remove_listener("tollway_keys", hear)
    assert told == [f"key:{digest(made['secret'].encode()).hex()}"] * 2
    found = await accounts.find_key(digest(made["secret"].encode()))
    assert found is not None
    assert found.principal.restrictions is not None
    assert found.principal.restrictions.methods == frozenset({"POST"})
    assert not found.principal.restrictions.addresses.admits("192.0.2.1")


async def test_members_rename_keys_of_their_account(owner: Visitor, accounts: Accounts, pool: Pool) -> None:
    made = await owner.ok("POST", "/keys", {"name": "laptop"}, status=201)
    path = f"/keys/{made['id']}"
    assert (await owner.ok("PATCH", path, {"name": "old laptop"}))["name"] == "old laptop"
    assert (await owner.ok("GET", path))["name"] == "old laptop"
    (noted, *_) = await AuditLog(pool).page(AuditQuestion(target=made["id"], limit=1))
    assert (noted.action, noted.actor[:7]) == ("key.changed", "person:")
    assert (await owner.refused("PATCH", path, {}))[:2] == (422, "invalid")
    status, _, problem = await owner.refused("PATCH", path, {"name": "x", "only_routes": []})
    assert (status, [one["field"] for one in problem["errors"]]) == (422, ["only_routes"])
    other, _ = await accounts.create_key((await accounts.create_account("Other", "free")).public_id)
    for method, body in (("GET", None), ("PATCH", {"name": "mine"})):
        assert (await owner.refused(method, f"/keys/{other.public_id}", body))[:2] == (404, "not_found")
    await owner.ok("POST", f"{path}/revoke")
    assert (await owner.refused("PATCH", path, {"name": "x"}))[:2] == (409, "conflict")


async def test_members_do_not_undo_each_others_names_unknowingly(owner: Visitor) -> None:
    made = await owner.ok("POST", "/keys", {"name": "laptop"}, status=201)
    seen = (await owner.ask("GET", f"/keys/{made['id']}")).headers["ETag"]
    headers = {"Authorization": f"Bearer {owner.session['access_token']}", "If-Match": seen}
    path = f"/api/v1/auth/keys/{made['id']}"
    answers = [
        (await owner.portal.patch(path, json={"name": name}, headers=headers)).status for name in ("a", "b")
    ]
    assert answers == [200, 412]
