"""T4: no spelling of a path gets past what the path requires, whatever server is behind the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import BadRequest
from gateway.routing.path import canonical_path
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses
from tests.integration.dataplane.threats.origins.apps import PATH, PREMIUM
from tests.integration.dataplane.threats.origins.serving import ORIGINS
from tests.integration.dataplane.threats.origins.spellings import REFUSED, spellings

ABSOLUTE = [b"http://x/premium/x", b"HTTP://premium/free/../premium/x", b"http://x//premium/x?", b"http://x"]
TRIED = [*spellings()[::15], *REFUSED, *ABSOLUTE]
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OVERRIDE = b"X-Original-URL: /premium/x\r\nX-Rewrite-URL: /premium/x\r\nX-HTTP-Method-Override: GET\r\n"


def is_path(target: bytes) -> bool:
    """Whether the gateway takes it for a path at all."""
    try:
        canonical_path(target.partition(b"?")[0])
    except BadRequest:
        return False
    return True


def get(target: bytes, fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, fields)


async def pipelined(proxy: Proxy, calls: list[bytes]) -> bytes:
    """What comes back to all of them, a hundred after one another at a time."""
    parts = [b"".join(calls[at : at + 100]) + LAST for at in range(0, len(calls), 100)]
    return b"".join([await proxy.exchange(part) for part in parts])


@pytest.mark.parametrize("origin", ORIGINS)
async def test_no_spelling_reaches_what_the_tier_does_not_include(
    origin: str, make_proxy: MakeProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    assert len(TRIED) > 2000
    paths = [target for target in TRIED if is_path(target)]
    calls = [get(target) for target in (*paths, *ABSOLUTE)] + [get(b"/free", OVERRIDE)]
    async with ORIGINS[origin](tmp_path) as upstream.port:
        may = await make_proxy(is_watched=False)
        assert PREMIUM.encode() in await may.exchange(get(PATH.encode(), b"Connection: close\r\n"))
        may_not = await make_proxy(is_watched=False, closed="/premium")
        answers = await pipelined(may_not, calls)
        batches = -(-len(calls) // 100)
        assert len(statuses(answers)) == len(calls) + batches
        assert PREMIUM.encode() not in answers
        refused = statuses(answers).count(403)
        assert 100 < refused < len(calls), "some are the premium path, others are not"
        assert PREMIUM.encode() in await may.exchange(get(PATH.encode(), b"Connection: close\r\n"))
        await may_not.drain(0)
        await may.drain(0)


async def test_what_is_no_path_is_400_whoever_asks(make_proxy: MakeProxy, upstream: ScriptedUpstream) -> None:
    proxy = await make_proxy(closed="/premium")
    for target in (target for target in TRIED if not is_path(target) and target not in ABSOLUTE):
        assert statuses(await proxy.exchange(get(target) + LAST)) == [400]
    assert upstream.heads == []
