"""Questions to Postgres about keys: one at a time per key, few at once, none longer than two seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from gateway.accounts.records import FoundKey
from gateway.auth.cache import KeyCache
from gateway.clock import Clock
from gateway.storage.postgres import LOST
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.auth")

Lookup = Callable[[bytes], Awaitable[FoundKey | None]]

TIMEOUT_S = 2.0
MAX_PENDING = 256
"""Questions under way at once in a worker. More are answered as if Postgres were gone."""

QUIET_US = 2_000_000
"""After a failed question, keys that are known are not asked about again for this long."""

_REPEATS = 3
_FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)


@dataclass(frozen=True, slots=True)
class Answer:
    """What Postgres said. `available` False: nothing, and `found` means nothing."""

    found: FoundKey | None
    available: bool = True


_UNAVAILABLE = Answer(None, available=False)


class KeyLookups:
    """Asks about keys and keeps the answers in the cache.

    Many calls with the same key cause one question. An answer that a change overtook is asked for again, so a
    revocation is never undone by an older answer.
    """

    def __init__(self, lookup: Lookup, cache: KeyCache, slots: Slots, clock: Clock, tasks: Tasks) -> None:
        self._lookup, self._cache, self._slots, self._clock, self._tasks = lookup, cache, slots, clock, tasks
        self._pending: dict[bytes, asyncio.Task[Answer]] = {}
        self._failed_at_us = -QUIET_US
        self._changes_then = 0  # the cache's, when a question failed last
        self._down = False

    @property
    def quiet(self) -> bool:
        """Whether a question failed a moment ago, so that only those who must ask should."""
        return self.down and self._clock.monotonic_us() - self._failed_at_us < QUIET_US

    @property
    def down(self) -> bool:
        """Whether the last question failed and Postgres has given no sign of life since."""
        return self._down and self._cache.changes == self._changes_then

    def is_asking(self, digest: bytes) -> bool:
        """Whether the question about a key is under way."""
        return digest in self._pending

    def ask(self, digest: bytes) -> asyncio.Future[Answer]:
        """Start asking, or join who asks already. The answer is there within `TIMEOUT_S`."""
        task = self._pending.get(digest)
        if task is None:
            if len(self._pending) >= MAX_PENDING:
                full: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                full.set_result(_UNAVAILABLE)
                return full
            task = self._tasks.spawn(self._answer(digest), name="auth.look_up")
            self._pending[digest] = task
            task.add_done_callback(lambda _: self._pending.pop(digest))
        return asyncio.shield(task)  # one caller's end must not end the question of the others

    async def _answer(self, digest: bytes) -> Answer:
        question = self._tasks.spawn(self._question(digest), name="auth.question")
        # Not `timeout()`: a cancelled query may itself wait for a server that does not respond.
        await asyncio.wait({question}, timeout=TIMEOUT_S)
        if question.done() and not question.cancelled():
            return question.result()
        question.cancel()
        return self._failed("no answer in time")

    async def _question(self, digest: bytes) -> Answer:
        try:
            for _ in range(_REPEATS):
                changes = self._cache.changes
                found = await self._lookup(digest)
                if changes == self._cache.changes:
                    self._keep(digest, found)
                    break
        except _FAILURES as error:
            return self._failed(type(error).__name__)
        if self._down:
            self._down = False
            log.info("keys can be looked up again")
        return Answer(found)

    def _keep(self, digest: bytes, found: FoundKey | None) -> None:
        now_us = self._clock.monotonic_us()
        if found is None:
            self._cache.put_negative(digest, now_us)
        else:
            self._cache.put(digest, found.principal, now_us, active=found.active)

    def _failed(self, reason: str) -> Answer:
        self._failed_at_us = self._clock.monotonic_us()
        self._changes_then = self._cache.changes
        self._slots.add("key_lookup_errors_total")
        if not self._down:
            self._down = True
            log.warning(
                "keys can not be looked up: known ones work for an hour, others get 503; check Postgres",
                extra={"error": reason},
            )
        return _UNAVAILABLE
