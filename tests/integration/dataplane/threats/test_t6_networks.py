"""T6: a key works from its networks and not from those left out, by the address that is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from gateway.accounts.recognition import find_principal
from gateway.accounts.records import KeyLimits
from gateway.accounts.store import Accounts
from gateway.auth.authenticator import Authenticator
from gateway.clock import SystemClock
from gateway.dataplane.caller import ProxyProtocol, Trust
from gateway.model.access import Access
from gateway.model.networks import parse_networks
from gateway.outcomes import Outcome
from gateway.storage.postgres import Pool
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head
from tests.integration.dataplane.threats.conftest import statuses

GET = "GET /x HTTP/1.1\r\nHost: x\r\nX-API-Key: {secret}\r\n{more}\r\n"
CLOSE = "Connection: close\r\n"
STRANGER: dict[str, Any] = {"local_addr": ("127.0.0.2", 0)}
PROXIES = parse_networks("127.0.0.1")

MakeKey = Callable[..., Awaitable[str]]
ServeBehind = Callable[[Trust, bytes], Awaitable[Proxy]]


@pytest.fixture
def make_key(pool: Pool) -> MakeKey:
    """A new key of a new account, with these networks."""

    async def make(only: tuple[str, ...], without: tuple[str, ...]) -> str:
        accounts = Accounts(pool, "tw")
        account = (await accounts.create_account("Acme", "free")).public_id
        limits = KeyLimits(only_networks=only, not_networks=without)
        return (await accounts.create_key(account, limits=limits))[1]

    return make


@pytest.fixture
async def serve(make_proxy: MakeProxy, pool: Pool) -> AsyncIterator[ServeBehind]:
    tasks, slots = Tasks(), Slots.in_memory()
    auth = Authenticator(partial(find_principal, pool), slots, SystemClock(), tasks, "tw")
    visitors = {"access": Access(anonymous="visitor")}  # the honest client shows nothing

    async def behind(trust: Trust, preamble: bytes) -> Proxy:
        return await make_proxy(auth=auth, route=visitors, trust=trust, preamble=preamble)

    yield behind
    await tasks.close()


CASES = [
    ("left out", (), ("192.0.2.0/24",), {"192.0.2.7": 403, "192.0.3.7": 200, "2001:db8::7": 200}),
    ("one of several", (), ("10.0.0.0/8", "2001:db8::/32"), {"192.0.2.7": 200, "2001:db8::7": 403}),
    ("within its own", ("192.0.2.0/24",), ("192.0.2.7",), {"192.0.2.7": 403, "192.0.2.8": 200}),
    ("around its own", ("192.0.2.7",), ("192.0.2.0/24",), {"192.0.2.7": 403, "192.0.2.8": 403}),
    ("beside its own", ("192.0.2.7",), ("10.0.0.0/8",), {"192.0.2.7": 200, "10.0.0.1": 403}),
    ("IPv4 as IPv6", (), ("::ffff:192.0.2.0/120",), {"192.0.2.7": 403, "192.0.3.7": 200}),
    ("all of IPv6", (), ("::/0",), {"192.0.2.7": 200, "2001:db8::7": 403}),
]


@pytest.mark.parametrize(("case", "only", "without", "answers"), CASES, ids=[one[0] for one in CASES])
@pytest.mark.parametrize("how", ["header", "preamble"])
async def test_who_may_use_a_key(
    how: str,
    case: str,
    only: tuple[str, ...],
    without: tuple[str, ...],
    answers: dict[str, int],
    serve: ServeBehind,
    make_key: MakeKey,
    upstream: ScriptedUpstream,
) -> None:
    by_preamble = how == "preamble"
    mode = ProxyProtocol.TRUSTED if by_preamble else ProxyProtocol.OFF
    proxy = await serve(Trust(PROXIES, proxy_protocol=mode), b"PROXY UNKNOWN\r\n" if by_preamble else b"")
    secret = await make_key(only, without)
    got = {}
    for address in answers:
        raw = GET.format(secret=secret, more=CLOSE)
        if by_preamble:
            family, own = ("TCP6", "::1") if ":" in address else ("TCP4", "127.0.0.1")
            raw = f"PROXY {family} {address} {own} 1 2\r\n{raw}"
        else:
            raw = GET.format(secret=secret, more=f"X-Forwarded-For: {address}\r\n{CLOSE}")
        answer = await proxy.exchange(raw.encode())
        (got[address],) = statuses(answer)
        assert got[address] == 200 or b'"key_restricted"' in answer
    assert got == answers
    assert len(upstream.heads) == list(answers.values()).count(200)
    outcomes = [one.outcome for one in await proxy.ended(len(answers))]
    wanted = [Outcome.SERVED if status == 200 else Outcome.FORBIDDEN for status in answers.values()]
    assert outcomes == wanted


@pytest.mark.parametrize("claimed", ["192.0.2.7", "127.0.0.1", "::ffff:192.0.2.7", "unknown"])
async def test_an_address_that_is_made_up_opens_nothing(
    claimed: str, serve: ServeBehind, make_key: MakeKey, upstream: ScriptedUpstream
) -> None:
    proxy = await serve(Trust(PROXIES), b"")
    secret = await make_key((), ("127.0.0.2",))
    said = f"X-Forwarded-For: {claimed}\r\nForwarded: for={claimed}\r\nX-Real-IP: {claimed}\r\n{CLOSE}"
    assert statuses(await proxy.exchange(GET.format(secret=secret, more=said).encode(), **STRANGER)) == [403]
    passed_on = GET.format(secret=secret, more=f"X-Forwarded-For: {claimed}, 127.0.0.2\r\n{CLOSE}")
    assert statuses(await proxy.exchange(passed_on.encode())) == [403]
    assert upstream.heads == []


@pytest.mark.parametrize("pipelined", [False, True])
async def test_callers_over_one_connection_are_told_apart(
    pipelined: bool, serve: ServeBehind, make_key: MakeKey, upstream: ScriptedUpstream
) -> None:
    """Heads are recognised from the one before; whether the key works from there is asked each time."""
    proxy = await serve(Trust(PROXIES), b"")
    secret = await make_key((), ("192.0.2.7",))
    callers = ["192.0.2.8", "192.0.2.8", "192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.7", "192.0.2.9"]
    reader, writer = await proxy.connect()
    for caller in callers:
        writer.write(GET.format(secret=secret, more=f"X-Forwarded-For: {caller}\r\n").encode())
        if not pipelined:
            head = (await read_head(reader)).lower()
            size = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(size))
    ended = await proxy.ended(len(callers))
    refused = [one.client_address for one in ended if one.outcome is Outcome.FORBIDDEN]
    assert [one.client_address for one in ended] == callers
    assert refused == ["192.0.2.7"] * 3
    assert len(upstream.heads) == 4
    writer.close()
