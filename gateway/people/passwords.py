"""Passwords as argon2id hashes, made and compared in threads: each takes a core for a while, and memory."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.errors import TollwayError

AT_ONCE = 2
WAITING_MAX = 32
"""Those who would wait behind them for seconds are told to come back instead."""

# OWASP's first choice: 46 MiB and one pass.
_HASHER = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1)

T = TypeVar("T")


class Busy(TollwayError):
    """Too many passwords are being compared. Try again shortly."""


class Passwords:
    """Makes and compares hashes. Raises Busy when too many wait."""

    def __init__(self, hasher: PasswordHasher = _HASHER) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2")
        self._under_way = 0
        self._nobodys = hasher.hash("the password of nobody")

    async def hash(self, password: str) -> str:
        """What is kept of a password."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether it is the password. None stands for nobody's: it takes as long, and never is."""

        def compare() -> bool:
            try:
                self._hasher.verify(stored or self._nobodys, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
            return stored is not None

        return await self._run(compare)

    def is_dated(self, stored: str) -> bool:
        """Whether the hash was made with less effort than one takes today."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= AT_ONCE + WAITING_MAX:
            raise Busy("Too many people are logging in. Try again shortly.")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1


def _normal(password: str) -> bytes:
    """The same bytes from any keyboard (RFC 8265, section 4.2.1)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
