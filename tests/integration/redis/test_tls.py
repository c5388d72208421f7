"""Redis behind TLS: a terminator of this test before a real server, certificates of a private authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import StartupError
from gateway.storage.redis import check_redis, parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.conftest import OwnRedis, Worker
from tests.unit.admission.plans import call, limit, plan, principal, quota

CERTS = Path(__file__).parents[1] / "upstream" / "certs"
OURS = f"ssl_certfile={CERTS / 'client.pem'}&ssl_keyfile={CERTS / 'client.key'}"


@pytest.fixture
async def port(own_redis: OwnRedis) -> AsyncIterator[int]:
    """Where TLS is spoken; who shows no certificate of the authority is not let in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
    context.load_verify_locations(CERTS / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    serving: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_unix_connection(own_redis.url.removeprefix("unix://"))
        serving.update(asyncio.ensure_future(one) for one in (pump(reader, there), pump(back, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for one in serving:
        one.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


async def test_calls_are_decided_over_tls(port: int) -> None:
    url = f"rediss://127.0.0.1:{port}/2?ssl_ca_certs={CERTS / 'ca.pem'}&{OURS}"
    await check_redis(url)
    worker = await Worker(url).start()
    charges = plan(limit(1, burst=10, period_ms=86_400_000), quota(100))
    for _ in range(3):
        await worker.admitter.admit(principal(), charges, call())
    assert await worker.left(charges) == (7, 97)
    await worker.close()


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("an authority that did not sign it", f"ssl_ca_certs={CERTS / 'stranger.pem'}&{OURS}"),
        ("a server that wants to know who we are", f"ssl_ca_certs={CERTS / 'ca.pem'}"),
    ],
)
async def test_who_can_not_be_trusted_is_not_used(port: int, case: str, options: str) -> None:
    url = f"rediss://127.0.0.1:{port}?{options}"
    with pytest.raises(StartupError, match="Can not use Redis at 127"):
        await check_redis(url)
    tasks = Tasks()
    redis = TickRedis(parse_address(url), Slots.in_memory(), tasks)
    redis.start()
    assert not await redis.wait_until_up(0.3), case
    await redis.close()
    await tasks.close()
