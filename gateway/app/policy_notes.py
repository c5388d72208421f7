"""Notes in Postgres which policies this machine took into use, for whoever asks later what held then."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import asyncpg

from gateway.model.policies import PolicySet
from gateway.operators.policy_history import How, PolicyHistory
from gateway.policy.sources import how_accepted
from gateway.storage.postgres import LOST

log = logging.getLogger("tollway.policies")

RETRY_S = 5.0
_FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)


class PolicyNotes:
    """Notes each new digest once. While Postgres is gone the newest waits; those between are not noted."""

    def __init__(self, history: PolicyHistory, accepted: Path, policies: Callable[[], PolicySet]) -> None:
        self._history, self._accepted, self._policies = history, accepted, policies
        self._changed = asyncio.Event()
        self._changed.set()

    def wake(self) -> None:
        """Policies may have been taken into use."""
        self._changed.set()

    async def keep(self) -> None:
        """Note until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._note()
            except _FAILURES as error:
                log.debug("policies in use are not noted yet", extra={"error": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def _note(self) -> None:
        digest, history, gateway = self._policies().digest, self._history, socket.gethostname()
        if await history.latest(gateway) == digest:
            return
        actor = history.announced.get(digest)
        how = How(how_accepted(self._accepted)) if actor is None else How.API
        await history.note(gateway, digest, how, actor or await history.announcer(digest) or "gateway")
        history.announced.pop(digest, None)
