from __future__ import annotations

import asyncio

import pytest

from gateway.tasks import Tasks
from gateway.upstream.names import RESOLVE_S, Names, look_up


class Resolver:
    """Answers what the test says, counts questions, and the clock is the test's as well."""

    def __init__(self) -> None:
        self.answer: tuple[str, ...] | Exception = ("10.0.0.1",)
        self.asked = 0
        self.now = 0.0
        self.gate: asyncio.Event | None = None
        self.names = Names(Tasks(), self.look_up, lambda: self.now)

    async def look_up(self, host: str) -> tuple[str, ...]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def resolver() -> Resolver:
    return Resolver()


async def test_a_name_is_asked_again_after_a_while(resolver: Resolver) -> None:
    assert await resolver.names.addresses("api") == ("10.0.0.1",)
    resolver.answer = ("10.0.0.2", "10.0.0.3")
    resolver.now = RESOLVE_S - 1
    assert await resolver.names.addresses("api") == ("10.0.0.1",)
    resolver.now = RESOLVE_S
    assert await resolver.names.addresses("api") == ("10.0.0.2", "10.0.0.3")
    assert resolver.asked == 2


async def test_a_resolver_that_fails_leaves_what_was_known(resolver: Resolver) -> None:
    await resolver.names.addresses("api")
    resolver.answer, resolver.now = OSError("gone"), RESOLVE_S
    assert await resolver.names.addresses("api") == ("10.0.0.1",)
    assert await resolver.names.addresses("api") == ("10.0.0.1",)
    assert resolver.asked == 2


@pytest.mark.parametrize("failure", [OSError("gone"), UnicodeError("label too long")])
async def test_a_name_that_was_never_known_is_an_error_and_asked_again(
    failure: Exception, resolver: Resolver
) -> None:
    resolver.answer = failure
    with pytest.raises(OSError):
        await resolver.names.addresses("api")
    resolver.answer = ("10.0.0.1",)
    assert await resolver.names.addresses("api") == ("10.0.0.1",)


async def test_many_wait_for_one_question_and_may_give_up(resolver: Resolver) -> None:
    resolver.gate = asyncio.Event()
    first = asyncio.ensure_future(resolver.names.addresses("api"))
    second = asyncio.ensure_future(resolver.names.addresses("api"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    resolver.gate.set()
    assert await second == ("10.0.0.1",)
    assert resolver.asked == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_is_nobodys_question(address: str, resolver: Resolver) -> None:
    assert await resolver.names.addresses(address) == (address,)
    assert resolver.asked == 0


async def test_the_system_knows_localhost() -> None:
    assert set(await look_up("localhost")) & {"127.0.0.1", "::1"}
