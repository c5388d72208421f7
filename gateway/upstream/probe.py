"""Asking a target whether it is well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

from gateway.errors import GatewayError
from gateway.model.policies import Health
from gateway.upstream.dialling import Dialler

_STATUS_LINE_BYTES = 12  # `HTTP/1.1 200`

LONGEST_PAUSE_S = 60.0
"""Between checks that break, unless the interval is longer: whatever it was may be over by then."""


class Probe(asyncio.Protocol):
    """One question on a connection of its own; hears no more of the answer than its status."""

    def __init__(self, request: bytes) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._request = request
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._heard += data[:_STATUS_LINE_BYTES]
        if len(self._heard) >= _STATUS_LINE_BYTES:
            version, _, code = self._heard[:_STATUS_LINE_BYTES].partition(b" ")
            self._end(int(code) if version.startswith(b"HTTP/1.") and code.isdigit() else 0)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol's signature
        self._end(0)

    def _end(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)
        self.transport.abort()


async def check(dialler: Dialler, request: bytes, timeout_s: float) -> str:
    """Why a target is not well; empty when it is. Raises only what nobody foresaw."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    try:
        probe = await dialler.dial(lambda: Probe(request), timeout_s)
    except GatewayError as error:
        return error.internal
    try:
        async with asyncio.timeout_at(until):
            status = await probe.status
    except TimeoutError:
        return f"no answer to the check within {timeout_s:g} s"
    finally:
        probe.transport.abort()
    if 200 <= status < 400:
        return ""
    return f"the check was answered with {status}" if status else "the check was not answered in HTTP"


def pause_s(interval_s: float, broken: int) -> float:
    """How long to wait for the next check after so many in a row that broke."""
    return min(interval_s * 2.0 ** min(broken, 30), max(interval_s, LONGEST_PAUSE_S))


async def check_forever(
    dialler: Dialler,
    authority: str,
    health: Health,
    checked: Callable[[str], None],
    broke: Callable[[Exception], None],
) -> None:
    """Check again and again; `checked` hears each time why the target is not well, or an empty text.

    A check that ends as none should is our fault and says nothing about the target: `broke` is told, and the
    next one comes later each time in a row. Spread at random: neither workers nor targets march in step.
    """
    request = (
        f"GET {health.path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: tollway-check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode()
    broken = 0  # in a row
    wait_s = health.interval_s * random.random()  # noqa: S311  no secret
    while True:
        await asyncio.sleep(wait_s)
        try:
            checked(await check(dialler, request, health.timeout_s))
            broken = 0
        except Exception as error:  # else nobody would ever look at this target again
            broke(error)
            broken += 1
        wait_s = pause_s(health.interval_s, broken) * (0.9 + 0.2 * random.random())  # noqa: S311  no secret
