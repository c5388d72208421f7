"""What happens near the amount of a quota, and beyond it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overage:
    """What units beyond a quota cost: `amount_minor` for each begun `per_units`."""

    amount_minor: int
    currency: str
    per_units: int

    def due_minor(self, beyond: int) -> int:
        """What so many units beyond the amount cost in all: what is begun is paid in full, once."""
        return -(-beyond // self.per_units) * self.amount_minor


NOTIFY = (80, 100)
"""Percent of a quota at which an event is told, unless the policies say otherwise."""
