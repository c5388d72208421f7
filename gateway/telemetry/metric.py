"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product


class Kind(Enum):
    """Prometheus types we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `labels` are closed: every value is known here, so every series has a fixed slot."""

    name: str  # without the `tollway_` prefix
    kind: Kind
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    bounds: tuple[float, ...] = ()  # histogram: upper bounds of its buckets, ascending, without +Inf
    scale: float = 1.0  # slots are integers: exposed value = slot / scale
    named: bool = False  # the values of its only label are places for names that the policies choose
    roles: tuple[str, ...] = ("worker",)  # processes that keep it (`worker-1` is a worker); empty: all

    def series(self) -> list[tuple[str, ...]]:
        """Label values of every series, in slot order."""
        return list(product(*(values for _, values in self.labels)))

    @property
    def slots_per_series(self) -> int:
        """A histogram keeps one slot per bucket, one for +Inf and one for the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1
