"""A name that leads elsewhere while calls go on: everybody is served there, nobody is cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.model.policies import Target
from gateway.upstream import moves, names
from tests.integration.upstream.conftest import MakeGateway, Reader, Writer

ON_EITHER_LOOP = True
GET = b"GET /a HTTP/1.1\r\nHost: api.example\r\n\r\n"


async def serve(address: str, port: int) -> asyncio.Server:
    """Answers every call with its own address."""

    async def answer(reader: Reader, writer: Writer) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + address.encode())
        writer.close()

    return await asyncio.start_server(answer, address, port)


async def test_calls_follow_a_name_though_the_old_place_still_answers(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "RESOLVE_S", 0.0)
    monkeypatch.setattr(moves, "RESOLVE_S", 0.02)
    places: tuple[str, ...] = ("127.0.0.1",)

    async def look_up(host: str) -> tuple[str, ...]:
        assert host == "api.internal"
        return places

    old = await serve("127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    new = await serve("127.0.0.2", port)
    gateway = await make_gateway(Target("api.internal", port))
    gateway.forwarder._means.names._look_up = look_up

    reader, writer = await gateway.connect()

    async def call() -> str:
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        return (await reader.readexactly(9)).decode()

    async with asyncio.timeout(20):
        assert {await call() for _ in range(20)} == {"127.0.0.1"}
        assert gateway.slots.get("upstream_connections_total") == 1
        places = ("127.0.0.2",)
        while await call() != "127.0.0.2":  # never a pause in which the connection could have been left
            pass
        assert {await call() for _ in range(20)} == {"127.0.0.2"}
        while gateway.slots.get("upstream_connections") > 1:
            await asyncio.sleep(0)
    for server in (old, new):
        server.close()
