"""Who asks where proxies are in front: whom those that are trusted name, as on the public port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.model.forwarded import Fields, Hop, trustworthy, x_forwarded_for
from gateway.model.networks import NO_NETWORKS, Networks, read_address


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose word counts, and how the header is read in which they give it."""

    trusted: Networks = NO_NETWORKS
    hops: Callable[[Fields], Iterator[Hop]] = x_forwarded_for

    def caller(self, peer: str, fields: Fields) -> str:
        """The first address from the right that is not a trusted proxy's."""
        known = read_address(peer.partition("%")[0]) or peer
        return trustworthy(known, self.hops(fields), self.trusted)[-1].address


def believe(proxies: Proxies) -> Middleware:
    """A middleware that makes `request.remote` the caller's address."""

    @web.middleware
    async def name_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.remote and proxies.trusted:
            fields = tuple((name.lower(), value) for name, value in request.raw_headers)
            request = request.clone(remote=proxies.caller(request.remote, fields))
        return await handler(request)

    return name_caller
