"""Tables of keys through the command line."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import pytest

from tests.commands import Commands

POLICIES = """
upstreams: {here: {targets: [http://127.0.0.1:9000]}}
tiers: {team: {limits: [{name: burst, rate: 60/minute, burst: 20}]}}
routes: [{name: all, match: {path: /**}, upstream: here}]
"""
SECRET = "legacy-key-4711"
SHA256 = hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.fixture
def tollway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Commands:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICIES)
    environ = {"TOLLWAY_DATABASE_URL": database_url, "TOLLWAY_POLICIES": str(tmp_path / "policies")}
    return Commands(monkeypatch, capsys, environ)


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def test_a_table_is_loaded_once_and_again_changes_nothing(tollway: Commands, tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text(f"sha256,account,tier\n{SHA256},crm-1,team\n")
    load = ("key", "load", str(tmp_path / "keys.csv"), "--json")
    told = tollway.run(*load, "--dry-run").json
    assert told == {"listed": 1, "added": 1, "accounts_made": 1, "dry_run": True}
    assert tollway.run("account", "list", "--json").json["data"] == []
    assert tollway.run(*load).json == {**told, "dry_run": False}
    assert tollway.run(*load).json == {"listed": 1, "added": 0, "accounts_made": 0, "dry_run": False}
    (account,) = tollway.run("account", "list", "--json").json["data"]
    assert (account["external_id"], account["tier"]) == ("crm-1", "team")


def test_problems_are_named_by_file_and_line(tollway: Commands, tmp_path: Path) -> None:
    table = tmp_path / "keys.csv"
    for text, said in (
        (f"key,account\n{SECRET},crm-1\n", f"{table}:1: key: holds secrets"),
        (f"sha256,account\n{SHA256},crm-1\n", f"{table}:2: account: is not there"),
        (f"sha256,account,tier\n{SHA256},crm-1,gold\n", f"{table}:2: tier: is not in the policies"),
    ):
        table.write_text(text)
        ended = tollway.run("key", "load", str(table))
        assert ended.code == 1
        assert said in ended.err
        assert SECRET not in ended.err + ended.out


def test_keys_themselves_come_from_stdin_alone(tollway: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, f"key,account,tier\n{SECRET},crm-1,team\n")
    ended = tollway.run("key", "load", "-", "--json")
    assert ended.json["added"] == 1
    account = tollway.run("account", "list", "--json").json["data"][0]["id"]
    say(monkeypatch, f"{SECRET}\nlegacy-key-4712\n")
    imported = tollway.run("key", "import", "--account", account, "--secrets", "--json").json["data"]
    assert len({key["id"] for key in imported}) == 2
    assert len(tollway.run("key", "list", "--account", account, "--json").json["data"]) == 2


def test_keys_are_replaced_by_their_digests(tollway: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, f'account,key,account_name\ncrm-1,{SECRET},"Acme, Inc."\n')
    ended = tollway.run("key", "hash")
    assert ended.out == f'account,sha256,account_name\ncrm-1,{SHA256},"Acme, Inc."\n'
    say(monkeypatch, f"{SECRET}\n")
    assert tollway.run("key", "hash").code == 2
