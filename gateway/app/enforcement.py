"""What operators switched, as a worker follows it: told by Postgres, asked for at times, kept in a file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from gateway.clock import Clock
from gateway.model.enforcement import POLICIES_ALONE, Enforcement, Enforcing, Switch
from gateway.storage.postgres import LOST
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.enforcement")

POLL_S, RETRY_S = 10.0, 1.0
"""How often Postgres is asked, told of something or not: bounds the delay of a switch nobody told us of."""
AFTER_S = 0.05
"""An end is looked for a little late, so that Postgres agrees that it has come."""
FIRST_S = 2.0
"""How long a new worker waits for Postgres before it begins with what the file says."""

Ask = Callable[[], Awaitable[Enforcement]]
_FAILURES: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)


class SwitchFollower:
    """Tells `use` what is in force, first from the file. While Postgres is gone the last known state stays.

    `ask` gets all switches of Postgres. A switch ends by itself when its time has come, Postgres or not.
    """

    def __init__(
        self, ask: Ask, use: Callable[[Enforcement], None], file: Path, slots: Slots, clock: Clock
    ) -> None:
        self._ask, self._use, self._file = ask, use, file
        self._slots, self._clock = slots, clock
        self._known = POLICIES_ALONE
        self._in_force = POLICIES_ALONE
        self._told = asyncio.Event()
        self._poll_s = POLL_S
        self._show()

    def hear(self) -> None:
        """Something was switched, or may have been."""
        self._told.set()

    async def begin(self) -> None:
        """Take the last known state into use, and then the present one if Postgres says it soon."""
        self._known = read_switches(self._file)
        self._apply()
        try:
            async with asyncio.timeout(FIRST_S):
                await self._look()
        except TimeoutError:
            log.warning("Postgres does not say what is switched: the last known state is in use")

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._wait()
            await self._look()

    async def _wait(self) -> None:
        """Until something is heard or expires, or it is time to ask."""
        ends_at_us = self._in_force.ends_at_us()
        delay_s = self._poll_s
        if ends_at_us is not None:
            delay_s = min(delay_s, AFTER_S + max(0.0, (ends_at_us - self._clock.now_us()) / 1_000_000))
        try:
            async with asyncio.timeout(delay_s):
                await self._told.wait()
        except TimeoutError:
            self._apply()  # Postgres may be gone: what has expired ends all the same
        self._told.clear()

    async def _look(self) -> None:
        try:
            self._known = await self._ask()
        except _FAILURES:
            self._poll_s = RETRY_S  # no log line: whoever listens for changes says that Postgres is gone
            return
        self._poll_s = POLL_S
        self._apply()
        self._keep()

    def _apply(self) -> None:
        in_force = self._known.at(self._clock.now_us())
        if _meant(in_force) == _meant(self._in_force):
            self._in_force = in_force
            return
        self._in_force = in_force
        self._use(in_force)
        self._show()
        if in_force:
            told = [f"{one.state.value} {one.scope}: {one.reason}" for one in in_force.switches]
            log.warning("limits are loosened by operators", extra={"switches": told})
        else:
            log.info("limits are enforced as the policies say")

    def _show(self) -> None:
        for state in (Enforcing.SHADOW, Enforcing.OFF):
            number = sum(one.state is state for one in self._in_force.switches)
            self._slots.set("enforcement_switches", number, state.value)

    def _keep(self) -> None:
        """For a start while Postgres is gone. Workers write the same; the last one wins."""
        if _meant(read_switches(self._file)) == _meant(self._known):
            return
        draft = self._file.with_suffix(f".{os.getpid()}")
        try:
            draft.write_text(json.dumps([_told(one) for one in self._known.switches]), encoding="utf-8")
            draft.replace(self._file)
        except OSError as error:
            log.warning("what is switched can not be kept for a restart", extra={"error": str(error)})


def read_switches(file: Path) -> Enforcement:
    """What was last kept; nothing if there is nothing that can be read."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return Enforcement(tuple(Switch(**{**one, "state": Enforcing(one["state"])}) for one in told))
    except FileNotFoundError:
        return POLICIES_ALONE
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("what was switched can not be read", extra={"error": str(error)})
        return POLICIES_ALONE


def _told(switch: Switch) -> dict[str, object]:
    return {
        "state": switch.state.value,
        "limit": switch.limit,
        "tier": switch.tier,
        "route": switch.route,
        "reason": switch.reason,
        "expires_at_us": switch.expires_at_us,
    }


def _meant(enforcement: Enforcement) -> list[tuple[str, str, str, int | None]]:
    """What two states must have in common to be the same. Ends to the second: they are told as spans."""
    return [
        (
            one.scope,
            one.state.value,
            one.reason,
            None if one.expires_at_us is None else round(one.expires_at_us / 1e6),
        )
        for one in enforcement.switches
    ]
