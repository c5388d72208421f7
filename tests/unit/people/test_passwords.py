"""Hashes of passwords, without holding up the loop and without end."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher

from gateway.people import passwords
from gateway.people.passwords import Busy, Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def test_a_password_matches_its_hash_and_nobodys_never() -> None:
    made = Passwords(CHEAP)
    stored = await made.hash("three mild words")
    assert stored.startswith("$argon2id$")
    assert await made.matches(stored, "three mild words")
    assert not await made.matches(stored, "three wild words")
    assert not await made.matches(None, "three mild words")
    assert not await made.matches(None, "the password of nobody")
    assert not await made.matches("garbage", "three mild words")


async def test_the_same_letters_from_any_keyboard_are_the_same_password() -> None:
    made = Passwords(CHEAP)
    stored = await made.hash("caf\u00e9 au lait")
    assert await made.matches(stored, "cafe\u0301 au lait")


def test_what_is_kept_costs_what_is_recommended() -> None:
    hasher = passwords._HASHER
    assert (hasher.memory_cost, hasher.time_cost, hasher.parallelism) == (47_104, 1, 1)
    assert hasher.type.name == "ID"


async def test_hashes_of_less_effort_are_dated() -> None:
    stored = await Passwords(CHEAP).hash("three mild words")
    assert not Passwords(CHEAP).is_dated(stored)
    assert Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)).is_dated(stored)


async def test_those_who_would_wait_too_long_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING_MAX", 0)
    go_on, begun = threading.Event(), threading.Semaphore(0)

    class Slow(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            if password != "the password of nobody":
                begun.release()
                assert go_on.wait(30)
            return CHEAP.hash(password)

    made = Passwords(Slow(time_cost=1, memory_cost=8, parallelism=1))
    waiting = [asyncio.ensure_future(made.hash("three mild words")) for _ in range(passwords.AT_ONCE)]
    for _ in waiting:
        assert await asyncio.to_thread(begun.acquire, timeout=30), "both are at work, and the loop is free"
    with pytest.raises(Busy):
        await made.hash("three mild words")
    go_on.set()
    await asyncio.gather(*waiting)
    assert await made.hash("three mild words")
    made.close()
