"""What open calls say about quotas."""

from __future__ import annotations

import pytest

from gateway.journal.records import Begin
from gateway.ledger import open_calls as module
from gateway.ledger.open_calls import QUARTER_S, open_calls
from gateway.model.principal import Mode
from tests.unit.journal.journals import CALL, NOBODY

NOON_US = 1_784_030_400_000_000


def test_units_are_added_up_by_account_mode_meter_and_quarter_of_an_hour() -> None:
    dear = CALL._replace(charges={"api_calls": 2, "tokens": 5})
    test = CALL._replace(mode=Mode.TEST)
    later_us = NOON_US + QUARTER_S * 1_000_000
    begins = [
        Begin(1, NOON_US, CALL),
        Begin(2, NOON_US + 1, dear),
        Begin(3, later_us, CALL),
        Begin(4, NOON_US, test),
    ]
    found = open_calls(begins)
    noon_s = NOON_US // 1_000_000
    assert found.accounts == [CALL.account_id]
    assert sorted(found.units) == [
        (7, "live", "api_calls", noon_s, 3),
        (7, "live", "api_calls", noon_s + QUARTER_S, 1),
        (7, "live", "tokens", noon_s, 5),
        (7, "test", "api_calls", noon_s, 1),
    ]


def test_nobody_and_what_costs_nothing_are_left_out() -> None:
    free = CALL._replace(account_id=9, charges={"api_calls": 0})
    found = open_calls([Begin(1, NOON_US, NOBODY), Begin(2, NOON_US, free)])
    assert found == ([9], [])


def test_rows_are_bounded_and_the_largest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 2)
    calls = [CALL._replace(account_id=number, charges={"api_calls": number}) for number in (1, 2, 3)]
    found = open_calls(Begin(number, NOON_US, call) for number, call in enumerate(calls))
    assert [row[0] for row in found.units] == [3, 2]
    assert found.accounts == [1, 2, 3]
