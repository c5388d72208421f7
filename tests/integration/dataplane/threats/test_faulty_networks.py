"""Every fault of a network, on either side of the gateway, under every kind of call: what comes of it.

What moves has a mark in its midst. There the fault strikes, while sender and receiver are at work; an honest
client is served meanwhile, and when all is over nothing is held that was held for this call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.dataplane.waits import Waits
from gateway.model.policies import Timeouts
from gateway.outcomes import Outcome
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Fault,
    FaultyNetwork,
    Honest,
    MakeNetwork,
    Reader,
    Writer,
    eventually,
    read_body,
    statuses,
)

MARK = b"<half>"
GET = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ASK = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAME = b"\x81\x0c" + MARK + b"<rest>"
SHORT_S = 1.0


@dataclass(frozen=True)
class Flow:
    """One kind of call, and the two halves of what the fault interrupts."""

    name: str
    way: str  # forth: the caller sends the halves · back: the upstream does
    halves: tuple[bytes, bytes]
    body: bytes  # all that the caller gets when nothing is missing: of the answer, or through the tunnel

    @property
    def is_tunnel(self) -> bool:
        return self.name.startswith("WebSocket")


POST = b"POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = STREAM.replace(b"event-stream", b"plain")
ALL = MARK + b"<rest>"
EVENTS = (b"data: " + MARK + b"\n\n", b"data: b\n\n")
FLOWS = {
    flow.name: flow
    for flow in (
        Flow("plain call", "forth", (GET[:-2] + b"X-A: " + MARK, b"b\r\n\r\n"), b"whole"),
        Flow("chunked upload", "forth", (POST + b"6\r\n%b\r\n" % MARK, b"3\r\nabc\r\n0\r\n\r\n"), b"whole"),
        Flow("plain answer", "back", (SIZED + MARK, b"<rest>"), ALL),
        Flow("chunked answer", "back", (TEXT + b"c\r\n" + MARK, b"<rest>\r\n0\r\n\r\n"), ALL),
        Flow(
            "SSE",
            "back",
            (STREAM + b"e\r\n%b\r\n" % EVENTS[0], b"9\r\n%b\r\n0\r\n\r\n" % EVENTS[1]),
            b"".join(EVENTS),
        ),
        Flow("WebSocket to the upstream", "forth", (FRAME[:8], FRAME[8:]), FRAME),
        Flow("WebSocket to the caller", "back", (FRAME[:8], FRAME[8:]), FRAME),
    )
}

# What the caller gets: a status, or "nothing"; "cut": the connection breaks off, within an answer or not;
# "ended": it ends in order before all is there; "silence": a half and then nothing, not even an end.
Expected = tuple[int | str, Outcome | None]
GONE: Expected = ("nothing", None)  # half a head is no call
LEFT: Expected = ("nothing", Outcome.CLIENT_ABORTED)
STALLED: Expected = (408, Outcome.CLIENT_ABORTED)
UNANSWERED: Expected = (504, Outcome.TIMEOUT)
UNUSABLE: Expected = (502, Outcome.UPSTREAM_ERROR)
UNHEARD: Expected = ("silence", Outcome.SERVED)  # the caller's network took all of it
HUNG_UP: Expected = ("ended", Outcome.CLIENT_ABORTED)
RESET: Expected = ("cut", Outcome.CLIENT_ABORTED)
SILENT: Expected = ("cut", Outcome.TIMEOUT)
BROKEN: Expected = ("cut", Outcome.UPSTREAM_ABORTED)
CLOSED: Expected = ("ended", Outcome.SERVED)  # a tunnel may end at any byte
EXPECTED: list[tuple[str, str, Expected, Expected, Expected]] = [
    # what moves                 where       drop        half-close  reset
    ("plain call",               "caller",   STALLED,    GONE,       GONE),
    ("plain call",               "upstream", UNANSWERED, UNUSABLE,   UNUSABLE),
    ("chunked upload",           "caller",   STALLED,    LEFT,       LEFT),
    ("chunked upload",           "upstream", UNANSWERED, UNUSABLE,   UNUSABLE),
    ("plain answer",             "caller",   UNHEARD,    HUNG_UP,    RESET),
    ("plain answer",             "upstream", SILENT,     BROKEN,     BROKEN),
    ("chunked answer",           "caller",   UNHEARD,    HUNG_UP,    RESET),
    ("chunked answer",           "upstream", SILENT,     BROKEN,     BROKEN),
    ("SSE",                      "caller",   UNHEARD,    HUNG_UP,    RESET),
    ("SSE",                      "upstream", SILENT,     BROKEN,     BROKEN),
    ("WebSocket to the upstream", "caller",   SILENT,     CLOSED,     RESET),
    ("WebSocket to the upstream", "upstream", SILENT,     CLOSED,     BROKEN),
    ("WebSocket to the caller",  "caller",   ("silence", Outcome.TIMEOUT), CLOSED, RESET),
    ("WebSocket to the caller",  "upstream", SILENT,     CLOSED,     BROKEN),
]  # fmt: skip
CASES = [
    (flow, side, then, expected)
    for flow, side, *all_expected in EXPECTED
    for then, expected in zip(("drop", "half-close", "reset"), all_expected, strict=True)
]


def joined(chunks: bytes) -> bytes | None:
    """The body in these chunks, if its end is there."""
    body = b""
    while b"\r\n" in chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        if size == b"0":
            return body if chunks == b"\r\n" else None
        body += chunks[: int(size, 16)]
        chunks = chunks[int(size, 16) + 2 :]
    return None


class Call:
    """One call of a flow, both its ends; neither sends the second half before `go_on`."""

    def __init__(self, flow: Flow, upstream: ScriptedUpstream) -> None:
        self.flow = flow
        self.go_on = asyncio.Event()
        self.seen = b""
        self.is_over = False  # the caller has seen the end of the connection
        self.was_reset = False
        self._upstream = upstream
        self._upstream_done = asyncio.Event()
        upstream.script = self._tunnel if flow.is_tunnel else self._answer

    def is_whole(self) -> bool:
        """Whether the caller has all of it."""
        if self.flow.is_tunnel:
            return self.seen == self.flow.body
        head, _, body = self.seen.partition(b"\r\n\r\n")
        if b"\r\nTransfer-Encoding: chunked" not in head:
            return body == self.flow.body
        return joined(body) == self.flow.body

    async def _halves(self, writer: Writer) -> None:
        writer.write(self.flow.halves[0])
        await self.go_on.wait()
        writer.write(self.flow.halves[1])

    async def _answer(self, reader: Reader, writer: Writer) -> None:
        await read_body(await self._upstream.head(reader), reader)
        if self.flow.way == "back":
            await self._halves(writer)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")

    async def _tunnel(self, reader: Reader, writer: Writer) -> None:
        await self._upstream.head(reader)
        writer.write(SWITCH)
        if self.flow.way == "back":
            await self._halves(writer)
        while data := await reader.read(65536):
            writer.write(data)

    async def run(self, port: int) -> None:
        """Be the caller until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sending: asyncio.Task[None] | None = None
        try:
            writer.write(ASK if self.flow.is_tunnel else GET if self.flow.way == "back" else b"")
            if self.flow.is_tunnel:
                await read_head(reader)
            if self.flow.way == "forth":
                sending = asyncio.create_task(self._halves(writer))
            while data := await reader.read(65536):
                self.seen += data
                if self.flow.is_tunnel and self.is_whole():
                    writer.write_eof()
        except ConnectionError:
            self.was_reset = True
        finally:
            self.is_over = True
            if sending is not None:
                sending.cancel()
            writer.close()

    def check(self, got: int | str) -> None:
        """The caller got what is expected, and nothing that looks like all of it."""
        assert not self.is_whole()
        if isinstance(got, int):
            assert statuses(self.seen) == [got]
        elif got == "nothing":
            assert self.seen == b""
        elif got == "silence":
            assert not self.is_over
        else:
            assert self.is_over
            assert len(statuses(self.seen)) <= 1
            assert not self.seen.endswith(b"\r\n0\r\n\r\n")
            assert self.was_reset or got == "ended" or self.flow.name != "WebSocket to the caller"


