"""What holds for every address of the admin API: no address may be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.controlplane import policies_api
from gateway.operators.audit import AuditLog, AuditQuestion, Change
from gateway.storage.postgres import Pool
from tests.integration.controlplane.conftest import Client
from tests.integration.controlplane.routes import CHANGES, GOOD, World, make_ids

UPDATES = [one for one in CHANGES if not one.startswith("POST")]
NOT_IN_THE_AUDIT_LOG = {"POST /usage", "POST /usage/batch"}
"""Posted usage is its own log: append-only entries with who posted them."""
STATE_OF = {
    "/accounts/{account}/overrides/{name}": "/accounts/{account}/overrides",
    "/accounts/{account}/keys/{key}/overrides/{name}": "/accounts/{account}/overrides",
}
"""Where the ETag of an address comes from, if not from itself."""


@pytest.fixture
async def world(
    admin: Client, pool: Pool, accounts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr(policies_api, "IN_USE_WITHIN_S", 0)
    return World(admin, await make_ids(pool, accounts, tmp_path / "policies"))


async def described(world: World) -> dict[str, Any]:
    """The operations of the served description, by address."""
    document = await (await world.admin.get("/openapi.json")).json()
    return {
        f"{method.upper()} {path.removeprefix('/admin/v1')}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def changes(pool: Pool) -> list[Change]:
    return await AuditLog(pool).page(AuditQuestion(limit=1000))


async def test_no_address_is_left_out(world: World) -> None:
    assert sorted(await described(world)) == sorted(GOOD)


async def test_each_question_is_answered_and_changes_nothing(world: World, pool: Pool) -> None:
    noted = len(await changes(pool))
    for address in GOOD.keys() - set(CHANGES):
        answered = await world.send(address)
        assert answered.status == 200, (address, await answered.text())
    assert len(await changes(pool)) == noted


@pytest.mark.parametrize("address", CHANGES)
async def test_each_change_is_made_and_in_the_audit_log(world: World, pool: Pool, address: str) -> None:
    before = {one.id for one in await changes(pool)}
    answered = await world.send(address)
    described_status = next(iter((await described(world))[address]["responses"]))
    assert str(answered.status) == described_status, await answered.text()
    noted = [one for one in await changes(pool) if one.id not in before]
    if address in NOT_IN_THE_AUDIT_LOG:
        entries = await (await world.send("GET /usage/entries")).json()
        assert {one["author"] for one in entries["data"]} == {"bootstrap"}
        return
    assert noted
    for one in noted:
        assert (one.actor, one.request_id) == ("bootstrap", answered.headers["Tollway-Request-Id"])
        assert one.before != one.after
        kind = one.action.partition(".")[2]
        assert (one.before is None, one.after is None) == (kind == "created", kind == "deleted")


@pytest.mark.parametrize("address", [one for one in CHANGES if one.startswith("POST")])
async def test_each_post_may_be_repeated(world: World, pool: Pool, address: str) -> None:
    parameters = (await described(world))[address]["parameters"]
    assert "Idempotency-Key" in {one["name"] for one in parameters}
    headers = {"Idempotency-Key": "once"}
    first = await world.send(address, headers=headers)
    noted = len(await changes(pool))
    again = await world.send(address, headers=headers)
    assert (again.status, await again.read()) == (first.status, await first.read())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers.get("Location") == first.headers.get("Location")
    assert len(await changes(pool)) == noted
    other = await world.send(address, {"other": 1}, headers)
    assert (other.status, (await other.json())["code"]) == (409, "idempotency_key_reused")
    two = await world.send(address, headers={"Idempotency-Key": ""})
    assert (two.status, (await two.json())["code"]) == (400, "bad_idempotency_key")


@pytest.mark.parametrize("address", UPDATES)
async def test_each_update_heeds_what_was_seen(world: World, pool: Pool, address: str) -> None:
    operation = (await described(world))[address]
    assert "412" in operation["responses"]
    assert "If-Match" in {one["name"] for one in operation["parameters"]}
    method, _, path = address.partition(" ")
    seen = (await world.send(f"GET {STATE_OF.get(path, path)}")).headers["ETag"]
    noted = len(await changes(pool))
    stale = await world.send(address, headers={"If-Match": f'"{"0" * 24}"'})
    assert (stale.status, (await stale.json())["code"]) == (412, "precondition_failed")
    assert len(await changes(pool)) == noted
    good = await world.send(address, headers={"If-Match": f'"other", {seen}'})
    assert good.status == 200
    assert len(await changes(pool)) > noted
    if method != "DELETE":
        late = await world.send(address, headers={"If-Match": seen})
        assert late.status == 412, "somebody was faster"


HARDENED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


async def test_every_answer_has_the_headers_that_keep_browsers_out(world: World, stranger: Client) -> None:
    for address in sorted(GOOD):
        answers = [await world.send(address), await world.send(address, {"surprise": 1})]
        answers.append(await World(stranger, world.ids).send(address))
        assert answers[-1].status == 401
        for one in answers:
            assert {name: one.headers.get(name) for name in HARDENED} == HARDENED, (address, one.status)
            assert "Server" not in one.headers


LISTS = [
    "GET /accounts",
    "GET /accounts/{account}/overrides",
    "GET /accounts/{account}/keys",
    "GET /accounts/{account}/members",
    "GET /accounts/{account}/invitations",
    "GET /usage",
    "GET /usage/events",
    "GET /usage/entries",
    "GET /quota-events",
    "GET /tokens",
    "GET /audit",
    "GET /policies/history",
    "GET /workers",
    "GET /upstreams",
]
ONLY_POINTERS = {"limit", "after", "before"}


async def test_every_list_is_known_to_be_one(world: World) -> None:
    document = await (await world.admin.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    lists = []
    for address, operation in (await described(world)).items():
        schema = (
            operation["responses"]["200"]["content"]["application/json"]["schema"]
            if address[0] == "G"
            else {}
        )
        told = schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
        if "data" in told.get("properties", {}):
            lists.append(address)
    assert sorted(lists) == sorted(LISTS)


async def test_each_list_comes_in_pages_and_can_be_narrowed(world: World, pool: Pool, accounts: Any) -> None:
    await accounts.create_account("Another", "free")
    await accounts.create_key(world.ids["account"])
    for number in (1, 2):
        await world.send("POST /usage", {**dict(GOOD["POST /usage"] or {}), "id": f"e-{number}"})
        await world.send("POST /tokens")
        await world.send("POST /accounts/{account}/invitations", {"email": f"p{number}@example.com"})
        await pool.execute(
            "INSERT INTO policy_history (gateway, digest, how, actor) VALUES ($1, $2, 'start', 'x')",
            f"host-{number}",
            "ab" * 32,
        )
    operations = await described(world)
    for address in LISTS:
        parameters = operations[address]["parameters"]
        await turn_pages(world, address, {one["name"] for one in parameters if one["in"] == "query"})


async def turn_pages(world: World, address: str, names: set[str]) -> None:
    (cursor,) = names & {"after", "before"}
    assert "limit" in names
    assert names - ONLY_POINTERS, f"{address}: there is something to choose by"
    whole = (await (await world.send(address)).json())["data"]
    paged: list[Any] = []
    query = "?limit=1"
    while True:
        page = await (await world.send(address, query=query)).json()
        assert len(page["data"]) <= 1
        paged += page["data"]
        if page["next"] is None:
            break
        query = f"?limit=1&{cursor}={page['next']}"
    assert paged == whole, address
    for wrong in (f"{cursor}=rubbish%00", "limit=0", "limit=many", "wishes=1"):
        answered = await world.send(address, query=f"?{wrong}")
        assert answered.status in {404, 422}, (address, wrong)
