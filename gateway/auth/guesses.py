"""Who guesses keys is slowed down before Postgres is asked: by address, and by how the guesses begin.

Keys that calls showed to work of late never come here, so whoever shares an address with somebody who guesses
goes on working.
"""

from __future__ import annotations

from gateway.clock import Clock
from gateway.errors import TooManyGuesses
from gateway.model.networks import address_block
from gateway.telemetry.slots import Slots
from gateway.throttle import Throttle

WITHIN_S = 60
BEGINNING_MAX = 16
TIMES_FOR_BEGINNINGS = 5
"""Many addresses are needed to shut out keys that begin alike, so that no single one can."""


class Guesses:
    """Counts keys that turned out not to work. One process's view, bounded.

    They are counted afterwards: many honest keys that arrive at once, behind one proxy and after a start, are
    no guesses. How many look-ups may be under way at once is bounded anyway (`lookups.MAX_PENDING`).
    """

    def __init__(self, clock: Clock, slots: Slots, most: int) -> None:
        """`most` wrong keys a minute from one address; 0: any number."""
        self._slots, self._most = slots, most
        self._of_address = Throttle(clock, most, WITHIN_S)
        self._of_beginning = Throttle(clock, most * TIMES_FOR_BEGINNINGS, WITHIN_S)

    def expect_few(self, address: str, secret: bytes) -> None:
        """Raises `TooManyGuesses` where a key that is not known must not be looked up.

        An empty `secret` leaves out how it begins.
        """
        if not self._most:
            return
        asked = (
            ("address", self._of_address.wait_s(address_block(address))),
            ("beginning", self._of_beginning.wait_s(_beginning(secret)) if secret else 0),
        )
        for by, wait_s in asked:
            if wait_s:
                self._slots.add("key_guesses_refused_total", 1, by)
                raise TooManyGuesses(by=by, retry_after_s=wait_s)

    def wrong(self, address: str, secret: bytes) -> None:
        """A key was looked up in vain."""
        if self._most:
            self._of_address.take(address_block(address))
            if secret:
                self._of_beginning.take(_beginning(secret))


def _beginning(secret: bytes) -> str:
    """The half of a key that whoever guesses the other half knows."""
    return secret[: min(BEGINNING_MAX, len(secret) // 2)].decode("latin-1")
