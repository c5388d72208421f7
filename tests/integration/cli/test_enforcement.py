"""`tollway enforcement` on a real database."""

from __future__ import annotations

from tests.commands import Commands


def test_limits_are_loosened_and_enforced_again(tollway: Commands) -> None:
    assert tollway.run("enforcement", "show").out == "Limits are enforced as the policies say.\n"
    made = tollway.run("enforcement", "set", "shadow", "--reason", "incident 7", "--minutes", "30", "--json")
    assert made.json["state"] == "shadow"
    assert made.json["switches"][0]["changed_by"].startswith("cli:")
    heads, row = tollway.run("enforcement", "show").out.splitlines()
    assert heads.split() == ["STATE", "SCOPE", "UNTIL", "(UTC)", "BY", "REASON"]
    assert row.split()[:2] == ["shadow", "everything"]
    tollway.run("enforcement", "set", "off", "--reason", "worse", "--limit", "burst", "--tier", "team")
    assert len(tollway.run("enforcement", "show", "--json").json["switches"]) == 2
    assert (
        tollway.run("enforcement", "set", "enforce", "--reason", "over", "--json").json["state"] == "enforce"
    )


def test_a_misspelled_name_is_told(tollway: Commands) -> None:
    refused = tollway.run("enforcement", "set", "off", "--reason", "r", "--limit", "brust")
    assert refused.code == 1
    assert "limit: is no limit or quota of the policies in use; they have: burst" in refused.err
    assert tollway.run("enforcement", "show", "--json").json["switches"] == []
