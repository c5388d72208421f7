from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.rendezvous import rank

KEYS = [f"acct_{number}" for number in range(4000)]


def places(weights: dict[str, int]) -> dict[str, str]:
    """Where each key belongs."""
    return {key: min(weights, key=lambda place: rank(key, place, weights[place])) for key in KEYS}


def test_the_same_in_every_process_and_release() -> None:
    assert round(rank("acct_1", "http://a:80", 1), 12) == 0.053330692823
    assert rank("acct_1", "http://a:80", 2) == rank("acct_1", "http://a:80", 1) / 2


def test_shares_follow_the_weights() -> None:
    shares = Counter(places({"a": 70, "b": 25, "c": 5}).values())
    assert 2650 < shares["a"] < 2950
    assert 880 < shares["b"] < 1120
    assert 140 < shares["c"] < 260


def test_when_a_weight_grows_keys_move_there_and_nowhere_else() -> None:
    before, after = places({"a": 95, "b": 5, "c": 5}), places({"a": 95, "b": 20, "c": 5})
    moved = {key for key in KEYS if before[key] != after[key]}
    assert len(moved) > 300
    assert {after[key] for key in moved} == {"b"}


def test_when_a_place_goes_only_its_keys_move() -> None:
    before, after = places({"a": 2, "b": 1, "c": 1}), places({"a": 2, "b": 1})
    assert all(before[key] == "c" for key in KEYS if before[key] != after[key])


@given(st.text(max_size=20), st.text(max_size=20), st.integers(1, 1000))
def test_a_rank_is_always_a_distance(key: str, place: str, weight: int) -> None:
    assert 0 <= rank(key, place, weight) < 50
