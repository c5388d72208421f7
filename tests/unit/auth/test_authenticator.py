"""Who may pass, what costs a question to Postgres, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.records import FoundKey
from gateway.auth import lookups
from gateway.auth.authenticator import OUTAGE_US, Authenticator
from gateway.auth.cache import FRESH_US, NEGATIVE_US
from gateway.clock import ManualClock
from gateway.errors import AccountSuspended, GatewayError, KeyLookupUnavailable, Unauthenticated
from gateway.inline import drive
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.principal import Mode, Principal
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

SECRET = mint("tw", Mode.LIVE).secret.encode()
OTHER = mint("tw", Mode.LIVE).secret.encode()
PRINCIPAL = Principal(1, "acct_1", 7, "key_7", "team", Mode.LIVE, b"")
PAST_FRESH_S = FRESH_US / 1e6 + 1


class Bench:
    """An authenticator over a table of keys that the test edits, and a count of the questions asked."""

    def __init__(self) -> None:
        self.keys: dict[bytes, FoundKey] = {digest(SECRET): FoundKey(PRINCIPAL, active=True)}
        self.asked = 0
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.slots, self.clock, self.tasks = Slots.in_memory(), ManualClock(), Tasks()
        self.auth = Authenticator(self.look_up, self.slots, self.clock, self.tasks, "tw")

    async def look_up(self, key_digest: bytes) -> FoundKey | None:
        self.asked += 1
        found = self.keys.get(key_digest)  # what a query sees is settled before its answer travels
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return found

    def exchange(self, secret: bytes | None) -> Exchange:
        head = RequestHead()
        head.authorization = None if secret is None else b"Bearer " + secret
        made = Exchange(head, cast("Any", None), b"")
        made.started_at_us, made.started_monotonic_us = self.clock.now_us(), self.clock.monotonic_us()
        return made

    async def call(self, secret: bytes | None = SECRET) -> Principal:
        return await self.auth.authenticate(self.exchange(secret))

    async def refused(self, secret: bytes | None = SECRET) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.call(secret)
        return caught.value

    def counted(self, result: str) -> int:
        return self.slots.get("key_cache_total", result)

    async def settle(self) -> None:
        """Let what was started in the background end."""
        while self.tasks._running:
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


async def test_a_key_is_looked_up_once_and_then_known(bench: Bench) -> None:
    assert await bench.call() is PRINCIPAL
    assert await bench.call() is PRINCIPAL
    assert bench.asked == 1
    assert (bench.counted("miss"), bench.counted("hit")) == (1, 1)


async def test_a_known_key_costs_no_await(bench: Bench) -> None:
    await bench.call()
    coroutine = bench.auth.authenticate(bench.exchange(SECRET))
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value is PRINCIPAL


async def test_works_in_a_coroutine_stepped_inline(bench: Bench) -> None:
    ended: asyncio.Future[Principal] = asyncio.get_running_loop().create_future()

    async def request() -> None:
        ended.set_result(await bench.auth.authenticate(bench.exchange(SECRET)))

    # From a callback, as a connection does: there is no current task there.
    asyncio.get_running_loop().call_soon(lambda: drive(request(), lambda _: None))
    assert await ended is PRINCIPAL


async def test_many_calls_with_one_unseen_key_ask_once(bench: Bench) -> None:
    bench.hold = asyncio.Event()
    calls = [asyncio.ensure_future(bench.call()) for _ in range(50)]
    await asyncio.sleep(0)
    calls[0].cancel()  # a caller who leaves does not end the question of the others
    await asyncio.sleep(0)
    bench.hold.set()
    assert await asyncio.gather(*calls[1:]) == [PRINCIPAL] * 49
    assert bench.asked == 1


async def test_everything_that_does_not_work_gets_the_very_same_refusal(bench: Bench) -> None:
    bench.keys[digest(OTHER)] = FoundKey(
        replace(PRINCIPAL, expires_at_us=bench.clock.now_us() + 1), active=True
    )
    await bench.call(OTHER)
    bench.clock.advance(1)
    wrong_tail = SECRET[:-1] + (b"a" if SECRET[-1:] != b"a" else b"b")
    unknown = mint("tw", Mode.LIVE).secret.encode()
    refusals = [
        await bench.refused(secret)
        for secret in (
            None,
            b"garbage",
            b"tw_live_garbage",
            wrong_tail,
            unknown,
            unknown,
            OTHER,
            b"\xff" * 500,
        )
    ]
    assert {(type(one), str(one), one.headers, one.status, one.code) for one in refusals} == {
        (
            Unauthenticated,
            Unauthenticated.default_detail,
            b'WWW-Authenticate: Bearer realm="tollway"\r\n',
            401,
            "unauthenticated",
        )
    }


async def test_garbage_is_refused_without_a_question(bench: Bench) -> None:
    for secret in (b"tw_", b"tw_live_x", SECRET[:-1], SECRET + b"a", SECRET.swapcase()):
        await bench.refused(secret)
    assert bench.asked == 0
    assert bench.counted("malformed") == 4  # SECRET.swapcase() does not even begin like a key of ours


async def test_an_unknown_key_is_asked_about_once_in_ten_seconds(bench: Bench) -> None:
    for _ in range(3):
        await bench.refused(OTHER)
    assert bench.asked == 1
    assert (bench.counted("miss"), bench.counted("negative_hit")) == (1, 2)
    bench.clock.advance(NEGATIVE_US / 1e6 + 1)
    bench.keys[digest(OTHER)] = FoundKey(PRINCIPAL, active=True)
    assert await bench.call(OTHER) is PRINCIPAL


async def test_a_suspended_account_is_told_so_from_postgres_and_from_the_cache(bench: Bench) -> None:
    bench.keys[digest(SECRET)] = FoundKey(PRINCIPAL, active=False)
    assert isinstance(await bench.refused(), AccountSuspended)
    assert isinstance(await bench.refused(), AccountSuspended)
    assert bench.asked == 1


async def test_a_known_key_ends_at_its_expiry_without_a_question(bench: Bench) -> None:
    expires_at_us = bench.clock.now_us() + 5_000_000
    bench.keys[digest(SECRET)] = FoundKey(replace(PRINCIPAL, expires_at_us=expires_at_us), active=True)
    await bench.call()
    bench.clock.advance(4.999999)
    await bench.call()
    bench.clock.advance(0.000001)
    assert isinstance(await bench.refused(), Unauthenticated)
    assert bench.asked == 1


async def test_after_a_minute_a_key_is_checked_behind_the_callers_back(bench: Bench) -> None:
    await bench.call()
    bench.clock.advance(PAST_FRESH_S)
    bench.keys[digest(SECRET)] = FoundKey(replace(PRINCIPAL, tier="free"), active=True)
    assert (await bench.call()).tier == "team"
    await bench.settle()
    assert (await bench.call()).tier == "free"
    assert bench.asked == 2


async def test_after_two_minutes_unused_a_key_is_checked_before_it_passes(bench: Bench) -> None:
    await bench.call()
    bench.clock.advance(2 * FRESH_US / 1e6 + 1)
    bench.keys.clear()
    assert isinstance(await bench.refused(), Unauthenticated)


async def test_after_missed_changes_a_key_is_checked_before_it_passes(bench: Bench) -> None:
    await bench.call()
    bench.auth.cache.doubt_all()
    bench.keys.clear()
    assert isinstance(await bench.refused(), Unauthenticated)


async def test_a_revocation_is_not_undone_by_an_answer_already_on_its_way(bench: Bench) -> None:
    bench.hold = asyncio.Event()
    call = asyncio.ensure_future(bench.call())
    while not bench.asked:
        await asyncio.sleep(0)
    bench.keys.clear()
    bench.auth.cache.drop_key(digest(SECRET))  # the news overtakes the answer
    bench.hold.set()
    with pytest.raises(Unauthenticated):
        await call
    assert bench.asked == 2
    assert digest(SECRET) not in bench.auth.cache.entries


async def test_an_answer_that_changes_keep_overtaking_is_used_but_not_kept(bench: Bench) -> None:
    async def overtaken(_: bytes) -> FoundKey | None:
        bench.auth.cache.drop_account(99)
        return FoundKey(PRINCIPAL, active=True)

    bench.auth._lookups._lookup = overtaken
    assert await bench.call() is PRINCIPAL
    assert not bench.auth.cache.entries


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("the server is gone", ConnectionRefusedError()),
        ("the pool is exhausted", TimeoutError()),
    ],
)
async def test_postgres_gone_is_never_a_401(bench: Bench, case: str, error: Exception) -> None:
    bench.error = error
    refusal = await bench.refused()
    assert isinstance(refusal, KeyLookupUnavailable), case
    assert refusal.headers == b"Retry-After: 2\r\n"
    assert refusal.status == 503
    assert bench.counted("unavailable") == 1
    assert bench.slots.get("key_lookup_errors_total") == 1
    bench.error = None
    assert await bench.call() is PRINCIPAL  # nothing negative was remembered


async def test_a_server_that_does_not_answer_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TIMEOUT_S", 0.01)
    bench.hold = asyncio.Event()
    assert isinstance(await bench.refused(), KeyLookupUnavailable)


async def test_a_server_that_does_not_even_let_go_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TIMEOUT_S", 0.01)
    release = asyncio.Event()

    async def stuck(_: bytes) -> FoundKey | None:
        try:
            await release.wait()
        except asyncio.CancelledError:
            await release.wait()
        return None

    bench.auth._lookups._lookup = stuck
    assert isinstance(await bench.refused(), KeyLookupUnavailable)
    release.set()


async def test_known_keys_work_through_an_hour_without_postgres(bench: Bench) -> None:
    await bench.call()
    bench.error = ConnectionRefusedError()
    for _ in range(59):
        bench.clock.advance(60)
        assert await bench.call() is PRINCIPAL
        await bench.settle()
    bench.clock.advance(61)
    assert isinstance(await bench.refused(), KeyLookupUnavailable)
    assert OUTAGE_US == 3_600_000_000


async def test_known_keys_do_not_wait_for_postgres_on_every_call_while_it_is_gone(bench: Bench) -> None:
    await bench.call()
    bench.error = ConnectionRefusedError()
    bench.clock.advance(300)
    for _ in range(10):
        await bench.call()
    assert bench.asked == 2
    bench.clock.advance(3)
    await bench.call()
    await bench.settle()
    assert bench.asked == 3


async def test_a_server_that_hangs_holds_up_known_keys_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TIMEOUT_S", 0.01)
    await bench.call()
    bench.hold = asyncio.Event()
    bench.clock.advance(300)
    assert await bench.call() is PRINCIPAL  # waited for, in vain
    for _ in range(3):
        bench.clock.advance(3)
        coroutine = bench.auth.authenticate(bench.exchange(SECRET))
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        assert done.value.value is PRINCIPAL
        await bench.settle()
    assert bench.asked == 5  # somebody asks all the same
    bench.hold.set()
    bench.clock.advance(3)
    await bench.call()
    await bench.settle()
    bench.keys.clear()
    bench.clock.advance(300)
    assert isinstance(await bench.refused(), Unauthenticated)


async def test_a_sign_of_life_ends_the_trust_in_known_keys_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "TIMEOUT_S", 0.01)
    await bench.call()
    bench.hold = asyncio.Event()
    bench.clock.advance(300)
    assert await bench.call() is PRINCIPAL
    bench.hold.set()
    bench.keys.clear()
    bench.auth.cache.doubt_all()  # as the listener does when it is connected again
    assert isinstance(await bench.refused(), Unauthenticated)


async def test_more_questions_than_allowed_at_once_are_answered_as_unavailable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MAX_PENDING", 3)
    bench.hold = asyncio.Event()
    waiting = [asyncio.ensure_future(bench.refused(mint("tw", Mode.LIVE).secret.encode())) for _ in range(3)]
    while bench.asked < 3:
        await asyncio.sleep(0)
    assert isinstance(await bench.refused(), KeyLookupUnavailable)
    bench.hold.set()
    assert {type(one) for one in await asyncio.gather(*waiting)} == {Unauthenticated}


async def test_ending_the_worker_ends_a_waiting_call(bench: Bench) -> None:
    bench.hold = asyncio.Event()
    ended: list[BaseException | None] = []

    async def request() -> None:
        await bench.auth.authenticate(bench.exchange(SECRET))

    asyncio.get_running_loop().call_soon(lambda: drive(request(), ended.append))
    while not bench.asked:
        await asyncio.sleep(0)
    await bench.tasks.close()
    while not ended:
        await asyncio.sleep(0)
    assert isinstance(ended[0], asyncio.CancelledError)


async def test_secrets_stay_out_of_errors(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.error = ConnectionRefusedError(SECRET.decode())
    refusals: list[Callable[[], Awaitable[GatewayError]]] = [bench.refused, lambda: bench.refused(OTHER[:-1])]
    for refuse in refusals:
        error = await refuse()
        assert "tw_live" not in f"{error} {error.internal} {error!r}"
    assert "tw_live" not in caplog.text
