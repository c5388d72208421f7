"""Who guesses tokens is slowed down; who shares his address and has one that works is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.auth.guesses import WITHIN_S, Guesses
from gateway.auth.refusals import Refusals
from gateway.clock import ManualClock
from gateway.controlplane import attempts as module
from gateway.controlplane.attempts import Attempts
from gateway.errors import TooManyGuesses
from gateway.telemetry.slots import Slots

ADDRESS, OTHER = "192.0.2.1", "192.0.2.2"
MOST = 20
WORKS = b"one that works"


class Door:
    """Tokens of which one works, and a count of the questions asked."""

    def __init__(self) -> None:
        self.clock = ManualClock(0)
        guesses = Guesses(self.clock, Slots.in_memory(), MOST)
        self.attempts = Attempts(guesses, Refusals(self.clock, 0))
        self.asked = 0
        self.works = {WORKS}

    async def knock(self, secret: bytes, address: str = ADDRESS) -> bool:
        async def look_up() -> bytes | None:
            self.asked += 1
            await asyncio.sleep(0)
            return secret if secret in self.works else None

        return await self.attempts.find(address, secret, look_up, whole=True) is not None

    async def guess(self) -> None:
        for number in range(MOST):
            assert not await self.knock(b"guess %d" % number)


@pytest.fixture
def door() -> Door:
    return Door()


async def test_an_address_that_guesses_has_to_wait_and_others_need_not(door: Door) -> None:
    await door.guess()
    with pytest.raises(TooManyGuesses) as caught:
        await door.knock(WORKS)
    assert caught.value.headers == b"Retry-After: %d\r\n" % WITHIN_S
    assert await door.knock(WORKS, OTHER)
    door.clock.advance(WITHIN_S)
    assert not await door.knock(b"another guess")


async def test_a_token_that_worked_lately_goes_on_working_from_there(door: Door) -> None:
    assert await door.knock(WORKS)
    await door.guess()
    assert await door.knock(WORKS)
    door.works.clear()
    assert not await door.knock(WORKS), "it was revoked"
    with pytest.raises(TooManyGuesses):
        await door.knock(WORKS)


async def test_guesses_sent_at_once_cause_no_more_look_ups_than_one_by_one(door: Door) -> None:
    guesses = [door.knock(b"guess %d" % number) for number in range(500)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert door.asked == MOST
    assert [type(one) for one in answers] == [bool] * MOST + [TooManyGuesses] * (500 - MOST)


async def test_what_is_remembered_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
    door.works = {b"a", b"b", b"c"}
    for secret in (b"a", b"b", b"c"):
        assert await door.knock(secret)
    assert len(door.attempts._worked) == 2


async def test_that_one_does_not_work_is_said_when_it_is_due(door: Door) -> None:
    rings: list[Callable[[], None]] = []
    refusals = Refusals(door.clock, 10, lambda _, ring: rings.append(ring), below=lambda _: 0)
    door.attempts = Attempts(Guesses(door.clock, Slots.in_memory(), MOST), refusals)
    assert await door.knock(WORKS)
    wrong = [asyncio.ensure_future(door.knock(secret)) for secret in (b"a guess", b"another")]
    door.works.clear()
    revoked = asyncio.ensure_future(door.knock(WORKS))
    while door.asked < 4 or not rings:
        await asyncio.sleep(0)
    assert not any(one.done() for one in (*wrong, revoked))
    door.clock.advance(0.01)
    for ring in rings:
        ring()
    assert await asyncio.gather(*wrong, revoked) == [False, False, False]
