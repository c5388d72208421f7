"""T3: a key in the query is nobody's business but ours, where a route reads it, and never in what we say."""

from __future__ import annotations

import asyncio

import pytest

from gateway.accounts.keys import mint
from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.clock import SystemClock
from gateway.model.access import Access
from gateway.model.policies import Timeouts
from gateway.model.principal import Mode, Principal
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import Reader, Writer, lines_of, statuses, targets

KEY = mint("tw", Mode.LIVE).secret.encode()
PRINCIPAL = Principal(1, "acct_1", 1, "key_1", "free", Mode.LIVE, b"Tollway-Account: acct_1\r\n")
QUERY = b"?a=%%31&api_key=%b&b=+%%7E&c" % KEY
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n%bConnection: close\r\n\r\n"
CANARY = b"canary-in-the-coal-mine"


async def look_up(_: bytes) -> FoundKey | None:
    return FoundKey(PRINCIPAL, active=True)


@pytest.fixture
async def proxy(make_proxy: MakeProxy) -> Proxy:
    """Keys are checked; the parameter `api_key` may hold one."""
    auth = Authenticator(look_up, Slots.in_memory(), SystemClock(), Tasks(), "tw")
    route = {"access": Access(query_key=b"api_key", anonymous="visitor")}
    return await make_proxy(auth=auth, route=route)


async def test_the_upstream_sees_the_query_without_it(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    for _ in range(3):  # the second time as a target that was seen before
        assert statuses(await proxy.exchange(GET % (b"/p" + QUERY, b""))) == [200]
    assert targets(upstream) == [b"/p?a=%31&b=+%7E&c"] * 3
    for head in upstream.heads:
        assert KEY not in head
        assert lines_of(head, b"tollway-account") == [b"acct_1"]


async def test_also_over_a_kept_connection_whose_heads_are_recognised(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The next caller behind the same proxy has another key, or none: nobody gets the one before."""
    reader, writer = await proxy.connect()
    for target in (QUERY, b"?n=1", QUERY, b"", b"?api_key=nonsense", b"?n=2", QUERY):
        writer.write(b"GET /p%b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        head = await read_head(reader)
        await reader.readexactly(int(lines_of(head, b"content-length")[0]))
        assert statuses(head) == [401 if b"nonsense" in target else 200]
    callers = [lines_of(head, b"tollway-account") for head in upstream.heads]
    assert callers == [[b"acct_1"], [], [b"acct_1"], [], [], [b"acct_1"]]
    keyed = b"/p?a=%31&b=+%7E&c"
    assert targets(upstream) == [keyed, b"/p?n=1", keyed, b"/p", b"/p?n=2", keyed]
    writer.close()


async def test_a_page_whose_address_holds_a_key_does_not_tell(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    referer = b"Referer: http://x/p%b\r\n" % QUERY
    assert statuses(await proxy.exchange(GET % (b"/style.css", referer))) == [200]
    assert lines_of(upstream.heads[0], b"referer") == []


async def test_for_websockets_of_browsers_it_is_taken_out_too(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.answering(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    reader, writer = await proxy.connect()
    ask = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    writer.write(b"GET /ws%b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (QUERY, ask))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 101 ")
    assert targets(upstream) == [b"/ws?a=%31&b=+%7E&c"]
    writer.close()


async def test_where_no_route_reads_it_it_passes_like_any_query(
    make_proxy: MakeProxy, upstream: ScriptedUpstream
) -> None:
    auth = Authenticator(look_up, Slots.in_memory(), SystemClock(), Tasks(), "tw")
    proxy = await make_proxy(auth=auth, is_watched=False)
    assert statuses(await proxy.exchange(GET % (b"/p" + QUERY, b""))) == [401]
    assert statuses(await proxy.exchange(GET % (b"/p" + QUERY, b"X-API-Key: %b\r\n" % KEY))) == [200]
    assert targets(upstream) == [b"/p" + QUERY]


SAYS_NOTHING = [
    ("200", b"/p?api_key=%b", b"", 200),
    ("400 for the path", b"/%%2f?api_key=%b", b"", 400),
    ("400 for the query", b"/p?api_key=%b\xff", b"", 400),
    ("400 for a header", b"/p?api_key=%b", b"Host: y\r\n", 400),
    ("401", b"/deny?api_key=%b", b"", 401),
    ("403", b"/closed/x?api_key=%b", b"", 403),
    ("405", b"/p?api_key=%b", b"TRACE", 405),
    ("414", b"/p?api_key=%b" + b"x" * 9000, b"", 414),
    ("429", b"/limited?api_key=%b", b"", 429),
    ("500", b"/breaks?api_key=%b", b"", 500),
    ("502", b"/garbage?api_key=%b", b"", 502),
    ("504", b"/never?api_key=%b", b"", 504),
]


@pytest.mark.parametrize("reads", [True, False], ids=["where it is read", "where it is not"])
@pytest.mark.parametrize(
    ("case", "target", "lines", "status"), SAYS_NOTHING, ids=[case for case, *_ in SAYS_NOTHING]
)
async def test_whatever_happens_nothing_tells_it(
    case: str,
    target: bytes,
    lines: bytes,
    status: int,
    reads: bool,
    make_proxy: MakeProxy,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(reader: Reader, writer: Writer) -> None:
        while True:
            path = (await upstream.head(reader)).split(b" ")[1]
            if path.startswith(b"/never"):
                await asyncio.Event().wait()
            garbage = path.startswith(b"/garbage")
            writer.write(b"garbage\r\n\r\n" if garbage else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    class Anybody(Authenticator):
        async def _by_key(self, exchange: object) -> Principal:
            if b"breaks" in exchange.head.target:  # type: ignore[attr-defined]  # of an exchange
                raise ZeroDivisionError
            return PRINCIPAL

    caplog.set_level("DEBUG")
    upstream.script = script
    auth = Anybody(look_up, Slots.in_memory(), SystemClock(), Tasks(), "tw")
    route = {"access": Access(query_key=b"api_key") if reads else Access(keys=True, anonymous=None)}
    proxy = await make_proxy(auth=auth, route=route, closed="/closed", timeouts=Timeouts(response_s=0.2))
    caplog.clear()
    method = lines if lines == b"TRACE" else b"GET"
    call = GET.replace(b"GET", method) % (target % CANARY, b"" if method == b"TRACE" else lines)
    answer = await proxy.exchange(call)
    assert statuses(answer) == [status]
    assert CANARY not in answer
    assert CANARY.decode() not in caplog.text
    assert all(CANARY.decode() not in repr(vars(record)) for record in caplog.records)
    if reads:
        assert not any(CANARY in head for head in upstream.heads)
    if status == 500:
        assert "ZeroDivisionError" in caplog.text, "a traceback was logged"
