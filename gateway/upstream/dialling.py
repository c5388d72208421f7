"""Opening a connection to a target: by name or address, in the clear or with TLS, or to a unix socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.model.policies import Target
from gateway.upstream.names import RESOLVE_S, Names
from gateway.upstream.tls import TlsFiles

P = TypeVar("P", bound=asyncio.BaseProtocol)

Objection = Callable[[Target], str | None]
"""Why a target may not be connected to, as `is ...`; None: it may. May take its time."""

JUDGED_MAX = 256
"""Addresses of one name of which that is remembered."""


class Dialler:
    """Opens connections to one target.

    A name stands for all its addresses: they are used in turn, and one that does not answer is tried last for
    a while. Names and links may lead elsewhere than when the policies were checked: they are judged again.
    """

    def __init__(
        self,
        target: Target,
        tls: TlsFiles,
        server_name: str | None,
        names: Names,
        objection: Objection | None = None,
    ) -> None:
        self._target = target
        self._tls = tls
        self._server_name = server_name or target.host
        self._names = names
        self._objection = objection
        self._judged: dict[str, str | None] = {}
        self._turn = 0
        self._dead_until: dict[str, float] = {}

    async def dial(self, make: Callable[[], P], timeout_s: float) -> P:
        """A connected protocol. Raises UpstreamTimeout or UpstreamUnreachable, which say where and why."""
        place = self._target.place
        try:
            async with asyncio.timeout(timeout_s):
                if self._target.socket:
                    loop = asyncio.get_running_loop()
                    if why := await self._judge(self._target):
                        raise OSError(why)
                    return (await loop.create_unix_connection(make, self._target.socket))[1]
                return await self._dial_host(make, timeout_s)
        except TimeoutError as late:
            raise UpstreamTimeout(
                internal=f"connect: {place}: no connection within {timeout_s:g} s"
            ) from late
        except OSError as lost:
            raise UpstreamUnreachable(internal=f"connect: {place}: {_words(lost)}") from lost

    async def _dial_host(self, make: Callable[[], P], timeout_s: float) -> P:
        """Try one address after the other; each gets its share of the time that is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        context = self._tls.context() if self._target.tls else None
        addresses = self._in_turn(await self._known_good(), loop.time())
        for left in range(len(addresses), 1, -1):
            address = addresses[-left]
            try:
                async with asyncio.timeout((until - loop.time()) / left):
                    return await self._open(make, address, context)
            except OSError:  # a timeout is one, too
                self._dead_until[address] = loop.time() + RESOLVE_S
        if not addresses:
            raise OSError("the name has no address")
        return await self._open(make, addresses[-1], context)

    async def _known_good(self) -> tuple[str, ...]:
        """The addresses of the host. OSError if it is a name, and they are the gateway's own."""
        host = self._target.host
        found = await self._names.addresses(host)
        if self._objection is None or found == (host,):  # an address, as the policies have it
            return found
        why = ""
        good = []
        for address in found:
            if address not in self._judged:
                if len(self._judged) >= JUDGED_MAX:
                    self._judged.clear()
                self._judged[address] = await self._judge(replace(self._target, host=address))
            if said := self._judged[address]:
                why = f"{address} {said}"
            else:
                good.append(address)
        if why and not good:
            raise OSError(why)
        return tuple(good)

    async def _judge(self, target: Target) -> str | None:
        """In a thread: it may have to look up the names of our own servers."""
        if self._objection is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(None, self._objection, target)

    def _in_turn(self, addresses: tuple[str, ...], now: float) -> list[str]:
        if len(addresses) < 2:
            return list(addresses)
        self._turn += 1
        start = self._turn % len(addresses)
        self._dead_until = {address: until for address, until in self._dead_until.items() if until > now}
        return sorted(addresses[start:] + addresses[:start], key=self._dead_until.__contains__)

    async def _open(self, make: Callable[[], P], address: str, context: ssl.SSLContext | None) -> P:
        _, protocol = await asyncio.get_running_loop().create_connection(
            make,
            address,
            self._target.port,
            ssl=context,
            server_hostname=self._server_name if context is not None else None,
        )
        return protocol


def _words(error: OSError) -> str:
    """Why it failed, in the words of the system or of the TLS library."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return error.strerror or str(error) or type(error).__name__
