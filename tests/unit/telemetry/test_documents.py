"""`docs/metrics.md` and `docs/logs.md` say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.telemetry.catalogue import METRICS
from gateway.telemetry.logs import FIELDS
from gateway.telemetry.metric import Metric

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_documented_as_it_is(metric: Metric) -> None:
    labels = ", ".join(f"`{name}`" for name, _ in metric.labels) or "-"
    roles = ", ".join(metric.roles) or "all"
    row = f"| `tollway_{metric.name}` | {metric.kind.value} | {labels} | {roles} | {metric.help} |"
    assert row in (DOCS / "metrics.md").read_text().splitlines()


def test_no_metric_is_documented_that_does_not_exist() -> None:
    rows = [line for line in (DOCS / "metrics.md").read_text().splitlines() if line.startswith("| `tollway_")]
    metrics = [row for row in rows if row.count("|") == 6]
    assert len(metrics) == len(METRICS) + 1  # and tollway_build_info


@pytest.mark.parametrize("label", sorted({name for metric in METRICS for name, _ in metric.labels}))
def test_every_label_is_explained(label: str) -> None:
    assert f"\n| `{label}` | " in (DOCS / "metrics.md").read_text()


def test_the_fields_of_logs_are_documented_as_they_are() -> None:
    text = (DOCS / "logs.md").read_text()
    for name, meaning in FIELDS.items():
        assert f"\n| `{name}` | {meaning} |\n" in text
