"""People register, confirm their address, log in and out, and get back in."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestServer

from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.identity import Identity
from gateway.controlplane.portal import build_portal_app
from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.people import access_tokens, totp
from gateway.people.requests import forget_forever
from gateway.people.sessions import GRACE_S
from gateway.storage.postgres import Pool

from .conftest import ADMIN_TOKEN, make_identity
from .people import AUTH, PASSWORD, Post, Visitor

OTHER = "another three words"
DAY_S = 86_400


async def test_the_way_in_and_out(visitor: Visitor, accounts: Accounts) -> None:
    await visitor.register(name="Ada", account_name="Engines")
    assert (await visitor.refused("POST", "/login", {"email": visitor.email, "password": PASSWORD}))[0] == 401
    person = await visitor.verify()
    assert person["email"] == "ada@example.com"
    session = await visitor.log_in()
    assert (session["token_type"], session["expires_in"]) == ("Bearer", 600)
    me = await visitor.ok("GET", "/me")
    assert {**person, "recovery_codes_left": 0, "accounts": me["accounts"]} == me
    assert [(one["name"], one["role"]) for one in me["accounts"]] == [("Engines", "owner")]
    assert (await accounts.get_account(me["accounts"][0]["id"])).tier == "free"
    valid = await visitor.ok("POST", "/validate")
    assert valid["person"] == person["id"]
    await visitor.ok("POST", "/logout", {"refresh_token": session["refresh_token"]})
    assert (await visitor.refused("GET", "/me"))[:2] == (401, "unauthenticated")
    assert (await visitor.refused("POST", "/refresh", {"refresh_token": session["refresh_token"]}))[0] == 401


async def test_whether_an_address_is_known_shows_in_no_answer(visitor: Visitor, post: Post) -> None:
    await visitor.arrive()
    stranger = visitor.elsewhere("nobody@example.com")
    sent = len(await post.collect())
    for path in ("/register", "/password/forgot"):
        answers = []
        for one in (visitor, stranger):
            body = {"email": one.email} | ({"password": OTHER} if path == "/register" else {})
            response = await visitor.portal.post(AUTH + path, json=body)
            headers = {
                name: value for name, value in response.headers.items() if name != "Tollway-Request-Id"
            }
            answers.append((response.status, await response.read(), headers.pop("Date"), headers)[:2])
        assert answers[0] == answers[1]
    subjects = [(one.recipient, one.subject) for one in (await post.collect())[sent:]]
    assert subjects == [
        ("ada@example.com", "You are registered already"),
        ("nobody@example.com", "Confirm your mail address"),
        ("ada@example.com", "Set another password"),
    ]
    wrong = [
        await visitor.refused("POST", "/login", {"email": email, "password": OTHER})
        for email in (visitor.email, "nobody@example.com", "never@example.com")
    ]
    assert len({(status, code, document["detail"]) for status, code, document in wrong}) == 1


async def test_a_registration_belongs_to_its_password(visitor: Visitor, post: Post) -> None:
    """Who registers with somebody's address can not slip in a password that the owner then confirms."""
    await visitor.register()
    honest = await post.token(visitor.email)
    attacker = visitor.elsewhere()
    attacker.password = OTHER
    await attacker.register()
    slipped = await post.token(visitor.email)
    mine = {"token": slipped, "password": PASSWORD}
    status, code, document = await visitor.refused("POST", "/verify", mine)
    assert (status, code, document["errors"][0]["field"]) == (422, "invalid", "password"), (
        "not my registration"
    )
    await visitor.ok("POST", "/verify", {"token": honest, "password": PASSWORD}, status=201)
    theirs = {"token": slipped, "password": OTHER}
    assert (await visitor.refused("POST", "/verify", theirs))[:2] == (400, "bad_token")
    assert (await visitor.refused("POST", "/login", {"email": visitor.email, "password": OTHER}))[0] == 401
    await visitor.log_in()


