"""T4: no spelling of a path reaches the upstream that another rule than the matched one would apply to."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import BadRequest
from gateway.routing.path import canonical_path
from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses, targets

REFUSED = [
    b"/free/%2e%2e%2fpremium", b"/premium%2fx", b"/premium%2Fx", b"/premium%5cx", b"/premium\\x",
    b"/premium%00",
    b"/premium%zz", b"/premium%", b"/premium%2", b"/premium;x", b"/premium/x;y=z", b"/premium#x",
    b"/%252e%252e/p",
    b"/%c0%ae%c0%ae/premium", b"/%c0%af", b"/%ff", b"/%ed%a0%80", b"/%25%32%65", b"/a%2", b"/%u002e", b"*",
    b"/\xc3\xa4", b"/\x7f",
]  # fmt: skip


@pytest.mark.parametrize("path", REFUSED)
async def test_a_path_that_can_be_read_in_two_ways(
    path: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.exchange(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    assert statuses(answer) == [400]
    assert targets(upstream) == []


def spellings() -> list[bytes]:
    """Some thousand ways to write /premium/x, and what lies near."""
    ps = [b"p", b"%70", b"P", b"%50", b"%2570"]
    slashes = [
        b"/",
        b"//",
        b"/./",
        b"/.//",
        b"/a/../",
        b"/%2e/",
        b"/a/%2E%2e/",
        b"%2f",
        b"\\",
        b"/;/",
    ]
    ends = [
        b"x",
        b"x/",
        b"x/.",
        b"x/..",
        b"x%20",
        b"x.",
        b"x%2e",
        b"x;",
        b"%78",
        b"x%00",
        b"x/../x",
        b"x?",
        b"x?/../y",
    ]
    starts = [b"", b"/free/..", b"/free/%2e%2e", b"/free//..", b"/.."]
    return [
        start + first + letter + b"remium" + second + end
        for start, first, letter, second, end in itertools.product(starts, slashes, ps, slashes, ends)
    ]  # fmt: skip


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
