"""Refusals of keys go when they are due: the instant says when the call came, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.auth.refusals import Refusals
from gateway.clock import ManualClock
from gateway.errors import Unauthenticated
from gateway.inline import drive
from gateway.model.access import KEYS_ONLY, Access
from tests.unit.auth import test_access
from tests.unit.auth.issuing import NOW_S, OTHER_RSA_KEY, token
from tests.unit.auth.test_access import KEY, SECRET, TOKENS
from tests.unit.auth.test_guesses import made_up

AFTER_MS = 10
MS_US = 1_000


class Timers:
    """A loop's timers, which ring when the clock is moved to them; `early_us`: how much too early."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.early_us, self.made = clock, 0, 0
        self.due: list[tuple[int, Callable[[], None]]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.made += 1
        at_us = self.clock.monotonic_us() // MS_US * MS_US + round(seconds * 1_000_000) - self.early_us
        self.due.append((at_us, action))

    async def to(self, at_us: int) -> None:
        """Let time pass until an instant."""
        while due := [one for one in self.due if one[0] <= at_us]:
            first = min(due, key=lambda one: one[0])
            self.due.remove(first)
            self.clock.advance(max(0, first[0] - self.clock.monotonic_us()) / 1_000_000)
            first[1]()
            await _let_go_on()
        self.clock.advance(max(0, at_us - self.clock.monotonic_us()) / 1_000_000)
        await _let_go_on()


async def _let_go_on() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Held:
    """Refusals on timers of the test, and in which order and when they went."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.timers = Timers(self.clock)
        self.refusals = Refusals(self.clock, AFTER_MS, self.timers.later, below=lambda _: 0)
        self.gone: list[tuple[str, int]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def hold(self, name: str, came_us: int) -> None:
        async def waiting() -> None:
            await self.refusals.hold(came_us)
            self.gone.append((name, self.clock.monotonic_us()))

        self.tasks.append(asyncio.ensure_future(waiting()))
        await asyncio.sleep(0)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.mark.parametrize(
    ("case", "came_us", "found_us", "gone_us"),
    [
        ("found at once",                            0,      0, 10_000),
        ("found by asking",                          0,  1_200, 10_000),
        ("found in the last moment",                 0,  9_999, 10_000),
        ("finding out took longer than the wait",    0, 12_345, 12_345),
        ("between two milliseconds, found at once",  300,  300, 11_000),
        ("between two milliseconds, found later",    300, 1_700, 11_000),
    ],
)  # fmt: skip
async def test_a_refusal_goes_when_it_is_due_whenever_it_was_found(
    held: Held, case: str, came_us: int, found_us: int, gone_us: int
) -> None:
    await held.timers.to(found_us)
    await held.hold(case, came_us)
    await held.timers.to(20_000)
    assert held.gone == [(case, gone_us)]
    assert not held.refusals._held


async def test_timers_that_are_early_release_nothing_early(held: Held) -> None:
    held.timers.early_us = 700
    await held.hold("early", 0)
    held.timers.early_us = 0
    await held.timers.to(9_999)
    assert held.gone == []
    await held.timers.to(10_000)
    assert held.gone == [("early", 10_000)]


async def test_those_that_are_due_together_go_in_the_order_in_which_they_came(held: Held) -> None:
    await held.timers.to(1_000)
    await held.hold("second, found at once", 200)
    await held.hold("third, found at once", 300)
    await held.hold("first, found late", 100)
    await held.timers.to(20_000)
    assert [name for name, _ in held.gone] == [
        "first, found late",
        "second, found at once",
        "third, found at once",
    ]


async def test_a_flood_costs_a_timer_for_each_millisecond(held: Held) -> None:
    for number in range(200):  # twenty in each of ten milliseconds
        await held.timers.to(number * 50)
        await held.hold(str(number), number * 50)
    assert held.timers.made <= 11
    assert sum(map(len, held.refusals._held.values())) <= 200
    await held.timers.to(50_000)
    assert [name for name, _ in held.gone] == [str(number) for number in range(200)]
    assert not held.refusals._held


async def test_whoever_leaves_keeps_nobody_else(held: Held) -> None:
    for name in ("stays", "leaves", "stays, too"):
        await held.hold(name, 0)
    held.tasks[1].cancel()
    await held.timers.to(20_000)
    assert [name for name, _ in held.gone] == ["stays", "stays, too"]
    assert not held.refusals._held


async def test_nothing_is_held_where_the_wait_is_none(held: Held) -> None:
    held.refusals = Refusals(held.clock, 0, held.timers.later)
    await held.hold("now", 0)
    assert held.gone == [("now", 0)]
    assert held.timers.made == 0


class Bench(test_access.Bench):
    """An authenticator whose questions take 1.2 ms, and whose refusals wait."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers(self.clock)
        self.auth = Authenticator(
            self.look_up,
            self.slots,
            self.clock,
            self.tasks,
            "tw",
            account_lookup=self.look_up_account,
            refusals=Refusals(self.clock, AFTER_MS, self.timers.later, below=lambda _: 0),
        )

    async def look_up(self, key_digest: bytes) -> FoundKey | None:
        self.clock.advance(0.0012)
        return await super().look_up(key_digest)

    async def look_up_account(self, name: str, stands_for: bytes) -> FoundKey | None:
        self.clock.advance(0.0012)
        return await super().look_up_account(name, stands_for)

    async def waited_us(self, credential: bytes | None, access: Access = KEYS_ONLY) -> int:
        """How long whoever sends what does not work waits, from a moment between two milliseconds on."""
        came_us = self.clock.monotonic_us() // MS_US * MS_US + MS_US + 300
        await self.timers.to(came_us)
        call = asyncio.ensure_future(self.call(access, credential and b"Bearer " + credential))
        ended: list[int] = []
        call.add_done_callback(lambda _: ended.append(self.clock.monotonic_us()))
        while not (call.done() or self.timers.due):
            await asyncio.sleep(0)
        await _let_go_on()
        await self.timers.to(came_us + 2 * AFTER_MS * MS_US)
        with pytest.raises(Unauthenticated):
            await call
        return ended[0] - came_us


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


def wrong_tail(secret: bytes) -> bytes:
    return secret[:-1] + (b"a" if secret[-1:] != b"a" else b"b")


async def test_whatever_is_wrong_with_a_key_its_refusal_comes_as_late(bench: Bench) -> None:
    unknown = made_up()
    bench.key = replace(KEY, expires_at_us=bench.clock.now_us() + 1)
    await bench.call(KEYS_ONLY, b"Bearer " + SECRET)
    waited = {
        case: await bench.waited_us(secret)
        for case, secret in {
            "not seen before": unknown,
            "refused a moment ago": unknown,
            "known, and expired": SECRET,
            "expired, and refused a moment ago": SECRET,
            "without the checksum of a key": wrong_tail(SECRET),
            "that begins like a key": b"tw_live_garbage",
            "that looks like none": b"garbage",
        }.items()
    }
    assert set(waited.values()) == {10_700}, waited


async def test_whatever_is_wrong_with_a_token_its_refusal_comes_as_late(bench: Bench) -> None:
    expired = token(exp=NOW_S - 100)
    waited = {
        case: await bench.waited_us(one, TOKENS)
        for case, one in {
            "of an account that is not there": token(sub="nobody"),
            "of an account that was not there a moment ago": token(sub="nobody"),
            "signed with another key": token(OTHER_RSA_KEY),
            "expired": expired,
            "of another issuer": token(iss="https://evil.example/"),
            "that looks like none": b"garbage",
            "with a key that the issuer does not have": token(headers={"kid": "../../dev/null"}),
        }.items()
    }
    assert set(waited.values()) == {10_700}, waited


async def test_who_shows_nothing_is_told_so_at_once(bench: Bench) -> None:
    assert await bench.waited_us(None) == 0


async def test_keys_that_work_wait_for_nothing(bench: Bench) -> None:
    for _ in range(2):
        await bench.call(KEYS_ONLY, b"Bearer " + SECRET)
    await bench.call(TOKENS, b"Bearer " + token())
    assert bench.timers.made == 0


async def test_chance_makes_it_later_by_less_than_as_long_again() -> None:
    clock = ManualClock()
    mosts: list[int] = []
    waits: list[float] = []

    def below(most: int) -> int:
        mosts.append(most)
        return most - 1

    refusals = Refusals(clock, 10, lambda delay_s, _: waits.append(delay_s), below=below)
    drive(refusals.hold(clock.monotonic_us()), lambda _: None)
    assert mosts == [10_000]
    assert waits == [pytest.approx(0.020, abs=0.001)]
