from __future__ import annotations

from typing import cast

import pytest

from gateway.dataplane.body_limit import limit_body
from gateway.errors import BodyTooLarge
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.model.policies import NO_LIMIT, Route, Upstream

USUAL = 100


def _exchange(most: int | None, declared: int | None, received: int) -> Exchange:
    head = RequestHead()
    head.content_length = declared
    exchange = Exchange(head, cast("Downstream", None), b"")
    exchange.ingress_bytes = received
    upstream = Upstream("u", ())
    exchange.route = Route(
        "r", "/**", frozenset(), frozenset(), upstream, frozenset(), {}, max_body_bytes=most
    )
    return exchange


@pytest.mark.parametrize(
    ("case", "most", "declared", "received", "limit"),
    [
        ("as usual", None, 100, 0, USUAL),
        ("the route takes more", 1000, 1000, 0, 1000),
        ("the route has no limit", NO_LIMIT, 10**12, 0, NO_LIMIT),
        ("nothing but an empty body", 0, 0, 0, 0),
        ("chunked, not yet too large", None, None, 100, USUAL),
    ],
)
def test_bodies_that_are_taken(
    case: str, most: int | None, declared: int | None, received: int, limit: int
) -> None:
    exchange = _exchange(most, declared, received)
    limit_body(exchange, USUAL)
    assert exchange.max_body_bytes == limit


@pytest.mark.parametrize(
    ("case", "most", "declared", "received"),
    [
        ("as usual", None, 101, 0),
        ("the route takes less", 10, 11, 0),
        ("any body at all", 0, 1, 0),
        ("chunked and too large already", None, None, 101),
    ],
)
def test_bodies_that_are_too_large(case: str, most: int | None, declared: int | None, received: int) -> None:
    with pytest.raises(BodyTooLarge) as refusal:
        limit_body(_exchange(most, declared, received), USUAL)
    assert refusal.value.extensions == {"max_body_bytes": USUAL if most is None else most}
