"""What is tried again, and what never is."""

from __future__ import annotations

import pytest

from gateway.model.policies import Ejection, Retries, Target
from tests.integration.upstream.conftest import (
    GET,
    POST,
    Gateway,
    MakeGateway,
    MakeTarget,
    Reader,
    ScriptedTarget,
    Writer,
    body_of,
    status_of,
)

NEVER_OUT = Ejection(failures=1000)


def retries(gateway: Gateway, reason: str) -> int:
    return gateway.slots.get("upstream_retries_total", reason)


async def test_a_post_that_was_not_sent_goes_to_another_target(
    make_target: MakeTarget, make_gateway: MakeGateway, nobody_listens: Target
) -> None:
    target = await make_target()
    gateway = await make_gateway(nobody_listens, target, ejection=NEVER_OUT)
    for count in range(1, 5):
        assert body_of(await gateway.call(POST)) == b"a"
        assert len(target.heads) == count
    assert retries(gateway, "connect") == 2


@pytest.mark.parametrize(
    "spec", [Retries(attempts=0), Retries(connect=False), Retries(percent=0, at_least=0)]
)
async def test_what_the_policy_does_not_allow_fails_at_once(
    spec: Retries, make_target: MakeTarget, make_gateway: MakeGateway, nobody_listens: Target
) -> None:
    gateway = await make_gateway(nobody_listens, await make_target(), retries=spec, ejection=NEVER_OUT)
    assert sorted([status_of(await gateway.call()) for _ in range(4)]) == [200, 200, 502, 502]


async def test_retries_stay_within_their_budget_in_an_outage(
    make_gateway: MakeGateway, make_target: MakeTarget, nobody_listens: Target
) -> None:
    target = await make_target()
    spec = Retries(percent=20, at_least=2)
    gateway = await make_gateway(nobody_listens, target, retries=spec, ejection=NEVER_OUT)
    answers = [status_of(await gateway.call()) for _ in range(40)]
    made = retries(gateway, "connect")
    assert 2 + 38 * 20 // 100 <= made <= 2 + 40 * 20 // 100
    assert answers.count(502) == gateway.slots.get("upstream_retries_denied_total") == 20 - made


async def closing_after_each(target: ScriptedTarget, reader: Reader, writer: Writer) -> None:
    """Answer the first request of a connection; close under the second."""
    await target.head(reader)
    target.answer(writer)
    await target.head(reader)


async def test_a_get_under_which_a_kept_connection_closes_is_sent_again(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    target.script = lambda reader, writer: closing_after_each(target, reader, writer)
    gateway = await make_gateway(target)
    assert await gateway.names(2) == ["a", "a"]
    assert (retries(gateway, "stale"), target.connections) == (1, 2)


@pytest.mark.parametrize(
    ("case", "raw", "spec"),
    [
        ("a POST", POST, Retries()),
        ("a PUT with a body", POST.replace(b"POST", b"PUT"), Retries()),
        ("the policy says no", GET, Retries(stale=False)),
        ("the budget is used up", GET, Retries(percent=0, at_least=0)),
    ],
)
async def test_nothing_that_may_have_arrived_is_sent_twice(
    case: str, raw: bytes, spec: Retries, make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()
    target.script = lambda reader, writer: closing_after_each(target, reader, writer)
    gateway = await make_gateway(target, retries=spec)
    assert status_of(await gateway.call()) == 200
    answer = await gateway.call(raw)
    assert status_of(answer) == 502
    assert b'"upstream_invalid"' in answer
    assert len(target.heads) == 2


async def test_an_answer_is_never_a_reason_to_try_again(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    one, other = await make_target("one"), await make_target("other")

    async def overloaded(reader: Reader, writer: Writer) -> None:
        await one.head(reader)
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    one.script = overloaded
    gateway = await make_gateway(one, other)
    assert sorted([status_of(await gateway.call()) for _ in range(2)]) == [200, 503]
