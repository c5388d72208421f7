"""One good request for each address of the admin API, and what they need to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientResponse

from gateway.accounts.overrides import Overrides, limit_override
from gateway.accounts.store import Accounts
from gateway.operators.tokens import AdminTokens
from gateway.people.memberships import Memberships
from gateway.people.store import People
from gateway.people.tokens import new_id
from gateway.storage.postgres import Pool
from tests.integration.controlplane.books import book, request_id
from tests.integration.controlplane.conftest import NOW_US, Client

POLICY = """upstreams: {u: {targets: [http://127.0.0.1:9000]}}
tiers: {free: {}}
routes: [{name: all, match: {path: /**}, upstream: u}]
"""
USAGE = {"account": "{account}", "meter": "api_calls", "quantity": 2, "at": "2026-11-21T10:00:00Z"}
ONE = "/accounts/{account}"
Json = Mapping[str, Any]

GOOD: dict[str, Json | None] = {
    "GET /accounts": None,
    "POST /accounts": {"name": "Other", "tier": "free"},
    f"GET {ONE}": None,
    f"PATCH {ONE}": {"name": "Other"},
    f"GET {ONE}/overrides": None,
    f"PUT {ONE}/overrides/{{name}}": {"rate": "7/minute", "burst": 7},
    f"DELETE {ONE}/overrides/{{name}}": None,
    f"PUT {ONE}/keys/{{key}}/overrides/{{name}}": {"rate": "7/minute", "burst": 7},
    f"DELETE {ONE}/keys/{{key}}/overrides/{{name}}": None,
    f"GET {ONE}/keys": None,
    f"POST {ONE}/keys": {"name": "ci"},
    f"POST {ONE}/keys/import": {"sha256": "ab" * 32},
    "GET /keys/{key}": None,
    "PATCH /keys/{key}": {"name": "other"},
    "POST /keys/{key}/revoke": {},
    "POST /keys/{key}/rotate": {},
    f"GET {ONE}/members": None,
    f"GET {ONE}/members/{{member}}": None,
    f"PATCH {ONE}/members/{{member}}": {"role": "billing"},
    f"DELETE {ONE}/members/{{member}}": None,
    f"GET {ONE}/invitations": None,
    f"GET {ONE}/invitations/{{invitation}}": None,
    f"POST {ONE}/invitations": {"email": "eve@example.com"},
    f"DELETE {ONE}/invitations/{{invitation}}": None,
    f"GET {ONE}/period": None,
    "GET /usage": None,
    "GET /usage/events": None,
    "POST /usage": {"id": "new-1", **USAGE},
    "POST /usage/batch": {"events": [{"id": "new-1", **USAGE}, {"id": "new-2", **USAGE}]},
    "POST /usage/corrections": {"id": "new-1", "reason": "it hung", **USAGE},
    "GET /usage/entries": None,
    "GET /quota-events": None,
    "GET /tokens": None,
    "POST /tokens": {"name": "ci", "scopes": ["usage:read"]},
    "GET /tokens/{token}": None,
    "POST /tokens/{token}/revoke": {},
    "GET /audit": None,
    "GET /enforcement": None,
    "PUT /enforcement": {"state": "shadow", "reason": "incident 7"},
    "POST /explain": {"path": "/open/1"},
    "GET /explain/{request_id}": None,
    "GET /policies": None,
    "GET /policies/history": None,
    "POST /policies/check": {"files": {"all.yaml": POLICY}},
    "PUT /policies": {"files": {"other.yaml": POLICY}},
    "GET /workers": None,
    "GET /upstreams": None,
}

ASKS = {"POST /explain", "POST /policies/check"}
"""Questions: they change nothing."""

CHANGES = [one for one in GOOD if not one.startswith("GET") and one not in ASKS]


@dataclass(frozen=True)
class World:
    """What is there: ids by the names they have in addresses."""

    admin: Client
    ids: Mapping[str, str]

    async def send(
        self,
        address: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> ClientResponse:
        """The good request of an address, or another `body`."""
        method, _, path = address.partition(" ")
        sent = dict(headers or {})
        if address == "PUT /policies" and "If-Match" not in sent:
            sent["If-Match"] = "*"  # required there
        wanted = GOOD[address] if body is None else body
        url = f"/admin/v1{path.format_map(self.ids)}{query}"
        return await self.admin.request(method, url, json=self._filled(wanted), headers=sent)

    def _filled(self, value: Any) -> Any:
        match value:
            case str():
                return value.replace("{account}", self.ids["account"])
            case Mapping():
                return {name: self._filled(one) for name, one in value.items()}
            case list():
                return [self._filled(one) for one in value]
        return value


async def make_ids(pool: Pool, accounts: Accounts, policies: Path) -> dict[str, str]:
    """Of everything that has one, with some usage and policies on disk."""
    account = await accounts.create_account("Acme", "free")
    key, _ = await accounts.create_key(account.public_id)
    overrides = Overrides(pool, accounts)
    await overrides.set(account.public_id, limit_override("burst", "5/minute", 5))
    await overrides.set(account.public_id, limit_override("burst", "5/minute", 5, of_key=True), key.public_id)
    members, member = Memberships(pool), ""
    for name, role in (("ada", "owner"), ("bob", "member")):
        person = await People(pool).create(new_id("person"), f"{name}@example.com", name, "$argon2id$x")
        assert person is not None
        await members.add(person, account.id, role)
        member = (await members.of_person(person))[0].public_id
    invited, _ = await members.invite(account.public_id, "cy@example.com", "member")
    token, _ = await AdminTokens(pool).create("here", ["usage:read"])
    await book(pool, account.id, datetime.fromtimestamp(NOW_US / 1_000_000, UTC), calls=2)
    policies.mkdir(exist_ok=True)
    (policies / "all.yaml").write_text(POLICY)
    return {
        "account": account.public_id,
        "key": key.public_id,
        "name": "burst",
        "member": member,
        "invitation": invited.public_id,
        "token": token.public_id,
        "request_id": str(UUID(bytes=request_id(account.id, 1))),
    }
