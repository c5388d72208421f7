"""How bytes are cut changes nothing, valid calls arrive unchanged, nobody gets another's bytes."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import (
    Fault,
    Honest,
    MakeNetwork,
    Reader,
    WitnessedUpstream,
    Writer,
    eventually,
    lines_of,
    read_all,
    read_body,
    reset,
)

CHUNKED = b"Transfer-Encoding: chunked"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CUTS = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@asynccontextmanager
async def a_proxy() -> AsyncIterator[tuple[Proxy, ScriptedUpstream]]:
    """One for each example: fixtures would be shared by all."""
    upstream = WitnessedUpstream()
    await upstream.start()
    proxy = Proxy(upstream)
    await proxy.start()
    try:
        yield proxy, upstream
    finally:
        await proxy.stop()
        await upstream.stop()


async def mirror(upstream: ScriptedUpstream, reader: Reader, writer: Writer) -> None:
    """Answer each call with what it was: the body, and how many bytes it had."""
    while True:
        head = await upstream.head(reader)
        body = await read_body(head, reader)
        if head.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


MESSAGES = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nHEAD /b HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 300 + b"\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nGET / HTTP/1",
    b"PUT /d HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n3;x\r\nabc\r\n00A\r\nhello\r\nwor\r\n0\r\nT:\r\n\r\n" % CHUNKED,
    b"POST /deny HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nPOST ",
    b"POST /e HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
    b"GET /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /g HTTP/1.1\r\nHost: x\r\nBad : 1\r\n\r\n",
    b"GET /%2f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /h HTTP/1.1\r\nHost: x\r\n%b\r\n\r\nzz\r\n" % CHUNKED,
]  # fmt: skip


@CUTS
@given(data=st.data())
def test_any_segmentation_gives_the_same_result(data: st.DataObject) -> None:
    messages = data.draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6))
    raw = b"".join(messages) + LAST
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=25)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    async def result(pieces: list[bytes]) -> tuple[list[bytes], list[bytes], list[object]]:
        async with a_proxy() as (proxy, upstream):
            upstream.script = lambda reader, writer: mirror(upstream, reader, writer)
            reader, writer = await proxy.connect()
            for piece in pieces:
                writer.write(piece)
                for _ in range(3):
                    await asyncio.sleep(0)
            answer = await read_all(reader)
            writer.close()
            fixed = re.sub(rb"(Date: .*|-8000-[0-9a-f-]{17})", b"", answer)
            heads = [re.sub(rb"(:[0-9]{4,5}|-8000-[0-9a-f-]{17})", b"", head) for head in upstream.heads]
            return [fixed], heads, [exchange.outcome for exchange in proxy.exchanges]

    whole, cut = asyncio.run(result([raw])), asyncio.run(result(pieces))
    # A body that breaks: how much of its call the upstream saw before depends on when it broke.
    if not any(b"zz" in message for message in messages):
        assert cut == whole
    else:
        assert [cut[0], cut[2]] == [whole[0], whole[2]]


NAMES = st.from_regex(rb"\AX-[A-Za-z0-9!#$%&'*+.^`|~-]{1,30}\Z")
VALUES = st.binary(max_size=60).map(
    lambda raw: bytes(b for b in raw if b == 9 or 32 <= b != 127).strip(b" \t")
)
SEGMENTS = st.from_regex(rb"\A[A-Za-z0-9_~!$&'()*+,=:@-]{1,20}\Z")
QUERIES = st.from_regex(rb"\A(\?[A-Za-z0-9_.~!$&'()*+,;=:@/?%|\"<>\[\]^`{}-]{0,40})?\Z")


@CUTS
@given(
    method=st.sampled_from([b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"]),
    segments=st.lists(SEGMENTS, min_size=1, max_size=5),
    query=QUERIES,
    lines=st.lists(st.tuples(NAMES, VALUES), max_size=12),
    chunks=st.lists(st.binary(min_size=1, max_size=3000), max_size=6),
    is_chunked=st.booleans(),
)
def test_any_valid_call_arrives_and_its_answer_returns_unchanged(
    method: bytes,
    segments: list[bytes],
    query: bytes,
    lines: list[tuple[bytes, bytes]],
    chunks: list[bytes],
    is_chunked: bool,
) -> None:
    body = b"".join(chunks)
    target = b"/" + b"/".join(segments) + query
    sent = b"".join(b"%b: %b\r\n" % line for line in lines)
    if is_chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n"
        framed += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    else:
        framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    raw = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b%b" % (method, target, sent, framed)

    async def scenario() -> None:
        async with a_proxy() as (proxy, upstream):
            bodies: list[bytes] = []

            async def script(reader: Reader, writer: Writer) -> None:
                bodies.append(await read_body(await upstream.head(reader), reader))
                writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (sent, len(body), body))

            upstream.script = script
            answer = await proxy.exchange(raw)
            assert bodies == [body]
            assert upstream.heads[0].startswith(b"%b %b HTTP/1.1\r\n" % (method, target))
            assert sent in upstream.heads[0]
            head, _, returned = answer.partition(b"\r\n\r\n")
            assert returned == body
            assert sent in head + b"\r\n"

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(3))
async def test_aborts_in_any_mix_give_nobody_another_callers_bytes(
    seed: int, make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    """Numbered bodies: whatever part of an answer arrives is of the caller's own number."""
    dice = random.Random(seed)
    proxy = await make_proxy()

    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            head = await upstream.head(reader)
            body = await read_body(head, reader)
            number = head.split(b" ")[1][1:]
            assert body in (b"", number * 400)
            answer = number * 2000
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
            if dice.random() < 0.15:
                writer.write(answer[: dice.randrange(len(answer))])
                return reset(writer) if dice.random() < 0.5 else None
            for at in range(0, len(answer), 7000):
                writer.write(answer[at : at + 7000])
                await asyncio.sleep(0)

    upstream.script = script

    async def caller(number: int) -> None:
        mine = b"(%d)" % number
        reader, writer = await proxy.connect()
        body = mine * 400 if dice.random() < 0.5 else b""
        raw = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (mine, len(body), body)
        if dice.random() < 0.4:
            writer.write(raw if dice.random() < 0.5 else raw[: dice.randrange(1, len(raw))])
            for _ in range(dice.randrange(30)):
                await asyncio.sleep(0)
            reset(writer)
            return
        writer.write(raw)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await read_head(reader)
            length = int(lines_of(head, b"content-length")[0])
            got = b""
            while len(got) < length and (data := await reader.read(length)):
                got += data
            assert (mine * 2000).startswith(got) or b"502 Bad Gateway" in head
        writer.close()

    honest = Honest(proxy)
    for start in range(0, 300, 30):
        await asyncio.gather(*(caller(number) for number in range(start, start + 30)), honest.call())
    await eventually(lambda: proxy.slots.get("connections") <= 2)


