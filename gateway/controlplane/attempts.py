"""Guessing is slowed down: where keys or tokens were wrong too often, no more are looked up for a while."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.auth.guesses import Guesses
from gateway.auth.refusals import Refusals

MOST_REMEMBERED = 1_000
"""Secrets that worked: whoever shares an address with somebody who guesses goes on working."""

T = TypeVar("T")


class Attempts:
    """Looks up secrets, and remembers those that have worked lately. Bounded; one process's view.

    That one does not work is said a set time after it came (`Refusals`), whatever is wrong with it.
    """

    def __init__(self, guesses: Guesses, refusals: Refusals) -> None:
        self._guesses, self._refusals = guesses, refusals
        self._worked: OrderedDict[bytes, None] = OrderedDict()
        self._one = asyncio.Lock()

    async def find(
        self, address: str, secret: bytes, look_up: Callable[[], Awaitable[T | None]], *, whole: bool = False
    ) -> T | None:
        """What `look_up` finds for a secret; None for a wrong one. `whole`: how it begins says nothing.

        Raises `TooManyGuesses`, unless this very secret worked a while ago.
        """
        came_us = self._refusals.now_us()
        digest, counted = hashlib.sha256(secret).digest(), b"" if whole else secret
        if digest in self._worked:
            found = await look_up()
        else:
            async with self._one:  # many at once are no way around the count
                self._guesses.expect_few(address, counted)
                found = await look_up()
                if found is None:
                    self._guesses.wrong(address, counted)
        self._remember(digest, worked=found is not None)
        if found is None:
            await self._refusals.hold(came_us)
        return found

    def _remember(self, digest: bytes, *, worked: bool) -> None:
        self._worked.pop(digest, None)
        if worked:
            self._worked[digest] = None
        if len(self._worked) > MOST_REMEMBERED:
            self._worked.popitem(last=False)
