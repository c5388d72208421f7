"""Accounts, keys and the demo through the command line, on a real database."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.recognition import find_principal
from gateway.accounts.store import Accounts
from gateway.demo import prepare_demo
from gateway.errors import StartupError
from gateway.storage.migrate import migrate
from gateway.storage.postgres import connect_pool
from tests.commands import Commands
from tests.integration.cli.conftest import new_account


def test_an_account_from_creation_to_suspension(tollway: Commands) -> None:
    account = new_account(tollway)
    assert tollway.run("account", "set-tier", account, "team", "--json").json["tier"] == "team"
    assert tollway.run("account", "suspend", account, "--json").json["status"] == "suspended"
    assert tollway.run("account", "activate", account, "--json").json["status"] == "active"
    assert [one["id"] for one in tollway.run("account", "list", "--json").json["data"]] == [account]


def test_people_get_tables_and_facts(tollway: Commands) -> None:
    account = new_account(tollway)
    heads, row = tollway.run("account", "list").out.splitlines()
    assert heads.split()[:4] == ["ID", "NAME", "TIER", "STATUS"]
    assert row.split()[:4] == [account, "Acme", "community", "active"]
    shown = tollway.run("key", "create", "--account", account)
    assert "secret" in shown.out
    assert "is not shown again" in shown.err
    assert tollway.run("key", "list", "--account", account).out.splitlines()[1].split()[2:4] == ["-", "works"]


def test_lists_go_on_where_they_ended(tollway: Commands) -> None:
    first, second = new_account(tollway), new_account(tollway)
    page = tollway.run("account", "list", "--limit", "1", "--json").json
    assert [one["id"] for one in page["data"]] == [first]
    rest = tollway.run("account", "list", "--after", page["next"], "--json").json
    assert [one["id"] for one in rest["data"]] == [second]


async def _principal(database_url: str, secret: str) -> str | None:
    pool = await connect_pool(database_url, max_size=1)
    try:
        found = await find_principal(pool, digest(secret.encode()))
    finally:
        await pool.close()
    return None if found is None else found.principal.key


def test_a_key_from_creation_to_revocation(tollway: Commands) -> None:
    account = new_account(tollway)
    made = tollway.run("key", "create", "--account", account, "--mode", "test", "--name", "ci", "--json").json
    assert made["secret"].startswith("tw_test_")
    rotated = tollway.run("key", "rotate", made["id"], "--overlap-s", "0", "--json").json
    assert rotated["secret"] != made["secret"]
    assert rotated["mode"] == "test"
    assert tollway.run("key", "revoke", rotated["id"], "--json").json["revoked_at"]
    listed = tollway.run("key", "list", "--account", account, "--json")
    assert [one["id"] for one in listed.json["data"]] == [made["id"], rotated["id"]]
    assert made["secret"] not in listed.out
    states = [
        line.split()[3] for line in tollway.run("key", "list", "--account", account).out.splitlines()[1:]
    ]
    assert states == ["expired", "revoked"]


def test_the_first_member_of_an_account_is_invited(tollway: Commands) -> None:
    account = new_account(tollway)
    made = tollway.run("member", "invite", "--account", account, "--email", "ada@example.com", "--json").json
    assert (made["account"], made["email"], made["role"]) == (account, "ada@example.com", "owner")
    listed = tollway.run("member", "list", "--account", account, "--json").json
    assert (listed["data"], [one["id"] for one in listed["invitations"]]) == ([], [made["id"]])
    assert "owner, invited" in tollway.run("member", "list", "--account", account).out
    gone = tollway.run("member", "remove", made["id"], "--account", account, "--json").json
    assert gone["id"] == made["id"]
    again = tollway.run("member", "remove", made["id"], "--account", account)
    assert (again.code, again.err) == (1, "tollway: There is no such invitation.\n")
    noted = tollway.run("audit", "--target", made["id"], "--json").json["data"]
    assert [one["action"] for one in noted] == ["invitation.deleted", "invitation.created"]


@pytest.mark.parametrize(
    ("case", "words", "said"),
    [
        (
            "a tier the policies do not have",
            ["account", "create", "--name", "x", "--tier", "gold"],
            "There is no tier gold in ",
        ),
        (
            "an account that is not there",
            ["account", "suspend", "acct_00000000000000000000"],
            "no such account",
        ),
        ("an id that is none", ["key", "create", "--account", "x"], "There is no such account."),
        ("a key that is not there", ["key", "revoke", "key_00000000000000000000"], "There is no such key."),
        (
            "a name with a line break",
            ["account", "create", "--name", "a\nb", "--tier", "team"],
            "name: must not",
        ),
    ],
)
def test_what_can_not_be_done_is_one_line(tollway: Commands, case: str, words: list[str], said: str) -> None:
    ended = tollway.run(*words)
    assert ended.code == 1
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("tollway: ")
    assert said in line


def test_a_database_without_tables_says_how_to_make_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database_url: str
) -> None:
    tollway = Commands(monkeypatch, capsys, {"TOLLWAY_DATABASE_URL": empty_database_url})
    ended = tollway.run("account", "list")
    assert (ended.code, ended.err) == (
        1,
        "tollway: The database has no tables of this version. Run `tollway migrate`.\n",
    )
    assert "applied 0001_" in tollway.run("migrate").out
    assert tollway.run("migrate").out == "The database is up to date.\n"
    assert tollway.run("account", "list").code == 0


def test_an_unreachable_database_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"TOLLWAY_DATABASE_URL": "postgresql://somebody:hunter2@127.0.0.1:1/x"}
    ended = Commands(monkeypatch, capsys, environ).run("account", "list")
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("tollway: Can not use PostgreSQL at 127.0.0.1:1")
    assert "hunter2" not in line


def test_without_a_gateway_the_embedded_server_runs_for_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    environ = {"TOLLWAY_DATA_DIR": str(folder / "data"), "TOLLWAY_POLICIES": str(folder / "policies")}
    tollway = Commands(monkeypatch, capsys, environ)
    account = new_account(tollway)
    assert not (folder / "data" / "postgres" / "postmaster.pid").exists()
    assert [one["id"] for one in tollway.run("account", "list", "--json").json["data"]] == [account]


OWNER = """
import sys
from pathlib import Path
from gateway.storage.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start()
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


