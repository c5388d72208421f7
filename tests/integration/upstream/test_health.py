"""Targets that are not well are left out, and come back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.model.policies import Ejection, Health, Target, Timeouts, Upstream
from gateway.upstream.dialling import Dialler
from gateway.upstream.group import Group
from gateway.upstream.probe import check
from tests.integration.upstream.conftest import (
    POST,
    Gateway,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    status_of,
)

ON_EITHER_LOOP = True
SOON = Ejection(failures=2, out_s=0.05)
LONG = Ejection(failures=2, out_s=600, longest_s=600)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


def up(gateway: Gateway) -> int:
    return gateway.slots.get("upstream_targets", "up")


def down(gateway: Gateway) -> int:
    return gateway.slots.get("upstream_targets", "down")


async def garbage(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    writer.write(b"what?\r\n\r\n")


async def silence(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    await reader.read(-1)


async def half(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    await target.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


@pytest.mark.parametrize("script", [garbage, silence, half])
async def test_a_target_whose_calls_fail_is_left_out(
    script: Callable[..., object],
    make_target: MakeTarget,
    make_gateway: MakeGateway,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = await make_target("bad"), await make_target("good")
    bad.script = lambda reader, writer: script(bad, reader, writer)  # type: ignore[assignment, return-value]  # a coroutine
    gateway = await make_gateway(bad, good, ejection=LONG, timeouts=Timeouts(response_s=0.05))
    with caplog.at_level(logging.INFO, "tollway.upstream"):
        for _ in range(4):
            with contextlib.suppress(ConnectionError):  # how a broken answer ends
                await gateway.call(POST)
        assert await gateway.names(4) == ["good"] * 4
    assert len(bad.heads) == 2
    assert (up(gateway), down(gateway)) == (1, 1)
    assert gateway.slots.get("upstream_ejections_total", "calls") == 1
    (record,) = (record for record in caplog.records if "is out" in record.message)
    assert record.__dict__["target"] == f"http://127.0.0.1:{bad.target.port}"
    assert record.__dict__["delay_s"] == 600


async def test_a_target_that_refuses_is_left_out_and_comes_back(
    make_target: MakeTarget, make_gateway: MakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await make_target("first"), await make_target("second")
    gateway = await make_gateway(first, second, ejection=SOON)
    await first.stop()
    with caplog.at_level(logging.INFO, "tollway.upstream"):
        assert Counter(await gateway.names(4)) == {"second": 4}
        assert down(gateway) == 1
        await first.start()
        await until(lambda: up(gateway) == 2)
        assert Counter(await gateway.names(4)) == {"first": 2, "second": 2}
    said = [record.message for record in caplog.records]
    assert said == ["a target is out: its calls failed", "a target is back"]


async def test_the_last_target_is_never_left_out(
    make_gateway: MakeGateway, make_target: MakeTarget, nobody_listens: Target
) -> None:
    target = await make_target("a")
    gateway = await make_gateway(nobody_listens, target, ejection=LONG)
    await gateway.names(4)
    assert down(gateway) == 1
    await target.stop()
    assert [status_of(await gateway.call()) for _ in range(5)] == [502] * 5
    await target.start()
    assert await gateway.names(2) == ["a", "a"]


async def test_answers_of_500_are_the_upstreams_business(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    one, other = await make_target("one"), await make_target("other")

    async def fail(reader: Reader, writer: Writer) -> None:
        while True:
            await one.head(reader)
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")

    one.script = fail
    gateway = await make_gateway(one, other, ejection=LONG)
    assert Counter([status_of(await gateway.call()) for _ in range(8)]) == {500: 4, 200: 4}


class Checked:
    """Answers checks as told and everything else with its name."""

    def __init__(self, target: ScriptedTarget) -> None:
        self.status = 200
        self.checks = 0
        self._target = target
        target.script = self.answer

    async def answer(self, reader: Reader, writer: Writer) -> None:
        while True:
            if (await self._target.head(reader)).startswith(b"GET /healthz?deep=1 HTTP/1.1\r\n"):
                self.checks += 1
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.status)
            else:
                self._target.answer(writer)


CHECKS = Health("/healthz?deep=1", interval_s=0.005, timeout_s=0.5, healthy_after=2, unhealthy_after=2)


async def test_checks_take_a_target_out_and_bring_it_back(
    make_target: MakeTarget, make_gateway: MakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    sick, well = await make_target("sick"), await make_target("well")
    checked, _ = Checked(sick), Checked(well)
    with caplog.at_level(logging.INFO, "tollway.upstream"):
        gateway = await make_gateway(sick, well, health=CHECKS)
        checked.status = 503
        await until(lambda: down(gateway) == 1)
        assert await gateway.names(4) == ["well"] * 4
        checked.status = 204
        await until(lambda: up(gateway) == 2)
        assert Counter(await gateway.names(4)) == {"sick": 2, "well": 2}
    assert [record.message for record in caplog.records] == [
        "a target is out: its checks failed",
        "a target is back",
    ]
    assert caplog.records[0].__dict__["error"] == "the check was answered with 503"
    assert gateway.slots.get("upstream_ejections_total", "checks") == 1
    assert gateway.slots.get("upstream_checks_total", "failed") >= 2


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (garbage, "the check was not answered in HTTP"),
        (silence, "no answer to the check within 0.5 s"),
        (None, "connect: "),
    ],
)
async def test_why_a_check_failed_is_said(
    script: Callable[..., object] | None,
    said: str,
    make_target: MakeTarget,
    make_gateway: MakeGateway,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = await make_target()
    if script is None:
        await target.stop()
    else:
        target.script = lambda reader, writer: script(target, reader, writer)  # type: ignore[assignment, return-value]  # a coroutine
    with caplog.at_level(logging.INFO, "tollway.upstream"):
        gateway = await make_gateway(target, health=CHECKS)
        await until(lambda: down(gateway) == 1)
    assert said in caplog.records[0].__dict__["error"]


async def test_a_check_that_breaks_is_not_the_last_one(
    make_target: MakeTarget,
    make_gateway: MakeGateway,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody foresaw says nothing about a target and leaves none unchecked; each kind is logged once."""
    faults = iter((ValueError("first"), ValueError("again"), KeyError("another")))

    async def breaks(dialler: Dialler, request: bytes, timeout_s: float) -> str:
        if (fault := next(faults, None)) is not None:
            raise fault
        return await check(dialler, request, timeout_s)

    monkeypatch.setattr("gateway.upstream.probe.check", breaks)
    target = await make_target()
    checked = Checked(target)
    with caplog.at_level(logging.INFO, "tollway.upstream"):
        gateway = await make_gateway(target, health=replace(CHECKS, unhealthy_after=1))
        await until(lambda: gateway.slots.get("upstream_checks_total", "passed") > 0)
        assert gateway.slots.get("upstream_checks_total", "broken") == 3
        assert gateway.slots.get("upstream_checks_total", "failed") == 0
        assert up(gateway) == 1
        checked.status = 503
        await until(lambda: down(gateway) == 1)
    broken = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in broken if record.exc_info] == ["first", "'another'"]
    assert {record.message for record in broken} == {"a check of a target broke; it goes on"}
    assert {record.__dict__["target"] for record in broken} == {target.target.place}


