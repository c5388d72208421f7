"""T5: a body that trickles and an answer that is sipped end, however regularly a byte comes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.dataplane.waits import Waits
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, eventually, read_body, statuses

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
SIZED = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.mark.parametrize(
    ("case", "head", "drip"), [("sized", SIZED, b"x"), ("chunked", CHUNKED, b"1\r\nx\r\n")]
)
@pytest.mark.parametrize("whose", ["of all routes", "of this route"])
async def test_a_body_that_trickles(
    case: str, head: bytes, drip: bytes, whose: str, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await read_body(await upstream.head(reader), reader)

    upstream.script = script
    rate, route = (1000, {}) if whose == "of all routes" else (0, {"min_bytes_per_s": 1000})
    proxy = await make_proxy(waits=Waits(body_s=2.0, min_bytes_per_s=rate), route=route)
    reader, writer = await proxy.connect()
    writer.write(head)
    ended = asyncio.create_task(reader.read(-1))
    async with asyncio.timeout(60):
        while not ended.done():  # never silent for long, and never fast
            writer.write(drip)
            await asyncio.wait([ended], timeout=0.1)
    assert statuses(ended.result()) == [408]
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED


async def test_time_in_which_the_upstream_does_not_read_is_not_the_callers(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    done = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport reads, too
        await done.wait()

    upstream.script = script
    waits = Waits(body_s=1.0, min_bytes_per_s=1_000_000)
    proxy = await make_proxy(waits=waits, timeouts=Timeouts(response_s=4.0))
    reader, writer = await proxy.connect()
    size = 50_000_000
    writer.write(SIZED.replace(b"1000000", b"%d" % size) + bytes(size))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 504"), "else it had been 408, and sooner"
    assert await proxy.outcome() is Outcome.TIMEOUT
    done.set()
    writer.transport.abort()


class Sipper:
    """A caller with a small buffer that takes a little at a time."""

    def __init__(self, port: int, sent: bytes) -> None:
        self.plug = socket.socket()
        self.plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.plug.connect(("127.0.0.1", port))
        self.plug.sendall(sent)
        self.plug.setblocking(False)
        self.taken = 0

    async def sip(self) -> bool:
        """Whether the connection still lives."""
        await asyncio.sleep(0.05)
        try:
            data = self.plug.recv(2048)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self.taken += len(data)
        return bool(data)

    def drain(self) -> None:
        """Take what has arrived; raises what is behind it."""
        while data := self.plug.recv(65536):
            self.taken += len(data)


async def _endless(writer: Writer, head: bytes) -> None:
    writer.write(head)
    while True:
        writer.write(bytes(60_000))
        await writer.drain()


@pytest.mark.parametrize("whose", ["of all routes", "of this route"])
async def test_an_answer_that_is_sipped(
    whose: str, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await _endless(writer, HUGE)

    upstream.script = script
    least = 10_000_000
    rate, route = (least, {}) if whose == "of all routes" else (0, {"min_bytes_per_s": least})
    proxy = await make_proxy(waits=Waits(body_s=2.0, min_bytes_per_s=rate), route=route)
    sipper = Sipper(proxy.port, GET)
    async with asyncio.timeout(60):
        while not proxy.exchanges and await sipper.sip():
            pass
    assert sipper.taken > 0
    assert await proxy.outcome() is Outcome.CLIENT_ABORTED
    with pytest.raises(ConnectionResetError):  # what had not arrived is dropped
        sipper.drain()
    await eventually(lambda: proxy.slots.get("upstream_connections") <= 1)  # the honest client's stays
    sipper.plug.close()


async def test_whoever_sips_from_a_tunnel_may(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        await _endless(writer, SWITCHED)

    upstream.script = script
    proxy = await make_proxy(waits=Waits(body_s=2.0, min_bytes_per_s=10_000_000))
    sipper = Sipper(proxy.port, WEBSOCKET)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 5.0:  # an answer would have been cut twice by now
        assert await sipper.sip()
    assert not proxy.exchanges
    sipper.plug.close()
    await proxy.ended(1)
