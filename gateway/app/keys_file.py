"""The operator's file of keys: read at the start and whenever it changed, put into Postgres as a whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path

import asyncpg

from gateway.accounts.key_table import ListedKey, TableProblems, read_table
from gateway.accounts.listed_keys import ListedKeys
from gateway.accounts.store import Accounts
from gateway.operators.acting import acting
from gateway.storage.postgres import LOST, Pool
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.keys")

LOOK_EVERY_S = 1.0
MOST_BYTES = 32_000_000
ACTOR = "keys-file"
_FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)


class _Unreadable(Exception):
    """The file is not there, or is no text."""


class KeysFile:
    """Follows the file. One with problems changes nothing, nor does one that is gone."""

    def __init__(
        self,
        path: Path,
        pool: Pool,
        accounts: Accounts,
        tiers: Callable[[], Collection[str]],
        slots: Slots,
    ) -> None:
        self._path, self._pool, self._accounts = path, pool, accounts
        self._tiers, self._slots = tiers, slots
        self._seen: object = None
        self._done: object = ()
        self._waiting = False

    async def follow(self) -> None:
        """Look at the file until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Take the file into use if it changed and nobody is writing it: it was the same at the last look."""
        seen = await asyncio.to_thread(self._fingerprint)
        settled, self._seen = seen == self._seen or self._done == (), seen
        if seen == self._done or not settled:
            return
        try:
            keys = await asyncio.to_thread(self._read)
            await self._put(keys)
        except TableProblems as found:
            for problem in found.problems:
                log.error("%s", problem.within(str(self._path)))  # noqa: TRY400  the message says it all
            self._refuse(str(found))
        except _Unreadable as error:
            self._refuse(str(error))
        except _FAILURES as error:
            if not self._waiting:
                log.warning("the file of keys waits for the database", extra={"error": type(error).__name__})
            self._waiting = True
            return
        self._done, self._waiting = seen, False

    async def _put(self, keys: list[ListedKey]) -> None:
        async with acting(self._pool, ACTOR) as connection:
            done = await ListedKeys(connection, self._accounts, self._tiers()).follow(keys)
        self._slots.set("keys_file_listed", len(keys))
        counts = len(keys), done.added, done.changed, done.ended, done.accounts
        log.info("keys are as their file says: %d, %d new, %d changed, %d ended; %d new accounts", *counts)

    def _refuse(self, why: str) -> None:
        self._slots.add("keys_file_failed_total")
        log.error(
            "file of keys not used; keys stay as they were", extra={"file": str(self._path), "error": why}
        )

    def _fingerprint(self) -> object:
        try:
            found = self._path.stat()
        except OSError as error:
            return type(error).__name__
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> list[ListedKey]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
            text = raw.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise _Unreadable(f"can not be read: {type(error).__name__}") from None
        if len(raw) > MOST_BYTES:
            raise _Unreadable(f"is larger than {MOST_BYTES} bytes")
        return read_table(text)