async def test_the_address_is_the_same_in_any_case(visitor: Visitor) -> None:
    await visitor.arrive()
    shouting = visitor.elsewhere("ADA@EXAMPLE.COM")
    await shouting.log_in()
    assert (await shouting.ok("GET", "/me"))["email"] == "ada@example.com"


@pytest.mark.parametrize(
    ("case", "body", "fields"),
    [
        ("nothing", {}, {"email", "password"}),
        ("no address", {"email": "ada", "password": PASSWORD}, {"email"}),
        ("two addresses", {"email": "a@example.com, b@example.com", "password": PASSWORD}, {"email"}),
        ("a header", {"email": "a@example.com\r\nBcc: b@example.com", "password": PASSWORD}, {"email"}),
        ("a zero byte", {"email": "a\0@example.com", "password": PASSWORD}, {"email"}),
        ("a short password", {"email": "a@example.com", "password": "short"}, {"password"}),
        ("a common password", {"email": "a@example.com", "password": "Password123!"}, {"password"}),
        ("a password without end", {"email": "a@example.com", "password": "ab12" * 400}, {"password"}),
        (
            "a name with a line break",
            {"email": "a@example.com", "password": PASSWORD, "name": "A\r\nB"},
            {"name"},
        ),
        (
            "half a character",
            {"email": "a@example.com", "password": PASSWORD, "account_name": "\ud800"},
            {"account_name"},
        ),
        ("a tier", {"email": "a@example.com", "password": PASSWORD, "tier": "team"}, {"tier"}),
    ],
)
async def test_what_can_not_register(
    visitor: Visitor, post: Post, case: str, body: dict[str, str], fields: set[str]
) -> None:
    status, code, document = await visitor.refused("POST", "/register", body)
    assert (status, code) == (422, "invalid"), case
    assert {one["field"] for one in document["errors"]} == fields
    assert await post.collect() == []


async def test_tokens_of_mails_work_once_and_for_a_while(visitor: Visitor, post: Post, pool: Pool) -> None:
    await visitor.register()
    await pool.execute("UPDATE registrations SET expires_at = now()")
    token = {"token": await post.token(visitor.email), "password": PASSWORD}
    assert (await visitor.refused("POST", "/verify", token))[:2] == (400, "bad_token")
    await visitor.register()
    token = {"token": await post.token(visitor.email), "password": PASSWORD}
    await visitor.ok("POST", "/verify", token, status=201)
    assert (await visitor.refused("POST", "/verify", token))[:2] == (400, "bad_token")
    for garbage in ("", "x", token["token"][:-1], token["token"].replace("verify", "reset"), "\0"):
        sent = {"token": garbage, "password": PASSWORD}
        assert (await visitor.refused("POST", "/verify", sent))[:2] == (400, "bad_token")


async def test_a_forgotten_password(visitor: Visitor, post: Post) -> None:
    await visitor.arrive()
    await visitor.ok("POST", "/password/forgot", {"email": visitor.email}, status=202)
    token = await post.token(visitor.email)
    status, _, document = await visitor.refused(
        "POST", "/password/reset", {"token": token, "password": "short"}
    )
    assert (status, document["errors"][0]["field"]) == (422, "password")
    await visitor.ok("POST", "/password/reset", {"token": token, "password": OTHER})
    again = await visitor.refused("POST", "/password/reset", {"token": token, "password": PASSWORD})
    assert again[:2] == (400, "bad_token")
    assert (await visitor.refused("GET", "/me"))[0] == 401, "its sessions are over"
    assert (await visitor.refused("POST", "/login", {"email": visitor.email, "password": PASSWORD}))[0] == 401
    visitor.password = OTHER
    await visitor.log_in()
    assert (await post.collect())[-1].subject == "Your password was changed"


