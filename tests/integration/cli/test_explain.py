"""`tollway explain` over real stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Commands
from tests.integration.cli.test_commands import POLICIES, new_account


@pytest.fixture
def tollway(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database_url: str,
    redis_url: str,
    tmp_path: Path,
) -> Commands:
    (tmp_path / "all.yaml").write_text(POLICIES)
    environ = {
        "TOLLWAY_DATABASE_URL": database_url,
        "TOLLWAY_REDIS_URL": redis_url,
        "TOLLWAY_POLICIES": str(tmp_path),
        "TOLLWAY_DATA_DIR": str(tmp_path / "data"),
    }
    return Commands(monkeypatch, capsys, environ)


def test_a_call_is_explained(tollway: Commands) -> None:
    account = new_account(tollway)
    told = tollway.run("explain", "/a?b=c", "--account", account, "--header", "Accept: */*", "--json").json
    assert (told["verdict"], told["route"]["name"]) == ("forward", "all")
    assert [one["name"] for one in told["charges"]] == ["burst"]
    shown = tollway.run("explain", "/a", "--account", account).out
    assert shown.startswith("FORWARD: Nothing refuses the call.\n")
    assert account in shown
    assert "RateLimit" in shown


def test_a_refusal_is_explained(tollway: Commands) -> None:
    tollway.run("enforcement", "set", "shadow", "--reason", "incident 7")
    shown = tollway.run("explain", "/a", "--method", "post").out
    assert shown.startswith("REFUSE 401 unauthenticated: ")
    assert "incident 7" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "a"), "path: Value error, must be a path"),
        (("explain", "/", "--key", "tw_live_x"), "key: "),
        (("explain", "/", "--header", "Authorization: Bearer x"), "is a secret"),
        (("explain", "/", "--header", "nothing"), "Write a header as NAME:VALUE."),
    ],
)
def test_what_can_not_be_asked(tollway: Commands, words: tuple[str, ...], said: str) -> None:
    refused = tollway.run(*words)
    assert refused.code == 2
    assert said in refused.err
