"""Guessing at the portal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.clock import ManualClock
from gateway.controlplane.doors import Doors, caller_of
from gateway.controlplane.problems import Problem


def allowed(attempt: Callable[[int], None], most: int = 200) -> int:
    """How often something may be tried before it is refused."""
    for number in range(most):
        try:
            attempt(number)
        except Problem:
            return number
    return most


@pytest.fixture
def doors() -> Doors:
    return Doors(ManualClock())


def test_a_refusal_says_when_to_come_back(doors: Doors) -> None:
    for _ in range(10):
        doors.code("person_1")
    with pytest.raises(Problem) as refused:
        doors.code("person_1")
    assert (refused.value.status, refused.value.code) == (429, "too_many_attempts")
    assert refused.value.headers["Retry-After"] == "3600"


def test_one_caller_and_one_address(doors: Doors) -> None:
    assert allowed(lambda _: doors.log_in("1.1.1.1", "a@example.com")) == 10


def test_one_caller_and_many_addresses(doors: Doors) -> None:
    assert allowed(lambda number: doors.log_in("1.1.1.1", f"{number}@example.com")) == 30


def test_many_callers_and_one_address_in_whatever_case(doors: Doors) -> None:
    assert allowed(lambda n: doors.log_in(f"1.1.1.{n}", "A@example.com" if n % 2 else "a@EXAMPLE.com")) == 50


def test_who_logged_in_from_here_before_is_not_locked_out_by_others(doors: Doors) -> None:
    doors.log_in("2.2.2.2", "a@example.com")
    doors.logged_in("2.2.2.2", "a@example.com")
    assert allowed(lambda number: doors.log_in(f"1.1.1.{number}", "a@example.com")) == 50
    assert allowed(lambda number: doors.log_in("2.2.2.2", f"{number}@example.com")) == 30
    assert allowed(lambda _: doors.log_in("2.2.2.2", "a@example.com")) == 10, (
        "but guesses no more than others"
    )


def test_who_logs_in_right_may_do_so_as_often_as_needed(doors: Doors) -> None:
    def right(_: int) -> None:
        doors.log_in("1.1.1.1", "a@example.com")
        doors.logged_in("1.1.1.1", "a@example.com")

    assert allowed(right) == 200


def test_codes_and_tokens_and_mails(doors: Doors) -> None:
    assert allowed(lambda _: doors.code("person_1")) == 10
    assert allowed(lambda _: doors.token("1.1.1.1")) == 30
    assert allowed(lambda number: doors.mail(f"1.1.1.{number}", "a@example.com")) == 5
    assert allowed(lambda number: doors.mail("2.2.2.2", f"{number}@example.com")) == 20


@pytest.mark.parametrize(
    ("remote", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
    ],
)
def test_whoever_has_one_address_of_a_network_has_them_all(
    remote: str, caller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_mocked_request("GET", "/").clone(remote=remote)
    assert caller_of(request) == caller
