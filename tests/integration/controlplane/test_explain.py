"""Why a call is treated as it is, over real stores: as workers would decide it, and nothing is charged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from gateway.accounts.overrides import Overrides, limit_override
from gateway.accounts.store import Accounts
from gateway.admission.open_store import open_onlooker
from gateway.admission.trust import MARK
from gateway.clock import ManualClock
from gateway.controlplane.explanations import Question
from gateway.explain.past import why
from gateway.ledger.usage import EventRow
from gateway.model.enforcement import Enforcing, Switch
from gateway.model.policies import ConcurrencyLimit, Limit, OnFull
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.operators.enforcement import Switches
from gateway.storage.postgres import Pool
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.controlplane.books import book, request_id
from tests.integration.controlplane.conftest import POLICIES, Client, make_explainer
from tests.integration.controlplane.test_admin import account, ok, problem

ADDRESS = "/admin/v1/explain"


async def explain(admin: Client, path: str = "/open/1", **question: object) -> dict[str, Any]:
    return await ok(await admin.post(ADDRESS, json={"path": path, **question}))


@pytest.fixture
async def customer(admin: Client) -> dict[str, Any]:
    return await account(admin)


async def test_a_call_that_would_pass(admin: Client, customer: dict[str, Any]) -> None:
    key = await ok(await admin.post(f"/admin/v1/accounts/{customer['id']}/keys", json={"name": "k"}), 201)
    first = await explain(admin, key=key["id"])
    assert (first["verdict"], first["status"], first["code"]) == ("forward", None, None)
    assert first["route"]["name"] == "open"
    assert first["caller"]["kind"] == "key"
    assert (first["caller"]["account"], first["caller"]["tier"]) == (customer["id"], "free")
    burst, monthly, daily = first["charges"]
    assert (burst["name"], burst["kind"], burst["left"], burst["size"]) == ("burst", "limit", 20, 20)
    assert (daily["left"], daily["used"], daily["period_end"]) == (5, 0, "2026-11-22T00:00:00.000Z")
    assert monthly["period_start"] == "2026-11-01T00:00:00.000Z"
    assert burst["counter"].endswith(":b:burst")
    assert first["headers"]["RateLimit"].startswith('"daily";r=4')
    assert await explain(admin, key=key["id"]) == first, "nothing was charged"


async def test_a_call_that_would_be_refused_says_by_what(
    admin: Client, customer: dict[str, Any], redis_url: str
) -> None:
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    client.start()
    assert await client.wait_until_up()
    told = await explain(admin, account=customer["id"])
    daily = told["charges"][2]["counter"]
    await client.call(("SET", daily, 5))
    refused = await explain(admin, account=customer["id"])
    assert (refused["verdict"], refused["status"], refused["code"]) == ("refuse", 429, "quota_exceeded")
    assert refused["problem"]["violated-policies"] == ["daily"]
    assert refused["why"] == refused["problem"]["detail"]
    assert refused["headers"]["Retry-After"] == str(12 * 3600)
    assert [one["would_refuse"] for one in refused["charges"]] == [False, False, True]
    await client.close()
    await tasks.close()


async def test_switches_and_overrides_are_seen(
    admin: Client, customer: dict[str, Any], accounts: Accounts, pool: Pool
) -> None:
    await Overrides(pool, accounts).set(customer["id"], limit_override("burst", "1/second", 7))
    await Switches(pool).set(Switch(Enforcing.SHADOW, limit="monthly", reason="incident 7"))
    await Switches(pool).set(Switch(Enforcing.OFF, limit="daily", reason="incident 8"))
    told = await explain(admin, account=customer["id"])
    burst, monthly = told["charges"]
    assert (burst["override"], burst["size"], burst["enforced"]) == (True, 7, True)
    assert (monthly["enforced"], monthly["shadow_because"]) == (False, "switch")
    assert [one["limit"] for one in told["switches"]] == ["daily", "monthly"]
    assert told["notes"] == ["Switched off by operators: daily."]


async def test_an_override_of_a_name_that_counts_all_keys_changes_nothing_for_one_key(
    admin: Client, customer: dict[str, Any], accounts: Accounts, pool: Pool
) -> None:
    key = await ok(await admin.post(f"/admin/v1/accounts/{customer['id']}/keys", json={"name": "k"}), 201)
    cap = limit_override("burst", "1/second", 7, of_key=True)
    await Overrides(pool, accounts).set(customer["id"], cap, key["id"])
    told = await explain(admin, key=key["id"])
    assert (told["charges"][0]["override"], told["charges"][0]["size"]) == (False, 20)
    assert told["notes"] == ["Overrides that change nothing about this call: burst."]


async def test_a_quota_that_lets_calls_pass_beyond_its_amount_would_not_refuse(
    admin: Client, customer: dict[str, Any], pool: Pool, clock: ManualClock, redis_url: str
) -> None:
    soft = replace(POLICIES.tiers["free"].quotas[0], soft=True)
    free = replace(POLICIES.tiers["free"], quotas=(soft,))
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    explainer = make_explainer(pool, client, clock, tasks, tiers={"free": free})
    client.start()
    assert await client.wait_until_up()
    question = Question(account=customer["id"], path="/open/1")
    counter = (await explainer.explain(question))["charges"][1]["counter"]
    await client.call(("SET", str(counter), 1200))
    told = await explainer.explain(question)
    monthly = told["charges"][1]
    assert (told["verdict"], monthly["left"], monthly["used"]) == ("forward", -200, 1200)
    assert (monthly["would_refuse"], monthly["retry_after_s"], monthly["enforced"]) == (False, 0, True)
    assert told["notes"] == ["Passes beyond the amount, and is marked with it: monthly."]
    await client.close()
    await tasks.close()


async def test_whose_bucket_a_call_pays_into(
    customer: dict[str, Any], pool: Pool, clock: ManualClock, redis_url: str
) -> None:
    """By address, route, header and claim; where the header or the claim is missing, the account's own."""
    scopes = ("ip", "route", "header:x-tenant", "claim:org")
    limits = tuple(Limit(f"l{at}", 60, 60_000, 20, (scope,)) for at, scope in enumerate(scopes))
    tiers = {"free": replace(POLICIES.tiers["free"], limits=limits, quotas=())}
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    explainer = make_explainer(pool, client, clock, tasks, tiers=tiers)
    client.start()
    assert await client.wait_until_up()

    async def counters(**question: Any) -> list[str]:
        told = await explainer.explain(Question(account=customer["id"], path="/open/1", **question))
        assert told["verdict"] == "forward"
        return [str(one["counter"]) for one in told["charges"]]

    plain, tenant = await counters(client_ip="192.0.2.1"), await counters(headers={"X-Tenant": "a"})
    elsewhere, other = await counters(client_ip="192.0.2.9"), await counters(headers={"X-Tenant": "b"})
    assert "{ip=192.0.2.1,l}" in plain[0]
    assert "{route=open,l}" in plain[1]
    assert plain[2:] == elsewhere[2:]
    assert all("{account=" in counter for counter in plain[2:]), "told apart by itself"
    assert plain[0] != elsewhere[0]
    assert len({plain[2], tenant[2], other[2]}) == 3
    await client.close()
    await tasks.close()


