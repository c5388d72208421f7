"""`tollway explain` over real stores."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.commands import Commands
from tests.integration.cli.conftest import new_account


@pytest.fixture
def stores(both_stores: Mapping[str, str]) -> Mapping[str, str]:
    return both_stores


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
