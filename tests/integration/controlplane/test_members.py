"""Members of an account, their roles, its keys, and what they see of its usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.accounts.store import Accounts
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool

from .books import book
from .people import AUTH, PASSWORD, Visitor

TODAY = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


async def invite(owner: Visitor, email: str, role: str) -> Visitor:
    """Somebody new who accepted and logged in."""
    await owner.ok("POST", "/invitations", {"email": email, "role": role}, status=201)
    guest = owner.elsewhere(email)
    accepted = {"token": await owner.post.token(email), "password": PASSWORD, "name": email[:3]}
    await guest.ok("POST", "/invitations/accept", accepted)
    await guest.log_in()
    return guest


async def member_id(owner: Visitor, email: str) -> str:
    members = (await owner.ok("GET", "/members"))["data"]
    return next(str(one["id"]) for one in members if one["email"] == email)


async def test_the_life_of_a_key(owner: Visitor, accounts: Accounts) -> None:
    made = await owner.ok("POST", "/keys", {"name": "ci", "mode": "test"}, status=201)
    assert made["secret"].startswith("tw_test_")
    rotated = await owner.ok("POST", f"/keys/{made['id']}/rotate", {"overlap_s": 60}, status=201)
    listed = (await owner.ok("GET", "/keys"))["data"]
    assert [one["id"] for one in listed] == [made["id"], rotated["id"]]
    assert not any("secret" in one for one in listed)
    assert (await owner.refused("POST", f"/keys/{made['id']}/rotate"))[:2] == (409, "conflict")
    revoked = await owner.ok("POST", f"/keys/{rotated['id']}/revoke")
    assert revoked["revoked_at"] is not None
    assert (await accounts.get_key(rotated["id"])).revoked_at is not None
    assert (await owner.refused("POST", "/keys", {"only_routes": ["gone"]}))[:2] == (422, "invalid")


async def test_keys_of_others_are_not_there(owner: Visitor, accounts: Accounts) -> None:
    theirs = await accounts.create_account("Theirs", "free")
    key, _ = await accounts.create_key(theirs.public_id)
    nobodys = "key_00000000000000000000"
    for action in ("revoke", "rotate"):
        answers = [
            (await owner.refused("POST", f"/keys/{one}/{action}"))[2] for one in (key.public_id, nobodys)
        ]
        assert answers[0]["detail"] == answers[1]["detail"]
    assert (await accounts.get_key(key.public_id)).revoked_at is None
    assert (await owner.refused("GET", "/keys", account=theirs.public_id))[:2] == (404, "not_found")
    assert (await owner.refused("GET", "/keys", account="acct_0"))[:2] == (404, "not_found")


async def test_what_each_role_may_do(owner: Visitor) -> None:
    others = {
        role: await invite(owner, f"{role}@example.com", role) for role in ("admin", "member", "billing")
    }
    attempts = [
        ("GET", "/members", None),
        ("GET", "/keys", None),
        ("POST", "/keys", {}),
        ("POST", "/invitations", {"email": "new@example.com", "role": "member"}),
        ("POST", "/invitations", {"email": "boss@example.com", "role": "owner"}),
    ]
    seen = {
        role: [(await one.ask(method, path, body)).status for method, path, body in attempts]
        for role, one in others.items()
    }
    assert seen == {
        "admin": [200, 200, 201, 201, 403],
        "member": [200, 200, 201, 403, 403],
        "billing": [200, 403, 403, 403, 403],
    }
    status, code, document = await others["billing"].refused("GET", "/keys")
    assert (status, code, document["required_right"], document["role"]) == (
        403,
        "forbidden",
        "keys:read",
        "billing",
    )


async def test_only_owners_decide_about_owners(owner: Visitor) -> None:
    admin = await invite(owner, "admin@example.com", "admin")
    owners = await member_id(owner, owner.email)
    admins = await member_id(owner, admin.email)
    assert (await admin.refused("PATCH", f"/members/{owners}", {"role": "member"}))[:2] == (403, "forbidden")
    assert (await admin.refused("PATCH", f"/members/{admins}", {"role": "owner"}))[:2] == (403, "forbidden")
    assert (await admin.refused("DELETE", f"/members/{owners}"))[:2] == (403, "forbidden")
    changed = await owner.ok("PATCH", f"/members/{admins}", {"role": "owner"})
    assert changed["role"] == "owner"


async def test_an_account_keeps_an_owner(owner: Visitor) -> None:
    own = await member_id(owner, owner.email)
    assert (await owner.refused("DELETE", f"/members/{own}"))[:2] == (409, "conflict")
    assert (await owner.refused("PATCH", f"/members/{own}", {"role": "admin"}))[:2] == (409, "conflict")
    await owner.ok("PATCH", f"/members/{own}", {"role": "owner"})
    second = await invite(owner, "second@example.com", "owner")
    await owner.ok("DELETE", f"/members/{own}")
    assert (await owner.refused("GET", "/members"))[:2] == (404, "not_found")
    assert len((await second.ok("GET", "/members"))["data"]) == 1


async def test_who_is_taken_away_is_gone_at_once_and_anybody_may_leave(owner: Visitor) -> None:
    one = await invite(owner, "one@example.com", "member")
    two = await invite(owner, "two@example.com", "billing")
    ids = [await member_id(owner, email) for email in (one.email, two.email)]
    assert (await one.refused("DELETE", f"/members/{ids[1]}"))[:2] == (403, "forbidden")
    await owner.ok("DELETE", f"/members/{ids[0]}")
    assert (await one.refused("GET", "/keys"))[:2] == (404, "not_found")
    await two.ok("DELETE", f"/members/{ids[1]}")
    assert len((await owner.ok("GET", "/members"))["data"]) == 1
    assert (await owner.refused("DELETE", f"/members/{ids[0]}"))[:2] == (404, "not_found")


async def test_an_invitation_of_somebody_who_is_known_needs_no_password(owner: Visitor) -> None:
    guest = owner.elsewhere("guest@example.com")
    own = await guest.arrive()
    shared = (await owner.ok("GET", "/me"))["accounts"][0]["id"]
    await owner.ok("POST", "/invitations", {"email": "GUEST@example.com"}, status=201)
    token = {"token": await owner.post.token("GUEST@example.com")}
    await guest.ok("POST", "/invitations/accept", token)
    assert (await guest.refused("POST", "/invitations/accept", token))[:2] == (400, "bad_token")
    assert [one["id"] for one in (await guest.ok("GET", "/me"))["accounts"]] == [own, shared]
    status, _, document = await guest.refused("GET", "/keys")
    assert (status, document["errors"][0]["field"]) == (422, "Tollway-Account")
    await guest.ok("GET", "/keys", account=shared)
    assert (await owner.refused("POST", "/invitations", {"email": guest.email}))[:2] == (409, "conflict")


async def test_who_is_new_sets_a_password(owner: Visitor) -> None:
    made = await owner.ok("POST", "/invitations", {"email": "new@example.com"}, status=201)
    token = await owner.post.token("new@example.com")
    guest = owner.elsewhere("new@example.com")
    for sent in ({"token": token}, {"token": token, "password": "short"}):
        status, _, document = await guest.refused("POST", "/invitations/accept", sent)
        assert (status, document["errors"][0]["field"]) == (422, "password")
    assert [one["id"] for one in (await owner.ok("GET", "/invitations"))["data"]] == [made["id"]]
    await guest.ok("POST", "/invitations/accept", {"token": token, "password": PASSWORD})
    await guest.log_in()
    assert [one["role"] for one in (await guest.ok("GET", "/me"))["accounts"]] == ["member"]
    assert (await owner.ok("GET", "/invitations"))["data"] == []


async def test_an_invitation_can_be_withdrawn_and_replaced(owner: Visitor) -> None:
    await owner.ok("POST", "/invitations", {"email": "new@example.com"}, status=201)
    first = await owner.post.token("new@example.com")
    made = await owner.ok("POST", "/invitations", {"email": "new@example.com", "role": "admin"}, status=201)
    second = await owner.post.token("new@example.com")
    guest = owner.elsewhere("new@example.com")
    sent = {"token": first, "password": PASSWORD}
    assert (await guest.refused("POST", "/invitations/accept", sent))[:2] == (400, "bad_token")
    await owner.ok("DELETE", f"/invitations/{made['id']}")
    sent = {"token": second, "password": PASSWORD}
    assert (await guest.refused("POST", "/invitations/accept", sent))[:2] == (400, "bad_token")
    assert (await owner.refused("DELETE", f"/invitations/{made['id']}"))[:2] == (404, "not_found")


async def test_members_see_what_is_used(owner: Visitor, accounts: Accounts, pool: Pool) -> None:
    account = await accounts.get_account((await owner.ok("GET", "/me"))["accounts"][0]["id"])
    await book(pool, account.id, TODAY, calls=2)
    await book(pool, account.id, TODAY, calls=1, mode=Mode.TEST)
    headers = {"Authorization": f"Bearer {owner.session['access_token']}"}
    standing = await (await owner.portal.get("/api/v1/account", headers=headers)).json()
    assert (standing["account"]["id"], standing["key"]) == (account.public_id, None)
    assert standing["quotas"][0]["used"] == 2
    for query, calls in (("", 2), ("?mode=live", 2), ("?mode=test", 1)):
        usage = await (await owner.portal.get(f"/api/v1/usage{query}", headers=headers)).json()
        assert sum(row["quantity"] for row in usage["data"]) == calls


async def test_a_name_that_advertises_is_not_mailed(owner: Visitor, pool: Pool) -> None:
    await pool.execute("UPDATE accounts SET name = 'win at https://evil.example'")
    await owner.ok("POST", "/invitations", {"email": "new@example.com"}, status=201)
    assert "evil" not in (await owner.post.collect())[-1].text


async def test_what_is_sent_again_with_its_key_is_done_once(owner: Visitor, pool: Pool) -> None:
    keyed = {"headers": {"Idempotency-Key": "order-7"}}
    other = owner.elsewhere()  # the same person in another session
    await other.log_in()

    async def create(who: Visitor, body: object, **more: Any) -> tuple[int, dict[str, Any], bool]:
        headers = {"Authorization": f"Bearer {who.session['access_token']}", **more.get("headers", {})}
        answer = await who.portal.post(AUTH + "/keys", json=body, headers=headers)
        return answer.status, await answer.json(), "Idempotent-Replayed" in answer.headers

    status, made, replayed = await create(owner, {"name": "ci"}, **keyed)
    assert (status, replayed) == (201, False)
    assert await create(other, {"name": "ci"}, **keyed) == (201, made, True), "with its secret"
    status, refused, _ = await create(owner, {"name": "cd"}, **keyed)
    assert (status, refused["code"]) == (409, "idempotency_key_reused")
    stranger = owner.elsewhere("eve@example.com")
    await stranger.arrive()
    status, theirs, replayed = await create(stranger, {"name": "ci"}, **keyed)
    assert (status, replayed) == (201, False)
    assert theirs["id"] != made["id"]
    for bad in ("", "x" * 256, "\xe9"):
        status, refused, _ = await create(owner, {}, headers={"Idempotency-Key": bad})
        assert (status, refused["code"]) == (400, "bad_idempotency_key")
    assert len((await owner.ok("GET", "/keys"))["data"]) == 1
    kept = await pool.fetch("SELECT sealed FROM idempotent_answers")
    assert not any(made["secret"].encode() in row["sealed"] for row in kept)


async def test_an_invitation_sent_again_with_its_key_is_one_mail(owner: Visitor) -> None:
    headers = {"Authorization": f"Bearer {owner.session['access_token']}", "Idempotency-Key": "once"}
    body = {"email": "grace@example.com"}
    first, again = [
        await (await owner.portal.post(AUTH + "/invitations", json=body, headers=headers)).json()
        for _ in range(2)
    ]
    assert first == again
    assert len([one for one in await owner.post.collect() if one.recipient == body["email"]]) == 1
