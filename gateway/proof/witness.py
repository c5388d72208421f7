"""The upstream of a proof, a process of its own: writes down each request it sees before it answers.

    python -m gateway.proof.witness FOLDER

Prints its port and logs to FOLDER. When whoever started it is gone, however that came, it ends all that runs
on FOLDER and removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypedDict

from aiohttp import WSMsgType, web

from gateway.proof.remains import end_and_remove
from gateway.proof.world import WORK, wanted, work

LOG = "witness.log"
ID = "Tollway-Request-Id"
PIECES = 8
PIECE_EVERY_S = 0.05
SLOW_S_MAX = 2.5

Handler = Callable[[web.Request, "Seen"], Awaitable[web.StreamResponse]]


class Line(TypedDict, total=False):
    """A line of the log: a call was seen, or it is done."""

    saw: str
    at_us: int  # when it came, by the machine's clock
    done: str
    number: int
    kind: str
    status: int
    got: int  # bytes of the request's body
    sent: int  # bytes of the answer's body that were given to the connection
    messages: list[int]  # of a WebSocket, received and sent
    whole: bool


class Seen:
    """One call while it is answered."""

    def __init__(self, request_id: str, number: int, kind: str) -> None:
        self.request_id, self.number, self.kind = request_id, number, kind
        self.got = self.sent = self.status = 0
        self.messages = [0, 0]
        self.whole = False


class Witness:
    """Answers, and keeps the log. A line is in the kernel's hands before the answer is."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._answers: dict[str, Handler] = {
            "short": _plain,
            "paid": _paid,
            "slow": _slow,
            "stream": _stream,
            "upload": _upload,
            "socket": _socket,
            "fails": _fails,
            "breaks": _breaks,
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any call."""
        kind, number = request.match_info["kind"], int(request.match_info["number"])
        seen = Seen(request.headers.get(ID, ""), number, kind)
        self.saw(seen)
        try:
            response = await self._answers[kind](request, seen)
        except ConnectionResetError:
            return web.Response(status=499)  # nobody is there to see it
        else:
            seen.status = seen.status or response.status
            return response
        finally:
            self.did(seen)

    def saw(self, seen: Seen) -> None:
        """Note that a call has come."""
        at_us = time.time_ns() // 1000
        self._write({"saw": seen.request_id, "at_us": at_us, "number": seen.number, "kind": seen.kind})

    def did(self, seen: Seen) -> None:
        """Note what it was answered."""
        figures: Line = {"status": seen.status, "got": seen.got, "sent": seen.sent}
        self._write({"done": seen.request_id, **figures, "messages": seen.messages, "whole": seen.whole})

    def _write(self, line: Line) -> None:
        os.write(self._log, json.dumps(line, separators=(",", ":")).encode() + b"\n")


async def _plain(_: web.Request, seen: Seen) -> web.StreamResponse:
    body = wanted(seen.number, seen.kind)
    seen.sent, seen.whole = len(body), True
    return web.Response(body=body)


async def _paid(request: web.Request, seen: Seen) -> web.StreamResponse:
    """Says what it costs."""
    response = await _plain(request, seen)
    response.headers[WORK] = str(work(seen.number))
    return response


async def _slow(request: web.Request, seen: Seen) -> web.StreamResponse:
    await asyncio.sleep(min(float(request.query.get("s", "1")), SLOW_S_MAX))
    return await _plain(request, seen)


async def _stream(request: web.Request, seen: Seen) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    seen.status = 200
    body = wanted(seen.number, seen.kind)
    size = len(body) // PIECES + 1
    for at in range(0, len(body), size):
        await response.write(body[at : at + size])
        seen.sent += len(body[at : at + size])
        await asyncio.sleep(PIECE_EVERY_S)
    await response.write_eof()
    seen.whole = True
    return response


async def _upload(request: web.Request, seen: Seen) -> web.StreamResponse:
    async for piece in request.content.iter_any():
        seen.got += len(piece)
    return await _plain(request, seen)


async def _socket(request: web.Request, seen: Seen) -> web.StreamResponse:
    """Sends back each message."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    seen.status = 101
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            seen.messages[0] += 1
            await socket.send_str(message.data)
            seen.messages[1] += 1
    seen.whole = socket.close_code == 1000
    return socket


async def _fails(_: web.Request, seen: Seen) -> web.StreamResponse:
    body = b"no"
    seen.sent, seen.whole = len(body), True
    return web.Response(status=500, body=body)


async def _breaks(request: web.Request, seen: Seen) -> web.StreamResponse:
    """Promises more than it sends, and hangs up."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    seen.status = 200
    await response.write(b"x" * 100)
    seen.sent = 100
    assert request.transport is not None
    request.transport.close()
    return response


async def _serve(folder: Path) -> None:
    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.route("*", "/{kind}/{number}", Witness(folder / LOG).answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    print(runner.addresses[0][1], flush=True)  # noqa: T201  who started us reads it
    alone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), alone.set)
    await alone.wait()
    end_and_remove(folder)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 1.0)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
