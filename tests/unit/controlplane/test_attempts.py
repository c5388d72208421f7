"""Who guesses tokens is slowed down; who shares his address and has one that works is not."""

from __future__ import annotations

from gateway.clock import ManualClock
from gateway.controlplane.attempts import MOST_ADDRESSES, MOST_FAILURES, WITHIN_US, Attempts

ADDRESS, OTHER = "192.0.2.1", "192.0.2.2"
TOKEN, WORKS = b"a token", b"one that works"


def guessed_too_often(clock: ManualClock) -> Attempts:
    attempts = Attempts(clock)
    for _ in range(MOST_FAILURES):
        assert attempts.wait_s(ADDRESS, TOKEN) == 0
        attempts.failed(ADDRESS)
    return attempts


def test_an_address_that_guesses_has_to_wait_and_others_need_not() -> None:
    clock = ManualClock(0)
    attempts = guessed_too_often(clock)
    assert attempts.wait_s(ADDRESS, TOKEN) == WITHIN_US // 1_000_000
    assert attempts.wait_s(OTHER, TOKEN) == 0
    clock.advance(WITHIN_US / 1_000_000)
    assert attempts.wait_s(ADDRESS, TOKEN) == 0


def test_a_token_that_worked_lately_goes_on_working_from_there() -> None:
    attempts = guessed_too_often(ManualClock(0))
    attempts.worked(WORKS)
    assert attempts.wait_s(ADDRESS, WORKS) == 0
    attempts.forget(WORKS)
    assert attempts.wait_s(ADDRESS, WORKS) > 0


def test_what_is_remembered_is_bounded() -> None:
    attempts = guessed_too_often(ManualClock(0))
    for number in range(MOST_ADDRESSES):
        attempts.failed(f"address {number}")
    assert attempts.wait_s(ADDRESS, TOKEN) == 0, "the oldest was forgotten"
