"""When a counter may be changed: behind at once, ahead only when nothing can be under way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.admission.counters import QuotaPeriod
from gateway.admission.period import Span
from gateway.ledger.quotas import JournalState
from gateway.model.periods import Period
from gateway.model.principal import Mode
from gateway.reconciliation.standing import Look, Standing, standing

PERIOD = QuotaPeriod(7, Mode.LIVE, "api_calls", Period.MONTH, Span(0, 2_678_400))
FIRST = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUIET_S = 15.0
SECOND = FIRST + timedelta(seconds=60)


def journal(seen_at: datetime | None, *open_accounts: int, closed: bool = False) -> JournalState:
    return JournalState(closed, seen_at, frozenset(open_accounts))


def look(at: datetime, counted: int, booked: int, **journals: JournalState) -> Look:
    return Look(at, {PERIOD: (counted, booked)}, frozenset(), journals)


BEFORE = look(FIRST, 12, 10)


@pytest.mark.parametrize(
    ("case", "counted", "booked", "stands"),
    [
        ("they agree", 10, 10, None),
        ("units were lost", 9, 10, Standing.BEHIND),
        ("the counter is gone", 0, 10, Standing.BEHIND),
        ("at first nobody knows what is under way", 12, 10, Standing.UNDER_WAY),
    ],
)
def test_the_first_look(case: str, counted: int, booked: int, stands: Standing | None) -> None:
    assert standing(PERIOD, None, look(FIRST, counted, booked), QUIET_S) is stands, case


DONE = journal(SECOND - timedelta(seconds=5))


@pytest.mark.parametrize(
    ("case", "now", "stands"),
    [
        ("all is booked and nothing is open", look(SECOND, 12, 10, a=DONE), Standing.AHEAD),
        (
            "a finished journal",
            look(SECOND, 12, 10, a=journal(None, closed=True)),
            Standing.AHEAD,
        ),
        ("the counter has moved", look(SECOND, 13, 10, a=DONE), Standing.UNDER_WAY),
        ("the ledger has moved", look(SECOND, 12, 11, a=DONE), Standing.UNDER_WAY),
        ("too soon", look(FIRST + timedelta(seconds=14), 12, 10, a=DONE), Standing.UNDER_WAY),
        ("a call of the account is open", look(SECOND, 12, 10, a=journal(SECOND, 7)), Standing.UNDER_WAY),
        ("one of another account", look(SECOND, 12, 10, a=journal(SECOND, 8)), Standing.AHEAD),
        ("a recorder is behind", look(SECOND, 12, 10, a=DONE, b=journal(FIRST)), Standing.UNDER_WAY),
        ("a recorder of an older release", look(SECOND, 12, 10, a=journal(None)), Standing.UNDER_WAY),
        (
            "a worker whose journal no recorder has seen",
            replace(look(SECOND, 12, 10, a=DONE), announced=frozenset({"a", "b"})),
            Standing.UNDER_WAY,
        ),
    ],
)
def test_the_second_look(case: str, now: Look, stands: Standing) -> None:
    assert standing(PERIOD, BEFORE, now, QUIET_S) is stands, case


def test_a_charge_may_have_been_made_just_before_the_look_and_begun_just_after() -> None:
    at_once = journal(FIRST)
    assert standing(PERIOD, BEFORE, look(SECOND, 12, 10, a=at_once), QUIET_S) is Standing.UNDER_WAY
