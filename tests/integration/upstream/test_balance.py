"""Which target answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from gateway.model.policies import Balance, Target
from tests.integration.upstream.conftest import (
    GET,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    status_of,
)


async def three(make_target: MakeTarget) -> list[ScriptedTarget]:
    return [await make_target(name) for name in "abc"]


async def test_targets_take_turns(make_target: MakeTarget, make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(*await three(make_target))
    assert "".join(await gateway.names(9)) == "abcabcabc"


async def test_a_canary_gets_its_share(make_target: MakeTarget, make_gateway: MakeGateway) -> None:
    stable, canary = await make_target("stable"), await make_target("canary")
    gateway = await make_gateway(replace(stable.target, weight=9), canary)
    assert Counter(await gateway.names(30)) == {"stable": 27, "canary": 3}


async def test_the_target_with_the_fewest_calls_at_hand_is_next(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    slow, quick = await make_target("slow"), await make_target("quick")
    gate = asyncio.Event()

    async def wait(reader: Reader, writer: Writer) -> None:
        await slow.head(reader)
        await gate.wait()
        slow.answer(writer)

    slow.script = wait
    gateway = await make_gateway(slow, quick, balance=Balance.LEAST_CONNECTIONS)
    waiting = asyncio.ensure_future(gateway.call())
    await slow.asked(1)
    assert await gateway.names(5) == ["quick"] * 5
    gate.set()
    assert status_of(await waiting) == 200


async def test_an_account_stays_with_its_target(make_target: MakeTarget, make_gateway: MakeGateway) -> None:
    targets = await three(make_target)
    gateway = await make_gateway(*targets, balance=Balance.HASH_ACCOUNT)
    accounts = [f"acct_{number}" for number in range(60)]
    first = {account: (await gateway.names(1, account))[0] for account in accounts}
    assert set(first.values()) == {"a", "b", "c"}
    assert {account: (await gateway.names(1, account))[0] for account in accounts} == first


async def test_a_dead_target_does_not_matter_while_another_lives(
    make_target: MakeTarget, make_gateway: MakeGateway, nobody_listens: Target
) -> None:
    gateway = await make_gateway(nobody_listens, await make_target("a"))
    assert await gateway.names(4) == ["a"] * 4
    reader, writer = await gateway.connect()
    writer.write(GET)
    assert status_of(await reader.read()) == 200
