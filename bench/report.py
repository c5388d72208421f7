"""From rounds to tables that can be pasted into `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.measure import Round

HEAD = """| server | CPU per call | ratio to nginx | Redis's | calls/s a core | p50 | p99 | what it does |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"""


def ratio_to(base: list[Round], rounds: list[Round]) -> float:
    """The median over rounds of CPU per call, each against the base in the same round."""
    return median_ratio([one.cpu_us for one in rounds], [other.cpu_us for other in base])


def median_ratio(figures: Sequence[float], base: Sequence[float]) -> float:
    """The median over rounds of a figure, each against the base's in the same round."""
    return median(one / other for one, other in zip(figures, base, strict=True))


def table(results: dict[str, list[Round]], does: Mapping[str, str] | None = None) -> str:
    """Markdown; the first entry is the base. A row with any bad answer is void and says why."""
    base = next(iter(results.values()))
    rows = (_row(name, rounds, base, (does or {}).get(name, "")) for name, rounds in results.items())
    return "\n".join([HEAD, *rows])


def _row(name: str, rounds: list[Round], base: list[Round], does: str) -> str:
    faults = {one.fault for one in (*rounds, *base) if one.fault}
    if faults:
        return void(name, faults, 7)
    of_store = [one.store_us for one in rounds if one.store_us is not None]
    redis = f"{median(of_store):.1f} us" if of_store else "-"
    return (
        f"| {name} | {median(one.cpu_us for one in rounds):.1f} us | {ratio_to(base, rounds):.2f} | {redis} "
        f"| {median(one.per_s for one in rounds):,.0f} "
        f"| {median(one.p50_ms for one in rounds):.2f} ms | {median(one.p99_ms for one in rounds):.2f} ms "
        f"| {does} |"
    )


def markdown(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table whose first column is text and all others figures."""
    return "\n".join([f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1), *rows])


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def void(name: str, faults: Iterable[str], columns: int) -> str:
    """The line of a server that answered wrongly: why, and no figure."""
    return f"| {name} | void: {'; '.join(sorted(faults))} |" + " |" * (columns - 1)
