"""Operators and the members of accounts: inviting the first owner, roles, and leaving."""

from __future__ import annotations

import pytest

from gateway.accounts.store import Accounts
from gateway.operators.scopes import allows
from gateway.storage.postgres import Pool

from .conftest import Client
from .people import PASSWORD, Post, Visitor

NOBODY = "acct_00000000000000000000"


@pytest.fixture
async def account(accounts: Accounts) -> str:
    """An account that an operator made: nobody belongs to it."""
    return (await accounts.create_account("Acme", "free")).public_id


async def invited(admin: Client, post: Post, portal: Client, path: str, **body: str) -> Visitor:
    """Somebody whom the operator invited, who accepted and logged in."""
    answer = await admin.post(f"{path}/invitations", json=body)
    assert answer.status == 201, await answer.text()
    guest = Visitor(portal, post, body["email"])
    token = await post.token(body["email"])
    await guest.ok("POST", "/invitations/accept", {"token": token, "password": PASSWORD})
    await guest.log_in()
    return guest


async def test_an_account_that_an_operator_made_gets_its_first_owner(
    admin: Client, portal: Client, post: Post, account: str, pool: Pool
) -> None:
    path = f"/admin/v1/accounts/{account}"
    assert (await (await admin.get(f"{path}/members")).json()) == {"data": [], "next": None}
    owner = await invited(admin, post, portal, path, email="ada@example.com")
    assert (await owner.ok("GET", "/me"))["accounts"][0] == {"id": account, "name": "Acme", "role": "owner"}
    await owner.ok("POST", "/keys", {"name": "laptop"}, status=201)
    listed = (await (await admin.get(f"{path}/members")).json())["data"]
    assert [(one["email"], one["role"]) for one in listed] == [("ada@example.com", "owner")]
    assert (await (await admin.get(f"{path}/invitations")).json()) == {"data": [], "next": None}
    noted = await pool.fetch("SELECT actor, after::text FROM audit_log WHERE action = 'invitation.created'")
    assert [row["actor"] for row in noted] == ["bootstrap"]
    assert "ada@example.com" not in noted[0]["after"]


async def test_members_are_changed_and_removed_but_for_the_last_owner(
    admin: Client, portal: Client, post: Post, account: str
) -> None:
    path = f"/admin/v1/accounts/{account}"
    await invited(admin, post, portal, path, email="ada@example.com")
    grace = await invited(admin, post, portal, path, email="grace@example.com", role="billing")
    ids = {one["email"]: one["id"] for one in (await (await admin.get(f"{path}/members")).json())["data"]}
    last = f"{path}/members/{ids['ada@example.com']}"
    assert (await admin.delete(last)).status == 409
    assert (await admin.patch(last, json={"role": "member"})).status == 409
    other = f"{path}/members/{ids['grace@example.com']}"
    assert (await (await admin.patch(other, json={"role": "owner"})).json())["role"] == "owner"
    assert (await admin.delete(last)).status == 200
    assert (await grace.ok("GET", "/members"))["data"][0]["role"] == "owner"
    assert (await admin.delete(last)).status == 404


async def test_an_invitation_is_taken_back(admin: Client, portal: Client, post: Post, account: str) -> None:
    path = f"/admin/v1/accounts/{account}/invitations"
    made = await (await admin.post(path, json={"email": "ada@example.com"})).json()
    token = await post.token("ada@example.com")
    assert [one["id"] for one in (await (await admin.get(path)).json())["data"]] == [made["id"]]
    assert (await admin.delete(f"{path}/{made['id']}")).status == 200
    visitor = Visitor(portal, post)
    sent = {"token": token, "password": PASSWORD}
    assert (await visitor.refused("POST", "/invitations/accept", sent))[:2] == (400, "bad_token")


async def test_what_can_not_be_is_refused_and_sends_nothing(
    admin: Client, portal: Client, post: Post, account: str
) -> None:
    path = f"/admin/v1/accounts/{account}"
    await invited(admin, post, portal, path, email="ada@example.com")
    sent = len(await post.collect())
    cases: list[tuple[str, dict[str, object], int, str]] = [
        (path, {"email": "ADA@example.com"}, 409, ""),  # a member already
        (path, {"email": "ada\r\nBcc: eve@example.com"}, 422, "email"),
        (path, {"email": 7}, 422, "email"),
        (path, {}, 422, "email"),
        (path, {"email": "eve@example.com", "role": "king"}, 422, "role"),
        (path, {"email": "eve@example.com", "mood": "good"}, 422, "mood"),
        (f"/admin/v1/accounts/{NOBODY}", {"email": "eve@example.com"}, 404, ""),
    ]
    for where, body, status, field in cases:
        answer = await admin.post(f"{where}/invitations", json=body)
        told = await answer.json()
        assert (answer.status, [one["field"] for one in told.get("errors", [])]) == (
            status,
            [field] if field else [],
        ), body
    for method, where in [
        ("GET", "members"),
        ("GET", "invitations"),
        ("DELETE", "members/member_000000000000000000000000"),
    ]:
        assert (await admin.request(method, f"/admin/v1/accounts/{NOBODY}/{where}")).status == 404
    assert len(await post.collect()) == sent


async def test_an_invitation_that_is_sent_again_with_its_key_makes_one_mail(
    admin: Client, post: Post, account: str
) -> None:
    path, headers = f"/admin/v1/accounts/{account}/invitations", {"Idempotency-Key": "once"}
    answers = [await admin.post(path, json={"email": "ada@example.com"}, headers=headers) for _ in range(2)]
    first, second = [await one.json() for one in answers]
    assert first == second
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(await post.collect()) == 1


def test_rights_over_accounts_are_none_over_their_members() -> None:
    assert not allows(["accounts:write"], "members:write")
    assert allows(["members:write"], "members:read")
