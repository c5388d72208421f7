"""Tokens with scopes, the audit log, and requests that are repeated."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.storage.postgres import Pool
from tests.integration.controlplane.conftest import ADMIN_TOKEN, Client
from tests.integration.controlplane.test_admin import account, ok, problem

KEYED = {"Idempotency-Key": "order-7"}


async def token(admin: Client, *scopes: str, **more: object) -> dict[str, Any]:
    return await ok(
        await admin.post("/admin/v1/tokens", json={"name": "ci", "scopes": list(scopes), **more}), 201
    )


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_the_life_of_a_token(admin: Client, stranger: Client) -> None:
    made = await token(admin, "accounts:read", "accounts:read")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert shown["scopes"] == ["accounts:read"]
    assert made["secret"].endswith(made["last_four"])
    assert await ok(await admin.get(f"/admin/v1/tokens/{made['id']}")) == shown
    await ok(await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"])))
    used = await ok(await admin.get(f"/admin/v1/tokens/{made['id']}"))
    assert used["last_used_at"] is not None
    assert [one["id"] for one in (await ok(await admin.get("/admin/v1/tokens")))["data"]] == [made["id"]]
    revoked = await ok(await admin.post(f"/admin/v1/tokens/{made['id']}/revoke"))
    assert revoked["revoked_at"] is not None
    assert await ok(await admin.post(f"/admin/v1/tokens/{made['id']}/revoke")) == revoked
    response = await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"]))
    await problem(response, 401, "unauthenticated")


async def test_a_token_does_what_its_scopes_allow_and_no_more(admin: Client, stranger: Client) -> None:
    made = await token(admin, "accounts:read")
    headers = bearer(made["secret"])
    response = await stranger.post("/admin/v1/accounts", json={"name": "A", "tier": "free"}, headers=headers)
    document = await problem(response, 403, "forbidden")
    assert (document["required_scope"], document["scopes"]) == ("accounts:write", ["accounts:read"])
    for address in ("tokens", "audit", "usage", "policies", "workers"):
        await problem(await stranger.get(f"/admin/v1/{address}", headers=headers), 403, "forbidden")
    assert (await ok(await admin.get("/admin/v1/accounts")))["data"] == []


async def test_an_expired_token_is_none(admin: Client, stranger: Client, pool: Pool) -> None:
    made = await token(admin, "*", expires_in_s=60)
    await ok(await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"])))
    await pool.execute("UPDATE admin_tokens SET expires_at = now()")
    response = await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"]))
    await problem(response, 401, "unauthenticated")


@pytest.mark.parametrize(
    ("case", "body", "field"),
    [
        ("no scope", {"name": "ci", "scopes": []}, "scopes"),
        ("a scope that is none", {"name": "ci", "scopes": ["everything"]}, "scopes"),
        ("no name", {"scopes": ["*"]}, "name"),
        ("a name that breaks a line", {"name": "a\r\nb", "scopes": ["*"]}, "name"),
        ("gone before it is there", {"name": "ci", "scopes": ["*"], "expires_in_s": 0}, "expires_in_s"),
    ],
)
async def test_a_token_that_is_not_made(admin: Client, case: str, body: object, field: str) -> None:
    document = await problem(await admin.post("/admin/v1/tokens", json=body), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == [field], case
    assert (await ok(await admin.get("/admin/v1/tokens")))["data"] == []


async def test_who_guesses_is_slowed_down_but_not_the_bootstrap_token(
    admin: Client, stranger: Client
) -> None:
    made = await token(admin, "accounts:read")
    await ok(await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"])))
    statuses = [
        (await stranger.get("/admin/v1/accounts", headers=bearer(f"tollway_admin_{number:040}"))).status
        for number in range(25)
    ]
    assert statuses == [401] * 20 + [429] * 5
    await ok(await stranger.get("/admin/v1/accounts", headers=bearer(ADMIN_TOKEN)))
    await ok(await stranger.get("/admin/v1/accounts", headers=bearer(made["secret"])))


async def test_every_change_is_in_the_audit_log(admin: Client, stranger: Client) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}"
    changer = await token(admin, "accounts:write")
    response = await stranger.patch(path, json={"tier": "team"}, headers=bearer(changer["secret"]))
    changed = await ok(response)
    await ok(await admin.post(f"{path}/keys", json={"name": "k"}), 201)
    page = await ok(await admin.get("/admin/v1/audit"))
    told = [(one["action"], one["actor"]) for one in page["data"]]
    assert told == [
        ("key.created", "bootstrap"),
        ("account.changed", f"token:{changer['id']}"),
        ("token.created", "bootstrap"),
        ("account.created", "bootstrap"),
    ]
    change = page["data"][1]
    assert (change["before"]["tier"], change["after"]["tier"]) == (made["tier"], changed["tier"])
    assert change["request_id"] == response.headers["Tollway-Request-Id"]
    assert "digest" not in json.dumps(page)
    assert changer["secret"] not in json.dumps(page)


async def test_the_audit_log_is_read_in_pages_and_by_what_is_asked(admin: Client) -> None:
    ids = [(await account(admin))["id"] for _ in range(3)]
    first = await ok(await admin.get("/admin/v1/audit?limit=2"))
    rest = await ok(await admin.get(f"/admin/v1/audit?limit=2&before={first['next']}"))
    assert [one["target"] for one in (*first["data"], *rest["data"])] == ids[::-1]
    assert rest["next"] is None
    only = await ok(
        await admin.get(f"/admin/v1/audit?target={ids[0]}&actor=bootstrap&action=account.created")
    )
    assert [one["target"] for one in only["data"]] == ids[:1]
    assert (await ok(await admin.get("/admin/v1/audit?to=2020-01-01")))["data"] == []


async def test_a_change_that_is_refused_leaves_no_trace(admin: Client) -> None:
    made = await account(admin)
    response = await admin.patch(f"/admin/v1/accounts/{made['id']}", json={"name": "B", "tier": "none"})
    await problem(response, 422, "invalid")
    assert len((await ok(await admin.get("/admin/v1/audit")))["data"]) == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_the_audit_log_only_grows(admin: Client, pool: Pool, statement: str) -> None:
    await account(admin)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await pool.execute(statement)


async def test_a_change_beside_the_api_is_noted_too(admin: Client, pool: Pool) -> None:
    made = await account(admin)
    await pool.execute("UPDATE accounts SET name = 'B' WHERE public_id = $1", made["id"])
    (change,) = await AuditLog(pool).page(AuditQuestion(action="account.changed"))
    assert change.actor.startswith("database:")


async def test_a_repeated_request_gets_its_answer_again_and_does_nothing(admin: Client) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}/keys"
    first = await admin.post(path, json={"name": "a"}, headers=KEYED)
    again = await admin.post(path, json={"name": "a"}, headers=KEYED)
    assert await ok(first, 201) == await ok(again, 201)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert len((await ok(await admin.get(path)))["data"]) == 1


async def test_two_at_once_with_one_key_do_it_once(admin: Client) -> None:
    body = {"name": "A", "tier": "free"}
    responses = await asyncio.gather(
        *(admin.post("/admin/v1/accounts", json=body, headers=KEYED) for _ in range(4))
    )
    assert len({(await ok(one, 201))["id"] for one in responses}) == 1
    assert len((await ok(await admin.get("/admin/v1/accounts")))["data"]) == 1


async def test_a_key_belongs_to_one_request_of_one_operator(admin: Client, stranger: Client) -> None:
    other = bearer((await token(admin, "*"))["secret"])
    body = {"name": "A", "tier": "free"}
    await ok(await admin.post("/admin/v1/accounts", json=body, headers=KEYED), 201)
    response = await admin.post("/admin/v1/accounts", json={**body, "name": "B"}, headers=KEYED)
    await problem(response, 409, "idempotency_key_reused")
    response = await stranger.post(
        "/admin/v1/accounts", json={**body, "name": "C"}, headers={**KEYED, **other}
    )
    assert (await ok(response, 201))["name"] == "C"


async def test_a_refused_request_may_be_corrected_under_the_same_key(admin: Client) -> None:
    response = await admin.post("/admin/v1/accounts", json={"name": "A", "tier": "none"}, headers=KEYED)
    await problem(response, 422, "invalid")
    await ok(await admin.post("/admin/v1/accounts", json={"name": "A", "tier": "free"}, headers=KEYED), 201)


async def test_a_kept_answer_can_not_be_read_in_the_database(admin: Client, pool: Pool) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}/keys"
    secret = (await ok(await admin.post(path, json={}, headers=KEYED), 201))["secret"]
    kept = await pool.fetchrow("SELECT * FROM idempotent_answers")
    assert kept is not None
    told = b"".join(bytes(value) for value in kept.values() if isinstance(value, bytes))
    assert secret.encode() not in told
    assert b"secret" not in told


@pytest.mark.parametrize(
    ("case", "key"),
    [("an empty one", ""), ("one too long", "k" * 256), ("characters outside ASCII", "k\u00e4")],
)
async def test_a_key_that_is_none(admin: Client, case: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    response = await admin.post("/admin/v1/accounts", json={"name": "A", "tier": "free"}, headers=headers)
    assert response.status == 400, case


async def test_a_change_may_say_what_it_has_seen(admin: Client) -> None:
    made = await account(admin)
    path = f"/admin/v1/accounts/{made['id']}"
    seen = (await admin.get(path)).headers["ETag"]
    response = await admin.patch(path, json={"name": "B"}, headers={"If-Match": seen})
    assert response.headers["ETag"] != seen
    await ok(response)
    response = await admin.patch(path, json={"name": "C"}, headers={"If-Match": seen})
    await problem(response, 412, "precondition_failed")
    assert (await ok(await admin.get(path)))["name"] == "B"
    await ok(await admin.patch(path, json={"name": "D"}, headers={"If-Match": "*"}))
