"""An issuer's keys, wherever they come from. A set behind a URL is fetched, kept, and renewed with care."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

import aiohttp

from gateway.auth.jwt_keys import BadKey, Key, Keys, from_jwks, from_pem, from_secret
from gateway.clock import Clock
from gateway.model.access import Issuer
from gateway.tasks import Tasks

log = logging.getLogger("tollway.auth")

Fetch = Callable[[str], Awaitable[bytes]]

REFRESH_US = 600_000_000
"""How long a set is believed without asking again. A stale one is kept while it can not be fetched."""

AGAIN_US = 60_000_000
"""Between two fetches for key ids that are not in the set, and after a fetch that failed."""

MAX_BYTES = 1_000_000
TIMEOUT_S = 5.0


async def fetch(url: str) -> bytes:
    """What is at a URL, at most `MAX_BYTES`, no redirects. Raises BadKey."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status != 200:
                raise BadKey(f"was answered with {answer.status}")
            body = await answer.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES + 1 - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise BadKey(f"can not be fetched: {type(error).__name__}") from None
    if len(body) > MAX_BYTES:
        raise BadKey(f"is larger than {MAX_BYTES} bytes")
    return body


class IssuerKeys:
    """Keys of one issuer. Asked by key id; the map is only ever filled from where the policies say."""

    def __init__(self, issuer: Issuer, clock: Clock, tasks: Tasks, fetcher: Fetch = fetch) -> None:
        self._issuer, self._clock, self._tasks, self._fetch = issuer, clock, tasks, fetcher
        self._keys = Keys({})
        self._tried_at_us = -AGAIN_US
        self._fresh_until_us = 0
        self._fetching: asyncio.Task[None] | None = None
        if issuer.jwks_url is None:
            self._keys = self._static()

    async def find(self, key_id: str | None) -> Key | None:
        """The key of this id, or None. Waits for a set that was never fetched, or that may have a new key."""
        if self._issuer.jwks_url is None:
            return self._keys.find(key_id)
        now_us = self._clock.monotonic_us()
        key = self._keys.find(key_id)
        may_ask = now_us - self._tried_at_us >= AGAIN_US
        if may_ask and (key is None or now_us >= self._fresh_until_us):
            self._tried_at_us = now_us
            self._fetching = self._tasks.spawn(self._refresh(), name="auth.jwks")
        if key is None and self._fetching is not None:
            await asyncio.shield(self._fetching)
            key = self._keys.find(key_id)
        return key

    async def _refresh(self) -> None:
        assert self._issuer.jwks_url is not None, "only sets are fetched"
        try:
            self._keys = from_jwks(await self._fetch(self._issuer.jwks_url))
            self._fresh_until_us = self._clock.monotonic_us() + REFRESH_US
        except BadKey as problem:
            log.warning(
                "an issuer's key set can not be used; the one before is kept",
                extra={"issuer": self._issuer.name, "error": str(problem)},
            )

    def _static(self) -> Keys:
        """The keys in the policies or the environment; those that can not be used are left out and logged."""
        keys: dict[str, Key] = {}
        try:
            for key_id, text in self._issuer.pems.items():
                keys[key_id] = from_pem(text)
            if self._issuer.secret_env is not None:
                keys[""] = from_secret(os.environ.get(self._issuer.secret_env, ""))
        except BadKey as problem:
            log.error(  # noqa: TRY400  says it all
                "an issuer's key can not be used: its tokens are refused",
                extra={"issuer": self._issuer.name, "error": str(problem)},
            )
        return Keys(keys)