async def test_another_password_ends_all_other_sessions(visitor: Visitor) -> None:
    await visitor.arrive()
    elsewhere = visitor.elsewhere()
    await elsewhere.log_in()
    change = {"current_password": PASSWORD, "password": OTHER}
    wrong = await visitor.refused("POST", "/password/change", {**change, "current_password": OTHER})
    assert wrong[:2] == (401, "wrong_credentials")
    await visitor.ok("POST", "/password/change", change)
    await visitor.ok("GET", "/me")
    assert (await elsewhere.refused("GET", "/me"))[0] == 401


async def test_refresh_tokens_work_once_and_a_second_use_ends_the_session(
    visitor: Visitor, pool: Pool
) -> None:
    await visitor.arrive()
    stolen = {"refresh_token": visitor.session["refresh_token"]}
    bystander = visitor.elsewhere()
    await bystander.log_in()
    visitor.session = await visitor.ok("POST", "/refresh", stolen)
    await visitor.ok("GET", "/me")
    await let_pass(pool, GRACE_S + 1)
    assert (await visitor.refused("POST", "/refresh", stolen))[:2] == (401, "unauthenticated")
    assert (await visitor.refused("GET", "/me"))[0] == 401
    following = {"refresh_token": visitor.session["refresh_token"]}
    assert (await visitor.refused("POST", "/refresh", following))[0] == 401
    assert await pool.fetchval("SELECT count(*) FROM sessions WHERE ended_why = 'reuse'") == 1
    await bystander.ok("GET", "/me")


async def let_pass(pool: Pool, seconds: int) -> None:
    """As if all that was done with sessions had been done so much earlier."""
    for table, columns in (("sessions", ("created_at", "expires_at")), ("refresh_tokens", ("used_at",))):
        for column in columns:
            await pool.execute(f"UPDATE {table} SET {column} = {column} - interval '{seconds} s'")


async def refreshed(visitor: Visitor) -> dict[str, Any]:
    return await visitor.ok("POST", "/refresh", {"refresh_token": visitor.session["refresh_token"]})


async def test_all_uses_at_once_get_the_same_session_and_the_same_token(visitor: Visitor, pool: Pool) -> None:
    await visitor.arrive()
    answers = await asyncio.gather(*(refreshed(visitor) for _ in range(5)))
    assert len({one["refresh_token"] for one in answers}) == 1
    assert await pool.fetchval("SELECT count(*) FROM refresh_tokens") == 2, "one for the log-in, one after it"
    assert len((await visitor.ok("GET", "/sessions"))["data"]) == 1


async def test_an_answer_of_refresh_that_was_lost_can_be_had_again_for_a_moment(
    visitor: Visitor, pool: Pool
) -> None:
    await visitor.arrive()
    lost = await refreshed(visitor)
    await let_pass(pool, GRACE_S - 5)
    again = await refreshed(visitor)
    assert again["refresh_token"] == lost["refresh_token"]
    await let_pass(pool, 5)
    visitor.session, before = again, visitor.session
    visitor.session = await refreshed(visitor)
    await visitor.ok("GET", "/me")
    sent = {"refresh_token": before["refresh_token"]}
    assert (await visitor.refused("POST", "/refresh", sent))[0] == 401, "having it again gave it no more time"
    assert (await visitor.refused("GET", "/me"))[0] == 401


async def test_who_has_a_token_again_does_not_go_on_beside_its_owner(visitor: Visitor, pool: Pool) -> None:
    await visitor.arrive()
    thief = visitor.elsewhere()
    thief.session = visitor.session
    visitor.session = await refreshed(visitor)
    thief.session = await refreshed(thief)
    await let_pass(pool, 600)
    visitor.session = await refreshed(visitor)
    await let_pass(pool, 600)
    sent = {"refresh_token": thief.session["refresh_token"]}
    assert (await thief.refused("POST", "/refresh", sent))[0] == 401
    assert (await visitor.refused("GET", "/me"))[0] == 401
    assert await pool.fetchval("SELECT ended_why FROM sessions") == "reuse"


