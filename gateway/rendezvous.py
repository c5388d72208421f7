"""A choice that every process makes alike, and that moves as few as possible when the choice changes.

Weighted rendezvous hashing: every key has its own order of all places, by `rank`, and belongs to the first. A
place that goes loses only its own keys, and one whose weight grows takes from all others; nothing else moves.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log


def rank(key: str, place: str, weight: int) -> float:
    """How far in front a place is for a key: the lower, the further. Exponential, with the weight as rate."""
    assert weight > 0, "a place without weight gets no keys"
    digest = blake2b(f"{key} {place}".encode(), digest_size=8).digest()
    return -log((int.from_bytes(digest, "big") + 1) / 2**64) / weight
