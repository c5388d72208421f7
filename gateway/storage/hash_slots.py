"""Redis Cluster's hash slots: in which one a key lies, and names that lie in a given one."""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache

SLOTS = 16_384


def slot_of(key: str) -> int:
    """The hash slot of `key`: of what its first braces hold, if they hold anything."""
    start = key.find("{")
    if start >= 0:
        end = key.find("}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key.encode(), 0) % SLOTS


@cache
def tags() -> tuple[str, ...]:
    """For each hash slot the smallest number that lies in it: a tag for keys that are the slot's own."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < SLOTS:
        text = str(number)
        found.setdefault(crc_hqx(text.encode(), 0) % SLOTS, text)
        number += 1
    return tuple([found[slot] for slot in range(SLOTS)])
