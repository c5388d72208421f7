"""What never reaches an application is answered in its shape, and nothing is repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.controlplane import serving
from gateway.controlplane.problems import add_headers, answer_problems
from gateway.controlplane.serving import ControlRunner

CANARY = b"tw_live_canary"


async def serve() -> tuple[ControlRunner, int]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application(middlewares=[answer_problems])
    app.on_response_prepare.append(add_headers)
    app.add_routes([web.get("/hello", hello)])
    runner = ControlRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    runner, number = await serve()
    yield number
    await runner.cleanup()


async def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("case", "sent"),
    [
        ("no HTTP at all", b"\x16\x03\x01" + CANARY + b"\r\n\r\n"),
        ("a broken header", b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization " + CANARY + b": x\r\n\r\n"),
        ("a header with a control byte", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \x00" + CANARY + b"\r\n\r\n"),
        ("a header too long", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + CANARY * 1000 + b"\r\n\r\n"),
        (
            "two lengths",
            b"POST / HTTP/1.1\r\nHost: x\r\nX-A: "
            + CANARY
            + b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        ),
    ],
)
async def test_malformed_requests_get_a_problem_document_that_repeats_nothing(
    port: int, case: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    head, _, body = (await exchange(port, sent)).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].split()[1] == b"400", case
    assert b"content-type: application/problem+json" in lines, case
    assert b"server: tollway" in lines, case
    document = json.loads(body)
    assert (document["status"], document["code"]) == (400, "bad_request")
    assert CANARY not in head + body
    assert CANARY.decode() not in caplog.text


async def test_a_good_request_is_served(port: int) -> None:
    answer = await exchange(port, b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    assert b"\r\nServer:" not in answer


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "IDLE_TIMEOUT_S", 0.05)
    runner, port = await serve()
    assert await exchange(port, b"GET / HT") == b""
    await runner.cleanup()
