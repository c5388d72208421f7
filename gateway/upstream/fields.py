"""Which header fields of an answer go on to the caller."""

from __future__ import annotations

_DROPPED = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding upgrade"
    b" content-length ratelimit ratelimit-policy".split()
)
"""Hop-by-hop, framing, and what the gateway itself tells callers about limits."""

TRAVELS: dict[bytes, bool] = {}
"""Fields seen, as they were spelled. Bounded: an upstream may invent names."""


def travels(name: bytes) -> bool:
    """Whether a field goes on to the caller; remembered in `TRAVELS`."""
    lower = name.lower()
    goes_on = lower not in _DROPPED and not lower.startswith(b"tollway-")
    if len(name) < 64:
        if len(TRAVELS) >= 4096:
            TRAVELS.clear()
        TRAVELS[name] = goes_on
    return goes_on


def without_listed(lines: list[bytes], connection: bytes) -> list[bytes]:
    """The lines, four pieces each, without the fields that `Connection` names."""
    listed = {token.strip().lower() for token in connection.split(b",")} - {b"", b"close", b"keep-alive"}
    starts = range(0, len(lines), 4)
    return [piece for at in starts if lines[at].lower() not in listed for piece in lines[at : at + 4]]
