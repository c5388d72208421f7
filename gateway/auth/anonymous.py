"""Callers who show nothing, on routes that let them in."""

from __future__ import annotations

from functools import lru_cache

from gateway.model.principal import Mode, Principal


@lru_cache(maxsize=256)
def anonymous_principal(tier: str) -> Principal:
    """Nobody in particular, under a tier. The same object each time; booked without account and key."""
    return Principal(0, "", 0, "", tier, Mode.LIVE, f"Tollway-Tier: {tier}\r\n".encode(), scopes=frozenset())
