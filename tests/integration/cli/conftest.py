"""The command line on a database of its own and a folder of policies. Files have their own `policies`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.commands import Commands

POLICIES = """
upstreams:
  here: {targets: [http://127.0.0.1:9000]}
tiers:
  community: {limits: [{name: burst, rate: 60/minute, burst: 20}]}
  team: {extends: community}
routes:
  - {name: all, match: {path: /**}, upstream: here}
"""


@pytest.fixture
def policies() -> str:
    """What stands in the policy file."""
    return POLICIES


@pytest.fixture
def folder(tmp_path: Path, policies: str) -> Path:
    """A folder with a `policies` folder in it."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(policies)
    return tmp_path


@pytest.fixture
def stores(database_url: str) -> Mapping[str, str]:
    """Settings of the stores that the commands need; those that need Redis override it by `both_stores`."""
    return {"TOLLWAY_DATABASE_URL": database_url}


@pytest.fixture
def both_stores(database_url: str, redis_url: str) -> Mapping[str, str]:
    return {"TOLLWAY_DATABASE_URL": database_url, "TOLLWAY_REDIS_URL": redis_url}


@pytest.fixture
def tollway(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    stores: Mapping[str, str],
) -> Commands:
    """Types commands."""
    places = {"TOLLWAY_POLICIES": str(folder / "policies"), "TOLLWAY_DATA_DIR": str(folder / "data")}
    return Commands(monkeypatch, capsys, {**stores, **places})


def new_account(tollway: Commands) -> str:
    """The id of an account that was not there before."""
    made = tollway.run("account", "create", "--name", "Acme", "--tier", "community", "--json")
    assert made.code == 0, made.err
    return str(made.json["id"])