async def test_a_session_that_has_ended_is_not_had_again(visitor: Visitor) -> None:
    await visitor.arrive()
    used, visitor.session = visitor.session, await refreshed(visitor)
    await visitor.ok("POST", "/logout", {"refresh_token": visitor.session["refresh_token"]})
    sent = {"refresh_token": used["refresh_token"]}
    assert (await visitor.refused("POST", "/refresh", sent))[0] == 401


async def test_a_session_ends_at_its_age_however_often_it_was_gone_on_with(
    visitor: Visitor, pool: Pool
) -> None:
    await visitor.arrive()
    assert (visitor.session["expires_in"], visitor.session["refresh_expires_in"]) == (600, 30 * DAY_S)
    for day in range(15, 90, 15):
        await let_pass(pool, 15 * DAY_S)
        visitor.session = await refreshed(visitor)
        left_s = visitor.session["refresh_expires_in"]
        assert min(30, 90 - day) * DAY_S - 60 < left_s <= min(30, 90 - day) * DAY_S
    (session,) = (await visitor.ok("GET", "/sessions"))["data"]
    assert session["expires_at"] == session["ends_at"]
    await let_pass(pool, 15 * DAY_S - 90)
    last = await refreshed(visitor)
    assert last["expires_in"] == last["refresh_expires_in"] <= 90, (
        "nor is the access token said to last longer"
    )
    visitor.session = last
    await visitor.ok("GET", "/me")
    await let_pass(pool, 90)
    assert (await visitor.refused("GET", "/me"))[0] == 401
    _, code, problem = await visitor.refused("POST", "/refresh", {"refresh_token": last["refresh_token"]})
    assert (code, problem["detail"]) == ("unauthenticated", "This refresh token does not work. Log in again.")
    await visitor.log_in()
    await visitor.ok("GET", "/me")


async def test_a_shorter_age_holds_for_sessions_that_go_on(
    collaborators: Collaborators, visitor: Visitor, pool: Pool, clock: ManualClock, aiohttp_client: Any
) -> None:
    await visitor.arrive()
    await let_pass(pool, 2 * DAY_S)
    shorter = make_identity(pool, clock, session_days=2)
    visitor.portal = await aiohttp_client(TestServer(build_portal_app(collaborators, shorter, "1.2.3")))
    assert (await visitor.refused("GET", "/me"))[0] == 401
    await visitor.log_in()
    assert visitor.session["refresh_expires_in"] == 2 * DAY_S
    (session,) = (await visitor.ok("GET", "/sessions"))["data"]
    assert session["expires_at"] == session["ends_at"]


async def test_logging_out_everywhere(visitor: Visitor) -> None:
    await visitor.arrive()
    elsewhere = visitor.elsewhere()
    await elsewhere.log_in()
    token = visitor.session["refresh_token"]
    await visitor.ok("POST", "/logout", {"refresh_token": token, "everywhere": True})
    assert (await elsewhere.refused("GET", "/me"))[0] == 401
    await visitor.ok("POST", "/logout", {"refresh_token": "nonsense"})


async def test_an_access_token_ends_with_its_time(visitor: Visitor, clock: ManualClock) -> None:
    await visitor.arrive()
    clock.advance(access_tokens.LIFE_S + access_tokens.SKEW_S - 1)
    await visitor.ok("GET", "/me")
    clock.advance(1)
    assert (await visitor.refused("GET", "/me"))[0] == 401
    visitor.session = await visitor.ok(
        "POST", "/refresh", {"refresh_token": visitor.session["refresh_token"]}
    )
    await visitor.ok("GET", "/me")


