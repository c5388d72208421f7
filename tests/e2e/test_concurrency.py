"""Calls at once over two workers, in front of an upstream that takes its time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import Customer, Gateway, eventually
from tests.e2e.test_operations import worker_pids

POLICIES = """
upstreams:
  httpbin: {targets: [http://127.0.0.1:PORT]}
tiers:
  refused:
    concurrency: [{name: at-once, max: 2}]
  queued:
    concurrency: [{name: builds, max: 1, on_full: queue, wait: 1m, routes: [slow]}]
routes:
  - {name: slow, match: {path: /delay/*}, upstream: httpbin}
  - {name: all, match: {path: /**}, upstream: httpbin}
"""


@pytest.fixture(scope="module")
def slow(httpbin: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("slow"), httpbin)
    gateway.write_policies(POLICIES.replace("PORT", str(httpbin)))
    try:
        gateway.start()
        yield gateway
        assert gateway.stop() == 0, gateway.log
        assert '"traceback"' not in gateway.log, gateway.log
    finally:
        gateway.kill()


async def statuses(customer: Customer, paths: list[str]) -> Counter[int]:
    """Of these calls, all at once and each on a connection of its own, so that both workers have some."""

    async def one(path: str) -> int:
        async with httpx.AsyncClient(headers=customer.headers, timeout=60) as client:
            try:
                return (await client.get(customer.gateway.url(path))).status_code
            except httpx.TransportError:
                return 0

    return Counter(await asyncio.gather(*(one(path) for path in paths)))


async def test_of_many_at_once_two_are_served(slow: Gateway) -> None:
    customer = slow.customer("refused")
    answers = await statuses(customer, ["/delay/2"] * 12)
    assert answers == {200: 2, 429: 10}
    again = await statuses(customer, ["/status/200"] * 2)
    assert again == {200: 2}, "both slots are free again"


async def test_what_a_refused_caller_reads(slow: Gateway) -> None:
    customer = slow.customer("refused")
    long = asyncio.ensure_future(statuses(customer, ["/delay/3"] * 2))
    await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_calls") == 2, "two are under way")
    answer = await asyncio.to_thread(customer.get, "/get")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    problem = answer.json()
    assert problem["code"] == "concurrency_exceeded"
    assert problem["violated-policies"] == ["at-once"]
    assert problem["limits"] == [{"policy": "at-once", "limit": 2, "used": 2, "remaining": 0}]
    assert await long == {200: 2}


async def test_queued_calls_are_all_served_one_at_a_time(slow: Gateway) -> None:
    customer = slow.customer("queued")
    answers = asyncio.ensure_future(statuses(customer, ["/delay/0"] * 10))
    others = await statuses(customer, ["/status/200"] * 3)
    assert others == {200: 3}, "other routes have room"
    assert await answers == {200: 10}
    assert slow.counted("concurrency_waiting") == 0


async def test_a_caller_who_leaves_the_queue_takes_nothing_with_him(slow: Gateway) -> None:
    customer = slow.customer("queued")
    first = asyncio.ensure_future(statuses(customer, ["/delay/8"]))
    await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_calls") == 1, "one is under way")
    with socket.create_connection(("127.0.0.1", slow.listen)) as caller:
        caller.sendall(
            b"POST /delay/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nAuthorization: "
            + customer.headers["Authorization"].encode()
            + b"\r\n\r\nhalf"
        )
        await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_waiting") == 1, "it waits")
    await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_waiting") == 0, "it has left")
    assert not first.done()
    assert await first == {200: 1}
    assert await statuses(customer, ["/delay/0"]) == {200: 1}
    outcomes = await asyncio.to_thread(customer.outcomes, 3)
    assert Counter(outcomes) == {"served": 2, "client_aborted": 1}


async def test_a_queued_body_arrives_whole(slow: Gateway) -> None:
    customer = slow.customer("queued")
    first = asyncio.ensure_future(statuses(customer, ["/delay/1"]))
    await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_calls") == 1, "one is under way")
    body = "0123456789abcdef" * 20_000
    async with httpx.AsyncClient(headers=customer.headers, timeout=60) as client:
        answer = await client.post(slow.url("/delay/0"), content=body)
    assert answer.json()["data"] == body
    assert await first == {200: 1}


async def test_slots_of_a_killed_worker_come_back(slow: Gateway) -> None:
    customer = slow.customer("refused")
    before = await asyncio.to_thread(
        eventually, lambda: len(pids := worker_pids(slow)) == 2 and pids, "two workers"
    )
    calls = asyncio.ensure_future(statuses(customer, ["/delay/9"] * 2))
    await asyncio.to_thread(eventually, lambda: slow.counted("concurrency_calls") >= 2, "two are under way")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert await calls == {0: 2}

    def both_are_free() -> bool:
        return asyncio.run(statuses(customer, ["/delay/1"] * 4)) == {200: 2, 429: 2}

    await asyncio.to_thread(eventually, both_are_free, "both slots came back", 60)
