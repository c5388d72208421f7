"""How many calls may be bought in advance: the twin of the rule in `admit.lua`.

A slice is so small against what is left that callers elsewhere do not miss it. `scarce`: also of little.
"""

from __future__ import annotations

from math import floor

BUCKET_SHARE = 16
"""A slice takes at most this part of the tokens left, and leaves the bucket at least half full."""
QUOTA_SHARE = 64
QUOTA_PLENTY = 4096
"""A slice takes at most a `QUOTA_SHARE`th of what remains; nothing once less than this remains."""


def bucket_slice(tokens: int, burst: int, cost: int, *, scarce: bool = False) -> int:
    """Calls that may be bought in advance from a bucket that holds `tokens`."""
    spare = tokens if scarce else floor(tokens - burst / 2)
    return max(0, min(tokens // BUCKET_SHARE, spare) // cost)


def quota_slice(remaining: int, cost: int, *, scarce: bool = False) -> int:
    """Calls that may be bought in advance from a quota of which `remaining` units are left."""
    return max(0, remaining // QUOTA_SHARE // cost) if scarce or remaining >= QUOTA_PLENTY else 0
