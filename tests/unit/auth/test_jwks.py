"""A key set behind a URL: fetched once, kept while it can not be fetched, asked again with care."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.auth import jwks
from gateway.auth.jwks import AGAIN_US, MAX_BYTES, REFRESH_US, IssuerKeys, fetch
from gateway.auth.jwt_keys import BadKey
from gateway.clock import ManualClock
from gateway.tasks import Tasks
from tests.unit.auth.issuing import ACME, OTHER_RSA_KEY, RSA_KEY, SECRET, jwk, key_set, pem

URL = "https://acme.example/jwks.json"
BEHIND_URL = replace(ACME, jwks_url=URL)


class Site:
    """Where the set is."""

    def __init__(self) -> None:
        self.asked = 0
        self.has: bytes | BadKey = key_set(jwk())

    async def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.has, BadKey):
            raise self.has
        return self.has


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def keys(clock: ManualClock, tasks: Tasks, site: Site) -> IssuerKeys:
    return IssuerKeys(BEHIND_URL, clock, tasks, site.fetch)


async def test_many_who_ask_at_once_wait_for_one_fetch(keys: IssuerKeys, site: Site) -> None:
    found = await asyncio.gather(*(keys.find("k1") for _ in range(10)))
    assert all(key is not None for key in found)
    assert site.asked == 1


async def test_a_new_key_is_found_within_a_minute_and_strangers_cause_no_more_fetches(
    keys: IssuerKeys, site: Site, clock: ManualClock
) -> None:
    assert await keys.find("k1") is not None
    site.has = key_set(jwk(), jwk(OTHER_RSA_KEY, kid="k2"))
    assert [await keys.find(f"stranger {n}") for n in range(10)] == [None] * 10
    assert await keys.find("k2") is None
    assert site.asked == 1
    clock.advance(AGAIN_US / 1_000_000)
    assert await keys.find("k2") is not None
    assert site.asked == 2


async def test_a_set_that_is_old_is_renewed_while_it_goes_on_serving(
    keys: IssuerKeys, site: Site, clock: ManualClock
) -> None:
    assert await keys.find("k1") is not None
    clock.advance(REFRESH_US / 1_000_000)
    site.has = key_set(jwk(OTHER_RSA_KEY, kid="k2"))
    assert await keys.find("k1") is not None, "nobody waits for the new set"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await keys.find("k2") is not None
    assert await keys.find("k1") is None


async def test_a_set_that_can_not_be_fetched_is_kept(
    keys: IssuerKeys, site: Site, clock: ManualClock
) -> None:
    assert await keys.find("k1") is not None
    site.has = BadKey("is gone")
    for _ in range(5):
        clock.advance(REFRESH_US / 1_000_000)
        assert await keys.find("k1") is not None


async def test_without_a_set_nobody_is_believed_and_it_is_asked_for_once_a_minute(
    keys: IssuerKeys, site: Site, clock: ManualClock
) -> None:
    site.has = BadKey("is not there yet")
    assert [await keys.find("k1") for _ in range(5)] == [None] * 5
    assert site.asked == 1
    site.has = key_set(jwk())
    clock.advance(AGAIN_US / 1_000_000)
    assert await keys.find("k1") is not None


async def test_static_keys(clock: ManualClock, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    pems = replace(ACME, pems={"a": pem(RSA_KEY), "b": pem(OTHER_RSA_KEY)})
    keys = IssuerKeys(pems, clock, tasks)
    assert await keys.find("a") is not None
    assert await keys.find("c") is None
    monkeypatch.setenv("ACME_SECRET", SECRET)
    secret = IssuerKeys(replace(ACME, secret_env="ACME_SECRET"), clock, tasks)
    assert await secret.find(None) == SECRET.encode()
    monkeypatch.setenv("ACME_SECRET", "short")
    assert await IssuerKeys(replace(ACME, secret_env="ACME_SECRET"), clock, tasks).find(None) is None


async def _large(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * (MAX_BYTES + 1))


async def _elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("/good")


async def _good(_: web.Request) -> web.Response:
    return web.Response(body=key_set(jwk()))


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.add_routes([web.get("/large", _large), web.get("/elsewhere", _elsewhere), web.get("/good", _good)])
    made = TestServer(app)
    await made.start_server()
    yield made
    await made.close()


async def test_a_set_is_fetched(server: TestServer) -> None:
    assert await fetch(str(server.make_url("/good"))) == key_set(jwk())


@pytest.mark.parametrize(
    ("path", "reason"), [("/large", "larger"), ("/elsewhere", "302"), ("/nothing", "404")]
)
async def test_what_is_no_set_is_not_followed_or_swallowed(
    server: TestServer, path: str, reason: str
) -> None:
    with pytest.raises(BadKey, match=reason):
        await fetch(str(server.make_url(path)))


async def test_a_site_that_is_not_there(unused_tcp_port: Any) -> None:
    with pytest.raises(BadKey, match="can not be fetched"):
        await fetch(f"http://127.0.0.1:{unused_tcp_port}/")


async def _slow(_: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return await _good(_)


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


@pytest.mark.parametrize(("handler", "reason"), [(_slow, "TimeoutError"), (_endless, "larger")])
async def test_a_site_that_takes_for_ever_is_given_up(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if handler is _slow:
        monkeypatch.setattr(jwks, "TIMEOUT_S", 0.1)
    app = web.Application()
    app.add_routes([web.get("/keys", handler)])
    async with TestServer(app) as site:
        with pytest.raises(BadKey, match=reason):
            await fetch(str(site.make_url("/keys")))
