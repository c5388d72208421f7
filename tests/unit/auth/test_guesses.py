"""Who guesses keys is slowed down without a question to Postgres each; who has a key that works is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.auth.cache import NEGATIVE_US
from gateway.auth.guesses import TIMES_FOR_BEGINNINGS, WITHIN_S, Guesses
from gateway.errors import GatewayError, TooManyGuesses, Unauthenticated
from gateway.model.principal import Mode, Principal
from tests.unit.auth import test_authenticator

MOST = 5
PRINCIPAL, SECRET, OTHER = test_authenticator.PRINCIPAL, test_authenticator.SECRET, test_authenticator.OTHER


def made_up() -> bytes:
    return mint("tw", Mode.LIVE).secret.encode()


class Bench(test_authenticator.Bench):
    """Callers by address, of whom each may be wrong `MOST` times a minute."""

    def __init__(self, *, foreign_keys: bool = False) -> None:
        super().__init__()
        guesses = Guesses(self.clock, self.slots, MOST)
        self.auth = Authenticator(
            self.look_up, self.slots, self.clock, self.tasks, "tw", guesses=guesses, foreign_keys=foreign_keys
        )

    async def call_from(self, address: str, secret: bytes) -> Principal:
        exchange = self.exchange(secret)
        exchange.client_address = address
        return await self.auth.authenticate(exchange)

    async def refused_from(self, address: str, secret: bytes) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.call_from(address, secret)
        return caught.value

    def slowed(self, by: str) -> int:
        return self.slots.get("key_guesses_refused_total", by)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


async def test_an_address_that_guesses_causes_no_more_questions(bench: Bench) -> None:
    answers = [await bench.refused_from("192.0.2.1", made_up()) for _ in range(MOST + 50)]
    assert [type(one) for one in answers] == [Unauthenticated] * MOST + [TooManyGuesses] * 50
    assert bench.asked == MOST
    assert bench.slowed("address") == 50
    last = answers[-1]
    assert (last.status, last.code, last.headers) == (429, "too_many_attempts", b"Retry-After: 60\r\n")
    bench.clock.advance(WITHIN_S)
    assert isinstance(await bench.refused_from("192.0.2.1", made_up()), Unauthenticated)


async def test_whatever_is_not_known_is_answered_alike_to_who_guesses(bench: Bench) -> None:
    """Not even a key that would work, or one that can be none, tells anything then."""
    for _ in range(MOST):
        await bench.refused_from("192.0.2.1", made_up())
    wrong_tail = SECRET[:-1] + (b"a" if SECRET[-1:] != b"a" else b"b")
    asked = bench.asked
    answers = [
        await bench.refused_from("192.0.2.1", secret)
        for secret in (SECRET, made_up(), wrong_tail, b"tw_live_garbage", OTHER)
    ]
    assert len({(type(one), str(one), one.headers, one.status, one.code) for one in answers}) == 1
    assert bench.asked == asked


async def test_others_and_keys_that_worked_lately_go_on(bench: Bench) -> None:
    await bench.call_from("192.0.2.1", SECRET)
    for _ in range(MOST + 1):
        await bench.refused_from("192.0.2.1", made_up())
    assert await bench.call_from("192.0.2.1", SECRET) is PRINCIPAL
    bench.keys[digest(OTHER)] = FoundKey(PRINCIPAL, active=True)
    assert await bench.call_from("192.0.2.2", OTHER) is PRINCIPAL


async def test_addresses_of_one_network_are_one_caller(bench: Bench) -> None:
    for number in range(MOST):
        await bench.refused_from(f"2001:db8::{number}", made_up())
    assert isinstance(await bench.refused_from("2001:db8::ffff", made_up()), TooManyGuesses)
    assert isinstance(await bench.refused_from("2001:db8:0:1::1", made_up()), Unauthenticated)


async def test_one_key_that_does_not_work_is_no_guessing(bench: Bench) -> None:
    """Somebody goes on with a key that was revoked: that must not shut out others behind the same proxy."""
    revoked = made_up()
    for _ in range(MOST * 4):
        assert isinstance(await bench.refused_from("192.0.2.1", revoked), Unauthenticated)
        bench.clock.advance(NEGATIVE_US / 1e6 + 1)
    assert await bench.call_from("192.0.2.1", SECRET) is PRINCIPAL


async def test_one_wrong_key_that_many_send_at_once_counts_once(bench: Bench) -> None:
    bench.hold = asyncio.Event()
    wrong = made_up()
    calls = [asyncio.ensure_future(bench.refused_from("192.0.2.1", wrong)) for _ in range(MOST * 4)]
    await asyncio.sleep(0)
    bench.hold.set()
    assert {type(one) for one in await asyncio.gather(*calls)} == {Unauthenticated}
    assert await bench.call_from("192.0.2.1", SECRET) is PRINCIPAL


async def test_garbage_costs_nothing_and_counts_for_nothing(bench: Bench) -> None:
    for number in range(MOST * 4):
        garbage = b"tw_live_garbage%d" % number
        assert isinstance(await bench.refused_from("192.0.2.1", garbage), Unauthenticated)
    assert bench.asked == 0
    assert await bench.call_from("192.0.2.1", SECRET) is PRINCIPAL


async def test_many_honest_keys_at_once_are_no_guesses(bench: Bench) -> None:
    secrets = [made_up() for _ in range(MOST * 10)]
    bench.keys |= {digest(secret): FoundKey(PRINCIPAL, active=True) for secret in secrets}
    found = await asyncio.gather(*[bench.call_from("192.0.2.1", secret) for secret in secrets])
    assert found == [PRINCIPAL] * len(secrets)


async def test_guesses_that_begin_alike_are_slowed_down_wherever_they_come_from() -> None:
    bench = Bench(foreign_keys=True)
    most = MOST * TIMES_FOR_BEGINNINGS
    answers = [
        await bench.refused_from(f"192.0.2.{number}", b"legacy-4711-%012d" % number)
        for number in range(most + 10)
    ]
    assert [type(one) for one in answers] == [Unauthenticated] * most + [TooManyGuesses] * 10
    assert (bench.asked, bench.slowed("beginning"), bench.slowed("address")) == (most, 10, 0)
    assert isinstance(await bench.refused_from("192.0.2.1", b"legacy-4712-000000000000"), Unauthenticated)
    await bench.tasks.close()


async def test_a_bound_of_zero_is_none() -> None:
    bench = test_authenticator.Bench()
    for _ in range(MOST * 4):
        assert isinstance(await bench.refused(made_up()), Unauthenticated)
    assert bench.asked == MOST * 4
    await bench.tasks.close()


async def test_the_secret_is_in_no_error(bench: Bench) -> None:
    for _ in range(MOST):
        await bench.refused_from("192.0.2.1", made_up())
    error = await bench.refused_from("192.0.2.1", SECRET)
    assert "tw_live" not in f"{error} {error.internal} {error!r}"
