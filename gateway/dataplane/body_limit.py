"""How large and how slow a request body may be."""

from __future__ import annotations

from gateway.errors import BodyTooLarge
from gateway.model.exchange import Exchange


def limit_body(exchange: Exchange, usual_bytes: int) -> None:
    """Hold the body to what its route takes, or what is usual; from here on its reader counts.

    Raises BodyTooLarge when it is larger already, or says that it will be.
    """
    route = exchange.route
    assert route is not None, "routes decide how large a body may be"
    exchange.pace = None  # it stood still while the call waited for its turn; from here on the route's holds
    limit = exchange.max_body_bytes = usual_bytes if route.max_body_bytes is None else route.max_body_bytes
    if exchange.ingress_bytes > limit or (exchange.head.content_length or 0) > limit:
        raise BodyTooLarge(limit)
