"""What a call pays, where that is known before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call pays: `units`, or those of its method, and `per_kib` for each begun KiB of its body."""

    units: int
    methods: Mapping[str, int] = field(default_factory=dict)
    per_kib: int = 0

    @property
    def varies(self) -> bool:
        """Whether calls of one route may differ in it."""
        return bool(self.methods or self.per_kib)

    def of(self, method: str, body_bytes: int) -> int:
        """What this very call pays."""
        return self.methods.get(method, self.units) + self.per_kib * -(-body_bytes // 1024)


FREE = Cost(0)
ONE = Cost(1)
