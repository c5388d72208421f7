"""A table of keys made elsewhere: what it may say, and every problem by its line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.accounts import key_table
from gateway.accounts.key_table import ListedKey, TableProblems, read_table
from gateway.accounts.keys import digest
from gateway.model.principal import Mode

A, B = "a" * 64, "B" * 64
HEAD = "sha256,account,tier,account_name,name,mode,expires_at,scopes\n"


def problems(text: str, *, secrets: bool = False) -> list[str]:
    with pytest.raises(TableProblems) as caught:
        read_table(text, secrets=secrets)
    return [one.within("keys.csv") for one in caught.value.problems]


def test_a_table() -> None:
    text = (
        "\n# from the old gateway\n" + HEAD
        + f'{A},crm-7,free,"Acme, Inc.",laptop,test,2027-01-31T01:00:00+01:00,read write\n\n'
        + f"{B}, crm-7 ,,,,,,\n"
    )  # fmt: skip
    first, second = read_table(text)
    assert first == ListedKey(
        4, bytes.fromhex(A), "crm-7", "free", "Acme, Inc.", "laptop", Mode.TEST,
        datetime(2027, 1, 31, tzinfo=UTC), ("read", "write"),
    )  # fmt: skip
    assert second == ListedKey(6, bytes.fromhex(B), "crm-7")


def test_columns_come_in_any_order_and_a_table_may_be_empty() -> None:
    assert read_table(f"account,sha256\ncrm-7,{A}\n") == [ListedKey(2, bytes.fromhex(A), "crm-7")]
    assert read_table("account,sha256\n") == []


def test_secrets_are_hashed_where_they_are_allowed_and_kept_nowhere() -> None:
    (key,) = read_table("key,account\nlegacy-key-4711,crm-7\n", secrets=True)
    assert key.digest == digest(b"legacy-key-4711")
    assert "4711" not in repr(key)


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("nothing", "", "keys.csv:1: needs a head that names its columns"),
        ("no head", f"{A},crm-7\n", "keys.csv:1: has 2 unknown columns"),
        ("secrets", "key,account\nlegacy-key-4711,crm-7\n", "keys.csv:1: key: holds secrets"),
        ("no account", f"sha256,name\n{A},x\n", "keys.csv:1: needs a head with the columns"),
        ("a column twice", "sha256,account,account\n", "keys.csv:1: names a column twice"),
        ("too few cells", f"sha256,account\n{A}\n", "keys.csv:2: has 1 cells, and the head names 2 columns"),
        ("an open quote", f'sha256,account\n{A},"crm\n', "keys.csv:2: is not CSV"),
        ("no digest", "sha256,account\nlegacy-key-4711,crm\n", "keys.csv:2: sha256: must be a SHA-256 of 64"),
        ("no digest at all", "sha256,account\n,crm\n", "keys.csv:2: sha256: must be a SHA-256 of 64"),
        ("whose", f"sha256,account\n{A},\n", "keys.csv:2: account: must have 1 to 200 characters"),
        ("twice", f"sha256,account\n{A},a\n{A.upper()},b\n", "keys.csv:3: is the same key as line 2"),
        ("a mode", f"sha256,account,mode\n{A},a,prod\n", "keys.csv:2: mode: must be live or test"),
        ("a day", f"sha256,account,expires_at\n{A},a,2027-01-31\n", "keys.csv:2: expires_at: must be an"),
        ("a tier", f"sha256,account,tier\n{A},a,Free!\n", "keys.csv:2: tier: must be the name of a tier"),
        ("a scope", f'sha256,account,scopes\n{A},a,"a\\b"\n', "keys.csv:2: scopes: must be"),
        ("a name", f"sha256,account,name\n{A},a,x\x01\n", "keys.csv:2: name: must not have"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_line_and_not_repeated(case: str, text: str, said: str) -> None:
    (found,) = problems(text)
    assert found.startswith(said), case
    assert "4711" not in found


def test_all_problems_are_told_at_once_up_to_a_bound() -> None:
    text = "sha256,account,mode\n" + "x,,y\n" * 500
    found = problems(text)
    assert len(found) == key_table.MOST_PROBLEMS
    assert [one for one in found if one.startswith("keys.csv:2:")] == found[:3]


def test_a_secret_that_is_no_header_value_is_none() -> None:
    for secret in ("short", "with space inside", "späte-schlüssel"):
        (found,) = problems(f"key,account\n{secret},a\n", secrets=True)
        assert found == "keys.csv:2: key: must have 8 to 200 characters of printable ASCII, without spaces"


def test_a_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_table, "MOST_LINES", 2)
    found = problems(f"sha256,account\n{A},a\n{B},a\n")
    assert found == ["keys.csv:3: is beyond 2 lines"]
