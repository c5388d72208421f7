"""Whoever is up to no good at the portal: with somebody's old password, link or id, at the worst moment."""

from __future__ import annotations

from base64 import b32decode
from typing import Any

import asyncpg
import pytest

from gateway.accounts.store import Accounts
from gateway.people import totp
from gateway.people.passwords import Passwords
from gateway.storage.postgres import Pool

from .conftest import NOW_US
from .people import AUTH, PASSWORD, Post, Visitor
from .test_members import invite

OTHER = "another three words"


async def test_links_that_set_a_password_end_when_it_is_changed(owner: Visitor, post: Post) -> None:
    """Somebody read the mailbox a while ago and asked for a link."""
    await owner.ok("POST", "/password/forgot", {"email": owner.email}, status=202)
    link = await post.token(owner.email)
    await owner.ok("POST", "/password/change", {"current_password": PASSWORD, "password": OTHER})
    status, code, _ = await owner.refused("POST", "/password/reset", {"token": link, "password": PASSWORD})
    assert (status, code) == (400, "bad_token")


@pytest.mark.parametrize("action", ["login", "password/change", "totp/disable"])
async def test_a_password_that_is_reset_at_the_same_moment_proves_nothing(
    owner: Visitor, post: Post, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """It was right when it was compared; the owner resets it before the answer. The intruder gets nothing."""
    await owner.ok("POST", "/password/forgot", {"email": owner.email}, status=202)
    link = await post.token(owner.email)
    matches = Passwords.matches
    body = {"email": owner.email, "password": PASSWORD}
    if action != "login":
        body = {"password": OTHER, "current_password": PASSWORD}
    if action == "totp/disable":
        body = {"password": PASSWORD, "code": "000000"}

    async def slow(self: Passwords, stored: str | None, password: str) -> bool:
        right = await matches(self, stored, password)
        monkeypatch.setattr(Passwords, "matches", matches)
        await owner.elsewhere().ok(
            "POST", "/password/reset", {"token": link, "password": "four mild words on"}
        )
        return right

    monkeypatch.setattr(Passwords, "matches", slow)
    status, code, _ = await owner.refused("POST", f"/{action}", body)
    assert (status, code) == (401, "wrong_credentials")
    owner.password = "four mild words on"
    await owner.log_in()
    assert len((await owner.ok("GET", "/sessions"))["data"]) == 1


async def test_an_admin_does_not_replace_the_invitation_of_an_owner(owner: Visitor) -> None:
    admin = await invite(owner, "grace@example.com", "admin")
    made = await owner.ok("POST", "/invitations", {"email": "Eve@example.com", "role": "owner"}, status=201)
    body = {"email": "eve@example.com", "role": "member"}
    status, code, _ = await admin.refused("POST", "/invitations", body)
    assert (status, code) == (403, "forbidden")
    assert (await owner.ok("GET", "/invitations"))["data"] == [made]
    await owner.ok("POST", "/invitations", body, status=201)


async def test_an_id_of_another_account_begins_no_page(owner: Visitor, accounts: Accounts) -> None:
    theirs, _ = await accounts.create_key((await accounts.create_account("Theirs", "free")).public_id)
    answers = []
    for after in (theirs.public_id, "key_" + "0" * 20):
        status, _, document = await owner.refused("GET", f"/keys?after={after}")
        answers.append((status, document["errors"]))
    assert answers[0] == answers[1]
    assert answers[0][0] == 422


async def test_asking_for_a_password_is_the_same_work_for_known_and_unknown(
    owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: the statements that Postgres executes."""
    statements: list[str] = []
    run: Any = vars(asyncpg.Connection)["_execute"]

    async def note(self: Any, query: str, *more: Any, **named: Any) -> Any:
        statements.append(" ".join(query.split())[:40])
        return await run(self, query, *more, **named)

    monkeypatch.setattr(asyncpg.Connection, "_execute", note)
    work = []
    for email in (owner.email, "nobody@example.com"):
        statements.clear()
        await owner.ok("POST", "/password/forgot", {"email": email}, status=202)
        work.append([one for one in statements if "mail_outbox SET" not in one])
    assert work[0] == work[1]
    work.clear()
    for email in (owner.email, "nobody@example.com"):
        statements.clear()
        await owner.refused("POST", "/login", {"email": email, "password": OTHER})
        work.append(list(statements))
    assert work[0] == work[1]


async def again(who: Visitor, path: str, body: object, key: str) -> tuple[int, dict[str, Any], bool]:
    headers = {"Authorization": f"Bearer {who.session['access_token']}", "Idempotency-Key": key}
    answer = await who.portal.post(AUTH + path, json=body, headers=headers)
    return answer.status, await answer.json(content_type=None), "Idempotent-Replayed" in answer.headers


async def test_what_is_shown_once_about_oneself_may_be_asked_for_again(owner: Visitor, pool: Pool) -> None:
    """The answer with the recovery codes got lost on its way."""
    proof = {"password": PASSWORD}
    first = await again(owner, "/totp/enable", proof, "offer")
    assert await again(owner, "/totp/enable", proof, "offer") == (200, first[1], True)
    secret = b32decode(first[1]["secret"])
    code = {"code": totp.code_at(secret, NOW_US // 1_000_000 // totp.STEP_S)}
    status, codes, replayed = await again(owner, "/totp/confirm", code, "codes")
    assert (status, len(codes["recovery_codes"]), replayed) == (200, 10, False)
    assert await again(owner, "/totp/confirm", code, "codes") == (200, codes, True)
    assert (await again(owner, "/totp/confirm", code, "another"))[0] == 409
    status, refused, _ = await again(owner, "/totp/confirm", {"code": "000000"}, "codes")
    assert (status, refused["code"]) == (409, "idempotency_key_reused")
    stranger = owner.elsewhere("eve@example.com")
    await stranger.arrive()
    assert (await again(stranger, "/totp/confirm", code, "codes"))[0] == 409, "nothing of somebody else's"
    kept = await pool.fetch("SELECT sealed FROM idempotent_answers")
    assert kept
    assert not any(codes["recovery_codes"][0].encode() in row["sealed"] for row in kept)


async def test_a_wrong_code_may_be_mended_under_the_same_key(owner: Visitor) -> None:
    _, offer, _ = await again(owner, "/totp/enable", {"password": PASSWORD}, "offer")
    assert (await again(owner, "/totp/confirm", {"code": "000000"}, "codes"))[0] == 401
    code = totp.code_at(b32decode(offer["secret"]), NOW_US // 1_000_000 // totp.STEP_S)
    assert (await again(owner, "/totp/confirm", {"code": code}, "codes"))[0] == 200
