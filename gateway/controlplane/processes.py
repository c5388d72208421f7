"""What the processes of this gateway say about themselves in their slots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.telemetry.catalogue import HEARTBEAT_MAX_US, State, slot
from gateway.telemetry.exposition import read_processes


@dataclass(frozen=True, slots=True)
class Process:
    """One process as its slots show it."""

    name: str
    state: str
    heartbeat_at_us: int
    alive_at_us: int  # the same, monotonic
    generation: int
    overloaded_since_us: int = 0  # 0: it is not
    shadow_switches: int = 0
    off_switches: int = 0
    connections: int = 0
    memory_bytes: int = 0
    recorder_lag_us: int = 0

    def lacks(self, now_us: int) -> str | None:
        """Why it is not to be counted on; None if it is. `now_us` is monotonic: clocks step, life goes on."""
        if self.state != "ready":
            return f"is {self.state}"
        age_us = now_us - self.alive_at_us
        if age_us > HEARTBEAT_MAX_US:
            return f"has given no sign of life for {age_us // 1_000_000} s"
        return None


def read_all(folder: Path) -> dict[str, Process]:
    """Every process that counts in `folder`, by name; not those whose work is another's by now."""
    return {
        name: _process(name, cells)
        for name, cells in read_processes(folder).items()
        if cells[slot("state")] != State.RETIRED
    }


def read_report(folder: Path, name: str) -> dict[str, Any]:
    """What a process says of itself beside its figures; nothing if it says nothing."""
    try:
        told = json.loads((folder / f"{name}.report").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _process(name: str, cells: list[int]) -> Process:
    state = cells[slot("state")]
    return Process(
        name,
        State(state).name.lower() if 0 <= state < len(State) else "unknown",
        cells[slot("heartbeat_us")],
        cells[slot("alive_us")],
        cells[slot("policy_generation")],
        cells[slot("overloaded_since_us")],
        cells[slot("enforcement_switches", "shadow")],
        cells[slot("enforcement_switches", "off")],
        cells[slot("connections")],
        cells[slot("memory_bytes")],
        cells[slot("recorder_lag_seconds")],
    )
