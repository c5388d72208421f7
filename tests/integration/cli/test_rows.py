"""`tollway rows`: how rows of calls are laid out, told and changed; what stands in the way is one line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.commands import Commands
from tests.timescale import offer


@pytest.fixture
def stores(months_url: str) -> Mapping[str, str]:
    return {"TOLLWAY_DATABASE_URL": months_url}


@pytest.fixture
def offered(months_url: str) -> None:
    with asyncio.Runner() as runner:
        runner.run(offer(months_url))


def test_without_the_extension_it_says_what_to_do_and_changes_nothing(tollway: Commands) -> None:
    refused = tollway.run("rows", "to-hypertable")
    assert refused.code == 1
    assert refused.err.startswith("tollway: The PostgreSQL server has no TimescaleDB. Install version")
    shown = tollway.run("rows", "show")
    assert shown.code == 0
    assert "months" in shown.out
    assert "has no TimescaleDB" in shown.out
    told = tollway.run("rows", "show", "--json").json
    assert told["layout"] == "months"
    assert told["timescaledb"]["usable"] is False
    assert "has no TimescaleDB" in told["timescaledb"]["why_not"]


@pytest.mark.usefixtures("offered")
def test_there_and_back(tollway: Commands) -> None:
    assert "0 rows are in a hypertable now." in tollway.run("rows", "to-hypertable").out
    assert "in a hypertable already" in tollway.run("rows", "to-hypertable").out
    told = tollway.run("rows", "show", "--json").json
    assert told["layout"] == "hypertable"
    assert told["oldest_at"] is None
    assert told["timescaledb"] == {
        "offered": "2.29.2",
        "installed": "2.29.2",
        "usable": True,
        "why_not": None,
    }
    back = tollway.run("rows", "to-months", "--json")
    assert back.json == {"layout": "months", "changed": True, "moved": 0}
    assert tollway.run("rows", "to-months", "--json").json["changed"] is False


def test_chunks_have_a_sensible_size(tollway: Commands) -> None:
    assert tollway.run("rows", "to-hypertable", "--chunk-days", "0").code == 2


def test_a_database_that_is_not_migrated(
    tollway: Commands, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("TOLLWAY_DATABASE_URL", empty_database_url)
    for words in (("show",), ("to-hypertable",), ("to-months",)):
        ended = tollway.run("rows", *words)
        assert ended.code == 1
        assert "Run `tollway migrate`" in ended.err