Place = Callable[[str, str, Fault], Awaitable[tuple[Proxy, FaultyNetwork, int]]]


@pytest.fixture
def place(make_network: MakeNetwork, make_proxy: MakeProxy, upstream: ScriptedUpstream) -> Place:
    """Put a fault into the way of a flow, on one side; gives what there is and the port to call."""

    async def placed(side: str, way: str, fault: Fault) -> tuple[Proxy, FaultyNetwork, int]:
        waits, timeouts = Waits(), Timeouts()
        if fault.then == "drop" and fault.after:
            waits = Waits(head_s=SHORT_S, body_s=SHORT_S)
            timeouts = Timeouts(response_s=SHORT_S, idle_s=SHORT_S)
        if side == "upstream":
            network = await make_network(upstream.port, **{way: fault})
            upstream.port = network.port
            proxy = await make_proxy(waits=waits, timeouts=timeouts)
            return proxy, network, proxy.port
        proxy = await make_proxy(waits=waits, timeouts=timeouts)
        network = await make_network(proxy.port, **{way: fault})
        return proxy, network, network.port

    return placed


async def nothing_is_left(proxy: Proxy) -> None:
    """The connections of honest clients and idle ones to the upstream are all there is."""
    await eventually(lambda: proxy.slots.get("connections") <= 2)
    assert all(connection.exchange is None for connection in proxy.server._open)
    await eventually(lambda: proxy.slots.get("upstream_connections") <= 2)
    await eventually(lambda: all(pool.in_use == 0 for pool in proxy.pools))


