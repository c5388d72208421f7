"""Tables for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.cli.output import print_facts, print_json, print_table


def test_columns_are_as_wide_as_they_need_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 1, 2, 4, 0, tzinfo=timezone(timedelta(hours=1)))
    print_table(("NAME", "CALLS", "AT"), [("a", 1234567, at), ("longer", 1, None)])
    assert capsys.readouterr().out == (
        "NAME        CALLS  AT\na       1,234,567  2026-01-02 03:00:00\nlonger          1  -\n"
    )


def test_an_empty_table_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "NAME"), [])
    assert capsys.readouterr().out == "ID  NAME\n"


def test_facts_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"id": "x", "created": datetime(2026, 1, 2, tzinfo=UTC), "name": ""})
    assert capsys.readouterr().out == "id       x\ncreated  2026-01-02 00:00:00\nname     -\n"


def test_json_keeps_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Zoë"})
    assert capsys.readouterr().out == '{\n  "name": "Zoë"\n}\n'


def test_a_table_too_wide_for_the_terminal_becomes_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    print_table(("ID", "NAME"), [("acct_1", "Acme"), ("acct_2", None)])
    assert capsys.readouterr().out == "ID    acct_1\nNAME  Acme\n\nID    acct_2\nNAME  -\n"
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("ID", "NAME"), [("acct_1", "Acme")])
    assert capsys.readouterr().out == "ID      NAME\nacct_1  Acme\n"
