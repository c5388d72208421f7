"""T3: one authority for matching, whoever says it, and none that is no host."""

from __future__ import annotations

import pytest

from tests.integration.dataplane.conftest import Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import lines_of, statuses, targets

REFUSED = [
    b"a b", b"a b<>",
    b"a<b>", b"a/b", b"a?b", b"a#b", b"a@b", b"user:secret@a", b"a:b", b"a:123456", b"a:80:80", b"[::1",
    b"::1", b"a,b", b"a\tb", b"\xc3\xa4", b"a%41", b"a;b", b'"a"', b"a\\b", b"",
]  # fmt: skip


@pytest.mark.parametrize("host", REFUSED)
@pytest.mark.parametrize("form", [b"GET / HTTP/1.1\r\nHost: %b", b"GET http://%b/ HTTP/1.1\r\nHost: x"])
async def test_no_host(host: bytes, form: bytes, proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answer = await proxy.exchange(form % host + b"\r\nConnection: close\r\n\r\n")
    # Behind `/`, `?` and `#` an absolute target goes on with what is no longer the host.
    if form.startswith(b"GET http") and host in (b"a/b", b"a?b"):
        assert statuses(answer) == [200]
        assert proxy.exchanges[0].head.host == "a"
        return
    assert statuses(answer) == [400]
    assert targets(upstream) == []


@pytest.mark.parametrize(
    ("case", "start", "host", "seen", "target"),
    [
        ("origin form", b"GET /p?q HTTP/1.1", b"One.example", "one.example", b"/p?q"),
        ("absolute form wins", b"GET http://two.example:81/p HTTP/1.1", b"one", "two.example", b"/p"),
        ("https is not believed", b"GET HTTPS://two.example/p HTTP/1.1", b"one", "two.example", b"/p"),
        ("no path", b"GET http://two.example HTTP/1.1", b"one.example", "two.example", b"/"),
        ("only a query", b"GET http://two.example?q HTTP/1.1", b"one.example", "two.example", b"/?q"),
        ("IPv6", b"GET /p HTTP/1.1", b"[::1]:8080", "[::1]", b"/p"),
        ("a path like a URL", b"GET /http://evil/p HTTP/1.1", b"one", "one", b"/http:/evil/p"),
        ("two slashes", b"GET //evil/p HTTP/1.1", b"one.example", "one.example", b"/evil/p"),
    ],
)  # fmt: skip
async def test_one_authority(
    case: str, start: bytes, host: bytes, seen: str, target: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for _ in range(2):  # the second time from what is remembered
        answer = await proxy.exchange(start + b"\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
        assert statuses(answer) == [200]
    assert [exchange.head.host for exchange in proxy.exchanges] == [seen] * 2
    assert targets(upstream) == [target] * 2
    assert [lines_of(head, b"x-forwarded-proto") for head in upstream.heads] == [[b"http"]] * 2
    assert all(len(lines_of(head, b"host")) == 1 for head in upstream.heads)


@pytest.mark.parametrize("first", [b"/p", b"http://h/p"])
async def test_what_one_form_taught_is_not_used_for_the_other(
    first: bytes, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for target in (first, b"/p", b"http://h/p", b"http://g/p", b"/p"):
        await proxy.exchange(b"GET %b HTTP/1.1\r\nHost: own\r\nConnection: close\r\n\r\n" % target)
    hosts = [exchange.head.host for exchange in proxy.exchanges]
    assert hosts == ["own" if first == b"/p" else "h", "own", "h", "g", "own"]
    assert targets(upstream) == [b"/p"] * 5
