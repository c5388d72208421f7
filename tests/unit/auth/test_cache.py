"""What a worker remembers of keys, and how it forgets."""

from __future__ import annotations

import pytest

from gateway.auth.cache import FRESH_US, NEGATIVE_US, KeyCache
from gateway.model.principal import Mode, Principal
from gateway.telemetry.slots import Slots


def principal(account_id: int = 1) -> Principal:
    return Principal(account_id, f"acct_{account_id}", 7, "key_7", "team", Mode.LIVE, b"")


@pytest.fixture
def slots() -> Slots:
    return Slots.in_memory()


@pytest.fixture
def cache(slots: Slots) -> KeyCache:
    return KeyCache(slots, max_keys=3, max_negative=2)


def test_an_entry_is_fresh_for_a_minute(cache: KeyCache) -> None:
    entry = cache.put(b"a", principal(), 1000, active=True)
    assert cache.entries[b"a"] is entry
    assert (entry.checked_at_us, entry.fresh_until_us) == (1000, 1000 + FRESH_US)


def test_a_full_cache_forgets_what_was_checked_longest_ago(cache: KeyCache, slots: Slots) -> None:
    for digest in (b"a", b"b", b"c"):
        cache.put(digest, principal(), 0, active=True)
    cache.put(b"a", principal(), 1, active=True)  # in use, so it was checked again
    cache.put(b"d", principal(), 2, active=True)
    assert list(cache.entries) == [b"c", b"a", b"d"]
    assert slots.get("key_cache_entries") == 3


def test_a_flood_of_unknown_keys_stays_bounded_and_displaces_no_known_key(cache: KeyCache) -> None:
    cache.put(b"known", principal(), 0, active=True)
    for number in range(100):
        cache.put_negative(b"bad%d" % number, number)
    assert list(cache.negative) == [b"bad98", b"bad99"]
    assert cache.negative[b"bad99"] == 99 + NEGATIVE_US
    assert b"known" in cache.entries


def test_a_key_is_known_or_refused_never_both(cache: KeyCache) -> None:
    cache.put_negative(b"a", 0)
    cache.put(b"a", principal(), 1, active=True)
    assert b"a" not in cache.negative
    cache.put_negative(b"a", 2)
    assert b"a" not in cache.entries


def test_a_changed_key_is_forgotten_alone(cache: KeyCache, slots: Slots) -> None:
    cache.put(b"a", principal(), 0, active=True)
    cache.put(b"b", principal(), 0, active=True)
    cache.put_negative(b"n", 0)
    cache.drop_key(b"a")
    cache.drop_key(b"n")
    assert list(cache.entries) == [b"b"]
    assert not cache.negative
    assert cache.changes == 2
    assert slots.get("key_cache_entries") == 1


def test_a_changed_account_takes_all_its_keys_and_no_others(cache: KeyCache) -> None:
    cache.put(b"a", principal(1), 0, active=True)
    cache.put(b"b", principal(2), 0, active=True)
    cache.put(b"c", principal(1), 0, active=False)
    cache.drop_account(1)
    cache.drop_account(404)
    assert list(cache.entries) == [b"b"]
    assert cache.changes == 2


def test_a_key_that_moved_to_another_account_is_dropped_with_the_new_one(cache: KeyCache) -> None:
    cache.put(b"a", principal(1), 0, active=True)
    cache.put(b"a", principal(2), 1, active=True)
    cache.drop_account(1)
    assert b"a" in cache.entries
    cache.drop_account(2)
    assert not cache.entries


def test_forgetting_leaves_nothing_behind(cache: KeyCache) -> None:
    for number in range(50):
        cache.put(b"%d" % number, principal(number), 0, active=True)
    for digest in list(cache.entries):
        cache.drop_key(digest)
    assert not cache._digests


def test_doubt_makes_every_entry_stale_and_forgets_refusals(cache: KeyCache) -> None:
    entry = cache.put(b"a", principal(), 1000, active=True)
    cache.put_negative(b"n", 1000)
    cache.doubt_all()
    assert entry.fresh_until_us == 0
    assert entry.checked_at_us == 1000
    assert not cache.negative
    assert cache.changes == 1


def test_a_new_worker_does_not_inherit_the_gauge_of_one_that_died(slots: Slots) -> None:
    slots.set("key_cache_entries", 12)
    KeyCache(slots)
    assert slots.get("key_cache_entries") == 0