async def test_a_call_that_would_queue_says_for_how_long(
    customer: dict[str, Any], pool: Pool, clock: ManualClock, redis_url: str
) -> None:
    """The time is that of the limit whose slots are all in use."""
    slots = (ConcurrencyLimit("all", 50), ConcurrencyLimit("builds", 1, OnFull.QUEUE, wait_s=2))
    tiers = {"free": replace(POLICIES.tiers["free"], quotas=(), concurrency=slots)}
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    explainer = make_explainer(pool, client, clock, tasks, tiers=tiers)
    client.start()
    assert await client.wait_until_up()
    question = Question(account=customer["id"], path="/open/1")
    builds = (await explainer.explain(question))["charges"][2]["counter"]
    await client.call(("ZADD", str(builds), clock.now_us() // 1000 + 5000, "somebody's"))
    told = await explainer.explain(question)
    assert (told["verdict"], told["charges"][2]["left"], told["charges"][1]["left"]) == ("queue", 0, 50)
    assert told["why"] == "As many calls as may be are under way; the call would wait for up to 2 s."
    assert await client.call(("ZCARD", str(builds))) == 1, "nothing was taken"
    await client.close()
    await tasks.close()


async def test_routes_that_fit_as_well(admin: Client, customer: dict[str, Any]) -> None:
    told = await explain(admin, "/open/1", account=customer["id"], method="DELETE")
    assert (told["verdict"], told["code"], told["route"]) == ("refuse", "no_route", None)
    assert told["passed_over"] == [{"name": "open", "path": "/open/**", "why": "takes GET, HEAD, not DELETE"}]


async def test_features_and_callers(admin: Client, customer: dict[str, Any], pool: Pool) -> None:
    told = await explain(admin, "/api/1", account=customer["id"])
    assert (told["status"], told["code"]) == (403, "feature_required")
    assert told["caller"]["features"] == []
    stranger = await explain(admin)
    assert (stranger["status"], stranger["code"], stranger["caller"]) == (401, "unauthenticated", None)
    await pool.execute("UPDATE accounts SET status = 'suspended'")
    assert (await explain(admin, account=customer["id"]))["code"] == "account_suspended"


async def test_keys_that_do_not_work(admin: Client, customer: dict[str, Any]) -> None:
    body = {"name": "k", "only_methods": ["POST"]}
    key = await ok(await admin.post(f"/admin/v1/accounts/{customer['id']}/keys", json=body), 201)
    assert (await explain(admin, key=key["id"]))["code"] == "key_restricted"
    await ok(await admin.post(f"/admin/v1/keys/{key['id']}/revoke"))
    told = await explain(admin, key=key["id"])
    assert told["code"] == "unauthenticated"
    assert told["notes"][0].startswith("The key was revoked at ")


async def test_a_key_that_does_not_work_from_everywhere(admin: Client, customer: dict[str, Any]) -> None:
    lists = {"only_networks": ["192.0.2.0/24"], "not_networks": ["192.0.2.128/25"]}
    body = {"name": "k", **lists}
    key = await ok(await admin.post(f"/admin/v1/accounts/{customer['id']}/keys", json=body), 201)
    codes = {}
    for address in ("192.0.2.7", "192.0.2.200", "198.51.100.1", "::ffff:192.0.2.200"):
        told = await explain(admin, "/open/1", key=key["id"], client_ip=address)
        codes[address] = told["code"]
        if told["caller"] is not None:
            assert {name: told["caller"][name] for name in lists} == lists
    assert codes == {
        "192.0.2.7": None,
        "192.0.2.200": "key_restricted",
        "198.51.100.1": "key_restricted",
        "::ffff:192.0.2.200": "key_restricted",
    }


async def test_heads_are_read_as_workers_do(admin: Client, customer: dict[str, Any]) -> None:
    whose = {"account": customer["id"]}
    assert (await explain(admin, "/open/../open//%41", **whose))["request"]["path"] == "/open/A"
    assert (await explain(admin, "/open/%2f", **whose))["code"] == "bad_request"
    assert (await explain(admin, host="a b", **whose))["code"] == "bad_request"
    large = await explain(admin, headers={"Content-Length": str(1 << 62)}, **whose)
    assert large["verdict"] == "forward"


async def test_without_redis_it_says_what_the_policies_say(
    customer: dict[str, Any], pool: Pool, clock: ManualClock
) -> None:
    tasks = Tasks()
    nobody = TickRedis(parse_address("redis://127.0.0.1:1"), Slots.in_memory(), tasks)
    told = await make_explainer(pool, nobody, clock, tasks).explain(
        Question(account=customer["id"], path="/open/1")
    )
    assert (told["verdict"], told["code"]) == ("refuse", "admission_unavailable")
    assert [one["left"] for one in told["charges"]] == [None, None, None]
    assert "on_store_loss: refuse" in told["notes"][0]
    await tasks.close()


async def test_while_counters_are_not_believed_it_says_so(
    customer: dict[str, Any], pool: Pool, clock: ManualClock, redis_url: str
) -> None:
    """A Redis that was flushed has no mark yet, and no counter that says what was used."""
    tasks = Tasks()
    client = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    explainer = make_explainer(pool, client, clock, tasks, open_onlooker(client, clock, "it"))
    client.start()
    assert await client.wait_until_up()
    question = Question(account=customer["id"], path="/open/1")
    told = await explainer.explain(question)
    assert (told["verdict"], told["code"]) == ("refuse", "admission_unavailable")
    assert told["notes"][0].startswith("Quota counters may have been lost and are being rebuilt")
    await client.call(("SET", MARK, "it"))
    assert (await explainer.explain(question))["verdict"] == "forward"
    await client.close()
    await tasks.close()


SECRET = "tw_live_0000000000000000000000001aXGHn"


@pytest.mark.parametrize(
    ("case", "question", "field"),
    [
        ("no path", {}, "path"),
        ("no path at all", {"path": "open"}, "path"),
        ("a path of two lines", {"path": "/a\r\nX: y"}, "path"),
        ("a secret among the headers", {"path": "/", "headers": {"X-API-Key": "x"}}, "headers"),
        ("a cookie", {"path": "/", "headers": {"cookie": "x"}}, "headers"),
        ("a header that can not be", {"path": "/", "headers": {"a b": "x"}}, "headers"),
        ("a header of two lines", {"path": "/", "headers": {"a": "x\ny"}}, "headers.a"),
        ("account and key", {"path": "/", "account": "acct_1", "key": "key_1"}, "body"),
        ("a secret for a key", {"path": "/", "key": SECRET}, "key"),
        ("a method that can not be", {"path": "/", "method": "GE T"}, "method"),
    ],
)
async def test_what_can_not_be_asked(
    admin: Client, case: str, question: dict[str, object], field: str
) -> None:
    document = await problem(await admin.post(ADDRESS, json=question), 422, "invalid")
    assert [one["field"] for one in document["errors"]] == [field], case
    assert SECRET not in str(document)


async def test_a_key_in_the_path_is_no_good_idea(
    admin: Client, accounts: Accounts, customer: dict[str, Any]
) -> None:
    _, secret = await accounts.create_key(customer["id"])
    for question in ({"path": f"/open?key={secret}"}, {"path": "/", "headers": {"x-other": secret}}):
        document = await problem(await admin.post(ADDRESS, json=question), 422, "invalid")
        assert "API key" in document["errors"][0]["message"]
        assert secret not in str(document)


@pytest.mark.parametrize("whose", [{"account": "acct_0"}, {"key": "key_00000000000000000000"}])
async def test_who_is_not_there(admin: Client, whose: dict[str, str]) -> None:
    await problem(await admin.post(ADDRESS, json={"path": "/open/1", **whose}), 404, "not_found")


async def test_what_was_decided_about_a_call(admin: Client, pool: Pool, customer: dict[str, Any]) -> None:
    number = await pool.fetchval("SELECT id FROM accounts WHERE public_id = $1", customer["id"])
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    await book(pool, number, at, calls=1)
    asked = UUID(bytes=request_id(number, 0))
    await pool.execute(
        "INSERT INTO policy_history (applied_at, gateway, digest, how, actor) "
        "VALUES ($1, 'a', $2, 'start', 'gateway'), ($3, 'a', $4, 'signal', 'gateway')",
        *(at - timedelta(days=1), "d" * 64, at + timedelta(days=1), "e" * 64),
    )
    told = await ok(await admin.get(f"{ADDRESS}/{asked}"))
    assert told["why"] == "Served: the upstream answered 200."
    assert (told["call"]["account"], told["call"]["route"]) == (customer["id"], "all")
    assert [(one["digest"], one["how"]) for one in told["policies"]] == [("d" * 64, "start")]


async def test_a_call_that_nobody_knows(admin: Client) -> None:
    document = await problem(await admin.get(f"{ADDRESS}/{UUID(int=7)}"), 404, "not_found")
    assert "a second or so after" in document["detail"]
    await problem(await admin.get(f"{ADDRESS}/x"), 404, "not_found")


@pytest.mark.parametrize(
    ("outcome", "status", "marks", "told"),
    [
        ("served", 200, Marks(), "Served: the upstream answered 200."),
        (
            "rate_limited",
            429,
            Marks("rate_limited", ("a", "b")),
            "Refused with 429 `rate_limited` by `a`, `b`.",
        ),
        ("bad_request", 431, Marks("head_too_large"), "Refused with 431 `head_too_large`."),
        ("upstream_timeout", 504, Marks(), "Admitted; it ended as `upstream_timeout` with 504."),
        ("interrupted", 0, Marks(), "Admitted; it ended as `interrupted` without an answer."),
        (
            "served",
            200,
            Marks(shadows=("a",)),
            "Served: the upstream answered 200. Not enforced, else refused by `a`.",
        ),
    ],
)
def test_what_became_of_a_call_in_a_sentence(outcome: str, status: int, marks: Marks, told: str) -> None:
    ids: dict[str, Any] = {"request_id": UUID(int=1), "started_at": datetime(2026, 1, 1, tzinfo=UTC)}
    who: dict[str, Any] = {
        "account": None,
        "key": None,
        "mode": Mode.LIVE,
        "tier": "",
        "route": "",
        "upstream": "",
        "method": "",
    }
    figures = dict.fromkeys(("ingress_bytes", "egress_bytes", "ingress_messages", "egress_messages"), 0)
    times = {"duration_us": 0, "first_byte_us": 0}
    decided = {"code": marks.code or None, "refused_by": marks.refused_by, "shadows": marks.shadows}
    row = EventRow(**ids, **who, **figures, **times, **decided, outcome=outcome, status=status, charges={})  # type: ignore[arg-type]  # put together from parts
    assert why(row) == told
