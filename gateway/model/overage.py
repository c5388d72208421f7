"""What happens near the amount of a quota, and beyond it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overage:
    """What units beyond a quota cost: `amount_minor` for each begun `per_units`."""

    amount_minor: int
    currency: str
    per_units: int


NOTIFY = (80, 100)
"""Percent of a quota at which an event is told, unless the policies say otherwise."""
