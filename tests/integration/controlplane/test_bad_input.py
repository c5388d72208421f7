"""Whatever is wrong with what is sent, every operation says so, names the field, and changes nothing.

All that the served descriptions have is tried, so that an operation added tomorrow is tried as well.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientConnectionError

from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.controlplane.identity import Identity
from gateway.people.memberships import Memberships
from gateway.people.records import Person
from gateway.people.sessions import Sessions
from gateway.people.store import People
from gateway.people.tokens import new_id
from gateway.storage.postgres import Pool

from .conftest import Client
from .people import PASSWORD
from .test_names import GOOD

TEN_MEGABYTES = 10_000_000
NOBODY = {
    "account": "acct_" + "0" * 20, "key": "key_" + "0" * 20, "token": "tok_" + "0" * 20,
    "member": "member_" + "0" * 24, "invitation": "invitation_" + "0" * 24, "name": "nothing",
    "session": "session_" + "0" * 24,
}  # fmt: skip
WRONG: tuple[object, ...] = ([[]], {"a": [1]}, 3.5, "\0", True)
"""Of these at least one is of the wrong type for any field."""


@dataclass(frozen=True)
class Operation:
    """One operation as the served description has it."""

    method: str
    path: str
    fields: dict[str, dict[str, Any]]  # of its body
    good: dict[str, Any]  # a body that is in order
    headers: frozenset[str]
    has_body: bool

    @property
    def called(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Port:
    """A port, somebody who may do everything there, and what is in the database."""

    client: Client
    pool: Pool
    prefix: str
    ids: dict[str, str]

    async def operations(self) -> list[Operation]:
        document = await (await self.client.get("/openapi.json")).json()
        return [
            _operation(document, method, path, told)
            for path, operations in document["paths"].items()
            for method, told in operations.items()
            if path.startswith(self.prefix)
        ]

    async def ask(
        self, one: Operation, *, ids: dict[str, str] | None = None, headers: Any = None, **sent: Any
    ) -> tuple[int, dict[str, Any]]:
        address = one.path.format(**(ids or self.ids))
        answer = await self.client.request(one.method, address, headers=headers, **sent)
        raw = await answer.read()
        is_problem = answer.headers.get("Content-Type") == "application/problem+json"
        return answer.status, json.loads(raw) if is_problem else {}

    async def everything(self) -> dict[str, list[str]]:
        """All rows of all tables."""
        names = await self.pool.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class AS c "
            "WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        )
        return {
            row["name"]: sorted(
                one["row"]
                for one in await self.pool.fetch(f"SELECT to_jsonb(t)::text AS row FROM {row['name']} AS t")
            )
            for row in names
        }


def _operation(document: dict[str, Any], method: str, path: str, told: dict[str, Any]) -> Operation:
    schema = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    fields = schema.get("properties", {})
    good = {
        name: GOOD.get(name, 1 if fields[name].get("type") == "integer" else "x")
        for name in schema.get("required", ())
    }
    headers = frozenset(one["name"] for one in told.get("parameters", ()) if one.get("in") == "header")
    return Operation(method.upper(), path, fields, good, headers, "requestBody" in told)


@pytest.fixture
async def account(accounts: Accounts) -> str:
    made = await accounts.create_account("Acme", "free")
    return made.public_id


@pytest.fixture
async def ada(accounts: Accounts, account: str, pool: Pool, identity: Identity) -> Person:
    """Who owns the account."""
    person = await People(pool).create(
        new_id("person"), "ada@example.com", "Ada", await identity.passwords.hash(PASSWORD)
    )
    assert person is not None
    await Memberships(pool).add(person, (await accounts.get_account(account)).id, "owner")
    return person


@pytest.fixture
async def operators(admin: Client, accounts: Accounts, account: str, pool: Pool, ada: Person) -> Port:
    key, _ = await accounts.create_key(account)
    await admin.post("/admin/v1/tokens", json={"name": "x", "scopes": ["accounts:read"]})
    await admin.put(f"/admin/v1/accounts/{account}/overrides/monthly", json={"amount": 5})
    made = await admin.post(f"/admin/v1/accounts/{account}/invitations", json={"email": "eve@example.com"})
    invitation = (await made.json())["id"]
    token = (await (await admin.get("/admin/v1/tokens")).json())["data"][0]["id"]
    (member,) = await Memberships(pool).of_person(ada)
    ids = {**NOBODY, "account": account, "key": key.public_id, "token": token, "invitation": invitation}
    ids["member"] = member.public_id
    return Port(admin, pool, "/admin/v1", {**ids, "name": "monthly"})


@pytest.fixture
async def customers(
    portal: Client,
    accounts: Accounts,
    account: str,
    pool: Pool,
    identity: Identity,
    clock: ManualClock,
    ada: Person,
) -> Port:
    key, _ = await accounts.create_key(account)
    opened = await Sessions(pool).begin(ada)
    token = await identity.access_token(opened.person, opened.session, clock)
    portal.session.headers["Authorization"] = f"Bearer {token}"
    (member,) = await Memberships(pool).of_account(account)
    ids = {**NOBODY, "key": key.public_id, "member": member.public_id, "session": opened.session}
    return Port(portal, pool, "/api/v1", ids)


@pytest.fixture(params=["operators", "customers"])
def either(request: pytest.FixtureRequest, operators: Port, customers: Port) -> Port:
    """Each of the two ports."""
    return operators if request.param == "operators" else customers


@pytest.fixture
async def port(either: Port) -> AsyncIterator[Port]:
    """The same; what is in the database stays as it was."""
    before = await either.everything()
    yield either
    after = await either.everything()
    assert {name for name, rows in after.items() if rows != before[name]} == set()


async def test_a_body_of_ten_megabytes_is_413(port: Port) -> None:
    tried = 0
    for one in await port.operations():
        if not one.has_body:
            continue
        large = json.dumps({**one.good, "name": "x" * TEN_MEGABYTES}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            status, problem = await port.ask(one, data=io.BytesIO(large), headers=headers)
        except ClientConnectionError:
            continue  # cut while it was sending
        tried += 1
        assert (status, problem["code"]) == (413, "body_too_large"), one.called
    assert tried > 5


async def test_a_field_that_is_unknown_is_named(port: Port) -> None:
    for one in await port.operations():
        if one.has_body:
            status, problem = await port.ask(one, json={**one.good, "surprise": 1})
            assert status == 422, (one.called, problem)
            assert "surprise" in {found["field"] for found in problem["errors"]}, one.called


async def test_a_value_of_the_wrong_type_is_named(port: Port) -> None:
    for one in await port.operations():
        for name, schema in one.fields.items():
            refused = 0
            for bad in WRONG:
                if _may_be(schema, bad):
                    continue
                status, problem = await port.ask(one, json={**one.good, name: bad})
                assert status == 422, (one.called, name, bad, problem)
                named = {found["field"].partition(".")[0] for found in problem["errors"]}
                assert name in named, (one.called, name, bad, problem)
                refused += 1
            assert refused, (one.called, name)


def _may_be(schema: dict[str, Any], value: object) -> bool:
    """Whether a value might be in order by its type alone."""
    kinds = schema.get("anyOf", [schema])
    types = {kind.get("type") for kind in kinds} | (
        {None} if any("$ref" in kind for kind in kinds) else set()
    )
    as_json = {list: "array", dict: "object", float: "number", str: "string", bool: "boolean"}[type(value)]
    return as_json in types or (None in types and as_json in ("object", "array", "string"))


@pytest.mark.parametrize(
    ("case", "raw", "status"),
    [
        ("a list", b"[]", 422),
        ("a text", b'"x"', 422),
        ("null", b"null", 422),
        ("no JSON", b"{", 400),
        ("no UTF-8", b'{"a": "\xff"}', 400),
        ("a name twice", b'{"name": "a", "name": "b"}', 400),
        ("deep", b"[" * 100_000, 400),
    ],
)
async def test_a_body_that_is_no_object_is_refused(port: Port, case: str, raw: bytes, status: int) -> None:
    for one in await port.operations():
        if one.has_body:
            told = await port.ask(one, data=raw, headers={"Content-Type": "application/json"})
            assert told[0] == status, (case, one.called, told)
            told = await port.ask(one, data=raw, headers={"Content-Type": "text/plain"})
            assert told[0] == 415, (case, one.called, told)


async def test_ids_of_nothing_are_404(port: Port) -> None:
    tried = set()
    for one in await port.operations():
        for name, nobody in NOBODY.items():
            if "{" + name + "}" not in one.path or (one.method, "/overrides/" in one.path) == ("PUT", True):
                continue  # an override that is put is judged as a whole first, and made
            ids = {**port.ids, name: nobody}
            sent = {"json": one.good} if one.has_body else {}
            status, problem = await port.ask(one, ids=ids, **sent)
            assert (status, problem.get("code")) == (404, "not_found"), (one.called, name, problem)
            tried.add(name)
    assert len(tried) >= 3


async def test_a_change_of_what_has_changed_since_is_412(operators: Port) -> None:
    before = await operators.everything()
    tried = 0
    for one in await operators.operations():
        elsewhere = one.path.endswith("/policies") or "/keys/{key}/overrides" in one.path
        if "If-Match" in one.headers and not elsewhere:  # these have tests of their own
            body = {**one.good, "amount": 5} if "amount" in one.fields else one.good
            status, problem = await operators.ask(one, json=body, headers={"If-Match": '"stale"'})
            assert (status, problem["code"]) == (412, "precondition_failed"), one.called
            tried += 1
    assert tried
    assert await operators.everything() == before


async def test_an_idempotency_key_that_came_with_another_request_is_409(either: Port) -> None:
    port, headers = either, {"Idempotency-Key": "order-7"}
    first, body = "/admin/v1/accounts", {"name": "Another", "tier": "free"}
    if port.prefix == "/api/v1":
        first, body = "/api/v1/auth/keys", {"name": "laptop"}
    assert (await port.client.post(first, json=body, headers=headers)).status == 201
    before = await port.everything()
    tried = set()
    for one in await port.operations():
        if "Idempotency-Key" in one.headers:
            status, problem = await port.ask(one, json=one.good, headers=headers)
            assert (status, problem.get("code")) == (409, "idempotency_key_reused"), (one.called, problem)
            tried.add(one.called)
    assert len(tried) >= 4, tried
    assert await port.everything() == before
