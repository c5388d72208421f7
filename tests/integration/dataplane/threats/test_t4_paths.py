"""T4: no spelling of a path reaches the upstream that another rule than the matched one would apply to."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest
from gateway.routing.path import canonical_path
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses, targets
from tests.integration.dataplane.threats.origins.spellings import REFUSED, spellings


@pytest.mark.parametrize("path", REFUSED)
async def test_a_path_that_can_be_read_in_two_ways(
    path: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    assert statuses(answer) == [400]
    assert targets(upstream) == []


def test_every_spelling_is_one_path_or_refused() -> None:
    """A spelling is forwarded as its canonical path, which is its own; so one rule applies to both."""
    seen = set()
    for spelling in spellings():
        path = spelling.partition(b"?")[0]
        try:
            canonical = canonical_path(path)
        except BadRequest:
            continue
        seen.add(canonical)
        assert canonical_path(canonical.encode()) == canonical
        assert "//" not in canonical
        assert "/." not in canonical.replace("/.x", "")
        assert "%2F" not in canonical.upper()
    assert "/premium/x" in seen
    assert all(path.startswith(("/premium", "/Premium")) for path in seen)


async def test_what_is_matched_is_what_is_forwarded(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    calls = [b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % spelling for spelling in spellings()[::37]]
    sent = [call for call in calls if b"\\" not in call]  # the parser itself ends the connection at these
    await proxy.exchange(b"".join(sent) + b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    forwarded = [exchange for exchange in proxy.exchanges if exchange.status == 200]
    assert [e.head.path.encode() + e.head.query for e in forwarded] == targets(upstream)