@pytest.mark.parametrize(
    ("flow", "side", "then", "expected"),
    CASES,
    ids=[f"{flow}, {side}, {then}" for flow, side, then, _ in CASES],
)
async def test_a_network_that_fails_in_the_midst(
    flow: str, side: str, then: str, expected: Expected, place: Place, upstream: ScriptedUpstream
) -> None:
    way = FLOWS[flow].way
    proxy, network, port = await place(side, way, Fault(after=MARK, then=then))
    call = Call(FLOWS[flow], upstream)
    if flow == "plain call" and side == "upstream":
        call.go_on.set()  # half a head goes nowhere, so it is halved on its way
    calling = asyncio.create_task(call.run(port))
    await asyncio.wait_for(network.struck.wait(), 20)
    await Honest(proxy).call()
    got, outcome = expected
    if then == "drop" or call.flow.is_tunnel:
        call.go_on.set()  # else the second half would meet an end that the first has not led to
    await eventually(lambda: own(proxy, outcome) == 1 or (outcome is None and call.is_over))
    if got == "silence":
        await eventually(lambda: MARK in call.seen)
        call.check(got)
        calling.cancel()
        await asyncio.wait([calling])
    else:
        await asyncio.wait_for(calling, 20)
        call.check(got)
    call.go_on.set()
    await nothing_is_left(proxy)
    booked = [exchange.outcome for exchange in proxy.exchanges if exchange.head.path != "/honest/1"]
    assert booked == ([] if outcome is None else [outcome])


def own(proxy: Proxy, outcome: Outcome | None) -> int:
    """How many calls were booked so, the honest ones left out."""
    found = [exchange for exchange in proxy.exchanges if not exchange.head.path.startswith("/honest/")]
    return sum(exchange.outcome is outcome for exchange in found)


@pytest.mark.parametrize("side", ["caller", "upstream"])
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_network_that_delays(flow: str, side: str, place: Place, upstream: ScriptedUpstream) -> None:
    """What came before it is there, others are served meanwhile, and then the call ends like any other."""
    way = FLOWS[flow].way
    proxy, network, port = await place(side, way, Fault(after=MARK, then="hold"))
    call = Call(FLOWS[flow], upstream)
    if flow == "plain call" and side == "upstream":
        call.go_on.set()  # half a head goes nowhere, so it is halved on its way
    calling = asyncio.create_task(call.run(port))
    await asyncio.wait_for(network.struck.wait(), 20)
    await Honest(proxy).call()
    if way == "back":
        await eventually(lambda: MARK in call.seen)
    assert not call.is_whole()
    assert own(proxy, Outcome.SERVED) == 0
    call.go_on.set()
    network.let_go.set()
    await asyncio.wait_for(calling, 20)
    assert call.is_whole()
    await nothing_is_left(proxy)
    assert own(proxy, Outcome.SERVED) == 1


@pytest.mark.parametrize("side", ["caller", "upstream"])
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_network_that_passes_byte_by_byte(
    flow: str, side: str, place: Place, upstream: ScriptedUpstream
) -> None:
    proxy, _, port = await place(side, FLOWS[flow].way, Fault(piece_bytes=1))
    call = Call(FLOWS[flow], upstream)
    call.go_on.set()
    await asyncio.gather(asyncio.wait_for(call.run(port), 20), Honest(proxy).call())
    assert call.is_whole()
    await nothing_is_left(proxy)
    assert own(proxy, Outcome.SERVED) == 1
