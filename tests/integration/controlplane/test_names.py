"""Nothing that is called something can end a line: every text that an endpoint takes is tried."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from gateway.accounts.overrides import Overrides, quota_override
from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.controlplane.identity import Identity
from gateway.people.memberships import Memberships
from gateway.people.sessions import Sessions
from gateway.people.store import People
from gateway.people.tokens import new_id
from gateway.storage.postgres import Pool

from .conftest import NOW_US, Client
from .people import PASSWORD

ENDS = [
    "\r\nTollway-Account: acct_evil",
    "\r",
    "\n",
    "\0",
    "\x0b",
    "\x1f",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
]
GOOD: dict[str, object] = {
    "name": "Acme", "account_name": "Acme", "tier": "free", "external_id": "crm-7", "status": "active",
    "billing_anchor": "2026-01-31", "time_zone": "UTC", "sha256": "0" * 64, "mode": "live",
    "scopes": ["accounts:read"], "only_routes": ["all"], "only_methods": ["GET"],
    "only_networks": ["192.0.2.0/24"], "not_networks": ["192.0.2.7/32"], "metadata": {"a": "b"},
    "rate": "1/second", "burst": 1,
    "state": "shadow", "reason": "incident 7", "limit": "burst", "route": "all", "path": "/api/1",
    "method": "GET", "host": "localhost", "client_ip": "127.0.0.1", "account": "acct_1", "key": "key_1",
    "email": "eve@example.com", "password": "four rather mild words", "role": "member",
}  # fmt: skip
SECRETS = {"password", "current_password", "token", "refresh_token", "code"}
"""Only compared with what is known, or hashed."""

Tried = tuple[str, str, dict[str, Any], str]  # method, address, body, the text in it that ends a line


def spoiled(name: str, schema: dict[str, Any], end: str) -> object:
    """A value of this kind with an end of a line in it; None for what is no text."""
    kinds = schema.get("anyOf", [schema])
    good = GOOD.get(name, "x")
    if any(kind.get("type") == "string" or "enum" in kind for kind in kinds):
        return f"{good}{end}"
    if any(kind.get("type") == "array" for kind in kinds) and isinstance(good, list):
        return [*good, f"{good[0]}{end}"]
    return None


def tries(document: dict[str, Any], prefix: str) -> list[Tried]:
    """For every text in the body of every operation: a body in which only that one is bad."""
    found = []
    for path, operations in document["paths"].items():
        if not path.startswith(prefix):
            continue
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = content.get("schema", {})
            while "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            kinds = schema.get("properties", {})
            required = {
                name: GOOD.get(name, 1 if kinds[name].get("type") == "integer" else "x")
                for name in schema.get("required", ())
            }
            if "rate" in kinds:
                required["burst"] = 1  # the two go together
            for name, kind in kinds.items():
                found += [
                    (method, path, {**required, name: bad}, name)
                    for end in ENDS
                    if name not in SECRETS and (bad := spoiled(name, kind, end)) is not None
                ]
    return found


async def all_are_422(client: Client, prefix: str, ids: dict[str, str]) -> set[str]:
    """Ask all of it; which texts of which operations there were."""
    document = await (await client.get("/openapi.json")).json()
    tried = set()
    for method, path, body, name in tries(document, prefix):
        response = await client.request(method, path.format(**ids), json=body)
        assert response.status == 422, (method, path, body, await response.text())
        fields = [error["field"] for error in json.loads(await response.read())["errors"]]
        assert name in {field.partition(".")[0] for field in fields}, (path, name, fields)
        tried.add(f"{method} {path.removeprefix(prefix)} {name}")
    return tried


async def test_no_name_that_operators_give_can_end_a_line(
    admin: Client, accounts: Accounts, pool: Pool
) -> None:
    account = await accounts.create_account("Acme", "free")
    key, _ = await accounts.create_key(account.public_id)
    ids = {
        "account": account.public_id, "key": key.public_id, "name": "burst", "token": "tok_" + "0" * 20,
        "member": "member_" + "0" * 20,
    }  # fmt: skip
    tried = await all_are_422(admin, "/admin/v1", ids)
    assert {
        "post /accounts name", "post /accounts tier", "post /accounts external_id",
        "post /accounts time_zone",
        "patch /accounts/{account} name", "patch /accounts/{account} tier",
        "post /accounts/{account}/keys name", "post /accounts/{account}/keys only_routes",
        "post /accounts/{account}/keys only_methods", "post /tokens name", "post /tokens scopes",
        "put /accounts/{account}/overrides/{name} rate",
        "put /enforcement reason", "put /enforcement limit", "post /explain path", "post /explain host",
    } <= tried  # fmt: skip
    assert await pool.fetchval("SELECT count(*) FROM accounts") == 1
    assert await pool.fetchval("SELECT count(*) FROM api_keys") == 1
    for end in ("%0D%0AA:%20b", "%0A", "%00"):
        address = f"/admin/v1/accounts/{account.public_id}/overrides/burst{end}"
        assert (await admin.put(address, json={"amount": 1})).status == 404


async def test_no_name_that_people_give_can_end_a_line(
    portal: Client, accounts: Accounts, pool: Pool, identity: Identity, clock: ManualClock
) -> None:
    account = await accounts.create_account("Acme", "free")
    person = await People(pool).create(
        new_id("person"), "ada@example.com", "Ada", await identity.passwords.hash(PASSWORD)
    )
    assert person is not None
    await Memberships(pool).add(person, account.id, "owner")
    opened = await Sessions(pool).begin(person)
    token = await identity.access_token(opened.person, opened.session, clock)
    portal.session.headers["Authorization"] = f"Bearer {token}"
    ids = {"member": "member_" + "0" * 20, "invitation": "invitation_" + "0" * 20, "key": "key_" + "0" * 20}
    tried = await all_are_422(portal, "/api/v1", ids)
    assert {"post /auth/register account_name", "post /auth/register name", "post /auth/keys name"} <= tried
    assert clock.now_us() == NOW_US


@pytest.mark.parametrize(
    ("table", "column"),
    [("accounts", "tier"), ("accounts", "public_id"), ("accounts", "name"), ("api_keys", "public_id"),
     ("api_keys", "name"), ("overrides", "name")],
)  # fmt: skip
async def test_not_even_the_tables_take_one(table: str, column: str, accounts: Accounts, pool: Pool) -> None:
    """What becomes a header line is checked where it is kept, whoever writes it there."""
    account = await accounts.create_account("Acme", "free")
    await accounts.create_key(account.public_id)
    await Overrides(pool, accounts).set(account.public_id, quota_override("monthly", 5))
    for end in ("\r\nTollway-Account: acct_evil", "\r", "\n", "\x01"):
        with pytest.raises(asyncpg.CheckViolationError):
            await pool.execute(f"UPDATE {table} SET {column} = {column} || $1", end)
