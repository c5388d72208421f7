"""From rounds to a table that can be pasted into `docs/benchmarks.md`."""

from __future__ import annotations

from statistics import median

from bench.measure import Round

HEAD = """| server | CPU per call | ratio to nginx | calls/s on one core | p50 | p99 |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def ratio_to(base: list[Round], rounds: list[Round]) -> float:
    """The median over rounds of CPU per call, each against the base in the same round."""
    return median(one.cpu_us / other.cpu_us for one, other in zip(rounds, base, strict=True))


def table(results: dict[str, list[Round]]) -> str:
    """Markdown; the first entry is the base. A row with any bad answer is void and says why."""
    base = next(iter(results.values()))
    return "\n".join([HEAD, *(_row(name, rounds, base) for name, rounds in results.items())])


def _row(name: str, rounds: list[Round], base: list[Round]) -> str:
    faults = {one.fault for one in (*rounds, *base) if one.fault}
    if faults:
        return f"| {name} | void: {'; '.join(sorted(faults))} | | | | |"
    return (
        f"| {name} | {median(one.cpu_us for one in rounds):.1f} us | {ratio_to(base, rounds):.2f} "
        f"| {median(one.per_s for one in rounds):,.0f} "
        f"| {median(one.p50_ms for one in rounds):.2f} ms | {median(one.p99_ms for one in rounds):.2f} ms |"
    )
