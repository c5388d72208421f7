"""What a route changes on the way, byte by byte: what the upstream sees, what comes back."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import pytest

from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

RULES = """
    rewrite: {strip_prefix: /v1, add_prefix: /in, forwarded_prefix: true}
    request_headers:
      set: {X-Stage: live, Authorization: Basic dXBzdHJlYW0=}
      add: {X-Seen: tollway}
      remove: [X-Debug]
    response_headers:
      set: {X-Frame-Options: DENY}
      add: {Vary: Origin}
      remove: [Server, x-internal]
"""
GET = b"GET /v1/a/?b=%%2F..&c=/v1/ HTTP/1.1\r\nHost: api.example\r\n%bConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nhi"


def changes(rules: str) -> dict[str, object]:
    """What the rules of a route are compiled to."""
    text = f"""
upstreams: {{up: {{targets: [http://up]}}}}
tiers: {{free: {{}}}}
routes:
  - name: r
    match: {{path: /v1/**}}
    upstream: up
{rules}
"""
    loaded = compile_sources(Sources((("a.yaml", text.encode()),)))
    assert loaded.policies is not None, loaded.problems
    route = loaded.policies.routes[0]
    return {"request_change": route.request_change, "response_headers": route.response_headers}


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    return await make_proxy(route=changes(RULES))


def lines_of(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header, whatever its spelling."""
    lines = [line.partition(b":") for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    return [value.strip() for one, _, value in lines if one.lower().replace(b"_", b"-") == name.lower()]


async def test_the_upstream_sees_another_path_and_the_same_query(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.exchange(GET % b"")
    assert upstream.heads[0].startswith(b"GET /in/a/?b=%2F..&c=/v1/ HTTP/1.1\r\n")
    assert lines_of(upstream.heads[0], b"x-forwarded-prefix") == [b"/v1"]
    assert proxy.exchanges[0].head.path == "/v1/a/"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"/v1", b"/in"),
        (b"/v1/", b"/in/"),
        (b"/v1/%61/../b//c", b"/in/b/c"),
        (b"/v1/../v1/./x?", b"/in/x?"),
        (b"/v1/v1/%3a%25", b"/in/v1/%3A%25"),
        (b"http://other.example/v1/x", b"/in/x"),
        (b"/v1/caf%c3%a9/", b"/in/caf%C3%A9/"),
    ],
)
async def test_however_the_path_is_written(
    sent: bytes, seen: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.exchange(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % sent)
    assert upstream.heads[0].split(b" ")[1] == seen


SPELLINGS = [b"X-Stage", b"x-stage", b"X-STAGE", b"X_Stage", b"x_stage", b"X.Stage", b"x~stage"]


@pytest.mark.parametrize("name", SPELLINGS)
async def test_a_caller_can_not_say_what_the_route_says(
    name: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.exchange(GET % (b"%b: evil\r\nX-Other: 1\r\n%b:evil\r\n" % (name, name)))
    assert b"evil" not in upstream.heads[0]
    assert lines_of(upstream.heads[0], b"x-stage") == [b"live"]
    assert lines_of(upstream.heads[0], b"x-other") == [b"1"]


async def test_connection_takes_nothing_of_it_away(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    listed = b"Connection: X-Stage, Authorization, X-Forwarded-Prefix, X-Seen\r\n"
    await proxy.exchange(GET % (listed + b"X-Stage: evil\r\nX-Forwarded-Prefix: /evil\r\n"))
    head = upstream.heads[0]
    names = (b"x-stage", b"authorization", b"x-forwarded-prefix", b"x-seen")
    assert [lines_of(head, name) for name in names] == [
        [b"live"],
        [b"Basic dXBzdHJlYW0="],
        [b"/v1"],
        [b"tollway"],
    ]


async def test_what_is_added_and_what_is_removed(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    await proxy.exchange(
        GET % b"X-Seen: before\r\nx_debug: 1\r\nX-Debug: 2\r\nX-Debugger: 3\r\nX-Odd: \xff\r\n"
    )
    head = upstream.heads[0]
    assert lines_of(head, b"x-seen") == [b"before", b"tollway"]
    assert lines_of(head, b"x-debug") == []
    assert b"\r\nX-Debugger: 3\r\nX-Odd: \xff\r\n" in head


async def test_framing_identity_and_place_stay_ours(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    body = b"POST /v1/a HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    await proxy.exchange(body)
    head = upstream.heads[0]
    for name in (b"host", b"content-length", b"tollway-request-id", b"x-forwarded-for", b"x-forwarded-host"):
        assert len(lines_of(head, name)) == 1


ANSWER = (
    b"Server: up/1\r\nX-Internal: 1\r\nx_internal: 2\r\nx-frame-options: SAMEORIGIN\r\nVary: Accept\r\n"
    b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: \xff\r\n"
)


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("whole", OK % ANSWER),
        ("in a way only the parser reads", OK % (ANSWER + b"Connection: x-hop\r\nX-Hop: 1\r\n")),
        ("chunked", b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" % ANSWER),
        ("an error", OK.replace(b"200 OK", b"500 Oh") % ANSWER),
        ("a redirect", OK.replace(b"200 OK", b"302 Found") % (ANSWER + b"Location: /in/b\r\n")),
    ],
)
async def test_an_answer_comes_back_changed(
    case: str, raw: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(raw)
    answer = await proxy.exchange(GET % b"")
    assert lines_of(answer, b"server") == []
    assert lines_of(answer, b"x-internal") == []
    assert lines_of(answer, b"x-frame-options") == [b"DENY"]
    assert lines_of(answer, b"vary") == [b"Accept", b"Origin"]
    assert lines_of(answer, b"set-cookie") == [b"a=1", b"b=2"]
    assert lines_of(answer, b"x-odd") == [b"\xff"]
    assert lines_of(answer, b"location") == ([b"/in/b"] if case == "a redirect" else [])
    assert b"hi" in answer.partition(b"\r\n\r\n")[2]


async def test_calls_on_a_kept_connection_are_all_changed(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(OK % ANSWER)
    reader, writer = await proxy.connect()
    for number in range(5):  # heads that repeat are recognised without the parser
        writer.write(b"GET /v1/%d HTTP/1.1\r\nHost: x\r\nX-Stage: %d\r\nA: b\r\n\r\n" % (number, number))
        head = await read_head(reader)
        await reader.readexactly(2)
        assert lines_of(head, b"server") == []
        assert lines_of(head, b"x-frame-options") == [b"DENY"]
    assert [head.split(b" ")[1] for head in upstream.heads] == [b"/in/%d" % number for number in range(5)]
    assert all(lines_of(head, b"x-stage") == [b"live"] for head in upstream.heads)
    assert all(lines_of(head, b"a") == [b"b"] for head in upstream.heads)
    assert upstream.connections == 1
    writer.close()


async def test_a_call_that_is_sent_again_is_sent_the_same_again(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        await upstream.head(reader)
        writer.write(OK % b"")
        await upstream.head(reader)  # and closes: the connection was stale

    upstream.script = script
    reader, writer = await proxy.connect()
    for _ in range(2):
        writer.write(b"GET /v1/a HTTP/1.1\r\nHost: x\r\nX-Stage: evil\r\nX-Seen: 1\r\n\r\n")
        await read_head(reader)
        await reader.readexactly(2)
    writer.close()
    _, lost, again = upstream.heads
    assert lost == again
    assert again.startswith(b"GET /in/a HTTP/1.1\r\n")
    assert lines_of(again, b"x-stage") == [b"live"]
    assert lines_of(again, b"x-seen") == [b"1", b"tollway"]


async def test_early_hints_lose_what_answers_lose(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nServer: up/1\r\nX-Frame-Options: evil\r\nLink: </a>\r\n\r\n"
    upstream.answering(hints + OK % ANSWER)
    answer = await proxy.exchange(GET % b"")
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_switch_to_another_protocol_is_an_answer(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(
        b"HTTP/1.1 101 Switching Protocols\r\nServer: up/1\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n",
        then_close=True,
    )
    ask = b"GET /v1/chat HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n"
    answer = await proxy.exchange(ask)
    assert upstream.heads[0].startswith(b"GET /in/chat HTTP/1.1\r\n")
    assert lines_of(upstream.heads[0], b"upgrade") == [b"echo/1"]
    assert lines_of(answer, b"server") == []
    assert lines_of(answer, b"x-frame-options") == [b"DENY"]
    assert lines_of(answer, b"upgrade") == [b"echo/1"]


async def test_a_refusal_of_the_gateway_keeps_its_form(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.answering(b"nonsense\r\n\r\n")
    answer = await proxy.exchange(GET % b"")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert lines_of(answer, b"x-frame-options") == []


async def test_a_route_without_rules_passes_everything(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await make_proxy(route=changes(""))
    upstream.answering(OK % ANSWER)
    answer = await proxy.exchange(GET % b"X_Stage: 1\r\nX-Debug: 2\r\n")
    assert upstream.heads[0].startswith(b"GET /v1/a/?b=%2F..&c=/v1/ HTTP/1.1\r\n")
    assert b"\r\nX_Stage: 1\r\nX-Debug: 2\r\n" in upstream.heads[0]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n" + ANSWER)