def test_a_running_gateways_embedded_server_is_used_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    data = folder / "data"
    environ = {"TOLLWAY_DATA_DIR": str(data), "TOLLWAY_POLICIES": str(folder / "policies")}
    tollway = Commands(monkeypatch, capsys, environ)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        account = new_account(tollway)
        assert [one["id"] for one in tollway.run("account", "list", "--json").json["data"]] == [account]
        owner.communicate("")
    assert owner.returncode == 0
    assert [one["id"] for one in tollway.run("account", "list", "--json").json["data"]] == [account]


def test_a_data_folder_that_can_not_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ended = Commands(monkeypatch, capsys, {"TOLLWAY_DATA_DIR": str(tmp_path / "file" / "x")}).run("migrate")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert "can not be used: Not a directory" in ended.err


async def test_demo_keys_are_the_same_at_the_next_start(database_url: str, tmp_path: Path) -> None:
    pool = await connect_pool(database_url, max_size=1)
    try:
        accounts = Accounts(pool, "tw")
        first = await prepare_demo(accounts, tmp_path)
        kept = tmp_path / "demo.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert await prepare_demo(accounts, tmp_path) == first
        assert len(await accounts.list_accounts()) == 2
        for key in (first.free, first.paid):
            found = await find_principal(pool, digest(key.secret.encode()))
            assert found is not None
            assert (found.principal.account, found.principal.tier) == (key.account, key.tier)
            assert key.secret.startswith("tw_test_")

        await pool.execute("TRUNCATE accounts CASCADE")
        after_wiped_database = await prepare_demo(accounts, tmp_path)
        assert after_wiped_database.free.secret == first.free.secret
        assert after_wiped_database.free.account != first.free.account

        kept.unlink()
        after_wiped_file = await prepare_demo(accounts, tmp_path)
        assert after_wiped_file.free.account == after_wiped_database.free.account
        assert after_wiped_file.free.secret != first.free.secret
    finally:
        await pool.close()


@pytest.mark.parametrize("text", ["{", "[]", '{"community": 1}', '{"community": "rubbish"}'])
async def test_a_broken_demo_file_is_made_anew(database_url: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    pool = await connect_pool(database_url, max_size=1)
    try:
        first = await prepare_demo(Accounts(pool, "tw"), tmp_path)
        assert await prepare_demo(Accounts(pool, "tw"), tmp_path) == first
    finally:
        await pool.close()


async def test_a_revoked_demo_key_gets_a_successor(database_url: str, tmp_path: Path) -> None:
    pool = await connect_pool(database_url, max_size=1)
    try:
        accounts = Accounts(pool, "tw")
        first = await prepare_demo(accounts, tmp_path)
        (key,) = await accounts.list_keys(first.free.account)
        await accounts.revoke_key(key.public_id)
        second = await prepare_demo(accounts, tmp_path)
        assert second.paid == first.paid
        assert second.free.secret != first.free.secret
    finally:
        await pool.close()


async def test_demo_keys_that_can_not_be_kept_are_one_line(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pool = await connect_pool(database_url, max_size=1)
    try:
        with pytest.raises(StartupError, match=r"demo keys can not be kept in .*demo\.json"):
            await prepare_demo(Accounts(pool, "tw"), tmp_path / "file")
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("case", "sql", "said"),
    [
        (
            "no right to read",
            "CREATE ROLE stranger{n} LOGIN",
            "permission denied for table accounts. Give the user in TOLLWAY_DATABASE_URL that right",
        ),
        (
            "a database that can only be read",
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "Name one that can be written in TOLLWAY_DATABASE_URL.",
        ),
    ],
)
async def test_what_the_database_refuses_is_one_line(
    tollway: Commands, database_url: str, monkeypatch: pytest.MonkeyPatch, case: str, sql: str, said: str
) -> None:
    pool = await connect_pool(database_url, max_size=1)
    database = await pool.fetchval("SELECT current_database()")
    await pool.execute(sql.format(database=database, n=database))
    await pool.close()
    if "CREATE ROLE" in sql:
        monkeypatch.setenv("TOLLWAY_DATABASE_URL", database_url.replace("tollway@", f"stranger{database}@"))
    words = ["account", "create", "--name", "x", "--tier", "team"]
    ended = await asyncio.to_thread(tollway.run, *words)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1, ended.err
    assert said in ended.err


async def test_a_standby_is_not_migrated(database_url: str) -> None:
    pool = await connect_pool(database_url, max_size=1)
    database = await pool.fetchval("SELECT current_database()")
    await pool.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    await pool.close()
    with pytest.raises(StartupError, match="can only be read: is it a standby"):
        await migrate(database_url)
