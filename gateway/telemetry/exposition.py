"""The figures of all processes of a gateway, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from gateway.telemetry.catalogue import LAYOUT, METRICS, NAMES_MAX, OTHER, State
from gateway.telemetry.metric import Kind, Metric
from gateway.telemetry.names import names_of, read_names
from gateway.telemetry.slots import read_slots

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SUFFIX = ".slots"


def read_processes(folder: Path) -> dict[str, list[int]]:
    """The slots of every process that counts in `folder`, by name. Files of another layout are skipped."""
    processes = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            processes[path.stem] = read_slots(path)
        except (ValueError, FileNotFoundError):
            continue  # another release's, or just replaced by its writer
    return processes


class SlotsCollector:
    """A prometheus_client collector over all slots files in a folder."""

    def __init__(self, folder: Path, version: str) -> None:
        self._folder, self._version = folder, version

    def collect(self) -> Iterator[Family]:
        """Every metric of the catalogue for every process that keeps it."""
        processes = read_processes(self._folder)
        yield InfoMetricFamily("tollway_build", "The release that runs.", {"version": self._version})
        for metric in METRICS:
            kept = {name: cells for name, cells in processes.items() if _keeps(metric, name, cells)}
            yield _family(metric, kept) if not metric.named else self._named(metric, kept)

    def _named(self, metric: Metric, processes: Mapping[str, list[int]]) -> Family:
        """Only places that have a name, under it, and the one for all others."""
        family = CounterMetricFamily(
            f"tollway_{metric.name}", metric.help, labels=["process", metric.labels[0][0]]
        )
        first = LAYOUT[metric.name]
        for process, cells in processes.items():
            names = read_names(names_of(self._folder / f"{process}{SUFFIX}")).get(metric.name, [])
            for place, name in enumerate(names):
                family.add_metric([process, name], cells[first + place])
            family.add_metric([process, OTHER], cells[first + NAMES_MAX])
        return family


def render(folder: Path, version: str) -> bytes:
    """The whole exposition in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SlotsCollector(folder, version))
    return generate_latest(registry)


def _keeps(metric: Metric, process: str, cells: list[int]) -> bool:
    """Whether a process answers for a metric: a recorder has no Redis connection that could be down.

    Of a worker that was replaced, what it counted stays; how it is, nobody asks any more.
    """
    if metric.kind is Kind.GAUGE and cells[LAYOUT["state"]] == State.RETIRED:
        return False
    role = process.partition("-")[0]
    first = LAYOUT[metric.name]
    last = first + len(metric.series()) * metric.slots_per_series
    return not metric.roles or role in metric.roles or any(cells[first:last])


def _family(metric: Metric, processes: Mapping[str, list[int]]) -> Family:
    name = f"tollway_{metric.name}"
    labels = ["process", *(label for label, _ in metric.labels)]
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, metric.help, labels=labels)
        for values, cells in _series(metric, processes):
            histogram.add_metric(values, _buckets(metric, cells), sum_value=cells[-1] / metric.scale)
        return histogram
    family = (CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily)(
        name, metric.help, labels=labels
    )
    for values, cells in _series(metric, processes):
        family.add_metric(values, cells[0] / metric.scale if metric.scale != 1 else cells[0])
    return family


def _series(metric: Metric, processes: Mapping[str, list[int]]) -> Iterable[tuple[list[str], list[int]]]:
    width = metric.slots_per_series
    for process, cells in processes.items():
        for number, values in enumerate(metric.series()):
            first = LAYOUT[metric.name] + number * width
            yield [process, *values], cells[first : first + width]


def _buckets(metric: Metric, cells: list[int]) -> list[tuple[str, float]]:
    """Cumulative counts, as Prometheus wants them."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, metric.bounds), "+Inf"], cells, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets
