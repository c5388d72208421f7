"""What the admin API does, typed: details of accounts and keys, members, tokens, usage, policies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.accounts.store import Accounts
from gateway.people.memberships import Memberships
from gateway.people.store import People
from gateway.people.tokens import new_id
from gateway.storage.postgres import connect_pool
from tests.commands import Commands
from tests.integration.cli.conftest import new_account

NOBODY = "acct_00000000000000000000"


@pytest.fixture
def policies() -> str:
    return """
upstreams:
  here: {targets: [http://127.0.0.1:9000]}
meters:
  minutes: {unit: minute}
tiers:
  community:
    limits: [{name: burst, rate: 60/minute, burst: 20}]
    quotas: [{name: monthly, meter: api_calls, amount: 100, per: month}]
  team: {extends: community}
routes:
  - {name: writes, match: {methods: [POST], path: /w/**}, upstream: here, scopes: [w]}
  - {name: all, match: {path: /**}, upstream: here}
"""


def test_an_account_with_all_it_can_have(tollway: Commands) -> None:
    words = ("--status", "draft", "--time-zone", "Europe/Berlin", "--billing-anchor", "2026-01-31")
    made = tollway.run(
        *("account", "create", "--name", "Acme", "--tier", "team", "--external-id", "crm-7", "--internal"),
        *words,
        *("--metadata", "region=eu", "--metadata", "seats=5", "--json"),
    ).json
    assert made["metadata"] == {"region": "eu", "seats": "5"}
    assert (made["status"], made["time_zone"], made["billing_anchor"], made["internal"]) == (
        *("draft", "Europe/Berlin", "2026-01-31"),
        True,
    )
    assert tollway.run("account", "show", made["id"], "--json").json == made
    assert tollway.run("account", "show", "--external-id", "crm-7", "--json").json == made
    assert "region=eu, seats=5" in tollway.run("account", "show", made["id"]).out
    assert tollway.run("account", "show").code == 2
    new_account(tollway)
    found = tollway.run("account", "list", "--tier", "team", "--status", "draft", "--json").json["data"]
    assert found == [made]
    assert tollway.run("account", "set", made["id"]).code == 2


def test_an_accounts_period(tollway: Commands) -> None:
    account = new_account(tollway)
    told = tollway.run("account", "period", account, "--history", "1", "--json").json
    assert [one["name"] for one in told["quotas"]] == ["monthly"]
    assert len(told["history"]) == 1
    shown = tollway.run("account", "period", account).out
    assert "monthly" in shown
    late = tollway.run("account", "period", account, "--at", "2999-01")
    assert (late.code, late.err) == (1, "tollway: at: must not be in the future\n")


def test_a_keys_reach(tollway: Commands) -> None:
    account = new_account(tollway)
    reach = (
        "--route",
        "writes",
        "--method",
        "post",
        "--network",
        "10.0.0.0/8",
        "--not-network",
        "10.1.0.0/16",
        "--not-network",
        "10.2.0.0/16",
        "--scope",
        "w",
        "--days",
        "3",
    )
    made = tollway.run("key", "create", "--account", account, *reach, "--json").json
    digest = "ab" * 32
    (imported,) = tollway.run(
        "key", "import", "--account", account, "--sha256", digest, *reach, "--json"
    ).json["data"]
    for one in (made, imported):
        assert (one["only_routes"], one["only_methods"], one["only_networks"], one["scopes"]) == (
            *(["writes"], ["POST"], ["10.0.0.0/8"]),
            ["w"],
        )
        assert one["not_networks"] == ["10.1.0.0/16", "10.2.0.0/16"]
        assert one["expires_at"]
    shown = tollway.run("key", "show", made["id"], "--json").json
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert "state" in tollway.run("key", "show", imported["id"]).out
    for words, said in ((("--route", "wishes"), "only_routes: has 1"), (("--scope", "x"), "scopes: has 1")):
        for command in (("create",), ("import", "--sha256", "cd" * 32)):
            ended = tollway.run("key", *command, "--account", account, *words)
            assert (ended.code, ended.out) == (1, "")
            assert said in ended.err


def test_what_a_key_may_do_is_changed(tollway: Commands) -> None:
    account = new_account(tollway)
    words = (
        "--name",
        "ci",
        "--route",
        "writes",
        "--method",
        "post",
        "--network",
        "10.0.0.0/8",
        "--scope",
        "w",
    )
    made = tollway.run("key", "create", "--account", account, *words, "--days", "3", "--json").json
    key = made["id"]

    def change(*options: str) -> dict[str, object]:
        before = tollway.run("key", "show", key, "--json").json
        after = tollway.run("key", "set", key, *options, "--json").json
        return {name: value for name, value in after.items() if before[name] != value}

    assert change("--name", "cd") == {"name": "cd"}
    assert change("--route", "all", "--method", "get", "--method", "head") == {
        "only_routes": ["all"],
        "only_methods": ["GET", "HEAD"],
    }
    assert change("--network", "192.0.2.0/24") == {"only_networks": ["192.0.2.0/24"]}
    assert change("--any-network", "--any-route", "--any-method") == {
        "only_networks": [],
        "only_routes": [],
        "only_methods": [],
    }
    left_out = ["192.0.2.66/32", "2001:db8::/32"]
    others = ("--not-network", "2001:db8::/32", "--not-network", "::ffff:192.0.2.66")
    assert change(*others) == {"not_networks": left_out}
    assert "192.0.2.66/32, 2001:db8::/32" in tollway.run("key", "show", key).out
    rotated = tollway.run("key", "rotate", key, "--json").json
    assert rotated["not_networks"] == left_out, "its successor is alike"
    assert change("--no-not-network") == {"not_networks": []}
    assert change("--all-scopes", "--never-expires") == {"scopes": None, "expires_at": None}
    assert change("--scope", "w") == {"scopes": ["w"]}
    assert list(change("--days", "2")) == ["expires_at"]
    assert "state" in tollway.run("key", "set", key, "--name", "x").out
    noted = tollway.run("audit", "--target", key, "--action", "key.changed", "--json").json["data"]
    assert (noted[0]["before"]["name"], noted[0]["after"]["name"]) == ("cd", "x")
    for options, code, said in (
        ((), 2, "Say what to change"),
        (("--any-route", "--route", "all"), 2, "--any-route says the opposite of --route"),
        (("--route", "wishes"), 1, "only_routes: has 1"),
        (("--scope", "x"), 1, "scopes: has 1"),
        (("--not-network", "10.0.0.1/8"), 1, "not_networks: must be addresses or ranges like 192.0.2.0/24"),
        (("--no-not-network", "--not-network", "::1"), 2, "says the opposite of --not-network"),
    ):
        ended = tollway.run("key", "set", key, *options)
        assert (ended.code, ended.out, said in ended.err) == (code, "", True), ended.err
    tollway.run("key", "revoke", key)
    assert "is revoked, for good" in tollway.run("key", "set", key, "--never-expires").err


def test_a_member_gets_another_role(tollway: Commands, database_url: str) -> None:
    account = new_account(tollway)

    async def join() -> None:
        pool = await connect_pool(database_url, max_size=1)
        try:
            owner = await Accounts(pool, "tw").get_account(account)
            for name, role in (("ada", "owner"), ("bob", "member")):
                made = await People(pool).create(new_id("person"), f"{name}@example.com", name, "$argon2id$x")
                assert made is not None
                await Memberships(pool).add(made, owner.id, role)
        finally:
            await pool.close()

    with asyncio.Runner() as runner:
        runner.run(join())
    ada, bob = (
        one["id"] for one in tollway.run("member", "list", "--account", account, "--json").json["data"]
    )
    told = tollway.run("member", "role", "--account", account, bob, "billing", "--json").json
    assert (told["id"], told["role"]) == (bob, "billing")
    last = tollway.run("member", "role", "--account", account, ada, "member")
    assert (last.code, last.err[:39]) == (1, "tollway: An account has at least one ow")
    assert tollway.run("member", "role", "--account", NOBODY, bob, "owner").code == 1
    (change,) = tollway.run("audit", "--target", bob, "--action", "membership.changed", "--json").json["data"]
    assert (change["before"]["role"], change["after"]["role"]) == ("member", "billing")
    assert tollway.run("audit", "--target", bob, "--to", "2020-01", "--json").json["data"] == []


def test_a_token_is_shown(tollway: Commands) -> None:
    words = ("token", "create", "--name", "ci", "--scope", "usage:read", "--days", "1", "--json")
    made = tollway.run(*words).json
    shown = tollway.run("token", "show", made["id"])
    assert "usage:read" in shown.out
    assert made["secret"] not in shown.out
    assert tollway.run("token", "show", made["id"], "--json").json["expires_at"] == made["expires_at"]
    assert tollway.run("token", "show", "tok_0000").err == "tollway: There is no such token.\n"


def test_policies_are_shown_checked_and_replaced(tollway: Commands, folder: Path) -> None:
    told = tollway.run("policies", "show", "--json").json
    assert told["digest"] == told["folder_digest"]
    assert [one["name"] for one in told["tiers"]] == ["community", "team"]
    shown = tollway.run("policies", "show").out
    assert "60 requests per minute, 20 at once" in shown
    new = folder / "new"
    (new / "more").mkdir(parents=True)
    (new / "more" / "all.yaml").write_text((folder / "policies" / "all.yaml").read_text() + "# more\n")
    assert tollway.run("policies", "check", str(new)).code == 0
    stale = tollway.run("policies", "apply", str(new), "--if-digest", "0" * 64)
    assert (stale.code, told["digest"] in stale.err) == (1, True)
    applied = tollway.run("policies", "apply", str(new), "--json").json
    assert applied["in_use"] is False
    assert (folder / "policies" / "more" / "all.yaml").exists()
    assert not (folder / "policies" / "all.yaml").exists()
    assert tollway.run("policies", "show", "--json").json["digest"] == applied["digest"]
    again = tollway.run("policies", "apply", str(new))
    assert "unchanged" in again.out
    assert "No gateway runs on this data folder" in again.err
    noted = tollway.run("audit", "--target", "policies", "--json").json["data"]
    assert [(one["before"]["digest"], one["after"]["digest"]) for one in noted] == [
        (told["digest"], applied["digest"])
    ]
    assert noted[0]["actor"].startswith("cli:")
    assert tollway.run("policies", "history", "--json").json == {"data": [], "next": None}


def test_policies_with_problems_replace_nothing(tollway: Commands, folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new" / "all.yaml").write_text("tiers: 1\nwishes: 2\n")
    before = (folder / "policies" / "all.yaml").read_text()
    ended = tollway.run("policies", "apply", str(folder / "new"))
    assert ended.code == 1
    assert "all.yaml:1" in ended.out
    assert "all.yaml:2" in ended.out
    told = tollway.run("policies", "apply", str(folder / "new"), "--json")
    assert (told.code, told.json["ok"]) == (1, False)
    assert (folder / "policies" / "all.yaml").read_text() == before
    own = tollway.run("policies", "apply", str(folder / "policies"))
    assert (own.code, "takes changes there by itself" in own.err) == (1, True)


@pytest.mark.parametrize("command", ["workers", "upstreams"])
def test_without_a_gateway_there_is_none_to_look_at(tollway: Commands, command: str) -> None:
    ended = tollway.run(command)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("tollway: No gateway runs on the data folder ")


class TestLedger:
    """What needs Redis, too."""

    @pytest.fixture
    def stores(self, both_stores: dict[str, str]) -> dict[str, str]:
        return both_stores

    def test_a_file_of_usage_is_booked_whole_or_not_at_all(self, tollway: Commands, folder: Path) -> None:
        account, file = new_account(tollway), folder / "usage.jsonl"
        events = [
            {"id": f"e-{number}", "account": account, "meter": "minutes", "quantity": number}
            for number in (1, 2)
        ]
        file.write_text("\n".join(map(json.dumps, events)) + "\n\n")
        posted = tollway.run("usage", "post", "--file", str(file), "--json").json["data"]
        assert [one["quantity"] for one in posted] == [1, 2]
        wrong = {**events[0], "id": "e-3", "meter": "wishes"}
        file.write_text(json.dumps({**events[0], "id": "e-4"}) + "\n" + json.dumps(wrong))
        ended = tollway.run("usage", "post", "--file", str(file))
        assert ended.code == 1
        assert ended.err.splitlines()[-1] == "tollway: Nothing was booked."
        assert "entry 2: meter: there is no such meter" in ended.err
        file.write_text('{"id": 1}')
        assert "line 1: id: " in tollway.run("usage", "post", "--file", str(file)).err
        assert tollway.run("usage", "post", "--file", str(file), "--account", account).code == 2
        tollway.run(
            *("usage", "correct", "--account", account, "--meter", "minutes", "--quantity", "-1"),
            *("--reason", "it hung"),
        )
        listed = tollway.run("usage", "entries", "--account", account, "--json").json["data"]
        assert [one["kind"] for one in listed] == ["correction", "posted", "posted"]
        first = tollway.run("usage", "entries", "--limit", "1", "--json").json
        rest = tollway.run(
            "usage", "entries", "--before", str(first["next"]), "--kind", "posted", "--json"
        ).json
        assert [one["id"] for one in rest["data"]] == ["e-2", "e-1"]
        assert "it hung" in tollway.run("usage", "entries").out

        def units(*words: str) -> int:
            rows = tollway.run("usage", *words, "--meter", "minutes", "--json").json["data"]
            return sum(int(one["quantity"]) for one in rows)

        assert units("--account", account) == 2
        assert units("--all", "--no-corrections") == 3
        assert units("--all", "--mode", "test") == 0
        grouped = tollway.run("usage", "--all", "--group-by", "account,meter").out.splitlines()
        assert grouped[0].split() == ["ACCOUNT", "METER", "UNITS", "CALLS"]
        assert grouped[1].split()[:3] == [account, "minutes", "2"]
        assert tollway.run("usage", "quota-events", "--account", account, "--json").json["data"] == []


@pytest.mark.parametrize(
    ("case", "words", "said"),
    [
        ("whose", (), "Missing option '--account'"),
        ("two answers to that", ("--account", "x", "--all"), "Choose one of --account and --all"),
        ("a group that is none", ("--all", "--group-by", "name"), "group_by: must be some of account, key"),
        ("calls' options alone", ("--all", "--refused-by", "burst"), "add --events N"),
        ("sums' options with calls", ("--all", "--events", "5", "--group-by", "key"), "goes with neither"),
    ],
)
def test_usage_that_can_not_be_asked_for(
    tollway: Commands, case: str, words: tuple[str, ...], said: str
) -> None:
    ended = tollway.run("usage", *words)
    assert (ended.code, said in ended.err) == (2, True), ended.err


def test_calls_go_on_behind_a_call(tollway: Commands) -> None:
    assert tollway.run("usage", "--all", "--events", "5", "--json").json == {"data": [], "next": None}
    ended = tollway.run("usage", "--all", "--events", "5", "--before", "rubbish")
    assert (ended.code, ended.err.startswith("tollway: before: ")) == (1, True)
