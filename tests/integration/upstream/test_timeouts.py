"""Every wait has an end, and the log says which one it was."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.model.policies import Route, Timeouts, Upstream
from gateway.outcomes import Outcome
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.retries import Ticker
from tests.integration.upstream.conftest import (
    GET,
    POST,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    status_of,
)

SHORT = 0.05


def route(timeouts: Timeouts) -> Route:
    return Route(
        "slow", "/**", frozenset(), frozenset(), Upstream("up", ()), frozenset(), {}, timeouts=timeouts
    )


async def no_answer(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    await reader.read(-1)


async def half_an_answer(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await reader.read(-1)


async def never_ending(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"1\r\na\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)


Script = Callable[[ScriptedTarget, Reader, Writer], Awaitable[None]]


@pytest.mark.parametrize("of_the_route", [False, True], ids=["upstream", "route"])
@pytest.mark.parametrize(
    ("case", "script", "timeouts", "status", "said"),
    [
        ("no answer", no_answer, Timeouts(response_s=SHORT), 504, "response: no answer within 0.05 s"),
        ("no whole answer", half_an_answer, Timeouts(idle_s=SHORT), 200, "idle: nothing came for 0.05 s"),
        ("no answer at all in time", no_answer, Timeouts(total_s=SHORT), 504, "total: the call took more"),
        ("an answer without end", never_ending, Timeouts(total_s=0.1), 200, "total: the call took more"),
    ],
)
async def test_waits_end_and_the_log_says_which(
    case: str,
    script: Script,
    timeouts: Timeouts,
    status: int,
    said: str,
    of_the_route: bool,
    make_target: MakeTarget,
    make_gateway: MakeGateway,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = await make_target()
    target.script = lambda reader, writer: script(target, reader, writer)
    if of_the_route:
        gateway = await make_gateway(target, route=route(timeouts))
    else:
        gateway = await make_gateway(target, timeouts=timeouts)
    reader, writer = await gateway.connect()
    with caplog.at_level(logging.WARNING):
        writer.write(GET)
        async with asyncio.timeout(10):
            assert status_of(await reader.readline()) == status
            with contextlib.suppress(ConnectionError):
                await reader.read(-1)
    (record,) = caplog.records
    assert record.__dict__["error"].startswith(said)
    assert record.__dict__["code"] == "upstream_timeout"
    assert record.__dict__["target"] == target.target.place
    assert gateway.exchanges[0].outcome is Outcome.TIMEOUT


async def test_the_total_bounds_the_wait_for_a_connection(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    silent = replace(target.target, tls=True)  # its handshake never comes
    target.script = lambda reader, _: reader.read(-1)  # type: ignore[assignment, return-value]  # nothing to say
    gateway = await make_gateway(silent, timeouts=Timeouts(connect_s=60, total_s=SHORT))
    assert status_of(await gateway.call(POST)) == 504
    assert gateway.errors[0].internal.startswith("total: ")


async def test_a_route_may_wait_longer_than_its_upstream(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    waits = Timeouts(total_s=SHORT)
    gateway = await make_gateway(target, timeouts=waits, route=route(replace(waits, total_s=600)))
    assert await gateway.names(2) == ["a", "a"]


async def test_calls_in_time_leave_nothing_behind(make_target: MakeTarget, make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(await make_target(), timeouts=Timeouts(total_s=600))
    assert await gateway.names(3) == ["a"] * 3
    waiting = gateway.forwarder._means.deadlines._waiting
    assert {type(one) for one in waiting} == {UpstreamConnection, Ticker}
