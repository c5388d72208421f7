"""Slots of calls under way as plain arithmetic: the Python twin of `slots.lua`, number for number.

A slot ends by itself unless it is renewed, so those of a killed worker come back. Names are never used again,
so whoever releases a slot that has ended releases nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SLOT_MS = 10_000
"""How long a slot is kept, and so how long those of a killed worker stay taken."""

SlotSet = Mapping[str, int]
"""Names of slots, and when they end in ms."""


def in_use(slots: SlotSet, now_ms: int) -> dict[str, int]:
    """The set at `now_ms`: without slots that have ended; none lasts longer than `SLOT_MS`."""
    return {name: min(end_ms, now_ms + SLOT_MS) for name, end_ms in slots.items() if end_ms > now_ms}


def kept(slots: SlotSet, names: Iterable[str], now_ms: int) -> dict[str, int]:
    """The set with these slots, taken or renewed."""
    return {**slots, **dict.fromkeys(names, now_ms + SLOT_MS)}


def released(slots: SlotSet, names: Iterable[str]) -> dict[str, int]:
    """The set without these slots."""
    gone = set(names)
    return {name: end_ms for name, end_ms in slots.items() if name not in gone}
