"""WebSockets through the whole gateway: aiohttp at both ends, and the ledger afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.conftest import Customer, Gateway, eventually
from tests.e2e.test_operations import worker_pids


@pytest.fixture
async def chat() -> AsyncIterator[int]:
    """A WebSocket server that answers in capitals; its port."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(request.headers["Tollway-Tier"])
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get("/chat", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()


@pytest.fixture
async def paid(chat: int, tmp_path: Path) -> AsyncIterator[Customer]:
    gateway = Gateway(tmp_path, chat, settings={"TOLLWAY_PROGRESS_INTERVAL_S": "1"})
    try:
        await asyncio.to_thread(gateway.start)
        yield await asyncio.to_thread(gateway.customer, "paid")
    finally:
        await asyncio.to_thread(gateway.stop)
        gateway.kill()


async def test_a_websocket_is_authenticated_limited_tunnelled_and_booked(paid: Customer) -> None:
    url = paid.gateway.url("/chat")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url)
        assert refused.value.status == 401
        async with session.ws_connect(url, headers=paid.headers) as socket:
            assert await socket.receive_str() == "paid"
            for word in ("one", "two", "three"):
                await socket.send_str(word)
                assert await socket.receive_str() == word.upper()
    assert await asyncio.to_thread(paid.outcomes, 1) == ["served"]
    row = (await asyncio.to_thread(paid.gateway.events, paid.account))[0]
    assert row["status"] == 101
    assert row["ingress_bytes"] > 3 * 6
    assert row["egress_bytes"] > 4 * 4
    assert (row["ingress_messages"], row["egress_messages"]) == (3, 4)
    shown = await asyncio.to_thread(paid.gateway.tollway, "usage", "--account", paid.account)
    units = {row["meter"]: row["quantity"] for row in shown["data"] if row["outcome"] == "served"}
    assert units["messages"] == 7


async def test_a_killed_worker_leaves_what_its_tunnels_had_carried(paid: Customer) -> None:
    gateway = paid.gateway
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(gateway.url("/chat"), headers=paid.headers) as socket,
    ):
        assert await socket.receive_str() == "paid"
        for number in range(50):
            await socket.send_str(f"message {number}")
            assert await socket.receive_str() == f"MESSAGE {number}"
        records = await asyncio.to_thread(gateway.counted, "journal_records_total")
        await socket.send_str("one more")  # so that there is something to note from here on
        await asyncio.to_thread(
            eventually, lambda: gateway.counted("journal_records_total") > records, "the tunnel is noted"
        )
        for pid in await asyncio.to_thread(worker_pids, gateway):
            os.kill(pid, signal.SIGKILL)
        assert await socket.receive_str() == "ONE MORE"
        ended = await socket.receive()
        assert ended.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert await asyncio.to_thread(paid.outcomes, 1) == ["interrupted"]
    (row,) = await asyncio.to_thread(gateway.events, paid.account)
    assert row["status"] == 101
    assert row["ingress_messages"] in (50, 51)
    assert row["egress_messages"] in (51, 52)
    assert row["ingress_bytes"] > 50 * 9
    assert row["egress_bytes"] > 50 * 9
    assert row["charges"] == {}
    assert row["duration_us"] > 0


async def test_open_sockets_of_every_worker_are_closed_when_the_key_may_no_longer_do_that(
    paid: Customer,
) -> None:
    gateway = paid.gateway
    async with aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(gateway.url("/chat"), headers=paid.headers) for _ in range(8)]
        for socket in sockets:
            assert await socket.receive_str() == "paid"
        path = f"/keys/{paid.key}"
        await asyncio.to_thread(gateway.admin, "PATCH", path, json={"name": "harmless"})
        await asyncio.to_thread(gateway.admin, "PATCH", path, json={"only_routes": ["pages"]})
        for socket in sockets:
            closed = await socket.receive(10)
            assert (closed.type, closed.data, closed.extra) == (
                aiohttp.WSMsgType.CLOSE,
                1008,
                "key_restricted",
            )
        assert {(await asyncio.to_thread(paid.get)).status_code for _ in range(10)} == {403}
        await asyncio.to_thread(gateway.admin, "PATCH", path, json={"only_routes": []})
        again = await session.ws_connect(gateway.url("/chat"), headers=paid.headers)
        assert await again.receive_str() == "paid"
        await again.close()


async def test_open_sockets_of_every_worker_are_closed_when_the_key_is_revoked(paid: Customer) -> None:
    gateway = paid.gateway
    async with aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(gateway.url("/chat"), headers=paid.headers) for _ in range(8)]
        for socket in sockets:
            assert await socket.receive_str() == "paid"
        other = await asyncio.to_thread(gateway.customer, "paid")
        kept = await session.ws_connect(gateway.url("/chat"), headers=other.headers)
        assert await kept.receive_str() == "paid"
        await asyncio.to_thread(gateway.admin, "POST", f"/keys/{paid.key}/revoke")
        for socket in sockets:
            closed = await socket.receive(10)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1008)
            assert closed.extra == "unauthenticated"
        await kept.send_str("still here")
        assert await kept.receive_str() == "STILL HERE"
        await kept.close()
    assert await asyncio.to_thread(paid.outcomes, 8) == ["access_ended"] * 8
    for row in await asyncio.to_thread(gateway.events, paid.account):
        assert (row["egress_messages"], row["charges"]) == (1, {"api_calls": 1})
