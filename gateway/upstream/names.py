"""Addresses of host names, looked up again every now and then: upstreams move."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.tasks import Tasks

RESOLVE_S = 30.0
"""New connections use addresses at most this old. The system's resolver does not tell how long they last."""

LookUp = Callable[[str], Awaitable[tuple[str, ...]]]


async def look_up(host: str) -> tuple[str, ...]:
    """All addresses of a host, as the system orders them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[str, ...]
    asked_at: float


class Names:
    """Host names and their addresses, for all upstreams of a worker. Holds only names the policies have."""

    def __init__(
        self, tasks: Tasks, look_up: LookUp = look_up, now: Callable[[], float] | None = None
    ) -> None:
        self._tasks = tasks
        self._look_up = look_up
        self._now = now or asyncio.get_running_loop().time
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[OSError | None]] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of a host, none older than `RESOLVE_S` unless the resolver fails. Raises OSError.

        Many may wait for one look-up; it goes on when they give up, and serves the next.
        """
        known = self._known.get(host)
        if known is not None and self._now() - known.asked_at < RESOLVE_S:
            return known.addresses
        if is_address(host):
            return (host,)
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = self._tasks.spawn(self._ask(host), name="upstream.resolve")
        error = await asyncio.shield(asking)
        if error is not None:
            raise error
        return self._known[host].addresses

    async def _ask(self, host: str) -> OSError | None:
        """An answer that does not come leaves what was known in use for another while."""
        try:
            addresses = await self._look_up(host)
        except (OSError, UnicodeError) as failed:  # the latter: a label the IDNA codec refuses
            known = self._known.get(host)
            if known is None:
                return failed if isinstance(failed, OSError) else OSError("not a host name")
            addresses = known.addresses
        finally:
            del self._asking[host]
        self._known[host] = _Known(addresses, self._now())
        return None


def is_address(host: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