async def test_when_checks_fail_everywhere_all_are_tried(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    targets = [await make_target(name) for name in "ab"]
    for target in targets:
        Checked(target).status = 500
    gateway = await make_gateway(*targets, health=CHECKS)
    await until(lambda: down(gateway) == 2)
    assert Counter(await gateway.names(4)) == {"a": 2, "b": 2}


async def test_an_upstream_that_leaves_the_policies_is_checked_no_more(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    checked = Checked(target)
    gateway = await make_gateway(target, health=CHECKS)
    await until(lambda: checked.checks > 0)
    group: Group = gateway.forwarder._groups["up"]
    gateway.forwarder.adopt({})
    await asyncio.gather(*group._checks, return_exceptions=True)
    assert all(check.cancelled() for check in group._checks)
    assert (up(gateway), down(gateway)) == (0, 0)


async def test_a_reload_that_changes_nothing_keeps_what_is_known(
    make_target: MakeTarget, make_gateway: MakeGateway, nobody_listens: Target
) -> None:
    gateway = await make_gateway(nobody_listens, await make_target(), ejection=LONG)
    await gateway.names(4)
    gateway.forwarder.adopt({"up": Upstream("up", gateway.spec.targets, ejection=LONG)})
    assert down(gateway) == 1
    gateway.forwarder.adopt({"up": Upstream("up", gateway.spec.targets)})
    assert down(gateway) == 0
