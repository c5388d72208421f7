"""T1: an upstream that ignores a body must not take it for the next request of the connection."""

from __future__ import annotations

import asyncio

import pytest

from gateway.model.exchange import Exchange
from gateway.model.policies import Keepalive
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, eventually, statuses, targets

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
VICTIM = b"GET /victim HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
FRAMINGS = [
    ("sized", b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED)),
    ("chunked", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize(("case", "framed"), FRAMINGS, ids=[case for case, _ in FRAMINGS])
async def test_the_next_caller_gets_its_own_answer(
    case: str, framed: bytes, method: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    victim_asks = asyncio.Event()
    closes: list[bool] = []

    async def ignores_bodies(reader: Reader, writer: Writer) -> None:
        head = await upstream.head(reader)
        target = head.split(b" ")[1]
        body = b"" if method == b"HEAD" and target == b"/attack" else target
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), body))
        if target != b"/attack":
            return
        closes.append(b"Connection: close\r\n" in head)
        await victim_asks.wait()  # the answer to what it takes for the next request comes late
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    upstream.script = ignores_bodies
    reader, writer = await proxy.connect()
    writer.write(b"%b /attack HTTP/1.1\r\nHost: x\r\n%b" % (method, framed))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    await proxy.ended(1)
    victim_asks.set()
    answer = await proxy.exchange(VICTIM)
    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n/victim")
    assert closes == [True]  # an upstream that heeds it never reads the body as a request
    writer.close()


async def test_a_body_whose_answer_came_early_ends_the_connection(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def answers_at_once(reader: Reader, writer: Writer) -> None:
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    upstream.script = answers_at_once
    reader, writer = await proxy.connect()
    writer.write(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(6) == b"/early"
    writer.write(SMUGGLED + VICTIM)
    answer = await reader.read(-1)
    assert statuses(answer) == [200]
    assert answer.endswith(b"/victim")
    assert [head.split(b" ")[1] for head in upstream.heads] == [b"/early", b"/victim"]
    writer.close()


# -- POST, whose body nobody ignores who is sane ------------------------------------------------------------

POST = b"POST /attack HTTP/1.1\r\nHost: x\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
POISON = OK % (6, b"poison")


def under_way(proxy: Proxy, target: bytes) -> Exchange:
    """The call for this target, in the middle of it."""
    calls = [connection.exchange for connection in proxy.server._open]
    return next(call for call in calls if call is not None and call.head.target == target)


class IgnoresBodies:
    """An upstream that reads heads only: what follows one is the next request.

    `gate` holds its answer to what was smuggled.
    """

    def __init__(self, upstream: ScriptedUpstream, *, heeds_close: bool = True) -> None:
        self.upstream = upstream
        self.heeds_close = heeds_close
        self.gate = asyncio.Event()
        self.carried: list[list[bytes]] = []  # what it took for requests, connection by connection

    async def script(self, reader: Reader, writer: Writer) -> None:
        seen: list[bytes] = []
        self.carried.append(seen)
        while True:
            head = await self.upstream.head(reader)
            target = head.split(b" ")[1]
            seen.append(target)
            if target == b"/smuggled":
                await self.gate.wait()
                writer.write(POISON)
            else:
                writer.write(OK % (len(target), target))
            if self.heeds_close and b"Connection: close\r\n" in head:
                return


@pytest.mark.parametrize(("case", "framed"), FRAMINGS, ids=[case for case, _ in FRAMINGS])
async def test_answers_to_the_body_itself_reach_nobody(
    case: str, framed: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Both come at once, or the second while nobody asks: it ends the connection."""
    origin = IgnoresBodies(upstream)
    origin.gate.set()
    upstream.script = origin.script
    for _ in range(20):
        reader, writer = await proxy.connect()
        writer.write(POST + framed)
        assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(7) == b"/attack"
        await eventually(
            lambda: all(conn.transport.is_closing() for pool in proxy.pools for conn in pool._idle)
        )
        answer = await proxy.exchange(VICTIM)
        assert statuses(answer) == [200]
        assert answer.endswith(b"\r\n\r\n/victim")
        writer.close()


@pytest.mark.parametrize("rest_bytes", [1, 20, len(SMUGGLED)])
@pytest.mark.parametrize("answer", [b"whole", b"begun"])
async def test_an_answer_before_the_body_has_come_ends_the_connection(
    answer: bytes, rest_bytes: int, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Even if the body is whole by the time the answer ends: who answered unread will not have read it."""
    carried: list[int] = []
    go_on = asyncio.Event()

    async def script(reader: Reader, writer: Writer) -> None:
        number = len(carried)
        carried.append(0)
        while True:
            target = (await upstream.head(reader)).split(b" ")[1]
            carried[number] += 1
            if target == b"/attack" and answer == b"begun":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n/att")
                await go_on.wait()
                writer.write(b"ack")
            else:
                writer.write(OK % (len(target), target))

    upstream.script = script
    reader, writer = await proxy.connect()
    first, rest = SMUGGLED[:-rest_bytes], SMUGGLED[-rest_bytes:]
    writer.write(POST + b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), first))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    await reader.readexactly(4)
    writer.write(rest)
    if answer == b"begun":
        await eventually(lambda: under_way(proxy, b"/attack").body_done)
    go_on.set()
    await reader.readexactly(3)
    assert statuses(await proxy.exchange(VICTIM)) == [200]
    assert upstream.heads[-1].startswith(b"GET /victim ")
    assert carried[-1] == 1, "the victim has a connection of its own"
    writer.close()


@pytest.mark.parametrize("heeds_close", [True, False])
async def test_where_bodies_may_be_ignored_each_connection_ends_with_its_first_one(
    heeds_close: bool, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    """Then even an answer that comes while the victim waits for its own is nobody's."""
    proxy = await make_proxy(keepalive=Keepalive(reuse_after_body=False))
    origin = IgnoresBodies(upstream, heeds_close=heeds_close)
    upstream.script = origin.script
    reader, writer = await proxy.connect()
    for _ in range(3):
        writer.write(b"GET /before HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_head(reader)
        await reader.readexactly(7)
    for _, framed in FRAMINGS:
        writer.write(POST + framed)
        assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(7) == b"/attack"
        answer = await proxy.exchange(VICTIM)
        assert answer.endswith(b"\r\n\r\n/victim")
        origin.gate.set()
    for carried in origin.carried:
        if b"/attack" in carried:
            assert set(carried[carried.index(b"/attack") :]) <= {b"/attack", b"/smuggled"}
    assert origin.carried[0][:3] == [b"/before"] * 3, "without bodies, connections are shared"
    if heeds_close:
        assert b"/smuggled" not in targets(upstream)
    writer.close()
