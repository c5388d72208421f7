"""The ear for key changes: a revocation reaches every worker within a second."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

import asyncpg

from gateway.auth.cache import KeyCache
from gateway.errors import StartupError
from gateway.storage.postgres import LOST, open_connection
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.auth")

CHANNEL = "tollway_keys"

KEEPALIVE_S = 2.0
"""Between two signs of life of the connection, and the wait for one: a dead one is noticed in twice this."""

CONNECT_S = 5.0
MAX_DELAY_S = 5.0

_FAILURES: tuple[type[Exception], ...] = (StartupError, asyncpg.PostgresError, *LOST)


class KeyListener:
    """Drops cache entries as soon as Postgres says that a key or an account changed.

    Changes made while the connection is down are never told, so after every connect all entries are doubted:
    the next call of each key asks first. Meanwhile entries age as usual (`cache.FRESH_US`).
    """

    def __init__(
        self,
        url: str,
        cache: KeyCache,
        slots: Slots,
        others: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """`others`: channels of other changes, with whom to tell of each, and after each connect."""
        self._url, self._cache, self._slots = url, cache, slots
        self._others = others or {}

    async def run(self) -> None:
        """Listen until cancelled; reconnect with growing delays."""
        attempt = 0
        self._slots.set("key_listener_up", 0)
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    connection = await open_connection(self._url)
                attempt = 0
                await self._listen(connection)
            except _FAILURES as error:
                reason = type(error).__name__
            else:
                reason = "connection closed"
            if attempt == 0:
                self._slots.add("key_listener_lost_total")
                log.warning(
                    "key changes are not heard: they take effect within a minute until Postgres is back",
                    extra={"error": reason},
                )
            delay_s = min(MAX_DELAY_S, 0.1 * 2**attempt)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads workers, no secret
            attempt = min(attempt + 1, 10)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: closed.set())
            async with asyncio.timeout(KEEPALIVE_S):
                await connection.add_listener(CHANNEL, self._notified)
                for channel in self._others:
                    await connection.add_listener(channel, self._other_notified)
            self._cache.doubt_all()
            for tell in self._others.values():
                tell()
            self._slots.set("key_listener_up", 1)
            log.info("key changes are heard at once")
            while not await _set_within(closed, KEEPALIVE_S):
                await connection.fetchval("SELECT 1", timeout=KEEPALIVE_S)
        finally:
            self._slots.set("key_listener_up", 0)
            connection.terminate()

    def _other_notified(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self._others[channel]()

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        kind, _, name = str(payload).partition(":")
        try:
            if kind == "key":
                self._cache.drop_key(bytes.fromhex(name))
            elif kind == "account":
                self._cache.drop_account(int(name))
            else:
                raise ValueError(kind)
        except ValueError:
            # From a newer release or by hand: what changed is not clear, so doubt everything.
            self._cache.doubt_all()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
