"""Which of several upstreams takes a call of a route that is split."""

from __future__ import annotations

from gateway.model.policies import Route
from gateway.rendezvous import rank

MOST_REMEMBERED = 4096
"""Accounts and routes whose side is kept."""


class Splits:
    """Each account has one side, in every worker and after every restart.

    Sides are chosen by the names of the upstreams, so an account is on the same side of all routes that are
    split in the same way. While weights stay nobody moves; when one grows, accounts move to it and nowhere
    else. Without an account each call is chosen for by itself.
    """

    def __init__(self) -> None:
        self._sides: dict[tuple[str, str], Route] = {}

    def side(self, route: Route, account: str, request_id: bytes) -> Route:
        """The route to one of the upstreams of a route with a `split`."""
        if not account:
            return _first(route, request_id.decode())
        known = self._sides.get((route.name, account))
        if known is None:
            if len(self._sides) >= MOST_REMEMBERED:
                self._sides.clear()
            known = self._sides[route.name, account] = _first(route, account)
        return known


def _first(route: Route, key: str) -> Route:
    return min(route.split, key=lambda side: rank(key, side.route.upstream.name, side.weight)).route
