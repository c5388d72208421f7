"""WebSockets through the whole gateway: aiohttp at both ends, and the ledger afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.conftest import Customer, Gateway


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
    gateway = Gateway(tmp_path, chat)
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
