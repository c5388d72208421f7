"""Units on their way back."""

from __future__ import annotations

import pytest

from gateway.admission import refunds as refunds_module
from gateway.admission.refunds import Refunds
from gateway.admission.token_bucket import Flow
from gateway.clock import ManualClock
from tests.unit.admission.fakes import FakeStore


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(ManualClock())


@pytest.fixture
def refunds(store: FakeStore) -> Refunds:
    return Refunds(store, lambda: None)


def test_units_of_one_account_travel_together(store: FakeStore, refunds: Refunds) -> None:
    for key, units in (("q:a", 1), ("q:b", 5), ("q:a", 2)):
        refunds.add("7l", key, units)
    refunds.add("8l", "q:a", 4)
    refunds.flush()
    assert store.refunded == [{"q:a": 3, "q:b": 5}, {"q:a": 4}]
    assert len(refunds) == 0


def test_what_a_call_cost_beyond_its_charge_travels_with_them(store: FakeStore, refunds: Refunds) -> None:
    refunds.add("7l", "q:a", 5)
    refunds.add("7l", "q:a", -8)
    refunds.flush()
    assert store.refunded == [{"q:a": -3}]


def test_tokens_go_to_their_bucket_and_survive_an_outage(store: FakeStore, refunds: Refunds) -> None:
    flow = Flow(1, 1000, 10)
    store.down = True
    for tokens in (-3, 1):
        refunds.add_tokens("7l", "b:tpm", flow, tokens)
        refunds.flush()
    store.down = False
    refunds.flush()
    assert store.tokens == [{("b:tpm", flow): -2}]


def test_one_account_need_not_wait_for_the_others(store: FakeStore, refunds: Refunds) -> None:
    refunds.add("7l", "q:a", 1)
    refunds.add("8l", "q:a", 2)
    refunds.flush_account("8l")
    refunds.flush_account("9l")
    assert store.refunded == [{"q:a": 2}]
    assert len(refunds) == 1


def test_nothing_is_sent_for_nothing(store: FakeStore, refunds: Refunds) -> None:
    refunds.add("7l", "q:a", 0)
    refunds.flush()
    assert store.refunded == []


def test_during_an_outage_they_add_up(store: FakeStore, refunds: Refunds) -> None:
    store.down = True
    for tag in ("7l", "8l", "7l"):
        refunds.add(tag, "q:a", 1)
        refunds.flush()
    store.down = False
    refunds.flush()
    assert sorted(store.refunded, key=str) == [{"q:a": 1}, {"q:a": 2}]


def test_there_is_an_end_to_them(store: FakeStore, refunds: Refunds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refunds_module, "ACCOUNTS_MAX", 2)
    for account in range(5):
        refunds.add(f"{account}l", "q:a", 1)
    refunds.add("1l", "q:a", 1)
    assert len(refunds) == 2