@pytest.mark.parametrize("piece_bytes", [1, 3])
async def test_a_network_that_passes_byte_by_byte(
    piece_bytes: int, make_proxy: MakeProxy, make_network: MakeNetwork, upstream: ScriptedUpstream
) -> None:
    upstream.script = lambda reader, writer: mirror(upstream, reader, writer)
    slow = Fault(piece_bytes=piece_bytes)
    upstream.port = (await make_network(upstream.port, forth=slow, back=slow)).port
    proxy = await make_proxy(is_watched=False)
    client_side = await make_network(proxy.port, forth=slow, back=slow)
    reader, writer = await asyncio.open_connection("127.0.0.1", client_side.port)
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    writer.write(chunked * 3 + LAST)
    answer = await read_all(reader)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert answer.count(b"hello") == 3
    writer.close()


@pytest.mark.parametrize("after_bytes", [5, 40, 75, 88])
@pytest.mark.parametrize("then", ["half-close", "close", "reset"])
async def test_a_caller_whose_network_fails(
    then: str,
    after_bytes: int,
    make_proxy: MakeProxy,
    make_network: MakeNetwork,
    upstream: ScriptedUpstream,
) -> None:
    """Whatever is cut: nothing more than the calls that were whole is answered, and all is let go."""
    upstream.script = lambda reader, writer: mirror(upstream, reader, writer)
    proxy = await make_proxy()
    network = await make_network(proxy.port, forth=Fault(after_bytes=after_bytes, then=then))
    reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
    writer.write(b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n%b" % (b"a", b"b" * 40))
    try:
        seen = await read_all(reader)
    except ConnectionError:
        seen = b""
    assert b"b" * 39 not in seen
    writer.close()
    await eventually(lambda: proxy.slots.get("connections") == 1)
    await eventually(lambda: proxy.slots.get("upstream_connections") <= 2)
