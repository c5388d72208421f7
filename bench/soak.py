"""An hour of mixed load at one worker: `python -m bench.soak --minutes 60`. Says what its memory did.

Fails when the worker came to `CEILING_BYTES`, when its memory still grows after a warm-up, when a caller was
answered wrongly, or when the worker was replaced.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import BenchError, describe, own_bytes, peak_bytes
from bench.mixture import Mixture
from bench.processes import Place, server, stop_when_asked
from bench.tollway import SOAK, tollway

CEILING_BYTES = 256 << 20
GROWTH_BYTES_PER_HOUR = 8 << 20
"""Less is noise: pages that are given back late, caches that fill up to their bounds."""
SAMPLE_S = 1.0
STREAMS_PORT = 9103  # where bench/policies say
PORT = 9170


@dataclass
class Memory:
    """What processes held of their own, sample by sample: pages of the journal in use are the file's."""

    pids: tuple[int, ...]
    samples: list[tuple[float, int]] = field(default_factory=list)  # seconds, bytes

    async def watch(self, seconds: float) -> None:
        """Look every `SAMPLE_S`."""
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            self.samples.append((at, own_bytes(*self.pids)))
            await asyncio.sleep(SAMPLE_S)

    def growth_per_s(self, since_s: float) -> float:
        """Bytes a second: least squares over the samples from then on."""
        return slope([sample for sample in self.samples if sample[0] >= since_s])


def slope(points: list[tuple[float, int]]) -> float:
    """Of the straight line that lies closest to the points."""
    if len(points) < 2:
        raise BenchError("too few samples for a line; run it for longer")
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def main() -> int:
    """0, or 1 with one line on what went wrong."""
    options = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    given = options.parse_args()
    stop_when_asked()
    try:
        text, problems = _run(given.minutes * 60)
    except KeyboardInterrupt:
        return 130
    except BenchError as error:
        problems, text = [str(error)], ""
    print(text)
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _run(seconds: float) -> tuple[str, list[str]]:
    with tempfile.TemporaryDirectory(prefix="tollway-soak-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as somebody else when we are root
        place = Place(Path(folder), (), 0, STREAMS_PORT)
        command = [sys.executable, "-m", "bench.streams", str(STREAMS_PORT)]
        with (
            server(place.folder, "streams", command, STREAMS_PORT),
            tollway(place, PORT, SOAK, TOLLWAY_MAX_LOOP_LAG_MS="0") as worker,
        ):
            mixture, memory = Mixture(worker.port, worker.key), Memory(worker.pids)
            asyncio.run(_load(mixture, memory, seconds))
            return _report(mixture, memory, seconds)


async def _load(mixture: Mixture, memory: Memory, seconds: float) -> None:
    running = asyncio.create_task(mixture.run())
    await memory.watch(seconds)
    mixture.is_over = True
    await running


def _report(mixture: Mixture, memory: Memory, seconds: float) -> tuple[str, list[str]]:
    warm_s = max(60.0, seconds / 10) if seconds > 120 else seconds / 2
    per_hour = memory.growth_per_s(warm_s) * 3600
    peak = peak_bytes(*memory.pids)
    marks = [memory.samples[len(memory.samples) * part // 5][1] for part in range(5)] + [
        memory.samples[-1][1]
    ]
    turns = ", ".join(f"{count:,} {kind}" for kind, count in sorted(mixture.turns.items()))
    end = f"after {warm_s:.0f} s it grew by {per_hour / 1e6:+.2f} MB an hour."
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {describe()}: {seconds / 60:.0f} minutes, one worker.",
        f"Turns: {turns}; {mixture.calls:,} calls answered, {len(mixture.wrong)} wrongly.",
        "Memory of its own in fifths of the time: "
        + ", ".join(f"{mark / 1e6:.1f} MB" for mark in marks)
        + ".",
        f"Peak, with mapped files, {peak / 1e6:.1f} MB; {end}",
    ]
    problems = [f"answered wrongly: {what}" for what in mixture.wrong[:5]]
    if peak >= CEILING_BYTES:
        problems.append(f"the worker held {peak:,} bytes, {CEILING_BYTES:,} are too many")
    if per_hour > GROWTH_BYTES_PER_HOUR and seconds >= 600:
        problems.append(f"its memory grows by {per_hour / 1e6:.1f} MB an hour")
    return "\n".join(lines), problems


if __name__ == "__main__":
    sys.exit(main())
