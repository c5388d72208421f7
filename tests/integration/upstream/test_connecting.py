"""Calls whose connection is still being made."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.model.policies import Timeouts, Tls
from gateway.outcomes import Outcome
from tests.integration.upstream.conftest import (
    CERTS,
    GET,
    POST,
    Gateway,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    body_of,
    server_context,
)


async def silent(
    make_target: MakeTarget, make_gateway: MakeGateway, connect_s: float = 60
) -> tuple[ScriptedTarget, Gateway]:
    """A target that takes connections and never shakes hands."""
    target = await make_target()

    async def say_nothing(reader: Reader, writer: Writer) -> None:
        target.heads.append(await reader.read(1000))
        target.changed.set()
        await reader.read(-1)

    target.script = say_nothing
    waits = Timeouts(connect_s=connect_s)
    return target, await make_gateway(replace(target.target, tls=True), timeouts=waits)


async def test_a_caller_that_hangs_up_is_let_go_at_once(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target, gateway = await silent(make_target, make_gateway)
    _, writer = await gateway.connect()
    writer.write(GET)
    await target.asked(1)
    writer.close()
    async with asyncio.timeout(10):
        while not gateway.exchanges:
            await asyncio.sleep(0)
    assert gateway.exchanges[0].outcome is Outcome.CLIENT_ABORTED


async def test_a_body_that_comes_meanwhile_is_not_collected_without_end(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    _, gateway = await silent(make_target, make_gateway, connect_s=0.3)
    _, writer = await gateway.connect()
    writer.write(POST.replace(b"Length: 2\r\n\r\nhi", b"Length: 100000000\r\n\r\n") + b"x" * 30_000_000)
    async with asyncio.timeout(10):
        while not gateway.exchanges:
            await asyncio.sleep(0)
    assert gateway.errors[0].internal.startswith("connect: ")
    assert 0 < gateway.exchanges[0].ingress_bytes < 2_000_000


async def test_a_body_that_came_meanwhile_arrives_whole(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target(tls=server_context())
    got = bytearray()

    async def read_all(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        got.extend(await reader.readexactly(3_000_000))
        target.answer(writer)

    target.script = read_all
    gateway = await make_gateway(target, tls=Tls(ca=str(CERTS / "ca.pem")))
    body = bytes(range(250)) * 12_000
    raw = POST.replace(b"Length: 2\r\n\r\nhi", b"Length: 3000000\r\n\r\n") + body
    assert body_of(await gateway.call(raw)) == b"a"
    assert bytes(got) == body


async def test_a_connection_nobody_waits_for_any_more_serves_the_next_call(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    shaken, gate = asyncio.Event(), asyncio.Event()
    gateway = await make_gateway(target)
    dialler = gateway.forwarder._groups["up"].pools[0].dialler
    dial = dialler.dial

    async def slow(make: object, timeout_s: float) -> object:
        shaken.set()
        await gate.wait()
        return await dial(make, timeout_s)  # type: ignore[arg-type]  # handed through

    dialler.dial = slow  # type: ignore[method-assign, assignment]  # a connection that takes its time
    _, writer = await gateway.connect()
    writer.write(GET)
    await shaken.wait()
    writer.close()
    async with asyncio.timeout(10):
        while not gateway.exchanges:
            await asyncio.sleep(0)
        gate.set()
        while not gateway.slots.get("upstream_connections_total"):
            await asyncio.sleep(0)
    assert await gateway.names(2) == ["a", "a"]
    assert target.connections == 1