async def test_nothing_but_an_access_token_that_works_opens(
    visitor: Visitor, portal_app: object, identity: Identity, clock: ManualClock, accounts: Accounts
) -> None:
    account = await visitor.arrive()
    _, key = await accounts.create_key(account)
    token, refresh = visitor.session["access_token"], visitor.session["refresh_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 32, "HS256", headers={"typ": "at+jwt"})
    foreign = await identity.access_token("person_" + "0" * 24, claims["sid"], clock)
    paths = [
        ("GET", "/me"),
        ("POST", "/validate"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", "/members"),
        ("POST", "/invitations"),
        ("POST", "/totp/enable"),
        ("POST", "/password/change"),
    ]
    answers = set()
    for method, path in paths:
        for secret in ("", "garbage", forged, foreign, key, ADMIN_TOKEN, refresh):
            visitor.session = {"access_token": secret}
            status, _, document = await visitor.refused(method, path, None if method == "GET" else {})
            del document["request_id"]
            answers.add((status, json.dumps(document)))
    assert len(answers) == 1


async def test_guessing_passwords_is_slowed_down_alike_for_known_and_unknown(
    visitor: Visitor, clock: ManualClock
) -> None:
    await visitor.register()
    await visitor.verify()
    for email in (visitor.email, "nobody@example.com"):
        body = {"email": email, "password": OTHER}
        codes = [(await visitor.refused("POST", "/login", body))[1] for _ in range(11)]
        assert codes == ["wrong_credentials"] * 10 + ["too_many_attempts"]
    response = await visitor.ask("POST", "/login", {"email": visitor.email, "password": PASSWORD})
    assert response.status == 429
    clock.advance(int(response.headers["Retry-After"]))
    await visitor.log_in()


async def test_guesses_sent_at_once_are_counted_as_well(visitor: Visitor) -> None:
    body = {"email": visitor.email, "password": OTHER}
    answers = await asyncio.gather(*(visitor.ask("POST", "/login", body) for _ in range(20)))
    assert sorted(one.status for one in answers) == [401] * 10 + [429] * 10


async def test_nobody_is_flooded_with_mails(visitor: Visitor, post: Post) -> None:
    body = {"email": visitor.email}
    statuses = [(await visitor.ask("POST", "/password/forgot", body)).status for _ in range(6)]
    assert statuses == [202] * 5 + [429]
    assert await post.collect() == [], "nobody has the address"


async def test_callers_behind_a_trusted_proxy_are_told_apart(visitor: Visitor) -> None:
    statuses = []
    for number in range(25):
        body, headers = {"email": f"{number}@example.com"}, {"X-Forwarded-For": f"192.0.2.{number % 2}"}
        response = await visitor.portal.post(f"{AUTH}/password/forgot", json=body, headers=headers)
        statuses.append(response.status)
    assert statuses == [202] * 25
    for number in range(25, 50):
        body, headers = (
            {"email": f"{number}@example.com"},
            {"X-Forwarded-For": f"192.0.2.{number}, 192.0.2.1"},
        )
        response = await visitor.portal.post(f"{AUTH}/password/forgot", json=body, headers=headers)
    assert response.status == 429


async def test_an_authenticator_app(visitor: Visitor, clock: ManualClock) -> None:
    await visitor.arrive()
    proof = {"password": PASSWORD}
    assert (await visitor.refused("POST", "/totp/enable", {"password": OTHER}))[1] == "wrong_credentials"
    offer = await visitor.ok("POST", "/totp/enable", proof)
    assert offer["uri"].startswith("otpauth://totp/Tollway:ada@example.com?secret=" + offer["secret"])
    secret = base64.b32decode(offer["secret"])

    def code() -> str:
        return totp.code_at(secret, clock.now_us() // 1_000_000 // totp.STEP_S)

    await visitor.elsewhere().log_in()  # not asked for yet
    assert (await visitor.refused("POST", "/totp/confirm", {"code": "000000"}))[:2] == (401, "wrong_code")
    used = code()
    recovery = (await visitor.ok("POST", "/totp/confirm", {"code": used}))["recovery_codes"]
    assert len(set(recovery)) == 10
    assert (await visitor.refused("POST", "/totp/enable", proof))[:2] == (409, "conflict")
    body = {"email": visitor.email, "password": PASSWORD}
    assert (await visitor.refused("POST", "/login", body))[:2] == (401, "second_factor_required")
    assert (await visitor.refused("POST", "/login", {**body, "code": used}))[1] == "wrong_code"
    clock.advance(totp.STEP_S)
    await visitor.log_in(code=code())
    assert (await visitor.refused("POST", "/login", {**body, "code": code()}))[1] == "wrong_code"
    await visitor.log_in(code=recovery[0].upper())
    assert (await visitor.refused("POST", "/login", {**body, "code": recovery[0]}))[1] == "wrong_code"
    me = await visitor.ok("GET", "/me")
    assert (me["totp"], me["recovery_codes_left"]) == (True, 9)
    clock.advance(totp.STEP_S)
    assert (await visitor.refused("POST", "/totp/disable", {**proof, "code": "1"}))[1] == "wrong_code"
    await visitor.ok("POST", "/totp/disable", {**proof, "code": code()})
    await visitor.log_in()


async def test_guessing_codes_is_slowed_down(visitor: Visitor) -> None:
    await visitor.arrive()
    await visitor.ok("POST", "/totp/enable", {"password": PASSWORD})
    codes = [(await visitor.refused("POST", "/totp/confirm", {"code": "000000"}))[1] for _ in range(11)]
    assert codes == ["wrong_code"] * 10 + ["too_many_attempts"]


async def test_who_may_register_is_for_the_operator_to_say(
    collaborators: Collaborators, pool: Pool, clock: ManualClock, aiohttp_client: object
) -> None:
    for changes, status in (
        ({"registration": False}, 403),
        ({"default_tier": "gone"}, 403),
        ({"default_tier": "team"}, 202),
    ):
        app = build_portal_app(collaborators, make_identity(pool, clock, **changes), "1")
        client = await aiohttp_client(TestServer(app))  # type: ignore[operator]  # a fixture without a type
        body = {"email": "ada@example.com", "password": PASSWORD}
        response = await client.post(f"{AUTH}/register", json=body)
        assert response.status == status
        if status == 403:
            assert json.loads(await response.read())["code"] == "registration_closed"


async def test_what_people_change_is_audited_and_holds_no_secret(
    visitor: Visitor, pool: Pool, clock: ManualClock
) -> None:
    await visitor.register(name="Ada", account_name="Engines")
    person = await visitor.verify()
    await visitor.log_in()
    await visitor.ok("POST", "/password/change", {"current_password": PASSWORD, "password": OTHER})
    await visitor.ok("POST", "/totp/enable", {"password": OTHER})
    made = await visitor.ok("POST", "/keys", {"name": "ci"}, status=201)
    await visitor.ok("POST", "/logout", {"refresh_token": visitor.session["refresh_token"]})
    changes = await AuditLog(pool).page(AuditQuestion(actor=f"person:{person['id']}"))
    assert [one.action for one in reversed(changes)] == [
        "person.created",
        "account.created",
        "membership.created",
        "session.created",
        "person.changed",
        "key.created",
        "session.changed",
    ]
    everything = json.dumps([[one.before, one.after] for one in changes])
    for kept in ("argon2", "hash", "sealed", "ada@example.com", "Ada", made["secret"]):
        assert kept not in everything
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE actor NOT LIKE 'person:%'") == 0


async def test_secrets_are_nowhere(
    visitor: Visitor, post: Post, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the tables nor in the log."""
    with caplog.at_level(logging.DEBUG):
        await visitor.arrive()
        await visitor.ok("POST", "/password/forgot", {"email": visitor.email}, status=202)
        waiting = await pool.fetch("SELECT encode(sealed, 'escape') AS text FROM mail_outbox")
        token = await post.token(visitor.email)
        await visitor.refused("POST", "/login", {"email": visitor.email, "password": OTHER})
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    kept = [str(waiting)]
    for table in tables:
        kept += [str(row) for row in await pool.fetch(f"SELECT t::text FROM {table['tablename']} AS t")]
    secrets = [PASSWORD, OTHER, token, visitor.session["refresh_token"], visitor.session["access_token"]]
    for secret in secrets:
        assert secret not in "".join(kept)
        assert secret not in caplog.text


async def test_what_is_over_is_forgotten(visitor: Visitor, pool: Pool) -> None:
    await visitor.arrive()
    await pool.execute("UPDATE sessions SET expires_at = now() - interval '31 days'")
    await visitor.register()
    await pool.execute("UPDATE registrations SET expires_at = now() - interval '1 second'")
    sweeping = asyncio.ensure_future(forget_forever(pool))
    while await pool.fetchval(
        "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM registrations)"
    ):
        await asyncio.sleep(0)
    sweeping.cancel()
    assert await pool.fetchval("SELECT count(*) FROM refresh_tokens") == 0


async def test_without_a_database_nobody_is_told_that_the_password_is_wrong(
    visitor: Visitor, pool: Pool
) -> None:
    pool.terminate()
    body = {"email": visitor.email, "password": PASSWORD}
    assert (await visitor.refused("POST", "/login", body))[:2] == (503, "database_unavailable")


async def test_sessions_are_listed_and_ended_one_by_one(visitor: Visitor, post: Post, pool: Pool) -> None:
    await visitor.arrive()
    phone = visitor.elsewhere()
    await phone.log_in()
    listed = (await visitor.ok("GET", "/sessions"))["data"]
    assert [one["current"] for one in listed] == [True, False]
    assert all(
        one["created_at"] <= one["refreshed_at"] < one["expires_at"] < one["ends_at"] for one in listed
    )
    await visitor.ok("DELETE", f"/sessions/{listed[1]['id']}")
    assert (await phone.refused("GET", "/me"))[:2] == (401, "unauthenticated")
    sent = {"refresh_token": phone.session["refresh_token"]}
    assert (await phone.refused("POST", "/refresh", sent))[:2] == (401, "unauthenticated")
    assert [one["id"] for one in (await visitor.ok("GET", "/sessions"))["data"]] == [listed[0]["id"]]
    noted = await AuditLog(pool).page(AuditQuestion(target=listed[1]["id"], limit=1))
    assert (noted[0].action, noted[0].actor[:7]) == ("session.changed", "person:")
    await visitor.ok("DELETE", f"/sessions/{listed[0]['id']}")
    assert (await visitor.refused("GET", "/me"))[:2] == (401, "unauthenticated")


async def test_sessions_of_others_are_not_there(visitor: Visitor) -> None:
    await visitor.arrive()
    own = (await visitor.ok("GET", "/sessions"))["data"][0]["id"]
    other = visitor.elsewhere("eve@example.com")
    await other.arrive()
    theirs, nobodys = [
        (await other.refused("DELETE", f"/sessions/{one}"))[2] for one in (own, "session_" + "0" * 24)
    ]
    assert (theirs["status"], theirs["detail"]) == (nobodys["status"], nobodys["detail"])
    assert theirs["status"] == 404
    await visitor.ok("GET", "/me")


async def test_members_make_a_hundred_keys_and_no_more(visitor: Visitor, accounts: Accounts) -> None:
    account = await visitor.arrive()
    keys = [(await accounts.create_key(account))[0].public_id for _ in range(99)]
    made = await visitor.ok("POST", "/keys", {}, status=201)
    status, code, document = await visitor.refused("POST", "/keys", {})
    assert (status, code) == (409, "conflict")
    assert "Revoke one" in document["detail"]
    await visitor.ok("POST", f"/keys/{made['id']}/rotate", {}, status=201)  # both work for a while
    for _ in range(99):  # an operator's
        await accounts.create_key(account)
    assert (await visitor.refused("POST", f"/keys/{keys[0]}/rotate", {}))[0] == 409
    await visitor.ok("POST", f"/keys/{keys[1]}/revoke", {})
    await visitor.ok("POST", f"/keys/{keys[0]}/rotate", {}, status=201)
